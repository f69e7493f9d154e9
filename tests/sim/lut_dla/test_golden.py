"""Encode, lookup and dequantise of LUT-DLA: hand-made cases, kernels against scalar twins, errors."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import METRICS, Codebook
from lutscape.sim.lut_dla import golden


def twin_distance(a: list[int], b: list[int], metric: str) -> int:
    differences = [abs(x - y) for x, y in zip(a, b, strict=True)]
    if metric == "l2":
        return sum(d * d for d in differences)
    return sum(differences) if metric == "l1" else max(differences)


def twin_encode(x: np.ndarray, centroids: np.ndarray, metric: str) -> list[list[int]]:
    """A chain of distance elements, one comparison at a time."""
    subspaces, _, v = centroids.shape
    found = []
    for row in x.tolist():
        row = row + [0] * (subspaces * v - len(row))
        indices = []
        for k in range(subspaces):
            best, least = 0, None
            for j, centroid in enumerate(centroids[k].tolist()):
                distance = twin_distance(row[k * v : (k + 1) * v], centroid, metric)
                if least is None or distance < least:
                    best, least = j, distance
            indices.append(best)
        found.append(indices)
    return found


def twin_lookup(indices: np.ndarray, tables: np.ndarray, bits: int) -> list[list[int]]:
    half = 1 << (bits - 1)
    rows = []
    for row in indices.tolist():
        sums = []
        for n in range(tables.shape[2]):
            total = 0
            for k, index in enumerate(row):
                total += int(tables[k, index, n])
                total = (total + half) % (2 * half) - half  # the register wraps at every addition
            sums.append(total)
        rows.append(sums)
    return rows


def test_ties_go_to_the_lower_index_in_every_metric() -> None:
    x = np.array([[0, 0], [5, 5]])
    centroids = np.array([[[1, -1], [-1, 1], [1, 1], [-1, -1]]])
    for metric in METRICS:
        for kernel in ("fast", "plain"):
            found = golden.encode(x, centroids, metric, kernel=kernel)
            assert found.tolist() == [[0], [2]]


def test_the_metrics_choose_differently() -> None:
    """From (0, 0): (5, 0) has l1 5, l2 25, chebyshev 5; (3, 3): 6, 18, 3; (-4, 1): 5, 17, 4."""
    x, centroids = np.array([[0, 0]]), np.array([[[5, 0], [3, 3], [-4, 1], [90, 90]]])
    found = {m: golden.encode(x, centroids, m).item() for m in METRICS}
    assert found == {"l1": 0, "l2": 2, "chebyshev": 1}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("v", [1, 3, 9, 32])
def test_the_greatest_distance_fits_its_width_exactly(metric: str, bits: int, v: int) -> None:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    parts, centroids = np.full((1, 1, v), low), np.stack([np.full((1, v), high)] * 2, axis=1)
    largest = int(golden.distances(parts, centroids, metric).max())
    book = Codebook(v=v, c=2, metric=metric, input_bits=bits)
    assert largest.bit_length() == book.distance_bits
    padding = (v - 1).bit_length()
    assert book.distance_bits <= {"chebyshev": bits, "l1": bits + padding, "l2": 2 * bits + padding}[metric]
    nearest = np.stack([np.full((1, v), high), np.full((1, v), high - 1)], axis=1)  # both far; the second is nearer
    assert golden.encode(np.full((1, v), low), nearest, metric, bits).item() == 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_encode_equals_its_twin(data: st.DataObject) -> None:
    draw = data.draw
    metric, bits = draw(st.sampled_from(METRICS)), draw(st.sampled_from([2, 3, 4, 8, 16]))
    v, c = draw(st.integers(1, 10)), draw(st.sampled_from([2, 4, 8, 16, 32]))
    columns, rows = draw(st.integers(1, 25)), draw(st.integers(0, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    low, high = -(1 << (bits - 1)), 1 << (bits - 1)
    x = rng.integers(low, high, (rows, columns))
    centroids = rng.integers(low, high, (-(-columns // v), c, v))
    for kernel in ("fast", "plain"):
        found = golden.encode(x, centroids, metric, bits, kernel)
        assert found.tolist() == twin_encode(x, centroids, metric)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lookup_equals_its_twin(data: st.DataObject) -> None:
    draw = data.draw
    rows, subspaces, columns = draw(st.integers(0, 5)), draw(st.integers(1, 40)), draw(st.integers(1, 20))
    c, kind = draw(st.sampled_from([2, 16, 64])), draw(st.sampled_from([np.int8, np.int16]))
    bits = draw(st.sampled_from([8, 12, 16, 24, 32, 33, 48]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    limits = np.iinfo(kind)
    tables = rng.integers(limits.min, limits.max + 1, (subspaces, c, columns)).astype(kind)
    indices = rng.integers(0, c, (rows, subspaces)).astype(np.uint16)
    for kernel in ("fast", "plain"):
        assert golden.lookup(indices, tables, bits, kernel).tolist() == twin_lookup(indices, tables, bits)


@pytest.mark.parametrize("columns", [1, 255, 256, 257, 700])
def test_long_rows_of_extreme_entries(columns: int) -> None:
    """More subspaces than a 16-bit sum holds, all entries -128 or 127; two threads' worth of work."""
    rng, rows = np.random.default_rng(columns), 65
    tables = np.where(rng.random((1200, 4, columns)) < 0.02, 127, -128).astype(np.int8)
    indices = rng.integers(0, 4, (rows, 1200)).astype(np.uint16)
    np.testing.assert_array_equal(golden.lookup(indices, tables), golden.lookup(indices, tables, kernel="plain"))


