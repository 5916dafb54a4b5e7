"""What must hold in the rows and in the transcripts, whatever befell the processes."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from gateway import ids
from gateway.postgres.database import Database, Row
from tests import integrity
from tests.serving.crash.counting import LIBRARY, MANAGER, Counting
from tests.serving.crash.transcripts import Transcript
from tests.team import Team

_OPEN = """
    SELECT count(*) AS open FROM turn WHERE state IN ('queued', 'running', 'waiting', 'suspended')
"""
_TURNS = """
    SELECT t.id, t.state, t.error, t.completed_at, t.version, i.content AS question,
           i.ordinal, r.content AS reply, r.completed_at AS replied_at, r.errors, c.version AS head
    FROM conversation c
    JOIN turn t ON t.conversation_id = c.id
    JOIN interaction i ON i.id = t.input_interaction_id
    JOIN interaction r ON r.id = t.reply_interaction_id
    WHERE c.id = $1 ORDER BY t.seq
"""
_STEPS = """
    SELECT s.turn_id, s.agent_id, s.started_at, s.completed_at, s.version, s.error
    FROM step s JOIN turn t ON t.id = s.turn_id
    WHERE t.conversation_id = $1 ORDER BY s.version
"""
_MESSAGES = """
    SELECT m.turn_id, m.agent_id, m.role, m.from_id, m.to_id, m.version,
           coalesce(i.content, m.text) AS text
    FROM message m LEFT JOIN interaction i ON i.id = m.interaction_id
    WHERE m.conversation_id = $1
"""
_INPUTS = """
    SELECT content FROM interaction WHERE conversation_id = $1 AND owner_type = 'user'
    ORDER BY ordinal
