"""Skill sets at the RPC door, in the style of svc_conversation."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec
from litestar import Response, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from gateway import ids
from gateway.auth import Scope
from gateway.conversation.assets.skill_sets import NewSkillSet, SkillSet, SkillSetPatch
from gateway.routes.rpc_2025_02_12.answers import skill_set
from gateway.routes.rpc_2025_02_12.calls import (
    RpcDesk,
    TheRpcDesk,
    answer,
    answers,
    nothing,
    on_behalf_of,
    refusals,
)
from gateway.routes.rpc_2025_02_12.contract import (
    CreateSkillSet,
    DeleteSkillSet,
    GetManySkillSets,
    GetSkillSet,
    ListSkillSetsByOwner,
    SkillSetAnswer,
    SkillSetList,
    UpdateSkillSet,
)


@post(
    "/create_skill_set",
    status_code=200,
    summary="Create a skill set",
    responses=answers(SkillSetAnswer) | refusals(400, 403, 422),
)
async def create_skill_set(
    data: JSONBody[CreateSkillSet],
    desk: TheRpcDesk,
) -> Response[bytes]:
    caller = on_behalf_of(data.owner, desk.principal)
    new = NewSkillSet(data.name, data.icon, data.description, data.prompt)

    async def create() -> bytes:
        return msgspec.json.encode(skill_set(await desk.skill_sets.create(caller.user, new)))

    key = data.idempotency_key
    return answer(await desk.idempotency.keyed(caller.user, "create_skill_set", key, data, create))


@post(
    "/get_skill_set",
    status_code=200,
    summary="Read a skill set",
    responses=refusals(400, 404),
)
async def get_skill_set(
    data: JSONBody[GetSkillSet],
    desk: TheRpcDesk,
) -> SkillSetAnswer:
    skill_set_id, owner = await _one(data.skill_set_id, desk)
    (found,) = await desk.skill_sets.get([skill_set_id], owner)
    return skill_set(found)


@post(
    "/get_many_skill_sets",
    status_code=200,
    summary="Read skill sets, in the order asked",
    responses=refusals(400, 404),
)
async def get_many_skill_sets(
    data: JSONBody[GetManySkillSets],
    desk: TheRpcDesk,
) -> SkillSetList:
    """A skill set that is named twice is returned once."""
    wanted = ids.read_all(ids.SKILL_SET, data.skill_set_ids)
    owners = await _owners(wanted, desk)
    found: dict[UUID, SkillSet] = {}
    for owner in dict.fromkeys(owners):
        theirs = [one for one, its in zip(wanted, owners, strict=True) if its == owner]
        found |= {one.id: one for one in await desk.skill_sets.get(theirs, owner)}
    return SkillSetList([skill_set(found[one]) for one in wanted])


@post(
    "/list_skill_sets_by_owner",
    status_code=200,
    summary="List an owner's skill sets, oldest first",
    responses=refusals(400, 403),
)
async def list_skill_sets_by_owner(
    data: JSONBody[ListSkillSetsByOwner], desk: TheRpcDesk
) -> SkillSetList:
    caller = on_behalf_of(data.owner, desk.principal)
    return SkillSetList([skill_set(one) for one in await desk.skill_sets.of_owner(caller.user)])


@post(
    "/update_skill_set",
    status_code=200,
    summary="Change a skill set",
    responses=refusals(400, 404),
)
async def update_skill_set(
    data: JSONBody[UpdateSkillSet],
    desk: TheRpcDesk,
) -> SkillSetAnswer:
    """What is left out stays as it is. Turns that have begun keep the prompt they began with."""
    skill_set_id, owner = await _one(data.skill_set_id, desk)
    patch = SkillSetPatch(data.name, data.icon, data.description, data.prompt)
    return skill_set(await desk.skill_sets.update(skill_set_id, owner, patch))


@post(
    "/delete_skill_set",
    status_code=200,
    summary="Delete a skill set",
    responses=answers(None) | refusals(400, 404),
)
async def delete_skill_set(
    data: JSONBody[DeleteSkillSet],
    desk: TheRpcDesk,
) -> Response[bytes]:
    skill_set_id, owner = await _one(data.skill_set_id, desk)
    await desk.skill_sets.delete(skill_set_id, owner)
    return nothing()


async def _one(text: str, desk: RpcDesk) -> tuple[UUID, str]:
    wanted = ids.read_all(ids.SKILL_SET, [text])
    return wanted[0], (await _owners(wanted, desk))[0]


async def _owners(wanted: Sequence[UUID], desk: RpcDesk) -> list[str]:
    """As whose each is asked for: the caller's, or whoever's it is if the caller may act as them.
    What is nobody's is asked for as the caller's, and not found."""
    principal = desk.principal
    if not principal.may(Scope.ACT_AS):
        return [principal.user] * len(wanted)
    owners = await desk.skill_sets.owners(wanted)
    return [owners.get(one, principal.user) for one in wanted]


HANDLERS: list[HTTPRouteHandler] = [
    create_skill_set,
    get_skill_set,
    get_many_skill_sets,
    list_skill_sets_by_owner,
    update_skill_set,
    delete_skill_set,
]
