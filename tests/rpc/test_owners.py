"""Who may do what, and in whose name."""

from __future__ import annotations

from tests.rpc.asking import Rpc, answering, calling
from tests.running import Gateway
from tests.scripted import ScriptedUpstream
from tests.team import make_team

NOBODY = "conv_" + 32 * "0"


async def test_the_owner_must_be_the_caller(gateway: Gateway, ann: Rpc) -> None:
    bob = {"type": "user", "identifier": "bob"}
    conversation = await ann.create()
    for endpoint, body in (
        ("create_conversation", ann.creation(owner=bob)),
        ("create_conversation_message", ann.message(conversation, owner=bob)),
        ("list_conversations_with_interactions", {"owner": bob}),
    ):
        error = await ann.refused(endpoint, 403, "owner_mismatch", **body)
        assert error["reasons"] == []


async def test_what_is_anothers_is_not_there(
    gateway: Gateway, ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream)
    conversation = await ann.create()
    said = (await ann.say(conversation))["input_interaction"]["id"]
    before = await ann.read(conversation)
    bob = await calling(gateway, "bob", "conversations", "chat")
    for endpoint, body in (
        ("create_conversation_message", bob.message(conversation)),
        ("get_conversation_with_interactions", {"conversation_id": conversation}),
        ("delete_conversations", {"conversation_ids": [conversation]}),
    ):
        error = await bob.refused(endpoint, 404, "conversation_not_found", **body)
        assert conversation in error["message"]
    for endpoint, body in (
        ("delete_interactions", {"interaction_ids": said}),
        ("update_interaction_excluded_state", {"interaction_id": said, "excluded": True}),
    ):
        error = await bob.refused(endpoint, 404, "interaction_not_found", **body)
        assert said in error["message"]
    listed = await bob.call("list_conversations_with_interactions", owner=bob.owner())
    assert listed == {"conversations": []}
    after = await ann.read(conversation)
    assert after["interactions"] == before["interactions"]


async def test_who_may_act_as_others_does_so(
    gateway: Gateway, ann: Rpc, upstream: ScriptedUpstream
) -> None:
    answering(upstream)
    service = await calling(gateway, "service", "conversations", "act_as")
    anns = {"type": "user", "identifier": "ann"}
    conversation = await service.create(owner=anns)
    answered = await service.say(conversation, owner=anns)
    assert answered["input_interaction"]["owner"] == anns
    assert (await ann.read(conversation))["owner"] == anns
    await ann.say(conversation, "Me again")
    listed = await service.call("list_conversations_with_interactions", owner=anns)
    assert [one["id"] for one in listed["conversations"]] == [conversation]
    own = await service.call("list_conversations_with_interactions", owner=service.owner())
    assert own == {"conversations": []}
    assert len((await service.read(conversation))["interactions"]) == 4
    said = answered["input_interaction"]["id"]
    await service.call("update_interaction_excluded_state", interaction_id=said, excluded=True)
    await service.call("delete_interactions", interaction_ids=[said])
    await service.call("delete_conversations", conversation_ids=[conversation])
    await ann.refused(
        "get_conversation_with_interactions",
        404,
        "conversation_not_found",
        conversation_id=conversation,
    )


async def test_a_message_goes_to_the_conversations_of_its_owner_alone(
    gateway: Gateway, ann: Rpc
) -> None:
    service = await calling(gateway, "service", "conversations", "act_as")
    conversation = await ann.create()
    await service.refused(
        "create_conversation_message",
        404,
        "conversation_not_found",
        **service.message(conversation),
    )


async def test_an_agency_must_be_one_that_the_owner_may_use(
    gateway: Gateway, ann: Rpc, upstream: ScriptedUpstream
) -> None:
    roots = await make_team(gateway)
    anns = await make_team(gateway, owner_key=await gateway.key("ann", "agencies"))
    shared = await make_team(gateway, shared=True)
    for model in (f"agency/{roots.id}", f"agency/{shared.id}", "agency/999", "agency/x", "agency/"):
        error = await ann.refused(
            "create_conversation", 404, "agency_not_found", **ann.creation(model)
        )
        assert model.removeprefix("agency/") in error["message"]
    await ann.create(f"agency/{anns.id}")
    chatting = await calling(gateway, "carl", "conversations", "chat")
    await chatting.create(f"agency/{shared.id}")
    service = await calling(gateway, "service", "conversations", "act_as")
    await service.create(f"agency/{anns.id}", owner=ann.owner())
    await service.refused(
        "create_conversation", 404, "agency_not_found", **service.creation(f"agency/{anns.id}")
    )
    conversation = await ann.create()
    options = {"provider_id": "open_ai", "model_id": f"agency/{roots.id}"}
    await ann.refused(
        "create_conversation_message",
        404,
        "agency_not_found",
        **ann.message(conversation, ai_relay_options=options),
    )
    assert (await ann.read(conversation))["interactions"] == []


async def test_ids_that_name_nothing_are_told(ann: Rpc) -> None:
    for given in (NOBODY, "conv_1", "int_" + 32 * "0", "", "conv_" + 32 * "z"):
        error = await ann.refused(
            "get_conversation_with_interactions",
            404,
            "conversation_not_found",
            conversation_id=given,
        )
        assert given in error["message"]
    error = await ann.refused(
        "create_conversation_message",
        404,
        "file_not_found",
        **ann.message(await ann.create(), file_ids=["file_1", "nonsense"]),
    )
    assert "file_1" in error["message"]
    assert "nonsense" in error["message"]
    error = await ann.refused(
        "create_conversation_message",
        404,
        "skill_set_not_found",
        **ann.message(await ann.create(), skill_set_ids=["skill_" + 32 * "0"]),
    )
    assert "skill_" + 32 * "0" in error["message"]
