"""The design space: a domain for each swept parameter, as enumeration and as Optuna distributions.

Powers of two (``log2``) are categorical: genetic crossover swaps whole parameter values, so the order
of the choices does not matter to it, and the stored value is the one that is used. Continuous values
are rounded to four significant digits when they are drawn, for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

Value = bool | int | float | str
Design = dict[str, Value]
"""Key path of a spec field -> value."""
KINDS = ("categorical", "integer", "log2", "log", "real")
DIGITS = 4


class Domain(BaseModel):
    """What one parameter may be: exactly one of the five kinds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    categorical: list[Value] | None = None
    """A list of values."""
    integer: tuple[int, int] | None = None
    """[low, high], both included."""
    log2: tuple[int, int] | None = None
    """Powers of two from low to high, both included."""
    log: tuple[float, float] | None = None
    """Real numbers in [low, high], evenly in their logarithm."""
    real: tuple[float, float] | None = None
    """Real numbers in [low, high]."""
    step: int | None = Field(default=None, ge=1)
    """Distance between integers; only with ``integer``."""

    @model_validator(mode="after")
    def _sound(self) -> Self:
        given = [k for k in KINDS if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of {', '.join(KINDS)} (given: {', '.join(given) or 'none'})")
        if self.step is not None and self.kind != "integer":
            raise ValueError(f"step goes with integer, not with {self.kind}")
        if self.categorical is not None:
            if not self.categorical:
                raise ValueError("empty range: the list has no values")
            if len({repr(v) for v in self.categorical}) != len(self.categorical):
                raise ValueError("a value is listed twice")
            return self
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"[{low:g}, {high:g}]: bounds must be finite numbers")
        if low > high:
            raise ValueError(f"empty range: low {low:g} is above high {high:g}")
        if self.kind == "log" and low <= 0:
            raise ValueError(f"a log range must begin above 0, not at {low:g}")
        if self.log2 is not None:
            for bound in self.log2:
                if bound < 1 or bound & (bound - 1):
                    raise ValueError(f"{bound} is not a power of two; log2 goes from one power of two to another")
        return self

    @property
    def kind(self) -> str:
        """Name of the kind that is set."""
        return next(k for k in KINDS if getattr(self, k) is not None)

    @property
    def bounds(self) -> tuple[float, float]:
        """(low, high) of a range."""
        low, high = getattr(self, self.kind)
        return low, high

    @property
    def continuous(self) -> bool:
        """Whether the values cannot be listed."""
        return self.kind in ("log", "real") and self.bounds[0] < self.bounds[1]

    def values(self) -> list[Value]:
        """Return all values in order; of a continuous range only its two ends."""
        if self.categorical is not None:
            return list(self.categorical)
        if self.integer is not None:
            return list(range(self.integer[0], self.integer[1] + 1, self.step or 1))
        if self.log2 is not None:
            low, high = (b.bit_length() - 1 for b in self.log2)
            return [1 << e for e in range(low, high + 1)]
        return sorted(set(self.bounds))

    def at(self, fraction: float) -> Value:
        """Return the value at a fraction in [0, 1) of the domain (uniform fraction, uniform value)."""
        if not self.continuous:
            values = self.values()
            return values[min(int(fraction * len(values)), len(values) - 1)]
        low, high = self.bounds
        if self.kind == "log":
            return self.printable(math.exp(math.log(low) + fraction * (math.log(high) - math.log(low))))
        return self.printable(low + fraction * (high - low))

    def printable(self, value: Value) -> Value:
        """Return a continuous value at four significant digits, inside the range; others unchanged."""
        if self.kind not in ("log", "real"):
            return value
        low, high = self.bounds
        return min(max(float(f"{float(value):.{DIGITS}g}"), low), high)

    def distribution(self) -> BaseDistribution:
        """Return the Optuna distribution."""
        from optuna import distributions as d

        if self.integer is not None:
            values = self.values()
            return d.IntDistribution(self.integer[0], int(values[-1]), step=self.step or 1)
        if self.kind in ("log", "real"):
            low, high = self.bounds
            return d.FloatDistribution(low, high, log=self.kind == "log")
        return d.CategoricalDistribution(self.values())


def distributions(space: Mapping[str, Domain]) -> dict[str, BaseDistribution]:
    """Return the Optuna distribution of every parameter."""
    return {key: domain.distribution() for key, domain in space.items()}


def size(space: Mapping[str, Domain]) -> float:
    """Return the number of designs; infinite with a continuous parameter."""
    if any(domain.continuous for domain in space.values()):
        return math.inf
    return math.prod(len(domain.values()) for domain in space.values())


def grid_point(space: Mapping[str, Domain], index: int) -> Design:
    """Return one design of the full grid; the last parameter varies fastest.

    Args:
        space: without continuous parameters.
        index: 0 … size - 1.
    """
    design: dict[str, Any] = {}
    for key, domain in reversed(list(space.items())):
        values = domain.values()
        index, digit = divmod(index, len(values))
        design[key] = values[digit]
    return {key: design[key] for key in space}
