"""Processing element of a lookup array: select a table entry per weight plane, flip its sign, add up.

The entry is selected by AND-OR with a decoded index: fewer gates than a tree of two-input multiplexers (per bit of 8
entries 4 AOI22 and a NAND4 against 7 MUX2), and the decoders depend on the column alone, so that the m elements of a
column share them once the array is flattened.
"""

from __future__ import annotations

from functools import cache

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import operands, pe
from lutscape.rtl.cells.signed_sum import Term, negatable, tree
from lutscape.rtl.cells.text import slice_of
from lutscape.sim.lut_tensor_core import golden


@cache
def lookup_pe(array: Array) -> Cell:
    """Return the element of a ``lut``, ``lut-full`` or ``unpu`` array."""
    k, planes, bits = array.k, array.planes_per_cycle, operands.entry_bits(array)
    low, high = golden.entry_range(array)
    signed = array.datapath == "lut"
    terms, lines = [], []
    for p in range(planes):
        code = slice_of("x_codes", p, k, planes)
        lines += ["", f"// plane {p}"]
        if signed:
            lines += [f"wire sign{p} = {code_bit(p, k - 1, k)};", f"wire [{k - 2}:0] index{p} = {code_low(p, k)};"]
            lines = [x.replace(f"[{k - 2}:0] ", "") if k == 2 else x for x in lines]
        else:
            lines.append(f"wire [{k - 1}:0] index{p} = {code};")
        lines += select(array, p, bits)
        if signed:
            lines.append(f"wire [{bits - 1}:0] signed{p} = entry{p} ^ {{{bits}{{sign{p}}}}};")
            terms.append(negatable(f"signed{p}", low, high, f"sign{p}", p))
        else:
            terms.append(Term(f"entry{p}", (low, high), (low, high), "", p))
    total, adders = tree(terms, "planes")
    lines += ["", "// planes added at their weights", *adders] if adders else []
    lines += pe.accumulate(array, total)
    return pe.cell(
        array,
        "lookup_pe",
        f"Lookup element: {planes} weight plane{'s' if planes > 1 else ''} of {k} weights through one table.",
        lines[1:],
        f"INT{bits} table entries {low} … {high}; {array.accumulator_bits}-bit sums, modulo 2^{array.accumulator_bits}",
    )


def code_bit(plane: int, bit: int, k: int) -> str:
    """Return one bit of the code of a plane."""
    return f"x_codes[{plane * k + bit}]"


def code_low(plane: int, k: int) -> str:
    """Return the code of a plane without its top bit."""
    return f"x_codes[{plane * k}]" if k == 2 else f"x_codes[{plane * k + k - 2}:{plane * k}]"


def select(array: Array, plane: int, bits: int) -> list[str]:
    """Return Verilog of entry{plane}, the table entry at index{plane}."""
    first = array.entries - operands.stored_entries(array)
    width = array.k - (array.datapath == "lut")
    lanes = operands.stored_entries(array)
    terms = [
        f"({{{bits}{{index{plane} == {width}'d{lane + first}}}}} & {slice_of('x_entries', lane, bits, lanes)})"
        for lane in range(lanes)
    ]
    head = f"wire [{bits - 1}:0] entry{plane} = "
    return [head + terms[0], *[f"    | {term}" for term in terms[1:-1]], f"    | {terms[-1]};"]
