"""A chat UI's own questions (a title, tags, follow-ups) reach no team and leave no conversation."""

from __future__ import annotations

from typing import Any

from gateway.postgres.database import Database
from tests.chat.clients import public
from tests.plain.asking import MODEL, conversations, rows, sdk
from tests.running import Gateway
from tests.scripted import ScriptedUpstream, say, text
from tests.team import make_team

TITLE = """### Task:
Generate a concise, 3-5 word title with an emoji summarizing the chat history.
### Chat History:
<chat_history>
USER: A web page?
ASSISTANT: With pleasure.
</chat_history>"""


async def test_open_webui_asks_for_a_title_tags_and_follow_ups(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    team = await make_team(gateway)
    client = sdk(gateway)
    history: list[Any] = []

    async def say_to_the_team(words: str) -> str:
        history.append({"role": "user", "content": words})
        raw = await client.chat.completions.with_raw_response.create(
            model=f"agency/{team.id}", messages=history, stream=True
        )
        chunks = [chunk async for chunk in raw.parse()]
        answer = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        history.append({"role": "assistant", "content": answer})
        return str(raw.headers["x-conversation-id"])

    upstream.script("manager", say(0, "With pleasure."), say(0, "Blue."))
    upstream.always("*", text('{"title": "A web page"}'))
    first = await say_to_the_team("A web page?")
    for task in (TITLE, TITLE.replace("title", "tag"), TITLE.replace("title", "follow-up")):
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": task}],
            stream=False,
            max_completion_tokens=1000,
        )
        assert answer.choices[0].message.content == '{"title": "A web page"}'
    assert await say_to_the_team("Which colour?") == first
    assert public(upstream.calls_of("manager")[1]) == [
        ("user", "A web page?"),
        ("assistant", "With pleasure."),
        ("user", "Which colour?"),
    ]
    listed = (await gateway.http.get(f"/api/agency/{team.id}/conversations")).json()["data"]
    assert [one["id"] for one in listed] == [first]
    assert await conversations(database) == 1
    assert {kept["model"] for kept in await rows(database, 3)} == {MODEL}


async def test_nextchat_asks_at_the_end_of_its_own_history(
    gateway: Gateway, upstream: ScriptedUpstream, database: Database
) -> None:
    """Which would be the next message of the chat, were it said to the team."""
    team = await make_team(gateway)
    client = sdk(gateway)
    upstream.script("manager", say(0, "With pleasure."), say(0, "Blue."))
    upstream.script("*", text("A web page"))
    history: list[Any] = [{"role": "user", "content": "A web page?"}]
    said = client.chat.completions.with_raw_response
    first = await said.create(model=f"agency/{team.id}", messages=history)
    history.append({"role": "assistant", "content": "With pleasure."})
    asked = {"role": "user", "content": "Please generate a four to five word title."}
    await client.chat.completions.create(model=MODEL, messages=[*history, asked])
    history.append({"role": "user", "content": "Which colour?"})
    second = await said.create(model=f"agency/{team.id}", messages=history)
    assert second.headers["x-conversation-id"] == first.headers["x-conversation-id"]
    assert await conversations(database) == 1
