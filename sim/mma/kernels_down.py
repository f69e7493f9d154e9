"""CDNA3's TR-FDPA and GTR-FDPA on arrays: cut toward zero, then rounded down (arXiv 2511.10909v2, 4.5).

Rounding the product sum and c *down* is what makes CDNA3 results depend on the sign of small terms.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lutscape.sim.mma.kernels_bits import exponent_of, two_to
from lutscape.sim.mma.kernels_fused import (
    COLUMNS,
    NOTHING,
    add_products_wide,
    add_specials,
    load_accumulators,
    power_of_two,
    raise_exponents,
)


@njit(nogil=True, cache=True, error_model="numpy")
def finish_down(total, e_dot, c, e_c, nb, F, F2, drop_far, d, t, i, j0):  # type: ignore[no-untyped-def]
    """Join product sums ``total * 2^(e_dot - F)`` with c and store RNE FP32 values.

    Infinities and NaNs pass through the float64 steps. ``drop_far``: a finite c more than F + 1
    binades below the larger exponent counts as zero.
    """
    for j in range(nb):
        low, top = np.int64(e_dot[j]), np.int64(e_c[j])
        low = low if low > -600 else np.int64(-600)
        top = top if top > low else low
        dot = np.floor(total[j] * two_to(max(low - top, -900) + F2 + 1 - F))  # units of 2^(top - F2 - 1)
        add = np.floor(c[j] * two_to(F - top))  # units of 2^(top - F)
        if drop_far and e_c[j] < top - F - 1:
            add = 0.0
        v = (dot + add * two_to(F2 + 1 - F)) * two_to(top - F2 - 1)
        e = min(max(exponent_of(v), -126), 900)
        v = np.floor(v * two_to(F2 - e)) * two_to(e - F2)
        d[t, i, np.uint64(j0 + j)] = np.float64(np.float32(v))


@njit(nogil=True, cache=True, error_model="numpy")
def tr_fdpa(av, ae, bv, be, index, special, d, L, F, F2, t0, t1, i0, i1):  # type: ignore[no-untyped-def]
    """Chain TR-FDPA chunks into ``d`` (T, M, N) float64; ``special``: some product may not be finite below 2^128."""
    K, N = av.shape[2], bv.shape[2]
    e_c, e_dot = np.empty(COLUMNS, np.int16), np.empty(COLUMNS, np.int16)
    c, total, exact = np.empty(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS)
    zero = np.zeros(COLUMNS)
    for t in range(t0, t1):
        for j0 in range(0, N, COLUMNS):
            nb = min(COLUMNS, N - j0)
            for k0 in range(0, K, L):
                k1 = min(K, k0 + L)
                for i in range(i0, i1):
                    load_accumulators(d, t, i, j0, nb, -126, -126, c, e_c)
                    e_dot[:nb] = 2 * NOTHING
                    raise_exponents(ae, be, index, t, i, k0, k1, 1, j0, nb, e_dot)
                    power_of_two(e_dot, nb, F, exact)
                    total[:nb] = 0.0
                    add_products_wide(av, bv, index, t, i, k0, k1, 1, j0, nb, exact, total)
                    if special:
                        add_specials(av, bv, index, t, i, k0, k1, j0, nb, zero, 2.0**128, total)
                    finish_down(total, e_dot, c, e_c, nb, F, F2, False, d, t, i, j0)


@njit(nogil=True, cache=True, error_model="numpy")
def gtr_fdpa(av, ae, bv, be, index, special, d, L, F, F2, t0, t1, i0, i1):  # type: ignore[no-untyped-def]
    """Chain GTR-FDPA chunks into ``d`` (T, M, N) float64; ``special``: some operand is infinite or NaN."""
    K, N = av.shape[2], bv.shape[2]
    e_c = np.empty(COLUMNS, np.int16)
    even, odd = np.empty(COLUMNS, np.int16), np.empty(COLUMNS, np.int16)
    c, total, other, exact = np.empty(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS)
    zero = np.zeros(COLUMNS)
    for t in range(t0, t1):
        for j0 in range(0, N, COLUMNS):
            nb = min(COLUMNS, N - j0)
            for k0 in range(0, K, L):
                k1 = min(K, k0 + L)
                for i in range(i0, i1):
                    load_accumulators(d, t, i, j0, nb, -126, -126, c, e_c)
                    even[:nb] = 2 * NOTHING
                    odd[:nb] = 2 * NOTHING
                    raise_exponents(ae, be, index, t, i, k0, k1, 2, j0, nb, even)
                    raise_exponents(ae, be, index, t, i, k0 + 1, k1, 2, j0, nb, odd)
                    total[:nb] = 0.0
                    other[:nb] = 0.0
                    power_of_two(even, nb, F, exact)
                    add_products_wide(av, bv, index, t, i, k0, k1, 2, j0, nb, exact, total)
                    power_of_two(odd, nb, F, exact)
                    add_products_wide(av, bv, index, t, i, k0 + 1, k1, 2, j0, nb, exact, other)
                    for j in range(nb):
                        top = max(even[j], odd[j])
                        total[j] = np.floor(total[j] * two_to(max(np.int64(even[j]) - top, -600)))
                        total[j] += np.floor(other[j] * two_to(max(np.int64(odd[j]) - top, -600)))
                        even[j] = top
                    if special:
                        add_specials(av, bv, index, t, i, k0, k1, j0, nb, zero, np.inf, total)
                    finish_down(total, even, c, e_c, nb, F, F2, True, d, t, i, j0)
