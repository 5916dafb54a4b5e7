"""Speaks to an OpenAI-compatible upstream.

Nothing it sends is trusted: `faults` lists what can go wrong, and which of it is tried again.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Final, Self

import aiohttp

from gateway.agency.model import Completion, ModelCall, OnPieces, Text
from gateway.agency.models.passing.passage import Listed, UpstreamResponse, read_list
from gateway.agency.models.retries import persist
from gateway.agency.models.upstream import exchange, faults, wire
from gateway.agency.models.upstream.adaptation import (
    AS_ASKED,
    TWINS,
    Adaptation,
    adapted,
    outdated,
    sent,
)
from gateway.agency.models.upstream.exchange import PieceListener
from gateway.agency.models.upstream.habits import Habits, Memory
from gateway.agency.models.upstream.wire import UpstreamAnswer
from gateway.agency.speech.thoughts import Thoughts
from gateway.errors import InvalidRequest, UpstreamError
from gateway.network.addresses import is_base, is_key
from gateway.network.proxy import proxy_for

OPENAI: Final = "https://api.openai.com/v1"

RETRIES: Final = 2

PING_S: Final = 5.0
LIST_S: Final = 10.0
CONNECT_S: Final = 10.0

INLINE_BODY: Final = 1 << 20
"""Bytes above which aiohttp wants a request body as a file, so that the loop is not held."""


class Upstream:
    """A `Model` over one shared session; use it as an async context manager.

    `idle` is how many seconds the upstream may be silent: within an answer, and before a stream.
    A plain answer may keep us waiting for `call.timeout`, since nothing is sent while it is made.
    `backoff` is the first pause between tries in seconds. Raises InvalidRequest if the URL or the
    key can't be used.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        idle: float = 60.0,
        backoff: float = 0.5,
        connections: int = 1000,
    ) -> None:
        base = _base(base_url or OPENAI)
        self._chat = f"{base}/chat/completions"
        self._models = f"{base}/models"
        self._headers = _headers(api_key)
        self._proxy = proxy_for(base)
        self._idle = idle
        self._backoff = backoff
        self._connections = connections
        self._api_key = api_key
        self.habits = Memory()
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self._connections, ttl_dns_cache=60),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # asked for as it is, and no archive can outgrow the limits
            proxy=self._proxy,
            trust_env=False,  # it would read passwords out of ~/.netrc, too
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def complete(self, call: ModelCall, on_pieces: OnPieces | None = None) -> Completion:
        """See `Model`. Tried again at most twice, and never once text was handed to `on_pieces`."""
        listener = None if on_pieces is None else PieceListener(on_pieces)
        deadline = asyncio.get_running_loop().time() + call.timeout
        try:
            async with asyncio.timeout_at(deadline):
                return await self._persist(call, listener, deadline)
        except TimeoutError:
            raise faults.timed_out(call.timeout, idle=False) from None

    async def ping(self) -> None:
        """Ask for the list of models, within 5 s."""
        try:
            async with (
                asyncio.timeout(PING_S),
                self._session.get(self._models, allow_redirects=False) as response,
            ):
                status = response.status
        except (aiohttp.ClientError, OSError):
            raise UpstreamError(
                "The model upstream can't be reached. Check OPENAI_BASE_URL and the network.",
                status=503,
                code="upstream_unavailable",
                transient=True,
            ) from None
        if status in (401, 403) or status >= 500:
            raise faults.of_status(status)

    async def models(self) -> list[Listed]:
        """The upstream's own list of models. Raises UpstreamError."""
        try:
            async with (
                asyncio.timeout(LIST_S),
                self._session.get(self._models, allow_redirects=False) as response,
            ):
                return await read_list(response, self._idle)
        except TimeoutError:
            raise faults.timed_out(LIST_S, idle=False) from None
        except (aiohttp.ClientError, OSError):
            raise faults.unreachable() from None

    async def pass_on(self, body: bytes, *, streams: bool) -> UpstreamResponse:
        """Send a body that a client wrote; the caller closes what is given.

        Only a connection that fails is tried again: what the upstream answers, be it a refusal, is
        the client's to judge. Raises UpstreamError, `passed.Passed` for a refusal.
        """
        post = partial(self._post, body, streams=streams)
        response = await persist(post, faults.repeatable, retries=RETRIES, backoff=self._backoff)
        passage = UpstreamResponse(response, self._idle, self._api_key)
        await passage.check("text/event-stream" if streams else "application/json")
        return passage

    async def _persist(
        self, call: ModelCall, listener: PieceListener | None, deadline: float
    ) -> Completion:
        return await persist(
            partial(self._negotiate, call, listener),
            lambda error: faults.repeatable(error) and not (listener and listener.heard),
            retries=RETRIES,
            backoff=self._backoff,
            deadline=deadline,
        )

    async def _negotiate(self, call: ModelCall, listener: PieceListener | None) -> Completion:
        """Ask in the best way that this upstream accepts for this model."""
        habits = self.habits[call.model]
        adaptation = habits.adaptation
        anew = False
        while True:
            thoughts = None if call.allowed else Thoughts(clear=habits.clear)
            if listener is not None:
                listener.begin(thoughts)
            try:
                answer = await self._ask(call, adaptation, listener)
                break
            except faults.Rejected as rejected:
                if listener is not None and listener.heard:
                    raise
                if not anew and outdated(habits.adaptation, call, rejected.refusal):
                    adaptation, anew = AS_ASKED, True
                    continue
                adaptation = self._give_way(call, adaptation, rejected, listener is not None)
        if adaptation is not habits.adaptation:
            habits.adapt(adaptation, anew=anew)
        if answer.odd:
            habits.note(answer.odd)
        completion = answer.completion(call)
        if thoughts is None:
            return completion
        return _spoken(completion, thoughts, listener, habits)

    def _give_way(
        self, call: ModelCall, current: Adaptation, rejected: faults.Rejected, stream: bool
    ) -> Adaptation:
        """Returns how to ask again. Raises UpstreamError if there is no other way."""
        after = adapted(current, call, rejected.refusal, stream=stream)
        if after is not None:
            return after
        named = rejected.refusal.names(sent(current, call, stream=stream))
        own = {name if name in call.insisted else TWINS.get(name, name) for name in named}
        if own := own & call.insisted:
            raise faults.unsupported(min(own), rejected.refusal, self._api_key) from None
        raise rejected

    async def _ask(
        self, call: ModelCall, adaptation: Adaptation, listener: PieceListener | None
    ) -> UpstreamAnswer:
        body = wire.request(call, adaptation, stream=listener is not None)
        async with await self._post(body, streams=listener is not None) as response:
            if listener is None:
                return await exchange.read(response, self._idle)
            return await exchange.listen(response, listener, self._idle)

    async def _post(self, body: bytes, *, streams: bool) -> aiohttp.ClientResponse:
        """The response as soon as its head is there."""
        data = body if len(body) < INLINE_BODY else io.BytesIO(body)
        try:
            async with asyncio.timeout(self._idle if streams else None):
                return await self._session.post(self._chat, data=data, allow_redirects=False)
        except aiohttp.ClientResponseError:
            raise faults.invalid() from None
        except aiohttp.ClientError:
            raise faults.unreachable() from None
        except TimeoutError:
            raise faults.timed_out(self._idle, idle=True) from None
        except OSError:
            raise faults.unreachable() from None


def _spoken(
    completion: Completion, thoughts: Thoughts, listener: PieceListener | None, habits: Habits
) -> Completion:
    """The completion without its thoughts, the last of which is told to the listener."""
    if listener is None:
        thoughts.feed(completion.text)
    if listener is None or not listener.enough:
        rest = thoughts.close(cut=completion.finish_reason != "stop")
        habits.answered(thoughts)
        if listener is not None and rest:
            listener.tell([rest])
    return replace(completion, said=(Text(thoughts.text),))


def _base(text: str) -> str:
    if not is_base(text):
        raise InvalidRequest(
            f"OPENAI_BASE_URL must look like {OPENAI}, without a user name, password or query."
        )
    return text.rstrip("/")


def _headers(api_key: str | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": "agency-gateway",
    }
    if api_key is not None:
        if not is_key(api_key):
            raise InvalidRequest("OPENAI_API_KEY holds a character that no key has.")
        headers["Authorization"] = f"Bearer {api_key}"
    return headers
