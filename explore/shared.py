"""A study shared by several processes or machines through an Optuna storage.

Every process asks, evaluates and tells on its own until the shared total is reached: the result
depends on who was faster. The total is exact: trial numbers are given out by the storage, and a trial
asked when enough others are on their way is handed back at once (state FAIL, not counted).

A trial whose process died stays RUNNING. A process with nothing else to do takes over trials that it
has seen running for ``stale_s`` seconds, with their stored parameters. Evaluation is deterministic, so a
trial that was slow rather than dead gets the same values from whoever tells it first; it counts once.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError

from lutscape.explore import samplers, space
from lutscape.explore.evaluate import Evaluator
from lutscape.explore.store import masked
from lutscape.explore.study import Told, adopt, finished, ordered, tell
from lutscape.explore.sweep_file import Plan
from lutscape.hw.errors import UserError

FINGERPRINT = "lutscape_sweep"
POLL_S = 0.5
ATTEMPTS = 4


def open_storage(url: str) -> BaseStorage:
    """Open ``sqlite:///f.db``, ``postgresql://…``, ``mysql://…``, or a path to a journal file.

    Raises:
        UserError: cannot be opened (the password is not printed).
    """
    try:
        if "://" in url:
            return _database(url)
        path = Path(url).expanduser()
        if not path.parent.is_dir():
            raise UserError(f"--storage {url}: directory {str(path.parent)!r} does not exist")
        return JournalStorage(JournalFileBackend(str(path)))
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"--storage {masked(url)}: its database driver is not installed: {error}") from None
    except Exception as error:  # whatever the database library raises
        first = masked(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise UserError(
            f"--storage {masked(url)}: cannot be opened: {first}; allowed: sqlite:///FILE, postgresql://…, "
            "mysql://…, or a path to a journal file"
        ) from None


def _database(url: str) -> BaseStorage:
    """Open a database; several processes that create its tables at once get in each other's way: try again."""
    options: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite"):
        options = {"connect_args": {"timeout": 60}}
    for attempt in range(ATTEMPTS):
        try:
            return RDBStorage(url, engine_kwargs=options)
        except (ImportError, ArgumentError):  # no driver, no such database: trying again is no use
            raise
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.3 * (attempt + 1))
    raise AssertionError


def join(plan: Plan, url: str, fingerprint: dict[str, Any], storage: BaseStorage | None = None) -> optuna.Study:
    """Join the study of the sweep's name, or begin it.

    Args:
        plan: the sweep.
        url: storage.
        fingerprint: what must be equal for all who join, by key.
        storage: the same, where it is open already.

    Raises:
        UserError: storage cannot be opened or written, or the study there is of another sweep.
    """
    storage = storage if storage is not None else open_storage(url)
    try:
        return _join(plan, url, fingerprint, storage)
    except optuna.exceptions.StorageInternalError as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"--storage {masked(url)}: the database failed: {masked(cause)}") from None


def _join(plan: Plan, url: str, fingerprint: dict[str, Any], storage: BaseStorage) -> optuna.Study:
    study = optuna.create_study(
        storage=storage,
        study_name=plan.file.name,
        directions=plan.directions,
        sampler=samplers.make(plan.file.sampler, plan.file.parameters, plan.designs),
        load_if_exists=True,
    )
    stored = study.user_attrs.get(FINGERPRINT)
    mine = json.loads(json.dumps(fingerprint))
    if stored is None:
        study.set_user_attr(FINGERPRINT, mine)
        return study
    for key in {**stored, **mine}:
        if stored.get(key) != mine.get(key):
            raise UserError(
                f"--storage {masked(url)}: study {plan.file.name!r} there is of another sweep: {key} differs "
                f"({_short(stored.get(key))} there, {_short(mine.get(key))} here); rename this sweep"
            )
    return study


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else text[:57] + "..."


def run(study: optuna.Study, plan: Plan, evaluator: Evaluator, told: Told, stale_s: float = 60.0) -> None:
    """Work on a shared study until its total is reached.

    Raises:
        UserError: the storage failed on the way; what was told is kept there.
    """
    try:
        _work(study, plan, evaluator, told, stale_s)
    except optuna.exceptions.StorageInternalError as error:
        cause = str(error.__cause__ or error).splitlines()[0]
        raise UserError(f"--storage: the database failed: {masked(cause)}; go on with --resume") from None


def _work(study: optuna.Study, plan: Plan, evaluator: Evaluator, told: Told, stale_s: float) -> None:
    """Work on a shared study until its total is reached.

    Args:
        study: joined.
        plan: the sweep; ``plan.trials`` is the shared total.
        evaluator: evaluates as many designs at once as it has workers.
        told: called with every finished trial of the study, whoever evaluated it.
        stale_s: seconds after which a trial seen running is taken over.
    """
    parameters = space.distributions(plan.file.parameters)
    reported: set[int] = set()
    seen: dict[int, float] = {}  # trial number -> when it was first seen running by another
    while True:
        for done in finished(study):
            if done.number not in reported:
                reported.add(done.number)
                evaluator.remember(ordered(done.design, plan), done.outcome)
                told(done)
        if len(reported) >= plan.trials:
            return
        batch: list[optuna.Trial] = []
        for _ in range(evaluator.workers):
            claimed = _claim(study, plan, parameters)
            if claimed is None:
                break
            batch.append(claimed)
        if not batch:
            batch = _abandoned(study, parameters, seen, stale_s)
        if not batch:
            time.sleep(POLL_S)
            continue
        designs = [ordered(t.params, plan) for t in batch]
        for trial, outcome in zip(batch, evaluator.map(designs), strict=True):
            try:
                tell(study, plan, trial, outcome)
            except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
                continue  # told by another process in the meantime


def _claim(study: optuna.Study, plan: Plan, parameters: dict[str, Any]) -> optuna.Trial | None:
    """Ask for a trial if the total leaves room, judged again once its number is known."""
    if _before(study, None) >= plan.trials:
        return None
    trial = study.ask()
    if _before(study, trial.number) >= plan.trials:
        study.tell(trial, state=TrialState.FAIL)
        return None
    return adopt(study, study._storage.get_trial(trial._trial_id), parameters)


def _before(study: optuna.Study, number: int | None) -> int:
    """Return how many trials, finished or running, have a lower number (any, for None)."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.RUNNING))
    return sum(number is None or t.number < number for t in trials)


def _abandoned(
    study: optuna.Study, parameters: dict[str, Any], seen: dict[int, float], stale_s: float
) -> list[optuna.Trial]:
    now = time.monotonic()
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    stale = [t for t in running if now - seen.setdefault(t.number, now) >= stale_s]
    return [adopt(study, t, parameters) for t in stale[:1]]
