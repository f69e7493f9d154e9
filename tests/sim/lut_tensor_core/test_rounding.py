"""Roundings of the lookup datapath against the exact codec and against fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lut_twins import round_integer as round_fraction
from lut_twins import round_to

from lutscape.hw.formats.binary import values
from lutscape.hw.formats.encode import encode
from lutscape.sim.lut_tensor_core.rounding import FLOATS, ROUNDINGS, round_exact, round_float, round_integer


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("name", FLOATS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_round_float_equals_the_codec(name: str, saturate: bool, seed: int) -> None:
    """Any float64, numbers around the format's range, ties and neighbours of ties, specials."""
    rng, f = np.random.default_rng(seed), FLOATS[name]
    x = rng.integers(0, 1 << 64, 3000, dtype=np.uint64).view(np.float64)
    low = f.emin - f.mantissa_bits - 3
    x[1000:] = np.ldexp(rng.integers(-1 << 20, 1 << 20, 2000).astype(np.float64), rng.integers(low, f.bias, 2000))
    x[2000:] = np.nextafter(x[2000:], rng.choice([-np.inf, np.inf], 1000))
    x[:8] = [0, -0.0, np.inf, -np.inf, np.nan, f.max_value, -f.max_value * 1.0001, 1e300]
    if saturate:
        x = x[np.isfinite(x)]
    found = round_float(x, name, saturate)
    wanted = values(encode(x, f, overflow="saturate" if saturate else "ieee"), f)
    np.testing.assert_array_equal(found, wanted)
    finite = ~np.isnan(found)
    np.testing.assert_array_equal(np.signbit(found[finite]), np.signbit(wanted[finite]))


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_round_integer_next_to_ties(rounding: str, kind: type) -> None:
    ties = np.arange(-9, 9).astype(kind) + kind(0.5)
    x = np.concatenate(
        [ties, np.nextafter(ties, kind(99)), np.nextafter(ties, kind(-99)), np.arange(-3, 4).astype(kind)]
    )
    found = round_integer(x, rounding)
    assert found.dtype == kind
    assert [int(v) for v in found] == [round_fraction(Fraction(float(v)), rounding) for v in x]


def test_halves_go_where_the_rounding_says() -> None:
    halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5])
    found = {r: round_integer(halves, r).tolist() for r in ROUNDINGS}
    assert found == {
        "nearest-even": [-2, -2, 0, 0, 2, 2],
        "half-up": [-2, -1, 0, 1, 2, 3],
        "half-away": [-3, -2, -1, 1, 2, 3],
    }


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-(2**300), 2**300), min_size=1, max_size=5), st.integers(-140, -120))
def test_round_exact_rounds_once(numbers: list[int], exponent: int) -> None:
    """Wide integers, results among the normal and the subnormal numbers of FP32."""
    for n in numbers:
        n >>= max(0, abs(n).bit_length() + exponent - 120)
        found = round_exact(np.array([n], object), exponent)
        assert Fraction(float(found[0])) == round_to(n * Fraction(2) ** exponent, "fp32")
        if abs(n) < 2**62 and exponent > -64:
            assert round_exact(np.array([n]), exponent) == found
