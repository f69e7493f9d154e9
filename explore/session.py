"""One sweep from the command to the finished directory: prepare, run, store, report."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from lutscape.explore import funnel, notes, store, sweep_file, workload
from lutscape.explore.evaluate import COMPLETE, Evaluator, evaluate
from lutscape.explore.sweep_file import Plan
from lutscape.hw import spec as hardware
from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError
from lutscape.models.trace import Trace

OUT = Path("lutscape-out")
SHORT_S = 20.0
"""Sweeps expected to take less are run in this process: a pool takes seconds to start."""
OWN_FILES = frozenset(
    {"sweep.yaml", "hardware", "trace.parquet", "versions.json", "study.journal", "funnel.json", store.LOCK}
)
Begin = Callable[[Plan, int], Any]


class ModelFault(UserError):
    """No design is left because the model itself broke: no fault of the user's."""


@dataclass(frozen=True)
class Finished:
    """A finished sweep.

    Attributes:
        plan: what was run.
        directory: where everything was written.
        trials: one row per trial, see :func:`lutscape.explore.store.table`.
        report: path of the report (of the trials, when none was asked for).
        seconds: wall time by step: trace, search, report.
        workers: processes that evaluated.
    """

    plan: Plan
    directory: Path
    trials: pd.DataFrame
    report: Path
    seconds: dict[str, float]
    workers: int


def sweep(
    name: str | Path,
    directory: Path | None = None,
    trials: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    storage: str | None = None,
    seed: int | None = None,
    command: str = "",
    trace_progress: workload.Progress | None = None,
    begin: Begin | None = None,
    render: bool = True,
) -> Finished:
    """Run a sweep and write its directory.

    Args:
        name: packaged name or path of the sweep file.
        directory: output; default ``lutscape-out/<name of the sweep>``.
        trials: in place of the file's.
        workers: processes; None = as many as pay off. The result does not depend on it.
        resume: go on in a directory that an earlier run left.
        storage: Optuna storage through which several processes share the study.
        seed: in place of the file's.
        command: what reproduces the sweep, for the report.
        trace_progress: called while a model runs.
        begin: called with (plan, trials) when the search starts; returns a callable that takes every
            finished trial, usable as a context manager.
        render: write the report too.

    Raises:
        UserError: anything wrong with the input, the directory or the storage; no trial satisfies
            the constraints (the store is kept).
    """
    from lutscape.explore import report, shared, study

    plan = sweep_file.load(name, trials, seed)
    directory = directory if directory is not None else OUT / plan.file.name
    if workers is not None and not 1 <= workers <= 1024:
        raise UserError(f"--workers {workers}: must be 1 … 1024")
    _check_directory(directory, resume)
    store.check_writable(directory)
    seconds: dict[str, float] = {}
    clock = _Clock(seconds)
    stored = resume and (directory / "versions.json").is_file()
    if stored:
        _check_storage(directory, storage)
        plan = _stored_plan(plan, directory)
    database = shared.open_storage(storage) if storage is not None else None
    if stored:
        trace = Trace.load(directory / "trace.parquet")
    else:
        trace = workload.make(plan, trace_progress)
    sweep_file.check_defined(plan.file, trace.header.decode_tokens)
    clock.lap("trace")
    fixed = workload.FixedTrace.of(trace)
    plan = _eliminated(plan, fixed)
    _check_hardware(plan, fixed)
    with store.locked(directory):
        _check_directory(directory, resume)
        joined = None
        if storage is not None:
            with study.quiet():
                joined = shared.join(plan, storage, fingerprint(plan, fixed), database)
        if not stored:
            _write_inputs(plan, trace, directory, command, storage)
        elif trials is not None:
            _update_trials(directory, plan.file.trials)
        count = workers or _worth(plan, fixed)
        files = directory / "hardware" / _file_name(plan, plan.file.hardware), directory / "trace.parquet"
        with Evaluator(*files, workers=count) as evaluator, study.quiet():
            opened = joined if joined is not None else study.open_journal(plan, directory / "study.journal")
            drive = study.run if joined is None else shared.run
            with begin(plan, plan.trials) if begin else _Silent() as told:
                drive(opened, plan, evaluator, told)
            frame = store.table(study.finished(opened)[: plan.trials], plan)
        store.save_trials(frame, plan, directory)
        clock.lap("search")
        check_feasible(frame, plan, directory)
        path = report.write(directory, plan, frame, trace) if render else directory / "trials.parquet"
        clock.lap("report")
    return Finished(plan, directory, frame, path, seconds, count)


class _Clock:
    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds, self._last = seconds, time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._seconds[name] = round(now - self._last, 3)
        self._last = now


class _Silent:
    def __enter__(self) -> Callable[[Any], None]:
        return lambda trial: None

    def __exit__(self, *_: object) -> None:
        return None


