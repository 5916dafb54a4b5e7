"""Ends connections whose clients stopped reading.

The server lets go of such a connection only when the kernel has sent what it holds, and to a client
that takes nothing that is never: the socket and megabytes of buffers would stay. The server has no
call for it, so the descriptor is found by its peer.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TypeAlias

Peer: TypeAlias = tuple[str, int]

DESCRIPTORS = next(
    (path for path in map(Path, ("/proc/self/fd", "/dev/fd")) if path.is_dir()), None
)
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: what was not sent is thrown away."""
GATHER_S = 0.1
"""All who are cut off meanwhile cost one look at the descriptors."""


class HangUp:
    """`of` may be called from the event loop alone."""

    def __init__(self) -> None:
        self._peers: set[Peer] = set()

    def of(self, peer: Peer) -> None:
        """Reset the connection with this peer, soon."""
        if not self._peers:
            asyncio.get_running_loop().call_later(GATHER_S, self._end)
        self._peers.add(peer)

    def _end(self) -> None:
        peers, self._peers = self._peers, set()
        reset(peers)


def reset(peers: Collection[Peer]) -> int:
    """Reset connections of this process. Returns how many were reset."""
    found = 0
    for connection in _sockets():
        with connection:
            try:
                if connection.getpeername()[:2] in peers:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    connection.shutdown(socket.SHUT_RDWR)
                    found += 1
            except OSError:  # it listens, or has ended by itself
                continue
    return found


def _sockets() -> Iterator[socket.socket]:
    """Duplicates, so that whoever owns one may close it meanwhile."""
    for path in list(DESCRIPTORS.iterdir()) if DESCRIPTORS is not None else ():
        try:
            descriptor = os.dup(int(path.name))
            if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                yield socket.socket(fileno=descriptor)
            else:
                os.close(descriptor)
        except OSError:  # the one that listed them is gone
            continue
