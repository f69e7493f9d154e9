"""Processing element of a floating-point lookup array: select an entry, flip its sign, add it to the sum so far."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import array_stimuli, fp_numbers, fp_stimuli, fp_table_builder, operands
from lutscape.rtl.cells.fp_add import fp_add
from lutscape.rtl.cells.fused_dot_part import part
from lutscape.rtl.cells.lookup_pe import index_width, select
from lutscape.rtl.cells.text import vector
from lutscape.sim.lut_tensor_core import float_array

Arrays = dict[str, np.ndarray]


def parameters(array: Array) -> dict[str, int | str]:
    """Return what shapes one element."""
    return {
        "k": array.k,
        "entry": array.entry.name,
        "passes": array.most_passes,
        "accumulator": array.total.name,
        "overflow": array.float_overflow,
    }


def suffix(array: Array) -> str:
    """Return the end of an element's module name."""
    saturates = "_sat" if array.float_overflow == "saturate" else ""
    return f"k{array.k}_{array.entry.name}_x{array.most_passes}_{array.total.name}{saturates}"


def formats(array: Array) -> str:
    """Return the number formats of an array in one line."""
    rule = {"ieee": "overflow as in IEEE 754", "saturate": "saturating"}[array.float_overflow]
    return f"{array.entry.name} table entries; {array.total.name} sums, each addition rounded to nearest even, {rule}"


def adder(array: Array) -> Cell:
    """Return the adder of an accumulator."""
    return fp_add(array.total, array.entry, array.most_passes, array.float_overflow == "saturate")


@cache
def fp_lookup_pe(array: Array) -> Cell:
    """Return the element of an array of float activations."""
    k, bits, add = array.k, array.entry.width, adder(array)
    width = index_width(array)
    index = "x_codes[0]" if width == 1 else f"x_codes[{width - 1}:0]"
    position = ".x_position(x_position), " if array.most_passes > 1 else ""
    lines = [
        f"wire {vector(width)}index0 = {index};",
        *select(array, 0),
        f"wire {vector(bits)}term = {{entry0[{bits - 1}] ^ x_codes[{k - 1}], entry0[{bits - 2}:0]}};",
        f"wire {vector(array.total.width)}kept = x_sum & {{{array.total.width}{{~x_first}}}};",
        f"{add.name} accumulate (.x_a(kept), .x_b(term), {position}.y_sum(y_sum));",
    ]
    first = Field("first", 1, meaning="ignore the sum so far")
    total = Field("sum", array.total.width, meaning=f"sum so far, {array.total.name}")
    return part(
        kind="fp_lut_pe",
        name=f"fp_lut_pe_{suffix(array)}",
        what=f"lookup element: one table of float entries, one weight plane of {k} weights",
        parameters=parameters(array),
        numbers=formats(array),
        inputs=(
            operands.row_field(array, 1), operands.column_field(array, 1), *operands.position_fields(array),
            first, total,
        ),
        outputs=(Field("sum", array.total.width, meaning=f"next sum, {array.total.name}"),),
        lines=lines,
        golden=lambda x: {"sum": evaluate(array, x)},
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda x: coverage(array, x),
        parts=(add,),
        operations=float(k),
    )  # fmt: skip


def both(array: Array, x: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums so far and what is added, as numbers (n,)."""
    table = float_array.values(x["entries"], array.entry)
    position = x["position"][:, 0] if "position" in x else 0
    term = float_array.terms(array, table, x["codes"][:, 0], position)
    return float_array.values(np.where(x["first"] == 1, 0, x["sum"])[:, 0], array.total), term


def evaluate(array: Array, x: Arrays) -> np.ndarray:
    """Return codes of next sums."""
    return float_array.codes(float_array.add(array, *both(array, x)), array.total)


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Arrays:
    """Return operands of the adder at the selected entry among others, every code first, then tables of activations."""
    left, right, position = fp_numbers.pairs(array.total, array.entry, array.most_passes, rng, count)
    n = len(left)
    table = rng.integers(0, 1 << array.entry.bits, (n, array.entries))
    styles = [fp_stimuli.activations(array, rng, (n // 8, array.k), s) for s in range(fp_stimuli.STYLES)]
    built = fp_table_builder.evaluate(array, np.concatenate(styles))
    code = rng.integers(0, 1 << array.k, n)
    code[: 1 << array.k] = np.arange(1 << array.k)[: len(code)]
    sign, index = code >> (array.k - 1), code & (array.entries - 1)
    table[np.arange(n), index] = right ^ (sign << (array.entry.bits - 1))
    more = len(built)
    ignored = rng.random(n) < 0.1
    ignored[: len(fp_numbers.edges(array.total)) * len(fp_numbers.edges(array.entry))] = False
    x = {
        "entries": np.concatenate([table, built]),
        "codes": np.concatenate([code, rng.integers(0, 1 << array.k, more)])[:, None],
        "first": np.concatenate([ignored, rng.random(more) < 0.3])[:, None].astype(np.int64),
        "sum": np.concatenate([left, fp_numbers.finite(array.total, rng, (more,))])[:, None],
    }
    if array.most_passes > 1:
        x["position"] = np.concatenate([position, rng.integers(0, array.most_passes, more)])[:, None]
    return x


def coverage(array: Array, x: Arrays) -> Arrays:
    """Return hits of entries, signs, positions, marks, and of classes of operands and sums."""
    left, right = both(array, x)
    entry = array.entry
    top = entry.max_value * 2.0 ** (array.most_passes - 1)
    bins = fp_numbers.sum_bins(array.total, left, right, top, entry.has_infinity)
    bins.pop("-0")  # sums start from +0
    counts = array_stimuli.column_bins(array, operands.unpack_columns(array, x["codes"])[:, 0])
    table = fp_numbers.classes(entry, np.take_along_axis(x["entries"], x["codes"] & (array.entries - 1), axis=1))
    flags = {f"{name}": np.ones(hits, bool) for name, hits in counts.items()} | bins
    flags |= {f"selected {name}": hits for name, hits in table.items()}
    flags |= {"sum so far ignored": x["first"] == 1, "sum so far kept": x["first"] == 0}
    for p in range(array.most_passes if array.most_passes > 1 else 0):
        here = x["position"] == p
        flags |= {f"position {p}": here, f"position {p} of zero": here[:, 0] & (right == 0)}
    return flags
