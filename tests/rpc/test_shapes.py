"""Every endpoint answers with exactly the members of the contract."""

from __future__ import annotations

import re

from gateway.postgres.database import Database
from tests import document
from tests.rpc.asking import Rpc, answering
from tests.running import Gateway
from tests.scripted import ScriptedUpstream

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")

CONVERSATION = {
    "owner",
    "ai_relay_options",
    "title",
    "stream_channel_id",
    "created_at",
    "updated_at",
    "deleted_at",
}
INTERACTION = {
    "id",
    "file_ids",
    "skill_set_ids",
    "marked_as_excluded_at",
    "message_content",
    "errors",
    "owner",
    "ai_relay_options",
    "created_at",
    "updated_at",
    "deleted_at",
    "completed_at",
}
OPTIONS = {"provider_id": "open_ai", "model_id": "gpt"}
ANN = {"type": "user", "identifier": "ann"}


async def test_a_created_conversation(ann: Rpc) -> None:
    made = await ann.call("create_conversation", **ann.creation())
    assert set(made) == CONVERSATION | {"conversation_id"}
    assert re.fullmatch("conv_[0-9a-f]{32}", made["conversation_id"])
    assert made["stream_channel_id"] == made["conversation_id"]
    assert made["owner"] == ANN
    assert made["ai_relay_options"] == OPTIONS
    assert made["title"] is None
    assert made["deleted_at"] is None
    assert TIME.fullmatch(made["created_at"])
    assert made["updated_at"] == made["created_at"]


async def test_an_answered_message(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "Hello.")
    conversation = await ann.create()
    answered = await ann.say(conversation, "Hi")
    assert set(answered) == {
        "conversation_id",
        "input_interaction",
        "response_interaction",
        "stream_channel_id",
    }
    said, reply = answered["input_interaction"], answered["response_interaction"]
    assert answered["conversation_id"] == conversation
    assert answered["stream_channel_id"] == f"{conversation}.{reply['id']}"
    for interaction in (said, reply):
        assert set(interaction) == INTERACTION
        assert re.fullmatch("int_[0-9a-f]{32}", interaction["id"])
        assert interaction["ai_relay_options"] == OPTIONS
        assert interaction["errors"] == []
        assert (interaction["file_ids"], interaction["skill_set_ids"]) == ([], [])
        assert TIME.fullmatch(interaction["created_at"])
        assert TIME.fullmatch(interaction["updated_at"])
        assert TIME.fullmatch(interaction["completed_at"])
        assert interaction["marked_as_excluded_at"] is None
        assert interaction["deleted_at"] is None
    assert (said["owner"], said["message_content"]) == (ANN, "Hi")
    assert reply["owner"] == {"type": "bot", "identifier": "gpt"}
    assert reply["message_content"] == "Hello."


async def test_a_conversation_with_its_interactions(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "Hello.")
    conversation = await ann.create()
    answered = await ann.say(conversation)
    whole = await ann.read(conversation)
    assert set(whole) == CONVERSATION | {"conversation_id", "interactions"}
    assert whole["conversation_id"] == conversation
    assert whole["interactions"] == [
        answered["input_interaction"],
        answered["response_interaction"],
    ]


async def test_a_list_of_conversations(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "Hello.")
    conversation = await ann.create()
    await ann.say(conversation)
    answer = await ann.call("list_conversations_with_interactions", owner=ann.owner())
    assert set(answer) == {"conversations"}
    (listed,) = answer["conversations"]
    assert set(listed) == CONVERSATION | {"id", "interactions"}
    whole = await ann.read(conversation)
    assert listed.pop("id") == whole.pop("conversation_id") == conversation
    assert {**listed, "title": None, "updated_at": None} == {
        **whole,
        "title": None,
        "updated_at": None,
    }


async def test_a_conversation_of_another_door_has_no_model(
    ann: Rpc, upstream: ScriptedUpstream, database: Database
) -> None:
    answering(upstream, "Hello.")
    conversation = await ann.create()
    await ann.say(conversation)
    await database.execute("UPDATE conversation SET provider_id = NULL, model_id = NULL")
    await database.execute("UPDATE interaction SET provider_id = NULL, model_id = NULL")
    whole = await ann.read(conversation)
    without = {"provider_id": "open_ai", "model_id": ""}
    assert whole["ai_relay_options"] == without
    assert [one["ai_relay_options"] for one in whole["interactions"]] == [without, without]
    for endpoint, body in (
        ("get_conversation_with_interactions", {"conversation_id": conversation}),
        ("list_conversations_with_interactions", {"owner": ann.owner()}),
    ):
        answer = await ann.send(endpoint, body)
        operation = document.find("post", answer.request.url.path)
        assert operation is not None
        document.check_body(operation, answer)


async def test_changes_are_answered_with_null(ann: Rpc, upstream: ScriptedUpstream) -> None:
    answering(upstream, "Hello.")
    conversation = await ann.create()
    said = (await ann.say(conversation))["input_interaction"]["id"]
    for endpoint, body in (
        ("update_interaction_excluded_state", {"interaction_id": said, "excluded": True}),
        ("delete_interactions", {"interaction_ids": said}),
        ("delete_conversations", {"conversation_ids": [conversation]}),
    ):
        answer = await ann.send(endpoint, body)
        assert (answer.status_code, answer.content) == (200, b"null"), endpoint
        assert answer.headers["content-type"] == "application/json"


async def test_an_excluded_interaction_says_since_when(
    ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream, "Hello.")
    conversation = await ann.create()
    said = (await ann.say(conversation))["input_interaction"]
    change = {"interaction_id": said["id"], "excluded": True}
    await ann.call("update_interaction_excluded_state", **change)
    shown = (await ann.read(conversation))["interactions"][0]
    assert TIME.fullmatch(shown["marked_as_excluded_at"])
    assert shown["updated_at"] == shown["marked_as_excluded_at"]
    await ann.call("update_interaction_excluded_state", **{**change, "excluded": False})
    shown = (await ann.read(conversation))["interactions"][0]
    assert shown["marked_as_excluded_at"] is None


async def test_every_endpoint_is_described(gateway: Gateway) -> None:
    told = (await gateway.anonymous.get("/schema/openapi.json")).json()
    schemas = told["components"]["schemas"]
    paths = {path: one["post"] for path, one in told["paths"].items() if "/rpc/" in path}
    assert len(paths) == 13
    for path, operation in paths.items():
        wanted = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert schemas[wanted.rpartition("/")[2]]["properties"], path
        refused = operation["responses"]["400"]["content"]["application/json"]["schema"]
        assert refused == {"$ref": "#/components/schemas/RpcError"}
        answered = operation["responses"]["200"]["content"]["application/json"]["schema"]
        nothing = "delete_" in path or "excluded_state" in path
        assert ("null" in answered.get("type", ())) == nothing, path
    interaction = schemas["ConversationInteraction"]
    assert set(interaction["properties"]) == set(interaction["required"]) == INTERACTION
