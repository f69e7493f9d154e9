"""The m x n array of floating-point lookup elements, and that array with the builders of its tables.

Frame, registers and cycles are those of :mod:`.array` and :mod:`.unit`. Sums are held by adding a zero entry, as there:
a sum is never -0, so that +0 and -0 leave it as it is, infinities and the canonical NaN included.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Cell, Channel
from lutscape.rtl.cells import array as arrays
from lutscape.rtl.cells import array_stimuli, fp_lookup_pe, fp_numbers, fp_stimuli, operands
from lutscape.rtl.cells import unit as units
from lutscape.rtl.cells.fp_table_builder import evaluate as tables
from lutscape.rtl.cells.fp_table_builder import fp_table_builder
from lutscape.rtl.cells.table_builder import fields
from lutscape.rtl.cells.text import indented, module
from lutscape.sim.lut_tensor_core import array_timing, float_array
from lutscape.sim.lut_tensor_core.float_array import Floats, Ints

CHUNK = 1 << 20  # table entries expanded at a time


@cache
def fp_array(array: Array) -> Cell:
    """Return the array of a design with float activations."""
    part = fp_lookup_pe.fp_lookup_pe(array)
    inside: dict[str, int | str] = {"m": array.m, "n": array.n, **part.parameters}
    channels = (arrays.row_channel(array), arrays.weight_channel(array), arrays.sum_channel(array))
    name = f"fp_lut_array_m{array.m}n{array.n}{fp_lookup_pe.suffix(array)}"
    numbers = fp_lookup_pe.formats(array)
    source = module(
        name,
        f"Array of {array.m} x {array.n} processing elements, {array.k} weights deep.",
        inside,
        channels,
        indented(arrays.body(array, part)),
        numbers=numbers,
        latency=array_timing.STAGES,
        formula=arrays.FORMULA,
    )
    return Cell(
        name=name,
        kind="fp_lut_array",
        parameters=inside,
        source=source,
        channels=channels,
        golden=lambda beats: evaluate(array, beats),
        stimulus=lambda rng, count: stimulus(array, rng, count),
        coverage=lambda beats: coverage(array, beats["a"]["entries"], beats["w"]),
        schedule=arrays.schedule,
        latency=array_timing.STAGES,
        formula=arrays.FORMULA,
        numbers=numbers,
        parts=(part,),
        operations=array.m * array.n * array.k,
        notes=("operations: of a tile of one step in one pass",),
    )


@cache
def fp_unit(array: Array, tables_per_cycle: int = 1) -> Cell:
    """Return the array of a design with float activations and what fills its tables.

    Raises:
        UserError: no builder.
    """
    if tables_per_cycle < 1:
        raise UserError(f"fp_unit: tables_per_cycle = {tables_per_cycle}; allowed: 1 … m = {array.m}")
    t = min(tables_per_cycle, array.m)
    build = -(-array.m // t)
    inner, builder = fp_array(array), fp_table_builder(array)
    inside: dict[str, int | str] = {
        **inner.parameters, "activation": array.activation.name, "tables_per_cycle": t,
    }  # fmt: skip
    channels = (
        Channel("x", "in", fields(array, t), f"activations of {t} of {array.m} rows"),
        arrays.weight_channel(array),
        arrays.sum_channel(array),
    )
    form = array.activation.name
    name = f"fp_lut_unit_m{array.m}n{array.n}b{t}{fp_lookup_pe.suffix(array)}"
    if array.activation != array.entry:
        name = name.replace(f"k{array.k}_", f"k{array.k}_{form}_", 1)
    numbers = f"{form} activations; {fp_lookup_pe.formats(array)}"
    source = module(
        name,
        f"Unit: {array.m} x {array.n} array and {t} table builder{'s' if t > 1 else ''}.",
        inside,
        channels,
        indented(units.body(array, t, inner, builder)),
        numbers=numbers,
        latency=build + array_timing.STAGES,
        formula=units.FORMULA,
    )
    return Cell(
        name=name,
        kind="fp_lut_unit",
        parameters=inside,
        source=source,
        channels=channels,
        golden=lambda beats: evaluate(array, {"a": table_beats(array, t, beats["x"]), "w": beats["w"]}),
        stimulus=lambda rng, count: unit_stimulus(array, t, rng, count),
        coverage=lambda beats: unit_coverage(array, t, beats),
        schedule=lambda beats: {"d": arrays.sum_edges(beats["w"], build)},
        latency=build + array_timing.STAGES,
        formula=units.FORMULA,
        numbers=numbers,
        parts=(builder, inner),
        operations=inner.operations,
        notes=inner.notes,
    )


def tile_beats(array: Array, entries: Ints, w: dict[str, Ints]) -> tuple[Ints, Floats, Floats]:
    """Return the sums of every tile, codes (tiles, m, n), and both terms of every addition (n,).

    Args:
        array: the design.
        entries: codes of tables (steps, m E).
        w: channel ``w``.
    """
    table = float_array.values(entries, array.entry).reshape(len(entries), array.m, 1, array.entries)
    codes = operands.unpack_columns(array, w["codes"])[..., 0][:, None]  # (beats, 1, n)
    position = w["position"][:, 0] if "position" in w else np.zeros(len(codes), np.int64)
    step = np.cumsum(w["start"][:, 0]) - 1
    first, last = np.flatnonzero(w["first"][:, 0]), np.flatnonzero(w["last"][:, 0])
    begin = first[np.searchsorted(first, last, side="right") - 1]
    length = last - begin + 1
    sums = np.zeros((len(last), array.m, array.n))
    left, right = [], []
    shape = (array.m, array.n)
    most = max(1, CHUNK // (array.m * array.n * array.entries))
    for place in range(int(length.max(initial=0))):
        tiles = np.flatnonzero(length > place)
        for at in range(0, len(tiles), most):
            here = tiles[at : at + most]
            b = begin[here] + place
            rows = np.broadcast_to(table[step[b]], (len(b), *shape, array.entries))
            selects = np.broadcast_to(codes[b], (len(b), *shape))
            term = float_array.terms(array, rows, selects, position[b][:, None, None])
            left.append(sums[here].ravel())
            right.append(term.ravel())
            sums[here] = float_array.add(array, sums[here], term)
    return float_array.codes(sums, array.total), np.concatenate(left), np.concatenate(right)


def evaluate(array: Array, beats: Beats) -> Beats:
    """Return the sums of every tile."""
    sums, _, _ = tile_beats(array, beats["a"]["entries"], beats["w"])
    return {"d": {"values": sums.reshape(-1, array.m * array.n)}}


def grouped(array: Array, activations: Ints) -> Ints:
    """Return codes of groups (S, m, k) of codes of activations (m, K)."""
    return activations.reshape(array.m, -1, array.k).transpose(1, 0, 2)


def stimulus(array: Array, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of about ``count`` tiles."""
    tiles = fp_stimuli.tiles(array, rng, count)
    groups = np.concatenate([grouped(array, a) for a, _, _ in tiles])
    weights = [operands.weight_beats(array, q, bits) for _, q, bits in tiles]
    return {"a": {"entries": tables(array, groups).reshape(len(groups), -1)}, "w": operands.joined(weights)}


