"""Vector quantisation: codebooks of short vectors by k-means, and tables of their products with weights.

Rows X (R, K) are cut into Nc = ⌈K/v⌉ sub-vectors of v, the last one filled up with zeros; every subspace has a codebook
of c centroids, c a power of two. A row becomes Nc indices of log2 c bits:

    idx[r, k] = argmin_j d(X[r, k v : (k+1) v], C[k, j])          ties go to the lower index
    T[k, j, n] = sum_t C[k, j, t] W[n, k v + t]
    Y[r, n] = sum_k T[k, idx[r, k], n]

Distances: ``l2`` (sum of squares), ``l1`` (sum of magnitudes), ``chebyshev`` (greatest magnitude); the centre of a
cluster is the mean, the median of every element, or the middle of its range, which minimise these.

The same codebooks quantise activations (this module), weights (:mod:`.vector_weights`) and keys and values
(:mod:`.vector_kv`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, choose
from lutscape.hw.machines.lut_dla import METRICS
from lutscape.models.quantise import vector_kernels as kernels

Single = npt.NDArray[np.float32]
Step = Callable[[int, int], None]
"""How many rounds are done, of how many."""

LARGEST_V, LARGEST_C = 32, 1024
ITERATIONS = 20
"""Rounds of k-means at most; fewer if no index changes any more."""


def check_parameters(v: int, c: int, metric: str, where: str = "codebook") -> None:
    """Raise :class:`UserError` unless v, c and the metric are those of a machine."""
    choose(metric, METRICS, "metric")
    if not 1 <= v <= LARGEST_V:
        raise UserError(f"{where}: v = {v}; allowed: 1 to {LARGEST_V}")
    if c < 2 or c > LARGEST_C or c & (c - 1):
        below = min(LARGEST_C, max(2, 1 << max(1, c.bit_length() - 1))) if c > 1 else 2
        both = f"{below} or {2 * below}" if below < LARGEST_C and c > 2 else f"{below}"
        raise UserError(f"{where}: c = {c}; must be a power of two, 2 to {LARGEST_C}; nearest: {both}")


def padded(x: np.ndarray, v: int) -> Single:
    """Return (R, Nc v) float32 of (R, K), filled up with zeros.

    >>> padded(np.ones((1, 3)), 2).tolist()
    [[1.0, 1.0, 1.0, 0.0]]
    """
    short = -x.shape[-1] % v
    x = x.astype(np.float32, copy=False)
    return np.pad(x, [(0, 0), (0, short)]) if short else x


@dataclass(frozen=True)
class Codebooks:
    """Centroids of all subspaces of K.

    Attributes:
        centroids: (Nc, c, v) float32; elements beyond K are zero.
        metric: ``l2``, ``l1`` or ``chebyshev``.
        columns: K.
    """

    centroids: Single
    metric: str
    columns: int

    @property
    def v(self) -> int:
        """Values of a sub-vector."""
        return int(self.centroids.shape[2])

    @property
    def c(self) -> int:
        """Centroids of a subspace."""
        return int(self.centroids.shape[1])

    @property
    def subspaces(self) -> int:
        """Nc = ⌈K/v⌉."""
        return int(self.centroids.shape[0])

    @property
    def bits_per_value(self) -> float:
        """log2(c) / v."""
        return (self.c.bit_length() - 1) / self.v

    def encode(self, x: np.ndarray) -> kernels.Indices:
        """Return indices (R, Nc) of rows (R, K)."""
        return kernels.nearest(padded(x, self.v), self.centroids, self.metric)[0]

    def decode(self, indices: kernels.Indices) -> Single:
        """Return the rows (R, K) that indices stand for."""
        return kernels.gather(indices, self.centroids)[:, : self.columns]

    def unused(self) -> int:
        """Return how many centroids are copies of a lower one of their subspace, which no row is ever given."""
        return sum(self.c - len(np.unique(book, axis=0)) for book in self.centroids)


def codebooks(
    x: np.ndarray,
    v: int,
    c: int,
    metric: str,
    seed: int,
    *,
    iterations: int = ITERATIONS,
    where: str = "activations",
    step: Step | None = None,
) -> Codebooks:
    """Return codebooks of sampled rows by k-means, started as k-means++.

    An empty cluster takes over the row that lies farthest from its own centroid. Where a subspace holds fewer than c
    different sub-vectors, the centroids left over are copies, which are never the nearest (:meth:`Codebooks.unused`).

    Args:
        x: (R, K) samples.
        v: values of a sub-vector; K is filled up with zeros to a multiple.
        c: centroids of a subspace, a power of two.
        metric: ``l2``, ``l1`` or ``chebyshev``.
        seed: of the start; equal seeds give equal bits.
        iterations: rounds at most.
        where: what is quantised, for messages.
        step: called after every round.

    Raises:
        UserError: parameters, samples that are not finite, or none at all.
    """
    check_parameters(v, c, metric, where)
    if x.ndim != 2 or not len(x) or not x.shape[1]:
        raise UserError(f"{where}: samples of shape {x.shape}; needed: at least one row and one column")
    check_finite(x, where)
    rows = padded(x, v)
    draws = np.random.default_rng(seed).random((rows.shape[1] // v, c))
    centroids = kernels.plus_plus(rows, c, metric, draws)
    before: kernels.Indices | None = None
    for done in range(iterations):
        indices, least = kernels.nearest(rows, centroids, metric)
        if before is not None and np.array_equal(before, indices):
            break
        centroids = kernels.centres(rows, indices, least, centroids, metric)
        before = indices
        if step is not None:
            step(done + 1, iterations)
    return Codebooks(centroids, metric, x.shape[1])


def check_finite(x: np.ndarray, where: str) -> None:
    """Raise :class:`UserError` that names the first value of (R, K) that is no finite number."""
    bad = np.argwhere(~np.isfinite(x))
    if len(bad):
        row, column = bad[0]
        raise UserError(
            f"{where}: {len(bad)} of {x.size} values are not finite, the first ({x[row, column]}) in row {row}, "
            f"column {column}"
        )


def products(books: Codebooks, weight: np.ndarray) -> Single:
    """Return exact tables (Nc, c, N) float32 of codebooks and a weight (N, K)."""
    parts = padded(weight, books.v).reshape(len(weight), books.subspaces, books.v)
    return np.ascontiguousarray(np.matmul(books.centroids, parts.transpose(1, 2, 0)))


def quantise_tables(tables: Single, bits: int = 8) -> tuple[np.ndarray, np.float32]:
    """Return integer tables and the layer's one scale, max|T| / (2^(bits-1) - 1); int8 up to 8 bits, else int16.

    Raises:
        UserError: bits beyond 2 to 16, or tables that are not finite.
    """
    if not 2 <= bits <= 16:
        raise UserError(f"tables: {bits} bits; allowed: 2 to 16")
    top = (1 << (bits - 1)) - 1
    largest = float(np.abs(tables).max(initial=0.0))
    if not np.isfinite(largest):
        raise UserError("tables: entries are not finite")
    scale = np.float32(largest / top) if largest > np.finfo(np.float32).tiny * top else np.float32(1)
    codes = np.clip(np.rint(tables / scale), -top, top)
    return codes.astype(np.int8 if bits <= 8 else np.int16), scale


@dataclass(frozen=True)
class VectorLayer:
    """A linear layer as the machine holds it: integer centroids and tables.

    Attributes:
        centroids: (Nc, c, v) int16, within ``input_bits``.
        tables: (Nc, c, N) int8 or int16.
        input_scales: (Nc,) float32; an activation a of subspace k is rint(a / input_scales[k]), clipped to
            ``input_bits``. The encoder compares within a subspace only, so subspaces need no common scale.
        table_scale: what a unit of the tables stands for.
        bias: (N,) float32, or None.
        metric: ``l2``, ``l1`` or ``chebyshev``.
        input_bits: of activations and centroids.
        table_bits: of a table entry.
        columns: K.
    """

    centroids: npt.NDArray[np.int16]
    tables: np.ndarray
    input_scales: Single
    table_scale: float
    bias: Single | None
    metric: str
    input_bits: int
    table_bits: int
    columns: int

    def quantise(self, x: np.ndarray) -> npt.NDArray[np.int16]:
        """Return activations (R, K) as integers of ``input_bits``."""
        return integers(x, self.input_scales, self.centroids.shape[2], self.input_bits).astype(np.int16)


def integer_centroids(books: Codebooks, largest: np.ndarray, bits: int = 8) -> tuple[npt.NDArray[np.int16], Single]:
    """Return centroids (Nc, c, v) as integers and the scale (Nc,) of each subspace.

    Args:
        books: centroids.
        largest: (K,) greatest magnitudes of sampled activations; with those of the centroids they set the scales.
        bits: of activations and centroids, 2 to 16.

    Raises:
        UserError: bits out of range.
    """
    if not 2 <= bits <= 16:
        raise UserError(f"input: {bits} bits; allowed: 2 to 16")
    top = (1 << (bits - 1)) - 1
    sampled = padded(largest[None], books.v).reshape(books.subspaces, books.v).max(axis=1)
    reach = np.maximum(np.abs(books.centroids).max(axis=(1, 2)), sampled) / np.float32(top)
    scales = np.where(reach > np.finfo(np.float32).tiny, reach, 1).astype(np.float32)
    return np.clip(np.rint(books.centroids / scales[:, None, None]), -top, top).astype(np.int16), scales


def integers(x: np.ndarray, scales: Single, v: int, bits: int) -> Single:
    """Return activations (R, K) as whole numbers of ``bits`` in float32: clip(rint(x / scale of the subspace))."""
    top = np.float32((1 << (bits - 1)) - 1)
    y: Single = np.asarray(x / np.repeat(scales, v)[: x.shape[1]], np.float32)
    np.rint(y, out=y)
    return np.clip(y, -top, top, out=y)


def integer_layer(
    books: Codebooks,
    weight: np.ndarray,
    bias: np.ndarray | None,
    largest: np.ndarray,
    *,
    input_bits: int = 8,
    table_bits: int = 8,
    tables: Single | None = None,
) -> VectorLayer:
    """Return a layer in the machine's integers.

    Args:
        books: centroids.
        weight: (N, K).
        bias: (N,) or None.
        largest: (K,) greatest magnitudes of sampled activations; with those of the centroids they set the scales.
        input_bits: of activations and centroids, 2 to 16.
        table_bits: of table entries, 2 to 16.
        tables: (Nc, c, N) instead of the exact products.

    Raises:
        UserError: bits out of range, or weights that do not fit the codebooks.
    """
    if weight.ndim != 2 or weight.shape[1] != books.columns:
        raise UserError(f"weight of shape {weight.shape}; codebooks are of K = {books.columns} columns")
    check_finite(weight, "weight")
    centroids, scales = integer_centroids(books, largest, input_bits)
    codes, table_scale = quantise_tables(products(books, weight) if tables is None else tables, table_bits)
    own = None if bias is None else bias.astype(np.float32)
    return VectorLayer(
        centroids, codes, scales, float(table_scale), own, books.metric, input_bits, table_bits, books.columns
    )
