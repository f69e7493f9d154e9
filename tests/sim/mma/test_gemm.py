"""Whole-kernel bits: each option against a chain of single instructions written out here."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import values
from lutscape.hw.formats.encode import encode
from lutscape.sim import mma

WGMMA = "wgmma.m64n8k32.f32.e4m3.e4m3"


def operands(m: int, k: int, n: int, name: str = "e4m3", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return encode(rng.standard_normal((m, k)), name), encode(rng.standard_normal((k, n)), name)


def chain(a: np.ndarray, b: np.ndarray, k0: int, k1: int, c: np.ndarray) -> np.ndarray:
    op = mma.instruction("sm_90", WGMMA)
    for k in range(k0, k1, 32):
        c = op(a[:, k : k + 32], b[k : k + 32], c)
    return c


A, B = operands(64, 512, 8)
ZERO = np.zeros((64, 8), np.uint32)


def floats(raw: np.ndarray) -> np.ndarray:
    return raw.view(np.float32)


def test_plain_chain() -> None:
    np.testing.assert_array_equal(mma.gemm("sm_90", WGMMA, A, B), chain(A, B, 0, 512, ZERO))


def test_c_starts_the_accumulators() -> None:
    c = encode(np.random.default_rng(1).standard_normal((64, 8)), "fp32")
    np.testing.assert_array_equal(mma.gemm("sm_90", WGMMA, A, B, c), chain(A, B, 0, 512, c))


def test_promotion_restarts_and_adds_in_fp32() -> None:
    total = np.zeros((64, 8), np.float32)
    for k in range(0, 512, 128):
        total = total + floats(chain(A, B, k, k + 128, ZERO))
    got = mma.gemm("sm_90", WGMMA, A, B, promotion=128)
    np.testing.assert_array_equal(floats(got), total)
    assert (got != mma.gemm("sm_90", WGMMA, A, B)).any()  # it does change bits
    x, y = values(A, "e4m3"), values(B, "e4m3")
    errors = [np.abs(floats(g) - x @ y).max() for g in (got, mma.gemm("sm_90", WGMMA, A, B))]
    assert errors[0] < errors[1] / 2  # and is what it is for


def test_split_k_orders() -> None:
    parts = [floats(chain(A, B, k, k + 128, ZERO)) for k in range(0, 512, 128)]
    serial = ((parts[0] + parts[1]) + parts[2]) + parts[3]
    tree = (parts[0] + parts[1]) + (parts[2] + parts[3])
    np.testing.assert_array_equal(floats(mma.gemm("sm_90", WGMMA, A, B, split_k=4)), serial)
    np.testing.assert_array_equal(floats(mma.gemm("sm_90", WGMMA, A, B, split_k=4, split_order="pairwise")), tree)
    uneven = (
        floats(chain(A, B, 0, 256, ZERO)) + floats(chain(A, B, 256, 384, ZERO)) + floats(chain(A, B, 384, 512, ZERO))
    )
    np.testing.assert_array_equal(floats(mma.gemm("sm_90", WGMMA, A, B, tile_k=128, split_k=3)), uneven)


def test_epilogue_is_one_fma_and_one_conversion() -> None:
    c = np.random.default_rng(2).standard_normal((64, 8)).astype(np.float32)
    acc = floats(mma.gemm("sm_90", WGMMA, A, B)).astype(np.float64)
    got = mma.gemm("sm_90", WGMMA, values(A, "e4m3"), values(B, "e4m3"), c, alpha=0.75, beta=0.5, output="bf16")
    # alpha and beta are short, so float64 holds both products exactly; only the sum rounds (to FP32, then bf16).
    fused = (0.75 * acc + 0.5 * c.astype(np.float64)).astype(np.float32)
    expected = values(encode(fused, "bf16"), "bf16")
    np.testing.assert_array_equal(got, expected.astype(np.float32))
    relu = mma.gemm("sm_90", WGMMA, A, B, epilogue=lambda x: np.maximum(x, np.float32(0)))
    np.testing.assert_array_equal(floats(relu), np.maximum(acc, 0))


def test_odd_depth_is_padded_with_zeros() -> None:
    a, b = A[:, :70], B[:70]
    padded = np.zeros((64, 96), np.uint8), np.zeros((96, 8), np.uint8)
    padded[0][:, :70], padded[1][:70] = a, b
    np.testing.assert_array_equal(mma.gemm("sm_90", WGMMA, a, b), chain(*padded, 0, 96, ZERO))


def test_fp8_half_pairs_chain_per_instruction() -> None:
    name = "m16n8k32.f32.e4m3.e4m3.f32"
    op, c = mma.instruction("sm_90", name), np.zeros((16, 8), np.uint32)
    for k in range(0, 512, 32):
        c = op(A[:16, k : k + 32], B[k : k + 32], c)
    np.testing.assert_array_equal(mma.gemm("sm_90", name, A[:16], B), c)


def test_block_scales_and_integers() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.choice([-1.0, 0.5, 3.0], (5, 128)), rng.choice([1.0, -2.0], (128, 7))
    sa, sb = rng.choice([0.5, 2.0], (5, 4)), rng.choice([1.0, 4.0], (4, 7))
    name = "m16n8k64.kind::mxf4.block32.f32.e2m1.e2m1.f32.ue8m0"
    got = mma.gemm("sm_120", name, x, y, scale_a=sa, scale_b=sb)
    np.testing.assert_array_equal(got, (x * np.repeat(sa, 32, 1)) @ (y * np.repeat(sb, 32, 0)))
    i, j = rng.integers(-128, 128, (9, 100)), rng.integers(-128, 128, (100, 6))
    np.testing.assert_array_equal(mma.gemm("sm_90", "m16n8k32.s32.s8.s8.s32", i, j), i @ j)


def test_custom_design_in_a_kernel() -> None:
    op = mma.Custom(L=32, F=13, rounding="RZ-E8M13", input="e4m3")
    np.testing.assert_array_equal(mma.gemm("", op, A, B), mma.gemm("sm_90", WGMMA, A, B))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"promotion": 100}, "promotion is a multiple of the instruction's k = 32, got 100"),
        ({"tile_k": 48}, "tile_k is a multiple of the instruction's k = 32, got 48"),
        ({"split_k": 17}, r"split_k is 1 … 16 \(k tiles of 32\), got 17"),
        ({"split_order": "tree"}, "unknown split_order 'tree'"),
        ({"beta": 1.0}, "beta needs C"),
        ({"output": "fp17"}, "unknown output format 'fp17'"),
        ({"scale_a": ZERO}, "takes no scales"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mma.gemm("sm_90", WGMMA, A, B, **options)


def test_bad_shapes() -> None:
    with pytest.raises(UserError, match=r"A \(M, K\) and B \(K, N\), got \(64, 512\) and \(8, 512\)"):
        mma.gemm("sm_90", WGMMA, A, B.T)
    with pytest.raises(UserError, match=r"C has shape \(64, 8\)"):
        mma.gemm("sm_90", WGMMA, A, B, ZERO[:1])
