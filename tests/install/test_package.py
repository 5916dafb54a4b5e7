"""The package outside of a clone: its wheel in an empty environment, in an empty folder."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.serving.test_serve import PATIENCE, Served, environment, run_example

__all__ = ["environment"]

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).resolve().parents[2]
INSIDE = ("gateway", "piccolo_migrations", "requirements")


def build(folder: Path) -> Path:
    """The wheel, built from a copy with the locked setuptools and without a network."""
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", *INSIDE):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    line = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(folder))
    subprocess.run((sys.executable, "-m", *line, str(source)), check=True, timeout=PATIENCE)
    (wheel,) = folder.glob("*.whl")
    return wheel


def test_the_wheel_serves_in_an_empty_folder(
    environment: dict[str, str], tmp_path: Path, data_dir: Path
) -> None:
    wheel = build(tmp_path)
    names = zipfile.ZipFile(wheel).namelist()
    assert {"gateway/py.typed", "gateway/cli/example.yaml"} <= set(names)
    assert not [name for name in names if name.startswith(("tests", "bench", "requirements"))]
    venv.EnvBuilder(symlinks=True).create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    pip = (sys.executable, "-m", "pip", "--python", str(python))
    line = (*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel))
    subprocess.run(line, check=True, timeout=PATIENCE)
    # The locked packages of this environment, but not the clone that is installed in it.
    (packages / "lock.pth").write_text("\n".join(site.getsitepackages()))
    empty = data_dir / "empty"
    empty.mkdir()
    del environment["GATEWAY_DATA_DIR"]
    environment["PATH"] = os.defpath
    served = Served(
        environment,
        tmp_path / "out",
        command=(str(python.parent / "gateway"), "serve"),
        directory=empty,
    )
    try:
        served.await_ready()
        assert run_example(served.printed()).strip()
        assert served.end() < 20
    finally:
        if served.process.poll() is None:
            served.process.kill()
            served.process.wait()
    assert [path.name for path in empty.iterdir()] == [".gateway"]
