"""Operand families of floating-point instructions: seeded, each aimed at one question.

A family draws A (tiles, M, T), B (tiles, N, T), C (tiles, M, N) raw bits, T being the terms that
one output sums. "Exponent" below is that of a product; U is the large product of a probe.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lutscape.sim.mma.capture.bits import FLOATS, Bits, Float, Values, encode, nan_codes, random_bits, specials
from lutscape.sim.mma.capture.bits import random_finite as finite_codes

Operands = tuple[Bits, Bits, Bits]
Share = float | np.ndarray


@dataclass
class Draw:
    """The formats and sizes of one request, and its random generator."""

    rng: np.random.Generator
    a: str
    b: str
    c: str
    d: str
    tiles: int
    m: int
    n: int
    terms: int

    def __post_init__(self) -> None:
        self.fa, self.fb, self.fc, self.fd = (FLOATS[f] for f in (self.a, self.b, self.c, self.d))
        self.shape_a, self.shape_b = (self.tiles, self.m, self.terms), (self.tiles, self.n, self.terms)
        self.shape_c = (self.tiles, self.m, self.n)

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        """Uniform integers, both ends included."""
        return self.rng.integers(low, max(low, high), shape, endpoint=True)

    def sign(self, shape: tuple[int, ...]) -> Values:
        return self.rng.choice(np.array([-1.0, 1.0]), shape)

    def significand(self, f: Float, shape: tuple[int, ...]) -> Values:
        """Random in [1, 2) on the format's grid."""
        return 1 + np.floor(self.rng.random(shape) * 2.0**f.mantissa) / 2.0**f.mantissa

    def scaled(self, f: Float, exponent: np.ndarray) -> Values:
        """Random sign and significand at the exponents, clipped to the format's range."""
        clipped = np.clip(exponent, f.tiny, f.emax)
        return self.sign(clipped.shape) * np.ldexp(self.significand(f, clipped.shape), clipped)

    def codes(self, a: Values, b: Values, c: Values) -> Operands:
        return encode(self.a, a), encode(self.b, b), encode(self.c, c)

    def pick(self, share: Share, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.random(shape) < share


def random_all(g: Draw) -> Operands:
    """Uniform bits, infinities and NaNs included."""
    return random_bits(g.rng, g.a, g.shape_a), random_bits(g.rng, g.b, g.shape_b), random_bits(g.rng, g.c, g.shape_c)


def random_finite(g: Draw) -> Operands:
    """Uniform finite bits."""
    return finite_codes(g.rng, g.a, g.shape_a), finite_codes(g.rng, g.b, g.shape_b), finite_codes(g.rng, g.c, g.shape_c)


def normal(g: Draw) -> Operands:
    """N(0, 1), the ordinary case."""
    c = g.rng.standard_normal(g.shape_c) * np.sqrt(g.terms)
    return g.codes(g.rng.standard_normal(g.shape_a), g.rng.standard_normal(g.shape_b), c)


def same_sign(g: Draw) -> Operands:
    """All products of one sign: carries, and the bias of truncation."""
    a, b = 0.5 + g.rng.random(g.shape_a), 0.5 + g.rng.random(g.shape_b)
    return g.codes(a * g.sign((g.tiles, g.m, 1)), b, g.rng.standard_normal(g.shape_c) * g.terms)


def wide(g: Draw) -> Operands:
    """Exponents spread over 4, 12, 30 or 100 binades, by tile."""
    span = g.rng.choice([2, 6, 15, 50], (g.tiles, 1, 1))

    def spread(f: Float, shape: tuple[int, ...], by: int) -> Values:
        return g.scaled(f, np.rint((g.rng.random(shape) * 2 - 1) * span * by).astype(np.int64))

    return g.codes(spread(g.fa, g.shape_a, 1), spread(g.fb, g.shape_b, 1), spread(g.fc, g.shape_c, 2))


def subnormal(g: Draw) -> Operands:
    """Subnormal and smallest normal operands, against columns of B that are tiny, ordinary or large."""
    a = g.scaled(g.fa, g.integers(g.fa.tiny, g.fa.emin + 1, g.shape_a))
    level = g.rng.choice([g.fb.tiny + 2, 0, g.fb.emax - 3], (g.tiles, g.n, 1))
    b = g.scaled(g.fb, level + g.integers(-2, 2, g.shape_b))
    c = g.scaled(g.fc, g.integers(g.fc.tiny, g.fc.emin + 3, g.shape_c))
    c = np.where(g.pick(0.3, g.shape_c), 0.0, c)
    like_product = g.scaled(g.fc, g.fa.emin + level[:, :, 0][:, None, :] + g.integers(-12, 4, g.shape_c))
    return g.codes(a, b, np.where(g.pick(0.3, g.shape_c), like_product, c))


def dominant_c(g: Draw) -> Operands:
    """C above the products by -4 to 34 binades: what falls off the aligned sum."""
    low, high = max(g.fa.emin, -8), min(g.fa.emax, g.fb.emax, 4)
    base = g.integers(low, high, (g.tiles, 1, 1))
    a = g.scaled(g.fa, base + g.integers(-2, 0, g.shape_a))
    b = g.scaled(g.fb, g.integers(-2, 0, g.shape_b))
    return g.codes(a, b, g.scaled(g.fc, base + g.integers(-4, 34, g.shape_c)))


def cancelling(g: Draw) -> Operands:
    """Products that cancel exactly in pairs, and small ones that then decide the result."""
    a = g.scaled(g.fa, g.integers(-22, 0, g.shape_a))
    b = g.scaled(g.fb, g.integers(-22, 0, g.shape_b))
    for tile in range(g.tiles):
        order = g.rng.permutation(g.terms)
        for pair in range(g.rng.integers(1, max(2, g.terms // 2))):
            p, q = order[2 * pair], order[2 * pair + 1]
            shift = g.rng.integers(-1, 2)
            a[tile, :, p] = g.scaled(g.fa, g.integers(2, min(5, g.fa.emax - 2), (g.m,)))
            b[tile, :, p] = g.scaled(g.fb, g.integers(2, min(5, g.fb.emax - 2), (g.n,)))
            a[tile, :, q], b[tile, :, q] = -np.ldexp(a[tile, :, p], -shift), np.ldexp(b[tile, :, p], shift)
    c = np.where(g.pick(0.5, g.shape_c), 0.0, g.scaled(g.fc, g.integers(-30, 4, g.shape_c)))
    return g.codes(a, b, c)


def _pairs(g: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Two different positions per row in 0..T (T: the accumulator); even rows share the tile's."""
    first = g.integers(0, g.terms, (g.tiles, g.m))
    second = (first + g.integers(1, g.terms, first.shape)) % (g.terms + 1)
    for position in (first, second):
        position[:, 0::2] = position[:, :1]
    return np.minimum(first, second), np.maximum(first, second)


def summation_tree(g: Draw) -> Operands:
    """U and -U at two positions (C is one), equal small terms elsewhere: which are summed together?"""
    i, j = _pairs(g)
    position, is_c = np.arange(g.terms), (j == g.terms)[:, :, None]
    at_i, at_j = position == i[:, :, None], position == j[:, :, None]
    big_a = min(g.fa.emax, 7 if g.fd.emax < 100 else 15)
    small_a = np.clip(big_a - g.integers(8, 34, (g.tiles, g.m, 1)), g.fa.tiny, big_a)
    signs = np.where(g.pick(0.5, (g.tiles, g.m, 1)), 1.0, g.sign(g.shape_a))
    big, small = np.ldexp(1.0, big_a), np.ldexp(signs, small_a)
    a = np.where(at_i, big, np.where(at_j, -big, small))
    # Odd columns of B add to the distance between U and the rest; even ones leave it to A.
    odd, shared = (np.arange(g.n) % 2 == 1)[None, :, None], (at_i | at_j)[:, :1, :]
    small_b = np.clip(-g.integers(1, 17, (g.tiles, g.n, 1)), g.fb.tiny, 0)
    b = np.where(odd & ~shared, np.ldexp(1.0, small_b), 1.0) * np.ones(g.shape_b)
    u = np.take_along_axis(b, np.minimum(i, g.terms - 1).reshape(g.tiles, -1)[:, None, :], 2).swapaxes(1, 2) * big
    ordinary = np.where(g.pick(0.5, g.shape_c), 0.0, np.ldexp(1.0, small_a))
    return g.codes(a, b, np.where(is_c, -u, ordinary))


def _two_scales(g: Draw, gaps: tuple[int, int], cancel: bool, full: bool) -> Operands:
    """U, cancelled by -U or not, plus one to three terms ``gaps`` binades below U; C is one of them.

    ``full``: significands of U in [1.5, 2), so that the product reaches the next binade. Formats of
    few exponents (fp8) put the distance half into A and half into B, the others mostly into A.
    """
    top_a = min(g.fa.emax - 1, 6)
    top_b = min(g.fb.emax - 1, 7) if g.fb.mantissa <= 3 else 0
    u_a = np.ldexp(g.sign((g.tiles, g.m)), top_a)
    u_b = np.full((g.tiles, g.n), 2.0**top_b)
    if full:
        u_a *= 1.5 + np.floor(g.rng.random(u_a.shape) * 2.0 ** (g.fa.mantissa - 1)) / 2.0**g.fa.mantissa
        u_b *= 1.5 + np.floor(g.rng.random(u_b.shape) * 2.0 ** (g.fb.mantissa - 1)) / 2.0**g.fb.mantissa
    share_b = g.integers(0, min(17, top_b - g.fb.tiny - 2), (g.tiles, 1)) * (np.arange(g.tiles) % 3 > 0)[:, None]
    gap_b = np.maximum(share_b + g.integers(-2, 2, u_b.shape), 0)
    gap_a = np.clip(g.integers(*gaps, u_a.shape) - share_b, 0, top_a - g.fa.tiny)
    a, b = np.zeros(g.shape_a), np.zeros(g.shape_b)
    for tile in range(g.tiles):
        order = g.rng.permutation(g.terms)
        used = 2 if cancel and tile % 4 else 1  # in every fourth tile C cancels U instead
        a[tile, :, order[0]], b[tile, :, order[:used]] = u_a[tile], u_b[tile]
        if used == 2:
            a[tile, :, order[1]] = -u_a[tile]
        for k in order[used : used + g.rng.integers(1, 4)]:
            a[tile, :, k] = g.scaled(g.fa, top_a - gap_a[tile])
            b[tile, :, k] = np.ldexp(1.0, top_b - gap_b[tile])
    c = g.scaled(g.fc, top_a + top_b - g.integers(*gaps, g.shape_c)) * g.pick(0.4, g.shape_c)
    if cancel:
        c[::4] = -np.einsum("tm,tn->tmn", u_a, u_b)[::4]
    return g.codes(a, b, c)


def fraction_bits(g: Draw) -> Operands:
    """U - U + terms 0..44 (f64: 110) binades below: F, truncation or rounding, for products and C."""
    return _two_scales(g, (0, 110 if g.d == "f64" else 44), cancel=True, full=False)


def unnormalised(g: Draw) -> Operands:
    """The same with significand products in [2.25, 4): is a product normalised before alignment?"""
    return _two_scales(g, (0, 110 if g.d == "f64" else 44), cancel=True, full=True)


def output_rounding(g: Draw) -> Operands:
    """U + terms around half an ulp of the result: how the sum is rounded to D."""
    place = g.fd.mantissa if g.fa.mantissa > 3 or g.fd.mantissa == 10 else int(g.rng.choice([13, 23]))
    return _two_scales(g, (place - 2, place + 4), cancel=False, full=bool(g.rng.integers(2)))


def zero_exponent(g: Draw) -> Operands:
    """C = 0 and products near the smallest that D holds, beside zero products of huge factors.

    Three tiles of four: one product on or between the smallest steps of D, and one 1 to 26 binades
    below, which decides the rounding unless it is cut away.
    """
    low = max(g.fa.tiny + g.fb.tiny, g.fd.tiny - 8)
    exponent = g.integers(low, max(low + 4, g.fd.emin + 4), (g.tiles, g.m, 1)) + g.integers(-9, 0, g.shape_a)
    half_b = np.clip(exponent[:, :1] // 2, g.fb.tiny, g.fb.emax)  # the split of the exponent, by column of A
    a = g.scaled(g.fa, np.maximum(exponent - half_b, g.fa.tiny))
    b = g.scaled(g.fb, np.broadcast_to(half_b, (g.tiles, 1, g.terms)) - g.integers(0, 1, g.shape_b))
    present = g.pick(0.5, (g.tiles, 1, g.terms))
    present[np.arange(g.tiles) % 4 > 0] = False
    zero_b = g.rng.choice([2.0**g.fb.emax, 1.0, 0.0, -1.0], g.shape_b)
    a, b = np.where(present, a, 0.0 * g.sign(g.shape_a)), np.where(present, b, zero_b)
    for tile in range(g.tiles):
        p, q = g.rng.permutation(g.terms)[:2]
        if tile % 4 == 0:  # a pair that almost cancels
            b[tile, :, q] = b[tile, :, p]
            a[tile, :, q] = -a[tile, :, p] * g.rng.choice([1.0, 0.5, 0.75], g.m)
            continue
        near = (20, 25) if g.fd.emin > -100 else (6, 12)  # where aligning to 2^-21 or 2^-133 shows
        step, gap = max(g.fd.tiny, low), g.integers(*((1, 26), near)[tile // 4 % 2 ^ 1], (g.m,))
        b[tile, :, p] = 2.0 ** (split := max(step // 2, g.fb.tiny))
        a[tile, :, p] = g.rng.choice([0.5, 1.0, 1.5, 2.0, 3.0, 64.0, 512.0], g.m) * 2.0 ** (step - split)
        b[tile, :, q] = 2.0 ** (split := max((step - 26) // 2, g.fb.tiny))
        a[tile, :, q] = g.sign((g.m,)) * 2.0 ** np.maximum(step - gap - split, g.fa.tiny)
    smallest = 2.0**g.fc.tiny * g.pick(0.2, (g.tiles, g.m, 1))
    return g.codes(a, b, g.sign(g.shape_c) * smallest)


def overflow(g: Draw) -> Operands:
    """Products, sums and C around the largest number of D, with and without cancellation."""
    total = min(g.fa.emax + g.fb.emax, g.fd.emax + 2)
    at_a = max(total // 2, total - g.fb.emax)
    a = g.scaled(g.fa, at_a - g.integers(0, 2, g.shape_a))
    b = g.scaled(g.fb, (total - at_a) - g.integers(0, 2, g.shape_b))
    keep = g.pick(0.4, (g.tiles, 1, g.terms))
    a = np.where(keep, a, g.scaled(g.fa, g.integers(-3, 0, g.shape_a)))
    b = np.where(keep, b, g.scaled(g.fb, g.integers(-3, 0, g.shape_b)))
    for tile in range(1, g.tiles, 2):  # the huge ones cancel, the small ones remain
        places = np.flatnonzero(keep[tile, 0])
        for p, q in zip(places[0::2], places[1::2], strict=False):
            a[tile, :, q], b[tile, :, q] = -a[tile, :, p], b[tile, :, p]
    largest = (2 - 2.0**-g.fc.mantissa) * 2.0**g.fc.emax
    ends = largest - np.ldexp(g.integers(0, 3, g.shape_c).astype(float), g.fc.emax - g.fc.mantissa)
    large = g.scaled(g.fc, g.fc.emax - g.integers(0, 40, g.shape_c))
    c = np.where(g.pick(0.5, g.shape_c), g.sign(g.shape_c) * ends, large)
    return g.codes(a, b, np.where(g.pick(0.2, g.shape_c), 0.0, c))


def _sprinkle(g: Draw, base: Operands, shares: tuple[Share, Share, Share]) -> Operands:
    out = []
    for codes, fmt, share in zip(base, (g.a, g.b, g.c), shares, strict=True):
        drawn = g.rng.choice(np.array(specials(fmt), codes.dtype), codes.shape)
        out.append(np.where(g.pick(share, codes.shape), drawn, codes))
    return out[0], out[1], out[2]


def special_values(g: Draw) -> Operands:
    """Zeros, infinities, NaNs, subnormals and ends of the range among ordinary values; few per output."""
    share = g.rng.choice([0.3, 1.0], (g.tiles, 1, 1)) / g.terms
    return _sprinkle(g, normal(g), (share, share, 0.25))


def signed_zeros(g: Draw) -> Operands:
    """±0 times anything, few products that underflow: the sign of a zero result."""
    a = g.rng.choice([1.0, -1.0, -(2.0**g.fa.tiny), 2.0**g.fa.emin], g.shape_a)
    a = np.where(g.pick(0.5 / g.terms, g.shape_a), a, 0.0 * g.sign(g.shape_a))
    b = g.rng.choice([0.0, -0.0, 1.0, -1.0, 2.0**g.fb.tiny, -(2.0**g.fb.emax)], g.shape_b)
    c = g.rng.choice([0.0, -0.0, 0.0, -0.0, -0.0, -(2.0**g.fc.tiny)], g.shape_c)
    return g.codes(a, b, c)


def nan_payloads(g: Draw) -> Operands:
    """NaNs of different sign, kind and payload in A, B and C, and invalid operations: which one wins?"""
    out = []
    shares = (0.6 / g.terms, 0.6 / g.terms, 0.3)
    for codes, fmt, f, share in zip(normal(g), (g.a, g.b, g.c), (g.fa, g.fb, g.fc), shares, strict=True):
        nans = np.array([code << f.shift for code in nan_codes(fmt)], codes.dtype)
        infinity = codes.dtype.type((2**f.exponent - 1) << f.mantissa << f.shift)
        drawn = np.where(g.pick(0.2, codes.shape) & f.infinite, infinity, g.rng.choice(nans, codes.shape))
        sign = codes.dtype.type(f.sign << f.shift) * g.pick(0.5, codes.shape)
        out.append(np.where(g.pick(share, codes.shape), drawn | sign, codes).astype(codes.dtype))
    out[1] = np.where(g.pick(0.3 / g.terms, g.shape_b), out[1] * 0, out[1])  # 0 x infinity
    return out[0], out[1], out[2]


def dirty_low_bits(g: Draw) -> Operands:
    """tf32 words whose 13 unused bits are set, infinities and zeros that these turn into NaN or not."""
    a, b, c = special_values(g)
    return a | g.integers(0, 8191, a.shape).astype(a.dtype), b | g.integers(0, 8191, b.shape).astype(b.dtype), c


def summation_order(g: Draw) -> Operands:
    """f64 terms of very few magnitudes, 1, 2^-53, 2^-54, 2^53: their order decides the result."""
    sizes = np.array([1.0, 2.0**-53, 2.0**-53, 2.0**-54, 3 * 2.0**-53, 1 + 2.0**-52])
    a = g.rng.choice(sizes, g.shape_a) * np.where(g.pick(0.7, g.shape_a), 1.0, -1.0)
    b = g.rng.choice([1.0, 1.0, 1.0, 1 + 2.0**-52, 2.0**53], (g.tiles, g.n, 1)) * np.ones(g.shape_b)
    return g.codes(a, b, g.rng.choice(np.append(sizes, [0.0, -1.0]), g.shape_c))


Family = Callable[[Draw], Operands]
_COMMON: tuple[Family, ...] = (
    random_all, random_finite, normal, same_sign, wide, subnormal, dominant_c, cancelling, summation_tree,
    fraction_bits, unnormalised, output_rounding, zero_exponent, overflow, special_values, signed_zeros, nan_payloads,
)  # fmt: skip


def families(a_format: str) -> dict[str, Family]:
    """Return the families of a floating-point operand format by case name."""
    extra = {"tf32": (dirty_low_bits,), "f64": (summation_order,)}.get(a_format, ())
    return {family.__name__: family for family in (*_COMMON, *extra)}
