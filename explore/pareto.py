"""Non-dominated designs, hypervolume, and the one design a report recommends.

All functions take costs: (designs, objectives) float arrays in which smaller is better; a metric
to be maximised enters negated (:func:`costs`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lutscape.hw.ppa import METRICS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
CHUNK = 256


def costs(columns: Sequence[Floats], objectives: Sequence[str]) -> Floats:
    """Stack objective columns, negating those that are maximised: (designs, objectives)."""
    signs = [-1.0 if METRICS[name][1] == "maximize" else 1.0 for name in objectives]
    return np.stack([s * np.asarray(c, np.float64) for s, c in zip(signs, columns, strict=True)], axis=1)


def non_dominated(points: Floats) -> Bools:
    """Return which points no other point dominates; equal points keep each other.

    A point dominates another if it is nowhere worse and somewhere better. Points with NaN are out.

    Args:
        points: (n, m) costs.
    """
    front = np.zeros(len(points), dtype=bool)
    valid = np.flatnonzero(~np.isnan(points).any(axis=1))
    unique, inverse = np.unique(points[valid], axis=0, return_inverse=True)  # sorted by the first cost
    kept = np.ones(len(unique), dtype=bool)
    survivors = np.empty((0, points.shape[1]))
    # In lexicographic order only earlier points can dominate later ones.
    for start in range(0, len(unique), CHUNK):
        block = unique[start : start + CHUNK]
        beaten = _dominated(block, survivors) if len(survivors) else np.zeros(len(block), dtype=bool)
        rest = np.flatnonzero(~beaten)
        inside = _dominated(block[rest], block[rest])
        alive = rest[~inside]
        kept[start : start + CHUNK] = False
        kept[start + alive] = True
        survivors = np.concatenate([survivors, block[alive]])
    front[valid] = kept[inverse.reshape(-1)]
    return front


def _dominated(points: Floats, by: Floats) -> Bools:
    """Return which distinct points some point of ``by`` dominates (equal ones do not)."""
    beaten = np.zeros(len(points), dtype=bool)
    for start in range(0, len(by), 4 * CHUNK):
        other = by[None, start : start + 4 * CHUNK]  # (1, b, m)
        worse_or_equal = np.all(other <= points[:, None], axis=2)
        better = np.any(other < points[:, None], axis=2)
        beaten |= np.any(worse_or_equal & better, axis=1)
    return beaten


def hypervolume(points: Floats, reference: Floats) -> float:
    """Return the exact volume between a set of points and a reference point.

    Points beyond the reference in any objective count nothing. Dimension by dimension slicing:
    fit for fronts of some hundred points in up to four objectives.

    Args:
        points: (n, m) costs.
        reference: (m,) worst corner.
    """
    inside = points[(points < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    return _volume(inside[non_dominated(inside)], reference)


def _volume(points: Floats, reference: Floats) -> float:
    if points.shape[1] == 1:
        return float(reference[0] - points[:, 0].min())
    if points.shape[1] == 2:
        ordered = points[np.lexsort((points[:, 1], points[:, 0]))]
        ceiling = np.minimum.accumulate(ordered[:, 1])
        widths = np.append(ordered[1:, 0], reference[0]) - ordered[:, 0]
        return float((widths * (reference[1] - ceiling)).sum())
    order = np.argsort(points[:, -1], kind="stable")
    ordered = points[order]
    tops = np.append(ordered[1:, -1], reference[-1])
    total = 0.0
    for index, (point, top) in enumerate(zip(ordered, tops, strict=True)):
        if top > point[-1]:
            slab = ordered[: index + 1, :-1]
            if slab.shape[1] > 2:  # in the plane, sorting does it
                slab = slab[non_dominated(slab)]
            total += float(top - point[-1]) * _volume(slab, reference[:-1])
    return total


def scaled(points: Floats, ideal: Floats, nadir: Floats) -> Floats:
    """Return costs mapped so that ideal = 0 and nadir = 1, in logarithms where all are positive.

    Maximised metrics (negative costs) are mapped through the logarithm of their reciprocal.
    """
    columns = []
    for column, low, high in zip(points.T, ideal, nadir, strict=True):
        if low > 0:
            column, low, high = np.log(column), np.log(low), np.log(high)
        elif high < 0:
            column, low, high = -np.log(-column), -np.log(-low), -np.log(-high)
        columns.append((column - low) / (high - low) if high > low else np.zeros_like(column))
    return np.stack(columns, axis=1)


def knee(points: Floats) -> int:
    """Return the index of the design a report recommends.

    It is the point of the front with the smallest Euclidean distance to the ideal point (best value of
    every objective), each objective scaled by :func:`scaled` to 0 … 1 over the front, so that halving
    the latency weighs as much as halving the area wherever on the front they span the same factor.
    With one objective it is the best point. Ties go to the first.

    Args:
        points: (n, m) costs without NaN, n >= 1.
    """
    candidates = np.flatnonzero(non_dominated(points))
    front = points[candidates]
    distance = np.linalg.norm(scaled(front, front.min(axis=0), front.max(axis=0)), axis=1)
    return int(candidates[int(np.argmin(distance))])


def convergence(points: Floats, feasible: Bools, checkpoints: Sequence[int]) -> Floats:
    """Return the hypervolume after each number of trials, relative to that after all of them.

    Objectives are scaled by :func:`scaled` over the final front, reference point at 1.1 (NaN without
    a feasible design).

    Args:
        points: (n, m) costs in the order of trials; rows that are not feasible may be NaN.
        feasible: (n,) which may count.
        checkpoints: numbers of trials, ascending.
    """
    good = points[feasible]
    if not len(good):
        return np.full(len(checkpoints), np.nan)
    final = good[non_dominated(good)]
    ideal, nadir = final.min(axis=0), final.max(axis=0)
    space = np.full(points.shape, np.inf)
    space[feasible] = scaled(good, ideal, nadir)
    reference = np.full(points.shape[1], 1.1)
    volumes: list[float] = []
    front = np.empty((0, points.shape[1]))
    done = 0
    for stop in checkpoints:
        new = space[done:stop]
        new = new[(new < reference).all(axis=1)]
        done = stop
        before = front
        if len(new):
            front = np.unique(np.concatenate([front, new]), axis=0)
            front = front[non_dominated(front)]
        unchanged = volumes and np.array_equal(front, before)
        volumes.append(volumes[-1] if unchanged else hypervolume(front, reference))
    whole = volumes[-1] or 1.0
    return np.array(volumes) / whole
