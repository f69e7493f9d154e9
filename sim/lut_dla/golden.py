"""Bit-accurate LUT-DLA: which index a row gets, what the tables add up to, what comes out.

Shapes: activations X (M, K), integers of ``input_bits`` in two's complement, are cut into Nc = ⌈K/v⌉ sub-vectors of v;
the last one is filled up with zeros. Centroids C (Nc, c, v) are integers of the same format and scale, tables
T (Nc, c, N) integers of ``table_bits``.

Encode. All distances are exact integers; with D = 2^input_bits - 1 the greatest difference,

    chebyshev   max_t |x_t - c_t|        at most D          input_bits
    l1          sum_t |x_t - c_t|        at most v D        about input_bits + ⌈log2 v⌉
    l2          sum_t (x_t - c_t)²       at most v D²       about 2 input_bits + ⌈log2 v⌉

bits unsigned (:attr:`lutscape.hw.machines.lut_dla.Codebook.distance_bits`); a signed difference takes one bit more
before its magnitude or square is taken. Centroid j takes over from the nearest one of 0 … j - 1 only if it is strictly
nearer, so that ties stay with the lower index.

Lookup. Y[m, n] = sum_k T[k, idx[m, k], n] modulo 2^accumulator_bits, two's complement; addition modulo a power of two
does not depend on its order, so any dataflow gives these bits.

Dequantise. y = fp32(fp32(Y) · scale), then + bias in FP32; every step rounds to nearest even.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, choose
from lutscape.hw.machines.lut_dla import METRICS

Ints = npt.NDArray[np.signedinteger]
Indices = npt.NDArray[np.uint16]
CHUNK = 1 << 22
"""Distances that the plain model holds at once."""


def subvectors(x: np.ndarray, v: int) -> np.ndarray:
    """Return (M, Nc, v) of (M, K), filled up with zeros.

    >>> subvectors(np.array([[1, 2, 3]]), 2).tolist()
    [[[1, 2], [3, 0]]]
    """
    return np.pad(x, [(0, 0), (0, -x.shape[1] % v)]).reshape(len(x), -(-x.shape[1] // v), v)


def distances(parts: Ints, centroids: Ints, metric: str) -> Ints:
    """Return exact distances (M, Nc, c) int64 of sub-vectors (M, Nc, v) to centroids (Nc, c, v)."""
    difference = np.abs(parts[:, :, None, :].astype(np.int64) - centroids[None].astype(np.int64))
    if metric == "l2":
        return np.asarray((difference * difference).sum(axis=-1))
    return np.asarray(difference.sum(axis=-1) if metric == "l1" else difference.max(axis=-1))


def encode(x: Ints, centroids: Ints, metric: str, input_bits: int = 8, kernel: str = "fast") -> Indices:
    """Return indices (M, Nc) of the nearest centroids; ties go to the lower index.

    Args:
        x: (M, K) integers of ``input_bits``; the last sub-vector is filled up with zeros.
        centroids: (Nc, c, v) integers of ``input_bits``.
        metric: ``l2``, ``l1`` or ``chebyshev``.
        input_bits: of x and centroids, 2 to 16.
        kernel: ``fast`` (compiled) or ``plain`` (numpy); equal bits.

    Raises:
        UserError: shapes that do not fit together, values beyond ``input_bits``, or an unknown metric.

    >>> encode(np.array([[3, 3]]), np.array([[[2, 2], [4, 4]]]), "l1").tolist()
    [[0]]
    """
    choose(metric, METRICS, "metric")
    check_encode(x, centroids, input_bits)
    if kernel == "fast":
        from lutscape.sim.lut_dla import kernels

        return kernels.encode(x, centroids, metric, input_bits)
    subspaces, count, v = centroids.shape
    found = np.empty((len(x), subspaces), np.uint16)
    step = max(1, CHUNK // (subspaces * count * v))
    for first in range(0, len(x), step):
        parts = subvectors(x[first : first + step], v)
        found[first : first + step] = distances(parts, centroids, metric).argmin(axis=-1)  # the first of the least
    return found


def check_encode(x: np.ndarray, centroids: np.ndarray, input_bits: int) -> None:
    """Raise :class:`UserError` unless operands of :func:`encode` fit together."""
    if x.ndim != 2 or centroids.ndim != 3:
        raise UserError(f"encode: x {x.shape}, centroids {centroids.shape}; needed: (M, K) and (Nc, c, v)")
    if not (np.issubdtype(x.dtype, np.integer) and np.issubdtype(centroids.dtype, np.integer)):
        raise UserError(f"encode: x is {x.dtype}, centroids are {centroids.dtype}; both must be integers")
    subspaces, count, v = centroids.shape
    if -(-x.shape[1] // v) != subspaces:
        raise UserError(
            f"encode: K = {x.shape[1]} makes {-(-x.shape[1] // v)} sub-vectors of v = {v}, "
            f"but there are codebooks for {subspaces}"
        )
    if count < 2 or count & (count - 1):
        raise UserError(f"encode: c = {count} centroids; must be a power of two, at least 2")
    half = 1 << (input_bits - 1)
    for name, values in (("x", x), ("centroids", centroids)):
        if values.size and (int(values.min()) < -half or int(values.max()) >= half):
            bad = int(values.min()) if int(values.min()) < -half else int(values.max())
            raise UserError(f"encode: {name} holds {bad}, beyond {input_bits} bits ({-half} … {half - 1})")


def wrap(sums: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Return sums modulo 2^bits in two's complement.

    >>> wrap(np.array([127, 128, -129]), 8).tolist()
    [127, -128, 127]
    """
    half = np.int64(1) << np.int64(bits - 1)
    return np.asarray(((sums + half) & ((half << np.int64(1)) - 1)) - half)


