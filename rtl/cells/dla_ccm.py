"""Centroid computation module: a chain of c dPEs (CCU) between two codebooks, one loaded while the other is compared.

One sub-vector enters per edge; it moves down the chain with the least distance and the index so far, one dPE an edge,
and with the half of the centroid buffer that its subspace uses. The first sub-vector of a subspace makes the halves
change places. The half that is then free is loaded at one centroid a beat: centroid j is written no earlier than j + 1
moves after the swap, by when the last sub-vector of the old subspace has left dPE j behind. Loading stands still with
the chain, which keeps that order under back-pressure.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import dla_distance, dla_stimuli
from lutscape.rtl.cells.dla_codebook import codebook
from lutscape.rtl.cells.dla_distance import Ints
from lutscape.rtl.cells.dla_dpe import dpe
from lutscape.rtl.cells.text import indented, index_bits, module, vector
from lutscape.sim.lut_dla import golden, stage_timing

FORMULA = "an index leaves c + stages - 1 edges after its sub-vector was taken; sub-vectors follow every edge"
WIDEST = 1 << 16


def channels(book: Codebook, domain: str = "") -> tuple[Channel, ...]:
    """Return channels ``b``, ``x`` and ``y``."""
    values = dla_distance.vector_field(book, "values", "sub-vector")
    return (
        Channel("b", "in", (dla_distance.vector_field(book, "centroid", "centroids in order"),), "centroids", domain),
        Channel(
            "x",
            "in",
            (values, Field("first", 1, meaning="first sub-vector of a subspace: its codebook is the next one")),
            "sub-vectors of one subspace after the other",
            domain,
        ),
        Channel("y", "out", (Field("index", book.index_bits, meaning="nearest centroid"),), "indices", domain),
    )


@cache
def ccm(book: Codebook, stages: int = 1) -> Cell:
    """Return the chain of a codebook with its two halves of centroids.

    Args:
        book: the codebook.
        stages: of a dPE.

    Raises:
        UserError: codebooks too wide, or as the dPE.
    """
    bits = book.c * book.v * book.input_bits
    if bits > WIDEST:
        raise UserError(
            f"dla_ccm: c = {book.c} centroids of {book.v * book.input_bits} bits make a bus of {bits}; "
            f"allowed: at most {WIDEST}"
        )
    element, half = dpe(book, stages), codebook(book)
    latency = stage_timing.chain_latency(book, stages)
    parameters = dict(element.parameters)
    name = f"dla_ccm_{dla_distance.suffix(book)}c{book.c}" + ("s2" if stages == 2 else "")
    return Cell(
        name=name,
        kind="dla_ccm",
        parameters=parameters,
        source=module(
            name,
            f"Centroid computation module: a chain of {book.c} distance elements and two codebooks.",
            parameters,
            channels(book),
            indented(_body(book, stages, element, half)),
            numbers=dla_distance.numbers(book),
            latency=latency,
            formula=FORMULA,
        ),
        channels=channels(book),
        golden=lambda beats: {"y": {"index": indices(book, beats)}},
        stimulus=lambda rng, count: dla_stimuli.encoder(book, rng, count),
        coverage=lambda beats: dla_stimuli.encoder_bins(book, beats),
        schedule=lambda beats: schedule(book, stages, beats["x"]["first"][:, 0]),
        latency=latency,
        formula=FORMULA,
        numbers=dla_distance.numbers(book),
        parts=(element, half),
        operations=float(book.c * book.v),
    )


def _body(book: Codebook, stages: int, element: Cell, half: Cell) -> list[str]:
    c, place = book.c, index_bits(book.c)
    numbers = ", ".join(f"{book.index_bits}'d{j}" for j in reversed(range(c)))
    far = book.distance_bits
    lines = [
        f"localparam C = {c};  // centroids",
        f"localparam BITS = {book.v * book.input_bits};  // of a sub-vector",
        f"localparam FAR = {far};  // bits of a distance",
        f"localparam INDEX = {book.index_bits};  // bits of an index",
        f"localparam [C*INDEX-1:0] NUMBERS = {{{numbers}}};",
        "",
        "wire move = !y_valid || y_ready;  // the whole chain, or nothing",
        "",
        "// centroids: two halves",
        "reg  fill;  // half that is loaded",
        f"reg  {vector(place)}place;  // of the next centroid",
        "wire [1:0] room, full;",
        "wire [C*BITS-1:0] centroids [0:1];",
        "wire put = b_valid && b_ready;",
        "assign b_ready = move && room[fill];",
        "",
        "reg  used;  // a subspace is under way",
        "reg  half;  // its half",
        "wire next = !half;",
        "assign x_ready = move && (!x_first || full[next]);",
        "wire accept = x_valid && x_ready;",
        "wire swap = accept && x_first;",
        "always @(posedge clk) begin",
        "    if (rst) begin",
        "        fill <= 1'b0;",
        f"        place <= {place}'d0;",
        "        used <= 1'b0;",
        "        half <= 1'b1;",
        "    end else begin",
        "        if (put) place <= place + 1'b1;",
        f"        if (put && place == {place}'d{c - 1}) fill <= !fill;",
        "        if (swap) used <= 1'b1;",
        "        if (swap) half <= next;",
        "    end",
        "end",
        f"{half.name} half0 (",
        "    .clk(clk),",
        "    .rst(rst),",
        "    .i_valid(put && !fill),",
        "    .i_ready(room[0]),",
        "    .i_centroid(b_centroid),",
        "    .o_valid(full[0]),",
        "    .o_ready(swap && used && next),",
        "    .o_centroids(centroids[0])",
        ");",
        f"{half.name} half1 (",
        "    .clk(clk),",
        "    .rst(rst),",
        "    .i_valid(put && fill),",
        "    .i_ready(room[1]),",
        "    .i_centroid(b_centroid),",
        "    .o_valid(full[1]),",
        "    .o_ready(swap && used && !next),",
        "    .o_centroids(centroids[1])",
        ");",
        "",
        "// chain: what dPE j takes is at place j",
        "wire [C:0] busy;",
        "wire [(C+1)*BITS-1:0] values;",
        "wire [(C+1)*FAR-1:0] least;",
        "wire [(C+1)*INDEX-1:0] index;",
        "reg  [C-1:0] side;  // half of the sub-vector that dPE j has taken",
        "wire [C-1:0] from = {side[C-2:0], x_first ? next : half};",
        "assign values[BITS-1:0] = x_values;",
        "assign least[FAR-1:0] = {FAR{1'b1}};",
        f"assign index[INDEX-1:0] = {book.index_bits}'d0;",
        "always @(posedge clk) if (move) side <= from;",
    ]
    if stages == 2:
        lines += [
            "reg  [C:0] moved;  // sub-vectors that have left dPE j's operands behind",
            "assign busy = {moved[C-1:0], accept};",
            "assign y_valid = moved[C];",
            "always @(posedge clk) begin",
            "    if (rst) moved <= {(C+1){1'b0}};",
            "    else if (move) moved <= {moved[C-1:0], accept};",
            "end",
            "wire [C-1:0] unused_full;",
        ]
    else:
        lines += ["assign busy[0] = accept;", "assign y_valid = busy[C];"]
    valid, full = ("busy[j]", "busy[j+1]") if stages == 1 else ("busy[j] || busy[j+1]", "unused_full[j]")
    return [
        *lines,
        "wire [C-1:0] unused_ready;",
        "wire unused_ends = &{1'b0, values[C*BITS +: BITS], least[C*FAR +: FAR], side[C-1], unused_ready};",
        "genvar j;",
        "generate",
        "    for (j = 0; j < C; j = j + 1) begin : chain",
        f"        {element.name} dpe (",
        "            .clk(clk),",
        "            .rst(rst),",
        f"            .x_valid({valid}),",
        "            .x_ready(unused_ready[j]),",
        "            .x_values(values[j*BITS +: BITS]),",
        "            .x_centroid(from[j] ? centroids[1][j*BITS +: BITS] : centroids[0][j*BITS +: BITS]),",
        "            .x_number(NUMBERS[j*INDEX +: INDEX]),",
        "            .x_least(least[j*FAR +: FAR]),",
        "            .x_index(index[j*INDEX +: INDEX]),",
        f"            .y_valid({full}),",
        "            .y_ready(move),",
        "            .y_values(values[(j+1)*BITS +: BITS]),",
        "            .y_least(least[(j+1)*FAR +: FAR]),",
        "            .y_index(index[(j+1)*INDEX +: INDEX])",
        "        );",
        "    end",
        "endgenerate",
        "assign y_index = index[C*INDEX +: INDEX];",
    ]


def indices(book: Codebook, beats: Beats) -> Ints:
    """Return the golden model's indices (rows, 1), each subspace with its codebook."""
    values, first = beats["x"]["values"], beats["x"]["first"][:, 0] == 1
    books = beats["b"]["centroid"].reshape(-1, book.c, book.v)
    begin = np.flatnonzero(first)
    found = [
        golden.encode(values[a:b], books[s : s + 1], book.metric, book.input_bits)
        for s, (a, b) in enumerate(zip(begin, [*begin[1:], len(values)], strict=True))
    ]
    return np.concatenate(found).astype(np.int64)


