"""How a request is changed so that an upstream takes it: the one place that knows what in it is
optional.

| part                          | whose          | what becomes of it if it is refused             |
|-------------------------------|----------------|-------------------------------------------------|
| `response_format`             | the gateway's  | asked more simply, then in the prompt alone     |
| `stream_options`              | the gateway's  | dropped                                         |
| the system message            | the gateway's  | moved into the first message of the user        |
| `max_tokens`                  | anybody's      | sent as `max_completion_tokens`, and vice versa |
| an agent's params             | the document's | dropped                                         |
| those in `ModelCall.insisted` | the client's   | nothing: the client is told                     |
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from gateway.agency.model import ChatMessage, Json, ModelCall
from gateway.agency.models.upstream.refusal import UpstreamRefusal

TWINS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
"""Two names of one thing. Upstreams know one or the other."""

BEGINNING = "(The conversation begins here.)"
"""Stands before an assistant's message where the user must speak first."""


class Asking(IntEnum):
    """The ways to ask for an envelope, best first. Few upstreams know the first, some know none."""

    SCHEMA = 0
    JSON = 1
    PROMPT = 2


@dataclass(frozen=True, slots=True)
class Adaptation:
    """What is sent otherwise than it is asked. `dropped` holds names, with a value where no other
    is refused. `folded`: there is no system role, and the user speaks first."""

    asking: Asking = Asking.SCHEMA
    renamed: frozenset[str] = frozenset()
    dropped: frozenset[tuple[str, str | None]] = frozenset()
    folded: bool = False

    def __or__(self, other: Adaptation) -> Adaptation:
        return Adaptation(
            max(self.asking, other.asking),
            self.renamed | other.renamed,
            self.dropped | other.dropped,
            self.folded or other.folded,
        )

    def params(self, call: ModelCall) -> dict[str, Json]:
        """Returns the parameters under the names that they are sent by. The client's own are never
        dropped."""
        if not (self.renamed or self.dropped):
            return dict(call.params)
        return {
            TWINS[name] if name in self.renamed else name: value
            for name, value in call.params.items()
            if name in call.insisted or not self.drops(name, value)
        }

    def drops(self, name: str, value: Json = None) -> bool:
        return not self.dropped.isdisjoint({(name, None), (name, repr(value))})

    def messages(self, messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
        return fold(messages) if self.folded else messages

    def told(self, before: Adaptation) -> dict[str, object]:
        """Returns what is new since then, as the fields of a log line."""
        fields: dict[str, object] = {}
        if self.asking is not before.asking:
            fields["response_format"] = self.asking.name.lower()
        if renamed := self.renamed - before.renamed:
            fields["renamed"] = {name: TWINS[name] for name in sorted(renamed)}
        if dropped := self.dropped - before.dropped:
            fields["dropped"] = sorted(name for name, _ in dropped)
        if self.folded and not before.folded:
            fields["system"] = "in the first user message"
        return fields


AS_ASKED = Adaptation()


def fold(messages: Sequence[ChatMessage]) -> Sequence[ChatMessage]:
    """The same without a system message, beginning with the user."""
    if not messages:
        return messages
    first, *rest = messages
    system = first.get("role") == "system"
    told = first.get("content") if system else BEGINNING
    rest = rest if system else list(messages)
    if not rest or rest[0].get("role") != "user":
        return [{"role": "user", "content": told}, *rest]
    if not system:
        return messages
    return [{**rest[0], "content": _before(told, rest[0].get("content"))}, *rest[1:]]


def _before(system: Json, content: Json) -> Json:
    if isinstance(content, str) and isinstance(system, str):
        return f"{system}\n\n{content}"
    parts = [content] if isinstance(content, str) or not isinstance(content, Sequence) else content
    return [{"type": "text", "text": system}, *parts]


def adapted(
    current: Adaptation, call: ModelCall, refusal: UpstreamRefusal, *, stream: bool
) -> Adaptation | None:
    """Returns how to ask again after this refusal. None if nothing in the request can give way."""
    if refusal.final:
        return None
    if refusal.of_roles and not current.folded and fold(call.messages) is not call.messages:
        return replace(current, folded=True)
    named = refusal.names(sent(current, call, stream=stream))
    if named & call.insisted - TWINS.keys():
        return None
    after = current
    for name in named:
        after = _without(after, name, call, refusal)
    if not named and not refusal.elsewhere:
        after = _asked_more_simply(after, call)
    return after if after != current else None


def sent(current: Adaptation, call: ModelCall, *, stream: bool) -> Collection[str]:
    """The optional parts of a request, under the names that they are sent by."""
    names = set(current.params(call))
    if stream and not current.drops("stream_options"):
        names.add("stream_options")
    if call.allowed and current.asking is not Asking.PROMPT:
        names.add("response_format")
    return names


def outdated(known: Adaptation, call: ModelCall, refusal: UpstreamRefusal) -> bool:
    """Returns True if a name is refused that an upstream wanted before: it has changed since."""
    renamed = {TWINS[name] for name in known.renamed if name in call.params}
    return bool(refusal.names(renamed))


def _without(
    current: Adaptation, name: str, call: ModelCall, refusal: UpstreamRefusal
) -> Adaptation:
    if name == "response_format":
        return _asked_more_simply(current, call)
    twin = TWINS.get(name)
    if twin in current.renamed:  # it has been sent under its other name already
        name, twin = twin, None
    if twin is not None and twin not in call.params and not refusal.of_value:
        return replace(current, renamed=current.renamed | {name})
    if name in call.insisted:
        return current
    value = repr(call.params.get(name)) if refusal.of_value else None
    return replace(current, dropped=current.dropped | {(name, value)})


def _asked_more_simply(current: Adaptation, call: ModelCall) -> Adaptation:
    if not call.allowed or current.asking is Asking.PROMPT:
        return current
    return replace(current, asking=Asking(current.asking + 1))
