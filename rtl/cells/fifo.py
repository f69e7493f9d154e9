"""First-in first-out buffer between two handshakes: any depth from 2, one beat per edge in and out."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, index_bits, module, vector

FORMULA = "a beat can leave on the edge after the one that took it; full rate, also while full"


@cache
def fifo(width: int, depth: int, lanes: int = 1) -> Cell:
    """Return a FIFO of ``depth`` beats of ``lanes`` unsigned values of ``width`` bits.

    Both handshakes depend on registers alone, so that FIFOs cut combinational paths. A full FIFO takes no beat on the
    edge on which one leaves: full rate needs one free place, and so a depth of two.

    Raises:
        UserError: parameters out of range.
    """
    allowed = (("width", width, 1, 63), ("depth", depth, 2, 4096), ("lanes", lanes, 1, 4096))
    for name, value, least, most in allowed:
        if not least <= value <= most:
            raise UserError(f"fifo: {name} = {value}; allowed: {least} … {most}")
    parameters: dict[str, int | str] = {"width": width, "depth": depth, "lanes": lanes}
    data = Field("data", width, lanes, False, "anything")
    channels = (Channel("i", "in", (data,), "beats to keep"), Channel("o", "out", (data,), "the same beats in order"))
    name = f"fifo_w{width}d{depth}" + (f"l{lanes}" if lanes > 1 else "")
    place, count = index_bits(depth), index_bits(depth + 1)
    lines = [
        f"reg  {vector(data.bits)}store [0:{depth - 1}];",
        f"reg  {vector(place)}head;  // place of the oldest beat",
        f"reg  {vector(place)}tail;  // place of the next one",
        f"reg  {vector(count)}count;",
        "wire put = i_valid && i_ready;",
        "wire get = o_valid && o_ready;",
        f"assign i_ready = count != {count}'d{depth};",
        f"assign o_valid = count != {count}'d0;",
        "assign o_data = store[head];",
        "always @(posedge clk) begin",
        "    if (put) store[tail] <= i_data;",
        "    if (rst) begin",
        f"        head <= {place}'d0;",
        f"        tail <= {place}'d0;",
        f"        count <= {count}'d0;",
        "    end else begin",
        f"        if (put) tail <= tail == {place}'d{depth - 1} ? {place}'d0 : tail + 1'b1;",
        f"        if (get) head <= head == {place}'d{depth - 1} ? {place}'d0 : head + 1'b1;",
        "        if (put && !get) count <= count + 1'b1;",
        "        if (get && !put) count <= count - 1'b1;",
        "    end",
        "end",
    ]
    return Cell(
        name=name,
        kind="fifo",
        parameters=parameters,
        source=module(
            name,
            f"FIFO of {depth} beats.",
            parameters,
            channels,
            indented(lines),
            numbers=f"{data.bits} bits, not interpreted",
            latency=1,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"o": {"data": beats["i"]["data"]}},
        stimulus=lambda rng, n: stimulus(data, depth, rng, n),
        coverage=lambda beats: coverage(data, depth, beats),
        schedule=lambda beats: {"o": np.arange(len(beats["i"]["data"])) + 1},
        latency=1,
        formula=FORMULA,
        numbers=f"{data.bits} bits, not interpreted",
        operations=1,
    )


def stimulus(data: Field, depth: int, rng: np.random.Generator, count: int) -> Beats:
    """Return all zeros, all ones and random beats, enough to go round several times."""
    beats = rng.integers(0, 1 << data.width, (max(count, 4 * depth), data.lanes))
    beats[0], beats[1] = 0, (1 << data.width) - 1
    return {"i": {"data": beats}}


def coverage(data: Field, depth: int, beats: Beats) -> dict[str, int]:
    """Return hits of every place, and of every bit at 0 and 1 (the first 64)."""
    values = beats["i"]["data"]
    hits = {f"place {p}": len(values[p::depth]) for p in range(depth)}
    for bit in range(min(data.bits, 64)):
        column = values[:, bit // data.width] >> (bit % data.width) & 1
        hits[f"bit {bit} = 0"], hits[f"bit {bit} = 1"] = int((column == 0).sum()), int((column == 1).sum())
    return hits
