"""A page in a real Chromium: a server gives it, its script runs, and its result comes back."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",  # it refuses to run as root with one
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-quic",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
PATIENCE_S = 60
"""A browser that starts on a busy machine takes a while."""
HTML = """<!doctype html><meta charset="utf-8"><title>A page</title><script>
const run = async () => { %s };
run().catch(e => ({thrown: String(e)}))
  .then(r => fetch("/result", {method: "POST", body: JSON.stringify(r)}));
</script>"""


def executable() -> str:
    """Its path. Without a Chromium the test is skipped, but not in CI, which installs one."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        assert os.environ.get("CI") != "true", "CI has no Chromium"
        pytest.skip("there is no Chromium here: apt-get install chromium")
    return found


@dataclass
class Page:
    """Where pages come from. Each `run` is a new browser that knows nothing."""

    origin: str
    script: str = ""
    results: asyncio.Queue[Any] = field(default_factory=asyncio.Queue)

    async def run(self, script: str, **given: object) -> Any:
        """What the script returns; `given` are constants in it."""
        constants = "".join(f"const {name} = {json.dumps(value)};" for name, value in given.items())
        self.script = constants + script
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = await asyncio.create_subprocess_exec(
                executable(),
                *FLAGS,
                f"--user-data-dir={profile}",
                f"{self.origin}/",
                stdout=DEVNULL,
                stderr=DEVNULL,
                env={"PATH": os.environ["PATH"], "HOME": profile},
            )
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await self.results.get()
            finally:
                await end(browser)

    async def give(self, request: web.Request) -> web.Response:
        return web.Response(text=HTML % self.script, content_type="text/html")

    async def take(self, request: web.Request) -> web.Response:
        self.results.put_nowait(json.loads(await request.text()))
        return web.Response(status=204)


@asynccontextmanager
async def page_server() -> AsyncIterator[Page]:
    """An origin of its own: the same host as a gateway's, but another port."""
    page = Page("")
    app = web.Application()
    app.add_routes([web.get("/", page.give), web.post("/result", page.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, port = runner.addresses[0][:2]
    page.origin = f"http://127.0.0.1:{port}"
    try:
        yield page
    finally:
        await runner.cleanup()


async def end(browser: Process) -> None:
    browser.terminate()
    try:
        async with asyncio.timeout(10):
            await browser.wait()
    except TimeoutError:
        browser.kill()
        await browser.wait()
