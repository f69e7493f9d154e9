"""GST-FDPA on arrays: exact groups of products, scaled, cut and added (arXiv 2511.10909v2, section 4.4)."""

from __future__ import annotations

import numpy as np
from numba import njit

from lutscape.sim.mma.kernels_fused import COLUMNS, load_accumulators, power_of_two, round_row


@njit(nogil=True, cache=True, error_model="numpy")
def gst_fdpa(  # type: ignore[no-untyped-def]
    av, bv, a_mask, b_mask, sav, sae, sbv, sbe, d, L, G, F, e_zero, mantissa, out_emin, out_emax, mode, t0, t1, i0, i1
):
    """Chain GST-FDPA chunks into ``d`` (T, M, N) float64 for tiles t0..t1 and rows i0..i1.

    av (T, M, K), bv (T|1, K, N): float32 operands without infinities or NaNs. a_mask (T, M, K/G),
    b_mask (T|1, K/G, N): uint32, bit r set where element r of the group is not zero. sav, sae and
    sbv, sbe: scale value (float64, NaN allowed) and exponent (int16) per group, shaped as the masks;
    a zero scale has a zero value.
    """
    K, N = av.shape[2], bv.shape[2]
    e_max, c = np.empty(COLUMNS, np.int16), np.empty(COLUMNS)
    total, exact = np.empty(COLUMNS), np.empty(COLUMNS)
    groups = L // G
    sums = np.empty((groups, COLUMNS), np.float32)
    for t in range(t0, t1):
        tb = min(t, bv.shape[0] - 1)
        for j0 in range(0, N, COLUMNS):
            nb = min(COLUMNS, N - j0)
            for g0 in range(0, K // G, groups):
                for i in range(i0, i1):
                    load_accumulators(d, t, i, j0, nb, -126, e_zero, c, e_max)
                    for g in range(groups):
                        sums[g, :nb] = 0
                        for k in range((g0 + g) * G, (g0 + g + 1) * G):
                            a = av[t, i, k]
                            for j in range(nb):
                                sums[g, j] += a * bv[tb, k, np.uint64(j0 + j)]
                        for j in range(nb):
                            live = (a_mask[t, i, g0 + g] & b_mask[tb, g0 + g, np.uint64(j0 + j)]) != 0
                            live = live and sav[t, i, g0 + g] * sbv[tb, g0 + g, np.uint64(j0 + j)] != 0.0
                            e = np.int16(sae[t, i, g0 + g] + sbe[tb, g0 + g, np.uint64(j0 + j)])
                            if live:
                                e_max[j] = max(e_max[j], e)
                    power_of_two(e_max, nb, F, exact)
                    for j in range(nb):
                        total[j] = np.trunc(c[j] * exact[j])
                    for g in range(groups):
                        s = sav[t, i, g0 + g]
                        for j in range(nb):
                            scaled = np.float64(sums[g, j]) * (s * sbv[tb, g0 + g, np.uint64(j0 + j)])
                            total[j] += np.trunc(scaled * exact[j])
                    round_row(total, e_max, F, nb, mantissa, out_emin, out_emax, mode, d, t, i, j0)
