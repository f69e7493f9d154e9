"""Search by elimination: rules by hand, the order of stages, a sweep that runs it, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lutscape.explore import funnel, session, space
from lutscape.explore.space import Domain
from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import LutDlaSpec
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model

WORK = funnel.Work(np.array([512]), np.array([768]), np.array([768]), np.array([1]))
PARAMETERS = {
    "codebook.v": Domain(categorical=[2, 4, 8]),
    "codebook.metric": Domain(categorical=["l2", "chebyshev"]),
    "imm.lanes": Domain(categorical=[64, 128]),
}


@pytest.fixture(scope="module")
def bert() -> Trace:
    return trace_model("bert-base", 32, 0, 1).trace


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Accuracies of v = 2 and 4: L2 loses v / 2 points, Chebyshev three times as much."""
    cells = {}
    for v in (2, 4):
        for metric, factor in (("l2", 1), ("chebyshev", 3)):
            cells[f"{v}{metric}"] = {
                "kind": "mlp", "plan": {"v": v, "c": 16, "metric": metric, "keep": []}, "runs": [{}, {}],
                "summary": {"int8_loss": {"mean": factor * v / 2, "half_width_95": 0.1}},
            }  # fmt: skip
    path = tmp_path / "accuracy.json"
    path.write_text(json.dumps({"data": "test-set", "cells": cells}))
    return str(path)


def template(table: str) -> LutDlaSpec:
    data = specs.load("lut-dla").model_dump(mode="json")
    found = specs.parse({**data, "accuracy": {"table": table, "network": "mlp"}}, "test")
    assert isinstance(found, LutDlaSpec)
    return found


