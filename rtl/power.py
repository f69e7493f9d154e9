"""Power of a mapped netlist from Liberty tables: leakage by state, switching of nets, internal power of cells.

- Leakage: the value of each state (``when``) times its probability; what the states do not cover leaks the cell's
  default.
- Switching: ½·C·V² per toggle of a net that a cell drives; C is the pins and output load on it (no wires). Nets that
  input ports drive are charged to whoever drives them: ``input_switching_w``, not in the total.
- Internal: energy per toggle by input transition and output load, the mean of a rising and a falling edge. An input
  pin's own (hidden) energy counts with its toggles and the probability of its state. An output's toggles are shared
  out over its arcs in proportion to toggles of the arc's input times the probability that the output follows that
  input in the arc's state. Groups of several supplies (VDD, VSS) add up.

State probabilities come from the duty of the nets, taken as independent of each other. Pins of one cell are not: Q
and QN are never equal. ``states="consistent"`` expresses the outputs in a cell's conditions by its inputs and state;
``states="independent"``, the default, treats every pin as independent, as OpenSTA does, which leaves half of the
clock energy out where a library gives it by ``Q & !QN`` (Nangate45 does, ASAP7 does not).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError, choose
from lutscape.rtl.activity import Activity, uniform
from lutscape.rtl.expression import Expression, parse
from lutscape.rtl.liberty import Cell, InternalPower, Library
from lutscape.rtl.linked import Linked
from lutscape.rtl.netlist import Netlist
from lutscape.rtl.sta import FALL, RISE, Tables, TimingReport, timing
from lutscape.rtl.sta_kernels import interpolate_rows

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
        view = _View(linked, cell, activity, timing_report, rate, load, states == "consistent")
        instance_w[rows, 0] = view.internal()
        instance_w[rows, 2] = view.leakage()
    sums = [float(v) for v in instance_w.sum(0)]
    sequential = np.zeros(len(netlist.cells), bool)
    sequential[linked.registers] = True
    groups = {
        group: dict(zip(COMPONENTS, (float(v) for v in instance_w[mask].sum(0)), strict=True))
        for group, mask in (("sequential", sequential), ("combinational", ~sequential))
    }
    ports = [int(n) for bits in netlist.inputs.values() for n in bits]
    return PowerReport(
        *sums,
        sum(sums),
        float(net_w[ports].sum()),
        sum(sums) * period_ps * 1e-12,
        instance_w,
        groups,
        activity.source,
        linked,
    )


class _View:
    """All instances of one cell: duty, rate, transition and load of their pins."""

    def __init__(
        self,
        linked: Linked,
        cell: Cell,
        activity: Activity,
        report: TimingReport,
        rate: NDArray[np.float64],
        load: NDArray[np.float64],
        consistent: bool,
    ) -> None:
        self.cell = cell
        self.names = [*cell.inputs, *cell.outputs]
        nets = linked.columns(cell.name, self.names)
        self.count = len(nets)
        self.duty = dict(zip(self.names, activity.duty[nets].T, strict=True))
        self.rate = dict(zip(self.names, rate[nets].T, strict=True))
        self.load = dict(zip(self.names, load[nets].T, strict=True))
        self.transition = dict(zip(self.names, report.transition_ps[nets].transpose(1, 2, 0), strict=True))
        self.functions = _functions(cell)
        self.replaced = self.functions if consistent or cell.register is None else {}
        if cell.register is not None:
            state = cell.register.state[0]
            for pin, function in self.functions.items():
                if function.variables == (state,):
                    self.duty[state] = self.duty[pin] if function.table()[1] else 1.0 - self.duty[pin]
        self.tables = Tables()
        self.numbers = [[self.tables.add(t) for t in p.energy] for p in cell.internal_power]
        self.rows, self.data = self.tables.arrays()

    def probability(self, expression: Expression | None) -> NDArray[np.float64]:
        """Return the probability that an expression holds, (instances,)."""
        if expression is None:
            return np.ones(self.count)
        expression = expression.substitute(self.replaced)
        p = expression.table().astype(np.float64)[:, None]
        for name in reversed(expression.variables):  # the last variable is the top bit of the table's index
            half = len(p) // 2
            d = self.duty[name]
            p = p[:half] * (1.0 - d) + p[half:] * d
        return np.broadcast_to(p[0], (self.count,))

    def leakage(self) -> NDArray[np.float64]:
        total, covered, always = np.zeros(self.count), np.zeros(self.count), 0.0
        leaks = [leak for leak in self.cell.leakage if leak.supply not in self.cell.grounds]
        supplies = {leak.supply for leak in leaks}
        for leak in leaks:
            if leak.when is None:
                always += leak.watts
            else:
                p = self.probability(leak.when)
                total += leak.watts * p
                covered += p / len(supplies)
        default = self.cell.default_leakage_w
        rest = always if any(leak.when is None for leak in leaks) else (default or 0.0)
        return total + rest * np.clip(1.0 - covered, 0.0, 1.0)

    def internal(self) -> NDArray[np.float64]:
        total = np.zeros(self.count)
        arcs: dict[tuple[str, str], list[tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
        for k, group in enumerate(self.cell.internal_power):
            if group.pin not in self.rate:
                continue
            if self.cell.pins[group.pin].direction == "input":
                watts = 1e-15 * self.energy(k, group) * self.rate[group.pin]
                total += watts * self.probability(group.when)
            else:
                arcs.setdefault((group.pin, group.supply), []).append((self.weight(group), self.energy(k, group)))
        for (pin, _), parts in arcs.items():
            weights = sum(w for w, _ in parts)
            plain = sum(e for _, e in parts) / len(parts)  # where no input of the arcs toggles
            shared = sum(w * e for w, e in parts)
            mean = np.where(weights > 0, shared / np.where(weights > 0, weights, 1.0), plain)
            total += 1e-15 * mean * self.rate[pin]
        return total

    def weight(self, group: InternalPower) -> NDArray[np.float64]:
        """Return the rate at which an output would follow an arc's input in the arc's state, (instances,)."""
        start = group.related_pin
        if start not in self.rate:
            return np.ones(self.count)
        function = self.functions.get(group.pin)
        follows = group.when
        if function is not None and start in function.variables:
            difference = _difference(function, start)
            both = difference if group.when is None else _both(difference, group.when.substitute(self.functions))
            follows = both
        return self.rate[start] * self.probability(follows)

    def energy(self, k: int, group: InternalPower) -> NDArray[np.float64]:
        """Return energy per toggle in fJ, the mean over the edges of the pin that have a table, (instances,)."""
        found: list[NDArray[np.float64]] = []
        load = self.load[group.pin]
        for e in (RISE, FALL):
            if self.numbers[k][e] < 0:
                continue
            if not group.related_pin or group.related_pin not in self.transition:
                sources = [self.transition[group.pin][e]]
            else:
                sources = [self.transition[group.related_pin][f] for f in self.causes(group, e)]
            energies = [
                interpolate_rows(self.rows, self.data, self.numbers[k][e], np.ascontiguousarray(x), load)
                for x in sources
            ]
            found.append(sum(energies) / len(energies))
        return sum(found) / len(found) if found else np.zeros(self.count)

    def causes(self, group: InternalPower, edge: int) -> tuple[int, ...]:
        """Return the edges of the related pin that may cause an edge of the pin."""
        senses = {a.sense for a in self.cell.arcs if a.pin == group.pin and a.related_pin == group.related_pin}
        kinds = {a.kind for a in self.cell.arcs if a.pin == group.pin and a.related_pin == group.related_pin}
        if "rising_edge" in kinds or "falling_edge" in kinds:
            return (RISE,) if "rising_edge" in kinds else (FALL,)
        if senses == {"positive_unate"}:
            return (edge,)
        return (1 - edge,) if senses == {"negative_unate"} else (RISE, FALL)


def _functions(cell: Cell) -> dict[str, Expression]:
    """Return each output as a function of inputs and, in a register, of its state variable."""
    inverse: dict[str, Expression] = {}
    if cell.register is not None and cell.register.state[1]:
        inverse[cell.register.state[1]] = parse(f"!{cell.register.state[0]}")
    found = {p: cell.pins[p].function for p in cell.outputs}
    return {p: f.substitute(inverse) for p, f in found.items() if f is not None}


def _difference(function: Expression, name: str) -> Expression:
    """Return the condition under which the function follows one variable."""
    low = function.substitute({name: Expression((), (parse("0").code[0],))})
    high = function.substitute({name: Expression((), (parse("1").code[0],))})
    return _join(low, high, parse("a ^ b"))


def _both(one: Expression, other: Expression) -> Expression:
    return _join(one, other, parse("a & b"))


def _join(one: Expression, other: Expression, how: Expression) -> Expression:
    return how.substitute({"a": one, "b": other})
