"""Weights for read-only memory: known codes, errors of rounding, and tensors that must be refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import values
from lutscape.models.quantise import rom


def tensor(rows: int = 4, columns: int = 20, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)


def test_fp4_rounds_to_nearest_even() -> None:
    """Scale 1/2: the numbers of E2M1 themselves, and each midpoint goes to the even code."""
    numbers = np.array([[0, 0.25, 0.5, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 6, -0.25, -0.75, -5, 0.2501, 4.99]], np.float32)
    found = rom.quantise("w", numbers, "fp4", 16)
    assert found.scales.tolist() == [[0.5]]
    assert found.dequantise()[0].tolist() == [0, 0, 0.5, 1, 1, 2, 2, 4, 4, 6, 0, -1, -4, 0.5, 4]
    assert (found.integers() == 2 * values(found.codes, "e2m1")).all()


@settings(max_examples=50, deadline=None)
@given(form=st.sampled_from(["uint2", "uint4", "uint6", "uint8", "fp4"]), columns=st.integers(2, 40),
       seed=st.integers(0, 10**6))  # fmt: skip
def test_weights_are_the_nearest_of_their_format(form: str, columns: int, seed: int) -> None:
    w = tensor(3, columns, seed)
    found = rom.quantise("w", w, form, 8)
    grid = np.arange(16) if form == "fp4" else np.arange(1 << found.bits)
    table = rom.code_values(grid.astype(np.uint8), found.encoding).astype(np.float64)
    for n in range(3):
        for k in range(columns):
            g = k // 8
            levels = (table - (0 if form == "fp4" else int(found.zeros[n, g]))) * float(found.scales[n, g])
            best = np.abs(levels - w[n, k]).min()
            assert abs(float(found.dequantise()[n, k]) - w[n, k]) <= best + 1e-6 * float(found.scales[n, g])


def test_a_ternary_tensor_is_taken_as_it_is() -> None:
    w = np.array([[0.5, -0.5, 0, 0.5, 0.25, 0, -0.25, 0], [0] * 4 + [1, 0, 0, -1]], np.float32)
    found = rom.quantise("w", w, "ternary", 4)
    assert (found.dequantise() == w).all()
    assert found.codes.tolist() == [[1, 3, 0, 1, 1, 0, 3, 0], [0, 0, 0, 0, 1, 0, 0, 3]]


@pytest.mark.parametrize(
    ("form", "w", "text"),
    [
        ("int4", tensor(), "unknown ROM format 'int4' (did you mean 'uint4'?); allowed: uint2, uint4, uint6, uint8, "
                           "ternary, fp4"),
        ("uint2", np.zeros((4, 4), np.float32), "w: all 16 weights are 0: a placeholder, not a trained tensor"),
        ("uint2", np.zeros((1, 1), np.float32), "w: all 1 weights are 0: a placeholder, not a trained tensor"),
        ("fp4", np.ones((2, 3), np.float32), "w: all 6 weights are 1: a placeholder, not a trained tensor"),
        ("uint4", np.zeros((0, 8), np.float32), "w: shape 0x8 holds no weights"),
        ("uint4", np.zeros(8, np.float32), "w: shape 8; ROM holds matrices"),
        ("uint4", np.array([[1, np.nan]], np.float32), "w: weight [0, 1] is nan; weights must be finite"),
        ("uint2", tensor() * np.float32(1e6),
         "w: row 0, group 0 has weights up to 2.32503e+06: its scale is above 65504, which FP16 does not hold; "
         "rescale the tensor"),
        ("ternary", np.array([[0.5, -0.5, 0.25]], np.float32),
         "w: not ternary: row 0, group 0 holds ±0.5 and 0.25; take a ternary checkpoint, or ask for it to be rounded "
         "(--requantise)"),
        ("ternary", np.array([[0.1, -0.1, 0]], np.float32),
         "w: row 0, group 0: scale 0.100000001 is no FP16 number; round the checkpoint's scales, or ask for it to be "
         "rounded (--requantise)"),
    ],
)  # fmt: skip
def test_what_is_refused(form: str, w: np.ndarray, text: str) -> None:
    with pytest.raises(UserError) as error:
        rom.quantise("w", w, form, 16)
    assert str(error.value) == text


@pytest.mark.parametrize("form", ["uint2", "uint4", "fp4", "ternary"])
def test_weights_below_every_scale_are_refused(form: str) -> None:
    w = tensor()
    w[2, 16:] = 1e-9
    with pytest.raises(UserError, match=r"w: row 2, group 1 has weights up to 1e-09: its scale is below 5.96046e-08"):
        rom.quantise("w", w, form, 16, requantise=True)


def test_a_group_of_zeros_is_no_placeholder() -> None:
    w = tensor()
    w[2, 16:] = 0
    for form in rom.FORMATS:
        assert (rom.quantise("w", w, form, 16, requantise=True).dequantise()[2, 16:] == 0).all()


def test_a_group_too_small() -> None:
    with pytest.raises(UserError, match="w: group = 1; at least 2"):
        rom.quantise("w", tensor(), "uint2", 1)


@settings(max_examples=40, deadline=None)
@given(form=st.sampled_from(["uint2", "uint4", "fp4"]), seed=st.integers(0, 10**6), columns=st.integers(3, 40))
def test_a_searched_range_is_never_worse_and_groups_do_not_meddle(form: str, seed: int, columns: int) -> None:
    w = tensor(3, columns, seed)
    rms = np.random.default_rng(seed).uniform(0.1, 10, columns).astype(np.float32)
    plain, found = rom.quantise("w", w, form, 8), rom.quantise("w", w, form, 8, search=True, input_rms=rms)
    for g in range(found.groups):
        span = slice(8 * g, 8 * g + 8)
        error = [(np.square((r.dequantise() - w)[:, span].astype(float)) * np.square(rms[span])).sum(axis=1)
                 for r in (found, plain)]  # fmt: skip
        assert (error[0] <= error[1] * (1 + 1e-5)).all()
    alone = rom.quantise("w", w[:, :8], form, 8, search=True, input_rms=rms[:8])
    assert (alone.codes == found.codes[:, :8]).all()


def test_a_search_helps_where_one_weight_is_large() -> None:
    w = np.random.default_rng(0).standard_normal((8, 128)).astype(np.float32)
    w[:, 5] = 8
    error = [np.square(rom.quantise("w", w, "uint2", 128, search=s).dequantise() - w).sum() for s in (False, True)]
    assert error[1] < 0.8 * error[0]
    with pytest.raises(UserError, match="w: ternary weights have no range to search; allowed: uint formats and fp4"):
        rom.quantise("w", w, "ternary", 128, requantise=True, search=True)
