"""GPUs that were not measured: published times, and how the tile model of their specs is scored against them."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from lutscape.commands.gpu import gpu
from lutscape.hw import spec as specs
from lutscape.hw.gpu import published as points
from lutscape.hw.machines.gpu import GpuSpec
from lutscape.sim.gpu import published


def test_published_attention_reads_the_same_cache_at_every_batch_but_the_last() -> None:
    """256 x 256 = ... = 1 x 65536 tokens, 2 heads of 128, keys and values, FP16: 67.1 MB."""
    caches = [p.batch * p.context for p in points.POINTS if p.kind == "attention"]
    assert caches == [65536] * 9 + [131072]
    row = published.attention(points.POINTS[0]).distinct().iloc[0]
    assert row["kv_read_bytes"] == 65536 * 2 * 128 * 2 * 2
    assert row["macs"] == 2 * 65536 * 16 * 128


def test_no_model_time_beats_the_memory() -> None:
    for s in published.score():
        spec = specs.load(s.point.machine)
        assert isinstance(spec, GpuSpec)
        if s.point.kind == "attention":
            moved = 1024 * s.point.batch * s.point.context
        else:
            moved = {"llama-2-7b": 6.6e9, "llama-2-13b": 12.8e9}[s.point.model] * 4.5 / 8  # weights of the blocks
        assert s.model_us > moved / (spec.dram.bandwidth_gb_s * 1e3)
        assert s.model_us == pytest.approx(s.point.microseconds * (1 + s.error))


def test_errors_are_what_the_command_prints() -> None:
    scores = published.score()
    ran = CliRunner().invoke(gpu, ["published", "--json"])
    assert ran.exit_code == 0, ran.output
    data = json.loads(ran.output)
    assert len(data["points"]) == len(points.POINTS) == len(scores)
    for machine, error in data["mape_percent"].items():
        each = [abs(s.error) for s in scores if s.point.machine == machine]
        assert error == pytest.approx(100 * sum(each) / len(each))
    assert data["mape_percent"]["rtx-4090-fp16"] < 5
    assert data["mape_percent"]["a100-fp16"] < 20
    text = CliRunner().invoke(gpu, ["published"]).output
    assert "rtx-4090-fp16: mean absolute percentage error" in text
    assert "source: mlc-ai/llm-perf-bench" in text


def test_the_specs_peaks_are_those_of_their_data_sheets() -> None:
    ada = specs.load("rtx-4090-fp16")
    assert isinstance(ada, GpuSpec)
    assert ada.peak_tera_ops(16) == pytest.approx(165.2, rel=1e-3)  # Ada whitepaper, appendix A
