"""Quantisers against slow scalar twins, and what must hold for any input."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import values as form_values
from lutscape.hw.formats.encode import encode
from lutscape.hw.formats.storage import kv_bytes, parse_weight_format
from lutscape.models.executor import dense
from lutscape.models.quantise import activation, kv, scalar, ternary
from lutscape.models.quantise.recipe import Recipe, fake_quantise_weight, quantise_weight
from lutscape.models.quantise.rounding import FLOAT_FORMATS, round_to
from lutscape.models.recorder import Formats

f32 = np.float32


def matrices(rows: int = 3, columns: int = 11, bound: float = 100.0) -> st.SearchStrategy[np.ndarray]:
    shape = st.tuples(st.integers(1, rows), st.integers(1, columns))
    return hnp.arrays(np.float32, shape, elements=st.floats(-bound, bound, width=32))


def half_even(x: np.floating) -> int:
    """Round to the nearest integer, ties to even, on exact fractions."""
    return round(Fraction(float(x)))


def fp16(x: np.floating) -> np.floating:
    value = f32(np.float16(x)) if x <= 0 or x > 2**-24 else f32(2**-24)
    return f32(1) if value == 0 else value


def twin_group(values: list[np.floating], bits: int, symmetric: bool) -> tuple[list[int], float, float]:
    """One group, one number at a time: codes, scale, zero point."""
    top = 2**bits - 1
    if bits == 1:
        scale = 2 * fp16(f32(math.fsum(abs(float(v)) for v in values) / len(values)))
        return [int(v >= 0) for v in values], float(scale), 0.5
    if symmetric:
        middle = 2 ** (bits - 1)
        scale = fp16(max(abs(v) for v in values) / f32(middle - 1))
        zero = middle
    else:
        low, high = min([f32(0), *values]), max([f32(0), *values])
        scale = fp16(f32(high - low) / f32(top))
        zero = min(max(half_even(-low / scale), 0), top)
    return [min(max(half_even(v / scale) + zero, 0), top) for v in values], float(scale), float(zero)


@settings(max_examples=150, deadline=None)
@given(matrices(), st.integers(1, 8), st.sampled_from([0, 1, 3, 4, 128]), st.booleans())
def test_scalar_equals_its_twin(weight: np.ndarray, bits: int, group: int, symmetric: bool) -> None:
    done = scalar.quantise(weight, bits, group, symmetric)
    width = group or weight.shape[1]
    assert done.scales.shape == (weight.shape[0], -(-weight.shape[1] // width))
    restored = done.dequantise()
    for n, row in enumerate(weight):
        for g, start in enumerate(range(0, len(row), width)):
            part = row[start : start + width]
            codes, scale, zero = twin_group(list(part), bits, symmetric)
            assert done.codes[n, start : start + width].tolist() == codes
            assert (done.scales[n, g], done.zeros[n, g]) == (scale, zero)
            expected = [f32(c - zero) * f32(scale) for c in codes]
            assert restored[n, start : start + width].tolist() == expected


@settings(max_examples=100, deadline=None)
@given(matrices(), st.integers(2, 8), st.sampled_from([0, 3, 128]))
def test_error_is_at_most_one_step_and_zero_is_exact(weight: np.ndarray, bits: int, group: int) -> None:
    done = scalar.quantise(weight, bits, group)
    scales = np.repeat(done.scales, done.group, axis=1)[:, : weight.shape[1]]
    # Half a step, half a step more at the ends where the zero point was rounded, and FP16's rounding
    # of the scale times the codes.
    slack = np.maximum(scales * 2.0**-10, 2.0**-24) * 2**bits
    assert (np.abs(done.dequantise() - weight) <= scales + slack + 1e-30).all()
    assert (done.dequantise()[weight == 0] == 0).all()


def test_more_bits_are_better() -> None:
    weight = np.random.default_rng(0).standard_normal((64, 576)).astype(f32)
    errors = [np.square(scalar.quantise(weight, b, 128).dequantise() - weight).mean() for b in range(1, 9)]
    assert all(a > b * 1.4 for a, b in itertools.pairwise(errors))
    assert errors[3] == pytest.approx(0.0103, rel=0.1)  # 4 bits, 128 normal values: (2·2.6σ/15)²/12


def test_ragged_tail_is_a_group_of_its_own() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 576)).astype(f32)
    whole = scalar.quantise(weight, 4, 128)
    tail = scalar.quantise(weight[:, 512:], 4, 128)
    assert whole.scales.shape == (4, 5)
    np.testing.assert_array_equal(whole.scales[:, 4:], tail.scales)
    np.testing.assert_array_equal(whole.codes[:, 512:], tail.codes)


def test_scalar_rejects_what_it_cannot_do() -> None:
    for weight, bits in ((np.zeros(3, f32), 4), (np.zeros((2, 2), f32), 0), (np.zeros((2, 2), f32), 9)):
        with pytest.raises(ValueError, match="a matrix and 1 to 8 bits are needed"):
            scalar.quantise(weight, bits)
    with pytest.raises(ValueError, match="not all finite"):
        scalar.quantise(np.array([[1, np.nan]], f32), 4)


@settings(max_examples=100, deadline=None)
@given(matrices(), st.sampled_from([-1, 0, 2, 4]))
def test_ternary_equals_its_twin(weight: np.ndarray, group: int) -> None:
    done = ternary.quantise(weight, group)
    width = group if group > 0 else weight.shape[1]
    for n, row in enumerate(weight):
        for g, start in enumerate(range(0, len(row), width)):
            part = row[start : start + width]
            pool = weight.ravel() if group == -1 else part
            exact = math.fsum(abs(float(v)) for v in pool) / len(pool)
            scale = fp16(f32(np.abs(pool).mean(dtype=np.float64)))
            assert scale == pytest.approx(exact, rel=2**-10, abs=2**-24) or exact < 1e-40
            assert done.scales[n, g] == scale
            codes = [min(max(half_even(v / scale), -1), 1) for v in part]
            assert (done.codes[n, start : start + width].astype(int) - 1).tolist() == codes
            restored = done.dequantise()[n, start : start + width]
            assert restored.tolist() == [f32(c) * scale for c in codes]


def decode(code: int, exponent_bits: int, mantissa_bits: int) -> float:
    """Value of a positive code of a float format with bias 2^(e-1) - 1."""
    exponent, fraction = code >> mantissa_bits, code & (2**mantissa_bits - 1)
    bias = 2 ** (exponent_bits - 1) - 1
    if exponent == 0:
        return fraction * 2.0 ** (1 - bias - mantissa_bits)
    return (1 + fraction * 2.0**-mantissa_bits) * 2.0 ** (exponent - bias)


# E4M3 gives up one code (0x7F) to NaN; E5M2 the last four to infinity and NaN (OCP FP8 1.0, table 2).
FP8 = {"fp8_e4m3": (4, 3, 0x7F), "fp8_e5m2": (5, 2, 0x7C)}


@pytest.mark.parametrize("name", FP8)
def test_fp8_values_are_fixed_points(name: str) -> None:
    exponent_bits, mantissa_bits, count = FP8[name]
    values = np.array([decode(code, exponent_bits, mantissa_bits) for code in range(count)], f32)
    assert values[-1] == FLOAT_FORMATS[name].max_value
    np.testing.assert_array_equal(round_to(values, name), values)
    np.testing.assert_array_equal(round_to(-values, name), -values)


@pytest.mark.parametrize("name", FP8)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_fp8_rounds_to_nearest_even(name: str, data: st.DataObject) -> None:
    exponent_bits, mantissa_bits, count = FP8[name]
    values = [decode(code, exponent_bits, mantissa_bits) for code in range(count)]
    code = data.draw(st.integers(0, count - 2))
    middle = (values[code] + values[code + 1]) / 2  # exact in float32
    even = values[code] if code % 2 == 0 else values[code + 1]
    assert round_to(np.array([middle], f32), name)[0] == even
    x = data.draw(st.floats(0, 2 * values[-1], width=32))
    nearest = min(values, key=lambda v: (abs(v - x), values.index(v) % 2))
    assert round_to(np.array([x, -x], f32), name).tolist() == [nearest, -nearest]


@settings(max_examples=200, deadline=None)
@given(st.floats(-65000, 65000, width=32))
def test_general_rounding_agrees_with_numpy_on_fp16(x: float) -> None:
    form = FLOAT_FORMATS["fp16"]
    exponent = max(math.frexp(x)[1] - 1, form.emin) - form.mantissa_bits
    assert round_to(np.array([x], f32), "fp16")[0] == math.ldexp(round(Fraction(x) / Fraction(2) ** exponent), exponent)


@settings(max_examples=200, deadline=None)
@given(st.floats(-(2.0**127), 2.0**127, width=32))
def test_bf16_drops_sixteen_bits_with_ties_to_even(x: float) -> None:
    bits = int(np.array(x, f32).view(np.uint32))
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    expected = np.array(rounded, np.uint32).view(f32)
    assert round_to(np.array([x], f32), "bf16")[0] == expected


@pytest.mark.parametrize("name", FLOAT_FORMATS)
@settings(max_examples=100, deadline=None)
@given(words=hnp.arrays(np.uint32, 64))
def test_rounding_equals_the_exact_codec_on_any_bits(name: str, words: np.ndarray) -> None:
    x = words.view(f32)
    form = FLOAT_FORMATS[name]
    exact = form_values(encode(x, form, "RNE", "saturate"), form)
    finite = np.isfinite(x)
    np.testing.assert_array_equal(round_to(x[finite], name), exact[finite].astype(f32))


def test_rounding_saturates_and_keeps_nan() -> None:
    for name, form in FLOAT_FORMATS.items():
        x = np.array([np.inf, -np.inf, 3e38, np.nan], f32)
        y = round_to(x, name)
        assert y[0] == -y[1] == f32(form.max_value)
        assert np.isnan(y[3])
    x = np.array([1.1], f32)
    assert round_to(x, "fp32") is x


@settings(max_examples=150, deadline=None)
@given(matrices(bound=1e4), st.sampled_from([8, 16]))
def test_activations_equal_their_twin(x: np.ndarray, bits: int) -> None:
    done = activation.quantise_rows(x, bits)
    top = 2 ** (bits - 1) - 1
    for n, row in enumerate(x):
        largest = max(abs(v) for v in row)
        scale = max(largest / f32(top), np.finfo(f32).tiny) if largest > 0 else f32(1)
        assert done.scales[n, 0] == scale
        assert done.codes[n].tolist() == [min(max(half_even(v / scale), -top), top) for v in row]
    assert np.abs(done.codes.astype(int)).max() <= top
    np.testing.assert_array_equal(done.dequantise(), done.codes.astype(f32) * done.scales)


@settings(max_examples=150, deadline=None)
@given(matrices(bound=1e3), st.sampled_from([2, 4, 8]))
def test_kv_equals_its_twin(x: np.ndarray, bits: int) -> None:
    done = kv.quantise(x, bits)
    top = 2**bits - 1
    for n, row in enumerate(x):
        low = f32(np.float16(min(row)))
        scale = fp16(max(f32(max(row) - low), f32(0)) / f32(top))
        assert (done.minima[n, 0], done.scales[n, 0]) == (low, scale)
        assert done.codes[n].tolist() == [min(max(half_even(f32(v - low) / scale), 0), top) for v in row]
    np.testing.assert_array_equal(done.dequantise(), done.codes.astype(f32) * done.scales + done.minima)


def test_kv_error_is_half_a_step() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 64)).astype(f32)
    for bits in (2, 4, 8):
        done = kv.quantise(x, bits)
        assert (np.abs(done.dequantise() - x) <= done.scales * 0.5 + 0.01).all()


@pytest.mark.parametrize("name", ["int4-g128", "int2-g64", "int8-row", "ternary", "ternary-g32", "int3-tensor"])
def test_what_is_stored_is_what_is_counted(name: str) -> None:
    form = parse_weight_format(name)
    weight = np.random.default_rng(0).standard_normal((6, 576)).astype(f32)
    done = quantise_weight(weight, form)
    scales = 1 if form.group == -1 else done.scales.size
    if form.group == -1:
        assert np.unique(done.scales).size == 1
    bits = 16 + (form.element.bits if form.zero_point else 0)
    assert form.bytes(6, 576) == math.ceil(done.codes.size * form.element.bits / 8) + math.ceil(scales * bits / 8)
    assert done.codes.max() < 2**form.element.bits


def test_kv_bytes_are_codes_scale_and_minimum() -> None:
    assert kv_bytes(1, 3, 64, "int4") == 2 * 3 * (64 * 4 // 8 + 4)


def test_q4_1_weights_come_through_their_own_format_unchanged() -> None:
    from gguf.constants import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    weight = np.random.default_rng(0).standard_normal((4, 64)).astype(f32)
    kind = GGMLQuantizationType.Q4_1
    np.testing.assert_array_equal(fake_quantise_weight(weight, "q4_1"), dequantize(quantize(weight, kind), kind))


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("q4_k", 256, "weights cannot be requantised to q4_k; possible: int1..int8, ternary, fp32, "),
        ("q4_0", 40, "weights cannot be requantised to q4_0: rows of 40 are no multiple of 32; possible: "),
        ("tf32", 40, "weights cannot be requantised to tf32; possible: int1..int8, "),
    ],
)
def test_formats_without_a_quantiser(name: str, columns: int, message: str) -> None:
    with pytest.raises(UserError) as caught:
        fake_quantise_weight(np.zeros((2, columns), f32), name)
    assert str(caught.value).startswith(message)
    with pytest.raises(UserError, match=r"^weight format fp16 has no integer codes; use int1\.\.int8 or ternary$"):
        quantise_weight(np.zeros((2, 2), f32), "fp16")


def test_recipe_touches_what_it_says() -> None:
    recipe = Recipe.of(Formats("int4-g32", "int8-g32", "int8", "int4"))
    weight = np.random.default_rng(0).standard_normal((8, 64)).astype(f32)
    # A router beside weights of a format is counted as FP16, so that is what it becomes.
    np.testing.assert_array_equal(recipe.weight_transform("layers.0.router", weight), round_to(weight, "fp16"))
    assert Recipe(head_weights="int8").weight_transform("layers.0.router", weight) is weight
    assert recipe.weight_transform("positions", weight) is weight
    np.testing.assert_array_equal(
        recipe.weight_transform("layers.0.q", weight), fake_quantise_weight(weight, "int4-g32")
    )
    np.testing.assert_array_equal(recipe.weight_transform("embed", weight), fake_quantise_weight(weight, "int8-g32"))
    x = np.random.default_rng(1).standard_normal((3, 64)).astype(f32)
    y = recipe.linear_factory("layers.0.q", weight, None)(x)
    np.testing.assert_array_equal(y, dense("", weight, None)(activation.fake_quantise(x, "int8")))
    router = recipe.linear_factory("layers.0.router", weight, None)(x)
    np.testing.assert_array_equal(router, dense("", weight, None)(round_to(x, "fp16")))
    assert recipe.kv_quantiser is not None
    np.testing.assert_array_equal(recipe.kv_quantiser(x), kv.fake_quantise(x, "int4"))
    plain = Recipe()
    assert plain.weight_transform("layers.0.q", weight) is weight
    assert plain.kv_quantiser is None
    np.testing.assert_array_equal(plain.linear_factory("lm_head", weight, None)(x), dense("", weight, None)(x))
