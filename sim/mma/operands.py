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
    """Return float32 values and int16 exponents of every code of an 8-bit format."""
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
    if f.width == 8:
        value_of, exponent_of = _tables(name)
        value, exponent = value_of[bits], exponent_of[bits]
        has_special = f.specials != "none" and not bool(np.isfinite(value).all())
        return Operand(value, exponent, True, has_special)
    if name == "fp16":
        value = bits.view(np.float16).astype(np.float32)
        field = ((bits >> np.uint16(10)) & np.uint16(31)).view(np.int16)
    else:
        word = bits.astype(np.uint32) << np.uint32(16) if name == "bf16" else bits & np.uint32(0xFFFFE000)
        value = word.view(np.float32)
        field = ((word >> np.uint32(23)) & np.uint32(0xFF)).astype(np.int16)
    special = field == (1 << f.exponent_bits) - 1
    has_special = bool(special.any())
    exponent = np.maximum(field, np.int16(1)) - np.int16(f.bias)
    np.copyto(exponent, np.int16(NOTHING), where=value == 0)
    if has_special:
        np.copyto(exponent, np.int16(NOTHING), where=special)
    return Operand(value, exponent, name == "fp16" or _is_narrow(exponent), has_special)


def accumulators(bits: np.ndarray, name: str) -> np.ndarray:
    """Return accumulator codes as new float64 numbers; NaNs keep some payload."""
    with np.errstate(invalid="ignore"):  # signalling NaNs
        if name == "fp32":
            return bits.view(np.float32).astype(np.float64)
        if name == "fp16":
            return bits.view(np.float16).astype(np.float64)
    return values(bits, name)


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
    if exponent.max(initial=NOTHING) > NARROW_EXPONENT:
        return False
    return not bool(((exponent < -NARROW_EXPONENT) & (exponent != NOTHING)).any())


def group_masks(value: np.ndarray, group: int, axis: int) -> np.ndarray:
    """Return, per ``group`` elements of ``axis``, a uint32 whose bit r says that element r is not zero."""
    axis %= value.ndim
    shape = (*value.shape[:axis], value.shape[axis] // group, group, *value.shape[axis + 1 :])
    weights = (1 << np.arange(group, dtype=np.uint32)).reshape(group, *([1] * (value.ndim - axis - 1)))
    masks = ((value.reshape(shape) != 0) * weights).sum(axis + 1, dtype=np.uint32)
    return np.ascontiguousarray(masks)