def machine(**changes: Any) -> LutDlaSpec:
    found = specs.override(specs.load("lut-dla"), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(found, LutDlaSpec)
    return found


def test_rules_by_hand() -> None:
    spec = machine()  # v = 4, c = 16, two modules of 128 lanes, tables of 8 bits
    assert funnel.operations(spec, WORK) == pytest.approx(192 * (16 * 12 + 768) / (2 * 768 * 768))
    assert funnel.table_bytes(spec, WORK) == 192 * 16 * 768
    banks, sums, inputs = 4 * 16 * 128, 2 * 256 * 128 * 4, (512 + 32) * 4
    assert funnel.on_chip_bytes(spec) == banks + sums + inputs + 1024 * (512 + 64)
    # lookups: 3 passes over the columns at one row a cycle; encoding: once, one chain that keeps up with the modules
    assert funnel.balance(spec, WORK) == pytest.approx(3)
    assert funnel.balance(machine(ccm__clock_mhz=100), WORK) == pytest.approx(1)
    assert funnel.balance(machine(ccm__clock_mhz=100, indices="recompute"), WORK) == pytest.approx(1 / 3)
    # a bank of 16 x 256 bytes at 25.6 x 0.9 GB/s takes 53 cycles of 300 MHz: hidden behind 256 rows, not behind 32
    assert funnel.exposed_swaps(spec, WORK) == 0
    assert funnel.exposed_swaps(spec, funnel.Work(np.array([32]), *(np.array([x]) for x in (768, 768, 1)))) == 1


def test_stages_follow_each_other(bert: Trace, table: str) -> None:
    rules = funnel.Rules(max_tables_mib=400, max_accuracy_loss_points=2, meets_clock=False)
    found = funnel.run(rules, template(table), PARAMETERS, bert)
    assert [s.name for s in found.stages] == ["operations", "tables", "accuracy"]
    assert [(s.entered, s.left) for s in found.stages] == [(12, 12), (12, 8), (8, 2)]
    # v = 2 has 648 MiB of tables; v = 8 was not measured; Chebyshev at v = 4 loses 6 points
    assert found.stages[1].example == "648 MiB of tables > 400"
    assert "loses 6 points > 2" in found.stages[2].example or "is not measured" in found.stages[2].example
    designs = [space.grid_point(PARAMETERS, i) for i in found.survivors]
    assert designs == [
        {"codebook.v": 4, "codebook.metric": "l2", "imm.lanes": 64},
        {"codebook.v": 4, "codebook.metric": "l2", "imm.lanes": 128},
    ]
    assert found.text() == "12 designs → operations 12 → tables 8 → accuracy 2"


def test_chains_keep_the_clock_of_their_elements(bert: Trace) -> None:
    parameters = {
        "codebook.metric": Domain(categorical=["l2", "l1"]),
        "ccm.clock_mhz": Domain(categorical=[300, 600]),
        "ccm.dpe_stages": Domain(categorical=[1, 2]),
    }
    found = funnel.run(funnel.Rules(max_operations=None), specs.load("lut-dla"), parameters, bert)
    left = [space.grid_point(parameters, i) for i in found.survivors]
    # at 28 nm an L2 element of 4 x INT8 reaches 435 MHz, L1 671; two stages are not calibrated
    assert [(d["codebook.metric"], d["ccm.clock_mhz"], d["ccm.dpe_stages"]) for d in left] == [
        ("l2", 300, 1), ("l1", 300, 1), ("l1", 600, 1),
    ]  # fmt: skip
    assert found.stages[0].example == "distance elements of 2 stages are not calibrated"


def test_fewer_trials_than_survivors_are_spread() -> None:
    found = funnel.Funnel(100, (), tuple(range(0, 100, 2)))
    assert found.chosen(100) == found.survivors
    assert found.chosen(3) == (0, 48, 98)


def sweep_file(tmp_path: Path, table: str, **changes: Any) -> Path:
    spec = specs.load("lut-dla").model_dump(mode="json")
    spec["accuracy"] = {"table": table, "network": "mlp"}
    (tmp_path / "machine.yaml").write_text(yaml.safe_dump(spec))
    data = {
        "kind": "sweep", "name": "test", "hardware": "machine.yaml",
        "workload": {"model": "bert-base", "prompt_tokens": 32, "decode_tokens": 0, "activations": "int8"},
        "parameters": {k: d.model_dump(exclude_none=True) for k, d in PARAMETERS.items()},
        "funnel": {"max_tables_mib": 400, "max_accuracy_loss_points": 10, "meets_clock": False},
        "objectives": ["latency_s", "area_mm2", "accuracy_loss_points"],
        "sampler": {"name": "funnel", "population": 2, "seed": 1}, "trials": 50, **changes,
    }  # fmt: skip
    path = tmp_path / "sweep.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}, sort_keys=False))
    return path


def test_a_sweep_simulates_the_survivors_alone(tmp_path: Path, table: str) -> None:
    done = session.sweep(sweep_file(tmp_path, table), tmp_path / "out", workers=1)
    assert len(done.trials) == 4  # v = 4, both metrics, both widths
    assert set(done.trials["codebook.v"]) == {4}
    losses = dict(zip(done.trials["codebook.metric"], done.trials["accuracy_loss_points"], strict=True))
    assert losses == {"l2": 2.0, "chebyshev": 6.0}
    page = (tmp_path / "out" / "index.html").read_text()
    assert "12 designs → operations 12 → tables 8 → accuracy 4" in page
    Path(table).unlink()  # a stored sweep needs no accuracy table to be shown again
    plan, frame, _ = session.load_directory(tmp_path / "out")
    assert plan.funnel == done.plan.funnel
    assert len(frame) == 4
    (tmp_path / "out" / "funnel.json").write_text("{}")
    with pytest.raises(UserError, match=r"funnel.json: cannot be read, or damaged: KeyError: 'stages'"):
        session.load_directory(tmp_path / "out")


def test_a_stopped_funnel_goes_on(tmp_path: Path, table: str) -> None:
    path = sweep_file(tmp_path, table)
    session.sweep(path, tmp_path / "out", trials=2, workers=1, render=False)
    done = session.sweep(path, tmp_path / "out", workers=1, resume=True, render=False)
    whole = session.sweep(path, tmp_path / "whole", workers=1, render=False)
    assert len(done.trials) == len(whole.trials) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"funnel": None}, "sampler funnel and section funnel go together: give both or none"),
        ({"sampler": {"name": "grid"}}, "sampler funnel and section funnel go together: give both or none"),
        (
            {"funnel": {"max_tables": 4, "meets_clock": True}},
            "unknown key 'funnel.max_tables' (did you mean 'max_tables_mib'?)",
        ),
        (
            {"parameters": {"dram.bandwidth_gb_s": {"log": [10, 50]}}},
            "parameters.dram.bandwidth_gb_s: a log range has no grid; allowed with sampler funnel: categorical, "
            "integer, "
            "log2",
        ),
        (
            {"hardware": "lut-dla", "objectives": ["latency_s"]},
            "funnel.max_accuracy_loss_points = 10: the hardware 'lut-dla' names no measured accuracy",
        ),
        (
            {"hardware": "lut-tensor-core", "parameters": {"array.n": {"log2": [16, 64]}}, "objectives": ["latency_s"]},
            "sampler funnel: hardware of kind lut-tensor-core; its rules are for kind lut-dla",
        ),
        (
            {"funnel": {"max_accuracy_loss_points": 0.1, "meets_clock": False}},
            "sampler funnel: no design of 12 passes rule 'accuracy', the first because: l2 v=2 c=16 loses 1 "
            "points > 0.1",
        ),
    ],
)
def test_refusals(
    tmp_path: Path, table: str, lutscape: Callable[..., Any], changes: dict[str, Any], message: str
) -> None:
    ran = lutscape("sweep", sweep_file(tmp_path, table, **changes), "-o", tmp_path / "out")
    assert ran.code == 2
    assert message in ran.err
    assert ran.err.count("\n") <= 2  # one line, and at most a warning before it
    assert not (tmp_path / "out" / "trials.parquet").exists()


def test_accuracy_that_is_not_there_is_not_assumed(tmp_path: Path, bert: Trace) -> None:
    with pytest.raises(UserError, match=r"none.json' not found; no accuracy is assumed: measure it with: python"):
        funnel.run(funnel.Rules(max_accuracy_loss_points=1), template(str(tmp_path / "none.json")), PARAMETERS, bert)
