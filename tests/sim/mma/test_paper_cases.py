"""Published answers: arXiv 2511.10909v2 (case tables, probes, risky designs) and Fasi et al. 2021."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.formats.binary import values
from lutscape.sim import mma
from lutscape.sim.mma import analysis
from lutscape.sim.mma.api import Instruction


def dot(op: Instruction, a: list[float], b: list[float], c: float = 0.0) -> float:
    """Return output (0, 0) with ``a`` and ``b`` in the first elements of a row and a column."""
    s = op.spec
    A, B, C = np.zeros((s.m, s.k)), np.zeros((s.k, s.n)), np.zeros((s.m, s.n))
    A[0, : len(a)], B[: len(b), 0], C[0, 0] = a, b, c
    return float(op(A, B, C)[0, 0])


TABLE_8 = [
    ("sm_80", "m8n8k4.f64.f64.f64.f64", -0.875),
    ("sm_70", "m8n8k4.f32.f16.f16.f32", 0.0),
    ("sm_75", "m8n8k4.f32.f16.f16.f32", 0.0),
    ("sm_75", "m16n8k8.f32.f16.f16.f32", -0.5),
    ("sm_80", "m16n8k16.f32.f16.f16.f32", -0.5),
    ("sm_80", "m16n8k8.f32.bf16.bf16.f32", -0.5),
    ("sm_80", "m16n8k8.f32.tf32.tf32.f32", -0.5),
    ("sm_89", "m16n8k16.f32.f16.f16.f32", -0.5),
    ("sm_89", "m16n8k32.f32.e5m2.e5m2.f32", 0.0),
    ("sm_90", "wgmma.m64n8k32.f32.e5m2.e5m2", 0.0),
    ("sm_90", "wgmma.m64n8k16.f32.f16.f16", -0.75),
    ("sm_90", "m16n8k16.f32.bf16.bf16.f32", -0.75),
    ("sm_90", "m16n8k8.f32.tf32.tf32.f32", -0.75),
    ("sm_100", "tcgen05.m64n8k16.kind::f16.f32.f16.f16", -0.75),
    ("sm_100", "tcgen05.m64n8k32.kind::f8f6f4.f32.e5m2.e5m2", -0.75),
    ("sm_120", "m16n8k32.f32.e5m2.e5m2.f32", -0.75),
    ("gfx908", "f32_16x16x16f16", -0.875),
    ("gfx908", "f32_16x16x4f32", -0.875),
    ("gfx90a", "f32_16x16x16f16", 0.0),
    ("gfx90a", "f32_16x16x16bf16_1k", 0.0),
    ("gfx90a", "f32_16x16x8bf16", -0.375),
    ("gfx942", "f32_16x16x16_f16", -0.5),
    ("gfx942", "f32_16x16x16_bf16", -0.5),
    ("gfx942", "f32_16x16x8_xf32", -0.5),
    ("gfx942", "f32_16x16x32_bf8_bf8", -1.0),
]


@pytest.mark.parametrize(("arch", "name", "expected"), TABLE_8)
def test_table_8(arch: str, name: str, expected: float) -> None:
    a, b = [-(2.0**13), -0.5, -0.25, -0.125], [2.0**10, 1.0, 1.0, 1.0]
    assert dot(mma.instruction(arch, name), a, b, 2.0**23) == expected


def test_cdna3_rounds_down_and_nvidia_does_not() -> None:
    a, b = [2048.0, 2048.0], [2048.0, -2048.0]
    tiny = float(np.float32(1e-6))
    cdna3, hopper = mma.instruction("gfx942", "f32_16x16x16_f16"), mma.instruction("sm_90", "m16n8k16.f32.f16.f16.f32")
    assert dot(cdna3, a, b, -tiny) == -0.25
    assert dot(cdna3, a, b, tiny) == 0.0
    assert dot(hopper, a, b, -tiny) == dot(hopper, a, b, tiny) == 0.0
    fp8 = mma.instruction("gfx942", "f32_16x16x32_bf8_bf8")
    assert dot(fp8, a, b, -tiny) == 0.0  # so small a c is dropped before the rounding down


def test_asymmetry_is_cdna3s_alone() -> None:
    wrong, outputs = analysis.asymmetry(mma.instruction("gfx942", "f32_16x16x16_f16"))
    assert wrong > outputs // 50
    for arch, name in (
        ("sm_90", "m16n8k16.f32.f16.f16.f32"),
        ("gfx908", "f32_16x16x16f16"),
        ("sm_70", "m8n8k4.f32.f16.f16.f32"),
    ):
        assert analysis.asymmetry(mma.instruction(arch, name))[0] == 0


@pytest.mark.parametrize(
    ("arch", "name", "fraction"),
    [
        ("sm_70", "m8n8k4.f32.f16.f16.f32", 23),
        ("sm_80", "m16n8k8.f32.f16.f16.f32", 24),
        ("sm_90", "m16n8k16.f32.f16.f16.f32", 25),
        ("sm_90", "wgmma.m64n8k32.f32.e5m2.e5m2", 13),
        ("sm_89", "m16n8k32.f32.e5m2.e5m2.f32", 13),
        ("sm_120", "m16n8k32.f32.e5m2.e5m2.f32", 25),
    ],
)
def test_last_surviving_bit_is_f(arch: str, name: str, fraction: int) -> None:
    """U - U + x: x survives down to F bits below U, and no further."""
    op = mma.instruction(arch, name)
    U, half = 2.0**14, 2.0**7

    def left(bits: int) -> float:
        x = U * 2.0**-bits
        small = 2.0 ** ((np.log2(x)) // 2)
        return dot(op, [half, half, small], [half, -half, x / small])

    assert left(fraction) == U * 2.0**-fraction
    assert left(fraction + 1) == 0.0


@pytest.mark.parametrize(
    ("arch", "name", "length"),
    [
        ("sm_70", "m8n8k4.f32.f16.f16.f32", 4),
        ("sm_80", "m16n8k16.f32.f16.f16.f32", 8),
        ("sm_80", "m16n8k8.f32.tf32.tf32.f32", 4),
        ("sm_90", "m16n8k16.f32.f16.f16.f32", 16),
        ("sm_89", "m16n8k32.f32.e4m3.e4m3.f32", 16),
        ("sm_90", "wgmma.m64n8k32.f32.e4m3.e4m3", 32),
    ],
)
def test_sums_span_l_products(arch: str, name: str, length: int) -> None:
    """A small term beside a cancelling pair is lost in the pair's sum and survives in every other."""
    op = mma.instruction(arch, name)
    K = op.spec.k
    U, v = 2.0**7, 2.0**-6  # U * U is 26 binades above v * v
    lost = 0
    for k in range(2, K):
        a, b = [0.0] * K, [0.0] * K
        a[0], b[0], a[1], b[1] = U, U, U, -U
        a[k], b[k] = v, v
        lost += dot(op, a, b) == 0.0
    assert lost == length - 2


