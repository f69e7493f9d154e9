"""Table-lookup mpGEMM once more, one number at a time: exact fractions, roundings written out, no tables of selects.

Slow and independent of ``lutscape.sim.lut_tensor_core``: only the design object's fields are read.
"""

from __future__ import annotations

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np

PRECISION = {"fp32": (24, -126, 127), "fp16": (11, -14, 15), "bf16": (8, -126, 127), "fp8_e5m2": (3, -14, 15)}
"""Significant bits, least and greatest exponent of a normal number."""


def round_to(x: Fraction, name: str) -> Fraction:
    """Return the nearest number of a float format, ties to even; no overflow."""
    if x == 0:
        return x
    bits, least, greatest = PRECISION.get(name, (4, -6, 8))  # fp8_e4m3: the largest number is 448
    exponent = least
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    place = Fraction(2) ** (exponent - bits + 1)
    whole = round(x / place)  # Python rounds halves to even
    assert abs(whole * place) < Fraction(2) ** (greatest + 1)
    return whole * place


def round_integer(x: Fraction, rounding: str) -> int:
    """Return the nearest integer."""
    if rounding == "nearest-even":
        return round(x)
    if rounding == "half-up":
        return floor(x + Fraction(1, 2))
    return floor(abs(x) + Fraction(1, 2)) * (1 if x > 0 else -1)


