"""T-FDPA on arrays: truncated fused dot-product-add (arXiv 2511.10909v2, section 4.2).

For each chunk of L products and the accumulator c: every term is cut toward zero at F fraction bits
below the largest exponent among the terms, the cut terms are added exactly, and the sum is rounded
once. The kernels run row by row of A and vectorise over the columns of B:

1. ``e_max[j]`` = largest ``e_a + e_b`` (int16 adds and maxima), c's exponent and the floor e_zero;
2. each product is one multiplication by ``2^(F - e_max[j])`` and one float-to-integer conversion,
   which *is* the truncation toward zero. The narrow kernel does it in float32 with int32 sums
   (exact: products have at most 22 significant bits, 16 terms below ``4 * 2^25`` fit 31 bits), the
   wide one in float64;
3. the exact sum is rounded by integer operations on its float64 bits.

A zero operand has exponent :data:`NOTHING`, so that it never raises ``e_max``. Infinities and NaNs
need no slow path: where a chunk holds one, an ordinary float64 sum of the products shows whether the
result is an infinity or a NaN and overrides the integer one.

Array shapes: T tiles, A (T, M, K), B (T, K, N), accumulators (T, M, N) float64, updated in place.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from lutscape.sim.mma.kernels_bits import bits_of, exponent_of, float_of, two_to

NOTHING = -8192
"""Exponent of a zero operand; two of them still fit int16."""
COLUMNS = 256
"""Columns of B worked on at once: 16 rows of them stay in the first-level cache."""
RNE, RZ, RD, RU = 0, 1, 2, 3


@njit(nogil=True, cache=True, error_model="numpy")
def load_accumulators(d, t, i, j0, nb, emin, e_zero, c, e_max):  # type: ignore[no-untyped-def]
    """Copy a row of accumulators to ``c`` (nb,) float64; start ``e_max`` (nb,) int16 from them."""
    for j in range(nb):
        x = d[t, i, np.uint64(j0 + j)]
        e = max(exponent_of(x), emin)
        c[j] = x
        e_max[j] = np.int16(e_zero if x == 0.0 else max(e, e_zero))


@njit(nogil=True, cache=True, error_model="numpy")
def raise_exponents(ae, be, index, t, i, k0, k1, step, j0, nb, e_max):  # type: ignore[no-untyped-def]
    """``e_max[j] = max(e_max[j], ae[k] + be[index[k], j])`` over k0 <= k < k1, four rows of B at a time."""
    it, ii = min(t, index.shape[0] - 1), min(i, index.shape[1] - 1)
    tb = min(t, be.shape[0] - 1)
    k = k0
    while k + 3 * step < k1:
        q0, q1 = index[it, ii, k], index[it, ii, k + step]
        q2, q3 = index[it, ii, k + 2 * step], index[it, ii, k + 3 * step]
        a0, a1, a2, a3 = ae[t, i, k], ae[t, i, k + step], ae[t, i, k + 2 * step], ae[t, i, k + 3 * step]
        for j in range(nb):
            x0 = np.int16(a0 + be[tb, q0, np.uint64(j0 + j)])
            x1 = np.int16(a1 + be[tb, q1, np.uint64(j0 + j)])
            x2 = np.int16(a2 + be[tb, q2, np.uint64(j0 + j)])
            x3 = np.int16(a3 + be[tb, q3, np.uint64(j0 + j)])
            e_max[j] = max(e_max[j], max(max(x0, x1), max(x2, x3)))
        k += 4 * step
    while k < k1:
        q, a = index[it, ii, k], ae[t, i, k]
        for j in range(nb):
            e_max[j] = max(e_max[j], np.int16(a + be[tb, q, np.uint64(j0 + j)]))
        k += step


@njit(nogil=True, cache=True, error_model="numpy")
def add_products_narrow(av, bv, index, t, i, k0, k1, j0, nb, scale, total):  # type: ignore[no-untyped-def]
    """``total[j] += int32(a * b * scale[j])`` over k0 <= k < k1; float32 in, int32 sums."""
    it, ii = min(t, index.shape[0] - 1), min(i, index.shape[1] - 1)
    tb = min(t, bv.shape[0] - 1)
    k = k0
    while k + 4 <= k1:
        q0, q1, q2, q3 = index[it, ii, k], index[it, ii, k + 1], index[it, ii, k + 2], index[it, ii, k + 3]
        a0, a1, a2, a3 = av[t, i, k], av[t, i, k + 1], av[t, i, k + 2], av[t, i, k + 3]
        for j in range(nb):
            s = scale[j]
            x0 = np.int32((a0 * bv[tb, q0, np.uint64(j0 + j)]) * s)
            x1 = np.int32((a1 * bv[tb, q1, np.uint64(j0 + j)]) * s)
            x2 = np.int32((a2 * bv[tb, q2, np.uint64(j0 + j)]) * s)
            x3 = np.int32((a3 * bv[tb, q3, np.uint64(j0 + j)]) * s)
            total[j] += (x0 + x1) + (x2 + x3)
        k += 4
    while k < k1:
        q, a = index[it, ii, k], av[t, i, k]
        for j in range(nb):
            total[j] += np.int32((a * bv[tb, q, np.uint64(j0 + j)]) * scale[j])
        k += 1


@njit(nogil=True, cache=True, error_model="numpy")
def add_products_wide(av, bv, index, t, i, k0, k1, step, j0, nb, scale, total):  # type: ignore[no-untyped-def]
    """``total[j] += trunc(a * b * scale[j])`` over k = k0, k0 + step, … < k1, all float64."""
    it, ii = min(t, index.shape[0] - 1), min(i, index.shape[1] - 1)
    tb = min(t, bv.shape[0] - 1)
    for k in range(k0, k1, step):
        q, a = index[it, ii, k], np.float64(av[t, i, k])
        for j in range(nb):
            total[j] += np.trunc((a * bv[tb, q, np.uint64(j0 + j)]) * scale[j])


@njit(nogil=True, cache=True, error_model="numpy")
def add_specials(av, bv, index, t, i, k0, k1, j0, nb, c, limit, total):  # type: ignore[no-untyped-def]
    """Override ``total[j]`` where a product is NaN or infinite (or reaches ``limit``) by the IEEE sum with c."""
    it, ii = min(t, index.shape[0] - 1), min(i, index.shape[1] - 1)
    tb = min(t, bv.shape[0] - 1)
    for j in range(nb):
        s = 0.0
        for k in range(k0, k1):
            p = np.float64(av[t, i, k]) * np.float64(bv[tb, index[it, ii, k], np.uint64(j0 + j)])
            if abs(p) >= limit:
                p = p * np.inf
            s += p
        if not abs(s) < np.inf:
            total[j] = s + c[j]


@njit(nogil=True, cache=True, error_model="numpy")
def power_of_two(e, nb, F, out):  # type: ignore[no-untyped-def]
    """``out[j] = 2^(F - e[j])``, the exponent clamped to float64's normal range."""
    for j in range(nb):
        out[j] = two_to(min(max(F - np.int64(e[j]), -1022), 1023))


