"""Power, performance and area of one unit, from its Verilog and real operands, in one call.

    verify (RTL against golden model) -> synthesise -> time -> simulate the gates on operand streams (outputs
    compared with the golden model again) -> power

What the numbers leave out: wires, clock tree, placement, other corners (see :mod:`lutscape.rtl.sta` and
:mod:`lutscape.rtl.power`); glitches, since the gate simulation has no delays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import gatesim, liberty, power, streams, synth
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.power import PowerReport
from lutscape.rtl.streams import Operands
from lutscape.rtl.synth import Synthesis
from lutscape.sim.lut_tensor_core import golden

STREAMS = 64
"""Tiles simulated side by side: one machine word."""
DEPTH = 64
"""K of each tile; activity is steady after a few steps."""
STATES = "consistent"


@dataclass(frozen=True, eq=False)
class Measurement:
    """A unit at work.

    Attributes:
        cell: what was built.
        synthesis: netlist, area, timing.
        report: power on the operand streams.
        macs_per_cycle: at full rate.
        period_ps: clock at which power is quoted.
        wrong: output values of the gates that differ from the golden model.
        values: output values compared.
        operands: where the streams come from.
    """

    cell: Cell
    synthesis: Synthesis
    report: PowerReport
    macs_per_cycle: float
    period_ps: float
    wrong: int
    values: int
    operands: str

    @property
    def energy_per_mac_fj(self) -> float:
        """fJ of one multiply-accumulate at full rate, leakage at this period included."""
        return self.report.energy_j * 1e15 / self.macs_per_cycle

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        s, p = self.synthesis, self.report
        return {
            "cell": self.cell.name,
            "kind": self.cell.kind,
            "library": s.library,
            "area_um2": s.area_um2,
            "register_area_um2": s.register_area_um2,
            "gates": s.gates,
            "registers": s.registers,
            "target_period_ps": s.period_ps,
            "min_period_ps": s.min_period_ps,
            "period_ps": self.period_ps,
            "macs_per_cycle": self.macs_per_cycle,
            "internal_w": p.internal_w,
            "switching_w": p.switching_w,
            "leakage_w": p.leakage_w,
            "total_w": p.total_w,
            "groups": {k: dict(v) for k, v in p.groups.items()},
            "energy_per_mac_fj": self.energy_per_mac_fj,
            "gate_level_mismatches": self.wrong,
            "gate_level_values": self.values,
            "operands": self.operands,
            "recipe": s.recipe,
            "key": s.key,
        }


def unit_beats(
    array: Array, cell: Cell, operands: Operands, count: int = STREAMS, depth: int = DEPTH, seed: int = 1
) -> list[Beats]:
    """Return one tile of operands per stream as beats of an array or unit cell.

    Tables of a stream share the least shift that clamps none of them.
    """
    from lutscape.rtl.cells import operands as travel
    from lutscape.rtl.cells.unit import activation_beats

    beats = []
    for activations, codes in streams.windows(operands, array.m, array.n, depth, count, seed):
        shift = 0
        if array.looks_up and array.largest_shift:
            shift = int(golden.smallest_shift(array, activations).max())
        tile = (activations, codes, operands.weight_bits, shift)
        one = travel.tiles(array, [tile])
        if any(c.name == "x" for c in cell.inputs):
            per_cycle = int(cell.parameters["tables_per_cycle"])
            one = {"x": activation_beats(array, per_cycle, [tile]), "w": one["w"]}
        beats.append(one)
    return beats


def measure(
    cell: Cell,
    beats: Sequence[Beats],
    macs_per_stream: float,
    operands: str,
    *,
    library: Sequence[str | Path] | str | Path = "nangate45",
    period_ps: float,
    power_period_ps: float | None = None,
    driving_cell: str | None = None,
    load_ff: float | None = None,
    blocks: bool = False,
    tell: Callable[[str], None] | None = None,
) -> Measurement:
    """Synthesise a cell, run its gates on operand streams and compute their power.

    Args:
        cell: clocked.
        beats: of each stream, equal in everything but data.
        macs_per_stream: multiply-accumulates that one stream does, for energy per MAC.
        operands: what the beats are, in words.
        library: name or Liberty files.
        period_ps: target of the synthesis.
        power_period_ps: clock of the power; the target if it was met, else the period reached.
        driving_cell: as in :func:`lutscape.rtl.synth.synthesise`.
        load_ff: likewise.
        blocks: also report area by module (a second synthesis).
        tell: told what happens.

    Raises:
        UserError: as the steps.
    """
    if not beats:
        raise UserError(f"{cell.name}: no operand streams")
    say = tell or (lambda _: None)
    say(f"{cell.name}: synthesis")
    built = synth.synthesise(
        cell.verilog(), cell.name, library, period_ps=period_ps, driving_cell=driving_cell, load_ff=load_ff,
        keep_hierarchy_for_area=blocks,
    )  # fmt: skip
    say(f"{cell.name}: gate simulation")
    cells = liberty.load(built.libraries)
    ports = streams.full_rate(cell, beats)
    simulated = gatesim.simulate(built.parsed, cells, ports.ports, count_from=ports.first)
    wrong = streams.mismatches(cell, ports, simulated)
    clock = power_period_ps or max(period_ps, built.min_period_ps)
    report = power.power(
        built.parsed, cells, simulated.activity(), clock,
        driving_cell=built.driving_cell, load_ff=built.load_ff, states=STATES,
    )  # fmt: skip
    values = sum(f.lanes * len(ports.moves[c.name]) for c in cell.outputs for f in c.fields) * len(beats)
    rate = macs_per_stream / (ports.cycles - ports.first)
    return Measurement(cell, built, report, rate, clock, wrong, values, operands)
