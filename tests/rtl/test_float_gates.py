"""Mapped gates of floating-point cells on 1000 vectors and more: two small ones, and in minutes all kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from lutscape.rtl import catalogue, liberty
from lutscape.rtl.cell import Cell
from lutscape.rtl.synth import synthesise
from lutscape.rtl.verify import verify

REFERENCE = catalogue.reference_floats()
SMALL = [c for c in REFERENCE if c.name in ("fp_add_e4m3", "weight_loader_n2k2w4t")]
LONG = [c for c in REFERENCE if c.kind in ("fp_convert", "fp_builder", "fp_lut_pe", "fp_tensor_unit", "fp_mac_array")]


def check_gates(cell: Cell, library: liberty.Library, folder: Path) -> None:
    netlist = folder / "mapped.v"
    netlist.write_text(synthesise(cell.verilog(), cell.name, period_ps=6000).netlist)
    run = verify(cell, vectors=1000, netlist=netlist, library=library, stalls=False, timeout_s=3600)
    assert run.failures() == []
    assert min(run.beats.values()) >= 1000
    assert run.level == "gate level"


@pytest.mark.parametrize("cell", SMALL, ids=lambda c: c.name)
def test_gates_of_small_cells(cell: Cell, nangate45: liberty.Library, tmp_path: Path) -> None:
    check_gates(cell, nangate45, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("cell", LONG, ids=lambda c: c.name)
def test_gates(cell: Cell, nangate45: liberty.Library, tmp_path: Path) -> None:
    check_gates(cell, nangate45, tmp_path)