@njit(nogil=True, cache=True, error_model="numpy")
def round_row(total, e_max, F, nb, mantissa, emin, emax, mode, d, t, i, j0):  # type: ignore[no-untyped-def]
    """Round the exact values ``total * 2^(e_max - F)`` and store them; -0 becomes +0.

    The result has ``mantissa`` bits and exponents emin … emax. Magnitudes of 2^(emax + 1) and more become
    infinities in every mode; subnormals are kept; infinities and NaNs pass.
    """
    drop = np.int64(52 - mantissa)
    mask = np.int64(-1) << drop
    half = (np.int64(1) << (drop - 1)) - 1
    up, down = two_to(mantissa - emin), two_to(emin - mantissa)  # the subnormal grid
    smallest, largest = two_to(emin), two_to(emax + 1)
    if mode == RZ:
        for j in range(nb):
            v = total[j] * two_to(np.int64(e_max[j]) - F)
            r = float_of(bits_of(v) & mask)
            if abs(v) < smallest:
                r = np.trunc(v * up) * down
            if abs(r) >= largest:
                r = r * np.inf
            d[t, i, np.uint64(j0 + j)] = r + 0.0
    elif mode == RNE:
        for j in range(nb):
            v = total[j] * two_to(np.int64(e_max[j]) - F)
            b = bits_of(v)
            r = float_of((b + half + ((b >> drop) & 1)) & mask)
            if abs(v) < smallest:
                r = np.rint(v * up) * down
            if abs(r) >= largest:
                r = r * np.inf
            if not abs(v) < np.inf:
                r = v
            d[t, i, np.uint64(j0 + j)] = r + 0.0
    else:
        for j in range(nb):
            v = total[j] * two_to(np.int64(e_max[j]) - F)
            b = bits_of(v)
            r = float_of((b + ~mask) & mask) if (mode == RD) == (b < 0) else float_of(b & mask)
            if abs(v) < smallest:
                r = (np.floor(v * up) if mode == RD else np.ceil(v * up)) * down
            if abs(r) >= largest:
                r = r * np.inf
            if not abs(v) < np.inf:
                r = v
            d[t, i, np.uint64(j0 + j)] = r + 0.0


