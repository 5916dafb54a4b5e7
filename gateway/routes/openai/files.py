"""The Files API of OpenAI. Files are the caller's, whichever agency the address names.

Source: the OpenAI API reference, Files: upload, list, retrieve, retrieve content, delete.
"""

from __future__ import annotations

from typing import Annotated

from litestar import Request, Response, Router, delete, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, QueryParameter

from gateway import ids
from gateway.auth import Principal
from gateway.conversation.assets.files import Files
from gateway.postgres.database import Database
from gateway.routes.openai.chat.stored import After, Order
from gateway.routes.openai.file_wire import (
    DeletedFile,
    File,
    FileList,
    UploadOperation,
    attachment,
    file_answer,
    file_list,
    read_upload,
)
from gateway.routes.openai.prefixes import Agency, under_each
from gateway.routes.shapes.refusals import BAD, MISSING

MOST_LISTED = 10_000
"""OpenAI's limit, and its default. Nobody has as many files."""

Limit = Annotated[
    int, QueryParameter(ge=1, le=MOST_LISTED, description="How many a page holds at most.")
]
ByPurpose = Annotated[str | None, QueryParameter(description="Those with this purpose.")]
ThePrincipal = NamedDependency[Principal]
TheFiles = NamedDependency[Files]


@post(
    "/",
    status_code=200,
    summary="Upload a text file",
    responses=BAD | MISSING,
    operation_class=UploadOperation,
)
async def create_file(request: Request[Principal, str, State], files: TheFiles) -> Response[File]:
    """UTF-8 without NUL. `expires_after` has no effect: files stay until they are deleted."""
    upload = await read_upload(request)
    stored = await files.create(request.user.user, upload.file)
    headers = {"x-gateway-ignored": upload.ignored} if upload.ignored else {}
    return Response(file_answer(stored), headers=headers)


@get("/", summary="List your files", responses=BAD | MISSING)
async def list_files(
    files: TheFiles,
    principal: ThePrincipal,
    after: After = None,
    limit: Limit = MOST_LISTED,
    order: Order = "desc",
    purpose: ByPurpose = None,
) -> FileList:
    found = await files.page(
        principal.user,
        limit=limit,
        after=ids.read(ids.FILE, after) if after else None,
        newest_first=order == "desc",
        purpose=purpose,
    )
    return file_list(found)


@get("/{file_id:str}", summary="Read a file's metadata", responses=MISSING)
async def read_file(file_id: FromPath[str], files: TheFiles, principal: ThePrincipal) -> File:
    return file_answer(await files.one(ids.read(ids.FILE, file_id), principal.user))


@get(
    "/{file_id:str}/content",
    media_type="application/octet-stream",
    summary="Download a file",
    responses=MISSING,
)
async def read_file_content(
    file_id: FromPath[str], files: TheFiles, principal: ThePrincipal
) -> Response[bytes]:
    """Returns byte for byte what was uploaded. A browser does not display it: it may be anybody's
    page."""
    found = await files.content(ids.read(ids.FILE, file_id), principal.user)
    headers = {
        "content-disposition": attachment(found.filename),
        "x-content-type-options": "nosniff",
    }
    return Response(found.content, headers=headers)


@delete("/{file_id:str}", status_code=200, summary="Delete a file", responses=MISSING)
async def delete_file(
    file_id: FromPath[str], files: TheFiles, principal: ThePrincipal
) -> DeletedFile:
    """Deletes its name and its content for good."""
    named = ids.read(ids.FILE, file_id)
    await files.delete(named, principal.user)
    return DeletedFile(ids.show(ids.FILE, named), "file", deleted=True)


async def _files(agency: Agency, database: NamedDependency[Database]) -> Files:
    """Asks for the agency since who may not use it must find nothing below it."""
    return Files(database)


ROUTES = under_each(
    [
        Router(
            path="/files",
            route_handlers=[create_file, list_files, read_file, read_file_content, delete_file],
            dependencies={"files": Provide(_files)},
        )
    ],
    tag="Files",
)
