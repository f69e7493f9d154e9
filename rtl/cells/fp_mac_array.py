"""The m x n array of floating-point multiplier elements: what lookup with float tables is compared with.

An element is one fused dot product (:mod:`.fused_dot`): k products and the sum so far, summed at once and rounded once.
Frame, registers and cycles are those of :mod:`.array`, one pass per step; weights arrive as floats. Zero products
leave a sum as it is, so that it is held as lookup arrays hold theirs.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from lutscape.hw.formats.binary import FORMATS
from lutscape.hw.machines.fused_dot import Unit
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.cells import array as arrays
from lutscape.rtl.cells import fp_numbers, fused_dot
from lutscape.rtl.cells.fused_dot_part import part
from lutscape.rtl.cells.text import indented, module
from lutscape.sim.lut_tensor_core import array_timing
from lutscape.sim.lut_tensor_core.golden import Ints


def frame(m: int, n: int, k: int, activation: str, weight: str) -> Array:
    """Return the array whose frame holds the elements: a ``mac`` array of operands as wide as the formats.

    No spec can say this one (float activations are looked up), so nothing validates it.
    """
    bits = FORMATS[weight].bits
    plain = Array(datapath="mac", m=m, n=n, k=k, count=1, activation_bits=FORMATS[activation].bits)
    changes = {"multiplier_weight_bits": bits, "serial_weight_bits": bits, "accumulator_bits": 32}
    return plain.model_copy(update={**changes, "activation_format": activation})


@cache
def fp_mac_pe(unit: Unit) -> Cell:
    """Return the element: a fused dot product whose sum so far can be ignored."""
    dot = fused_dot.unit(unit)
    x = {f.name: f for f in dot.channel("x").fields}
    width = x["c"].width
    a, b, c = replace(x["a"], name="values"), replace(x["b"], name="codes"), replace(x["c"], name="sum")
    first = replace(x["c"], name="first", width=1, meaning="ignore the sum so far")
    lines = [
        f"wire [{width - 1}:0] kept = x_sum & {{{width}{{~x_first}}}};",
        f"{dot.name} dot (.x_a(x_values), .x_b(x_codes), .x_c(kept), .y_d(y_sum));",
    ]

    def inner(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = np.where(values["first"] == 1, 0, values["sum"])
        return {"a": values["values"], "b": values["codes"], "c": kept}

    def stimulus(rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
        found = dot.stimulus(rng, max(count, 256))["x"]
        ignored = (np.arange(len(found["c"])) % 50 == 7).astype(np.int64)[:, None]
        return {"values": found["a"], "codes": found["b"], "sum": found["c"], "first": ignored}

    return part(
        kind="fp_mac_pe",
        name=dot.name.replace("fused_dot_", "fp_mac_pe_"),
        what="multiplier element: a fused dot product and the sum so far",
        parameters=dot.parameters,
        numbers=dot.numbers,
        inputs=(a, b, first, c),
        outputs=(replace(c, meaning="next sum"),),
        lines=lines,
        golden=lambda values: {"sum": dot.golden({"x": inner(values)})["y"]["d"]},
        stimulus=stimulus,
        coverage=lambda values: {
            "sum so far ignored": values["first"] == 1,
            "sum so far kept": values["first"] == 0,
        },
        parts=(dot,),
        operations=float(unit.products),
    )


@cache
def fp_mac_array(m: int, n: int, k: int, weight: str = "fp16", activation: str = "fp16") -> Cell:
    """Return the array with the arithmetic of Hopper's matrix instructions: F = 25, FP32 sums cut toward zero.

    Args:
        m: rows.
        n: columns.
        k: products of an element.
        weight: format of weights.
        activation: format of activations.
    """
    unit = Unit(
        products=k, fraction_bits=25, input=activation, input_b=weight, rounding="RZ-FP32", e_zero=-133, stages=0
    )
    element, array = fp_mac_pe(unit), frame(m, n, k, activation, weight)
    channels = (arrays.row_channel(array), arrays.weight_channel(array), arrays.sum_channel(array))
    parameters: dict[str, int | str] = {"m": m, "n": n, **element.parameters}
    name = f"fp_mac_array_m{m}n{n}k{k}_{activation}_{weight}"
    source = module(
        name,
        f"Array of {m} x {n} multiplier elements, {k} weights deep.",
        parameters,
        channels,
        indented(arrays.body(array, element)),
        numbers=element.numbers,
        latency=array_timing.STAGES,
        formula=arrays.FORMULA,
    )
    return Cell(
        name=name,
        kind="fp_mac_array",
        parameters=parameters,
        source=source,
        channels=channels,
        golden=lambda beats: evaluate(array, element, beats),
        stimulus=lambda rng, count: stimulus(array, weight, rng, count),
        coverage=lambda beats: coverage(beats["w"]),
        schedule=arrays.schedule,
        latency=array_timing.STAGES,
        formula=arrays.FORMULA,
        numbers=element.numbers,
        parts=(element,),
        operations=float(m * n * k),
    )


def evaluate(array: Array, element: Cell, beats: Beats) -> Beats:
    """Return the sums of every tile, one dot product after another."""
    w, m, n, k = beats["w"], array.m, array.n, array.k
    rows = beats["a"]["values"].reshape(-1, m, 1, k)
    codes = w["codes"].reshape(-1, 1, n, k)
    step = np.cumsum(w["start"][:, 0]) - 1
    first, last = np.flatnonzero(w["first"][:, 0]), np.flatnonzero(w["last"][:, 0])
    begin = first[np.searchsorted(first, last, side="right") - 1]
    length = last - begin + 1
    sums = np.zeros((len(last), m, n), np.int64)
    for place in range(int(length.max(initial=0))):
        here = np.flatnonzero(length > place)
        beat = begin[here] + place
        shape = (len(here), m, n, k)
        x = {
            "values": np.broadcast_to(rows[step[beat]], shape).reshape(-1, k),
            "codes": np.broadcast_to(codes[beat], shape).reshape(-1, k),
            "sum": sums[here].reshape(-1, 1),
            "first": np.full((sums[here].size, 1), int(place == 0)),
        }
        sums[here] = element.golden({"x": x})["y"]["sum"].reshape(-1, m, n)
    return {"d": {"values": sums.reshape(-1, m * n)}}


def beats_of(array: Array, tiles: list[tuple[Ints, Ints]]) -> Beats:
    """Return the beats of tiles: codes of activations (m, K), codes of weights (n, K)."""
    k, rows, columns, first, last = array.k, [], [], [], []
    for a, q in tiles:
        steps = a.shape[1] // k
        rows.append(a.reshape(array.m, steps, k).transpose(1, 0, 2).reshape(steps, -1))
        columns.append(q.reshape(array.n, steps, k).transpose(1, 0, 2).reshape(steps, -1))
        first.append(np.arange(steps) == 0)
        last.append(np.arange(steps) == steps - 1)
    marks = {"first": np.concatenate(first)[:, None], "last": np.concatenate(last)[:, None]}
    w = {"codes": np.concatenate(columns), "start": np.ones((sum(map(len, first)), 1), np.int64)}
    return {"a": {"values": np.concatenate(rows)}, "w": w | {n: v.astype(np.int64) for n, v in marks.items()}}


def stimulus(array: Array, weight: str, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of about ``count`` tiles of one to five steps, numbers of all classes now and then."""
    form, other = FORMATS[array.activation_format], FORMATS[weight]
    tiles = []
    for i in range(max(count, 8)):
        steps = int(rng.choice([1, 1, 2, 3, 5])) if i > 3 else (1, 2, 3, 5)[i]
        make = fp_numbers.finite if i % 2 else fp_numbers.near_one
        a, q = make(form, rng, (array.m, steps * array.k)), fp_numbers.finite(other, rng, (array.n, steps * array.k))
        if i % 50 == 7:
            a = rng.choice(fp_numbers.edges(form), a.shape)
        tiles.append((a, q))
    return beats_of(array, tiles)


def coverage(w: dict[str, Ints]) -> dict[str, int]:
    """Return hits of the marks."""
    first, last = w["first"][:, 0] == 1, w["last"][:, 0] == 1
    return {
        "tile of one beat": int((first & last).sum()),
        "first beat of several": int((first & ~last).sum()),
        "last beat of several": int((last & ~first).sum()),
        "beat inside a tile": int((~first & ~last).sum()),
    }
