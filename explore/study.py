"""The study: Optuna asked in whole generations, so that the outcome depends on the sweep file alone.

A generation is proposed, evaluated in parallel, and told in the order of trial numbers; nothing of the
next is proposed before all of it is told. Together with :mod:`lutscape.explore.samplers` this makes the
result the same for any number of workers, and for a run that was killed and resumed.

A design that the hardware spec or the timing model refuses is told as complete, with the worst values
there are and a violated constraint: samplers then rank it behind every other design and still count it
in its generation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from lutscape.explore import samplers, space
from lutscape.explore.evaluate import COMPLETE, Evaluator, Outcome
from lutscape.explore.journal import SingleWriterJournal
from lutscape.explore.space import Design
from lutscape.explore.sweep_file import Plan
from lutscape.hw.errors import UserError

OUTCOME = "outcome"
REFUSED_VALUE = 1e30
"""Objective value told for a refused design (negated where the metric is maximised)."""


@dataclass(frozen=True)
class FinishedTrial:
    """One finished trial."""

    number: int
    design: Design
    outcome: Outcome


Told = Callable[[FinishedTrial], None]


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's log lines and experimental warnings off the terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            yield
        finally:
            optuna.logging.set_verbosity(level)


def open_journal(plan: Plan, path: Path) -> optuna.Study:
    """Open or begin the study in a journal file that no other process writes.

    Raises:
        UserError: the file is damaged.
    """
    return optuna.create_study(
        storage=JournalStorage(SingleWriterJournal(path)),
        study_name=plan.file.name,
        directions=plan.directions,
        sampler=samplers.make(plan.file.sampler, plan.file.parameters, plan.designs),
        load_if_exists=True,
    )


def finished(study: optuna.Study) -> list[FinishedTrial]:
    """Return the finished trials that count, by number."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return [
        FinishedTrial(t.number, dict(t.params), Outcome(**t.user_attrs[OUTCOME]))
        for t in sorted(trials, key=lambda t: t.number)
        if OUTCOME in t.user_attrs
    ]


def run(study: optuna.Study, plan: Plan, evaluator: Evaluator, told: Told) -> None:
    """Run a study to its number of trials, generation by generation.

    Args:
        study: empty, or left by an earlier run of the same plan.
        plan: the sweep.
        evaluator: of its template and trace.
        told: called after every trial, also (first) with those that were already there.

    Raises:
        UserError: the study has more trials than the plan.
    """
    parameters = space.distributions(plan.file.parameters)
    stored = {t.number: t for t in study.get_trials(deepcopy=False)}
    if len(stored) > plan.trials:
        raise UserError(f"trials = {plan.trials}: the stored study already has {len(stored)} trials")
    for done in finished(study):
        evaluator.remember(ordered(done.design, plan), done.outcome)
        told(done)
    population = plan.file.sampler.population
    for start in range(0, plan.trials, population):
        asked: list[tuple[optuna.Trial, Design]] = []
        for number in range(start, min(start + population, plan.trials)):
            if number not in stored:
                trial = study.ask(parameters)
                if trial.number != number:
                    raise RuntimeError(f"asked for trial {number}, got {trial.number}")
            elif stored[number].state.is_finished():
                continue
            else:
                trial = adopt(study, stored[number], parameters)
            asked.append((trial, ordered(trial.params, plan)))
        outcomes = evaluator.map([design for _, design in asked])
        for (trial, design), outcome in zip(asked, outcomes, strict=True):
            tell(study, plan, trial, outcome)
            told(FinishedTrial(trial.number, design, outcome))


def adopt(study: optuna.Study, left: FrozenTrial, parameters: dict[str, Any]) -> optuna.Trial:
    """Return a trial that a dead process left running; parameters it had not stored are drawn again."""
    trial = optuna.Trial(study, left._trial_id)
    for name, distribution in parameters.items():
        match distribution:
            case CategoricalDistribution():
                trial.suggest_categorical(name, distribution.choices)
            case IntDistribution():
                trial.suggest_int(name, distribution.low, distribution.high, step=distribution.step)
            case FloatDistribution():
                trial.suggest_float(name, distribution.low, distribution.high, log=distribution.log)
    return trial


def ordered(design: Design, plan: Plan) -> Design:
    """Return a design with its parameters in the order of the sweep file."""
    return {key: design[key] for key in plan.file.parameters}


def tell(study: optuna.Study, plan: Plan, trial: optuna.Trial, outcome: Outcome) -> None:
    """Store an outcome: constraint values and metrics first, the finished state last."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constraint that was stored before a kill is kept
        if outcome.state == COMPLETE:
            values = [outcome.metrics[name] for name in plan.file.objectives]
            for constraint in plan.constraints:
                trial.set_constraint(str(constraint), constraint.violation(outcome.metrics))
        else:
            values = [REFUSED_VALUE if d == "minimize" else -REFUSED_VALUE for d in plan.directions]
            for constraint in plan.constraints:
                trial.set_constraint(str(constraint), REFUSED_VALUE)
        trial.set_constraint("accepted", 0.0 if outcome.state == COMPLETE else REFUSED_VALUE)
    trial.set_user_attr(OUTCOME, outcome.as_dict())
    study.tell(trial, values)
