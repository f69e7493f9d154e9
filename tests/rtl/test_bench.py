"""The bench itself: right cells pass, and every kind of wrong cell is caught with words that say what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from rtl_cells import adder, altered, pairs, xor_cell

from lutscape.rtl.cell import Beats, Cell, Channel, pack
from lutscape.rtl.harness import pack as pack_channel
from lutscape.rtl.verify import exhaustive, verify


@pytest.mark.parametrize("cell", [adder(), pairs(), xor_cell()], ids=lambda c: c.name)
def test_right_cells_pass(cell: Cell) -> None:
    run = verify(cell, vectors=1000)
    assert run.failures() == []
    assert run.passed
    assert list(run.beats.values()) == [1000]
    assert list(run.cycles) == (["full rate", "resets", "stalls"] if cell.clocked else ["vectors"])


WRONG = {
    "wrong sum": (adder, "+ {x_b[15]", "- {x_b[15]", "s.sum[1] expected -256, got 0 at beat 0, cycle 1 (full rate)"),
    "overwritten while it waits": (adder, "x_valid && x_ready", "x_valid", "changed while it waited"),
    "always ready": (adder, "!s_valid || s_ready;", "1'b1;", "s_valid fell before beat"),
    "no reset": (adder, "s_valid <= 1'b0;", "s_valid <= s_valid;", "s_valid is x at cycle 0 (full rate)"),
    "never done": (pairs, "second <= !second;", "second <= second;", "x 2000 of 2000 beats accepted, s 0 of 1000"),
    "valid falls": (pairs, "if (s_valid && s_ready)", "if (s_valid)", "s_valid fell before beat"),
    "offers twice": (pairs, "if (s_valid && s_ready) s_valid <= 1'b0;", "", "s.sum[0] expected"),
    "slow": (pairs, "x_ready = !s_valid;", "x_ready = !s_valid && s_sum !== 9'd300;", "nothing moved"),
    "vector": (xor_cell, "x_a ^ x_b", "x_a | x_b", "y.z[0] expected"),
    "floating": (xor_cell, "assign y_z = x_a ^ x_b;", "assign y_z[2:0] = x_a ^ x_b;", "(undefined bits) at beat 0"),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_cells_are_caught(what: str) -> None:
    make, before, after, words = WRONG[what]
    run = verify(altered(make(), before, after), vectors=1000)
    assert not run.passed
    assert words in "\n".join(run.failures())


def test_state_that_survives_a_reset_is_caught() -> None:
    """Wakes right, so that only a reset in flight shows it."""
    cell = altered(altered(pairs(), "reg second;", "reg second = 1'b0;"), "      second <= 1'b0;\n", "")
    run = verify(cell, vectors=100)
    assert {m.phase for m in run.mismatches} == {"resets"}


def test_a_beat_too_many_is_caught() -> None:
    cell = replace(pairs(), golden=lambda beats: {"s": {"sum": pairs().golden(beats)["s"]["sum"][:-1]}})
    assert verify(cell, vectors=20).failures()[0].startswith("s offers a beat more than the 19 expected at cycle")


def test_a_lost_beat_is_caught() -> None:
    def more(beats: Beats) -> Beats:
        return {"s": {"sum": np.concatenate([pairs().golden(beats)["s"]["sum"], [[0]]])}}

    run = verify(replace(pairs(), golden=more), vectors=20)
    assert "nothing moved for" in run.failures()[0]
    assert "x 40 of 40 beats accepted, s 20 of 21 beats checked" in run.failures()[0]


def test_a_wrong_cycle_formula_is_caught() -> None:
    cell = replace(pairs(), schedule=lambda beats: {"s": 2 * np.arange(len(beats["x"]["a"]) // 2) + 2})
    run = verify(cell, vectors=20)
    assert run.bits_match
    assert run.late[0] == "s: beat 1 moved 5 edges after the first input, not 4 (full rate, 19 of 20 beats differ)"
    assert all("edges after the first input, not 4 (resets, " in line for line in run.late[1:])


def test_a_delay_that_only_a_reset_in_flight_shows_is_caught() -> None:
    """A bit that survives the reset costs a cycle and no beat."""
    slow = altered(pairs(), "x_ready = !s_valid;", "x_ready = !s_valid && !(used && fresh);")
    state = "reg second, fresh, used = 1'b0; always @(posedge clk) begin fresh <= rst; if (s_valid) used <= 1; end"
    run = verify(altered(slow, "reg second;", state), vectors=100)
    assert run.bits_match
    assert run.late[0] == "first input taken 1 edges after a reset, but 0 after the first reset (resets)"


def test_reading_fields_without_valid_is_caught() -> None:
    cell = altered(pairs(), "if (x_valid && x_ready) begin", "if (x_ready) begin")
    assert not verify(cell, vectors=100).passed


def test_the_same_seed_gives_the_same_run() -> None:
    runs = [verify(pairs(), vectors=200, seed=seed) for seed in (7, 7, 8)]
    assert runs[0].cycles == runs[1].cycles
    assert runs[0].stalls == runs[1].stalls
    assert runs[0].stalls != runs[2].stalls


def test_stalls_happen_on_both_sides() -> None:
    stalls = verify(adder(), vectors=300).stalls
    assert min(stalls["refused"]["x"], stalls["gaps"]["x"], stalls["held"]["s"]) > 30


def test_two_simulators_see_what_one_sees() -> None:
    one, two = (verify(pairs(), vectors=200, processes=n) for n in (1, 2))
    assert list(two.cycles) == ["full rate", "resets", "stalls"]
    assert two.cycles["full rate"] == one.cycles["full rate"]
    assert two.passed
    wrong = verify(altered(pairs(), "if (s_valid && s_ready)", "if (s_valid)"), vectors=200, processes=2)
    assert sorted(v.split(" (")[-1] for v in wrong.violations) == ["resets)"]


def test_every_input_of_a_small_cell() -> None:
    beats = exhaustive(xor_cell())
    assert len(set(zip(beats["x"]["a"][:, 0].tolist(), beats["x"]["b"][:, 0].tolist(), strict=True))) == 256
    run = verify(xor_cell(), stimulus=beats)
    assert run.passed
    assert run.beats == {"y": 256}


@pytest.mark.parametrize("channel", [c for cell in (adder(), pairs(), xor_cell()) for c in cell.channels])
def test_packed_beats_equal_the_contract_s_packing(channel: Channel) -> None:
    rng = np.random.default_rng(3)
    fields = {
        f.name: rng.integers(-(1 << (f.width - 1)) if f.signed else 0, 1 << (f.width - f.signed), (50, f.lanes))
        for f in channel.fields
    }
    words, low = [0] * 50, 0
    for f in channel.fields:
        words = [word | (value << low) for word, value in zip(words, pack(fields[f.name], f), strict=True)]
        low += f.bits
    packed = pack_channel(adder(), channel, fields)
    size = len(packed) // 50
    assert [int.from_bytes(packed[i * size : (i + 1) * size], "little") for i in range(50)] == words


def test_values_that_do_not_fit_are_refused() -> None:
    cell = replace(xor_cell(), golden=lambda beats: {"y": {"z": beats["x"]["a"] + 8}})
    with pytest.raises(ValueError, match="xor_cell: channel y: field z has values from 8 to 23 outside 0 … 15"):
        verify(cell)
