"""Minutes: random designs of LUT-DLA, long runs, mapped gates, the packaged design as it is."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.machines.lut_dla import METRICS, Codebook
from lutscape.rtl import catalogue, liberty
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_ccm import ccm
from lutscape.rtl.cells.dla_codebook import codebook
from lutscape.rtl.cells.dla_dpe import dpe
from lutscape.rtl.cells.dla_imm import Module, imm
from lutscape.rtl.cells.dla_unit import Unit, unit
from lutscape.rtl.simulators import find, suited
from lutscape.rtl.synth import synthesise
from lutscape.rtl.verify import verify

pytestmark = pytest.mark.long


@st.composite
def units(draw: st.DrawFn) -> Unit:
    c = draw(st.sampled_from([2, 4, 8, 16]))
    fill = draw(st.integers(1, 3))
    book = Codebook(
        v=draw(st.integers(1, 9)), c=c, metric=draw(st.sampled_from(METRICS)), input_bits=draw(st.integers(3, 12))
    )
    table = draw(st.integers(2, 9))
    module = Module(
        c, fill * draw(st.integers(1, 3)), table, draw(st.integers(max(8, table), 34)), draw(st.integers(1, 20)), fill
    )
    return Unit(
        book, module, draw(st.integers(1, 2)), draw(st.integers(2, 20)), draw(st.sampled_from([4, 8, 32])),
        draw(st.integers(2, 4)),
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(units(), st.integers(0, 10**6))
def test_random_units(design: Unit, seed: int) -> None:
    whole = unit(design)
    run = verify(whole, vectors=60, seed=seed)
    assert run.bits_match, run.failures()
    assert run.late == ()
    for part in (dpe(design.book, design.stages), codebook(design.book), ccm(design.book, design.stages)):
        assert verify(part, vectors=200, seed=seed).bits_match
    inner = verify(imm(design.module), vectors=100, seed=seed)
    assert inner.bits_match
    assert inner.late == ()


@pytest.mark.parametrize("seed", range(10))
def test_a_fifo_at_many_ratios(seed: int) -> None:
    assert verify(async_fifo(6, 16), vectors=3000, seed=100 + seed).failures() == []


def test_the_packaged_design() -> None:
    find("verilator")
    for cell in catalogue.cells(specs.load("lut-dla")):
        run = verify(cell, vectors=300, simulator=suited(cell))
        assert run.failures() == [], cell.name


@pytest.mark.parametrize(
    "cell",
    [
        *(dpe(Codebook(v=4, c=16, metric=m, input_bits=8)) for m in METRICS),
        ccm(Codebook(v=2, c=8, metric="l2", input_bits=6), 2),
        ccm(Codebook(v=4, c=4, metric="chebyshev", input_bits=8)),
        imm(Module(8, 4, 8, 20, 6, 2)),
        unit(Unit(Codebook(v=2, c=4, metric="l1", input_bits=6), Module(4, 2, 8, 16, 4, 1), input_rows=4, depth=4)),
    ],
    ids=lambda c: c.name,
)
def test_mapped_gates(cell: Cell, nangate45: liberty.Library) -> None:
    built = synthesise(cell.verilog(), cell.name, "nangate45", period_ps=4000)
    run = verify(cell, vectors=150, netlist=built.netlist, library=nangate45)
    assert run.failures() == []
    assert built.worst_slack_ps > 0
