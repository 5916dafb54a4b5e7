"""No connection leads to an address that is not open, whatever it is called."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.network.egress import Guard, was_refused
from tests.remote.elsewhere import Elsewhere


class Names(AbstractResolver):
    """A name server with an answer for each time that it is asked; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.asked = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked += 1
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in answer
        ]

    async def close(self) -> None:
        pass


class Watchful(Guard):
    """Notes which addresses it was asked about."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        super().__init__(allowed)
        self.checked: list[str] = []

    def check(self, address: str) -> None:
        self.checked.append(address)
        super().check(address)


@asynccontextmanager
async def client(
    guard: Guard, resolver: AbstractResolver | None = None
) -> AsyncIterator[aiohttp.ClientSession]:
    connector = guard.connector(resolver=resolver)
    timeout = aiohttp.ClientTimeout(total=5)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        yield session


@pytest.fixture
def listener() -> Iterator[int]:
    """The port of a server on every address of this machine. Nobody must come."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
        server.setblocking(False)
        yield server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()


async def refused(url: str, guard: Guard, resolver: AbstractResolver | None = None) -> None:
    async with client(guard, resolver) as session:
        with pytest.raises(aiohttp.ClientError) as failed:
            await session.get(url)
        assert was_refused(failed.value), failed.value


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "0177.0.0.1",
        "0x7f.1",
        "2130706433",
        "0.0.0.0",  # noqa: S104
        "localhost",
        "LOCALHOST",
        "169.254.169.254",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[fe80::1]",
    ],
)
async def test_this_machine_is_refused_by_any_name(host: str, listener: int) -> None:
    await refused(f"http://{host}:{listener}/", Guard())


async def test_what_is_allowed_is_reached_and_nothing_beside_it(elsewhere: Elsewhere) -> None:
    guard = Guard(["127.0.0.1/32"])
    async with client(guard) as session, session.get(f"{elsewhere.origin}/") as answer:
        assert answer.status == 200
    await refused(f"http://127.0.0.2:{elsewhere.port}/", guard)
    await refused(f"http://[::1]:{elsewhere.port}/", guard)


@pytest.mark.parametrize(
    "addresses", [("8.8.8.8", "127.0.0.1"), ("127.0.0.1", "8.8.8.8"), ("8.8.8.8", "::1")]
)
async def test_a_name_that_is_public_and_private_is_refused_as_a_whole(
    addresses: Sequence[str], listener: int
) -> None:
    guard = Watchful()
    await refused(f"http://two-faced.example:{listener}/", guard, Names(addresses))
    assert "8.8.8.8" not in guard.checked[1:], "it was about to be connected to"


async def test_a_name_is_looked_up_once_and_what_was_found_is_connected_to(
    elsewhere: Elsewhere,
) -> None:
    """Whatever the name means a moment later."""
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    guard = Watchful(["127.0.0.1/32"])
    url = f"http://rebinding.example:{elsewhere.port}/"
    async with client(guard, names) as session, session.get(url) as answer:
        assert answer.status == 200
    assert names.asked == 1
    assert guard.checked == ["127.0.0.1", "127.0.0.1"], "when it was found, when it was opened"


async def test_each_request_is_checked_anew(elsewhere: Elsewhere) -> None:
    names = Names(["127.0.0.1"], ["127.0.0.2"])
    url = f"http://rebinding.example:{elsewhere.port}/"
    async with client(Guard(["127.0.0.1/32"]), names) as session:
        async with session.get(url) as answer:
            assert answer.status == 200
        with pytest.raises(aiohttp.ClientConnectorError) as failed:
            await session.get(url)
        assert was_refused(failed.value)


async def test_a_socket_is_opened_to_no_address_that_a_resolver_let_through(
    listener: int,
) -> None:
    """The last check is not the resolver's."""
    connector = aiohttp.TCPConnector(
        resolver=Names(["127.0.0.1"]), socket_factory=Guard().open_socket, use_dns_cache=False
    )
    async with aiohttp.ClientSession(connector=connector) as session:
        with pytest.raises(aiohttp.ClientConnectorError) as failed:
            await session.get(f"http://x.example:{listener}/")
        assert was_refused(failed.value)
