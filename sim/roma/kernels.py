"""Compiled sums of the H-Unit: FP32 additions in lanes.

A sum over k is kept in ``LANES`` FP32 accumulators, lane l takes k = l, l + LANES, …; product and sum are rounded to
FP32 each. Then neighbouring lanes are added in pairs, 32 to 16 to … 1.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

LANES = 32
"""Accumulators of one sum in an H-Unit; our choice, the papers say nothing."""


@numba.njit(cache=True)
def lane_products(
    x: npt.NDArray[np.float32], weights: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:  # pragma: no cover
    """Return (rows, N) sums of x (rows, K) and weights (N, K), in the order of an H-Unit's lanes."""
    rows, columns = x.shape
    outputs = weights.shape[0]
    y = np.empty((rows, outputs), np.float32)
    lanes = np.empty(LANES, np.float32)
    for r in range(rows):
        for n in range(outputs):
            lanes[:] = 0
            whole = columns - columns % LANES
            for start in range(0, whole, LANES):
                for lane in range(LANES):
                    lanes[lane] += weights[n, start + lane] * x[r, start + lane]
            for k in range(whole, columns):
                lanes[k - whole] += weights[n, k] * x[r, k]
            width = LANES // 2
            while width:
                for lane in range(width):
                    lanes[lane] = lanes[2 * lane] + lanes[2 * lane + 1]
                width //= 2
            y[r, n] = lanes[0]
    return y
