"""Compiled loops of the lookup arithmetic that need no special instruction: tables, row sums, remap, lookups."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from lutscape.sim.lut_tensor_core import elut
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights, Single
from lutscape.sim.lut_tensor_core.rounding import FLOATS, ROUNDINGS, lowest_exponent
from lutscape.sim.lut_tensor_core.tables import Tables, scale_of


@njit(nogil=True, cache=True, error_model="numpy")
def _selects(codes, base, k, planes, half, bits, out):  # type: ignore[no-untyped-def]
    """Fill remapped selects (W, N, S) of codes (N, K)."""
    columns = codes.shape[1]
    for n in range(codes.shape[0]):
        for s in range(out.shape[2]):
            width = min(k, columns - s * k)
            for p in range(planes):
                pattern, place = np.int64(0), 1
                for j in range(width):
                    code = np.int64(codes[n, s * k + j])
                    pattern += (code if base > 2 else (code >> p) & 1) * place
                    place *= base
                if pattern >= half:
                    pattern = (1 << bits) | (2 * half - 1 - base % 2 - pattern)
                out[p, n, s] = pattern


def selects(weights: LookupWeights) -> npt.NDArray[np.uint16]:
    """Return :attr:`.LookupWeights.selects`, fast."""
    d = weights.design
    out = np.empty((d.plane_count, weights.rows, weights.steps), np.uint16)
    _selects(weights.codes, d.base, d.k, d.plane_count, elut.half(d.base, d.k), elut.index_bits(d.base, d.k), out)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _peaks(a, span, peaks):  # type: ignore[no-untyped-def]
    """Fill the largest magnitude (M, ⌈S / span⌉) of each group of tables of a (M, S, 4).

    It is the entry whose terms have one sign, since rounding keeps order.
    """
    for r in range(peaks.shape[0]):
        for u in range(peaks.shape[1]):
            part = a[r, u * span : (u + 1) * span]
            peak = np.float32(0)
            for s in range(part.shape[0]):
                size = (abs(part[s, 0]) + abs(part[s, 1])) + (abs(part[s, 2]) + abs(part[s, 3]))
                peak = size if size > peak else peak
            peaks[r, u] = peak


@njit(nogil=True, cache=True, error_model="numpy")
def _byte_tables(a, span, inverses, limit, rounding, out):  # type: ignore[no-untyped-def]
    """Fill tables (M, S, 16) int8, 8 entries and their negatives, of a (M, S, 4): base 2, neighbours added first."""
    steps, top = a.shape[1], np.float32(limit)
    sums = np.empty((64, 8), np.float32)
    for r in range(a.shape[0]):
        for first in range(0, steps, 64):
            part, filled = a[r, first : first + 64], out[r, first : first + 64]
            count = part.shape[0]
            for s in range(count):
                a0, a1, a2, a3 = part[s, 0], part[s, 1], part[s, 2], part[s, 3]
                plus, minus, high, low = a0 + a1, a0 - a1, a2 - a3, -a2 - a3
                inverse = inverses[r, (first + s) // span]
                sums[s, 0], sums[s, 4] = (low - plus) * inverse, (high - plus) * inverse
                sums[s, 1], sums[s, 5] = (low + minus) * inverse, (high + minus) * inverse
                sums[s, 2], sums[s, 6] = (low - minus) * inverse, (high - minus) * inverse
                sums[s, 3], sums[s, 7] = (low + plus) * inverse, (high + plus) * inverse
            flat = sums[:count].ravel()
            for i in range(8 * count):
                x = flat[i]
                if rounding == 0:
                    x = np.rint(x)
                elif rounding == 1:
                    below = np.floor(x)
                    x = below + np.float32(x - below >= np.float32(0.5))
                else:
                    below = np.floor(abs(x))
                    near = below + np.float32(abs(x) - below >= np.float32(0.5))
                    x = -near if x < 0 else near
                flat[i] = min(max(x, -top), top)
            for s in range(count):
                for i in range(8):
                    entry = np.int8(np.int32(sums[s, i]))
                    filled[s, i], filled[s, 8 + i] = entry, -entry


def tree_tables(design: Mpgemm) -> bool:
    """Whether :func:`byte_tables` or :func:`float_tables` builds a design's tables."""
    if design.base != 2 or design.k != 4:
        return False
    if design.float_entries:
        return design.add_order == "tree" and not (design.entries == "fp32" and design.overflow == "saturate")
    adds = design.integer_activations or (design.adds == "fp32" and design.add_order == "tree")
    return design.scaled_entries and design.entry_limit <= 127 and adds


