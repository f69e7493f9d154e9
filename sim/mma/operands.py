"""Raw operand codes to what the kernels read: float values and alignment exponents, decoded once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from lutscape.hw.formats.binary import FORMATS, decode, value_table, values

NOTHING = -8192
"""Exponent of a zero; the same number as in :mod:`.kernels_fused`, which importing would load numba."""
NARROW_EXPONENT = 50
"""Exponents within ± this of both operands keep every product and its cut terms exact in float32."""


@dataclass(frozen=True)
class Operand:
    """A or B of a fused dot product, decoded.

    Attributes:
        value: float32 (or float64 after scaling), the numbers; infinities and NaNs included.
        exponent: int16, same shape: ``max(floor(log2 |x|), emin)``, NOTHING for zeros and non-numbers.
        narrow: every exponent is within ±NARROW_EXPONENT.
        special: an infinity or NaN may be present.
    """

    value: np.ndarray
    exponent: np.ndarray
    narrow: bool
    special: bool

    def take(self, index: np.ndarray, axis: int) -> Operand:
        """Return a copy with ``index`` of one axis, in that order."""
        return replace(
            self,
            value=np.ascontiguousarray(self.value.take(index, axis)),
            exponent=np.ascontiguousarray(self.exponent.take(index, axis)),
        )


@cache
def _tables(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 values and int16 exponents of every code of a format of at most 16 bits."""
    f = FORMATS[name]
    fields = decode(np.arange(1 << f.width, dtype=f.dtype), f)
    exponent = np.where(fields.significand == 0, NOTHING, fields.exponent).astype(np.int16)
    return value_table(name).astype(np.float32), exponent


def operand(bits: np.ndarray, name: str) -> Operand:
    """Decode raw codes of any shape.

    Args:
        bits: unsigned codes in the format's dtype.
        name: a format of at most 16 bits, or tf32.
    """
    f = FORMATS[name]
    if f.width <= 16:
        value_of, exponent_of = _tables(name)
        value, exponent = value_of[bits], exponent_of[bits]
    else:
        value = (bits & np.uint32(0xFFFFE000)).view(np.float32)
        exponent = ((value.view(np.uint32) >> np.uint32(23)) & np.uint32(0xFF)).astype(np.int16)
        special = exponent == 255
        exponent = np.maximum(exponent, 1) - np.int16(127)
        exponent[(value == 0) | special] = NOTHING
    narrow = f.exponent_bits <= 5 or _is_narrow(exponent)
    has_special = f.specials != "none" and not bool(np.isfinite(value).all())
    return Operand(np.ascontiguousarray(value), np.ascontiguousarray(exponent), narrow, has_special)


def scaled(plain: Operand, scale_bits: np.ndarray, block: int, axis: int) -> Operand:
    """Multiply by ue8m0 scales, one per ``block`` elements of ``axis``; NaN scales give NaN.

    ``scale_bits`` has the operand's shape with ``axis`` divided by ``block``. Values become float64.
    """
    fields = decode(scale_bits, "ue8m0")
    factor = np.repeat(values(scale_bits, "ue8m0"), block, axis)
    shift = np.repeat(fields.exponent.astype(np.int16), block, axis)
    nothing = (plain.exponent == NOTHING) | np.isnan(factor)
    exponent = np.where(nothing, np.int16(NOTHING), plain.exponent + shift).astype(np.int16)
    value = plain.value.astype(np.float64) * factor
    return Operand(value, exponent, False, plain.special or bool(np.isnan(factor).any()))


def flushed(x: np.ndarray, emin: int) -> np.ndarray:
    """Return float32 values with magnitudes below ``2^emin`` replaced by +0."""
    return np.where(np.abs(x) < np.float32(2.0**emin), np.float32(0), x)


def _is_narrow(exponent: np.ndarray) -> bool:
    numbers = exponent[exponent != NOTHING]
    return numbers.size == 0 or bool((numbers.min() >= -NARROW_EXPONENT) & (numbers.max() <= NARROW_EXPONENT))


def group_masks(value: np.ndarray, group: int, axis: int) -> np.ndarray:
    """Return, per ``group`` elements of ``axis``, a uint32 whose bit r says that element r is not zero."""
    axis %= value.ndim
    shape = (*value.shape[:axis], value.shape[axis] // group, group, *value.shape[axis + 1 :])
    weights = (1 << np.arange(group, dtype=np.uint32)).reshape(group, *([1] * (value.ndim - axis - 1)))
    masks = ((value.reshape(shape) != 0) * weights).sum(axis + 1, dtype=np.uint32)
    return np.ascontiguousarray(masks)
