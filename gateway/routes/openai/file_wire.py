"""Files on the wire: OpenAI's multipart upload, and what is told of a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from litestar import Request
from litestar.datastructures import State, UploadFile
from litestar.enums import RequestEncodingType
from litestar.openapi.spec import (
    Example,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)

from gateway import ids
from gateway.auth import Principal
from gateway.conversation.assets.files import MOST, NewFile, StoredFile
from gateway.errors import InvalidRequest
from gateway.postgres.pages import Page

MULTIPART = RequestEncodingType.MULTI_PART
IGNORED = "expires_after"


class File(msgspec.Struct, kw_only=True):
    id: str
    object: str = "file"
    bytes: int
    created_at: int
    expires_at: int | None = None
    filename: str
    purpose: str
    status: str = "processed"
    status_details: str | None = None


class FileList(msgspec.Struct):
    object: str
    data: list[File]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedFile(msgspec.Struct):
    id: str
    object: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class FileUpload:
    """What a client sent. `ignored` names what was given and has no effect."""

    file: NewFile
    ignored: str | None


async def read_upload(request: Request[Principal, str, State]) -> FileUpload:
    """Litestar would read the form for the handler, but tell less of what is wrong with it."""
    if request.content_type[0] != MULTIPART:
        raise InvalidRequest(f"Send the file as {MULTIPART.value}.", param="file")
    try:
        form = await request.form()
    except LookupError:  # Litestar decodes each text as its part says
        raise InvalidRequest("A part of the form names an unknown charset.") from None
    file, purpose = (_only(name, form.getall(name, [])) for name in ("file", "purpose"))
    if not isinstance(file, UploadFile):
        raise InvalidRequest("'file' must be a file, with a name.", param="file")
    if not isinstance(purpose, str):
        raise InvalidRequest("'purpose' must be text.", param="purpose")
    new = NewFile(file.filename, purpose, await file.read(MOST + 1))
    return FileUpload(new, IGNORED if any(name.startswith(IGNORED) for name in form) else None)


def _only(name: str, given: list[UploadFile | str]) -> UploadFile | str:
    if len(given) != 1:
        fault = "is missing" if not given else "was given more than once"
        raise InvalidRequest(f"{name!r} {fault}.", param=name)
    return given[0]


def file_answer(file: StoredFile) -> File:
    return File(
        id=ids.show(ids.FILE, file.id),
        bytes=file.bytes,
        created_at=int(file.created_at.timestamp()),
        filename=file.filename,
        purpose=file.purpose,
    )


def file_list(found: Page[StoredFile]) -> FileList:
    data = [file_answer(one) for one in found.items]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return FileList("list", data, first, last, found.more)


def attachment(filename: str) -> str:
    """The header that has a browser save a file: the name in ASCII for old clients, then as it is.
    Both are quoted such that no name can say anything else."""
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"


@dataclass
class UploadOperation(Operation):
    """Documents the form, which Litestar can't see since `read_upload` reads it."""

    def __post_init__(self) -> None:
        form = Schema(
            title="FileUpload",
            type=OpenAPIType.OBJECT,
            properties={
                "file": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY),
                "purpose": Schema(type=OpenAPIType.STRING, examples=["user_data"]),
                IGNORED: Schema(type=OpenAPIType.OBJECT, description="Taken, without effect"),
            },
            required=["file", "purpose"],
        )
        example = Example(value={"file": "notes.txt", "purpose": "user_data"})
        body = OpenAPIMediaType(form, examples={"file": example})
        self.request_body = RequestBody({MULTIPART.value: body}, required=True)
