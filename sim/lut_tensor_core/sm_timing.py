"""Cycle model of streaming multiprocessors with lookup units: thread blocks, warps, LMMA, tables, registers.

Matrix product Y[M,N] = X[M,K] · W[N,K]ᵀ of integer weights. Symbols as in :mod:`lutscape.sim.gpu.timing` (t_m x t_n x
t_k tiles, split-K s, S SMs, G blocks, B = ⌈G/S⌉ on the busiest SM, J steps of a block, c blocks side by side, R_s, R_v,
β_2, β_s, β_d, λ) and :mod:`lutscape.sim.lut_tensor_core.sm_tiles` (warps g_m x g_n, X and W bytes of one step,
I cycles and L latency of an LMMA, n instructions of one warp and step, w warps of a block). Warps spread over p =
min(4, c w) sub-cores; a step follows the one before in no less than one latency.

    compute  T_c = J max(⌈B w / p⌉ n I, ⌈B/c⌉ L)
    shared   T_s = B J (X + W + X g_n + W g_m) / R_s     one write; warps read what their rows and columns need
    vector   T_v = V / (S R_v)     V = M N g + 3 M K / readers: scales and zero points, quantisation of activations
    L2       T_2 = max(G J (X + W) / β_2, B J (X + W) / β_s)
    DRAM     T_d = (D_w + D_x + D_y) / β_d
    latency  T_l = ⌈B/c⌉ J λ' / (stages - 1)     (λ' = L2 latency + DRAM latency x share of stage bytes from DRAM)

    cycles = max(T_c, T_s, T_v, T_2, T_d, T_l) + ⌈B/c⌉ λ + drain + split + tables + kernel overhead

DRAM traffic: if weights, row operands and output together fit 80 % of L2, each crosses once. Otherwise blocks that run
together form a patch of r x q = S c tiles. With thread-block swizzle it is as square in bytes as the grid allows;
without, it is as wide as the grid (row-major order). Each patch reads its rows and columns once, in all never less
than each byte once. The drain is the store of the last tile; of every tile where blocks have the SM to themselves.

Tables (M ⌈K/k⌉ of 2^(k-1) entries for every distinct activation tensor, in equal parts by its readers):
    fused        the producing operator builds them: 12 additions (k = 4) and a rescale per entry on the vector
                 units; tables are written in place of its output
    separate     a kernel of its own reads the activations and writes the tables
    on-the-fly   arrays build them from activations, with a builder per row so that no beat waits: nothing but
                 activations moves, but every array of n columns builds every table again: N/n times

Of the candidates within 1 % of the fastest, the one with the least L2 traffic is taken.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.gates import table_additions
from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.hw.result import Bools, Floats, Result
from lutscape.sim.lut_tensor_core import lmma, sm_tiles
from lutscape.sim.lut_tensor_core.sm_tiles import Tiles
from lutscape.sim.operators import Operators, scaling_operations

SPLITS = (1, 2, 4, 8, 16)
L2_SHARE, PRODUCER_SHARE = 0.8, 0.5
"""Of L2 that a matrix product's operands, and a tensor between two operators, can keep."""
NEAR = 1.01
FEW_ROWS, FEW_TILE = 64, 16
"""Products of fewer rows than the first try tiles of less than twice the second; others those of at least it."""
PARTS = ("compute", "shared", "vector", "l2", "dram", "latency")


