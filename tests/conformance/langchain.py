"""LangChain's standard tests of chat models, on its own client for OpenAI."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conformance.serving import KEY

LOOP = "asyncio_default_{}_loop_scope=session"
"""LangChain keeps one pool of connections for all of its models, so that one loop serves all."""
HOW = (
    *("--noconftest", "-p", "no:cacheprovider", "-q", "--tb=short", "-rsx", "--no-fold-skipped"),
    *("-o", "asyncio_mode=auto", "-o", LOOP.format("fixture"), "-o", LOOP.format("test")),
)
SUITE = Path(__file__).with_name("langchain_suite.py")


def check(base_url: str, python: Path, scratch: Path) -> bool:
    environment = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{base_url}/api/agency/1",
        "LANGCHAIN_TRACING_V2": "false",
    }
    command = (str(python), "-m", "pytest", "--rootdir", str(scratch), "-c", os.devnull, *HOW)
    ended = subprocess.run((*command, SUITE), cwd=scratch, env=environment, check=False)
    return ended.returncode == 0
