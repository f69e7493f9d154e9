"""The numbers of a unit's PPA report: verification, synthesis, timing, power, and the multiplier baseline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lutscape.explore import rtl_figures, store
from lutscape.explore.papers.frame import draw
from lutscape.hw.errors import UserError
from lutscape.hw.machines.fused_dot import FusedDotSpec
from lutscape.hw.machines.lut_tensor_core import Array, LutTensorCoreSpec
from lutscape.hw.spec import Spec
from lutscape.rtl import catalogue, liberty, measure, power, simulators, streams, synth, verify, waves
from lutscape.rtl import cell as cells
from lutscape.rtl.cells.unit import unit as unit_cell

Say = Callable[[str], None]
ACTIVITIES = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Toggles per net and cycle of the sweep beside the measured operands."""
CURVE = (0.5, 0.7, 1.0, 1.5, 2.5)
"""Targets of the area-delay curve, in clock periods of the spec."""
CURVE_ELEMENTS = 16
"""Elements of the arrays that the curve is drawn for: a larger array repeats the same columns."""


@dataclass(frozen=True)
class Options:
    """What a report is made with.

    Attributes:
        libraries: Liberty files, or one name.
        period_ps: target clock; the spec's by default.
        weight_bits: W of the operands; the spec's widest run, at most 4, by default.
        vectors: per cell.
        seed: of stimulus.
        operands: ``smollm2`` or ``gaussian``.
        driving_cell: of an unnamed library.
        load_ff: likewise.
        curve: also synthesise at shorter and longer targets.
        hardware: what the user called the spec; its name by default.
    """

    libraries: tuple[str, ...] = ("nangate45",)
    period_ps: float | None = None
    weight_bits: int | None = None
    vectors: int = 1000
    seed: int = 1
    operands: str = "smollm2"
    driving_cell: str | None = None
    load_ff: float | None = None
    curve: bool = True
    hardware: str = ""


