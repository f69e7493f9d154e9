"""Sub-vectors, centroids and tables that reach every path of a LUT-DLA: ties, every index, both halves and banks."""

from __future__ import annotations

import numpy as np

from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Beats
from lutscape.sim.lut_dla import golden

Ints = np.ndarray


def centroids(book: Codebook, rng: np.random.Generator, spread: float) -> Ints:
    """Return one codebook (c, v) around zero; ``spread`` is its reach, relative to the range."""
    half = 1 << (book.input_bits - 1)
    reach = max(1, round(half * spread))
    return rng.integers(-reach, reach, (book.c, book.v))


def rows(book: Codebook, rng: np.random.Generator, table: Ints, count: int) -> Ints:
    """Return sub-vectors (count, v): near a centroid, between two, or anywhere."""
    half = 1 << (book.input_bits - 1)
    j, k = rng.integers(0, book.c, (2, count))
    near = table[j] + rng.integers(-1, 2, (count, book.v))
    middle = (table[j] + table[k]) // 2
    anywhere = rng.integers(-half, half, (count, book.v))
    which = rng.integers(0, 3, (count, 1))
    return np.clip(np.choose(which, [near, middle, anywhere]), -half, half - 1)


def corner(book: Codebook, number: int) -> tuple[Ints, Ints]:
    """Return a codebook and sub-vectors that hit what chance may not.

    0: all centroids equal; 1: pairs of equal centroids, a row at each: every even index wins a tie; 2: a row at each
    of distinct centroids: every index; 3: the same with pairs shifted by one: odd indices win ties; 4: extremes.
    """
    half, c, v = 1 << (book.input_bits - 1), book.c, book.v
    # Distinct as long as they fit: a mixed-radix count over the v values, in steps as wide as the range allows.
    radix = 2
    while radix**v < c:
        radix += 1
    step = (2 * half - 1) // (radix - 1)
    digits = (np.arange(c)[:, None] // radix ** np.arange(v)) % radix
    distinct = np.minimum(digits * step - half, half - 1)
    if number == 0:
        return np.tile(distinct[:1], (c, 1)), distinct
    if number == 1:
        return distinct[np.arange(c) // 2 * 2], distinct
    if number == 3:
        pairs = distinct[np.minimum((np.arange(c) + 1) // 2 * 2, c - 1)]
        return pairs, pairs
    if number == 4:
        table = np.where(np.arange(c)[:, None] % 2, half - 1, -half) + np.zeros((c, v), np.int64)
        return table, np.array([np.full(v, -half), np.full(v, half - 1), np.full(v, 0)])
    return distinct, distinct


CORNERS = 5


def encoder(book: Codebook, rng: np.random.Generator, count: int) -> Beats:
    """Return about ``count`` sub-vectors of subspaces of 1 to 3 c rows, corners first."""
    parts: list[tuple[Ints, Ints]] = [corner(book, n) for n in range(CORNERS)]
    total = sum(len(x) for _, x in parts)
    always = [1, 1, 1, book.c + 2]
    while total < count or always:
        length = always.pop() if always else int(rng.integers(1, 3 * book.c + 1))
        table = centroids(book, rng, float(rng.choice([0.02, 0.2, 1.0])))
        parts.append((table, rows(book, rng, table, length)))
        total += length
    first = np.concatenate([np.arange(len(x)) == 0 for _, x in parts]).astype(np.int64)
    return {
        "b": {"centroid": np.concatenate([table for table, _ in parts]).astype(np.int64)},
        "x": {"values": np.concatenate([x for _, x in parts]).astype(np.int64), "first": first[:, None]},
    }


def encoder_bins(book: Codebook, beats: Beats) -> dict[str, int]:
    """Return hits of every index, of ties that each index won, of both halves and of how subspaces follow."""
    values, first = beats["x"]["values"], beats["x"]["first"][:, 0] == 1
    subspace = np.cumsum(first) - 1
    length = np.bincount(subspace)
    tables = beats["b"]["centroid"].reshape(-1, book.c, book.v)
    found = np.empty((len(values), book.c), np.int64)
    for s in range(len(length)):
        mine = subspace == s
        found[mine] = golden.distances(values[mine][:, None], tables[s : s + 1], book.metric)[:, 0]
    index, least = found.argmin(axis=1), found.min(axis=1)
    ties = (found == least[:, None]).sum(axis=1)
    most, half = (1 << book.input_bits) - 1, 1 << (book.input_bits - 1)
    greatest = {"l2": book.v * most * most, "l1": book.v * most, "chebyshev": most}[book.metric]
    hits = {f"index {j}": int((index == j).sum()) for j in range(book.c)}
    hits |= {f"index {j} wins a tie": int(((index == j) & (ties > 1)).sum()) for j in range(book.c - 1)}
    hits |= {
        "all centroids as near": int((ties == book.c).sum()),
        "distance 0": int((least == 0).sum()),
        "greatest distance to a centroid": int((found == greatest).any(axis=1).sum()),
        "first half": int((length[0::2] > 0).sum()),
        "second half": int((length[1::2] > 0).sum()),
        "subspace of one row": int((length == 1).sum()),
        "subspace shorter than its load": int((length[1:-1] < book.c).sum()),
        "subspace longer than a load": int((length > book.c + 1).sum()),
    }
    for name, value in (("least", -half), ("greatest", half - 1)):
        hits[f"{name} value"] = int((values == value).sum())
        hits[f"{name} centroid value"] = int((tables == value).sum())
    return hits
