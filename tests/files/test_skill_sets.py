"""The store of skill sets, on a real database."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from gateway import ids
from gateway.conversation.assets.skill_sets import NewSkillSet, SkillSetPatch, SkillSets
from gateway.errors import InvalidRequest, NotFound
from gateway.postgres.database import Database

BAKER = NewSkillSet("Bäcker", "🥐", "Knows bread.", "You know all about bread.")


@pytest.fixture
def skill_sets(database: Database) -> SkillSets:
    return SkillSets(database)


async def make(skill_sets: SkillSets, owner: str, *names: str) -> list[UUID]:
    made = [await skill_sets.create(owner, NewSkillSet(n, "", "", f"Be {n}.")) for n in names]
    return [one.id for one in made]


async def test_a_skill_set_is_read_as_it_was_made(skill_sets: SkillSets) -> None:
    made = await skill_sets.create("ann", BAKER)
    assert (made.name, made.icon, made.description, made.prompt) == (
        BAKER.name,
        BAKER.icon,
        BAKER.description,
        BAKER.prompt,
    )
    assert made.owner == "ann"
    assert made.created_at == made.updated_at
    assert made.created_at.tzinfo is not None
    assert await skill_sets.get([made.id], "ann") == [made]


async def test_skill_sets_come_in_the_order_asked(skill_sets: SkillSets) -> None:
    one, two, three = await make(skill_sets, "ann", "one", "two", "three")
    for wanted in ([three, one, two], [two, two, one], [one], []):
        assert [found.id for found in await skill_sets.get(wanted, "ann")] == wanted


async def test_an_owner_s_skill_sets_are_listed_in_the_order_of_their_making(
    skill_sets: SkillSets,
) -> None:
    made = await make(skill_sets, "ann", "c", "a", "b")
    await make(skill_sets, "bob", "d")
    assert [found.id for found in await skill_sets.of_owner("ann")] == made
    await skill_sets.update(made[0], "ann", SkillSetPatch(name="z"))
    assert [found.id for found in await skill_sets.of_owner("ann")] == made
    assert await skill_sets.of_owner("nobody") == []


async def test_what_is_missing_is_named(skill_sets: SkillSets) -> None:
    mine, gone = await make(skill_sets, "ann", "mine", "gone")
    (foreign,) = await make(skill_sets, "bob", "foreign")
    await skill_sets.delete(gone, "ann")
    unknown = ids.new()
    with pytest.raises(NotFound) as refused:
        await skill_sets.get([foreign, mine, gone, unknown, gone], "ann")
    assert refused.value.code == "skill_set_not_found"
    names = ", ".join(ids.show(ids.SKILL_SET, one) for one in (foreign, gone, unknown))
    assert refused.value.message == f"There are no skill sets {names}."
    with pytest.raises(NotFound, match=rf"There is no skill set skill_{gone.hex}\."):
        await skill_sets.get([mine, gone], "ann")


async def test_a_patch_changes_what_it_names(skill_sets: SkillSets) -> None:
    made = await skill_sets.create("ann", BAKER)
    changed = await skill_sets.update(made.id, "ann", SkillSetPatch(icon="", prompt="New."))
    assert (changed.name, changed.icon, changed.description, changed.prompt) == (
        BAKER.name,
        "",
        BAKER.description,
        "New.",
    )
    assert (changed.id, changed.created_at) == (made.id, made.created_at)
    assert changed.updated_at > made.updated_at
    assert await skill_sets.get([made.id], "ann") == [changed]


async def test_a_deleted_skill_set_is_gone(skill_sets: SkillSets) -> None:
    kept, gone = await make(skill_sets, "ann", "kept", "gone")
    await skill_sets.delete(gone, "ann")
    assert [found.id for found in await skill_sets.of_owner("ann")] == [kept]
    with pytest.raises(NotFound, match="skill_"):
        await skill_sets.update(gone, "ann", SkillSetPatch(name="back"))
    with pytest.raises(NotFound, match="skill_"):
        await skill_sets.delete(gone, "ann")


async def test_only_one_of_two_deletes_a_skill_set(skill_sets: SkillSets) -> None:
    (mine,) = await make(skill_sets, "ann", "mine")
    ended = await asyncio.gather(
        *(skill_sets.delete(mine, "ann") for _ in range(2)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in ended) == ["NoneType", "NotFound"]


async def test_what_is_another_s_can_be_neither_read_nor_changed(skill_sets: SkillSets) -> None:
    made = await skill_sets.create("ann", BAKER)
    for act in (
        skill_sets.get([made.id], "bob"),
        skill_sets.update(made.id, "bob", SkillSetPatch(prompt="Mine.")),
        skill_sets.delete(made.id, "bob"),
    ):
        with pytest.raises(NotFound) as refused:
            await act
        assert refused.value.code == "skill_set_not_found"
    assert await skill_sets.get([made.id], "ann") == [made]


LONGEST = {"name": 100, "icon": 64, "description": 1_000, "prompt": 20_000}


@pytest.mark.parametrize("field", LONGEST)
async def test_fields_have_lengths(skill_sets: SkillSets, field: str) -> None:
    fields = {"name": "n", "icon": "", "description": "", "prompt": "p"}
    most = "ä" * LONGEST[field]
    made = await skill_sets.create("ann", NewSkillSet(**{**fields, field: most}))
    assert getattr(made, field) == most
    bad = [most + "ä", "a\0b"] + ([""] if field in ("name", "prompt") else [])
    for text in bad:
        with pytest.raises(InvalidRequest, match=field) as refused:
            await skill_sets.create("ann", NewSkillSet(**{**fields, field: text}))
        assert refused.value.param == field
        with pytest.raises(InvalidRequest, match=field):
            await skill_sets.update(made.id, "ann", SkillSetPatch(**{field: text}))
    assert await skill_sets.of_owner("ann") == [made]
