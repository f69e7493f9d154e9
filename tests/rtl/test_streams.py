"""Waveforms and operand streams: what the ports of a cell carry at full rate, held to the cell's own schedule."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import gatesim, liberty, streams, synth, waves
from lutscape.rtl.cell import unpack
from lutscape.rtl.cells import operands as travel
from lutscape.rtl.cells.array import array_cell
from lutscape.rtl.cells.table_builder import table_builder

ARRAY = Array(datapath="lut", m=1, n=3, k=4, count=1, accumulator_bits=20, serial_weight_bits=2)


def tile(seed: int = 1, depth: int = 16) -> tuple[np.ndarray, np.ndarray]:
    operands = streams.gaussian(2, tokens=8, k=64, n=8)
    return streams.windows(operands, ARRAY.m, ARRAY.n, depth, 1, seed)[0]


def test_waveforms_show_every_beat_of_the_stimulus_and_the_schedule() -> None:
    cell = array_cell(ARRAY)
    beats = travel.tiles(ARRAY, [(*tile(), 2, 2)])
    seen = {w.name: w.values for w in waves.record(cell, beats, 16)}
    assert seen["rst"] == (1, 1) + (0,) * 14
    moved = [i for i in range(16) if seen["w_valid"][i] and seen["w_ready"][i]]
    assert moved == list(range(2, 10))  # 4 steps of 2 planes, without a gap
    field = cell.channel("w").fields[0]
    words = [seen["w_codes"][i] for i in moved]
    assert None not in words
    assert np.array_equal(unpack([w or 0 for w in words], field), beats["w"]["codes"])
    out = [i for i in range(16) if seen["d_valid"][i]]
    assert cell.schedule is not None
    assert [i - moved[0] for i in out] == list(cell.schedule(beats)["d"])
    taken = unpack([seen["d_values"][out[0]] or 0], cell.channel("d").fields[0])
    assert np.array_equal(taken, cell.golden(beats)["d"]["values"])


def test_a_combinational_cell_has_no_waveform() -> None:
    cell = table_builder(ARRAY)
    with pytest.raises(UserError, match="a combinational cell has no waveform over cycles"):
        waves.record(cell, cell.stimulus(np.random.default_rng(1), 4), 4)


def test_ports_of_all_streams_follow_the_first() -> None:
    cell = array_cell(ARRAY)
    beats = [travel.tiles(ARRAY, [(*tile(seed), 2, 2)]) for seed in range(5)]
    found = streams.full_rate(cell, beats)
    assert found.ports["w_codes"].shape == (found.cycles, 5, cell.channel("w").fields[0].bits)
    assert found.moves == {"d": [11]}
    # Beat b of every stream stands on the port in cycle 2 + b.
    for s, one in enumerate(beats):
        bits = found.ports["w_codes"][2:10, s]
        values = bits.reshape(8, -1, ARRAY.k) @ (1 << np.arange(ARRAY.k))
        assert np.array_equal(values, one["w"]["codes"])


def test_a_mapped_netlist_computes_the_streams(nangate45: liberty.Library) -> None:
    """The gates give the golden sums on every stream, and a wrong expectation is noticed."""
    cell = array_cell(ARRAY)
    beats = [travel.tiles(ARRAY, [(*tile(seed), 2, 2)]) for seed in range(8)]
    built = synth.synthesise(cell.verilog(), cell.name, period_ps=2000)
    found = streams.full_rate(cell, beats)
    simulated = gatesim.simulate(built.parsed, nangate45, found.ports, count_from=found.first)
    assert streams.mismatches(cell, found, simulated) == 0
    other = streams.PortStreams(found.ports, found.first, found.moves, tuple(beats[1:] + beats[:1]))
    assert streams.mismatches(cell, other, simulated) > 8


def test_windows_lie_inside_the_operands() -> None:
    operands = streams.gaussian(3, tokens=4, k=32, n=6)
    for a, q in streams.windows(operands, 2, 6, 32, 20):
        assert a.shape == (2, 32)
        assert q.shape == (6, 32)
        assert np.abs(a).max() <= 127
        assert 0 <= q.min() <= q.max() <= 7
    with pytest.raises(UserError, match="a tile of 2 x 7 x 32 does not fit operands of 4 x 6 x 32"):
        streams.windows(operands, 2, 7, 32, 1)


@pytest.mark.model
def test_captured_operands_are_those_of_the_model() -> None:
    """INT8 per token: every row reaches ±127; codes of a gate matrix fill their range."""
    one, four = streams.captured(1, tokens=16), streams.captured(4, tokens=16)
    assert one.activations.shape == (16, 576)
    assert four.codes.shape == (1536, 576)
    assert np.array_equal(one.activations, four.activations)
    assert (np.abs(one.activations).max(axis=1) == 127).all()
    assert (one.codes.max(), four.codes.min(), four.codes.max()) == (1, 0, 15)
    with pytest.raises(UserError, match=r"operator 'layers.0.attn_norm' has no weight matrix; choose a linear layer"):
        streams.captured(4, layer="layers.0.attn_norm", tokens=16)
