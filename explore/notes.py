"""The sentences of a report and of the command line, each computed from the data that it speaks of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lutscape.explore import activity, text
from lutscape.explore.evaluate import COMPLETE, FAILED, REFUSED
from lutscape.explore.sweep_file import Plan
from lutscape.hw.calibration import tables
from lutscape.hw.ppa import METRICS, Ppa
from lutscape.hw.result import Result
from lutscape.hw.spec import Spec
from lutscape.models.trace import Trace

METHODS = {"nsga2": "NSGA-II", "nsga3": "NSGA-III", "tpe": "TPE", "random": "Random search",
           "qmc": "Quasi-random search", "grid": "The full grid",
           "funnel": "What the rules left of the grid"}  # fmt: skip
TIMES = frozenset({"latency_s", "time_to_first_token_s", "time_per_token_s", "tokens_per_s"})
DATAPATH = "array.datapath"
DATAPATHS = {"lut": "lookup", "mac": "multiplier"}


@dataclass(frozen=True)
class Machine:
    """A machine of the comparison.

    Attributes:
        label: column heading.
        role: ``chosen``, ``best`` or ``baseline``.
        spec: hardware.
        result: its timing.
        ppa: its cost.
        number: trial, for designs of the sweep.
    """

    label: str
    role: str
    spec: Spec
    result: Result
    ppa: Ppa
    number: int | None = None


def plural(count: int, one: str, many: str = "") -> str:
    """Return ``1 design``, ``2 designs``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def front_points(plan: Plan, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the front, of designs equal in all objectives the chosen or else the first."""
    front = frame[frame["is_pareto"]].sort_values(["is_chosen", "number"], ascending=[False, True])
    return front.drop_duplicates(plan.file.objectives)


def counts(plan: Plan, frame: pd.DataFrame) -> dict[str, int]:
    """Return how many trials, distinct designs by what became of them, and points of the front there are."""
    designs = activity.distinct(frame, plan.file.parameters)
    complete = designs["state"] == COMPLETE
    return {
        "trials": len(frame),
        "distinct": len(designs),
        "refused": int((designs["state"] == REFUSED).sum()),
        "failed": int((designs["state"] == FAILED).sum()),
        "feasible": int(designs["feasible"].sum()),
        "outside": int((complete & ~designs["feasible"]).sum()),
        "front": len(front_points(plan, frame)),
    }


def summary(plan: Plan, machines: list[Machine], counts: Mapping[str, int], trace: Trace) -> str:
    """Return the report's first paragraph."""
    chosen = machines[0]
    metrics = chosen.ppa.metrics
    objectives = plan.file.objectives
    feasible = f"{counts['feasible']} {'is' if counts['feasible'] == 1 else 'are'} feasible"
    if len(objectives) == 1:
        found = f"{feasible}, and the best of them by {text.metric_label(objectives[0])} is chosen"
    else:
        found = f"{feasible}, and the Pareto front has {plural(counts['front'], 'point')}"
    reached = text.names([f"{text.metric_label(n)} {text.quantity(metrics[n].value, metrics[n].unit)}"
                          for n in objectives])  # fmt: skip
    sentences = [
        f"{METHODS[plan.file.sampler.name]} tried {plural(counts['distinct'], 'distinct design')} in "
        f"{plural(counts['trials'], 'trial')}; {found}.",
        f"The chosen design, trial {chosen.number}, runs {_workload(trace)} with {reached}.",
    ]
    if plan.funnel is not None:
        sentences.insert(0, f"Rules thinned out the grid before anything was simulated: {plan.funnel.text()}.")
    baseline = next((m for m in machines if m.role == "baseline"), None)
    if baseline is not None:
        parts = []
        for name in objectives:
            if name == "area_mm2" and baseline.ppa.area_convention != chosen.ppa.area_convention:
                continue
            share = text.ratio(metrics[name].value, baseline.ppa.metrics[name].value)
            parts.append(f"{share} its {text.metric_label(name)}")
        if parts:
            sentences.append(f"Beside {baseline.label} that is {text.names(parts)}.")
    return " ".join(sentences)


def _workload(trace: Trace) -> str:
    header = trace.header
    amounts = ((header.prompt_tokens, "prompt"), (header.decode_tokens, "generated"))
    tokens = [plural(n, f"{what} token") for n, what in amounts if n]
    each = f" for each of {header.batch} sequences" if header.batch > 1 else ""
    return (f"{text.names(tokens)} of {header.model}" if tokens else header.model) + each


def chosen_rule(plan: Plan) -> str:
    """Return how the chosen design was chosen, to follow "the chosen design is"."""
    if len(plan.file.objectives) == 1:
        most = "most" if METRICS[plan.file.objectives[0]][1] == "maximize" else "least"
        return f"the feasible one with the {most} {text.metric_label(plan.file.objectives[0])}"
    return (
        "the one of the front that lies nearest to the best value of every objective, each on a logarithmic scale "
        "from 0 to 1 over the front"
    )


def failure(frame: pd.DataFrame) -> str:
    """Return what to say of trials on which a model broke; empty if there are none."""
    failed = frame[frame["state"] == FAILED]
    if not len(failed):
        return ""
    first = failed.iloc[0]
    return (
        f"the model failed on {len(failed)} of {plural(len(frame), 'trial')}, a fault of the model and not of the "
        f"designs, which are left out; first: trial {first['number']}: {first['reason']}"
    )


def mostly_failed(frame: pd.DataFrame) -> bool:
    """Return whether the model failed on more than half of the trials."""
    return bool(2 * (frame["state"] == FAILED).sum() > len(frame))


def free_parameters(plan: Plan) -> str:
    """Return what to say of swept parameters that cost nothing; empty if there are none."""
    free = [key for key in plan.file.parameters if key in plan.template.uncharged]
    if not free:
        return ""
    one = len(free) == 1
    start = (
        f"{text.names(free)} {'is' if one else 'are'} free in this search: times depend on {'it' if one else 'them'}, "
        f"and the area and energy models do not charge {'it' if one else 'them'}"
    )
    its, values = ("its", "value") if one else ("their", "values")
    if TIMES & {*plan.file.objectives, *(c.metric for c in plan.constraints)}:
        return f"{start}, so the front leans to {its} fastest {values}"
    return f"{start} (no objective or constraint is a time)"


def mixed_datapaths(plan: Plan, frame: pd.DataFrame, machines: list[Machine]) -> str:
    """Return the caveat on comparing lookup with multiplier arrays; empty where only one of them appears."""
    shared = {str(dict(m.spec.leaves()).get(DATAPATH)) for m in machines}
    front = front_points(plan, frame)
    if DATAPATH in plan.file.parameters:
        kinds = front[DATAPATH].astype(str)
    else:
        kinds = pd.Series(str(dict(plan.template.leaves()).get(DATAPATH)), index=front.index)
    if not {*shared, *kinds} >= set(DATAPATHS):
        return ""
    shares = [
        f"{n} ({100 * n / len(front):.0f} %) {'is' if n == 1 else 'are'} {label} {'design' if n == 1 else 'designs'}"
        for kind, label in DATAPATHS.items()
        for n in [int((kinds == kind).sum())]
    ]
    node = plan.template.node
    fits = [f"{c.name} {text.percent(c.coefficients['array'].error[1])}" for c in map(tables.load, node.calibration)]
    return (
        "Lookup and multiplier arrays are priced from synthesis of their Verilog with operands of a language model, "
        "glitches counted (hw/calibration); energies of designs that the fits never saw were missed by (root mean "
        f"square) {text.names(fits)}. Of the {plural(len(front), 'point')} of the front {text.names(shares)}."
    )


def conventions(machines: list[Machine]) -> list[dict[str, Any]]:
    """Return each area convention with the machines that follow it, the chosen design's first."""
    groups: dict[str, list[str]] = {}
    for m in machines:
        groups.setdefault(m.ppa.area_convention, []).append(m.label)
    return [{"machines": text.names(labels), "text": convention} for convention, labels in groups.items()]


def refusals(frame: pd.DataFrame) -> list[tuple[int, str]]:
    """Return the most frequent reasons of refusal and failure, and what constraints cut off."""
    refused = frame[frame["state"] != COMPLETE]
    prefix = refused["state"].map({REFUSED: "", FAILED: "model failed: "})
    reasons = prefix + refused["reason"].str.replace(r"\d+(\.\d+)?", "N", regex=True)
    frequent = [(int(n), str(reason)) for reason, n in reasons.value_counts().head(5).items()]
    outside = frame[frame["violated"] != ""]["violated"].str.split("; ").explode().value_counts()
    return frequent + [(int(n), f"outside {name}") for name, n in outside.items()]
