"""A small stored workload, and sweep files around it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lutscape.models import shape
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model

PARAMETERS: dict[str, Any] = {
    "array.datapath": {"categorical": ["lut", "mac"]},
    "array.n": {"log2": [16, 256]},
    "array.k": {"integer": [2, 6], "step": 2},
    "buffers.weight_kib": {"log2": [1, 512]},
    "dram.bandwidth_gb_s": {"log": [64, 1024]},
    "clock_mhz": {"real": [500, 1200]},
}


@pytest.fixture(scope="session")
def trace() -> Trace:
    """SmolLM2's shapes, 16 prompt tokens and 2 decode steps."""
    formats = Formats(weights="int4-g64", activations="int8", kv="int8")
    return trace_model(shape.load("smollm2-135m"), 16, 2, formats=formats).trace


@pytest.fixture(scope="session")
def trace_path(trace: Trace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workload") / "t.parquet"
    trace.save(path)
    return path


@pytest.fixture
def write_sweep(tmp_path: Path, trace_path: Path) -> Callable[..., Path]:
    """Return a function that writes a sweep file with some keys changed (None removes one)."""

    def write(**changes: Any) -> Path:
        data: dict[str, Any] = {
            "kind": "sweep",
            "name": "small",
            "workload": {"trace": str(trace_path)},
            "hardware": "lut-tensor-core",
            "parameters": PARAMETERS,
            "constraints": ["area_mm2 <= 4"],
            "objectives": ["latency_s", "energy_j", "area_mm2"],
            "baselines": ["mac-array", "a100-int8"],
            "sampler": {"name": "nsga2", "population": 8, "seed": 3},
            "trials": 28,
        }
        data = {k: v for k, v in {**data, **changes}.items() if v is not None}
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write
