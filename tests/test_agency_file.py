"""An agency in one file: applied twice it changes nothing, and what is exported applies."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.agency.teams.catalog import Catalog
from gateway.agency.teams.document_file import parse, render
from gateway.agency.teams.documents import NAME_MARKS, AgencyDocument
from gateway.cli.agency import OPERATOR, apply_example, apply_file, export_file, told
from gateway.errors import InvalidRequest
from gateway.postgres.database import Database

EXAMPLE = Path(__file__).parent.parent / "gateway" / "cli" / "example.yaml"
SMALL = """
name: Desk
manager: clerk
agents:
  - name: clerk
    instructions: |
      Be brief.
      Be kind.
"""


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(database)


def _letters() -> st.SearchStrategy[str]:
    return st.characters(
        codec="utf-8", categories=["Ll", "Lu", "Lo", "Nd", "Mn"], include_characters=NAME_MARKS
    )


def _is_name(text: str) -> bool:
    return text.strip(" ") == text != "" and "  " not in text


TEXT = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    # What YAML writes in its own way: blocks, blanks at the ends of lines, things like `yes`.
    st.text(st.sampled_from("a \n\t\r-:#'\"|>{}[],&*!%@`\u2028\x85\ufeff\U0001f600"), max_size=30),
    st.sampled_from(["yes", "null", "1", "1.5", "0x1F", "2024-01-01", "1:30", "=", "<<", "~", ""]),
)
NAME = st.one_of(
    st.text(_letters(), min_size=1, max_size=20).filter(_is_name),
    st.sampled_from(["yes", "null", "1", "1.5", "0x1F", "2024-01-01", "007"]),
)
LINE = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "S"]), min_size=1, max_size=30
)
SHARE = st.floats(0, 1)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0, 2),
        "top_p": SHARE | st.integers(0, 1),
        "presence_penalty": st.floats(-2, 2),
        "max_tokens": st.integers(1, 10**9),
        "seed": st.integers(-(2**63), 2**63 - 1),
        "context_tokens": st.integers(256, 10**9),
        "verbosity": st.sampled_from(["low", "medium", "high"]),
    },
)
AGENT = st.fixed_dictionaries(
    {"name": NAME, "instructions": TEXT},
    optional={
        "model": st.none() | LINE,
        "collections": st.lists(LINE, max_size=3),
        "params": PARAMS,
    },
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "model_calls": st.integers(1, 1000),
        "seconds": st.floats(1, 86_400),
        "tokens": st.none() | st.integers(1, 10**9),
        "repeats": st.integers(1, 1000),
    },
)


@st.composite
def documents(draw: st.DrawFn) -> AgencyDocument:
    agents = draw(st.lists(AGENT, min_size=1, max_size=4, unique_by=lambda agent: agent["name"]))
    wanted = {
        "name": draw(LINE),
        "manager": draw(st.sampled_from([agent["name"] for agent in agents])),
        "shared": draw(st.booleans()),
        "agents": agents,
        "settings": draw(st.just({}) | st.fixed_dictionaries({"limits": LIMITS})),
    }
    return msgspec.convert(wanted, AgencyDocument)


@given(documents())
@settings(deadline=None, max_examples=200)
def test_every_document_reads_as_it_was_written(document: AgencyDocument) -> None:
    text = render(document)
    assert parse(text) == document
    assert render(parse(text)) == text


@given(document=documents())
@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
async def test_what_is_exported_applies_and_changes_nothing(
    catalog: Catalog, document: AgencyDocument
) -> None:
    made = await catalog.create(document, "alice")
    for ids in (False, True):
        exported = await export_file(catalog, made.id, ids=ids)
        again = await catalog.apply(parse(exported), "alice", made.id)
        assert (again.outcome, again.agency) == ("unchanged", made)
        assert await export_file(catalog, made.id, ids=ids) == exported


def test_texts_of_several_lines_are_blocks_to_read() -> None:
    assert "    instructions: |\n      Be brief.\n      Be kind.\n" in render(parse(SMALL))


async def test_a_file_applied_twice_changes_nothing(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(SMALL)
    first = await apply_file(catalog, path)
    number = first.agency.manager_id
    assert told(first) == f"agency 1 (Desk): created\n  #{number} (clerk), the manager"
    assert told(await apply_file(catalog, path)) == "agency 1 (Desk): unchanged"
    path.write_text(SMALL.replace("kind", "exact") + "    model: gpt-4o\nshared: true\n")
    assert told(await apply_file(catalog, path)) == (
        f"agency 1 (Desk): updated\n  shared\n  #{number} (clerk): instructions, model"
    )


async def test_the_file_may_say_which_agency_it_means(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(SMALL)
    made = (await apply_file(catalog, path, "alice")).agency
    path.write_text(SMALL.replace("Desk", "Counter") + f"id: {made.id}\n")
    renamed = await apply_file(catalog, path, "alice")
    assert (renamed.agency.id, renamed.agency.name) == (made.id, "Counter")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: [", "This is not valid YAML: line 1, column 8"),
        ("", "Expected `object`, got `null`"),
        ("name: 1\nmanager: m\nagents: []", "got `int` - at `name`"),
        (SMALL + "colour: red", "unknown field `colour`"),
        (SMALL + "    params: {heat: 1}", "unknown field `heat` - at `agents[0].params`"),
        (SMALL + "    name: twice", "line 9, column 5: 'name' is given twice"),
        ("a: " + "[" * 5000, "nested too deep"),
        ("a: 2024-99-99", "can't be read"),
    ],
)
def test_a_file_that_is_wrong_says_where(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        parse(text)
    assert sentence in refused.value.message


async def test_a_file_that_is_not_utf8_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"name: caf\xe9")
    with pytest.raises(InvalidRequest):
        await apply_file(catalog, path)


async def test_the_example_is_the_studio_of_the_source(catalog: Catalog) -> None:
    applied = await apply_example(catalog)
    assert applied is not None
    agency = applied.agency
    assert (agency.id, agency.shared, agency.owner) == (1, True, "root")
    assert [agent.name for agent in agency.agents] == [
        "manager",
        "programmer",
        "designer",
        "tester",
    ]
    assert agency.manager.label == f"#{agency.manager_id} (manager)"
    assert (await apply_file(catalog, EXAMPLE)).outcome == "unchanged"


async def test_the_example_is_applied_once_even_if_it_was_deleted(catalog: Catalog) -> None:
    await apply_example(catalog)
    assert await apply_example(catalog) is None
    await catalog.delete(1, OPERATOR)
    assert await apply_example(catalog) is None


async def command(dsn: str, *arguments: str) -> tuple[int, str]:
    """`gateway agency …` as a process of its own: its exit code and all that it says."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway",
        "agency",
        *arguments,
        env={**os.environ, "DATABASE_URL": dsn},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said.decode()


