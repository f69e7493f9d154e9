"""Keys and values: asymmetric integers per token and head, or rounding to a float format.

Integers, per head_dim values of one token and head, b bits::

    m = fp16(min x),  s = fp16((max x - m) / (2^b - 1)),  q = clip(rint((x - m) / s), 0, 2^b - 1)
    x' = q · s + m
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.models.quantise.rounding import round_to
from lutscape.models.quantise.scalar import fp16_scale

_BITS = {"int8": 8, "int4": 4, "int2": 2}


@dataclass(frozen=True)
class QuantisedKv:
    """Keys or values as codes.

    Attributes:
        codes: (…, head_dim) uint8.
        scales: (…, 1) float32, representable in FP16.
        minima: (…, 1) float32, representable in FP16.
    """

    codes: np.ndarray
    scales: np.ndarray
    minima: np.ndarray

    def dequantise(self) -> np.ndarray:
        """Return codes · scales + minima, float32."""
        return self.codes.astype(np.float32) * self.scales + self.minima


def quantise(x: np.ndarray, bits: int) -> QuantisedKv:
    """Quantise (…, head_dim) float32 keys or values to ``bits`` bits (8, 4 or 2)."""
    top = np.float32(2**bits - 1)
    minima = round_to(x.min(-1, keepdims=True), "fp16")
    scales = fp16_scale(np.maximum(x.max(-1, keepdims=True) - minima, 0) / top)
    codes = np.clip(np.rint((x - minima) / scales), 0, top).astype(np.uint8)
    return QuantisedKv(codes, scales, minima)


def fake_quantise(x: np.ndarray, name: str) -> np.ndarray:
    """Return the float32 values that keys or values (…, head_dim) take in format ``name``."""
    if name in _BITS:
        return quantise(x, _BITS[name]).dequantise()
    return round_to(x, name)
