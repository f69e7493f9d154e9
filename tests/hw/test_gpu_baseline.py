"""The nearest measured point: exact points come back as measured, others scaled, with the size of the error known."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.gpu import baseline, records
from lutscape.hw.provenance import Grade


def test_a_measured_point_is_returned_as_measured() -> None:
    points = records.load(baseline.DEVICE).points
    row = points[(points["kernel"] == "gemm") & (points["form"] == "w4") & (points["m"] == 1) & (points["n"] == 14336)]
    found = baseline.nearest("linear", 1, 14336, 4096, "w4")
    assert found.seconds == pytest.approx(float(row["median_us"].iloc[0]) * 1e-6)
    assert (found.grade, found.joules_grade) == (Grade.MEASURED, Grade.MEASURED)
    assert found.shape == (1, 14336, 4096)
    assert found.source.startswith("measured: NVIDIA H100")
    loops = records.load(baseline.DEVICE).energy
    loop = loops[(loops["kernel"] == "gemm") & (loops["form"] == "w4") & (loops["m"] == 1)].iloc[0]
    assert found.joules == pytest.approx(loop["joules"] / loop["operators"], rel=0.15)  # by power: launches apart


def test_every_dense_point_is_its_own_nearest() -> None:
    points = records.load(baseline.DEVICE).points
    kinds = {(kernel, form): kind for kind, forms in baseline.KINDS.items() for form, kernel in forms.items()}
    for row in points[points["listed"] == 0].iloc[::37].itertuples():
        if (row.kernel, row.form) not in kinds:
            continue
        kind = kinds[row.kernel, row.form]
        more = {"heads": row.heads, "kv_heads": row.kv_heads} if kind == "attention" else {}
        found = baseline.nearest(kind, row.m, max(row.n, 1), row.k, row.form, **more)
        assert found.grade == Grade.MEASURED
        assert found.seconds == pytest.approx(row.median_us * 1e-6)


def test_another_shape_is_scaled_by_what_binds_and_graded_derived() -> None:
    half, whole = baseline.nearest("linear", 1, 7168, 4096, "w4"), baseline.nearest("linear", 1, 11008, 4096, "w4")
    assert half.grade == Grade.DERIVED
    assert "scaled" in half.source
    assert half.joules_grade == Grade.DERIVED
    assert half.shape[2] == 4096
    assert half.seconds == pytest.approx(whole.seconds * 7168 / 11008, rel=0.02)  # bytes of weights
    wide = baseline.nearest("linear", 6000, 14336, 4096, "fp16")
    assert wide.seconds == pytest.approx(baseline.nearest("linear", 4096, 14336, 4096, "fp16").seconds * 6000 / 4096)
    long = baseline.nearest("attention", 8, 40000, 128, "kv4", heads=32, kv_heads=8)
    near = baseline.nearest("attention", 8, 32768, 128, "kv4", heads=32, kv_heads=8)
    assert long.seconds == pytest.approx(near.seconds * 40000 / 32768)


def test_a_small_shape_takes_no_less_than_the_shortest_point() -> None:
    short = baseline.nearest("attention", 1, 1024, 128, "kv16", heads=32, kv_heads=8).seconds
    tiny = baseline.nearest("attention", 1, 16, 128, "kv16", heads=32, kv_heads=8)
    points = records.load(baseline.DEVICE).points
    dense = points[(points["kernel"] == "attention") & (points["form"] == "kv16") & (points["listed"] == 0)]
    assert tiny.seconds == pytest.approx(dense["median_us"].min() * 1e-6)
    assert tiny.seconds <= short
    assert tiny.grade == Grade.DERIVED


@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 8192), n=st.integers(64, 60000), k=st.integers(64, 60000), form=st.sampled_from(["w4", "fp8"]))
def test_time_is_positive_and_below_no_peak(m: int, n: int, k: int, form: str) -> None:
    found = baseline.nearest("linear", m, n, k, form)
    assert found.seconds > 0
    assert found.joules is not None
    assert found.joules > 0
    assert 2.0 * m * n * k / found.seconds < 1979e12  # FP8 peak, H100 datasheet


def test_the_error_of_scaling_is_known() -> None:
    """Half of the points of one token are too small to be bound by memory; 4,096 tokens or long contexts scale well."""
    assert baseline.leave_one_out("linear", "fp16") < 40
    assert baseline.leave_one_out("attention", "kv16") < 30


def test_bad_arguments_are_named_in_one_line() -> None:
    with pytest.raises(
        UserError, match=r"baseline: unknown kind 'linaer' \(did you mean 'linear'\?\); of: linear, att"
    ):
        baseline.nearest("linaer", 1, 1, 1, "w4")
    with pytest.raises(UserError, match=r"baseline: linear was not measured with format 'w3'.*; of: w4, w2, w1, t2"):
        baseline.nearest("linear", 1, 1, 1, "w3")
    with pytest.raises(UserError, match="baseline: n = 0: must be at least 1"):
        baseline.nearest("linear", 1, 0, 1, "w4")
    with pytest.raises(UserError, match="baseline: heads = 0: must be at least 1"):
        baseline.nearest("attention", 1, 1024, 128, "kv16")
    with pytest.raises(UserError, match="no measurement 'a100'"):
        baseline.nearest("linear", 1, 1, 1, "w4", device="a100")
