"""First-in first-out buffer between two clocks: Gray pointers, each synchronised into the other domain.

Each side keeps its pointer in binary, for the address, and in Gray code, of which one bit changes at a time: whoever
samples it while it changes gets the old value or the new one. A word is seen S read edges after the first one that
follows its writing, and its place comes back in the same way (C. Cummings, Simulation and Synthesis Techniques for
Asynchronous FIFO Design, SNUG 2002).

Both resets must be active together for an edge of each clock; they may end at different times.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Clocks, Field
from lutscape.rtl.cells.text import indented, module, vector
from lutscape.sim.lut_dla import stage_timing

FORMULA = "a word leaves S read edges after the first one that comes after its writing; places come back likewise"
INPUT = "in"
"""Clock domain of the writer; the reader's is that of ``clk``."""


@cache
def async_fifo(width: int, depth: int, stages: int = 2) -> Cell:
    """Return a FIFO of ``depth`` words between the domains ``in`` and that of ``clk``.

    Args:
        width: bits of a word.
        depth: places, a power of two.
        stages: S, flip-flops of each synchroniser.

    Raises:
        UserError: parameters out of range.
    """
    for name, value, least, most in (("width", width, 1, 63), ("depth", depth, 4, 1024), ("stages", stages, 2, 4)):
        if not least <= value <= most:
            raise UserError(f"async_fifo: {name} = {value}; allowed: {least} … {most}")
    if depth & (depth - 1):
        below = 1 << (depth.bit_length() - 1)
        raise UserError(f"async_fifo: depth = {depth}; must be a power of two; nearest: {below} or {2 * below}")
    parameters: dict[str, int | str] = {"width": width, "depth": depth, "stages": stages}
    data = Field("data", width, 1, False, "anything")
    channels = (
        Channel("i", "in", (data,), "words to keep", INPUT),
        Channel("o", "out", (data,), "the same words in order"),
    )
    name = f"async_fifo_w{width}d{depth}" + (f"s{stages}" if stages != 2 else "")
    return Cell(
        name=name,
        kind="async_fifo",
        parameters=parameters,
        source=module(
            name,
            f"FIFO of {depth} words between two clocks.",
            parameters,
            channels,
            indented(_body(width, depth, stages)),
            numbers=f"{width} bits, not interpreted",
            latency=stages + 1,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"o": {"data": beats["i"]["data"]}},
        stimulus=lambda rng, count: stimulus(width, depth, rng, count),
        coverage=lambda beats: coverage(width, depth, beats),
        schedule_at=lambda beats, clocks: schedule(depth, stages, len(beats["i"]["data"]), clocks),
        latency=stages + 1,
        formula=FORMULA,
        numbers=f"{width} bits, not interpreted",
        operations=1,
        crossings=("tail_gray", "head_gray"),
    )


def _body(width: int, depth: int, stages: int) -> list[str]:
    n = depth.bit_length() - 1
    word, pointer = vector(width), f"[{n}:0] "
    return [
        f"reg  {word}store [0:{depth - 1}];",
        "",
        "// writer",
        f"reg  {pointer}tail, tail_gray;  // of the next word; one bit more than an address",
        *_synchroniser("head", n + 1, stages, "in_clk", "in_rst"),
        f"wire {pointer}tail_next = tail + 1'b1;",
        f"assign i_ready = tail_gray != {{~head_seen[{n}:{n - 1}], head_seen[{n - 2}:0]}};",
        "wire put = i_valid && i_ready;",
        "always @(posedge in_clk) begin",
        f"    if (put) store[tail[{n - 1}:0]] <= i_data;",
        "    if (in_rst) begin",
        f"        tail <= {n + 1}'d0;",
        f"        tail_gray <= {n + 1}'d0;",
        "    end else if (put) begin",
        "        tail <= tail_next;",
        "        tail_gray <= tail_next ^ (tail_next >> 1);",
        "    end",
        "end",
        "",
        "// reader",
        f"reg  {pointer}head, head_gray;  // of the oldest word",
        *_synchroniser("tail", n + 1, stages, "clk", "rst"),
        f"wire {pointer}head_next = head + 1'b1;",
        "assign o_valid = head_gray != tail_seen;",
        f"assign o_data = store[head[{n - 1}:0]];",
        "wire get = o_valid && o_ready;",
        "always @(posedge clk) begin",
        "    if (rst) begin",
        f"        head <= {n + 1}'d0;",
        f"        head_gray <= {n + 1}'d0;",
        "    end else if (get) begin",
        "        head <= head_next;",
        "        head_gray <= head_next ^ (head_next >> 1);",
        "    end",
        "end",
    ]


def _synchroniser(name: str, width: int, stages: int, clock: str, reset: str) -> list[str]:
    """Return the flip-flops that bring a Gray pointer into a domain."""
    shift = f"{name}_sync"
    return [
        f"reg  [{stages * width - 1}:0] {shift};  // {stages} flip-flops, the last one highest",
        f"wire [{width - 1}:0] {name}_seen = {shift}[{(stages - 1) * width} +: {width}];",
        f"always @(posedge {clock}) {shift} <= {reset} ? {stages * width}'d0 : "
        f"{{{shift}[{(stages - 1) * width - 1}:0], {name}_gray}};",
    ]


def schedule(depth: int, stages: int, count: int, clocks: Clocks) -> dict[str, np.ndarray]:
    """Return the write and read edges of words that are offered and taken whenever possible."""
    (write, begin), (read, start) = clocks[INPUT], clocks[""]
    # The formula counts from write edge 0; read edges may then lie before it.
    found = stage_timing.fifo_edges([0] * count, write, read, start - begin, depth, stages)
    return {"i": np.array(found[0], np.int64), "o": np.array(found[1], np.int64)}


def stimulus(width: int, depth: int, rng: np.random.Generator, count: int) -> Beats:
    """Return all zeros, all ones and random words, enough to go round several times."""
    words = rng.integers(0, 1 << width, (max(count, 4 * depth), 1))
    words[0], words[1] = 0, (1 << width) - 1
    return {"i": {"data": words}}


def coverage(width: int, depth: int, beats: Beats) -> dict[str, int]:
    """Return hits of every place, and of every bit at 0 and 1."""
    words = beats["i"]["data"][:, 0]
    hits = {f"place {p}": len(words[p::depth]) for p in range(depth)}
    for bit in range(width):
        ones = int((words >> bit & 1).sum())
        hits[f"bit {bit} = 0"], hits[f"bit {bit} = 1"] = len(words) - ones, ones
    return hits
