"""What processes tell each other through the broker. None of it is needed to lose nothing: a signal
that is lost is made up for by the rows."""

from __future__ import annotations

from typing import TypeAlias
from uuid import UUID

import msgspec

ASKS = "agw:asks"
"""The channel on which every process hears what is followed anywhere."""


class VersionRaised(msgspec.Struct, frozen=True, array_like=True, tag="c"):
    """A conversation has reached this version."""

    version: int


class Spoke(msgspec.Struct, frozen=True, array_like=True, tag="s"):
    """More of a reply: `text` stands at `offset`, in code points, of its `attempt`."""

    interaction_id: UUID
    attempt: int
    offset: int
    text: str


class Followed(msgspec.Struct, frozen=True, array_like=True, tag="a"):
    """These conversations have readers. In those that are `afresh`, replies are told from their
    beginning again."""

    followed: list[UUID]
    afresh: list[UUID]


Signal: TypeAlias = VersionRaised | Spoke | Followed

_decoder = msgspec.msgpack.Decoder(Signal)
_encoder = msgspec.msgpack.Encoder()


def channel_of(conversation_id: UUID) -> str:
    return f"agw:{conversation_id.hex}"


def encode(signal: Signal) -> bytes:
    return _encoder.encode(signal)


def decode(payload: bytes) -> Signal | None:
    """Returns None for a message that is no signal, or one of a later version."""
    try:
        signal: Signal = _decoder.decode(payload)
    except msgspec.MsgspecError:
        return None
    return signal