def accepted(book: Codebook, first: Ints) -> tuple[Ints, Ints]:
    """Return the moves on which centroids and sub-vectors are taken when neither ever waits outside.

    A subspace begins when the one before has passed and its codebook is there; loading the codebook after the next
    begins when the halves have changed places.

    Args:
        book: the codebook.
        first: (rows,) marks of the first sub-vector of a subspace.
    """
    load, begin = stage_timing.centroid_load_cycles(book), np.flatnonzero(first)
    loads, rows = np.zeros((len(begin), load), np.int64), np.zeros(len(first), np.int64)
    loaded, free, edge = 0, 0, 0  # move from which the next load, row can begin
    for s, (a, b) in enumerate(zip(begin, [*begin[1:], len(first)], strict=True)):
        at = max(loaded, free if s > 1 else 0)
        loads[s], loaded = at + np.arange(load), at + load
        start = max(edge, loaded)
        rows[a:b] = start + np.arange(b - a)
        free, edge = start + 1, start + b - a
    return loads.reshape(-1), rows


def schedule(book: Codebook, stages: int, first: Ints) -> dict[str, Ints]:
    """Return the edges of all channels at full rate: every edge is a move."""
    loads, rows = accepted(book, first)
    return {"b": loads, "x": rows, "y": rows + stage_timing.chain_latency(book, stages)}
