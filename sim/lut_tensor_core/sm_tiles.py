"""Tiles that a streaming multiprocessor with lookup units can run, before any operator is known.

A candidate is a thread-block tile t_m x t_n x t_k, warps g_m x g_n of u_m x u_n = t_m/g_m x t_n/g_n, and s operand
stages in shared memory. With its LMMA instruction M_i x N_i x t_k (:mod:`lutscape.sim.lut_tensor_core.lmma`):

    registers   R = u_m u_n 4 / 128 + 2 (table and weight registers of one LMMA) + 32 per thread
                ≤ 255 register_scale; w = g_m g_n warps of 32 threads; blocks of w 32 · 4 R bytes share the register
                file of the SM times register_scale. 32: addresses, loop counters, pointers (assumed)
    shared      X = t_m rows of tables (activations where tables are built inside), W = t_n t_k b_w / 8 bytes;
                s (X + W) ≤ shared memory
    occupancy   c = min(register file / block, shared memory / s (X + W), 32 blocks, 64 warps)
    reads       X g_n + W g_m bytes per step: each warp reads what its rows and columns need

Candidates that another one of the same tile beats in LMMA cycles, shared reads, occupancy and stages in flight at
once are left out: they cannot be chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.hw.result import Bools, Floats
from lutscape.sim.lut_tensor_core import array_timing, lmma

LARGEST_ROWS, LARGEST_COLUMNS = 256, 1024
SMALLEST_COLUMNS = 32
K_STEPS = (8, 16, 32, 64)
"""Tables of one row per K step: t_k = k times these."""
WARPS = ((1, 1), (1, 2), (2, 1), (1, 4), (2, 2), (4, 1), (1, 8), (2, 4), (4, 2), (8, 1), (2, 8), (4, 4), (8, 2))
"""Warps along rows and columns, 1 to 16 in a block."""
STAGES = (2, 3, 4)
ACCUMULATOR_BYTES = 4
OTHER_REGISTERS = 32
MOST_BLOCKS, MOST_WARPS = 32, 64
"""Per SM (CUDA programming guide, compute capability 8.0 and 9.0)."""
ROW_MULTIPLES = (1, 2, 4)


@dataclass(frozen=True)
class Tiles:
    """C candidates, (C,) arrays.

    Attributes:
        t_m, t_n, t_k: of a thread block.
        g_m, g_n: warps.
        stages: operand stages.
        i_m, i_n: rows and columns of the LMMA; its K is t_k.
        interval, latency: cycles of one LMMA on a sub-core.
        registers: of a thread.
        per_sm: blocks that share an SM.
        row_bytes: one row's operand over one K step.
    """

    t_m: Floats
    t_n: Floats
    t_k: Floats
    g_m: Floats
    g_n: Floats
    stages: Floats
    i_m: Floats
    i_n: Floats
    interval: Floats
    latency: Floats
    registers: Floats
    per_sm: Floats
    row_bytes: Floats

    @property
    def warps(self) -> Floats:
        """(C,) warps of a block."""
        return self.g_m * self.g_n

    @property
    def per_warp(self) -> Floats:
        """(C,) LMMA instructions of one warp and K step; they are independent of each other."""
        return self.t_m / self.g_m / self.i_m * (self.t_n / self.g_n / self.i_n)

    def __len__(self) -> int:
        return len(self.t_m)

    def take(self, where: npt.NDArray[np.int64] | Bools) -> Tiles:
        """Return some candidates."""
        return Tiles(*(getattr(self, name)[where] for name in self.__dataclass_fields__))


def instructions(unit: LutUnit, weight_bits: int, u_m: Floats, u_n: Floats, t_k: Floats) -> dict[str, Floats]:
    """Return the best LMMA of each warp tile, (C,) arrays; an infinite interval where none divides it.

    The twin of :func:`lutscape.sim.lut_tensor_core.lmma.best` on arrays, with INT32 or FP32 sums.
    """
    arrays = lmma.arrays_per_sub_core(unit)
    planes = array_timing.passes(lmma.array_of(unit, weight_bits), weight_bits)
    most = lmma.thread_registers(unit)
    divisors = [d for d in range(1, arrays + 1) if arrays % d == 0]
    shapes = [(c, r) for c in divisors for r in ROW_MULTIPLES]
    i_m = np.minimum(u_m[:, None], [float(unit.m * c * r) for c, r in shapes])  # (C, O)
    i_n = np.minimum(u_n[:, None], [float(unit.n * arrays // c) for c, _ in shapes])
    k = t_k[:, None]
    fits = (u_m[:, None] % i_m == 0) & (u_n[:, None] % i_n == 0) & (i_m % unit.m == 0) & (i_n % unit.n == 0)
    table = i_m * _row_bytes(unit, k)
    weight = i_n * k * weight_bits / 8
    sums = i_m * i_n * ACCUMULATOR_BYTES
    interval, tiles, ports = (np.full(i_m.shape, np.inf) for _ in range(3))
    for c_m in divisors:  # the arrangement of the arrays
        rows, columns = np.ceil(i_m / (unit.m * c_m)), np.ceil(i_n / (unit.n * (arrays // c_m)))
        beats = rows * columns * (k / unit.k) * planes
        port = np.maximum((table * columns + weight * rows + sums) / lmma.READ_BYTES, sums / lmma.WRITE_BYTES)
        cycles = np.ceil(np.maximum(beats, port))
        better = (cycles < interval) | (cycles == interval) & (np.ceil(1000 * port) < np.ceil(1000 * ports))
        interval = np.where(better, cycles, interval)
        tiles = np.where(better, beats + array_timing.STAGES, tiles)
        ports = np.where(better, port, ports)
    operands = np.ceil(table / lmma.WARP_BYTES) + np.ceil(weight / lmma.WARP_BYTES)
    registers = operands + np.ceil(sums / lmma.WARP_BYTES)
    rate = np.where(fits & (registers <= most), interval / (i_m * i_n * k), np.inf)
    near = np.isclose(rate, rate.min(axis=1, keepdims=True), rtol=1e-12, atol=0)
    pick = (np.arange(len(u_m)), np.where(near, registers, np.inf).argmin(axis=1))
    possible = np.isfinite(rate[pick])
    latency = np.maximum(interval + array_timing.STAGES, tiles) + lmma.REGISTER_STAGES
    return {
        "i_m": i_m[pick],
        "i_n": i_n[pick],
        "interval": np.where(possible, interval[pick], np.inf),
        "latency": np.where(possible, latency[pick], np.inf),
        "operand_registers": operands[pick],
    }


def _row_bytes(unit: LutUnit, k: Floats) -> Floats:
    """Bytes of one row over k activations, a multiple of the unit's k; as :func:`lmma.row_bytes`."""
    if unit.precompute == "on-the-fly":
        return k * lmma.ACTIVATIONS[unit.activation_format] / 8
    return k / unit.k * 2 ** (unit.k - 1) * unit.table_bits / 8


