"""The parts of a message that are more than its text, as they are stored.

Most are content parts of OpenAI's, as the client sent them. Two are this gateway's own: `tool_call`
for each call in what an assistant said, and `by` for a message that somebody else than the user
speaks in, such as the result of a tool. No client can send these as content parts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from gateway.agency.model import Json

Part: TypeAlias = Mapping[str, Json]
Parts: TypeAlias = "Sequence[Part] | None"

CALL: Final = "tool_call"
BY: Final = "by"
TOOL: Final = "tool"
"""The kind of a speaker that is a tool of the client's program."""


class Speaker(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who speaks: `kind` is `user`, `agency`, `agent`, `model` or `tool`; `identifier` is None if
    it is not known."""

    kind: str
    identifier: str | None = None


def call(name: str, arguments: str, *, canonical: bool = True) -> Part:
    """A call of a tool. `arguments` are stored as canonical JSON, or word for word if they are no
    JSON, or are not to be read."""
    told = _canonical(arguments) if canonical else arguments
    return {"type": CALL, "name": name, "arguments": told}


def by(speaker: Speaker) -> Part:
    return {"type": BY, "kind": speaker.kind, "identifier": speaker.identifier}


def result(role: str, name: str | None, *, answers: bool) -> Part:
    """Returns what a tool returned; `role` is that of the client's message. `answers` is true if
    the call stands in the same history."""
    return {**by(Speaker(TOOL, name)), "role": role, "answers": answers}


def speaker(parts: Parts) -> Speaker | None:
    """Returns who speaks, if the parts say so."""
    part = _by(parts)
    return None if part is None else msgspec.convert(part, Speaker)


def role(parts: Parts) -> str | None:
    """The client's role of a tool's result; None for any other message."""
    found = (_by(parts) or {}).get("role")
    return found if isinstance(found, str) else None


def answers(parts: Parts) -> bool:
    """Returns True for the result of a call that stands in the same history."""
    return bool((_by(parts) or {}).get("answers"))


def calls(parts: Parts) -> list[Json]:
    """The calls of tools, as an agent is told them."""
    return [{"name": name, "arguments": _read(arguments)} for name, arguments in called(parts)]


def called(parts: Parts) -> list[tuple[str, str]]:
    """The calls of tools, each its name and its arguments."""
    made = [part for part in parts or () if part.get("type") == CALL]
    return [(str(part["name"]), str(part["arguments"])) for part in made]


def shown(parts: Parts) -> Parts:
    """The content parts, as the client sent them."""
    own = [part for part in parts or () if part.get("type") not in (CALL, BY)]
    return own or None


def file_ids(parts: Parts) -> list[str]:
    """The files of this gateway that are named."""
    found = [part["file"] for part in parts or () if part.get("type") == "file"]
    ids = [file.get("file_id") for file in found if isinstance(file, Mapping)]
    return [one for one in ids if isinstance(one, str)]


def hashed(parts: Parts) -> Parts:
    """The parts that tell one history from another."""
    if parts is None or _by(parts) is None:
        return parts
    return [part for part in parts if part.get("type") != BY] or None


def kept(parts: Parts, by_: Speaker | None) -> Parts:
    """The parts of a copy of a message whose content holds the texts of its files."""
    own = [part for part in parts or () if part.get("type") == CALL or _is_passed_on(part)]
    if by_ is not None:
        own.append(_by(parts) or by(by_))
    return own or None


def edited(parts: Parts, text: str) -> Parts:
    """The parts of a message whose text has been replaced: images and the like stay."""
    own = [part for part in parts or () if part.get("type") not in ("text", "refusal")]
    if any(part.get("type") not in (CALL, BY) for part in own):
        own.insert(0, {"type": "text", "text": text})
    return own or None


def passed_on(parts: Parts) -> list[Part]:
    """The parts that a model is given as they are, beside the text."""
    return [part for part in parts or () if _is_passed_on(part)]


def _is_passed_on(part: Part) -> bool:
    return part.get("type") not in ("text", "refusal", CALL, BY) and not file_ids([part])


def _by(parts: Parts) -> Part | None:
    return next((part for part in parts or () if part.get("type") == BY), None)


def _canonical(arguments: str) -> str:
    try:
        return msgspec.json.encode(msgspec.json.decode(arguments), order="sorted").decode()
    except (msgspec.MsgspecError, OverflowError, RecursionError):
        return arguments


def _read(arguments: str) -> Json | msgspec.Raw:
    """JSON as it is, since no more is done with it than to tell it."""
    try:
        return msgspec.json.decode(arguments, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return arguments
