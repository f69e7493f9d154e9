"""mpGEMM by lookup: lossless designs against fractions, all designs against the scalar twin, kernels against plain."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import lut_twins
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.models.quantise.rounding import round_to
from lutscape.sim.lut_tensor_core import golden, kernels, kernels_loops, kernels_permute, kernels_shuffle, tables
from lutscape.sim.lut_tensor_core import mpgemm as module
from lutscape.sim.lut_tensor_core.mpgemm import exact_sums, mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_design import ACTIVATIONS, Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights

WEIGHTS = ("int1", "int2", "int3", "int4", "ternary", "base3", "base4", "base5", "base16")


def activations(design: Mpgemm, rows: int, columns: int, rng: np.random.Generator, wide: bool = False) -> np.ndarray:
    """Return activations of a design; ``wide``: over the whole range of the format."""
    if design.integer_activations:
        bits = int(design.activations[3:])
        half = 1 << (bits - 1)
        a = rng.integers(-half, half, (rows, columns)).astype(np.int8 if bits == 8 else np.int16)
        a.flat[0] = -half
        return a
    low, high = {"fp8_e4m3": (-9, 8), "fp16": (-24, 15), "bf16": (-133, 126)}.get(design.activations, (-16, 15))
    spread = rng.integers(low, high, (rows, columns)) if wide else rng.integers(-3, 3, (rows, columns))
    x = np.ldexp(rng.standard_normal((rows, columns)), spread).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0
    return round_to(x, design.activations)


def weights(
    design: Mpgemm, rows: int, columns: int, rng: np.random.Generator, group: int = 0, zeros: bool = True
) -> LookupWeights:
    """Return random codes with scales, and zero points among the codes."""
    codes = rng.integers(0, design.levels, (rows, columns)).astype(np.uint8)
    groups = -(-columns // (group or columns))
    scales = round_to((rng.random((rows, groups)) / 8 + 0.01).astype(np.float32), "fp16")
    points = rng.integers(0, design.levels, (rows, groups)).astype(np.float32) if zeros else None
    return LookupWeights(design, codes, scales, points, group)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_lossless_designs_equal_the_exact_result(weight: str, activation: str) -> None:
    """Every weight and activation format, the whole range of each, in rational numbers."""
    k = {"base16": 2, "base3": 3, "base4": 2, "base5": 2}.get(weight, 4)
    integers = activation.startswith("int")
    design = Mpgemm(weights=weight, activations=activation, k=k, accumulator="int32" if integers else "exact")
    if activation == "bf16":
        design = replace(design, largest_activation=2.0**100)
    rng = np.random.default_rng(len(weight) + len(activation))
    a, w = activations(design, 3, 22, rng, wide=True), weights(design, 5, 22, rng)
    a = np.clip(a, -(2.0**100), 2.0**100) if activation == "bf16" else a
    raw = LookupWeights(design, w.codes)
    whole, exponent = exact_sums(design, a, raw)
    for m in range(3):
        for n in range(5):
            terms = [Fraction(float(x)) * int(v) for x, v in zip(a[m], raw.values[n], strict=True)]
            exact = sum(terms, Fraction(0))
            assert int(whole[m, n, 0]) * Fraction(2) ** exponent == exact
            for kernel in ("plain", "blas"):
                found, _ = mpgemm(design, a, raw, kernel=kernel)
                wanted = exact if integers else lut_twins.round_to(exact, "fp32")
                assert Fraction(found[m, n].item()) == wanted
    twin = lut_twins.mpgemm(design, a, w.codes, w.scales, w.zeros, 22)
    for kernel in ("plain", "blas"):
        np.testing.assert_array_equal(mpgemm(design, a, w, kernel=kernel)[0], twin)


@pytest.mark.parametrize("weight_bits", [1, 2, 3, 4])
@pytest.mark.parametrize("k", [2, 4, 5])
def test_integer_designs_are_the_golden_array(weight_bits: int, k: int) -> None:
    """Exact tables, and power-of-two scales that round half up, are what an array's accumulators hold."""
    rng = np.random.default_rng(k)
    a, codes = rng.integers(-128, 128, (3, 23)), rng.integers(0, 1 << weight_bits, (4, 23))
    array = Array(datapath="lut", m=1, n=1, k=k, count=1, table_bits=12)
    design = Mpgemm(weights=f"int{weight_bits}", k=k)
    found, _ = mpgemm(design, a.astype(np.int8), LookupWeights(design, codes.astype(np.uint8)))
    np.testing.assert_array_equal(found, golden.matmul(array, a, codes, weight_bits))
    narrow = array.model_copy(update={"table_bits": 6})
    shift = golden.smallest_shift(narrow, a)
    design = Mpgemm.of_array(narrow, f"int{weight_bits}")
    assert Mpgemm.of_array(array, "int2").exact_entries
    expected = golden.matmul(narrow, a, codes, weight_bits, shift)
    for kernel in ("plain", "scalar"):
        found, _ = mpgemm(design, a.astype(np.int8), LookupWeights(design, codes.astype(np.uint8)), kernel=kernel)
        np.testing.assert_array_equal(found, (expected << shift).astype(np.float32))
    built = tables.build(replace(design, table_group=2 * k), a)
    shifts = golden.smallest_shift(narrow, a, 2 * k)
    np.testing.assert_array_equal(np.repeat(built.scales, 2, axis=1)[:, : shifts.shape[1]], np.ldexp(1.0, shifts))
    wanted = golden.tables(narrow, golden.grouped(a, k), shifts[..., None])
    np.testing.assert_array_equal(built.entries, wanted)


