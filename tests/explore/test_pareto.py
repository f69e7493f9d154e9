"""Fronts, hypervolume and the recommended design against naive twins."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lutscape.explore import pareto

Points = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 60), st.integers(1, 4)),
    elements=st.one_of(st.integers(0, 6).map(float), st.just(float("nan"))),
)


def naive_front(points: np.ndarray) -> np.ndarray:
    front = []
    for p in points:
        beaten = any((q <= p).all() and (q < p).any() for q in points if not np.isnan(q).any())
        front.append(not np.isnan(p).any() and not beaten)
    return np.array(front)


@given(Points)
@settings(max_examples=100, deadline=None)
def test_front_is_the_naive_front(points: np.ndarray) -> None:
    assert (pareto.non_dominated(points) == naive_front(points)).all()


def test_front_across_chunks() -> None:
    points = np.random.default_rng(0).random((1500, 3)).round(2)
    assert (pareto.non_dominated(points) == naive_front(points)).all()


def naive_volume(points: np.ndarray, reference: np.ndarray) -> float:
    """Count unit cells of an integer grid that some point dominates."""
    cells = itertools.product(*(range(int(r)) for r in reference))
    return float(sum(any((p <= c).all() for p in points) for c in map(np.array, cells)))


@given(hnp.arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.integers(0, 7).map(float)))
@settings(max_examples=80, deadline=None)
def test_hypervolume_counts_cells(points: np.ndarray) -> None:
    reference = np.full(points.shape[1], 6.0)
    assert pareto.hypervolume(points, reference) == pytest.approx(naive_volume(points, reference))


def test_costs_turn_maximised_metrics_round() -> None:
    found = pareto.costs([np.array([1.0, 2.0]), np.array([5.0, 6.0])], ["latency_s", "tokens_per_s"])
    assert found.tolist() == [[1.0, -5.0], [2.0, -6.0]]


def test_knee_is_nearest_to_the_ideal_in_logarithms() -> None:
    # Over the front both objectives span a factor of 100; (2, 2) is nearest the ideal (1, 1).
    points = np.array([[1.0, 100.0], [2.0, 2.0], [100.0, 1.0], [200.0, 200.0], [10.0, 1.9]])
    assert pareto.knee(points) == 1
    assert pareto.knee(points * np.array([1e-3, 1e6])) == 1  # units do not matter


def test_knee_does_not_mix_up_maximised_metrics() -> None:
    points = pareto.costs([np.array([1.0, 1.2, 9.0]), np.array([1.0, 90.0, 100.0])], ["area_mm2", "tokens_per_s"])
    assert pareto.knee(points) == 1


def test_knee_of_one_objective_is_the_best_and_of_one_point_that_point() -> None:
    assert pareto.knee(np.array([[3.0], [1.0], [2.0]])) == 1
    assert pareto.knee(np.array([[3.0, 1.0]])) == 0


def test_convergence_rises_to_one_and_counts_feasible_points_alone() -> None:
    points = np.array([[4.0, 4.0], [1e-3, 1e-3], [2.0, 8.0], [1.0, 16.0], [8.0, 2.0]])
    feasible = np.array([True, False, True, True, True])
    volumes = pareto.convergence(points, feasible, [1, 2, 3, 4, 5])
    assert volumes[0] == volumes[1]
    assert (np.diff(volumes) >= 0).all()
    assert volumes[-1] == pytest.approx(1.0)
    assert np.isnan(pareto.convergence(points, np.zeros(5, bool), [5])).all()
