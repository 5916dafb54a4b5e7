"""Ports that stay ours while nobody listens on them."""

from __future__ import annotations

import random
import socket

BELOW_EPHEMERAL = 15_000, 32_000
"""A port of the range for outgoing connections could be taken before its server listens, or while
it is restarted."""


def free_port() -> int:
    chance = random.SystemRandom()
    while True:
        port = chance.randrange(*BELOW_EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