"""
_HEADS = "SELECT id, version FROM conversation"


async def all_ended(database: Database, within: float = 30.0) -> None:
    """Wait until no turn is open."""
    async with asyncio.timeout(within):
        while True:
            row = await database.fetchrow(_OPEN)
            assert row is not None
            if not row["open"]:
                return
            await asyncio.sleep(0.05)


async def check_rows(
    database: Database, counting: Counting, team: Team, asked: Mapping[str, Sequence[str]]
) -> None:
    """`asked` are the questions of each conversation; those of one sender are in order."""
    await integrity.check(database)
    found = {row["id"] for row in await database.fetch(_HEADS)}
    known = {ids.read(ids.CONVERSATION, one): questions for one, questions in asked.items()}
    problems = [] if found == set(known) else [f"conversations {found} instead of {set(known)}"]
    for conversation, questions in known.items():
        inputs = [row["content"] for row in await database.fetch(_INPUTS, conversation)]
        turns = await database.fetch(_TURNS, conversation)
        steps = await database.fetch(_STEPS, conversation)
        messages = await database.fetch(_MESSAGES, conversation)
        problems += _order(inputs, list(questions), turns)
        problems += _ends(turns, counting)
        problems += _one_at_a_time(turns, steps)
        for turn in turns:
            made = [row for row in steps if row["turn_id"] == turn["id"]]
            problems += _steps(turn, made, counting.steps)
            said = [row for row in messages if row["turn_id"] == turn["id"]]
            problems += _deliveries(turn, said, _wanted(turn["question"], team, counting))
    assert not problems, "\n".join(problems)


def _order(inputs: Sequence[str], asked: Sequence[str], turns: Sequence[Row]) -> list[str]:
    """No question is lost or doubled; what one sender asked is kept in that order, and all are
    answered in the order in which they are kept."""
    answered = [row["question"] for row in turns]
    problems = []
    if _lanes(inputs) != _lanes(asked):
        problems.append(f"asked were {asked}, kept are {inputs}")
    if answered != list(inputs):
        problems.append(f"kept are {inputs}, answered {answered}")
    ends = [row["completed_at"] for row in turns if row["completed_at"] is not None]
    if ends != sorted(ends):
        problems.append(f"turns ended out of order: {ends}")
    return problems


def _lanes(questions: Sequence[str]) -> dict[str, list[str]]:
    """By sender, who numbers what it asks: `What of this.0?`, `What of this.1?`."""
    lanes: defaultdict[str, list[str]] = defaultdict(list)
    for question in questions:
        lanes[question.rpartition(".")[0]].append(question)
    return lanes


def _ends(turns: Sequence[Row], counting: Counting) -> list[str]:
    """Every turn has its answer, and all of it."""
    problems = []
    for row in turns:
        if row["state"] != "completed":
            problems.append(f"{row['question']!r} is {row['state']}: {row['error']}")
        elif row["reply"] != counting.answer(row["question"]):
            problems.append(f"{row['question']!r} has the answer {row['reply']!r}")
        elif row["replied_at"] is None or row["errors"]:
            problems.append(f"the answer to {row['question']!r} is not complete: {row['errors']}")
    return problems


def _one_at_a_time(turns: Sequence[Row], steps: Sequence[Row]) -> list[str]:
    """No step of a turn began before the turn ahead of it had ended."""
    problems = []
    for before, after in pairwise(turns):
        begins = [row["started_at"] for row in steps if row["turn_id"] == after["id"]]
        if begins and before["completed_at"] and min(begins) < before["completed_at"]:
            problems.append(f"{after['question']!r} began before {before['question']!r} had ended")
    versions = Counter(row["version"] for row in steps)
    problems += [f"two steps have version {one}" for one, count in versions.items() if count > 1]
    return problems


def _steps(turn: Row, steps: Sequence[Row], wanted: int) -> list[str]:
    failed = [row["error"] for row in steps if row["error"] is not None]
    if len(steps) == wanted and not failed:
        return []
    return [f"{turn['question']!r} took {len(steps)} steps, of which failed: {failed}"]


def _wanted(question: str, team: Team, counting: Counting) -> dict[tuple[object, ...], int]:
    """Each thing was said once, and heard once: what is said to the library, and what it says,
    stands in one context alone."""
    manager = team[MANAGER]
    wanted: dict[tuple[object, ...], int] = {
        (manager, "user", None, manager, question): 1,
        (manager, "assistant", manager, None, counting.answer(question)): 1,
    }
    for sender, recipient, text in counting.letters(question):
        ends = tuple(-1 if name == LIBRARY else team[name] for name in (sender, recipient))
        for role, name in (("assistant", sender), ("user", recipient)):
            if name != LIBRARY:
                wanted[team[name], role, *ends, text] = 1
    return wanted


def _deliveries(
    turn: Row, messages: Sequence[Row], wanted: Mapping[tuple[object, ...], int]
) -> list[str]:
    question = turn["question"]
    columns = ("agent_id", "role", "from_id", "to_id", "text")
    found = Counter(tuple(row[column] for column in columns) for row in messages)
    if found == wanted:
        return []
    odd = {one: (found[one], wanted.get(one, 0)) for one in found.keys() | wanted.keys()}
    told = [f"{one} is there {n} times, not {m}" for one, (n, m) in odd.items() if n != m]
    return [f"{question!r}: {one}" for one in told]


# ---- readers ------------------------------------------------------------------------------------


async def check_transcripts(database: Database, transcripts: Iterable[Transcript]) -> None:
    """Wait until each reader has been told all; then each knows what the rows say, in order."""
    heads = {row["id"]: row["version"] for row in await database.fetch(_HEADS)}
    problems = []
    for transcript in transcripts:
        conversation = ids.read(ids.CONVERSATION, transcript.channel)
        try:
            async with asyncio.timeout(20):
                while not transcript.reached(heads[conversation]):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            seen, head = transcript.position, heads[conversation]
            problems.append(f"{transcript.channel} was told up to {seen} of {head}")
        problems += _told_in_order(transcript)
        problems += _told_all(transcript, await database.fetch(_TURNS, conversation))
    assert not problems, "\n".join(problems)


def check_reply(transcript: Transcript, answer: str) -> None:
    """The channel of one reply told it to its end, and nothing else."""
    problems = [problem for visit in transcript.visits for problem in _deltas(visit.told)]
    shown = [row for row in transcript.state().values() if row.get("completed_at")]
    if [row["content"] for row in shown] != [answer]:
        problems.append(f"{transcript.channel} shows {shown}")
    assert not problems, "\n".join(problems)


def _told_in_order(transcript: Transcript) -> list[str]:
    """Each version once, whoever told it."""
    versions = [one.id for one in transcript.told if one.id is not None]
    wanted = list(range(versions[0], versions[-1] + 1)) if versions else []
    problems = [] if versions == wanted else [f"versions were told as {versions}"]
    ended: set[str] = set()
    for one in transcript.told:
        if one.name == "turn.updated":
            turn = one.data["turn"]
            if turn["id"] in ended:
                problems.append(f"{turn['id']} was told again after its end")
            if turn["state"] == "completed":
                ended.add(turn["id"])
    for visit in transcript.visits:
        problems += _deltas(visit.told)
    return problems


def _deltas(told: Sequence) -> list[str]:
    """Within a connection and an attempt no word of a reply is missing."""
    shown: dict[tuple[str, int], str] = {}
    newest: dict[str, int] = {}
    problems = []
    for one in told:
        if one.name != "interaction.delta":
            continue
        reply, attempt, offset = (one.data[key] for key in ("interaction_id", "attempt", "offset"))
        text = shown.get((reply, attempt), "")
        if offset > len(text):
            problems.append(f"words of {reply} are missing: {offset} after {len(text)}")
        if attempt < newest.get(reply, 0):
            problems.append(f"attempt {attempt} of {reply} was heard after {newest[reply]}")
        newest[reply] = attempt
        shown[reply, attempt] = text[:offset] + one.data["text"]
    return problems


def _told_all(transcript: Transcript, turns: Sequence[Row]) -> list[str]:
    shown = transcript.state()
    contents = [row["content"] for row in shown.values() if "content" in row]
    wanted = [text for turn in turns for text in (turn["question"], turn["reply"])]
    told = {row["id"]: row["state"] for row in shown.values() if "responder" in row}
    problems = []
    if Counter(contents) != Counter(wanted):
        problems.append(f"{transcript.channel} shows {contents} instead of {wanted}")
    if set(told.values()) - {"completed"}:
        problems.append(f"{transcript.channel} shows turns as {told}")
    return problems
