"""Who asked whom: what each message of a turn is to the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias
from uuid import UUID

from gateway.agency.speech.prompt import GATEWAY
from gateway.agency.turn.rules import NOBODY
from gateway.postgres.database import Row

Kind: TypeAlias = Literal["question", "answer", "note"]


@dataclass(frozen=True, slots=True)
class Saying:
    """A message of a turn; `from_id` and `to_id` are None for the API. Notes are the gateway's."""

    from_id: int | None
    to_id: int | None
    kind: Kind
    text: str


def sayings(rows: Iterable[Row], failed: Mapping[UUID, int]) -> dict[UUID | None, list[Saying]]:
    """The messages of each step, in order; of None those that no step said.

    `failed` names the agents of the steps whose model call failed: nobody waits for them any more.
    """
    questions: list[tuple[int, int]] = []
    said: dict[UUID | None, list[Saying]] = {}
    for row in rows:
        step: UUID | None = row["step_id"]
        sender, to, text = row["from_id"], row["to_id"], row["text"]
        if sender == GATEWAY:
            kind: Kind = "note"
            closed = failed.get(step) if step is not None else None
            questions = [q for q in questions if q[1] != closed and text != NOBODY]
        else:
            kind = _kind(sender, to, questions)
        said.setdefault(step, []).append(Saying(sender, to, kind, text))
    return said


def _kind(sender: int | None, to: int | None, questions: list[tuple[int, int]]) -> Kind:
    """The rule of the engine: a message to somebody who waits for one is the answer. `questions`
    are the open ones, (asker, asked)."""
    if sender is None:
        return "question"
    if to is None:
        return "answer"
    if (to, sender) in questions:
        questions.remove((to, sender))
        return "answer"
    questions.append((sender, to))
    return "question"
