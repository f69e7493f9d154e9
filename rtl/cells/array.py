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
from lutscape.rtl.cells import array_stimuli, operands, pe
from lutscape.rtl.cells.add_pe import add_pe
from lutscape.rtl.cells.lookup_pe import lookup_pe
from lutscape.rtl.cells.mac_pe import mac_pe
from lutscape.rtl.cells.text import indented, module, vector
from lutscape.sim.lut_tensor_core import array_timing, golden
from lutscape.sim.lut_tensor_core.golden import Ints

FORMULA = "a tile of S steps in P passes takes S P + 2, its first beat and its sums counted; tiles follow every S P"
CHUNK = 256  # beats evaluated at a time


def element(array: Array) -> Cell:
    """Return the processing element of an array."""
    if array.looks_up:
        return lookup_pe(array)
    return add_pe(array) if array.datapath == "add" else mac_pe(array)


def row_channel(array: Array) -> Channel:
    """Return channel ``a``: the row operands of one step."""
    return Channel("a", "in", (operands.row_field(array, array.m),), "row operands of one step")


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
    meaning = "sum of row i, column j at lane i n + j"
    field = Field("values", array.accumulator_bits, array.m * array.n, array.integer, meaning)
    return Channel("d", "out", (field,), "sums of one tile")


@cache
def array_cell(array: Array) -> Cell:
    """Return the array of a design; that of ``unpu`` is the module of ``lut-full``."""
    inside: dict[str, int | str] = {"m": array.m, "n": array.n, **pe.parameters(array)}
    channels = (row_channel(array), weight_channel(array), sum_channel(array))
    part = element(array)
    name = f"{pe.family(array)}_array_{pe.suffix(inside)}"
    source = module(
        name,
        f"Array of {array.m} x {array.n} processing elements, {array.k} weights deep.",
        inside,
        channels,
        indented(body(array, part)),
        numbers=pe.formats(array),
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
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda beats: coverage(array, beats),
        schedule=schedule,
        latency=array_timing.STAGES,
        formula=FORMULA,
        numbers=pe.formats(array),
        parts=(part,),
        operations=array.m * array.n * array.k,
        notes=("operations: of a tile of one step in one pass",),
    )


def body(array: Array, part: Cell) -> list[str]:
    """Return the Verilog inside an array of elements ``part``."""
    rows = operands.row_field(array, 1)
    position = operands.position_fields(array)
    name = rows.name
    return [
        f"localparam M = {array.m};  // rows",
        f"localparam N = {array.n};  // columns",
        f"localparam ROW = {rows.bits};  // bits of a row operand",
        f"localparam COLUMN = {operands.column_field(array, 1).bits};  // bits of a column operand",
        f"localparam SUM = {array.accumulator_bits};  // bits of a sum",
        "",
        "// Everything moves unless the sums of a tile wait to be taken.",
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
        *[f"reg  {vector(f.width)}position;" for f in position],
        "reg  first;",
        "reg  last;",
        "always @(posedge clk) begin",
        "    if (accept) begin",
        f"        if (w_start) {name} <= a_{name};",
        "        codes <= w_codes;",
        *["        position <= w_position;" for _ in position],
        "        first <= w_first;",
        "        last <= w_last;",
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
        "                .x_first(first && add),",
        "                .x_sum(sums[(i*N+j)*SUM +: SUM]),",
        "                .y_sum(next[(i*N+j)*SUM +: SUM])",
        "            );",
        "        end",
        "    end",
        "endgenerate",
    ]


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the sums of every tile: what its beats add since the latest one that starts anew."""
    w = beats["w"]
    rows = operands.unpack_rows(array, next(iter(beats["a"].values())))  # (steps, m, E or k)
    codes = operands.unpack_columns(array, w["codes"])  # (beats, n, P or k)
    return {"d": {"values": tile_sums(array, rows, codes, w).reshape(-1, array.m * array.n)}}


def tile_sums(array: Array, rows: Ints, codes: Ints, w: dict[str, Ints]) -> Ints:
    """Return sums (tiles, m, n) of row operands (steps, m, E or k) and codes (beats, n, P or k) with their marks."""
    step = np.cumsum(w["start"][:, 0]) - 1
    position = w["position"][:, 0] if "position" in w else np.zeros(len(codes), np.int64)
    first, last = np.flatnonzero(w["first"][:, 0]), np.flatnonzero(w["last"][:, 0])
    total = np.zeros((len(codes) + 1, array.m, array.n), np.int64)
    for at in range(0, len(codes), CHUNK):
        b = slice(at, at + CHUNK)
        shape = (len(codes[b]), array.m, array.n)
        table = np.broadcast_to(rows[step[b]][:, :, None], (*shape, rows.shape[-1]))
        column = np.broadcast_to(codes[b][:, None], (*shape, codes.shape[-1]))
        total[1:][b] = golden.beat(array, table, column, position[b, None, None])
    total = np.cumsum(total, axis=0)  # modulo 2^64, of which 2^accumulator_bits is a divisor
    begin = first[np.searchsorted(first, last, side="right") - 1]
    return golden.wrap(total[last + 1] - total[begin], array.accumulator_bits)


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of about ``count`` tiles."""
    return operands.tiles(array, array_stimuli.tiles(array, rng, count))


def coverage(array: Array, beats: Beats) -> dict[str, int]:
    """Return the hits of every functional bin."""
    rows = operands.unpack_rows(array, next(iter(beats["a"].values())))
    return array_stimuli.bins(array, rows, beats["w"], evaluate(array, beats)["d"]["values"])


def schedule(beats: Beats) -> dict[str, Ints]:
    """Return the edges on which sums leave."""
    return {"d": sum_edges(beats["w"], 0)}


def sum_edges(w: dict[str, Ints], build: int) -> Ints:
    """Return the edges on which sums leave: two after the last beat of their tile was accepted.

    Args:
        w: channel ``w``.
        build: ⌈m/t⌉ of a unit; 0: an array alone.
    """
    start = w["start"][:, 0]
    begin = np.flatnonzero(start)
    step = np.cumsum(start) - 1
    accepted = (
        array_timing.step_edges(array_stimuli.pass_counts(start), build)[step] + np.arange(len(start)) - begin[step]
    )
    return accepted[w["last"][:, 0] == 1] + array_timing.STAGES
