"""LangChain's standard tests of chat models, on its own client for OpenAI."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.conformance.serving import KEY

SUITE = Path(__file__).with_name("langchain_suite.py")


def check(base_url: str, python: Path, scratch: Path) -> bool:
    environment = {
        **os.environ,
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": f"{base_url}/api/agency/1",
        "LANGCHAIN_TRACING_V2": "false",
    }
    own = ("-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "-q", "--tb=short", "-rs")
    command = (str(python), "-m", "pytest", "--rootdir", str(scratch), "-c", os.devnull)
    ended = subprocess.run((*command, *own, SUITE), cwd=scratch, env=environment, check=False)
    return ended.returncode == 0
