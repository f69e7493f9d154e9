"""The report of a sweep: one self-contained index.html, and its figures beside it.

Everything is computed from the store: the trials, the trace, and the hardware files. The chosen design,
the best of each objective and the baselines are simulated again for their operators and components.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lutscape.explore import activity, figures, notes, pareto, store, text
from lutscape.explore.notes import Machine
from lutscape.explore.sweep_file import Plan
from lutscape.explore.workload import FixedTrace
from lutscape.hw import spec as hardware
from lutscape.hw.ppa import METRICS
from lutscape.hw.provenance import Grade
from lutscape.hw.result import Result
from lutscape.hw.spec import Spec
from lutscape.models.trace import Trace

GRADES = {
    Grade.MEASURED: "on silicon, or by simulation of real RTL",
    Grade.SYNTHESISED: "from logic synthesis with a named library",
    Grade.PUBLISHED: "printed in a paper, standard or vendor document that is cited",
    Grade.DERIVED: "computed by a stated formula or model from better-known numbers",
    Grade.ASSUMED: "a judgement; the source says whose and why",
}


def write(directory: Path, plan: Plan, frame: pd.DataFrame, trace: Trace) -> Path:
    """Write index.html, figures/ and chosen.yaml into a sweep's directory; return the path of the first.

    Args:
        directory: of the sweep.
        plan: the sweep.
        frame: its trials, at least one feasible.
        trace: its workload.

    Raises:
        UserError: a file cannot be written.
    """
    machines = compare(plan, frame, FixedTrace.of(trace))
    drawn = _draw(plan, frame, machines)
    for name, (svg, png) in drawn.items():
        store.write(directory / "figures" / f"{name}.svg", svg)
        store.write(directory / "figures" / f"{name}.png", png)
    store.write(directory / "chosen.yaml", hardware_file(machines[0].spec, plan, machines[0].number))
    inline = {
        name: "data:image/svg+xml;base64," + base64.b64encode(svg.encode()).decode() for name, (svg, _) in drawn.items()
    }
    page = _template().render(**_context(plan, frame, trace, machines, store.read_settings(directory)), figures=inline)
    path = directory / "index.html"
    store.write(path, page)
    return path


def compare(plan: Plan, frame: pd.DataFrame, trace: Trace) -> list[Machine]:
    """Simulate the chosen design, the best of each objective on the front, and the baselines."""
    from lutscape.sim.simulate import simulate

    front = frame[frame["is_pareto"]]
    picks: dict[int, list[str]] = {int(front[front["is_chosen"]]["number"].iloc[0]): []}
    for name in plan.file.objectives:
        ascending = METRICS[name][1] == "minimize"
        others = [n for n in plan.file.objectives if n != name]
        order = [name, *others, "number"]
        ways = [ascending, *(METRICS[n][1] == "minimize" for n in others), True]
        best = int(front.sort_values(order, ascending=ways)["number"].iloc[0])
        picks.setdefault(best, []).append(_best_label(name))
    machines = []
    by_number = frame.set_index("number")
    for position, (number, roles) in enumerate(picks.items()):
        design = {key: _native(by_number.at[number, key]) for key in plan.file.parameters}
        spec = hardware.override(plan.template, design, f"trial {number}")
        label = "chosen" if position == 0 else text.names(roles)
        machines.append(Machine(label, "best" if position else "chosen", spec, *simulate(spec, trace), number))
    for name, spec in plan.baselines.items():
        machines.append(Machine(Path(name).stem, "baseline", spec, *simulate(spec, trace)))
    return machines


def hardware_file(spec: Spec, plan: Plan, number: int | None) -> str:
    """Return a design as a hardware YAML, fit for ``lutscape simulate --hardware``."""
    import yaml

    data = spec.model_dump(mode="json", exclude_none=True)
    data["name"] = f"{plan.file.name}-{number}"
    data["description"] = f"Trial {number} of sweep {plan.file.name}, from template {plan.template.name}."
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110)


def _best_label(metric: str) -> str:
    return f"{'most' if METRICS[metric][1] == 'maximize' else 'least'} {text.metric_label(metric)}"


def _native(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def _marked(machines: list[Machine]) -> list[figures.Marked]:
    own = machines[0].ppa.area_convention
    return [
        figures.Marked(m.label, {n: q.value for n, q in m.ppa.metrics.items()}, m.ppa.area_convention == own)
        for m in machines
        if m.role == "baseline"
    ]


def _draw(plan: Plan, frame: pd.DataFrame, machines: list[Machine]) -> dict[str, tuple[str, bytes]]:
    chosen = machines[0]
    own = chosen.ppa.area_convention
    marked = _marked(machines)
    phases = {p: _by_operator(chosen.result, p) for p in ("prefill", "decode") if chosen.result.mask(p).any()}
    main = [m for m in machines if m.role != "best"]
    drawn = {
        "operators": figures.stacked_bars(phases, "s"),
        "energy": figures.stacked_bars({m.label: m.ppa.total_energy(m.result) for m in main}, "J"),
        "area": figures.stacked_bars(
            {m.label: {n: q.value for n, q in m.ppa.area.items()} for m in main if m.ppa.area_convention == own}, "mm2"
        ),
    }
    if len(activity.distinct(frame[frame["is_pareto"]], plan.file.parameters)) > 1:
        drawn["influence"] = figures.influence(frame, plan.file.parameters)
    front = figures.pareto_front(frame, plan.file.objectives, marked)
    if front is not None:
        drawn["pareto"] = front
    stops = sorted({*np.linspace(1, len(frame), min(len(frame), 120)).astype(int).tolist(), len(frame)})
    points = pareto.costs([frame[n].to_numpy() for n in plan.file.objectives], plan.file.objectives)
    if len(plan.file.objectives) == 1:
        drawn["convergence"] = figures.best_so_far(frame, plan.file.objectives[0], plan.file.sampler.population)
    elif len(plan.file.objectives) <= 4:
        volumes = pareto.convergence(points, frame["feasible"].to_numpy(bool), stops)
        drawn["convergence"] = figures.convergence(stops, list(volumes), plan.file.sampler.population)
    return {name: figures.render(figure) for name, figure in drawn.items()}


def _by_operator(result: Result, phase: str) -> dict[str, float]:
    """Return seconds by operator in one phase."""
    table = result.frame()
    table = table[table["phase"] == phase]
    return {str(k): float(v) * 1e-3 for k, v in table.groupby("operator", sort=False)["total_ms"].sum().items()}


def _context(
    plan: Plan, frame: pd.DataFrame, trace: Trace, machines: list[Machine], settings: Mapping[str, Any]
) -> dict[str, Any]:
    chosen = machines[0]
    counts = notes.counts(plan, frame)
    return {
        "plan": plan,
        "file": plan.file,
        "counts": counts,
        "summary": notes.summary(plan, machines, counts, trace),
        "failure": notes.failure(frame),
        "free": notes.free_parameters(plan),
        "mixed": notes.mixed_datapaths(plan, frame, machines),
        "chosen_rule": notes.chosen_rule(plan),
        "tiles": _tiles(plan, chosen),
        "machines": machines,
        "metric_rows": _metric_rows(machines),
        "reference": next((m.label for m in machines if m.role == "baseline"), None),
        "parameter_rows": _parameter_rows(plan, machines),
        "conventions": notes.conventions(machines),
        "operator_rows": _operator_rows(chosen),
        "time_badge": badge(chosen.ppa.metrics["latency_s"]),
        "traffic_badge": badge(chosen.ppa.metrics["dram_gb"]),
        "energy_rows": _component_rows(machines, "energy"),
        "area_rows": _component_rows(machines, "area"),
        "spec_rows": _spec_rows(plan, chosen.spec),
        "workload_rows": _workload_rows(trace),
        "grades": GRADES,
        "settings": settings,
        "sweep_text": plan.text,
        "refusals": notes.refusals(frame),
        "front_rows": _front_rows(plan, frame),
        "outside_view": figures.outside_view(frame, plan.file.objectives, _marked(machines)),
    }


def badge(known: Any) -> dict[str, str]:
    """Return what a template prints for a grade: its name and the source as a tooltip.

    Args:
        known: anything with ``grade`` and ``source``.
    """
    return {"grade": str(known.grade), "source": f"{known.grade}: {known.source}"}


def _tiles(plan: Plan, chosen: Machine) -> list[dict[str, Any]]:
    wanted = [*plan.file.objectives, "time_to_first_token_s", "tokens_per_s", "energy_per_token_j", "power_w"]
    names = [n for n in dict.fromkeys(wanted) if n in chosen.ppa.metrics][:6]
    return [
        {"label": text.metric_label(n), "value": text.quantity(q.value, q.unit), "badge": badge(q)}
        for n in names
        for q in [chosen.ppa.metrics[n]]
    ]


def _metric_rows(machines: list[Machine]) -> list[dict[str, Any]]:
    reference = next((m for m in machines if m.role == "baseline"), None)
    rows = []
    for name, (_, direction, meaning) in METRICS.items():
        if any(name not in m.ppa.metrics for m in machines):
            continue
        values = {id(m): m.ppa.metrics[name] for m in machines}
        comparable = [
            m for m in machines if name != "area_mm2" or m.ppa.area_convention == machines[0].ppa.area_convention
        ]
        best = (max if direction == "maximize" else min)(values[id(m)].value for m in comparable)
        cells = []
        for m in machines:
            q = values[id(m)]
            against = reference is not None and m is not reference and m in comparable and reference in comparable
            cells.append(
                {
                    "value": text.quantity(q.value, q.unit),
                    "ratio": text.ratio(q.value, values[id(reference)].value) if against else "",
                    "badge": badge(q),
                    "best": len(comparable) > 1 and m in comparable and q.value == best,
                    "other_area": m not in comparable,
                }
            )
        rows.append({"label": text.metric_label(name), "meaning": meaning, "cells": cells,
                     "better": "↑" if direction == "maximize" else "↓"})  # fmt: skip
    return rows


def _parameter_rows(plan: Plan, machines: list[Machine]) -> list[dict[str, Any]]:
    leaves = [dict(m.spec.leaves()) for m in machines]
    rows = []
    for key in plan.file.parameters:
        cells = [
            {"value": "–", "title": "no effect" if key in each else "does not have it"}
            if key in m.spec.inert() or key not in each
            else {"value": text.plain(each[key]), "title": ""}
            for m, each in zip(machines, leaves, strict=True)
        ]
        rows.append({"key": key, "unit": text.field_unit(key), "cells": cells})
    return rows


def _operator_rows(chosen: Machine) -> list[dict[str, Any]]:
    """Aggregate the Result by phase and operator, longest first within a phase."""
    table = chosen.result.frame()
    table["dram_total"] = table["dram_bytes"] * table["count"] if "dram_bytes" in table else 0.0
    table["macs_total"] = table["macs"] * table["count"]
    total = table["total_ms"].sum() or 1.0
    rows = []
    for (phase, operator), group in table.groupby(["phase", "operator"], sort=False):
        bound = group.groupby("bound_by")["total_ms"].sum().sort_values(ascending=False)
        rows.append(
            {
                "phase": phase,
                "operator": operator,
                "kind": group["kind"].iloc[0],
                "count": text.plain(int(group["count"].sum())),
                "macs": text.quantity(float(group["macs_total"].sum()), "MAC"),
                "time": text.quantity(float(group["total_ms"].sum()) * 1e-3, "s"),
                "share": float(group["total_ms"].sum()) / total,
                "percent": text.percent(float(group["total_ms"].sum()) / total),
                "bound_by": ", ".join(
                    f"{name} {100 * part:.0f} %" if len(bound) > 1 else str(name)
                    for name, part in (bound / max(bound.sum(), 1e-30)).items()
                    if part >= 0.01 or len(bound) == 1
                ),
                "dram": text.quantity(float(group["dram_total"].sum()), "B"),
            }
        )
    order = {"prefill": 0, "decode": 1}
    phases = table.groupby("phase")["total_ms"].sum()
    for row in rows:
        row["phase_time"] = text.quantity(float(phases[row["phase"]]) * 1e-3, "s")
        row["phase_percent"] = text.percent(float(phases[row["phase"]]) / total)
    return sorted(rows, key=lambda r: (order.get(r["phase"], 2), -r["share"]))


def _component_rows(machines: list[Machine], what: str) -> list[dict[str, Any]]:
    """Return energy or area by component, chosen design and baselines in columns."""
    columns = [m for m in machines if m.role != "best"]
    totals = [
        m.ppa.total_energy(m.result) if what == "energy" else {n: q.value for n, q in m.ppa.area.items()}
        for m in columns
    ]
    rows: list[dict[str, Any]] = []
    unit = "J" if what == "energy" else "mm2"
    for name in dict.fromkeys(n for each in totals for n in each if any(t.get(n) for t in totals)):
        cells: list[dict[str, Any]] = []
        for m, each in zip(columns, totals, strict=True):
            if not each.get(name):
                cells.append({"value": "", "badge": None, "percent": ""})
                continue
            known = m.ppa.energy_source[name] if what == "energy" else m.ppa.area[name]
            whole = sum(each.values()) or 1.0
            cells.append(
                {
                    "value": text.quantity(each[name], unit),
                    "badge": badge(known),
                    "percent": text.percent(each[name] / whole),
                }
            )
        rows.append({"name": name, "cells": cells, "total": False})
    sums = [
        {
            "value": text.quantity(sum(each.values()), unit),
            "badge": badge(m.ppa.metrics[f"{what}_{unit.lower()}"]),
            "percent": "",
        }
        for m, each in zip(columns, totals, strict=True)
    ]
    return [*rows, {"name": "total", "cells": sums, "total": True}]


def _spec_rows(plan: Plan, spec: Spec) -> list[dict[str, Any]]:
    rows = []
    inert = spec.inert()
    for key, value in spec.leaves():
        if key in ("schema_version", "name", "description"):
            continue
        source = spec.provenance(key)
        if key in inert:
            origin, known = "no effect on this design", None
        elif key in plan.file.parameters:
            origin, known = "swept", None
        elif source is not None:
            origin, known = source.source, badge(source)
        elif key == "kind":
            origin, known = "hardware family", None
        elif key == "technology":
            origin, known = "design choice; the node's numbers are cited in configs/technology", None
        else:
            origin, known = "design choice of the template", None
        shown = "–" if key in inert else text.plain(value)
        rows.append({"key": key, "value": shown, "unit": text.field_unit(key), "origin": origin, "badge": known,
                     "swept": origin == "swept"})  # fmt: skip
    return rows


def _workload_rows(trace: Trace) -> list[tuple[str, str]]:
    header = trace.header
    rows = [
        ("model", header.model),
        ("source", header.source),
        ("prompt tokens", str(header.prompt_tokens)),
        ("decode steps", str(header.decode_tokens)),
        ("sequences", str(header.batch)),
        ("formats", f"weights {header.weights}, activations {header.activations}, KV cache {header.kv}, "
                    f"accumulator {header.accumulator}; embedding and output projection {header.head_weights}"),
        ("real tokens", "executed on real weights" if header.executed else "no: shapes alone"),
        ("requantised", "weights, activations and KV computed in these formats, the rest in fp32" if header.requantised
                        else "no: the formats are counted, not computed"),
        ("operators", f"{text.plain(len(trace.rows))} executions, {len(trace.distinct())} distinct"),
    ]  # fmt: skip
    phases: tuple[Literal["prefill", "decode"], ...] = ("prefill", "decode")
    for phase in phases:
        totals = trace.totals(phase)
        if totals["macs"]:
            parts = [f"{text.quantity(totals['macs'], 'MAC')}"]
            parts += [f"{label} {text.quantity(totals[column], 'B')}" for label, column in
                      (("weights", "weight_bytes"), ("activations", "activation_bytes"), ("outputs", "output_bytes"),
                       ("KV read", "kv_read_bytes"), ("KV written", "kv_write_bytes"))]  # fmt: skip
            rows.append((f"{phase} totals", ", ".join(parts)))
    return rows


def _front_rows(plan: Plan, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return every point of the front, by the first objective; of designs equal in all of them one."""
    first = plan.file.objectives[0]
    front = notes.front_points(plan, frame).sort_values(
        [first, "number"], ascending=[METRICS[first][1] == "minimize", True]
    )
    return [
        {
            "number": int(row["number"]),
            "chosen": bool(row["is_chosen"]),
            "metrics": [(float(row[n]), text.quantity(row[n], METRICS[n][0])) for n in plan.file.objectives],
            "design": [
                "" if key in row["inert"].split(activity.SEPARATOR) else text.plain(_native(row[key]))
                for key in plan.file.parameters
            ],
        }
        for _, row in front.iterrows()
    ]


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["metric_label"] = text.metric_label
    environment.globals["plural"] = notes.plural
    environment.filters["tojson_text"] = json.dumps
    return environment.get_template("report.html.j2")
