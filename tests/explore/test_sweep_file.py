"""Sweep files: what is read, and the exact words of every refusal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import comparison_file, series, sweep_file
from lutscape.hw.errors import UserError
from lutscape.hw.ppa import METRICS
from lutscape.hw.yaml_file import configs_dir

Write = Callable[..., Path]
LUT = "lut-tensor-core spec 'lut-tensor-core'"


def refusal(path: Path, **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        sweep_file.load(path, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(path), "F")


def test_reads_a_sweep(write_sweep: Write) -> None:
    plan = sweep_file.load(write_sweep())
    assert plan.trials == 28
    assert list(plan.baselines) == ["mac-array", "a100-int8"]
    assert plan.directions == ["minimize"] * 3
    assert [str(c) for c in plan.constraints] == ["area_mm2 <= 4"]


@pytest.mark.parametrize("path", sorted((configs_dir() / "sweeps").glob("*.yaml")), ids=lambda p: p.stem)
def test_packaged_sweeps_parse(path: Path) -> None:
    if series.is_series(path):
        assert series.load(path.stem).file.name == path.stem
    elif comparison_file.is_comparison(path):
        assert comparison_file.load(path.stem).file.name == path.stem
    else:
        assert sweep_file.load(path.stem).file.name == path.stem


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"parameters": {"array.nn": {"log2": [16, 64]}}},
            f"F:7: parameters.array.nn: no parameter 'array.nn' in {LUT} (did you mean 'array.n'?)",
        ),
        (
            {"parameters": {"array.k": {"integer": [6, 2]}}},
            "F:7: parameters.array.k: empty range: low 6 is above high 2",
        ),
        (
            {"parameters": {"array.k": {"categorical": []}}},
            "F:7: parameters.array.k: empty range: the list has no values",
        ),
        (
            {"parameters": {"array.n": {"log2": [16, 100]}}},
            "F:7: parameters.array.n: 100 is not a power of two; log2 goes from one power of two to another",
        ),
        (
            {"parameters": {"dram.bandwidth_gb_s": {"log": [0, 10]}}},
            "F:7: parameters.dram.bandwidth_gb_s: a log range must begin above 0, not at 0",
        ),
        (
            {"parameters": {"array.k": {"integer": [2, 9]}}},
            "F:7: parameters.array.k: array.k = 9: must be less than or equal to 8",
        ),
        (
            {"parameters": {"array.k": {"integer": [1, 4]}}},
            "F:7: parameters.array.k: array.k = 1: must be greater than or equal to 2",
        ),
        (
            {"parameters": {"array.datapath": {"categorical": ["lut", "mak"]}}},
            "F:7: parameters.array.datapath: array.datapath = 'mak': must be 'lut', 'lut-full', 'unpu', 'add' or 'mac' "
            "(did you mean 'mac'?)",
        ),
        (
            {"parameters": {"array.n": {"log2": [16, 64], "log": [1, 2]}}},
            "F:7: parameters.array.n: give exactly one of categorical, integer, log2, log, real (given: log2, log)",
        ),
        (
            {"parameters": {"array.n": {"logg2": [16, 64]}}},
            "F:8: unknown key 'parameters.array.n.logg2' (did you mean 'log2'?); "
            "allowed here: categorical, integer, log, log2, real, step",
        ),
        (
            {"parameters": {"array.n": {"categorical": [16], "step": 2}}},
            "F:7: parameters.array.n: step goes with integer, not with categorical",
        ),
        (
            {"parameters": {"kind": {"categorical": ["gpu"]}}},
            "F:7: parameters.kind: 'kind' cannot be swept; it says what the spec is",
        ),
        (
            {"objectives": ["latency"]},
            "objectives[0]: unknown objective 'latency' (did you mean 'latency_s'?); allowed: "
            + ", ".join(sorted(METRICS)),
        ),
        ({"objectives": ["latency_s", "latency_s"]}, "objectives[1]: 'latency_s' is listed twice"),
        (
            {"constraints": ["area <= 4"]},
            "constraints[0]: unknown metric 'area' (did you mean 'area_mm2'?); allowed: " + ", ".join(sorted(METRICS)),
        ),
        (
            {"constraints": ["area_mm2 <= __import__('os')"]},
            "constraints[0]: \"area_mm2 <= __import__('os')\" is not a constraint; write METRIC OPERATOR NUMBER, "
            "like 'area_mm2 <= 25' (operators: <= >= < >)",
        ),
        (
            {"trials": 7},
            "trials = 7: fewer than one generation; allowed: at least sampler.population = 8",
        ),
        (
            {"hardware": "lut-tensor-cor"},
            "F:5: hardware: hardware file 'lut-tensor-cor' not found (did you mean 'lut-tensor-core'?)",
        ),
        ({"baselines": ["mac-array", "mac-array"]}, "baselines[1]: 'mac-array' is listed twice"),
        ({"sampler": {"name": "nsga4"}}, "sampler.name = 'nsga4': must be 'nsga2', 'nsga3', 'tpe', 'random', 'qmc'"),
        ({"workload": {"model": "m", "trace": "t"}}, "F:3: workload: give either trace (a file) or model"),
        (
            {"workload": {"trace": "t", "batch": 2}},
            "F:3: workload: a stored trace fixes batch; remove from the file",
        ),
        (
            {"workload": {"model": "m", "execute": False, "requantise": True}},
            "F:3: workload: requantise needs execute: true (shapes alone have no weights)",
        ),
        (
            {"workload": {"model": "m", "decode_tokens": 0}, "objectives": ["tokens_per_s"]},
            "objectives[0]: tokens_per_s needs decode steps, and the workload has decode_tokens = 0",
        ),
        (
            {"sampler": {"name": "grid"}},
            "parameters.dram.bandwidth_gb_s: a log range has no grid; allowed with sampler grid: "
            "categorical, integer, log2",
        ),
        (
            {"sampler": {"name": "grid"}, "parameters": {"array.n": {"log2": [1, 64]}}, "trials": 3},
            "trials = 3: the grid has 7 designs; raise trials, coarsen a range, or take sampler random",
        ),
        ({"name": "a/b"}, "F:2: name = 'a/b': string should match pattern"),
        ({"trails": 9}, "unknown key 'trails' (did you mean 'trials'?)"),
    ],
)
def test_refusals(write_sweep: Write, changes: dict[str, Any], message: str) -> None:
    found = refusal(write_sweep(**changes))
    assert found.startswith("F:")  # file and line
    assert found.split(":", 2)[1].isdigit()
    assert message.removeprefix("F:") in found


def test_refusals_of_options(write_sweep: Write) -> None:
    path = write_sweep()
    assert refusal(path, trials=0) == "--trials 0: must be at least 1"
    assert refusal(path, trials=4).startswith("--trials = 4: fewer than one generation")
    assert refusal(path, seed=-1) == "--seed -1: must be 0 … 2³²-1"


def test_ends_that_only_fit_other_values_are_left_to_the_sweep(write_sweep: Write) -> None:
    """m = 256, n = 1024 break m*n*k <= 65536 with the template's other values, yet fit smaller ones."""
    sweep_file.load(write_sweep(parameters={"array.m": {"log2": [1, 256]}, "array.n": {"log2": [1, 1024]}}))


def test_files_resolve_beside_the_sweep(write_sweep: Write, tmp_path: Path) -> None:
    template = (configs_dir() / "hardware" / "lut-tensor-core.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(template.replace("count: 16", "count: 5"))
    plan = sweep_file.load(write_sweep(hardware="mine.yaml"))
    assert dict(plan.template.leaves())["array.count"] == 5
