"""Functional bins of a fused dot-product-add unit: operand classes, alignment, sums, rounding, special values.

A bin exists where the design can reach it: an FP8 unit with FP32 sums never overflows, F = 13 never rounds an FP32
result. What a design can reach follows from its ranges, stated beside each bin.
"""

from __future__ import annotations

import numpy as np

from lutscape.rtl.cells import fused_dot_blocks as blocks
from lutscape.rtl.cells.fused_dot_design import Design, top_exponent

Arrays = dict[str, np.ndarray]


def bins(design: Design, x: Arrays) -> Arrays:
    """Return flags per bin for operands a, b (beats, L) and c (beats, 1)."""
    t = blocks.terms(design, x["a"], x["b"], x["c"])
    sums = blocks.total(design, t)
    return {
        **_classes(design, x),
        **_alignment(design, x, t),
        **_sums(design, t, sums),
        **rounding(design, sums[t.finite], t.largest[t.finite]),
        **_specials(design, x, t),
    }


def _classes(design: Design, x: Arrays) -> Arrays:
    out: Arrays = {}
    for key, f in (("a", design.a), ("b", design.b), ("c", design.c)):
        d = blocks.fields(x[key], f)
        small = d.significand < 1 << f.mantissa_bits
        number = ~d.infinite & ~d.nan
        out[f"{key} +0"], out[f"{key} -0"] = d.zero & ~d.negative, d.zero & d.negative
        out[f"{key} subnormal"] = small & ~d.zero
        out[f"{key} normal"] = ~small & number
        if f.has_infinity:
            out[f"{key} +infinity"], out[f"{key} -infinity"] = d.infinite & ~d.negative, d.infinite & d.negative
        if f.specials in ("ieee", "fn"):
            out[f"{key} NaN"] = d.nan
    return out


def _alignment(design: Design, x: Arrays, t: blocks.Terms) -> Arrays:
    n, f = design.products, design.fraction
    live = ~t.zero & t.finite[:, None]
    distance = t.largest[:, None] - t.exponent
    a, b = blocks.fields(x["a"], design.a), blocks.fields(x["b"], design.b)
    exact = np.concatenate([a.significand * b.significand, blocks.fields(x["c"], design.c).significand], axis=1)
    fraction = np.array([design.product_fraction] * n + [design.c.mantissa_bits])
    cut = (exact & ((1 << (fraction - f + distance).clip(0, 60)) - 1)) != 0
    # The farthest a product lies below an accumulator or product, an accumulator below a product or the floor.
    reach = {
        "product": max(design.largest_product if n > 1 else -9999, top_exponent(design.c)) - design.least_product,
        "accumulator": max(design.largest_product, design.floor) - design.c.emin,
    }
    out: Arrays = {}
    for key, part in (("product", slice(0, n)), ("accumulator", slice(n, n + 1))):
        gone = f + (2 if key == "product" else 1)  # at this distance nothing is left
        for i in range(min(gone + 1, reach[key] + 1)):
            out[f"{key} at distance {i}"] = live[:, part] & (distance[:, part] == i)
        if reach[key] > gone:
            out[f"{key} beyond F"] = live[:, part] & (distance[:, part] > gone)
        bits = design.product_fraction if key == "product" else design.c.mantissa_bits
        if reach[key] > f - bits:
            for sign, flag in (("positive", ~t.negative), ("negative", t.negative)):
                out[f"{key} cut, {sign}"] = (live & cut & flag)[:, part]
    for i in range(n + 1):
        others = np.delete(t.exponent, i, axis=1)
        alone = (t.exponent[:, i] > others.max(axis=1)) & (t.exponent[:, i] == t.largest) & t.finite
        out[f"term {i} rules" if i < n else "accumulator rules"] = alone
    if design.floor_acts:
        below = np.where(t.zero, -1, t.exponent).max(axis=1) < design.floor - design.base
        out["floor above every term"] = below & live.any(axis=1)
    return out


def _sums(design: Design, t: blocks.Terms, sums: np.ndarray) -> Arrays:
    f, finite = design.fraction, t.finite
    length = np.frexp(np.abs(sums).astype(np.float64))[1] - 1  # place of the first bit; exact below 2^53
    nothing = t.zero.all(axis=1)
    out = {
        "sum positive": finite & (sums > 0),
        "sum negative": finite & (sums < 0),
        "all terms zero": finite & nothing,
        "sum cancels to zero": finite & (sums == 0) & ~nothing,
    }
    for i in range(design.most.bit_length() - 1 - f):
        out[f"sum grows by {i + 1} bits"] = finite & (sums != 0) & (length == f + i + 1)
    down = f - length
    for low, high in ((1, 1), (2, 3), (4, 7), (8, 99)):
        if f > 2 * low:
            out[f"sum loses {low} to {high} leading bits"] = finite & (sums != 0) & (down >= low) & (down <= high)
    return out


