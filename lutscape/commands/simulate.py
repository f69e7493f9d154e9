"""``lutscape simulate``: per-operator time and totals of a trace on a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lutscape.commands.console import print_table


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--hardware", "-w", required=True, metavar="SPEC", help="Packaged name (a100-fp16) or path of a YAML.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override one spec field: array.n=128.")
@click.option("--operators", is_flag=True, help="One row per distinct operator instead of one per role.")
@click.option("--beside", metavar="GPU", help="Set a measured GPU's times beside each operator: h100-sxm5-80gb.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: totals, areas, operators.")
def simulate(
    trace: Path, hardware: str, changes: tuple[str, ...], operators: bool, beside: str | None, as_json: bool
) -> None:
    """Time, energy and area of TRACE on a machine.

    TRACE is a file that `lutscape trace` wrote. Prints where the time goes, by operator role and phase, what
    bounds it, and the totals with the grade of each number.
    """
    from lutscape.explore.text import percent, quantity, significant
    from lutscape.hw import spec as specs
    from lutscape.models.trace import Trace
    from lutscape.sim.simulate import simulate as run

    loaded = Trace.load(trace)
    spec = specs.load(hardware)
    if changes:
        spec = specs.override(spec, dict(_change(c) for c in changes), place="--set")
    result, ppa = run(spec, loaded)
    frame = result.frame()
    frame["energy_j"] = sum(ppa.energy.values())
    measured = _beside(result, loaded, beside) if beside else None
    if as_json:
        rows = json.loads(frame.to_json(orient="records"))
        document = {"machine": spec.name, "digest": spec.digest(), **ppa.as_dict(), "operators": rows}
        if measured is not None:
            document["beside"] = {"gpu": beside, "operators": json.loads(measured.to_json(orient="records"))}
        click.echo(json.dumps(document, indent=1))
        return
    table = frame if operators else _by_role(frame)
    total = float((result.seconds * result.count).sum()) * 1e3
    click.echo(f"{spec.name} ({Path(spec.technology).stem}, {spec.clock_mhz:g} MHz) on {trace.name}")
    print_table(
        ["phase", "operator", "M", "N", "K", "count", "each", "total", "share", "bound by", "DRAM each", "energy each"],
        [
            [
                r["phase"],
                r["operator"],
                *(r[d] for d in "MNK"),
                r["count"],
                quantity(r["microseconds"] * 1e-6, "s"),
                quantity(r["total_ms"] * 1e-3, "s"),
                percent(r["total_ms"] / total),
                r["bound_by"],
                quantity(r["dram_bytes"], "B"),
                quantity(r["energy_j"], "J"),
            ]
            for r in table.to_dict("records")
        ],
        left=["phase", "operator", "bound by"],
    )
    if measured is not None:
        click.echo(f"\n{beside}, measured kernels (derived: scaled from the nearest shape)")
        print_table(
            ["phase", "operator", "count", "simulated each", "measured each", "measured / simulated", "grade"],
            [_compared(r) for r in measured.to_dict("records")],
            left=["phase", "operator", "grade"],
        )
    click.echo("\ntotals")
    print_table(
        ["metric", "value", "grade", "source"],
        [[n, quantity(q.value, q.unit), q.grade, q.source] for n, q in ppa.metrics.items()],
        left=["metric", "grade", "source"],
    )
    click.echo(f"\narea: {ppa.area_convention}")
    print_table(
        ["component", "mm²", "grade", "source"],
        [[n, significant(q.value), q.grade, q.source] for n, q in ppa.area.items()],
        left=["component", "grade", "source"],
    )
    energy = ppa.total_energy(result)
    joules = sum(energy.values()) or 1.0
    click.echo("\nenergy of the whole trace")
    print_table(
        ["component", "energy", "share", "grade", "source"],
        [
            [n, quantity(v, "J"), percent(v / joules), ppa.energy_source[n].grade, ppa.energy_source[n].source]
            for n, v in energy.items()
        ],
        left=["component", "grade", "source"],
    )


def _beside(result: Any, trace: Any, device: str) -> Any:
    from lutscape.explore import beside_gpu

    return beside_gpu.table(result, trace, device)


def _compared(r: dict[str, Any]) -> list[Any]:
    from lutscape.explore.text import quantity

    simulated, measured = r["simulated_us"], r["measured_us"]
    if measured != measured:  # not measured
        return [r["phase"], r["operator"], r["count"], quantity(simulated * 1e-6, "s"), "–", "–", ""]
    times = [quantity(t * 1e-6, "s") for t in (simulated, measured)]
    return [r["phase"], r["operator"], r["count"], *times, f"{measured / simulated:.3g}", r["grade"]]


def _by_role(frame: Any) -> Any:
    """One row per phase and operator role: counts and totals added, per-execution values averaged.

    Where a dimension differs between executions (keys of attention, step after step), its range is shown.
    """
    import pandas as pd

    rows = []
    for (phase, operator), group in frame.groupby(["phase", "operator"], sort=False):
        count = group["count"].sum()
        mean = {c: (group[c] * group["count"]).sum() / count for c in ("microseconds", "dram_bytes", "energy_j")}
        shape = {d: _range(group[d]) for d in ("M", "N", "K")}
        bound = group.loc[group["total_ms"].idxmax(), "bound_by"]
        total = group["total_ms"].sum()
        rows.append(
            {
                "phase": phase,
                "operator": operator,
                **shape,
                "count": count,
                **mean,
                "total_ms": total,
                "bound_by": bound,
            }
        )
    return pd.DataFrame(rows)


def _range(values: Any) -> str:
    low, high = values.min(), values.max()
    return str(low) if low == high else f"{low}–{high}"


def _change(text: str) -> tuple[str, Any]:
    import yaml

    from lutscape.hw.errors import UserError

    key, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"--set {text!r}: write KEY=VALUE, for example array.n=128")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise UserError(f"--set {key.strip()}: {value!r} is not a YAML value") from None
