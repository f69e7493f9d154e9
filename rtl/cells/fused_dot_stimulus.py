"""Operands that reach every path of a fused dot-product-add unit: eleven families, mixed in every run.

Uniform codes alone hardly ever cancel, tie, or meet the ends of the range, and in formats with infinities almost
every sum of them is a NaN. The families aim: codes, exponent windows, alignment distances, cancelling pairs,
ties, growth, both ends of the range, special values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lutscape.hw.formats.binary import BinaryFormat
from lutscape.rtl.cells import fused_dot_blocks as blocks
from lutscape.rtl.cells.fused_dot_design import Design

Ints = blocks.Ints
Operands = tuple[Ints, Ints, Ints]


def top_exponent(f: BinaryFormat) -> int:
    """Return the exponent of the largest finite number."""
    return (f.largest >> f.mantissa_bits) - f.bias


def number(f: BinaryFormat, negative: Ints, exponent: Ints, mantissa: Ints) -> Ints:
    """Return port codes of ``(1 + mantissa / 2^m) * 2^exponent``; exponents below emin give subnormals.

    Exponents are clamped to the format; what is shifted out below the least subnormal is lost. Codes beyond the
    largest finite one become it.
    """
    m = f.mantissa_bits
    e = np.clip(exponent, f.emin - m, top_exponent(f))
    under = np.maximum(f.emin - e, 0)
    significand = (mantissa + (1 << m)) >> under
    code = ((np.maximum(e, f.emin) - f.emin) << m) + significand
    return np.asarray(np.minimum(code, f.largest) | (negative << (f.bits - 1)))


def mantissas(rng: np.random.Generator, f: BinaryFormat, shape: tuple[int, ...]) -> Ints:
    """Return mantissas: any, with few ones, or all ones."""
    m = f.mantissa_bits
    kind = rng.integers(0, 4, shape)
    few = (1 << rng.integers(0, m + 1, shape)) & ((1 << m) - 1)
    return np.where(kind < 2, rng.integers(0, 1 << m, shape), np.where(kind == 2, few, (1 << m) - 1))


class Source:
    """Draws operands of one design."""

    def __init__(self, design: Design, rng: np.random.Generator) -> None:
        self.design, self.rng = design, rng

    def bits(self, shape: tuple[int, ...]) -> Ints:
        """Return random bits, 0 or 1."""
        return self.rng.integers(0, 2, shape)

    def near(self, f: BinaryFormat, shape: tuple[int, ...], low: int, high: int) -> Ints:
        """Return numbers with exponents uniform in low … high, clamped to the format."""
        low, high = max(low, f.emin - f.mantissa_bits), min(high, top_exponent(f))
        exponent = self.rng.integers(min(low, high), high + 1, shape)
        return number(f, self.bits(shape), exponent, mantissas(self.rng, f, shape))

    def pair(self, exponent: Ints) -> tuple[Ints, Ints]:
        """Return a, b whose product has about this exponent, split at random."""
        d, rng = self.design, self.rng
        low = np.maximum(d.a.emin, exponent - top_exponent(d.b))
        high = np.minimum(top_exponent(d.a), exponent - d.b.emin)
        first = low + (rng.random(exponent.shape) * (np.maximum(high - low, 0) + 1)).astype(np.int64)
        a = number(d.a, self.bits(exponent.shape), first, mantissas(rng, d.a, exponent.shape))
        b = number(d.b, self.bits(exponent.shape), exponent - first, mantissas(rng, d.b, exponent.shape))
        return a, b

    def codes(self, n: int) -> Operands:
        """Uniform codes of every class."""
        d = self.design
        shape = (n, d.products)
        a, b = self.rng.integers(0, 1 << d.a.bits, shape), self.rng.integers(0, 1 << d.b.bits, shape)
        return a, b, self.rng.integers(0, 1 << d.c.width, (n, 1))

    def normal(self, n: int) -> Operands:
        """Numbers within a few binades of 1."""
        d, shape = self.design, (n, self.design.products)
        return self.near(d.a, shape, -3, 2), self.near(d.b, shape, -3, 2), self.near(d.c, (n, 1), -3, 5)

    def wide(self, n: int) -> Operands:
        """Exponents over all of the formats."""
        d, shape = self.design, (n, self.design.products)
        every = (-1000, 1000)
        c = self.near(d.c, (n, 1), d.least_product, d.largest_product)
        return self.near(d.a, shape, *every), self.near(d.b, shape, *every), c

    def distances(self, n: int) -> Operands:
        """One term rules; the others lie at every distance below it, accumulator or products."""
        d, rng = self.design, self.rng
        top_c, top = top_exponent(d.c), d.largest_product
        reach = d.fraction + 5
        rules = rng.random((n, 1)) < 0.5  # the accumulator
        lead = np.where(
            rules,
            rng.integers(max(d.c.emin, d.least_product), min(top_c, top + reach) + 1, (n, 1)),
            rng.integers(max(d.least_product, min(top, d.c.emin)), min(top, top_c + reach) + 1, (n, 1)),
        )
        exponent = lead - rng.integers(0, reach, (n, d.products))
        at = rng.integers(0, d.products, n)
        exponent[np.arange(n), at] = np.where(rules[:, 0], exponent[np.arange(n), at], lead[:, 0])
        a, b = self.pair(np.clip(exponent, d.least_product, np.minimum(lead, top)))
        e_c = np.where(rules, lead, lead - rng.integers(0, reach, (n, 1)))
        return a, b, number(d.c, self.bits((n, 1)), e_c, mantissas(rng, d.c, (n, 1)))

    def low(self, n: int) -> Operands:
        """Subnormals, zeros of both signs, numbers near them."""
        d = self.design
        out = []
        for f, shape in ((d.a, (n, d.products)), (d.b, (n, d.products)), (d.c, (n, 1))):
            x = self.near(f, shape, f.emin - f.mantissa_bits, f.emin + 3)
            zero = self.rng.random(shape) < 0.3
            out.append(np.where(zero, self.bits(shape) << (f.bits - 1), x))
        mixed = self.near(d.b, (n, d.products), -1000, 1000)
        out[1] = np.where(self.rng.random((n, 1)) < 0.5, out[1], mixed)
        none = self.rng.random((n, 1)) < 0.4  # no product at all
        out[0] = np.where(none, self.bits(out[0].shape) << (d.a.bits - 1), out[0])
        out[2] = np.where(self.rng.random((n, 1)) < 0.7, out[2], self.bits((n, 1)) << (d.c.width - 1))
        return out[0], out[1], out[2]

    def cancelling(self, n: int) -> Operands:
        """Products that cancel in pairs, some of them all, with little or nothing left."""
        d = self.design
        a, b, c = self.normal(n) if self.rng.random() < 0.5 else self.wide(n)
        half = d.products // 2
        a[:, half : 2 * half] = a[:, :half]
        b[:, half : 2 * half] = b[:, :half] ^ (1 << (d.b.bits - 1))
        if d.products % 2:
            a[:, -1] = self.bits((n,)) << (d.a.bits - 1)
        rest = self.rng.random((n, 1)) < 0.3
        c = np.where(rest, c, np.where(self.bits((n, 1)) == 1, 0, self.near(d.c, (n, 1), d.c.emin - 30, d.c.emin + 1)))
        # Some rows keep one small product beside the cancelled ones.
        keep = self.rng.random(n) < 0.3
        a[keep, 0], b[keep, 0] = self.pair(np.full(int(keep.sum()), d.least_product) + self.rng.integers(0, 8))
        if half == 0:
            a, b, c = self._against_c(a, b, c)
        return a, b, c

    def _against_c(self, a: Ints, b: Ints, c: Ints) -> Operands:
        """Return operands whose accumulator is minus the product of lane 0."""
        d = self.design
        p = blocks.product(d, a[:, :1], b[:, :1])
        shift = d.c.mantissa_bits - d.kept_product
        exponent = p.exponent + d.base + (p.significand >> (d.kept_product + 1))
        significand = p.significand << max(shift, 0) >> max(-shift, 0)
        significand = np.where(p.significand >> (d.kept_product + 1) > 0, significand >> 1, significand)
        mantissa = significand & ((1 << d.c.mantissa_bits) - 1)
        return a, b, number(d.c, 1 - p.negative.astype(np.int64), exponent, mantissa)

    def ties(self, n: int) -> Operands:
        """An accumulator, and one product at, above or below half of its last place; mantissas often all ones."""
        d, rng = self.design, self.rng
        m = d.target.mantissa_bits
        low, high = max(d.least_product + m + 1, d.c.emin - m), min(d.largest_product + m + 1, top_exponent(d.c))
        e_c = rng.integers(min(low, high), high + 1, (n, 1))
        step = np.maximum(e_c, d.c.emin) - m - 1  # exponent of half a last place
        a, b = self.pair(np.broadcast_to(step, (n, d.products)))
        one = rng.random((n, 1)) < 0.6
        exact_a, exact_b = self._powers(step)
        a[:, :1], b[:, :1] = np.where(one, exact_a, a[:, :1]), np.where(one, exact_b, b[:, :1])
        rest = np.arange(d.products)[None, :] > np.where(rng.random((n, 1)) < 0.7, 0, d.products)
        a = np.where(rest, self.bits(a.shape) << (d.a.bits - 1), a)
        mantissa = mantissas(rng, d.c, (n, 1)) | (np.where(rng.random((n, 1)) < 0.3, (1 << d.c.mantissa_bits) - 1, 0))
        mantissa &= -1 << d.target.dropped_bits
        return a, b, number(d.c, self.bits((n, 1)), e_c, mantissa)

    def _powers(self, exponent: Ints) -> tuple[Ints, Ints]:
        """Return powers of two a, b with a product of exactly this exponent, subnormal ones too."""
        d = self.design
        low = np.maximum(d.a.emin - d.a.mantissa_bits, exponent - top_exponent(d.b))
        high = np.minimum(top_exponent(d.a), exponent - (d.b.emin - d.b.mantissa_bits))
        first = low + (self.rng.random(exponent.shape) * (np.maximum(high - low, 0) + 1)).astype(np.int64)
        none = np.zeros(exponent.shape, np.int64)
        return number(d.a, self.bits(exponent.shape), first, none), number(d.b, none, exponent - first, none)

    def growth(self, n: int) -> Operands:
        """Terms of one sign and one size: carries up to the top of the sum."""
        d, rng = self.design, self.rng
        shape = (n, d.products)
        out = []
        for f in (d.a, d.b):
            e = rng.integers(f.emin, top_exponent(f), (n, 1))
            full = np.full((n, 1), (1 << f.mantissa_bits) - 1)
            mantissa = np.where(rng.random((n, 1)) < 0.5, full, mantissas(rng, f, shape))
            out.append(number(f, np.zeros(shape, np.int64), np.broadcast_to(e, shape), mantissa))
        few = np.arange(d.products)[None, :] < rng.integers(1, d.products + 1, (n, 1))
        negative = self.bits((n, 1))
        a = np.where(few, out[0], 0) | (negative << (d.a.bits - 1))
        e = blocks.product(d, a, out[1]).exponent.max(axis=1, keepdims=True) + d.base
        c = number(d.c, negative, e + rng.integers(-1, 2, (n, 1)), np.full((n, 1), (1 << d.c.mantissa_bits) - 1))
        return a, out[1], c

    def high(self, n: int) -> Operands:
        """Accumulators and products in the top binades."""
        d, shape = self.design, (n, self.design.products)
        a, b = self.near(d.a, shape, top_exponent(d.a) - 2, 1000), self.near(d.b, shape, top_exponent(d.b) - 2, 1000)
        same = self.rng.random((n, 1)) < 0.5
        negative = self.bits((n, 1)) << (d.a.bits - 1)
        a = np.where(same, (a & ((1 << (d.a.bits - 1)) - 1)) | negative, a)
        b = np.where(same, b & ((1 << (d.b.bits - 1)) - 1), b)
        e = top_exponent(d.c)
        c = number(d.c, self.bits((n, 1)), e - self.rng.integers(0, 3, (n, 1)), mantissas(self.rng, d.c, (n, 1)))
        # Some sums just below and above the end: products about a last place of the accumulator.
        edge = self.rng.random((n, 1)) < 0.5
        last = np.full(shape, e - d.target.mantissa_bits) - self.rng.integers(-2, 4, shape)
        p, q = self.pair(np.clip(last, d.least_product, d.largest_product))
        full = d.c.largest | (self.bits((n, 1)) << (d.c.width - 1))
        return np.where(edge, p, a), np.where(edge, q, b), np.where(edge, full, c)

    def tiny(self, n: int) -> Operands:
        """Sums at the ends of the subnormal range: products from the floor on, accumulators on the subnormal grid."""
        d, rng = self.design, self.rng
        shape = (n, d.products)
        around = rng.integers(0, 2, (n, 1))
        start = np.where(around == 1, max(d.floor, d.least_product), d.target.emin - d.target.mantissa_bits)
        exponent = start + rng.integers(-6, 12, shape)
        a, b = self.pair(np.clip(exponent, d.least_product, d.largest_product))
        zero = rng.random(shape) < rng.choice([0.4, 1.0], (n, 1), p=[0.8, 0.2])
        a = np.where(zero, self.bits(shape) << (d.a.bits - 1), a)
        c = number(
            d.c, self.bits((n, 1)), d.c.emin - rng.integers(-2, d.c.mantissa_bits + 1, (n, 1)),
            mantissas(rng, d.c, (n, 1)),
        )  # fmt: skip
        return a, b, np.where(rng.random((n, 1)) < 0.5, c, self.bits((n, 1)) << (d.c.width - 1))

    def special(self, n: int) -> Operands:
        """Ordinary operands with one or two infinities, NaNs or zeros among them."""
        d, rng = self.design, self.rng
        a, b, c = self.normal(n)
        for _ in range(2):
            for x, f in ((a, d.a), (b, d.b)):
                row = np.flatnonzero(rng.random(n) < 0.35)
                x[row, rng.integers(0, d.products, len(row))] = self._special(f, len(row))
            row = np.flatnonzero(rng.random(n) < 0.15)
            c[row, 0] = self._special(d.c, len(row))
        # Infinity times zero in one lane.
        if d.a.has_infinity or d.b.has_infinity:
            row = np.flatnonzero(rng.random(n) < 0.1)
            at, swap = rng.integers(0, d.products, len(row)), rng.random(len(row)) < 0.5
            for x, f, first in ((a, d.a, swap), (b, d.b, ~swap)):
                one = (f.largest + 1) if f.has_infinity else f.largest
                x[row, at] = np.where(first, one, 0) | (self.bits((len(row),)) << (f.bits - 1))
        return a, b, c

    def _special(self, f: BinaryFormat, n: int) -> Ints:
        """Return infinities most of all, NaNs, zeros, the largest number, of either sign."""
        pool = [0, f.largest]
        if f.specials == "ieee":
            pool += [f.largest + 1] * 4 + [f.largest + 2, (1 << (f.bits - 1)) - 1]
        elif f.specials == "fn":
            pool.append(f.largest + 1)
        return self.rng.choice(np.array(pool), n) | (self.bits((n,)) << (f.bits - 1))


FAMILIES: tuple[tuple[str, int], ...] = (
    ("codes", 1), ("normal", 1), ("wide", 1), ("distances", 4), ("low", 1), ("cancelling", 2), ("ties", 3),
    ("growth", 1), ("high", 2), ("tiny", 2), ("special", 2),
)  # fmt: skip
"""Families and their shares."""


def draw(design: Design, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Return ``count`` operand rows (at least one), families mixed, in random order."""
    source, shares = Source(design, rng), sum(share for _, share in FAMILIES)
    rows: list[Operands] = []
    for name, share in FAMILIES:
        family: Callable[[int], Operands] = getattr(source, name)
        # Two draws: some families choose a variant per draw.
        n = -(-max(count, 1) * share // (2 * shares))
        rows += [family(n), family(n)]
    a, b, c = (np.concatenate([r[i] for r in rows]) for i in range(3))
    order = rng.permutation(len(a))[: max(count, 1)]
    return {"a": a[order], "b": b[order], "c": c[order]}
