"""The timing and energy models of the measured kernels: structure, fitting, and the shipped measurement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.gpu import records
from lutscape.sim.gpu import energy_model, kernel_model, points

NAME = "h100-sxm5-80gb"


@pytest.fixture(scope="module")
def shipped() -> records.Measurement:
    return records.load(NAME)


def test_shipped_measurement_is_a_full_one(shipped: records.Measurement) -> None:
    keys = {p.key for p in points.points()}
    columns = ["kernel", "form", "m", "n", "k", "heads", "kv_heads", "listed"]
    measured = set(shipped.points[columns].itertuples(index=False, name=None))
    refused = len(shipped.device["refused"])
    assert len(keys - measured) == refused
    assert len(measured) == len(shipped.points)
    assert (shipped.points["repetitions"] >= 9).all()
    assert (shipped.points["min_us"] <= shipped.points["median_us"]).all()
    assert len(shipped.energy) <= 40
    assert shipped.device["checks_passed"] > 500


def test_bytes_and_operations_of_the_shipped_points_are_those_of_the_definitions(shipped: records.Measurement) -> None:
    by_key = {p.key: p for p in points.points()}
    for row in shipped.points.itertuples():
        p = by_key[row.kernel, row.form, row.m, row.n, row.k, row.heads, row.kv_heads, row.listed]
        assert (row.read_bytes, row.written_bytes, row.operations) == (p.read, p.written, p.operations)


def test_no_point_beats_memory_or_matrix_rate(shipped: records.Measurement) -> None:
    p, peak = shipped.points, 3352.0  # GB/s, HBM3 of the H100 SXM5
    flushed = p[~p["kernel"].isin(["rms_norm", "rms_norm_tables", "precompute", "silu_mul", "rope", "softmax"])]
    assert (flushed["read_bytes"] / flushed["median_us"] * 1e-3 < peak).all()
    for form, tera in (("fp16", 989.4), ("bf16", 989.4), ("fp8", 1978.9), ("int8", 1978.9)):  # H100 datasheet, dense
        vendor = p[(p["kernel"] == "vendor") & (p["form"] == form)]
        assert (vendor["operations"] / vendor["median_us"] * 1e-6 < tera).all()


def test_halves_split_by_shape(shipped: records.Measurement) -> None:
    half = kernel_model.fitting(shipped.points)
    products = shipped.points["kernel"].isin(["gemm", "vendor", "lookup", "gemm_i8"]).to_numpy()
    shapes = list(zip(shipped.points["n"][products], shipped.points["k"][products], strict=True))
    for shape in set(shapes):
        same = [bool(h) for h, s in zip(half[products], shapes, strict=True) if s == shape]
        assert len(set(same)) == 1
    assert 0.4 < half.mean() < 0.6


def test_errors_in_the_model_file_are_those_of_its_constants(shipped: records.Measurement) -> None:
    fitted = kernel_model.predict(shipped.points, kernel_model.load(shipped.folder))
    assert len(fitted.points) == (~shipped.points["kernel"].isin(kernel_model.UNMODELLED)).sum()
    stored = json.loads((shipped.folder / "model.json").read_text())["mape_percent"]
    for name, families in kernel_model.ERRORS.items():
        assert fitted.error(families) == pytest.approx(stored[name]["scored"], abs=0.05)
        assert fitted.error(families, True) == pytest.approx(stored[name]["fitted"], abs=0.05)
    assert fitted.error("attention") <= 10
    assert fitted.error("other") <= 10


def test_fitting_again_finds_no_other_constants(shipped: records.Measurement) -> None:
    chosen = shipped.points[(shipped.points["kernel"] == "silu_mul")]
    half = kernel_model.fitting(shipped.points)[chosen.index]
    constants = kernel_model.fit(kernel_model.FAMILIES["other"], chosen[half])
    stored = kernel_model.load(shipped.folder)["other", "silu_mul", "fp16"]
    assert constants == pytest.approx(stored, rel=1e-3)


def test_a_fit_recovers_the_constants_that_made_the_times() -> None:
    frame = pd.DataFrame(
        [
            {"kernel": "silu_mul", "form": "fp16", "m": m, "k": k, "read_bytes": 4 * m * k, "written_bytes": 2 * m * k}
            for m in (1, 16, 64, 256, 1024, 4096)
            for k in (4096, 8192)
        ]
    )
    family = kernel_model.FAMILIES["other"]
    truth = {"t0": 1.5, "c": 0.3, "hide": 4.0, "w": 2800.0, "p": 2.0}
    frame["median_us"] = family.formula(frame, truth)
    found = kernel_model.fit(family, frame)
    again = family.formula(frame, found)
    assert np.abs(again / frame["median_us"] - 1).mean() < 0.01


def test_more_work_takes_no_less_time(shipped: records.Measurement) -> None:
    constants = kernel_model.load(shipped.folder)
    for (family, kernel, form), c in constants.items():
        if family not in ("gemm", "vendor") or kernel == "gemm_i8":
            continue
        same = {"kernel": kernel, "form": form, "n": 8192, "k": 8192, "read_bytes": 8192 * 8192, "written_bytes": 0}
        rows = [{**same, "m": m} for m in (256, 512, 1024, 4096)]
        times = kernel_model.FAMILIES[family].formula(pd.DataFrame(rows), c)
        assert (np.diff(times) > 0).all()


def test_energy_model_recovers_constants() -> None:
    rng = np.random.default_rng(0)
    kinds = [("vendor", "fp16"), ("gemm", "w4"), ("attention", "kv16")] * 6
    pj = {"vendor": 0.3, "gemm": 0.5, "attention": 2.0}
    rows = []
    for kernel, form in kinds:
        read, operations, seconds, count = rng.integers(10**6, 10**8), rng.integers(10**8, 10**11), 1.5, 1000
        joules = (100 + 200) * seconds + count * (20 * read + pj[kernel] * operations) * 1e-12
        rows.append({"kernel": kernel, "form": form, "read_bytes": read, "written_bytes": 0, "operations": operations,
                     "operators": count, "seconds": seconds, "joules": joules})  # fmt: skip
    model = energy_model.fit(pd.DataFrame(rows), 100.0)
    assert model.active_w == pytest.approx(200, rel=1e-3)
    assert model.pj_per_byte == pytest.approx(20, rel=1e-2)
    assert model.pj_per_operation["attention"] == pytest.approx(2.0, rel=1e-2)
    assert model.error < 0.1


def test_bad_measurements_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no measurement 'h100-sxm5' \(did you mean 'h100-sxm5-80gb'\?\)"):
        records.load("h100-sxm5")
    (tmp_path / "device.json").write_text('{"schema_version": 7}')
    with pytest.raises(UserError, match="schema_version 7; this version reads 1"):
        records.load(tmp_path)
    (tmp_path / "device.json").write_text('{"schema_version": 1}')
    (tmp_path / "points.csv").write_text("kernel,form\n")
    with pytest.raises(UserError, match=r"points\.csv: columns missing: m, n, k"):
        records.load(tmp_path)
    with pytest.raises(UserError, match=r"model\.json: No such file"):
        kernel_model.load(tmp_path)