@njit(nogil=True, cache=True, error_model="numpy")
def t_fdpa_narrow(  # type: ignore[no-untyped-def]
    av,
    ae,
    bv,
    be,
    index,
    special_a,
    special_b,
    d,
    L,
    F,
    emin,
    e_zero,
    mantissa,
    out_emin,
    out_emax,
    mode,
    t0,
    t1,
    i0,
    i1,
):
    """Chain T-FDPA chunks into ``d`` for tiles t0..t1 and rows i0..i1; float32 operands.

    Needs every product's exponent within ±100 and F <= 25. ``special_a`` (T, M, chunks) and
    ``special_b`` (T, chunks) say where infinities or NaNs are. ``index`` (T|1, M|1, K) names the row
    of B that each column of A meets.
    """
    K, N = av.shape[2], bv.shape[2]
    e_max = np.empty(COLUMNS, np.int16)
    c, total = np.empty(COLUMNS), np.empty(COLUMNS)
    part, scale = np.empty(COLUMNS, np.int32), np.empty(COLUMNS, np.float32)
    scale_bits = scale.view(np.int32)
    for t in range(t0, t1):
        for j0 in range(0, N, COLUMNS):
            nb = min(COLUMNS, N - j0)
            for chunk in range((K + L - 1) // L):
                k0, k1 = chunk * L, min(K, chunk * L + L)
                for i in range(i0, i1):
                    load_accumulators(d, t, i, j0, nb, emin, e_zero, c, e_max)
                    raise_exponents(ae, be, index, t, i, k0, k1, 1, j0, nb, e_max)
                    # With e_max below -100 every product is zero, with F - e_max below -126 none survives the cut.
                    for j in range(nb):
                        x = F - max(np.int32(e_max[j]), -100)
                        scale_bits[j] = np.int32((max(x, -126) + 127) << 23)
                    for j in range(nb):
                        total[j] = np.trunc(c[j] * two_to(F - np.int64(e_max[j])))
                    for k in range(k0, k1, 16):
                        part[:nb] = 0
                        add_products_narrow(av, bv, index, t, i, k, min(k + 16, k1), j0, nb, scale, part)
                        for j in range(nb):
                            total[j] += part[j]
                    if special_a[t, i, chunk] or special_b[min(t, special_b.shape[0] - 1), chunk]:
                        add_specials(av, bv, index, t, i, k0, k1, j0, nb, c, np.inf, total)
                    round_row(total, e_max, F, nb, mantissa, out_emin, out_emax, mode, d, t, i, j0)


@njit(nogil=True, cache=True, error_model="numpy")
def t_fdpa_wide(  # type: ignore[no-untyped-def]
    av,
    ae,
    bv,
    be,
    index,
    special_a,
    special_b,
    d,
    L,
    F,
    emin,
    e_zero,
    mantissa,
    out_emin,
    out_emax,
    mode,
    t0,
    t1,
    i0,
    i1,
):
    """As :func:`t_fdpa_narrow` for any exponents and any F with ``4 (L + 1) 2^F < 2^53``; float64 terms."""
    K, N = av.shape[2], bv.shape[2]
    e_max = np.empty(COLUMNS, np.int16)
    c, total, exact = np.empty(COLUMNS), np.empty(COLUMNS), np.empty(COLUMNS)
    for t in range(t0, t1):
        for j0 in range(0, N, COLUMNS):
            nb = min(COLUMNS, N - j0)
            for chunk in range((K + L - 1) // L):
                k0, k1 = chunk * L, min(K, chunk * L + L)
                for i in range(i0, i1):
                    load_accumulators(d, t, i, j0, nb, emin, e_zero, c, e_max)
                    raise_exponents(ae, be, index, t, i, k0, k1, 1, j0, nb, e_max)
                    power_of_two(e_max, nb, F, exact)
                    for j in range(nb):
                        total[j] = np.trunc(c[j] * exact[j])
                    add_products_wide(av, bv, index, t, i, k0, k1, 1, j0, nb, exact, total)
                    if special_a[t, i, chunk] or special_b[min(t, special_b.shape[0] - 1), chunk]:
                        add_specials(av, bv, index, t, i, k0, k1, j0, nb, c, np.inf, total)
                    round_row(total, e_max, F, nb, mantissa, out_emin, out_emax, mode, d, t, i, j0)
