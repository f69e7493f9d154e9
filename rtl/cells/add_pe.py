"""Processing element without tables: every weight bit adds or subtracts its activation anew."""

from __future__ import annotations

from functools import cache

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import pe
from lutscape.rtl.cells.signed_sum import negatable, tree
from lutscape.rtl.cells.text import slice_of


@cache
def add_pe(array: Array) -> Cell:
    """Return the element of an ``add`` array."""
    k, planes, bits = array.k, array.planes_per_cycle, array.activation_bits
    half = 1 << (bits - 1)
    sums, lines = [], ["// a cleared weight bit negates: invert here, carry a one in where terms are added"]
    for p in range(planes):
        terms = []
        for j in range(k):
            lines += [
                f"wire minus{p}_{j} = ~x_codes[{p * k + j}];",
                f"wire [{bits - 1}:0] term{p}_{j} = {slice_of('x_values', j, bits, k)} ^ {{{bits}{{minus{p}_{j}}}}};",
            ]
            terms.append(negatable(f"term{p}_{j}", -half, half - 1, f"minus{p}_{j}", p))
        total, adders = tree(terms, f"plane{p}")
        lines += adders
        sums.append(total)
    total, adders = tree(sums, "sum")
    lines += ["", "// planes at their weights", *adders] if adders else []
    several = "s" if planes > 1 else ""
    what = f"Adding element: {k} activations times {planes} weight plane{several} of ±1."
    return pe.cell(array, what, [*lines, *pe.finish(array, total)])
