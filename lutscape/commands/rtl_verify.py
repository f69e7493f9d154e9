"""``lutscape rtl verify``: hold the Verilog of a spec to its golden model, cell by cell."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table

if TYPE_CHECKING:
    from lutscape.rtl.cell import Cell
    from lutscape.rtl.verify import Verification


@click.command()
@click.argument("spec")
@click.option("--cell", "name", metavar="NAME", help="Only this module (lutscape rtl generate SPEC lists them).")
@click.option("--vectors", type=click.IntRange(1), default=1000, show_default=True, help="Output beats per phase.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of stimulus and stalls.")
@click.option(
    "--simulator",
    metavar="NAME",
    default="auto",
    show_default=True,
    help="icarus, verilator, or auto: Icarus, and for wide cells Verilator if it is installed.",
)
@click.option("--gate-level", "libraries", multiple=True, metavar="LIB", help="Map to a library; run the gates.")
@click.option("--driving-cell", metavar="CELL", help="For --gate-level with a library that has no name here.")
@click.option("--load", metavar="CAP", help="For --gate-level with such a library: on every output (10fF).")
@click.option("--timeout", "timeout_s", type=click.FloatRange(1), default=600.0, show_default=True, help="s per cell.")
@click.option("--keep", "folder", type=click.Path(path_type=Path), help="Keep Verilog, logs and reports here.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(
    spec: str,
    name: str | None,
    vectors: int,
    seed: int,
    simulator: str,
    libraries: tuple[str, ...],
    driving_cell: str | None,
    load: str | None,
    timeout_s: float,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Prove the Verilog of SPEC equal to its golden model.

    SPEC is a packaged name (lut-tensor-core, fused-dot-hopper) or the path of a YAML. Every cell of it runs in a
    Verilog simulator: at full rate with its cycles held to the formula, with stalls on both sides, and with resets
    in flight; every output bit is compared. Exit code 1 if anything differs or a coverage bin stays empty.
    """
    from lutscape.hw import spec as specs
    from lutscape.rtl import simulators
    from lutscape.rtl.verify import verify as run

    loaded = specs.load(spec)
    chosen = choose_cells(loaded, name, logic=bool(libraries))
    runs: list[Verification] = []
    for cell in chosen:
        which = simulators.suited(cell) if simulator == "auto" else simulator
        if simulator == "auto" and which == "icarus" and simulators.is_wide(cell):
            install = simulators.VERILATOR_INSTALL
            click.echo(f"{cell.name}: wide ports take Icarus minutes; Verilator is faster: {install}", err=True)
        extra: dict[str, Any] = {}
        if libraries:
            extra = _gates(cell, libraries, driving_cell, load, 1e6 / loaded.clock_mhz)
        workdir = folder / cell.name if folder else None
        options: dict[str, Any] = {"vectors": vectors, "seed": seed, "simulator": which, "timeout_s": timeout_s}
        runs.append(run(cell, workdir=workdir, **options, **extra))
    passed = all(r.passed for r in runs)
    if as_json:
        document = {"spec": loaded.name, "digest": loaded.digest(), "passed": passed}
        click.echo(json.dumps({**document, "cells": [r.as_dict() for r in runs]}, indent=1))
        return 0 if passed else 1
    level = f"gates of {' '.join(Path(x).name for x in libraries)}" if libraries else "Verilog"
    click.echo(f"{loaded.name}: {level} against the golden model, seed {seed}")
    columns = ["cell", "vectors", "mismatches", "handshake", "cycles", "coverage", "simulator", "seconds"]
    print_table(columns, [_row(r) for r in runs], left=["cell", "handshake", "cycles", "simulator"])
    for r in runs:
        for line in r.failures():
            click.echo(f"{r.cell}: {line}")
    click.echo("passed" if passed else "FAILED")
    return 0 if passed else 1


def choose_cells(spec: Any, name: str | None, logic: bool = False) -> list[Cell]:
    """Return the cells of a spec, or the one that was named; ``logic``: without memories, which are not mapped.

    Raises:
        UserError: no cell builds the spec, or no cell of that name.
    """
    from lutscape.hw.errors import choose
    from lutscape.rtl import catalogue

    built: list[Cell] = catalogue.cells(spec)
    mapped: list[Cell] = catalogue.synthesised(spec) if logic else built
    if name is None:
        return mapped
    every = {c.name: c for cell in (*built, *mapped) for c in cell.all_parts}
    return [every[choose(name, every, f"cell of {spec.name}")]]


def _gates(
    cell: Cell, libraries: tuple[str, ...], driving_cell: str | None, load: str | None, period_ps: float
) -> dict[str, Any]:
    """Synthesise a cell; return the arguments of a gate-level run."""
    from lutscape.rtl import liberty, quantity
    from lutscape.rtl.synth import synthesise

    options: dict[str, Any] = {"period_ps": period_ps, "driving_cell": driving_cell}
    options["load_ff"] = quantity.load_ff(load, "--load") if load else None
    unit = synthesise(cell.verilog(), cell.name, libraries, **options)
    return {"netlist": unit.netlist, "library": liberty.load(libraries)}


def _row(run: Verification) -> list[object]:
    """One line of the table."""
    hit = len(run.coverage) - len(run.missing)
    wrong = len(run.mismatches)
    return [
        run.cell,
        sum(run.beats.values()),
        f"{wrong}+" if run.stopped else wrong,
        "ok" if not run.violations else "broken",
        "combinational" if not run.clocked else "differ" if run.late else f"as formula ({run.cycles['full rate']})",
        f"{hit} of {len(run.coverage)}",
        run.simulator,
        f"{run.seconds:.1f}",
    ]
