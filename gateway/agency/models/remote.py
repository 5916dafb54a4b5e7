"""Speaks to agents of other gateways, through their Agents API: a session in which the other
gateway's own engine does what is to be done.

Nothing that comes is trusted (`remote_faults`), and nothing goes out but the words for that agent:
no key but the one that the operator has set for its origin, no cookie, to no address that the guard
refuses.
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar

import aiohttp
import msgspec

from gateway.agency.model import ChatMessage, Json
from gateway.agency.models import remote_faults as faults
from gateway.agency.models.retries import persist
from gateway.agency.models.upstream.client import CONNECT_S, INLINE_BODY
from gateway.agency.models.upstream.faults import seconds_of
from gateway.agency.models.upstream.wire import MAX_BODY, encoded
from gateway.errors import UpstreamError
from gateway.network.addresses import origin
from gateway.network.egress import Guard, was_refused

T = TypeVar("T")

HOPS: Final = "X-Gateway-Hops"
"""How many gateways a session has come through already."""
WAIT_S: Final = 20
"""How long one request may wait for the agent."""
ANSWER_S: Final = 15.0
"""The time for one request beside that."""
PACE_S: Final = 0.5
"""Between requests, if the other side does not wait."""
RETRIES: Final = {"POST": 2, "GET": 4}
"""A session outlives a restart of its gateway, so it is asked for a little longer."""
LETTING_GO_S: Final = 2.0
"""The time to cancel a session that nobody waits for any more."""
ERROR_BODY: Final = 64 << 10
SESSION: Final = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
"""What becomes part of a path must not lead out of it."""
WAITING: Final = ("search", "call_agent")


@dataclass(frozen=True, slots=True)
class RemoteCall:
    """`address` is `https://host/api/agents/143`, `hops` how many gateways this one has come
    through, `timeout` in seconds for all of it."""

    address: str
    messages: Sequence[ChatMessage]
    hops: int = 0
    timeout: float = 300.0


class _Failure(msgspec.Struct):
    code: str | None = None


class _Session(msgspec.Struct):
    id: str
    state: str
    message: str | None = None
    error: _Failure | None = None


class _Refusal(msgspec.Struct):
    error: _Failure


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = field(default=None, repr=False)
    seconds: float = ANSWER_S


class Remotes:
    """A client of other gateways; use it as an async context manager. `keys` are by origin;
    `backoff` is the first pause between tries in seconds."""

    def __init__(self, guard: Guard, keys: Mapping[str, str], *, backoff: float = 0.5) -> None:
        self._guard = guard
        self._keys = keys
        self._backoff = backoff
        self._tasks: set[asyncio.Task[object]] = set()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=self._guard.connector(),
            headers={"Accept-Encoding": "identity", "User-Agent": "agency-gateway"},
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LETTING_GO_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def ask(self, call: RemoteCall) -> str:
        """The agent's answer. Raises UpstreamError. However this ends, the agent works on no
        longer: its session is cancelled, which nobody waits for."""
        deadline = asyncio.get_running_loop().time() + call.timeout
        # A task of its own: cancelled on its way, nobody would know what it had begun.
        beginning = self._own(self._begin(call, deadline))
        ended = False
        try:
            async with asyncio.timeout_at(deadline):
                session = await self._end(call, await asyncio.shield(beginning), deadline)
                ended = True
        except TimeoutError:
            raise faults.timed_out(call.timeout) from None
        finally:
            if not ended:
                self._own(self._take_back(call, beginning))
        if session.state == "failed":
            raise faults.failed(session.error.code if session.error else None)
        return session.message or ""

    async def _begin(self, call: RemoteCall, deadline: float) -> _Session:
        """Begin a session without waiting for its answer, so that there soon is a name to cancel it
        by."""
        body: Json = {"messages": call.messages, "drive": "auto"}
        headers = {"Content-Type": "application/json", HOPS: str(call.hops + 1)}
        url = f"{call.address}/sessions?wait=0"
        request = _Request("POST", url, self._headers(call) | headers, encoded(body))
        session = await self._persist(request, deadline)
        if not SESSION.fullmatch(session.id):
            raise faults.invalid()
        return session

    async def _end(self, call: RemoteCall, begun: _Session, deadline: float) -> _Session:
        """The session when it has resolved or failed."""
        clock = asyncio.get_running_loop().time
        session, path = begun, f"{call.address}/sessions/{begun.id}"
        while session.state == "thinking":
            asked = clock()
            wait = max(1, min(WAIT_S, round(deadline - asked)))
            url, seconds = f"{path}?wait={wait}", wait + ANSWER_S
            request = _Request("GET", url, self._headers(call), seconds=seconds)
            session = await self._persist(request, deadline)
            if session.state == "thinking":
                await asyncio.sleep(max(0.0, PACE_S - (clock() - asked)))
        if session.state in WAITING:
            raise faults.manual(session.state)
        if session.state not in ("resolved", "failed"):
            raise faults.invalid()
        return session

    # ---- letting go ------------------------------------------------------------------------------

    async def _take_back(self, call: RemoteCall, beginning: asyncio.Task[_Session]) -> None:
        with suppress(UpstreamError):
            session = await beginning
            url = f"{call.address}/sessions/{session.id}"
            headers = self._headers(call)
            await self._exchange(_Request("DELETE", url, headers, seconds=LETTING_GO_S))

    def _own(self, work: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # ---- one request -----------------------------------------------------------------------------

    def _headers(self, call: RemoteCall) -> dict[str, str]:
        key = self._keys.get(origin(call.address))
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    async def _persist(self, request: _Request, deadline: float) -> _Session:
        """Try again. Reading again is always safe; beginning again is safe only if nothing was
        begun."""
        reads = request.method == "GET"
        return await persist(
            partial(self._exchange, request),
            lambda error: error.transient if reads else isinstance(error, faults.Unbegun),
            retries=RETRIES[request.method],
            backoff=self._backoff,
            deadline=deadline,
        )

    async def _exchange(self, request: _Request) -> _Session:
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=_payload(request.body),
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=request.seconds, sock_connect=CONNECT_S),
            ) as response:
                return await _read(response)
        except aiohttp.ConnectionTimeoutError:
            raise faults.unreachable() from None
        except TimeoutError:
            raise faults.timed_out(request.seconds) from None
        except (aiohttp.ClientConnectorError, aiohttp.InvalidURL) as error:
            raise (faults.forbidden() if was_refused(error) else faults.unreachable()) from None
        except aiohttp.ClientResponseError:
            raise faults.invalid() from None
        except (aiohttp.ClientError, OSError):
            raise faults.broken() from None


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    return body if body is None or len(body) < INLINE_BODY else io.BytesIO(body)


async def _read(response: aiohttp.ClientResponse) -> _Session:
    """Raises UpstreamError."""
    if not 200 <= response.status < 300:
        body = await response.content.read(ERROR_BODY)
        retry_after = seconds_of(response.headers.get("Retry-After"))
        raise faults.of_status(response.status, _word(body), retry_after)
    if response.content_type.lower() != "application/json":
        raise faults.invalid()
    whole = bytearray()
    while piece := await response.content.readany():
        whole += piece
        if len(whole) > MAX_BODY:
            raise faults.too_large()
    try:
        return msgspec.json.decode(whole, type=_Session)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise faults.invalid() from None


def _word(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Refusal).error.code
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