def load_directory(directory: Path) -> tuple[Plan, pd.DataFrame, Trace]:
    """Load a stored sweep: plan, trials, trace. Needs no Optuna.

    Raises:
        UserError: not a finished sweep, or of another schema version.
    """
    if not directory.is_dir():
        raise UserError(f"directory {str(directory)!r} not found; give the output directory of a sweep")
    settings = store.read_settings(directory)
    plan = sweep_file.load(
        (directory / "sweep.yaml").resolve(), settings["trials"], settings["seed"], directory / "hardware"
    )
    frame = store.load_trials(directory)
    check_feasible(frame, plan, directory)
    if plan.file.funnel is not None:
        plan = replace(plan, funnel=funnel.Funnel.load(directory / "funnel.json"))
    return plan, frame, Trace.load(directory / "trace.parquet")


def _eliminated(plan: Plan, trace: Trace) -> Plan:
    """Return the plan with what its funnel leaves for a workload; the plan itself if it has none.

    Raises:
        UserError: as :func:`lutscape.explore.funnel.run`.
    """
    if plan.file.funnel is None:
        return plan
    try:
        left = funnel.run(plan.file.funnel, plan.template, plan.file.parameters, trace)
    except UserError as error:
        raise UserError(f"{plan.path}: {error}") from None
    return replace(plan, funnel=left)


def fingerprint(plan: Plan, trace: Trace) -> dict[str, Any]:
    """Return what must be equal for all that share a study, by key."""
    from lutscape.version import __version__

    file = plan.file.model_dump(mode="json")
    rows = trace.distinct().to_csv(index=False).encode()
    return {
        "parameters": file["parameters"],
        "constraints": file["constraints"],
        "objectives": file["objectives"],
        "sampler": file["sampler"],
        "funnel": file["funnel"],
        "hardware": plan.template.digest(),
        "trace": hashlib.sha256(rows).hexdigest()[:16],
        "lutscape": __version__,
    }


def check_feasible(frame: pd.DataFrame, plan: Plan, directory: Path) -> None:
    """Refuse a sweep in which no trial is acceptable, naming the tightest constraint.

    Raises:
        UserError: with the constraint that the fewest trials keep, and the closest value reached.
        ModelFault: the model failed on more than half of the trials.
    """
    if frame["feasible"].any():
        return
    done = frame[frame["state"] == COMPLETE]
    kept = f"the trials are kept in {directory / 'trials.parquet'}"
    if notes.mostly_failed(frame):
        raise ModelFault(f"no design is feasible: {notes.failure(frame)}; {kept}")
    if not len(done):
        raise UserError(
            f"none of {len(frame)} trials gave a result, the first because: {frame['reason'].iloc[0]}; {kept}"
        )
    metrics: list[dict[str, float]] = [{str(k): v for k, v in row.items()} for row in done.to_dict("records")]
    broken = [[not c.satisfied(m) for c in plan.constraints] for m in metrics]
    keeping = [sum(not row[i] for row in broken) for i in range(len(plan.constraints))]
    tightest = plan.constraints[keeping.index(min(keeping))]
    fewest = min(map(sum, broken))
    near = [m[tightest.metric] for m, row in zip(metrics, broken, strict=True) if sum(row) == fewest]
    raise UserError(
        f"no trial of {len(frame)} satisfies all constraints; the tightest is '{tightest}', which "
        f"{min(keeping)} trials satisfy; closest value reached: {tightest.metric} = "
        f"{tightest.closest(near):.4g}; {kept}"
    )


def _check_directory(directory: Path, resume: bool) -> None:
    try:
        if directory.exists() and not directory.is_dir():
            raise UserError(f"-o {directory}: exists and is not a directory")
        present = {p.name for p in directory.iterdir()} - {store.LOCK} if directory.is_dir() else set()
    except OSError as error:
        raise UserError(f"-o {directory}: cannot be read: {error.strerror or error}") from None
    if not present:
        return
    if not resume:
        raise UserError(f"{directory}: exists and is not empty; go on there with --resume, or give another -o")
    if "versions.json" not in present and not all(n in OWN_FILES or n.endswith(".tmp") for n in present):
        raise UserError(f"{directory}: --resume, but there is no sweep (no versions.json); give another -o")


def _check_storage(directory: Path, storage: str | None) -> None:
    """Refuse to go on with another study than the one that the directory's trials are in."""
    before = store.read_settings(directory)["storage"]
    now = store.located(storage) if storage is not None else None
    if before is not None:
        before = store.located(before)
    if before == now:
        return
    if before is None:
        raise UserError(
            f"{directory}: --resume: begun without --storage, its study is in study.journal there; leave out "
            f"--storage {now}, or give another -o"
        )
    given = f"not {now}" if now is not None else "and none is given"
    raise UserError(
        f"{directory}: --resume: its study is shared through --storage {before}, {given}; give that one, or another -o"
    )


def _check_hardware(plan: Plan, trace: Trace) -> None:
    """Simulate the baselines once: one that cannot run the trace should fail before the search."""
    from lutscape.sim.simulate import simulate

    for name, spec in plan.baselines.items():
        try:
            simulate(spec, trace)
        except UserError as error:
            raise UserError(f"{plan.path}: baseline {name!r} cannot run the workload: {error}") from None


