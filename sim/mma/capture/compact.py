"""Choose the tiles of a capture that are worth committing."""

from __future__ import annotations

from typing import Any

from lutscape.sim.mma.capture.bundle import Arrays
from lutscape.sim.mma.capture.instructions import Instruction, table


def tiles_kept(row: Instruction, case: str) -> slice:
    """Return which tiles of a case a committed set holds.

    One instruction of each type, of full K, keeps a tile of every family (two where neighbouring
    tiles ask different questions). All others (other K, signedness, N, rounding, options, ordered
    metadata) keep ``mixed``, which holds rows and columns of all families; forms that run as another
    one does keep its first tiles only.
    """
    if (case == "mixed") == _full(row):
        return slice(0)
    if case == "zero_exponent":
        return slice(1, 2)
    if case != "mixed":
        return slice(2 if case in ("fraction_bits", "overflow") and row.kind == "mma" else 1)
    if "#" in row.name:
        return slice(1)
    like_another = "ordered" in row.name or _directed(row) or (row.integer and (row.sparse or row.kind == "wgmma"))
    return slice(2) if like_another else slice(None)


def _directed(row: Instruction) -> bool:
    return row.name.endswith((".rz", ".rm", ".rp"))


def _full(row: Instruction) -> bool:
    if "#" in row.name or "ordered" in row.name or row.a != row.b or row.a in ("u8", "s4", "u4"):
        return False
    if row.kind == "wgmma":
        return row.n == 8 and not row.sparse and not row.integer and row.a != "e5m2"
    full_k = {"f64": 16, "tf32": 8, "f16": 16, "bf16": 16, "b1": 256}.get(row.a, 32) * (2 if row.sparse else 1)
    return row.k == full_k and not _directed(row) and ".satfinite" not in row.name


def compacted(arrays: Arrays, metadata: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and metadata of the committed selection."""
    chosen: Arrays = {}
    for key, array in arrays.items():
        name, case, _ = key.rsplit("/", 2)
        kept = array[tiles_kept(table()[name], case)]
        if len(kept):
            chosen[key] = kept
    listing: dict[str, dict[str, int]] = {}
    for key, array in chosen.items():
        name, case, part = key.rsplit("/", 2)
        if part == "D":
            listing.setdefault(name, {})[case] = len(array)
    return chosen, {**metadata, "instructions": listing, "selection": "compact"}
