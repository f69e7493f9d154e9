"""The m x n array of processing elements: one frame for every datapath.

Two stages (:mod:`lutscape.sim.lut_tensor_core.array_timing`): operand registers, accumulators. Row operands (tables
or activations) are taken with the first beat of a step and kept for its passes: these are the table registers.

The accumulators have neither a hold multiplexer nor a reset: while nothing is to be added the row operands are
forced to zero (m of them, shared by n elements), which adds zero to every sum, and the first beat of a tile
replaces the sum. Sums leave from the accumulators themselves; until they are taken, the next beat waits in the
operand registers.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import operands, pe, stimuli
from lutscape.rtl.cells.add_pe import add_pe
from lutscape.rtl.cells.lookup_pe import lookup_pe
from lutscape.rtl.cells.mac_pe import mac_pe
from lutscape.rtl.cells.text import indented, module, vector
from lutscape.sim.lut_tensor_core import array_timing, golden

FORMULA = "a tile of S steps in P passes: S P + 2, first beat and sums included; tiles every S P"


def element(array: Array) -> Cell:
    """Return the processing element of an array."""
    if array.looks_up:
        return lookup_pe(array)
    return add_pe(array) if array.datapath == "add" else mac_pe(array)


def weight_channel(array: Array) -> Channel:
    """Return channel ``w``: column operands and the marks of steps and tiles."""
    marks = (
        Field("start", 1, 1, False, "first beat of a step: takes row operands with it"),
        Field("first", 1, 1, False, "first beat of a tile: sums start anew"),
        Field("last", 1, 1, False, "last beat of a tile: sums leave"),
    )
    fields = (operands.column_field(array, array.n), *operands.position_fields(array), *marks)
    return Channel("w", "in", fields, "one pass of one step")


def sum_channel(array: Array) -> Channel:
    """Return channel ``d``: the sums of a tile, row by row."""
    field = Field("values", array.accumulator_bits, array.m * array.n, True, "sum of row i, column j at lane i n + j")
    return Channel("d", "out", (field,), "sums of one tile")


def numbers(array: Array) -> str:
    """Return the number formats of an array in one line."""
    if array.looks_up:
        low, high = golden.entry_range(array)
        rows = f"INT{operands.entry_bits(array)} table entries {low} … {high}"
    else:
        rows = f"INT{array.activation_bits} activations"
    return f"{rows}, two's complement; {array.accumulator_bits}-bit sums, modulo 2^{array.accumulator_bits}"


@cache
def array_cell(array: Array) -> Cell:
    """Return the array of a design: ``unpu`` is the same module as ``lut-full``."""
    inside = {"m": array.m, "n": array.n, **pe.parameters(array)}
    rows = operands.row_field(array, array.m)
    channels = (
        Channel("a", "in", (rows,), "row operands of one step"),
        weight_channel(array),
        sum_channel(array),
    )
    name = f"{pe.family(array)}_array_{pe.suffix(inside)}"
    part = element(array)
    source = module(
        name,
        f"{array.m} x {array.n} array of processing elements, {array.k} weights deep.",
        inside,
        channels,
        _body(array, part, rows),
        numbers=numbers(array),
        latency=array_timing.STAGES,
        formula=FORMULA,
    )
    return Cell(
        name=name,
        kind=f"{pe.family(array)}_array",
        parameters=inside,
        source=source,
        channels=channels,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimuli.tiles(array, rng, count),
        coverage=lambda beats: stimuli.array_bins(array, beats),
        schedule=schedule,
        latency=array_timing.STAGES,
        formula=FORMULA,
        numbers=numbers(array),
        parts=(part,),
        operations=array.m * array.n * array.k,
    )


def _body(array: Array, part: Cell, rows: Field) -> str:
    row = operands.row_field(array, 1).bits
    column = operands.column_field(array, 1).bits
    position = [f.width for f in operands.position_fields(array)]
    total = array.accumulator_bits
    name = rows.name
    marks = [f"reg  {vector(w)}position;" for w in position]
    lines = [
        f"localparam M = {array.m};",
        f"localparam N = {array.n};",
        f"localparam ROW = {row};     // bits of one row operand",
        f"localparam COLUMN = {column};  // bits of one column operand",
        f"localparam SUM = {total};",
        "",
        "// Everything moves unless sums of a tile wait to be taken.",
        "reg  busy;  // the operand registers hold a beat",
        "reg  done;  // the accumulators hold the sums of a tile",
        "wire move = !done || d_ready;",
        "wire accept = w_valid && w_ready;",
        "assign w_ready = move && (!w_start || a_valid);",
        "assign a_ready = move && w_valid && w_start;",
        "assign d_valid = done;",
        "",
        "// stage 1: operands",
        f"reg  [M*ROW-1:0] {name};",
        "reg  [N*COLUMN-1:0] codes;",
        *marks,
        "reg  first;",
        "reg  last;",
        "always @(posedge clk) begin",
        "    if (accept) begin",
        "        codes <= w_codes;",
        *["        position <= w_position;" for _ in position],
        "        first <= w_first;",
        "        last <= w_last;",
        f"        if (w_start) {name} <= a_{name};",
        "    end",
        "    if (rst) begin",
        "        busy <= 1'b0;",
        "        done <= 1'b0;",
        "    end else if (move) begin",
        "        busy <= accept;",
        "        done <= busy && last;",
        "    end",
        "end",
        "",
        "// stage 2: sums; zero operands hold them",
        "wire add = busy && move;",
        "wire load = add && first;",
        f"wire [M*ROW-1:0] added = {name} & {{M*ROW{{add}}}};",
        "reg  [M*N*SUM-1:0] sums;",
        "wire [M*N*SUM-1:0] next;",
        "always @(posedge clk) sums <= next;",
        "assign d_values = sums;",
        "",
        "genvar i, j;",
        "generate",
        "    for (i = 0; i < M; i = i + 1) begin : row",
        "        for (j = 0; j < N; j = j + 1) begin : column",
        f"            {part.name} element (",
        f"                .x_{name}(added[i*ROW +: ROW]),",
        "                .x_codes(codes[j*COLUMN +: COLUMN]),",
        *["                .x_position(position)," for _ in position],
        "                .x_first(load),",
        "                .x_sum(sums[(i*N+j)*SUM +: SUM]),",
        "                .y_sum(next[(i*N+j)*SUM +: SUM])",
        "            );",
        "        end",
        "    end",
        "endgenerate",
    ]
    return indented(lines)


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the sums of every tile: what its beats add, since the latest one that starts anew."""
    w = beats["w"]
    rows = operands.unpack_rows(array, next(iter(beats["a"].values())))  # (steps, m, E or k)
    codes = operands.unpack_columns(array, w["codes"])  # (beats, n, P or k)
    step = np.cumsum(w["start"][:, 0]) - 1
    position = w["position"][:, 0] if "position" in w else np.zeros(len(codes), np.int64)
    total = np.zeros((array.m, array.n), np.int64)
    out = []
    for b in range(len(codes)):
        table = np.broadcast_to(rows[step[b], :, None], (array.m, array.n, rows.shape[-1]))
        column = np.broadcast_to(codes[None, b], (array.m, array.n, codes.shape[-1]))
        added = golden.beat(array, table, column, position[b])
        total = golden.wrap(added if w["first"][b, 0] else total + added, array.accumulator_bits)
        if w["last"][b, 0]:
            out.append(total.ravel())
    return {"d": {"values": np.array(out, np.int64).reshape(-1, array.m * array.n)}}


def schedule(beats: Beats) -> dict[str, np.ndarray]:
    """Return the edges on which sums leave: two after the last beat of their tile, beats following each other."""
    return {"d": np.flatnonzero(beats["w"]["last"][:, 0]) + array_timing.STAGES}
