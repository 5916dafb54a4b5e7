"""What the documents give to paste works as it stands, in a shell, beside a first start."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.serving.test_serve import environment, serving

__all__ = ["environment"]

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
NOT_HERE = ("make ", "curl -N", ".venv/bin/gateway", "remote")
"""What starts gateways, never ends, or needs a checkout that is installed."""


def pasted(document: str) -> str:
    blocks = BLOCK.findall((ROOT / document).read_text())
    chosen = [block for block in blocks if not any(word in block for word in NOT_HERE)]
    return re.sub(r"^\$ ", "", "\n".join(chosen), flags=re.MULTILINE)


def run(script: str, port: int, directory: Path) -> str:
    told = subprocess.run(
        (
            "bash",
            "-eu",
            "-o",
            "pipefail",
            "-c",
            script.replace("127.0.0.1:8080", f"127.0.0.1:{port}"),
        ),
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="needs both")
def test_what_is_there_to_paste_works(
    environment: dict[str, str], tmp_path: Path, data_dir: Path
) -> None:
    environment["GATEWAY_DATA_DIR"] = str(data_dir / ".gateway")
    with serving(environment, tmp_path / "out") as served:
        served.await_ready()
        by_rpc = run(pasted("README.md"), served.port, data_dir)
        assert by_rpc.count('"response_interaction"') == 1
        assert '"identifier": "agency/1"' in by_rpc, "the conversation is listed, with its reply"

        script = pasted("docs/examples.md")
        while_waiting = (
            "until test $(api GET /api/conversations/$ROOM/messages | grep -o completed_at"
        )
        awaited = f"{while_waiting} | wc -l) = 4; do sleep 0.1; done"
        by_hand = run(script.replace("sleep 2", awaited), served.port, data_dir)
        assert '"state": "resolved"' in by_hand
        assert "Make it brown." in by_hand
        for kind in ("agency", "agent", "model"):
            assert f'"type": "{kind}"' in by_hand
        assert '"content":"Blue!"' in by_hand
        assert '"error":{' not in by_hand
