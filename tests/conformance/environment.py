"""Where other people's tools are installed: `build/conformance`, by requirements/conformance.txt
and npm/package-lock.json, both with hashes. They force no version on the gateway's own locks."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.conformance.serving import ROOT

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
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = BUILD / f"python-{digest}"
    found = home / "bin" / "python"
    if not (home / "complete").exists():
        venv.EnvBuilder(clear=True, symlinks=True).create(home)
        pip = (sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet")
        how = ("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
        subprocess.run((*pip, *how, "--require-hashes", "-r", str(LOCK)), check=True)
        (home / "complete").touch()
    return found


def node() -> Path:
    """The folder of the programs that package-lock.json names."""
    home = BUILD / "npm"
    home.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(HERE / "npm" / name, home / name)
    subprocess.run(("npm", "ci", "--ignore-scripts", "--silent"), cwd=home, check=True)
    return home / "node_modules" / ".bin"
