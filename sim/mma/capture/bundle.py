"""A capture as a folder: what a machine with a GPU needs, and what comes back from it.

``emit`` writes ``harness.cu``, ``instructions.inc``, ``operands.bin`` (what the harness reads),
``cases.npz`` (the same operands under their final keys), ``manifest.json`` and ``run.sh``. Running
``sh run.sh`` there, with nvcc and a driver but no Python, adds ``results.bin`` and ``device.json``;
``collect`` then returns all arrays with D. Where cuobjdump is there too, ``sass.txt`` tells which
machine instructions ran.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.sim.mma.capture import cuda_source
from lutscape.sim.mma.capture.bits import pack_rows, storage
from lutscape.sim.mma.capture.build import nvcc_flags
from lutscape.sim.mma.capture.instructions import Instruction, table
from lutscape.sim.mma.capture.operands import SEED, Case, draw, metadata_registers
from lutscape.sim.mma.capture.sass import opcodes

SCHEMA = 1
_HEADER = struct.Struct("<120sII")
Arrays = dict[str, np.ndarray]
Progress = Callable[[str, int, int], None]

LAYOUT = {
    "key": "<instruction>/<case>/A|B|C|D, and E for mma.sp",
    "A": "(tiles, M, K) raw bits, row major; mma.sp: (tiles, M, K/2) as stored; b1: (tiles, M, K/8)",
    "B": "(tiles, N, K) raw bits, column n of B in row n; b1: (tiles, N, K/8)",
    "C, D": "(tiles, M, N) raw bits",
    "E": "(tiles, M, K/2) uint8: the column k in 0..K-1 of each stored element of A",
    "widths": "unsigned integer of the format's width; s4, u4 one to a uint8 (low four bits); "
    "tf32 a whole float32 word; b1 eight to a uint8, element k in bit k % 8 of byte k // 8",
    "options": "after '#': a=shared (A from shared memory; without it wgmma takes A from registers), "
    "scale_d=0 (C supplied and ignored), scale_a=-1, scale_b=-1",
    "case 'mixed'": "rows of A and C, and columns of B, taken from all the families",
}


def emit(folder: Path, rows: Sequence[Instruction], capability: int, tiles: int | None, tick: Progress) -> None:
    """Write everything that a capture of these instructions needs into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "harness.cu").write_bytes(cuda_source.HARNESS.read_bytes())
    (folder / "instructions.inc").write_text(cuda_source.generate(rows))
    arrays: Arrays = {}
    listing, digest = {}, hashlib.sha256()
    with open(folder / "operands.bin", "wb") as out:
        for i, row in enumerate(rows):
            tick("operands", i, len(rows))
            cases = draw(row, tiles)
            for piece in _record(row, list(cases.values())):
                out.write(piece)
                digest.update(piece)
            for name, case in cases.items():
                parts = {"A": case.a, "B": case.b, "C": case.c, "E": case.e}
                arrays |= {f"{row.name}/{name}/{x}": part for x, part in parts.items() if part is not None}
            listing[row.name] = {name: len(case.a) for name, case in cases.items()}
    _write_npz(folder / "cases.npz", arrays, zipfile.ZIP_STORED)
    manifest = {
        "schema": SCHEMA,
        "arch": f"sm_{capability}",
        "seed": SEED,
        "harness_sha256": cuda_source.harness_hash(rows),
        "operands_sha256": digest.hexdigest(),
        "instructions": listing,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    (folder / "run.sh").write_text(
        "#!/bin/sh\n# Build and run on a machine with nvcc and the GPU; then: lutscape mma capture --collect\n"
        'set -e\ncd "$(dirname "$0")"\n'
        f'"${{NVCC:-nvcc}}" {" ".join(nvcc_flags(capability))} harness.cu -o harness -ldl\n'
        "./harness operands.bin results.bin device.json\n"
        "if command -v cuobjdump >/dev/null; then cuobjdump --dump-sass harness > sass.txt; fi\n"
    )


def _record(row: Instruction, cases: list[Case]) -> Iterator[bytes]:
    yield _HEADER.pack(row.name.encode(), sum(len(case.a) for case in cases), 0)
    yield b"".join(pack_rows(row.a, case.a) for case in cases)
    yield b"".join(pack_rows(row.b, case.b) for case in cases)
    yield b"".join(pack_rows(row.c, case.c) for case in cases)
    if row.sparse:
        yield b"".join(metadata_registers(row, case.e).tobytes() for case in cases if case.e is not None)


def collect(folder: Path) -> tuple[Arrays, dict[str, Any]]:
    """Return all arrays of a capture that ran in the folder, and its metadata."""
    manifest, device = _json(folder / "manifest.json"), _json(folder / "device.json")
    if manifest.get("schema") != SCHEMA:
        raise UserError(f"{folder / 'manifest.json'}: schema {manifest.get('schema')!r}, expected {SCHEMA}")
    if not (folder / "cases.npz").is_file():
        raise UserError(f"{folder / 'cases.npz'}: no such file; --collect needs the whole folder that --emit wrote")
    with np.load(folder / "cases.npz") as stored:
        arrays = dict(stored)
    results = folder / "results.bin"
    try:
        data = results.read_bytes()
    except OSError as error:
        raise UserError(f"{results}: {error.strerror}; run 'sh run.sh' there first") from None
    at = 0
    for name, cases in manifest["instructions"].items():
        row, tiles = table()[name], sum(cases.values())
        word = storage(row.d)
        end = at + _HEADER.size + tiles * row.m * row.n * word.itemsize
        if end > len(data):
            raise UserError(f"{results}: ends within {name} ({len(data)} bytes, {end} expected)")
        found, count, _ = _HEADER.unpack_from(data, at)
        if (found.rstrip(b"\0").decode(errors="replace"), count) != (name, tiles):
            raise UserError(f"{results}: byte {at}: expected {tiles} tiles of {name}; operands of another --emit?")
        d = np.frombuffer(data, word, tiles * row.m * row.n, at + _HEADER.size).reshape(tiles, row.m, row.n)
        for case, count in cases.items():
            arrays[f"{name}/{case}/D"], d = d[:count], d[count:]
        at = end
    if at != len(data):
        raise UserError(f"{results}: {len(data)} bytes, {at} expected; operands of another --emit?")
    date = datetime.fromtimestamp(results.stat().st_mtime, UTC).strftime("%Y-%m-%d")
    metadata = {**manifest, "device": device, "date": date, "layout": LAYOUT}
    if (folder / "sass.txt").is_file():
        metadata["sass"] = opcodes((folder / "sass.txt").read_text(errors="replace"), list(manifest["instructions"]))
    return arrays, metadata


def _json(path: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(path.read_text())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: no JSON: {error}") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: expected a JSON object")
    return loaded


def write(path: Path, arrays: Arrays, metadata: dict[str, Any]) -> None:
    """Write FILE.npz and FILE.json beside it, each under a temporary name first."""
    part, sidecar = path.with_name(path.name + ".part"), path.with_suffix(".json")
    try:
        _write_npz(part, arrays, zipfile.ZIP_DEFLATED)
        os.replace(part, path)
        part.write_text(json.dumps(metadata, indent=1) + "\n")
        os.replace(part, sidecar)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot write: {error.strerror}") from None


def _write_npz(path: Path, arrays: Arrays, compression: int) -> None:
    """Write an npz whose bytes depend on the arrays only (numpy's own carries the time of day)."""
    with zipfile.ZipFile(path, "w", compression, compresslevel=9) as archive:
        for key, array in arrays.items():
            member = zipfile.ZipInfo(key + ".npy")  # dated 1980
            member.compress_type = compression
            with archive.open(member, "w", force_zip64=False) as out:
                np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)


def counts(arrays: Arrays) -> dict[str, tuple[int, int]]:
    """Return (cases, outputs) of each instruction."""
    found: dict[str, tuple[int, int]] = {}
    for key, array in arrays.items():
        name, _, part = key.rsplit("/", 2)
        if part == "D":
            cases, outputs = found.get(name, (0, 0))
            found[name] = (cases + 1, outputs + array.size)
    return found
