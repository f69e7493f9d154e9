"""Compiled encode and lookup of LUT-DLA, rows shared out over threads.

Encode. The search of the nearest centroid is the one that makes codebooks, on integers that hold every distance.

Lookup. INT8 rows of a table are added to 16-bit sums of :data:`COLUMNS` neighbouring columns, as many subspaces as fit
(255 · 128 < 2^15), then to the 32-bit sums. Blocks of :data:`BLOCK_BYTES` of tables stay in the second-level cache
while all rows of activations pass: the machine's own LUT-stationary order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

from lutscape.models.quantise import vector_kernels

COLUMNS = 256
"""Columns of a tile."""
IN_INT16 = 255
"""Table entries of at least -128 that a 16-bit sum holds."""
BLOCK_BYTES = 1 << 19
"""Tables that stay while the rows pass: a part of the second-level cache."""


def encode(x: np.ndarray, centroids: np.ndarray, metric: str, input_bits: int) -> npt.NDArray[np.uint16]:
    """Return indices (M, Nc) of x (M, K) integers among centroids (Nc, c, v)."""
    subspaces, _, v = centroids.shape
    greatest = (1 << input_bits) - 1
    largest = {"l2": v * greatest * greatest, "l1": v * greatest, "chebyshev": greatest}[metric]
    kind = np.int32 if largest < 2**31 else np.int64
    padded = np.zeros((len(x), subspaces * v), kind)
    padded[:, : x.shape[1]] = x
    return vector_kernels.nearest(padded, centroids.astype(kind), metric)[0]


def lookup(indices: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Return sums (M, N) of table rows, int32 where it holds every sum, else int64."""
    subspaces, _, columns = tables.shape
    indices = np.ascontiguousarray(indices, dtype=np.uint16)
    tables = np.ascontiguousarray(tables)
    bytes_only = tables.dtype == np.int8
    wide = not bytes_only or subspaces >= 1 << 24
    sums = np.zeros((len(indices), columns), np.int64 if wide else np.int32)
    kernel = _adder(np.int16 if bytes_only else np.int64)
    vector_kernels.shared(len(indices), indices.size * columns, lambda i, j: kernel(indices[i:j], tables, sums[i:j]))
    return sums


@cache
def _adder(kind: type) -> Callable[..., None]:
    from numba import njit

    tile, most, size = COLUMNS, IN_INT16, BLOCK_BYTES

    @njit(nogil=True, error_model="numpy")
    def add(indices, block, first, at, wide, part):  # type: ignore[no-untyped-def]
        """Add the rows of a block (k, c, columns), from column ``at`` on, that the indices of one row name."""
        subspaces, k = len(block), 0
        while wide == tile and k + 4 <= subspaces:  # four at a time: sums are loaded and stored once
            a = block[k, indices[first + k], at : at + tile]
            b = block[k + 1, indices[first + k + 1], at : at + tile]
            c = block[k + 2, indices[first + k + 2], at : at + tile]
            d = block[k + 3, indices[first + k + 3], at : at + tile]
            for j in range(tile):
                part[j] += a[j] + b[j] + c[j] + d[j]
            k += 4
        while k < subspaces:
            row = block[k, indices[first + k], at : at + wide]
            for j in range(wide):
                part[j] += row[j]
            k += 1

    @njit(nogil=True, error_model="numpy")
    def run(indices, tables, sums):  # type: ignore[no-untyped-def]
        subspaces, count, columns = tables.shape
        part: np.ndarray = np.empty(tile, kind)
        chunk = min(most, max(1, size // (count * tile)))
        for n in range(0, columns, tile):
            wide = min(tile, columns - n)
            for first in range(0, subspaces, chunk):
                held = min(chunk, subspaces - first)
                for m in range(len(indices)):
                    part[:] = 0
                    add(indices[m], tables[first : first + held], first, n, wide, part)
                    for j in range(wide):
                        sums[m, n + j] += part[j]

    return run