def test_products_are_not_normalised() -> None:
    """1.5 * 1.5 counts with exponent 0, so a bit survives that 2.25 = 1.125 * 2 cuts (V100)."""
    op = mma.instruction("sm_70", "m8n8k4.f32.f16.f16.f32")
    x, y = 2.0**-11, 2.0**-12
    assert dot(op, [1.5, x, x], [1.5, y, y]) == 2.25 + 2.0**-22
    assert dot(op, [1.0, x, x], [2.25, y, y]) == 2.25
    half = mma.instruction("sm_70", "m8n8k4.f16.f16.f16.f16")
    assert dot(half, [1.5, -1.5, 2.0**-11], [1.5, 1.5, 2.0**-12]) == 2.0**-23
    assert dot(half, [1.125, -1.125, 2.0**-11], [2.0, 2.0, 2.0**-12]) == 0.0


def test_a_growing_term_can_lower_the_sum() -> None:
    assert analysis.monotonicity(mma.instruction("sm_90", "m16n8k16.f32.f16.f16.f32"))
    assert analysis.monotonicity(mma.instruction("sm_70", "m8n8k4.f32.f16.f16.f32"))
    assert not analysis.monotonicity(mma.instruction("gfx908", "f32_16x16x16f16"))


def test_zero_operands_do_not_set_the_exponent() -> None:
    """0 * 2^127 beside 2^-30: version 2 of the paper's models keeps it, version 1 lost it."""
    op = mma.instruction("sm_90", "m16n8k16.f32.bf16.bf16.f32")
    assert dot(op, [0.0, 1.0], [2.0**127, 2.0**-30]) == 2.0**-30


def test_zero_exponent_floor() -> None:
    """With c = 0 a sum is aligned to 2^-133 at least (F = 25): terms below 2^-158 vanish."""
    op = mma.instruction("sm_90", "m16n8k16.f32.bf16.bf16.f32")
    for bits, expected in ((-158, 2.0**-149 - 2.0**-149), (-159, 2.0**-149)):
        # 2^-149 minus a tiny term: cut away, or enough to round the result toward zero.
        got = dot(op, [2.0**-75, 2.0**-80], [2.0**-74, -(2.0 ** (bits + 80))])
        assert got == expected
    half = mma.instruction("sm_90", "m16n8k16.f16.f16.f16.f16")
    tie = [2.0**-24, 2.0**-12, 2.0**-24]
    assert dot(half, tie, [0.5, 2.0**-13, 2.0**-22], 0.0) == 2.0**-24  # 2^-46 is the last bit that counts
    assert dot(half, [*tie[:2], 2.0**-24], [0.5, 2.0**-13, 2.0**-23], 0.0) == 2.0**-24


