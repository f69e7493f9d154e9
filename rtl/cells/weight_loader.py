"""Weight loader: takes the weights of one step, remaps them, and hands out one bit plane per clock edge.

The next step is taken on the edge on which the last plane of this one leaves, so that planes follow each other
without a gap. A step can have fewer planes than the widest weights have; then the tile's marks still come right.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import array as arrays
from lutscape.rtl.cells import array_stimuli, operands
from lutscape.rtl.cells import weight_remapper as remap
from lutscape.rtl.cells.text import indented, index_bits, module, slice_of, vector
from lutscape.sim.lut_tensor_core import golden
from lutscape.sim.lut_tensor_core.golden import Ints

FORMULA = "plane p of a step leaves 1 + p edges after the step was taken; steps of P planes follow every P"


def code_channel(array: Array) -> Channel:
    """Return channel ``q``: the weights of one step."""
    fields = [
        Field("codes", array.serial_weight_bits, array.n * array.k, meaning="weight i of column j at lane j k + i")
    ]
    if array.most_passes > 1:
        fields.append(Field("top", index_bits(array.most_passes), meaning="planes of this step, less one"))
    fields += [
        Field("first", 1, meaning="first step of a tile"),
        Field("last", 1, meaning="last step of a tile"),
    ]
    return Channel("q", "in", tuple(fields), "weights of one step")


@cache
def weight_loader(array: Array, codes: str = "unsigned") -> Cell:
    """Return the loader of a bit-serial ``lut`` array.

    Raises:
        UserError: an array that is not bit-serial, or codes that are not known.
    """
    if array.datapath != "lut" or array.planes_per_cycle != 1:
        raise UserError(
            f"weight_loader: datapath {array.datapath!r}, planes_per_cycle = {array.planes_per_cycle}; "
            "allowed: lut with planes_per_cycle = 1"
        )
    part = remap.weight_remapper(array.k, array.serial_weight_bits, codes)
    w = replace(arrays.weight_channel(array), direction="out")
    channels = (code_channel(array), w)
    twos = codes == "twos"
    parameters: dict[str, int | str] = {
        "n": array.n, "k": array.k, "bits": array.serial_weight_bits, "codes": codes,
    }  # fmt: skip
    name = f"weight_loader_n{array.n}k{array.k}w{array.serial_weight_bits}{'t' if twos else ''}"
    source = module(
        name,
        f"Loader of {array.n} columns of {array.k} weights: remapped, one plane at a time.",
        parameters,
        channels,
        indented(_body(array, part, twos)),
        numbers=part.numbers,
        latency=1,
        formula=FORMULA,
    )
    return Cell(
        name=name,
        kind="weight_loader",
        parameters=parameters,
        source=source,
        channels=channels,
        golden=lambda beats: {"w": weights(array, twos, beats["q"])},
        stimulus=lambda rng, count: stimulus(array, twos, rng, count),
        coverage=lambda beats: coverage(array, twos, beats["q"]),
        schedule=lambda beats: {"w": 1 + np.arange(int(planes(beats["q"]).sum()))},
        latency=1,
        formula=FORMULA,
        numbers=part.numbers,
        parts=(part,),
        operations=float(array.n * array.k),
    )


def _body(array: Array, part: Cell, twos: bool) -> list[str]:
    n, k, bits = array.n, array.k, array.serial_weight_bits
    block, top = n * k, index_bits(array.most_passes)
    several = bits > 1
    lines = [
        f"wire [{block * bits - 1}:0] remapped;  // plane by plane",
        f"reg  [{block * bits - 1}:0] selects;  // the next plane lowest",
        "reg  full;",
        "reg  first;",
        "reg  last;",
    ]
    if several:
        lines += [
            f"reg  {vector(top)}plane;",
            f"reg  {vector(top)}highest;",
            "wire ending = plane == highest;",
        ]
    else:
        lines += ["wire ending = 1'b1;"]
    for j in range(n):
        code = slice_of("q_codes", j, k * bits, n)
        lines.append(f"wire [{bits * k - 1}:0] column{j};")
        extra = ", .x_top(q_top)" if twos and several else ""
        lines.append(f"{part.name} remap{j} (.x_codes({code}){extra}, .y_selects(column{j}));")
        lines += [
            f"assign remapped[{p * block + j * k + k - 1}:{p * block + j * k}] = column{j}[{p * k + k - 1}:{p * k}];"
            for p in range(bits)
        ]
    return [
        *lines,
        "",
        "assign q_ready = !full || (ending && w_ready);",
        "always @(posedge clk) begin",
        "    if (q_valid && q_ready) begin",
        "        selects <= remapped;",
        "        first <= q_first;",
        "        last <= q_last;",
        *([f"        plane <= {top}'d0;", "        highest <= q_top;"] if several else []),
        *(
            [
                "    end else if (w_ready) begin",
                f"        selects <= {{{block}'d0, selects[{block * bits - 1}:{block}]}};",
                "        plane <= plane + 1'b1;",
            ]
            if several
            else []
        ),
        "    end",
        "    if (rst) full <= 1'b0;",
        "    else if (q_ready) full <= q_valid;",
        "end",
        "assign w_valid = full;",
        f"assign w_codes = selects[{block - 1}:0];",
        *(["assign w_position = plane;", f"wire lowest = plane == {top}'d0;"] if several else []),
        f"assign w_start = {'lowest' if several else chr(49) + chr(39) + 'b1'};",
        f"assign w_first = first{' && lowest' if several else ''};",
        "assign w_last = last && ending;",
    ]


def planes(q: dict[str, Ints]) -> Ints:
    """Return the planes of every step."""
    return q["top"][:, 0] + 1 if "top" in q else np.ones(len(q["first"]), np.int64)


def weights(array: Array, twos: bool, q: dict[str, Ints]) -> dict[str, Ints]:
    """Return channel ``w`` of the array behind."""
    bits = array.serial_weight_bits
    count = planes(q)
    codes = q["codes"].reshape(len(count), array.n, array.k)
    if twos:
        codes = remap.unsigned(bits, codes, (count - 1)[:, None, None])
    selects = golden.remap(golden.patterns(golden.bit_planes(codes, bits)), array.k)  # (W, steps, n)
    step = np.repeat(np.arange(len(count)), count)
    plane = np.arange(len(step)) - np.repeat(np.cumsum(count) - count, count)
    lowest, highest = plane == 0, plane == count[step] - 1
    found = {"codes": selects[plane, step]}
    if array.most_passes > 1:
        found["position"] = plane[:, None]
    marks = {
        "start": lowest,
        "first": lowest & (q["first"][step, 0] == 1),
        "last": highest & (q["last"][step, 0] == 1),
    }
    return found | {name: flags[:, None].astype(np.int64) for name, flags in marks.items()}


def code_beats(array: Array, codes: Ints, weight_bits: int, twos: bool) -> dict[str, Ints]:
    """Return channel ``q`` of one tile of codes q (n, K) of some bits, written as the loader takes them."""
    groups = golden.grouped(codes, array.k).transpose(1, 0, 2)  # (S, n, k)
    steps = len(groups)
    if twos:
        groups = (groups - (1 << (weight_bits - 1))) & ((1 << array.serial_weight_bits) - 1)
    place = np.arange(steps)[:, None]
    found = {"codes": groups.reshape(steps, -1)}
    if array.most_passes > 1:
        found["top"] = np.full((steps, 1), weight_bits - 1)
    return found | {"first": (place == 0).astype(np.int64), "last": (place == steps - 1).astype(np.int64)}


def stimulus(array: Array, twos: bool, rng: np.random.Generator, count: int) -> Beats:
    """Return the steps of tiles: every pattern in every plane, every width, then random ones."""
    k, widest = array.k, array.serial_weight_bits
    bits = (np.arange(1 << k)[:, None] >> np.arange(k)) & 1
    tiles = []
    for p in range(widest):
        pattern = np.repeat((bits << p).reshape(1, -1), array.n, axis=0)
        tiles.append((pattern, widest))
    for width in range(1, widest + 1):
        tiles += [(array_stimuli.codes(rng, (array.n, steps * k), width, 3), width) for steps in (1, 2, 3)]
    while sum(q.shape[1] // k * w for q, w in tiles) < count:
        width = int(rng.integers(1, widest + 1))
        tiles.append((array_stimuli.codes(rng, (array.n, int(rng.integers(1, 6)) * k), width, 3), width))
    return {"q": operands.joined([code_beats(array, q, width, twos) for q, width in tiles])}


def coverage(array: Array, twos: bool, q: dict[str, Ints]) -> dict[str, int]:
    """Return hits of selects of every plane, widths and marks."""
    w = weights(array, twos, q)
    position = w["position"] if "position" in w else np.zeros_like(w["codes"][:, :1])
    hits: dict[str, int] = {}
    for p in range(array.serial_weight_bits):
        here = w["codes"][position[:, 0] == p]
        hits |= {f"plane {p} select {s}": int((here == s).sum()) for s in range(1 << array.k)}
        hits[f"steps of {p + 1} planes"] = int((planes(q) == p + 1).sum())
    first, last = q["first"][:, 0] == 1, q["last"][:, 0] == 1
    return hits | {
        "tile of one step": int((first & last).sum()),
        "first of several": int((first & ~last).sum()),
        "last of several": int((last & ~first).sum()),
        "inside a tile": int((~first & ~last).sum()),
    }
