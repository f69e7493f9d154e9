"""An array of lookup tables with the builders that fill it.

Activations arrive in ⌈m/t⌉ beats of t rows each, are registered, and t builders make their tables. Tables of all
beats but the last of a step are staged; the last ones go into the array's table registers straight from the
builders, together with the staged ones. The tables of the next step are built while the array works on this one.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel
from lutscape.rtl.cells import array as arrays
from lutscape.rtl.cells import array_stimuli, narrower, operands, pe
from lutscape.rtl.cells.table_builder import fields, table_builder
from lutscape.rtl.cells.text import indented, index_bits, module, vector
from lutscape.sim.lut_tensor_core import array_timing, golden
from lutscape.sim.lut_tensor_core.golden import Ints

FORMULA = "B = ⌈m/t⌉: a tile of S steps in P passes takes B + (S - 1) max(P, B) + P + 2, first and last edge counted"


@cache
def unit(array: Array, tables_per_cycle: int = 1) -> Cell:
    """Return the array of a design with what fills it; designs without tables need nothing: the array itself.

    Args:
        array: the design.
        tables_per_cycle: builders of the unit; more than m are not built.

    Raises:
        UserError: no builder.
    """
    if not array.looks_up:
        return arrays.array_cell(array)
    if tables_per_cycle < 1:
        raise UserError(f"unit: tables_per_cycle = {tables_per_cycle}; allowed: 1 … m = {array.m}")
    t = min(tables_per_cycle, array.m)
    build = -(-array.m // t)
    inner, builder = arrays.array_cell(array), table_builder(array)
    inside: dict[str, int | str] = {**inner.parameters, "tables_per_cycle": t}
    channels = (
        Channel("x", "in", fields(array, t), f"activations of {t} of {array.m} rows"),
        arrays.weight_channel(array),
        arrays.sum_channel(array),
    )
    name = f"{pe.family(array)}_unit_{pe.suffix(inside)}"
    what = f"Unit: {array.m} x {array.n} array and {t} table builder{'s' if t > 1 else ''}."
    source = module(
        name,
        what,
        inside,
        channels,
        indented(body(array, t, inner, builder)),
        numbers=f"INT{array.activation_bits} activations; {pe.formats(array)}",
        latency=build + array_timing.STAGES,
        formula=FORMULA,
    )
    return Cell(
        name=name,
        kind=f"{pe.family(array)}_unit",
        parameters=inside,
        source=source,
        channels=channels,
        golden=lambda beats: evaluate(array, t, beats),
        stimulus=lambda rng, count: stimulus(array, t, rng, count),
        coverage=lambda beats: coverage(array, t, beats),
        schedule=lambda beats: {"d": arrays.sum_edges(beats["w"], build)},
        latency=build + array_timing.STAGES,
        formula=FORMULA,
        numbers=f"INT{array.activation_bits} activations; {pe.formats(array)}",
        parts=(builder, inner),
        operations=inner.operations,
        notes=inner.notes,
    )


def body(array: Array, t: int, inner: Cell, builder: Cell) -> list[str]:
    """Return the Verilog inside a unit of an array ``inner`` and t builders."""
    build = -(-array.m // t)
    table = operands.row_field(array, 1).bits
    shift = [f for f in fields(array, t) if f.name == "shift"]
    rest = array.m - (build - 1) * t  # tables of the last beat of a step
    count, last = vector(index_bits(build)), f"{index_bits(build)}'d{build - 1}"
    lines = [
        f"localparam T = {t};  // builders",
        f"localparam VALUES = {array.k * array.activation_bits};  // bits of the activations of one table",
        *[f"localparam SHIFT = {f.width};  // bits of one shift" for f in shift],
        f"localparam TABLE = {table};  // bits of one table",
        "",
        "// activations of the tables that are being built",
        "reg  full;",
        "reg  [T*VALUES-1:0] values;",
        *["reg  [T*SHIFT-1:0] shift;" for _ in shift],
        "wire a_ready;",
    ]
    if build > 1:
        lines += [
            f"reg  {count}group;  // of the step's tables",
            f"wire complete = group == {last};",
            "wire leave = full && (!complete || a_ready);",
        ]
    else:
        lines += ["wire leave = full && a_ready;"]
    lines += [
        "assign x_ready = !full || leave;",
        "wire accept = x_valid && x_ready;",
        "always @(posedge clk) begin",
        "    if (accept) begin",
        "        values <= x_values;",
        *["        shift <= x_shift;" for _ in shift],
        "    end",
        "    if (rst) full <= 1'b0;",
        "    else if (x_ready) full <= x_valid;",
        *([f"    if (rst) group <= {index_bits(build)}'d0;"] if build > 1 else []),
        *([f"    else if (leave) group <= complete ? {index_bits(build)}'d0 : group + 1'b1;"] if build > 1 else []),
        "end",
        "",
        "wire [T*TABLE-1:0] built;",
        "genvar i;",
        "generate",
        "    for (i = 0; i < T; i = i + 1) begin : builder",
        f"        {builder.name} table_builder (",
        "            .x_values(values[i*VALUES +: VALUES]),",
        *["            .x_shift(shift[i*SHIFT +: SHIFT])," for _ in shift],
        "            .y_entries(built[i*TABLE +: TABLE])",
        "        );",
        "    end",
        "endgenerate",
        "",
    ]
    whole = "built" if rest == t else f"built[{rest}*TABLE-1:0]"
    if build > 1:
        lines += [
            "// tables of the beats before the last of a step",
            f"reg  [{build - 1}*T*TABLE-1:0] staged;",
            "always @(posedge clk) begin",
            *[
                f"    if (full && group == {index_bits(build)}'d{g}) staged[{g}*T*TABLE +: T*TABLE] <= built;"
                for g in range(build - 1)
            ],
            "end",
            "",
        ]
        whole = f"{{{whole}, staged}}"
    return [
        *lines,
        f"{inner.name} array (",
        "    .clk(clk),",
        "    .rst(rst),",
        f"    .a_valid({'full && complete' if build > 1 else 'full'}),",
        "    .a_ready(a_ready),",
        f"    .a_entries({whole}),",
        *[f"    .w_{f}(w_{f})," for f in ("valid", "ready", *[f.name for f in inner.channel("w").fields])],
        "    .d_valid(d_valid),",
        "    .d_ready(d_ready),",
        "    .d_values(d_values)",
        ");",
    ]


def activation_beats(array: Array, tables_per_cycle: int, tiles: list[array_stimuli.Tile]) -> dict[str, Ints]:
    """Return channel ``x`` of tiles: ⌈m/t⌉ beats per step; rows beyond m repeat the last one."""
    t = min(tables_per_cycle, array.m)
    build = -(-array.m // t)
    row = np.minimum(np.arange(build * t), array.m - 1)
    values, shifts = [], []
    for activations, _, _, shift in tiles:
        groups = golden.grouped(activations, array.k).transpose(1, 0, 2)[:, row]  # (S, B t, k)
        values.append(groups.reshape(-1, t * array.k))
        shifts.append(np.full((len(groups) * build, t), shift))
    x = {"values": np.concatenate(values)}
    return x | ({"shift": np.concatenate(shifts)} if array.largest_shift else {})


def step_activations(array: Array, t: int, x: dict[str, Ints]) -> tuple[Ints, Ints]:
    """Return activations (steps, m, k) and shifts (steps, m, 1) from channel ``x``."""
    build = -(-array.m // t)
    values = x["values"].reshape(-1, build * t, array.k)[:, : array.m]
    shift = x["shift"].reshape(-1, build * t, 1)[:, : array.m] if "shift" in x else np.zeros((1, 1, 1), np.int64)
    return values, np.broadcast_to(shift, (len(values), array.m, 1))


def evaluate(array: Array, t: int, beats: Beats) -> Beats:
    """Return the sums of every tile."""
    table = golden.tables(array, *step_activations(array, t, beats["x"]))
    codes = operands.unpack_columns(array, beats["w"]["codes"])
    return {"d": {"values": arrays.tile_sums(array, table, codes, beats["w"]).reshape(-1, array.m * array.n)}}


def stimulus(array: Array, t: int, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of about ``count`` tiles; every row of a step has its own shift now and then."""
    tiles = array_stimuli.tiles(array, rng, count)
    x = activation_beats(array, t, tiles)
    if "shift" in x:
        own = rng.random(x["shift"].shape) < 0.25
        x["shift"] = np.where(own, rng.integers(0, array.largest_shift + 1, own.shape), x["shift"])
        deep = array_stimuli.deep_steps(array) * 4 * -(-array.m // t)  # the corner tiles that come first
        x["shift"][:deep] = 0
    return {"x": x, "w": operands.joined([operands.weight_beats(array, q, bits) for _, q, bits, _ in tiles])}


def coverage(array: Array, t: int, beats: Beats) -> dict[str, int]:
    """Return the hits of every functional bin of the array and of the builders."""
    values, shift = step_activations(array, t, beats["x"])
    sums = evaluate(array, t, beats)["d"]["values"]
    hits = array_stimuli.bins(array, golden.tables(array, values, shift), beats["w"], sums)
    hits |= array_stimuli.unit_bins(array, beats["w"], t)
    if array.largest_shift:
        exact = golden.exact_tables(array, values)
        hits |= narrower.bins(array, exact, np.broadcast_to(shift, exact.shape))
    return hits
