"""Skill sets at this door."""

from __future__ import annotations

import re

import pytest

from gateway.conversation.assets.skill_sets import LENGTHS
from gateway.postgres.database import Database
from tests.rpc.asking import Body, Rpc, calling
from tests.running import Gateway

MISSING = "skill_" + 32 * "0"


def rhymes(rpc: Rpc, **more: object) -> Body:
    return {
        "owner": rpc.owner(),
        "name": "Rhymes",
        "icon": "🎵",
        "description": "Verses",
        "prompt": "Answer in rhyme!",
        **more,
    }


async def test_a_skill_set_is_made_read_changed_and_deleted(ann: Rpc) -> None:
    made = await ann.call("create_skill_set", **rhymes(ann))
    assert made == {
        "id": made["id"],
        "owner": ann.owner(),
        "name": "Rhymes",
        "icon": "🎵",
        "description": "Verses",
        "prompt": "Answer in rhyme!",
        "created_at": made["created_at"],
        "updated_at": made["created_at"],
        "deleted_at": None,
    }
    assert re.fullmatch("skill_[0-9a-f]{32}", made["id"])
    assert made["created_at"].endswith("Z")
    assert await ann.call("get_skill_set", skill_set_id=made["id"]) == made
    changed = await ann.call("update_skill_set", skill_set_id=made["id"], name="Verse", icon="")
    assert {**changed, "updated_at": None} == {
        **made,
        "name": "Verse",
        "icon": "",
        "updated_at": None,
    }
    assert await ann.call("update_skill_set", skill_set_id=made["id"], name=None)
    answer = await ann.send("delete_skill_set", {"skill_set_id": made["id"]})
    assert (answer.status_code, answer.content) == (200, b"null")
    for endpoint in ("get_skill_set", "update_skill_set", "delete_skill_set"):
        await ann.refused(endpoint, 404, "skill_set_not_found", skill_set_id=made["id"])


async def test_many_come_in_the_order_asked(ann: Rpc) -> None:
    made = [await ann.call("create_skill_set", **rhymes(ann, name=n)) for n in "abc"]
    wanted = [made[i]["id"] for i in (2, 0, 1, 0)]
    many = await ann.call("get_many_skill_sets", skill_set_ids=wanted)
    assert many == {"skill_sets": [made[2], made[0], made[1]]}
    assert await ann.call("list_skill_sets_by_owner", owner=ann.owner()) == {"skill_sets": made}
    assert await ann.call("get_many_skill_sets", skill_set_ids=[]) == {"skill_sets": []}
    error = await ann.refused(
        "get_many_skill_sets", 404, "skill_set_not_found", skill_set_ids=[*wanted, MISSING]
    )
    assert MISSING in error["message"]
    assert wanted[0] not in error["message"]


async def test_they_belong_to_their_owner(gateway: Gateway, ann: Rpc) -> None:
    made = await ann.call("create_skill_set", **rhymes(ann))
    bob = await calling(gateway, "bob", "conversations", "admin")
    for endpoint in ("get_skill_set", "update_skill_set", "delete_skill_set"):
        await bob.refused(endpoint, 404, "skill_set_not_found", skill_set_id=made["id"])
    await bob.refused("get_many_skill_sets", 404, "skill_set_not_found", skill_set_ids=[made["id"]])
    await bob.refused("create_skill_set", 403, "owner_mismatch", **rhymes(ann))
    await bob.refused("list_skill_sets_by_owner", 403, "owner_mismatch", owner=ann.owner())
    assert await bob.call("list_skill_sets_by_owner", owner=bob.owner()) == {"skill_sets": []}


async def test_who_may_act_as_others_finds_everybodys(gateway: Gateway, ann: Rpc) -> None:
    service = await calling(gateway, "service", "conversations", "act_as")
    anns = await service.call("create_skill_set", **rhymes(ann))
    bobs = await service.call("create_skill_set", **rhymes(service, owner=ann.owner("bob")))
    wanted = [bobs["id"], anns["id"]]
    many = await service.call("get_many_skill_sets", skill_set_ids=wanted)
    assert many == {"skill_sets": [bobs, anns]}
    error = await service.refused(
        "get_many_skill_sets", 404, "skill_set_not_found", skill_set_ids=[*wanted, MISSING]
    )
    assert MISSING in error["message"]
    changed = await service.call("update_skill_set", skill_set_id=anns["id"], name="Verse")
    assert changed["owner"] == ann.owner()
    await service.call("delete_skill_set", skill_set_id=anns["id"])
    assert await ann.call("list_skill_sets_by_owner", owner=ann.owner()) == {"skill_sets": []}


async def test_a_creation_with_a_key_happens_once(ann: Rpc, database: Database) -> None:
    body = rhymes(ann, idempotency_key="k")
    first = await ann.send("create_skill_set", body)
    again = await ann.send("create_skill_set", body)
    assert again.content == first.content
    other = {**body, "name": "Verse"}
    await ann.refused("create_skill_set", 422, "idempotency_key_reused", **other)
    await ann.call("create_skill_set", **rhymes(ann))
    rows = await database.fetch("SELECT id FROM skill_set")
    assert len(rows) == 2


@pytest.mark.parametrize("field", LENGTHS)
async def test_the_contract_has_the_bounds_of_the_room(ann: Rpc, field: str) -> None:
    fewest, most = LENGTHS[field]
    made = await ann.call("create_skill_set", **rhymes(ann, **{field: "x" * most}))
    assert len(made[field]) == most
    await ann.call("create_skill_set", **rhymes(ann, **{field: "x" * fewest}))
    too_long = rhymes(ann, **{field: "x" * (most + 1)})
    error = await ann.refused("create_skill_set", 400, "invalid_request", **too_long)
    assert error["reasons"] == [
        {"code": "invalid_field", "message": f"{field} must hold at most {most} characters."}
    ]
