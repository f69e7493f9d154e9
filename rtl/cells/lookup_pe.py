"""Processing element of a lookup array: select a table entry per weight plane, flip its sign, add up.

The entry is selected by AND-OR with a decoded index, not by a tree of two-input multiplexers: per bit of 8 entries
four AOI22 and a NAND4 against seven MUX2, and the decoders depend on the column alone, so that the m elements of a
column share them once the array is flattened. With multiplexers a 2 x 4 array (k = 4, INT8 tables, Nangate 45 nm) is
4 % larger with one plane per cycle and 6 to 7 % with two.
"""

from __future__ import annotations

from functools import cache

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import operands, pe
from lutscape.rtl.cells.signed_sum import negatable, plain, tree
from lutscape.rtl.cells.text import slice_of, vector
from lutscape.sim.lut_tensor_core import golden


@cache
def lookup_pe(array: Array) -> Cell:
    """Return the element of a ``lut``, ``lut-full`` or ``unpu`` array."""
    k, planes, bits = array.k, array.planes_per_cycle, operands.entry_bits(array)
    low, high = golden.entry_range(array)
    width = index_width(array)
    terms, lines = [], []
    for p in range(planes):
        index = f"x_codes[{p * k}]" if width == 1 else f"x_codes[{p * k + width - 1}:{p * k}]"
        lines += [f"// plane {p}", f"wire {vector(width)}index{p} = {index};", *select(array, p)]
        if array.datapath == "lut":
            lines += [
                f"wire sign{p} = x_codes[{p * k + k - 1}];",
                f"wire [{bits - 1}:0] term{p} = entry{p} ^ {{{bits}{{sign{p}}}}};",
            ]
            terms.append(negatable(f"term{p}", low, high, f"sign{p}", p))
        else:
            terms.append(plain(f"entry{p}", low, high, p))
    total, adders = tree(terms, "sum")
    lines += ["", "// planes at their weights", *adders] if adders else []
    several = "s" if planes > 1 else ""
    what = f"Lookup element: one table, {planes} weight plane{several} of {k} weights."
    return pe.cell(array, what, [*lines, *pe.finish(array, total)])


def index_width(array: Array) -> int:
    """Return the bits of a table index."""
    return array.k - (array.datapath == "lut")


def select(array: Array, plane: int) -> list[str]:
    """Return Verilog of entry{plane}, the table entry at index{plane}; an entry that is not stored is zero."""
    bits, width, count = operands.entry_bits(array), index_width(array), operands.stored_entries(array)
    missing = array.entries - count
    terms = [
        f"({{{bits}{{index{plane} == {width}'d{i + missing}}}}} & {slice_of('x_entries', i, bits, count)})"
        for i in range(count)
    ]
    return [
        f"wire [{bits - 1}:0] entry{plane} = {terms[0]}",
        *[f"    | {x}" for x in terms[1:-1]],
        f"    | {terms[-1]};",
    ]
