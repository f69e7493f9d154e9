"""``lutscape rtl generate``: the Verilog of a spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lutscape.commands.console import print_table
from lutscape.commands.rtl_verify import choose_cells

if TYPE_CHECKING:
    from lutscape.rtl.cell import Cell


@click.command()
@click.argument("spec")
@click.option("--cell", "name", metavar="NAME", help="Only this module and what it instantiates.")
@click.option(
    "-o",
    "--output",
    "path",
    type=click.Path(path_type=Path),
    help="FILE.v, or a folder: one file a module.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the modules and their ports as JSON.")
def generate(spec: str, name: str | None, path: Path | None, as_json: bool) -> None:
    """Write the Verilog of SPEC, and list its modules.

    SPEC is a packaged name (lut-tensor-core, fused-dot-hopper) or the path of a YAML. Without -o nothing is written.
    """
    from lutscape.hw import spec as specs

    chosen = choose_cells(specs.load(spec), name)
    modules = list({part.name: part for cell in chosen for part in cell.all_parts}.values())
    written = _write(modules, path) if path else []
    if as_json:
        click.echo(json.dumps({"cells": [_described(c) for c in modules], "written": written}, indent=1))
        return
    print_table(
        ["cell", "kind", "latency", "interval", "inputs", "outputs", "numbers"],
        [
            [
                c.name,
                c.kind,
                c.latency if c.clocked else "combinational",
                c.interval if c.clocked else "",
                _ports(c, "in"),
                _ports(c, "out"),
                c.numbers,
            ]
            for c in modules
        ],
        left=["cell", "kind", "inputs", "outputs", "numbers"],
    )
    for file in written:
        click.echo(f"wrote {file}")


def _write(modules: list[Cell], path: Path) -> list[str]:
    """Write all modules into one file, or each into a file of a folder; return what was written."""
    from lutscape.hw.errors import UserError

    if path.is_dir() or path.suffix not in (".v", ".sv"):
        files = {path / f"{cell.name}.v": cell.source for cell in modules}
    else:
        files = {path: "\n".join(cell.source for cell in modules)}
    for file, text in files.items():
        temporary = file.with_name(f".{file.name}.tmp")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text)
            temporary.replace(file)
        except OSError as error:
            raise UserError(f"{file}: cannot be written ({error.strerror})") from None
    return [str(file) for file in files]


def _ports(cell: Cell, direction: str) -> str:
    """Return channels and widths: ``a(64) w(67)``."""
    found = (c for c in cell.channels if c.direction == direction)
    return " ".join(f"{c.name}({sum(f.bits for f in c.fields)})" for c in found)


def _described(cell: Cell) -> dict[str, object]:
    """Return what a program needs to instantiate a module."""
    return {
        "name": cell.name,
        "kind": cell.kind,
        "parameters": dict(cell.parameters),
        "clocked": cell.clocked,
        "latency": cell.latency,
        "interval": cell.interval,
        "formula": cell.formula,
        "numbers": cell.numbers,
        "channels": [
            {
                "name": c.name,
                "direction": c.direction,
                "meaning": c.meaning,
                "fields": [
                    {"name": f.name, "width": f.width, "lanes": f.lanes, "signed": f.signed, "meaning": f.meaning}
                    for f in c.fields
                ],
            }
            for c in cell.channels
        ],
    }