def refine(spec: GpuSpec, ops: Operators, on_unit: Bools, result: Result, swizzle: bool = True) -> Result:
    """Return a result with the rows that lookup units run timed by this model; the others stay.

    Args:
        spec: with a lookup unit.
        ops: the operators of the result.
        on_unit: (R,) rows that the unit runs.
        result: of all rows.
        swizzle: thread blocks in near-square patches instead of row by row.

    Raises:
        UserError: no tile of the machine fits its registers and shared memory.
    """
    rows = np.flatnonzero(on_unit)
    if not len(rows):
        return result
    found = linear(spec, ops, rows, swizzle)
    tables = precompute(spec, ops, rows)
    overhead = spec.kernel_overhead_us * spec.clock_mhz * (1.0 + tables["kernels"])
    busy = np.stack([found[p] for p in PARTS])
    body = busy.max(axis=0) + found["ends"] + tables["cycles"]
    bound = np.array(PARTS)[busy.argmax(axis=0)].astype(object)
    bound[found["ends"] > busy.max(axis=0)] = "latency"
    bound[tables["cycles"] > busy.max(axis=0)] = "table"
    bound[overhead > body] = "launch"

    def put(old: Any, new: Any) -> Any:
        merged = np.array(old, dtype=object if np.asarray(old).dtype.kind in "OU" else np.float64)
        merged[rows] = new
        return merged

    none, blank = np.zeros(len(on_unit)), np.full(len(on_unit), "", dtype=object)
    parts = {p: put(result.parts.get(p, none), found[p]) for p in PARTS}
    parts["table"] = put(result.parts.get("table", none), tables["cycles"])
    detail = {**result.detail, "tile": put(result.detail.get("tile", blank), found["label"])}
    for name in ("lmma", "warps"):
        detail[name] = put(result.detail.get(name, blank), found[name])
    for name in ("waves", "stages", "registers", "lmmas", "blocks_per_sm"):
        detail[name] = put(result.detail.get(name, none), found[name])
    moved = {level: found[f"{level}_bytes"] + tables.get(level, 0.0) for level in ("dram", "l2", "shared")}
    vector = found["vector_ops"] + tables["ops"]
    planes = ops.macs[rows] * ops.weight_bits[rows]
    activity = {**result.activity, "plane_mac": put(result.activity.get("plane_mac", none), planes)}
    activity["vector_op"] = put(result.activity["vector_op"], vector)
    if tables["inside"].any():
        activity["table"] = put(none, tables["inside"])
    return replace(
        result,
        cycles=put(result.cycles, np.ceil(body + overhead)),
        bound_by=put(result.bound_by, bound).astype(str),
        bytes={level: put(result.bytes[level], moved[level]) if level in moved else result.bytes[level]
               for level in result.bytes},
        parts={**result.parts, **parts},
        activity=activity,
        detail=detail,
    )  # fmt: skip


def linear(spec: GpuSpec, ops: Operators, rows: Any, swizzle: bool = True) -> dict[str, Any]:
    """Return the chosen tile of some rows, its cycles and bytes: (len(rows),) arrays.

    Raises:
        UserError: no tile fits.
    """
    scale_bits = np.maximum(8 * ops.weight_bytes / np.maximum(ops.n * ops.k, 1) - ops.stored_weight_bits, 0)
    stored = (ops.stored_weight_bits + scale_bits)[rows]
    merged: dict[str, Any] = {}
    for bits in np.unique(ops.weight_bits[rows]):
        here = np.flatnonzero(ops.weight_bits[rows] == bits)
        tiles = sm_tiles.candidates(spec, int(bits), float(stored[here].max()))
        if not len(tiles):
            raise UserError(
                f"{spec.name}: no tile of int{bits} weights fits {spec.shared_memory_kib_per_sm} KiB of shared memory "
                f"and {lmma.thread_registers(_unit(spec))} registers per thread; smallest: {sm_tiles.smallest(spec)}"
            )
        few = ops.m[rows[here]] < FEW_ROWS
        for some, useful in ((few, tiles.t_m < 2 * FEW_TILE), (~few, tiles.t_m >= FEW_TILE)):
            if not some.any():
                continue
            usable = tiles.take(useful) if useful.any() else tiles
            part = _best(spec, ops, rows[here[some]], stored[here[some]], usable, int(bits), swizzle)
            for name, values in part.items():
                every = np.zeros((len(rows), *values.shape[1:]), values.dtype)
                merged.setdefault(name, every)[here[some]] = values
    return merged


def _unit(spec: GpuSpec) -> LutUnit:
    unit = spec.matrix_unit
    assert isinstance(unit, LutUnit)
    return unit


