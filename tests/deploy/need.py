"""What a test needs of the machine: it is skipped where that is missing, but never in CI."""

from __future__ import annotations

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """The path of a program of Debian's `package`."""
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    return path if path is not None else _missing(f"{name} (Debian: {package})")


def root() -> None:
    """Mounts and other accounts are for root alone."""
    if os.geteuid() != 0:
        _missing("root")


def _missing(what: str) -> str:
    if os.environ.get("CI"):
        pytest.fail(f"CI must have {what}: see .ci/run")
    pytest.skip(f"needs {what}")
