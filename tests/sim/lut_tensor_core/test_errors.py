"""What a lookup design refuses, in one line each: the place, the bad value, what is allowed, the nearest choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core.mpgemm import mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights

FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"weights": "int5"}, "unknown weight format 'int5' (did you mean 'int4'?)"),
    ({"activations": "fp_16"}, "unknown activation format 'fp_16' (did you mean 'fp16'?)"),
    ({"entries": "int1"}, "unknown format of table entries 'int1' (did you mean 'int16'?)"),
    ({"rounding": "half-down"}, "unknown rounding of table entries 'half-down' (did you mean 'half-away'?)"),
    ({"k": 1}, "k = 1 digits of base 2 (int2); allowed: 2 … 8 (at most 4096 patterns); nearest: 2"),
    (
        {"weights": "base5", "k": 7},
        "k = 7 digits of base 5 (base5); allowed: 1 … 5 (at most 4096 patterns); nearest: 5",
    ),
    (
        {"entries": "int8", "table_group": 63},
        "table_group of 63 activations is no multiple of k = 4; nearest: 64 (0: one scale per row)",
    ),
    (
        {"entries": "fp16"},
        "fp16 entries of int8 activations do not combine: integer sums stay integers; nearest: exact or int8 entries",
    ),
    (
        {"activations": "fp16", "entries": "fp16"},
        "fp16 entries and accumulator int32 do not combine: float entries add up in fp32, fp16, bf16; nearest: fp32",
    ),
    (
        {"activations": "fp16", "accumulator": "fp32"},
        "exact entries and accumulator fp32 do not combine: they add up in integers, int8 … int64 or exact; "
        "nearest: exact",
    ),
    (
        {"entries": "int8", "accumulator": "fp16"},
        "int8 entries and accumulator fp16 do not combine: they add up in integers, int8 … int64 or exact; "
        "nearest: int32",
    ),
    ({"accumulator": "int99"}, "unknown accumulator 'int99' (did you mean 'int32'?); allowed: int8 … int64, exact"),
    (
        {"overflow": "ieee"},
        "overflow 'ieee' with exact entries: integer sums are proven not to overflow; nearest: prove",
    ),
    (
        {"largest_activation": 1000.0},
        "largest_activation 1000 is no bound inside int8; allowed: above 0, up to 128",
    ),
]


@pytest.mark.parametrize(("fields", "text"), FIELDS)
def test_formats_that_do_not_combine(fields: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        Mpgemm(**fields)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def codes(rows: int, columns: int) -> np.ndarray:
    return np.zeros((rows, columns), np.uint8)


def scales(rows: int, groups: int) -> np.ndarray:
    return np.ones((rows, groups), np.float32)


WEIGHTS: list[tuple[Mpgemm, tuple[Any, ...], str]] = [
    (
        Mpgemm(padding=False),
        (codes(2, 30),),
        "K = 30 is no multiple of k = 4, and the design does not pad; nearest: 32",
    ),
    (
        Mpgemm(weights="base3", k=3),
        (codes(2, 128), scales(2, 2), None, 64),
        "weight groups of 64 are no multiple of k = 3: a table would straddle two scales; nearest: 63",
    ),
    (
        Mpgemm(entries="int8", table_group=64),
        (codes(2, 192), scales(2, 2), None, 96),
        "table scales of 64 activations and weight scales of 96 weights do not nest: one must divide the other; "
        "nearest: table_group 48",
    ),
    (
        Mpgemm(entries="int8", table_group=96),
        (codes(2, 192), scales(2, 3), None, 64),
        "table scales of 96 activations and weight scales of 64 weights do not nest: one must divide the other; "
        "nearest: table_group 128",
    ),
    (
        Mpgemm(),
        (codes(2, 192), scales(2, 2), None, 64),
        "weight scales must be float32 (2, 3), one per group of 64; got float32 (2, 2)",
    ),
    (
        Mpgemm(weights="ternary"),
        (codes(2, 8) + np.uint8(3),),
        "weight code 3 at row 0, column 0 is outside 0 … 2 of ternary",
    ),
    (
        Mpgemm(),
        (codes(2, 8).astype(np.int64),),
        "weight codes must be a uint8 matrix (N, K); got int64 of shape (2, 8)",
    ),
    (Mpgemm(), (codes(2, 8), None, scales(2, 1)), "groups and zero points belong to weights with scales"),
    (Mpgemm(), (codes(2, 8), scales(2, 1) * np.float32(np.inf)), "weight scales are not all finite"),
    (Mpgemm(), (codes(2, 8), scales(2, 1), None, -1), "group of -1 weights; allowed: 0 (the whole row) or more"),
]


@pytest.mark.parametrize(("design", "arguments", "text"), WEIGHTS)
def test_weights_that_do_not_fit(design: Mpgemm, arguments: tuple[Any, ...], text: str) -> None:
    with pytest.raises(UserError) as caught:
        LookupWeights(design, *arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


FP16 = Mpgemm(activations="fp16", accumulator="exact", largest_activation=8.0)
E4M3 = Mpgemm(activations="fp8_e4m3", accumulator="exact")
A = np.zeros((2, 8), np.int8)


def with_value(value: float) -> np.ndarray:
    x = np.zeros((2, 8), np.float32)
    x[1, 3] = value
    return x


OPERANDS: list[tuple[Mpgemm, np.ndarray, dict[str, Any], str]] = [
    (Mpgemm(), A[:, :7], {}, "activations must be (M, 8) for these weights; got (2, 7)"),
    (Mpgemm(), A.astype(np.float32), {}, "int8 activations are integers; got float32"),
    (FP16, A, {}, "fp16 activations are float values; got int8"),
    (
        Mpgemm(),
        A.astype(np.int16) + np.int16(200),
        {},
        "activation 200 at row 0, column 0 is outside the range of int8: -128 … 127",
    ),
    (FP16, with_value(9), {}, "activation 9.0 at row 1, column 3 is outside the bound of fp16: -8 … 8"),
    (FP16, with_value(np.nan), {}, "activation nan at row 1, column 3 is outside the bound of fp16: -8 … 8"),
    (E4M3, with_value(1.03), {}, "at row 1, column 3 is no fp8_e4m3 number; round it first: 1"),
    (FP16, with_value(1), {"activation_scales": scales(2, 1)}, "activation scales belong to integer activations, not"),
    (Mpgemm(), A, {"activation_scales": scales(1, 2)}, "activation scales must be float32 (2, 1); got float32 (1, 2)"),
    (Mpgemm(), A, {"kernel": "shufle"}, "unknown kernel 'shufle' (did you mean 'shuffle'?)"),
    (
        Mpgemm(),
        A,
        {"kernel": "shuffle"},
        "kernel 'shuffle' does not run exact entries of int2 weights, k = 4, accumulator int32, on this processor; "
        "allowed: blas, plain",
    ),
]


@pytest.mark.parametrize(("design", "activations", "options", "text"), OPERANDS)
def test_operands_that_do_not_fit(design: Mpgemm, activations: np.ndarray, options: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as caught:
        mpgemm(design, activations, LookupWeights(design, codes(2, 8)), **options)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_design() -> None:
    with pytest.raises(UserError, match="the weights are laid out for another design"):
        mpgemm(Mpgemm(k=2), A, LookupWeights(Mpgemm(), codes(2, 8)))


def test_exact_sums_need_whole_offsets() -> None:
    design = Mpgemm()
    w = LookupWeights(design, codes(2, 8), scales(2, 1), np.array([[1], [1.25]], np.float32))
    text = r"zero point 1.25 of row 1, group 0 is no multiple of 1/2: exact sums need whole z' = 2 z - 3; nearest: 1"
    with pytest.raises(UserError, match=text):
        mpgemm(design, A, w)


def test_arrays_without_these_tables() -> None:
    array = Array(datapath="lut", m=1, n=1, k=4, count=1, activation_bits=12)
    text = "an array of datapath 'lut' and activation_bits 12 is no design here; allowed: datapath lut with"
    with pytest.raises(UserError, match=text):
        Mpgemm.of_array(array, "int2")
    with pytest.raises(UserError, match="an array of datapath 'mac'"):
        Mpgemm.of_array(array.model_copy(update={"datapath": "mac", "activation_bits": 8}), "int2")
