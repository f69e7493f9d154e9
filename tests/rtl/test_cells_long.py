"""Minutes: 10^5 vectors of every cell (clocked ones in Verilator), mapped gates of every design on 10^3."""

from __future__ import annotations

from pathlib import Path

import pytest

from lutscape.rtl import catalogue, liberty
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.fifo import fifo
from lutscape.rtl.cells.table_builder import table_builder
from lutscape.rtl.synth import synthesise
from lutscape.rtl.verify import exhaustive, verify

REFERENCE = catalogue.reference()
ALONE = [c for c in REFERENCE if not c.kind.endswith("_array") or c.kind in ("add_array", "mac_array")]
"""Lookup arrays run inside their units."""


@pytest.mark.long
@pytest.mark.parametrize("cell", ALONE, ids=lambda c: c.name)
def test_many_vectors(cell: Cell) -> None:
    simulator = "verilator" if cell.clocked else "icarus"
    run = verify(cell, vectors=100_000, seed=17, simulator=simulator, stalls=False, timeout_s=1800)
    assert run.failures() == []
    assert min(run.beats.values()) >= 100_000


@pytest.mark.long
@pytest.mark.parametrize("datapath", ["lut", "lut-full"])
def test_every_table_of_two_activations(datapath: str) -> None:
    """All 2^16 pairs of INT8 activations at all four shifts: INT6 tables."""
    cell = table_builder(catalogue.small(datapath, k=2, table_bits=7))
    beats = exhaustive(cell, 18)
    assert len(beats["x"]["values"]) == 1 << 18
    assert verify(cell, stimulus=beats).bits_match


TINY = [c for c in REFERENCE if c.kind in ("accumulator", "adder_tree", "narrower")] + [fifo(4, 3)]


@pytest.mark.parametrize("cell", TINY, ids=lambda c: c.name)
def test_gates_of_small_cells(cell: Cell, nangate45: liberty.Library, tmp_path: Path) -> None:
    check_gates(cell, nangate45, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("cell", [c for c in REFERENCE if c not in TINY], ids=lambda c: c.name)
def test_gates(cell: Cell, nangate45: liberty.Library, tmp_path: Path) -> None:
    check_gates(cell, nangate45, tmp_path)


def check_gates(cell: Cell, library: liberty.Library, folder: Path) -> None:
    netlist = folder / "mapped.v"
    netlist.write_text(synthesise(cell.verilog(), cell.name, period_ps=2000).netlist)
    run = verify(cell, vectors=1000, netlist=netlist, library=library, stalls=False, timeout_s=3600)
    assert run.failures() == []
    assert min(run.beats.values()) >= 1000
