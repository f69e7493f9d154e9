"""Whole sweeps: the same result for any workers, kill and resume; refusals of directories and inputs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from lutscape.explore import session, store
from lutscape.hw.errors import UserError
from lutscape.hw.yaml_file import configs_dir
from lutscape.models.trace import Trace

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]


def sweep(path: Path, directory: Path, **arguments: Any) -> pd.DataFrame:
    return session.sweep(path, directory, **{"render": False, "workers": 1, **arguments}).trials


def contents(directory: Path) -> tuple[bytes, bytes]:
    return (directory / "trials.parquet").read_bytes(), (directory / "trials.csv").read_bytes()


def test_table(write_sweep: Write, tmp_path: Path) -> None:
    frame = sweep(write_sweep(), tmp_path / "out")
    assert frame["number"].tolist() == list(range(28))
    assert frame["feasible"].sum() > 5
    assert (frame.loc[frame["feasible"], "area_mm2"] <= 4).all()
    assert not frame.loc[~frame["feasible"], "is_pareto"].any()
    assert frame["is_chosen"].sum() == 1
    assert frame.loc[frame["is_chosen"], "is_pareto"].all()
    again = store.load_trials(tmp_path / "out")
    pd.testing.assert_frame_equal(again, frame, check_dtype=False)
    assert pd.read_csv(tmp_path / "out" / "trials.csv")["latency_s"].tolist() == frame["latency_s"].tolist()


def test_stored_metrics_are_those_of_the_stored_parameters(write_sweep: Write, tmp_path: Path, trace: Trace) -> None:
    from lutscape.hw import spec
    from lutscape.sim.simulate import simulate

    frame = sweep(write_sweep(), tmp_path / "out")
    row = frame.iloc[17]
    keys = list(write_keys(tmp_path / "out"))
    design = {k: row[k].item() if hasattr(row[k], "item") else row[k] for k in keys}
    _, ppa = simulate(spec.override(spec.load("lut-tensor-core"), design), trace)
    assert {n: q.value for n, q in ppa.metrics.items()} == {n: row[n] for n in ppa.metrics}


def write_keys(directory: Path) -> dict[str, Any]:
    parameters: dict[str, Any] = yaml.safe_load((directory / "sweep.yaml").read_text())["parameters"]
    return parameters


def test_workers_do_not_change_the_result(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep()
    sweep(path, tmp_path / "one", workers=1)
    sweep(path, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_seed_does(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep()
    one, two = sweep(path, tmp_path / "one"), sweep(path, tmp_path / "two", seed=4)
    assert not one["latency_s"].equals(two["latency_s"])


def test_search_beats_random_search(write_sweep: Write, tmp_path: Path) -> None:
    """Selection works: with one objective, later generations are better than the first."""
    frame = sweep(write_sweep(objectives=["latency_s"], trials=80, constraints=None), tmp_path / "out")
    assert frame["latency_s"][40:].median() < 0.8 * frame["latency_s"][:8].median()


def test_constraints_steer_the_search(write_sweep: Write, tmp_path: Path) -> None:
    frame = sweep(write_sweep(objectives=["latency_s"], trials=80, constraints=["area_mm2 <= 1.2"]), tmp_path / "out")
    assert frame["feasible"][56:].mean() > frame["feasible"][:8].mean()
    assert frame["feasible"][56:].mean() > 0.6


@pytest.mark.parametrize("name", ["nsga3", "tpe", "random", "qmc"])
def test_other_samplers_resume_too(write_sweep: Write, tmp_path: Path, name: str) -> None:
    path = write_sweep(sampler={"name": name, "population": 8}, trials=20)
    sweep(path, tmp_path / "whole")
    cut = interrupted(path, tmp_path, tmp_path / "whole" / "study.journal", 0.7)
    sweep(path, cut, resume=True)
    assert contents(cut) == contents(tmp_path / "whole")


def interrupted(path: Path, tmp_path: Path, journal: Path, share: float) -> Path:
    """Return the directory of a sweep whose journal ends after some share of its bytes, wherever that is."""
    data = journal.read_bytes()
    directory = tmp_path / f"cut{share}"
    source = journal.parent
    (directory / "hardware").mkdir(parents=True)
    for name in (
        "sweep.yaml",
        "versions.json",
        "trace.parquet",
        *(f"hardware/{p.name}" for p in source.glob("hardware/*")),
    ):
        (directory / name).write_bytes((source / name).read_bytes())
    (directory / "study.journal").write_bytes(data[: int(len(data) * share)])
    return directory


def test_resumes_from_any_byte_of_the_journal(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep()
    sweep(path, tmp_path / "whole")
    for share in (0.0, 0.003, 0.11, 0.23, 0.29, 0.47, 0.84, 0.999):
        cut = interrupted(path, tmp_path, tmp_path / "whole" / "study.journal", share)
        frame = sweep(path, cut, resume=True)
        assert contents(cut) == contents(tmp_path / "whole"), share
        assert len(frame) == 28


def test_killed_and_resumed_equals_uninterrupted(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep(trials=100, sampler={"name": "nsga2", "population": 20})
    sweep(path, tmp_path / "whole")
    killed = tmp_path / "killed"
    start = [sys.executable, "-m", "lutscape", "sweep", str(path), "-o", str(killed), "--workers", "2", "--resume"]
    for lines in (150, 700):
        process = subprocess.Popen(start, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        journal = killed / "study.journal"
        deadline = time.monotonic() + 60
        while not (journal.exists() and journal.read_bytes().count(b"\n") > lines):
            assert process.poll() is None, "ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert not (killed / "trials.parquet").exists()
    sweep(path, killed, resume=True)
    assert contents(killed) == contents(tmp_path / "whole")


def test_a_damaged_journal(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep(trials=8)
    sweep(path, tmp_path / "out")
    journal = tmp_path / "out" / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines[:3], b"\x00\x00\n", *lines[4:]]))
    with pytest.raises(UserError, match=r"study\.journal:4: not a journal record; the file is damaged"):
        sweep(path, tmp_path / "out", resume=True)


def test_resumes_nsga3_after_parents_were_chosen(write_sweep: Write, tmp_path: Path) -> None:
    """A kill between the choice of parents and the first child: choice and child draw random numbers."""
    path = write_sweep(sampler={"name": "nsga3", "population": 8}, trials=20)
    sweep(path, tmp_path / "whole")
    journal = tmp_path / "whole" / "study.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    after = next(i for i, line in enumerate(lines) if b":parent:1" in line)
    for extra in (0, 1, 2, 3):
        share = sum(map(len, lines[: after + extra])) / journal.stat().st_size
        cut = interrupted(path, tmp_path, journal, share + 1e-9)
        sweep(path, cut, resume=True)
        assert contents(cut) == contents(tmp_path / "whole"), extra


def test_more_trials_on_resume(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep(trials=16)
    first = sweep(path, tmp_path / "out")
    more = sweep(path, tmp_path / "out", resume=True, trials=24)
    pd.testing.assert_frame_equal(more[["number", "latency_s"]][:16], first[["number", "latency_s"]])
    plan, frame, _ = session.load_directory(tmp_path / "out")
    assert plan.trials == len(frame) == 24
    with pytest.raises(UserError, match="trials = 16: the stored study already has 24 trials"):
        sweep(path, tmp_path / "out", resume=True)


def test_duplicates_are_trials_too(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep(parameters={"array.n": {"log2": [16, 32]}}, trials=20)
    frame = sweep(path, tmp_path / "out")
    assert len(frame) == 20
    assert frame["array.n"].nunique() == 2


def test_grid_runs_every_design_once(write_sweep: Write, tmp_path: Path) -> None:
    parameters = {"array.n": {"log2": [16, 64]}, "array.k": {"integer": [2, 4]}}
    path = write_sweep(parameters=parameters, sampler={"name": "grid", "population": 4}, trials=500)
    frame = sweep(path, tmp_path / "out")
    assert len(frame) == len(frame.drop_duplicates(list(parameters))) == 9


def test_refused_designs_are_data(write_sweep: Write, tmp_path: Path) -> None:
    parameters = {"array.m": {"log2": [1, 256]}, "array.n": {"log2": [16, 1024]}}
    frame = sweep(write_sweep(parameters=parameters, trials=40, constraints=None), tmp_path / "out")
    refused = frame[frame["state"] == "refused"]
    assert 0 < len(refused) < 40
    assert (refused["array.m"] * refused["array.n"] * 4 > 65536).all()
    assert refused["reason"].str.contains("beyond 65536 in one array; use count").all()
    assert not refused["feasible"].any()
    assert np.isnan(refused["latency_s"]).all()


def test_faults_of_a_model_do_not_end_the_sweep(
    write_sweep: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lutscape.sim import simulate

    right = simulate.simulate

    def wrong(spec: Any, trace: Any) -> Any:
        return 1 / 0 if spec.array.k == 4 else right(spec, trace)

    monkeypatch.setattr(simulate, "simulate", wrong)
    path = write_sweep(parameters={"array.k": {"integer": [2, 6]}}, trials=16, baselines=None)
    frame = sweep(path, tmp_path / "out")
    assert set(frame.loc[frame["array.k"] == 4, "state"]) == {"failed"}
    assert set(frame.loc[frame["array.k"] != 4, "state"]) == {"complete"}
    assert frame.loc[frame["state"] == "failed", "reason"].iloc[0] == "ZeroDivisionError: division by zero"


def test_maximised_objective(write_sweep: Write, tmp_path: Path) -> None:
    frame = sweep(write_sweep(objectives=["tokens_per_s"], constraints=None), tmp_path / "out")
    assert frame.loc[frame["is_chosen"], "tokens_per_s"].iloc[0] == frame["tokens_per_s"].max()


def test_no_feasible_trial(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep(constraints=["latency_s <= 10", "area_mm2 <= 0.1"])
    with pytest.raises(UserError) as caught:
        session.sweep(path, tmp_path / "out", workers=1)
    least = store.load_trials(tmp_path / "out")["area_mm2"].min()
    assert str(caught.value) == (
        "no trial of 28 satisfies all constraints; the tightest is 'area_mm2 <= 0.1', which 0 trials satisfy; "
        f"closest value reached: area_mm2 = {least:.4g}; the trials are kept in {tmp_path}/out/trials.parquet"
    )
    assert not (tmp_path / "out" / "index.html").exists()
    with pytest.raises(UserError, match="no trial of 28 satisfies all constraints"):
        session.load_directory(tmp_path / "out")


def test_existing_directories(write_sweep: Write, tmp_path: Path) -> None:
    path, out = write_sweep(trials=8), tmp_path / "out"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(UserError) as caught:
        sweep(path, out)
    assert str(caught.value) == f"{out}: exists and is not empty; go on there with --resume, or give another -o"
    with pytest.raises(UserError) as caught:
        sweep(path, out, resume=True)
    assert str(caught.value) == f"{out}: --resume, but there is no sweep (no versions.json); give another -o"
    assert [p.name for p in out.iterdir()] == ["precious.txt"]
    with pytest.raises(UserError, match="exists and is not a directory"):
        sweep(path, path)


def test_nothing_is_left_by_a_workload_that_fails(write_sweep: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trace .*no\.parquet' not found"):
        sweep(write_sweep(workload={"trace": "no.parquet"}), tmp_path / "out")
    with pytest.raises(UserError, match=r"workload: .*int44"):
        sweep(write_sweep(workload={"model": "smollm2-135m", "execute": False, "weights": "int44"}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"parameters": {"array.n": {"log2": [16, 128]}}},
            r"s.yaml:8: parameters.array.n.log2 has changed: \[16, 256\] before, \[16, 128\] now",
        ),
        ({"objectives": ["latency_s"]}, r"s.yaml:\d+: objectives has changed: \['latency_s', 'energy_j', 'area_mm2'\]"),
        ({"constraints": None}, r"s.yaml:1: constraints has changed: \['area_mm2 <= 4'\] before, 'absent' now"),
        ({"sampler": {"name": "nsga2", "population": 8, "seed": 9}}, "sampler.seed has changed: 3 before, 9 now"),
    ],
)
def test_resume_refuses_a_changed_sweep(
    write_sweep: Write, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    sweep(write_sweep(trials=8), tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(UserError, match=message):
        sweep(write_sweep(trials=8, **change), tmp_path / "out", resume=True)
    assert contents(tmp_path / "out") == before


def test_resume_refuses_changed_hardware(write_sweep: Write, tmp_path: Path) -> None:
    template = (configs_dir() / "hardware" / "lut-tensor-core.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(template)
    path = write_sweep(hardware="mine.yaml", trials=8)
    sweep(path, tmp_path / "out")
    (tmp_path / "mine.yaml").write_text(template.replace("vector_lanes: 64", "vector_lanes: 65"))
    with pytest.raises(UserError, match=r"mine.yaml:\d+: vector_lanes has changed: 64 before, 65 now"):
        sweep(path, tmp_path / "out", resume=True)


def test_a_node_beside_the_hardware_file_is_stored_with_it(write_sweep: Write, tmp_path: Path) -> None:
    configs = configs_dir()
    (tmp_path / "my-node.yaml").write_text((configs / "technology" / "28nm.yaml").read_text().replace("0.294", "0.3"))
    template = (configs / "hardware" / "lut-tensor-core.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(template.replace("technology: 28nm", "technology: my-node.yaml"))
    sweep(write_sweep(hardware="mine.yaml", trials=8), tmp_path / "out")
    (tmp_path / "my-node.yaml").unlink()
    plan, _, _ = session.load_directory(tmp_path / "out")
    assert plan.template.node.gate_area_um2 == 0.3


def test_two_runs_in_one_directory(write_sweep: Write, tmp_path: Path) -> None:
    path = write_sweep(trials=8)
    sweep(path, tmp_path / "out")
    with store.locked(tmp_path / "out"), pytest.raises(UserError, match="another lutscape is writing there"):
        sweep(path, tmp_path / "out", resume=True)


def test_trials_of_another_schema(write_sweep: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(write_sweep(trials=8), tmp_path / "out")
    monkeypatch.setattr(store, "SCHEMA_VERSION", 2)
    with pytest.raises(UserError, match="trials schema version 1, this lutscape reads 2; run the sweep again"):
        store.load_trials(tmp_path / "out")
    (tmp_path / "out" / "trials.parquet").write_bytes(b"PAR1cut")
    with pytest.raises(UserError, match=r"trials\.parquet: not a readable Parquet file"):
        store.load_trials(tmp_path / "out")
