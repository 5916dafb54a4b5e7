"""The openai package's own tests, which come in its source distribution.

Its hash is the one in requirements/runtime.txt. Taken are the tests that create chat completions,
list and retrieve models, upload and list files, and make embeddings. The others ask for ids and a
limit of 0 that the package's authors made up, and for vectors of one number, which `wordllama`
doesn't make. Its strict clients ask for vectors in base64 and refuse them as no list of numbers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

from tests.conformance.serving import KEY, ROOT

TESTS = (
    "tests/api_resources/chat/test_completions.py",
    "tests/api_resources/test_embeddings.py",
    "tests/api_resources/test_files.py",
    "tests/api_resources/test_models.py",
)
THEIR_KEY = '"My API Key"'
CHOSEN = (
    "(Completions and create) or (Models and (list or retrieve))"
    " or (Files and (create or list or path_params) and not list_with_all_params)"
    " or (Embeddings and create and loose and not create_with_all_params)"
)


def check(base_url: str, scratch: Path) -> bool:
    environment = {**os.environ, "TEST_API_BASE_URL": f"{base_url}/api/agency/1"}
    own = ("-o", "addopts=", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short", "-q")
    command = (sys.executable, "-m", "pytest", *own, "-k", CHOSEN, *TESTS)
    ended = subprocess.run(command, cwd=_fetch(scratch), env=environment, check=False)
    return ended.returncode == 0


def _fetch(scratch: Path) -> Path:
    """The unpacked source distribution of the openai that is locked."""
    lock = (ROOT / "requirements" / "runtime.txt").read_text()
    pin = re.search(r"^openai==.*(\n +--hash=.*)+", lock, re.MULTILINE)
    assert pin is not None, "requirements/runtime.txt pins no openai"
    wanted = scratch / "openai.txt"
    wanted.write_text(pin[0] + "\n")
    pip = (sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check")
    # Metadata is all that pip builds of it, with the hatchling that requirements/dev.txt pins.
    how = ("--no-deps", "--no-binary", "openai", "--no-build-isolation", "--require-hashes")
    subprocess.run((*pip, *how, "-d", scratch, "-r", wanted), check=True)
    (archive,) = scratch.glob("openai-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    home = archive.with_name(archive.name.removesuffix(".tar.gz"))
    _set_key(home / "tests" / "conftest.py")
    return home


def _set_key(settings: Path) -> None:
    """Their key has blanks, which no key of the gateway has."""
    text = settings.read_text()
    assert text.count(THEIR_KEY) == 1, f"{settings} names another key"
    settings.write_text(text.replace(THEIR_KEY, f'"{KEY}"'))
