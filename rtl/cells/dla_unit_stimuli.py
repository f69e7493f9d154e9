"""Tiles of activations, centroids and tables for a whole unit: the corners of its encoder and of its module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lutscape.rtl.cell import Beats
from lutscape.rtl.cells import dla_imm_stimuli, dla_stimuli

if TYPE_CHECKING:
    from lutscape.rtl.cells.dla_unit import Tile, Unit

Ints = np.ndarray


def tables(design: Unit, rng: np.random.Generator, subspaces: int) -> Ints:
    """Return random tables (Nc, c, lanes)."""
    half = 1 << (design.module.table_bits - 1)
    return rng.integers(-half, half, (subspaces, design.book.c, design.module.lanes))


def corner_tiles(design: Unit, rng: np.random.Generator) -> list[Tile]:
    """Return the encoder's corners, each in both halves and banks, cut to the rows of the scratchpad."""
    from lutscape.rtl.cells.dla_unit import Tile

    found = []
    for number in range(dla_stimuli.CORNERS):
        book, rows = dla_stimuli.corner(design.book, number)
        for at in range(0, len(rows), design.module.rows):
            part = rows[at : at + design.module.rows]
            found.append(Tile(np.tile(part, 2), np.stack([book, book]), tables(design, rng, 2)))
    extreme = Tile(found[0].activations, found[0].centroids, found[0].tables * 0)
    half = 1 << (design.module.table_bits - 1)
    for value in (-half, half - 1):
        found.append(Tile(extreme.activations, extreme.centroids, extreme.tables + value))
    return [*found, single(design, rng, 1, 1), single(design, rng, 1, 4)]


def single(design: Unit, rng: np.random.Generator, rows: int, subspaces: int) -> Tile:
    """Return a random tile."""
    from lutscape.rtl.cells.dla_unit import Tile

    books = [dla_stimuli.centroids(design.book, rng, float(rng.choice([0.02, 0.2, 1.0]))) for _ in range(subspaces)]
    x = [dla_stimuli.rows(design.book, rng, book, rows) for book in books]
    return Tile(np.concatenate(x, axis=1), np.stack(books), tables(design, rng, subspaces))


def draw(design: Unit, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of corner tiles and random ones, about ``count`` rows of sums."""
    most = design.module.rows
    found = corner_tiles(design, rng)
    found.append(single(design, rng, min(most, design.depth + design.book.c + 8), 3))  # fills the FIFO
    total = sum(len(t.activations) for t in found)
    while total < count:
        rows = int(rng.integers(1, min(most, 2 * design.book.c) + 1))
        found.append(single(design, rng, rows, int(rng.integers(1, 5))))
        total += rows
    return dla_imm_stimuli.joined([t.beats(design) for t in found])


def bins(design: Unit, beats: Beats) -> dict[str, int]:
    """Return hits of the encoder's bins, and of the module's that its indices and tables reach."""
    from lutscape.rtl.cells import dla_imm, dla_unit
    from lutscape.sim.lut_dla import golden

    hits = dla_stimuli.encoder_bins(design.book, beats)
    if design.module.rows <= design.book.c + 1:
        del hits["subspace longer than a load"]  # the scratchpad has no more rows
    index = [
        golden.encode(t.activations, t.centroids, design.book.metric, design.book.input_bits)
        for t in dla_unit.tiles(design, beats)
    ]
    tiles = dla_unit.tiles(design, beats)
    found = [dla_imm.Tile(i.astype(np.int64), t.tables) for i, t in zip(index, tiles, strict=True)]
    lookups = dla_imm_stimuli.joined([t.beats(design.module) for t in found])
    inner = dla_imm_stimuli.bins(design.module, lookups)
    wanted = {"one subspace", "several subspaces", "one row, several subspaces", "least entry", "greatest entry"}
    return hits | {n: h for n, h in inner.items() if n in wanted or n.startswith("bank")}
