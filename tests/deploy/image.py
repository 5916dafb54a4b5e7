"""The image without an engine: the steps of the Dockerfile in a namespace of mounts, as root.

Each stage is an overlay on this machine's files, with this machine's Python in place of the base
image's. So what is shown is that the steps work from what `.dockerignore` lets through, and not
that Debian's slim image holds what they need.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.deploy.dockerfile import DOCKERFILE, ROOT, Stage, Step, is_sent, stages

USER = 10001
PASSED = ("PIP_", "UV_", "SSL_CERT", "HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")
"""What may be needed to reach a package registry from here."""
PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
_NAMESPACE = ("unshare", "--mount", "--propagation", "private", "cat")


@dataclass
class Image:
    """A stage that was built, or is. `root` is a path within the namespace of `holder`."""

    holder: int
    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": PATH, "HOME": "/root"})
    folder: str = "/"

    def mount(self, *arguments: str) -> None:
        self._outside("mount", *arguments)

    def path(self, inside: str) -> Path:
        """A file of the image, seen from outside."""
        return Path(f"/proc/{self.holder}/root{self.root}{inside}")

    def command(self, words: Sequence[str], **env: str) -> list[str]:
        """`words` as the image's user runs them."""
        who = f"--userspec={USER}:{USER}"
        variables = [f"{name}={value}" for name, value in {**self.env, **env}.items()]
        start = ["chroot", who, "--groups=", str(self.root), "setpriv", "--no-new-privs"]
        inside = ["env", "--ignore-environment", f"--chdir={self.folder}", *variables, *words]
        return [*self._enter(), *start, *inside]

    def build(self, stage: Stage, context: Path, built: Mapping[str, Image]) -> None:
        for step in stage.steps:
            match step.name:
                case "RUN":
                    self._run(step.text)
                case "COPY":
                    self._copy(step, context, built)
                case "ENV":
                    words = (word.partition("=") for word in shlex.split(step.text))
                    self.env |= {n: v.replace("$PATH", self.env["PATH"]) for n, _, v in words}
                case "WORKDIR":
                    self.folder = step.text
                    self.path(self.folder).mkdir(parents=True, exist_ok=True)

    def _run(self, line: str) -> None:
        env = {name: value for name, value in os.environ.items() if name.startswith(PASSED)}
        words = [f"{name}={value}" for name, value in {**env, **self.env}.items()]
        inside = ["env", "--ignore-environment", f"--chdir={self.folder}", *words, "sh", "-c", line]
        self._outside("chroot", str(self.root), *inside)

    def _copy(self, step: Step, context: Path, built: Mapping[str, Image]) -> None:
        *sources, target = (word for word in step.words() if not word.startswith("--"))
        into = self.path(str(Path(self.folder, target)))
        if (stage := step.text.partition("--from=")[2].partition(" ")[0]) in built:
            into.mkdir(parents=True)  # 700 MB: seen there, too, rather than copied
            self.mount("--bind", f"{built[stage].root}{sources[0]}", f"{self.root}{target}")
            return
        for source in sources:
            place = into / Path(source).name if target.endswith("/") else into
            place.parent.mkdir(parents=True, exist_ok=True)
            if (context / source).is_dir():
                shutil.copytree(context / source, place)
            else:
                shutil.copy2(context / source, place)

    def _enter(self) -> list[str]:
        return ["nsenter", f"--target={self.holder}", "--mount", "--"]

    def _outside(self, *words: str) -> None:
        done = subprocess.run(
            (*self._enter(), *words), capture_output=True, text=True, timeout=600, check=False
        )
        assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"


@contextmanager
def built_image(context: Path) -> Iterator[Image]:
    """The last stage, read-only, but for `/data` and `/tmp`. `context` is an empty folder."""
    _send(context)
    with subprocess.Popen(_NAMESPACE, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        holder.stdin.write(b"there\n")
        holder.stdin.flush()
        holder.stdout.readline()  # it is in its namespace once it answers
        try:
            yield _build(Image(holder.pid, context.parent / "stages"), context)
        finally:
            holder.stdin.close()


def _build(place: Image, context: Path) -> Image:
    place.root.mkdir()
    place.mount("-t", "tmpfs", "-o", "mode=755", "stages", str(place.root))
    built: dict[str, Image] = {}
    for number, stage in enumerate(stages(DOCKERFILE.read_text())):
        image = _empty(Image(place.holder, place.root / f"{number}"))
        image.build(stage, context, built)
        built[stage.name or str(number)] = image
    image.mount(
        "-t", "tmpfs", "-o", f"uid={USER},gid={USER},mode=700", "data", f"{image.root}/data"
    )
    for part in ("", "/opt/gateway"):
        image.mount("-o", "remount,bind,ro", f"{image.root}{part}")
    return image


def _empty(image: Image) -> Image:
    """This machine's files with the Python of the tests where the base has its own, and no /tmp."""
    for part in ("", "-up", "-work"):
        Path(f"/proc/{image.holder}/root{image.root}{part}").mkdir()
    parts = f"lowerdir=/,upperdir={image.root}-up,workdir={image.root}-work"
    image.mount("-t", "overlay", "-o", parts, "overlay", str(image.root))
    for part in ("/proc", "/dev", "/dev/shm"):
        image.mount("--bind", part, f"{image.root}{part}")
    image.mount("-t", "tmpfs", "-o", "mode=1777", "tmp", f"{image.root}/tmp")
    image.mount("--bind", "-o", "ro", sys.base_prefix, f"{image.root}/usr/local")
    for folder in Path(sys.base_prefix).parents:  # its library may be looked for where it was built
        image.path(str(folder)).chmod(0o755)
    return image


def _send(context: Path) -> None:
    """What the builder gets: the files of the clone that `.dockerignore` does not keep back."""
    listing = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ignored = (ROOT / ".dockerignore").read_text()
    for name in names.split("\0"):
        if name and is_sent(name, ignored) and (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, context / name)
