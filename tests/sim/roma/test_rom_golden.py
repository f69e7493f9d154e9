"""The L-Unit against exact fractions, its bound, and what it refuses."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, decode, values
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise import rom
from lutscape.sim.roma import golden

ENCODINGS = {"uint2": (2, 2, "uint"), "uint4": (2, 2, "uint"), "ternary": (2, 0, "ternary"), "fp4": (4, 0, "fp4")}


def unit(form: str, group: int = 8, bits: int = 8) -> LUnit:
    plane, zero, encoding = ENCODINGS[form]
    return LUnit(group=group, plane_bits=plane, zero_bits=zero, encoding=encoding, activation_bits=bits)  # type: ignore[arg-type]


def rounded(x: Fraction, mantissa_bits: int, emin: int) -> Fraction:
    """Round to a binary format without upper limit, ties to even."""
    if x == 0:
        return x
    exponent = emin
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while exponent > emin and abs(x) < Fraction(2) ** exponent:
        exponent -= 1
    place = Fraction(2) ** (exponent - mantissa_bits)
    return round(x / place) * place  # Python rounds halves of fractions to even


def twin(design: LUnit, weight: rom.RomWeight, x: np.ndarray) -> list[list[Fraction]]:
    """One product, one rounding, one sum after the other."""
    found = []
    value = {"uint": lambda q, z: q - z, "ternary": lambda q, z: {0: 0, 1: 1, 3: -1}[q],
             "fp4": lambda q, z: round(2 * values(np.array([q], np.uint8), "e2m1")[0])}[weight.encoding]  # fmt: skip
    top = 2 ** (design.activation_bits - 1) - 1
    for row in x:
        outputs = []
        for n in range(weight.shape[0]):
            y = Fraction(0)
            for g in range(weight.groups):
                span = range(g * weight.group, min((g + 1) * weight.group, weight.shape[1]))
                half = [min(max(rounded(Fraction(float(row[k])), 10, -14), -65504), 65504) for k in span]
                e = -14
                while any(abs(a) >= Fraction(2) ** (e + 1) for a in half):
                    e += 1
                unit_place = Fraction(2) ** (e - (design.activation_bits - 2))
                m = [min(max(round(a / unit_place), -top), top) for a in half]
                total = 0
                for k, a in zip(span, m, strict=True):
                    total += value(int(weight.codes[n, k]), int(weight.zeros[n, g])) * a
                product = rounded(total * Fraction(float(weight.scales[n, g])), 23, -126)
                y = rounded(y + product * unit_place, 23, -126)
            outputs.append(y)
        found.append(outputs)
    return found


def weights(form: str, rows: int, columns: int, seed: int, group: int) -> rom.RomWeight:
    rng = np.random.default_rng(seed)
    w = (rng.standard_normal((rows, columns)) * 10.0 ** rng.uniform(-4, 2)).astype(np.float32)
    return rom.quantise("w", w, form, group, requantise=True)


@settings(max_examples=60, deadline=None)
@given(
    form=st.sampled_from(sorted(ENCODINGS)),
    bits=st.integers(4, 14),
    columns=st.integers(2, 21),
    seed=st.integers(0, 10**6),
    data=st.data(),
)
def test_matmul_is_the_scalar_twin(form: str, bits: int, columns: int, seed: int, data: st.DataObject) -> None:
    design = unit(form, 8, bits)
    w = weights(form, 3, columns, seed, 8)
    element = st.floats(-70000, 70000, width=32) | st.floats(-1, 1, width=32) | st.just(0.0)
    x = np.array(data.draw(st.lists(st.lists(element, min_size=columns, max_size=columns), min_size=1, max_size=2)))
    y = golden.matmul(design, w, x.astype(np.float32))
    assert y.dtype == np.float32
    assert [[Fraction(float(v)) for v in row] for row in y] == twin(design, w, x.astype(np.float32))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), form=st.sampled_from(["uint2", "uint4", "fp4"]))
def test_wide_sums_in_float64_are_the_same_arithmetic(seed: int, form: str) -> None:
    """22-bit activations push the bound beyond 2^24: the other path, against the twin."""
    design = unit(form, 8, 22).model_copy(update={"accumulator_bits": 40})
    w = weights(form, 2, 13, seed, 8)
    x = np.random.default_rng(seed).standard_normal((2, 13)).astype(np.float32)
    assert golden.RomOperand.of(design, w).values.dtype == np.float64
    assert [[Fraction(float(v)) for v in row] for row in golden.matmul(design, w, x)] == twin(design, w, x)


@pytest.mark.parametrize(("form", "bits", "needed"), [("uint2", 2, 21), ("uint4", 4, 23), ("ternary", 2, 19)])
def test_the_bound_is_reached_and_one_bit_less_is_refused(form: str, bits: int, needed: int) -> None:
    design = unit(form, 128, 12)
    assert golden.accumulator_bits_needed(design, bits) == needed
    golden.check(design.model_copy(update={"accumulator_bits": needed}), design.encoding, bits)
    with pytest.raises(UserError) as error:
        golden.check(design.model_copy(update={"accumulator_bits": needed - 1}), design.encoding, bits)
    assert str(error.value) == (
        f"l_unit.accumulator_bits = {needed - 1} can overflow on a group of 128 {bits}-bit weights and 12-bit "
        f"activations: needs {needed}; use accumulator_bits >= {needed}"
    )
    top = {"uint2": 3, "uint4": 15, "ternary": 1}[form]
    w = rom.RomWeight(np.full((1, 128), top, np.uint8), np.ones((1, 1), np.float32), np.zeros((1, 1), np.uint8), 128,
                      bits, design.encoding)  # fmt: skip
    aligned = golden.align(design, np.full((1, 128), 2047, np.float32))
    found = golden.dots(golden.RomOperand.of(design, w), aligned, 0)
    assert found.item() == golden.largest_sum(design, bits)


def test_alignment_keeps_the_largest_and_shifts_the_rest() -> None:
    """Hand-made: 6 = 1.5 · 2^2, M = 8, E = 2 - 6: 6 -> 96, 0.09375 -> 1.5 -> 2, 0.03125 -> 0.5 -> 0, -7.99 -> -127."""
    aligned = golden.align(unit("uint2"), np.array([[6, 0.09375, 0.03125]], np.float32))
    assert aligned.mantissas[0].tolist() == [[96, 2, 0, 0, 0, 0, 0, 0]]
    assert aligned.exponents.tolist() == [[-4]]
    assert golden.align(unit("uint2", 8, 8), np.full((1, 3), -7.99, np.float32)).mantissas[0, 0].tolist() == [
        -127, -127, -127, 0, 0, 0, 0, 0]  # fmt: skip
    assert golden.align(unit("uint2"), np.zeros((1, 8), np.float32)).exponents.tolist() == [[-14 - 6]]


def test_twelve_bits_lose_nothing_at_one_exponent() -> None:
    x = np.arange(1024, 2048, dtype=np.float32)[None] / 64
    assert (golden.align(unit("uint2", 128, 12), x).values() == x).all()


@given(codes=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=20))
def test_scale_fields_are_fp16(codes: list[int]) -> None:
    fields = np.array(codes)
    significand, exponent = golden.scale_fields(fields)
    finite = decode(fields.astype(np.uint16), FORMATS["fp16"]).kind < 2
    exact = values(fields.astype(np.uint16), "fp16")
    assert (np.ldexp(significand.astype(float), exponent)[finite] == exact[finite]).all()
    assert (exponent >= -24).all()
    assert (exponent <= 6).all()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"encoding": "fp4", "plane_bits": 4, "zero_bits": 0},
         "l_unit: uint weights; an L-Unit of encoding 'fp4' reads only its own"),
        ({"scale_bits": 8}, "l_unit.scale_bits = 8; allowed: 16 (FP16), or 0: scaled outside"),
        ({"zero_bits": 4}, "l_unit.zero_bits = 4; allowed: plane_bits = 2, as wide as a weight"),
        ({"plane_bits": 3, "zero_bits": 3}, "l_unit: 4-bit weights are no whole planes of plane_bits = 3"),
        ({"group": 16}, "l_unit: weights in groups of 8; allowed: l_unit.group = 16"),
    ],
)  # fmt: skip
def test_what_an_l_unit_does_not_read(changes: dict[str, object], text: str) -> None:
    design = LUnit.model_validate({"group": 8, "activation_bits": 8} | changes)
    with pytest.raises(UserError) as error:
        golden.RomOperand.of(design, weights("uint4", 2, 9, 1, 8))
    assert str(error.value) == text


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_activations_must_be_finite(value: float) -> None:
    x = np.ones((1, 8), np.float32)
    x[0, 3] = value
    with pytest.raises(UserError, match="activations must be finite"):
        golden.align(unit("uint2"), x)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), padding=st.integers(1, 7))
def test_a_tail_group_adds_nothing_for_its_padding(seed: int, padding: int) -> None:
    design, columns = unit("uint4"), 16 - padding
    w = weights("uint4", 3, columns, seed, 8)
    x = np.random.default_rng(seed).standard_normal((2, columns)).astype(np.float32)
    codes = np.concatenate([w.codes, np.repeat(w.zeros[:, -1:], padding, axis=1)], axis=1)
    whole = rom.RomWeight(codes, w.scales, w.zeros, 8, 4, "uint")
    padded = np.concatenate([x, np.zeros((2, padding), np.float32)], axis=1)
    assume(w.groups == whole.groups)
    assert (golden.matmul(design, w, x) == golden.matmul(design, whole, padded)).all()
