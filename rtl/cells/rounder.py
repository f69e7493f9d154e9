"""Narrowing of one table entry: shift right, round half up, clamp to a symmetric range."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, index_bits, module, signed_bits
from lutscape.sim.lut_tensor_core import golden


def exact_range(array: Array) -> tuple[int, int]:
    """Return the least and the greatest entry before rounding."""
    return golden.entry_range(array.model_copy(update={"table_bits": array.exact_entry_bits}))


@cache
def rounder(array: Array) -> Cell:
    """Return the rounder of an array's table entries, whose ``table_bits`` are fewer than exact entries need."""
    low, high = exact_range(array)
    wide, bits, most = signed_bits(low, high), array.table_bits, array.largest_shift
    parameters: dict[str, int | str] = {"e": wide, "t": bits, "h": most}
    value = Field("value", wide, 1, True, "exact entry")
    shift = Field("shift", index_bits(most + 1), 1, False, f"0 … {most}")
    channels = (
        Channel("x", "in", (value, shift), "exact entry"),
        Channel("y", "out", (Field("value", bits, 1, True, "stored entry"),), "stored entry"),
    )
    limit = (1 << (bits - 1)) - 1
    name = f"rounder_e{wide}_t{bits}_h{most}"
    numbers = f"INT{wide} {low} … {high} to INT{bits} ±{limit}, half up"
    lines = [
        "// One bit more than the value: the last bit shifted out decides the rounding.",
        f"wire signed [{wide}:0] wide = {{x_value, 1'b0}};",
        f"wire signed [{wide}:0] shifted = wide >>> x_shift;",
        f"wire [{wide - 1}:0] rounded = shifted[{wide}:1] + {{{wide - 1}'b0, shifted[0]}};",
        "",
        f"// clamped to ±{limit}: out of {bits} bits if the bits above differ from the sign; -{limit + 1} goes up by one",
        f"wire minus = rounded[{wide - 1}];",
        f"wire outside = rounded[{wide - 2}:{bits - 1}] != {{{wide - bits}{{minus}}}};",
        f"wire [{bits - 2}:0] body = outside ? {{{bits - 1}{{!minus}}}} : rounded[{bits - 2}:0];",
        "wire lowest = minus && ~|body;",
        f"assign y_value = {{minus, body[{bits - 2}:1], body[0] | lowest}};",
    ]
    return Cell(
        name=name,
        kind="rounder",
        parameters=parameters,
        source=module(
            name, "Rounder of a table entry.", parameters, channels, indented(lines), numbers=numbers, clocked=False
        ),
        channels=channels,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda beats: coverage(array, beats),
        numbers=numbers,
        clocked=False,
        operations=1,
    )


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return stored entries of exact ones."""
    return {"y": {"value": golden.narrow(array, beats["x"]["value"], beats["x"]["shift"])}}


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return every value around a rounding tie or a clamp at every shift, then random ones."""
    low, high = exact_range(array)
    limit = (1 << (array.table_bits - 1)) - 1
    value, shift = [], []
    for s in range(array.largest_shift + 1):
        edge = limit << s
        near = {v + d for v in (low, high, 0, edge, -edge) for d in range(-(1 << s) - 1, (1 << s) + 2)}
        inside = sorted(v for v in near if low <= v <= high)
        value += inside
        shift += [s] * len(inside)
    more = max(0, count - len(value))
    values = np.concatenate([np.array(value, np.int64), rng.integers(low, high + 1, more)])
    amounts = np.concatenate([np.array(shift, np.int64), rng.integers(0, array.largest_shift + 1, more)])
    return {"x": {"value": values[:, None], "shift": amounts[:, None]}}


def coverage(array: Array, beats: Beats) -> dict[str, int]:
    """Return hits of every shift, clamps, ties and untouched values."""
    value, shift = beats["x"]["value"][:, 0], beats["x"]["shift"][:, 0]
    return narrowing_bins(array, value, shift)


def narrowing_bins(array: Array, entries: np.ndarray, shift: np.ndarray) -> dict[str, int]:
    """Return hits of shifts, clamps and ties of exact entries (…) and their shifts (…)."""
    limit = (1 << (array.table_bits - 1)) - 1
    free = golden.narrow(array.model_copy(update={"table_bits": array.exact_entry_bits - 1}), entries, shift)
    half = (np.int64(1) << shift) >> 1
    ties = (shift > 0) & ((entries & ((np.int64(1) << shift) - 1)) == half)
    bins = {f"shift {s}": int((shift == s).sum()) for s in range(array.largest_shift + 1)}
    return bins | {
        "clamped from above": int((free > limit).sum()),
        "clamped from below": int((free < -limit).sum()),
        "not clamped": int((np.abs(free) <= limit).sum()),
        "tie above zero": int((ties & (entries > 0)).sum()),
        "tie below zero": int((ties & (entries < 0)).sum()),
    }
