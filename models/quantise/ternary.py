"""Ternary weights by absolute mean: BitNet b1.58 (arXiv 2402.17764, eq. 1-3).

s = fp16(mean |w|), q = clip(rint(w / s), -1, 1), w' = q · s, with s per tensor, row or group.
"""

from __future__ import annotations

import numpy as np

from lutscape.models.quantise.scalar import QuantisedWeight, fp16_scale


def quantise(weight: np.ndarray, group: int = -1) -> QuantisedWeight:
    """Quantise a weight matrix to -1, 0, 1.

    Args:
        weight: (N, K) float32, finite.
        group: weights per scale along K; 0 = the whole row, -1 = the whole matrix.

    Returns:
        Codes 0, 1, 2 with zero point 1.
    """
    rows, columns = weight.shape
    width = columns if group in (0, -1) else group
    count = -(-columns // width)
    codes = np.empty((rows, columns), np.uint8)
    scales = np.empty((rows, count), np.float32)
    for g in range(count):
        part = weight[:, g * width : (g + 1) * width]
        mean = np.abs(part).mean(None if group == -1 else -1, dtype=np.float64)
        scale = np.broadcast_to(fp16_scale(np.asarray(mean, np.float32)), (rows,))
        codes[:, g * width : (g + 1) * width] = np.clip(np.rint(part / scale[:, None]), -1, 1) + 1
        scales[:, g] = scale
    return QuantisedWeight(codes, scales, np.ones_like(scales), width, 2)
