"""Samplers whose proposal depends on the seed, the trial's number and the trials told before, alone.

Optuna's samplers draw from one random stream, so a study that was killed and resumed, or asked from
several processes, goes another way. Here every trial gets fresh generators seeded by (seed, number),
and every independently drawn parameter its own: whatever was interrupted can be asked again and gives
the same values. Continuous values are rounded as they are drawn, so that the stored is the used one.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from optuna.samplers import BaseGASampler, BaseSampler, NSGAIIISampler, NSGAIISampler, TPESampler

from lutscape.explore import space as spaces
from lutscape.explore.space import Design, Domain

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from lutscape.explore.sweep_file import Sampler


def make(settings: Sampler, space: Mapping[str, Domain], indices: Sequence[int] | None = None) -> BaseSampler:
    """Return the Optuna sampler of a sweep.

    Args:
        settings: of the sweep file.
        space: parameters.
        indices: of the grid's designs that a funnel left, by trial.
    """
    name, population = settings.name, settings.population
    if name in ("random", "qmc", "grid", "funnel"):
        return IndexedSampler(settings.name, settings.seed, space, indices)
    inner: dict[str, Callable[[int], BaseSampler]] = {
        "nsga2": lambda seed: NSGAIISampler(population_size=population, seed=seed),
        "nsga3": lambda seed: NSGAIIISampler(population_size=population, seed=seed),
        # The liar keeps the designs of one generation, proposed without each other's results, apart.
        "tpe": lambda seed: TPESampler(n_startup_trials=population, multivariate=True, constant_liar=True, seed=seed),
    }
    return SeededSampler(inner[name], settings.seed, space)


def stream(seed: int, number: int, purpose: str = "") -> int:
    """Return a 32-bit seed for one purpose of one trial."""
    digest = hashlib.sha256(f"{seed}/{number}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:4], "little")


def indexed_design(kind: str, seed: int, number: int, space: Mapping[str, Domain]) -> Design:
    """Return trial ``number`` of a sampler that needs no history.

    ``random`` draws each parameter uniformly; ``qmc`` is the additive recurrence with irrational
    steps 1/g, 1/g², … (g the root of g^(d+1) = g + 1: the generalised golden ratio), shifted by
    the seed; ``grid`` counts through all designs.
    """
    if kind == "grid":
        return spaces.grid_point(space, number)
    d = len(space)
    if kind == "qmc":
        g = 1.5
        for _ in range(60):
            g = (1 + g) ** (1 / (d + 1))
        shift = np.random.default_rng([seed]).random(d)
        fractions = [math.fmod(float(s) + (number + 1) * g ** -(i + 1), 1.0) for i, s in enumerate(shift)]
    else:
        fractions = list(np.random.default_rng([seed, number]).random(d))
    return {key: domain.at(float(f)) for (key, domain), f in zip(space.items(), fractions, strict=True)}


class IndexedSampler(BaseSampler):
    """Optuna view of :func:`indexed_design`."""

    def __init__(self, kind: str, seed: int, space: Mapping[str, Domain], indices: Sequence[int] | None = None) -> None:
        self._kind, self._seed, self._space, self._indices = kind, seed, space, indices

    def _design(self, number: int) -> Design:
        if self._kind != "funnel":
            return indexed_design(self._kind, self._seed, number, self._space)
        if self._indices is None:
            raise RuntimeError("sampler funnel was not told which designs are left")
        return indexed_design("grid", self._seed, self._indices[number], self._space)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return spaces.distributions(self._space)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return dict(self._design(trial.number))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._design(trial.number)[param_name]


class SeededSampler(BaseSampler):
    """An Optuna sampler, made anew for every trial from (seed, trial number)."""

    def __init__(self, inner: Callable[[int], BaseSampler], seed: int, space: Mapping[str, Domain]) -> None:
        self._inner, self._seed, self._space = inner, seed, space
        self._relative = {key: d for key, d in spaces.distributions(space).items() if not d.single()}

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._relative

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        first, sampler = (self._inner(stream(self._seed, trial.number)) for _ in range(2))
        if isinstance(first, BaseGASampler):
            # Whoever asks first in a generation selects its parents, drawing numbers as it does, and gets
            # them in another order than those who read the stored selection: always read the stored one.
            first.get_parent_population(study, first.get_trial_generation(study, trial))
            trial = study.get_trials(deepcopy=False)[trial.number]  # now with its generation
        values = sampler.sample_relative(study, trial, search_space)
        return {key: self._space[key].printable(value) for key, value in values.items()}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        generator = np.random.default_rng(stream(self._seed, trial.number, param_name))
        return self._space[param_name].at(float(generator.random()))

    def after_trial(self, study: Study, trial: FrozenTrial, state: Any, values: Any) -> None:
        return None
