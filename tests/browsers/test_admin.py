"""The admin pages: who may sign in, what is there to see and to write, and how it looks."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.piccolo_app import APP_CONFIG
from gateway.postgres.database import Database
from tests.browsers.driving import browsing
from tests.scripted import ScriptedUpstream, say
from tests.serving.crash.processes import Process

NAME, PASSWORD = "olga", "correct horse battery"
SECRETS = ("secret_hash", "secret", "password", "content_hash", "request_hash", "body_hash")


@pytest.fixture
async def process(
    dsn: str, database: Database, upstream: ScriptedUpstream, tmp_path: Path
) -> AsyncIterator[Process]:
    """A gateway of its own: Piccolo's tables know one database a process."""
    settings = {"DATABASE_URL": dsn, "OPENAI_BASE_URL": upstream.base_url}
    made = Process("gateway", settings, tmp_path)
    try:
        made.start()
        await made.ready()
        yield made
    finally:
        await made.close()


def command(dsn: str, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (sys.executable, "-m", "gateway", "admin", *words),
        env={"PATH": os.environ["PATH"], "DATABASE_URL": dsn},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


async def signed_in(process: Process, password: str = PASSWORD) -> tuple[httpx.AsyncClient, int]:
    http = httpx.AsyncClient(base_url=f"{process.base_url}/admin", timeout=30)
    await http.get("/")
    http.headers["x-csrftoken"] = http.cookies["csrftoken"]
    body = {"username": NAME, "password": password}
    answer = await http.post("/public/login/", json=body)
    return http, answer.status_code


async def talked(process: Process, upstream: ScriptedUpstream) -> str:
    """A conversation with about everything in it."""
    http = process.http
    upstream.always("manager", say(0, "Hello."))
    agency = (await http.get("/api/agencies")).json()["data"]
    body: dict[str, Any] = {"title": "A bakery", "participants": []}
    if agency:
        named = {"kind": "agency", "identifier": str(agency[0]["id"])}
        body["participants"].append(named)
    room = (await http.post("/api/conversations", json=body)).json()["id"]
    said = await http.post(f"/api/conversations/{room}/messages", json={"content": "<b>Hi</b>"})
    assert said.status_code == 201
    hook = {"url": "https://example.com", "events": ["turn.failed"]}
    assert (await http.post("/api/webhooks", json=hook)).status_code == 201
    return str(room)


async def test_without_an_account_there_is_nothing(process: Process, dsn: str) -> None:
    for path in ("/admin", "/admin/", "/admin/api/tables/", "/admin/public/login/"):
        answer = await process.http.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["type"] == "invalid_request_error"
    made = command(dsn, "create", NAME, given=f"{PASSWORD}\n")
    assert (made.returncode, made.stdout) == (0, "")
    assert (await process.http.get("/admin/")).status_code == 200
    assert command(dsn, "list").stdout.split() == [NAME]
    assert command(dsn, "remove", NAME).returncode == 0
    assert (await process.http.get("/admin/")).status_code == 404
    for words, given in (
        (("create", "a b"), PASSWORD),
        (("create", "bob"), "short"),
        (("remove", "nobody"), ""),
        (("password", "nobody"), PASSWORD),
    ):
        refused = command(dsn, *words, given=f"{given}\n")
        assert refused.returncode == 1, words
        assert refused.stderr.startswith("gateway: ")
        assert "Traceback" not in refused.stderr
    printed = command(dsn, "create", "carl")
    assert len(printed.stdout.strip()) == 24


async def test_what_may_be_seen_and_written(
    process: Process, dsn: str, upstream: ScriptedUpstream
) -> None:
    assert command(dsn, "create", NAME, given=f"{PASSWORD}\n").returncode == 0
    await talked(process, upstream)
    stranger, status = await signed_in(process, "wrong password here")
    assert status == 401
    await stranger.aclose()
    # An API key opens nothing here, and a session nothing elsewhere.
    answer = await process.http.get("/admin/api/tables/")
    assert answer.status_code in (302, 303, 307, 401)
    http, status = await signed_in(process)
    assert status == 200
    assert (await http.get(f"{process.base_url}/api/keys")).status_code == 401
    names = (await http.get("/api/tables/")).json()
    classes = {table._meta.tablename: table for table in APP_CONFIG.table_classes}
    assert set(names) == set(classes) - {"secret", "admin_session"}
    for name in names:
        for path in ("", "?__readable=true&__page_size=5", "schema/", "count/", "new/"):
            answer = await http.get(f"/api/tables/{name}/{path}")
            assert answer.status_code == 200, (name, path, answer.text)
        rows = (await http.get(f"/api/tables/{name}/")).json()["rows"]
        for row in rows:
            assert all(row.get(secret) is None for secret in SECRETS), name
        key = classes[name]._meta.primary_key._meta.name
        if name in ("skill_set", "admin_user"):
            continue
        writes = [("POST", "", {})]
        if rows:
            writes += [
                ("PATCH", f"{rows[0][key]}/", {}),
                ("PUT", f"{rows[0][key]}/", rows[0]),
                ("DELETE", f"{rows[0][key]}/", None),
            ]
        for method, path, body in writes:
            answer = await http.request(method, f"/api/tables/{name}/{path}", json=body)
            assert answer.status_code in (403, 422), (name, method, answer.text)
        assert (await http.get(f"/api/tables/{name}/")).json()["rows"] == rows
    # A new password signs out.
    assert command(dsn, "password", NAME, given="another horse battery\n").returncode == 0
    answer = await http.get("/api/tables/")
    assert answer.status_code != 200
    await http.aclose()


async def test_the_pages_in_a_browser(
    process: Process, dsn: str, upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    assert command(dsn, "create", NAME, given=f"{PASSWORD}\n").returncode == 0
    await talked(process, upstream)
    async with browsing() as tab:
        await tab.open(f"{process.base_url}/admin/")
        await tab.type("input[name=username]", NAME)
        await tab.type("input[name=password]", PASSWORD)
        await tab.press("Enter", 13)
        await tab.until("document.body.innerText.includes('Interaction Edit')")
        await tab.run("location.hash = '#/interaction'")
        await tab.until("document.body.innerText.includes('<b>Hi</b>')")
        await tab.until("document.querySelector('td a[href*=\"#/conversation/\"]') !== null")
        shown = await tab.run("document.querySelector('td a[href*=\"#/conversation/\"]').innerText")
        assert "A bakery" in shown
        await tab.run("document.querySelector('td a[href*=\"#/conversation/\"]').click()")
        await tab.until("location.hash.startsWith('#/conversation/')")
        fields = "JSON.stringify([...document.querySelectorAll('input')].map(i => i.value))"
        await tab.until(f"{fields}.includes('A bakery (')")
        await tab.screenshot(tmp_path / "conversation.png")
        assert (tmp_path / "conversation.png").stat().st_size > 10_000
        assert tab.errors == []
