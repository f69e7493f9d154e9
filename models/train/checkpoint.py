"""Finished stages of a long training, on disk: whole or not at all, and only for the run that they belong to.

A checkpoint is an .npz of plain arrays, with the key of its run and a SHA-256 of its arrays. A file of another run, or
a damaged one, counts as not there: the stage is computed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError

_RESERVED = ("__key__", "__hash__", "__about__")


def key_of(**parts: object) -> str:
    """Return the SHA-256 of what a stage depends on: plain values by name."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of arrays with their names, types and shapes."""
    found = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(array.tobytes())
    return found.hexdigest()


def save(path: Path, key: str, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> None:
    """Write a checkpoint under a temporary name, then rename it.

    Raises:
        UserError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    notes = json.dumps(dict(about))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.savez(file, __key__=key, __hash__=digest(arrays) + key_of(about=notes), __about__=notes, **arrays)  # type: ignore[arg-type]
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def load(path: Path, key: str) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
    """Return arrays and notes of a checkpoint; None if it is not there, of another run, or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["__key__"]) != key:
                return None
            arrays = {name: file[name] for name in file.files if name not in _RESERVED}
            notes, hashed = str(file["__about__"]), str(file["__hash__"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    if hashed != digest(arrays) + key_of(about=notes):
        return None
    return arrays, json.loads(notes)
