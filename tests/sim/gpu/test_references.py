"""References of the GPU checks against slow scalar twins, and what build and driver say without compiler or GPU."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.sim.gpu import build, check, points, wgmma_source
from lutscape.sim.gpu.driver import Gpu


def test_tables_known_answer() -> None:
    """a = 1, 2, 3, 4: scale fp16(10 / 127) = 0.0787; entries -10 (-1-2-3-4), -6, -4, 0, -2, 2, 4, 8 over it."""
    entries, scales = check.tables_of(np.array([[1, 2, 3, 4]], np.float16))
    assert scales[0, 0] == np.float16(10 / 127)
    sums = [-10, -6, -4, 0, -2, 2, 4, 8]
    assert entries[0, 0].tolist() == [max(-127, min(127, round(s / float(scales[0, 0])))) for s in sums]


def test_tables_hold_half_of_all_signed_sums() -> None:
    a = np.random.default_rng(1).standard_normal((3, 32)).astype(np.float16)
    entries, scales = check.tables_of(a)
    for row in range(3):
        for table in range(8):
            x = a[row, 4 * table : 4 * table + 4].astype(float)
            for e in range(8):
                exact = -x[0] + sum((1 if e >> i & 1 else -1) * x[i + 1] for i in range(3))
                assert abs(entries[row, table, e] * float(scales[row, table]) - exact) <= 0.51 * float(
                    scales[row, table]
                )
    zero, one = check.tables_of(np.zeros((1, 4), np.float16))
    assert (zero == 0).all()
    assert one[0, 0] == 1


def test_attention_reference_is_softmax() -> None:
    rng = np.random.default_rng(2)
    q, k, v = rng.standard_normal((1, 4, 8)), rng.standard_normal((2, 5, 8)), rng.standard_normal((2, 5, 8))
    out = check.attend(q, k, v, [np.array([0, 2, 3]), np.array([4])], 2)
    for h in range(4):
        seen = [0, 2, 3] if h < 2 else [4]
        weights = [math.exp(sum(q[0, h, d] * k[h // 2, j, d] for d in range(8)) / math.sqrt(8)) for j in seen]
        for d in range(8):
            expected = sum(w * v[h // 2, j, d] for w, j in zip(weights, seen, strict=True)) / sum(weights)
            assert out[0, h, d] == pytest.approx(expected)


def test_e4m3_values() -> None:
    values = check.e4m3_values()
    assert values[0x38] == 1.0
    assert values[0x7E] == 448.0
    assert values[0x01] == 2.0**-9
    assert values[0xB8] == -1.0
    assert np.flatnonzero(np.isnan(values)).tolist() == [0x7F, 0xFF]


def test_nan_never_passes() -> None:
    assert not check.Outcome("x", float("nan"), 1.0).passed
    assert check.Outcome("x", 0.0, 0.0).passed
    assert math.isnan(check.relative(np.array([np.nan]), np.array([1.0])))


def test_points_are_what_the_issue_of_a_baseline_needs() -> None:
    every = points.points()
    assert len({p.key for p in every}) == len(every)
    assert {p.m for p in every if p.kernel == "gemm"} == set(points.BATCHES)
    assert (14336, 4096) in points.shapes()
    assert (12288, 49152) in points.shapes()
    assert {p.n for p in every if p.kernel == "attention"} == set(points.CONTEXTS)
    energy = points.energy_points()
    assert len(energy) <= 40
    assert {p.key for p in energy} <= {p.key for p in every}


def test_bf16_is_rounded_to_nearest_even() -> None:
    """8 bits of significand: 1 + 2^-8 lies halfway and goes to 1, 1 + 3 2^-8 to 1 + 2^-6."""
    x = np.array([1, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -1.5, 1e-30, 0], np.float32)
    rounded = check.to_brain(x)
    assert rounded[:4].tolist() == [1, 1, 1 + 2.0**-6, -1.5]
    assert rounded[5] == 0
    assert rounded[4] == pytest.approx(1e-30, rel=2.0**-8)
    assert np.array_equal(check.from_brain(check.brain_bits(rounded)), rounded)


def test_lists_and_chains_move_all_their_products() -> None:
    one, listed = points.linear("w2", 1, 4096, 14336), points.products("gemv_list", "w2", 4096, 14336)
    assert (listed.read, listed.written) == (16 * one.read, 16 * one.written)
    assert listed.read > 64e6  # what the bandwidth of a graph of one token is held to
    assert listed.key != points.products("gemv_chain", "w2", 4096, 14336).key


def test_generated_instructions_name_every_accumulator() -> None:
    text = wgmma_source.generate()
    assert text.count("wgmma.mma_async.sync.aligned.") == 3 * len(wgmma_source.COLUMNS)  # FP16, BF16, INT8
    assert text.count("wgmma_bf16(") == text.count(".f32.bf16.bf16 ") == len(wgmma_source.COLUMNS)
    wide = next(line for line in text.splitlines() if "m64n256k16.f32" in line)
    assert "%127}" in wide
    assert "{%128,%129,%130,%131}" in wide


def test_without_a_compiler_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PATH", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.setattr(build.sys, "path", [str(tmp_path)])
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    with pytest.raises(UserError, match="no nvcc on PATH") as caught:
        build.find_nvcc()
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--nvcc nowhere: no such program"):
        build.find_nvcc("nowhere")


def test_without_a_library_one_line_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(build.VARIABLE, str(tmp_path / "none.so"))
    with pytest.raises(UserError, match=r"LUTSCAPE_GPU_LIBRARY=.*none.so: no such file"):
        build.library()
    monkeypatch.delenv(build.VARIABLE)
    monkeypatch.setattr(build, "cached", lambda: tmp_path / "absent.so")
    with pytest.raises(UserError, match="the kernels are not built: lutscape gpu build"):
        build.library()
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no library")
    with pytest.raises(UserError, match=r"broken.so: cannot be loaded"):
        Gpu(broken)


def test_the_library_is_found_by_its_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    before = build.digest()
    monkeypatch.setattr(wgmma_source, "COLUMNS", (32,))
    assert build.digest() != before