def lookup(indices: np.ndarray, tables: np.ndarray, accumulator_bits: int = 32, kernel: str = "fast") -> Ints:
    """Return accumulators (M, N): int32 for up to 32 bits, int64 above.

    Args:
        indices: (M, Nc) from :func:`encode`.
        tables: (Nc, c, N) integers, int8 in the machine of the paper.
        accumulator_bits: 8 to 48.
        kernel: ``fast`` (compiled) or ``plain`` (numpy); equal bits.

    Raises:
        UserError: shapes that do not fit together, or an index beyond the table.
    """
    check_lookup(indices, tables)
    kind = np.int32 if accumulator_bits <= 32 else np.int64
    if kernel == "fast":
        from lutscape.sim.lut_dla import kernels

        sums = kernels.lookup(indices, tables)
        if sums.dtype == np.int32 and accumulator_bits == 32:
            return sums
        return wrap(sums.astype(np.int64), accumulator_bits).astype(kind)
    total = np.zeros((len(indices), tables.shape[2]), np.int64)
    for entries in entries_of(indices, tables):
        total += entries
    return wrap(total, accumulator_bits).astype(kind)


def entries_of(indices: np.ndarray, tables: np.ndarray) -> Iterator[Ints]:
    """Yield the table rows (M, N) that every subspace adds, subspace by subspace."""
    for k in range(tables.shape[0]):
        yield tables[k, indices[:, k]]


def check_lookup(indices: np.ndarray, tables: np.ndarray) -> None:
    """Raise :class:`UserError` unless operands of :func:`lookup` fit together."""
    if indices.ndim != 2 or tables.ndim != 3 or indices.shape[1] != tables.shape[0]:
        raise UserError(f"lookup: indices {indices.shape}, tables {tables.shape}; needed: (M, Nc) and (Nc, c, N)")
    if not np.issubdtype(tables.dtype, np.signedinteger):
        raise UserError(f"lookup: tables are {tables.dtype}; must be signed integers")
    if indices.size and (int(indices.max()) >= tables.shape[1] or int(indices.min()) < 0):
        raise UserError(f"lookup: index {int(indices.max())} is beyond a table of c = {tables.shape[1]}")


def dequantise(sums: Ints, scale: float, bias: np.ndarray | None = None) -> npt.NDArray[np.float32]:
    """Return (M, N) float32 of accumulators (M, N), the layer's scale and bias (N,) or None."""
    y = sums.astype(np.float32) * np.float32(scale)
    return np.asarray(y if bias is None else y + bias.astype(np.float32))


def multiply(
    x: Ints,
    centroids: Ints,
    tables: np.ndarray,
    metric: str,
    input_bits: int = 8,
    accumulator_bits: int = 32,
    kernel: str = "fast",
) -> Ints:
    """Return accumulators (M, N) of activations (M, K): :func:`encode`, then :func:`lookup`."""
    return lookup(encode(x, centroids, metric, input_bits, kernel), tables, accumulator_bits, kernel)
