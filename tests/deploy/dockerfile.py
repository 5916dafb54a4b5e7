"""`deploy/Dockerfile` and `.dockerignore` as values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


@dataclass(frozen=True)
class Step:
    """One instruction: `RUN`, and what stands behind it."""

    name: str
    text: str

    def words(self) -> list[str]:
        """The exec form's words, else those between blanks."""
        return json.loads(self.text) if self.text.startswith("[") else self.text.split()


@dataclass
class Stage:
    base: str
    name: str | None
    steps: list[Step] = field(default_factory=list)

    def one(self, name: str) -> Step:
        (step,) = (step for step in self.steps if step.name == name)
        return step


def stages(text: str) -> list[Stage]:
    found: list[Stage] = []
    for step in _steps(text):
        if step.name == "FROM":
            base, *rest = step.words()
            found.append(Stage(base, rest[1] if rest else None))
        elif found:
            found[-1].steps.append(step)
    return found


def _steps(text: str) -> Iterator[Step]:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", "\n".join(lines)).splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield Step(name, rest.strip())


def is_sent(path: str, ignored: str) -> bool:
    """Whether a file reaches the builder: the last line that matches it, or its folder, decides."""
    parts = path.split("/")
    forms = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
    sent = True
    for line in ignored.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        back = pattern.startswith("!")
        if any(_matches(form, pattern.removeprefix("!")) for form in forms):
            sent = back
    return sent


def _matches(path: str, pattern: str) -> bool:
    if pattern.startswith("**/"):
        return any(_matches(tail, pattern[3:]) for tail in _tails(path))
    parts, patterns = path.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _tails(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[n:]) for n in range(len(parts))]
