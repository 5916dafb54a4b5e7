from __future__ import annotations

import pytest

from gateway.conversation.rooms.rights import (
    Right,
    Standing,
    demand,
    may,
    may_lead,
    sees,
)
from gateway.errors import Forbidden
from tests.rooms.asking import Caller

OWNER = Standing("ann", owns=True)
STRANGER = Standing("eve")
INVITED = Standing("bob", rights=frozenset(Right))
MEMBER = Standing("bob", joined=True, rights=frozenset({Right.ADD_MESSAGE}))


def test_a_conversation_is_there_for_its_owner_and_for_those_who_have_joined() -> None:
    assert [sees(one) for one in (OWNER, MEMBER, INVITED, STRANGER)] == [True, True, False, False]


@pytest.mark.parametrize("right", Right)
def test_the_owner_has_every_right_and_others_those_that_were_granted(right: Right) -> None:
    assert may(OWNER, right)
    assert may(Standing("bob", joined=True, rights=frozenset({right})), right)
    assert not may(Standing("bob", joined=True), right)
    assert not may(INVITED, right)
    assert not may(STRANGER, right)


def test_only_the_owner_leads() -> None:
    everything = Standing("bob", joined=True, rights=frozenset(Right))
    assert [may_lead(one) for one in (OWNER, everything)] == [True, False]


def test_what_is_demanded_and_not_allowed_is_forbidden() -> None:
    demand(allowed=True, what="write")
    with pytest.raises(Forbidden) as refused:
        demand(allowed=False, what="write")
    assert str(refused.value) == "You may not write in this conversation."
    assert refused.value.code == "right_missing"


async def test_who_was_invited_sees_nothing_until_joining(ann: Caller, bob: Caller) -> None:
    made = await ann.create(("user", "bob"))
    place = f"/{made['id']}"
    patch = {"json": {"title": "Mine"}}
    for method, path, more in (
        ("GET", place, {}),
        ("PATCH", place, patch),
        ("DELETE", place, {}),
        ("GET", f"{place}/messages", {}),
        ("PUT", f"{place}/status", {"json": {"status": "writing"}}),
    ):
        await bob.refused(method, path, 404, "conversation_not_found", **more)
    assert (await bob.call("GET"))["data"] == []
    answer = await bob.http.get(f"/streams/{made['stream_channel_id']}")
    assert answer.status_code == 404
