"""Processing element of multipliers: k products of an activation and a weight digit, summed and accumulated.

The k products are added bit plane by bit plane: activations gated by one weight bit each go through an adder tree,
and the sums of the planes are added at their weights. No partial product is extended to the width of the sum.
Synthesised as 2 x 4 arrays (k = 4, INT8 activations, Nangate 45 nm, target 3 and 1.7 ns), ``a * q`` summed by one
expression is larger instead: by 1.6 and 1.0 % with 2-bit digits, 6.7 and 12 % with 4-bit ones; at 2.5 ns by 3.0 %
with 8-bit ones, and smaller by 0.6 % with 3-bit ones. Yosys' Booth multipliers gain nothing on it.
"""

from __future__ import annotations

from functools import cache

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import pe
from lutscape.rtl.cells.adder_tree import adder_tree
from lutscape.rtl.cells.signed_sum import plain, tree
from lutscape.rtl.cells.text import slice_of


@cache
def mac_pe(array: Array) -> Cell:
    """Return the element of a ``mac`` array."""
    k, bits, digit = array.k, array.activation_bits, array.multiplier_weight_bits
    half = 1 << (bits - 1)
    add = adder_tree(k, bits)
    wide = add.channel("y").fields[0].width
    sums, lines = [], []
    for p in range(digit):
        gated = ", ".join(
            f"{slice_of('x_values', j, bits, k)} & {{{bits}{{x_codes[{j * digit + p}]}}}}" for j in reversed(range(k))
        )
        lines += [
            f"// plane {p} of the weight digits",
            f"wire [{k * bits - 1}:0] gated{p} = {{{gated}}};",
            f"wire [{wide - 1}:0] plane{p};",
            f"{add.name} tree{p} (.x_values(gated{p}), .y_sum(plane{p}));",
        ]
        sums.append(plain(f"plane{p}", -k * half, k * (half - 1), p))
    total, adders = tree(sums, "sum")
    lines += ["", "// planes at their weights", *adders] if adders else []
    what = f"Multiplying element: {k} products INT{bits} x UINT{digit}."
    return pe.cell(array, what, [*lines, *pe.finish(array, total)], (add,))
