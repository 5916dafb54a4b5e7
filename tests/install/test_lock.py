"""The environment that these tests run in is what `make` installed: the lock, and no more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PINNED = re.compile(r"^([A-Za-z0-9_.-]+)==([^ ;\\]+)(?: ; ([^\\]+))? \\$", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    """What the lock names for this Python and platform, by name."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return {
        canonicalize_name(package): version
        for package, version, marker in PINNED.findall(text)
        if not marker or Marker(marker.strip()).evaluate()
    }


def installed(python: str) -> dict[str, str]:
    code = (
        "import importlib.metadata as m\n"
        "for d in m.distributions(): print(d.metadata['Name'], d.version)"
    )
    told = subprocess.run((python, "-c", code), cwd="/", capture_output=True, text=True, check=True)
    return {
        canonicalize_name(line.split()[0]): line.split()[1] for line in told.stdout.splitlines()
    }


def test_each_lock_has_the_same_pins() -> None:
    every = locked("dev")
    assert locked("runtime").items() <= every.items()
    assert locked("installers").items() <= every.items()
    assert set(locked("installers")) == {"pip", "uv"}


def test_here_is_installed_what_the_lock_names() -> None:
    here = {canonicalize_name(one.metadata["Name"]): one.version for one in distributions()}
    wanted = locked("dev")
    assert {name: here.get(name) for name in wanted} == wanted


def test_what_is_installed_fits_together() -> None:
    checked = subprocess.run(
        (sys.executable, "-m", "pip", "check"), capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_the_package_is_built_with_the_locked_setuptools() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["build-system"]["requires"] == [f"setuptools=={locked('runtime')['setuptools']}"]


@pytest.mark.timeout(300)
@pytest.mark.skipif("CI" not in os.environ, reason="needs the package registry; .ci/run runs it")
def test_an_empty_environment_gets_the_lock_and_no_more(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    left_out = shutil.ignore_patterns(
        ".git", ".venv", ".gateway", "*.egg-info", "__pycache__", ".*"
    )
    shutil.copytree(ROOT, copy, ignore=left_out)
    made = subprocess.run(
        ("make", "install"), cwd=copy, capture_output=True, text=True, timeout=280, check=False
    )
    assert made.returncode == 0, made.stderr
    found = installed(str(copy / ".venv" / "bin" / "python"))
    version = found.pop("agency-gateway")
    assert version
    assert found == locked("runtime") | locked("installers")
