"""Redis: the broker between several processes."""

from __future__ import annotations

from redis.asyncio import Redis

from gateway.errors import Unavailable

TIMEOUT = 0.25
"""Seconds. A slow Redis is worse than a dead one."""


async def ping(url: str) -> None:
    """Raises Unavailable."""
    try:
        async with Redis.from_url(
            url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=None
        ) as redis:
            await redis.ping()
    except Exception as error:
        raise Unavailable(f"Redis does not answer ({type(error).__name__}).") from error
