"""Random and corner operands for elements, arrays and units, and the functional bins that they must hit.

Stimulus starts with corners that reach every bin whatever the count, and goes on at random.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats
from lutscape.rtl.cells import operands
from lutscape.sim.lut_tensor_core import golden
from lutscape.sim.lut_tensor_core.golden import Ints

Tile = tuple[Ints, Ints, int, int]
"""Activations (m, K), codes (n, K), weight bits, shift."""


def activations(array: Array, rng: np.random.Generator, rows: int, columns: int, style: int) -> Ints:
    """Return activations (rows, columns): random, or a corner chosen by ``style``."""
    half = 1 << (array.activation_bits - 1)
    shape = (rows, columns)
    match style % 6:
        case 0:
            return np.full(shape, -half)
        case 1:
            return np.full(shape, half - 1)
        case 2:
            return np.where(np.indices(shape).sum(axis=0) % 2 == 0, -half, half - 1)
        case 3:
            return rng.choice(np.array([-half, -1, 0, 1, half - 1]), shape)
        case _:
            return rng.integers(-half, half, shape)


def codes(array: Array, rng: np.random.Generator, rows: int, columns: int, bits: int, style: int) -> Ints:
    """Return weight codes (rows, columns) of some bits: random, or a corner chosen by ``style``."""
    top = (1 << bits) - 1
    shape = (rows, columns)
    match style % 5:
        case 0:
            return np.zeros(shape, np.int64)
        case 1:
            return np.full(shape, top)
        case 2:
            return np.where(np.indices(shape).sum(axis=0) % 2 == 0, 0, top)
        case _:
            return rng.integers(0, top + 1, shape)


def shifts(array: Array, rng: np.random.Generator, values: Ints) -> int:
    """Return a shift for a tile: mostly the least that clamps nothing, sometimes any."""
    if not array.largest_shift:
        return 0
    fits = int(golden.smallest_shift(array, values).max())
    return fits if rng.random() < 0.5 else int(rng.integers(0, array.largest_shift + 1))


def tiles(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return operands of about ``count`` tiles of 1 … 4 steps, all weight widths, one tile long."""
    parts: list[Tile] = []
    for i in range(count):
        bits = 1 + i % array.serial_weight_bits
        steps = int(rng.choice([1, 1, 2, 3, 4]))
        a = activations(array, rng, array.m, steps * array.k, int(rng.integers(0, 6)))
        q = codes(array, rng, array.n, steps * array.k, bits, int(rng.integers(0, 5)))
        parts.append((a, q, bits, shifts(array, rng, a)))
    return operands.tiles(array, parts)


def array_bins(array: Array, beats: Beats) -> dict[str, int]:
    return {}


def element(array: Array, rng: np.random.Generator, count: int) -> Beats:
    return {}


def element_bins(array: Array, beats: Beats) -> dict[str, int]:
    return {}
