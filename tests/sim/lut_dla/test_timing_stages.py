"""Stage formulas of LUT-DLA: the asynchronous FIFO edge by edge, table banks, rates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.machines.lut_dla import Codebook, LutDlaSpec
from lutscape.sim.lut_dla import stage_timing


def simulated_fifo(
    offered: list[int], write_ps: int, read_ps: int, phase_ps: int, depth: int, stages: int
) -> tuple[list[int], list[int]]:
    """Clock both domains edge by edge: counters, two shift registers of synchronisers, full and empty."""
    written = taken = 0
    seen_by_reader, seen_by_writer = [0] * stages, [0] * stages
    writes: list[int] = []
    reads: list[int] = []
    w = r = 0
    while taken < len(offered):
        at_w, at_r = w * write_ps, phase_ps + r * read_ps
        now = min(at_w, at_r)
        counts = written, taken  # what the other domain's flip-flops see on this edge
        if at_w == now:
            room = written - seen_by_writer[-1] < depth
            if written < len(offered) and offered[written] <= w and room:
                written += 1
                writes.append(w)
            seen_by_writer = [counts[1], *seen_by_writer[:-1]]
            w += 1
        if at_r == now:
            if seen_by_reader[-1] > taken:
                taken += 1
                reads.append(r)
            seen_by_reader = [counts[0], *seen_by_reader[:-1]]
            r += 1
    return writes, reads


@given(
    gaps=st.lists(st.integers(0, 6), min_size=1, max_size=60),
    write_ps=st.integers(200, 4000),
    read_ps=st.integers(200, 4000),
    phase=st.integers(0, 4000),
    depth=st.sampled_from([4, 8, 16]),
    stages=st.integers(2, 3),
)
@settings(max_examples=300, deadline=None)
def test_fifo_edges_equal_a_simulation_of_both_clocks(
    gaps: list[int], write_ps: int, read_ps: int, phase: int, depth: int, stages: int
) -> None:
    phase %= read_ps
    offered, at = [], 0
    for gap in gaps:
        at += gap
        offered.append(at)
        at += 1
    found = stage_timing.fifo_edges(offered, write_ps, read_ps, phase, depth, stages)
    assert found == simulated_fifo(offered, write_ps, read_ps, phase, depth, stages)


@pytest.mark.parametrize(
    ("write_mhz", "read_mhz", "depth"), [(600, 300, 16), (300, 300, 16), (300, 300, 4), (250, 700, 4)]
)
def test_long_run_rate_of_the_fifo(write_mhz: int, read_mhz: int, depth: int) -> None:
    # Periods in ps are rounded; the rate is that of 4000 words offered on every edge.
    spec = specs.override(
        specs.load("lut-dla"), {"ccm.clock_mhz": write_mhz, "clock_mhz": read_mhz, "fifo_depth": depth}
    )
    assert isinstance(spec, LutDlaSpec)
    write_ps, read_ps = round(1e6 / write_mhz), round(1e6 / read_mhz)
    _, reads = stage_timing.fifo_edges(list(range(4000)), write_ps, read_ps, 17, depth, 2)
    measured = (len(reads) - 1) / ((reads[-1] - reads[0]) * read_ps)
    predicted = stage_timing.fifo_words_per_ps(spec)
    assert predicted == pytest.approx(measured, rel=0.005 if depth > 4 else 0.05)  # shallow ones depend on the phase


@given(rows=st.integers(1, 30), subspaces=st.integers(1, 12), fill=st.integers(1, 30))
def test_a_tile_ends_two_edges_after_its_last_lookup(rows: int, subspaces: int, fill: int) -> None:
    fills, starts = stage_timing.subspace_edges(rows, subspaces, fill)
    assert stage_timing.tile_cycles(rows, subspaces, fill) == starts[-1] + rows + stage_timing.LOOKUP_STAGES
    for s in range(1, subspaces):
        assert starts[s] >= max(starts[s - 1] + rows, fills[s] + fill)  # rows in order, table complete
        assert fills[s] >= fills[s - 1] + fill  # one port
        if s > 1:
            assert fills[s] >= starts[s - 1]  # the bank of s - 2 is free


def test_distance_widths_by_hand() -> None:
    # b-bit two's complement: |a - c| <= 2^b - 1. L1 of 4 x 255 = 1020: 10 bits; L2 of 4 x 255^2 = 260100: 18 bits.
    widths = {m: Codebook(v=4, c=16, metric=m).distance_bits for m in ("l1", "l2", "chebyshev")}  # type: ignore[arg-type]
    assert widths == {"l1": 10, "l2": 18, "chebyshev": 8}
    assert Codebook(v=9, c=16, metric="l2", input_bits=4).distance_bits == 11  # 9 x 225 = 2025
    assert Codebook(v=4, c=16, metric="l2").bits_per_activation == 1.0


def test_chains_add_up_to_the_rate_of_the_modules() -> None:
    spec = specs.override(specs.load("lut-dla"), {"ccm.clock_mhz": 100, "ccm.ccus": 2, "ccm.count": 2})
    assert isinstance(spec, LutDlaSpec)
    assert stage_timing.indices_per_cycle(spec) == pytest.approx(4 * 100 / 300)
