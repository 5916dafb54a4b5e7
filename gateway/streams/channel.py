"""One conversation that is followed in this process: how far its followers have been told, and what
they are told next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from gateway.streams.events import Change, as_replay
from gateway.streams.follower import Follower, Lens, Moment, Notice, StreamEnd
from gateway.streams.source import Changed, Changes
from gateway.streams.speech import Speeches


class Channel:
    """`head` is the version that followers have been told up to, 0 until the first one has come;
    `target` is the highest version that is known to exist. `users` counts who needs it. It is
    `torn` while words of a reply are missing, or may be."""

    def __init__(self, conversation_id: UUID) -> None:
        self.conversation_id = conversation_id
        self.head = 0
        self.target = 0
        self.users = 0
        self.torn = True
        self.followers: set[Follower] = set()
        self.speeches = Speeches()
        self.whole: Moment | None = None
        self.reading_whole = asyncio.Lock()

    def is_behind(self) -> bool:
        return 0 < self.head < self.target

    def join(self, follower: Follower, moments: Sequence[Moment], changes: Changes) -> None:
        """Add a reader, who is told from now on what the others are. It has been brought to
        `changes.version`, which is not less than the head."""
        follower.begin(moments, changes.version)
        self.target = max(self.target, changes.version)
        if not self.head:
            self.head = changes.version
        self.speeches.expect(changes.speaking)
        self.followers.add(follower)
        follower.speak()

    def deliver(self, changes: Changes) -> None:
        """Tell every follower what it has not been told yet, version by version."""
        if changes.behind:
            self.end(StreamEnd.SLOW)
            return
        versions = by_version(changes)
        for version in range(self.head + 1, changes.version + 1):
            self._tell(version, versions.get(version, ()))
        self.head = max(self.head, changes.version)
        self.speeches.agree(changes.speaking)
        for follower in self.followers:
            follower.speak()

    def _tell(self, version: int, items: Sequence[Changed]) -> None:
        told = (event for item in items for event in (item.event, item.instead) if event)
        notices = {id(event): Notice(event) for event in told}
        moments: dict[Lens, Moment] = {}
        for follower in self.followers:
            if follower.version >= version:
                continue
            moment = moments.get(follower.lens)
            if moment is None:
                shown = [notices[id(event)] for event in _shown(follower.lens, items)]
                moment = moments[follower.lens] = Moment(version, shown)
            follower.push(moment)

    def end(self, ending: StreamEnd) -> None:
        for follower in self.followers:
            follower.end(ending)


def _shown(lens: Lens, items: Sequence[Changed]) -> list[Change]:
    return [event for item in items if (event := lens.shown(item)) is not None]


def by_version(changes: Changes) -> Mapping[int, Sequence[Changed]]:
    found: dict[int, list[Changed]] = {}
    for item in changes.items:
        found.setdefault(item.version, []).append(item)
    return found


def replay(changes: Changes, since: int, lens: Lens) -> list[Moment]:
    """Returns what one reader missed after `since`, version by version."""
    versions = by_version(changes)
    return [
        Moment(
            version,
            [Notice(as_replay(event)) for event in _shown(lens, versions.get(version, ()))],
        )
        for version in range(since + 1, changes.version + 1)
    ]
