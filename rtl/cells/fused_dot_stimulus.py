"""Operands that reach every path of a fused dot-product-add unit: families of rows, mixed in every run.

Uniform codes alone hardly ever cancel, tie, or meet the ends of the range, and in formats with infinities almost
every sum of them is a NaN. So most families aim, and go through their cases in turn rather than by chance: every
alignment distance, every lane in the lead, every growth of the sum, ties, both ends of the range, special values.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lutscape.hw.formats.binary import BinaryFormat
from lutscape.rtl.cells import fused_dot_blocks as blocks
from lutscape.rtl.cells.fused_dot_design import Design, top_exponent

Ints = blocks.Ints
Operands = tuple[Ints, Ints, Ints]


def number(f: BinaryFormat, negative: Ints, exponent: Ints, mantissa: Ints) -> Ints:
    """Return port codes of ``(1 + mantissa / 2^m) * 2^exponent``; exponents below emin give subnormals.

    Exponents are clamped to the format; what is shifted out below the least subnormal is lost. Codes beyond the
    largest finite one become it.
    """
    m = f.mantissa_bits
    e = np.clip(exponent, f.emin - m, top_exponent(f))
    significand = (mantissa + (1 << m)) >> np.maximum(f.emin - e, 0)
    code = ((np.maximum(e, f.emin) - f.emin) << m) + significand
    return np.asarray(np.minimum(code, f.largest) | (negative << (f.bits - 1)))


class Source:
    """Draws operands of one design; every family returns ``n`` rows of a (n, L), b (n, L), c (n, 1)."""

    def __init__(self, design: Design, rng: np.random.Generator) -> None:
        self.design, self.rng = design, rng

    def bits(self, shape: tuple[int, ...]) -> Ints:
        """Return random bits, 0 or 1."""
        return self.rng.integers(0, 2, shape)

    def chance(self, n: int, p: float) -> np.ndarray:
        """Return (n, 1) flags that are set with probability p."""
        return self.rng.random((n, 1)) < p

    def zeros(self, f: BinaryFormat, shape: tuple[int, ...]) -> Ints:
        """Return zeros of random sign."""
        return self.bits(shape) << (f.bits - 1)

    def mantissas(self, f: BinaryFormat, shape: tuple[int, ...]) -> Ints:
        """Return mantissas: any, with one bit set, or all ones."""
        m, kind = f.mantissa_bits, self.rng.integers(0, 4, shape)
        few = (1 << self.rng.integers(0, m + 1, shape)) & ((1 << m) - 1)
        return np.where(kind < 2, self.rng.integers(0, 1 << m, shape), np.where(kind == 2, few, (1 << m) - 1))

    def near(self, f: BinaryFormat, shape: tuple[int, ...], low: int, high: int) -> Ints:
        """Return numbers with exponents uniform in low … high, clamped to the format."""
        low, high = max(low, f.emin - f.mantissa_bits), min(high, top_exponent(f))
        exponent = self.rng.integers(min(low, high), high + 1, shape)
        return number(f, self.bits(shape), exponent, self.mantissas(f, shape))

    def pair(self, exponent: Ints, full: np.ndarray | bool = False) -> tuple[Ints, Ints]:
        """Return normal a, b whose product has these exponents, clamped to what normal numbers reach.

        Mantissas are all ones where ``full``.
        """
        d, shape = self.design, exponent.shape
        low = np.maximum(d.a.emin, exponent - top_exponent(d.b))
        high = np.minimum(top_exponent(d.a), exponent - d.b.emin)
        first = low + (self.rng.random(shape) * (np.maximum(high - low, 0) + 1)).astype(np.int64)
        ones = [np.where(full, (1 << f.mantissa_bits) - 1, self.mantissas(f, shape)) for f in (d.a, d.b)]
        a = number(d.a, self.bits(shape), first, ones[0])
        return a, number(d.b, self.bits(shape), exponent - first, ones[1])

    def power(self, exponent: Ints, mantissa: Ints | int = 0) -> tuple[Ints, Ints]:
        """Return a, a power of two but for its mantissa, and b, a power of two; subnormal where they must be."""
        d, shape = self.design, exponent.shape
        low = np.maximum(d.a.emin - d.a.mantissa_bits * np.equal(mantissa, 0), exponent - top_exponent(d.b))
        high = np.minimum(top_exponent(d.a), exponent - (d.b.emin - d.b.mantissa_bits))
        first = low + (self.rng.random(shape) * (np.maximum(high - low, 0) + 1)).astype(np.int64)
        none = np.zeros(shape, np.int64)
        return number(d.a, none, first, none + mantissa), number(d.b, none, exponent - first, none)

    def signed(self, f: BinaryFormat, code: Ints, negative: Ints) -> Ints:
        """Return codes with these signs."""
        return (code & ((1 << (f.bits - 1)) - 1)) | (negative << (f.bits - 1))

    def only(self, a: Ints, lanes: Ints | int) -> Ints:
        """Return a with zeros in all lanes but the first ``lanes``."""
        return np.where(np.arange(self.design.products) < lanes, a, self.zeros(self.design.a, a.shape))

    # Families ---------------------------------------------------------------------------------------------------

    def codes(self, n: int) -> Operands:
        """Uniform codes of every class."""
        d, shape = self.design, (n, self.design.products)
        a, b = self.rng.integers(0, 1 << d.a.bits, shape), self.rng.integers(0, 1 << d.b.bits, shape)
        return a, b, self.rng.integers(0, 1 << d.c.width, (n, 1))

    def normal(self, n: int) -> Operands:
        """Numbers within a few binades of 1."""
        d, shape = self.design, (n, self.design.products)
        return self.near(d.a, shape, -3, 2), self.near(d.b, shape, -3, 2), self.near(d.c, (n, 1), -3, 5)

    def wide(self, n: int) -> Operands:
        """Exponents over all of the formats."""
        d, shape, every = self.design, (n, self.design.products), (-1000, 1000)
        c = self.near(d.c, (n, 1), d.least_product, d.largest_product)
        return self.near(d.a, shape, *every), self.near(d.b, shape, *every), c

    def distances(self, n: int) -> Operands:
        """One term leads, lane after lane; another lies at a distance below it that goes through 0 … F + 4."""
        d, rng, top_c, top = self.design, self.rng, top_exponent(self.design.c), self.design.largest_product
        reach = d.fraction + 5
        row = np.arange(n)[:, None] + rng.integers(0, reach)
        by_c = row % 2 == 1
        step = row // 2 % reach
        # A product leads and the accumulator follows, or the other way round; both as far as their ranges go.
        low = np.where(by_c, np.maximum(d.c.emin, d.least_product + step), np.maximum(d.least_product, d.c.emin + step))
        high = np.where(by_c, np.minimum(top_c, top + step), np.minimum(top, top_c + step))
        lead = low + (rng.random((n, 1)) * (np.maximum(high - low, 0) + 1)).astype(np.int64)
        lead = np.where(by_c, lead, np.minimum(lead, top))
        lane = np.arange(d.products)
        below = np.where(by_c, lead - (step + lane) % reach, lead - 1 - rng.integers(0, reach, (n, d.products)))
        leads = (lane == row // 2 % d.products) & ~by_c
        exponent = np.where(leads, lead, below)
        a, b = self.pair(np.clip(exponent, d.least_product, np.minimum(top, lead)))
        # Where everything lies at the bottom, lanes beside the leading one are zero instead.
        drop = ~by_c & ~leads & (exponent < d.least_product)
        c = number(d.c, self.bits((n, 1)), np.where(by_c, lead, lead - step), self.mantissas(d.c, (n, 1)))
        return np.where(drop, self.zeros(d.a, a.shape), a), b, c

    def low(self, n: int) -> Operands:
        """Subnormals, zeros of both signs, numbers near them; a third of the rows has no product at all."""
        d, shape = self.design, (n, self.design.products)
        out = []
        for f, size in ((d.a, shape), (d.b, shape), (d.c, (n, 1))):
            x = self.near(f, size, f.emin - f.mantissa_bits, f.emin + 3)
            out.append(np.where(self.rng.random(size) < 0.3, self.zeros(f, size), x))
        a, b, c = out
        b = np.where(self.chance(n, 0.5), b, self.near(d.b, shape, -1000, 1000))
        c = np.where(self.chance(n, 0.5), c, self.near(d.c, (n, 1), d.c.emin - 4, d.c.emin))
        row = np.arange(n)[:, None]
        c = np.where(row % 12 == 0, self.zeros(d.c, (n, 1)), c)
        return self.only(a, np.where(row % 3 == 0, 0, d.products)), b, c

    def cancelling(self, n: int) -> Operands:
        """Products that cancel in pairs, in half of the rows with nothing else, or little else, in the sum."""
        d, half = self.design, self.design.products // 2
        if half == 0:
            return self._against_c(n)
        a, b, c = self.normal(n) if self.rng.random() < 0.5 else self.wide(n)
        a[:, half : 2 * half] = a[:, :half]
        b[:, half : 2 * half] = b[:, :half] ^ (1 << (d.b.bits - 1))
        a[:, 2 * half :] = 0
        kind = np.arange(n)[:, None] % 4
        little = self.near(d.c, (n, 1), d.least_product - d.fraction // 2, d.least_product + 12)
        c = np.where(kind == 0, c, np.where(kind == 1, little, self.zeros(d.c, (n, 1))))
        # One of a pair changes in its last bit.
        b[:, :1] ^= np.where(kind == 3, 1, 0)
        return a, b, c

    def _against_c(self, n: int) -> Operands:
        """The accumulator is minus the product of one lane, or not quite."""
        d = self.design
        low, high = max(d.least_product, d.c.emin), min(d.largest_product, top_exponent(d.c))
        exponent = self.rng.integers(low, high + 1, (n, 1))
        half = self.bits((n, 1))
        a, b = self.power(exponent, half << (d.a.mantissa_bits - 1))
        c = number(d.c, np.ones((n, 1), np.int64), exponent, half << (d.c.mantissa_bits - 1))
        return a, b, c - np.where(self.chance(n, 0.5), self.rng.integers(0, 9, (n, 1)), 0)

    def ties(self, n: int) -> Operands:
        """An accumulator and one product of half its last place, or next to that; mantissas often all ones."""
        d, rng, m = self.design, self.rng, self.design.target.mantissa_bits
        row = np.arange(n)[:, None]
        low, high = max(d.least_product + m + 1, d.c.emin), min(d.largest_product + m + 1, top_exponent(d.c))
        e_c = rng.integers(min(low, high), high + 1, (n, 1))
        bottom = row % 4 == 3  # on the subnormal grid
        e_c = np.where(bottom, d.c.emin - rng.integers(1, d.c.mantissa_bits, (n, 1)), e_c)
        step = np.maximum(e_c, d.c.emin) - m - 1  # exponent of half a last place
        negative = self.bits((n, 1))
        a, b = self.pair(np.broadcast_to(step, (n, d.products)))
        exact_a, exact_b = self.power(step)
        exact = self.chance(n, 0.7)
        a[:, :1], b[:, :1] = np.where(exact, exact_a, a[:, :1]), np.where(exact, exact_b, b[:, :1])
        same = self.chance(n, 0.8)
        a[:, :1] = np.where(same, self.signed(d.a, a[:, :1], negative), a[:, :1])
        b[:, :1] = np.where(same, self.signed(d.b, b[:, :1], 0 * negative), b[:, :1])
        a = self.only(a, np.where(self.chance(n, 0.8), 1, d.products))
        drop = d.target.dropped_bits
        ones = (1 << d.c.mantissa_bits) - 1
        mantissa = np.where(self.chance(n, 0.4), ones, self.mantissas(d.c, (n, 1))) & (-1 << drop)
        c = number(d.c, negative, e_c, mantissa)
        # The largest subnormal number, and numbers around it.
        c = np.where(
            bottom & self.chance(n, 0.4 if drop else 0.7), (ones & (-1 << drop)) | (negative << (d.c.width - 1)), c
        )
        if drop:  # the accumulator alone has bits to round: half a last place, or any
            alone = np.where(bottom, self.chance(n, 0.8), self.chance(n, 0.5))
            rest = np.where(self.chance(n, 0.6), 1 << (drop - 1), rng.integers(0, 1 << drop, (n, 1)))
            c = np.where(alone, (c & (-1 << drop)) | rest, c)
            a = np.where(alone, self.only(a, 0), a)
        return a, b, c

    def grid(self, n: int) -> Operands:
        """Products alone, around the last place of subnormal results: odd multiples of half of it, and less."""
        d, rng = self.design, self.rng
        row = np.arange(n)[:, None]
        half = d.target.emin - d.target.mantissa_bits - 1
        long = min(d.a.mantissa_bits, max(d.fraction - 1, 0))
        drop = d.a.mantissa_bits - long
        mantissa = rng.integers(0, 1 << long, (n, 1)) << drop | 1 << drop
        odd_a, odd_b = self.power(np.full((n, 1), half + long), mantissa % (1 << d.a.mantissa_bits))
        below = half + rng.integers(-4, 2, (n, 1))
        less_a, less_b = self.power(below)
        kind = row % 3
        shape = (n, d.products)
        a, b = self.pair(np.clip(half + rng.integers(-3, 14, shape), d.least_product, d.largest_product))
        a[:, :1] = np.where(kind == 0, odd_a, np.where(kind == 1, less_a, a[:, :1]))
        b[:, :1] = np.where(kind == 0, odd_b, np.where(kind == 1, less_b, b[:, :1]))
        a[:, :1] = np.where(kind < 2, self.signed(d.a, a[:, :1], self.bits((n, 1))), a[:, :1])
        a = self.only(a, np.where(kind < 2, 1, d.products))
        return a, b, self.zeros(d.c, (n, 1))

    def floor(self, n: int) -> Operands:
        """Products around the least largest exponent, most of them below it."""
        d, shape = self.design, (n, self.design.products)
        top = d.floor + np.where(np.arange(n)[:, None] % 3 == 0, 6, -1)
        a, b = self.pair(np.clip(top - self.rng.integers(0, 8, shape), d.least_product, d.largest_product))
        a = self.only(a, self.rng.integers(1, d.products + 1, (n, 1)))
        few = self.near(d.c, (n, 1), d.c.emin - 12, d.c.emin)
        return a, b, np.where(np.arange(n)[:, None] % 3 == 0, few, self.zeros(d.c, (n, 1)))

    def growth(self, n: int) -> Operands:
        """Terms of one sign and one size, in 1, 2, 4 … lanes: carries up to the top of the sum."""
        d, rng, shape = self.design, self.rng, (n, self.design.products)
        row = np.arange(n)[:, None]
        negative, full = self.bits((n, 1)), row % 2 == 0
        low, high = max(d.least_product, d.c.emin), min(d.largest_product - 1, top_exponent(d.c))
        e = rng.integers(low, max(low, high) + 1, (n, 1))
        a, b = self.pair(np.broadcast_to(e, shape), full)
        lanes = np.minimum(1 << (row // 2 % (d.products.bit_length() + 1)), d.products)
        a, b = self.signed(d.a, self.only(a, lanes), negative), self.signed(d.b, b, 0 * negative)
        mantissa = np.where(full, (1 << d.c.mantissa_bits) - 1, self.mantissas(d.c, (n, 1)))
        c = number(d.c, negative, e + np.where(full, 0, rng.integers(-1, 2, (n, 1))), mantissa)
        return a, b, c

    def high(self, n: int) -> Operands:
        """Accumulators and products in the top binades, of one sign or mixed."""
        d, rng, shape = self.design, self.rng, (n, self.design.products)
        e, row = top_exponent(d.c), np.arange(n)[:, None]
        a, b = self.near(d.a, shape, top_exponent(d.a) - 2, 1000), self.near(d.b, shape, top_exponent(d.b) - 2, 1000)
        c = number(d.c, self.bits((n, 1)), e - rng.integers(0, 3, (n, 1)), self.mantissas(d.c, (n, 1)))
        # Products of about a last place beside the largest accumulator.
        last = np.full(shape, e - min(d.target.mantissa_bits, d.fraction)) + rng.integers(-3, 3, shape)
        p, q = self.pair(np.clip(last, d.least_product, d.largest_product))
        negative = self.bits((n, 1))
        edge = row % 2 == 0
        full = d.c.largest | (negative << (d.c.width - 1))
        a, b, c = np.where(edge, p, a), np.where(edge, q, b), np.where(edge, full, c)
        same = row % 4 < 2
        a, b = np.where(same, self.signed(d.a, a, negative), a), np.where(same, self.signed(d.b, b, 0 * negative), b)
        return a, b, np.where(same, self.signed(d.c, c, negative), c)

    def special(self, n: int) -> Operands:
        """Ordinary operands with infinities, NaNs and zeros in places that go through all that can meet."""
        d, rng = self.design, self.rng
        a, b, c = self.normal(n)
        lane, other = rng.integers(0, d.products, n), rng.integers(0, d.products, n)
        put = {"a": (a, d.a), "b": (b, d.b)}
        infinite = [key for key, (_, f) in put.items() if f.has_infinity]
        nan = [key for key, (_, f) in put.items() if f.specials in ("ieee", "fn")]
        kinds = ["c+", "c-", "c nan", *(f"{k} nan" for k in nan), *(f"{k} {s}" for k in infinite for s in ("+", "-"))]
        kinds += [f"{k} {what}" for k in infinite for what in ("zero", "against c", "against", "with c")]
        kind = np.array(kinds)[np.arange(n) % len(kinds)]
        plus_c = (d.c.largest + 1) + 0 * lane
        for row in range(n):
            key, _, what = kind[row].partition(" ")
            if key in ("c+", "c-", "c"):
                quiet = rng.integers(d.c.largest + 2, 1 << (d.c.width - 1))
                c[row, 0] = quiet if what else plus_c[row]
                minus = int(rng.integers(0, 2)) if what else int(key == "c-")
                c[row, 0] |= minus << (d.c.width - 1)
                continue
            x, f = put[key]
            y, g = put["b" if key == "a" else "a"]
            i, j = lane[row], other[row] if other[row] != lane[row] else (lane[row] + 1) % d.products
            sign, top = 1 << (f.bits - 1), 1 << (g.bits - 1)
            if what == "nan":
                low = f.largest + (2 if f.has_infinity else 1)
                x[row, i] = rng.integers(low, sign) | (int(rng.integers(0, 2)) * sign)
                continue
            one = {"+": 0, "-": 1}.get(what, int(rng.integers(0, 2)))
            x[row, i] = (f.largest + 1) | (one * sign)
            y[row, i] &= top - 1
            if what == "zero":
                y[row, i] = int(rng.integers(0, 2)) * top
            elif what in ("against c", "with c"):
                c[row, 0] = plus_c[row] | ((1 - one if what == "against c" else one) << (d.c.width - 1))
            elif what == "against" and d.products > 1:
                x[row, j], y[row, j] = x[row, i] ^ sign, max(int(y[row, i]), 1)
            if what != "zero":
                y[row, i] = max(int(y[row, i]), 1)
        return a, b, c


FAMILIES: tuple[tuple[str, float], ...] = (
    ("codes", 1), ("normal", 1), ("wide", 1), ("distances", 5), ("low", 2), ("cancelling", 2), ("ties", 3),
    ("grid", 1.5), ("floor", 1), ("growth", 2), ("high", 2), ("special", 2),
)  # fmt: skip
"""Families and their shares."""


def draw(design: Design, rng: np.random.Generator, count: int) -> dict[str, np.ndarray]:
    """Return ``count`` operand rows (at least one), families mixed, in random order."""
    source, shares = Source(design, rng), sum(share for _, share in FAMILIES)
    rows: list[Operands] = []
    for name, share in FAMILIES:
        family: Callable[[int], Operands] = getattr(source, name)
        # Two draws: some families choose a variant per draw.
        n = int(np.ceil(max(count, 1) * share / (2 * shares)))
        rows += [family(n), family(n)]
    a, b, c = (np.concatenate([r[i] for r in rows]) for i in range(3))
    order = rng.permutation(len(a))[: max(count, 1)]
    return {"a": a[order], "b": b[order], "c": c[order]}


def sums(design: Design, rng: np.random.Generator, count: int) -> tuple[Ints, Ints]:
    """Return signed sums (count, 1) whose lengths go through all that occur, and offsets of largest exponents."""
    longest = design.most.bit_length()
    length = np.arange(count)[:, None] % (longest + 1)
    size = np.minimum(
        (1 << length >> 1) | (rng.integers(0, 1 << 62, (count, 1)) & ((1 << length >> 1) - 1)), design.most
    )
    size = np.where(length == 0, 0, size)
    low = design.floor - design.base
    high = max(top_exponent(design.c), design.largest_product) - design.base
    offset = rng.integers(low, high + 1, (count, 1))
    # Half of them where results are subnormal, or next to that.
    bottom = design.target.emin - length + design.fraction - design.base
    offset = np.where(rng.random((count, 1)) < 0.5, offset, bottom + rng.integers(-design.fraction, 4, (count, 1)))
    if not design.can_overflow:
        top = (1 << design.target.exponent_bits) - 3 - design.target.bias
        offset = np.minimum(offset, top - length + design.fraction - design.base)
    sign = np.where(rng.random((count, 1)) < 0.5, -1, 1)
    return sign * size, np.clip(offset, low, high)
