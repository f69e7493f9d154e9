"""Binary floating-point formats as bit fields: one table, one decoder, values as float64.

A format is a sign, an exponent and a mantissa field plus a rule for the codes that are no numbers.
Throughout, a finite code means ``(-1)^sign * significand * 2^(exponent - mantissa_bits)`` with
``exponent = max(floor(log2 |x|), emin)``: subnormals keep ``emin`` and a significand below
``2^mantissa_bits``, as matrix units align them (arXiv 2511.10909, section 4).

Sources: IEEE 754-2019 (fp16/32/64); OCP 8-bit Floating Point 1.0 (e4m3, e5m2); OCP Microscaling 1.0
(e3m2, e2m3, e2m1, ue8m0); AMD CDNA3 ISA, section 7 (the FNUZ pair); PTX ISA 8.8, "alternate
floating-point data formats" (tf32, ue4m3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from lutscape.hw.errors import UserError, choose

ZERO, FINITE, INFINITE, NOT_A_NUMBER = 0, 1, 2, 3
"""Classes of a code, in :attr:`Decoded.kind`."""

Specials = Literal["ieee", "fn", "fnuz", "none", "scale"]


@dataclass(frozen=True)
class BinaryFormat:
    """One format.

    Attributes:
        name: as PTX spells it, without ``f`` prefixes for the wide ones (``fp16``, ``e4m3``).
        width: bits of the word that holds one number (32 for tf32, 8 for every narrow format).
        exponent_bits: width of the exponent field.
        mantissa_bits: explicit fraction bits.
        bias: exponent bias.
        specials: ``ieee`` (top exponent is Inf/NaN), ``fn`` (only the all-ones code is NaN, no Inf),
            ``fnuz`` (only 0b10…0 is NaN, no Inf, no -0), ``none`` (every code is a number), ``scale``
            (ue8m0: a power of two, 0xFF is NaN, no zero).
        signed: whether the top bit of the field is a sign; otherwise it is ignored (ue4m3) or absent.
        dropped_bits: low bits of the word that the unit clears before it looks (13 for tf32).
    """

    name: str
    width: int
    exponent_bits: int
    mantissa_bits: int
    bias: int
    specials: Specials
    signed: bool = True
    dropped_bits: int = 0

    @property
    def emin(self) -> int:
        """Exponent of the smallest normal number, and of every subnormal."""
        return -self.bias if self.specials == "scale" else 1 - self.bias

    @property
    def bits(self) -> int:
        """Bits that carry information: sign, exponent and mantissa fields."""
        return self.signed + self.exponent_bits + self.mantissa_bits

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Unsigned integer dtype of raw arrays."""
        return np.dtype(f"u{self.width // 8}")

    @property
    def largest(self) -> int:
        """Magnitude field (exponent and mantissa) of the largest finite number."""
        top = (1 << (self.exponent_bits + self.mantissa_bits)) - 1
        if self.specials == "ieee":
            return top - (1 << self.mantissa_bits)
        return top - (self.specials in ("fn", "scale"))

    @property
    def max_value(self) -> float:
        """Largest finite number."""
        return float(values(np.array([self.largest << self.dropped_bits], self.dtype), self)[0])

    @property
    def has_infinity(self) -> bool:
        """Whether overflow can be shown as an infinity."""
        return self.specials == "ieee"

    def holds(self, other: BinaryFormat) -> bool:
        """Return whether every finite number of another signed format with zero is one of this format, exactly."""
        lowest, theirs = self.emin - self.mantissa_bits, other.emin - other.mantissa_bits
        wide = self.mantissa_bits >= other.mantissa_bits and lowest <= theirs
        return wide and self.max_value >= other.max_value


FORMATS: dict[str, BinaryFormat] = {
    f.name: f
    for f in [
        BinaryFormat("fp64", 64, 11, 52, 1023, "ieee"),
        BinaryFormat("fp32", 32, 8, 23, 127, "ieee"),
        BinaryFormat("tf32", 32, 8, 10, 127, "ieee", dropped_bits=13),
        BinaryFormat("bf16", 16, 8, 7, 127, "ieee"),
        BinaryFormat("fp16", 16, 5, 10, 15, "ieee"),
        BinaryFormat("e5m2", 8, 5, 2, 15, "ieee"),
        BinaryFormat("e4m3", 8, 4, 3, 7, "fn"),
        BinaryFormat("e5m2fnuz", 8, 5, 2, 16, "fnuz"),
        BinaryFormat("e4m3fnuz", 8, 4, 3, 8, "fnuz"),
        BinaryFormat("e3m2", 8, 3, 2, 3, "none"),
        BinaryFormat("e2m3", 8, 2, 3, 1, "none"),
        BinaryFormat("e2m1", 8, 2, 1, 1, "none"),
        BinaryFormat("ue8m0", 8, 8, 0, 127, "scale", signed=False),
        BinaryFormat("ue4m3", 8, 4, 3, 7, "fn", signed=False),
    ]
}


