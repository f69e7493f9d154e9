"""Constraints of a sweep: ``METRIC op NUMBER``, parsed, never evaluated as code."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from lutscape.hw.errors import UserError, choose
from lutscape.hw.ppa import METRICS

OPERATORS = ("<=", ">=", "<", ">")
_PATTERN = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|<|>)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*")


@dataclass(frozen=True)
class Constraint:
    """A bound on one metric.

    Attributes:
        metric: name in :data:`lutscape.hw.ppa.METRICS`.
        operator: one of ``<= >= < >``.
        bound: in the metric's unit.
    """

    metric: str
    operator: str
    bound: float

    def __str__(self) -> str:
        return f"{self.metric} {self.operator} {self.bound:g}"

    def satisfied(self, metrics: Mapping[str, float]) -> bool:
        """Return whether a design keeps the bound; NaN never does."""
        value = metrics.get(self.metric, math.nan)
        if self.operator == "<=":
            return value <= self.bound
        if self.operator == ">=":
            return value >= self.bound
        return value < self.bound if self.operator == "<" else value > self.bound

    def violation(self, metrics: Mapping[str, float]) -> float:
        """Return how far a design is beyond the bound, relative to it: <= 0 means satisfied.

        Relative, so that a sampler can add up the violations of metrics with different units.
        """
        value = metrics.get(self.metric, math.nan)
        if math.isnan(value):
            return math.inf
        beyond = value - self.bound if self.operator in ("<", "<=") else self.bound - value
        relative = beyond / abs(self.bound) if self.bound else beyond
        if relative <= 0 and not self.satisfied(metrics):
            return 1e-12  # exactly on a strict bound
        return relative

    def closest(self, values: list[float]) -> float:
        """Return the value of a list that comes closest to keeping the bound."""
        return min(values) if self.operator in ("<", "<=") else max(values)


def parse(text: str) -> Constraint:
    """Read ``"area_mm2 <= 25"``.

    Raises:
        UserError: not of that form, or an unknown metric (with the nearest one).
    """
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise UserError(
            f"{text!r} is not a constraint; write METRIC OPERATOR NUMBER, like 'area_mm2 <= 25' "
            f"(operators: {' '.join(OPERATORS)})"
        )
    metric, operator, number = match.groups()
    bound = float(number)
    if not math.isfinite(bound):
        raise UserError(f"{text!r}: the bound {number} is not a finite number")
    return Constraint(choose(metric, METRICS, "metric"), operator, bound)
