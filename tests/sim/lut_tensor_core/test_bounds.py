"""Accumulator bounds: reached by the worst operands, refused one bit below, and what is said then."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import bounds, golden
from lutscape.sim.lut_tensor_core.mpgemm import exact_sums, mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights


@pytest.mark.parametrize("weights", ["int1", "int2", "int4", "base3", "base5"])
@pytest.mark.parametrize("activation", ["int8", "int16", "fp8_e4m3", "fp16"])
def test_exact_bound_is_reached(weights: str, activation: str) -> None:
    """All activations at the format's lowest, codes at the top, zero points at code 0."""
    design = Mpgemm(weights=weights, activations=activation, k=3 if weights == "base3" else 2, accumulator="exact")
    columns = 24
    lowest = -design.format_largest
    a = np.full((1, columns), lowest, np.int16 if design.integer_activations else np.float32)
    codes = np.full((1, columns), design.levels - 1, np.uint8)
    w = LookupWeights(design, codes, np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32))
    sums, _ = exact_sums(design, a, w)
    bound = bounds.unit_bound(design, columns)
    assert abs(int(sums[0, 0, 0])) == bound.largest
    fits = replace(design, accumulator=f"int{bound.bits}")
    assert bounds.prove(fits, columns).holds
    with pytest.raises(UserError, match=f"nearest: int{bound.bits}"):
        bounds.prove(replace(design, accumulator=f"int{bound.bits - 1}"), columns)


@pytest.mark.parametrize("table_group", [4, 8, 0])
def test_bound_of_scaled_entries_is_reached(table_group: int) -> None:
    """Equal activations put one entry of every table at the limit; all planes select it."""
    design = Mpgemm(weights="int4", entries="int6", table_group=table_group, accumulator="int32")
    w = LookupWeights(design, np.full((1, 16), 15, np.uint8))
    total, _ = mpgemm(design, np.full((1, 16), -100, np.int8), w)
    bound = bounds.unit_bound(design, table_group or 16)
    assert bound.largest == 31 * 15 * (table_group or 16) // 4
    scale = np.float32(400) / np.float32(31)
    units = 16 // (table_group or 16)
    assert total[0, 0] == pytest.approx(-float(bound.largest) * units * float(scale), rel=1e-6)


def test_bound_agrees_with_the_golden_array() -> None:
    array = Array(datapath="lut", m=1, n=1, k=4, count=1, table_bits=8)
    for bits in (1, 2, 4):
        design = Mpgemm(weights=f"int{bits}", entries="int8", table_group=0)
        assert bounds.unit_bound(design, 100).largest == golden.largest_sum(array, bits, 100)
        wide = array.model_copy(update={"table_bits": 12})
        exact = replace(design, entries="exact")
        assert bounds.unit_bound(exact, 100, offset=0).largest == golden.largest_sum(wide, bits, 100)


@pytest.mark.parametrize(("accumulator", "columns"), [("fp32", 4096), ("fp16", 64), ("bf16", 32)])
def test_float_bound_holds_for_operands_that_round_up(accumulator: str, columns: int) -> None:
    """Equal terms that round up at every add stay below the bound, and pass the sum without rounding."""
    top = 1 + 2.0**-7 + 2.0**-10
    design = Mpgemm(
        weights="int2", activations="fp16", entries="fp16", accumulator=accumulator, largest_activation=top
    )  # fmt: skip
    w = LookupWeights(design, np.full((1, columns), 3, np.uint8))
    found, info = mpgemm(design, np.full((1, columns), top, np.float32), w)
    assert Fraction(float(found[0, 0])) <= info.bound.largest
    assert info.bound.largest >= Fraction(top) * 3 * columns


