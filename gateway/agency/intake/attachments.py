"""The files that come with messages: they must be there, be the caller's, and fit into a prompt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from gateway.agency.speech.prompt import CHARACTERS_PER_TOKEN, CONTEXT_TOKENS
from gateway.agency.turn.request import Public
from gateway.auth import Principal
from gateway.conversation.assets.files import Files
from gateway.errors import InvalidRequest
from gateway.postgres.database import Database

MOST_TEXT = CONTEXT_TOKENS * CHARACTERS_PER_TOKEN
"""Characters of all files of one message: what is beyond would fit into no prompt."""


class Attachments:
    """Raises NotFound for files that are not there, InvalidRequest for more text than fits."""

    def __init__(self, database: Database) -> None:
        self._files = Files(database)

    async def check(self, file_ids: Sequence[UUID], principal: Principal) -> None:
        """Check the files of one message."""
        lengths = await self._files.check(file_ids, principal.user)
        _demand(sum(lengths.values()), "file_ids")

    async def check_said(self, said: Iterable[Public], principal: Principal) -> None:
        """Check the files that messages name in their parts, in one statement, or none without
        files."""
        named = [ids for one in said if one.parts is not None and (ids := one.file_ids)]
        if named:
            every = [one for ids in named for one in ids]
            lengths = await self._files.check(every, principal.user)
            for ids in named:
                _demand(sum(lengths[one] for one in set(ids)), "messages")


def _demand(characters: int, param: str) -> None:
    if characters > MOST_TEXT:
        raise InvalidRequest(
            f"The files of a message hold more than {MOST_TEXT} characters.",
            param=param,
            code="files_too_large",
        )