def candidates(spec: GpuSpec, weight_bits: int, stored_bits: float) -> Tiles:
    """Return the tiles of a machine for weights of W planes and ``stored_bits`` bits, scales included.

    Nothing fits: no candidates.
    """
    unit = spec.matrix_unit
    assert isinstance(unit, LutUnit)
    rows = _doublings(unit.m, LARGEST_ROWS, 1)
    columns = _doublings(unit.n, LARGEST_COLUMNS, SMALLEST_COLUMNS)
    steps = [unit.k * s for s in K_STEPS]
    grid = np.meshgrid(rows, columns, steps, np.arange(len(WARPS)), STAGES, indexing="ij")
    t_m, t_n, t_k, grid_of, stages = (g.reshape(-1).astype(np.float64) for g in grid)
    warps = np.array(WARPS, np.float64)[grid_of.astype(np.int64)]
    g_m, g_n = warps[:, 0], warps[:, 1]
    possible = (t_m % g_m == 0) & (t_n % g_n == 0) & (t_m / g_m >= unit.m) & (t_n / g_n >= unit.n)
    row_bytes = _row_bytes(unit, t_k)
    stage = t_m * row_bytes + t_n * t_k * stored_bits / 8
    shared = spec.shared_memory_kib_per_sm * 1024 / (stages * stage)
    sums = np.ceil(t_m / g_m * (t_n / g_n) * ACCUMULATOR_BYTES / lmma.WARP_BYTES)
    possible &= (shared >= 1) & (sums + OTHER_REGISTERS < lmma.thread_registers(unit))
    t_m, t_n, t_k, g_m, g_n, stages, row_bytes, shared, sums = (
        a[possible] for a in (t_m, t_n, t_k, g_m, g_n, stages, row_bytes, shared, sums)
    )
    if not len(t_m):
        return Tiles(*(np.zeros(0) for _ in range(13)))
    keys = np.stack([t_m / g_m, t_n / g_n, t_k])
    distinct, back = np.unique(keys, axis=1, return_inverse=True)
    found = {k: v[back.reshape(-1)] for k, v in instructions(unit, weight_bits, *distinct).items()}
    registers = sums + 2 * found["operand_registers"] + OTHER_REGISTERS
    file = spec.register_file_kib_per_sm * 1024 * unit.register_scale
    per_sm = np.floor(np.minimum(shared, file / (g_m * g_n * lmma.WARP_BYTES * registers)))
    per_sm = np.minimum(per_sm, np.minimum(MOST_BLOCKS, np.floor(MOST_WARPS / (g_m * g_n))))
    fits = (registers <= lmma.thread_registers(unit)) & (per_sm >= 1) & np.isfinite(found["interval"])
    tiles = Tiles(
        t_m, t_n, t_k, g_m, g_n, stages, found["i_m"], found["i_n"], found["interval"], found["latency"], registers,
        per_sm, row_bytes,
    ).take(fits)  # fmt: skip
    return tiles.take(_undominated(tiles, stored_bits))


