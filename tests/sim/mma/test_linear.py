"""Linear layers through matrix units: the factory is a plain gemm on rounded operands, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.hw.formats.encode import encode
from lutscape.models.checkpoint import RandomCheckpoint
from lutscape.models.executor import Model, dense
from lutscape.models.shape import ModelShape
from lutscape.sim import mma
from lutscape.sim.mma.linear import Cache, linear_factory, reference_factory, round_operand

RNG = np.random.default_rng(5)
X = RNG.standard_normal((5, 96)).astype(np.float32)
W = (RNG.standard_normal((24, 96)) / 8).astype(np.float32)
BIAS = RNG.standard_normal(24).astype(np.float32)


@pytest.mark.parametrize(
    ("arch", "name"),
    [
        ("sm_80", "m16n8k16.f32.f16.f16.f32"),
        ("sm_90", "wgmma.m64n64k16.f16.f16.f16"),
        ("sm_90", "wgmma.m64n64k16.f32.bf16.bf16"),
        ("sm_90", "wgmma.m64n64k8.f32.tf32.tf32"),
        ("gfx90a", "f32_16x16x16f16"),
    ],
)
def test_wide_operands_are_a_plain_gemm(arch: str, name: str) -> None:
    s = mma.instruction(arch, name).spec
    raw = mma.gemm(arch, name, encode(X, s.a), encode(W.T, s.b))
    expected = values(raw, s.d).astype(np.float32)
    np.testing.assert_array_equal(linear_factory(arch, name)("q", W, None)(X), expected)
    np.testing.assert_array_equal(linear_factory(arch, name)("q", W, BIAS)(X), expected + BIAS)


FP8 = ("sm_90", "wgmma.m64n64k32.f32.e4m3.e4m3")


@pytest.mark.parametrize("scale", ["max-abs", "power-of-two", "none"])
@pytest.mark.parametrize("grain", ["tensor", "row"])
@pytest.mark.parametrize("options", [{}, {"promotion": 32}, {"split_k": 3}, {"tile_k": 64, "split_k": 2}])
def test_fp8_operands_are_scaled(scale: str, grain: str, options: dict[str, Any]) -> None:
    top = np.float32(448)
    sx = np.float32(np.abs(X).max() / top)
    sw = (np.abs(W).max(1) if grain == "row" else np.abs(W).max(keepdims=True)[0]) / top
    if scale == "none":
        sx, sw = np.float32(1), np.ones_like(sw)
    elif scale == "power-of-two":
        sx, sw = (np.float32(2) ** np.ceil(np.log2(s)) for s in (sx, sw))
    a, b = encode(X / sx, "e4m3", overflow="saturate"), encode((W / sw[:, None]).T, "e4m3", overflow="saturate")
    expected = mma.gemm(*FP8, a, b, **options).view(np.float32) * (sx * sw)
    got = linear_factory(*FP8, operand_scale=scale, weight_scale=grain, **options)("q", W, None)(X)
    np.testing.assert_array_equal(got, expected)


def test_output_format_rounds_after_scale_and_bias() -> None:
    plain = linear_factory(*FP8)("q", W, BIAS)(X)
    rounded = linear_factory(*FP8, output="bf16")("q", W, BIAS)(X)
    np.testing.assert_array_equal(rounded, values(encode(plain, "bf16"), "bf16"))


@pytest.mark.parametrize("name", [n for n, f in FORMATS.items() if f.signed and (f.width <= 16 or n == "tf32")])
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_fast_rounding_equals_the_encoder(name: str, seed: int) -> None:
    """Any finite float32, with many ties and many values next to ties."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 1 << 32, 3000, dtype=np.uint32)
    x[1000:] &= np.uint32(0xFFF80000)  # few bits: ties of every narrow format
    x[2000:] ^= rng.integers(0, 2, 1000, dtype=np.uint32)
    with np.errstate(invalid="ignore"):
        y = x.view(np.float32)
        y = np.where(np.isfinite(y), y, np.float32(0))[None]
    overflow = "saturate" if FORMATS[name].width == 8 else "ieee"
    np.testing.assert_array_equal(round_operand(y, name, "none").bits, encode(y, name, overflow=overflow))  # type: ignore[arg-type]


def test_reference_sums_are_exact() -> None:
    a, b = round_operand(X, "fp16").bits, round_operand(W, "fp16").bits
    exact = (values(a, "fp16") @ values(b, "fp16").T).astype(np.float32)
    np.testing.assert_array_equal(reference_factory("fp16")("q", W, None)(X), exact)
    single = reference_factory("fp16", sums="float32")("q", W, None)(X)
    np.testing.assert_allclose(single, exact, rtol=1e-4, atol=1e-5)


def test_excluded_layers_stay_float32_and_weights_are_rounded_once() -> None:
    cache: Cache = {}
    make = linear_factory(*FP8, exclude=["lm_head"], cache=cache)
    np.testing.assert_array_equal(make("lm_head", W, None)(X), dense("lm_head", W, None)(X))
    assert not cache
    first = make("q", W, None)(X)
    assert [key[0] for key in cache] == ["q"]
    np.testing.assert_array_equal(make("q", np.zeros_like(W), None)(X), first)  # the cache is asked, not the weights


def test_zero_and_tiny_inputs() -> None:
    make = linear_factory(*FP8)
    np.testing.assert_array_equal(make("q", np.zeros_like(W), None)(X), np.zeros((5, 24), np.float32))
    np.testing.assert_array_equal(make("q", W, None)(np.zeros_like(X)), np.zeros((5, 24), np.float32))
    assert np.isfinite(make("q", W, None)(X * np.float32(1e-44))).all()


def test_custom_designs_compute_layers() -> None:
    narrow, wide = (mma.Custom(L=32, F=f, input="e4m3") for f in (6, 30))
    exact = reference_factory("e4m3")("q", W, None)(X)
    errors = [np.abs(linear_factory("", op)("q", W, None)(X) - exact).max() for op in (narrow, wide)]
    assert errors[1] < 1e-5 < 100 * errors[1] < errors[0]


def test_a_random_model_runs_through_a_unit(tiny_shape: Callable[..., ModelShape]) -> None:
    model = Model(RandomCheckpoint(tiny_shape(bias="qkv"), 0))
    tokens = np.arange(7)
    plain = model.forward(tokens, every_logit=True)
    half = model.variant(linear_factory("sm_90", "wgmma.m64n64k16.f32.f16.f16")).forward(tokens, every_logit=True)
    eight = model.variant(linear_factory(*FP8)).forward(tokens, every_logit=True)
    sizes = [np.abs(x - plain).max() for x in (half, eight)]
    assert 0 < 10 * sizes[0] < sizes[1] < np.abs(plain).max()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: linear_factory("sm_90", "m16n8k32.s32.s8.s8.s32"), "dense floating-point instructions"),
        (
            lambda: linear_factory(*FP8, operand_scale="maxabs"),
            "unknown operand_scale 'maxabs' (did you mean 'max-abs'?)",
        ),
        (lambda: linear_factory(*FP8, weight_scale="rows"), "unknown weight_scale 'rows' (did you mean 'row'?)"),
        (lambda: linear_factory(*FP8, output="fp15"), "unknown output format 'fp15'"),
        (lambda: reference_factory("fp64"), "unknown operand format 'fp64'"),
    ],
)
def test_bad_input(call: Any, text: str) -> None:
    with pytest.raises(UserError) as error:
        call()
    assert text in str(error.value)
    assert "\n" not in str(error.value)
