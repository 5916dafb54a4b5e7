"""Clients that others' generators make of the OpenAPI document: they import, or compile."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

log = logging.getLogger(__name__)

JAVA = ("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar")
"""For a run of seconds the quick compiler is the better one."""
STRICT = ("--noEmit", "--strict", "--target", "es2022", "--lib", "es2022,dom")
MODULES = ("--module", "esnext", "--moduleResolution", "bundler")

IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [one.name for one in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
assert len(names) > 100, names
print(len(names), "modules of", sys.argv[1], "import")
"""


def check(document: Path, python: Path, node: Path, scratch: Path) -> bool:
    programs = python.parent
    jar = next(programs.parent.glob("lib/python*/site-packages/openapi_generator_cli/*.jar"))

    def generate(language: str) -> Sequence[object]:
        return (*JAVA, jar, "generate", "-i", document, "-g", language, "-o", scratch / language)

    to = ("--output-path", scratch / "agency_client", "--meta", "none")
    return all(
        _run(step, scratch)
        for step in (
            (programs / "openapi-spec-validator", document),
            (programs / "openapi-python-client", "generate", "--path", document, *to),
            (python, "-c", IMPORT_ALL, "agency_client"),
            (node / "openapi-typescript", document, "-o", scratch / "schema.d.ts"),
            (node / "tsc", *STRICT, scratch / "schema.d.ts"),
            generate("python"),
            (python, "-c", IMPORT_ALL, "openapi_client"),
            generate("typescript-fetch"),
            (node / "tsc", *STRICT, *MODULES, scratch / "typescript-fetch" / "index.ts"),
        )
    )


def _run(command: Sequence[object], scratch: Path) -> bool:
    path = os.pathsep.join([str(scratch), str(scratch / "python")])
    words = [str(word) for word in command]
    ended = subprocess.run(
        words,
        cwd=scratch,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    told = "ok" if ended.returncode == 0 else f"{ended.stdout[-4000:]}{ended.stderr[-4000:]}"
    log.info(
        "%s … %s: %s",
        Path(words[0]).name,
        " ".join(words[-2:])[-60:].strip().splitlines()[-1],
        told,
    )
    return ended.returncode == 0
