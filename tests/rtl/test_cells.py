"""Every reference cell against its golden model, cycle formula and coverage; every input where that is possible."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.rtl import catalogue
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.accumulator import accumulator
from lutscape.rtl.cells.adder_tree import adder_tree
from lutscape.rtl.cells.fifo import fifo
from lutscape.rtl.cells.unit import unit
from lutscape.rtl.verify import exhaustive, verify

REFERENCE = catalogue.reference()
SMALL = [c for c in REFERENCE if not c.clocked and sum(f.bits for x in c.inputs for f in x.fields) <= 14]


@pytest.mark.parametrize("cell", REFERENCE, ids=lambda c: c.name)
def test_bits_cycles_and_coverage(cell: Cell) -> None:
    run = verify(cell, vectors=1000, seed=11)
    assert run.failures() == []
    assert min(run.beats.values()) >= 1000
    assert min(run.coverage.values()) > 0


@pytest.mark.parametrize("cell", SMALL, ids=lambda c: c.name)
def test_every_input(cell: Cell) -> None:
    beats = exhaustive(cell, 14)
    if "shift" in beats.get("x", {}):  # shifts beyond the largest one are no input
        most = cell.stimulus(np.random.default_rng(1), 1)["x"]["shift"].max()
        legal = beats["x"]["shift"][:, 0] <= most
        beats = {"x": {name: values[legal] for name, values in beats["x"].items()}}
    run = verify(cell, stimulus=beats)
    assert run.bits_match, run.failures()


def test_enough_small_cells_are_exhausted() -> None:
    assert {c.kind for c in SMALL} >= {"adder_tree", "narrower", "lut_builder"}


@pytest.mark.parametrize("cell", REFERENCE, ids=lambda c: c.name)
def test_few_vectors_still_cover_every_bin(cell: Cell) -> None:
    """Corners come first, so that a short run on a wide array covers as much as a long one."""
    beats = cell.stimulus(np.random.default_rng(3), 1)
    assert [name for name, hits in cell.coverage(beats).items() if not hits] == []


WRONG = [
    ("lut_unit_m2n3k4a8t8p1x4s20b1", "assign w_ready = move && (!w_start || a_valid);", "assign w_ready = move;"),
    ("lut_unit_m2n3k4a8t8p1x4s20b1", "wire add = busy && move;", "wire add = busy;"),
    ("lut_unit_m2n3k4a8t8p1x4s20b1", ".x_first(first && add)", ".x_first(first)"),
    ("lut_unit_m2n3k4a8t8p1x4s20b1", "if (w_start) entries <= a_entries;", "entries <= a_entries;"),
    ("lut_unit_m2n3k4a8t8p1x4s20b1", "full && (!complete || a_ready)", "full"),
    ("lut_unit_m2n3k4a8t8p1x4s20b1", "staged[0*T*TABLE +: T*TABLE] <= built", "staged[0*T*TABLE +: T*TABLE] <= ~built"),
    ("lut_unit_m2n3k4a8t8p1x4s20b1", "wire outside = shifted[9:7]", "wire outside = shifted[9:7] & 3'b011"),
    ("mac_array_m2n3k4a8d2x2s20", "wire count = low[14] ^ minus;", "wire count = low[14];"),
    ("add_array_m2n3k4a8p1x4s20", "busy <= accept;", "busy <= w_valid;"),
    ("accumulator_w20i8", "x_first ? 20'd0 : sum", "sum"),
    ("fifo_w5d7l3", "if (put && !get)", "if (put)"),
]


@pytest.mark.parametrize(("name", "before", "after"), WRONG, ids=lambda v: v[:40])
def test_wrong_verilog_is_caught(name: str, before: str, after: str) -> None:
    cell = next(c for c in REFERENCE if c.name == name)
    source = cell.verilog()
    assert source.count(before) == 1
    assert not verify(cell, vectors=100, source=source.replace(before, after)).passed


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: adder_tree(1, 8), "adder_tree: n = 1; allowed: 2 … 4096"),
        (lambda: adder_tree(2, 49), "adder_tree: width = 49; allowed: 1 … 48"),
        (lambda: fifo(64, 4), "fifo: width = 64; allowed: 1 … 63"),
        (lambda: fifo(8, 1), "fifo: depth = 1; allowed: 2 … 4096"),
        (lambda: fifo(8, 2, 0), "fifo: lanes = 0; allowed: 1 … 4096"),
        (lambda: accumulator(65, 8), "accumulator: width = 65; allowed: 2 … 64"),
        (lambda: accumulator(8, 9), "accumulator: input_width = 9; allowed: 2 … width = 8"),
        (lambda: unit(catalogue.small("lut"), 0), "unit: tables_per_cycle = 0; allowed: 1 … m = 2"),
    ],
)
def test_bad_parameters(make, text: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value) == text
