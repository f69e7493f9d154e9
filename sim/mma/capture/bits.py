"""Raw bits of the operand formats: encode float64 values, special codes, packing.

Small and apart from ``hw/formats`` on purpose: a capture must not depend on the codecs that it
is used to check.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from lutscape.sim.mma.capture.instructions import BITS

Bits = np.ndarray  # unsigned integers of the storage width
Values = np.ndarray  # float64


def storage(fmt: str) -> np.dtype:
    """Return the unsigned integer that holds one element (s4, u4 one, b1 eight to a uint8)."""
    return np.dtype(f"u{max(BITS[fmt], 8) // 8}")


@dataclass(frozen=True)
class Float:
    """Exponent and mantissa widths; ``shift`` unused low bits in storage (tf32: 13)."""

    exponent: int
    mantissa: int
    shift: int = 0
    infinite: bool = True  # all-ones exponent means infinity or NaN (e4m3: only 0x7F is special)

    @property
    def bias(self) -> int:
        return 2 ** (self.exponent - 1) - 1

    @property
    def emin(self) -> int:
        return 1 - self.bias

    @property
    def emax(self) -> int:
        return self.bias if self.infinite else self.bias + 1

    @property
    def tiny(self) -> int:
        """Exponent of the smallest subnormal."""
        return self.emin - self.mantissa

    @property
    def sign(self) -> int:
        return 1 << (self.exponent + self.mantissa)

    @property
    def largest(self) -> int:
        """Code of the largest finite number."""
        return ((2**self.exponent - 1) << self.mantissa) - 1 if self.infinite else self.sign - 2


FLOATS = {
    "f64": Float(11, 52),
    "f32": Float(8, 23),
    "tf32": Float(8, 10, shift=13),
    "bf16": Float(8, 7),
    "f16": Float(5, 10),
    "e5m2": Float(5, 2),
    "e4m3": Float(4, 3, infinite=False),
}
INTEGERS = {"s8": (-128, 127), "u8": (0, 255), "s4": (-8, 7), "u4": (0, 15), "s32": (-(2**31), 2**31 - 1)}


def encode(fmt: str, x: Values) -> Bits:
    """Round float64 values to nearest even in the format; too large ones become the largest finite."""
    x = np.asarray(x, np.float64)
    if fmt == "f64":
        return x.view(np.uint64).copy()
    f = FLOATS[fmt]
    magnitude = np.abs(x)
    exponent = np.maximum(np.where(x == 0, f.emin, np.frexp(x)[1] - 1), f.emin).astype(np.int64)
    with np.errstate(over="ignore"):
        fraction = np.rint(np.ldexp(np.minimum(magnitude, 2.0**200), f.mantissa - exponent))
    code = ((exponent - f.emin) << f.mantissa) + np.minimum(fraction, 2.0**40).astype(np.int64)
    code = np.minimum(code, f.largest) + np.where(np.signbit(x), f.sign, 0)
    return (code << f.shift).astype(storage(fmt))


@cache
def specials(fmt: str) -> tuple[int, ...]:
    """Return codes worth meeting: zeros, subnormals, ends of the range, infinities, NaNs, both signs."""
    f = FLOATS[fmt]
    implicit, top = 1 << f.mantissa, (2**f.exponent - 1) << f.mantissa
    codes = [0, 1, implicit - 1, implicit, f.bias << f.mantissa, f.largest]
    codes += nan_codes(fmt) if not f.infinite else [top, top | 1, top | (implicit >> 1), top | (implicit - 1)]
    signed = [*codes, *(code | f.sign for code in codes)]
    return tuple(code << f.shift for code in signed) + ((0x7F800001, 0xFF801FFF, 0x00001FFF) if f.shift else ())


@cache
def nan_codes(fmt: str) -> list[int]:
    """Return positive NaN codes (unshifted): signalling and quiet with different payloads."""
    f = FLOATS[fmt]
    if not f.infinite:
        return [f.sign - 1]
    top, quiet = (2**f.exponent - 1) << f.mantissa, 1 << (f.mantissa - 1)
    payloads = sorted({p for p in (1, 2, 3, 5, quiet // 3, quiet - 1) if 0 < p < quiet})
    return [top | quiet, *(top | p for p in payloads), *(top | quiet | p for p in payloads)]


def random_bits(rng: np.random.Generator, fmt: str, shape: tuple[int, ...]) -> Bits:
    """Return uniformly random codes of the whole storage word (s4, u4: four bits)."""
    width = 4 if BITS[fmt] == 4 else 8 * storage(fmt).itemsize
    return rng.integers(0, 2**width - 1, shape, np.uint64, endpoint=True).astype(storage(fmt))


def random_finite(rng: np.random.Generator, fmt: str, shape: tuple[int, ...]) -> Bits:
    """Return random codes without infinities and NaNs (the top exponent bit of those is cleared)."""
    f = FLOATS[fmt]
    codes = random_bits(rng, fmt, shape).astype(np.uint64)
    special = (codes >> np.uint64(f.shift)) & np.uint64(f.sign - 1) > np.uint64(f.largest)
    top = np.uint64(1 << (f.exponent + f.mantissa - 1 + f.shift))
    return np.where(special, codes & ~top, codes).astype(storage(fmt))


def pack_rows(fmt: str, codes: Bits) -> bytes:
    """Return the bytes of an operand as the harness reads it: s4 and u4 two to a byte, low first."""
    if BITS[fmt] == 4:
        codes = (codes[..., 0::2] & 15) | (codes[..., 1::2] << 4)
    return np.ascontiguousarray(codes).tobytes()
