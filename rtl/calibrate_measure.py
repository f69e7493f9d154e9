"""One row of a calibration table: a design synthesised, its gates run on operands, energy and leakage computed.

Energy is dynamic (internal and switching) and per operation: one beat of an array (one weight pass of one step over
all its elements), one table of a builder, one cycle of a block. Leakage is apart, in watts, because its energy depends
on the clock. Glitches are counted in a second simulation with delays, on fewer streams, and enter as a factor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.rtl import calibrate_operands, gatesim, glitch, liberty, measure, power, sta, streams, synth
from lutscape.rtl.calibrate_grid import Design
from lutscape.rtl.calibrate_operands import Source
from lutscape.rtl.gatesim import Simulation

GLITCH_STREAMS = 4
SCHEMA = 1


@dataclass(frozen=True)
class Setting:
    """What all designs of a calibration have in common.

    Attributes:
        libraries: Liberty files.
        period_ps: target; long, so that netlists are the smallest ones.
        driving_cell: in front of every input.
        load_ff: on every output.
    """

    libraries: tuple[str, ...]
    period_ps: float
    driving_cell: str
    load_ff: float


@dataclass(frozen=True, eq=False)
class _Run:
    """Ports of the gates: random streams first, captured ones behind."""

    ports: Mapping[str, npt.NDArray[np.uint8]]
    first: int
    operations_per_cycle: float
    random: slice
    captured: slice | None


def row(design: Design, setting: Setting, uniform: Source, captured: Source) -> dict[str, Any]:
    """Return the numbers of one design.

    Raises:
        UserError: as synthesis, timing, simulation and power.
    """
    built = synth.synthesise(
        design.verilog, design.top, list(setting.libraries),
        period_ps=setting.period_ps, driving_cell=setting.driving_cell, load_ff=setting.load_ff,
    )  # fmt: skip
    run = _ports(design, uniform, captured)
    library = liberty.load(built.libraries)
    report = built.timing()
    found: dict[str, Any] = {
        "area_um2": built.area_um2,
        "register_area_um2": built.register_area_um2,
        "gates": built.gates,
        "registers": built.registers,
        "min_period_ps": built.min_period_ps,
        "recipe": built.recipe,
    }
    which = {"random": run.random, **({"captured": run.captured} if run.captured is not None else {})}
    for name, part in which.items():
        ports = {port: bits[:, part] for port, bits in run.ports.items()}
        simulated = gatesim.simulate(built.parsed, library, ports, count_from=run.first)
        dynamic, leakage = _power(simulated, report, setting.period_ps)
        found[f"energy_{name}_pj"] = dynamic / run.operations_per_cycle
        found["leakage_uw"] = leakage  # of the operands that were simulated last
        found[f"toggles_{name}"] = _mean_toggles(simulated)
        few = {port: bits[:, :GLITCH_STREAMS] for port, bits in ports.items()}
        settled = gatesim.simulate(built.parsed, library, few, count_from=run.first)
        delayed = glitch.simulate(report, few, count_from=run.first)
        factor = _power(delayed, report, setting.period_ps)[0] / _power(settled, report, setting.period_ps)[0]
        found[f"glitch_{name}"] = factor
    return {**found, "key": built.key, "seconds": built.seconds}


def _ports(design: Design, uniform: Source, captured: Source) -> _Run:
    """Return the stimulus of a design."""
    half = calibrate_operands.STREAMS
    if design.kind == "block":
        ports = calibrate_operands.block_ports(design.cell)
        if not design.cell.clocked:
            return _Run(ports, 2, 1.0, slice(0, half), None)
        return _Run(ports, 4, 1.0, slice(0, half), None)
    assert design.array is not None
    if design.kind == "builder":
        parts = [calibrate_operands.builder_ports(design.array, source) for source in (uniform, captured)]
        both = {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}
        return _Run(both, 2, 1.0, slice(0, half), slice(half, 2 * half))
    bits = design.array.serial_weight_bits
    depth = design.array.k * (calibrate_operands.DEPTH // design.array.k)
    beats: list[Any] = []
    for source in (uniform, captured):
        operands = source.operands(design.array, bits)
        beats += measure.unit_beats(design.array, design.cell, operands, half, depth)
    moved = streams.full_rate(design.cell, beats)
    count = len(next(iter(beats[0]["w"].values())))
    rate = count / (moved.cycles - moved.first)
    return _Run(moved.ports, moved.first, rate, slice(0, half), slice(half, 2 * half))


def _power(simulated: Simulation, report: sta.TimingReport, period_ps: float) -> tuple[float, float]:
    """Return dynamic energy of a cycle, pJ, and leakage, µW."""
    found = power.power(
        report.linked.netlist, report.linked.library, simulated.activity(), period_ps, report, states=measure.STATES
    )
    return (found.internal_w + found.switching_w) * period_ps, found.leakage_w * 1e6


def _mean_toggles(simulated: Simulation) -> float:
    """Return toggles per cycle, averaged over the nets that cells drive."""
    activity, linked = simulated.activity(), simulated.linked
    return float(activity.toggles[linked.driver >= 0].mean())


def settings_key(setting: Setting, hashes: Sequence[str]) -> list[Any]:
    """Return what identifies a setting, paths apart."""
    return [SCHEMA, setting.period_ps, setting.driving_cell, setting.load_ff, *hashes]


def code_hash() -> str:
    """Return a hash of the modules that a row depends on beyond its netlist."""
    from lutscape.rtl import synth_cache

    names = (
        "calibrate_measure.py", "calibrate_operands.py", "gatesim.py", "gatesim_kernel.py", "glitch.py",
        "glitch_kernel.py", "power.py", "power_cells.py", "activity.py", "streams.py",
    )  # fmt: skip
    folder = Path(__file__).parent
    return synth_cache.digest([(folder / name).read_text() for name in names])
