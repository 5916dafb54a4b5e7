"""Requests that schemathesis makes up from the OpenAPI document, a bounded number by a fixed seed.

Its checks: no failure of the server, no status and no type of content that the document does not
tell, no body of another shape.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.conformance.serving import KEY

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
BOUNDS = ("--max-examples", "8", "--seed", "1", "--max-time", "240", "--request-timeout", "70")
HOW = (
    "--phases",
    "examples,coverage,fuzzing",
    "--generation-database",
    "none",
    "--continue-on-failure",
    "--no-shrink",
    "--no-color",
    # It is of the strings that Hypothesis draws for a path, and says nothing of the server.
    "--suppress-health-check",
    "filter_too_much",
)


def check(base_url: str, python: Path, scratch: Path) -> bool:
    schemathesis = python.with_name("schemathesis")
    command = (schemathesis, "run", f"{base_url}/schema/openapi.json", *BOUNDS, *HOW)
    told = ("--header", f"Authorization: Bearer {KEY}", "--checks", ",".join(CHECKS))
    return subprocess.run((*command, *told), cwd=scratch, check=False).returncode == 0
