"""An agent says `{"to": 143, "context": "…"}` and hears `{"from": 143, "context": "…"}`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import msgspec

from gateway.agency.model import Json


@dataclass(frozen=True, slots=True)
class Envelope:
    to: int
    context: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """`reason` is one sentence that can be told to the agent; `prose` all that it says, if it says
    it in plain words and no envelope was meant."""

    reason: str
    prose: str = field(default="", compare=False)


Said: TypeAlias = "tuple[Envelope, ...] | Malformed"

NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?", re.ASCII)
_LABEL = re.compile(r"\s*+#?\s*+(-?\d{1,19})\s*+(?:\(.*\))?\s*+", re.ASCII | re.DOTALL)
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
MAX_TO = 400
"""Characters of a recipient, with the name that a model may write behind the number."""
MAX_CONTEXT = 1 << 22
"""Characters of what one envelope says: several times what the longest answers of models have."""
MAX_ENVELOPES = 200
"""In one answer. A team has a hundred agents."""
MAX_FRAME, LONGEST_ESCAPE = 100, 6
"""Characters that an envelope has around its context, and that stand for one: `\\u0041`."""
_MAX_ID = 2**63 - 1  # bigint, the type of agent ids in Postgres
_MAX_EXACT = 2**53  # from here on a float may stand for its neighbour


def encode_inbound(
    sender: int,
    text: str,
    by: Mapping[str, Json] | None = None,
    files: Sequence[Mapping[str, Json]] = (),
) -> str:
    """The server alone writes `from`, `by` (who of several speaks) and `files`; neither a text nor
    a file can break out of its string."""
    told: dict[str, Json] = {"from": sender}
    if by is not None:
        told["by"] = by
    told["context"] = text
    if files:
        told["files"] = files
    return compact(told)


def encode_passage(number: int, source: str | None, text: str) -> str:
    """Returns one line of JSON, out of which no source or text can break: no document can pass for
    two."""
    told = None if source is None else storable(source)
    return compact({"number": number, "source": told, "text": storable(text)})


def encode_outbound(envelopes: Sequence[Envelope]) -> str:
    """Returns one object, or an array of several: an agent's own words as the model is shown
    them."""
    said: list[Json] = [{"to": envelope.to, "context": envelope.context} for envelope in envelopes]
    return compact(said[0] if len(said) == 1 else said)


def encode_calling(said: Sequence[tuple[Envelope, Sequence[Json]]]) -> str:
    """The same, with the calls of the client's tools that stood in what it said."""
    told: list[Json] = []
    for envelope, calls in said:
        shown: dict[str, Json] = {"to": envelope.to, "context": envelope.context}
        told.append({**shown, "calls": calls} if calls else shown)
    return compact(told[0] if len(told) == 1 else told)


def tells(said: Sequence[tuple[int, str]], output: str) -> bool:
    """Returns True if these envelopes, as (to, context), are all that is in a model's output."""
    if len(output) > sum(MAX_FRAME + LONGEST_ESCAPE * len(context) for _, context in said):
        return False  # and an output may be long
    try:
        written: object = msgspec.json.decode(output)
    except (msgspec.DecodeError, RecursionError):
        return False
    match written:
        case {"envelopes": envelopes, **rest} if not rest:
            written = envelopes
        case dict():
            written = [written]
    return written == [{"to": to, "context": context} for to, context in said]


def schema(allowed: Sequence[int]) -> dict[str, Json]:
    """The `schema` of a strict `response_format`.

    Strict mode wants an object at the root. So who may address one party alone answers with an
    envelope, everyone else with `{"envelopes": […]}`. `to` comes first: then an answer can be
    streamed from its first character.
    """
    envelope = _closed_object(
        {"to": {"type": "integer", "enum": list(allowed)}, "context": {"type": "string"}}
    )
    if len(allowed) == 1:
        return envelope
    return _closed_object({"envelopes": {"type": "array", "items": envelope}})


def recipient(text: str) -> int | None:
    """The id that a `to` means: `143`, `143.0`, `#143 (programmer)`. None if it can't be one."""
    if len(text) > MAX_TO:
        return None
    if label := _LABEL.fullmatch(text):
        number = int(label[1])
    elif NUMBER.fullmatch(text) and abs(float(text)) < _MAX_EXACT and float(text).is_integer():
        number = int(float(text))
    else:
        return None
    return number if -_MAX_ID <= number <= _MAX_ID else None


def storable(text: str) -> str:
    """Surrogate pairs joined; a lone one and NUL, which UTF-8 and Postgres refuse, are U+FFFD."""
    if not _UNSTORABLE.search(text):
        return text
    units = text.encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "replace").replace("\0", "\ufffd")


def _closed_object(properties: dict[str, Json]) -> dict[str, Json]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def compact(value: Json) -> str:
    """JSON on one line. A `msgspec.Raw` in it is JSON already."""
    return msgspec.json.encode(value).decode()
