"""`make install` in a copy of the tree, offline: a small lock, and its packages in a folder.

The path has blanks and umlauts, which Make, scripts and shebangs are known to stumble on.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.install.wheels import lock, repack, write_wheel

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
PROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "agency-gateway"
version = "0"
[tool.setuptools]
py-modules = []
"""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pip, uv and setuptools as they are here, and two packages, one with an extra."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("pip", "uv", "setuptools"):
        repack(folder, name)
    write_wheel(folder, "lib", "1.0", extras=["more"])
    write_wheel(folder, "app", "1.0", requires=["lib[more]==1.*"])
    return folder


class Tree:
    """A fresh copy of what `make install` reads, and its own cache."""

    def __init__(self, place: Path, packages: Path) -> None:
        self.path = place / "Büro mit Leerzeichen"
        self.packages = packages
        (self.path / "requirements").mkdir(parents=True)
        for name in ("Makefile", "requirements/install.py"):
            shutil.copy(ROOT / name, self.path / name)
        (self.path / "pyproject.toml").write_text(PROJECT)
        found = {path.name.split("-")[0]: path for path in sorted(packages.glob("*.whl"))}
        self.locks("installers", found["pip"], found["uv"])
        self.locks("runtime", found["app"], found["lib"], found["setuptools"])
        self.locks("dev", found["app"], found["lib"], found["setuptools"])
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(place),
            "UV_CACHE_DIR": str(place / "cache"),
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(packages),
        }

    def locks(self, name: str, *wheels: Path) -> None:
        (self.path / "requirements" / f"{name}.txt").write_text(lock(*wheels))

    def without_uv(self) -> None:
        """As on a platform for which there is no wheel of it."""
        bogus = f"uv==0.0.1 --hash=sha256:{'0' * 64}\n"
        (self.path / "requirements" / "installers.txt").write_text(bogus)

    def make(self, target: str = "install", **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ("make", target),
            cwd=self.path,
            env={**self.environment, **more},
            capture_output=True,
            encoding="utf-8",
            timeout=250,
            check=False,
        )

    def installed(self) -> Mapping[str, str]:
        code = (
            "import importlib.metadata as m\n"
            "for d in m.distributions(): print(d.metadata['Name'], d.version)"
        )
        python = self.path / ".venv" / "bin" / "python"
        told = subprocess.run(
            (python, "-c", code), cwd="/", capture_output=True, text=True, check=True
        )
        return dict(line.split() for line in told.stdout.splitlines())


@pytest.fixture
def tree(tmp_path: Path, packages: Path) -> Tree:
    return Tree(tmp_path, packages)


NAMES = {"agency-gateway", "app", "lib", "pip", "setuptools", "uv"}


@pytest.fixture(scope="module")
def newer(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages, and a release that came out after they were locked."""
    folder = tmp_path_factory.mktemp("newer") / "packages"
    shutil.copytree(packages, folder)
    write_wheel(folder, "lib", "1.1", extras=["more"])
    return folder


def test_a_newer_release_on_offer_changes_nothing(tree: Tree, newer: Path) -> None:
    made = tree.make(PIP_FIND_LINKS=str(newer))
    assert made.returncode == 0, made.stderr
    assert "WARNING" not in made.stdout + made.stderr
    assert "with pip" not in made.stdout
    assert set(tree.installed()) == NAMES
    assert tree.installed()["lib"] == "1.0"
    again = tree.make()
    assert "Nothing to be done" in again.stdout
    _moves_and_loses_its_python(tree)


def _moves_and_loses_its_python(tree: Tree) -> None:
    tree.path = tree.path.rename(tree.path.with_name("elsewhere"))
    python = tree.path / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python")
    made = tree.make()
    assert "Making .venv" in made.stdout, made.stderr
    assert set(tree.installed()) == NAMES


def test_pip_installs_the_same_where_uv_can_not(tree: Tree, newer: Path) -> None:
    made = tree.make(PIP_FIND_LINKS=str(newer), UV_CACHE_DIR="/proc/nowhere")
    assert made.returncode == 0, made.stderr
    (line,) = [line for line in made.stdout.splitlines() if "with pip" in line]
    assert line.startswith("uv can't install here (")
    assert set(tree.installed()) == NAMES
    assert tree.installed()["lib"] == "1.0"


def test_pip_installs_where_there_is_no_uv_for_the_platform(tree: Tree, newer: Path) -> None:
    tree.without_uv()
    made = tree.make(PIP_FIND_LINKS=str(newer))
    assert made.returncode == 0, made.stderr
    assert "with pip" in made.stdout
    assert NAMES - set(tree.installed()) <= {"uv", "pip"}
    assert tree.installed()["lib"] == "1.0"


def test_a_file_with_another_hash_is_not_installed(tree: Tree) -> None:
    tree.without_uv()
    runtime = tree.path / "requirements" / "runtime.txt"
    runtime.write_text(re.sub("sha256:[0-9a-f]{8}", "sha256:00000000", runtime.read_text()))
    made = tree.make()
    assert made.returncode != 0
    assert "The installation failed" in made.stderr
    assert "hash" in made.stderr.lower()
    assert not list((tree.path / ".venv").glob(".runtime-*"))


def test_an_interrupted_installation_is_begun_anew(tree: Tree) -> None:
    first = subprocess.Popen(
        ("make", "install"),
        cwd=tree.path,
        env=tree.environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not (tree.path / ".venv" / ".unfinished").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    half = tree.path / ".venv" / "half"
    half.touch()
    made = tree.make()
    assert made.returncode == 0, made.stderr
    assert not half.exists()
    assert set(tree.installed()) == NAMES


def test_two_may_begin_at_once(tree: Tree) -> None:
    both = [
        subprocess.Popen(
            ("make", "install"),
            cwd=tree.path,
            env=tree.environment,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        for _ in range(2)
    ]
    told = [one.communicate(timeout=250)[0] for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    assert sum("Making .venv" in text for text in told) == 1, told
    assert set(tree.installed()) == NAMES


def test_the_machines_own_settings_do_not_matter(tree: Tree) -> None:
    constraints = tree.path / "constraints"
    constraints.write_text("lib==2.0\n")
    odd = {
        "LC_ALL": "C",
        "LANG": "C",
        "TZ": "Pacific/Kiritimati",
        "PIP_USER": "1",
        "PIP_CONSTRAINT": str(constraints),
        "UV_CONSTRAINT": str(constraints),
        "PYTHONWARNINGS": "error",
        "PYTHONPATH": "/nowhere",
        "PYTHONUTF8": "0",
        "HOME": "/proc/nowhere",
    }
    del tree.environment["UV_CACHE_DIR"]
    before = os.umask(0o077)
    try:
        made = tree.make(**odd)
    finally:
        os.umask(before)
    assert made.returncode == 0, made.stderr
    assert set(tree.installed()) == NAMES
