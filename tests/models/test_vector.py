"""Codebooks, tables and integer layers: hand-made cases, kernels against scalar twins, errors."""

from __future__ import annotations

import re
from itertools import product
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import METRICS
from lutscape.models.quantise import vector, vector_kernels


def distance(a: np.ndarray, b: np.ndarray, metric: str) -> float:
    d = [abs(float(x) - float(y)) for x, y in zip(a, b, strict=True)]
    return {"l2": sum(x * x for x in d), "l1": sum(d), "chebyshev": max(d)}[metric]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_nearest_equals_its_twin(data: st.DataObject) -> None:
    """Small whole numbers, so that ties are common and float sums exact; more rows than a block of the kernel."""
    draw = data.draw
    metric, v, c = draw(st.sampled_from(METRICS)), draw(st.integers(1, 9)), draw(st.sampled_from([2, 4, 16]))
    rows, subspaces = draw(st.sampled_from([0, 1, 5, 127, 128, 131])), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from([np.float32, np.int32]))
    x = rng.integers(-3, 4, (rows, subspaces * v)).astype(kind)
    centroids = rng.integers(-3, 4, (subspaces, c, v)).astype(kind)
    found, least = vector_kernels.nearest(x, centroids, metric)
    for r, k in product(range(rows), range(subspaces)):
        far = [distance(x[r, k * v : (k + 1) * v], centroid, metric) for centroid in centroids[k]]
        assert found[r, k] == far.index(min(far))
        assert least[r, k] == min(far)


def test_two_threads_give_the_bits_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, found = rng.standard_normal((5000, 24)).astype(np.float32), []
    for threads in ("1", "2"):
        monkeypatch.setenv("NUMBA_NUM_THREADS", threads)
        books = vector.codebooks(x, 4, 16, "l2", 7)
        found.append((books.centroids.tobytes(), books.encode(x).tobytes()))
    assert found[0] == found[1]


@pytest.mark.parametrize("metric", METRICS)
def test_the_centre_is_the_best_point_of_its_cluster(metric: str) -> None:
    """Mean, median and middle of the range: no point of a fine grid does better, of what each of them minimises."""
    rng = np.random.default_rng(5)
    x = rng.exponential(1, (31, 2)).astype(np.float32)
    indices, least = np.zeros((31, 1), np.uint16), np.ones((31, 1), np.float32)
    centre = vector_kernels.centres(x, indices, least, np.zeros((1, 2, 2), np.float32), metric)[0, 0]
    wanted = {
        "l2": x.mean(0),
        "l1": [median(x[:, 0].tolist()), median(x[:, 1].tolist())],
        "chebyshev": (x.min(0) + x.max(0)) / 2,
    }[metric]
    np.testing.assert_allclose(centre, wanted, rtol=1e-6)
    combine = max if metric == "chebyshev" else sum
    cost = combine(distance(row, centre, metric) for row in x)
    for point in product(np.linspace(0, 4, 41), repeat=2):
        assert combine(distance(row, np.array(point), metric) for row in x) >= cost - 1e-5


@pytest.mark.parametrize("metric", METRICS)
def test_kmeans_finds_clusters_that_lie_apart(metric: str) -> None:
    rng = np.random.default_rng(2)
    points = rng.permutation(np.array([[i, j] for i in (0, 10, 20, 30) for j in (0, 10, 20, 30)], np.float32))
    x = np.repeat(points, 20, axis=0) + rng.uniform(-0.1, 0.1, (320, 2)).astype(np.float32)
    books = vector.codebooks(x, 2, 16, metric, 0)
    assert np.abs(books.decode(books.encode(x)) - x).max() < 0.21
    assert books.unused() == 0


@pytest.mark.parametrize("metric", METRICS)
def test_rounds_of_kmeans_do_not_raise_the_error(metric: str) -> None:
    x = np.random.default_rng(3).standard_normal((500, 12)).astype(np.float32)
    errors = []
    for rounds in (0, 1, 3, 10):
        books = vector.codebooks(x, 4, 8, metric, 1, iterations=rounds)
        least = vector_kernels.nearest(x, books.centroids, metric)[1]
        errors.append(least.max() if metric == "chebyshev" else least.mean())
    if metric != "chebyshev":  # the greatest distance may rise when a border row changes its cluster
        assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


def test_an_empty_cluster_takes_the_row_that_lies_farthest_out() -> None:
    x = np.array([[0.0], [1.0], [9.0], [2.0]], np.float32)
    centroids = np.array([[[0.0], [50.0]]], np.float32)  # nothing is nearest to 50
    indices, least = vector_kernels.nearest(x, centroids, "l2")
    assert indices.tolist() == [[0]] * 4
    assert vector_kernels.centres(x, indices, least, centroids, "l2").tolist() == [[[3.0], [9.0]]]


