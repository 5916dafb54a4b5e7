"""Files: texts that a user has uploaded, and names in messages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gateway import ids
from gateway.conversation.absence import absent
from gateway.conversation.assets import sql_files as sql
from gateway.errors import InvalidRequest
from gateway.names import visible
from gateway.postgres.database import Database, Row
from gateway.postgres.pages import FIRST, LAST, Page, page

MIB = 1024 * 1024
MOST = 8 * MIB
"""Bytes of a file: more text than any model takes, and what Postgres stores in one go."""
MOST_FILES = 2_000
MOST_BYTES = 512 * MIB
"""What one user may keep."""
LONGEST_NAME = 255
"""Characters."""

TAKEN = "Files are taken if they are text in UTF-8 without NUL characters."

_PURPOSE = re.compile(r"[a-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file as the client gave it. `filename` is only shown, so dangerous characters are taken out
    of it."""

    filename: str
    purpose: str
    content: bytes


@dataclass(frozen=True, slots=True)
class StoredFile:
    id: UUID
    filename: str
    purpose: str
    bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class FileContent:
    filename: str
    content: bytes


class Files:
    """A file that a user does not own, or has deleted, is not there: NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, owner: str, new: NewFile) -> StoredFile:
        """Raises InvalidRequest, which says what is taken."""
        filename = _shown(new.filename)
        _check_purpose(new.purpose)
        _check_content(new.content)
        row = await self._database.fetchrow(
            sql.INSERT,
            owner,
            ids.new(),
            filename,
            new.purpose,
            new.content,
            MOST_FILES,
            MOST_BYTES,
        )
        if row is None:
            raise InvalidRequest(
                f"You may keep {MOST_FILES:,} files of {MOST_BYTES // MIB} MiB together: delete "
                "some first.",
                param="file",
                code="storage_full",
            )
        return _file(row)

    async def page(
        self,
        user: str,
        *,
        limit: int,
        after: UUID | None = None,
        newest_first: bool = False,
        purpose: str | None = None,
    ) -> Page[StoredFile]:
        """Returns files in the order of their making."""
        rows = await self._database.fetch(
            sql.NEWEST_FIRST if newest_first else sql.OLDEST_FIRST,
            user,
            after or (LAST if newest_first else FIRST),
            limit + 1,
            purpose,
        )
        return page(rows, limit, _file)

    async def one(self, file_id: UUID, user: str) -> StoredFile:
        return _file(_found(await self._database.fetchrow(sql.ONE, user, file_id), file_id))

    async def content(self, file_id: UUID, user: str) -> FileContent:
        """Byte for byte what was uploaded."""
        row = _found(await self._database.fetchrow(sql.CONTENT, user, file_id), file_id)
        return FileContent(row["filename"], row["content"])

    async def delete(self, file_id: UUID, user: str) -> None:
        _found(await self._database.fetchrow(sql.DELETE, user, file_id), file_id)

    async def check(self, wanted: Sequence[UUID], user: str) -> Mapping[UUID, int]:
        """Returns how many characters each of these files holds. Raises NotFound, which names all
        that are missing."""
        rows = await self._database.fetch(sql.LENGTHS, user, list(wanted)) if wanted else []
        found = {row["id"]: int(row["characters"]) for row in rows}
        if missing := dict.fromkeys(one for one in wanted if one not in found):
            raise absent(ids.FILE, missing)
        return found


def _shown(filename: str) -> str:
    """A client's name for its file as it may be shown: no path, nothing that can't be seen."""
    last = re.split(r"[/\\]", filename)[-1]
    name = visible(last)
    if name in ("", ".", "..") or len(name) > LONGEST_NAME:
        raise InvalidRequest(f"A file's name has 1 to {LONGEST_NAME} characters.", param="file")
    return name


def _check_purpose(purpose: str) -> None:
    if not _PURPOSE.fullmatch(purpose):
        raise InvalidRequest(
            "'purpose' holds 1 to 64 characters of a-z _ -, such as 'user_data'.", param="purpose"
        )


def _check_content(content: bytes) -> None:
    if not content:
        raise InvalidRequest(f"The file is empty. {TAKEN}", param="file", code="empty_file")
    if len(content) > MOST:
        raise InvalidRequest(
            f"The file is larger than {MOST // MIB} MiB.", param="file", code="file_too_large"
        )
    if not _is_text(content):
        raise InvalidRequest(
            f"The file is not text. {TAKEN}", param="file", code="unsupported_file_type"
        )


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def _found(row: Row | None, file_id: UUID) -> Row:
    if row is None:
        raise absent(ids.FILE, [file_id])
    return row


def _file(row: Row) -> StoredFile:
    return StoredFile(**row)
