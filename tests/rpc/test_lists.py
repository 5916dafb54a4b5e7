"""Lists: all at once or page by page, in the order of their making."""

from __future__ import annotations

from gateway import ids
from gateway.postgres.database import Database
from tests.rpc.asking import Rpc, answering
from tests.scripted import ScriptedUpstream
from tests.streams.rows import new_conversation

LIST = "list_conversations_with_interactions"


async def listed(rpc: Rpc, **more: object) -> tuple[list[str], str | None]:
    answer = await rpc.send(LIST, {"owner": rpc.owner(), **more})
    assert answer.status_code == 200, answer.text
    found = [one["id"] for one in answer.json()["conversations"]]
    return found, answer.headers.get("x-next-cursor")


async def test_all_are_listed_oldest_first(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream)
    made = [await ann.create() for _ in range(5)]
    await ann.say(made[0])
    assert await listed(ann) == (made, None)


async def test_pages_lose_and_repeat_nothing(ann: Rpc) -> None:
    made = [await ann.create() for _ in range(5)]
    first, cursor = await listed(ann, limit=2)
    second, after = await listed(ann, limit=2, cursor=cursor)
    await ann.call("delete_conversations", conversation_ids=[made[3]])
    third, end = await listed(ann, limit=2, cursor=after)
    assert (first + second + third, end) == (made, None)
    assert cursor == made[1]
    assert await listed(ann, cursor=cursor) == ([made[2], made[4]], None)
    assert await listed(ann, limit=4) == ([*made[:3], made[4]], None)


async def test_a_cursor_or_a_limit_that_is_none_is_refused(ann: Rpc) -> None:
    for more in ({"cursor": "x"}, {"cursor": "int_" + 32 * "0"}, {"limit": 0}, {"limit": 1001}):
        error = await ann.refused(LIST, 400, "invalid_request", owner=ann.owner(), **more)
        assert error["reasons"][0]["message"].startswith(next(iter(more)))


async def test_what_was_deleted_is_left_out(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream)
    kept, gone = await ann.create(), await ann.create()
    said = await ann.say(kept)
    await ann.call("delete_interactions", interaction_ids=said["input_interaction"]["id"])
    await ann.call("delete_conversations", conversation_ids=[gone])
    assert (await listed(ann))[0] == [kept]
    answer = await ann.call(LIST, owner=ann.owner())
    (conversation,) = answer["conversations"]
    assert [one["id"] for one in conversation["interactions"]] == [
        said["response_interaction"]["id"]
    ]


async def test_a_list_of_many_is_whole(ann: Rpc, database: Database) -> None:
    """More than is taken in at once."""
    for number in range(60):
        writer = await new_conversation(database, "ann")
        for line in range(10):
            await writer.say(f"{number}.{line}", owner="ann")
    answer = await ann.call(LIST, owner=ann.owner())
    told = [[one["message_content"] for one in c["interactions"]] for c in answer["conversations"]]
    assert told == [[f"{number}.{line}" for line in range(10)] for number in range(60)]


async def test_whoever_is_no_user_is_a_bot(ann: Rpc, database: Database) -> None:
    writer = await new_conversation(database, "ann")
    await writer.say("I am a program", owner="7")
    await database.execute("UPDATE interaction SET owner_type = 'agent'")
    (one,) = (await ann.read(ids.show(ids.CONVERSATION, writer.conversation_id)))["interactions"]
    assert one["owner"] == {"type": "bot", "identifier": "7"}
    assert one["ai_relay_options"]["provider_id"] == "open_ai"
