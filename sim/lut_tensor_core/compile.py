"""The compiler's view: a trace as a schedule of kernels on a machine with lookup tables.

The pass splits every matrix product with integer weights in two (arXiv 2408.06003, sec. 3.1.1): tables are built from
an activation tensor once, by ``precompute``, and every product that reads the tensor looks them up. Where the operator
that produces the tensor is in the trace and works element by element at its end (norm, element-wise operator,
attention), the precompute is fused into it and writes tables instead of values; else, or if the spec says
``separate``, it is a kernel of its own. ``on-the-fly``: there is none. Tiles, warps and instructions are those that the
timing model chose. Kernels keep the order of the trace; each distinct one is listed once, with how often it runs.

On the stand-alone accelerator tables are built by its builders; the schedule says loop order, arrangement and steps.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
from lutscape.hw.result import Result
from lutscape.hw.spec import Spec, override
from lutscape.models.trace import Trace
from lutscape.sim.lut_tensor_core import lmma
from lutscape.sim.operators import Operators, prepare
from lutscape.sim.simulate import simulate

FUSES = ("norm", "elementwise", "attention")
"""Kinds of operators that can write tables in place of their output."""


@dataclass(frozen=True)
class Kernel:
    """One kernel of the schedule.

    Attributes:
        phase, name: of the first execution.
        kind: ``precompute``, ``lut``, ``mma``, ``attention``, ``norm``, ``elementwise`` or ``gather``.
        m, n, k: of the operator; of a precompute: rows, tables per row, activations per table.
        count: executions.
        tables_for: products whose tables it builds (fused, or as a kernel of its own).
        tile: thread block t_m x t_n x t_k / split-K, or the arrangement of stand-alone arrays.
        row_bytes, weight_bytes, sum_bytes: of one thread block's operands per stage and of its sums.
        warps, stages, blocks_per_sm, registers: of a thread block; registers of a thread.
        lmma: instruction.
        lmmas: executed by one run of the kernel.
        order, steps: loop order and array cycles on the stand-alone accelerator.
        seconds: of one run, with the gap to the next kernel.
        bound_by: busiest resource.
    """

    phase: str
    name: str
    kind: str
    m: int
    n: int
    k: int
    count: int
    tables_for: tuple[str, ...] = ()
    tile: str = ""
    row_bytes: int = 0
    weight_bytes: int = 0
    sum_bytes: int = 0
    warps: str = ""
    stages: int = 0
    blocks_per_sm: int = 0
    registers: int = 0
    lmma: str = ""
    lmmas: int = 0
    order: str = ""
    steps: int = 0
    seconds: float = 0.0
    bound_by: str = ""


@dataclass(frozen=True)
class Schedule:
    """Kernels and what they add up to."""

    machine: str
    kernels: tuple[Kernel, ...]

    def total(self, phase: str | None = None) -> dict[str, float]:
        """Return kernels run, precomputes fused and separate, LMMA instructions and seconds, of a phase or of all."""
        chosen = [k for k in self.kernels if phase in (None, k.phase)]
        return {
            "kernels": sum(k.count for k in chosen),
            "precompute_kernels": sum(k.count for k in chosen if k.kind == "precompute"),
            "fused_precomputes": sum(k.count for k in chosen if k.tables_for and k.kind != "precompute"),
            "lmmas": sum(k.count * k.lmmas for k in chosen),
            "array_steps": sum(k.count * k.steps for k in chosen),
            "seconds": sum(k.count * k.seconds for k in chosen),
        }

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        phases = dict.fromkeys(k.phase for k in self.kernels)
        return {
            "machine": self.machine,
            "kernels": [asdict(k) for k in self.kernels],
            "totals": {"all": self.total(), **{p: self.total(p) for p in phases}},
        }


def compile_trace(spec: Spec, trace: Trace) -> Schedule:
    """Return the schedule of a trace on a machine with lookup tables.

    Raises:
        UserError: a machine without lookup tables; K or scale groups that do not divide into tables; accumulators
            that could overflow; formats that do not combine.
    """
    if isinstance(spec, GpuSpec) and isinstance(spec.matrix_unit, LutUnit):
        return _gpu(spec, spec.matrix_unit, trace)
    if isinstance(spec, LutTensorCoreSpec) and spec.array.looks_up:
        return _array(spec, trace)
    what = f"matrix_unit.kind {spec.matrix_unit.kind!r}" if isinstance(spec, GpuSpec) else f"kind {spec.kind!r}"
    if isinstance(spec, LutTensorCoreSpec):
        what = f"array.datapath {spec.array.datapath!r}"
    raise UserError(
        f"{spec.name}: {what} looks nothing up, so there is nothing to compile; allowed: matrix_unit.kind lut "
        "(a100-lut-4x), lut-tensor-core with datapath lut, lut-full or unpu"
    )


def _check(name: str, k: int, groups: float, width: int) -> int:
    """Refuse K and scale groups that do not divide into tables; return the group."""
    if k % width:
        low = k // width * width
        near = f"{low} or {low + width}" if low else str(width)
        raise UserError(f"{name}: K = {k} does not divide into tables of k = {width} activations; nearest: {near}")
    group = int(np.ceil(k / groups))
    if groups > 1 and group % width:
        nearest = max(width, round(group / width) * width)
        raise UserError(
            f"{name}: groups of {group} weights change their scale inside a table of k = {width}; nearest: {nearest}"
        )
    return group


def _gpu(spec: GpuSpec, unit: LutUnit, trace: Trace) -> Schedule:
    ops, rows = prepare(trace), trace.distinct()
    lookup = ops.linear & (ops.weight_bits > 0)
    for row in map(int, np.flatnonzero(lookup)):
        _check(str(rows["name"].iloc[row]), int(ops.k[row]), float(ops.groups[row]), unit.k)
    result = simulate(spec, trace)[0]
    separate = result
    if unit.precompute == "fused":
        separate = simulate(override(spec, {"matrix_unit.precompute": "separate"}, "compile"), trace)[0]
    named = {(p, n): i for i, (p, n) in enumerate(zip(rows["phase"], rows["name"], strict=True))}
    builds: dict[int, list[int]] = {}  # producer or first reader -> readers
    fused: dict[int, int] = {}  # reader -> producer
    for row in map(int, np.flatnonzero(lookup)):
        producer = named.get((rows["phase"].iloc[row], rows["input"].iloc[row]))
        if unit.precompute == "fused" and producer is not None and rows["kind"].iloc[producer] in FUSES:
            fused[row] = producer
            builds.setdefault(producer, []).append(row)
    clock, gap = spec.clock_mhz * 1e6, spec.kernel_overhead_us * 1e-6
    kernels: list[Kernel] = []
    standing: set[tuple[str, str]] = set()
    for row in range(len(rows)):
        at = result if row in fused or not lookup[row] else separate
        seconds = float(at.cycles[row]) / clock
        tables = float(at.parts["table"][row]) / clock
        if not lookup[row]:
            kernels.append(_plain(ops, result, row, builds.get(row, []), clock))
            continue
        own = row not in fused and unit.precompute != "on-the-fly"
        if own:
            readers = float(ops.readers[row])
            seconds -= gap / readers
            tensor = (str(rows["phase"].iloc[row]), str(rows["input"].iloc[row]) or str(rows["name"].iloc[row]))
            if tensor not in standing:
                standing.add(tensor)
                kernels.append(_precompute(ops, row, rows, unit.k, tables * readers + gap))
        kernels.append(_lookup(spec, unit, ops, at, row, seconds - tables))
    return Schedule(spec.name, tuple(kernels))


def _plain(ops: Operators, result: Result, row: int, readers: list[int], clock: float) -> Kernel:
    """A kernel without lookups; one that builds tables for ``readers`` takes their precompute with it."""
    frame = ops.frame.iloc[row]
    extra = sum(float(result.parts["table"][r]) for r in readers)
    linear = frame["kind"] == "linear"
    return Kernel(
        frame["phase"], frame["name"], "mma" if linear else frame["kind"], int(frame["M"]), int(frame["N"]),
        int(frame["K"]), int(frame["count"]), tuple(str(ops.frame["operator"].iloc[r]) for r in readers),
        tile=str(result.detail["tile"][row]), seconds=(float(result.cycles[row]) + extra) / clock,
        bound_by=str(result.bound_by[row]),
    )  # fmt: skip


def _precompute(ops: Operators, row: int, rows: Any, width: int, seconds: float) -> Kernel:
    frame = rows.iloc[row]
    same = rows[(rows["phase"] == frame["phase"]) & (rows["input"] == frame["input"]) & (rows["kind"] == "linear")]
    readers = tuple(same["operator"]) if frame["input"] else (str(frame["operator"]),)
    return Kernel(
        frame["phase"], f"{frame['input'] or frame['name']}.tables", "precompute", int(frame["M"]),
        int(ops.k[row]) // width, width, int(frame["count"]), readers, seconds=seconds, bound_by="table",
    )  # fmt: skip


def _lookup(spec: GpuSpec, unit: LutUnit, ops: Operators, result: Result, row: int, seconds: float) -> Kernel:
    frame, detail = ops.frame.iloc[row], result.detail
    instruction = lmma.parse(str(detail["lmma"][row]))
    group = int(np.ceil(ops.k[row] / ops.groups[row]))
    try:
        lmma.check(instruction, unit, group)
    except UserError as error:
        raise UserError(f"{spec.name}: {frame['name']} ({frame['weight_format']}): {error}") from None
    t_m, t_n, t_k = (int(x) for x in str(detail["tile"][row]).split("/")[0].split("x"))
    per_weight = float(ops.weight_bytes[row]) / (ops.n[row] * ops.k[row])
    return Kernel(
        frame["phase"], frame["name"], "lut", int(frame["M"]), int(frame["N"]), int(frame["K"]), int(frame["count"]),
        tile=str(detail["tile"][row]), row_bytes=int(t_m * lmma.row_bytes(unit, t_k)),
        weight_bytes=round(t_n * t_k * per_weight), sum_bytes=4 * t_m * t_n, warps=str(detail["warps"][row]),
        stages=int(detail["stages"][row]), blocks_per_sm=int(detail["blocks_per_sm"][row]),
        registers=int(detail["registers"][row]), lmma=str(instruction), lmmas=int(detail["lmmas"][row]),
        seconds=seconds, bound_by=str(result.bound_by[row]),
    )  # fmt: skip


def _array(spec: LutTensorCoreSpec, trace: Trace) -> Schedule:
    ops, rows = prepare(trace), trace.distinct()
    lookup = ops.linear & (ops.weight_bits > 0)
    for row in map(int, np.flatnonzero(lookup)):
        _check(str(rows["name"].iloc[row]), int(ops.k[row]), float(ops.groups[row]), spec.array.k)
    result = simulate(spec, trace)[0]
    kernels = []
    for row in range(len(rows)):
        frame = ops.frame.iloc[row]
        kind = ("lut" if lookup[row] else "mma") if frame["kind"] == "linear" else str(frame["kind"])
        kernels.append(
            Kernel(
                frame["phase"], frame["name"], kind, int(frame["M"]), int(frame["N"]), int(frame["K"]),
                int(frame["count"]), tile=str(result.detail["arrangement"][row]),
                order=str(result.detail["order"][row]), steps=int(result.parts["array"][row]),
                seconds=float(result.seconds[row]), bound_by=str(result.bound_by[row]),
            )
        )  # fmt: skip
    return Schedule(spec.name, tuple(kernels))
