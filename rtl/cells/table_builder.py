"""Table builder: k activations to the stored entries of their table, half sums shared.

The k activations are split in halves. Each half has few sums; every entry is one addition of two of them, so that
k = 4 takes 12 additions and one negation (:func:`lutscape.hw.gates.table_additions`) instead of 8 x 3, and an exact
conventional table 2^k - k - 1.

Narrow tables are rounded half up before they are shifted. All sums of the upper half start from half of the last
place, 2^(shift-1), so that no entry needs a rounding adder: in a symmetric table that costs nothing, because the
negation of a_{k-1}, which every entry holds, becomes a subtraction from it.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import narrower as narrow
from lutscape.rtl.cells import operands, pe
from lutscape.rtl.cells.array_stimuli import activations
from lutscape.rtl.cells.signed_sum import repeat
from lutscape.rtl.cells.text import indented, index_bits, module, signed_bits, slice_of
from lutscape.sim.lut_tensor_core import golden


class Sums:
    """Verilog of shared sums of the activations a0 … a{k-1}."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ranges: dict[str, tuple[int, int]] = {}

    def wire(self, name: str, low: int, high: int, expression: str) -> str:
        """Declare a wire for two's complement values low … high."""
        self.ranges[name] = (low, high)
        self.lines.append(f"wire [{signed_bits(low, high) - 1}:0] {name} = {expression};")
        return name

    def at(self, name: str, width: int) -> str:
        """Return a wire with its sign extended to a width."""
        bits = signed_bits(*self.ranges[name])
        return f"{{{repeat(f'{name}[{bits - 1}]', width - bits)}, {name}}}" if width > bits else name

    def add(self, name: str, a: str, b: str, minus: bool = False) -> str:
        """Return a + b or a - b."""
        (al, ah), (bl, bh) = self.ranges[a], self.ranges[b]
        low, high = (al - bh, ah - bl) if minus else (al + bl, ah + bh)
        width = signed_bits(low, high)
        return self.wire(name, low, high, f"{self.at(a, width)} {'-' if minus else '+'} {self.at(b, width)}")

    def signed(self, elements: list[int], lead: str) -> list[str]:
        """Return the sums lead ± a_j over ``elements``: entry i adds a_j if its bit j is set, else subtracts it."""
        if not elements:
            return [lead]
        here = (len(elements) + 1) // 2
        low, high = elements[:here], self.signed(elements[here:], lead)
        part = self.signed(low[:-1], f"a{low[-1]}")  # of the lower half, up to sign
        mask, out = (1 << (here - 1)) - 1, []
        for i in range(1 << len(elements)):
            plus = bool(i >> (here - 1) & 1)
            partner = part[i & mask if plus else ~i & mask]
            out.append(self.add(f"sum{elements[0]}_{lead}_{i}", high[i >> here], partner, minus=not plus))
        return out

    def subsets(self, elements: list[int], start: str = "") -> list[str]:
        """Return the sums of all subsets, each with the wire ``start`` if there is one; "" is an empty sum."""
        if not elements:
            return [start]
        if len(elements) == 1:
            a = f"a{elements[0]}"
            return [start, self.add(f"{start}_{a}", start, a) if start else a]
        here = len(elements) // 2
        low, high = self.subsets(elements[:here]), self.subsets(elements[here:], start)
        out = []
        for i in range(1 << len(elements)):
            a, b = high[i >> here], low[i & ((1 << here) - 1)]
            out.append(self.add(f"{start}sum{elements[0]}{elements[-1]}_{i}", a, b) if a and b else a or b)
        return out


def fields(array: Array, tables: int) -> tuple[Field, ...]:
    """Return the activations, and the shifts where tables are narrow, of some tables."""
    values = Field("values", array.activation_bits, tables * array.k, array.integer, "k activations of each table")
    if not array.largest_shift:
        return (values,)
    shift = Field("shift", index_bits(array.largest_shift + 1), tables, False, f"0 … {array.largest_shift} per table")
    return (values, shift)


