"""Uploads through the real openai SDK: what comes back, and what is refused."""

from __future__ import annotations

import time
from email.message import Message

import pytest
from openai import APIStatusError, AsyncOpenAI, BadRequestError
from openai.types import FileObject

from gateway.conversation.assets.files import MOST, MOST_BYTES, MOST_FILES
from gateway.postgres.database import Database
from tests.chat.reading import refused
from tests.client import bearer
from tests.running import Gateway
from tests.team import make_team

TEXTS = {
    "ascii": b"Hello\n",
    "umlauts": "Grüße aus Köln\r\n".encode(),
    "emoji": "👩‍💻 and 🥐\u2028\u202e".encode(),
    "byte order mark": b"\xef\xbb\xbfmarked",
    "looks like a form": b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\n--b--\r\n',
    "controls": bytes(range(1, 32)) + b"\x7f",
    "no end of line": b" ",
}


@pytest.fixture
def client(gateway: Gateway) -> AsyncOpenAI:
    return gateway.client(path="/v1")


async def upload(
    client: AsyncOpenAI,
    content: bytes = b"text",
    name: str = "notes.txt",
    purpose: str = "user_data",
) -> FileObject:
    return await client.files.create(file=(name, content), purpose=purpose)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
async def test_a_file_comes_back_byte_for_byte(client: AsyncOpenAI, text: bytes) -> None:
    made = await upload(client, text)
    assert (await client.files.content(made.id)).content == text
    assert made.bytes == len(text)


async def test_a_file_is_told_as_openai_tells_it(gateway: Gateway, client: AsyncOpenAI) -> None:
    before = int(time.time())
    made = await upload(client, "Grüße".encode(), "grüße.txt", "assistants")
    assert before - 1 <= made.created_at <= time.time() + 1
    told = (await gateway.http.get(f"/v1/files/{made.id}")).json()
    assert told == {
        "id": made.id,
        "object": "file",
        "bytes": 7,
        "created_at": made.created_at,
        "expires_at": None,
        "filename": "grüße.txt",
        "purpose": "assistants",
        "status": "processed",
        "status_details": None,
    }
    assert made.model_dump() == told
    assert await client.files.retrieve(made.id) == made
    assert await client.files.wait_for_processing(made.id) == made


async def test_files_are_the_same_under_every_prefix(gateway: Gateway) -> None:
    team = await make_team(gateway)
    clients = [
        gateway.client(path=path)
        for path in (f"/api/agency/{team.id}", f"/api/agency/{team.id}/v1", "/v1")
    ]
    made = [await upload(client) for client in clients]
    for client in clients:
        assert [one.id async for one in client.files.list(order="asc")] == [one.id for one in made]
        assert (await client.files.content(made[0].id)).content == b"text"
    for client, one in zip(clients, made, strict=True):
        assert (await client.files.delete(one.id)).deleted


