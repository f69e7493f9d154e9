"""Tiles of random and corner operands for arrays and units, and the functional bins that they must hit.

A stimulus starts with corner tiles that reach every bin whatever the count, and goes on at random.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cells import operands
from lutscape.sim.lut_tensor_core import array_timing, golden
from lutscape.sim.lut_tensor_core.golden import Ints

DEEP = 24
"""Steps of the tiles that drive sums towards their proven bound."""

Tile = tuple[Ints, Ints, int, int]
"""Activations (m, K), codes (n, K), weight bits, shift of the tables."""


def activations(array: Array, rng: np.random.Generator, shape: tuple[int, int], style: int) -> Ints:
    """Return activations: all least, all greatest, alternating, near zero and extreme, all least but those that a
    symmetric table holds negatively, or random."""
    half = 1 << (array.activation_bits - 1)
    if style == 0:
        return np.full(shape, -half)
    if style == 1:
        return np.full(shape, half - 1)
    if style == 2:
        return np.where(np.indices(shape).sum(axis=0) % 2 == 0, -half, half - 1)
    if style == 3:
        return rng.choice(np.array([-half, -1, 0, 1, half - 1]), shape)
    if style == 4:
        return np.where(np.indices(shape)[1] % array.k == array.k - 1, half - 1, -half)
    return rng.integers(-half, half, shape)


def codes(rng: np.random.Generator, shape: tuple[int, int], bits: int, style: int) -> Ints:
    """Return weight codes: all zero, all greatest, alternating, or random."""
    top = (1 << bits) - 1
    if style == 0:
        return np.zeros(shape, np.int64)
    if style == 1:
        return np.full(shape, top)
    if style == 2:
        return np.where(np.indices(shape).sum(axis=0) % 2 == 0, 0, top)
    return rng.integers(0, top + 1, shape)


def shift_of(array: Array, rng: np.random.Generator, values: Ints) -> int:
    """Return a shift for a tile: the least that clamps nothing, or any."""
    if not array.largest_shift:
        return 0
    fits = int(golden.smallest_shift(array, values).max())
    return fits if rng.random() < 0.5 else int(rng.integers(0, array.largest_shift + 1))


def deep_steps(array: Array) -> int:
    """Return the steps of the tiles that drive sums towards their bound: as many as are safe, at most DEEP."""
    return max(1, min(DEEP, golden.safe_values(array, array.serial_weight_bits) // array.k))


def corner_tiles(array: Array, rng: np.random.Generator) -> Iterator[Tile]:
    """Yield tiles that hit every bin together."""
    widest = array.serial_weight_bits
    depth = deep_steps(array) * array.k
    for a_style in (0, 1):
        for q_style in (0, 1):
            a = activations(array, rng, (array.m, depth), a_style)
            yield a, codes(rng, (array.n, depth), widest, q_style), widest, 0
    # every pattern of k weight bits in every plane, table or digit: pattern p at step p of a tile per 16 steps
    patterns = np.arange(1 << array.k)
    bits = (patterns[:, None] >> np.arange(array.k)) & 1  # (2^k, k)
    for start in range(0, len(patterns), 16):
        part = bits[start : start + 16].reshape(1, -1)  # (1, 16 k)
        q = np.repeat(part * ((1 << widest) - 1), array.n, axis=0)
        for values in (q, ((1 << widest) - 1) - q):
            a = activations(array, rng, (array.m, q.shape[1]), 5)
            yield a, values, widest, shift_of(array, rng, a)
    for shift in range(array.largest_shift + 1):
        for style in range(6):
            a = activations(array, rng, (array.m, array.k), style)
            yield a, codes(rng, (array.n, array.k), widest, 3), widest, shift
    for width in range(1, widest + 1):
        for steps in (1, 2):
            yield random_tile(array, rng, width, steps)


def random_tile(array: Array, rng: np.random.Generator, bits: int, steps: int) -> Tile:
    """Return a tile of random style."""
    a = activations(array, rng, (array.m, steps * array.k), int(rng.integers(0, 8)))
    q = codes(rng, (array.n, steps * array.k), bits, int(rng.integers(0, 6)))
    return a, q, bits, shift_of(array, rng, a)


def tiles(array: Array, rng: np.random.Generator, count: int) -> list[Tile]:
    """Return about ``count`` tiles of all weight widths and mostly few steps, the corners first."""
    out = list(corner_tiles(array, rng))
    while len(out) < count:
        bits = int(rng.integers(1, array.serial_weight_bits + 1))
        out.append(random_tile(array, rng, bits, int(rng.choice([1, 1, 1, 2, 2, 3, 5]))))
    return out


def bins(array: Array, rows: Ints, w: dict[str, Ints], sums: Ints) -> dict[str, int]:
    """Return the hits of every functional bin of an array.

    Args:
        array: the design.
        rows: row operands (steps, m, E or k).
        w: channel ``w``.
        sums: golden sums (tiles, m n).
    """
    hits = row_bins(array, rows) | mark_bins(array, w)
    least, greatest = reachable(array)
    hits["sum near its greatest"] = int((sums >= 0.9 * greatest).sum())
    hits["sum near its least"] = int((sums <= 0.9 * least).sum())
    return hits


def mark_bins(array: Array, w: dict[str, Ints]) -> dict[str, int]:
    """Return hits of column operands, positions and marks of channel ``w``, numbers apart."""
    start, first, last = (w[name][:, 0] == 1 for name in ("start", "first", "last"))
    lanes = operands.unpack_columns(array, w["codes"])  # (beats, n, P or k)
    hits = column_bins(array, lanes.reshape(-1, lanes.shape[-1]))
    if array.most_passes > 1:
        hits |= {f"position {p}": int((w["position"] == p).sum()) for p in range(array.most_passes)}
        hits["pass with the row operands of the step"] = int((~start).sum())
    return hits | {
        "tile of one beat": int((first & last).sum()),
        "first beat of several": int((first & ~last).sum()),
        "last beat of several": int((last & ~first).sum()),
        "beat inside a tile": int((~first & ~last).sum()),
        "new row operands inside a tile": int((start & ~first).sum()),
        "tile right behind a tile": int((first[1:] & last[:-1]).sum()),
    }


def reachable(array: Array) -> tuple[float, float]:
    """Return the least and the greatest sum that :func:`deep_steps` steps can reach."""
    bound = golden.largest_sum(array, array.serial_weight_bits, deep_steps(array) * array.k)
    half = 1 << (array.activation_bits - 1)
    limit = float(1 << (array.accumulator_bits - 1)) - 1
    greatest = bound if array.symmetric else bound * (half - 1) / half
    return max(-float(bound), -limit), min(float(greatest), limit)


def column_bins(array: Array, lanes: Ints) -> dict[str, int]:
    """Return hits of table entries, signs and digits by column operands (…, P or k)."""
    hits = {}
    if array.datapath == "mac":
        top = (1 << array.multiplier_weight_bits) - 1
        widest = min(top, (1 << array.serial_weight_bits) - 1)
        for j in range(array.k):
            hits[f"digit {j} zero"] = int((lanes[:, j] == 0).sum())
            hits[f"digit {j} greatest"] = int((lanes[:, j] >= widest).sum())
        return hits
    for p in range(min(array.planes_per_cycle, array.serial_weight_bits)):  # planes above the widest weight stay zero
        code = lanes[:, p]
        if array.datapath == "add":
            for j in range(array.k):
                hits[f"plane {p} adds {j}"] = int((code >> j & 1 == 1).sum())
                hits[f"plane {p} subtracts {j}"] = int((code >> j & 1 == 0).sum())
            continue
        index = code & (array.entries - 1)
        hits |= {f"plane {p} entry {i}": int((index == i).sum()) for i in range(array.entries)}
        if array.datapath == "lut":
            minus = code >> (array.k - 1)
            hits |= {f"plane {p} plus": int((minus == 0).sum()), f"plane {p} minus": int((minus == 1).sum())}
    return hits


def row_bins(array: Array, rows: Ints) -> dict[str, int]:
    """Return hits of extreme row operands (steps, m, E or k)."""
    if array.looks_up:
        low, high = golden.entry_range(array)
    else:
        low, high = -(1 << (array.activation_bits - 1)), (1 << (array.activation_bits - 1)) - 1
    what = "entry" if array.looks_up else "activation"
    return {f"{what} {low}": int((rows == low).sum()), f"{what} {high}": int((rows == high).sum())}


def pass_counts(start: Ints) -> Ints:
    """Return the passes of every step from the marks of its first beats."""
    return np.diff(np.append(np.flatnonzero(start), len(start)))


def unit_bins(array: Array, w: dict[str, Ints], tables_per_cycle: int) -> dict[str, int]:
    """Return hits of the balance between a builder and its array: which of the two the other waits for."""
    build, passes = -(-array.m // tables_per_cycle), pass_counts(w["start"][:, 0])
    widths = {array_timing.passes(array, bits) for bits in range(1, array.serial_weight_bits + 1)}
    hits = {}
    if min(widths) < build:
        hits["array waits for tables"] = int((passes < build).sum())
    if max(widths) > build:
        hits["tables wait for the array"] = int((passes > build).sum())
    return hits
