"""Table builder of floating-point activations: k activations to the 2^(k-1) stored entries, sums shared.

Elements are added as :func:`lutscape.sim.lut_tensor_core.tables.rounded_sums` adds them: neighbours first, then their
sums, an odd one left over passes on. Rounding is symmetric, so of two sums that are each other's negative one is
added up and the other is it with its sign inverted; only the sign of a zero differs: x - x is +0 both ways. k = 4 takes
12 adders instead of 8 x 3.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import fp_numbers, fp_stimuli
from lutscape.rtl.cells.fp_add import fp_add
from lutscape.rtl.cells.fp_convert import fp_convert
from lutscape.rtl.cells.fused_dot_part import part
from lutscape.rtl.cells.text import slice_of, vector
from lutscape.sim.lut_tensor_core import float_array

Signs = tuple[bool, ...]
"""Which elements of a node are added (True) or subtracted."""


@dataclass(frozen=True)
class Number:
    """Verilog of one number: its sign, and a wire that holds it but for the sign."""

    sign: str
    wire: str
    top: int

    @property
    def whole(self) -> str:
        """All bits."""
        own = self.sign == f"{self.wire}[{self.top}]"
        return self.wire if own else f"{{{self.sign}, {self.wire}[{self.top - 1}:0]}}"


class Sums:
    """Verilog of shared sums.

    Attributes:
        lines: so far.
        adders: instances so far.
    """

    def __init__(self, array: Array, adder: str) -> None:
        self.top, self.width, self.adder = array.entry.width - 1, array.entry.width, adder
        self.lines: list[str] = []
        self.adders = 0

    def number(self, wire: str, sign: str = "") -> Number:
        """Return a wire as a number, with its own sign or another one."""
        return Number(sign or f"{wire}[{self.top}]", wire, self.top)

    def add(self, name: str, left: Number, right: Number) -> Number:
        """Return the rounded sum of two numbers."""
        self.lines.append(f"wire {vector(self.width)}{name};")
        ports = f".x_a({left.whole}), .x_b({right.whole}), .y_sum({name})"
        self.lines.append(f"{self.adder} add{self.adders} ({ports});")
        self.adders += 1
        return self.number(name)

    def negative(self, name: str, total: Number, left: Number, right: Number) -> Number:
        """Return left + right from ``total``, the sum of their negatives: its sign inverted, but that of a zero."""
        zero = f"~|{total.wire}[{self.top - 1}:0]"
        self.lines.append(f"wire {name} = {zero} ? {left.sign} & {right.sign} : ~{total.sign};  // a sign")
        return self.number(total.wire, name)

    def join(self, first: dict[Signs, Number], second: dict[Signs, Number], name: str) -> dict[Signs, Number]:
        """Return the sums of two nodes."""
        found: dict[Signs, Number] = {}
        for (p, left), (q, right) in product(first.items(), second.items()):
            signs = p + q
            mirror = tuple(not s for s in signs)
            label = name + "".join("p" if s else "m" for s in signs)
            if mirror in found:
                found[signs] = self.negative(label, found[mirror], left, right)
            else:
                found[signs] = self.add(label, left, right)
        return found


def _elements(array: Array, sums: Sums) -> list[dict[Signs, Number]]:
    """Return the nodes of single activations; the last one is only subtracted."""
    form, k, top = array.activation, array.k, sums.top
    nodes: list[dict[Signs, Number]] = []
    for j in range(k):
        source = slice_of("x_values", j, form.width, k)
        name = f"e{j}"
        if form != array.entry:
            sums.lines.append(f"wire {vector(sums.width)}{name};")
            sums.lines.append(f"{fp_convert(form, array.entry).name} convert{j} (.x_v({source}), .y_v({name}));")
        else:
            sums.lines.append(f"wire {vector(sums.width)}{name} = {source};")
        if array.float_overflow == "saturate" and form.has_infinity:
            infinite = f"{name}[{top - 1}:0] == {top}'h{array.entry.largest + 1:x}"
            chosen = f"{infinite} ? {top}'h{array.entry.largest:x} : {name}[{top - 1}:0]"
            sums.lines.append(f"wire {vector(sums.width)}t{j} = {{{name}[{top}], {chosen}}};")
            name = f"t{j}"
        node: dict[Signs, Number] = {(False,): sums.number(name, f"~{name}[{top}]")}
        nodes.append(node | ({(True,): sums.number(name)} if j < k - 1 else {}))
    return nodes


@cache
def fp_table_builder(array: Array) -> Cell:
    """Return the builder of one table of an array of float activations."""
    k, entry, form = array.k, array.entry, array.activation
    adder = fp_add(entry, entry, 1, array.float_overflow == "saturate")
    sums = Sums(array, adder.name)
    nodes, level = _elements(array, sums), 0
    while len(nodes) > 1:
        pairs = len(nodes) // 2
        joined = [sums.join(nodes[2 * i], nodes[2 * i + 1], f"s{level}_{i}_") for i in range(pairs)]
        nodes, level = joined + nodes[2 * pairs :], level + 1
    wires = [nodes[0][(*(bool(i >> j & 1) for j in range(k - 1)), False)] for i in range(array.entries)]
    entries = [f"    {w.whole}" for w in reversed(wires)]
    lines = [*sums.lines, "assign y_entries = {", *[f"{e}," for e in entries[:-1]], entries[-1], "};"]
    parts = (adder,) if form == entry else (adder, fp_convert(form, entry))
    rule = adder.parameters["overflow"]
    return part(
        kind="fp_builder",
        name=f"fp_builder_{suffix(array)}",
        what=f"table builder: {array.entries} entries from {k} activations, {sums.adders} adders",
        parameters=parameters(array),
        numbers=f"{form.name} activations; {entry.name} entries, each addition rounded to nearest even, "
        f"overflow: {rule}",
        inputs=(Field("values", form.width, k, meaning=f"activations, {form.name}"),),
        outputs=(Field("entries", entry.width, array.entries, meaning=f"stored entries, {entry.name}"),),
        lines=lines,
        golden=lambda x: {"entries": evaluate(array, x["values"])},
        stimulus=lambda rng, count: {"values": fp_stimuli.groups(array, rng, count)},
        coverage=lambda x: coverage(array, x["values"]),
        parts=parts,
        operations=float(array.entries),
    )


def parameters(array: Array) -> dict[str, int | str]:
    """Return what shapes a builder."""
    found: dict[str, int | str] = {"k": array.k, "activation": array.activation.name, "entry": array.entry.name}
    return found | {"overflow": array.float_overflow}


def suffix(array: Array) -> str:
    """Return the end of a builder's module name."""
    formats = "_".join(dict.fromkeys((array.activation.name, array.entry.name)))
    return f"k{array.k}_{formats}" + ("_sat" if array.float_overflow == "saturate" else "")


def evaluate(array: Array, activations: np.ndarray) -> np.ndarray:
    """Return codes of the tables (…, 2^(k-1)) of codes of activations (…, k)."""
    numbers = float_array.values(activations, array.activation)
    return float_array.codes(float_array.entries(array, numbers), array.entry)


def coverage(array: Array, activations: np.ndarray) -> dict[str, np.ndarray]:
    """Return hits of the classes of each activation, and of entries: zeros and overflows among them."""
    bins: dict[str, np.ndarray] = {}
    for j in range(array.k):
        found = fp_numbers.classes(array.activation, activations[:, j])
        bins |= {f"activation {j} {name}": flags for name, flags in found.items()}
    return bins | fp_stimuli.table_bins(array, float_array.values(activations, array.activation))
