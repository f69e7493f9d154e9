"""Units of float activations: their models are the matrix multiplication of mpgemm and the array's cycle formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from float_arrays import float_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.explore import rtl_measured
from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import catalogue
from lutscape.rtl.cell import Beats
from lutscape.rtl.cells import fp_array, fp_numbers, fp_stimuli, operands, weight_loader
from lutscape.rtl.cells.fp_tensor_unit import fp_tensor_unit
from lutscape.rtl.verify import verify
from lutscape.sim.lut_tensor_core import array_timing, float_array, golden
from lutscape.sim.lut_tensor_core.mpgemm import mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights
from lutscape.sim.simulate import simulate


def unit_beats(array: Array, tables: int, tiles: list[fp_stimuli.Tile], twos: bool = False) -> Beats:
    q = [weight_loader.code_beats(array, codes, bits, twos) for _, codes, bits in tiles]
    return {"x": fp_array.activation_beats(array, tables, tiles), "q": operands.joined(q)}


@settings(max_examples=120, deadline=None)
@given(
    array=float_arrays(), steps=st.integers(1, 6), style=st.integers(0, 2), seed=st.integers(0, 10**6), data=st.data()
)
def test_a_tile_is_the_product_of_matrices(
    array: Array, steps: int, style: int, seed: int, data: st.DataObject
) -> None:
    rng, bits = np.random.default_rng(seed), data.draw(st.integers(1, array.serial_weight_bits))
    make = (fp_numbers.near_one, fp_numbers.finite)[style > 0]
    a = make(array.activation, rng, (array.m, steps * array.k))
    if style == 2:  # all large: overflows
        a = fp_stimuli.activations(array, rng, a.shape, 2)
    q = rng.integers(0, 1 << bits, (array.n, steps * array.k))
    design = Mpgemm.of_array(array, f"int{bits}")
    weights = LookupWeights(design, q.astype(np.uint8))
    numbers = float_array.values(a, array.activation)
    want, _ = mpgemm(design, numbers, weights, kernel="plain")
    for twos in (False, True):
        cell = fp_tensor_unit(array, 1, "twos" if twos else "unsigned")
        sums = cell.golden(unit_beats(array, 1, [(a, q, bits)], twos))["d"]["values"]
        got = float_array.values(sums.reshape(array.m, array.n), array.total)
        np.testing.assert_array_equal(got, want.astype(np.float64))


def test_a_product_by_hand() -> None:
    """FP16: 1 + 2^-11 is a tie that goes to 1; the table rounds before the sum can keep it."""
    array = catalogue.small_float("fp16", m=1, n=1, k=2, serial_weight_bits=1)
    one, tiny = 0x3C00, 0x1000  # 1, 2^-11
    a, q = np.array([[one, tiny, tiny, 0]]), np.array([[1, 1, 1, 1]])
    sums = fp_tensor_unit(array).golden(unit_beats(array, 1, [(a, q, 1)]))["d"]["values"]
    assert float_array.values(sums, array.total).tolist() == [[1 + 2.0**-11]]
    q = np.array([[0, 0, 0, 1]])  # -(1 + 2^-11), then -2^-11
    sums = fp_tensor_unit(array).golden(unit_beats(array, 1, [(a, q, 1)]))["d"]["values"]
    assert float_array.values(sums, array.total).tolist() == [[-1 - 2.0**-11]]


@settings(max_examples=200, deadline=None)
@given(array=float_arrays(), steps=st.integers(1, 9), tables=st.integers(1, 4), data=st.data())
def test_one_tile_takes_the_cycles_of_the_formula(array: Array, steps: int, tables: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, array.serial_weight_bits))
    rng = np.random.default_rng(1)
    tile = fp_stimuli.random_tile(array, rng, bits, steps)
    w = operands.weight_beats(array, tile[1], bits)
    alone = fp_array.fp_array(array)
    assert alone.schedule is not None
    assert alone.schedule({"w": w})["d"].tolist() == [array_timing.tile_cycles(array, steps, bits) - 1]
    t = min(tables, array.m)
    want = array_timing.unit_cycles(array, steps, bits, t) - 1
    for cell, beats in (
        (fp_array.fp_unit(array, t), {"w": w}),
        (fp_tensor_unit(array, t), unit_beats(array, t, [tile])),
    ):
        assert cell.schedule is not None
        assert cell.schedule(beats)["d"].tolist() == [want]


@settings(max_examples=4, deadline=None, derandomize=True)
@given(array=float_arrays(most=2), tables=st.integers(1, 2), seed=st.integers(0, 10**6))
def test_random_designs_in_verilog(array: Array, tables: int, seed: int) -> None:
    run = verify(fp_tensor_unit(array, tables), vectors=60, seed=seed)
    assert run.failures() == []


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@given(array=float_arrays(), tables=st.integers(1, 3), seed=st.integers(0, 10**6))
def test_many_random_designs_in_verilog(array: Array, tables: int, seed: int) -> None:
    assert verify(fp_tensor_unit(array, tables, "twos"), vectors=60, seed=seed).failures() == []


FP16 = {"array.activation_format": "fp16", "array.activation_bits": 16, "array.table_bits": 16}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"array.activation_format": "fp61"}, "must be 'int', 'fp16', 'bf16', 'e4m3' or 'e5m2' (did you mean 'fp16'?)"),
        ({"array.activation_format": "fp16"}, "activation_bits = 8: fp16 has 16 bits; activation_bits = 16"),
        (FP16 | {"array.table_bits": 8}, "table_bits = 8: fp16 has 16 bits; table_bits = 16"),
        (FP16 | {"array.accumulator_bits": 24}, "accumulator_bits = 24: fp32 has 32 bits; accumulator_bits = 32"),
        (
            FP16 | {"array.table_format": "e4m3", "array.table_bits": 8},
            "table_format 'e4m3' does not hold every fp16 number; allowed: fp16",
        ),
        (
            FP16 | {"array.accumulator_format": "bf16"},
            "accumulator_format 'bf16' does not hold every fp16 number; allowed: fp32, fp16",
        ),
        (
            FP16 | {"array.planes_per_cycle": 2},
            "activation_format 'fp16' with datapath 'lut' and planes_per_cycle = 2 is not built; "
            "allowed: datapath lut with planes_per_cycle = 1",
        ),
        (FP16 | {"array.datapath": "add"}, "activation_format 'fp16' with datapath 'add' and planes_per_cycle = 1"),
    ],
)
def test_formats_that_do_not_nest(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        specs.override(specs.load("lut-tensor-core"), changes)
    assert text in str(error.value)


def test_digests_of_integer_designs_did_not_change() -> None:
    """Digests of stores and reports made before float formats existed."""
    plain = specs.load("lut-tensor-core")
    assert plain.digest() == "ffb5c267f29d"
    assert specs.load("mac-array").digest() == "d43e319ff4c0"
    assert specs.override(plain, {"array.accumulator_format": "bf16"}).digest() == plain.digest()
    assert "array.accumulator_format" in plain.inert()
    floats = specs.load("lut-tensor-core-fp16")
    assert "array.accumulator_format" not in floats.inert()
    other = specs.override(floats, {"array.float_overflow": "saturate"})
    assert len({plain.digest(), floats.digest(), other.digest()}) == 3


def test_float_designs_have_no_price() -> None:
    with pytest.raises(UserError) as error:
        simulate(specs.load("lut-tensor-core-fp16"), None)  # type: ignore[arg-type]
    assert str(error.value) == (
        "lut-tensor-core-fp16: array.activation_format = 'fp16' has no machine cost yet; allowed: int "
        "(bits and cycles of a float unit: lutscape rtl verify; its area: lutscape rtl synth)"
    )


def test_float_designs_have_no_report() -> None:
    with pytest.raises(UserError) as error:
        rtl_measured.measured(specs.load("lut-tensor-core-fp16"), rtl_measured.Options(), print)
    assert str(error.value).startswith("lut-tensor-core-fp16: array.activation_format = 'fp16' has no report yet")


def test_integer_golden_refuses_floats() -> None:
    zero = np.zeros((1, 4), np.int64)
    with pytest.raises(UserError) as error:
        golden.matmul(catalogue.small_float("bf16"), zero, zero, 1)
    assert str(error.value) == "activations of bf16 are no integers; use mpgemm with Mpgemm.of_array"
