"""The way out to addresses that others may choose: none leads to the operator's own network unless
the operator allows it.

An address is checked where its socket is opened, so what is checked is what is connected to,
however it was spelled and whatever a name resolves to a moment later.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from ipaddress import ip_network

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from gateway.network.addresses import is_open


class EgressRefused(OSError):
    """A connection to an address that is not open."""


class Guard:
    """`allowed` are networks, such as `10.1.0.0/16`, to which the way is open all the same."""

    def __init__(self, allowed: Sequence[str] = ()) -> None:
        self._allowed = tuple(ip_network(network) for network in allowed)

    def check(self, address: str) -> None:
        """Raises Refused."""
        if not is_open(address, self._allowed):
            raise EgressRefused("the address is not open")

    def connector(
        self, *, limit: int = 1000, resolver: AbstractResolver | None = None
    ) -> aiohttp.TCPConnector:
        """Returns a connector for one client session. Each request connects anew."""
        return aiohttp.TCPConnector(
            limit=limit,
            resolver=_Resolver(self, resolver or ThreadedResolver()),
            use_dns_cache=False,
            socket_factory=self.open_socket,
            force_close=True,
        )

    def open_socket(self, info: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, address = info
        self.check(str(address[0]))
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Refuses a name as a whole if one of its addresses is not open: the others are bait."""

    def __init__(self, guard: Guard, inner: AbstractResolver) -> None:
        self._guard = guard
        self._inner = inner

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        for one in found:
            self._guard.check(one["host"])
        return found

    async def close(self) -> None:
        await self._inner.close()


def was_refused(error: aiohttp.ClientError) -> bool:
    """Returns True if a request failed at a guard."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return isinstance(error.os_error, EgressRefused)
    return isinstance(error, aiohttp.InvalidURL)  # an address in an odd spelling
