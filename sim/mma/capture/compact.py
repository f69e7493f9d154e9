"""Choose the tiles of a capture that are worth committing."""

from __future__ import annotations

from typing import Any

from lutscape.sim.mma.capture.bundle import Arrays
from lutscape.sim.mma.capture.instructions import Instruction, table


def tiles_kept(row: Instruction, case: str) -> int:
    """Return how many tiles of a case a committed set holds.

    The instructions of a type's full K (and m64n8 wgmma) keep a tile of every family; their
    variants (other K, other signedness, other N, options, ordered metadata) keep ``mixed``, which
    holds rows and columns of all families.
    """
    if case == "mixed":
        return 99
    return 1 if _full(row) else 0


def _full(row: Instruction) -> bool:
    if row.kind == "wgmma":
        return row.n == 8 and "#" not in row.name and not row.integer and row.a == row.b
    if row.sparse:
        return "ordered" not in row.name and row.a == row.b and row.a[0] not in "us"
    return row.m == 16 and row.a == row.b and row.a not in ("u8", "s4", "u4") and ".satfinite" not in row.name


def compacted(arrays: Arrays, metadata: dict[str, Any]) -> tuple[Arrays, dict[str, Any]]:
    """Return the arrays and metadata of the committed selection."""
    chosen: Arrays = {}
    for key, array in arrays.items():
        name, case, _ = key.rsplit("/", 2)
        if kept := tiles_kept(table()[name], case):
            chosen[key] = array[:kept]
    listing: dict[str, dict[str, int]] = {}
    for key, array in chosen.items():
        name, case, part = key.rsplit("/", 2)
        if part == "D":
            listing.setdefault(name, {})[case] = len(array)
    return chosen, {**metadata, "instructions": listing, "selection": "compact"}
