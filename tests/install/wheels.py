"""Wheels made by hand: an index of packages that lies in a folder, and no network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Iterable, Mapping
from importlib.metadata import distribution
from pathlib import Path


def write_wheel(
    folder: Path, name: str, version: str, requires: Iterable[str] = (), extras: Iterable[str] = ()
) -> Path:
    """A wheel of one empty module."""
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Provides-Extra: {extra}" for extra in extras]
    lines += [f"Requires-Dist: {requirement}" for requirement in requires]
    info = f"{name}-{version}.dist-info"
    wheel = "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files = {
        f"{name}.py": b"",
        f"{info}/METADATA": "\n".join([*lines, ""]).encode(),
        f"{info}/WHEEL": wheel.encode(),
    }
    return _zip(folder / f"{name}-{version}-py3-none-any.whl", files, info)


def repack(folder: Path, name: str) -> Path:
    """The wheel that `name` of this environment was installed from, but for its scripts."""
    installed = distribution(name)
    info = f"{name}-{installed.version}.dist-info"
    files, binary = {}, f"{name}-{installed.version}.data/scripts/"
    for file in installed.files or ():
        path = Path(str(file.locate()))
        if file.suffix == ".pyc" or file.name in ("RECORD", "INSTALLER", "REQUESTED"):
            continue
        if str(file).startswith("../"):
            if name == "uv":
                files[binary + file.name] = path.read_bytes()
            continue
        files[str(file)] = path.read_bytes()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return _zip(folder / f"{name}-{installed.version}-py3-none-any.whl", files, info)


def lock(*wheels: Path) -> str:
    """A lock, as `make lock` writes it."""
    lines = []
    for wheel in wheels:
        name, version = wheel.name.split("-")[:2]
        digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n")
    return "".join(lines)


def _zip(path: Path, files: Mapping[str, bytes], info: str) -> Path:
    record = [f"{info}/RECORD,,"]
    with zipfile.ZipFile(path, "w") as wheel:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.external_attr = (0o100755 if ".data/scripts/" in name else 0o100644) << 16
            wheel.writestr(entry, content)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            record.append(f"{name},sha256={digest.decode()},{len(content)}")
        wheel.writestr(f"{info}/RECORD", "\n".join([*record, ""]))
    return path
