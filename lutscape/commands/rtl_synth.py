"""``lutscape rtl synth``: Verilog of a spec, or any Verilog file, to gates: area, delay, critical path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table
from lutscape.commands.rtl_power import SeveralValues

if TYPE_CHECKING:
    from lutscape.rtl.synth import Synthesis
    from lutscape.rtl.synth_sweep import Point

CELLS_SHOWN = 12


@click.command(cls=SeveralValues)
@click.argument("spec")
@click.option("--top", metavar="MODULE", help="Module of a Verilog file; needed where it has several.")
@click.option("--cell", "name", metavar="NAME", help="Module of a spec (lutscape rtl generate SPEC lists them).")
@click.option(
    "--liberty",
    "libraries",
    multiple=True,
    default=("nangate45",),
    show_default=True,
    metavar="LIB...",
    help="nangate45, or Liberty files (.lib, .lib.gz); several are one library. Options end the list.",
)
@click.option("--period", metavar="TIME", help="Clock period to aim at, 1ns; by default the spec's clock, or 1ns.")
@click.option("--driving-cell", metavar="CELL", help="In front of every input; known for Nangate45 and ASAP7.")
@click.option("--load", metavar="CAP", help="On every output: 10fF.")
@click.option("--dont-use", multiple=True, metavar="GLOB", help="Library cells that may not be used; repeatable.")
@click.option("--sweep", "curve", is_flag=True, help="Area against delay: several periods down to the shortest.")
@click.option("--blocks", is_flag=True, help="Area by module too (a second synthesis that keeps the hierarchy).")
@click.option("--netlist", "path", type=click.Path(path_type=Path), help="Write the mapped netlist to FILE.v.")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), default=900.0, show_default=True, help="s per run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def synth(
    spec: str,
    top: str | None,
    name: str | None,
    libraries: tuple[str, ...],
    period: str | None,
    driving_cell: str | None,
    load: str | None,
    dont_use: tuple[str, ...],
    curve: bool,
    blocks: bool,
    path: Path | None,
    timeout_s: float,
    as_json: bool,
) -> None:
    """Map SPEC to a library of standard cells.

    SPEC is a packaged name (lut-tensor-core), the path of a YAML, or a Verilog file (.v, .sv). A spec's cells are
    synthesised one by one. Area is that of the cells; delay has no wires and an ideal clock.

    \b
      lutscape rtl synth lut-tensor-core --period 2ns
      lutscape rtl synth unit.v --top unit --liberty my.lib --driving-cell BUF_X2 --load 10fF --sweep
    """
    from lutscape.hw.errors import UserError
    from lutscape.rtl import quantity
    from lutscape.rtl.synth import synthesise
    from lutscape.rtl.synth_sweep import sweep

    designs, clock_ps = _designs(spec, top, name)
    if path is not None and (len(designs) > 1 or curve):
        raise UserError(
            f"--netlist writes one netlist; {spec} has {len(designs)} cells: choose one with --cell"
            if len(designs) > 1
            else "--netlist writes one netlist, and --sweep makes several; leave one of them out"
        )
    period_ps = quantity.time_ps(period, "--period") if period else clock_ps
    options: dict[str, Any] = {
        "driving_cell": driving_cell,
        "load_ff": quantity.load_ff(load, "--load") if load else None,
        "dont_use": dont_use,
        "timeout_s": timeout_s,
        "keep_hierarchy_for_area": blocks,
    }
    documents = []
    for module, verilog in designs:
        if curve:
            periods = [period_ps] if period else None
            points = sweep(verilog, module, libraries, periods, tell=_tell, **options)
            documents.append({"cell": module, "sweep": [p.as_dict() for p in points]})
            if not as_json:
                _print_sweep(module, points)
            continue
        built = synthesise(verilog, module, libraries, period_ps=period_ps, **options)
        documents.append(_document(built))
        if path is not None:
            _write(path, built.netlist)
        if not as_json:
            _print(built, path)
    if as_json:
        click.echo(json.dumps({"spec": spec, "cells": documents}, indent=1))


def _designs(spec: str, top: str | None, name: str | None) -> tuple[list[tuple[str, str]], float]:
    """Return modules with their Verilog, and the clock period asked for by the spec, ps."""
    import re

    from lutscape.hw import spec as specs
    from lutscape.hw.errors import UserError, choose
    from lutscape.rtl import catalogue

    if not spec.endswith((".v", ".sv")):
        if top is not None:
            raise UserError(f"--top is for Verilog files; {spec} is a spec: use --cell")
        loaded = specs.load(spec)
        cells = list(catalogue.synthesised(loaded))
        if name is not None:
            every = {c.name: c for cell in (*catalogue.cells(loaded), *cells) for c in cell.all_parts}
            cells = [every[choose(name, every, f"cell of {loaded.name}")]]
        return [(c.name, c.verilog()) for c in cells], 1e6 / loaded.clock_mhz
    if name is not None:
        raise UserError(f"--cell is for specs; {spec} is a Verilog file: use --top")
    try:
        text = Path(spec).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"Verilog file {spec!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    bare = re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)
    modules = re.findall(r"\bmodule\s+([A-Za-z_][\w$]*)", bare)
    if not modules:
        raise UserError(f"{spec}: no module")
    if top is None and len(modules) > 1:
        raise UserError(f"{spec}: {len(modules)} modules; say which is the top with --top: {', '.join(modules)}")
    return [(choose(top or modules[0], modules, f"module of {spec}"), text)], 1000.0


def _tell(line: str) -> None:
    click.echo(line, err=True)


def _document(built: Synthesis) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "cell": built.top,
        "library": built.library,
        "area_um2": built.area_um2,
        "gates": built.gates,
        "registers": built.registers,
        "register_area_um2": built.register_area_um2,
        "period_ps": built.period_ps,
        "worst_slack_ps": built.worst_slack_ps,
        "min_period_ps": built.min_period_ps,
        "recipe": built.recipe,
        "cells": dict(built.cells),
        "blocks": {name: asdict(block) for name, block in built.blocks.items()},
        "critical_path": [asdict(step) for step in built.critical_path],
        "driving_cell": built.driving_cell,
        "load_ff": built.load_ff,
        "versions": dict(built.versions),
        "netlist": str(built.path) if built.path else None,
        "seconds": built.seconds,
        "cached": built.cached,
        "key": built.key,
    }


def _write(path: Path, text: str) -> None:
    from lutscape.rtl.synth_cache import replace

    replace(path, text.encode())


def _print(built: Synthesis, path: Path | None) -> None:
    met = "met" if built.worst_slack_ps >= 0 else "MISSED"
    took = "from the cache" if built.cached else f"{built.seconds:.1f} s"
    click.echo(
        f"{built.top}: {built.area_um2:.1f} µm², {built.gates} cells, {built.registers} registers "
        f"({100 * built.register_area_um2 / built.area_um2:.0f} % of the area), {built.library}\n"
        f"period {built.period_ps:g} ps {met}: shortest {built.min_period_ps:.0f} ps, slack "
        f"{built.worst_slack_ps:.0f} ps (no wires, ideal clock); recipe {built.recipe}, {took}\n"
    )
    if built.blocks:
        rows = [
            [n, b.instances, f"{b.area_um2:.1f}", f"{b.instances * b.area_um2:.1f}"] for n, b in built.blocks.items()
        ]
        print_table(["module", "instances", "µm² each", "µm²"], rows, left=["module"])
        click.echo("modules mapped apart; the flat netlist shares logic across their borders\n")
    print_table(
        ["critical path", "cell", "pin", "edge", "delay ps", "arrival ps"],
        [[s.instance, s.cell, s.pin, s.edge, f"{s.delay_ps:.1f}", f"{s.arrival_ps:.1f}"] for s in built.critical_path],
        left=["critical path", "cell", "pin", "edge"],
    )
    largest = sorted(built.cells.items(), key=lambda item: -item[1])[:CELLS_SHOWN]
    click.echo("\nmost used: " + ", ".join(f"{cell} {count}" for cell, count in largest))
    if path is not None:
        click.echo(f"wrote {path}")


def _print_sweep(top: str, points: list[Point]) -> None:
    from lutscape.rtl.synth_sweep import ACTIVITY

    click.echo(f"{top}, {points[0].synthesis.library}")
    print_table(
        ["target ps", "", "shortest ps", "µm²", "cells", f"mW at activity {ACTIVITY:g}", "recipe"],
        [
            [
                f"{p.target_ps:g}",
                "met" if p.synthesis.worst_slack_ps >= 0 else "missed",
                f"{p.synthesis.min_period_ps:.0f}",
                f"{p.synthesis.area_um2:.1f}",
                p.synthesis.gates,
                f"{p.power_w * 1e3:.3f}" if p.power_w is not None else "",
                p.synthesis.recipe,
            ]
            for p in points
        ],
        left=["", "recipe"],
    )
