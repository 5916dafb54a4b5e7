"""The built-in model: it plays an agent's part without a language model, and says so.

It is deterministic and offline. An entry agent asks everyone in its team once, and the library,
then brings the answers together for the end user; the others answer whoever asked them. So a first
start, a demonstration and a load test use everything but the intelligence.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.agency.model import ChatMessage, Completion, Json, ModelCall, OnPieces, Text
from gateway.agency.models.rehearsal.filling import filled
from gateway.agency.models.rehearsal.schema import Unfillable
from gateway.agency.models.tokens import estimate, texts
from gateway.agency.speech.envelope import Envelope, compact, encode_outbound
from gateway.agency.speech.parts import TOOL, Speaker
from gateway.agency.speech.prompt import (
    END_USER,
    GATEWAY,
    LIBRARY,
    TITLE,
    WANTED_OBJECT,
    WANTED_SCHEMA,
)

DISCLAIMER: Final = "This is a rehearsal and no real model: set OPENAI_API_KEY to hear one."

_SELF = re.compile(r"You are (#-?\d+ \(.*?\))\.(?:\s|$)")
_ROSTER = re.compile(r"^#(-?\d+) \((.*)\)$", re.MULTILINE)
_ADDRESS = re.compile(r"(?<!\w)[@#](?=\w)")
_WORD = re.compile(r"\s*\S+|\s+$")

TITLE_WORDS: Final = 6
QUOTED: Final = 160
"""Characters of what somebody said that are repeated."""


class Rehearsal:
    """A `Model`. Needs no resource and never fails."""

    async def complete(self, call: ModelCall, on_pieces: OnPieces | None = None) -> Completion:
        text = reply(call.messages, call.allowed)
        if on_pieces is not None:
            text = await _speak(text, on_pieces)
        return Completion((Text(text),), usage=estimate(call.messages, text))

    async def ping(self) -> None:
        return None


async def _speak(text: str, on_pieces: OnPieces) -> str:
    """Word by word. What was said until the listener had enough."""
    said = 0
    for word in _WORD.findall(text):
        await asyncio.sleep(0)
        said += len(word)
        if not on_pieces([Text(word)]):
            break
    return text[:said]


def reply(messages: Sequence[ChatMessage], allowed: Sequence[int]) -> str:
    """Returns what the agent says: envelopes to allowed ids, or plain text if there are none."""
    scene = _read(messages)
    if _texts(messages, "system")[:1] == [TITLE]:
        return _title(_last_question(scene))
    if not allowed:
        return _to_nobody(scene, f"You said: {_quote(_last_question(scene))} {DISCLAIMER}")
    play = _lead if END_USER in allowed else _assist
    return encode_outbound([_in_format(scene, said) for said in play(scene, allowed)])


def _in_format(scene: _Scene, said: Envelope) -> Envelope:
    """An answer to the end user in the format that is wanted. Where that can't be made, in words:
    they are sent back."""
    if said.to != END_USER or scene.wanted is None:
        return said
    if not scene.wanted:
        return Envelope(END_USER, compact({"answer": said.context}))
    heard = _since_last_question(scene.heard)
    returned = sum(one.sender == GATEWAY and not one.context.startswith("#") for one in heard)
    try:
        return Envelope(END_USER, compact(filled(scene.wanted, DISCLAIMER, returned)))
    except Unfillable:
        return said


def _wanted(system: str) -> Mapping[str, Json] | None:
    """The JSON schema that a system message names; empty for any object, None for words."""
    at = system.find(WANTED_SCHEMA)
    if at < 0:
        return {} if WANTED_OBJECT in system else None
    try:
        schema: Json = json.JSONDecoder().raw_decode(system, at + len(WANTED_SCHEMA))[0]
    except (ValueError, RecursionError):
        return None
    return schema if isinstance(schema, Mapping) else None


class _Inbound(msgspec.Struct):
    sender: int = msgspec.field(name="from")
    context: str
    by: Speaker | None = None


class _Voiced(msgspec.Struct):
    """What is said to a model that knows no numbers, where several speak."""

    by: Speaker
    context: str


class _Outbound(msgspec.Struct):
    to: int
    context: str


class _Passage(msgspec.Struct):
    number: int
    source: str | None
    text: str


@dataclass(frozen=True, slots=True)
class _Scene:
    """What an agent knows: its own label, the names of the others, and all that was said to it."""

    me: str
    names: dict[int, str]
    heard: Sequence[_Inbound]
    newest: Sequence[_Inbound]
    """What it has not answered yet."""
    asked: frozenset[int]
    """Whom it asked since the end user last spoke."""
    wanted: Mapping[str, Json] | None
    """The JSON schema of its answer; empty for any object, None for words."""

    def label(self, agent: int) -> str:
        return f"#{agent} ({self.names[agent]})" if agent in self.names else f"#{agent}"


def _lead(scene: _Scene, allowed: Sequence[int]) -> list[Envelope]:
    """The part of the agent that speaks with the end user."""
    question = _last_question(scene)
    others = [agent for agent in allowed if agent > 0 or agent == LIBRARY]
    newest = scene.newest[-1].sender if scene.newest else END_USER
    if newest == END_USER and others and not scene.asked:
        return [Envelope(agent, _consult(question, agent)) for agent in others]
    if newest in others and newest not in scene.asked:
        return [Envelope(newest, _opinion(scene, scene.newest[-1].context))]
    return [Envelope(END_USER, _to_nobody(scene, _summary(scene, question)))]


def _to_nobody(scene: _Scene, text: str) -> str:
    """Where several speak, whom it names and quotes is not asked again by that."""
    several = any(said.by is not None and not _by_tool(said) for said in scene.heard)
    return _ADDRESS.sub("", text) if several else text


def _consult(question: str, agent: int) -> str:
    if agent == LIBRARY:
        return _shorten(question)
    return f"The end user says: {_quote(question)} What do you think of it?"


def _summary(scene: _Scene, question: str) -> str:
    """Sums up what came after the end user's last words."""
    heard = _since_last_question(scene.heard)
    answers = [line for said in heard if (line := _told(scene, said)) is not None]
    lines = [f"Hello from {scene.me}! You asked: {_quote(question)}", *answers]
    if not answers:
        lines.append("I have answered this on my own.")
    return "\n\n".join([*lines, DISCLAIMER])


