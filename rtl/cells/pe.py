"""What the processing elements of all datapaths share: their interface, and the accumulator's adder behind a shifter.

A processing element is combinational: row operand, column operand, marks and the sum so far -> next sum. The array
keeps the registers, so that operands are shared by rows and columns and a design without a register stays one.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import operands, stimuli
from lutscape.rtl.cells.signed_sum import Term, extend, repeat
from lutscape.rtl.cells.text import module
from lutscape.sim.lut_tensor_core import golden


def parameters(array: Array) -> dict[str, int | str]:
    """Return the fields of the array that shape one processing element, by the letters of module names."""
    numbers: dict[str, int | str] = {"k": array.k, "a": array.activation_bits}
    if array.datapath == "mac":
        numbers |= {"d": array.multiplier_weight_bits}
    else:
        numbers |= {"t": array.table_bits} if array.looks_up else {}
        numbers |= {"p": array.planes_per_cycle}
    return numbers | {"x": array.most_passes, "s": array.accumulator_bits}


def family(array: Array) -> str:
    """Return the prefix of module names; UNPU's array is the conventional lookup array."""
    return {"lut": "lut", "lut-full": "lutfull", "unpu": "lutfull"}.get(array.datapath, array.datapath)


def suffix(numbers: dict[str, int | str]) -> str:
    """Return letters and numbers of a module name."""
    return "_".join(f"{letter}{number}" for letter, number in numbers.items())


def channels(array: Array) -> tuple[Channel, Channel]:
    """Return the operands of one element, and its next sum."""
    total = Field("sum", array.accumulator_bits, 1, True, "sum so far")
    first = Field("first", 1, 1, False, "ignore the sum so far")
    fields = (operands.row_field(array, 1), operands.column_field(array, 1), *operands.position_fields(array))
    return (
        Channel("x", "in", (*fields, first, total), "operands of one element"),
        Channel("y", "out", (Field("sum", array.accumulator_bits, 1, True, "next sum"),), "result"),
    )


def accumulate(array: Array, term: Term) -> list[str]:
    """Return Verilog that shifts a partial sum to its pass and adds it to the sum so far."""
    bits, lines = array.accumulator_bits, []
    wire, s, digit = term, term.pending, array.digit_bits
    for stage in range((array.most_passes - 1).bit_length()):
        up = digit << stage
        limit = digit * (array.most_passes - 1)
        top = min(limit, digit * ((2 << stage) - 1))
        width = term.bits + top
        low = f"{{{extend(wire, width - up)}, {repeat(s, up) if s else f'{up}' + chr(39) + 'b0'}}}"
        select = "x_position" if array.most_passes == 2 else f"x_position[{stage}]"
        if not lines:
            lines += ["", "// to the place of this pass; vacated bits take the pending ones, so that they carry up"]
        lines.append(f"wire [{width - 1}:0] shifted{stage} = {select} ? {low} : {extend(wire, width)};")
        wire = Term(f"shifted{stage}", (-(1 << (width - 1)), (1 << (width - 1)) - 1), (0, 0), s)
    addend = extend(wire, bits)
    lines += ["", f"wire [{bits - 1}:0] kept = x_first ? {bits}'d0 : x_sum;"]
    if not s:
        return [*lines, f"assign y_sum = kept + {addend};"]
    return [*lines, f"wire [{bits}:0] next = {{kept, {s}}} + {{{addend}, {s}}};", f"assign y_sum = next[{bits}:1];"]


def cell(array: Array, kind: str, what: str, body: list[str], numbers: str, parts: tuple[Cell, ...] = ()) -> Cell:
    """Return the processing element of an array with a body."""
    inside = parameters(array)
    ports = channels(array)
    name = f"{family(array)}_pe_{suffix(inside)}"
    source = module(
        name, what, inside, ports, "\n".join(f"    {x}" if x else "" for x in body), numbers=numbers, clocked=False
    )
    return Cell(
        name=name,
        kind=kind,
        parameters=inside,
        source=source,
        channels=ports,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimuli.element(array, rng, count),
        coverage=lambda beats: stimuli.element_bins(array, beats),
        numbers=numbers,
        parts=parts,
        clocked=False,
        operations=array.k * array.digit_bits / array.serial_weight_bits,
    )


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the next sums of operands."""
    x = beats["x"]
    rows = operands.unpack_rows(array, x[operands.row_field(array, 1).name])[:, 0]
    columns = operands.unpack_columns(array, x["codes"])[:, 0]
    position = x["position"][:, 0] if "position" in x else 0
    added = golden.beat(array, rows, columns, position)
    kept = np.where(x["first"][:, 0] == 1, 0, x["sum"][:, 0])
    return {"y": {"sum": golden.wrap(kept + added, array.accumulator_bits)[:, None]}}