def _best(
    spec: GpuSpec, ops: Operators, rows: Any, stored: Floats, tiles: Tiles, bits: int, swizzle: bool
) -> dict[str, Any]:
    """Evaluate every candidate and split for every different row, and choose."""
    keys = [ops.m, ops.n, ops.k, ops.groups, ops.readers, ops.activation_bytes, ops.output_bytes]
    _, first, same = np.unique(np.stack([*(c[rows] for c in keys), stored]), axis=1, return_index=True,
                               return_inverse=True)  # fmt: skip
    if len(first) < len(rows):
        one = _best(spec, ops, rows[first], stored[first], tiles, bits, swizzle)
        found = {name: values[same.reshape(-1)] for name, values in one.items()}
        return found | {"lmma": _names(ops, rows, found["shape"], bits)}
    unit, count = _unit(spec), len(tiles)
    every = tiles.take(np.repeat(np.arange(count), len(SPLITS)))
    t = Tiles(*(getattr(every, name)[None, :] for name in every.__dataclass_fields__))
    split = np.tile(np.array(SPLITS, np.float64), count)[None, :]
    m, n, k = ops.m[rows, None], ops.n[rows, None], np.maximum(ops.k[rows, None], 1)
    b_w = stored[:, None]

    x, w = t.t_m * t.row_bytes, t.t_n * t.t_k * b_w / 8  # bytes of one step
    stage = x + w
    blocks_m, blocks_n = np.ceil(m / t.t_m), np.ceil(n / t.t_n)
    grid = blocks_m * blocks_n * split
    steps = np.ceil(k / (split * t.t_k))
    busiest = np.ceil(grid / spec.sms)
    waves = np.ceil(busiest / t.per_sm)
    compute = sm_tiles.arrays_cycles(t, busiest, steps, lmma.sub_cores(unit))
    passing = stage + x * t.g_n + w * t.g_m
    shared = busiest * steps * passing / spec.shared_bytes_per_cycle_per_sm
    scaling = scaling_operations(ops, np.ones(len(ops.m), bool))[rows, None]
    vector = scaling / (spec.sms * spec.vector_ops_per_cycle_per_sm)
    y = np.maximum(ops.output_bytes / np.maximum(ops.m * ops.n, 1), 1)[rows, None]
    partial = np.where(split > 1, 2 * sm_tiles.ACCUMULATOR_BYTES * split * m * n, 0.0)
    loaded = grid * steps * stage
    l2_bytes = loaded + m * n * y + partial
    l2 = np.maximum(l2_bytes / spec.l2_bytes_per_cycle, busiest * steps * stage / spec.l2_bytes_per_cycle_per_sm)
    acts, weights = m * k / t.t_k * t.row_bytes, n * k * b_w / 8
    dram_in = _dram(spec, t, swizzle, m, n, k, b_w, acts, weights, m * n * y, blocks_m, blocks_n)
    dram = (dram_in + m * n * y) / spec.dram_bytes_per_cycle
    far = spec.dram.latency_ns * spec.clock_mhz * 1e-3
    wait = spec.l2_latency_cycles + far * np.minimum(dram_in / loaded, 1.0)
    latency = waves * steps * wait / (t.stages - 1)
    drain = t.t_m * t.t_n * y * np.where(t.per_sm == 1, busiest, 1) / spec.l2_bytes_per_cycle_per_sm
    ends = waves * (spec.l2_latency_cycles + far) + drain + partial / spec.l2_bytes_per_cycle
    parts = [compute, shared, np.broadcast_to(vector, compute.shape), l2, dram, latency]
    total = np.maximum.reduce(parts) + ends
    total = np.where((split == 1) | (k >= split * t.t_k), total, np.inf)
    near = total <= NEAR * total.min(axis=1, keepdims=True)
    pick = np.where(near, l2_bytes, np.inf).argmin(axis=1)
    at = (np.arange(len(rows)), pick)
    chosen, shape = every.take(pick), total.shape

    def of(array: Floats) -> Floats:
        return np.broadcast_to(array, shape)[at].astype(np.float64)

    live = np.ceil(of(np.broadcast_to(m, shape)) / chosen.t_m) * chosen.t_m / chosen.i_m
    lmmas = live * of(blocks_n) * chosen.t_n / chosen.i_n * of(steps) * split[0, pick]
    shapes = np.stack([chosen.i_m, chosen.i_n, chosen.t_k], axis=1)
    return {
        **dict(zip(PARTS, (of(p) for p in parts), strict=True)),
        "ends": of(ends),
        "dram_bytes": of(dram_in + m * n * y),
        "l2_bytes": of(l2_bytes),
        "shared_bytes": of(grid * steps * passing),
        "vector_ops": scaling[:, 0],
        "waves": of(waves),
        "lmmas": lmmas,
        "stages": chosen.stages,
        "registers": chosen.registers,
        "blocks_per_sm": chosen.per_sm,
        "shape": shapes,
        "lmma": _names(ops, rows, shapes, bits),
        "warps": np.array([f"{a:.0f}x{b:.0f}" for a, b in zip(chosen.g_m, chosen.g_n, strict=True)], dtype=object),
        "label": np.array(
            [f"{a:.0f}x{b:.0f}x{c:.0f}/{s:.0f}"
             for a, b, c, s in zip(chosen.t_m, chosen.t_n, chosen.t_k, split[0, pick], strict=True)], dtype=object
        ),
    }  # fmt: skip


