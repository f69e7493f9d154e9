"""Minutes rather than seconds: run by ``make test-long``, results in reports/test-long.txt."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

pytestmark = pytest.mark.long


def _module(name: str) -> object:
    path = Path(__file__).parent / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_array_cycles_equal_the_scalar_twin_on_many_designs() -> None:
    short = _module("sim/test_array_timing.py").test_linear_cycles_equal_the_scalar_twin  # type: ignore[attr-defined]
    arguments = short.hypothesis._given_kwargs
    many = settings(max_examples=5000, deadline=None, suppress_health_check=list(HealthCheck))
    many(given(**arguments)(short.hypothesis.inner_test))()


def test_quickstart_killed_and_resumed_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    """The real sweep on real weights, killed three times, against one run with another number of workers."""
    command = [sys.executable, "-m", "lutscape", "sweep", "quickstart"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, "-o", str(whole), "--workers", "2"], check=True, capture_output=True)
    for attempt in range(3):
        process = subprocess.Popen(
            [*command, "-o", str(killed), "--workers", "1", *(["--resume"] if attempt else [])],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        journal, deadline = killed / "study.journal", time.monotonic() + 120
        target = 200_000 * (attempt + 1)
        while time.monotonic() < deadline and process.poll() is None:
            if journal.exists() and journal.stat().st_size > target:
                break
            time.sleep(0.01)
        assert process.poll() is None, "the sweep ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "-o", str(killed), "--workers", "1", "--resume"], check=True, capture_output=True)
    pd.testing.assert_frame_equal(pd.read_parquet(whole / "trials.parquet"), pd.read_parquet(killed / "trials.parquet"))
