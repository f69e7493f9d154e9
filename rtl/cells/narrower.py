"""Narrowing of one table entry: shift right and clamp to a symmetric range.

Rounding half up needs no adder here: half of the last place, 2^(shift-1), is already in the value, because the
builder starts its sums from it (:mod:`lutscape.rtl.cells.table_builder`).
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, index_bits, module, signed_bits
from lutscape.sim.lut_tensor_core import golden
from lutscape.sim.lut_tensor_core.golden import Ints


def exact(array: Array) -> Array:
    """Return the array with tables wide enough not to be rounded."""
    return array.model_copy(update={"table_bits": array.exact_entry_bits})


def halves(shift: Ints) -> Ints:
    """Return what is added before a shift to round half up."""
    return (np.int64(1) << shift) >> 1


def value_bits(array: Array) -> int:
    """Return the bits of an entry with half of its last place added, at least one more than stored ones have."""
    low, high = golden.entry_range(exact(array))
    return max(signed_bits(low, high + (1 << array.largest_shift >> 1)), array.table_bits + 1)


@cache
def narrower(array: Array) -> Cell:
    """Return the narrower of an array whose ``table_bits`` are fewer than exact entries need."""
    wide, bits, most = value_bits(array), array.table_bits, array.largest_shift
    limit = (1 << (bits - 1)) - 1
    above = wide - bits
    parameters: dict[str, int | str] = {"value_bits": wide, "table_bits": bits, "largest_shift": most}
    channels = (
        Channel(
            "x",
            "in",
            (
                Field("value", wide, 1, True, "exact entry and half of its last place"),
                Field("shift", index_bits(most + 1), 1, False, f"0 … {most}"),
            ),
            "exact entry",
        ),
        Channel("y", "out", (Field("value", bits, 1, True, "stored entry"),), "stored entry"),
    )
    lines = [
        f"wire signed [{wide - 1}:0] value = x_value;",
        f"wire signed [{wide - 1}:0] shifted = value >>> x_shift;",
        "",
        f"// outside of {bits} bits if the bits above differ from the sign; -{limit + 1} goes up by one",
        f"wire minus = shifted[{wide - 1}];",
        f"wire outside = shifted[{wide - 2}:{bits - 1}] != {{{above}{{minus}}}};",
        f"wire [{bits - 2}:0] body = outside ? {{{bits - 1}{{!minus}}}} : shifted[{bits - 2}:0];",
        "wire lowest = minus && ~|body;",
        f"assign y_value = {{minus, body[{bits - 2}:1], body[0] | lowest}};",
    ]
    name = f"narrower_e{wide}t{bits}h{most}"
    numbers = f"INT{wide} to INT{bits} ±{limit}"
    return Cell(
        name=name,
        kind="narrower",
        parameters=parameters,
        source=module(
            name, "Narrower of a table entry.", parameters, channels, indented(lines), numbers=numbers, clocked=False
        ),
        channels=channels,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda beats: bins(array, beats["x"]["value"] - halves(beats["x"]["shift"]), beats["x"]["shift"]),
        numbers=numbers,
        clocked=False,
        operations=1,
    )


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return stored entries."""
    value, shift = beats["x"]["value"], beats["x"]["shift"]
    return {"y": {"value": golden.narrow(array, value - halves(shift), shift)}}


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return every value around zero, the range's ends and both clamps at every shift, then random ones."""
    low, high = golden.entry_range(exact(array))
    limit = (1 << (array.table_bits - 1)) - 1
    entries, shifts = [], []
    for s in range(array.largest_shift + 1):
        reach = min(1 << s, 8) + 1
        near = {v + d for v in (low, high, 0, limit << s, -limit << s) for d in range(-reach, reach + 1)}
        near |= {v + (1 << s >> 1) for v in near}
        inside = sorted(v for v in near if low <= v <= high)
        entries += inside
        shifts += [s] * len(inside)
    more = max(0, count - len(entries))
    shift = np.concatenate([np.array(shifts, np.int64), rng.integers(0, array.largest_shift + 1, more)])
    entry = np.concatenate([np.array(entries, np.int64), rng.integers(low, high + 1, more)])
    return {"x": {"value": (entry + halves(shift))[:, None], "shift": shift[:, None]}}


def bins(array: Array, entries: Ints, shift: Ints) -> dict[str, int]:
    """Return hits of every shift, of clamps and of rounding ties by exact entries (…) and their shifts (…)."""
    limit = (1 << (array.table_bits - 1)) - 1
    rounded = (entries + halves(shift)) >> shift
    ties = (shift > 0) & ((entries & ((np.int64(1) << shift) - 1)) == halves(shift))
    hits = {f"shift {s}": int((shift == s).sum()) for s in range(array.largest_shift + 1)}
    low, high = golden.entry_range(exact(array))
    if high > limit:
        hits["clamped from above"] = int((rounded > limit).sum())
    if low < -limit:
        hits["clamped from below"] = int((rounded < -limit).sum())
    return hits | {
        "not clamped": int((np.abs(rounded) <= limit).sum()),
        "tie above zero": int((ties & (entries > 0)).sum()),
        "tie below zero": int((ties & (entries < 0)).sum()),
    }
