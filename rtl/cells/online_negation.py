"""A lookup unit whose weights are not remapped offline: the index is inverted as the weights arrive.

arXiv 2408.06003, eq. 5: a half table answers a pattern whose top bit is set with -T[~w]. Eq. 6 moves the inversion
of the k-1 index bits into the weights before they are stored; this unit is what it replaces: k-1 XOR gates per column
and weight plane in front of the weight registers. Everything else is the unit of :mod:`lutscape.rtl.cells.unit`.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel
from lutscape.rtl.cells import operands
from lutscape.rtl.cells.text import indented, module
from lutscape.rtl.cells.unit import unit
from lutscape.sim.lut_tensor_core import golden


@cache
def online_negation_unit(array: Array, tables_per_cycle: int = 1) -> Cell:
    """Return the unit of a ``lut`` design that takes weight planes as they are, patterns of k bits.

    Raises:
        UserError: a datapath without a symmetric table.
    """
    if array.datapath != "lut":
        raise UserError(f"online negation: datapath {array.datapath!r} stores no half table; allowed: lut")
    inner = unit(array, tables_per_cycle)
    channels = tuple(_raw(array, c) if c.name == "w" else c for c in inner.channels)
    name = inner.name.replace("_unit_", "_online_unit_")
    source = module(
        name,
        f"Unit of {array.m} x {array.n} with online negation of table indices.",
        inner.parameters,
        channels,
        indented(_body(array, inner)),
        numbers=inner.numbers,
        latency=inner.latency,
        formula=inner.formula,
    )
    return replace(
        inner,
        name=name,
        kind="lut_online_unit",
        source=source,
        channels=channels,
        golden=lambda beats: inner.golden(remapped(array, beats)),
        stimulus=lambda rng, count: remapped(array, inner.stimulus(rng, count)),
        coverage=lambda beats: inner.coverage(remapped(array, beats)),
        parts=(inner,),
    )


def remapped(array: Array, beats: Beats) -> Beats:
    """Return beats with the weight codes of channel ``w`` remapped; the remap is its own inverse."""
    codes = golden.remap(beats["w"]["codes"], array.k)
    return {**beats, "w": {**beats["w"], "codes": np.asarray(codes, np.int64)}}


def _raw(array: Array, channel: Channel) -> Channel:
    codes, *others = channel.fields
    return replace(channel, fields=(replace(codes, meaning="pattern of weight bits, per column and plane"), *others))


def _body(array: Array, inner: Cell) -> list[str]:
    lanes, k = operands.column_field(array, array.n).lanes, array.k
    ports = [
        f".{channel.signal(f)}({channel.signal(f)})"
        for channel in inner.channels
        for f in ("valid", "ready", *[f.name for f in channel.fields])
        if (channel.name, f) != ("w", "codes")
    ]
    return [
        f"wire [{lanes * k - 1}:0] codes;",
        "genvar j;",
        "generate",
        f"    for (j = 0; j < {lanes}; j = j + 1) begin : negation",
        f"        wire sign = w_codes[j*{k} + {k - 1}];",
        f"        assign codes[j*{k} +: {k}] = {{sign, w_codes[j*{k} +: {k - 1}] ^ {{{k - 1}{{sign}}}}}};",
        "    end",
        "endgenerate",
        "",
        f"{inner.name} unit (",
        "    .clk(clk),",
        "    .rst(rst),",
        *[f"    {p}," for p in ports],
        "    .w_codes(codes)",
        ");",
    ]
