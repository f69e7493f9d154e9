"""Centroid buffer: loaded serially, one centroid a beat, presented in parallel until the next one is loaded."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import dla_distance
from lutscape.rtl.cells.text import indented, index_bits, module, vector
from lutscape.sim.lut_dla import stage_timing

FORMULA = "a codebook is presented 1 edge after its last centroid was taken; codebooks follow every c + 1 edges"


@cache
def codebook(book: Codebook) -> Cell:
    """Return the registers of one codebook.

    A codebook's beat moves when it is no longer needed; the registers keep it until centroids of the next one are
    written over it.
    """
    c, bits = book.c, book.v * book.input_bits
    place = index_bits(c)
    channels = (
        Channel("i", "in", (dla_distance.vector_field(book, "centroid", "centroids in order"),), "one centroid"),
        Channel(
            "o",
            "out",
            (Field("centroids", book.input_bits, c * book.v, True, "value t of centroid j at lane j v + t"),),
            "one codebook",
        ),
    )
    parameters: dict[str, int | str] = {"v": book.v, "c": c, "input_bits": book.input_bits}
    name = f"dla_codebook_v{book.v}b{book.input_bits}c{c}"
    lines = [
        f"localparam C = {c};  // centroids",
        f"localparam BITS = {bits};  // of a centroid",
        "",
        "reg  full;",
        f"reg  {vector(place)}place;  // of the next centroid",
        "reg  [BITS-1:0] centroids [0:C-1];",
        "wire put = i_valid && i_ready;",
        "assign i_ready = !full;",
        "assign o_valid = full;",
        "genvar j;",
        "generate",
        "    for (j = 0; j < C; j = j + 1) begin : present",
        "        assign o_centroids[j*BITS +: BITS] = centroids[j];",
        "    end",
        "endgenerate",
        "always @(posedge clk) begin",
        "    if (put) centroids[place] <= i_centroid;",
        "    if (rst) begin",
        f"        place <= {place}'d0;",
        "        full <= 1'b0;",
        "    end else begin",
        "        if (put) place <= place + 1'b1;  // c is a power of two",
        f"        if (put && place == {place}'d{c - 1}) full <= 1'b1;",
        "        else if (o_ready) full <= 1'b0;",
        "    end",
        "end",
    ]
    numbers = f"INT{book.input_bits} values, not interpreted"
    return Cell(
        name=name,
        kind="dla_codebook",
        parameters=parameters,
        source=module(
            name,
            f"Centroid buffer of {c} centroids.",
            parameters,
            channels,
            indented(lines),
            numbers=numbers,
            latency=1,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"o": {"centroids": beats["i"]["centroid"].reshape(-1, c * book.v)}},
        stimulus=lambda rng, count: stimulus(book, rng, count),
        coverage=lambda beats: coverage(book, beats),
        schedule=lambda beats: {"o": schedule(book, beats)},
        latency=1,
        formula=FORMULA,
        numbers=numbers,
        operations=1,
    )


def schedule(book: Codebook, beats: Beats) -> np.ndarray:
    """Return the edges on which codebooks leave: each was loaded and then stood for one edge."""
    load = stage_timing.centroid_load_cycles(book)
    return (np.arange(len(beats["i"]["centroid"]) // book.c) + 1) * (load + 1) - 1


def stimulus(book: Codebook, rng: np.random.Generator, count: int) -> Beats:
    """Return codebooks of extremes and random ones."""
    half, books = 1 << (book.input_bits - 1), max(4, -(-count // 4))
    values = rng.integers(-half, half, (books * book.c, book.v))
    values[: book.c], values[book.c : 2 * book.c] = -1, 0
    return {"i": {"centroid": values}}


def coverage(book: Codebook, beats: Beats) -> dict[str, int]:
    """Return hits of every place, and of every bit of a value at 0 and 1."""
    values = beats["i"]["centroid"]
    hits = {f"centroid {j}": len(values[j :: book.c]) for j in range(book.c)}
    for bit in range(book.input_bits):
        set_ = (values >> bit & 1).astype(bool)
        hits[f"bit {bit} = 0"], hits[f"bit {bit} = 1"] = int((~set_).sum()), int(set_.sum())
    return hits
