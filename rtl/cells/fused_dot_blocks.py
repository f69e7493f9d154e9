"""Values inside a fused dot-product-add unit, as arrays: what each block of it is held to.

Each block has a golden function of its own: operands are decoded by :func:`lutscape.hw.formats.binary.decode`, sums
are rounded by :func:`lutscape.hw.formats.encode.encode_exact`, and what lies between is integer arithmetic on
exponents and significands. The whole unit is held to :func:`lutscape.sim.mma.Custom` instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.formats.binary import INFINITE, NOT_A_NUMBER, ZERO, BinaryFormat, decode
from lutscape.hw.formats.encode import encode_exact
from lutscape.rtl.cells.fused_dot_design import Design

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Fields:
    """Decoded operands or their products, one shape.

    Attributes:
        negative: sign.
        significand: leading bit included. Infinities and NaNs pass with their raw fields, as if they were numbers.
        exponent: biased, at least 1 (operands); offset from the design's base, 0 for zeros (products).
        zero: significand is 0.
        infinite: an infinity, or a product with one.
        nan: a NaN, or a product with one, or infinity times zero.
    """

    negative: Flags
    significand: Ints
    exponent: Ints
    zero: Flags
    infinite: Flags
    nan: Flags


def fields(x: Ints, f: BinaryFormat) -> Fields:
    """Decode the bits on a port (tf32 travels without its dropped bits)."""
    d = decode((x << f.dropped_bits).astype(f.dtype), f)
    special = (d.kind == INFINITE) | (d.kind == NOT_A_NUMBER)
    m = f.mantissa_bits
    significand = np.where(special, (x & ((1 << m) - 1)) + (1 << m), d.significand.astype(np.int64))
    biased = np.where(special, (x >> m) & ((1 << f.exponent_bits) - 1), d.exponent.astype(np.int64) + f.bias)
    return Fields(d.sign, significand, biased, d.kind == ZERO, d.kind == INFINITE, d.kind == NOT_A_NUMBER)


def product(design: Design, a: Ints, b: Ints) -> Fields:
    """Return exact products of port values, without the fraction bits that F always cuts."""
    x, y = fields(a, design.a), fields(b, design.b)
    zero, infinite = x.zero | y.zero, x.infinite | y.infinite
    exponent = x.exponent + y.exponent - design.a.bias - design.b.bias - design.base
    return Fields(
        negative=x.negative ^ y.negative,
        significand=(x.significand * y.significand) >> (design.product_fraction - design.kept_product),
        exponent=np.where(zero, 0, exponent),
        zero=zero,
        infinite=infinite,
        nan=x.nan | y.nan | (infinite & zero),
    )


@dataclass(frozen=True)
class Terms:
    """Terms of each sum, L products and then the accumulator last: (beats, L + 1); the rest (beats,).

    Attributes:
        negative: sign.
        significand: without the fraction bits that F always cuts; 0 for zeros.
        exponent: offset from the design's base; 0 for zeros.
        largest: the largest of them, at least the floor's.
        nan: the result is NaN.
        infinite: a term is infinite.
        infinite_negative: a term is minus infinity.
        zero: (beats, L + 1).
    """

    negative: Flags
    significand: Ints
    exponent: Ints
    largest: Ints
    nan: Flags
    infinite: Flags
    infinite_negative: Flags
    zero: Flags

    @property
    def finite(self) -> Flags:
        """The sum decides the result."""
        return ~self.nan & ~self.infinite


def terms(design: Design, a: Ints, b: Ints, c: Ints) -> Terms:
    """Return the terms of sums with operands a, b (beats, L) and c (beats, 1), as on the ports."""
    p, addend = product(design, a, b), fields(c, design.c)
    e = np.where(addend.zero & (design.floor < design.c.emin), 0, addend.exponent - design.c.bias - design.base)
    exponent = np.concatenate([p.exponent, e], axis=1)
    negative = np.concatenate([p.negative, addend.negative], axis=1)
    infinite = np.concatenate([p.infinite, addend.infinite], axis=1)
    plus, minus = (infinite & ~negative).any(axis=1), (infinite & negative).any(axis=1)
    cut = design.c.mantissa_bits - design.kept_c
    return Terms(
        negative=negative,
        significand=np.concatenate([p.significand, addend.significand >> cut], axis=1),
        exponent=exponent,
        largest=np.maximum(exponent.max(axis=1), design.floor - design.base),
        nan=p.nan.any(axis=1) | addend.nan[:, 0] | (plus & minus),
        infinite=plus | minus,
        infinite_negative=minus,
        zero=np.concatenate([p.zero, addend.zero], axis=1),
    )


def aligned(design: Design, significand: Ints, fraction: int | Ints, distance: Ints) -> Ints:
    """Return magnitudes in units of 2^(e_max - F), cut toward zero, of significands with ``fraction`` bits."""
    return np.asarray((significand << (design.fraction - fraction)) >> np.minimum(distance, design.term_bits))


def total(design: Design, t: Terms) -> Ints:
    """Return (beats,) the signed sum, in units of 2^(e_max - F)."""
    fraction = np.array([design.kept_product] * design.products + [design.kept_c], dtype=np.int64)
    magnitude = aligned(design, t.significand, fraction, t.largest[:, None] - t.exponent)
    return np.asarray(np.where(t.negative, -magnitude, magnitude).sum(axis=1))


def rounded(design: Design, sums: Ints, largest: Ints) -> Ints:
    """Return result codes of finite sums."""
    exponent = largest + design.base - design.fraction
    code = encode_exact(
        sums < 0, np.abs(sums).astype(np.uint64), exponent, design.target, design.rounding.mode, "infinity"
    ).astype(np.int64)
    return np.where(code == 1 << (design.c.width - 1), 0, code)
