"""Domains, constraints and samplers without history."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lutscape.explore import constraints, samplers, space
from lutscape.explore.space import Domain
from lutscape.hw.errors import UserError

SPACE = {
    "a": Domain(categorical=["x", "y"]),
    "b": Domain(integer=(2, 9), step=3),
    "c": Domain(log2=(4, 32)),
}


def test_values() -> None:
    assert SPACE["a"].values() == ["x", "y"]
    assert SPACE["b"].values() == [2, 5, 8]
    assert SPACE["c"].values() == [4, 8, 16, 32]
    assert Domain(real=(1, 2)).values() == [1.0, 2.0]


def test_grid_lists_every_design_once_in_order() -> None:
    assert space.size(SPACE) == 2 * 3 * 4
    designs = [tuple(space.grid_point(SPACE, i).values()) for i in range(24)]
    assert len(set(designs)) == 24
    assert designs[:5] == [("x", 2, 4), ("x", 2, 8), ("x", 2, 16), ("x", 2, 32), ("x", 5, 4)]


def test_size_of_a_continuous_space() -> None:
    assert math.isinf(space.size({"r": Domain(real=(0, 1))}))
    assert space.size({"r": Domain(real=(1, 1))}) == 1


@given(st.floats(1e-3, 1e6), st.floats(1, 1e4), st.floats(0, 1, exclude_max=True), st.booleans())
def test_continuous_values_stay_inside_and_print_short(low: float, factor: float, at: float, log: bool) -> None:
    bounds = (low, low * factor)
    domain = Domain(log=bounds) if log else Domain(real=bounds)
    value = domain.at(at)
    assert isinstance(value, float)
    assert low <= value <= low * factor
    assert value in bounds or value == float(f"{value:.4g}")
    assert domain.printable(value) == value  # stored = used


def test_integer_distribution_ends_on_a_step() -> None:
    distribution = SPACE["b"].distribution()
    assert (distribution.low, distribution.high, distribution.step) == (2, 8, 3)  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["random", "qmc"])
def test_indexed_samplers_depend_on_seed_and_number_alone(kind: str) -> None:
    once = [samplers.indexed_design(kind, 1, n, SPACE) for n in range(50)]
    assert [samplers.indexed_design(kind, 1, n, SPACE) for n in reversed(range(50))][::-1] == once
    assert [samplers.indexed_design(kind, 2, n, SPACE) for n in range(50)] != once
    for key, domain in SPACE.items():
        assert {d[key] for d in once} == set(domain.values())


def test_qmc_is_more_even_than_random() -> None:
    unit = {"u": Domain(real=(0, 1)), "v": Domain(real=(0, 1))}

    def cells(kind: str) -> int:
        points = [samplers.indexed_design(kind, 5, n, unit) for n in range(256)]
        return len({(int(float(p["u"]) * 15.99), int(float(p["v"]) * 15.99)) for p in points})

    assert cells("qmc") > cells("random") + 20


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("area_mm2 <= 25", ("area_mm2", "<=", 25.0)),
        ("  tokens_per_s>1e3 ", ("tokens_per_s", ">", 1000.0)),
        ("power_w < .5", ("power_w", "<", 0.5)),
        ("energy_j >= -2.5E-3", ("energy_j", ">=", -0.0025)),
    ],
)
def test_constraints_parse(text: str, parsed: tuple[str, str, float]) -> None:
    found = constraints.parse(text)
    assert (found.metric, found.operator, found.bound) == parsed
    assert constraints.parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["", "area_mm2", "area_mm2 = 3", "area_mm2 <= x", "3 <= area_mm2", "area_mm2 <= 3 mm2", "area_mm2 <= nan"]
)
def test_constraints_refuse(text: str) -> None:
    with pytest.raises(UserError, match="is not a constraint; write METRIC OPERATOR NUMBER"):
        constraints.parse(text)


def test_constraint_with_an_infinite_bound() -> None:
    with pytest.raises(UserError, match="the bound 1e999 is not a finite number"):
        constraints.parse("area_mm2 <= 1e999")


@given(st.sampled_from(constraints.OPERATORS), st.floats(-10, 10), st.floats(-10, 10))
def test_violation_agrees_with_satisfaction(operator: str, bound: float, value: float) -> None:
    constraint = constraints.Constraint("area_mm2", operator, bound)
    metrics = {"area_mm2": value}
    assert (constraint.violation(metrics) <= 0) == constraint.satisfied(metrics)


def test_violation_is_relative_and_infinite_without_a_value() -> None:
    constraint = constraints.parse("area_mm2 <= 4")
    assert constraint.violation({"area_mm2": 5.0}) == pytest.approx(0.25)
    assert constraint.violation({}) == math.inf
    assert not constraint.satisfied({})