async def test_the_largest_file_is_taken_and_a_larger_one_is_not(client: AsyncOpenAI) -> None:
    text = ("ä" * (MOST // 2)).encode()
    made = await upload(client, text)
    assert made.bytes == MOST
    assert (await client.files.content(made.id)).content == text
    with pytest.raises(BadRequestError, match="larger than 8 MiB") as refusal:
        await upload(client, text + b"a")
    assert (refusal.value.code, refusal.value.param) == ("file_too_large", "file")
    with pytest.raises(APIStatusError) as larger:
        await upload(client, b"a" * 21 * 1024 * 1024)
    assert (larger.value.status_code, larger.value.code) == (413, "request_too_large")


NO_TEXT = {
    "NUL": b"a\0b",
    "latin-1": "Grüße".encode("latin-1"),
    "UTF-16": "Hello".encode("utf-16"),
    "cut off": "ä".encode()[:1],
    "surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\xaf",
    "picture": b"\x89PNG\r\n\x1a\n",
}


@pytest.mark.parametrize("content", NO_TEXT.values(), ids=NO_TEXT)
async def test_only_text_is_taken(client: AsyncOpenAI, content: bytes) -> None:
    with pytest.raises(BadRequestError, match="text in UTF-8") as refusal:
        await upload(client, content)
    assert (refusal.value.code, refusal.value.param) == ("unsupported_file_type", "file")
    assert [one async for one in client.files.list()] == []


async def test_an_empty_file_is_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(BadRequestError, match="empty") as refusal:
        await upload(client, b"")
    assert (refusal.value.code, refusal.value.param) == ("empty_file", "file")


NAMES = {
    "notes.txt": "notes.txt",
    "Größe 日本 👩‍💻.md": "Größe 日本 👩‍💻.md",
    "../../etc/passwd": "passwd",
    "/etc/passwd": "passwd",
    r"C:\Users\ann\notes.txt": "notes.txt",
    r"..\notes.txt": "notes.txt",
    "a\r\nset-cookie: b=c": "aset-cookie: b=c",
    'a"; filename=evil.exe; x="': 'a"; filename=evil.exe; x="',
    "photo\u202egpj.exe": "photogpj.exe",
    "a\u2028b\u0085.txt": "ab.txt",
    " spaced .txt ": "spaced .txt",
    "100%25.txt": "100%25.txt",
    "ä" * 255: "ä" * 255,
}


@pytest.mark.parametrize(("given", "shown"), NAMES.items(), ids=ascii)
async def test_a_name_is_only_shown(
    gateway: Gateway, client: AsyncOpenAI, given: str, shown: str
) -> None:
    made = await upload(client, name=given)
    assert made.filename == shown
    answer = await gateway.http.get(f"/v1/files/{made.id}/content")
    assert answer.content == b"text"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    read = Message()
    read["content-disposition"] = answer.headers["content-disposition"]
    assert read.get_content_disposition() == "attachment"
    # The plain name comes first, and only old clients take it.
    encoded = read["content-disposition"].partition("; filename*=")[2]
    read.replace_header("content-disposition", f"attachment; filename*={encoded}")
    assert read.get_filename() == shown


@pytest.mark.parametrize("name", ["..", ".", "../", "\u202e", " ", "a" * 256, "a" * 10_000])
async def test_what_is_no_name_is_refused(client: AsyncOpenAI, name: str) -> None:
    with pytest.raises(BadRequestError):
        await upload(client, name=name)


async def test_a_name_keeps_no_control_characters(gateway: Gateway) -> None:
    body = PURPOSE + FILE.replace(b'"a"', b'"a\x00b\x1b[31m\x7f.txt"') + END
    answer = await gateway.http.post("/v1/files", content=body, headers={"content-type": FORM})
    assert answer.json()["filename"] == "ab[31m.txt"


async def test_a_file_without_a_name_gets_the_sdk_s(client: AsyncOpenAI) -> None:
    made = await client.files.create(file=b"text", purpose="user_data")
    assert made.filename == "upload"


@pytest.mark.parametrize(
    "purpose", ["assistants", "batch", "fine-tune", "vision", "user_data", "evals", "a" * 64]
)
async def test_any_plain_word_is_a_purpose(client: AsyncOpenAI, purpose: str) -> None:
    assert (await upload(client, purpose=purpose)).purpose == purpose


@pytest.mark.parametrize("purpose", ["", "a" * 65, "User", "two words", "ä", "a\n", "a\0"])
async def test_what_is_no_purpose_is_refused(client: AsyncOpenAI, purpose: str) -> None:
    with pytest.raises(BadRequestError, match="purpose") as refusal:
        await upload(client, purpose=purpose)
    assert refusal.value.param == "purpose"


async def test_an_expiry_has_no_effect_and_the_answer_says_so(client: AsyncOpenAI) -> None:
    raw = await client.files.with_raw_response.create(
        file=b"text",
        purpose="user_data",
        expires_after={"anchor": "created_at", "seconds": 3600},
    )
    assert raw.headers["x-gateway-ignored"] == "expires_after"
    assert raw.parse().expires_at is None


async def test_a_user_keeps_a_bounded_number_of_files(gateway: Gateway, database: Database) -> None:
    client = gateway.client(path="/v1", key=await gateway.key("ann"))
    await database.execute(
        """INSERT INTO file (id, owner, filename, purpose, bytes, content)
           SELECT gen_random_uuid(), 'ann', 'a', 'a', 1, 'a' FROM generate_series(2, $1)""",
        MOST_FILES,
    )
    last = await upload(client)
    with pytest.raises(BadRequestError, match="2,000 files") as refusal:
        await upload(client)
    assert refusal.value.code == "storage_full"
    await upload(gateway.client(path="/v1", key=await gateway.key("bob")))
    await client.files.delete(last.id)
    await upload(client)


async def test_a_user_keeps_a_bounded_number_of_bytes(gateway: Gateway, database: Database) -> None:
    client = gateway.client(path="/v1", key=await gateway.key("ann"))
    made = await upload(client)
    await database.execute("UPDATE file SET bytes = $1", MOST_BYTES - 5)
    with pytest.raises(BadRequestError, match="512 MiB") as refusal:
        await upload(client, b"6 more")
    assert refusal.value.code == "storage_full"
    await upload(client, b"5 too")
    await client.files.delete(made.id)
    await upload(client, b"6 more")


FORM = "multipart/form-data; boundary=b"
PURPOSE = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\ntext\r\n'
CHARSET = b"\r\ncontent-type: text/plain; charset=klingon\r\n\r\n"
END = b"--b--\r\n"
BROKEN: dict[str, tuple[str, bytes, str | None]] = {
    "no file": (FORM, PURPOSE + END, "file"),
    "no purpose": (FORM, FILE + END, "purpose"),
    "no part": (FORM, END, "file"),
    "nothing": (FORM, b"", "file"),
    "a text as file": (FORM, PURPOSE + FILE.replace(b'; filename="a"', b"") + END, "file"),
    "a file as purpose": (FORM, FILE.replace(b'"file"', b'"purpose"') + FILE + END, "purpose"),
    "two files": (FORM, PURPOSE + FILE + FILE + END, "file"),
    "two purposes": (FORM, PURPOSE + PURPOSE + FILE + END, "purpose"),
    "JSON": ("application/json", b'{"file": "a", "purpose": "b"}', "file"),
    "no content type": ("", PURPOSE + FILE + END, "file"),
    "no boundary": ("multipart/form-data", PURPOSE + FILE + END, None),
    "another boundary": ("multipart/form-data; boundary=c", PURPOSE + FILE + END, None),
    "no end": (FORM, PURPOSE + FILE, None),
    "cut within the file": (FORM, PURPOSE + FILE[:-4], None),
    "cut within a large file": (FORM, PURPOSE + FILE[:-2] + b"a" * 2_000_000, None),
    "no multipart": (FORM, b"text", None),
    "an unknown charset": (FORM, PURPOSE.replace(b"\r\n\r\n", CHARSET) + FILE + END, None),
    "a purpose in latin-1": (FORM, PURPOSE.replace(b"user", b"\xe4") + FILE + END, None),
    "a name in latin-1": (FORM, PURPOSE + FILE.replace(b'"a"', b'"\xe4"') + END, None),
    "a thousand parts": (FORM, PURPOSE * 1001 + END, None),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
async def test_a_broken_form_is_the_caller_s_fault(
    gateway: Gateway, case: tuple[str, bytes, str | None]
) -> None:
    content_type, body, param = case
    headers = {"content-type": content_type} if content_type else {}
    answer = await gateway.http.post("/v1/files", content=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == param
    assert (await gateway.http.get("/v1/files")).json()["data"] == []
    whole = PURPOSE + FILE + END
    after = await gateway.http.post("/v1/files", content=whole, headers={"content-type": FORM})
    assert after.status_code == 200


async def test_the_form_is_documented(gateway: Gateway) -> None:
    paths = (await gateway.http.get("/schema/openapi.json")).json()["paths"]
    form = paths["/v1/files"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert form["required"] == ["file", "purpose"]


async def test_a_key_and_the_scope_are_asked_for(gateway: Gateway) -> None:
    refused(await gateway.anonymous.get("/v1/files"), 401, "missing_api_key")
    key = await gateway.key("ann", "agencies")
    headers = bearer(key)
    for method, path in (
        ("POST", "/v1/files"),
        ("GET", "/v1/files"),
        ("GET", "/v1/files/file_x/content"),
    ):
        answer = await gateway.anonymous.request(method, path, headers=headers)
        refused(answer, 403, "insufficient_scope")
