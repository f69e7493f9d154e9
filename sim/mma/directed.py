"""FP64 FMA chains in directed rounding (``.rz``, ``.rm``, ``.rp`` of DMMA).

The CPU rounds to nearest; the sign of the exact remainder ``a b + d - fma(a, b, d)`` then tells whether
to step to a neighbour. The kernel finds it from an error-free expansion wherever no partial result can
overflow or underflow, and leaves the few other outputs to exact rationals.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numba import njit

from lutscape.sim.mma.kernels_bits import bits_of, exponent_of, float_of, fma

MODES = {"RZ": 1, "RD": 2, "RU": 3}
SAFE = 450
"""Exponents of non-zero operands within ± this leave every term of the expansion exact."""


@njit(nogil=True, cache=True, error_model="numpy")
def sign_of_sum(terms):  # type: ignore[no-untyped-def]
    """Return the sign of the exact sum of a few float64 (changed in place; Shewchuk 1997, Grow-Expansion)."""
    for n in range(1, len(terms)):
        x = terms[n]
        for m in range(n):
            y = terms[m]
            s = x + y
            bb = s - x
            terms[m] = (x - (s - bb)) + (y - bb)
            x = s
        terms[n] = x
    for n in range(len(terms) - 1, -1, -1):
        if terms[n] != 0.0:
            return 1 if terms[n] > 0 else -1
    return 0


@njit(nogil=True, cache=True, error_model="numpy")
def step(x, up):  # type: ignore[no-untyped-def]
    """Return the next float64 above (``up``) or below a non-zero finite x."""
    return float_of(bits_of(x) + (1 if (x > 0) == up else -1))


@njit(nogil=True, cache=True, error_model="numpy")
def chain(av, bv, d, mode, hard, t0, t1, i0, i1):  # type: ignore[no-untyped-def]
    """FMA chains of finite operands in one directed mode; ``hard`` (T, M, N) marks outputs left undone."""
    terms = np.empty(4)
    for t in range(t0, t1):
        tb = min(t, bv.shape[0] - 1)
        for i in range(i0, i1):
            for j in range(d.shape[2]):
                acc = d[t, i, j]
                for k in range(av.shape[2]):
                    a, b = av[t, i, k], bv[tb, k, j]
                    ea, eb, ec = exponent_of(a), exponent_of(b), exponent_of(acc)
                    if (
                        (a != 0.0 and abs(ea) > SAFE)
                        or (b != 0.0 and abs(eb) > SAFE)
                        or (acc != 0.0 and abs(ec) > 2 * SAFE)
                    ):
                        hard[t, i, j] = True
                        break
                    r = fma(a, b, acc)
                    p = a * b
                    terms[0], terms[1], terms[2], terms[3] = fma(a, b, -p), p, acc, -r
                    sign = sign_of_sum(terms)
                    if r == 0.0:
                        # An exact zero of terms with opposite signs is -0 only when rounding down.
                        if mode == 2 and (p != 0.0 or bits_of(p) != bits_of(acc)):
                            r = -0.0
                    elif sign != 0:
                        if mode == 1:
                            if (sign > 0) != (r > 0):
                                r = step(r, sign > 0)
                        elif (mode == 3) == (sign > 0):
                            r = step(r, mode == 3)
                    acc = r
                d[t, i, j] = acc


def fma_exact(a: float, b: float, c: float, mode: str) -> float:
    """Return fma(a, b, c) of finite float64 numbers in mode RZ, RD or RU, by exact rationals."""
    x = Fraction(a) * Fraction(b) + Fraction(c)
    if x == 0:
        product_negative = math.copysign(1.0, a) * math.copysign(1.0, b) < 0
        same = product_negative == (math.copysign(1.0, c) < 0)
        negative = product_negative if same else mode == "RD"
        return -0.0 if negative else 0.0
    size = abs(x)
    e = size.numerator.bit_length() - size.denominator.bit_length()
    e -= Fraction(2) ** e > size
    unit = Fraction(2) ** (max(e, -1022) - 52)
    steps = size / unit
    whole = steps.numerator // steps.denominator
    away = {"RZ": False, "RD": x < 0, "RU": x > 0}[mode]
    value = (whole + (away and steps != whole)) * unit
    if value >= Fraction(2) ** 1024:
        result = math.inf if away else math.nextafter(math.inf, 0)
    else:
        result = float(value)
    return -result if x < 0 else result


def finish(av: np.ndarray, bv: np.ndarray, c: np.ndarray, d: np.ndarray, hard: np.ndarray, mode: str) -> None:
    """Fill the outputs marked in ``hard`` (finite operands or infinities, no NaN results needed) into ``d``."""
    for t, i, j in np.argwhere(hard):
        acc = float(c[t, i, j])
        for x, y in zip(av[t, i], bv[min(t, len(bv) - 1), :, j], strict=True):
            a, b = float(x), float(y)
            if math.isfinite(a) and math.isfinite(b) and math.isfinite(acc):
                acc = fma_exact(a, b, acc, mode)
            elif math.isinf(acc) and math.isfinite(a) and math.isfinite(b):
                continue
            else:
                product = a * b if not (0.0 in (a, b) and (math.isinf(a) or math.isinf(b))) else math.nan
                acc = product + acc
        d[t, i, j] = acc
