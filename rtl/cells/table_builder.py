"""Table builder: k activations to the stored entries of their table, half sums shared.

The k activations are split in halves of p and q. Each half has few sums; every entry is one addition of two of them,
so that k = 4 takes 12 additions and one negation (``hw/gates.py: table_additions``) instead of 8 x 3, and a
conventional table 2^k - k - 1.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import operands, pe, stimuli
from lutscape.rtl.cells.rounder import exact_range, narrowing_bins, rounder
from lutscape.rtl.cells.text import indented, index_bits, module, signed_bits, slice_of
from lutscape.sim.lut_tensor_core import golden


class Sums:
    """Verilog of shared sums of the activations a{0} … a{k-1}."""

    def __init__(self, bits: int) -> None:
        self.half = 1 << (bits - 1)
        self.lines: list[str] = []
        self.ranges: dict[str, tuple[int, int]] = {}

    def wire(self, name: str, low: int, high: int, expression: str) -> str:
        """Declare a signed wire; operands of a signed expression extend by themselves."""
        self.ranges[name] = (low, high)
        self.lines.append(f"wire signed [{signed_bits(low, high) - 1}:0] {name} = {expression};")
        return name

    def add(self, name: str, a: str, b: str, minus: bool = False) -> str:
        """Return a + b or a - b."""
        (al, ah), (bl, bh) = self.ranges[a], self.ranges[b]
        low, high = (al - bh, ah - bl) if minus else (al + bl, ah + bh)
        return self.wire(name, low, high, f"{a} {'-' if minus else '+'} {b}")

    def signed(self, elements: list[int], lead: str) -> list[str]:
        """Return the 2^(p-1) sums lead ± a_j: wire i adds a_j if bit j of i is set, else subtracts it.

        ``elements`` without the leading one; ``lead`` is the wire that every sum holds positively.
        """
        if not elements:
            return [lead]
        count = len(elements) + 1
        low = elements[: count // 2]
        high = self.signed(elements[count // 2 :], lead)
        # sums of the low half up to sign, its top element positive
        part = self.signed(low[:-1], f"a{low[-1]}")
        out = []
        for i in range(1 << len(elements)):
            index, top = i & ((1 << len(low)) - 1), i >> len(low)
            plus = index >> (len(low) - 1) & 1
            mask = (1 << (len(low) - 1)) - 1
            partner = part[index & mask if plus else ~index & mask]
            out.append(self.add(f"sum{elements[0]}_{lead}_{i}", high[top], partner, minus=not plus))
        return out

    def subsets(self, elements: list[int]) -> list[str]:
        """Return the 2^p sums of subsets; the empty one is an empty string."""
        if len(elements) == 1:
            return ["", f"a{elements[0]}"]
        half = len(elements) // 2
        low, high = self.subsets(elements[:half]), self.subsets(elements[half:])
        out = []
        for i in range(1 << len(elements)):
            a, b = high[i >> half], low[i & ((1 << half) - 1)]
            out.append(self.add(f"sum{elements[0]}{elements[-1]}_{i}", a, b) if a and b else a or b)
        return out


def parameters(array: Array) -> dict[str, int | str]:
    """Return the fields of the array that shape its builder."""
    return {"k": array.k, "a": array.activation_bits, "t": array.table_bits}


def fields(array: Array, tables: int) -> tuple[Field, ...]:
    """Return activations, and shifts where tables are narrow, of some tables."""
    values = Field("values", array.activation_bits, tables * array.k, True, "activations")
    if not array.largest_shift:
        return (values,)
    shift = Field("shift", index_bits(array.largest_shift + 1), tables, False, f"0 … {array.largest_shift}")
    return (values, shift)


@cache
def table_builder(array: Array) -> Cell:
    """Return the builder of one table of a ``lut``, ``lut-full`` or ``unpu`` array."""
    inside, count = parameters(array), operands.stored_entries(array)
    entries = Field("entries", operands.entry_bits(array), count, True, "stored entries")
    channels = (
        Channel("x", "in", fields(array, 1), "activations"),
        Channel("y", "out", (entries,), "their table"),
    )
    sums = Sums(array.activation_bits)
    for j in range(array.k):
        sums.wire(f"a{j}", -sums.half, sums.half - 1, slice_of("x_values", j, array.activation_bits, array.k))
    if array.datapath == "lut":
        sums.wire("negated", 1 - sums.half, sums.half, f"-a{array.k - 1}")
        exact = sums.signed(list(range(array.k - 1)), "negated")
    else:
        exact = sums.subsets(list(range(array.k)))[1:]
    lines, parts = sums.lines, ()
    low, high = exact_range(array)
    wide = signed_bits(low, high)
    if array.largest_shift:
        parts = (rounder(array),)
        lines.append("")
        for i, wire in enumerate(exact):
            port = slice_of("y_entries", i, entries.width, count)
            lines.append(
                f"{parts[0].name} round{i} (.x_value({_at(sums, wire, wide)}), .x_shift(x_shift), .y_value({port}));"
            )
    else:
        values = ", ".join(_at(sums, wire, entries.width) for wire in reversed(exact))
        lines += ["", f"assign y_entries = {{{values}}};"]
    name = f"{pe.family(array)}_builder_{pe.suffix(inside)}"
    numbers = f"INT{array.activation_bits} activations; entries {low} … {high}"
    if array.largest_shift:
        numbers += f", shifted, rounded half up and clamped to INT{entries.width} ±{(1 << (entries.width - 1)) - 1}"
    return Cell(
        name=name,
        kind=f"{pe.family(array)}_builder",
        parameters=inside,
        source=module(
            name,
            f"Table builder: {count} entries from {array.k} activations.",
            inside,
            channels,
            indented(lines),
            numbers=numbers,
            clocked=False,
        ),
        channels=channels,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda beats: coverage(array, beats),
        numbers=numbers,
        parts=parts,
        clocked=False,
        operations=count,
    )


def _at(sums: Sums, wire: str, width: int) -> str:
    """Return a wire with its sign extended to a width."""
    bits = signed_bits(*sums.ranges[wire])
    more = width - bits
    return f"{{{{{more}{{{wire}[{bits - 1}]}}}}, {wire}}}" if more else wire


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the tables of activations."""
    x = beats["x"]
    table = golden.tables(array, x["values"], x.get("shift", 0))
    return {"y": {"entries": operands.pack_rows(array, table[:, None])}}


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return activations of every style at every shift, then random ones."""
    values = np.concatenate([stimuli.activations(array, rng, 8, array.k, style) for style in range(6)])
    values = np.repeat(values, array.largest_shift + 1, axis=0)
    shift = np.tile(np.arange(array.largest_shift + 1), 48)
    more = max(0, count - len(values))
    values = np.concatenate([values, stimuli.activations(array, rng, more, array.k, 5)])
    x = {"values": values}
    if array.largest_shift:
        x["shift"] = np.concatenate([shift, rng.integers(0, array.largest_shift + 1, more)])[:, None]
    return {"x": x}


def coverage(array: Array, beats: Beats) -> dict[str, int]:
    """Return hits of extreme activations and, in narrow tables, of shifts, clamps and ties."""
    x = beats["x"]
    half = 1 << (array.activation_bits - 1)
    bins = {
        f"activation {j} at {value}": int((x["values"][:, j] == value).sum())
        for j in range(array.k)
        for value in (-half, half - 1)
    }
    if array.largest_shift:
        exact = golden.exact_tables(array, x["values"])
        bins |= narrowing_bins(array, exact, np.broadcast_to(x["shift"], exact.shape))
    return bins
