"""From a finished sweep to one design: which point, what binds it, and what the points beside it would cost.

The rule is the sweep's own (:func:`lutscape.explore.pareto.knee`), over the trials that also keep the constraints that
were added. What binds the choice is found by asking again: without each constraint in turn, and for every swept
parameter with the next smaller and the next larger value, simulated anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lutscape.explore import constraints, notes, pareto, session
from lutscape.explore.constraints import Constraint
from lutscape.explore.evaluate import COMPLETE, evaluate
from lutscape.explore.space import Domain
from lutscape.explore.sweep_file import Plan
from lutscape.explore.workload import FixedTrace
from lutscape.hw import spec as hardware
from lutscape.hw.errors import UserError
from lutscape.hw.ppa import Ppa
from lutscape.hw.result import Result
from lutscape.hw.spec import Spec

NEAR = 0.05
"""A design within this share of a bound is said to lie at it."""


@dataclass(frozen=True)
class Bound:
    """One constraint and the chosen design.

    Attributes:
        constraint: the bound.
        value: that the design reaches.
        without: trial that would be chosen if this constraint were dropped.
    """

    constraint: Constraint
    value: float
    without: int

    @property
    def near(self) -> bool:
        """Whether the design lies at the bound."""
        return abs(self.value - self.constraint.bound) <= NEAR * abs(self.constraint.bound)


@dataclass(frozen=True)
class Neighbour:
    """The chosen design with one parameter moved one step.

    Attributes:
        key: parameter.
        before: value of the chosen design.
        after: value of the neighbour.
        ratios: metric -> neighbour over chosen; empty if refused.
        reason: of a refusal, or the constraint that it breaks.
    """

    key: str
    before: Any
    after: Any
    ratios: dict[str, float]
    reason: str


@dataclass(frozen=True, eq=False)
class Choice:
    """The chosen design and why.

    Attributes:
        directory: of the sweep.
        plan: the sweep, with the constraints of its file.
        constraints: all that were kept: the file's and the added ones.
        number: trial.
        design: parameter -> value.
        spec: resolved hardware.
        result: its timing.
        ppa: its cost.
        front: trials of the front under the constraints, by the first objective.
        bounds: one for each constraint.
        best: objective -> best value on the front.
        neighbours: one step in each parameter.
    """

    directory: Path
    plan: Plan
    constraints: tuple[Constraint, ...]
    number: int
    design: dict[str, Any]
    spec: Spec
    result: Result
    ppa: Ppa
    front: pd.DataFrame
    bounds: tuple[Bound, ...]
    best: dict[str, float]
    neighbours: tuple[Neighbour, ...]


def choose(directory: Path, added: Sequence[str] = (), trial: int | None = None) -> Choice:
    """Pick a design of a finished sweep.

    Args:
        directory: of the sweep.
        added: constraints beyond the file's: ``area_mm2 <= 50``.
        trial: take this one instead of the rule's.

    Raises:
        UserError: not a finished sweep, a store of another version, a bad constraint, no feasible trial (with the
            tightest constraint and the closest value reached), or a trial that is not a feasible one.
    """
    from lutscape.sim.simulate import simulate

    plan, frame, trace = session.load_directory(directory)
    bounds = (*plan.constraints, *(constraints.parse(text) for text in added))
    kept = _kept(frame, bounds)
    if not kept.any():
        session.check_feasible(frame.assign(feasible=kept), replace(plan, constraints=bounds), directory)
    number = _pick(frame, kept, plan) if trial is None else _given(frame, kept, trial)
    row = frame.set_index("number").loc[number]
    design = {key: _native(row[key]) for key in plan.file.parameters}
    spec = hardware.override(plan.template, design, f"trial {number}")
    fixed = FixedTrace.of(trace)
    result, ppa = simulate(spec, fixed)
    front = _front(frame, kept, plan)
    found = {name: q.value for name, q in ppa.metrics.items()}
    limits = []
    for c in bounds:
        others = _kept(frame, [b for b in bounds if b is not c])
        without = _pick(frame, others, plan) if trial is None else number
        limits.append(Bound(c, found.get(c.metric, float("nan")), without))
    points = pareto.costs([front[name].to_numpy(np.float64) for name in plan.file.objectives], plan.file.objectives)
    best = {name: abs(float(points[:, i].min())) for i, name in enumerate(plan.file.objectives)}
    beside = tuple(_neighbours(plan, fixed, design, found, bounds))
    return Choice(directory, plan, bounds, number, design, spec, result, ppa, front, tuple(limits), best, beside)


def _kept(frame: pd.DataFrame, bounds: Sequence[Constraint]) -> npt.NDArray[np.bool_]:
    """Return which trials keep all bounds, (trials,)."""
    kept = (frame["state"] == COMPLETE).to_numpy(bool)
    rows: list[dict[str, float]] = [{str(k): v for k, v in r.items()} for r in frame.to_dict("records")]
    return kept & np.array([all(c.satisfied(row) for c in bounds) for row in rows], bool)


def _points(frame: pd.DataFrame, plan: Plan) -> npt.NDArray[np.float64]:
    return pareto.costs([frame[n].to_numpy(np.float64) for n in plan.file.objectives], plan.file.objectives)


def _pick(frame: pd.DataFrame, kept: npt.NDArray[np.bool_], plan: Plan) -> int:
    rows = np.flatnonzero(kept)
    return int(frame["number"].iloc[rows[pareto.knee(_points(frame, plan)[rows])]])


def _given(frame: pd.DataFrame, kept: npt.NDArray[np.bool_], trial: int) -> int:
    numbers = frame["number"].to_numpy()
    if trial not in numbers:
        raise UserError(f"--trial {trial}: no such trial; allowed: {numbers.min()} … {numbers.max()}")
    if not kept[numbers == trial].all():
        row = frame[numbers == trial].iloc[0]
        why = row["reason"] or row["violated"] or "it breaks an added constraint"
        raise UserError(f"--trial {trial}: not a feasible design: {why}")
    return trial


def _front(frame: pd.DataFrame, kept: npt.NDArray[np.bool_], plan: Plan) -> pd.DataFrame:
    feasible = frame[kept]
    front = feasible[pareto.non_dominated(_points(feasible, plan))]
    return front.sort_values([*plan.file.objectives, "number"]).drop_duplicates(plan.file.objectives)


def steps(domain: Domain, value: Any) -> list[Any]:
    """Return the values next to one in a domain; of a continuous range none, of unordered choices all others."""
    if domain.continuous:
        return []
    values = domain.values()
    if value not in values:
        return []
    if domain.kind == "categorical" and any(isinstance(v, str | bool) for v in values):
        return [v for v in values if v != value]
    ordered = sorted(values, key=float)
    at = ordered.index(value)
    return ordered[max(at - 1, 0) : at] + ordered[at + 1 : at + 2]


def _neighbours(
    plan: Plan, trace: FixedTrace, design: dict[str, Any], found: dict[str, float], bounds: Sequence[Constraint]
) -> list[Neighbour]:
    result = []
    for key, domain in plan.file.parameters.items():
        for value in steps(domain, design[key]):
            outcome = evaluate(plan.template, trace, {**design, key: value})
            if key in outcome.inert:
                continue
            if outcome.state != COMPLETE:
                result.append(Neighbour(key, design[key], value, {}, outcome.reason))
                continue
            broken = [str(c) for c in bounds if not c.satisfied(outcome.metrics)]
            ratios = {n: outcome.metrics[n] / found[n] for n in outcome.metrics if found.get(n)}
            result.append(Neighbour(key, design[key], value, ratios, f"breaks {broken[0]}" if broken else ""))
    return result


def bound_by(result: Result) -> list[tuple[str, float]]:
    """Return what the machine waits for, as shares of the trace's time, the largest first."""
    times = pd.Series(result.seconds * result.count).groupby(pd.Series(result.bound_by)).sum()
    shares = (times / times.sum()).sort_values(ascending=False)
    return [(str(name), float(share)) for name, share in shares.items()]