def _worth(plan: Plan, trace: Trace) -> int:
    """Return how many processes pay off for the remaining work."""
    evaluate(plan.template, trace, {})  # the first call imports
    begin = time.perf_counter()
    evaluate(plan.template, trace, {})
    each = time.perf_counter() - begin
    return 1 if each * plan.trials < SHORT_S else len(os.sched_getaffinity(0))


def _file_name(plan: Plan, given: str) -> str:
    return plan.hardware_files[given].with_suffix(".yaml").name


def _hardware_copies(plan: Plan, given: str) -> dict[str, str]:
    """Return the files to store for one hardware file: itself, and its node where that is not packaged.

    The file is kept word for word, but for the path of such a node.
    """
    path = plan.hardware_files[given]
    content = path.read_text(encoding="utf-8")
    node = Path((plan.template if given == plan.file.hardware else plan.baselines[given]).technology)
    if not node.is_file():
        return {_file_name(plan, given): content}
    copy = f"technology-{node.stem}.yaml"
    content = re.sub(r"(?m)^technology:.*$", f"technology: {copy}", content)
    return {_file_name(plan, given): content, copy: node.read_text(encoding="utf-8")}


def _write_inputs(plan: Plan, trace: Trace, directory: Path, command: str, storage: str | None) -> None:
    """Write what the sweep starts from; versions.json comes last and says that all is there."""
    trace.save(directory / "trace.parquet")
    for given in plan.hardware_files:
        for name, content in _hardware_copies(plan, given).items():
            store.write(directory / "hardware" / name, content)
    store.write(directory / "sweep.yaml", plan.text)
    if plan.funnel is not None:
        store.write(directory / "funnel.json", json.dumps(plan.funnel.as_dict()) + "\n")
    settings = {
        "schema_version": 1,
        "trials": plan.file.trials,
        "seed": plan.file.sampler.seed,
        "storage": store.located(storage) if storage else None,
        "command": command,
        "versions": store.versions(),
    }
    store.write(directory / "versions.json", json.dumps(settings, indent=2) + "\n")


def _update_trials(directory: Path, trials: int) -> None:
    settings = store.read_settings(directory)
    if settings["trials"] != trials:
        store.write(directory / "versions.json", json.dumps({**settings, "trials": trials}, indent=2) + "\n")


def _stored_plan(new: Plan, directory: Path) -> Plan:
    """Return the plan to resume, as it is stored; refuse when the files have changed since.

    Raises:
        UserError: naming the first key that differs.
    """
    settings = store.read_settings(directory)
    again = "; a changed sweep needs another -o"
    if settings["versions"]["lutscape"] != store.versions()["lutscape"]:
        raise UserError(
            f"{directory}: --resume: written by lutscape {settings['versions']['lutscape']}, this is "
            f"{store.versions()['lutscape']}{again}"
        )
    pairs: list[tuple[Path, Path, tuple[str, ...]]] = [
        (new.path, directory / "sweep.yaml", ("trials", "description", "sampler.seed"))
    ]
    pairs += [
        (path, directory / "hardware" / _file_name(new, given), ("technology",))
        for given, path in new.hardware_files.items()
    ]
    for path, stored, free in pairs:
        if not stored.is_file():
            raise UserError(
                f"{directory}: --resume: {path} has changed: {stored.relative_to(directory)} is missing there{again}"
            )
        data, lines = yaml_file.read(path)
        before = dict(_leaves(yaml_file.read(stored)[0]))
        after = dict(_leaves(data))
        # Order counts: it is the order of the sampler's draws.
        keys = [*after, *(k for k in before if k not in after)]
        for key in keys:
            text = yaml_file.dotted(key)
            if text not in free and before.get(key) != after.get(key):
                at = next((lines[key[:n]] for n in range(len(key), 0, -1) if key[:n] in lines), 1)
                raise UserError(
                    f"{directory}: --resume: {path}:{at}: {text} has changed: {before.get(key, 'absent')!r} "
                    f"before, {after.get(key, 'absent')!r} now{again}"
                )
        if [k for k in before if k in after] != [k for k in after if k in before]:
            raise UserError(f"{directory}: --resume: {path}: the order of the keys has changed{again}")
    for given, path in new.hardware_files.items():
        before_node, now_node = (
            hardware.load(p.resolve()).node for p in (directory / "hardware" / _file_name(new, given), path)
        )
        if before_node != now_node:
            raise UserError(f"{directory}: --resume: {path}: technology has changed{again}")
    seed = new.file.sampler.seed
    if settings["seed"] != seed:
        raise UserError(
            f"{directory}: --resume: sampler.seed has changed: {settings['seed']} before, {seed} now{again}"
        )
    return new


def _leaves(data: Any, key: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Yield (key path, value) of everything that is not a mapping."""
    if isinstance(data, dict):
        for name, value in data.items():
            yield from _leaves(value, (*key, str(name)))
    else:
        yield key, data
