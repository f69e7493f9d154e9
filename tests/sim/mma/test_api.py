"""Operands in, results out: kinds of arrays, broadcasting, options, names, and every error text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import values
from lutscape.hw.formats.encode import encode
from lutscape.sim import mma
from lutscape.sim.mma.corpus import cases
from lutscape.sim.mma.instructions import ARCHITECTURES, table
from lutscape.sim.mma.names import find, signature
from lutscape.sim.mma.sparse import compress

HMMA = "m16n8k16.f32.f16.f16.f32"


def tile(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def test_numbers_and_raw_codes_give_the_same_bits() -> None:
    op = mma.instruction("sm_90", HMMA)
    a, b, c = tile(16, 16), tile(16, 8, seed=1), tile(16, 8, seed=2)
    number = op(a, b, c)
    raw = op(a.astype(np.float16).view(np.uint16), b.astype(np.float16).view(np.uint16), c.view(np.uint32))
    assert number.dtype == np.float32
    assert raw.dtype == np.uint32
    np.testing.assert_array_equal(number.view(np.uint32), raw)
    np.testing.assert_array_equal(number, a @ b + c)
    assert op(a, b, c.view(np.uint32)).dtype == np.uint32  # the kind of C decides


def test_leading_axes_broadcast() -> None:
    op = mma.instruction("sm_90", HMMA)
    a, b, c = tile(3, 1, 16, 16), tile(2, 16, 8, seed=1), tile(16, 8, seed=2)
    d = op(a, b, c)
    assert d.shape == (3, 2, 16, 8)
    np.testing.assert_array_equal(d, a @ b + c)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_every_instruction_multiplies_small_integers_exactly(arch: str) -> None:
    rng = np.random.default_rng(0)
    tried = set()
    for spec in table(arch).values():
        key = (spec.family, spec.a, spec.b, spec.d, spec.k, type(spec.model))
        if key in tried or spec.scale or spec.keep != (1, 1) or spec.a == "b1":
            continue
        tried.add(key)
        op = mma.instruction(arch, spec.name)
        low = 0 if spec.a.startswith("u") or spec.b.startswith("u") else -1
        a, b = (rng.integers(low, 2, s).astype(np.float64) for s in ((spec.m, spec.k), (spec.k, spec.n)))
        c = rng.integers(-4, 5, (spec.m, spec.n)).astype(np.float64)
        np.testing.assert_array_equal(op(a, b, c), a @ b + c, err_msg=spec.name)
        assert spec.name in op.explain()
        assert "evidence" in op.explain()


def test_block_scales_multiply() -> None:
    op = mma.instruction("sm_120", "m16n8k64.kind::mxf4nvf4.block16.f32.e2m1.e2m1.f32.ue4m3")
    rng = np.random.default_rng(0)
    a, b = rng.choice([-3.0, 0.5, 1.0, 6.0], (16, 64)), rng.choice([-1.5, 0.0, 2.0], (64, 8))
    alpha, beta = rng.choice([0.5, 1.5, 4.0], (16, 4)), rng.choice([1.0, 0.25], (4, 8))
    d = op(a, b, np.zeros((16, 8)), alpha=alpha, beta=beta)
    expected = (a * np.repeat(alpha, 16, 1)) @ (b * np.repeat(beta, 16, 0))
    np.testing.assert_array_equal(d, expected)
    eight = mma.instruction("sm_120", "m16n8k32.kind::mxf8f6f4.block32.f32.e4m3.e2m1.f32.ue8m0")
    d = eight(a[:, :32], b[:32], alpha=np.full((16, 1), 4.0), beta=np.full((1, 8), 0.5))
    np.testing.assert_array_equal(d, 2 * a[:, :32] @ b[:32])
    with pytest.raises(UserError, match=r"alpha of .* has one scale per 16 k, shape \(…, 16, 4\), got \(16, 2\)"):
        op(a, b, alpha=alpha[:, :2], beta=beta)
    with pytest.raises(UserError, match="needs alpha and beta, ue4m3 scales, one per 16 k"):
        op(a, b)


def test_integers_wrap_or_saturate() -> None:
    a, b = np.full((16, 32), 127, np.int8), np.full((32, 8), 127, np.int8)
    c = np.full((16, 8), 2**31 - 1, np.int32)
    wrap = mma.instruction("sm_90", "m16n8k32.s32.s8.s8.s32")(a, b, c)
    clamp = mma.instruction("sm_90", "m16n8k32.satfinite.s32.s8.s8.s32")(a, b, c)
    assert wrap.dtype == np.int32
    assert int(wrap[0, 0]) == 2**31 - 1 + 32 * 127 * 127 - 2**32
    assert int(clamp[0, 0]) == 2**31 - 1
    mixed = mma.instruction("sm_90", "m16n8k32.s32.u8.s8.s32")
    assert int(mixed(np.full((16, 32), 255), b, np.zeros((16, 8), np.int32))[0, 0]) == 32 * 255 * 127
    four = mma.instruction("sm_80", "m16n8k64.s32.s4.u4.s32")
    assert int(four(np.full((16, 64), -8), np.full((64, 8), 15))[0, 0]) == -8 * 15 * 64


def test_binary_counts_bits() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (16, 256)).astype(np.uint8), rng.integers(0, 2, (256, 8)).astype(np.uint8)
    c = np.arange(128, dtype=np.int32).reshape(16, 8)
    xor = mma.instruction("sm_80", "m16n8k256.s32.b1.b1.s32.xor.popc")(a, b, c)
    both = mma.instruction("sm_80", "m16n8k256.s32.b1.b1.s32.and.popc")(a, b, c)
    assert xor[3, 5] == c[3, 5] + int((a[3] ^ b[:, 5]).sum())
    assert both[3, 5] == c[3, 5] + int((a[3] & b[:, 5]).sum())


def test_sparse_ignores_columns_that_were_dropped() -> None:
    op = mma.instruction("sm_90", "mma.sp.m16n8k32.f32.f16.f16.f32")
    dense = np.zeros((16, 32), np.float32)
    dense[:, 1::4], dense[:, 2::4] = tile(16, 8), tile(16, 8, seed=1)
    kept, columns = compress(np.where(dense == 0, dense, dense))
    b = tile(32, 8, seed=2)
    np.testing.assert_array_equal(op(kept, b, metadata=columns), dense @ b)
    columns[:] = np.arange(16) // 2 * 4 + np.arange(16) % 2  # the first two of each group
    b[2::4] = np.inf  # would be 0 * inf in a dense product
    b[3::4] = np.nan
    assert np.isfinite(op(kept, b, metadata=columns)).all()
    with pytest.raises(UserError, match=r"metadata\[0, 0\] = 4: this element's group is columns 0 … 3"):
        op(kept, b, metadata=np.full((16, 16), 4, np.uint8))
    with pytest.raises(UserError, match="needs metadata"):
        op(kept, b)
    with pytest.raises(UserError, match="more than 2 non-zero"):
        compress(np.ones((4, 8)))


def test_wgmma_options() -> None:
    op = mma.instruction("sm_90", "wgmma.m64n8k16.f32.f16.f16")
    a, b, c = tile(64, 16), tile(16, 8, seed=1), tile(64, 8, seed=2)
    np.testing.assert_array_equal(op(a, b, c, scale_d=0), a @ b)
    np.testing.assert_array_equal(op(a, b, c, imm_scale_a=-1), c - a @ b)
    np.testing.assert_array_equal(op(a, b, c, imm_scale_a=-1, imm_scale_b=-1), c + a @ b)
    with pytest.raises(UserError, match="only wgmma and tcgen05 instructions have it"):
        mma.instruction("sm_90", HMMA)(tile(16, 16), b, scale_d=0)
    with pytest.raises(UserError, match="imm_scale_a is -1 or 1, got 2"):
        op(a, b, c, imm_scale_a=2)


def test_fused_units_return_plus_zero_and_one_nan() -> None:
    op = mma.instruction("sm_90", HMMA)
    a, b, c = np.zeros((16, 16), np.uint16), np.zeros((16, 8), np.uint16), np.full((16, 8), 0x80000000, np.uint32)
    assert set(op(a, b, c).ravel().tolist()) == {0}
    a[0, 0] = 0xFE01  # a negative NaN with payload
    assert op(a, b, c)[0].tolist() == [0x7FFFFFFF] * 8


def test_hopper_dmma_keeps_nan_payloads() -> None:
    op = mma.instruction("sm_90", "m8n8k4.f64.f64.f64.f64")
    a, b, c = (np.zeros(s, np.uint64) for s in ((8, 4), (4, 8), (8, 8)))
    a[0, 1] = 0xFFF0000000000123
    b[0, 3], a[2, 0] = 0x7FF0000000000000, 0
    d = op(a, b, c)
    assert int(d[0, 0]) == 0xFFF8000000000123
    assert int(d[2, 3]) == 0xFFF8000000000000  # 0 * infinity


def test_full_short_and_mixed_names() -> None:
    full = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
    assert find("sm_90", full) == find("sm_90", HMMA) == find("sm_90", "mma." + HMMA)
    assert find("gfx942", "v_mfma_f32_16x16x16_f16") == find("gfx942", "f32_16x16x16_f16")
    assert signature("m16n8k64.kind::mxf4.block32.f32.e2m1.e2m1.f32.ue8m0")[2:4] == ("kind::mxf4", "scale_vec::2x")
    for arch in ARCHITECTURES:
        for name in table(arch):
            assert find(arch, name).name == name
    assert mma.instruction("Hopper", HMMA) == mma.instruction("sm_90a", HMMA)
    assert full in mma.list_instructions("sm_90")


def test_trace_ends_in_the_instructions_own_bits() -> None:
    op = mma.instruction("sm_80", HMMA)
    x = cases(op.spec, "window", 1, 3)
    a, b, c = x["A"][0], x["B"][0], x["C"][0]
    d = op(a, b, c)
    for i, j in ((0, 0), (5, 7), (15, 3)):
        text = op.trace(i, j, a, b, c)
        assert text.endswith(f"(0x{int(d[i, j]):08X})")
        sums = [line for line in text.splitlines() if line.strip().startswith("sum")]
        assert len(sums) == 2  # K = 16 in two sums of 8
        last = float(sums[-1].rpartition("=")[2])
        assert abs(float(values(d, "fp32")[i, j])) <= abs(last)  # rounded toward zero
    with pytest.raises(UserError, match="outside 16 x 8"):
        op.trace(16, 0, a, b, c)


def test_custom_designs() -> None:
    op = mma.Custom(L=4, F=3, rounding="RZ-FP32", input="fp16")
    a, b = np.zeros((1, 8), np.float16), np.ones((8, 1), np.float16)
    a[0, :3] = 1.0, 0.125, 0.0625
    assert float(op(a, b)[0, 0]) == 1.125  # 3 fraction bits
    a[0, 4] = 0.0625
    assert float(op(a, b)[0, 0]) == 1.125  # c sets the exponent of the second sum
    assert "3 fraction bits" in op.explain()
    same = mma.Custom(L=16, F=25, rounding="RZ-FP32", input="fp16")
    spec = mma.instruction("sm_90", HMMA).spec
    x = cases(spec, "window", 3, 0)
    np.testing.assert_array_equal(same(x["A"], x["B"], x["C"]), mma.instruction("sm_90", HMMA)(x["A"], x["B"], x["C"]))


BAD: list[tuple[dict[str, Any], str]] = [
    ({"L": 0, "F": 20}, "L is 1 … 1024 products per sum, got 0"),
    ({"L": 4, "F": 41}, "F is 1 … 40 fraction bits, got 41"),
    ({"L": 4, "F": 20, "rounding": "RZ"}, "is not <mode>-<target>"),
    ({"L": 4, "F": 20, "rounding": "RX-FP32"}, "unknown rounding mode 'RX'"),
    ({"L": 4, "F": 20, "rounding": "RZ-FP31"}, r"unknown rounding target 'FP31' \(did you mean 'FP32'\?\)"),
    ({"L": 4, "F": 20, "input": "fp64"}, "input is one or two of"),
    ({"L": 4, "F": 20, "output": "fp16"}, "output 'fp16' cannot hold RZ-FP32"),
    ({"L": 4, "F": 20, "e_zero": 5}, "e_zero is -400 … -126"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_custom_parameters_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        mma.Custom(**arguments)


def test_errors_say_what_was_expected() -> None:
    op = mma.instruction("sm_90", HMMA)
    a, b, c = tile(16, 16), tile(16, 8), tile(16, 8)
    with pytest.raises(UserError, match=r"A of mma\.sync.* has shape \(…, 16, 16\), got \(16, 8\)"):
        op(b, b, c)
    with pytest.raises(UserError, match=r"A: raw fp16 codes are uint16, got uint32"):
        op(a.view(np.uint32), b, c)
    with pytest.raises(UserError, match=r"B: expected floats or raw fp16 codes \(uint16\), got int64"):
        op(a, b.astype(np.int64), c)
    fine = a.copy()
    fine[2, 3] = 0.1
    with pytest.raises(
        UserError, match=r"A\[2, 3\] = 0.100\d+ is not a number of fp16 \(nearest 0.0999\d+\); pass convert=True"
    ):
        op(fine, b, c)
    assert op(fine, b, c, convert=True).shape == (16, 8)
    with pytest.raises(UserError, match="takes no scales; drop alpha and beta"):
        op(a, b, c, alpha=a)
    with pytest.raises(UserError, match=r"unknown architecture 'sm_91'.*did you mean 'sm_9"):
        mma.instruction("sm_91", HMMA)
    with pytest.raises(
        UserError,
        match=r"sm_80 has no instruction 'm16n8k16\.f32\.f16\.f16\.f33'; nearest: mma\.sync\.aligned\.m16n8k16",
    ):
        mma.instruction("sm_80", "m16n8k16.f32.f16.f16.f33")
    with pytest.raises(UserError, match=r"C\[0, 0\] = 1e-60 is not a number of fp32"):
        op(a, b, np.full((16, 8), 1e-60))
    s8 = mma.instruction("sm_90", "m16n8k32.s32.s8.s8.s32")
    with pytest.raises(UserError, match=r"A\[0, 0\] = 200 is not a number of s8 \(-128 .. 127\)"):
        s8(np.full((16, 32), 200), np.zeros((32, 8), int))


def test_every_eight_bit_code_survives_the_fast_conversion() -> None:
    from lutscape.sim.mma.convert import to_codes

    for name in ("e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz", "e3m2", "e2m3", "e2m1", "ue4m3", "ue8m0"):
        x = values(np.arange(256, dtype=np.uint8), name).astype(np.float64)
        np.testing.assert_array_equal(to_codes(x, name, False, "x"), encode(x, name))
        with pytest.raises(UserError, match="is not a number of"):
            to_codes(np.array([0.3]), name, False, "x")


def test_importing_compiles_nothing() -> None:
    import subprocess
    import sys

    code = (
        "import sys, lutscape.sim.mma, lutscape.sim.mma.instructions, lutscape.sim.mma.names, lutscape.commands.mma;"
        "print(sorted(m for m in sys.modules if m in ('numba', 'torch', 'llvmlite', 'numpy.testing')))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