def _told(scene: _Scene, said: _Inbound) -> str | None:
    """The gateway's notes about an agent, who can't be asked, are for the end user; its orders to
    the agent itself are not."""
    if said.sender == GATEWAY:
        return _shorten(said.context) if said.context.startswith("#") else None
    if said.sender == END_USER:
        return None
    return f"{scene.label(said.sender)} says: {_quote(_words(said))}"


def _words(said: _Inbound) -> str:
    """Returns what somebody says. Passages of the library read as a person would write them."""
    if said.sender != LIBRARY:
        return said.context
    return "\n".join(_passage(line) for line in said.context.split("\n"))


def _passage(line: str) -> str:
    try:
        passage = msgspec.json.decode(line, type=_Passage)
    except (msgspec.DecodeError, RecursionError):
        return line
    return f"[{passage.number}] {passage.source or 'source unknown'}: {passage.text}"


def _assist(scene: _Scene, allowed: Sequence[int]) -> list[Envelope]:
    """The part of everyone else: an answer to each one who asked."""
    questions = {said.sender: said.context for said in scene.newest if said.sender in allowed}
    if not questions:
        earlier = {said.sender: said.context for said in scene.heard if said.sender in allowed}
        asker = next(reversed(earlier), allowed[0])
        questions = {asker: earlier.get(asker, "")}
    return [Envelope(asker, _opinion(scene, said)) for asker, said in questions.items()]


def _title(conversation: str) -> str:
    """Returns the first words."""
    return " ".join(conversation.split()[:TITLE_WORDS])


def _opinion(scene: _Scene, question: str) -> str:
    return f"{scene.me} has rehearsed this: {_quote(question)}"


def _read(messages: Sequence[ChatMessage]) -> _Scene:
    system = "".join(_texts(messages, "system")[:1])
    introduction = _SELF.match(system)
    names = {int(number): name for number, name in _ROSTER.findall(system)}
    spoken = [at for at, message in enumerate(messages) if message.get("role") == "assistant"]
    unanswered = messages[spoken[-1] + 1 if spoken else 0 :]
    return _Scene(
        me=introduction[1] if introduction else "your assistant",
        names=names,
        heard=_heard(messages),
        newest=_heard(unanswered),
        asked=_asked(messages),
        wanted=_wanted(system),
    )


def _asked(messages: Sequence[ChatMessage]) -> frozenset[int]:
    asked: set[int] = set()
    for message in messages:
        if message.get("role") == "assistant":
            asked.update(_recipients(message))
        elif any(said.sender == END_USER for said in _heard([message])):
            asked.clear()
    return frozenset(asked - {END_USER})


def _recipients(message: ChatMessage) -> list[int]:
    text = "".join(texts(message.get("content")))
    try:
        said = msgspec.json.decode(text, type=_Outbound | list[_Outbound])
    except (msgspec.DecodeError, RecursionError):
        return []
    return [one.to for one in (said if isinstance(said, list) else [said])]


def _heard(messages: Sequence[ChatMessage]) -> list[_Inbound]:
    told = [message.get("content") for message in messages if message.get("role") == "user"]
    return [said for content in told for text in texts(content) for said in _inbound(text)]


def _inbound(text: str) -> list[_Inbound]:
    """Reads what was said to the agent. Words outside of an envelope are the end user's."""
    try:
        said = msgspec.json.decode(text, type=_Inbound | list[_Inbound])
    except (msgspec.DecodeError, RecursionError):
        return [_voiced(text)]
    return said if isinstance(said, list) else [said]


def _voiced(text: str) -> _Inbound:
    try:
        said = msgspec.json.decode(text, type=_Voiced)
    except (msgspec.DecodeError, RecursionError):
        return _Inbound(END_USER, text)
    return _Inbound(END_USER, said.context, said.by)


def _texts(messages: Sequence[ChatMessage], role: str) -> list[str]:
    """The first text of each message of this role."""
    contents = [message.get("content") for message in messages if message.get("role") == role]
    return [text for content in contents for text in texts(content)[:1]]


def _last_question(scene: _Scene) -> str:
    asked = [said.context for said in scene.heard if said.sender == END_USER and not _by_tool(said)]
    return asked[-1] if asked else ""


def _by_tool(said: _Inbound) -> bool:
    return said.by is not None and said.by.kind == TOOL


def _since_last_question(heard: Iterable[_Inbound]) -> list[_Inbound]:
    since: list[_Inbound] = []
    for said in heard:
        if said.sender == END_USER:
            since.clear()
        since.append(said)
    return since


def _quote(text: str) -> str:
    return f"“{_shorten(text)}”"


def _shorten(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= QUOTED else words[: QUOTED - 1].rstrip() + "…"
