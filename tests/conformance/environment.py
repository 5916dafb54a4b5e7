"""Where other people's tools are installed: `build/conformance`, by requirements/conformance.txt
and npm/package-lock.json, both with hashes. They force no version on the gateway's own locks."""

from __future__ import annotations

import hashlib
import logging
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.conformance.serving import ROOT

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
BUILD = ROOT / "build" / "conformance"
LOCK = ROOT / "requirements" / "conformance.txt"
NEEDED = {"java": "default-jre-headless", "node": "nodejs", "npm": "npm"}
"""Programs, and the packages of Debian that have them."""


def missing() -> list[str]:
    """What the checks of the OpenAPI document need and this machine lacks, by Debian's names."""
    return [package for program, package in NEEDED.items() if shutil.which(program) is None]


def python() -> Path:
    """The Python of an environment that holds what the lock names."""
    home, complete = _home("python", LOCK.read_bytes())
    found = home / "bin" / "python"
    if not complete.exists():
        log.info("installing what requirements/conformance.txt names, which takes a minute")
        venv.EnvBuilder(clear=True, symlinks=True).create(home)
        pip = (sys.executable, "-m", "pip", "--python", str(found), "install", "-qq")
        how = ("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
        subprocess.run((*pip, *how, "--require-hashes", "-r", str(LOCK)), check=True)
        complete.touch()
    return found


def node() -> Path:
    """The folder of the programs that package-lock.json names."""
    files = [HERE / "npm" / name for name in ("package.json", "package-lock.json", ".npmrc")]
    home, complete = _home("npm", b"".join(one.read_bytes() for one in files))
    if not complete.exists():
        home.mkdir(parents=True, exist_ok=True)
        for one in files:
            shutil.copy(one, home)
        subprocess.run(("npm", "ci", "--ignore-scripts", "--silent"), cwd=home, check=True)
        complete.touch()
    return home / "node_modules" / ".bin"


def _home(kind: str, lock: bytes) -> tuple[Path, Path]:
    """The folder for what this lock names, and the file in it that says that all is installed."""
    digest = hashlib.sha256(lock + sys.version.encode()).hexdigest()[:16]
    home = BUILD / f"{kind}-{digest}"
    return home, home / "complete"
