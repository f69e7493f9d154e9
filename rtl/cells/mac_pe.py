"""Processing element of multipliers: k products of an activation and a weight digit, an adder tree, an accumulator.

Products and tree are plain ``*`` and ``+`` of full width: synthesis merges them into one carry-save sum, or into
Booth multipliers, whichever it is told.
"""

from __future__ import annotations

from functools import cache

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import pe
from lutscape.rtl.cells.signed_sum import Term
from lutscape.rtl.cells.text import signed_bits, slice_of


@cache
def mac_pe(array: Array) -> Cell:
    """Return the element of a ``mac`` array."""
    k, bits, digit = array.k, array.activation_bits, array.multiplier_weight_bits
    low, high = -((1 << digit) - 1) << (bits - 1), ((1 << digit) - 1) * ((1 << (bits - 1)) - 1)
    width, wide = signed_bits(low, high), signed_bits(k * low, k * high)
    lines = []
    for j in range(k):
        lines += [
            f"wire signed [{bits - 1}:0] value{j} = {slice_of('x_values', j, bits, k)};",
            f"wire signed [{digit}:0] digit{j} = {{1'b0, {slice_of('x_codes', j, digit, k)}}};",
            f"wire signed [{width - 1}:0] product{j} = value{j} * digit{j};",
        ]
    extended = [f"{{{{{wide - width}{{product{j}[{width - 1}]}}}}, product{j}}}" for j in range(k)]
    lines += ["", f"wire [{wide - 1}:0] dot = {extended[0]}", *[f"    + {x}" for x in extended[1:]]]
    lines[-1] += ";"
    lines += pe.accumulate(array, Term("dot", (k * low, k * high), (k * low, k * high)))
    return pe.cell(
        array,
        "mac_pe",
        f"Multiplying element: {k} products of INT{bits} x UINT{digit}.",
        lines,
        f"INT{bits} activations, unsigned {digit}-bit weight digits; "
        f"{array.accumulator_bits}-bit sums, modulo 2^{array.accumulator_bits}",
    )
