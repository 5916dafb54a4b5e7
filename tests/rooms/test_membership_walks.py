"""People who invite, join, leave, remove, grant and hand over at random: after each step the
gateway has answered, and shows, what a plain model of the rules says."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from tests.rooms.asking import Caller, calling
from tests.running import Gateway

USERS = ("ann", "bob", "carl", "dora")
RIGHTS = ("add_message", "edit_others_messages", "delete_others_messages", "delete_conversation")
STEPS = 150


@dataclass
class Model:
    """A conversation by the rules alone. Who is neither invited nor joined is nobody there."""

    owner: str = "ann"
    joined: set[str] = field(default_factory=lambda: {"ann"})
    invited: set[str] = field(default_factory=set)
    rights: dict[str, set[str]] = field(default_factory=lambda: {user: set() for user in USERS})
    said: int = 0

    @property
    def there(self) -> set[str]:
        return self.joined | self.invited

    def led(self, caller: str) -> int | None:
        """Why the caller may not do what an owner does."""
        if caller not in self.joined:
            return 404
        return None if caller == self.owner else 403

    def invite(self, caller: str, who: str, right: str) -> int:
        if refused := self.led(caller):
            return refused
        if who in self.there:
            return 409
        self.invited.add(who)
        self.rights[who] = {right}
        return 201

    def remove(self, caller: str, who: str) -> int:
        return self.led(caller) or self._go(who)

    def leave(self, caller: str) -> int:
        return self._go(caller)

    def _go(self, who: str) -> int:
        if who not in self.there:
            return 404
        if who == self.owner:
            return 409
        self.invited.discard(who)
        self.joined.discard(who)
        self.rights[who] = set()
        return 204

    def join(self, caller: str) -> int:
        if caller not in self.there:
            return 404
        self.invited.discard(caller)
        self.joined.add(caller)
        return 200

    def grant(self, caller: str, who: str, right: str) -> int:
        if refused := self.led(caller):
            return refused
        if who not in self.there:
            return 404
        if who != self.owner:
            self.rights[who].add(right)
        return 200

    def revoke(self, caller: str, who: str, right: str) -> int:
        if refused := self.led(caller):
            return refused
        if who not in self.there:
            return 404
        if who == self.owner:
            return 409
        self.rights[who].discard(right)
        return 200

    def hand_over(self, caller: str, who: str) -> int:
        if refused := self.led(caller):
            return refused
        if who not in self.joined:
            return 409
        if who != self.owner:
            self.rights[self.owner].add("add_message")
            self.owner = who
        return 200

    def say(self, caller: str) -> int:
        if caller not in self.joined:
            return 404
        if caller != self.owner and "add_message" not in self.rights[caller]:
            return 403
        self.said += 1
        return 201

    def shown(self) -> dict[str, tuple[bool, set[str]]]:
        """Returns, for each who is there, whether they have joined and what they may do."""
        return {
            user: (
                user in self.joined,
                set(RIGHTS) if user == self.owner else self.rights[user],
            )
            for user in self.there
        }


@dataclass
class Walk:
    callers: dict[str, Caller]
    room: str
    chance: random.Random
    model: Model = field(default_factory=Model)

    async def step(self) -> None:
        caller, who = self.chance.choice(USERS), self.chance.choice(USERS)
        right = self.chance.choice(RIGHTS)
        one = f"/{self.room}/participants/user/{who}/rights/{right}"
        member = {"kind": "user", "identifier": who}
        act = self.chance.choice(
            ("invite", "remove", "leave", "join", "join", "grant", "revoke", "hand_over", "say")
        )
        match act:
            case "invite":
                body = {**member, "rights": [right]}
                status = self.model.invite(caller, who, right)
                sent = self.callers[caller].send("POST", f"/{self.room}/participants", json=body)
            case "remove":
                status = self.model.remove(caller, who)
                path = f"/{self.room}/participants"
                sent = self.callers[caller].send("DELETE", path, params=member)
            case "leave":
                status = self.model.leave(caller)
                sent = self.callers[caller].send("POST", f"/{self.room}/leave")
            case "join":
                status = self.model.join(caller)
                sent = self.callers[caller].send("POST", f"/{self.room}/join")
            case "grant":
                status = self.model.grant(caller, who, right)
                sent = self.callers[caller].send("PUT", one)
            case "revoke":
                status = self.model.revoke(caller, who, right)
                sent = self.callers[caller].send("DELETE", one)
            case "hand_over":
                status = self.model.hand_over(caller, who)
                sent = self.callers[caller].send("PATCH", f"/{self.room}", json={"owner": who})
            case _:
                status = self.model.say(caller)
                body = {"content": "Hi"}
                sent = self.callers[caller].send("POST", f"/{self.room}/messages", json=body)
        answer = await sent
        assert answer.status_code == status, (act, caller, who, right, answer.text)

    async def check(self) -> None:
        whole = await self.callers[self.model.owner].read(self.room)
        assert whole["owner"]["identifier"] == self.model.owner
        assert len(whole["messages"]) == self.model.said
        shown = {
            one["identifier"]: (one["joined_at"] is not None, set(one["rights"]))
            for one in whole["participants"]
            if one["left_at"] is None
        }
        assert shown == self.model.shown()
        user = self.chance.choice(USERS)
        listed = [one["id"] for one in (await self.callers[user].call("GET"))["data"]]
        assert (self.room in listed) == (user in self.model.joined)
        invitations = (await self.callers[user].http.get("/api/invitations")).json()["data"]
        waits = [one["conversation_id"] for one in invitations]
        assert (self.room in waits) == (user in self.model.invited)


@pytest.mark.parametrize("seed", range(4))
async def test_membership_follows_its_rules(gateway: Gateway, seed: int) -> None:
    callers = {user: await calling(gateway, user) for user in USERS}
    walk = Walk(callers, (await callers["ann"].create())["id"], random.Random(seed))
    for _ in range(STEPS):
        await walk.step()
        await walk.check()
