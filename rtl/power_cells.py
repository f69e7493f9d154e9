"""Leakage and internal power of all instances of one cell.

- Leakage: the value of each state times its probability. What the states leave uncovered leaks the cell's default:
  ``cell_leakage_power``, and with consistent states also a ``leakage_power`` group without a state.
- Internal, input pin: its own (hidden) energy at its transition, times its toggles, times the probability of the state.
- Internal, output pin: its toggles are shared out over its arcs, in proportion to the toggles of the arc's input times
  the probability that the output follows that input (with consistent states: and that the arc's state holds).
- Energy of a toggle: the mean over a rising and a falling edge. Groups of several supplies (VDD, VSS) add up; leakage
  stated for a ground again does not count twice.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lutscape.rtl.activity import Activity
from lutscape.rtl.expression import Expression, parse
from lutscape.rtl.liberty import Cell, InternalPower
from lutscape.rtl.linked import Linked
from lutscape.rtl.sta import FALL, RISE, Tables, TimingReport
from lutscape.rtl.sta_kernels import interpolate_rows

FJ = 1e-15
Values = NDArray[np.float64]


class CellPower:
    """Duty, rate, transition and load of the pins of all instances of a cell, each (instances,)."""

    def __init__(
        self,
        linked: Linked,
        cell: Cell,
        activity: Activity,
        report: TimingReport,
        rate: Values,
        load: Values,
        consistent: bool,
    ) -> None:
        self.cell, self.consistent = cell, consistent
        names = [*cell.inputs, *cell.outputs]
        nets = linked.columns(cell.name, names)
        self.count = len(nets)
        self.duty = dict(zip(names, activity.duty[nets].T, strict=True))
        self.rate = dict(zip(names, rate[nets].T, strict=True))
        self.load = dict(zip(names, load[nets].T, strict=True))
        self.transition = dict(zip(names, report.transition_ps[nets].transpose(1, 2, 0), strict=True))
        self.functions = functions(cell)
        if cell.register is not None:
            state = cell.register.state[0]
            self.duty[state] = np.full(self.count, 0.5)
            for pin, function in self.functions.items():
                if function.variables == (state,):
                    self.duty[state] = self.duty[pin] if function.table()[1] else 1.0 - self.duty[pin]
        tables = Tables()
        self.numbers = [[tables.add(t) for t in p.energy] for p in cell.internal_power]
        self.rows, self.data = tables.arrays()

    def probability(self, expression: Expression | None) -> Values:
        """Return the probability that an expression of pins and state holds."""
        if expression is None:
            return np.ones(self.count)
        if self.consistent:
            expression = expression.substitute(self.functions)
        return np.broadcast_to(likelihood(expression, self.duty), (self.count,))

    def leakage(self) -> Values:
        """Return leakage, W."""
        leaks = [leak for leak in self.cell.leakage if leak.supply not in self.cell.grounds]
        stated = [leak for leak in leaks if leak.when is not None]
        always = sum(leak.watts for leak in leaks if leak.when is None)
        supplies = len({leak.supply for leak in leaks})
        total, covered = np.zeros(self.count), np.zeros(self.count)
        for leak in stated:
            p = self.probability(leak.when)
            total += leak.watts * p
            covered += p / supplies
        rest = self.cell.default_leakage_w or 0.0
        if not rest and (self.consistent or not stated):
            rest = always
        return total + rest * np.clip(1.0 - covered, 0.0, 1.0)

    def internal(self) -> Values:
        """Return internal power, W."""
        total = np.zeros(self.count)
        arcs: dict[tuple[str, str], list[tuple[Values, Values]]] = {}
        for k, group in enumerate(self.cell.internal_power):
            if group.pin not in self.rate:
                continue
            energy = FJ * self.energy(k, group)
            if self.cell.pins[group.pin].direction == "input":
                total += energy * self.rate[group.pin] * self.hidden(group)
            else:
                arcs.setdefault((group.pin, group.supply), []).append((self.weight(group), energy))
        for (pin, _), parts in arcs.items():
            weights = np.sum([w for w, _ in parts], axis=0)
            shared = np.sum([w * e for w, e in parts], axis=0)
            plain = np.mean([e for _, e in parts], axis=0)  # where no input of the arcs toggles
            mean = np.where(weights > 0, shared / np.where(weights > 0, weights, 1.0), plain)
            total += mean * self.rate[pin]
        return total

    def hidden(self, group: InternalPower) -> Values:
        """Return the probability of the state of an input pin's own energy.

        OpenSTA takes a state that names an output as: the output follows the pin.
        """
        if not self.consistent and group.when is not None:
            for name in group.when.variables:
                function = self.functions.get(name)
                if function is not None:
                    if group.pin in function.variables:
                        return self.probability(difference(function, group.pin))
                    break
        return self.probability(group.when)

    def weight(self, group: InternalPower) -> Values:
        """Return the rate at which an output follows an arc's input (in the arc's state)."""
        start = group.related_pin
        if start not in self.rate:
            return np.ones(self.count)
        function = self.functions.get(group.pin)
        if function is None or start not in function.variables:
            return self.rate[start] * self.probability(group.when)
        follows = difference(function, start)
        if self.consistent and group.when is not None:
            follows = parse("a & b").substitute({"a": follows, "b": group.when.substitute(self.functions)})
        return self.rate[start] * self.probability(follows)

    def energy(self, k: int, group: InternalPower) -> Values:
        """Return energy per toggle in fJ: the mean over the edges of the pin that have a table."""
        found: list[Values] = []
        load = self.load[group.pin] if self.cell.pins[group.pin].direction == "output" else np.zeros(self.count)
        for e in (RISE, FALL):
            number = self.numbers[k][e]
            if number < 0:
                continue
            if group.related_pin not in self.transition:
                sources = [self.transition[group.pin][e]]
            else:
                sources = [self.transition[group.related_pin][f] for f in self.causes(group, e)]
            for x in sources:
                values = interpolate_rows(self.rows, self.data, number, np.ascontiguousarray(x), load)
                found.append(values / len(sources))
        edges = sum(number >= 0 for number in self.numbers[k])
        return np.sum(found, axis=0) / edges if found else np.zeros(self.count)

    def causes(self, group: InternalPower, edge: int) -> tuple[int, ...]:
        """Return the edges of the related pin that may cause an edge of the pin.

        Where both may, OpenSTA takes the opposite one; with consistent states both count half.
        """
        arcs = [a for a in self.cell.arcs if a.pin == group.pin and a.related_pin == group.related_pin]
        for a in arcs:
            if a.kind in ("rising_edge", "falling_edge"):
                return (RISE,) if a.kind == "rising_edge" else (FALL,)
        senses = {a.sense for a in arcs}
        if senses == {"positive_unate"}:
            return (edge,)
        return (1 - edge,) if senses == {"negative_unate"} or not self.consistent else (RISE, FALL)


def likelihood(expression: Expression, duty: Mapping[str, Values]) -> Values:
    """Return the probability that an expression of independent variables holds, shaped like their duties (or (1,))."""
    p = expression.table().astype(np.float64)[:, None]
    for name in reversed(expression.variables):  # the last variable is the top bit of the table's index
        half = len(p) // 2
        p = p[:half] * (1.0 - duty[name]) + p[half:] * duty[name]
    return p[0]


def functions(cell: Cell) -> dict[str, Expression]:
    """Return each output as a function of inputs and, in a register, of its state variable."""
    inverse: dict[str, Expression] = {}
    if cell.register is not None and cell.register.state[1]:
        inverse[cell.register.state[1]] = parse(f"!{cell.register.state[0]}")
    found = {p: cell.pins[p].function for p in cell.outputs}
    return {p: f.substitute(inverse) for p, f in found.items() if f is not None}


def difference(function: Expression, name: str) -> Expression:
    """Return the condition under which a function follows one of its variables."""
    low, high = (function.substitute({name: parse(value)}) for value in "01")
    return parse("a ^ b").substitute({"a": low, "b": high})
