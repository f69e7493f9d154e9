"""Distance element (dPE): one centroid's turn at a sub-vector, and the registers that pass all three on.

A dPE takes a sub-vector with the least distance so far and that centroid's index, compares the distance of its own
centroid, and keeps the nearer one: strictly nearer, so that ties stay with the lower index. Ready is handed through:
a chain of dPEs moves as one or not at all.

With two stages a register stands between distance and comparison. The comparison of a sub-vector then happens one
beat after its distance: beside sub-vector i the registers hold the outcome of sub-vector i - 1, and ``least`` and
``index`` of beat i are those of sub-vector i - 1. In a chain that is what the dPE before hands over, so that a second
stage costs one edge a chain and not one a dPE. After a reset the outcome before the first is ``least`` itself.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Cell, Channel, Field
from lutscape.rtl.cells import dla_distance
from lutscape.rtl.cells.dla_distance import Ints
from lutscape.rtl.cells.text import indented, module, vector

FORMULA = "beat i leaves 1 + i edges after the first beat was accepted"


def running(book: Codebook, what: str) -> tuple[Field, Field]:
    """Return the fields of the nearest centroid so far."""
    return (
        Field("least", book.distance_bits, meaning=f"least distance {what}"),
        Field("index", book.index_bits, meaning="index of its centroid"),
    )


@cache
def dpe(book: Codebook, stages: int = 1) -> Cell:
    """Return the dPE of a codebook; its own index is an operand, so that all of a chain are one module.

    Args:
        book: metric, v, bits; the number of centroids sets the width of an index.
        stages: 1: distance and comparison in one cycle; 2: in two.

    Raises:
        UserError: stages out of range, or a distance too wide.
    """
    if stages not in (1, 2):
        raise UserError(f"dla_dpe: stages = {stages}; allowed: 1 or 2")
    part = dla_distance.distance(book)
    of = "so far" if stages == 1 else "so far, of the sub-vector before"
    channels = (
        Channel(
            "x",
            "in",
            (
                dla_distance.vector_field(book, "values", "sub-vector"),
                dla_distance.vector_field(book, "centroid", "centroid of this element"),
                Field("number", book.index_bits, meaning="its index"),
                *running(book, of),
            ),
            "sub-vector and the nearest centroid so far",
        ),
        Channel(
            "y",
            "out",
            (dla_distance.vector_field(book, "values", "the same sub-vector"), *running(book, of)),
            "sub-vector and the nearest centroid, this one included",
        ),
    )
    name = f"dla_dpe_{dla_distance.suffix(book)}c{book.c}" + ("s2" if stages == 2 else "")
    parameters: dict[str, int | str] = {
        "metric": book.metric, "v": book.v, "input_bits": book.input_bits, "c": book.c, "stages": stages,
    }  # fmt: skip
    return Cell(
        name=name,
        kind="dla_dpe",
        parameters=parameters,
        source=module(
            name,
            f"Distance element: {book.metric}, {book.v} values.",
            parameters,
            channels,
            indented(_body(book, stages, part)),
            numbers=dla_distance.numbers(book),
            latency=1,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"y": evaluate(book, stages, beats["x"])},
        stimulus=lambda rng, count: {"x": stimulus(book, stages, rng, count)},
        coverage=lambda beats: coverage(book, stages, beats["x"]),
        schedule=lambda beats: {"y": np.arange(len(beats["x"]["index"])) + 1},
        latency=1,
        formula=FORMULA,
        numbers=dla_distance.numbers(book),
        parts=(part,),
        operations=float(book.v),
    )


def _body(book: Codebook, stages: int, part: Cell) -> list[str]:
    wide, bits = vector(book.distance_bits), vector(book.index_bits)
    ones = f"{{{book.distance_bits}{{1'b1}}}}"
    lines = [
        "reg  full;",
        "assign x_ready = y_ready;  // moves with the chain",
        "assign y_valid = full;",
        "wire take = x_valid && y_ready;",
        "",
        f"wire {wide}distance;",
        f"{part.name} measure (",
        "    .x_values(x_values),",
        "    .x_centroid(x_centroid),",
        "    .y_distance(distance)",
        ");",
        "",
        f"reg  {vector(book.v * book.input_bits)}values;",
        f"reg  {wide}least;",
        f"reg  {bits}index;",
    ]
    found, number = "distance", "x_number"
    if stages == 2:
        found, number = "far", "own"
        lines += [f"reg  {wide}far;  // distance of the sub-vector before", f"reg  {bits}own;"]
    lines += [
        f"wire closer = {found} < x_least;",
        "always @(posedge clk) begin",
        "    if (take) begin",
        "        values <= x_values;",
        f"        least <= closer ? {found} : x_least;",
        f"        index <= closer ? {number} : x_index;",
        "    end",
    ]
    if stages == 2:
        lines += [
            f"    if (rst) far <= {ones};",
            "    else if (take) far <= distance;",
            "    if (take) own <= x_number;",
        ]
    return [
        *lines,
        "    if (rst) full <= 1'b0;",
        "    else if (y_ready) full <= x_valid;",
        "end",
        "assign y_values = values;",
        "assign y_least = least;",
        "assign y_index = index;",
    ]


def outcome(book: Codebook, stages: int, x: dict[str, Ints]) -> tuple[Ints, Ints]:
    """Return the distance (n, 1) and index (n, 1) that stand against ``least`` of each beat."""
    found, number = dla_distance.exact(book, x["values"], x["centroid"]), x["number"]
    if stages == 1:
        return found, number
    most = np.full((1, 1), (1 << book.distance_bits) - 1)
    return np.concatenate([most, found[:-1]]), np.concatenate([np.zeros((1, 1), np.int64), number[:-1]])


def evaluate(book: Codebook, stages: int, x: dict[str, Ints]) -> dict[str, Ints]:
    """Return what leaves, beat by beat."""
    found, number = outcome(book, stages, x)
    closer = found < x["least"]
    return {
        "values": x["values"],
        "least": np.where(closer, found, x["least"]),
        "index": np.where(closer, number, x["index"]),
    }


def stimulus(book: Codebook, stages: int, rng: np.random.Generator, count: int) -> dict[str, Ints]:
    """Return corners first: every index taken and kept, least distances below, at and above; then random operands."""
    c, v, top = book.c, book.v, (1 << book.distance_bits) - 1
    base = dla_distance.corners(book)
    x = dla_distance.stimulus(book, rng, max(count, base + 3 * c + 8))
    n = len(x["values"])
    taken, kept, near = (slice(base + k * c, base + (k + 1) * c) for k in range(3))
    x["centroid"][base - 1 : base + c] = x["values"][base - 1 : base + c]  # as near as can be, one beat before, too
    x["values"][near.start - 1 : near.stop], x["centroid"][near.start - 1 : near.stop] = 0, np.arange(v) == 0
    x |= {"number": np.arange(n)[:, None] % c, "least": np.zeros((n, 1), np.int64)}
    x["index"] = rng.integers(0, c, (n, 1))
    found, number = outcome(book, stages, x)
    around = np.clip(found + (np.arange(n)[:, None] % 3 - 1), 0, top)
    x["least"] = np.where(rng.random((n, 1)) < 0.6, around, rng.integers(0, top + 1, (n, 1)))
    x["least"][taken], x["least"][kept] = top, 0
    x["index"][kept] = np.arange(c)[:, None]
    x["least"][near] = around[near]
    x["index"][near] = (number[near] + 1) % c
    first = near.start  # distances of one: each outcome, whatever c
    for k in range(3):
        x["least"][first + c + k] = k
        x["values"][first + c + k - 1 : first + c + k + 1] = 0
        x["centroid"][first + c + k - 1 : first + c + k + 1] = np.arange(v) == 0
    x["index"][first + c : first + c + 3] = (number[first + c : first + c + 3] + 1) % c
    return x


def coverage(book: Codebook, stages: int, x: dict[str, Ints]) -> dict[str, int]:
    """Return hits of the distance's bins, of every outcome of the comparison and of every index."""
    hits = {name: int(np.count_nonzero(f)) for name, f in dla_distance.bins(book, x["values"], x["centroid"]).items()}
    found, number = outcome(book, stages, x)
    flags = {
        "nearer": found < x["least"],
        "nearer by one": found == x["least"] - 1,
        "tie": found == x["least"],
        "tie of different indices": (found == x["least"]) & (number != x["index"]),
        "farther by one": found == x["least"] + 1,
        "farther": found > x["least"],
    }
    flags |= {f"index {i} taken": (number == i) & (found < x["least"]) for i in range(book.c)}
    flags |= {f"index {i} kept": (x["index"] == i) & (found >= x["least"]) for i in range(book.c)}
    return hits | {name: int(np.count_nonzero(f)) for name, f in flags.items()}