def digits(design: Any, codes: list[int], plane: int) -> list[int]:
    """Return the values of some codes' digits in a plane."""
    if design.weights[:3] == "int" or design.weights == "ternary":
        return [2 * ((q >> plane) & 1) - 1 for q in codes]
    base = int(design.weights[4:])
    return [q - (base - 1) // 2 if base % 2 else 2 * q - (base - 1) for q in codes]


def planes(design: Any) -> int:
    """Return the planes of a weight."""
    return {"int1": 1, "int2": 2, "int3": 3, "int4": 4, "ternary": 2}.get(design.weights, 1)


def mirrored(values: list[int]) -> bool:
    """Whether a pattern lies in the half that is not stored: its highest digit that is not zero is positive."""
    for v in reversed(values):
        if v:
            return v > 0
    return False


def added(terms: list[Fraction], order: str, name: str) -> Fraction:
    """Return a sum, every term and add rounded."""
    terms = [round_to(t, name) for t in terms]
    while len(terms) > 1:
        if order == "chain":
            terms = [round_to(terms[0] + terms[1], name), *terms[2:]]
        else:
            pairs = [round_to(terms[i] + terms[i + 1], name) for i in range(0, len(terms) - 1, 2)]
            terms = pairs + terms[len(pairs) * 2 :]
    return terms[0]


def table_sum(design: Any, a: list[Fraction], values: list[int]) -> Fraction:
    """Return the sum that a table holds for a pattern of digit values, before it is scaled."""
    terms = [v * x for v, x in zip(values, a, strict=True)]
    if design.entries == "exact" or design.activations.startswith("int"):
        return sum(terms, Fraction(0))
    name = design.adds if design.entries.startswith("int") else design.entries
    return added(terms, design.add_order, name)


def all_patterns(design: Any, k: int) -> list[list[int]]:
    """Return the digit values of every pattern of k digits."""
    if planes(design) > 1 or design.weights == "int1":
        kinds = [-1, 1]
    else:
        base = int(design.weights[4:])
        kinds = [q - (base - 1) // 2 if base % 2 else 2 * q - (base - 1) for q in range(base)]
    found: list[list[int]] = [[]]
    for _ in range(k):
        found = [[*p, v] for p in found for v in kinds]
    return found


def scale_of(design: Any, peak: Fraction) -> np.float32:
    """Return the table scale of a group whose largest sum is ``peak``."""
    limit = 2 ** (int(design.entries[3:]) - 1) - 1
    whole = design.activations.startswith("int")
    if peak == 0:
        return np.float32(1)
    if design.table_scale == "power-of-two":
        e = 0 if whole else -126
        while round_integer(peak / Fraction(2) ** e, design.rounding) > limit:
            e += 1
        return np.float32(2.0**e)
    found = np.float32(float(peak)) / np.float32(limit)
    if design.table_scale == "fp16":
        found = np.float32(np.clip(np.float16(found), np.float16(2.0**-24), np.float16(65504)))
    return max(found, np.float32(1)) if whole else max(found, np.float32(2.0**-126))


def mpgemm(
    design: Any, activations: np.ndarray, codes: np.ndarray, scales: np.ndarray, zeros: np.ndarray | None, group: int
) -> np.ndarray:
    """Return (M, N) float32 of weights with scales and zero points (N, G) per ``group`` weights."""
    columns, k = codes.shape[1], design.k
    out = np.zeros((len(activations), len(codes)), np.float32)
    integers = design.entries.startswith("int")
    for m, row in enumerate(activations):
        a = [Fraction(float(v)) for v in row] + [Fraction(0)] * (-columns % k)
        table_scale = {}
        if integers:
            span = design.table_group or columns
            for first in range(0, columns, span):
                tables = range(first, min(first + span, len(a)), k)
                sums = [table_sum(design, a[i : i + k], p) for i in tables for p in all_patterns(design, k)]
                table_scale[first] = scale_of(design, max(abs(x) for x in sums))
        for n, weight in enumerate(codes):
            out[m, n] = _output(design, a, [int(q) for q in weight], scales[n], zeros, n, group, columns, table_scale)
    return out


def _output(
    design: Any,
    a: list[Fraction],
    weight: list[int],
    scales: np.ndarray,
    zeros: np.ndarray | None,
    n: int,
    group: int,
    columns: int,
    table_scale: dict[int, np.float32],
) -> np.float32:
    total = np.float32(0)
    odd = design.weights.startswith("base") and int(design.weights[4:]) % 2
    alpha = 1 if odd else 2
    top = {"int1": 1, "int2": 3, "int3": 7, "int4": 15, "ternary": 3}.get(design.weights)
    beta = top if top is not None else (int(design.weights[4:]) - 1) // (2 if odd else 1)
    for g, first in enumerate(range(0, columns, group)):
        last = min(first + group, columns)
        factor = scales[g] / np.float32(alpha)
        offset = np.float32(0) if zeros is None else np.float32(alpha) * zeros[n, g] - np.float32(beta)
        if design.entries == "exact":
            values = [alpha * q - beta - Fraction(float(offset)) for q in weight[first:last]]
            exact = sum((x * v for x, v in zip(a[first:last], values, strict=True)), Fraction(0))
            total = np.float32(total + np.float32(float(round_to(exact, "fp32"))) * factor)
            continue
        if design.entries.startswith("int"):
            unit = min(design.table_group or columns, group)
            for u in range(first, last, unit):
                span = design.table_group or columns
                scale = table_scale[u // span * span]
                held = _integer_unit(design, a, weight, u, min(u + unit, last), scale)
                total = np.float32(total + np.float32(held) * (scale * factor))
        else:
            held = _float_group(design, a, weight, first, last)
            total = np.float32(total + np.float32(float(held)) * factor)
        if offset:
            if design.activations.startswith("int"):
                row_sum = np.float32(int(sum(a[first:last])))
            else:
                row_sum = np.float32(0)
                for x in a[first:last]:
                    row_sum = np.float32(row_sum + np.float32(float(x)))
            total = np.float32(total + row_sum * -(factor * offset))
    return total


def _steps(design: Any, weight: list[int], first: int, last: int) -> list[tuple[int, list[int]]]:
    k = design.k
    return [(i, (weight[i : i + k] + [0] * k)[:k]) for i in range(first, last, k)]


def _integer_unit(design: Any, a: list[Fraction], weight: list[int], first: int, last: int, scale: np.float32) -> int:
    limit, held = 2 ** (int(design.entries[3:]) - 1) - 1, 0
    for i, codes in _steps(design, weight, first, last):
        for p in range(planes(design)):
            values = digits(design, codes, p)
            flip = -1 if mirrored(values) else 1
            stored = table_sum(design, a[i : i + design.k], [flip * v for v in values])
            if design.table_scale == "power-of-two":
                quotient = stored / Fraction(float(scale))
            else:
                quotient = Fraction(float(np.float32(float(stored)) * (np.float32(1) / scale)))
            entry = max(-limit, min(limit, round_integer(quotient, design.rounding)))
            held += flip * entry * 2**p
    return held


def _float_group(design: Any, a: list[Fraction], weight: list[int], first: int, last: int) -> Fraction:
    held = Fraction(0)
    for i, codes in _steps(design, weight, first, last):
        terms = []
        for p in range(planes(design)):
            values = digits(design, codes, p)
            flip = -1 if mirrored(values) else 1
            terms.append(2**p * flip * table_sum(design, a[i : i + design.k], [flip * v for v in values]))
        if design.planes == "parallel":
            step = round_to(terms[0], design.accumulator)
            for t in terms[1:]:
                step = round_to(step + t, design.accumulator)
            terms = [step]
        for t in terms:
            held = round_to(held + t, design.accumulator)
    return held
