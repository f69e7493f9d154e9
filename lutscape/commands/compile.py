"""``lutscape compile``: the schedule of a trace on a machine with lookup tables."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lutscape.commands.console import print_table


@click.command()
@click.argument("trace", type=click.Path(path_type=Path))
@click.option("--hardware", "-w", required=True, metavar="SPEC", help="Packaged name (a100-lut-4x) or path of a YAML.")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Override: matrix_unit.precompute=separate.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: kernels and totals.")
def compile_(trace: Path, hardware: str, changes: tuple[str, ...], as_json: bool) -> None:
    """Split TRACE into precompute and lookup kernels and print the schedule.

    TRACE is a file that `lutscape trace` wrote. Tables are built by the operator that produces an activation tensor
    where there is one, tiles and LMMA instructions are chosen by the timing model.
    """
    from lutscape.commands.simulate import _change
    from lutscape.explore.text import quantity
    from lutscape.hw import spec as specs
    from lutscape.models.trace import Trace
    from lutscape.sim.lut_tensor_core.compile import compile_trace

    loaded = Trace.load(trace)
    spec = specs.load(hardware)
    if changes:
        spec = specs.override(spec, dict(_change(c) for c in changes), place="--set")
    schedule = compile_trace(spec, loaded)
    if as_json:
        click.echo(json.dumps(schedule.as_dict(), indent=1))
        return
    click.echo(f"{spec.name} on {trace.name}")
    array = any(k.order for k in schedule.kernels)
    columns = ["phase", "kernel", "kind", "M", "N", "K", "runs"]
    if array:
        columns += ["arrangement", "loop order", "array cycles"]
    else:
        columns += ["tile/split", "tables+weights per stage", "warps", "stages", "LMMA", "LMMAs", "registers"]
    rows = []
    for k in schedule.kernels:
        name = f"{k.name} + tables for {', '.join(k.tables_for)}" if k.tables_for and k.kind != "precompute" else k.name
        row: list[object] = [k.phase, name, k.kind, k.m, k.n, k.k, k.count]
        if array:
            row += [k.tile, k.order, k.steps or ""]
        else:
            size = f"{quantity(k.row_bytes, 'B')} + {quantity(k.weight_bytes, 'B')}" if k.lmma else ""
            row += [k.tile, size, k.warps, k.stages or "", k.lmma, k.lmmas or "", k.registers or ""]
        rows.append([*row, quantity(k.seconds, "s"), k.bound_by])
    left = ["phase", "kernel", "kind", "tile/split", "warps", "LMMA", "loop order", "arrangement", "bound by"]
    print_table([*columns, "each", "bound by"], rows, left=left)
    click.echo("\ntotals")
    totals = schedule.as_dict()["totals"]
    counts = ["array_steps"] if array else ["precompute_kernels", "fused_precomputes", "lmmas"]
    print_table(
        ["phase", "kernels", *(c.replace("_", " ") for c in counts), "time"],
        [[p, t["kernels"], *(t[c] for c in counts), quantity(t["seconds"], "s")] for p, t in totals.items()],
        left=["phase"],
    )
