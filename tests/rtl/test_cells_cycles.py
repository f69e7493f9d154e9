"""Cycles: the schedule of arrays and units is the timing formula, and random designs keep it bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lut_arrays import arrays

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats
from lutscape.rtl.cells import operands
from lutscape.rtl.cells.array import array_cell
from lutscape.rtl.cells.array_stimuli import Tile
from lutscape.rtl.cells.unit import activation_beats, unit
from lutscape.rtl.verify import verify
from lutscape.sim.lut_tensor_core import array_timing, golden


def tile(design: Array, steps: int, bits: int, seed: int = 1) -> Tile:
    rng = np.random.default_rng(seed)
    half = 1 << (design.activation_bits - 1)
    a = rng.integers(-half, half, (design.m, steps * design.k))
    q = rng.integers(0, 1 << bits, (design.n, steps * design.k))
    return a, q, bits, int(rng.integers(0, design.largest_shift + 1))


def unit_beats(design: Array, tables: int, tiles: list[Tile]) -> Beats:
    if not design.looks_up:
        return operands.tiles(design, tiles)
    w = operands.joined([operands.weight_beats(design, q, bits) for _, q, bits, _ in tiles])
    return {"x": activation_beats(design, tables, tiles), "w": w}


@settings(max_examples=200, deadline=None)
@given(design=arrays(most=5), steps=st.integers(1, 9), tables=st.integers(1, 6), data=st.data())
def test_one_tile_takes_the_cycles_of_the_formula(design: Array, steps: int, tables: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    one = [tile(design, steps, bits)]
    edges = array_cell(design).schedule(operands.tiles(design, one))["d"]  # type: ignore[misc]
    assert edges.tolist() == [array_timing.tile_cycles(design, steps, bits) - 1]
    if design.looks_up:
        built = unit(design, tables)
        edges = built.schedule(unit_beats(design, tables, one))["d"]  # type: ignore[misc]
        assert edges.tolist() == [array_timing.unit_cycles(design, steps, bits, min(tables, design.m)) - 1]
        assert built.latency == edges[0] - (
            array_timing.unit_cycles(design, steps, bits, min(tables, design.m)) - 1
        ) + (-(-design.m // min(tables, design.m)) + array_timing.STAGES)


def test_tiles_follow_each_other_without_a_gap() -> None:
    design = Array(datapath="lut", m=2, n=2, k=4, count=1)
    tiles = [tile(design, 3, 2), tile(design, 1, 4), tile(design, 2, 1)]
    edges = array_cell(design).schedule(operands.tiles(design, tiles))["d"]  # type: ignore[misc]
    assert edges.tolist() == [6 + 1, 6 + 4 + 1, 6 + 4 + 2 + 1]
    # one builder for two rows: steps of one pass take two edges, the first table pair two more
    edges = unit(design, 1).schedule(unit_beats(design, 1, tiles))["d"]  # type: ignore[misc]
    assert edges.tolist() == [2 + 6 + 1, 2 + 6 + 4 + 1, 2 + 6 + 4 + 2 + 1 + 1]


@settings(max_examples=40, deadline=None)
@given(design=arrays(), steps=st.integers(1, 5), seed=st.integers(0, 10**6), data=st.data())
def test_tiles_of_beats_are_the_product_of_matrices(design: Array, steps: int, seed: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    one = [tile(design, steps, bits, seed)]
    a, q, _, shift = one[0]
    expected = golden.matmul(design, a, q, bits, shift).reshape(1, -1)
    assert (array_cell(design).golden(operands.tiles(design, one))["d"]["values"] == expected).all()
    assert (unit(design, 1).golden(unit_beats(design, 1, one))["d"]["values"] == expected).all()


SWEEP = [
    {"datapath": "lut", "m": 3, "n": 2, "k": 3, "activation_bits": 6, "table_bits": 4, "planes_per_cycle": 3,
     "serial_weight_bits": 5, "accumulator_bits": 23, "tables": 2},
    {"datapath": "lut", "m": 1, "n": 1, "k": 6, "activation_bits": 2, "table_bits": 20, "planes_per_cycle": 1,
     "serial_weight_bits": 8, "accumulator_bits": 48, "tables": 1},
    {"datapath": "lut", "m": 4, "n": 1, "k": 2, "activation_bits": 16, "table_bits": 8, "planes_per_cycle": 5,
     "serial_weight_bits": 3, "accumulator_bits": 21, "tables": 3},
    {"datapath": "lut-full", "m": 2, "n": 3, "k": 2, "activation_bits": 7, "table_bits": 8, "planes_per_cycle": 2,
     "serial_weight_bits": 7, "accumulator_bits": 17, "tables": 1},
    {"datapath": "unpu", "m": 5, "n": 1, "k": 3, "activation_bits": 4, "table_bits": 4, "planes_per_cycle": 1,
     "serial_weight_bits": 2, "accumulator_bits": 12, "tables": 2},
    {"datapath": "add", "m": 2, "n": 2, "k": 5, "activation_bits": 3, "planes_per_cycle": 3, "serial_weight_bits": 8,
     "accumulator_bits": 14, "tables": 1},
    {"datapath": "mac", "m": 1, "n": 4, "k": 7, "activation_bits": 5, "multiplier_weight_bits": 3,
     "serial_weight_bits": 8, "accumulator_bits": 31, "tables": 1},
    {"datapath": "mac", "m": 3, "n": 1, "k": 2, "activation_bits": 16, "multiplier_weight_bits": 8,
     "serial_weight_bits": 6, "accumulator_bits": 24, "tables": 1},
]  # fmt: skip


@pytest.mark.parametrize("fields", SWEEP, ids=lambda f: "-".join(str(v) for v in f.values()))
def test_odd_designs_in_verilog(fields: dict[str, object]) -> None:
    design = Array.model_validate({"count": 1} | {k: v for k, v in fields.items() if k != "tables"})
    run = verify(unit(design, int(str(fields["tables"]))), vectors=100, seed=3)
    assert run.failures() == []


@settings(max_examples=8, deadline=None, derandomize=True)
@given(design=arrays(most=3), tables=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_random_designs_in_verilog(design: Array, tables: int, seed: int) -> None:
    run = verify(unit(design, tables), vectors=60, seed=seed)
    assert run.failures() == []
    assert run.cycles["full rate"] > 60


@pytest.mark.long
@settings(max_examples=150, deadline=None)
@given(design=arrays(most=4), tables=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_many_random_designs_in_verilog(design: Array, tables: int, seed: int) -> None:
    assert verify(unit(design, tables), vectors=60, seed=seed).failures() == []