def byte_tables(design: Mpgemm, activations: np.ndarray) -> tuple[np.ndarray, Single, int]:
    """Return tables (M, S, 16) int8, scales (M, ⌈S / span⌉) and span of activations (M, K), as :mod:`.tables` does."""
    a = _by_four(activations)
    m, steps = a.shape[:2]
    span = min(design.table_group // 4 or steps, steps)
    peaks = np.empty((m, -(-steps // span)), np.float32)
    _peaks(a, span, peaks)
    scales = scale_of(design, peaks.astype(np.float64))
    out = np.empty((m, steps, 16), np.int8)
    _byte_tables(a, span, np.float32(1) / scales, design.entry_limit, ROUNDINGS.index(design.rounding), out)
    return out, scales, span


@njit(nogil=True, cache=True, error_model="numpy")
def _round(x, word, drop, least, anchor, top, beyond, saturate):  # type: ignore[no-untyped-def]
    """Round float32 numbers x in place, as :func:`.rounding.round_float` does; ``word`` are their bits."""
    for i in range(x.shape[0]):
        value = x[i]
        small = (abs(value) + anchor) - anchor
        bits = word[i]
        word[i] = (bits + (np.int32(1) << (drop - 1)) - 1 + ((bits >> drop) & 1)) & -(np.int32(1) << drop)
        kept = x[i]
        size = small if abs(value) < least else abs(kept)
        if size > top:
            size = top if saturate else beyond
        x[i] = size if value >= 0 else -size if value < 0 else value


@njit(nogil=True, cache=True, error_model="numpy")
def _float_tables(a, wide, drop, least, anchor, top, beyond, saturate, out):  # type: ignore[no-untyped-def]
    """Fill tables (M, S, 8) float32 of a (M, S, 4), terms and adds rounded; ``wide``: to FP32, which does so itself."""
    steps = a.shape[1]
    first, second, last = np.empty((64, 4), np.float32), np.empty((64, 4), np.float32), np.empty((64, 8), np.float32)
    for r in range(a.shape[0]):
        for begin in range(0, steps, 64):
            count = min(64, steps - begin)
            for stage in range(3):
                if stage == 0:
                    for s in range(count):
                        for j in range(4):
                            first[s, j] = a[r, begin + s, j]
                    flat = first.ravel()[: 4 * count]
                elif stage == 1:
                    for s in range(count):
                        a0, a1, a2, a3 = first[s, 0], first[s, 1], first[s, 2], first[s, 3]
                        second[s, 0], second[s, 1], second[s, 2], second[s, 3] = a0 + a1, a0 - a1, a2 - a3, -a2 - a3
                    flat = second.ravel()[: 4 * count]
                else:
                    for s in range(count):
                        plus, minus, high, low = second[s, 0], second[s, 1], second[s, 2], second[s, 3]
                        last[s, 0], last[s, 4] = low - plus, high - plus
                        last[s, 1], last[s, 5] = low + minus, high + minus
                        last[s, 2], last[s, 6] = low - minus, high - minus
                        last[s, 3], last[s, 7] = low + plus, high + plus
                    flat = last.ravel()[: 8 * count]
                if not wide:
                    _round(flat, flat.view(np.int32), drop, least, anchor, top, beyond, saturate)
            for s in range(count):
                for i in range(8):
                    out[r, begin + s, i] = last[s, i]


def float_tables(design: Mpgemm, activations: np.ndarray) -> np.ndarray:
    """Return float entries (M, S, 8) float32 of activations (M, K), as :mod:`.tables` builds them.

    Only the signs of zeros may differ, which no sum shows. Sums are formed in FP32 and rounded once more: 24 ≥ 2 · 11
    + 2 bits make that one rounding.
    """
    a = _by_four(activations)
    out = np.empty((*a.shape[:2], 8), np.float32)
    form, name = FLOATS[design.entries], design.entries
    wide, saturate, drop = name == "fp32", design.overflow == "saturate", np.int32(23 - form.mantissa_bits)
    anchor = np.float32(0 if wide else 1.5 * 2.0 ** (23 + lowest_exponent(name)))
    beyond = np.float32(np.inf if form.has_infinity else np.nan)
    least, top = np.float32(2.0**form.emin), np.float32(form.max_value)
    _float_tables(a, wide, drop, least, anchor, top, beyond, saturate, out)
    return out


def _by_four(activations: np.ndarray) -> Single:
    """Return activations (M, K) as (M, S, 4) float32."""
    a = np.ascontiguousarray(activations, np.float32)
    if a.shape[1] % 4:
        a = np.pad(a, [(0, 0), (0, -a.shape[1] % 4)])
    return a.reshape(len(a), -1, 4)


@njit(nogil=True, cache=True, error_model="numpy")
def _row_sums(a, group, whole, out):  # type: ignore[no-untyped-def]
    """Fill sums (M, G) float32 of groups of (M, K): exact then rounded (``whole``), or a chain of FP32 adds."""
    for r in range(out.shape[0]):
        for g in range(out.shape[1]):
            exact, chain = np.int64(0), np.float32(0)
            for i in range(g * group, min((g + 1) * group, a.shape[1])):
                if whole:
                    exact += np.int64(a[r, i])
                else:
                    chain += np.float32(a[r, i])
            out[r, g] = np.float32(exact) if whole else chain


def row_sums(design: Mpgemm, activations: np.ndarray, weights: LookupWeights) -> Single:
    """Return what :func:`.mpgemm.row_sums` does, fast; (M, 0) where weights need none."""
    groups = 0 if weights.corrections is None else weights.groups
    out = np.empty((len(activations), groups), np.float32)
    whole = design.integer_activations
    a = activations if whole else np.ascontiguousarray(activations, np.float32)
    _row_sums(a, weights.group, whole, out)
    return out


@njit(nogil=True, cache=True, error_model="numpy")
def _scaled_lookups(  # type: ignore[no-untyped-def]
    entries, scales, span, chosen, bits, counts, factors, sums, corrections, unit, group, total
):
    """Add scaled integer lookups to total (M, N); chosen (W, S, N), factors and corrections (G, N)."""
    steps, width = entries.shape[1], total.shape[1]
    index = (1 << bits) - 1
    held = np.empty(width, np.int64)
    for r in range(total.shape[0]):
        for first in range(0, steps, unit):
            last = min(first + unit, steps)
            held[:] = 0
            for s in range(first, last):
                for p in range(len(counts)):
                    for n in range(width):
                        select = chosen[p, s, n]
                        entry = np.int64(entries[r, s, select & index])
                        held[n] += counts[p] * (-entry if select >> bits else entry)
            g, t = first // group, first // span
            for n in range(width):
                total[r, n] += np.float32(held[n]) * (scales[r, t] * factors[g, n])
            if corrections.shape[0] and (last % group == 0 or last == steps):
                for n in range(width):
                    total[r, n] += sums[r, g] * corrections[g, n]


@njit(nogil=True, cache=True, error_model="numpy")
def _float_lookups(entries, chosen, bits, counts, factors, sums, corrections, group, total):  # type: ignore[no-untyped-def]
    """Add FP32 chains of float lookups (M, S, H) to total (M, N), planes of a step one by one."""
    steps, width = entries.shape[1], total.shape[1]
    index = (1 << bits) - 1
    held = np.empty(width, np.float32)
    for r in range(total.shape[0]):
        for g in range(factors.shape[0]):
            held[:] = 0
            for s in range(g * group, min((g + 1) * group, steps)):
                for p in range(len(counts)):
                    for n in range(width):
                        select = chosen[p, s, n]
                        entry = np.float64(entries[r, s, select & index])
                        term = counts[p] * (-entry if select >> bits else entry)  # exact in float64
                        held[n] = np.float32(np.float64(held[n]) + term)
            for n in range(width):
                total[r, n] += held[n] * factors[g, n]
            if corrections.shape[0]:
                for n in range(width):
                    total[r, n] += sums[r, g] * corrections[g, n]


def scaled_products(weights: LookupWeights, tables: Tables, unit: int, sums: Single) -> Single:
    """Return products (M, N) of scaled integer tables, in loops; ``unit`` in steps, ``sums`` of :func:`row_sums`."""
    entries, total = tables.entries.astype(np.int16), np.zeros((len(tables.entries), weights.rows), np.float32)
    chosen, bits, counts, factors, corrections, group = _loop_operands(weights)
    _scaled_lookups(
        entries, tables.scales, tables.span, chosen, bits, counts, factors, sums, corrections, unit, group, total
    )
    return total


def fp32_chain(design: Mpgemm) -> bool:
    """Whether float entries are added one by one in FP32 whose overflow, if any, goes to infinity."""
    one_by_one = design.planes == "serial" or design.plane_count == 1
    return design.float_entries and design.accumulator == "fp32" and one_by_one and design.overflow != "saturate"


def float_products(weights: LookupWeights, entries: np.ndarray, sums: Single) -> Single:
    """Return products (M, N) of float entries (M, S, H) with an FP32 accumulator, in loops."""
    total = np.zeros((len(entries), weights.rows), np.float32)
    chosen, bits, counts, factors, corrections, group = _loop_operands(weights)
    e = entries.astype(np.float32)
    _float_lookups(e, chosen, bits, counts.astype(np.float64), factors, sums, corrections, group, total)
    return total


def _loop_operands(weights: LookupWeights) -> tuple[np.ndarray, int, np.ndarray, np.ndarray, np.ndarray, int]:
    found = weights.cache.get("loops")
    if not isinstance(found, tuple):
        d = weights.design
        none = np.zeros((0, weights.rows), np.float32)
        corrections = none if weights.corrections is None else np.ascontiguousarray(weights.corrections.T)
        found = (
            np.ascontiguousarray(selects(weights).transpose(0, 2, 1)),
            elut.index_bits(d.base, d.k),
            np.array(d.plane_weights),
            np.ascontiguousarray(weights.factors.T),
            corrections,
            -(-weights.group // d.k),
        )
        weights.cache["loops"] = found
    return found
