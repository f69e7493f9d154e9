"""FP64 chains in directed rounding: the kernel against exact rationals, and known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.sim import mma
from lutscape.sim.mma.directed import fma_exact

SUFFIX = {"RZ": "rz", "RD": "rm", "RU": "rp"}


def kernel(a: float, b: float, c: float, mode: str) -> float:
    op = mma.instruction("sm_90", f"m8n8k4.f64.f64.f64.f64.{SUFFIX[mode]}")
    A, B, C = np.zeros((8, 4)), np.zeros((4, 8)), np.full((8, 8), c)
    A[0, 0], B[0, 0] = a, b
    # The other three products are +0; an accumulator of -0 survives them only when rounding down.
    return float(op(A, B, C)[0, 0])


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.floats(-4, 4).map(lambda x: round(x * 64) / 64)


@settings(max_examples=300, deadline=None)
@given(numbers, numbers, numbers, st.sampled_from(["RZ", "RD", "RU"]))
def test_one_step_is_the_exact_rational_rounded_once(a: float, b: float, c: float, mode: str) -> None:
    expected = fma_exact(a, b, c, mode)
    for _ in range(3):
        expected = fma_exact(0.0, 0.0, expected, mode) if math.isfinite(expected) else expected
    got = kernel(a, b, c, mode)
    assert got == expected
    assert math.copysign(1, got) == math.copysign(1, expected)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 2**53), st.integers(1, 2**53), st.integers(-60, 60), st.booleans())
def test_near_cancellation(x: int, y: int, shift: int, negative: bool) -> None:
    a, b = float(x), float(y)
    c = -math.ldexp(a * b, 0) + math.ldexp(1.0, shift) * (-1 if negative else 1)
    for mode in SUFFIX:
        assert kernel(a, b, c, mode) == fma_exact(a, b, c, mode)


@pytest.mark.parametrize(("mode", "expected"), [("RZ", 1.0), ("RD", 1.0), ("RU", 1 + 2**-52)])
def test_a_tiny_product_moves_the_sum_only_upwards(mode: str, expected: float) -> None:
    assert kernel(2.0**-100, 1.0, 1.0, mode) == expected
    assert kernel(-(2.0**-100), 1.0, -1.0, mode) == -{"RZ": 1.0, "RD": 1 + 2**-52, "RU": 1.0}[mode]


def test_overflow_and_zero_follow_the_direction() -> None:
    top = math.nextafter(math.inf, 0)
    assert [kernel(2.0**600, 2.0**600, 0.0, m) for m in ("RZ", "RD", "RU")] == [top, top, math.inf]
    assert math.copysign(1, kernel(1.0, 1.0, -1.0, "RD")) == -1
    assert math.copysign(1, kernel(1.0, 1.0, -1.0, "RZ")) == 1


def test_infinities_pass_through() -> None:
    assert kernel(math.inf, 1.0, 1.0, "RZ") == math.inf
    assert math.isnan(kernel(math.inf, 0.0, 1.0, "RU"))
    assert math.isnan(kernel(math.inf, 1.0, -math.inf, "RD"))
