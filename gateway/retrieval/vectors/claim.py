"""The embedded index's files are one process's at a time: a lock beside them says whose."""

from __future__ import annotations

import fcntl
from io import TextIOWrapper
from pathlib import Path

from gateway.errors import Unavailable


def lock(directory: Path) -> TextIOWrapper:
    """Take the files, as long as what is returned is open. Two processes on the same files would
    destroy them; the kernel drops the lock of one that ends. Raises Unavailable."""
    opened = (directory / "gateway.lock").open("w")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        raise Unavailable(
            "Another process uses the embedded search index. Set CHROMA_URL to share one.",
            retry_after=5,
        ) from None
    return opened


def used(directory: Path) -> bool:
    """Returns True if a process has the files."""
    try:
        lock(directory).close()
    except Unavailable:
        return True
    except OSError:  # it is not there, or not ours: opening it says more
        return False
    return False
