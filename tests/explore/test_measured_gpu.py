"""A trace on a measured GPU: what was measured is taken, the rest comes from the fitted model and says so."""

from __future__ import annotations

import pytest

from lutscape.explore import measured_gpu
from lutscape.hw.errors import UserError
from lutscape.hw.gpu import records
from lutscape.models import shape
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model

DEVICE = "h100-sxm5-80gb"


def trace(model: str = "llama-3-8b", prompt: int = 4, decode: int = 2, batch: int = 1) -> Trace:
    formats = Formats(weights="int4-g128", activations="int8", kv="int8")
    return trace_model(shape.load(model), prompt, decode, batch, formats=formats).trace


def test_products_that_were_measured_are_taken_as_measured() -> None:
    rows = trace().distinct()
    linear = rows[(rows["phase"] == "decode") & (rows["kind"] == "linear")]
    wanted = list(measured_gpu._wanted(linear))
    times, exact = measured_gpu._times(records.load(DEVICE), [p for p, _ in wanted])
    assert exact.all()
    points = records.load(DEVICE).points
    known = points[(points["kernel"] == "gemm") & (points["form"] == "w4") & (points["m"] == 1)]
    by_shape = {(r.n, r.k): r.median_us for r in known.itertuples()}
    assert [t for (p, _), t in zip(wanted, times, strict=True) if p.kernel == "gemm"] == [
        by_shape[p.n, p.k] for p, _ in wanted if p.kernel == "gemm"
    ]


def test_a_token_takes_the_sum_of_its_kernels_and_at_least_its_bytes() -> None:
    found = measured_gpu.of_trace(DEVICE, trace())
    seconds = found["metrics"]["time_per_token_s"]["value"]
    weights = 6.98e9 * 4.125 / 8 + 128256 * 4096 * 2  # bytes: blocks at 4 bits in groups of 128, head in FP16
    assert weights / 3.1e12 < seconds < 2 * weights / 3.1e12
    assert found["metrics"]["time_per_token_s"]["grade"] == "derived"
    assert "of the time from points that were measured" in found["metrics"]["time_per_token_s"]["source"]
    watts = found["metrics"]["energy_per_token_j"]["value"] / seconds
    assert 118 < watts < 700  # between its measured idle power and its limit


def test_a_batch_shares_the_weights() -> None:
    one = measured_gpu.of_trace(DEVICE, trace())["metrics"]["time_per_token_s"]["value"]
    many = measured_gpu.of_trace(DEVICE, trace(batch=16))["metrics"]["time_per_token_s"]["value"]
    assert one < many < 4 * one  # of a step for all 16


def test_what_was_not_measured_is_named() -> None:
    assert measured_gpu.of_trace(DEVICE, trace(decode=0))["reason"] == "only decode was measured"
    found = measured_gpu.of_trace(DEVICE, trace())
    assert found["missing"] == {"time_to_first_token_s": "attention of prompts was not measured"}
    with pytest.raises(UserError, match="h100-sxm5-80gb"):
        measured_gpu.of_trace("h100", trace())
