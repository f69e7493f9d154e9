"""``lutscape simulate``: per-operator time and totals of a trace on a machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from lutscape.commands.tables import engineering, show


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--hardware", "-w", required=True, metavar="SPEC", help="Packaged name (a100-fp16) or path of a YAML.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override one spec field, e.g. array.n=128.")
@click.option("--operators", is_flag=True, help="One row per distinct operator instead of one per role.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: totals, areas, operators.")
def simulate(trace: Path, hardware: str, changes: tuple[str, ...], operators: bool, as_json: bool) -> None:
    """Time, energy and area of TRACE on a machine.

    TRACE is a file that `lutscape trace` wrote. Prints where the time goes, by operator role and phase, what
    bounds it, and the totals with the grade of each number.
    """
    from lutscape.hw import spec as specs
    from lutscape.models.trace import Trace
    from lutscape.sim.simulate import simulate as run

    spec = specs.load(hardware)
    if changes:
        spec = specs.override(spec, dict(_change(c) for c in changes), place="--set")
    result, ppa = run(spec, Trace.load(trace))
    frame = result.frame()
    frame["energy_uj"] = sum(ppa.energy.values()) * 1e6
    if as_json:
        rows = json.loads(frame.to_json(orient="records"))
        click.echo(
            json.dumps({"machine": spec.name, "digest": spec.digest(), **ppa.as_dict(), "operators": rows}, indent=1)
        )
        return
    table = frame if operators else _by_role(frame)
    total = float((result.seconds * result.count).sum()) * 1e3
    show(
        f"{spec.name} ({spec.technology}, {spec.clock_mhz:g} MHz) on {trace.name}",
        [
            "phase",
            "operator",
            "M x N x K",
            "count",
            "time each",
            "total",
            "share",
            "bound by",
            "DRAM each",
            "energy each",
        ],
        [
            [
                r["phase"],
                r["operator"],
                f"{r['M']} x {r['N']} x {r['K']}",
                str(r["count"]),
                engineering(r["microseconds"] * 1e-6, "s"),
                engineering(r["total_ms"] * 1e-3, "s"),
                f"{100 * r['total_ms'] / total:.1f} %",
                r["bound_by"],
                engineering(r["dram_bytes"], "B"),
                engineering(r["energy_uj"] * 1e-6, "J"),
            ]
            for r in table.to_dict("records")
        ],
        left=(0, 1, 2, 7),
    )
    show(
        "totals",
        ["metric", "value", "grade", "source"],
        [[n, engineering(q.value, q.unit), str(q.grade), q.source] for n, q in ppa.metrics.items()],
        left=(0, 2, 3),
    )
    show(
        f"area: {ppa.area_convention}",
        ["component", "mm²", "grade", "source"],
        [[n, f"{q.value:.4g}", str(q.grade), q.source] for n, q in ppa.area.items()],
        left=(0, 2, 3),
    )
    energy = ppa.total_energy(result)
    joules = sum(energy.values()) or 1.0
    show(
        "energy of the trace",
        ["component", "energy", "share", "grade", "source"],
        [
            [
                n,
                engineering(v, "J"),
                f"{100 * v / joules:.1f} %",
                str(ppa.energy_source[n].grade),
                ppa.energy_source[n].source,
            ]
            for n, v in energy.items()
        ],
        left=(0, 3, 4),
    )


def _by_role(frame: Any) -> Any:
    """One row per phase and operator role: counts and totals added, per-execution values averaged."""
    import pandas as pd

    rows = []
    for (phase, operator), group in frame.groupby(["phase", "operator"], sort=False):
        count = group["count"].sum()
        slowest = group.loc[(group["total_ms"]).idxmax()]
        mean = {c: (group[c] * group["count"]).sum() / count for c in ("microseconds", "dram_bytes", "energy_uj")}
        shape = {d: slowest[d] if group[d].nunique() == 1 else f"…{group[d].max()}" for d in ("M", "N", "K")}
        rows.append(
            {
                "phase": phase,
                "operator": operator,
                **shape,
                "count": count,
                **mean,
                "total_ms": group["total_ms"].sum(),
                "bound_by": slowest["bound_by"],
            }
        )
    return pd.DataFrame(rows)


def _change(text: str) -> tuple[str, Any]:
    import yaml

    from lutscape.hw.errors import UserError

    key, separator, value = text.partition("=")
    if not separator:
        raise UserError(f"--set {text!r}: write KEY=VALUE, for example array.n=128")
    return key.strip(), yaml.safe_load(value)