@dataclass(frozen=True)
class Decoded:
    """Fields of an array of codes, all of the array's shape.

    Attributes:
        sign: bool, True for negative (also of zeros, infinities and NaNs).
        significand: uint64, implicit bit included; 0 for zeros, infinities and NaNs.
        exponent: int32, ``max(floor(log2 |x|), emin)``; ``emin`` where the significand is 0.
        kind: uint8, one of ZERO, FINITE, INFINITE, NOT_A_NUMBER.
    """

    sign: np.ndarray
    significand: np.ndarray
    exponent: np.ndarray
    kind: np.ndarray


def binary_format(name: str) -> BinaryFormat:
    """Return a format by name; UserError with the nearest spelling otherwise."""
    return FORMATS[choose(name, FORMATS, "number format")]


def decode(bits: np.ndarray, fmt: BinaryFormat | str) -> Decoded:
    """Split raw codes into sign, significand, exponent and class.

    Args:
        bits: unsigned integers of the format's width, any shape. Bits above the fields of a 6- or
            4-bit format, and the sign bit of ue4m3, are ignored.
        fmt: a format or its name.

    Raises:
        UserError: not an unsigned array of the format's width.
    """
    f = binary_format(fmt) if isinstance(fmt, str) else fmt
    bits = np.asarray(bits)
    if bits.dtype != f.dtype:
        raise UserError(f"{f.name} codes need dtype {f.dtype}, got {bits.dtype}")
    field = bits.astype(np.uint64) >> np.uint64(f.dropped_bits)
    m, fields = np.uint64(f.mantissa_bits), f.exponent_bits + f.mantissa_bits
    magnitude = field & np.uint64((1 << fields) - 1)
    if f.signed:
        sign = (field >> np.uint64(fields)) & np.uint64(1) == 1
    else:
        sign = np.zeros(bits.shape, bool)
    biased = (magnitude >> m).astype(np.int32)
    mantissa = magnitude & np.uint64((1 << f.mantissa_bits) - 1)
    kind = np.full(bits.shape, FINITE, np.uint8)
    if f.specials == "scale":
        significand, exponent = np.ones(bits.shape, np.uint64), biased - np.int32(f.bias)
        kind[magnitude == 0xFF] = NOT_A_NUMBER
    else:
        significand = mantissa + ((biased > 0).astype(np.uint64) << m)
        exponent = np.maximum(biased, 1) - np.int32(f.bias)
        kind[significand == 0] = ZERO
        if f.specials == "ieee":
            top = biased == (1 << f.exponent_bits) - 1
            kind[top] = np.where(mantissa[top] == 0, INFINITE, NOT_A_NUMBER)
        elif f.specials == "fn":
            kind[magnitude == (1 << fields) - 1] = NOT_A_NUMBER
        elif f.specials == "fnuz":
            kind[(magnitude == 0) & sign] = NOT_A_NUMBER
    other = kind >= INFINITE
    return Decoded(sign, np.where(other, np.uint64(0), significand), np.where(other, np.int32(f.emin), exponent), kind)


def values(bits: np.ndarray, fmt: BinaryFormat | str) -> np.ndarray:
    """Return the numbers that raw codes stand for, as float64 (exact for every format).

    NaNs come back as the quiet NaN without payload; zeros and infinities keep their sign.
    """
    f = binary_format(fmt) if isinstance(fmt, str) else fmt
    fields = decode(bits, f)
    x = np.ldexp(fields.significand.astype(np.float64), fields.exponent - np.int32(f.mantissa_bits))
    x = np.where(fields.kind == INFINITE, np.inf, np.where(fields.kind == NOT_A_NUMBER, np.nan, x))
    return np.where(fields.sign & (fields.kind != NOT_A_NUMBER), -x, x)


@cache
def value_table(name: str) -> np.ndarray:
    """Return the float64 value of every code of a format of at most 16 bits, (2^width,), read-only."""
    f = binary_format(name)
    if f.width > 16:
        raise UserError(f"{f.name} has 2^{f.width} codes; tables exist up to 16 bits")
    table = values(np.arange(1 << f.width, dtype=f.dtype), f)
    table.setflags(write=False)
    return table
