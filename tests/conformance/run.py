"""Run other people's tests and tools against a gateway in rehearsal: `make conformance`.

Each suite by its name: `python -m tests.conformance.run openai langchain generated made_up`.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from tests.conformance import environment, generated, langchain, made_up, openai_package
from tests.conformance.serving import serving

log = logging.getLogger(__name__)

SUITES = ("openai", "langchain", "generated", "made_up")


def main(wanted: list[str]) -> int:
    if lacking := environment.missing():
        log.error("conformance needs %s (Debian's names)", " and ".join(lacking))
        if os.environ.get("CI"):
            return 1
        wanted = [name for name in wanted or SUITES if name != "generated"]
    with tempfile.TemporaryDirectory() as scratch:
        failed = [name for name in wanted or SUITES if not _passes(name, Path(scratch) / name)]
    if failed:
        log.error("conformance failed: %s", ", ".join(failed))
    if lacking:
        log.error("conformance is incomplete: nothing was generated")
    return bool(failed or lacking)


def _passes(name: str, scratch: Path) -> bool:
    """Each suite meets a gateway of its own: what one leaves behind is not the next one's."""
    scratch.mkdir()
    began = time.monotonic()
    log.info("== %s", name)
    try:
        _install(name)
        with serving(scratch / "data") as base_url:
            passed = _check(name, base_url, scratch)
    except subprocess.CalledProcessError as error:
        log.info("%s ended with %d", " ".join(map(str, error.cmd)), error.returncode)
        passed = False
    took = time.monotonic() - began
    log.info("== %s %s, after %.0f s", name, "passed" if passed else "FAILED", took)
    return passed


def _install(name: str) -> None:
    """Before the gateway starts, which would only wait for it."""
    if name != "openai":
        environment.python()
    if name == "generated":
        environment.node()


def _check(name: str, base_url: str, scratch: Path) -> bool:
    if name == "openai":
        return openai_package.check(base_url, scratch)
    python = environment.python()
    if name == "langchain":
        return langchain.check(base_url, python, scratch)
    if name == "made_up":
        return made_up.check(base_url, python, scratch)
    document = scratch / "openapi.json"
    document.write_bytes(httpx.get(f"{base_url}/schema/openapi.json", timeout=60).content)
    return generated.check(document, python, environment.node(), scratch)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    unknown = set(sys.argv[1:]) - set(SUITES)
    assert not unknown, f"there is no suite {unknown}"
    sys.exit(main(sys.argv[1:]))
