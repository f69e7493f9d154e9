"""Studies shared through a storage: exact totals, joined processes, taken-over trials."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from lutscape.explore import session, shared, store, study, sweep_file
from lutscape.explore.evaluate import Evaluator
from lutscape.explore.samplers import indexed_design
from lutscape.hw.errors import UserError

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]
JOIN = """
import sys
from pathlib import Path
from lutscape.explore import session
session.sweep(Path(sys.argv[1]), Path(sys.argv[2]), storage=sys.argv[3], workers=1, render=False)
"""


@pytest.mark.parametrize("kind", ["sqlite", "journal"])
def test_two_processes_reach_the_shared_total_together(write_sweep: Write, tmp_path: Path, kind: str) -> None:
    url = f"sqlite:///{tmp_path}/study.db" if kind == "sqlite" else str(tmp_path / "study.journal")
    path = write_sweep(trials=18, parameters={"array.n": {"log2": [16, 256]}, "array.k": {"integer": [2, 6]}})
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", JOIN, str(path), str(tmp_path / name), url], cwd=ROOT, stderr=subprocess.PIPE
        )
        for name in ("a", "b")
    ]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    trials = optuna.load_study(study_name="small", storage=shared.open_storage(url)).trials
    assert sum(t.state == TrialState.COMPLETE for t in trials) == 18
    assert not any(t.state == TrialState.RUNNING for t in trials)
    frames = [store.load_trials(tmp_path / name) for name in ("a", "b")]
    assert len(frames[0]) == 18
    assert frames[0].equals(frames[1])


def test_abandoned_trials_are_taken_over_once(write_sweep: Write, tmp_path: Path) -> None:
    plan = sweep_file.load(write_sweep(trials=10, sampler={"name": "random", "population": 5}))
    url = str(tmp_path / "study.journal")
    with study.quiet():
        dead = shared.join(plan, url, {})
        dead.ask(sweep_file.space.distributions(plan.file.parameters))  # complete parameters, never told
        dead.ask()  # died before a parameter was stored
        files = plan.hardware_files["lut-tensor-core"], Path(plan.file.workload.trace or "")
        with Evaluator(*files) as evaluator:
            numbers: list[int] = []
            mine = shared.join(plan, url, {})
            shared.run(mine, plan, evaluator, lambda t: numbers.append(t.number), stale_s=0.0)
    assert sorted(numbers) == list(range(10))
    for trial in study.finished(mine):  # the sampler's parameters, whoever evaluated
        assert trial.design == indexed_design("random", 1, trial.number, plan.file.parameters)


def test_another_sweep_of_the_same_name_is_refused(write_sweep: Write, tmp_path: Path) -> None:
    url = str(tmp_path / "study.journal")
    session.sweep(write_sweep(trials=8), tmp_path / "a", storage=url, workers=1, render=False)
    with pytest.raises(UserError, match="study 'small' there is of another sweep: constraints differs"):
        session.sweep(
            write_sweep(trials=8, constraints=["area_mm2 <= 5"]), tmp_path / "b", storage=url, workers=1, render=False
        )


def test_storages_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--storage oracle://me:\*\*\*@host/db: "):
        shared.open_storage("oracle://me:secret@host/db")
    with pytest.raises(UserError, match="directory '/no/such' does not exist"):
        shared.open_storage("/no/such/study.journal")
    with pytest.raises(UserError, match="cannot be opened"):
        shared.open_storage("sqlite:////no/such/dir/s.db")


def test_passwords_are_masked() -> None:
    assert store.masked("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert store.masked("sqlite:///f.db") == "sqlite:///f.db"
