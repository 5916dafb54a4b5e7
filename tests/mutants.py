"""Count the faults in the pure modules that the tests notice: `make mutants`.

mutmut changes one place after another in a copy of the tree and runs the quick tests that reach it;
`[tool.mutmut]` in pyproject.toml names both. A pattern limits it to some of them:
`make mutants MUTANTS='gateway.conversation.rooms.rights*'`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import site
import subprocess
import sys
import tempfile
import venv
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "mutants.txt"
COPIED = ("gateway", "piccolo_migrations", "tests", "docs", "README.md", "pyproject.toml")
LIMIT_S = 55 * 60
"""For the run. What is left of the hour is for installing and for showing the survivors."""
ENOUGH = 85
"""Percent that must be noticed."""
PROCESSES = 2
KILLED = ("killed", "timeout")
TRIED = (*KILLED, "survived", "no tests", "suspicious", "segfault")

EQUIVALENT = {
    "self._newest.get(agent, None)": "who is asked about has heard something",
    "self._newest.get(agent, )": "the same",
    "self._newest.get(agent, 1)": "the same",
    "repeated = None": "it is asked for its truth alone",
    "self._may_return(agent, last=None)": "the same, where `last` is False",
}
"""Changes that change nothing, by a piece of the changed line, and why. They count as survivors."""


def main(patterns: list[str]) -> int:
    python = _python()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Path(folder)
        _fill(copy)
        finished = _run(python, copy, patterns)
        listed = _mutmut(python, copy, "results", "--all", "true")
        found = dict(line.strip().split(": ", 1) for line in listed.splitlines() if ": " in line)
        for name, status in found.items():
            if status in TRIED and status not in KILLED:
                _show(python, copy, name, status)
    if not finished:
        print(f"\nStopped after {LIMIT_S // 60} minutes: not all were tried.")
    return _judge(found, whole=not patterns)


def _python() -> str:
    """The Python of an environment with mutmut, beside what is in the one that runs this."""
    digest = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    home = ROOT / "build" / "mutants" / f"python-{digest}"
    python = str(home / "bin" / "python")
    if not (home / "complete").exists():
        venv.EnvBuilder(clear=True, symlinks=True).create(home)
        pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
        how = ("--disable-pip-version-check", "--no-deps", "--only-binary", ":all:")
        subprocess.run((*pip, *how, "--require-hashes", "-r", str(LOCK)), check=True)
        (packages,) = home.glob("lib/python*/site-packages")
        (packages / "beside.pth").write_text("\n".join(site.getsitepackages()))
        (home / "complete").touch()
    return python


def _fill(copy: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(ROOT / name, copy / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, copy / name)


def _run(python: str, copy: Path, patterns: list[str]) -> bool:
    """True if all were tried in time."""
    line = (python, "-m", "mutmut", "run", "--max-children", str(PROCESSES), *patterns)
    with subprocess.Popen(line, cwd=copy, start_new_session=True) as run:
        try:
            run.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            return False
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
    if run.returncode:
        sys.exit("mutmut failed: see above.")
    return True


def _mutmut(python: str, copy: Path, *arguments: str) -> str:
    line = (python, "-m", "mutmut", *arguments)
    return subprocess.run(line, cwd=copy, check=True, capture_output=True, text=True).stdout


def _show(python: str, copy: Path, name: str, status: str) -> None:
    print(f"\n{name}: {status}")
    if status == "no tests":
        return
    diff = _mutmut(python, copy, "show", name)
    changed = [line for line in diff.splitlines() if line[:1] in "+-" and line[1:2] not in "+-"]
    print(*changed, sep="\n")
    for piece, why in EQUIVALENT.items():
        if any(line.startswith("+") and piece in line for line in changed):
            print(f"  It changes nothing: {why}.")


def _judge(found: dict[str, str], *, whole: bool) -> int:
    """Print the score, and return the exit code."""
    by_module: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for name, status in found.items():
        by_module[name.rsplit(".", 1)[0]][status] += 1
    print()
    for module, counts in sorted(by_module.items()):
        if whole or any(counts[status] for status in TRIED):
            print(f"{module}: {_score(counts)}")
    total = sum(by_module.values(), Counter())
    print(f"All: {_score(total)} {ENOUGH} % are wanted.")
    return 0 if 100 * _count(total, KILLED) >= ENOUGH * max(_count(total, TRIED), 1) else 1


def _score(counts: Counter[str]) -> str:
    killed, tried = _count(counts, KILLED), _count(counts, TRIED)
    left = sum(counts.values()) - tried
    said = f"{killed} of {tried} noticed, {100 * killed / max(tried, 1):.1f} %"
    return f"{said}; {left} not tried." if left else f"{said}."


def _count(counts: Counter[str], statuses: tuple[str, ...]) -> int:
    return sum(counts[status] for status in statuses)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