FLOAT = {"activations": "fp16", "largest_activation": 64.0}
TWIN_DESIGNS: list[dict[str, Any]] = [
    {"weights": "int2", "entries": "int8", "table_group": 8},
    {"weights": "int4", "entries": "int4", "table_group": 4, "table_scale": "fp16"},
    {"weights": "int3", "entries": "int6", "table_group": 0, "rounding": "half-up"},
    {"weights": "int1", "entries": "int5", "table_group": 10, "k": 5, "table_scale": "power-of-two"},
    {"weights": "base3", "k": 3, "entries": "int7", "table_group": 0, "rounding": "half-away"},
    {"weights": "base5", "k": 2, "entries": "int8", "table_group": 4, "table_scale": "power-of-two"},
    {"weights": "base16", "k": 2, "entries": "int9", "table_group": 4, "activations": "int16"},
    {"weights": "int2", "entries": "int8", "table_group": 8, **FLOAT},
    {"weights": "int2", "entries": "int8", "table_group": 8, "adds": "fp16", "add_order": "chain", **FLOAT},
    {"weights": "int4", "entries": "int6", "table_group": 8, "table_scale": "power-of-two", "adds": "bf16", **FLOAT},
    {"weights": "ternary", "entries": "int8", "table_group": 0, "table_scale": "fp16", "activations": "fp8_e4m3"},
    {"weights": "int4", "entries": "fp16", "accumulator": "fp32", **FLOAT},
    {"weights": "int4", "entries": "fp16", "accumulator": "fp32", "planes": "parallel", **FLOAT},
    {"weights": "int2", "entries": "fp8_e5m2", "accumulator": "fp16", "k": 3, "add_order": "chain", **FLOAT},
    {"weights": "int3", "entries": "bf16", "accumulator": "bf16", "planes": "parallel", **FLOAT},
    {"weights": "base3", "entries": "fp8_e4m3", "accumulator": "fp32", "k": 3, **FLOAT, "largest_activation": 16.0},
    {"weights": "base4", "entries": "fp32", "accumulator": "fp32", "k": 2, **FLOAT},
]


@pytest.mark.parametrize("fields", TWIN_DESIGNS, ids=lambda f: "-".join(map(str, f.values())))
def test_plain_model_equals_the_scalar_twin(fields: dict[str, Any]) -> None:
    design = Mpgemm(**fields)
    rng = np.random.default_rng(7)
    group = 2 * max(design.table_group if design.scaled_entries else 0, 2 * design.k)
    columns = group + design.k + 1  # a last weight group, table group and table that are not full
    a, w = activations(design, 2, columns, rng), weights(design, 3, columns, rng, group)
    found, info = mpgemm(design, a, w, kernel="plain")
    twin = lut_twins.mpgemm(design, a, w.codes, w.scales, w.zeros, group)
    np.testing.assert_array_equal(found, twin)
    assert info.bound.holds
    for kernel in kernels.able(design, info.bound):
        np.testing.assert_array_equal(mpgemm(design, a, w, kernel=kernel)[0], twin)


