"""Stored results of synthesis, by the hash of all inputs, in the user's cache directory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from lutscape.hw.errors import UserError
from lutscape.models.registry import CACHE_VARIABLE, cache_dir

TIMERS = (
    "sta.py",
    "sta_kernels.py",
    "linked.py",
    "netlist.py",
    "verilog_reader.py",
    "liberty.py",
    "liberty_read.py",
    "expression.py",
)


_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)

_DIRECTIVE = re.compile(r"/[/*]\s*(synopsys|synthesis|pragma)\s+(translate|synthesis|full_case|parallel_case)")


def digest(values: Any) -> str:
    """Return the hash of anything JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def without_comments(verilog: str) -> str:
    """Return Verilog with its comments removed and its lines kept: designs that differ in them alone are one.

    Comments that synthesis obeys (``// synopsys translate_off``) stay.
    """

    def blank(found: re.Match[str]) -> str:
        text = found.group()
        return text if _DIRECTIVE.match(text) else "\n" * text.count("\n") or " "

    return _COMMENT.sub(blank, verilog)


@lru_cache(maxsize=1)
def timer() -> str:
    """Return a hash of the modules that time netlists: timing stored by others is computed again."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in TIMERS)).hexdigest()


def unpacked(path: Path) -> tuple[str, Path]:
    """Return hash and path of a Liberty file as text; a compressed one is unpacked into the cache.

    Raises:
        UserError: it cannot be read, or its text cannot be written.
    """
    stat = path.stat()
    return _unpacked(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=32)
def _unpacked(path: Path, stamp: tuple[int, int]) -> tuple[str, Path]:
    try:
        data = path.read_bytes()
        if data[:2] != b"\x1f\x8b":
            return hashlib.sha256(data).hexdigest(), path
        data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    name = hashlib.sha256(data).hexdigest()
    target = cache_dir() / "liberty" / "unpacked" / f"{name}.lib"
    if not target.is_file():
        replace(target, data)
    return name, target


def netlist_path(key: str) -> Path:
    """Return where the netlist of a result lies."""
    return _place(key).with_suffix(".v.gz")


def read(key: str) -> dict[str, Any] | None:
    """Return a stored result; None if there is none, or a damaged one."""
    try:
        stored: dict[str, Any] = json.loads(_place(key).read_text())
        stored["netlist"] = gzip.decompress(netlist_path(key).read_bytes()).decode()
    except (OSError, ValueError, EOFError, zlib.error):
        return None
    return stored


def write(key: str, stored: Mapping[str, Any]) -> None:
    """Store a result.

    Raises:
        UserError: the cache cannot be written.
    """
    text = json.dumps({k: v for k, v in stored.items() if k != "netlist"}, indent=1)
    replace(netlist_path(key), gzip.compress(stored["netlist"].encode(), 6, mtime=0))
    replace(_place(key), text.encode())


def replace(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises:
        UserError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        place = error.filename or path
        raise UserError(
            f"{place}: cannot be written: {error.strerror or error}; set {CACHE_VARIABLE} to another directory"
        ) from None


def _place(key: str) -> Path:
    return cache_dir() / "synthesis" / key[:2] / f"{key}.json"
