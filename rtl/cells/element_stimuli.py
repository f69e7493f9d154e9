"""Random and corner operands of one processing element, and the functional bins that they must hit."""

from __future__ import annotations

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats
from lutscape.rtl.cells import operands
from lutscape.rtl.cells.array_stimuli import activations, column_bins, row_bins
from lutscape.sim.lut_tensor_core import golden
from lutscape.sim.lut_tensor_core.golden import Ints


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return every code of every plane (or extreme digits) first, then random operands; sums of all magnitudes."""
    corners = 64 if array.datapath == "mac" else max(64, 1 << array.k)
    count = max(count, 2 * corners)
    lanes = _codes(array, rng, count, corners)
    half = 1 << (array.accumulator_bits - 1)
    sums = rng.integers(-half, half, count) >> rng.integers(0, array.accumulator_bits, count)
    near = 1 + golden.largest_sum(array, array.serial_weight_bits, array.k) // 4
    sums[::4], sums[1::4] = half - 1 - sums[::4] % near, -half + sums[1::4] % near
    x = {
        operands.row_field(array, 1).name: operands.pack_rows(array, _rows(array, rng, count)),
        "codes": lanes,
        "first": (rng.random((count, 1)) < 0.2).astype(np.int64),
        "sum": sums[:, None],
    }
    if array.most_passes > 1:
        x["position"] = rng.integers(0, array.most_passes, (count, 1))
        x["position"][: array.most_passes, 0] = np.arange(array.most_passes)
    return {"x": x}


def _codes(array: Array, rng: np.random.Generator, count: int, corners: int) -> Ints:
    field = operands.column_field(array, 1)
    lanes = rng.integers(0, 1 << field.width, (count, field.lanes))
    if array.datapath == "mac":
        lanes[: corners // 2 : 2], lanes[1 : corners // 2 : 2] = 0, (1 << field.width) - 1
    else:
        lanes[:corners] = (np.arange(corners) % (1 << array.k))[:, None]
    return lanes


def _rows(array: Array, rng: np.random.Generator, count: int) -> Ints:
    """Return row operands (count, 1, E or k): real tables, and entries at the ends of their range."""
    styles = np.arange(count) % 10
    values = np.stack([activations(array, rng, (count, array.k), s) for s in range(6)])
    rows = values[np.minimum(styles, 5), np.arange(count)]  # (count, k)
    if array.looks_up:
        shift = rng.integers(0, array.largest_shift + 1, (count, 1))
        low, high = golden.entry_range(array)
        table = golden.tables(array, rows, shift)
        table[styles == 8] = rng.choice(np.array([low, high]), (int((styles == 8).sum()), array.entries))
        table[styles == 9] = rng.integers(low, high + 1, (int((styles == 9).sum()), array.entries))
        if array.datapath != "lut":
            table[:, 0] = 0
        rows = table
    return rows[:, None]


def coverage(array: Array, beats: Beats) -> dict[str, int]:
    """Return hits of entries, signs, digits, extreme operands, positions, marks and overflow."""
    x = beats["x"]
    rows = operands.unpack_rows(array, x[operands.row_field(array, 1).name])
    lanes = operands.unpack_columns(array, x["codes"])[:, 0]
    first, position = x["first"][:, 0] == 1, x["position"][:, 0] if "position" in x else 0
    hits = column_bins(array, lanes) | row_bins(array, rows)
    for p in range(array.most_passes if array.most_passes > 1 else 0):
        hits[f"position {p}"] = int((x["position"] == p).sum())
    total = x["sum"][:, 0] + golden.beat(array, rows[:, 0], lanes, position)
    half = 1 << (array.accumulator_bits - 1)
    return hits | {
        "sum so far ignored": int(first.sum()),
        "sum so far kept": int((~first).sum()),
        "wraps upwards": int((~first & (total >= half)).sum()),
        "wraps downwards": int((~first & (total < -half)).sum()),
    }