async def test_the_command_applies_and_exports(dsn: str, tmp_path: Path) -> None:
    path, copy = tmp_path / "desk.yaml", tmp_path / "copy.yaml"
    path.write_text(SMALL)
    assert await command(dsn, "apply", str(path)) == (
        0,
        "agency 1 (Desk): created\n  #1 (clerk), the manager\n",
    )
    assert await command(dsn, "export", "1", "--output", str(copy)) == (0, "")
    assert await command(dsn, "apply", str(copy)) == (0, "agency 1 (Desk): unchanged\n")
    assert await command(dsn, "export", "1") == (0, copy.read_text())
    code, said = await command(dsn, "export", "1", "--ids")
    assert (code, said.startswith("id: 1\n")) == (0, True)
    path.write_text(said.replace("name: clerk", "name: desk").replace(": clerk", ": desk"))
    assert await command(dsn, "apply", str(path)) == (
        0,
        "agency 1 (Desk): updated\n  #1 (clerk): name\n",
    )


async def test_the_command_says_what_is_wrong(dsn: str, tmp_path: Path) -> None:
    path = tmp_path / "desk.yaml"
    path.write_text(SMALL)
    code, said = await command(dsn, "apply", str(path), "--id", "7", "--owner", "alice")
    assert (code, said) == (
        1,
        "gateway: There is no agency 7. At least alice has none: see --owner.\n",
    )
    path.write_text("name: [")
    code, said = await command(dsn, "apply", str(path))
    assert code == 1
    assert said.startswith("gateway: This is not valid YAML: line 1, co")
    assert (await command(dsn, "export", "7")) == (1, "gateway: There is no agency 7.\n")