def _dram(
    spec: GpuSpec, t: Tiles, swizzle: bool, m: Floats, n: Floats, k: Floats, b_w: Floats, acts: Floats,
    weights: Floats, output: Floats, blocks_m: Floats, blocks_n: Floats,
) -> Floats:  # fmt: skip
    """(R, C) bytes that weights and row operands bring from DRAM."""
    resident = weights + acts + output <= L2_SHARE * spec.l2_mib * 2**20
    slots = np.minimum(spec.sms * t.per_sm, blocks_m * blocks_n)
    row, column = t.t_m * t.row_bytes / t.t_k, t.t_n * b_w / 8  # bytes of a block's rows and columns per k
    if swizzle:
        patch_rows = np.clip(np.sqrt(slots * column / row), 1, blocks_m)
        patch_columns = np.clip(slots / patch_rows, 1, blocks_n)
    else:
        patch_columns = np.minimum(slots, blocks_n)
    patch_rows = np.clip(slots / patch_columns, 1, blocks_m)
    patches = blocks_m * blocks_n / (patch_rows * patch_columns)
    streamed = patches * (patch_rows * row + patch_columns * column) * k
    return np.where(resident, weights + acts, np.maximum(streamed, weights + acts))


def _names(ops: Operators, rows: Any, shapes: Floats, bits: int) -> Any:
    """(R,) names of the chosen instructions."""
    names, formats = [], ops.frame["activation_format"].to_numpy(object)
    for i, row in enumerate(rows):
        activation = formats[row] if formats[row] in lmma.ACTIVATIONS else "fp16"
        m, n, k = (int(side) for side in shapes[i])
        names.append(str(lmma.Lmma(m, n, k, activation, f"int{bits}", "int32", "fp16")))
    return np.array(names, dtype=object)


def redundancy(n_total: int, n_array: int) -> float:
    """Return how often arrays of n columns build a table that a precompute operator builds once: N_total / N_array.

    >>> redundancy(12288, 4)
    3072.0
    """
    return n_total / n_array


def precompute(spec: GpuSpec, ops: Operators, rows: Any) -> dict[str, Any]:
    """Return what tables cost each row: cycles, kernels, vector operations, bytes; ``inside``: built by the arrays."""
    unit, zero = _unit(spec), np.zeros(len(rows))
    m, k, readers = ops.m[rows], ops.k[rows], ops.readers[rows]
    if unit.precompute == "on-the-fly":
        inside = m * np.ceil(k / unit.k) * np.ceil(ops.n[rows] / unit.n)
        return {"cycles": zero, "kernels": zero, "ops": zero, "inside": inside}
    tables = m * np.ceil(k / unit.k) / readers
    entries = 2.0 ** (unit.k - 1)
    operations = tables * (table_additions(unit.k) + entries)  # additions, and one rescale per entry
    written = tables * entries * unit.table_bits / 8
    read = ops.activation_bytes[rows] / readers
    separate = unit.precompute == "separate"
    moved = written + (read if separate else -np.minimum(read, written))  # fused: tables replace the output
    spilled = np.where(written * readers > PRODUCER_SHARE * spec.l2_mib * 2**20, moved, 0.0)
    cycles = np.maximum.reduce(
        [
            operations / (spec.vector_ops_per_cycle_per_sm * spec.sms),
            moved / spec.l2_bytes_per_cycle,
            spilled / spec.dram_bytes_per_cycle,
        ]
    )
    kernels = 1.0 / readers if separate else zero
    return {"cycles": cycles, "kernels": kernels, "ops": operations, "inside": zero, "l2": moved, "dram": spilled}
