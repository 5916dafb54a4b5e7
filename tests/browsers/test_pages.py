"""A page of another origin uses every kind of door, if the operator lets it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.browsers.chromium import Page, page_server
from tests.conftest import StartGateway
from tests.running import ROOT_KEY
from tests.scripted import ScriptedUpstream, say
from tests.team import make_team

ASK = """
const ask = (path, key, body, more = {}) => fetch(base + path, {
  method: "POST",
  headers: {authorization: "Bearer " + key, "content-type": "application/json",
            "x-stainless-lang": "js", "idempotency-key": crypto.randomUUID(), ...more},
  body: JSON.stringify(body),
});
const said = {model: "m", messages: [{role: "user", content: "Hi"}]};
"""
CHATS = """
const whole = await ask(chat, key, said);
const answer = await whole.json();
const streamed = await ask(chat, key, {...said, stream: true});
const reader = streamed.body.pipeThrough(new TextDecoderStream()).getReader();
let text = "";
for (;;) { const {done, value} = await reader.read(); if (done) break; text += value; }
const read = r => ["x-conversation-id", "x-request-id", "x-gateway-overhead-ms"]
  .map(name => r.headers.get(name) !== null);
return {answer: answer.choices[0].message.content, whole: read(whole),
        text, streamed: read(streamed)};
"""
ERRORS = """
const told = async r =>
  [r.status, (await r.json()).error.code, r.headers.get("x-request-id") !== null];
return [await told(await ask(chat, "nonsense", said)),
        await told(await ask("/api/agency/4711/chat/completions", key, said)),
        await told(await ask("/v1/nowhere", key, {}))];
"""
CHANNEL = """
const made = await (await ask("/api/streams/tokens", key, {channel})).json();
const events = new EventSource(base + made.url);
return await new Promise(done => {
  events.addEventListener("snapshot", e => {
    events.close();
    done({id: e.lastEventId, data: JSON.parse(e.data)});
  });
  events.onerror = () => done("refused");
});
"""
REFUSED = """
const tried = await Promise.allSettled([
  ask(chat, key, said),
  fetch(base + "/health/live"),
  fetch(base + "/api/me", {headers: {authorization: "Bearer " + key}}),
]);
return tried.map(one => one.status);
"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    async with page_server() as page:
        yield page


@pytest.mark.parametrize("listed", [True, False])
async def test_a_page_chats_reads_errors_and_follows_a_channel(
    page: Page, start_gateway: StartGateway, upstream: ScriptedUpstream, listed: bool
) -> None:
    origins = ("https://other.example.com", page.origin) if listed else ("*",)
    gateway = await start_gateway(cors_origins=origins)
    team = await make_team(gateway)
    upstream.always("manager", say(0, "Hello, page"))
    given = {
        "base": gateway.base_url,
        "key": ROOT_KEY,
        "chat": f"/api/agency/{team.id}/chat/completions",
    }

    told = await page.run(ASK + CHATS, **given)
    assert told.get("answer") == "Hello, page", told
    assert told["text"].endswith("data: [DONE]\n\n")
    assert told["whole"] == told["streamed"] == [True, True, True]

    told = await page.run(ASK + ERRORS, **given)
    assert told == [
        [401, "invalid_api_key", True],
        [404, "agency_not_found", True],
        [404, "not_found", True],
    ]

    channel = (await gateway.http.post("/api/conversations", json={"title": "Seen"})).json()["id"]
    told = await page.run(ASK + CHANNEL, channel=channel, **given)
    assert told["data"]["conversation"]["title"] == "Seen"


async def test_a_page_that_nobody_let_in_reads_nothing(
    page: Page, start_gateway: StartGateway
) -> None:
    for origins in ((), ("https://other.example.com",)):
        gateway = await start_gateway(cors_origins=origins)
        told = await page.run(
            ASK + REFUSED, base=gateway.base_url, key=ROOT_KEY, chat="/v1/chat/completions"
        )
        assert told == ["rejected"] * 3
