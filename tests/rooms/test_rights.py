from __future__ import annotations

import pytest

from gateway.conversation.rooms.rights import (
    Right,
    Standing,
    demand,
    demand_lead,
    may,
    may_lead,
    may_read,
)
from gateway.errors import Forbidden
from tests.rooms.asking import Caller

OWNER = Standing(owns=True)
STRANGER = Standing()
INVITED = Standing(rights=frozenset(Right))
MEMBER = Standing(joined=True, rights=frozenset({Right.ADD_MESSAGE}))
KEEPER = Standing(keeps=True, rights=frozenset(Right))
ADMIN = Standing(admin=True, rights=frozenset(Right))
ACTING = Standing(acts=True)


@pytest.mark.parametrize(
    ("who", "reads"),
    [
        (OWNER, True),
        (MEMBER, True),
        (KEEPER, True),
        (ADMIN, True),
        (ACTING, True),
        (INVITED, False),
        (STRANGER, False),
    ],
)
def test_who_may_read(who: Standing, reads: bool) -> None:
    assert may_read(who) is reads


@pytest.mark.parametrize("right", Right)
def test_rights_are_the_owners_and_those_of_members_to_whom_they_were_granted(right: Right) -> None:
    assert may(OWNER, right)
    assert may(ACTING, right)
    assert may(Standing(joined=True, rights=frozenset({right})), right)
    assert not may(Standing(joined=True, rights=frozenset(Right) - {right}), right)
    for who in (INVITED, KEEPER, ADMIN, STRANGER):
        assert not may(who, right)


def test_only_the_owner_leads_and_who_acts_as_them() -> None:
    everything = Standing(joined=True, keeps=True, admin=True, rights=frozenset(Right))
    assert [may_lead(one) for one in (OWNER, ACTING, everything)] == [True, True, False]


def test_what_is_demanded_and_not_allowed_names_the_right() -> None:
    demand(MEMBER, Right.ADD_MESSAGE)
    with pytest.raises(Forbidden) as refused:
        demand(MEMBER, Right.DELETE_CONVERSATION)
    assert "'delete_conversation'" in str(refused.value)
    assert refused.value.code == "right_missing"
    demand_lead(OWNER)
    with pytest.raises(Forbidden):
        demand_lead(MEMBER)


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