def test_dequantise_rounds_in_fp32() -> None:
    sums = np.array([[3, -(2**24) - 1]], np.int32)
    found = golden.dequantise(sums, 0.1, np.array([1.0, 0.0]))
    wanted = [np.float32(3) * np.float32(0.1) + np.float32(1), -np.float32(2**24) * np.float32(0.1)]
    assert found.dtype == np.float32
    assert found.tolist() == [[float(w) for w in wanted]]


def test_multiply_is_the_product_of_centroids_and_weights() -> None:
    """If every sub-vector is a centroid, tables of exact products give the integer matrix product."""
    rng = np.random.default_rng(3)
    centroids = rng.integers(-3, 4, (5, 16, 4))
    chosen = rng.integers(0, 16, (7, 5))
    x = centroids[np.arange(5), chosen].reshape(7, 20)
    weight = rng.integers(-3, 4, (11, 20))
    tables = np.einsum("kjt,nkt->kjn", centroids, weight.reshape(11, 5, 4)).astype(np.int8)
    for metric in METRICS:
        np.testing.assert_array_equal(golden.multiply(x, centroids, tables, metric), x @ weight.T)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x, c, t: golden.encode(x, c, "chebishev"), "unknown metric 'chebishev' (did you mean 'chebyshev'?)"),
        (lambda x, c, t: golden.encode(x * 1.0, c, "l2"), "x is float64, centroids are int64; both must be integers"),
        (lambda x, c, t: golden.encode(x[:, :3], c, "l2"), "K = 3 makes 2 sub-vectors of v = 2, but there are"),
        (lambda x, c, t: golden.encode(x, c[:, :3], "l2"), "c = 3 centroids; must be a power of two"),
        (lambda x, c, t: golden.encode(x + 126, c, "l2"), "x holds 128, beyond 8 bits (-128 … 127)"),
        (lambda x, c, t: golden.encode(x, c - 200, "l2"), "centroids holds -200, beyond 8 bits"),
        (lambda x, c, t: golden.lookup(x[:, :2], t), "needed: (M, Nc) and (Nc, c, N)"),
        (lambda x, c, t: golden.lookup(np.full((2, 3), 4), t), "index 4 is beyond a table of c = 4"),
        (lambda x, c, t: golden.lookup(np.zeros((2, 3), int), t * 1.0), "tables are float64; must be signed integers"),
    ],
)
def test_bad_operands_are_named(call, text: str) -> None:  # type: ignore[no-untyped-def]
    x, centroids = np.full((2, 6), 2), np.zeros((3, 4, 2), np.int64)
    tables = np.zeros((3, 4, 5), np.int8)
    with pytest.raises(UserError, match=re.escape(text)):
        call(x, centroids, tables)
