"""Names and titles are one line of what can be seen, at whatever door they are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.agency.engine.titles import fitting
from gateway.errors import InvalidRequest
from gateway.names import line, visible
from tests.running import Gateway
from tests.team import make_team

BAD = ["a\nb", "a\rb", "a\tb", "a\x1b[31mb", "a\x7fb", "a\x85b", "a\u2028b", "a\u2029b", "a\u202eb"]
BLANK = ["  ", "\u200f", "\u200b", "\u2060", "\ufeff", "\u3164", "\u2800 \u00a0"]
GOOD = ["Bücher & Brot", "👩‍💻 Team", "עברית\u200f (2)", "日本語", "a" * 64]

Body = dict[str, Any]


def agency(name: str = "Team", agent: str = "m", model: str | None = None) -> Body:
    return {
        "name": name,
        "manager": agent,
        "agents": [{"name": agent, "instructions": "", "model": model}],
    }


def rpc(name: str, icon: str = "") -> Body:
    owner = {"type": "user", "identifier": "root"}
    return {
        "idempotency_key": f"{name} {icon}",
        "owner": owner,
        "name": name,
        "icon": icon,
        "description": "",
        "prompt": "p",
    }


PLACES: dict[str, tuple[str, Callable[[str], Body]]] = {
    "conversation": ("/api/conversations", lambda name: {"title": name}),
    "agency": ("/api/agencies", lambda name: agency(name)),
    "agent": ("/api/agencies", lambda name: agency(agent=name)),
    "model": ("/api/agencies", lambda name: agency(model=name)),
    "key": ("/api/keys", lambda name: {"user": name, "scopes": ["chat"]}),
    "collection": ("/api/collections", lambda name: {"name": name}),
    "participant": (
        "/api/conversations",
        lambda name: {"participants": [{"kind": "model", "identifier": name}]},
    ),
    "skill set": ("/rpc/2025-02-12/create_skill_set", rpc),
    "skill set's icon": ("/rpc/2025-02-12/create_skill_set", lambda icon: rpc("n", icon)),
}


@pytest.mark.parametrize("place", PLACES)
async def test_a_name_with_what_cannot_be_seen_is_400(gateway: Gateway, place: str) -> None:
    path, body = PLACES[place]
    for name in BAD:
        answer = await gateway.http.post(path, json=body(name))
        assert answer.status_code == 400, (name, answer.text)


async def test_names_of_every_language_are_taken(gateway: Gateway) -> None:
    for name in GOOD:
        for place in ("conversation", "agency", "skill set"):
            path, body = PLACES[place]
            answer = await gateway.http.post(path, json=body(name))
            assert answer.status_code < 300, (name, place, answer.text)


async def test_a_change_is_held_to_it_too(gateway: Gateway) -> None:
    made = (await gateway.http.post("/api/conversations", json={"title": "A"})).json()["id"]
    team = await make_team(gateway)
    for path, body in (
        (f"/api/conversations/{made}", {"title": "a\nb"}),
        (f"/api/agencies/{team.id}", {"name": "a\nb"}),
        (f"/api/agencies/{team.id}/agents/{team['manager']}", {"name": "a\nb"}),
        (f"/api/agencies/{team.id}/agents/{team['manager']}", {"model": "a\nb"}),
    ):
        answer = await gateway.http.patch(path, json=body)
        assert answer.status_code == 400, (path, body, answer.text)
        assert answer.json()["error"]["param"] in body


async def test_a_download_is_saved_and_never_shown(gateway: Gateway) -> None:
    """By a name without what would end a header or turn it around."""
    page = b"<script>alert(1)</script>"
    made = await gateway.http.post(
        "/v1/files",
        files={"file": ('a"\u202eb.html', page, "text/html")},
        data={"purpose": "user_data"},
    )
    assert made.json()["filename"] == 'a"b.html'
    found = await gateway.http.get(f"/v1/files/{made.json()['id']}/content")
    assert found.content == page
    assert found.headers["x-content-type-options"] == "nosniff"
    assert found.headers["content-type"] == "application/octet-stream"
    told = found.headers["content-disposition"]
    assert told == "attachment; filename=\"a_b.html\"; filename*=UTF-8''a%22b.html"


def test_a_line_is_taken_as_it_is() -> None:
    for name in GOOD:
        assert line(name, "title") == name
    for name in (*BAD, *BLANK):
        with pytest.raises(InvalidRequest) as refused:
            line(name, "title")
        assert refused.value.param == "title"


def test_a_model_s_title_loses_what_cannot_be_seen() -> None:
    assert fitting("A\x1b[1m bakery\u202e\nand more") == "A[1m bakery"
    assert visible(" a\u200fb\x00 ") == "ab"


@pytest.mark.parametrize("name", BLANK)
def test_a_name_in_which_nothing_can_be_seen_is_none(name: str) -> None:
    assert visible(name) == ""
    assert visible(f"a{name}") == visible(f"a{name}").strip() != ""