def rounding(design: Design, sums: np.ndarray, largest: np.ndarray) -> Arrays:
    """Return flags per rounding decision of finite sums."""
    target, m = design.target, design.target.mantissa_bits
    size = np.abs(sums)
    low = largest + design.base - design.fraction  # weight of the sum's last bit
    length = np.frexp(size.astype(np.float64))[1]
    exponent = np.maximum(low + length - 1, target.emin)
    drop = (exponent - m - low).clip(0, 60)
    rest, half = size & ((1 << drop) - 1), np.where(drop > 0, 1 << np.maximum(drop - 1, 0), 1)
    kept = size >> drop
    subnormal = (low + length - 1 < target.emin) & (sums != 0)
    code = blocks.rounded(design, sums, largest)
    magnitude = code & ((1 << (design.c.width - 1)) - 1)
    infinity = (target.largest + 1) << target.dropped_bits
    away = (magnitude != 0) & (magnitude > _truncated(design, kept, exponent)) & (magnitude < infinity)
    out = {
        "result exact": rest == 0,
        "result subnormal, positive": subnormal & (sums > 0) & (magnitude != 0),
        "result subnormal, negative": subnormal & (sums < 0) & (magnitude != 0),
    }
    # Bits below the last place: sums of terms of one size grow past it; a last bit lies below the subnormal grid.
    normal = (design.products + 1).bit_length() - 1 + design.fraction - m
    by_product = max(design.least_product - design.product_fraction, design.floor - design.fraction)
    by_c = max(design.c.emin - design.c.mantissa_bits, design.c.emin - design.fraction)
    grid = target.emin - m - min(by_product, by_c)
    for where, depth, flag in (("normal", normal, ~subnormal), ("subnormal", grid, subnormal)):
        if depth >= 1:
            out[f"{where}, inexact, positive"] = flag & (rest > 0) & (sums > 0)
            out[f"{where}, inexact, negative"] = flag & (rest > 0) & (sums < 0)
        if depth >= 1 and design.rounding.mode == "RNE":
            out[f"{where}, tie to even below"] = flag & (drop > 0) & (rest == half) & (kept % 2 == 0)
            out[f"{where}, tie to even above"] = flag & (drop > 0) & (rest == half) & (kept % 2 == 1)
        if depth >= 2 and design.rounding.mode == "RNE":
            out[f"{where}, below half"] = flag & (rest > 0) & (rest < half)
            out[f"{where}, above half"] = flag & (rest > half)
        # All ones and something to round by: beside an accumulator of all ones there must be room for it.
        beside = design.fraction > m and by_product < (top_exponent(target) if where == "normal" else target.emin) - m
        if depth >= 1 and design.rounding.mode != "RZ" and (beside or design.kept_c > m):
            full = kept == (2 << m) - 1 if where == "normal" else kept == (1 << m) - 1
            out[f"rounds up to {'the next binade' if where == 'normal' else 'the least normal'}"] = flag & away & full
    if grid >= 1:
        out["rounds to zero"] = (sums != 0) & (magnitude == 0)
    for name, sign, possible in zip(("positive", "negative"), (sums > 0, sums < 0), design.overflows, strict=True):
        if possible:
            out[f"overflow, {name}"] = np.asarray(sign & (magnitude == infinity))
    return out


def _truncated(design: Design, kept: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    """Return the magnitude field of a sum cut to ``kept`` at an exponent, in its word; large where it overflows."""
    target = design.target
    return (((exponent - target.emin) << target.mantissa_bits) + kept) << target.dropped_bits


def _specials(design: Design, x: Arrays, t: blocks.Terms) -> Arrays:
    n = design.products
    a, b, c = (blocks.fields(x[key], f) for key, f in (("a", design.a), ("b", design.b), ("c", design.c)))
    a_nan, b_nan, c_nan = a.nan.any(axis=1), b.nan.any(axis=1), c.nan[:, 0]
    out: Arrays = {}
    only = {"a": ~b_nan & ~c_nan, "b": ~a_nan & ~c_nan, "c": ~a_nan & ~b_nan}
    for key, f, flag in (("a", design.a, a_nan), ("b", design.b, b_nan), ("c", design.c, c_nan)):
        if f.specials in ("ieee", "fn"):
            out[f"NaN from {key} alone"] = np.asarray(flag & only[key])
    quiet = ~a_nan & ~b_nan & ~c_nan
    wrong = ((a.infinite & b.zero) | (a.zero & b.infinite)).any(axis=1)
    if design.a.has_infinity:
        out["infinity times zero"] = quiet & (a.infinite & b.zero).any(axis=1)
    if design.b.has_infinity:
        out["zero times infinity"] = quiet & (a.zero & b.infinite).any(axis=1)
    quiet = quiet & ~wrong
    infinite = (a.infinite | b.infinite) & quiet[:, None]
    plus, minus = infinite & ~t.negative[:, :n], infinite & t.negative[:, :n]
    c_plus, c_minus = c.infinite[:, 0] & ~c.negative[:, 0], c.infinite[:, 0] & c.negative[:, 0]
    none = quiet & ~infinite.any(axis=1)
    out |= {"accumulator +infinity": none & c_plus, "accumulator -infinity": none & c_minus}
    if design.a.has_infinity or design.b.has_infinity:
        out["product +infinity"] = plus.any(axis=1) & ~t.nan & ~c_plus
        out["product -infinity"] = minus.any(axis=1) & ~t.nan & ~c_minus
        out["+infinity - infinity, accumulator"] = (plus.any(axis=1) & c_minus) | (minus.any(axis=1) & c_plus)
        if n > 1:
            out["+infinity - infinity, products"] = plus.any(axis=1) & minus.any(axis=1) & ~c.infinite[:, 0]
    return out
