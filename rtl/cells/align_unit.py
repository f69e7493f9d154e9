"""Alignment unit: FP16 activations of one group to integers with one shared exponent, and the negative of their sum.

One serves all L-Units that meet the group (:mod:`lutscape.sim.roma.golden`). The exponent of the largest activation
(at least that of subnormals) is shared; every significand is shifted right by its distance from it, rounded to
nearest, ties to even, and clipped to M bits. Combinational: maximum, shifters and adder tree one behind the other.
Infinities and NaN are no input.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.adder_tree import adder_tree
from lutscape.rtl.cells.l_unit import sum_bits
from lutscape.rtl.cells.text import indented, module, slice_of
from lutscape.sim.roma import golden

EXPONENT_BITS = 7
SIGNIFICAND = 11
LARGEST_FIELD = 0x7BFF  # 65504


@cache
def align_unit(unit: LUnit) -> Cell:
    """Return the alignment unit of a design.

    Raises:
        UserError: a group that is too wide to build.
    """
    if unit.group > 1024:
        raise UserError(f"align_unit: group = {unit.group}; allowed: at most 1024")
    lanes, bits = unit.group, unit.activation_bits
    tree = adder_tree(lanes, bits)
    inside: dict[str, int | str] = {"group": lanes, "activation_bits": bits}
    name = f"align_unit_g{lanes}a{bits}"
    channels = (
        Channel("x", "in", (Field("codes", 16, lanes, False, "FP16, finite"),), "activations of a group"),
        Channel(
            "y",
            "out",
            (
                Field("values", bits, lanes, True, "aligned activations"),
                Field("offset", sum_bits(unit), 1, True, "the negative of their sum"),
                Field("exponent", EXPONENT_BITS, 1, True, "activation = value 2^exponent"),
            ),
            "the group with one exponent",
        ),
    )
    numbers = f"FP16 activations; INT{bits} aligned, round to nearest even, clipped"
    return Cell(
        name=name,
        kind="align_unit",
        parameters=inside,
        source=module(
            name,
            f"Alignment of {lanes} activations to one exponent.",
            inside,
            channels,
            indented(_body(unit, tree)),
            numbers=numbers,
            clocked=False,
        ),
        channels=channels,
        golden=lambda beats: evaluate(unit, beats),
        stimulus=lambda rng, count: stimulus(unit, rng, count),
        coverage=lambda beats: coverage(unit, beats),
        numbers=numbers,
        parts=(tree,),
        clocked=False,
        operations=lanes,
    )


def _body(unit: LUnit, tree: Cell) -> Iterator[str]:
    """Return the Verilog inside an alignment unit."""
    lanes, bits = unit.group, unit.activation_bits
    up, down = max(0, bits - 12), max(0, 12 - bits)
    wide = SIGNIFICAND + up  # bits of a significand at its place
    zeros = f", {up}'d0" if up else ""
    most = wide + 1  # from here on everything is shifted out, below half
    yield "// exponents, 1 for subnormals, and the largest of them"
    level = []
    for j in range(lanes):
        code = slice_of("x_codes", j, 16, lanes)
        yield f"wire [15:0] c{j} = {code};"
        yield f"wire [4:0] e{j} = c{j}[14:10] == 5'd0 ? 5'd1 : c{j}[14:10];"
        level.append(f"e{j}")
    step = 0
    while len(level) > 1:
        following = []
        for i in range(0, len(level) - 1, 2):
            a, b = level[i], level[i + 1]
            yield f"wire [4:0] m{step}_{i // 2} = {a} > {b} ? {a} : {b};"
            following.append(f"m{step}_{i // 2}")
        level = following + level[len(level) // 2 * 2 :]
        step += 1
    yield f"wire [4:0] largest = {level[0]};"
    offset = 15 + bits - 2
    yield f"assign y_exponent = {{2'b00, largest}} - {EXPONENT_BITS}'d{offset};"
    yield ""
    yield f"// significands, shifted right by at most {most}, rounded to nearest even, clipped, with their sign"
    for j in range(lanes):
        yield f"wire [5:0] d{j} = {{1'b0, largest}} - {{1'b0, e{j}}} + 6'd{down};"
        yield f"wire [4:0] s{j} = d{j} > 6'd{most} ? 5'd{most} : d{j}[4:0];"
        yield f"wire [{wide - 1}:0] w{j} = {{c{j}[14:10] != 5'd0, c{j}[9:0]{zeros}}};"
        yield f"wire [{wide + most - 1}:0] f{j} = {{w{j}, {most}'d0}} >> s{j};"
        yield f"wire u{j} = f{j}[{most - 1}] && (f{j}[{most}] || |f{j}[{most - 2}:0]);"
        yield f"wire [{wide}:0] r{j} = {{1'b0, f{j}[{wide + most - 1}:{most}]}} + {{{wide}'d0, u{j}}};"
        if wide + 1 > bits - 1:  # at least one bit above the largest magnitude
            top = bits - 1
            over = f"|r{j}[{wide}:{top}]" if wide > top else f"r{j}[{top}]"
            yield f"wire [{bits - 1}:0] a{j} = {over} ? {bits}'d{(1 << top) - 1} : {{1'b0, r{j}[{top - 1}:0]}};"
        yield f"wire [{bits - 1}:0] v{j} = c{j}[15] ? -a{j} : a{j};"
    yield f"assign y_values = {{{', '.join(f'v{j}' for j in reversed(range(lanes)))}}};"
    total = tree.channel("y").fields[0].width
    yield f"wire [{total - 1}:0] total;"
    yield f"{tree.name} tree (.x_values(y_values), .y_sum(total));"
    out = sum_bits(unit)
    if out < total:
        yield f"wire total_unused = &total[{total - 1}:{out}];  // the clip leaves out one value"
    yield f"assign y_offset = -total[{out - 1}:0];"


def evaluate(unit: LUnit, beats: Beats) -> Beats:
    """Return aligned groups."""
    codes = beats["x"]["codes"]
    found = golden.align(unit, codes.astype(np.uint16).view(np.float16).astype(np.float32))
    values = found.mantissas[0].astype(np.int64)
    return {
        "y": {
            "values": values,
            "offset": -values.sum(axis=1, keepdims=True),
            "exponent": found.exponents.astype(np.int64),
        }
    }


def stimulus(unit: LUnit, rng: np.random.Generator, count: int) -> Beats:
    """Return zeros, extremes, ties, subnormals, one large among small ones, and random groups of every spread."""
    lanes = unit.group
    groups = [
        np.zeros(lanes, np.int64),
        np.full(lanes, LARGEST_FIELD),
        np.full(lanes, LARGEST_FIELD | 0x8000),
        np.arange(lanes) % 1024,
        np.where(np.arange(lanes) % 2, 0x8001, 0x3FF),
    ]
    for largest in range(1, 31):  # every shared exponent, with lanes at growing distance from it
        distance = np.arange(lanes) + (largest % 6) * (np.arange(lanes) > 0)
        groups.append(np.maximum(largest - distance, 0) << 10 | rng.integers(0, 1024, lanes))
    for place in range(min(lanes, 64)):  # the largest exponent in every lane
        small = rng.integers(0, 0x1C00, lanes)
        small[place] = rng.integers(0x7000, LARGEST_FIELD + 1)
        groups.append(small | rng.integers(0, 2, lanes) << 15)
    while len(groups) < count:
        low = int(rng.integers(0, 31))
        high = int(rng.integers(low, 31))
        codes = rng.integers(low, high + 1, lanes) << 10 | rng.integers(0, 1024, lanes)
        codes = np.where(rng.random(lanes) < 0.2, codes & ~0x1FF | rng.choice([0, 0x100, 0x180], lanes), codes)  # ties
        groups.append(codes | rng.integers(0, 2, lanes) << 15)
    return {"x": {"codes": np.stack(groups).astype(np.int64)}}


def coverage(unit: LUnit, beats: Beats) -> dict[str, int]:
    """Return hits of shared exponents, distances, signs, clipping and zeros."""
    codes = beats["x"]["codes"]
    exponents = np.maximum(codes >> 10 & 31, 1)
    largest = exponents.max(axis=1)
    values = evaluate(unit, beats)["y"]["values"]
    distance = largest[:, None] - exponents
    hits = {f"shared exponent from {e}": int((largest // 5 == e // 5).sum()) for e in range(0, 31, 5)}
    hits |= {f"distance {d}": int((distance == d).sum()) for d in range(12)}
    if unit.activation_bits <= SIGNIFICAND + 1:  # wider ones are never filled
        top = golden.largest_activation(unit)
        hits |= {"greatest": int((values == top).sum()), "least": int((values == -top).sum())}
    return hits | {
        "farther": int((distance >= 12).sum()),
        "zero": int((values == 0).sum()),
        "subnormal": int((((codes >> 10 & 31) == 0) & (codes & 1023 != 0)).sum()),
    }
