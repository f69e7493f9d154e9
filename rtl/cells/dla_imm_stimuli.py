"""Tiles that reach every path of a matching module: both banks, short and long subspaces, one row, wrapping sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lutscape.rtl.cell import Beats

if TYPE_CHECKING:
    from lutscape.rtl.cells.dla_imm import Module, Tile

WRAPS = 4
"""Bits above an entry up to which a tile overflows the accumulators on purpose."""
MANY = 16
"""Subspaces of a tile up to which the counter's end is reached."""
LONG = 64
"""Rows of a long tile; more take the scratchpad's last row, but too long to simulate."""


def joined(parts: list[Beats]) -> Beats:
    """Return beats one behind the other."""
    return {
        channel: {name: np.concatenate([p[channel][name] for p in parts]) for name in parts[0][channel]}
        for channel in parts[0]
    }


def wraps(design: Module) -> bool:
    """Whether the stimulus overflows the accumulators."""
    more = design.accumulator_bits - design.table_bits
    return more <= WRAPS and 1 << more < most_subspaces(design)


def most_subspaces(design: Module) -> int:
    """Return the subspaces of the longest tile that the counter allows."""
    return 1 << design.subspace_bits


def counts_out(design: Module) -> bool:
    """Whether the stimulus has a tile of that many."""
    return most_subspaces(design) <= MANY


def full_tile(design: Module) -> bool:
    """Whether the stimulus uses every row of the scratchpad."""
    return design.rows <= 4096


def tile(design: Module, rng: np.random.Generator, rows: int, subspaces: int) -> Tile:
    """Return a random tile."""
    from lutscape.rtl.cells.dla_imm import Tile

    half = 1 << (design.table_bits - 1)
    indices = rng.integers(0, design.c, (rows, subspaces))
    return Tile(indices, rng.integers(-half, half, (subspaces, design.c, design.lanes)))


def corner_tiles(design: Module, rng: np.random.Generator) -> list[Tile]:
    """Return tiles of every shape that matters, and of extreme entries."""
    from lutscape.rtl.cells.dla_imm import Tile

    half, c, most = 1 << (design.table_bits - 1), design.c, design.rows
    some = min(most, 3)
    shapes = [(1, 1), (1, 4), (1, 1), (some, 1), (some, 3), (min(most, 2), 3), (min(most, c), 2)]
    shapes += [(min(most, design.fill_beats + 3, LONG), 3)]
    shapes += [(1, most_subspaces(design)), (some, most_subspaces(design))] if counts_out(design) else []
    found = [tile(design, rng, rows, min(subspaces, most_subspaces(design))) for rows, subspaces in shapes]
    for subspace in range(2):  # every word of both banks
        for start in range(0, c, most):
            indices = np.zeros((min(most, c - start), 2), np.int64)
            indices[:, subspace] = np.arange(start, start + len(indices))
            found.append(Tile(indices, tile(design, rng, 1, 2).tables))
    if full_tile(design) and most > 1:
        found.append(tile(design, rng, most, 2))
    long = (1 << (design.accumulator_bits - design.table_bits)) + 1 if wraps(design) else 2
    for extreme in (-half, half - 1):
        tables = np.full((long, c, design.lanes), extreme)
        found.append(Tile(rng.integers(0, c, (some, long)), tables))
    return found


def draw(design: Module, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of corner tiles and random ones, about ``count`` rows of sums."""
    found = corner_tiles(design, rng)
    total = sum(len(t.indices) for t in found)
    while total < count:
        longest = min(design.rows, int(rng.choice([1, 2, design.c, LONG])))
        found.append(
            tile(
                design, rng, int(rng.integers(1, longest + 1)), int(rng.integers(1, min(6, most_subspaces(design)) + 1))
            )
        )
        total += len(found[-1].indices)
    return joined([t.beats(design) for t in found])


def bins(design: Module, beats: Beats) -> dict[str, int]:
    """Return hits of every word of both banks, every shape of tile and every kind of sum."""
    from lutscape.rtl.cells import dla_imm

    found = list(dla_imm.tiles(design, beats))
    bank, words = 0, np.zeros((2, design.c), np.int64)
    low = high = over = 0
    half = 1 << (design.table_bits - 1)
    for t in found:
        for s in range(t.indices.shape[1]):
            words[bank] += np.bincount(t.indices[:, s], minlength=design.c)
            bank ^= 1
        read = t.tables[np.arange(t.indices.shape[1])[None], t.indices]  # (R, Nc, lanes)
        low, high = low + int((read == -half).sum()), high + int((read == half - 1).sum())
        over += int((read.sum(axis=1) != t.sums(design)).sum())
    rows = np.array([len(t.indices) for t in found])
    subspaces = np.array([t.indices.shape[1] for t in found])
    hits = {f"bank {b} word {j}": int(words[b, j]) for b in range(2) for j in range(design.c)}
    hits |= {
        "one subspace": int((subspaces == 1).sum()),
        "several subspaces": int((subspaces > 1).sum()),
        "one row, several subspaces": int(((rows == 1) & (subspaces > 1)).sum()),
        "rows faster than a fill": int(((rows < design.fill_beats) & (subspaces > 1)).sum()),
        "least entry": low,
        "greatest entry": high,
    }
    if counts_out(design):
        hits["as many subspaces as can be counted"] = int((subspaces == most_subspaces(design)).sum())
    if wraps(design):
        hits["sum beyond the accumulator"] = over
    if design.rows > 1:
        hits["two rows"] = int((rows == 2).sum())
        hits["last row of the scratchpad"] = int((rows == design.rows).sum()) if full_tile(design) else 1
    if min(design.rows, LONG) > design.fill_beats:
        hits["rows slower than a fill"] = int(((rows > design.fill_beats) & (subspaces > 2)).sum())
    return hits
