"""People, rights, messages, branches and statuses against a plain model of their rules, through
HTTP: whatever is done in whatever order, each is answered and shown what the model says."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.rooms.asking import Caller, calling
from tests.running import Gateway

USERS = ("ann", "bob", "carl")
RIGHTS = ("add_message", "edit_others_messages", "delete_others_messages", "delete_conversation")
STATUSES = ("idle", "thinking", "searching", "waiting", "offline")


@dataclass
class Message:
    id: str
    author: str
    content: str
    editions: list[str]
    deleted_by: str | None = None
    excluded: bool = False


@dataclass
class Room:
    """A conversation by the rules alone."""

    id: str
    owner: str
    joined: set[str]
    invited: set[str] = field(default_factory=set)
    rights: dict[str, set[str]] = field(default_factory=lambda: {user: set() for user in USERS})
    statuses: dict[str, str] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)
    parent: str | None = None
    root: str = ""
    gone: bool = False

    def reads(self, user: str) -> bool:
        return not self.gone and user in self.joined

    def may(self, user: str, right: str) -> bool:
        return user == self.owner or right in self.rights[user]

    def change(self, user: str, message: Message, right: str) -> int | None:
        """Why the user may not change a message; None if they may."""
        if not self.reads(user):
            return 404
        return None if message.author == user or self.may(user, right) else 403

    @property
    def shown(self) -> list[Message]:
        return [one for one in self.messages if one.deleted_by is None]


USER = st.sampled_from(USERS)
RIGHT = st.sampled_from(RIGHTS)
PLACE = st.integers(0, 7)
WORDS = st.text("ab @#`\n", min_size=1, max_size=8).filter(str.strip)


class Machine(RuleBasedStateMachine):
    loop: ClassVar[asyncio.AbstractEventLoop]
    callers: ClassVar[Mapping[str, Caller]]

    rooms = Bundle("rooms")

    def __init__(self) -> None:
        super().__init__()
        self.known: list[Room] = []

    # ---- what is done --------------------------------------------------------------------------

    @initialize(target=rooms, bobs=st.sets(RIGHT), carls=st.sets(RIGHT))
    def begin(self, bobs: set[str], carls: set[str]) -> Room:
        """A room in which three people have said something."""
        made = self._run(self.callers["ann"].create())
        room = Room(made["id"], "ann", {"ann"}, statuses={"ann": "idle"}, root=made["id"])
        self.known.append(room)
        for user, rights in (("bob", bobs), ("carl", carls)):
            body = {"kind": "user", "identifier": user, "rights": sorted({"add_message", *rights})}
            self._send("ann", "POST", f"/{room.id}/participants", 201, json=body)
            room.invited.add(user)
            room.rights[user] = {"add_message", *rights}
            self.join(room, user)
        for user in USERS:
            self.say(room, user, f"{user} is here")
        return room

    @rule(room=rooms, by=USER, who=USER, right=RIGHT)
    def invite(self, room: Room, by: str, who: str, right: str) -> None:
        body = {"kind": "user", "identifier": who, "rights": [right]}
        status = self._led(room, by)
        if status is None:
            status = 409 if who in room.joined | room.invited else 201
        self._send(by, "POST", f"/{room.id}/participants", status, json=body)
        if status == 201:
            room.invited.add(who)
            room.rights[who] = {right}
            room.statuses[who] = "offline"

    @rule(room=rooms, user=USER)
    def join(self, room: Room, user: str) -> None:
        there = not room.gone and user in room.joined | room.invited
        self._send(user, "POST", f"/{room.id}/join", 200 if there else 404)
        if there and user in room.invited:
            room.invited.discard(user)
            room.joined.add(user)
            room.statuses[user] = "idle"

    @rule(room=rooms, user=USER)
    def leave(self, room: Room, user: str) -> None:
        if room.gone or user not in room.joined | room.invited:
            status = 404
        else:
            status = 409 if user == room.owner else 204
        self._send(user, "POST", f"/{room.id}/leave", status)
        if status == 204:
            room.joined.discard(user)
            room.invited.discard(user)
            room.rights[user] = set()
            room.statuses.pop(user)

    @rule(room=rooms, by=USER, who=USER, right=RIGHT, give=st.booleans())
    def set_right(self, room: Room, by: str, who: str, right: str, give: bool) -> None:
        status = self._led(room, by)
        if status is None and who not in room.joined | room.invited:
            status = 404
        elif status is None and who == room.owner and not give:
            status = 409
        path = f"/{room.id}/participants/user/{who}/rights/{right}"
        self._send(by, "PUT" if give else "DELETE", path, status or 200)
        if status is None and who != room.owner:
            (room.rights[who].add if give else room.rights[who].discard)(right)

    @rule(room=rooms, by=USER, who=USER)
    def hand_over(self, room: Room, by: str, who: str) -> None:
        status = self._led(room, by)
        if status is None and who not in room.joined:
            status = 409
        self._send(by, "PATCH", f"/{room.id}", status or 200, json={"owner": who})
        if status is None and who != room.owner:
            room.rights[room.owner].add("add_message")
            room.owner = who

    @rule(room=rooms, user=USER, status=st.sampled_from(STATUSES))
    def do(self, room: Room, user: str, status: str) -> None:
        answer = 200 if room.reads(user) else 404
        self._send(user, "PUT", f"/{room.id}/status", answer, json={"status": status})
        if answer == 200:
            room.statuses[user] = status

    @rule(room=rooms, user=USER, words=WORDS)
    def say(self, room: Room, user: str, words: str) -> None:
        refused = 404 if not room.reads(user) else 403
        status = 201 if refused == 403 and room.may(user, "add_message") else refused
        answer = self._send(user, "POST", f"/{room.id}/messages", status, json={"content": words})
        if status == 201:
            room.messages.append(Message(answer["id"], user, words, [words]))

    @rule(room=rooms, at=PLACE, user=USER, words=WORDS)
    def edit(self, room: Room, at: int, user: str, words: str) -> None:
        message = room.messages[at % len(room.messages)]
        status = 404 if message.deleted_by else room.change(user, message, "edit_others_messages")
        status = 404 if not room.reads(user) else status
        path = f"/{room.id}/messages/{message.id}"
        self._send(user, "PATCH", path, status or 200, json={"content": words})
        if status is None and words != message.content:
            message.content = words
            message.editions.append(words)

    @rule(room=rooms, at=PLACE, user=USER, then=st.none() | USER)
    def delete(self, room: Room, at: int, user: str, then: str | None) -> None:
        """And perhaps somebody wants it back at once."""
        message = room.messages[at % len(room.messages)]
        status = 404 if message.deleted_by else room.change(user, message, "delete_others_messages")
        status = 404 if not room.reads(user) else status
        self._send(user, "DELETE", f"/{room.id}/messages/{message.id}", status or 204)
        if status is None:
            message.deleted_by = user
        if then is not None:
            self.restore(room, at, then)

    @rule(room=rooms, at=PLACE, user=USER)
    def restore(self, room: Room, at: int, user: str) -> None:
        message = room.messages[at % len(room.messages)]
        status: int | None = None
        if not room.reads(user):
            status = 404
        elif message.deleted_by == user:
            status = room.change(user, message, "delete_others_messages")
        elif message.deleted_by is not None and not room.may(user, "delete_others_messages"):
            status = 403
        path = f"/{room.id}/messages/{message.id}/restore"
        self._send(user, "POST", path, status or 200)
        if status is None:
            message.deleted_by = None

    @rule(room=rooms, at=PLACE, user=USER, excluded=st.booleans())
    def exclude(self, room: Room, at: int, user: str, excluded: bool) -> None:
        message = room.messages[at % len(room.messages)]
        status = 404 if message.deleted_by and room.reads(user) else self._led(room, user)
        path = f"/{room.id}/messages/{message.id}/excluded"
        self._send(user, "PUT", path, status or 200, json={"excluded": excluded})
        if status is None:
            message.excluded = excluded

    @rule(target=rooms, room=rooms, at=PLACE, user=USER, words=st.none() | WORDS)
    def fork(self, room: Room, at: int, user: str, words: str | None) -> Any:
        message = room.messages[at % len(room.messages)]
        there = room.reads(user) and message.deleted_by is None
        body = {"at": message.id} | ({} if words is None else {"content": words})
        status = 201 if there else 404
        made = self._send(user, "POST", f"/{room.id}/forks", status, json=body)
        if not there:
            return multiple()
        last = room.shown.index(message)
        kept = room.shown[: last + (words is None)]
        copied = [
            replace(one, id=copy["id"], editions=[one.content])
            for one, copy in zip(kept, made["messages"], strict=False)
        ]
        if words is not None:
            copied.append(Message(made["messages"][-1]["id"], user, words, [words]))
        branch = Room(
            made["id"], user, {user}, statuses={user: "idle"}, messages=copied, parent=room.id,
            root=room.root,
        )  # fmt: skip
        self.known.append(branch)
        return branch

    @rule(room=rooms, user=USER, back=st.booleans())
    def remove(self, room: Room, user: str, back: bool) -> None:
        may = user in room.joined and room.may(user, "delete_conversation")
        if back:
            status = 200 if may else (403 if room.reads(user) else 404)
            self._send(user, "POST", f"/{room.id}/restore", status)
            room.gone = room.gone and status != 200
        else:
            status = 404 if not room.reads(user) else (204 if may else 403)
            self._send(user, "DELETE", f"/{room.id}", status)
            room.gone = room.gone or status == 204

    # ---- what is seen --------------------------------------------------------------------------

    @invariant()
    def everybody_is_shown_what_is(self) -> None:
        for room in self.known[-3:]:
            for user in USERS:
                self._look(room, user)

    def _look(self, room: Room, user: str) -> None:
        if not room.reads(user):
            self._send(user, "GET", f"/{room.id}", 404)
            return
        whole = self._send(user, "GET", f"/{room.id}", 200)
        assert (whole["owner"]["identifier"], whole["parent_id"]) == (room.owner, room.parent)
        assert [
            (one["id"], one["owner"]["identifier"], one["content"],
             one["marked_as_excluded_at"] is not None)
            for one in whole["messages"]
        ] == [(one.id, one.author, one.content, one.excluded) for one in room.shown]  # fmt: skip
        people = {
            one["identifier"]: (one["joined_at"] is not None, one["status"], set(one["rights"]))
            for one in whole["participants"]
            if one["left_at"] is None
        }
        assert people == {
            who: (
                who in room.joined,
                room.statuses[who],
                set(RIGHTS) if who == room.owner else room.rights[who],
            )
            for who in room.joined | room.invited
        }
        tree = self._send(user, "GET", f"/{room.id}/branches", 200)
        family = [one for one in self.known if one.root == room.root and one.reads(user)]
        assert {one["conversation_id"] for one in tree["nodes"]} == {one.id for one in family}
        if room.shown:
            last = room.shown[-1]
            told = self._send(user, "GET", f"/{room.id}/messages/{last.id}/history", 200)
            said = [one["content"] for one in told["data"]]
            assert said[-1] == last.content
            if len(last.editions) > 1:
                assert said == last.editions

    # ---- how -----------------------------------------------------------------------------------

    def _led(self, room: Room, by: str) -> int | None:
        if not room.reads(by):
            return 404
        return None if by == room.owner else 403

    def _send(self, by: str, method: str, path: str, status: int, **more: Any) -> Any:
        answer = self._run(self.callers[by].send(method, path, **more))
        assert answer.status_code == status, (method, path, by, answer.status_code, answer.text)
        return answer.json() if answer.content else None

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)


async def test_whatever_people_do_follows_the_rules(gateway: Gateway) -> None:
    Machine.loop = asyncio.get_running_loop()
    Machine.callers = {user: await calling(gateway, user) for user in USERS}
    how = settings(max_examples=15, stateful_step_count=40, deadline=None)
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=how)
