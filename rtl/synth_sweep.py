"""Area against delay: one design synthesised at several target periods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutscape.rtl import liberty, power
from lutscape.rtl.synth import Synthesis, synthesise

FACTORS = (1.0, 0.85, 0.72, 0.61, 0.52, 0.44, 0.38)
"""Targets as parts of the shortest period of the smallest netlist, each 15 % below the one before."""
RELAXED_PS = 1e6
ACTIVITY = 0.2


@dataclass(frozen=True, eq=False)
class Point:
    """One synthesis of a sweep.

    Attributes:
        target_ps: period aimed at.
        synthesis: netlist, area, period reached.
        power_w: at the longer of target and period reached, ``activity`` toggles a cycle on every net; None where
            the library has no power tables.
        activity: of that power.
    """

    target_ps: float
    synthesis: Synthesis
    power_w: float | None
    activity: float

    @property
    def period_ps(self) -> float:
        """The clock that the netlist runs at: the target, or the period reached if that is longer."""
        return max(self.target_ps, self.synthesis.min_period_ps)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        s = self.synthesis
        return {
            "target_ps": self.target_ps,
            "met": s.worst_slack_ps >= 0,
            "min_period_ps": s.min_period_ps,
            "area_um2": s.area_um2,
            "gates": s.gates,
            "recipe": s.recipe,
            "power_w": self.power_w,
            "period_ps": self.period_ps,
            "activity": self.activity,
            "key": s.key,
        }


def sweep(
    verilog: str,
    top: str,
    library: Sequence[str | Path] | str | Path = "nangate45",
    periods_ps: Sequence[float] | None = None,
    activity: float = ACTIVITY,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> list[Point]:
    """Return the area-delay curve of a design, the slowest first.

    Args:
        verilog: text with all modules.
        top: module.
        library: as in :func:`lutscape.rtl.synth.synthesise`.
        periods_ps: targets; by default from the shortest period of the smallest netlist down in steps of 15 %, to
            the first that is missed.
        activity: toggles per cycle of every net, for power.
        tell: told what happens.
        options: of ``synthesise``.

    Raises:
        UserError: as ``synthesise``.
    """
    say = tell or (lambda _: None)
    targets = list(periods_ps or ())
    if not targets:
        say(f"{top}: no limit")
        smallest = synthesise(verilog, top, library, period_ps=RELAXED_PS, **options)
        targets = [float(round(smallest.min_period_ps * f)) for f in FACTORS]
    points: list[Point] = []
    for target in sorted(targets, reverse=True):
        say(f"{top}: {target:g} ps")
        built = synthesise(verilog, top, library, period_ps=target, **options)
        points.append(Point(target, built, _power(built, max(target, built.min_period_ps), activity), activity))
        if periods_ps is None and built.worst_slack_ps < 0:
            break
    return points


def _power(built: Synthesis, period_ps: float, activity: float) -> float | None:
    library = liberty.load(built.libraries)
    if not library.has_power():
        return None
    clock = "clk" if "clk" in built.parsed.inputs else None
    report = power.power(
        built.parsed, library, activity, period_ps, driving_cell=built.driving_cell, load_ff=built.load_ff, clock=clock
    )
    return report.total_w
