"""A real Chromium that a test drives, over its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import tempfile
from asyncio.subprocess import DEVNULL
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.browsers.chromium import FLAGS, PATIENCE_S, end, executable


class Tab:
    """One page. `errors` are what its scripts have thrown."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.errors: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if told.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(told["params"])[:500])
            if (answer := self._answers.pop(told.get("id"), None)) is not None:
                answer.set_result(told)

    async def call(self, method: str, **parameters: object) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(self._answers[number], PATIENCE_S)
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def run(self, script: str) -> Any:
        """The value of an expression."""
        answer = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str, within: float = 20.0) -> Any:
        """Wait until an expression is true: its value. A page on its way has no such thing."""
        try:
            async with asyncio.timeout(within):
                while not (value := await self._tried(script)):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            shown = await self._tried("document.body.innerText")
            raise AssertionError(f"{script} was never true: {shown}") from None
        return value

    async def _tried(self, script: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=script, returnByValue=True)
        return answer["result"].get("value")

    async def type(self, selector: str, text: str) -> None:
        """Type into a field, as a person does."""
        await self.until(f"document.querySelector({json.dumps(selector)}) !== null")
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str, code: int) -> None:
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, text="\r", windowsVirtualKeyCode=code
            )

    async def screenshot(self, path: Path) -> None:
        answer = await self.call("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(answer["data"]))


@asynccontextmanager
async def browsing(width: int = 1280, height: int = 800) -> AsyncIterator[Tab]:
    """A browser that knows nothing, with one tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = await asyncio.create_subprocess_exec(
            executable(),
            *FLAGS,
            "--remote-debugging-port=0",
            f"--window-size={width},{height}",
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=DEVNULL,
            stderr=DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": profile},
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(await _address(session, port), max_msg_size=0) as socket,
            ):
                tab = Tab(socket)
                listening = asyncio.create_task(tab.listen())
                try:
                    await tab.call("Runtime.enable")
                    await tab.call("Page.enable")
                    yield tab
                finally:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
        finally:
            await end(browser)


async def _port(told: Path) -> int:
    async with asyncio.timeout(PATIENCE_S):
        while not told.exists() or not (lines := told.read_text().splitlines()):
            await asyncio.sleep(0.05)
    return int(lines[0])


async def _address(session: aiohttp.ClientSession, port: int) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                pages = [one for one in await answer.json() if one["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)
