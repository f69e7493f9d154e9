"""Designs made of rounded steps: FMA chains, CDNA2's flushing adds, CDNA1's exact sums."""

from __future__ import annotations

import numpy as np
from numba import njit

from lutscape.sim.mma.kernels_bits import bits_of, float_of, fma


@njit(nogil=True, cache=True, error_model="numpy")
def fma_chain(av, bv, d, t0, t1, i0, i1):  # type: ignore[no-untyped-def]
    """``d = fma(a_k, b_k, d)``, k ascending; av (T, M, K), bv (T|1, K, N), d (T, M, N), all float32 or float64."""
    for t in range(t0, t1):
        tb = min(t, bv.shape[0] - 1)
        for i in range(i0, i1):
            for k in range(av.shape[2]):
                a = av[t, i, k]
                for j in range(bv.shape[2]):
                    d[t, i, j] = fma(a, bv[tb, k, j], d[t, i, j])


@njit(nogil=True, cache=True, error_model="numpy")
def fma_chain_nan(a, b, c, d, nan, invalid, quiet):  # type: ignore[no-untyped-def]
    """Redo the outputs whose chain meets a NaN on raw bits: the operand NaN survives, quieted.

    a (T, M, K), b (T|1, K, N), c and d (T, M, N) uint64; ``nan`` (T, M, N) says which outputs. Of
    several NaN operands b wins over the accumulator and that over a (sm_90 DMMA); an invalid operation gives
    ``invalid``.
    """
    exponent = np.uint64(0x7FF0000000000000)
    magnitude = np.uint64(0x7FFFFFFFFFFFFFFF)
    for t in range(nan.shape[0]):
        tb = min(t, b.shape[0] - 1)
        for i in range(nan.shape[1]):
            for j in range(nan.shape[2]):
                if not nan[t, i, j]:
                    continue
                acc = c[t, i, j]
                for k in range(a.shape[2]):
                    x, y = a[t, i, k], b[tb, k, j]
                    if (y & magnitude) > exponent:
                        acc = y | quiet
                    elif (acc & magnitude) > exponent:
                        acc = acc | quiet
                    elif (x & magnitude) > exponent:
                        acc = x | quiet
                    else:
                        value = fma(float_of(np.int64(x)), float_of(np.int64(y)), float_of(np.int64(acc)))
                        acc = invalid if value != value else np.uint64(bits_of(value))
                d[t, i, j] = acc


@njit(nogil=True, cache=True, error_model="numpy")
def flush(x):  # type: ignore[no-untyped-def]
    """Return a float32, or zero of its sign where it is subnormal."""
    return x * np.float32(0.0) if abs(x) < np.float32(2.0**-126) else x


@njit(nogil=True, cache=True, error_model="numpy")
def ftz_add_mul(av, bv, d, P, t0, t1, i0, i1):  # type: ignore[no-untyped-def]
    """CDNA2's rounded products and adds (arXiv 2511.10909v2, section 4.1); all float32, d in place.

    Operands and accumulators arrive with their subnormals flushed to +0. K is a multiple of P.
    """
    N = bv.shape[2]
    for t in range(t0, t1):
        tb = min(t, bv.shape[0] - 1)
        for i in range(i0, i1):
            for k in range(0, av.shape[2], P):
                for j in range(N):
                    s = flush(flush(av[t, i, k] * bv[tb, k, j]) + flush(av[t, i, k + 1] * bv[tb, k + 1, j]))
                    if P == 4:
                        r = flush(flush(av[t, i, k + 2] * bv[tb, k + 2, j]) + flush(av[t, i, k + 3] * bv[tb, k + 3, j]))
                        s = flush(s + r)
                    d[t, i, j] = flush(d[t, i, j] + s)


@njit(nogil=True, cache=True, error_model="numpy")
def e_fdpa(av, bv, d, L, t0, t1, i0, i1):  # type: ignore[no-untyped-def]
    """CDNA1's exact sums of L products and c, one RNE to FP32 (arXiv 2511.10909v2, section 4.2); d float64.

    Products of 16-bit operands are exact in float64. They are added into a non-overlapping expansion
    (Shewchuk 1997, Grow-Expansion); its leading part, made odd where anything lies below it, rounds to
    float32 as the exact sum does.
    """
    parts = np.empty(L + 2)
    for t in range(t0, t1):
        tb = min(t, bv.shape[0] - 1)
        for i in range(i0, i1):
            for j in range(bv.shape[2]):
                for k0 in range(0, av.shape[2], L):
                    parts[0] = d[t, i, j]
                    plain, n = parts[0], 1
                    for k in range(k0, min(k0 + L, av.shape[2])):
                        x = np.float64(av[t, i, k]) * np.float64(bv[tb, k, j])
                        plain += x
                        for m in range(n):
                            y = parts[m]
                            s = x + y
                            bb = s - x
                            parts[m] = (x - (s - bb)) + (y - bb)
                            x = s
                        parts[n] = x
                        n += 1
                    if not abs(plain) < np.inf:
                        d[t, i, j] = plain
                        continue
                    top, rest = parts[n - 1], 0.0
                    for m in range(n - 2, -1, -1):
                        s = top + parts[m]
                        low = parts[m] - (s - top)
                        top = s
                        if low != 0.0:
                            rest = low
                            break
                    bits = bits_of(top)
                    if rest != 0.0 and bits & 1 == 0:
                        bits += 1 if (rest > 0) == (top > 0) else -1
                    d[t, i, j] = np.float64(np.float32(float_of(bits)))


@njit(nogil=True, cache=True, error_model="numpy")
def scale_and_add(alpha, x, y):  # type: ignore[no-untyped-def]
    """Return ``fma(alpha, x, y)`` of float32 arrays (M, N)."""
    out = np.empty_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = fma(alpha, x[i, j], y[i, j])
    return out