def reasons(choice: Choice) -> list[str]:
    """Return why this design, one sentence each."""
    from lutscape.explore import text

    plan, metrics = choice.plan, choice.ppa.metrics
    lines = [f"Trial {choice.number} is {notes.chosen_rule(plan)}; {notes.plural(len(choice.front), 'point')} are on "
             f"the front under {notes.plural(len(choice.constraints), 'constraint')}."]  # fmt: skip
    for name in plan.file.objectives:
        value, unit = metrics[name].value, metrics[name].unit
        lines.append(
            f"{text.metric_label(name)}: {text.quantity(value, unit)}, {text.ratio(value, choice.best[name])} the best "
            f"of the front ({text.quantity(choice.best[name], unit)})."
        )
    waits = ", ".join(f"{name} {text.percent(share)}" for name, share in bound_by(choice.result) if share >= 0.01)
    lines.append(f"Its time is bound by: {waits}.")
    for bound in choice.bounds:
        c = bound.constraint
        at = f"{c}: reaches {bound.value:.4g}"
        if bound.without != choice.number:
            lines.append(f"{at}; it binds: without it trial {bound.without} would be chosen.")
        else:
            lines.append(f"{at}; it does not decide the choice" + (", though the design lies at it." if bound.near
                         else "."))  # fmt: skip
    return lines


def _native(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
