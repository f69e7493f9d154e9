"""Compiled encode and lookup of LUT-DLA, rows shared out over threads.

Encode. Centroids lie (Nc, v, c), so that one element of a sub-vector meets all centroids at once. Distance and index
are one number, distance · c + j: its least is the nearest centroid and, among equals, the lowest index.

Lookup. INT8 rows of a table are added to 16-bit sums of :data:`COLUMNS` neighbouring columns, as many subspaces as fit
(255 · 128 < 2^15), then to the 32-bit sums. The rows of :data:`BLOCK_BYTES` of tables stay in the first- or
second-level cache while all rows of activations pass: the machine's own LUT-stationary order.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import numpy.typing as npt

COLUMNS = 256
"""Columns of a tile."""
IN_INT16 = 255
"""Table entries of at least -128 that a 16-bit sum holds."""
BLOCK_BYTES = 1 << 18
"""Tables that stay while the rows pass: a part of the second-level cache."""
SMALL = 1 << 20
"""Operations below which a second thread costs more than it brings."""


def threads() -> int:
    """Return how many threads to use: ``NUMBA_NUM_THREADS``, else the processors of this process."""
    chosen = os.environ.get("NUMBA_NUM_THREADS", "")
    return max(1, int(chosen)) if chosen.isdigit() else len(os.sched_getaffinity(0))


def over_rows(rows: int, work: int, call: Callable[[int, int], None]) -> None:
    """Run ``call(first, last)`` on blocks of rows, in several threads if there is enough work."""
    count = min(threads(), rows) if work >= SMALL else 1
    if count <= 1:
        call(0, rows)
        return
    edges = [rows * i // count for i in range(count + 1)]
    with ThreadPoolExecutor(count) as pool:
        for done in [pool.submit(call, edges[i], edges[i + 1]) for i in range(count)]:
            done.result()


def encode(x: np.ndarray, centroids: np.ndarray, metric: str, input_bits: int) -> npt.NDArray[np.uint16]:
    """Return indices (M, Nc) of x (M, K) integers among centroids (Nc, c, v)."""
    subspaces, count, v = centroids.shape
    greatest = (1 << input_bits) - 1
    largest = {"l2": v * greatest * greatest, "l1": v * greatest, "chebyshev": greatest}[metric] * count + count
    kind = np.int32 if largest < 2**31 else np.int64
    padded = np.zeros((len(x), subspaces * v), kind)
    padded[:, : x.shape[1]] = x
    turned = np.ascontiguousarray(centroids.transpose(0, 2, 1), dtype=kind)  # (Nc, v, c)
    found = np.empty((len(x), subspaces), np.uint16)
    kernel = _encoder(metric)
    over_rows(len(x), padded.size * count, lambda i, j: kernel(padded[i:j], turned, found[i:j]))
    return found


@cache
def _encoder(metric: str) -> Callable[..., None]:
    from numba import njit

    squares, sums = metric == "l2", metric != "chebyshev"

    @njit(nogil=True, error_model="numpy")
    def run(x, centroids, found):  # type: ignore[no-untyped-def]
        subspaces, v, count = centroids.shape
        key = np.empty(count, x.dtype)
        for k in range(subspaces):
            for m in range(len(x)):
                key[:] = 0
                for t in range(v):
                    a = x[m, k * v + t]
                    for j in range(count):
                        d = a - centroids[k, t, j]
                        if squares:
                            key[j] += d * d
                        elif sums:
                            key[j] += abs(d)
                        else:
                            key[j] = max(key[j], abs(d))
                least = key[0] * count
                for j in range(1, count):
                    least = min(least, key[j] * count + j)
                found[m, k] = least % count

    return run  # type: ignore[no-any-return]


def lookup(indices: np.ndarray, tables: np.ndarray) -> np.ndarray:
    """Return sums (M, N) of table rows, int32 where it holds every sum, else int64."""
    subspaces, _, columns = tables.shape
    indices = np.ascontiguousarray(indices, dtype=np.uint16)
    tables = np.ascontiguousarray(tables)
    bytes_only = tables.dtype == np.int8
    wide = not bytes_only or subspaces >= 1 << 24
    sums = np.zeros((len(indices), columns), np.int64 if wide else np.int32)
    kernel = _adder(np.int16 if bytes_only else np.int64)
    over_rows(len(indices), indices.size * columns, lambda i, j: kernel(indices[i:j], tables, sums[i:j]))
    return sums


@cache
def _adder(kind: type) -> Callable[..., None]:
    from numba import njit

    tile, most, size = COLUMNS, IN_INT16, BLOCK_BYTES

    @njit(nogil=True, error_model="numpy")
    def run(indices, tables, sums):  # type: ignore[no-untyped-def]
        subspaces, count, columns = tables.shape
        part = np.empty(tile, kind)
        chunk = min(most, max(1, size // (count * tile)))
        for n in range(0, columns, tile):
            wide = min(tile, columns - n)
            for first in range(0, subspaces, chunk):
                last = min(first + chunk, subspaces)
                for m in range(len(indices)):
                    part[:] = 0
                    if wide == tile:
                        for k in range(first, last):
                            row = tables[k, indices[m, k], n : n + tile]
                            for j in range(tile):
                                part[j] += row[j]
                    else:
                        for k in range(first, last):
                            row = tables[k, indices[m, k], n : n + wide]
                            for j in range(wide):
                                part[j] += row[j]
                    for j in range(wide):
                        sums[m, n + j] += part[j]

    return run  # type: ignore[no-any-return]