def test_fewer_different_rows_than_centroids_leave_copies_that_are_never_chosen() -> None:
    x = np.repeat(np.array([[1.0, 2.0], [5.0, 5.0], [0.0, 0.0]], np.float32), 10, axis=0)
    for metric in METRICS:
        books = vector.codebooks(x, 2, 8, metric, 0)
        assert books.unused() == 5
        assert np.array_equal(books.decode(books.encode(x)), x)
        assert len(np.unique(books.encode(x))) == 3
    still = vector.codebooks(np.zeros((4, 3)), 2, 4, "l2", 0)
    assert not still.centroids.any()


def test_v_that_does_not_divide_the_columns_is_filled_up_with_zeros() -> None:
    rng = np.random.default_rng(4)
    x, weight = rng.standard_normal((300, 10)).astype(np.float32), rng.standard_normal((6, 10)).astype(np.float32)
    books = vector.codebooks(x, 4, 16, "l2", 0)
    assert books.centroids.shape == (3, 16, 4)
    assert not books.centroids[2, :, 2:].any()
    indices, tables = books.encode(x), vector.products(books, weight)
    assert books.decode(indices).shape == (300, 10)
    summed = sum(tables[k][indices[:, k]] for k in range(3))
    np.testing.assert_allclose(summed, books.decode(indices) @ weight.T, rtol=1e-4, atol=1e-4)


def test_tables_have_one_symmetric_scale() -> None:
    tables = np.array([[[1.0, -2.54], [0.31, 0.0]]], np.float32)
    codes, scale = vector.quantise_tables(tables)
    assert scale == np.float32(np.float64(np.float32(2.54)) / 127)
    assert codes.dtype == np.int8
    assert codes.tolist() == [[[50, -127], [16, 0]]]  # 0.31 / 0.02 = 15.5: halves go to even
    zero, one = vector.quantise_tables(np.zeros((1, 2, 2), np.float32))
    assert (zero.any(), one) == (False, 1)
    assert vector.quantise_tables(tables, 16)[0].dtype == np.int16


def test_an_integer_layer_comes_close_to_the_exact_one() -> None:
    rng = np.random.default_rng(6)
    x, weight = rng.standard_normal((400, 8)).astype(np.float32), rng.standard_normal((5, 8)).astype(np.float32)
    books = vector.codebooks(x, 2, 16, "l2", 0)
    layer = vector.integer_layer(books, weight, None, np.abs(x).max(axis=0))
    assert np.abs(layer.quantise(x)).reshape(400, 4, 2).max(axis=(0, 2)).tolist() == [127] * 4  # each its own scale
    scales = layer.input_scales[:, None, None]
    assert (np.abs(layer.centroids * scales - books.centroids) <= scales / 2 + 1e-6).all()
    exact = books.decode(books.encode(x)) @ weight.T
    indices = books.encode(x)
    sums = sum(layer.tables[k][indices[:, k]].astype(np.int32) for k in range(4))
    assert np.abs(sums * layer.table_scale - exact).max() <= 4 * layer.table_scale / 2 + 1e-5


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"c": 12}, "activations: c = 12; must be a power of two, 2 to 1024; nearest: 8 or 16"),
        ({"c": 1}, "c = 1; must be a power of two, 2 to 1024; nearest: 2"),
        ({"c": 4096}, "c = 4096; must be a power of two, 2 to 1024; nearest: 1024"),
        ({"v": 0}, "activations: v = 0; allowed: 1 to 32"),
        ({"metric": "l3"}, "unknown metric 'l3'; allowed: chebyshev, l1, l2"),
        ({"x": np.zeros((0, 4))}, "samples of shape (0, 4)"),
        (
            {"x": np.array([[1, 2], [3, np.nan]]), "where": "inputs of conv1"},
            "inputs of conv1: 1 of 4 values are not finite, the first (nan) in row 1, column 1",
        ),
    ],
)
def test_bad_parameters_are_named(change: dict, text: str) -> None:
    arguments = {"x": np.ones((4, 4)), "v": 2, "c": 4, "metric": "l2", "seed": 0} | change
    with pytest.raises(UserError, match=re.escape(text)):
        vector.codebooks(**arguments)


def test_bad_layers_are_named() -> None:
    books = vector.codebooks(np.ones((4, 4)), 2, 4, "l2", 0)
    with pytest.raises(UserError, match=re.escape("weight of shape (3, 5); codebooks are of K = 4 columns")):
        vector.integer_layer(books, np.ones((3, 5)), None, np.ones(4))
    with pytest.raises(UserError, match=re.escape("input: 1 bits; allowed: 2 to 16")):
        vector.integer_layer(books, np.ones((3, 4)), None, np.ones(4), input_bits=1)
    with pytest.raises(UserError, match="weight: 1 of 12 values are not finite"):
        vector.integer_layer(books, np.where(np.eye(3, 4) * np.arange(4) == 2, np.inf, 1.0), None, np.ones(4))
    with pytest.raises(UserError, match=re.escape("tables: 17 bits")):
        vector.quantise_tables(np.ones((1, 2, 2), np.float32), 17)