@cache
def table_builder(array: Array) -> Cell:
    """Return the builder of one table of a ``lut``, ``lut-full`` or ``unpu`` array."""
    inside: dict[str, int | str] = {
        "k": array.k,
        "activation_bits": array.activation_bits,
        "table_bits": array.table_bits,
    }
    count = operands.stored_entries(array)
    entries = Field("entries", operands.entry_bits(array), count, True, "stored entries")
    channels = (
        Channel("x", "in", fields(array, 1), "activations"),
        Channel("y", "out", (entries,), "their table"),
    )
    sums, exact = _exact(array)
    lines: list[str] = [*sums.lines, ""]
    parts: tuple[Cell, ...] = ()
    low, high = golden.entry_range(narrow.exact(array))
    numbers = f"INT{array.activation_bits} activations; exact entries {low} … {high}"
    if array.largest_shift:
        part = narrow.narrower(array)
        wide = part.channel("x").fields[0].width
        for i, wire in enumerate(exact):
            port = slice_of("y_entries", i, entries.width, count)
            value = sums.at(wire, wide)
            lines.append(f"{part.name} narrow{i} (.x_value({value}), .x_shift(x_shift), .y_value({port}));")
        parts = (part,)
        numbers += f", rounded half up and clamped to INT{entries.width} ±{golden.entry_range(array)[1]}"
    else:
        values = [sums.at(wire, entries.width) for wire in reversed(exact)]
        lines += ["assign y_entries = {", *[f"    {v}," for v in values[:-1]], f"    {values[-1]}", "};"]
    name = f"{pe.family(array)}_builder_{pe.suffix(inside)}"
    what = f"Table builder: {count} entries from {array.k} activations."
    return Cell(
        name=name,
        kind=f"{pe.family(array)}_builder",
        parameters=inside,
        source=module(name, what, inside, channels, indented(lines), numbers=numbers, clocked=False),
        channels=channels,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda beats: coverage(array, beats),
        numbers=numbers,
        parts=parts,
        clocked=False,
        operations=count,
    )


def _exact(array: Array) -> tuple[Sums, list[str]]:
    """Return the shared sums and the wires of the stored entries, half of the last place included."""
    sums, k, half = Sums(), array.k, 1 << (array.activation_bits - 1)
    for j in range(k):
        sums.wire(f"a{j}", -half, half - 1, slice_of("x_values", j, array.activation_bits, k))
    most, start = array.largest_shift, ""
    if most:
        bits = index_bits(most + 1)
        places = ", ".join(f"x_shift == {bits}'d{s}" for s in range(most, 0, -1))
        start = sums.wire("half", 0, 1 << most >> 1, f"{{1'b0, {places}}}")
    if array.datapath == "lut":
        if start:
            sums.add("lead", start, f"a{k - 1}", minus=True)
        else:
            sums.wire("lead", 1 - half, half, f"-{sums.at(f'a{k - 1}', array.activation_bits + 1)}")
        return sums, sums.signed(list(range(k - 1)), "lead")
    return sums, sums.subsets(list(range(k)), start)[1:]


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the tables of activations."""
    x = beats["x"]
    table = golden.tables(array, x["values"], x.get("shift", 0))
    return {"y": {"entries": operands.pack_rows(array, table[:, None])}}


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return activations of every style at every shift, then random ones."""
    shifts = np.arange(array.largest_shift + 1)
    corners = np.concatenate([activations(array, rng, (8, array.k), style) for style in range(7)])
    values, shift = np.repeat(corners, len(shifts), axis=0), np.tile(shifts, len(corners))
    more = max(0, count - len(values))
    values = np.concatenate([values, activations(array, rng, (more, array.k), 5)])
    shift = np.concatenate([shift, rng.integers(0, len(shifts), more)])
    return {"x": {"values": values} | ({"shift": shift[:, None]} if array.largest_shift else {})}


def coverage(array: Array, beats: Beats) -> dict[str, int]:
    """Return hits of extreme activations, of extreme entries, and of shifts, clamps and ties of narrow tables."""
    x = beats["x"]
    half = 1 << (array.activation_bits - 1)
    exact = golden.exact_tables(array, x["values"])
    low, high = golden.entry_range(narrow.exact(array))
    hits = {
        f"activation {j} = {value}": int((x["values"][:, j] == value).sum())
        for j in range(array.k)
        for value in (-half, half - 1)
    }
    hits |= {f"exact entry {value}": int((exact == value).sum()) for value in (low, high)}
    if array.largest_shift:
        hits |= narrow.bins(array, exact, np.broadcast_to(x["shift"], exact.shape))
    return hits