def coverage(array: Array, entries: Ints, w: dict[str, Ints]) -> dict[str, int]:
    """Return the hits of every functional bin of an array."""
    _, left, right = tile_beats(array, entries, w)
    found = fp_numbers.classes(array.entry, entries)
    hits = {f"entry {name}": int(found[name].sum()) for name in ("+0", "normal", "NaN")}
    if fp_stimuli.infinite_entries(array):
        hits["entry infinity"] = int(found["infinity"].sum())
    return hits | array_stimuli.mark_bins(array, w) | fp_stimuli.sum_bins(array, left, right)


def activation_beats(array: Array, t: int, tiles: list[fp_stimuli.Tile]) -> dict[str, Ints]:
    """Return channel ``x`` of tiles: ⌈m/t⌉ beats per step; rows beyond m repeat the last one."""
    build = -(-array.m // t)
    row = np.minimum(np.arange(build * t), array.m - 1)
    groups = np.concatenate([grouped(array, a)[:, row] for a, _, _ in tiles])
    return {"values": groups.reshape(-1, t * array.k)}


def step_activations(array: Array, t: int, x: dict[str, Ints]) -> Ints:
    """Return codes of activations (steps, m, k) from channel ``x``."""
    build = -(-array.m // t)
    return x["values"].reshape(-1, build * t, array.k)[:, : array.m]


def table_beats(array: Array, t: int, x: dict[str, Ints]) -> dict[str, Ints]:
    """Return channel ``a`` of the array inside from channel ``x``."""
    groups = step_activations(array, t, x)
    return {"entries": tables(array, groups).reshape(len(groups), -1)}


def unit_stimulus(array: Array, t: int, rng: np.random.Generator, count: int) -> Beats:
    """Return the beats of about ``count`` tiles."""
    tiles = fp_stimuli.tiles(array, rng, count)
    weights = [operands.weight_beats(array, q, bits) for _, q, bits in tiles]
    return {"x": activation_beats(array, t, tiles), "w": operands.joined(weights)}


def unit_coverage(array: Array, t: int, beats: Beats) -> dict[str, int]:
    """Return the hits of every functional bin of the array and of the builders."""
    groups = step_activations(array, t, beats["x"])
    hits = coverage(array, table_beats(array, t, beats["x"])["entries"], beats["w"])
    built = fp_stimuli.table_bins(array, float_array.values(groups, array.activation))
    hits |= {name: int(np.count_nonzero(flags)) for name, flags in built.items()}
    return hits | array_stimuli.unit_bins(array, beats["w"], t)