def test_fp8_through_the_half_unit_adds_c_last() -> None:
    """sm_90 mma.sync FP8: t is exact here, c is added in FP32, so small products survive beside a large c."""
    sync, group = (
        mma.instruction("sm_90", "m16n8k32.f32.e5m2.e5m2.f32"),
        mma.instruction("sm_90", "wgmma.m64n8k32.f32.e5m2.e5m2"),
    )
    a, b = [1.0] * 4, [2.0**-14] * 4
    assert dot(sync, a, b, 1.0) == 1.0 + 2.0**-12
    assert dot(group, a, b, 1.0) == 1.0  # wgmma cuts each product 13 bits below c
    assert dot(group, [], [], 1.0 + 2.0**-23) == 1.0  # and drops low bits of c even when A is zero
    assert dot(sync, [], [], 1.0 + 2.0**-23) == 1.0 + 2.0**-23


def test_fp8_halves_are_interleaved_by_two() -> None:
    """k = 0, 1 share a sum, k = 2 starts the second one."""
    op = mma.instruction("sm_90", "m16n8k32.f32.e5m2.e5m2.f32")
    U, v = 2.0**15, 2.0**-16
    for k, survives in ((1, False), (4, False), (2, True), (3, True)):
        a, b = [0.0] * 32, [0.0] * 32
        a[0], b[0], a[5], b[5], a[k], b[k] = U, U, U, -U, v, v
        assert (dot(op, a, b) != 0.0) == survives, k


def test_cdna3_fp8_drops_c_below_25_binades_and_floors_it_above() -> None:
    op = mma.instruction("gfx942", "f32_16x16x32_bf8_bf8")
    a, b = [2.0**12], [2.0**12]
    assert dot(op, a, b, -(2.0**-1)) == 2.0**24 - 1.0  # 25 binades below: floored to -1
    assert dot(op, a, b, -(2.0**-2)) == 2.0**24  # 26: dropped


def test_infinite_accumulator_survives_large_fp8_products_on_cdna3() -> None:
    """mmasim 2.1.1 returns 2415919104 here: its exponent of infinity is smaller than the products'."""
    op = mma.instruction("gfx942", "f32_16x16x32_bf8_bf8")
    assert dot(op, [49152.0], [49152.0], np.inf) == np.inf
    assert np.isnan(dot(op, [49152.0], [49152.0], np.nan))


def test_products_beyond_fp32_cancel_on_nvidia_and_overflow_on_cdna3() -> None:
    a, b = [2.0**127, 2.0**127, 1.0], [2.0**127, -(2.0**127), 1.0]
    assert dot(mma.instruction("sm_90", "m16n8k16.f32.bf16.bf16.f32"), a, b) == 0.0
    assert np.isnan(dot(mma.instruction("gfx942", "f32_16x16x16_bf16"), a, b))


def test_half_results_are_rounded_once() -> None:
    """65519.99 rounds to 65504, 65520 to infinity; a tie plus a tiny term rounds up, not to even."""
    op = mma.instruction("sm_90", "m16n8k16.f16.f16.f16.f16")
    assert dot(op, [1.0, 1.0], [1.0, 2.0**-11]) == 1.0
    assert dot(op, [1.0, 1.0, 2.0**-12], [1.0, 2.0**-11, 2.0**-13]) == 1.0 + 2.0**-10
    assert dot(op, [1.0], [16.0], 65504.0) == np.inf
    assert dot(op, [1.0], [15.0], 65504.0) == 65504.0


def test_a_tf32_nan_in_the_dropped_bits_is_an_infinity() -> None:
    op = mma.instruction("sm_90", "m16n8k8.f32.tf32.tf32.f32")
    A, B, C = np.zeros((16, 8), np.uint32), np.zeros((8, 8), np.uint32), np.zeros((16, 8), np.uint32)
    A[0, 0], B[0, 0] = 0x7F800001, 0x3F800000
    assert values(op(A, B, C), "fp32")[0, 0] == np.inf
    A[0, 0] = 0x7F802000
    assert op(A, B, C)[0, 0] == 0x7FFFFFFF


def test_cdna2_flushes_half_subnormals() -> None:
    op = mma.instruction("gfx90a", "f32_16x16x16f16")
    assert dot(op, [2.0**-15], [2.0**14]) == 0.0
    assert dot(op, [2.0**-14], [2.0**14]) == 1.0
    assert dot(mma.instruction("gfx908", "f32_16x16x16f16"), [2.0**-15], [2.0**14]) == 0.5
