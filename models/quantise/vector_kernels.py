"""Compiled loops over sub-vectors: nearest centroid, decode, cluster centres, gradients of centroids.

Rows X (R, Nc v) of float32 or of integers that hold every distance; centroids C (Nc, c, v) of the same type. Compiled
once per metric and v, so that the loop over a sub-vector is unrolled and the one over :data:`ROWS` rows vectorised.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.uint16]
ROWS = 128
"""Rows that meet a centroid together."""
SMALL = 1 << 20
"""Operations below which a second thread costs more than it brings."""


def threads() -> int:
    """Return how many threads to use: ``NUMBA_NUM_THREADS``, else the processors of this process."""
    chosen = os.environ.get("NUMBA_NUM_THREADS", "")
    if chosen.isdigit():
        return max(1, int(chosen))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shared(count: int, work: int, call: Callable[[int, int], None]) -> None:
    """Run ``call(first, last)`` on parts of ``count`` things, in several threads if there is enough work."""
    parts = min(threads(), count) if work >= SMALL else 1
    if parts <= 1:
        call(0, count)
        return
    edges = [count * i // parts for i in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        for done in [pool.submit(call, edges[i], edges[i + 1]) for i in range(parts)]:
            done.result()


def nearest(x: np.ndarray, centroids: np.ndarray, metric: str) -> tuple[Indices, np.ndarray]:
    """Return indices (R, Nc) of the nearest centroids, ties to the lower index, and their distances (R, Nc).

    Args:
        x: (R, Nc v).
        centroids: (Nc, c, v), the type of x.
        metric: ``l2`` (sum of squares), ``l1`` or ``chebyshev``.
    """
    subspaces, count, v = centroids.shape
    x, centroids = np.ascontiguousarray(x), np.ascontiguousarray(centroids)
    found, least = np.empty((len(x), subspaces), np.uint16), np.empty((len(x), subspaces), x.dtype)
    run = _finder(metric, v)
    shared(len(x), x.size * count, lambda i, j: run(x[i:j], centroids, found[i:j], least[i:j]))
    return found, least


@cache
def _finder(metric: str, v: int) -> Callable[..., None]:
    from numba import njit

    squares, sums, block = metric == "l2", metric != "chebyshev", ROWS

    @njit(nogil=True, error_model="numpy")
    def run(x, centroids, found, least):  # type: ignore[no-untyped-def]
        rows, subspaces, count = len(x), centroids.shape[0], centroids.shape[1]
        part, best = np.zeros((v, block), x.dtype), np.empty(block, x.dtype)
        chosen, near = np.empty(block, np.int32), np.empty(v, x.dtype)
        for first in range(0, rows, block):
            held = min(block, rows - first)
            for k in range(subspaces):
                for r in range(held):
                    for t in range(v):
                        part[t, r] = x[first + r, k * v + t]
                for j in range(count):
                    for t in range(v):
                        near[t] = centroids[k, j, t]
                    for r in range(block):
                        distance = part[0, r] - near[0]
                        distance = distance * distance if squares else abs(distance)
                        for t in range(1, v):
                            d = part[t, r] - near[t]
                            if squares:
                                distance += d * d
                            elif sums:
                                distance += abs(d)
                            else:
                                distance = max(distance, abs(d))
                        closer = j == 0 or distance < best[r]
                        best[r] = distance if closer else best[r]
                        chosen[r] = j if closer else chosen[r]
                for r in range(held):
                    found[first + r, k] = chosen[r]
                    least[first + r, k] = best[r]

    return run


def gather(indices: Indices, centroids: np.ndarray) -> np.ndarray:
    """Return the rows (R, Nc v) that indices (R, Nc) stand for."""
    subspaces, _, v = centroids.shape
    found = np.empty((len(indices), subspaces * v), centroids.dtype)
    run = _gather(v)
    centroids = np.ascontiguousarray(centroids)
    shared(len(indices), found.size, lambda i, j: run(indices[i:j], centroids, found[i:j]))
    return found


@cache
def _gather(v: int) -> Callable[..., None]:
    from numba import njit

    @njit(nogil=True, error_model="numpy")
    def run(indices, centroids, found):  # type: ignore[no-untyped-def]
        for r in range(len(indices)):
            for k in range(indices.shape[1]):
                j = indices[r, k]
                for t in range(v):
                    found[r, k * v + t] = centroids[k, j, t]

    return run


def scatter(indices: Indices, gradient: np.ndarray, count: int) -> np.ndarray:
    """Return sums (Nc, c, v) of the gradient's sub-vectors (R, Nc v) by index: the gradient of the centroids."""
    subspaces = indices.shape[1]
    found = np.zeros((subspaces, count, gradient.shape[1] // subspaces), np.float32)
    _scatter(found.shape[2])(indices, np.ascontiguousarray(gradient), found)
    return found


@cache
def _scatter(v: int) -> Callable[..., None]:
    from numba import njit

    @njit(nogil=True, error_model="numpy")
    def run(indices, gradient, found):  # type: ignore[no-untyped-def]
        for r in range(len(indices)):
            for k in range(indices.shape[1]):
                j = indices[r, k]
                for t in range(v):
                    found[k, j, t] += gradient[r, k * v + t]

    return run


def plus_plus(x: np.ndarray, count: int, metric: str, draws: np.ndarray) -> np.ndarray:
    """Return starting centroids (Nc, c, v): each is a row drawn with the square of its distance to those before it.

    Args:
        x: (R, Nc v) float32.
        count: c.
        metric: of the distance; the weight is the squared one (of ``l2`` the sum of squares itself).
        draws: (Nc, c) uniform numbers of [0, 1).
    """
    subspaces = len(draws)
    found = np.empty((subspaces, count, x.shape[1] // subspaces), np.float32)
    run = _plus_plus(metric)
    x = np.ascontiguousarray(x)
    shared(subspaces, x.size * count, lambda i, j: run(x, draws, found, i, j))
    return found


@cache
def _plus_plus(metric: str) -> Callable[..., None]:
    from numba import njit

    squares, sums = metric == "l2", metric != "chebyshev"

    @njit(nogil=True, error_model="numpy")
    def run(x, draws, found, begin, end):  # type: ignore[no-untyped-def]
        rows, count, v = len(x), found.shape[1], found.shape[2]
        weight = np.empty(rows, np.float64)
        for k in range(begin, end):
            at = int(draws[k, 0] * rows)
            weight[:] = np.inf
            for j in range(count):
                if j:
                    total = weight.sum()
                    mark, at = draws[k, j] * total, rows - 1
                    for r in range(rows):
                        mark -= weight[r]
                        if mark < 0:
                            at = r
                            break
                for t in range(v):
                    found[k, j, t] = x[at, k * v + t]
                for r in range(rows):
                    distance = 0.0
                    for t in range(v):
                        d = abs(x[r, k * v + t] - found[k, j, t])
                        if squares:
                            distance += d * d
                        elif sums:
                            distance += d
                        else:
                            distance = max(distance, d)
                    weight[r] = min(weight[r], distance if squares else distance * distance)

    return run


def centres(x: np.ndarray, indices: Indices, least: np.ndarray, centroids: np.ndarray, metric: str) -> np.ndarray:
    """Return new centroids (Nc, c, v) of the clusters, and move empty ones to the rows that lie farthest out.

    The centre is what minimises the metric over a cluster: the mean (``l2``, sum of squares), the median of every
    element (``l1``) or the middle of its range (``chebyshev``, the greatest distance). A centroid of an empty cluster
    goes to the row with the greatest distance to its own centroid that no other has been moved to; if every row lies
    on a centroid, it stays where it is.

    Args:
        x: (R, Nc v) float32.
        indices: (R, Nc), of the old centroids.
        least: (R, Nc) distances to them.
        centroids: (Nc, c, v) old ones.
        metric: of the distance.
    """
    found = centroids.copy()
    run = _centres(metric)
    x = np.ascontiguousarray(x)
    shared(len(found), x.size * 8, lambda i, j: run(x, indices, least, found, i, j))
    return found


@cache
def _centres(metric: str) -> Callable[..., None]:
    from numba import njit

    mean, median = metric == "l2", metric == "l1"

    @njit(nogil=True, error_model="numpy")
    def run(x, indices, least, found, begin, end):  # type: ignore[no-untyped-def]
        rows, count, v = len(x), found.shape[1], found.shape[2]
        start, order = np.empty(count + 1, np.int64), np.empty(rows, np.int64)
        values = np.empty(rows, np.float32)
        for k in range(begin, end):
            start[:] = 0
            for r in range(rows):
                start[indices[r, k] + 1] += 1
            for j in range(count):
                start[j + 1] += start[j]
            place = start[:count].copy()
            for r in range(rows):
                j = indices[r, k]
                order[place[j]] = r
                place[j] += 1
            far = least[:, k].copy()
            for j in range(count):
                size = start[j + 1] - start[j]
                if size == 0:
                    out = np.argmax(far)
                    if far[out] > 0:
                        far[out] = 0
                        for t in range(v):
                            found[k, j, t] = x[out, k * v + t]
                    continue
                for t in range(v):
                    for i in range(size):
                        values[i] = x[order[start[j] + i], k * v + t]
                    part = values[:size]
                    if mean:
                        total = 0.0
                        for i in range(size):
                            total += part[i]
                        found[k, j, t] = total / size
                    elif median:
                        found[k, j, t] = np.median(part)
                    else:
                        found[k, j, t] = (part.min() + part.max()) / 2

    return run
