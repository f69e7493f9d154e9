"""Cells of several clocks and with latches: ratios, formulas, proofs, timing and gates."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.commands.rtl_generate import generate
from lutscape.commands.rtl_synth import synth
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl import clockings, equivalence, latches, liberty, netlist
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_imm import Module
from lutscape.rtl.cells.dla_latch_decoder import latch_decoder
from lutscape.rtl.cells.dla_unit import Unit, unit
from lutscape.rtl.synth import synthesise
from lutscape.rtl.verify import verify

FIFO = async_fifo(3, 8)


def altered(cell: Cell, before: str, after: str) -> str:
    source = cell.verilog()
    assert source.count(before) == 1
    return source.replace(before, after)


@pytest.mark.parametrize(("width", "depth", "stages"), [(1, 4, 2), (3, 8, 2), (12, 16, 3), (5, 64, 4)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_ratio_of_clocks(width: int, depth: int, stages: int, seed: int) -> None:
    run = verify(async_fifo(width, depth, stages), vectors=300, seed=seed)
    assert run.failures() == []
    assert run.beats == {"o": max(300, 4 * depth)}


def test_clocks_are_faster_and_slower_and_coincide() -> None:
    found = [c for seed in range(20) for c in clockings.draw(FIFO, seed, 8)]
    ratios = [c["in"][0] / c[""][0] for c in found]
    assert min(ratios) < 0.2
    assert max(ratios) > 5
    assert all(t % clockings.TICK_PS == 0 for c in found for pair in c.values() for t in pair)
    for seed in range(3):
        equal, twice, half = clockings.draw(FIFO, seed)[1:4]
        assert equal[""] == equal["in"]
        assert twice["in"][0] == 2 * twice[""][0]
        assert 2 * half["in"][0] == half[""][0]
        assert twice["in"][1] == twice[""][1] == 0


@settings(max_examples=150, deadline=None)
@given(
    st.integers(10, 900), st.integers(10, 900), st.integers(0, 899), st.integers(0, 899),
    st.sampled_from([4, 8, 16]), st.integers(2, 4), st.integers(1, 60),
)  # fmt: skip
def test_the_formula_is_a_fifo_edge_by_edge(
    write: int, read: int, begin: int, start: int, depth: int, stages: int, count: int
) -> None:
    """A slow twin: pointers that the other side sees as they were S edges ago, stepped through all edges in order."""
    clocks = {"in": (write, begin % write), "": (read, start % read)}
    cell = async_fifo(4, depth, stages)
    beats = {"i": {"data": np.zeros((count, 1), np.int64)}}
    found = cell.schedule_at(beats, clocks)  # type: ignore[misc]
    head = tail = 0
    head_seen, tail_seen = [0] * stages, [0] * stages
    writes: list[int] = []
    reads: list[int] = []
    edge = {"in": 0, "": 0}
    while len(reads) < count:
        times = {d: clocks[d][1] + edge[d] * clocks[d][0] for d in clocks}
        now = min(times.values())
        old_head, old_tail = head, tail
        if times["in"] == now:
            if len(writes) < count and old_tail - head_seen[-1] < depth:
                writes.append(edge["in"])
                tail += 1
            head_seen = [old_head, *head_seen[:-1]]
            edge["in"] += 1
        if times[""] == now:
            if tail_seen[-1] > old_head:
                reads.append(edge[""])
                head += 1
            tail_seen = [old_tail, *tail_seen[:-1]]
            edge[""] += 1
    assert found["i"].tolist() == writes
    assert found["o"].tolist() == reads


def test_what_the_bench_says() -> None:
    several = verify(FIFO, vectors=100, source=altered(FIFO, "tail_next ^ (tail_next >> 1)", "tail_next"))
    assert "tail_gray changed by 2 bits at once: 0001 to 0010 at cycle" in several.failures()[0]
    early = verify(FIFO, vectors=100, source=altered(FIFO, "{tail_sync[3:0], tail_gray}", "{tail_gray, tail_gray}"))
    assert early.bits_match
    assert "o: beat 0 moved on edge 1, not 2 (full rate, clocks {'': [840, 320], 'in': [520, 70]}" in early.late[1]
    wrong = verify(FIFO, vectors=100, source=altered(FIFO, "store[tail[2:0]] <= i_data", "store[tail[2:0]] <= ~i_data"))
    assert "o.data[0] expected 0, got 7 at beat 0" in wrong.failures()[0]
    stuck = verify(
        FIFO, vectors=100, source=altered(FIFO, "assign o_valid = head_gray", "assign o_valid = 1'b0 & head_gray")
    )
    assert "nothing moved for" in stuck.violations[0]


def test_a_missing_crossing_is_an_error() -> None:
    with pytest.raises(UserError):
        verify(replace(FIFO, crossings=("nowhere",)), vectors=20)


# Proofs


def test_proofs_let_clocks_come_at_will() -> None:
    cell = async_fifo(1, 4)
    source = cell.verilog()
    same = source.replace("tail <= tail_next;", "tail <= tail + 3'd1;")
    assert equivalence.compare(cell, source, same).verdict == "equivalent"
    for before, after in (
        ("wire get = o_valid && o_ready;", "wire get = o_ready;"),
        ("{head_sync[2:0], head_gray}", "{head_gray, head_gray}"),
        ("!= tail_seen", "!= tail_gray"),
    ):
        assert equivalence.compare(cell, source, altered(cell, before, after)).verdict == "different"


def test_a_clock_becomes_an_enable() -> None:
    text = equivalence.one_clock(FIFO.verilog())
    assert "always @(posedge clk) if (in_clk) begin" in text
    assert "always @(posedge clk) if (main_clk) begin" in text
    whole = equivalence.one_clock(
        unit(Unit(Codebook(v=1, c=2, metric="l1", input_bits=3), Module(2, 1, 4, 8, 3, 1), depth=4)).verilog()
    )
    assert ".clk(clk), .main_clk(ccm_clk)," in whole


# Gates


def test_timing_takes_several_clocks_as_one(nangate45: liberty.Library) -> None:
    built = synthesise(FIFO.verilog(), FIFO.name, "nangate45", period_ps=2000)
    assert {"clk", "in_clk"} <= set(built.parsed.inputs)
    merged = netlist.one_clock(built.parsed)
    assert "in_clk" not in merged.inputs
    assert netlist.one_clock(merged) is merged
    assert 0 < built.min_period_ps < 1000
    one = verify(FIFO, vectors=200, netlist=built.netlist, library=nangate45)
    assert one.failures() == []
    assert one.level == "gate level"


def test_latches_are_mapped(nangate45: liberty.Library) -> None:
    found = latches.latch_cells(nangate45)
    assert {high: cell.name for high, cell in found.items()} == {True: "DLH_X1", False: "DLL_X1"}
    assert "DLH_X1 _TECHMAP_REPLACE_ (.G(E), .D(D), .Q(Q));" in latches.techmap(nangate45)
    cell = latch_decoder(4, 4, 8, 16)
    built = latches.synthesise(cell.verilog(), cell.name, "nangate45", period_ps=4000)
    assert built.latches == 4 * 4 * 8 + 4 * 4  # bits, and one clock gate a word
    assert built.latch_area_um2 == pytest.approx(2.66 * built.latches)
    assert built.cells["DLL_X1"] == 16
    assert verify(cell, vectors=200, netlist=built.netlist, library=nangate45).failures() == []


@pytest.mark.parametrize("cell", [latch_decoder(2, 4, 4, 8), latch_decoder(4, 2, 8, 32)], ids=lambda c: c.name)
def test_latch_decoders(cell: Cell) -> None:
    assert verify(cell, vectors=300).failures() == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("row[i / 2] & column", "row[i / 2] | column"),
        ("wire gated = clk & open", "wire gated = clk | open"),
        ("held = written", "held = x_entry"),
        ("last ? 8'd0 : next", "next"),
        ("wire move = !done || d_ready", "wire move = 1'b1"),
    ],
)
def test_wrong_latches_are_caught(before: str, after: str) -> None:
    cell = latch_decoder(2, 4, 4, 8)
    assert not verify(cell, vectors=300, source=altered(cell, before, after)).passed


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((3, 4), "dla_latch_decoder: codebooks = 3; must be a power of two"),
        ((4, 6), "dla_latch_decoder: centroids = 6; must be a power of two"),
        ((4, 4, 8, 4), "dla_latch_decoder: sum_bits = 4; allowed: 8 … 48"),
    ],
)
def test_latch_decoders_that_cannot_be_built(arguments: tuple[int, ...], text: str) -> None:
    with pytest.raises(UserError) as error:
        latch_decoder(*arguments)
    assert str(error.value) == text


# The command line


def test_generate_and_synthesise_a_spec(tmp_path: Path, nangate45: liberty.Library) -> None:
    runner = CliRunner()
    done = runner.invoke(generate, ["lut-dla", "-o", str(tmp_path / "all")], catch_exceptions=False)
    assert done.exit_code == 0
    names = {p.stem.split("_")[1] for p in (tmp_path / "all").glob("dla_*.v")}
    assert names == {"distance", "dpe", "codebook", "ccm", "imm", "unit"}
    done = runner.invoke(synth, ["lut-dla", "--cell", "async_fifo_w4d16"], catch_exceptions=False)
    assert done.exit_code == 0
    assert "async_fifo_w4d16: " in done.output
    assert " met: shortest " in done.output


def test_every_packaged_design_is_built() -> None:
    from lutscape.hw import spec as specs
    from lutscape.rtl import catalogue

    found = {name: catalogue.cells(specs.load(name)) for name in ("lut-dla", *(f"lut-dla-{s}" for s in SIZES))}
    assert {cells[-1].kind for cells in found.values()} == {"dla_unit"}
    assert len({cells[-1].name for cells in found.values()}) == len(found)
    for a, b in itertools.combinations(found.values(), 2):
        sources = {c.name: c.source for c in a}
        assert all(sources.get(c.name, c.source) == c.source for c in b)


SIZES = ("small", "medium", "large")
