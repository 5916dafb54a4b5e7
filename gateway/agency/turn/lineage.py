"""Rejoining: which stored conversation a client's history continues.

Clients of the OpenAI API send the whole history and no id. A turn keeps a chained hash over the
public (role, content) pairs up to and including its answer; the same chain over a client's history
finds the turns that it has behind it. Calls of tools are part of it, by name and arguments; their
results are not, since clients shorten and drop them. The chain starts with the scope (caller,
responder and the request's `user`), so two of them never share a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import msgspec

from gateway.agency.speech import parts
from gateway.agency.turn.request import Public

PROBED_FIRST = 4
"""Prefixes looked up at once. A history that goes on is found by its longest one."""
BUSY = 64
"""Matches read for one prefix. If there are that many, there may be more, of anybody."""


def scope(principal: str, responder: str, user: str | None) -> bytes:
    """The chain's first link. Callers, responders and users can't be confused with each other."""
    return _link(b"", "\x00".join((principal, responder, "" if user is None else f"={user}")))


def extend(digest: bytes, pairs: Iterable[Public]) -> bytes:
    """The chain after `pairs`. Clients trim what they echo: white space at the ends is no
    difference."""
    for pair in pairs:
        if pair.parts is None:
            digest = _link(digest, f"{pair.role}\x00{pair.content.strip()}")
        elif not parts.answers(pair.parts):
            digest = _link(digest, f"{pair.role}\x00{pair.content.strip()}")
            digest = _beside(digest, parts.hashed(pair.parts))
    return digest


def _beside(digest: bytes, more: parts.Parts) -> bytes:
    if more is None:
        return digest
    return hashlib.sha256(digest + msgspec.json.encode(more, order="sorted")).digest()


def within(digest: bytes, conversation_id: UUID) -> bytes:
    """A request's digest where the conversation is named: the same words said in another one are
    another request."""
    return hashlib.sha256(digest + conversation_id.bytes).digest()


def _link(digest: bytes, text: str) -> bytes:
    return hashlib.sha256(digest + text.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class Chain:
    """The hashes of a dialogue. `prefixes[n]` is (hash, messages) of the n-th longest prefix that
    ends with an answer; `whole` covers the history and the inputs."""

    prefixes: tuple[tuple[bytes, int], ...]
    whole: bytes


def chain(start: bytes, history: Sequence[Public], inputs: Sequence[Public]) -> Chain:
    digest, prefixes = start, []
    for count, pair in enumerate(history, 1):
        digest = extend(digest, (pair,))
        if pair.role == "assistant":
            prefixes.append((digest, count))
    return Chain(tuple(reversed(prefixes)), extend(digest, inputs))


@dataclass(frozen=True, slots=True)
class Match:
    """A completed turn that a history has behind it.

    `followed`: something that counts came after it. `deleted` and `version` are the conversation's;
    `system` is the client's system message that was in force.
    """

    turn_id: UUID
    conversation_id: UUID
    root_id: UUID
    seq: int
    history_hash: bytes | None
    followed: bool
    deleted: bool
    version: int
    system_message_id: UUID | None
    system: str | None


@dataclass(frozen=True, slots=True)
class Begin:
    """Nothing is known of this history."""


@dataclass(frozen=True, slots=True)
class Continue:
    match: Match


@dataclass(frozen=True, slots=True)
class Fork:
    """Go on in a copy. It is `related` if both are sure to be branches of one person's talk."""

    match: Match
    related: bool = True


Decision: TypeAlias = Begin | Continue | Fork


def decide(matches: Sequence[Match], system: str | None) -> Decision:
    """Returns what to do with the matches of one prefix, the longest that has any.

    Several matches of one family are forks of each other: the one that nothing follows goes on.
    Matches of several families are equal openings of people who don't know each other: none of them
    may be joined, so the new turn gets a copy, which founds a family. The copy is best made of a
    conversation that had the same `system` message.
    """
    living = [match for match in matches if not match.deleted]
    if not living:
        return Begin()
    nearest = max(living, key=lambda match: (match.system == system, match.conversation_id))
    if len(matches) >= BUSY or len({match.root_id for match in matches}) > 1:
        return Fork(nearest, related=False)
    ends = [match for match in living if not match.followed]
    return Continue(max(ends, key=lambda match: match.conversation_id)) if ends else Fork(nearest)