KERNEL_DESIGNS: list[dict[str, Any]] = [
    {"weights": "int2", "entries": "int8"},
    {"weights": "int4", "entries": "int8"},  # units longer than 16 steps leave 16-bit sums
    {"weights": "int3", "entries": "int6"},
    {"weights": "base3", "k": 3, "entries": "int8"},
]


@pytest.mark.parametrize("fields", KERNEL_DESIGNS, ids=lambda f: f["weights"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_shuffles_equal_the_plain_model(fields: dict[str, Any], data: st.DataObject) -> None:
    """Every register width and the loops: rows and outputs that fill no tile, odd units, scales of every size."""
    k, rows = fields.get("k", 4), data.draw(st.integers(1, 9))
    groups = st.sampled_from([0, k, 2 * k, 3 * k, 16 * k, 40 * k])
    group, table_group = data.draw(groups), data.draw(groups)
    columns, outputs = data.draw(st.integers(1, 50 * k)), data.draw(st.integers(1, 130))
    extra = data.draw(
        st.sampled_from([{}, {"activations": "int16"}, {"activations": "fp16", "largest_activation": 99.0}])
    )
    rounding = data.draw(st.sampled_from(["nearest-even", "half-up", "half-away"]))
    scale = data.draw(st.sampled_from(["fp32", "fp16", "power-of-two"]))
    design = Mpgemm(**fields, table_group=table_group, rounding=rounding, table_scale=scale, **extra)
    if group and table_group and group % table_group and table_group % group:
        group = table_group
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    w = weights(design, outputs, columns, rng, group, zeros=data.draw(st.booleans()))
    a = activations(design, rows, columns, rng)
    expected, _ = mpgemm(design, a, w, kernel="plain")
    np.testing.assert_array_equal(mpgemm(design, a, w, kernel="scalar")[0], expected)
    for width in kernels_shuffle.widths():
        np.testing.assert_array_equal(kernels.run(a, w, "shuffle", width), expected)


@pytest.mark.parametrize(("weight", "k"), [("int4", 4), ("base3", 2)])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_permutes_equal_the_plain_model(weight: str, k: int, data: st.DataObject) -> None:
    """Float entries: every register width and the loops; overflow to infinity and NaN included."""
    group = data.draw(st.sampled_from([0, 2 * k, 9 * k]))
    columns, outputs = data.draw(st.integers(1, 20 * k)), data.draw(st.integers(1, 70))
    entries = data.draw(st.sampled_from(["fp16", "bf16", "fp32", "fp8_e4m3", "fp8_e5m2"]))
    order = data.draw(st.sampled_from(["tree", "chain"]))
    wide = data.draw(st.booleans())
    design = Mpgemm(
        weights=weight, k=k, entries=entries, accumulator="fp32", add_order=order, overflow="ieee",
        activations=data.draw(st.sampled_from(["fp16", "bf16", "fp8_e5m2"])),
    )  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    w = weights(design, outputs, columns, rng, group, zeros=data.draw(st.booleans()))
    a = activations(design, data.draw(st.integers(1, 6)), columns, rng, wide)
    with np.errstate(all="ignore"):
        expected, _ = mpgemm(design, a, w, kernel="plain")
        np.testing.assert_array_equal(mpgemm(design, a, w, kernel="scalar")[0], expected)
        for width in kernels_permute.widths():
            np.testing.assert_array_equal(kernels.run(a, w, "permute", width), expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_compiled_tables_equal_the_builder(data: st.DataObject) -> None:
    """Entries and scales of the fast builders, all float formats, zeros, overflow and saturation."""
    entries = data.draw(st.sampled_from(["int8", "int4", "fp16", "bf16", "fp32", "fp8_e4m3", "fp8_e5m2"]))
    overflow = data.draw(st.sampled_from(["ieee", "saturate"])) if "fp" in entries or entries == "bf16" else "prove"
    design = Mpgemm(
        weights="int2", activations=data.draw(st.sampled_from(ACTIVATIONS[2:])), entries=entries, overflow=overflow,
        accumulator="int32" if entries.startswith("int") else "fp32",
        rounding=data.draw(st.sampled_from(["nearest-even", "half-up", "half-away"])),
        table_group=data.draw(st.sampled_from([0, 4, 12, 400])),
        table_scale=data.draw(st.sampled_from(["fp32", "fp16", "power-of-two"])),
    )  # fmt: skip
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    a = activations(
        design, 3, data.draw(st.integers(1, 300)), rng, wide=design.float_entries and data.draw(st.booleans())
    )
    a[0, :8] = 0
    if not kernels_loops.tree_tables(design):
        return
    with np.errstate(all="ignore"):
        built = tables.build(design, a.astype(np.float64))
        if design.float_entries:
            np.testing.assert_array_equal(kernels_loops.float_tables(design, a), built.entries)
            return
    found, scales, span = kernels_loops.byte_tables(design, a)
    np.testing.assert_array_equal(scales, built.scales)
    np.testing.assert_array_equal(found[..., :8], built.entries)
    np.testing.assert_array_equal(found[..., 8:], -built.entries)
    assert span == min(built.span, found.shape[1])


def test_without_vector_shuffles_loops_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    design = Mpgemm(weights="int2", entries="int8", table_group=8)
    rng = np.random.default_rng(3)
    a, w = activations(design, 5, 40, rng), weights(design, 70, 40, rng, 16)
    first, info = mpgemm(design, a, w)
    monkeypatch.setattr(kernels_shuffle, "widths", lambda: ())
    monkeypatch.setattr(kernels_permute, "widths", lambda: ())
    second, other = mpgemm(design, a, w)
    np.testing.assert_array_equal(first, second)
    assert other.kernel == "scalar"
    assert info.kernel == ("shuffle" if kernels_shuffle.INSTRUCTIONS else "scalar")
    assert (info.tables, info.lookups) == (5 * 10, 5 * 70 * 10 * 2)


def test_scales_of_activations_and_empty_operands() -> None:
    design = Mpgemm(weights="int2")
    w = LookupWeights(design, np.array([[3, 0, 2]], np.uint8))
    a = np.array([[5, 7, -2], [1, 1, 1]], np.int8)
    sums, _ = mpgemm(design, a, w)
    assert sums.dtype == np.int64
    assert sums.tolist() == [[-8], [1]]  # 3·5 - 3·7 - 2·1, 3 - 3 + 1
    scaled, _ = mpgemm(design, a, w, np.array([[0.5], [2]], np.float32))
    assert scaled.dtype == np.float32
    assert scaled.tolist() == [[-4], [2]]
    assert mpgemm(design, a[:0], w)[0].shape == (0, 1)


def test_zero_activations_give_zero_and_scale_one() -> None:
    for scale in ("fp32", "fp16", "power-of-two"):
        design = Mpgemm(weights="int4", entries="int8", table_group=4, table_scale=scale)
        w = weights(design, 3, 8, np.random.default_rng(0))
        for kernel in ("plain", "auto"):
            assert not mpgemm(design, np.zeros((2, 8), np.int8), w, kernel=kernel)[0].any()
        assert (tables.build(design, np.zeros((1, 8), np.int64)).scales == 1).all()


def test_integer_tables_that_fit_are_exact() -> None:
    """Small integers are not scaled up or down: the result is the exact one."""
    rng = np.random.default_rng(1)
    a, codes = rng.integers(-31, 32, (4, 32)).astype(np.int8), rng.integers(0, 4, (6, 32)).astype(np.uint8)
    exactly = Mpgemm(weights="int2")
    for scale in ("fp32", "fp16", "power-of-two"):
        design = Mpgemm(weights="int2", entries="int8", table_group=0, table_scale=scale)
        found, _ = mpgemm(design, a, LookupWeights(design, codes))
        np.testing.assert_array_equal(found, mpgemm(exactly, a, LookupWeights(exactly, codes))[0])


def test_row_sums_of_floats_are_a_chain() -> None:
    design = Mpgemm(weights="int2", entries="fp32", accumulator="fp32", activations="fp16", largest_activation=60000.0)
    a = np.array([[2.0**-10, 30000, -30000, 2.0**-10]], np.float32)
    w = LookupWeights(design, np.zeros((1, 4), np.uint8), np.ones((1, 1), np.float32), np.ones((1, 1), np.float32))
    chain = np.float32(np.float32(a[0, 0] + a[0, 1]) + a[0, 2]) + a[0, 3]
    assert module.row_sums(design, a, w)[0, 0] == chain
    assert kernels_loops.row_sums(design, a, w)[0, 0] == chain