def _doublings(start: int, most: int, least: int) -> list[int]:
    found, value = [], start
    while value <= most:
        if value >= least:
            found.append(value)
        value *= 2
    return found or [start]


def arrays_cycles(tiles: Tiles, blocks: Floats, steps: Floats, cores: int) -> Floats:
    """Return cycles that the arrays of an SM take for ``blocks`` blocks of ``steps`` K steps, (…, C).

    Warps spread over as many sub-cores as side-by-side blocks reach; each issues :attr:`Tiles.per_warp` instructions
    per step, which hide each other's latency; a step follows the one before in no less than one latency.
    """
    used = np.minimum(cores, tiles.per_sm * tiles.warps)
    issued = np.ceil(blocks * tiles.warps / used) * tiles.per_warp * tiles.interval
    return steps * np.maximum(issued, np.ceil(blocks / tiles.per_sm) * tiles.latency)


def _undominated(tiles: Tiles, stored_bits: float) -> Bools:
    """(C,) candidates that no other one of the same tile beats or equals in all that counts."""
    used = np.minimum(lmma.SUB_CORES, tiles.per_sm * tiles.warps)
    issued = tiles.per_warp * tiles.interval
    reads = tiles.t_m * tiles.row_bytes * tiles.g_n + tiles.t_n * tiles.t_k * stored_bits / 8 * tiles.g_m
    costs = (
        np.ceil(tiles.warps / used) * issued, tiles.warps / used * issued, tiles.latency, reads,
        -tiles.per_sm, -tiles.per_sm * (tiles.stages - 1),
    )  # fmt: skip
    key = (tiles.t_m * 4096 + tiles.t_n) * 4096 + tiles.t_k
    keep = np.ones(len(tiles), bool)
    order = np.argsort(key, kind="stable")
    for part in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
        no_worse = np.ones((len(part), len(part)), bool)  # [a, b]: a is no worse than b
        for cost in costs:
            no_worse &= cost[part, None] <= cost[None, part]
        first = np.triu(no_worse, 1)  # of equals, the earlier one stays
        keep[part] = ~(first | no_worse & ~no_worse.T).any(axis=0)
    return keep


def smallest(spec: GpuSpec) -> str:
    """Return what the smallest tile of a machine needs, for a refusal."""
    unit = spec.matrix_unit
    assert isinstance(unit, LutUnit)
    k = unit.k * K_STEPS[0]
    columns = _doublings(unit.n, LARGEST_COLUMNS, SMALLEST_COLUMNS)[0]
    kib = ceil(2 * (unit.m * lmma.row_bytes(unit, k) + columns * k) / 1024)
    return f"{unit.m} x {columns} x {k} with two stages: {kib} KiB of shared memory with 8-bit weights"