REFUSED = [
    (
        {"accumulator": "int16"},
        (4096, 64),
        "accumulator int16 can overflow: 64 activations per scale of K = 4096 reach 128 · 6 · 64 activations = 49152, "
        "beyond 32767; nearest: int17, or at most 40 activations per scale",
    ),
    (
        {"entries": "int8", "accumulator": "int12", "table_group": 0},
        (4096, 0),
        "accumulator int12 can overflow: 4096 activations per scale of K = 4096 reach 127 · 3 · 1024 lookups = 390144, "
        "beyond 2047; nearest: int20, or at most 20 activations per scale",
    ),
    (
        {"accumulator": "int64", "activations": "bf16", "largest_activation": 1e30},
        (64, 0),
        "accumulator int64 can overflow",
    ),
    (
        {"activations": "fp16", "entries": "fp16", "accumulator": "fp32"},
        (64, 0),
        "table entries (fp16) can overflow: with fp16 activations up to 65504 they reach 2.625e+05, beyond 65504; "
        "nearest: largest_activation 8192, or overflow ieee or saturate",
    ),
    (
        {"activations": "fp16", "entries": "fp16", "accumulator": "fp16", "largest_activation": 1000.0},
        (4096, 64),
        "accumulator fp16 over 64 activations (4007.83 · 3 · 16 lookups, 32 roundings to fp16) can overflow: with fp16 "
        "activations up to 1000 they reach 1.954e+05, beyond 65504; nearest: largest_activation 256",
    ),
    (
        {"activations": "fp16", "entries": "fp16", "accumulator": "fp16", "largest_activation": 1.0},
        (65536, 0),
        "fp16 sums of 65536 activations: 32768 roundings leave no bound (at most 2047); "
        "nearest: accumulator fp32, or shorter weight groups",
    ),
    (
        {"activations": "bf16", "entries": "int8"},
        (64, 0),
        "table entries (fp32) can overflow: with bf16 activations up to 3.38953e+38 they reach 1.356e+39, "
        "beyond 3.40282e+38; nearest: largest_activation 2^119",
    ),
    (
        {"activations": "bf16", "accumulator": "exact"},
        (64, 0),
        "totals (fp32) over K = 64 can overflow",
    ),
]


@pytest.mark.parametrize(("fields", "shape", "text"), REFUSED)
def test_refused_with_reason_and_nearest(fields: dict[str, object], shape: tuple[int, int], text: str) -> None:
    columns, group = shape
    with pytest.raises(UserError, match=re.escape(text)) as caught:
        bounds.prove(Mpgemm(**fields), columns, group)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    nearest = re.search(r"nearest: (int\d+|exact)", str(caught.value))
    if nearest:
        assert bounds.prove(replace(Mpgemm(**fields), accumulator=nearest[1]), columns, group).holds  # type: ignore[arg-type]
    power = re.search(r"largest_activation (2\^)?(\d+)", str(caught.value))
    if power:
        near = 2.0 ** int(power[2]) if power[1] else float(power[2])
        assert bounds.prove(replace(Mpgemm(**fields), largest_activation=near), columns, group).holds  # type: ignore[arg-type]
        with pytest.raises(UserError):
            bounds.prove(replace(Mpgemm(**fields), largest_activation=2 * near), columns, group)  # type: ignore[arg-type]


def test_provable_activation_is_the_largest_power_of_two() -> None:
    design = Mpgemm(activations="fp16", entries="fp16", accumulator="fp32")
    near = bounds.provable_activation(design, 1536, 64)
    assert near == 8192
    assert bounds.prove(replace(design, largest_activation=near), 1536, 64).holds
    assert bounds.provable_activation(replace(design, activations="fp8_e4m3"), 1536, 64) is None


def test_mpgemm_proves_before_it_computes() -> None:
    design = Mpgemm(weights="int2", accumulator="int16")
    w = LookupWeights(design, np.zeros((1, 100), np.uint8))
    with pytest.raises(UserError, match="accumulator int16 can overflow: 100 activations"):
        mpgemm(design, np.zeros((1, 100), np.int8), w)
