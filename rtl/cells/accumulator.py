"""Accumulator: signed values of a tile to their sum, modulo 2^width."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import signed_sum
from lutscape.rtl.cells.text import indented, module
from lutscape.sim.lut_tensor_core.golden import wrap

FORMULA = "a sum leaves 1 edge after the last value of its tile was taken; tiles follow each other without a gap"


@cache
def accumulator(width: int, input_width: int) -> Cell:
    """Return an accumulator of ``width`` bits for values of ``input_width`` bits.

    The array's accumulators are the same adder, spread over its processing elements and its registers.

    Raises:
        UserError: parameters out of range.
    """
    if not 2 <= width <= 64:
        raise UserError(f"accumulator: width = {width}; allowed: 2 … 64")
    if not 2 <= input_width <= width:
        raise UserError(f"accumulator: input_width = {input_width}; allowed: 2 … width = {width}")
    parameters: dict[str, int | str] = {"width": width, "input_width": input_width}
    marks = (
        Field("first", 1, 1, False, "first value of a tile: the sum starts anew"),
        Field("last", 1, 1, False, "last value of a tile: the sum leaves"),
    )
    channels = (
        Channel("x", "in", (Field("value", input_width, 1, True, "summand"), *marks), "summands"),
        Channel("y", "out", (Field("sum", width, 1, True, "sum of a tile"),), "sums"),
    )
    half = 1 << (input_width - 1)
    lines = [
        "reg  done;  // the sum of a tile waits to be taken",
        f"reg  [{width - 1}:0] sum;",
        "assign x_ready = !done || y_ready;",
        "assign y_valid = done;",
        "assign y_sum = sum;",
        "",
        f"wire [{width - 1}:0] kept = x_first ? {width}'d0 : sum;",
        *signed_sum.accumulate(signed_sum.plain("x_value", -half, half - 1), "kept", width),
        "always @(posedge clk) begin",
        "    if (x_valid && x_ready) sum <= next;",
        "    if (rst) done <= 1'b0;",
        "    else if (x_ready) done <= x_valid && x_last;",
        "end",
    ]
    name = f"accumulator_w{width}i{input_width}"
    numbers = f"INT{input_width} values; {width}-bit sums, two's complement, modulo 2^{width}"
    return Cell(
        name=name,
        kind="accumulator",
        parameters=parameters,
        source=module(
            name,
            "Accumulator of tiles of values.",
            parameters,
            channels,
            indented(lines),
            numbers=numbers,
            latency=1,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"y": {"sum": sums(width, beats)}},
        stimulus=lambda rng, count: stimulus(input_width, rng, count),
        coverage=lambda beats: coverage(input_width, beats),
        schedule=lambda beats: {"y": np.flatnonzero(beats["x"]["last"][:, 0]) + 1},
        latency=1,
        formula=FORMULA,
        numbers=numbers,
        operations=1,
    )


def sums(width: int, beats: Beats) -> np.ndarray:
    """Return the sums (tiles, 1)."""
    x = beats["x"]
    total = np.concatenate([[0], np.cumsum(x["value"][:, 0])])
    first, last = np.flatnonzero(x["first"][:, 0]), np.flatnonzero(x["last"][:, 0])
    begin = first[np.searchsorted(first, last, side="right") - 1]
    found = total[last + 1] - total[begin]
    return (wrap(found, width) if width < 64 else found)[:, None]


def stimulus(input_width: int, rng: np.random.Generator, count: int) -> Beats:
    """Return tiles of 1 to 9 values and a long one of each extreme."""
    low, high = -(1 << (input_width - 1)), (1 << (input_width - 1)) - 1
    parts = [np.full(40, low), np.full(40, high), np.array([low]), np.array([high])]
    while len(parts) < count:
        parts.append(rng.integers(low, high + 1, int(rng.integers(1, 10))))
    lengths = np.array([len(p) for p in parts])
    end = np.cumsum(lengths)
    first, last = np.zeros(end[-1], np.int64), np.zeros(end[-1], np.int64)
    first[end - lengths], last[end - 1] = 1, 1
    values = np.concatenate(parts).astype(np.int64)
    return {"x": {"value": values[:, None], "first": first[:, None], "last": last[:, None]}}


def coverage(input_width: int, beats: Beats) -> dict[str, int]:
    """Return hits of extreme values and of every kind of beat."""
    x = beats["x"]
    low, high = -(1 << (input_width - 1)), (1 << (input_width - 1)) - 1
    first, last = x["first"][:, 0] == 1, x["last"][:, 0] == 1
    return {
        f"value {low}": int((x["value"] == low).sum()),
        f"value {high}": int((x["value"] == high).sum()),
        "tile of one value": int((first & last).sum()),
        "first of several": int((first & ~last).sum()),
        "last of several": int((last & ~first).sum()),
        "inside a tile": int((~first & ~last).sum()),
    }
