"""What this door refuses, and how it says so."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.routes.http.errors import MAX_BODY
from tests.rpc.asking import VERSION, Rpc, calling, refusal
from tests.running import Gateway

ENDPOINTS = (
    "create_conversation",
    "create_conversation_message",
    "get_conversation_with_interactions",
    "list_conversations_with_interactions",
    "delete_conversations",
    "delete_interactions",
    "update_interaction_excluded_state",
    "create_skill_set",
    "get_skill_set",
    "get_many_skill_sets",
    "list_skill_sets_by_owner",
    "update_skill_set",
    "delete_skill_set",
)


def codes(error: dict) -> set[tuple[str, str]]:
    """(code, the field that its message begins with) of each reason."""
    return {(reason["code"], reason["message"].split(" ")[0]) for reason in error["reasons"]}


async def test_all_that_is_wrong_is_told_at_once(ann: Rpc) -> None:
    error = await ann.refused(
        "create_conversation_message",
        400,
        "invalid_request",
        conversation_id=7,
        idempotency_key="",
        file_ids=["file_1", 2, None],
        skill_set_ids={},
        owner={"type": "team"},
        ai_relay_options={"provider_id": "anthropic", "model_id": "m" * 257},
        options={"use_streaming": "yes"},
    )
    assert codes(error) == {
        ("invalid_field", "conversation_id"),
        ("invalid_field", "idempotency_key"),
        ("missing_field", "message_content"),
        ("invalid_field", "file_ids[1]"),
        ("invalid_field", "file_ids[2]"),
        ("invalid_field", "skill_set_ids"),
        ("invalid_field", "owner.type"),
        ("missing_field", "owner.identifier"),
        ("unknown_provider", "ai_relay_options.provider_id"),
        ("invalid_field", "ai_relay_options.model_id"),
        ("invalid_field", "options.use_streaming"),
    }


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_what_is_missing_is_named(ann: Rpc, endpoint: str) -> None:
    error = await ann.refused(endpoint, 400, "invalid_request")
    assert error["reasons"]
    assert {reason["code"] for reason in error["reasons"]} == {"missing_field"}


MALFORMED = {
    "nothing": b"",
    "no JSON": b"{'a': 1}",
    "cut off": b'{"owner": {"type"',
    "not UTF-8": b'{"idempotency_key": "\xff\xfe"}',
    "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
    "a NUL in a text": b'{"idempotency_key": "a\x00b"}',
    "half a character": b'{"idempotency_key": "\\ud800"}',
    "deep": b'{"a":' * 1000 + b"1" + b"}" * 1000,
    "deep lists": b"[" * 1000 + b"]" * 1000,
    "a list": b"[]",
    "null": b"null",
    "a text": b'"create"',
    "a number": b"1e999",
}


@pytest.mark.parametrize("kind", MALFORMED)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "multipart/form-data"])
async def test_what_is_no_request_is_refused_with_a_reason(
    ann: Rpc, kind: str, content_type: str
) -> None:
    answer = await ann.http.post(
        f"{VERSION}/create_conversation",
        content=MALFORMED[kind],
        headers={"content-type": content_type},
    )
    error = refusal(answer, 400, "invalid_request")
    assert len(error["reasons"]) == 1


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "x", ""])
async def test_json_is_read_whatever_it_is_called(ann: Rpc, content_type: str) -> None:
    answer = await ann.http.post(
        f"{VERSION}/create_conversation",
        content=json.dumps(ann.creation()).encode(),
        headers={"content-type": content_type},
    )
    assert answer.status_code == 200, answer.text


async def test_an_escaped_nul_is_refused_by_name_where_it_would_be_stored(ann: Rpc) -> None:
    error = await ann.refused(
        "create_conversation", 400, "invalid_request", **ann.creation("gpt\0")
    )
    assert codes(error) == {("invalid_field", "ai_relay_options.model_id")}
    body = ann.creation("gpt\\u0000", unknown="\0", more={"deep": ["\0"]})
    made = await ann.call("create_conversation", **body)
    assert made["ai_relay_options"]["model_id"] == "gpt\\u0000"


async def test_unknown_members_are_ignored(ann: Rpc) -> None:
    body = ann.creation(colour="red", title="Mine")
    body["owner"]["name"] = "Ann"
    assert (await ann.call("create_conversation", **body))["title"] is None


async def test_a_key_of_255_characters_is_long_enough(ann: Rpc) -> None:
    await ann.create(idempotency_key="k" * 255)
    too_long = ann.creation(idempotency_key="k" * 256)
    error = await ann.refused("create_conversation", 400, "invalid_request", **too_long)
    assert codes(error) == {("invalid_field", "idempotency_key")}


@pytest.mark.parametrize("identifier", ["", "a b", "ann\n", "ä", "x" * 129, None, 7])
async def test_an_owner_is_a_user_name(gateway: Gateway, identifier: object) -> None:
    root = Rpc(gateway.http)
    owner = {"type": "user", "identifier": identifier}
    error = await root.refused(
        "list_conversations_with_interactions", 400, "invalid_request", owner=owner
    )
    assert codes(error) == {("invalid_field", "owner.identifier")}


async def test_lists_have_bounds(ann: Rpc) -> None:
    for body in ({"conversation_ids": []}, {"conversation_ids": ["conv_1"] * 1001}):
        error = await ann.refused("delete_conversations", 400, "invalid_request", **body)
        assert codes(error) == {("invalid_field", "conversation_ids")}
    error = await ann.refused("delete_interactions", 400, "invalid_request", interaction_ids=7)
    assert "must be a string or a list, not a number" in error["message"]


async def test_strangers_learn_nothing(gateway: Gateway) -> None:
    for path in (f"{VERSION}/create_conversation", f"{VERSION}/nothing", "/rpc/2024-01-01/x"):
        for method in ("POST", "GET"):
            refusal(await gateway.anonymous.request(method, path), 401, "missing_api_key")
    wrong = {"authorization": "Bearer agw_0123456789abcdef_wrong"}
    answer = await gateway.anonymous.post(f"{VERSION}/create_conversation", headers=wrong)
    refusal(answer, 401, "invalid_api_key")


async def test_a_key_needs_the_scope_before_its_body_is_read(gateway: Gateway) -> None:
    bob = await calling(gateway, "bob", "chat", "agencies", "act_as", "admin")
    for endpoint in ENDPOINTS:
        answer = await bob.http.post(f"{VERSION}/{endpoint}", content=b"no")
        assert refusal(answer, 403, "insufficient_scope")["reasons"] == []


@pytest.mark.parametrize(
    "path",
    [
        "/rpc/2025-02-12/create",
        "/rpc/2025-02-12/",
        "/rpc/2025-02-13/create_conversation",
        "/rpc/create_conversation",
        "/rpc/",
    ],
)
async def test_an_unknown_version_or_endpoint_is_not_found(ann: Rpc, path: str) -> None:
    assert refusal(await ann.http.post(path, json={}), 404, "not_found")["reasons"] == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_only_post_is_taken(ann: Rpc, method: str) -> None:
    answer = await ann.http.request(method, f"{VERSION}/create_conversation")
    assert refusal(answer, 405, "method_not_allowed")["reasons"] == []
    assert "POST" in answer.headers["allow"]


async def test_a_body_too_large_is_refused(ann: Rpc) -> None:
    answer = await ann.http.post(f"{VERSION}/create_conversation", content=b" " * (MAX_BODY + 1))
    assert refusal(answer, 413, "request_too_large")["reasons"] == []


async def test_a_database_that_is_away_is_503_with_a_time_to_come_back(
    gateway: Gateway, ann: Rpc
) -> None:
    await gateway.resources.database.close_connection_pool()
    answer = await ann.send("create_conversation", ann.creation())
    assert refusal(answer, 503, "unavailable")["reasons"] == []
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_fault_of_ours_is_500_and_says_nothing(gateway: Gateway, ann: Rpc) -> None:
    await gateway.resources.database.execute("ALTER TABLE conversation RENAME TO gone")
    answer = await ann.send("create_conversation", ann.creation())
    await gateway.resources.database.execute("ALTER TABLE gone RENAME TO conversation")
    error = refusal(answer, 500, "server_error")
    assert "conversation" not in error["message"]
    assert error["reasons"] == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
async def test_no_body_whatever_is_a_fault_of_ours(ann: Rpc, data: st.DataObject) -> None:
    endpoint = data.draw(st.sampled_from(ENDPOINTS))
    body = {
        **ann.message("conv_" + "0" * 32),
        **ann.creation(),
        "conversation_ids": ["conv_" + "0" * 32],
        "interaction_ids": "int_" + "0" * 32,
        "interaction_id": "int_" + "0" * 32,
        "excluded": True,
        "skill_set_id": "skill_" + "0" * 32,
        "skill_set_ids": ["skill_" + "0" * 32],
        **dict.fromkeys(("name", "icon", "description", "prompt"), "text"),
    }
    for name in data.draw(st.lists(st.sampled_from(sorted(body)), max_size=3)):
        body[name] = data.draw(JSON)
    content = json.dumps(body).encode()
    answer = await ann.http.post(f"{VERSION}/{endpoint}", content=content)
    if answer.status_code != 200:
        assert answer.status_code < 500, answer.text
        refusal(answer, answer.status_code)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(cut=st.integers(0, 300), put=st.binary(max_size=3))
async def test_no_damaged_body_is_a_fault_of_ours(ann: Rpc, cut: int, put: bytes) -> None:
    whole = json.dumps(ann.creation("agency/1")).encode()
    content = whole[:cut] + put + whole[cut + len(put) :]
    answer = await ann.http.post(f"{VERSION}/create_conversation", content=content)
    if answer.status_code != 200:
        assert answer.status_code < 500, answer.text
        refusal(answer, answer.status_code)
