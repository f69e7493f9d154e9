"""Integer and one-bit operands: ranges, packing, saturation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.hw.errors import UserError, choose


@dataclass(frozen=True)
class IntegerFormat:
    """A two's-complement or unsigned integer, one per byte or word in raw arrays.

    Attributes:
        name: PTX spelling (``s8``, ``u4``, ``b1``, ``s32``).
        bits: information bits; the low bits of the raw word.
        signed: two's complement.
    """

    name: str
    bits: int
    signed: bool

    @property
    def low(self) -> int:
        """Smallest value."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest value."""
        return (1 << (self.bits - self.signed)) - 1

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger]:
        """Unsigned dtype of raw arrays."""
        return np.dtype("u4" if self.bits == 32 else "u1")


INTEGERS = {
    f.name: f
    for f in [
        IntegerFormat("s32", 32, True),
        IntegerFormat("s8", 8, True),
        IntegerFormat("u8", 8, False),
        IntegerFormat("s4", 4, True),
        IntegerFormat("u4", 4, False),
        IntegerFormat("b1", 1, False),
    ]
}


def integer_values(bits: np.ndarray, name: str) -> np.ndarray:
    """Return int64 values of raw codes (any shape); bits above the format's are ignored.

    Raises:
        UserError: unknown format; not unsigned of the format's raw width.
    """
    f = INTEGERS[choose(name, INTEGERS, "integer format")]
    if bits.dtype != f.dtype:
        raise UserError(f"{f.name} codes need dtype {f.dtype}, got {bits.dtype}")
    x = bits.astype(np.int64) & ((1 << f.bits) - 1)
    return np.where(x > f.high, x - (1 << f.bits), x)


def integer_codes(x: np.ndarray, name: str, saturate: bool) -> np.ndarray:
    """Return raw codes of int64 values: clamped to the range, or wrapped modulo 2^bits."""
    f = INTEGERS[choose(name, INTEGERS, "integer format")]
    y = np.clip(x, f.low, f.high) if saturate else x
    return (y & ((1 << f.bits) - 1)).astype(f.dtype)


def unpack(packed: np.ndarray, bits: int) -> np.ndarray:
    """Split each byte or word into ``bits``-wide fields, lowest first, along the last axis.

    ``(…, n)`` unsigned of width w becomes ``(…, n * w / bits)`` uint8. bits is 1, 2 or 4.
    """
    if packed.dtype.kind != "u" or bits not in (1, 2, 4):
        raise UserError(f"unpack takes unsigned arrays and 1, 2 or 4 bits, got {packed.dtype} and {bits}")
    width = packed.dtype.itemsize * 8
    shifts = np.arange(0, width, bits, dtype=packed.dtype)
    fields = (packed[..., None] >> shifts) & packed.dtype.type((1 << bits) - 1)
    return fields.reshape(*packed.shape[:-1], -1).astype(np.uint8)


def pack(fields: np.ndarray, bits: int) -> np.ndarray:
    """Join ``bits``-wide fields, lowest first, into bytes: the inverse of :func:`unpack` on uint8."""
    per = 8 // bits
    if bits not in (1, 2, 4) or fields.shape[-1] % per:
        raise UserError(f"pack takes 1, 2 or 4 bits and a last axis divisible by {per}, got {bits}, {fields.shape}")
    grouped = fields.reshape(*fields.shape[:-1], -1, per).astype(np.uint8) & np.uint8((1 << bits) - 1)
    shifted = grouped << (np.arange(per) * bits).astype(np.uint8)
    return np.bitwise_or.reduce(shifted, axis=-1).astype(np.uint8)
