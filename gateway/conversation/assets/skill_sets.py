"""Skill sets: prompts with a name, which a user keeps and names in messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from gateway import ids
from gateway.conversation.absence import absent
from gateway.errors import InvalidRequest
from gateway.names import line
from gateway.postgres.database import Database, Row

LENGTHS = {"name": (1, 100), "icon": (0, 64), "description": (0, 1_000), "prompt": (1, 20_000)}
"""Characters, the fewest and the most. A prompt of 20,000 is about 5,000 tokens of every call."""

_COLUMNS = """id, owner_identifier AS owner, name, icon, description, prompt, created_at,
    updated_at"""
# $1 user.
_OF = "owner_type = 'user' AND owner_identifier = $1 AND deleted_at IS NULL"
# $1 user, $2 id, then the fields.
_INSERT = f"""
    INSERT INTO skill_set (owner_type, owner_identifier, id, name, icon, description, prompt)
    VALUES ('user', $1, $2, $3, $4, $5, $6) RETURNING {_COLUMNS}
"""  # noqa: S608
# $2 ids, in any order.
_THESE = f"SELECT {_COLUMNS} FROM skill_set WHERE {_OF} AND id = ANY($2::uuid[])"  # noqa: S608
# Ids rise with time. Index: skill_set_of_owner.
_ALL = f"SELECT {_COLUMNS} FROM skill_set WHERE {_OF} ORDER BY id"  # noqa: S608
# $1 skill sets. Whose they are, for a caller who may act as anybody.
_OWNERS = """
    SELECT id, owner_identifier FROM skill_set
    WHERE id = ANY($1::uuid[]) AND owner_type = 'user' AND deleted_at IS NULL
"""
# $2 id, then the fields; null leaves one as it is.
_UPDATE = f"""
    UPDATE skill_set SET name = coalesce($3, name), icon = coalesce($4, icon),
        description = coalesce($5, description), prompt = coalesce($6, prompt), updated_at = now()
    WHERE {_OF} AND id = $2 RETURNING {_COLUMNS}
"""  # noqa: S608
# $2 id.
_DELETE = f"""
    UPDATE skill_set SET deleted_at = now(), updated_at = now() WHERE {_OF} AND id = $2
    RETURNING id
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class NewSkillSet:
    name: str
    icon: str
    description: str
    prompt: str


@dataclass(frozen=True, slots=True)
class SkillSetPatch:
    """None leaves a field as it is."""

    name: str | None = None
    icon: str | None = None
    description: str | None = None
    prompt: str | None = None


@dataclass(frozen=True, slots=True)
class SkillSet:
    id: UUID
    owner: str
    name: str
    icon: str
    description: str
    prompt: str
    created_at: datetime
    updated_at: datetime


class SkillSets:
    """A skill set that a user does not own, or has deleted, is not there: NotFound."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, owner: str, new: NewSkillSet) -> SkillSet:
        """Raises InvalidRequest, which names the field."""
        row = await self._database.fetchrow(_INSERT, owner, ids.new(), *_checked(new))
        if row is None:
            raise LookupError("an INSERT … RETURNING returned nothing")
        return _skill_set(row)

    async def get(self, wanted: Sequence[UUID], user: str) -> list[SkillSet]:
        """Returns skill sets in the order asked. Raises NotFound, which names all that are
        missing."""
        rows = await self._database.fetch(_THESE, user, list(wanted)) if wanted else []
        found = {row["id"]: _skill_set(row) for row in rows}
        if missing := dict.fromkeys(one for one in wanted if one not in found):
            raise absent(ids.SKILL_SET, missing)
        return [found[one] for one in wanted]

    async def owners(self, wanted: Sequence[UUID]) -> Mapping[UUID, str]:
        """Returns the owner of each of these that is there."""
        rows = await self._database.fetch(_OWNERS, wanted)
        return {row["id"]: row["owner_identifier"] for row in rows}

    async def of_owner(self, user: str) -> list[SkillSet]:
        """Returns a user's skill sets in the order of their making."""
        return [_skill_set(row) for row in await self._database.fetch(_ALL, user)]

    async def update(self, skill_set_id: UUID, user: str, patch: SkillSetPatch) -> SkillSet:
        """Raises NotFound, and InvalidRequest, which names the field."""
        row = await self._database.fetchrow(_UPDATE, user, skill_set_id, *_checked(patch))
        if row is None:
            raise absent(ids.SKILL_SET, [skill_set_id])
        return _skill_set(row)

    async def delete(self, skill_set_id: UUID, user: str) -> None:
        if await self._database.fetchrow(_DELETE, user, skill_set_id) is None:
            raise absent(ids.SKILL_SET, [skill_set_id])


def _checked(given: NewSkillSet | SkillSetPatch) -> tuple[str | None, ...]:
    """The four fields, in the statements' order."""
    fields = {
        "name": given.name,
        "icon": given.icon,
        "description": given.description,
        "prompt": given.prompt,
    }
    for name, text in fields.items():
        if text is not None:
            _check(name, text)
    return tuple(fields.values())


def _check(name: str, text: str) -> None:
    fewest, most = LENGTHS[name]
    if not fewest <= len(text) <= most:
        range_ = f"{fewest} to {most:,}" if fewest else f"at most {most:,}"
        raise InvalidRequest(f"{name!r} holds {range_} characters.", param=name)
    if name in ("name", "icon"):
        line(text, name)
    if "\0" in text:
        raise InvalidRequest(f"{name!r} must not hold NUL characters.", param=name)


def _skill_set(row: Row) -> SkillSet:
    return SkillSet(**row)
