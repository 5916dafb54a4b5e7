"""Files that are there: lists, owners, deletion, and what a message asks of them."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from openai import AsyncOpenAI, NotFoundError

from gateway import ids
from gateway.conversation.assets.files import Files, NewFile
from gateway.errors import NotFound
from gateway.postgres.database import Database
from tests.chat.reading import refused
from tests.client import bearer
from tests.running import Gateway
from tests.team import make_team

UNKNOWN = "file_00000000000000000000000000000000"


async def upload(client: AsyncOpenAI, content: bytes = b"text", purpose: str = "user_data") -> str:
    made = await client.files.create(file=("a.txt", content), purpose=purpose)  # type: ignore[arg-type]
    return made.id


async def listed(client: AsyncOpenAI, **query: object) -> list[str]:
    return [one.id async for one in client.files.list(**query)]  # type: ignore[arg-type]


async def test_files_are_listed_in_pages(gateway: Gateway) -> None:
    client = gateway.client(path="/v1")
    made = [await upload(client) for _ in range(5)]
    assert await listed(client) == made[::-1]
    for limit in range(1, 7):
        assert await listed(client, limit=limit, order="asc") == made
        assert await listed(client, limit=limit, order="desc") == made[::-1]
        assert await listed(client, limit=limit, after=made[2]) == [made[1], made[0]]
    page = (await gateway.http.get("/v1/files?limit=2&order=asc")).json()
    assert [one["id"] for one in page.pop("data")] == made[:2]
    ends = {"first_id": made[0], "last_id": made[1]}
    assert page == {"object": "list", **ends, "has_more": True}
    whole = (await gateway.http.get("/v1/files?limit=5")).json()
    assert (len(whole["data"]), whole["has_more"]) == (5, False)
    none = await gateway.http.get("/v1/files", params={"after": made[0]})
    ends = {"first_id": None, "last_id": None}
    assert none.json() == {"object": "list", "data": [], **ends, "has_more": False}


async def test_files_are_filtered_by_purpose(gateway: Gateway) -> None:
    client = gateway.client(path="/v1")
    purposes = ["batch", "vision", "batch", "evals", "batch"]
    made = [await upload(client, purpose=purpose) for purpose in purposes]
    assert await listed(client, purpose="batch", order="asc") == made[::2]
    assert await listed(client, purpose="batch", limit=1) == made[::-2]
    assert await listed(client, purpose="evals") == [made[3]]
    assert await listed(client, purpose="none") == []


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ("limit=0", 400, "limit"),
        ("limit=10001", 400, "limit"),
        ("limit=x", 400, "limit"),
        ("order=up", 400, "order"),
        ("after=x", 404, None),
        ("purpose=%00", 400, None),
    ],
)
async def test_what_is_no_page_is_refused(
    gateway: Gateway, query: str, status: int, param: str | None
) -> None:
    answer = await gateway.http.get(f"/v1/files?{query}")
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == param


async def test_only_a_download_reads_the_content(gateway: Gateway, database: Database) -> None:
    client = gateway.client(path="/v1")
    made = await upload(client)
    await database.execute("ALTER TABLE file RENAME content TO hidden")
    assert await listed(client) == [made]
    assert (await client.files.retrieve(made)).bytes == 4
    await database.execute("ALTER TABLE file RENAME hidden TO content")
    assert (await client.files.content(made)).content == b"text"


async def test_another_s_files_are_not_there(gateway: Gateway) -> None:
    mine = await upload(gateway.client(path="/v1", key=await gateway.key("ann")))
    bob = gateway.client(path="/v1", key=await gateway.key("bob"))
    his = await upload(bob)
    assert await listed(bob) == [his]
    for act in (bob.files.retrieve, bob.files.content, bob.files.delete):
        for named in (mine, UNKNOWN, "nothing"):
            with pytest.raises(NotFoundError) as refusal:
                await act(named)
            assert refusal.value.code == "file_not_found"
    ann = gateway.client(path="/v1", key=await gateway.key("ann"))
    assert (await ann.files.content(mine)).content == b"text"


async def test_below_an_agency_that_one_may_not_use_there_is_nothing(gateway: Gateway) -> None:
    team = await make_team(gateway)
    key = await gateway.key("bob")
    own = await upload(gateway.client(path="/v1", key=key))
    headers = bearer(key)
    for prefix in (f"/api/agency/{team.id}", f"/api/agency/{team.id}/v1", "/api/agency/999"):
        for method, path in (
            ("POST", "/files"),
            ("GET", "/files"),
            ("GET", f"/files/{own}"),
            ("GET", f"/files/{own}/content"),
            ("DELETE", f"/files/{own}"),
        ):
            answer = await gateway.anonymous.request(method, prefix + path, headers=headers)
            refused(answer, 404, "agency_not_found")


async def test_a_deleted_file_is_gone_everywhere(gateway: Gateway, database: Database) -> None:
    client = gateway.client(path="/v1")
    gone, kept = await upload(client, b"Secret text"), await upload(client, b"Other text")
    deleted = await client.files.delete(gone)
    assert deleted.model_dump() == {"id": gone, "object": "file", "deleted": True}
    assert await listed(client) == [kept]
    for act in (client.files.retrieve, client.files.content, client.files.delete):
        with pytest.raises(NotFoundError) as refusal:
            await act(gone)
        assert refusal.value.code == "file_not_found"
    row = await database.fetchrow("SELECT * FROM file WHERE id = $1", ids.read(ids.FILE, gone))
    assert row is not None
    left = {name: value for name, value in row.items() if value}
    assert set(left) == {"id", "created_at", "deleted_at"}


async def test_only_one_of_two_deletes_a_file(gateway: Gateway) -> None:
    made = await upload(gateway.client(path="/v1"))
    answers = await asyncio.gather(*(gateway.http.delete(f"/v1/files/{made}") for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 404]


async def make(files: Files, owner: str, *contents: bytes) -> list[UUID]:
    made = [await files.create(owner, NewFile("a.txt", "user_data", one)) for one in contents]
    return [one.id for one in made]


async def test_a_message_s_files_have_a_length_in_characters(database: Database) -> None:
    files = Files(database)
    short, marked, long = await make(
        files, "ann", "Grüße 😀".encode(), b"\xef\xbb\xbfmarked", ("ä" * 100_000).encode()
    )
    assert sum((await files.check([short], "ann")).values()) == 7
    assert sum((await files.check([marked], "ann")).values()) == 6
    assert sum((await files.check([long, short, marked], "ann")).values()) == 100_013
    assert sum((await files.check([short, short], "ann")).values()) == 7
    assert sum((await files.check([], "ann")).values()) == 0


async def test_what_is_missing_of_a_message_s_files_is_named(database: Database) -> None:
    files = Files(database)
    mine, gone = await make(files, "ann", b"mine", b"gone")
    (foreign,) = await make(files, "bob", b"foreign")
    await files.delete(gone, "ann")
    unknown = ids.new()
    with pytest.raises(NotFound) as refusal:
        await files.check([foreign, mine, gone, unknown, gone], "ann")
    assert refusal.value.code == "file_not_found"
    names = ", ".join(ids.show(ids.FILE, one) for one in (foreign, gone, unknown))
    assert refusal.value.message == f"There are no files {names}."
    with pytest.raises(NotFound, match=rf"There is no file file_{gone.hex}\."):
        await files.check([gone], "ann")
