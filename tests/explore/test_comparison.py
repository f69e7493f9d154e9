"""Comparisons: every machine on every workload, what cannot run says why, and a choice from the directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lutscape.explore import comparison, comparison_file, session
from lutscape.hw import spec as hardware
from lutscape.hw.errors import UserError
from lutscape.hw.yaml_file import configs_dir
from lutscape.models.trace import Trace
from lutscape.sim.simulate import simulate

ARRAY = {"array.n": {"log2": [16, 64]}, "array.count": {"log2": [4, 16]}}


@pytest.fixture
def write(tmp_path: Path, trace_path: Path) -> Callable[..., Path]:
    """Return a function that writes a comparison file with some keys changed."""

    def made(**changes: Any) -> Path:
        data: dict[str, Any] = {
            "kind": "comparison",
            "name": "small",
            "workloads": {"chat": {"trace": str(trace_path)}},
            "machines": {
                "tensor-cores": {"hardware": "a100-int8"},
                "lookup": {"hardware": "lut-tensor-core", "set": {"technology": "45nm"}, "parameters": ARRAY},
                "rom": {"hardware": "roma"},
            },
            "constraints": ["area_mm2 <= 30"],
            "objectives": ["latency_s", "energy_j", "area_mm2"],
            "sampler": {"name": "grid"},
            "trials": 16,
        }
        data |= changes
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return made


@pytest.fixture
def ran(write: Callable[..., Path], tmp_path: Path) -> Path:
    comparison.run(comparison_file.load(write()), tmp_path / "out", lambda line: None, workers=1)
    return tmp_path / "out"


def rows(directory: Path) -> dict[str, Any]:
    document = json.loads((directory / "comparison.json").read_text())
    return {r["machine"]: r for r in document["workloads"]["chat"]["rows"]}


def test_every_machine_has_a_result_or_a_reason(ran: Path, trace: Trace) -> None:
    found = rows(ran)
    assert list(found) == ["tensor-cores", "lookup", "rom"]
    _, ppa = simulate(hardware.load("a100-int8"), trace)
    metrics = {n: m["value"] for n, m in found["tensor-cores"]["metrics"].items()}
    assert metrics == {n: q.value for n, q in ppa.metrics.items()}
    assert "int4-g64 weights: a scale for 64 of them" in found["rom"]["refused"]  # ROMA has one for 128
    assert found["lookup"]["node"] == "45nm"
    assert set(found["lookup"]["parameters"]) == set(ARRAY)
    page = (ran / "index.html").read_text()
    assert "a scale for 64 of them" in page
    assert "one model, 3 machines" in page


def test_a_swept_machine_is_its_own_sweep(ran: Path) -> None:
    plan, frame, _ = session.load_directory(ran / "chat" / "lookup")
    assert plan.template.node.name == "45nm"
    chosen = frame[frame["is_chosen"]].iloc[0]
    row = rows(ran)["lookup"]
    assert row["trial"] == chosen["number"]
    assert row["metrics"]["energy_j"]["value"] == chosen["energy_j"]


def test_areas_by_one_rule() -> None:
    spec = hardware.load("a100-int8")
    from lutscape.models import shape
    from lutscape.models.recorder import Formats
    from lutscape.models.tracing import trace_model

    made = trace_model(shape.load("smollm2-135m"), 4, 1, formats=Formats(weights="int8", activations="int8")).trace
    _, ppa = simulate(spec, made)
    found = comparison.areas(spec, ppa)
    assert found["arithmetic"][0] == pytest.approx(108 * 0.312)
    kib = 40 * 1024 + 108 * (164 + 256)
    assert found["memory"][0] == pytest.approx(kib * 8192 * 0.183e-6)  # 28 nm: 0.183 um2 per bit
    lookup = hardware.load("lut-tensor-core")
    _, ppa = simulate(lookup, made)
    parts = comparison.areas(lookup, ppa)
    assert sum(v for v, _, _ in parts.values()) == pytest.approx(ppa.metrics["area_mm2"].value)


def test_resume_keeps_what_is_done(write: Callable[..., Path], ran: Path) -> None:
    before = (ran / "chat" / "lookup" / "trials.parquet").stat().st_mtime_ns
    loaded = comparison_file.load(write())
    with pytest.raises(UserError, match="exists and is not empty; go on there with --resume"):
        comparison.run(loaded, ran, lambda line: None)
    comparison.run(loaded, ran, lambda line: None, resume=True)
    assert (ran / "chat" / "lookup" / "trials.parquet").stat().st_mtime_ns == before
    other = comparison_file.load(write(trials=17))
    with pytest.raises(UserError, match="is not what was run there; give another -o"):
        comparison.run(other, ran, lambda line: None, resume=True)


def test_choose_from_a_comparison(ran: Path, tmp_path: Path, lutscape: Callable[..., Any]) -> None:
    assert comparison.pick(ran) == ran / "chat" / "lookup"
    with pytest.raises(UserError, match=r"--machine rom: roma: .* weights: a scale for 64"):
        comparison.pick(ran, machine="rom")
    with pytest.raises(UserError, match="it runs as it is, without a sweep to choose from; allowed: lookup"):
        comparison.pick(ran, machine="tensor-cores")
    with pytest.raises(UserError, match=r"unknown workload 'chad' \(did you mean 'chat'\?\)"):
        comparison.pick(ran, work="chad")
    done = lutscape("choose", ran, "--no-rtl", "-o", tmp_path / "mine")
    assert done.code == 0, done.err
    assert (tmp_path / "mine" / "spec.yaml").is_file()
    document = json.loads((ran / "comparison.json").read_text())
    (ran / "comparison.json").write_text(json.dumps({**document, "schema_version": 9}))
    with pytest.raises(UserError, match="schema version 9, this lutscape reads 1; run the comparison again"):
        comparison.pick(ran)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machines": {"x": {"hardware": "a100-imt8"}}}, "machines.x.hardware: .*did you mean 'a100-int8'"),
        ({"machines": {"x": {"hardware": "roma", "set": {"clock": 1}}}},
         "machines.x.set: no parameter 'clock' in roma"),
        ({"machines": {"x": {"hardware": "roma", "parameters": {"matrix_unit": {"log2": [1, 4]}}}}},
         "unknown parameter of roma spec 'roma' 'matrix_unit' .did you mean 'matrix_units'"),
        ({"constraints": ["area <= 3"]}, r"constraints\[0\]: unknown metric 'area'"),
        ({"objectives": ["latency"]}, r"objectives\[0\]: unknown objective 'latency' \(did you mean 'latency_s'\?\)"),
        ({"workloads": {"p": {"model": "llama-3-8b", "decode_tokens": 0}}, "objectives": ["tokens_per_s"]},
         "workloads.p: tokens_per_s needs decode steps, and decode_tokens is 0"),
        ({"machine": {}}, r"unknown key 'machine' \(did you mean 'machines'\?\)"),
    ],
)  # fmt: skip
def test_bad_files_end_in_one_line(write: Callable[..., Path], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        comparison_file.load(write(**changes))


@pytest.mark.parametrize("path", sorted((configs_dir() / "sweeps").glob("*machines*.yaml")), ids=lambda p: p.stem)
def test_packaged_comparisons_load(path: Path) -> None:
    from lutscape.explore import accuracy

    loaded = comparison_file.load(path)
    for entry in loaded.file.machines.values():
        if entry.accuracy:
            assert accuracy.entry("smollm2-135m", entry.accuracy).kl.value >= 0
