"""Activations: dynamic symmetric integers per token, or rounding to a float format (scale 1).

Integers, per row of x::  s = max|x| / (2^(b-1) - 1),  q = rint(x / s),  x' = q · s
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.models.quantise.rounding import round_to

_BITS = {"int8": 8, "int16": 16}


@dataclass(frozen=True)
class QuantisedRows:
    """Rows of integers with one scale each.

    Attributes:
        codes: (rows, K) int8 or int16.
        scales: (rows, 1) float32.
    """

    codes: np.ndarray
    scales: np.ndarray

    def dequantise(self) -> np.ndarray:
        """Return codes · scales, (rows, K) float32."""
        return self.codes.astype(np.float32) * self.scales


def quantise_rows(x: np.ndarray, bits: int = 8) -> QuantisedRows:
    """Quantise (rows, K) float32 to symmetric integers of 8 or 16 bits, one scale per row (token).

    A row of zeros gets scale 1.
    """
    top = np.float32(2 ** (bits - 1) - 1)
    largest = np.abs(x).max(-1, keepdims=True)
    smallest = np.finfo(np.float32).tiny  # no subnormal scales
    scales = np.where(largest > 0, np.maximum(largest / top, smallest), np.float32(1)).astype(np.float32)
    codes = np.clip(np.rint(x / scales), -top, top).astype(np.int8 if bits == 8 else np.int16)
    return QuantisedRows(codes, scales)


def fake_quantise(x: np.ndarray, name: str) -> np.ndarray:
    """Return the float32 values that activations (rows, K) take in format ``name``."""
    if name in _BITS:
        return quantise_rows(x, _BITS[name]).dequantise()
    return round_to(x, name)
