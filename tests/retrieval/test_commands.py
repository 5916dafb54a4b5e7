"""`gateway ingest` and `gateway collections rebuild`, alone and beside a gateway that serves."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from gateway.cli.collections import LARGEST
from tests.retrieval.files import pdf
from tests.serving.test_serve import environment, gateway, serving

__all__ = ["environment"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a person has on disk: files that can be read, others, and one that is broken."""
    made = tmp_path / "papers"
    (made / "deep").mkdir(parents=True)
    (made / ".git").mkdir()
    (made / "a.txt").write_text("Tortoises outlive their keepers.")
    (made / "deep" / "b.md").write_text("# Otters\n\nThey hold hands while they sleep.")
    (made / "deep" / "c.pdf").write_bytes(pdf("Octopuses have three hearts."))
    (made / "picture.png").write_bytes(b"\x89PNG")
    (made / ".git" / "d.txt").write_text("Hidden.")
    return made


def query(environment: dict[str, str], data: Path, words: str) -> list[str]:
    address = f"http://127.0.0.1:{environment['GATEWAY_PORT']}/api/collections/papers/query"
    headers = {
        "authorization": f"Bearer {(data / 'root_key').read_text().strip()}",
        "content-type": "application/json",
    }
    body = json.dumps({"query": words}).encode()
    with urllib.request.urlopen(urllib.request.Request(address, body, headers)) as answer:
        return [one["text"] for one in json.loads(answer.read())["data"]]


def test_a_folder_is_loaded_and_rebuilt_alone_and_beside_a_gateway(
    environment: dict[str, str], folder: Path, tmp_path: Path, data_dir: Path
) -> None:
    data = data_dir / "data"
    loaded = gateway(environment, "ingest", str(folder), "--collection", "papers")
    assert loaded.returncode == 0, loaded.stderr
    assert "3 documents ready, 0 failed" in loaded.stdout
    shutil.rmtree(data / "chroma")
    rebuilt = gateway(environment, "collections", "rebuild", "papers")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "3 documents ready, 0 failed" in rebuilt.stdout
    with serving(environment, tmp_path / "out") as served:
        served.await_ready()
        assert query(environment, data, "three hearts")[0] == "Octopuses have three hearts."
        (folder / "e.txt").write_text("Penguins propose with a pebble.")
        beside = gateway(environment, "ingest", str(folder), "--collection", "papers")
        assert beside.returncode == 0, beside.stderr
        assert "4 documents ready, 0 failed" in beside.stdout
        assert query(environment, data, "pebble")[0] == "Penguins propose with a pebble."
        again = gateway(environment, "collections", "rebuild")
        assert "4 documents ready, 0 failed" in again.stdout
        assert query(environment, data, "tortoise")[0] == "Tortoises outlive their keepers."
        served.end()


def test_what_goes_wrong_is_said(environment: dict[str, str], folder: Path) -> None:
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    loaded = gateway(environment, "ingest", str(folder))
    assert loaded.returncode == 1
    assert "3 documents ready, 1 failed" in loaded.stdout
    assert "broken.pdf: This PDF can't be read" in loaded.stderr
    assert "1 document could not be indexed" in loaded.stderr
    assert "{" not in loaded.stderr, "log lines in between"
    unknown = gateway(environment, "collections", "rebuild", "nothing")
    assert (unknown.returncode, "no collection 'nothing'" in unknown.stderr) == (1, True)
    picture = gateway(environment, "ingest", str(folder / "picture.png"))
    assert (picture.returncode, "is not a text, Markdown" in picture.stderr) == (1, True)
    for told in (loaded, unknown, picture):
        assert "Traceback" not in told.stderr


def test_each_file_stands_for_itself(environment: dict[str, str], tmp_path: Path) -> None:
    """What failed before, lies beside it or can't be loaded at all is no other file's fault."""
    hidden = tmp_path / ".notes"
    hidden.mkdir()
    (hidden / "a.txt").write_text("Tortoises outlive their keepers.")
    (hidden / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (hidden / "large.txt").write_bytes(b"x" * (LARGEST + 1))
    loaded = gateway(environment, "ingest", str(hidden))
    assert loaded.returncode == 1
    assert "1 document ready, 2 failed" in loaded.stdout, "a hidden folder that is named is meant"
    assert "large.txt: It is larger than 20 MiB." in loaded.stderr
    assert "broken.pdf: This PDF can't be read" in loaded.stderr
    well = gateway(environment, "ingest", str(hidden / "a.txt"), str(hidden / "a.txt"))
    assert (well.returncode, "1 document ready, 0 failed" in well.stdout) == (0, True)
    empty = tmp_path / "empty"
    empty.mkdir()
    nothing = gateway(environment, "ingest", str(empty))
    assert (nothing.returncode, "no text, Markdown" in nothing.stderr) == (1, True)


def test_what_is_heavy_waits_until_it_is_needed() -> None:
    """The first answer of `/health/ready` must not wait for libraries that nobody uses yet."""
    heavy = ("chromadb", "numpy", "openai", "pypdf", "selectolax", "tokenizers")
    line = f"import sys, gateway.app; print([m for m in {heavy} if m in sys.modules])"
    told = subprocess.run((sys.executable, "-c", line), capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
