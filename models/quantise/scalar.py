"""Round-to-nearest integer weights, 1 to 8 bits, one scale and zero point per group.

A group is ``group`` consecutive weights of a row (along K); the last group of a row may be shorter
(576 = 4·128 + 64). Per group, with b bits::

    lo = min(0, min w),  hi = max(0, max w)
    s  = fp16((hi - lo) / (2^b - 1))
    z  = clip(rint(-lo / s), 0, 2^b - 1)
    q  = clip(rint(w / s) + z, 0, 2^b - 1)        w' = (q - z) · s

The range always includes zero: the zero point is then a b-bit integer and zero is exact. Symmetric
quantisation fixes z = 2^(b-1) and s = max|w| / (2^(b-1) - 1). One bit is the sign: q in {0, 1},
w' = (2q - 1) · s with s = mean |w| (arXiv 1603.05279, eq. 6), which is z = 1/2 and scale 2s.
``rint`` rounds halves to even.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SMALLEST_SCALE = np.float32(2.0**-24)  # FP16's smallest subnormal
_LARGEST_SCALE = np.float32(65504.0)


@dataclass(frozen=True)
class QuantisedWeight:
    """A weight matrix as codes, scales and zero points.

    Attributes:
        codes: (N, K) uint8.
        scales: (N, G) float32, each representable in FP16; G = ceil(K / group).
        zeros: (N, G) float32; integers, or 1/2 for one bit.
        group: weights per scale along K.
        bits: of a code.
    """

    codes: np.ndarray
    scales: np.ndarray
    zeros: np.ndarray
    group: int
    bits: int

    def dequantise(self) -> np.ndarray:
        """Return (codes - zeros) · scales, (N, K) float32."""
        values = self.codes.astype(np.float32)
        for g in range(self.scales.shape[1]):
            part = values[:, g * self.group : (g + 1) * self.group]
            part -= self.zeros[:, g : g + 1]
            part *= self.scales[:, g : g + 1]
        return values


def quantise(weight: np.ndarray, bits: int, group: int = 128, symmetric: bool = False) -> QuantisedWeight:
    """Quantise a weight matrix.

    Args:
        weight: (N, K) float32, finite.
        bits: 1 to 8.
        group: weights per scale along K; 0 = the whole row, -1 = the whole matrix.
        symmetric: zero point fixed in the middle (no choice for 1 bit, which is always so).

    Raises:
        ValueError: not a matrix, bits outside 1..8, or weights that are not finite.
    """
    if weight.ndim != 2 or not 1 <= bits <= 8:
        raise ValueError(f"quantise: shape {weight.shape}, {bits} bits; a matrix and 1 to 8 bits are needed")
    rows, columns = weight.shape
    if group == -1:
        whole = quantise(weight.reshape(1, -1), bits, 0, symmetric)
        ones = np.ones((rows, 1), np.float32)
        codes = whole.codes.reshape(rows, columns)
        return QuantisedWeight(codes, whole.scales * ones, whole.zeros * ones, columns, bits)
    width = group or columns
    count = -(-columns // width)
    codes = np.empty((rows, columns), np.uint8)
    scales, zeros = np.empty((2, rows, count), np.float32)
    for g in range(count):
        part = weight[:, g * width : (g + 1) * width].astype(np.float32, copy=False)  # (N, ≤ group)
        if bits == 1:
            half = fp16_scale(np.abs(part).mean(-1, dtype=np.float64).astype(np.float32))
            # Twice an FP16 number is one too, but for the largest: the stored scale is the half.
            scale, zero = 2 * half, np.full(rows, 0.5, np.float32)
            chosen = (part >= 0).astype(np.float32)
        else:
            top = np.float32(2**bits - 1)
            if symmetric:
                middle = np.float32(2 ** (bits - 1))
                scale = fp16_scale(np.abs(part).max(-1) / (middle - 1))
                zero = np.full(rows, middle, np.float32)
            else:
                low, high = np.minimum(part.min(-1), 0), np.maximum(part.max(-1), 0)
                scale = fp16_scale((high - low) / top)
                zero = np.clip(np.rint(np.abs(low) / scale), 0, top)
            chosen = np.clip(np.rint(part / scale[:, None]) + zero[:, None], 0, top)
        if not np.isfinite(scale).all():
            raise ValueError("quantise: the weights are not all finite")
        codes[:, g * width : (g + 1) * width] = chosen
        scales[:, g], zeros[:, g] = scale, zero
    return QuantisedWeight(codes, scales, zeros, width, bits)


def fp16_scale(scale: np.ndarray) -> np.ndarray:
    """Round scales to FP16, at least its smallest subnormal (so that division is defined)."""
    kept = np.where(scale > 0, np.clip(scale, _SMALLEST_SCALE, _LARGEST_SCALE), scale)
    rounded = kept.astype(np.float16).astype(np.float32)
    return np.where(rounded == 0, np.float32(1), rounded)
