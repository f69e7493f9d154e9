"""Exact sums without tables: where entries are exact, lookup equals the product of whole numbers.

Activations of a format are whole multiples of a power of two; so a unit's sum is an integer, and any method that
never rounds gives it. float64 adds whole numbers below 2^53 without rounding, in every order (float32 below 2^24):
BLAS does, for the part of the activations that keeps max|a| · (V + |z'|) · n below that. Wider activations (bf16) are
split into such parts.
"""

from __future__ import annotations

import numpy as np

from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights, Single
from lutscape.sim.lut_tensor_core.rounding import round_exact


def integers(design: Mpgemm, activations: np.ndarray) -> tuple[np.ndarray, int]:
    """Return whole numbers (M, K) and the exponent of their unit: activations = whole · 2^exponent.

    int64, or Python integers where the format needs more bits.
    """
    if design.integer_activations:
        return activations.astype(np.int64), 0
    exponent = design.unit_exponent
    x = activations.astype(np.float64)
    whole = np.ldexp(x, -exponent)
    if np.abs(whole).max(initial=0) < 2.0**62:
        return whole.astype(np.int64), exponent
    return np.array([int(v) for v in whole.ravel()], object).reshape(x.shape), exponent


def parts(design: Mpgemm, activations: np.ndarray, bits: int) -> list[tuple[np.ndarray, int]]:
    """Return float64 arrays of whole numbers of at most ``bits`` bits, and exponents, that add up to the activations.

    The unit of a part is as small as its activations need; one part is enough for most data.
    """
    rest = activations.astype(np.float64)
    found = []
    while (size := np.abs(rest).max(initial=0)) > 0:
        exponent = int(np.frexp(size)[1]) - bits
        exponent = max(exponent, design.unit_exponent)
        whole = np.trunc(np.ldexp(rest, -exponent))
        found.append((whole, exponent))
        rest = rest - np.ldexp(whole, exponent)  # exact: the low bits of each number
    return found or [(rest, 0)]


def products(design: Mpgemm, activations: np.ndarray, weights: LookupWeights) -> np.ndarray:
    """Return what exact entries add up to, (M, N): int64 without any scale, else float32."""
    offsets = weights.offsets
    span = design.largest_value + (0.0 if offsets is None else float(np.abs(offsets).max()))
    bits = 52 - int(np.ceil(np.log2(span * weights.group)))
    pieces = parts(design, activations, bits)
    sizes = [float(np.abs(whole).max(initial=0)) for whole, _ in pieces]
    kind = np.float32 if max(sizes) * span * weights.group < 2.0**24 else np.float64
    pieces = [(whole.astype(kind), exponent) for whole, exponent in pieces]
    raw = design.integer_activations and weights.scales is None
    values = _values(weights)
    total: np.ndarray = np.zeros((len(activations), weights.rows), np.float32)
    for group in range(weights.groups):
        columns = slice(group * weights.group, (group + 1) * weights.group)
        matrix = values[columns].astype(kind)  # (n, N)
        sums = [(_sums(whole[:, columns], matrix, offsets, group), exponent) for whole, exponent in pieces]
        if raw:  # 16 bits are one part, of unit 1
            return sums[0][0].astype(np.int64)
        total += _rounded(sums) * weights.factors[:, group]
    return total


def _sums(whole: np.ndarray, matrix: np.ndarray, offsets: Single | None, group: int) -> np.ndarray:
    found = whole @ matrix
    if offsets is not None:
        found -= whole.sum(axis=1)[:, None] * offsets[:, group].astype(found.dtype)
    return found


def _rounded(sums: list[tuple[np.ndarray, int]]) -> Single:
    """Return FP32 of Σ whole · 2^exponent, rounded once."""
    if len(sums) == 1:
        found, exponent = sums[0]
        if abs(exponent) <= 64:
            return np.ldexp(found.astype(np.float32), exponent)
        with np.errstate(over="ignore"):
            return np.ldexp(found.astype(np.float64), exponent).astype(
                np.float32
            )  # float64 scales exactly, then one rounding
    lowest = min(exponent for _, exponent in sums)
    shape = sums[0][0].shape
    whole = [0] * sums[0][0].size
    for found, exponent in sums:
        for i, v in enumerate(found.ravel()):
            whole[i] += int(v) << (exponent - lowest)
    return round_exact(np.array(whole, object).reshape(shape), lowest)


def _values(weights: LookupWeights) -> np.ndarray:
    """Return the values (K, N) in the narrowest integers."""
    found = weights.cache.get("values")
    if not isinstance(found, np.ndarray):
        found = np.ascontiguousarray(weights.values.T).astype(np.int8)
        weights.cache["values"] = found
    return found
