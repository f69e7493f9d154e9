"""Power of a mapped netlist from Liberty tables: leakage by state, switching of nets, internal power of cells.

- Switching: ½·C·V² per toggle of a net that a cell drives; C is the pins and output load on it (no wires). Nets that
  input ports drive, the clock among them, are charged to whoever drives them: ``input_switching_w``, not in the total.
- Leakage and internal power, by cell: :mod:`lutscape.rtl.power_cells`.

Two conventions for the probability of a cell's states (``states``):

- ``independent`` is OpenSTA's: all pins of a cell are independent of each other, outputs too. On the four netlists of
  ``reports/rtl/opensta.json`` the total, and each of the three, is within 0.02 % of OpenSTA 3.1.
- ``consistent`` expresses outputs by inputs and register state: Q and QN are never equal. Where a library gives the
  energy of the clock pin by ``Q & !QN`` (Nangate45 does, ASAP7 does not), ``independent`` gives such states half of
  their probability and so leaves half of the clock energy out; ``consistent`` counts all of it (+18 % of the total
  for a 16-lane lookup unit at activity 0.2, +37 % for one lane with its table; ``opensta.json`` has both).

Missing, in both: wires, the clock tree, glitches unless the activity has them, corners other than the library's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError, choose
from lutscape.rtl.activity import Activity, uniform
from lutscape.rtl.liberty import Library
from lutscape.rtl.linked import Linked
from lutscape.rtl.netlist import Netlist
from lutscape.rtl.power_cells import CellPower
from lutscape.rtl.sta import TimingReport, timing

STATES = ("independent", "consistent")
COMPONENTS = ("internal", "switching", "leakage")


@dataclass(frozen=True, eq=False)
class PowerReport:
    """Power of a netlist.

    Attributes:
        internal_w: of all cells; likewise ``switching_w``, ``leakage_w``; ``total_w`` is their sum.
        input_switching_w: of the nets that input ports drive, clock included; not in the total.
        energy_j: of one clock cycle: total power times the period.
        instance_w: (instances, 3) internal, switching, leakage.
        groups: ``sequential`` and ``combinational`` -> the three components, W.
        activity: where toggles and duty come from.
        linked: netlist and library.
    """

    internal_w: float
    switching_w: float
    leakage_w: float
    total_w: float
    input_switching_w: float
    energy_j: float
    instance_w: NDArray[np.float64]
    groups: Mapping[str, Mapping[str, float]]
    activity: str
    linked: Linked

    def by_cell(self) -> dict[str, Mapping[str, float]]:
        """Return the three components per library cell, the largest first."""
        return self._sums(list(self.linked.netlist.cells))

    def by_prefix(self, separator: str = ".", depth: int = 1) -> dict[str, Mapping[str, float]]:
        """Return the three components per hierarchical prefix of the instance names, the largest first.

        Instances whose names have fewer levels are under "".
        """
        names = [n.split(separator) for n in self.linked.netlist.instances]
        return self._sums([separator.join(n[:depth]) if len(n) > depth else "" for n in names])

    def _sums(self, keys: list[str]) -> dict[str, Mapping[str, float]]:
        names = sorted(set(keys))
        where = {name: k for k, name in enumerate(names)}
        sums = np.zeros((len(names), 3))
        np.add.at(sums, [where[k] for k in keys], self.instance_w)
        order = np.argsort(-sums.sum(1), kind="stable")
        return {names[k]: dict(zip(COMPONENTS, map(float, sums[k]), strict=True)) for k in order}


def power(
    netlist: Netlist,
    library: Library,
    activity: Activity | float,
    period_ps: float,
    timing_report: TimingReport | None = None,
    driving_cell: str | None = None,
    load_ff: float = 0.0,
    clock: str | None = "clk",
    duty: float = 0.5,
    states: str = "independent",
) -> PowerReport:
    """Compute the power of a netlist.

    Args:
        netlist: flat, mapped.
        library: its cells.
        activity: of every net, from a simulation; or one number of toggles per cycle for all nets.
        period_ps: of the clock (without a clock: of one operation).
        timing_report: of the same netlist and library, for transitions and loads; computed if not given.
        driving_cell: as in :func:`lutscape.rtl.sta.timing`, if no report is given.
        load_ff: likewise.
        clock: likewise.
        duty: of every net, where ``activity`` is a number.
        states: ``independent`` or ``consistent``, see above.

    Raises:
        UserError: a library without power tables, or bad arguments.
    """
    choose(states, STATES, "states")
    if not library.has_power():
        raise UserError(
            f"{', '.join(map(str, library.paths))}: no internal_power tables; power needs a library with them"
        )
    if timing_report is None:
        timing_report = timing(netlist, library, period_ps, driving_cell, load_ff, clock=clock)
    linked = timing_report.linked
    if linked.netlist is not netlist or linked.library is not library:
        raise ValueError("the timing report is of another netlist or library")
    if not isinstance(activity, Activity):
        activity = uniform(linked, activity, duty)
    rate = activity.toggles / (period_ps * 1e-12)  # (nets,) toggles per second
    instance_w = np.zeros((len(netlist.cells), 3))
    load = timing_report.load_ff.max(1)
    net_w = 0.5 * load * 1e-15 * library.voltage**2 * rate  # (nets,)
    driven = linked.driver >= 0
    np.add.at(instance_w[:, 1], linked.driver[driven], net_w[driven])
    for name, cell in linked.cells.items():
        rows = netlist.by_cell[name]
        view = CellPower(linked, cell, activity, timing_report, rate, load, states == "consistent")
        instance_w[rows, 0] = view.internal()
        instance_w[rows, 2] = view.leakage()
    internal, switching, leakage = (float(v) for v in instance_w.sum(0))
    total = internal + switching + leakage
    sequential = np.zeros(len(netlist.cells), bool)
    sequential[linked.registers] = True
    groups = {
        group: dict(zip(COMPONENTS, (float(v) for v in instance_w[mask].sum(0)), strict=True))
        for group, mask in (("sequential", sequential), ("combinational", ~sequential))
    }
    ports = [int(n) for bits in netlist.inputs.values() for n in bits]
    return PowerReport(
        internal,
        switching,
        leakage,
        total,
        float(net_w[ports].sum()),
        total * period_ps * 1e-12,
        instance_w,
        groups,
        activity.source,
        linked,
    )
