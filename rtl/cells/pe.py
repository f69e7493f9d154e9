"""What the processing elements of all datapaths share: their interface, and the accumulator's adder behind a shifter.

A processing element is combinational: row operand, column operand, marks and the sum so far -> next sum. The array
keeps the registers, so that operands are shared by rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import element_stimuli, operands, signed_sum
from lutscape.rtl.cells.signed_sum import Term, extend, repeat
from lutscape.rtl.cells.text import indented, module
from lutscape.sim.lut_tensor_core import golden

LETTERS = {
    "activation_bits": "a",
    "multiplier_weight_bits": "d",
    "table_bits": "t",
    "planes_per_cycle": "p",
    "passes": "x",
    "accumulator_bits": "s",
    "tables_per_cycle": "b",
}
"""How module names abbreviate parameters; those of one letter stand for themselves."""


def parameters(array: Array) -> dict[str, int | str]:
    """Return the numbers of an array that shape one processing element."""
    numbers: dict[str, int | str] = {"k": array.k, "activation_bits": array.activation_bits}
    if array.datapath == "mac":
        numbers["multiplier_weight_bits"] = array.multiplier_weight_bits
    else:
        numbers |= {"table_bits": array.table_bits} if array.looks_up else {}
        numbers["planes_per_cycle"] = array.planes_per_cycle
    return numbers | {"passes": array.most_passes, "accumulator_bits": array.accumulator_bits}


def family(array: Array) -> str:
    """Return the prefix of module names; UNPU's array is the conventional lookup array."""
    return {"lut": "lut", "lut-full": "lutfull", "unpu": "lutfull"}.get(array.datapath, array.datapath)


def suffix(numbers: Mapping[str, int | str]) -> str:
    """Return the end of a module name: letters and numbers."""
    return "".join(f"{LETTERS.get(name, name)}{number}" for name, number in numbers.items())


def channels(array: Array) -> tuple[Channel, Channel]:
    """Return the operands of one element, and its next sum."""
    total = Field("sum", array.accumulator_bits, 1, True, "sum so far")
    first = Field("first", 1, 1, False, "ignore the sum so far")
    fields = (operands.row_field(array, 1), operands.column_field(array, 1), *operands.position_fields(array))
    return (
        Channel("x", "in", (*fields, first, total), "operands of one element"),
        Channel("y", "out", (Field("sum", array.accumulator_bits, 1, True, "next sum"),), "result"),
    )


def shift(array: Array, term: Term) -> tuple[Term, list[str]]:
    """Return a partial sum moved to the place of its pass, and its Verilog; vacated bits take the pending one."""
    s, digit, unshifted = term.pending, array.digit_bits, term.bits
    lines = ["", "// to the place of this pass; vacated bits take the pending one, so that it carries up"]
    for stage in range((array.most_passes - 1).bit_length()):
        up = digit << stage
        width = min(unshifted + digit * min(array.most_passes - 1, (2 << stage) - 1), array.accumulator_bits)
        select = "x_position" if array.most_passes == 2 else f"x_position[{stage}]"
        moved = f"{{{extend(term, width - up)}, {repeat(s, up) if s else f'{up}{chr(39)}b0'}}}"
        lines.append(f"wire [{width - 1}:0] shifted{stage} = {select} ? {moved} : {extend(term, width)};")
        span = (-(1 << (width - 1)), (1 << (width - 1)) - 1)
        term = Term(f"shifted{stage}", span, span, s)
    return term, lines if array.most_passes > 1 else []


def finish(array: Array, term: Term) -> list[str]:
    """Return Verilog that shifts a partial sum to its pass and adds it to the sum so far."""
    bits, lines = array.accumulator_bits, []
    if term.bits > bits:
        span = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        lines += [
            f"wire [{bits - 1}:0] held = {extend(term, bits)};  // modulo 2^{bits}",
            f"wire held_unused = &{term.name}[{term.bits - 1}:{bits}];",
        ]
        term = Term("held", span, span, term.pending)
    term, shifts = shift(array, term)
    lines += [*shifts, "", f"wire [{bits - 1}:0] kept = x_first ? {bits}'d0 : x_sum;"]
    return [*lines, *signed_sum.accumulate(term, "kept", bits), "assign y_sum = next;"]


def cell(array: Array, what: str, body: list[str], parts: tuple[Cell, ...] = ()) -> Cell:
    """Return the processing element of an array with a body."""
    inside, ports, numbers = parameters(array), channels(array), formats(array)
    name = f"{family(array)}_pe_{suffix(inside)}"
    return Cell(
        name=name,
        kind=f"{family(array)}_pe",
        parameters=inside,
        source=module(name, what, inside, ports, indented(body), numbers=numbers, clocked=False),
        channels=ports,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: element_stimuli.stimulus(array, rng, count),
        coverage=lambda beats: element_stimuli.coverage(array, beats),
        numbers=numbers,
        parts=parts,
        clocked=False,
        operations=array.k,
    )


def formats(array: Array) -> str:
    """Return the number formats of an array in one line."""
    if array.looks_up:
        low, high = golden.entry_range(array)
        rows = f"INT{operands.entry_bits(array)} table entries {low} … {high}"
    else:
        rows = f"INT{array.activation_bits} activations"
    if array.datapath == "mac":
        rows += f", unsigned {array.multiplier_weight_bits}-bit weight digits"
    return f"{rows}; {array.accumulator_bits}-bit sums, two's complement, modulo 2^{array.accumulator_bits}"


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the next sums of operands."""
    x = beats["x"]
    rows = operands.unpack_rows(array, x[operands.row_field(array, 1).name])[:, 0]
    columns = operands.unpack_columns(array, x["codes"])[:, 0]
    position = x["position"][:, 0] if "position" in x else 0
    kept = np.where(x["first"][:, 0] == 1, 0, x["sum"][:, 0])
    total = kept + golden.beat(array, rows, columns, position)
    return {"y": {"sum": golden.wrap(total, array.accumulator_bits)[:, None]}}
