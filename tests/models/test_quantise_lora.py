"""Adapters from residuals: E4M3 rows with powers of two, the best low rank, weighted by inputs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import value_table
from lutscape.models.quantise import lora


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.integers(-30, 30))
def test_rows_use_the_whole_range_of_e4m3(seed: int, scale: int) -> None:
    rows = np.random.default_rng(seed).standard_normal((3, 20)) * 2.0**scale
    numbers, exponents = lora.to_fp8(rows)
    table = value_table("e4m3")
    assert np.isin(numbers, table[np.isfinite(table)].astype(np.float32)).all()
    largest = np.abs(numbers).max(axis=1)
    assert ((largest > 208) & (largest <= 448)).all()
    # half a unit in the last place of a normal number is 2^-4 of it; below 2^-6 the step is 2^-9
    error = np.abs(np.ldexp(numbers.astype(np.float64), exponents[:, None]) - rows)
    step = np.ldexp(np.full(rows.shape, 2.0**-10), exponents[:, None])
    assert (error <= np.maximum(np.abs(rows) * 2.0**-4, step) * (1 + 1e-6)).all()


def test_a_matrix_of_low_rank_is_found() -> None:
    rng = np.random.default_rng(0)
    whole = (rng.standard_normal((20, 3)) @ rng.standard_normal((3, 30))).astype(np.float32)
    errors = [np.linalg.norm(whole - lora.from_residual(whole, r).matrix()) / np.linalg.norm(whole) for r in (1, 2, 3)]
    assert errors[2] < 0.05 < errors[1] < errors[0]
    assert lora.from_residual(whole, 100).rank == 20


def test_weights_of_inputs_lower_the_error_of_outputs() -> None:
    rng = np.random.default_rng(0)
    residual = rng.standard_normal((40, 50)).astype(np.float32)
    rms = np.exp(rng.standard_normal(50) * 2).astype(np.float32)
    plain, weighted = (np.linalg.norm((residual - lora.from_residual(residual, 8, d).matrix()) * rms)
                       for d in (None, rms))  # fmt: skip
    assert weighted < 0.7 * plain


def test_dead_inputs_do_not_blow_up() -> None:
    residual = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    rms = np.array([1, 1, 0, 1, 0, 1], np.float32)
    assert np.abs(lora.from_residual(residual, 4, rms).matrix()).max() < 10


def test_nothing_left_is_nothing_added() -> None:
    found = lora.from_residual(np.zeros((4, 6), np.float32), 2)
    assert (found.matrix() == 0).all()
    assert found.bytes == 2 * 10 + 2


def test_adapters_side_by_side_add() -> None:
    rng = np.random.default_rng(0)
    first, second = (lora.from_residual(rng.standard_normal((5, 7)).astype(np.float32), 2) for _ in range(2))
    both = lora.merged(first, second)
    assert both.rank == 4
    np.testing.assert_allclose(both.matrix(), first.matrix() + second.matrix(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("residual", "rank", "text"), [
    (np.ones((2, 2), np.float32), 0, "adapter: rank = 0; at least 1"),
    (np.full((2, 2), np.inf, np.float32), 1, "adapter: the residual is not finite"),
])  # fmt: skip
def test_what_is_refused(residual: np.ndarray, rank: int, text: str) -> None:
    with pytest.raises(UserError) as error:
        lora.from_residual(residual, rank)
    assert str(error.value) == text
