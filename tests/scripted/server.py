"""The server: reads requests, picks the step for each and watches the caller meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from tests.scripted.exchange import Call, Exchange
from tests.scripted.faults import Status


class Step(Protocol):
    """What the upstream does with one call."""

    async def play(self, exchange: Exchange) -> None: ...


StepOrFunction = Step | Callable[[Call], Step]


class ScriptedUpstream:
    """See the module. `models` is the step that answers each `GET /v1/models`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.most_open = 0
        """The highest number of calls that were open at the same time."""
        self.connections = 0
        """How many connections were ever accepted."""
        self.models: Step = Status(200, {}, {"object": "list", "data": [{"id": "scripted"}]})
        self._queues: defaultdict[str, deque[StepOrFunction]] = defaultdict(deque)
        self.standing: dict[str, StepOrFunction] = {}
        self._problems: list[str] = []
        self._arrival = asyncio.Condition()
        self._open: set[asyncio.Task[None]] = set()

    def script(self, agent: str, *steps: StepOrFunction) -> None:
        """Append to the queue of this agent; each of its calls takes the next step."""
        self._queues[agent].extend(steps)

    def always(self, agent: str, step: StepOrFunction) -> None:
        """What this agent does whenever its queue is empty, any number of times (also never)."""
        self.standing[agent] = step

    @property
    def open_calls(self) -> list[Call]:
        """Calls whose caller still waits."""
        return [call for call in self.calls if call.open]

    def calls_of(self, agent: str) -> list[Call]:
        return [call for call in self.calls if call.agent == agent]

    async def arrived(self, agent: str | None = None, count: int = 1, within: float = 5.0) -> Call:
        """Wait for the `count`-th call of this agent (or of anyone), counted from the start."""

        def matching() -> list[Call]:
            return self.calls if agent is None else self.calls_of(agent)

        async with asyncio.timeout(within), self._arrival:
            await self._arrival.wait_for(lambda: len(matching()) >= count)
        return matching()[count - 1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, backlog=1024)
        host, port = self._server.sockets[0].getsockname()
        self.base_url = f"http://{host}:{port}/v1"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for connection in self._open:
            connection.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        queues = self._queues.items()
        unused = [f"unused step of {agent}: {step}" for agent, queue in queues for step in queue]
        problems = self._problems + unused
        if error is not None:
            for problem in problems:
                error.add_note(f"scripted upstream: {problem}")
        elif problems:
            raise AssertionError("Scripted upstream:\n  " + "\n  ".join(problems))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._open.add(connection)
        self.connections += 1
        try:
            await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # a caller may leave whenever it likes
        except Exception as error:
            self._problems.append(f"a step failed: {error!r}")
        finally:
            self._open.discard(connection)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ahead: bytes | None = b""
        while ahead is not None:
            call = await _read_call(reader, ahead)
            step = await self._choose(call)
            ahead = await self._perform(Exchange(call, writer), step, reader)

    async def _choose(self, call: Call) -> Step:
        if (call.method, call.path) == ("GET", "/v1/models"):
            return self.models
        if (call.method, call.path) != ("POST", "/v1/chat/completions"):
            return self._unexpected(f"{call.method} {call.path}")
        async with self._arrival:
            self.calls.append(call)
            self.most_open = max(self.most_open, len(self.open_calls))
            self._arrival.notify_all()
        if queue := self._queues[call.agent]:
            step = queue.popleft()
        elif call.agent in self.standing:
            step = self.standing[call.agent]
        else:
            return self._unexpected(f"call of {call.agent}: {call.messages[-1:]}")
        return step(call) if callable(step) else step

    def _unexpected(self, what: str) -> Step:
        self._problems.append(f"unexpected {what}")
        return Status(418)  # a status that nobody repeats or falls back from

    async def _perform(
        self, exchange: Exchange, step: Step, reader: asyncio.StreamReader
    ) -> bytes | None:
        """Play the step while watching the caller. None: the connection is over."""
        play = asyncio.create_task(step.play(exchange))
        watch = asyncio.create_task(_next_byte(reader))
        try:
            await asyncio.wait({play, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not play.done() and watch.result() == b"":
                exchange.call.disconnected.set()
                return None
            await play
        except OSError:
            exchange.call.disconnected.set()
            return None
        finally:
            play.cancel()
            watch.cancel()
            await asyncio.gather(play, watch, return_exceptions=True)
        exchange.call.finished = True
        if exchange.over:
            return None
        return b"" if watch.cancelled() else watch.result() or None


async def _next_byte(reader: asyncio.StreamReader) -> bytes:
    """Empty when the caller has gone; else the first byte of its next request."""
    try:
        return await reader.read(1)
    except OSError:
        return b""


async def _read_call(reader: asyncio.StreamReader, ahead: bytes) -> Call:
    head = ahead + await reader.readuntil(b"\r\n\r\n")
    request, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, path, _ = request.split(" ")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    now = asyncio.get_running_loop().time()
    return Call(method, path, headers, json.loads(body or b"{}"), now)
