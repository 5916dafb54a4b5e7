"""Agencies as they are kept: one manager, one revision a change, and nobody else's business."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from gateway.agency.teams.catalog import AgencySpec, Catalog, Limits
from gateway.agency.teams.documents import AgencyDocument, AgencyPatch, AgentDocument, AgentPatch
from gateway.auth import Principal, Scope
from gateway.errors import Conflict, GatewayError, InvalidRequest, NotFound
from gateway.postgres.database import Database

ALICE = Principal("alice", frozenset({Scope.AGENCIES, Scope.CHAT}), "a")
BOB = Principal("bob", frozenset({Scope.AGENCIES, Scope.CHAT}), "b")
MUTE = Principal("mute", frozenset({Scope.AGENCIES}), "m")
ADMIN = Principal("root", frozenset(Scope), "root")


def agent(name: str, **members: object) -> dict[str, object]:
    return {"name": name, "instructions": f"You are the {name}.", **members}


def studio(**members: object) -> AgencyDocument:
    """A manager and a programmer, or what `members` say."""
    wanted = {
        "name": "Studio",
        "manager": "manager",
        "agents": [agent("manager"), agent("programmer")],
        **members,
    }
    return msgspec.convert(wanted, AgencyDocument)


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(database)


def named(spec: AgencySpec, name: str) -> int:
    return next(agent.id for agent in spec.agents if agent.name == name)


async def test_an_agency_is_read_as_it_was_made(catalog: Catalog) -> None:
    made = await catalog.create(
        studio(
            shared=True,
            agents=[
                agent("manager", model="gpt-4o", params={"temperature": 0.5}),
                agent("programmer", collections=["handbook"]),
            ],
            settings={"limits": {"model_calls": 5, "tokens": None}},
        ),
        "alice",
    )
    assert made == await catalog.read(made.id, ALICE)
    assert (made.name, made.owner, made.shared, made.revision) == ("Studio", "alice", True, 1)
    assert made.manager.name == "manager"
    assert made.manager.model == "gpt-4o"
    assert made.manager.params == {"temperature": 0.5}
    assert made.agents[1].collections == ("handbook",)
    assert made.agents[1].label == f"#{made.agents[1].id} (programmer)"
    assert made.limits == Limits(model_calls=5, tokens=None)
    assert made.created_at == made.updated_at


async def test_the_first_agency_of_a_database_is_agency_1(catalog: Catalog) -> None:
    assert await catalog.is_blank()
    made = await catalog.create(studio(), "root")
    assert made.id == 1
    await catalog.delete(1, ADMIN)
    assert not await catalog.is_blank()


@pytest.mark.parametrize(
    ("shared", "caller", "may_use", "may_see"),
    [
        (False, ALICE, True, True),
        (False, BOB, False, False),
        (False, ADMIN, True, True),
        (True, BOB, True, False),
        (True, MUTE, False, False),
    ],
)
async def test_who_may_use_an_agency_and_who_may_see_what_it_is(
    catalog: Catalog, shared: bool, caller: Principal, may_use: bool, may_see: bool
) -> None:
    made = await catalog.create(studio(shared=shared), "alice")
    await catalog.read(made.id, ALICE)
    for way, allowed in (
        (catalog.read, may_use),
        (catalog.recall, may_use),
        (catalog.definition, may_see),
        (catalog.export, may_see),
    ):
        if allowed:
            assert await way(made.id, caller)
        else:
            with pytest.raises(NotFound) as refused:
                await way(made.id, caller)
            assert refused.value.code == "agency_not_found"


@pytest.mark.parametrize("unknown", [7, 0, -1, 2**63, 2**200])
async def test_an_agency_that_is_not_there_is_not_found(catalog: Catalog, unknown: int) -> None:
    for way in (catalog.read, catalog.recall, catalog.definition, catalog.delete):
        with pytest.raises(NotFound):
            await way(unknown, ADMIN)
    with pytest.raises(NotFound):
        await catalog.patch(unknown, AgencyPatch(name="x"), ADMIN)


async def test_a_stranger_changes_nothing(catalog: Catalog) -> None:
    made = await catalog.create(studio(shared=True), "alice")
    attempts = [
        catalog.replace(made.id, studio(), BOB),
        catalog.patch(made.id, AgencyPatch(name="mine"), BOB),
        catalog.delete(made.id, BOB),
        catalog.add_agent(made.id, msgspec.convert(agent("spy"), AgentDocument), BOB),
        catalog.patch_agent(made.id, made.manager_id, AgentPatch(name="spy"), BOB),
        catalog.delete_agent(made.id, made.manager_id, BOB),
    ]
    for attempt in attempts:
        with pytest.raises(NotFound):
            await attempt
    assert await catalog.read(made.id, ALICE) == made


async def test_a_remembered_agency_is_believed_until_it_is_forgotten(
    catalog: Catalog, database: Database
) -> None:
    made = await catalog.create(studio(), "alice")
    other = Catalog(database)
    assert await other.recall(made.id, ALICE) == made
    changed = await catalog.patch(made.id, AgencyPatch(name="Atelier"), ALICE)
    assert await other.recall(made.id, ALICE) == made
    other.forget(made.id)
    assert await other.recall(made.id, ALICE) == changed
    assert await catalog.recall(made.id, ALICE) == changed


async def test_what_was_used_least_lately_is_forgotten_first(
    catalog: Catalog, database: Database
) -> None:
    small = Catalog(database, remembered=10_000)
    made = [await catalog.create(studio(), "alice") for _ in range(20)]
    for agency in made:
        await small.recall(made[0].id, ALICE)
        await small.recall(agency.id, ALICE)
    for agency in made:
        await catalog.patch(agency.id, AgencyPatch(name=f"Atelier {agency.id}"), ALICE)
    assert (await small.recall(made[0].id, ALICE)).name == "Studio"
    assert (await small.recall(made[1].id, ALICE)).name != "Studio"


async def test_an_agency_that_is_too_large_is_not_remembered(
    catalog: Catalog, database: Database
) -> None:
    small = Catalog(database, remembered=10)
    made = await small.create(studio(), "alice")
    assert await small.recall(made.id, ALICE) == made
    await catalog.patch(made.id, AgencyPatch(name="Atelier"), ALICE)
    assert (await small.recall(made.id, ALICE)).name == "Atelier"


async def test_every_change_raises_the_revision_by_one(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    renamed = await catalog.patch(made.id, AgencyPatch(name="Atelier"), ALICE)
    assert (renamed.name, renamed.revision) == ("Atelier", 2)
    assert renamed.updated_at > made.updated_at
    tester = await catalog.add_agent(
        made.id, msgspec.convert(agent("tester"), AgentDocument), ALICE
    )
    await catalog.patch_agent(made.id, tester.id, AgentPatch(instructions="Test."), ALICE)
    await catalog.delete_agent(made.id, tester.id, ALICE)
    final = await catalog.read(made.id, ALICE)
    assert final.revision == 5
    assert [agent.updated_at for agent in final.agents] == [made.created_at] * 2


async def test_what_changes_nothing_raises_nothing(catalog: Catalog) -> None:
    made = await catalog.create(studio(agents=[agent("manager", params={"top_p": 1})]), "alice")
    await catalog.patch(made.id, AgencyPatch(name="Studio", settings=None), ALICE)
    await catalog.patch(made.id, AgencyPatch(), ALICE)
    await catalog.patch_agent(made.id, made.manager_id, AgentPatch(model=None), ALICE)
    await catalog.replace(made.id, await catalog.export(made.id, ALICE), ALICE)
    await catalog.replace(made.id, await catalog.export(made.id, ALICE, ids=True), ALICE)
    assert await catalog.read(made.id, ALICE) == made


async def test_absent_stays_and_null_empties(catalog: Catalog) -> None:
    made = await catalog.create(
        studio(
            agents=[agent("manager", model="m", collections=["c"], params={"seed": 1})],
            settings={"limits": {"repeats": 3}},
        ),
        "alice",
    )
    same = await catalog.patch_agent(made.id, made.manager_id, AgentPatch(name="boss"), ALICE)
    assert (same.model, same.collections, same.params) == ("m", ("c",), {"seed": 1})
    emptied = await catalog.patch_agent(
        made.id, made.manager_id, AgentPatch(model=None, collections=None, params=None), ALICE
    )
    assert (emptied.model, emptied.collections, emptied.params) == (None, (), {})
    cleared = await catalog.patch(made.id, AgencyPatch(settings=None), ALICE)
    assert (cleared.settings, cleared.limits) == ({}, Limits())


async def test_the_manager_can_be_handed_over_but_not_deleted(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    with pytest.raises(Conflict) as refused:
        await catalog.delete_agent(made.id, made.manager_id, ALICE)
    assert refused.value.code == "manager_required"
    await catalog.patch(made.id, AgencyPatch(manager="programmer"), ALICE)
    await catalog.delete_agent(made.id, made.manager_id, ALICE)
    assert (await catalog.read(made.id, ALICE)).manager.name == "programmer"


async def test_a_manager_that_is_renamed_stays_the_manager(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    await catalog.patch_agent(made.id, made.manager_id, AgentPatch(name="boss"), ALICE)
    now = await catalog.read(made.id, ALICE)
    assert (now.manager_id, now.manager.name) == (made.manager_id, "boss")


async def test_a_deleted_agent_is_gone_and_its_id_is_not_given_again(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    gone = named(made, "programmer")
    await catalog.delete_agent(made.id, gone, ALICE)
    new = await catalog.add_agent(
        made.id, msgspec.convert(agent("programmer"), AgentDocument), ALICE
    )
    assert new.id != gone
    for lost in (gone, 999, 2**70):
        with pytest.raises(NotFound) as refused:
            await catalog.patch_agent(made.id, lost, AgentPatch(name="x"), ALICE)
        assert refused.value.code == "agent_not_found"


async def test_a_deleted_agency_is_gone_for_all(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    await catalog.read(made.id, ALICE)
    await catalog.delete(made.id, ALICE)
    for way in (catalog.read, catalog.recall, catalog.definition, catalog.delete):
        with pytest.raises(NotFound):
            await way(made.id, ADMIN)
    assert not (await catalog.page(ADMIN, limit=10)).items


async def test_names_are_unique_in_an_agency(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    await catalog.create(studio(), "alice")
    programmer = msgspec.convert(agent("programmer"), AgentDocument)
    with pytest.raises(Conflict) as added:
        await catalog.add_agent(made.id, programmer, ALICE)
    with pytest.raises(Conflict) as renamed:
        await catalog.patch_agent(made.id, made.manager_id, AgentPatch(name="programmer"), ALICE)
    assert added.value.code == renamed.value.code == "agent_name_taken"
    with pytest.raises(InvalidRequest) as twice:
        await catalog.create(studio(agents=[agent("manager"), agent("manager")]), "alice")
    assert (twice.value.code, twice.value.param) == ("duplicate_agent_name", "agents[1].name")


@pytest.mark.parametrize(
    "name",
    ["a)\n#1 (manager", "a(b)", "#1", " a", "a ", "a  b", "a\tb", "a\u00a0b", "a\u202eb", "\x00",
     "a\u2028b", "<b>", '"', "{", "\ud800", "a,b"],
)  # fmt: skip
async def test_a_name_can_not_break_the_roster(catalog: Catalog, name: str) -> None:
    made = await catalog.create(studio(), "alice")
    with pytest.raises(InvalidRequest) as refused:
        await catalog.patch_agent(made.id, made.manager_id, AgentPatch(name=name), ALICE)
    assert (refused.value.code, refused.value.param) == ("invalid_agent_name", "name")


@pytest.mark.parametrize(
    "name", ["QA", "R&D lead", "Jürgen", "设计师", "हिन्दी", "o'brien-2/b", "7"]
)
async def test_names_of_every_language_are_welcome(catalog: Catalog, name: str) -> None:
    made = await catalog.create(studio(agents=[agent(name)], manager=name), "alice")
    assert made.manager.name == name


@pytest.mark.parametrize(
    ("members", "param", "code"),
    [
        ({"manager": "nobody"}, "manager", "unknown_manager"),
        ({"name": "two\nlines"}, "name", None),
        ({"name": "nul\0"}, "name", None),
        (
            {"agents": [agent("manager", remote="https://x/api/agents/1?a=b")]},
            "agents[0].remote",
            "invalid_remote",
        ),
        ({"agents": [agent("manager", collections=["\0"])]}, "agents[0].collections[0]", None),
        ({"agents": [agent("manager") | {"instructions": "\0"}]}, "agents[0].instructions", None),
        ({"agents": [agent("manager", id=7)]}, "id", None),
        ({"id": 7}, "id", None),
    ],
)
async def test_what_can_not_be_is_refused_by_name(
    catalog: Catalog, members: dict[str, object], param: str, code: str | None
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await catalog.create(studio(**members), "alice")
    assert (refused.value.param, refused.value.code) == (param, code)
    assert await catalog.is_blank()


@pytest.mark.parametrize(
    "members",
    [
        {"agents": []},
        {"agents": [agent(f"a{n}") for n in range(101)]},
        {"agents": [agent("x" * 65)]},
        {"agents": [agent("manager", params={"temperature": 3})]},
        {"agents": [agent("manager", params={"temperature": float("nan")})]},
        {"agents": [agent("manager", params={"stop": "x"})]},
        {"agents": [agent("manager") | {"instructions": "x" * 100_001}]},
        {"settings": {"colour": "red"}},
        {"settings": {"limits": {"model_calls": 0}}},
        {"settings": {"limits": {"seconds": float("inf")}}},
    ],
)
def test_a_document_of_the_wrong_shape_is_none(members: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        studio(**members)


async def test_an_agency_has_at_most_a_hundred_agents(catalog: Catalog) -> None:
    many = [agent("manager"), *(agent(f"a{n}") for n in range(99))]
    made = await catalog.create(studio(agents=many), "alice")
    assert [spec.name for spec in made.agents] == [str(one["name"]) for one in many]
    with pytest.raises(InvalidRequest) as refused:
        await catalog.add_agent(made.id, msgspec.convert(agent("one more"), AgentDocument), ALICE)
    assert refused.value.code == "too_many_agents"


async def test_put_keeps_agents_by_id_else_by_name(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    programmer = named(made, "programmer")
    wanted = studio(
        manager="boss", agents=[agent("boss", id=made.manager_id), agent("programmer"), agent("qa")]
    )
    now = await catalog.replace(made.id, wanted, ALICE)
    assert now.revision == 2
    assert named(now, "boss") == now.manager_id == made.manager_id
    assert named(now, "programmer") == programmer
    gone = await catalog.replace(made.id, studio(agents=[agent("manager")]), ALICE)
    assert len(gone.agents) == 1
    assert gone.manager_id not in (made.manager_id, programmer)


async def test_put_can_swap_names(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    programmer = named(made, "programmer")
    swapped = studio(
        agents=[agent("programmer", id=made.manager_id), agent("manager", id=programmer)]
    )
    now = await catalog.replace(made.id, swapped, ALICE)
    assert (now.manager_id, now.manager.name) == (programmer, "manager")
    assert named(now, "programmer") == made.manager_id


@pytest.mark.parametrize("ids", [[999], [1, 1]])
async def test_put_refuses_ids_that_mean_no_agent(catalog: Catalog, ids: list[int]) -> None:
    made = await catalog.create(studio(), "alice")
    agents = [agent(name, id=one) for name, one in zip(["manager", "b"], ids, strict=False)]
    with pytest.raises(InvalidRequest) as refused:
        await catalog.replace(made.id, studio(agents=agents), ALICE)
    assert refused.value.code == "unknown_agent"
    with pytest.raises(InvalidRequest) as other:
        await catalog.replace(made.id, studio(id=made.id + 1), ALICE)
    assert other.value.param == "id"


async def test_a_list_pages_and_shows_only_what_is_the_callers(catalog: Catalog) -> None:
    mine = [(await catalog.create(studio(), "alice")).id for _ in range(5)]
    shared = (await catalog.create(studio(shared=True), "bob")).id
    await catalog.create(studio(), "bob")
    seen: list[int] = []
    cursor: str | None = None
    while True:
        page = await catalog.page(ALICE, limit=2, cursor=cursor)
        seen += [agency.id for agency in page.items]
        if (cursor := page.next_cursor) is None:
            break
    assert seen == mine
    assert [name for _, name in page.items[0].agents] == ["manager", "programmer"]
    usable = await catalog.page(ALICE, limit=100, shared=True)
    assert [agency.id for agency in usable.items] == [*mine, shared]
    assert len((await catalog.page(ADMIN, limit=100)).items) == 7
    for cursor in ("x", "-1", "9" * 30, "\uff11"):
        with pytest.raises(InvalidRequest):
            await catalog.page(ALICE, limit=2, cursor=cursor)


async def test_racing_changes_never_leave_zero_or_two_managers(catalog: Catalog) -> None:
    names = ["a", "b", "c", "d"]
    made = await catalog.create(studio(manager="a", agents=[agent(n) for n in names]), "alice")

    async def attempt(number: int) -> None:
        name = names[number % 4]
        try:
            match number % 3:
                case 0:
                    await catalog.patch(made.id, AgencyPatch(manager=name), ALICE)
                case 1:
                    await catalog.delete_agent(made.id, named(made, name), ALICE)
                case _:
                    await catalog.add_agent(
                        made.id, msgspec.convert(agent(name), AgentDocument), ALICE
                    )
        except (Conflict, InvalidRequest, NotFound):
            return  # refused for a reason, never for a broken row

    for start in range(0, 120, 24):
        before = await catalog.read(made.id, ALICE)
        await asyncio.gather(*(attempt(start + n) for n in range(24)))
        now = await catalog.read(made.id, ALICE)
        assert now.agent(now.manager_id) is not None
        assert len({one.name for one in now.agents}) == len(now.agents)
        assert now.revision >= before.revision


async def test_racing_deletes_of_two_agents_and_handovers_to_them(catalog: Catalog) -> None:
    for _ in range(20):
        made = await catalog.create(studio(), "alice")
        results = await asyncio.gather(
            catalog.patch(made.id, AgencyPatch(manager="programmer"), ALICE),
            catalog.delete_agent(made.id, named(made, "programmer"), ALICE),
            catalog.delete_agent(made.id, made.manager_id, ALICE),
            return_exceptions=True,
        )
        assert all(isinstance(one, GatewayError) for one in results if isinstance(one, Exception))
        now = await catalog.read(made.id, ALICE)
        assert now.manager in now.agents
        assert len(now.agents) >= 1


async def test_racing_patches_lose_no_change(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    await asyncio.gather(
        *(
            catalog.add_agent(made.id, msgspec.convert(agent(f"a{n}"), AgentDocument), ALICE)
            for n in range(30)
        )
    )
    now = await catalog.read(made.id, ALICE)
    assert (len(now.agents), now.revision) == (32, 31)


async def test_applying_twice_changes_nothing(catalog: Catalog) -> None:
    first = await catalog.apply(studio(), "alice")
    assert (first.outcome, first.agency.revision) == ("created", 1)
    second = await catalog.apply(studio(), "alice")
    assert (second.outcome, second.agency, second.told) == ("unchanged", first.agency, ())
    third = await catalog.apply(studio(agents=[agent("manager"), agent("tester")]), "alice")
    gone = named(first.agency, "programmer")
    assert (third.outcome, third.agency.id) == ("updated", first.agency.id)
    assert third.told == ("tester added", f"#{gone} (programmer) removed")


async def test_apply_finds_its_agency_by_id_else_by_owner_and_name(catalog: Catalog) -> None:
    made = await catalog.create(studio(), "alice")
    assert (await catalog.apply(studio(), "bob")).outcome == "created"
    renamed = await catalog.apply(studio(name="Atelier", id=made.id), "alice")
    assert (renamed.agency.id, renamed.told) == (made.id, ("name",))
    again = await catalog.apply(studio(), "alice", agency_id=made.id)
    assert (again.agency.id, again.agency.name) == (made.id, "Studio")
    with pytest.raises(NotFound):
        await catalog.apply(studio(), "bob", agency_id=made.id)
    await catalog.create(studio(), "alice")
    with pytest.raises(Conflict) as refused:
        await catalog.apply(studio(), "alice")
    assert refused.value.code == "agency_ambiguous"
    with pytest.raises(InvalidRequest):
        await catalog.apply(studio(), "no one")


async def test_racing_applies_of_one_document_make_one_agency(catalog: Catalog) -> None:
    results = await asyncio.gather(*(catalog.apply(studio(), "alice") for _ in range(10)))
    assert sorted(one.outcome for one in results) == ["created", *["unchanged"] * 9]
