"""What a client asks of a plain model. Only what the gateway needs is read; the rest of the body is
passed on as it came, member by member."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.errors import InvalidRequest
from gateway.names import DEFAULT_PROVIDER

MAX_END_USER: Final = 256
"""Characters of a client's `user` that are kept."""

MAX_CHOICES: Final = 128

READ: Final = frozenset({"model", "metadata", "store", "stream", "stream_options", "user"})

_TRUE: Final = msgspec.Raw(b"true")
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


@dataclass(frozen=True, slots=True)
class PlainRequest:
    """`counts` is true if the client itself asked for the usage of a stream; `choices` is how many
    answers it wants. `ignored` names what was given and has no effect. `provider` serves the
    model."""

    model: str
    streamed: bool
    counts: bool
    choices: int
    end_user: str | None
    ignored: tuple[str, ...]
    members: Mapping[str, msgspec.Raw]
    provider: str = DEFAULT_PROVIDER

    def body(self, *, counted: bool) -> bytes:
        """The body for the upstream. With `counted` a stream is asked to tell its usage."""
        if not counted or self.counts or not self.streamed:
            return msgspec.json.encode(self.members)
        options = self._options()
        if options is None:  # no object: the upstream will say so
            return msgspec.json.encode(self.members)
        told = msgspec.Raw(msgspec.json.encode({**options, "include_usage": _TRUE}))
        return msgspec.json.encode({**self.members, "stream_options": told})

    def _options(self) -> Mapping[str, msgspec.Raw] | None:
        given = self.members.get("stream_options", b"null")
        if bytes(given) == b"null":
            return {}
        try:
            return _members(given)
        except msgspec.ValidationError:
            return None


def read_plain(raw: bytes) -> PlainRequest:
    """Read a body. Raises InvalidRequest; msgspec's errors if it is no JSON object.

    A member that stands there twice goes out once, with its last value, and `Model` is no member:
    an upstream that reads it as `model` would be asked for a model that nobody offered.
    """
    members = _members(raw)
    if doubtful := [name for name in members if name not in READ and name.casefold() in READ]:
        raise InvalidRequest(
            f"There is no parameter {doubtful[0]!r}; its name is {doubtful[0].casefold()!r}.",
            param=doubtful[0],
        )
    options = _value(members, "stream_options")
    return PlainRequest(
        model=_model(members),
        streamed=_value(members, "stream") is True,
        counts=isinstance(options, dict) and options.get("include_usage") is True,
        choices=_choices(_value(members, "n")),
        end_user=_end_user(_value(members, "user")),
        ignored=tuple(name for name in ("metadata", "store") if _value(members, name)),
        members={name: value for name, value in members.items() if not _kept_back(members, name)},
    )


def _kept_back(members: Mapping[str, msgspec.Raw], name: str) -> bool:
    """Returns True if the upstream must not see the member: it would store words that the gateway
    does not."""
    return name in ("metadata", "store") and bool(_value(members, name))


def _model(members: Mapping[str, msgspec.Raw]) -> str:
    model = _value(members, "model")
    if not isinstance(model, str):
        raise InvalidRequest("'model' is the name of a model.", param="model")
    return model


def _choices(n: object) -> int:
    return n if isinstance(n, int) and 1 <= n <= MAX_CHOICES else 1


def _end_user(user: object) -> str | None:
    """Postgres stores no NUL."""
    if not isinstance(user, str) or not user:
        return None
    return user[:MAX_END_USER].replace("\0", "\ufffd")


def _value(members: Mapping[str, msgspec.Raw], name: str) -> object:
    value: object = msgspec.json.decode(members[name]) if name in members else None
    return value
