"""Floating-point cells: every reference cell against its models, every pair of FP8, wrong Verilog, wrong parameters."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS
from lutscape.rtl import catalogue
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.fp_add import fp_add
from lutscape.rtl.cells.fp_array import fp_array, fp_unit
from lutscape.rtl.cells.fp_convert import fp_convert
from lutscape.rtl.cells.fp_table_builder import fp_table_builder
from lutscape.rtl.cells.weight_loader import weight_loader
from lutscape.rtl.cells.weight_remapper import weight_remapper
from lutscape.rtl.verify import exhaustive, verify

REFERENCE = catalogue.reference_floats()
INSIDE = ("fp_lut_array", "fp_lut_unit")
"""Kinds that run inside the unit with its loader."""
FAST = [cell for cell in REFERENCE if cell.kind not in INSIDE]
EIGHT_BITS = [fp_add(FORMATS[f], FORMATS[f], 1, rule) for f in ("e4m3", "e5m2") for rule in (False, True)]


@pytest.mark.parametrize("cell", FAST, ids=lambda c: c.name)
def test_bits_cycles_and_coverage(cell: Cell) -> None:
    run = verify(cell, vectors=1000, seed=11)
    assert run.failures() == []
    assert min(run.beats.values()) >= 1000
    assert min(run.coverage.values()) > 0


@pytest.mark.long
@pytest.mark.parametrize("cell", [c for c in REFERENCE if c.kind in INSIDE], ids=lambda c: c.name)
def test_arrays_and_units_alone(cell: Cell) -> None:
    assert verify(cell, vectors=1000, seed=11).failures() == []


@pytest.mark.parametrize("cell", EIGHT_BITS, ids=lambda c: c.name)
def test_every_pair_of_8_bit_numbers(cell: Cell) -> None:
    run = verify(cell, stimulus=exhaustive(cell, 16))
    assert run.failures() == []
    assert run.beats == {"y": 1 << 16}


@pytest.mark.parametrize("target", ["fp16", "bf16"])
@pytest.mark.parametrize("form", ["e4m3", "e5m2"])
def test_every_8_bit_number_converts(form: str, target: str) -> None:
    cell = fp_convert(FORMATS[form], FORMATS[target])
    assert verify(cell, stimulus=exhaustive(cell, 8)).bits_match


@pytest.mark.parametrize("cell", REFERENCE, ids=lambda c: c.name)
def test_few_vectors_still_cover_every_bin(cell: Cell) -> None:
    """Corners come first, so that a short run on a wide array covers as much as a long one; random seeds."""
    for seed in (3, 4):
        beats = cell.stimulus(np.random.default_rng(seed), 1)
        assert [name for name, hits in cell.coverage(beats).items() if not hits] == []


def test_reference_has_every_kind() -> None:
    kinds = {"fp_add", "fp_convert", "fp_builder", "fp_lut_pe", "fp_lut_array", "fp_lut_unit", "fp_tensor_unit"}
    assert kinds | {"weight_remapper", "weight_loader", "fp_mac_pe", "fp_mac_array"} <= {c.kind for c in REFERENCE}
    assert len({c.name for c in REFERENCE}) == len(REFERENCE)


HALVES = st.integers(0, 0xFFFF)


@settings(max_examples=400, deadline=None)
@given(a=HALVES, b=HALVES)
def test_fp16_sums_are_numpys(a: int, b: int) -> None:
    """IEEE 754 addition of numpy's float16, computed apart from this project's rounding."""
    cell = fp_add(FORMATS["fp16"], FORMATS["fp16"])
    got = cell.golden({"x": {"a": np.array([[a]]), "b": np.array([[b]])}})["y"]["sum"][0, 0]
    with np.errstate(all="ignore"):
        want = np.array(a, np.uint16).view(np.float16) + np.array(b, np.uint16).view(np.float16)
    assert (np.isnan(want) and got == 0x7E00) or got == want.view(np.uint16)


def value(code: int, exponent_bits: int, mantissa_bits: int, bias: int) -> Fraction:
    """Return what a finite code stands for."""
    mantissa, biased = code & ((1 << mantissa_bits) - 1), code >> mantissa_bits & ((1 << exponent_bits) - 1)
    size = Fraction(mantissa + ((biased > 0) << mantissa_bits)) * Fraction(2) ** (max(biased, 1) - bias - mantissa_bits)
    return -size if code >> (exponent_bits + mantissa_bits) else size


def test_finite_e4m3_sums_are_the_nearest_numbers() -> None:
    """Slow twin in fractions: no other number of the format is nearer; of two equally near the even code."""
    numbers = {c: value(c, 4, 3, 7) for c in range(0x7F)}
    ordered = sorted((v, c) for c, v in numbers.items())
    beats = exhaustive(EIGHT_BITS[0], 16)
    sums = EIGHT_BITS[0].golden(beats)["y"]["sum"][:, 0]
    rng = np.random.default_rng(1)
    limit = Fraction(464)  # half a place above 448: from there on NaN (ties go to the even code, which is NaN's)
    for i in rng.choice(len(sums), 3000, replace=False).tolist():
        a, b = (int(beats["x"][f][i, 0]) for f in "ab")
        if a & 0x7F == 0x7F or b & 0x7F == 0x7F:
            assert sums[i] == 0x7F
            continue
        total = value(a, 4, 3, 7) + value(b, 4, 3, 7)
        if abs(total) > limit:
            assert sums[i] == 0x7F
            continue
        best = min(ordered, key=lambda v: (abs(v[0] - abs(total)), v[1] & 1))[1]
        sign = (a & b) >> 7 if total == 0 else int(total < 0)
        assert sums[i] == best | sign << 7


WRONG = [
    # what the published artifact gets wrong: a zero entry is scaled like a number
    ("fp_lut_pe_k4_fp16_x2_fp32", "b_exponent = b_raised & {9{~b_zero}}", "b_exponent = b_raised"),
    ("fp_tensor_unit_m2n2b1k4_fp16_x2_fp32", "over ? 15'h7c00 : rounded[14:0]", "rounded[14:0]"),
    ("fp_tensor_unit_m2n2b1k4_fp16_x2_fp32", "(ending && w_ready)", "w_ready"),
    ("fp_tensor_unit_m1n2b1k2_fp16_x4_fp16_sat_t", "t0 = {e0[15], e0[14:0] == 15'h7c00 ?", "t0 = {e0[15], 1'b0 ?"),
    ("fp_add_fp16", "a_sign & b_sign", "1'b0"),
    ("fp_add_fp16", "away = shifted[3] & (shifted[4] | |shifted[2:0])", "away = shifted[3]"),
    ("fp_builder_k5_e5m2", "? e0[7] & e1[7]", "? 1'b1"),
    ("weight_remapper_k2w4t", "(x_top == 2'd3)", "1'b1"),
]


@pytest.mark.parametrize(("name", "before", "after"), WRONG, ids=lambda v: v[:40])
def test_wrong_verilog_is_caught(name: str, before: str, after: str) -> None:
    cell = next(c for c in REFERENCE if c.name == name)
    source = cell.verilog()
    assert source.count(before) == 1
    run = verify(cell, vectors=100, source=source.replace(before, after))
    assert not run.bits_match or run.late


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: fp_add(FORMATS["fp16"], FORMATS["bf16"]),
            "fp_add: fp16 does not hold every bf16 number",
        ),
        (
            lambda: fp_add(FORMATS["tf32"], FORMATS["fp16"]),
            "fp_add: tf32 is not supported; allowed: fp32, fp16, bf16, e5m2, e4m3",
        ),
        (lambda: fp_unit(catalogue.small_float("fp16"), 0), "fp_unit: tables_per_cycle = 0; allowed: 1 … m = 2"),
        (lambda: weight_remapper(1, 4), "weight_remapper: k = 1; allowed: 2 … 8"),
        (lambda: weight_remapper(4, 9), "weight_remapper: bits = 9; allowed: 1 … 8"),
        (
            lambda: weight_remapper(4, 4, "sign"),
            "unknown weight codes 'sign' (did you mean 'unsigned'?); allowed: twos, unsigned",
        ),
        (
            lambda: weight_loader(catalogue.small("lut", planes_per_cycle=2)),
            "weight_loader: datapath 'lut', planes_per_cycle = 2; allowed: lut with planes_per_cycle = 1",
        ),
    ],
)
def test_bad_parameters(make: Callable[[], Cell], text: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value).startswith(text)


def test_shared_sums() -> None:
    """Twelve adders for four activations, as in the integer builder."""
    found = {k: fp_table_builder(catalogue.small_float("fp16", k=k)).source for k in (2, 3, 4)}
    assert {k: text.count("fp_add_fp16 add") for k, text in found.items()} == {2: 2, 3: 2 + 4, 4: 2 + 2 + 8}


def test_arrays_of_integers_have_no_float_cells() -> None:
    assert fp_array(catalogue.small_float("e4m3")).kind == "fp_lut_array"
    from lutscape.hw import spec as specs

    kinds = [c.kind for c in catalogue.cells(specs.load("lut-tensor-core-fp16"))]
    assert kinds == [
        "fp_add", "fp_builder", "fp_lut_pe", "fp_lut_array", "weight_remapper", "weight_loader", "fp_lut_unit",
        "fp_tensor_unit",
    ]  # fmt: skip
    assert not any(c.kind.startswith("fp_") for c in catalogue.cells(specs.load("lut-tensor-core")))