def baseline(array: Array, weight_bits: int) -> Array:
    """Return the multiplier array with as many multiply-accumulates per cycle as ``array`` at W-bit weights.

    Its multipliers are W bits wide, so that it takes one pass; columns shrink by the passes of ``array``. Where the
    columns do not divide, the next larger whole number is taken and the report compares per MAC.
    """
    passes = -(-weight_bits // array.digit_bits)
    return array.model_copy(
        update={
            "datapath": "mac", "n": max(1, -(-array.n // passes)), "multiplier_weight_bits": weight_bits,
            "serial_weight_bits": weight_bits, "planes_per_cycle": 1,
        }
    )  # fmt: skip


def shortened(array: Array) -> Array:
    """Return an array of the same rows and K with fewer columns: at most :data:`CURVE_ELEMENTS` elements."""
    return array.model_copy(update={"n": min(array.n, max(1, CURVE_ELEMENTS // array.m))})


def measured(spec: Spec, options: Options, say: Say) -> tuple[dict[str, Any], dict[str, str]]:
    """Return every number of the report, and the Verilog and netlist files by name."""
    if not isinstance(spec, LutTensorCoreSpec | FusedDotSpec):
        raise UserError(f"{spec.name}: kind {spec.kind!r} has no Verilog; allowed: fused-dot, lut-tensor-core")
    if isinstance(spec, LutTensorCoreSpec) and not spec.array.integer:
        raise UserError(
            f"{spec.name}: array.activation_format = {spec.array.activation_format!r} has no report yet; allowed: int "
            "(bits and cycles: lutscape rtl verify; area and delay: lutscape rtl synth)"
        )
    found = catalogue.cells(spec)
    top = found[-1]
    period = options.period_ps or 1e6 / spec.clock_mhz
    proofs = []
    for cell in found:
        say(f"{cell.name}: verify")
        simulator = simulators.suited(cell)
        proofs.append(verify.verify(cell, vectors=options.vectors, seed=options.seed, simulator=simulator))
    work = _work(spec, top, options)
    unit = measure.measure(
        top, work.beats, work.macs, work.operands, library=options.libraries, period_ps=period,
        driving_cell=options.driving_cell, load_ff=options.load_ff, blocks=True, tell=say,
    )  # fmt: skip
    say(f"{top.name}: verify the mapped netlist")
    library = liberty.load(unit.synthesis.libraries)
    data: dict[str, Any] = {
        "schema_version": 1,
        "versions": _versions(unit, proofs[-1]),
        "spec": json.loads(spec.model_dump_json()),
        "digest": spec.digest(),
        "cell": described(top),
        "cells": [described(c) for c in found],
        "verification": [p.as_dict() for p in proofs],
        "weight_bits": work.weight_bits,
        "unit": _measured(unit, library),
        "activity": _activities(unit, library),
        "curve": {},
        "baseline": None,
        "wave": [[w.name, w.width, list(w.values)] for w in _wave(top, work)],
        "signed": {c.signal(f.name): f.width for c in top.channels for f in c.fields if f.signed},
        "diagram": draw(lambda ax: rtl_figures.block_diagram(ax, top), 8.6, 3.2),
        "command": report_command(spec, options),
    }
    curves = [top]
    if isinstance(spec, LutTensorCoreSpec):
        curves = [unit_cell(shortened(spec.array))]
    if isinstance(spec, LutTensorCoreSpec) and spec.array.datapath != "mac":
        say("baseline: multipliers of equal throughput")
        array = baseline(spec.array, work.weight_bits)
        other = unit_cell(array)
        operands = _operands(options, work.weight_bits)
        beats = measure.unit_beats(array, other, operands)
        against = measure.measure(
            other, beats, _macs(array), operands.source, library=options.libraries, period_ps=period,
            power_period_ps=None, driving_cell=options.driving_cell, load_ff=options.load_ff, tell=say,
        )  # fmt: skip
        data["baseline"] = {**_measured(against, library), "array": json.loads(array.model_dump_json())}
        curves.append(unit_cell(baseline(shortened(spec.array), work.weight_bits)))
    for cell in curves if options.curve else []:
        data["curve"][cell.name] = _curve(cell, options, period, say)
    files = {f"{top.name}.v": top.verilog(), f"{top.name}.mapped.v": unit.synthesis.netlist}
    return data, files


@dataclass(frozen=True, eq=False)
class _Work:
    beats: list[cells.Beats]
    macs: float
    operands: str
    weight_bits: int


def _work(spec: LutTensorCoreSpec | FusedDotSpec, top: cells.Cell, options: Options) -> _Work:
    """Return what the unit computes while its power is measured."""
    if isinstance(spec, LutTensorCoreSpec):
        bits = options.weight_bits or min(spec.array.serial_weight_bits, 4)
        if not 1 <= bits <= spec.array.serial_weight_bits:
            raise UserError(f"--weight-bits {bits}: this array takes 1 … {spec.array.serial_weight_bits}")
        operands = _operands(options, bits)
        return _Work(measure.unit_beats(spec.array, top, operands), _macs(spec.array), operands.source, bits)
    beats = []
    for s in range(measure.STREAMS):
        one = top.stimulus(np.random.default_rng(options.seed), 64)
        two = top.stimulus(np.random.default_rng(options.seed + s), 64)
        count = len(next(iter(next(iter(one.values())).values())))
        beats.append({c: {f: v[:count] for f, v in fields.items()} for c, fields in two.items()})
    shortest = min(len(next(iter(next(iter(b.values())).values()))) for b in beats)
    beats = [{c: {f: v[:shortest] for f, v in fields.items()} for c, fields in b.items()} for b in beats]
    return _Work(beats, float(shortest * top.operations), "stimulus of the verification: all classes of numbers", 0)


def _operands(options: Options, weight_bits: int) -> streams.Operands:
    if options.operands == "gaussian":
        return streams.gaussian(weight_bits, options.seed)
    return streams.captured(weight_bits)


def _macs(array: Array) -> float:
    return float(array.m * array.n * measure.DEPTH)


def tool_versions() -> dict[str, str]:
    """Return the versions of this package and what it computes with."""
    found = store.versions()
    return {k: found[k] for k in found if k in ("lutscape", "python", "numpy", "numba")}


def _versions(unit: measure.Measurement, proof: verify.Verification) -> dict[str, str]:
    return {**tool_versions(), **dict(unit.synthesis.versions), "simulator": proof.simulator}


def described(cell: cells.Cell) -> dict[str, Any]:
    """Return a cell's interface as plain data."""
    return {
        "name": cell.name,
        "kind": cell.kind,
        "parameters": dict(cell.parameters),
        "latency": cell.latency,
        "interval": cell.interval,
        "formula": cell.formula,
        "numbers": cell.numbers,
        "clocked": cell.clocked,
        "ports": [
            [c.direction, c.name, f.name, f.lanes, f.width, f.signed, f.meaning]
            for c in cell.channels
            for f in c.fields
        ],
    }


def _measured(unit: measure.Measurement, library: liberty.Library) -> dict[str, Any]:
    s = unit.synthesis
    areas = {name: count * library.cell(name, "netlist").area_um2 for name, count in s.cells.items()}
    largest = sorted(areas.items(), key=lambda r: -r[1])[:12]
    return {
        **unit.as_dict(),
        "driving_cell": s.driving_cell,
        "load_ff": s.load_ff,
        "seconds": s.seconds,
        "blocks": {
            name: {"instances": b.instances, **{k: getattr(b, k) * b.instances for k in ("area_um2", "registers")}}
            for name, b in s.blocks.items()
        },
        "by_cell": [[n, s.cells[n], a] for n, a in largest],
        "path": [
            [t.instance, t.cell, t.pin, t.edge, t.delay_ps, t.transition_ps, t.arrival_ps] for t in s.critical_path
        ],
    }


def _activities(unit: measure.Measurement, library: liberty.Library) -> list[dict[str, Any]]:
    """Power at uniform activities and on the operands."""
    s, rows = unit.synthesis, []
    report = s.timing(unit.period_ps)
    for toggles in ACTIVITIES:
        p = power.power(s.parsed, report.linked.library, toggles, unit.period_ps, report, states=measure.STATES)
        rows.append({"label": f"{toggles:g}", **_components(p)})
    return [*rows, {"label": "operands", **_components(unit.report)}]


def _components(p: power.PowerReport) -> dict[str, float]:
    return {"internal": p.internal_w, "switching": p.switching_w, "leakage": p.leakage_w}


def _curve(cell: cells.Cell, options: Options, period_ps: float, say: Say) -> list[dict[str, float]]:
    """Area and period reached at several targets."""
    points = []
    for factor in CURVE:
        say(f"{cell.name}: synthesise at {period_ps * factor:.0f} ps for the curve")
        s = synth.synthesise(
            cell.verilog(), cell.name, options.libraries, period_ps=period_ps * factor,
            driving_cell=options.driving_cell, load_ff=options.load_ff,
        )  # fmt: skip
        points.append({"target_ps": s.period_ps, "period_ps": s.min_period_ps, "area_um2": s.area_um2})
    return points


def _wave(top: cells.Cell, work: _Work) -> list[waves.Wave]:
    """Waveforms of the first beats of one operation."""
    if not top.clocked:
        return []
    first = {c: {f: v[:6] for f, v in fields.items()} for c, fields in work.beats[0].items()}
    last = first.get("w", {}).get("last")
    if last is not None and len(last):
        last = last.copy()
        last[-1] = 1
        first["w"]["last"] = last
    return waves.record(top, first, 14)


def report_command(spec: Spec, options: Options) -> str:
    """Return the command that writes a report again."""
    libraries = "" if options.libraries == ("nangate45",) else " --liberty " + " ".join(options.libraries)
    bits = f" --weight-bits {options.weight_bits}" if options.weight_bits else ""
    return f"lutscape rtl report {options.hardware or spec.name}{libraries}{bits} -o DIR"
