"""A client's messages: which are taken, and what they say.

Nothing that a message says is dropped in silence: what agents can't be told is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, cast

import msgspec
from msgspec import Meta

from gateway.agency.speech import parts as own
from gateway.agency.turn.request import Dialogue, Public
from gateway.errors import InvalidRequest

SPOKEN = ("text", "refusal")
"""The types of parts that are words. All that speak may say these."""
SHOWN = ("image_url", "input_audio", "file")
"""Those that a model is given as they are. An assistant and a system message have none."""


class FunctionIn(msgspec.Struct):
    name: str
    arguments: str = ""


class CustomIn(msgspec.Struct):
    name: str
    input: str = ""


class ToolCallIn(msgspec.Struct):
    """A call that an assistant made: of a `function`, or of a `custom` tool."""

    id: str | None = None
    type: str | None = None
    function: FunctionIn | None = None
    custom: CustomIn | None = None


MOST_MESSAGES = 4_096
"""Twice as many as OpenAI takes."""
MOST_PARTS = 1_000
"""Of one message, and calls of tools."""
MOST_ARGUMENTS = 1 << 17
"""Characters of all arguments of tools that are read. What comes after them counts word for word:
to bring megabytes into canonical form takes seconds."""
Parts = Annotated[list[dict[str, object]], Meta(max_length=MOST_PARTS)]


class ChatMessageIn(msgspec.Struct):
    """`content` is a text, null, or a list of parts (`{"type": "text", "text": …}`,
    `{"type": "image_url", …}`, `{"type": "input_audio", …}`, `{"type": "file", …}`).
    `tool_calls`, or `function_call`, are what an assistant called before; `tool_call_id`, or
    `name`, says which of them a `tool` or `function` message answers."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | Parts | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCallIn], Meta(max_length=MOST_PARTS)] | None = None
    function_call: FunctionIn | None = None
    tool_call_id: str | None = None
    audio: object = None


Messages = Annotated[list[ChatMessageIn], Meta(max_length=MOST_MESSAGES)]


def dialogue(messages: Iterable[ChatMessageIn]) -> Dialogue:
    """Take a client's messages apart: its system messages, its history, and what is new. Raises
    InvalidRequest."""
    system: list[str] = []
    public: list[Public] = []
    called = _Calls()
    for message in messages:
        match message.role:
            case "system" | "developer":
                system.append(_said(message).content)
            case "assistant":
                public.append(_assistant(message, called))
            case "tool" | "function":
                public.append(_result(message, called))
            case "user":
                public.append(_said(message))
    answers = [place for place, said in enumerate(public, 1) if said.role == "assistant"]
    known = answers[-1] if answers else 0
    return Dialogue(
        history=tuple(public[:known]),
        inputs=tuple(public[known:]),
        system="\n\n".join(system) if system else None,
    )


class _Calls:
    """The calls that were made so far: names by id, those of `function_call` by the name itself."""

    def __init__(self) -> None:
        self.names: dict[str | None, str] = {}
        self._read = 0

    def add(self, key: str | None, name: str, arguments: str) -> own.Part:
        """In the order of the history, so that what is read of it stays when it goes on."""
        self.names[key] = name
        self._read += len(arguments)
        return own.call(name, arguments, canonical=self._read <= MOST_ARGUMENTS)


def _assistant(message: ChatMessageIn, called: _Calls) -> Public:
    """What an assistant said and called. Its calls are added to `called`."""
    said = _said(message)
    made = []
    for one in message.tool_calls or ():
        name, arguments = _called(one)
        made.append(called.add(one.id, name, arguments))
    if (function := message.function_call) is not None:
        made.append(called.add(function.name, function.name, function.arguments))
    if made:
        return Public(said.role, said.content, made)
    if message.audio is not None and message.content is None and message.refusal is None:
        raise InvalidRequest(
            "An assistant's message that is audio alone can't be told to a team: send its words.",
            param="messages",
            code="unsupported_content",
        )
    return said


def _called(made: ToolCallIn) -> tuple[str, str]:
    if made.function is not None:
        return made.function.name, made.function.arguments
    if made.custom is not None:
        return made.custom.name, made.custom.input
    raise InvalidRequest(
        "A tool call says under 'function' or 'custom' what was called.", param="messages"
    )


def _result(message: ChatMessageIn, called: _Calls) -> Public:
    said = _said(message)
    key = message.tool_call_id if message.role == "tool" else message.name
    answers = key in called.names
    name = called.names[key] if answers else message.name
    part = own.result(message.role, name, answers=answers)
    return Public(message.role, said.content, [*(said.parts or ()), part])


def _said(message: ChatMessageIn) -> Public:
    """The words of a message, and its parts if it is more than words."""
    if message.content is None:
        return Public(message.role, message.refusal or "")
    if isinstance(message.content, str):
        return Public(message.role, message.content)
    parts = cast("list[own.Part]", message.content)
    _check(message.role, parts)
    text = "\n".join(_text(part) for part in parts if part["type"] in SPOKEN)
    plain = all(part["type"] in SPOKEN for part in parts)
    return Public(message.role, text, None if plain else parts)


def _check(role: str, parts: Sequence[own.Part]) -> None:
    """Raises InvalidRequest that names the types of all parts that can't be told."""
    taken = SPOKEN if role in ("system", "developer", "assistant") else (*SPOKEN, *SHOWN)
    if refused := dict.fromkeys(_kind(part) for part in parts if part.get("type") not in taken):
        raise InvalidRequest(
            f"A message of the role {role!r} has no content parts of {', '.join(refused)}. Those "
            f"that it may have are of type {', '.join(taken)}.",
            param="messages",
            code="unsupported_content",
        )
    for part in parts:
        _check_shown(part)


def _kind(part: own.Part) -> str:
    kind = part.get("type")
    return f"type {kind[:64]!r}" if isinstance(kind, str) else "no type"


def _check_shown(part: own.Part) -> None:
    """Raises InvalidRequest if a part that is no words lacks what it is there for."""
    match part:
        case {"type": "image_url"} if not _holds(part, "image_url", "url"):
            wants = "An image_url part holds its address under 'image_url', as 'url'."
        case {"type": "input_audio"} if not _holds(part, "input_audio", "data"):
            wants = "An input_audio part holds its sounds under 'input_audio', as 'data'."
        case {"type": "file"} if _holds(part, "file", "file_id") == _holds(
            part, "file", "file_data"
        ):
            wants = "A file part holds under 'file' either a 'file_id' or its 'file_data'."
        case _:
            return
    raise InvalidRequest(wants, param="messages")


def _holds(part: own.Part, name: str, text: str) -> bool:
    shown = part.get(name)
    return isinstance(shown, Mapping) and isinstance(shown.get(text), str)


def _text(part: own.Part) -> str:
    """Of a part of words, which holds them under the name of its type."""
    kind = str(part["type"])
    text = part.get(kind)
    if not isinstance(text, str):
        raise InvalidRequest(f"A {kind} part holds its text under {kind!r}.", param="messages")
    return text


def holds_nul(value: object) -> bool:
    """Returns True if a text in it, however deep, can't be stored."""
    match value:
        case str():
            return "\x00" in value
        case dict():
            return any(holds_nul(item) for pair in value.items() for item in pair)
        case list():
            return any(map(holds_nul, value))
        case _:
            return False
