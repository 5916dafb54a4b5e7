"""What a client's messages say, and which histories are the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.agency.turn import lineage
from gateway.agency.turn.request import Dialogue
from gateway.errors import InvalidRequest
from gateway.routes.shapes.dialogue import ChatMessageIn, dialogue

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}
PDF = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="},
}


def read(*messages: Any) -> Dialogue:
    return dialogue(msgspec.convert(messages, list[ChatMessageIn]))


def hashed(*messages: Any) -> str:
    said = read(*messages)
    start = lineage.scope("ann", "agency/1", "u")
    return lineage.chain(start, said.history, said.inputs).whole.hex()


def user(content: Any) -> Any:
    return {"role": "user", "content": content}


def assistant(content: Any = None, **more: Any) -> Any:
    return {"role": "assistant", "content": content, **more}


def calling(
    name: str = "look", arguments: str = '{"at": "sky", "n": 1}', call_id: str = "c1"
) -> Any:
    function = {"name": name, "arguments": arguments}
    return assistant(tool_calls=[{"id": call_id, "type": "function", "function": function}])


def returned(content: Any = "Rain", call_id: str = "c1") -> Any:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


# The values are those of the release before tool calls became part of the hash: conversations that
# were kept then are still found.
@pytest.mark.parametrize(
    ("messages", "value"),
    [
        (
            [user("Hi"), assistant(" Hello. "), user("Ünd now?\n")],
            "86b80c71da4095d77ae5cb653a70eb942f39bb2aecd6824305b670aece75a09a",
        ),
        (
            [
                {"role": "system", "content": "Be brief."},
                user("Hi"),
                assistant("Yes"),
                {"role": "developer", "content": "x"},
            ],
            "cabe03b77b118167bb70634dd080c37dd94e3b50065eb96fd91c90e9ebffced4",
        ),
        (
            [
                user([{"type": "text", "text": "Look"}, IMAGE, {"type": "text", "text": "here"}]),
                assistant([{"type": "text", "text": "I see."}]),
            ],
            "324fcb6c65095fcd0ec5237b41c0baeac0d884886da52194911619143658b470",
        ),
        (
            [
                user("Bomb?"),
                assistant(refusal="No."),
                assistant([{"type": "refusal", "refusal": "Never."}]),
            ],
            "71ec1f6c5e67c208acb448e96bc79f6313763cb69b7d7c36f4db18eded49f97a",
        ),
        (
            [
                user("Sun?"),
                {"role": "tool", "content": "Rain", "tool_call_id": "c1"},
                {"role": "function", "name": "look", "content": "Sun"},
                assistant("It shines."),
            ],
            "524f127a39f73988cff2432a0d894f6c2998f2d658fad533ac32f239e665a653",
        ),
        (
            [user(None), assistant("")],
            "af15fe5c4bd9bdf087351ed29df484568bc6861acd89ffeefd5601cac7f544ae",
        ),
        (
            [user([SOUND]), assistant("A beep.")],
            "ffcb345f54bb0b52b74466e4f9e3145ed0e61b7515705848e8ae633154e8dfbd",
        ),
        (
            [user([{"type": "text", "text": "Read"}, PDF]), assistant("Read.")],
            "ac9c1ab4b5d602ef4c101354240947f47402ae9b9262d55bdd740691766edd01",
        ),
    ],
)
def test_a_history_without_calls_keeps_its_hash(messages: list[Any], value: str) -> None:
    assert hashed(*messages) == value


def test_calls_tell_histories_apart_by_name_and_arguments() -> None:
    def with_call(**of: str) -> str:
        return hashed(user("Weather?"), calling(**of), returned(), assistant("It rains."))

    one = with_call()
    assert one != hashed(user("Weather?"), assistant(""), assistant("It rains."))
    assert one != with_call(name="listen")
    assert one != with_call(arguments='{"at": "sea", "n": 1}')
    assert with_call(arguments="no JSON") != with_call(arguments="no  JSON")
    assert one == with_call(arguments='{"n":1,  "at":"sky"}')


def test_neither_ids_nor_results_tell_histories_apart() -> None:
    one = hashed(user("Weather?"), calling(), returned(), assistant("It rains."))
    again = [calling(call_id="call_9"), returned("Rain, and more", "call_9")]
    assert hashed(user("Weather?"), *again, assistant("It rains.")) == one
    assert hashed(user("Weather?"), calling(), assistant("It rains.")) == one
    shown = returned([{"type": "text", "text": "Rain"}])
    assert hashed(user("Weather?"), calling(), shown, assistant("It rains.")) == one


def test_the_older_form_of_a_call_is_the_same_call() -> None:
    older = assistant(function_call={"name": "look", "arguments": '{"n": 1, "at": "sky"}'})
    result = {"role": "function", "name": "look", "content": "Rain"}
    assert hashed(user("Weather?"), older, result) == hashed(user("Weather?"), calling())


@pytest.mark.parametrize(
    ("message", "named"),
    [
        (user([{"type": "output_text", "text": "Hi"}]), ["'output_text'"]),
        (
            user(
                [{"type": "input_text", "text": "a"}, IMAGE, {"type": "video_url"}, {"text": "b"}]
            ),
            ["'input_text'", "'video_url'", "no type"],
        ),
        (user([{"type": 7}]), ["no type"]),
        (user([{"type": "tool_call", "name": "look", "arguments": "{}"}]), ["'tool_call'"]),
        (user([{"type": "by", "kind": "agency", "identifier": "2"}]), ["'by'"]),
        ({"role": "system", "content": [IMAGE]}, ["'image_url'"]),
        (assistant([{"type": "text", "text": "Look"}, SOUND]), ["'input_audio'"]),
    ],
)
def test_parts_that_nobody_would_hear_are_refused_by_name(message: Any, named: list[str]) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read(message)
    assert all(name in refused.value.message for name in named)
    assert (refused.value.param, refused.value.code) == ("messages", "unsupported_content")


@pytest.mark.parametrize(
    "message",
    [
        user([{"type": "text"}]),
        user([{"type": "text", "refusal": "No."}]),
        user([{"type": "image_url"}]),
        user([{"type": "image_url", "image_url": "https://example.com/a.png"}]),
        user([{"type": "image_url", "image_url": {"detail": "low"}}]),
        user([{"type": "input_audio", "input_audio": {"format": "wav"}}]),
        user([{"type": "file", "file": {}}]),
        user([{"type": "file"}]),
        user([{"type": "file", "file": {"file_id": "file_1", "file_data": "data:,"}}]),
        assistant(audio={"id": "audio_1"}),
        assistant(tool_calls=[{"id": "c1", "type": "function"}]),
    ],
)
def test_what_says_nothing_that_can_be_told_is_refused(message: Any) -> None:
    with pytest.raises(InvalidRequest):
        read(message)


def test_words_images_sounds_and_files_are_taken() -> None:
    (said,) = read(user([{"type": "text", "text": "Look"}, IMAGE, SOUND, PDF])).inputs
    assert said.content == "Look"
    assert said.parts is not None
    assert list(said.parts)[1:] == [IMAGE, SOUND, PDF]
    (refused,) = read(assistant([{"type": "refusal", "refusal": "No."}])).history
    assert (refused.content, refused.parts) == ("No.", None)
