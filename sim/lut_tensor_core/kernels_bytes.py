"""Integer tables of up to 8 bits: layouts of the byte shuffles, and the loops around their tiles."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numba import njit

from lutscape.sim.lut_tensor_core import bounds, elut, kernels_loops, kernels_shuffle
from lutscape.sim.lut_tensor_core.kernels_shuffle import OUTPUTS, ROWS, TABLE
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights, Single
from lutscape.sim.lut_tensor_core.tables import Tables

CACHE_BYTES = 1 << 19
"""Tables that a block of units should not exceed: half of the second-level cache of a server core."""


class Layout:
    """Weights as the byte shuffles read them.

    Attributes:
        unit: steps of a unit.
        selects: (N / 64, U, ⌈unit / 2⌉, bytes) uint8, two steps in a byte.
        signs: (N / 64, U, ⌈unit / 2⌉, 2, passes, 8) uint8 masks, or (…, 0).
        factors: (N / 64, G, 64) float32.
        corrections: (N / 64, G, 64) float32, or of no groups.
    """

    def __init__(self, weights: LookupWeights) -> None:
        design = weights.design
        self.unit = -(-bounds.unit_values(design, weights.columns, weights.group) // design.k)
        blocks, units = -(-weights.rows // OUTPUTS), -(-weights.steps // self.unit)
        pairs = -(-self.unit // 2)
        short = units * self.unit - weights.steps
        chosen = kernels_loops.selects(weights).astype(np.uint8)
        padded = np.pad(chosen, [(0, 0), (0, -weights.rows % OUTPUTS), (0, short)])
        split = padded.reshape(-1, blocks, 2, OUTPUTS // 2, units, self.unit)  # (W, NB, v, j, U, unit): output 32 v + j
        split = np.pad(split, [(0, 0)] * 5 + [(0, -self.unit % 2)]).reshape(*split.shape[:5], pairs, 2)
        masked = kernels_shuffle.masked(design)
        bits = elut.index_bits(design.base, design.k)
        low = split & ((1 << bits) - 1) if masked else split
        nibbles = low[..., 0] | low[..., 1] << 4  # (W, NB, v, j, U, pairs)
        found, signs = [], []
        for p in kernels_shuffle.passes(design):
            if p.pair:  # byte 2 j + plane of vector v
                both = nibbles[p.plane : p.plane + 2].transpose(1, 4, 5, 2, 3, 0)
                found.append(both.reshape(blocks, units, pairs, -1))
            else:  # byte 2 j + v
                found.append(nibbles[p.plane].transpose(0, 3, 4, 2, 1).reshape(blocks, units, pairs, -1))
            if masked:
                sign = (split[p.plane] >> bits).transpose(0, 3, 4, 5, 2, 1)  # (NB, U, pairs, step, j, v)
                signs.append(np.packbits(sign.reshape(blocks, units, pairs, 2, -1), axis=-1, bitorder="little"))
        self.selects = np.ascontiguousarray(np.concatenate(found, axis=-1))
        empty = np.zeros((blocks, units, pairs, 2, 0, 8), np.uint8)
        self.signs = np.ascontiguousarray(np.stack(signs, axis=-2)) if masked else empty
        self.factors = by_tile(weights.factors)
        none = np.zeros((blocks, 0, OUTPUTS), np.float32)
        self.corrections = none if weights.corrections is None else by_tile(weights.corrections)


def by_tile(values: Single) -> Single:
    """Return (N / 64, G, 64) of (N, G), filled up with zeros."""
    padded = np.pad(values, [(0, -len(values) % OUTPUTS), (0, 0)])
    return np.ascontiguousarray(padded.reshape(-1, OUTPUTS, values.shape[1]).transpose(0, 2, 1))


def layout_of(weights: LookupWeights) -> Layout:
    """Return the layout of weights, made once."""
    found = weights.cache.get("bytes")
    if not isinstance(found, Layout):
        found = Layout(weights)
        weights.cache["bytes"] = found
    return found


def byte_tables(design: Mpgemm, tables: Tables) -> np.ndarray:
    """Return tables (M, S, 16) int8 of integer entries (M, S, H): with their negatives where both fit."""
    entries = tables.entries.astype(np.int8)
    found = np.zeros((*entries.shape[:2], TABLE), np.int8)
    found[..., : entries.shape[-1]] = entries
    if not kernels_shuffle.masked(design):
        half = 1 << elut.index_bits(design.base, design.k)
        found[..., half : half + entries.shape[-1]] = -entries
    return found


def products(weights: LookupWeights, tables: np.ndarray, scales: Single, span: int, sums: Single, width: int) -> Single:
    """Return products (M, N) float32 by byte shuffles.

    Args:
        weights: (N, K).
        tables: (M, S, 16) int8 of :func:`byte_tables`.
        scales: (M, ⌈S / span⌉) float32 table scales.
        span: tables per scale.
        sums: (M, G) float32 row sums; (M, 0) where nothing is to be corrected.
        width: bytes of a register.
    """
    design, layout = weights.design, layout_of(weights)
    total = np.zeros((len(tables), len(layout.selects) * OUTPUTS), np.float32)
    chunk = kernels_shuffle.steps_in_int16(design)
    block = max(1, CACHE_BYTES // (len(tables) * TABLE * layout.unit))
    loop = loops(kernels_shuffle.passes(design), kernels_shuffle.masked(design), width, layout.unit > chunk)
    loop(
        tables, scales, span, layout.selects, layout.signs, layout.factors, sums, layout.corrections, total,
        layout.unit, -(-weights.group // design.k), chunk, block,
    )  # fmt: skip
    return total[:, : weights.rows]


@cache
def loops(layout: tuple[kernels_shuffle.Pass, ...], masked: bool, width: int, long: bool) -> Callable[..., None]:
    """Return the compiled loops over tiles; ``long``: units exceed what 16-bit sums hold."""
    rows = ROWS[width]
    many, one = (kernels_shuffle.tile(layout, masked, r, width, long) for r in (rows, 1))

    @njit(nogil=True, error_model="numpy")
    def run(tables, scales, span, selects, signs, factors, sums, corrections, total, unit, group, chunk, block):  # type: ignore[no-untyped-def]
        m, steps = tables.shape[0], tables.shape[1]
        blocks, units, pairs, size = selects.shape
        masks = signs.size // (blocks * units * pairs)
        collected = np.zeros((rows, OUTPUTS), np.int32)
        table_at, select_at = np.int64(tables.ctypes.data), np.int64(selects.ctypes.data)
        sign_at, factor_at = np.int64(signs.ctypes.data), np.int64(factors.ctypes.data)
        total_at, scale_at = np.int64(total.ctypes.data), np.int64(scales.ctypes.data)
        sum_at, correct_at = np.int64(sums.ctypes.data), np.int64(corrections.ctypes.data)
        collect_at = np.int64(collected.ctypes.data)
        groups, wide = np.int64(factors.shape[1]), np.int64(total.shape[1])
        scale_row = np.int64(scales.shape[1])
        corrects = np.int64(corrections.shape[1]) > 0
        for first in range(0, units, block):
            for n in range(blocks):
                r = 0
                while r < m:
                    height = rows if m - r >= rows else 1
                    for u in range(first, min(first + block, units)):
                        begin = u * unit
                        count = min(unit, steps - begin)
                        g, s = begin // group, begin // span
                        last = corrects and (begin + count == steps or (begin + count) % group == 0)
                        unit_at = np.int64(n * units + u) * pairs
                        scale = scale_at + (r * scale_row + s) * 4
                        factor = factor_at + (n * groups + g) * OUTPUTS * 4
                        row_sum = sum_at + (r * groups + g) * 4 if last else np.int64(0)
                        correction = correct_at + (n * groups + g) * OUTPUTS * 4
                        target, target_row = total_at + (r * wide + n * OUTPUTS) * 4, wide * 4
                        done = np.int64(0)
                        if long:
                            collected[:] = 0
                            target, target_row = collect_at, np.int64(OUTPUTS * 4)
                        while done < count:
                            now = min(count - done, chunk) if long else count
                            arguments = (
                                table_at + (np.int64(r) * steps + begin + done) * TABLE,
                                np.int64(steps * TABLE),
                                select_at + (unit_at + done // 2) * size,
                                sign_at + (unit_at + done // 2) * masks,
                                np.int64(now // 2),
                                np.int64(now % 2),
                                target,
                                np.int64(target_row),
                                scale,
                                np.int64(scale_row * 4),
                                factor,
                                row_sum,
                                np.int64(groups * 4),
                                correction,
                            )
                            if height == 1:
                                one(arguments)
                            else:
                                many(arguments)
                            done += now
                        if long:
                            for i in range(height):
                                for j in range(OUTPUTS):
                                    c = scales[r + i, s] * factors[n, g, j]
                                    total[r + i, n * OUTPUTS + j] += np.float32(collected[i, j]) * c
                                if last:
                                    for j in range(OUTPUTS):
                                        total[r + i, n * OUTPUTS + j] += sums[r + i, g] * corrections[n, g, j]
                    r += height

    return run
