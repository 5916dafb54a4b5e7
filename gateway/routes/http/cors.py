"""What pages of other origins may do here (CORS): headers in, headers out, nothing else.

Source: the Fetch standard, "CORS protocol"; "Private Network Access" of the WICG.

A page needs a key like every other client, and the gateway trusts no cookie: credentials are never
allowed, so `Access-Control-Allow-Credentials` is never sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TypeAlias

Headers: TypeAlias = list[tuple[bytes, bytes]]

ANY = "*"
EXPOSED = (
    "content-disposition",
    "retry-after",
    "www-authenticate",
    "x-conversation-id",
    "x-gateway-ignored",
    "x-gateway-overhead-ms",
    "x-next-cursor",
    "x-request-id",
    "x-should-retry",
)
"""What a page may read of an answer's headers, beside the few that it always may. A test finds the
`x-` headers that the gateway sends and this does not name."""
METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
MAX_AGE = b"7200"
"""Seconds that a browser remembers a preflight. Chromium remembers none for longer."""
VARIES = (
    b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers, "
    b"Access-Control-Request-Private-Network"
)

_EXPOSED = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
_ORIGIN, _METHOD = b"origin", b"access-control-request-method"
_WANTED = b"access-control-request-headers"
_PRIVATE = b"access-control-request-private-network"


class Cors:
    """The rules for these origins. `*` is every origin; else each is spelled as browsers do."""

    def __init__(self, origins: Collection[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def granted(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """The headers that every answer to such a request carries, whatever its status."""
        origin = next((value for name, value in headers if name == _ORIGIN), None)
        # With a list the answer depends on who asks, also where nobody said so.
        varies = [] if self._any else [(b"vary", b"Origin")]
        return varies + self._allowed(origin, _EXPOSED)

    def preflight(self, headers: Iterable[tuple[bytes, bytes]]) -> Headers | None:
        """What a preflight is answered; None if an OPTIONS request is none. An origin that may not
        come in is told no more than what the answer varies by, which a browser takes for a no."""
        given = dict(headers)
        if _ORIGIN not in given or _METHOD not in given:
            return None
        grants = [(b"access-control-allow-methods", METHODS), (b"access-control-max-age", MAX_AGE)]
        # `*` would not cover `Authorization`.
        if wanted := given.get(_WANTED):
            grants.append((b"access-control-allow-headers", wanted))
        if self._into_private(given):
            grants.append((b"access-control-allow-private-network", b"true"))
        return [(b"vary", VARIES), *self._allowed(given[_ORIGIN], *grants)]

    def _allowed(self, origin: bytes | None, *grants: tuple[bytes, bytes]) -> Headers:
        if self._any:
            return [(b"access-control-allow-origin", b"*"), *grants]
        if origin is None or origin not in self._origins:
            return []
        return [(b"access-control-allow-origin", origin), *grants]

    def _into_private(self, given: Mapping[bytes, bytes]) -> bool:
        """A public page may reach a gateway in a private network if the operator named its origin.
        `*` opens no network to all pages of the internet."""
        return not self._any and given.get(_PRIVATE) == b"true"
