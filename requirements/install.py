"""Make `.venv` and install a lock into it: `python requirements/install.py runtime STAMP`.

The locks are complete. So nothing is resolved, and nothing is built from source: what the lock
names is installed, by uv within seconds, or by pip where uv can't. Only the standard library is
needed. `STAMP` is made once all is installed.
"""

from __future__ import annotations

import ast
import fcntl
import os
import shutil
import subprocess
import sys
import threading
import time
import venv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = str(VENV / "bin" / "python")
UNFINISHED = VENV / ".unfinished"
"""Exists while something is installed. If it was left behind, `.venv` is made anew."""

LOCKED = ("--no-deps", "--require-hashes", "--only-binary", ":all:", "--requirement")
"""A build from source would fetch tools that no lock names."""
PACKAGE = ("--no-deps", "--no-build-isolation", "--editable", ".")
BENT = ("PIP_REQUIRE_HASHES", "PIP_TARGET", "UV_CONSTRAINT", "UV_OVERRIDE", "UV_SYSTEM_PYTHON")
"""Variables that would bend an installation that is exact already."""


FROM_PIP = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "cert": "SSL_CERT_FILE"}
"""Options of pip as variables of uv: an address may hold a password, and arguments are public."""


class Failed(Exception):
    """A command failed. The message is what it printed."""


def main(lock: str, stamp: Path) -> None:
    with _alone() as waited:
        if waited and stamp.exists():
            return
        if UNFINISHED.exists() or not _fits():
            _make_environment()
        UNFINISHED.touch()
        _install(lock)
        for old in VENV.glob(f".{lock}-*"):
            old.unlink()
        stamp.touch()
        UNFINISHED.unlink()


@contextmanager
def _alone() -> Iterator[bool]:
    """Two may start in one folder at once: the second waits for the first. True if it waited."""
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            waited = False
        except BlockingIOError:
            print("Waiting for another make, which installs into .venv.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
            waited = True
        yield waited


def _fits() -> bool:
    """True if the Python of `.venv` runs, is the one that it was made with, and has not moved."""
    config = VENV / "pyvenv.cfg"
    if not config.exists():
        return False
    made = dict(line.partition(" = ")[::2] for line in config.read_text("utf-8").splitlines())
    try:
        version = _run([PYTHON, "-c", "import sys; print('%d.%d.' % sys.version_info[:2])"])
    except (Failed, OSError):
        return False
    here = made.get("command", str(VENV)).endswith(str(VENV))
    return here and made.get("version", version).startswith(version.strip())


def _make_environment() -> None:
    with _step(f"Making .venv with Python {sys.version.split()[0]}"):
        if VENV.exists():
            shutil.rmtree(VENV)
        VENV.mkdir()
        UNFINISHED.touch()
        venv.EnvBuilder(symlinks=True).create(VENV)


def _install(lock: str) -> None:
    file = f"requirements/{lock}.txt"
    pip = _find_pip()
    try:
        uv = VENV / "bin" / "uv"
        if not uv.exists():
            with _step("Installing uv"):
                _run([*pip, "install", "--quiet", *LOCKED, "requirements/installers.txt"])
        into = [str(uv), "pip", "install", "--quiet", "--python", PYTHON]
        with _step(f"Installing what {file} names"):
            arguments, settings = _mirror(pip)
            _run([*into, *arguments, *LOCKED, file], settings)
            _run([*into, *PACKAGE])
    except Failed as error:
        reason = " ".join(str(error).split())[:200]
        with _step(f"uv can't install here ({reason}). Installing with pip, which takes a minute"):
            _run([*pip, "install", "--quiet", *LOCKED, file])
            _run([*pip, "install", "--quiet", *PACKAGE])


def _find_pip() -> list[str]:
    """The pip of the Python that makes `.venv`; else `.venv` gets one, which takes longer."""
    base = getattr(sys, "_base_executable", None) or sys.executable
    pip = [base, "-m", "pip", "--python", PYTHON]
    try:
        _run([*pip, "--version"])
    except Failed:
        pip = [PYTHON, "-m", "pip"]
        try:
            _run([*pip, "--version"])
        except Failed:
            _run([PYTHON, "-m", "ensurepip"])
    return pip


def _mirror(pip: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The mirror that pip is configured for, if it is, as uv's arguments and variables: uv does
    not read pip's configuration. Which index a file comes from does not matter; its hash does."""
    lines = _run([*pip, "config", "list"]).splitlines()
    options: dict[str, str] = {}
    for line in sorted(lines, key=lambda line: (line[0] == ":", not line.startswith("global."))):
        name, _, value = line.partition("=")  # global.index-url='https://…', then the environment
        options[name.rpartition(".")[2]] = str(ast.literal_eval(value))
    if not options.keys() & {"index-url", "no-index"}:
        return [], {}
    arguments = ["--index-strategy", "unsafe-best-match"]
    arguments += ["--no-index"] if "no-index" in options else []
    for place in options.get("find-links", "").split():
        arguments += ["--find-links", place]
    found = {FROM_PIP[name]: value for name, value in options.items() if name in FROM_PIP}
    return arguments, {name: " ".join(value.split()) for name, value in found.items()}


def _run(command: Sequence[str], settings: dict[str, str] | None = None) -> str:
    """What `command` prints. Variables of the caller's override `settings`. Raises Failed."""
    ours = {
        "PIP_CONSTRAINT": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_USER": "0",
        "PYTHONUTF8": "1",  # a path may hold any letter, whatever the locale
    }
    theirs = {
        name: value
        for name, value in os.environ.items()
        if name not in BENT and not name.startswith("PYTHON")
    }
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**(settings or {}), **theirs, **ours},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if ended.returncode != 0:
        raise Failed(ended.stderr or ended.stdout or f"{command[0]} ended with {ended.returncode}")
    return ended.stdout


@contextmanager
def _step(text: str) -> Iterator[None]:
    """Show `text` and, in a terminal, the seconds as they pass."""
    began = time.monotonic()
    ended = threading.Event()
    again = f"\r{text} ..." if sys.stdout.isatty() else ""

    def tick() -> None:
        while again and not ended.wait(1):
            print(f"{again} {time.monotonic() - began:.0f} s", end="", flush=True)

    print(f"{text} ...", end="", flush=True)
    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    except BaseException:
        ended.set()
        print(flush=True)
        raise
    ended.set()
    ticking.join()
    print(f"{again} {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    try:
        main(sys.argv[1], ROOT / sys.argv[2])
    except KeyboardInterrupt:
        sys.exit(130)
    except (Failed, OSError) as error:
        print(f"The installation failed:\n{error}", file=sys.stderr)
        sys.exit(1)
