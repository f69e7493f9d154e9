"""Rounding exact numbers into binary formats: nearest-even, toward zero, down, up, stochastic.

Everything goes through :func:`encode_exact`, which works on ``significand * 2^exponent`` in
integers; :func:`encode` splits float64 values first.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from lutscape.hw.errors import UserError, choose
from lutscape.hw.formats.binary import BinaryFormat, binary_format

ROUNDINGS = ("RNE", "RZ", "RD", "RU", "SR")
OVERFLOWS = ("ieee", "saturate", "infinity")
Overflow = Literal["ieee", "saturate", "infinity"]
STOCHASTIC_BITS = 32
"""Bits of the discarded fraction that stochastic rounding compares with its random word."""


def nan_code(f: BinaryFormat) -> int | None:
    """Return the canonical NaN code: quiet and positive; all ones for fn and ue8m0; None where there is none."""
    fields = f.exponent_bits + f.mantissa_bits
    if f.specials == "ieee":
        return (f.largest + 1 + (1 << (f.mantissa_bits - 1))) << f.dropped_bits
    return {"fn": (1 << fields) - 1, "scale": 0xFF, "fnuz": 1 << fields, "none": None}[f.specials]


def encode_exact(
    sign: np.ndarray,
    significand: np.ndarray,
    exponent: np.ndarray,
    fmt: BinaryFormat | str,
    rounding: str = "RNE",
    overflow: Overflow = "ieee",
    random: np.ndarray | None = None,
) -> np.ndarray:
    """Round ``(-1)^sign * significand * 2^exponent`` to the nearest codes in one direction.

    Args:
        sign: bool, any shape.
        significand: uint64, same shape.
        exponent: integers, same shape; the weight of the significand's lowest bit.
        fmt: target format or its name.
        rounding: RNE, RZ, RD, RU or SR (up with probability discarded fraction, 32 bits of it).
        overflow: ``ieee`` (IEEE 754-2019, 7.4: the rounding direction chooses infinity or the
            largest number; formats without infinity give NaN, without NaN the largest number),
            ``saturate`` (largest number), ``infinity`` (also under RZ, as NVIDIA units do).
        random: uint32, same shape, for SR.

    Returns:
        Unsigned codes. Subnormals are kept. A negative zero is +0 in FNUZ formats; ue8m0, which has
        no zero, turns zero into NaN; negative numbers are NaN in the unsigned formats.

    Raises:
        UserError: unknown rounding or overflow rule; SR without ``random``.
    """
    f = binary_format(fmt) if isinstance(fmt, str) else fmt
    choose(rounding, ROUNDINGS, "rounding")
    choose(overflow, OVERFLOWS, "overflow rule")
    if rounding == "SR" and random is None:
        raise UserError("rounding SR needs random, a uint32 array of the values' shape")
    sign = np.asarray(sign, bool)
    sig = np.asarray(significand, np.uint64)
    exponent = np.asarray(exponent, np.int64)
    high, low = sig >> np.uint64(32), sig & np.uint64(0xFFFFFFFF)
    length = np.where(high > 0, 32 + np.frexp(high.astype(np.float64))[1], np.frexp(low.astype(np.float64))[1])
    target = np.maximum(exponent + length - 1, f.emin)  # exponent of the result before rounding
    target = np.where(sig == 0, f.emin, target)
    shift = target - f.mantissa_bits - exponent  # bits discarded where positive
    left = np.clip(-shift, 0, 63).astype(np.uint64)
    right = np.clip(shift, 0, 66)
    kept = np.where(shift <= 0, sig << left, _shift_right(sig, right))
    guard = np.where(right > 0, _shift_right(sig, right - 1) & np.uint64(1), 0) == 1
    sticky = (right > 1) & (sig != _shift_right(sig, right - 1) << np.clip(right - 1, 0, 63).astype(np.uint64))
    kept = kept + _increment(rounding, sign, kept, guard, sticky, sig, right, random).astype(np.uint64)
    # Adding the significand to the exponent field lets a rounding carry renormalise by itself.
    steps = np.minimum(target - f.emin, 1 << f.exponent_bits).astype(np.uint64)
    if f.specials == "scale":
        field = np.maximum(steps + kept, np.uint64(1)) - np.uint64(1)
    else:
        field = (steps << np.uint64(f.mantissa_bits)) + kept
    over = field > np.uint64(f.largest)
    return _assemble(f, sign, field, over, sig == 0, overflow, _goes_to_infinity(rounding, overflow, sign))


def _assemble(
    f: BinaryFormat,
    sign: np.ndarray,
    field: np.ndarray,
    over: np.ndarray,
    zero: np.ndarray,
    overflow: str,
    to_infinity: np.ndarray,
) -> np.ndarray:
    """Put sign and magnitude fields together; overflow, missing zeros and missing signs included."""
    codes = np.where(over, np.uint64(f.largest), field)
    escapes = over & to_infinity & (overflow != "saturate")
    lost = np.zeros(sign.shape, bool)
    if f.has_infinity:
        codes = np.where(escapes, np.uint64(f.largest + 1), codes)
    else:
        lost = escapes
    if f.signed:
        negative = sign & ~((f.specials == "fnuz") & (codes == 0))
        codes = codes | (negative.astype(np.uint64) << np.uint64(f.bits - 1))
    else:
        lost = lost | (sign & ~zero) | (zero & (f.specials == "scale"))
    codes = codes << np.uint64(f.dropped_bits)
    nan = nan_code(f)
    return (codes if nan is None else np.where(lost, np.uint64(nan), codes)).astype(f.dtype)


def encode(
    x: np.ndarray,
    fmt: BinaryFormat | str,
    rounding: str = "RNE",
    overflow: Overflow = "ieee",
    random: np.ndarray | None = None,
) -> np.ndarray:
    """Round float64 (or narrower) values to codes of a format; one rounding, NaN becomes canonical.

    Infinities stay infinities where the format has them, otherwise they overflow as large numbers
    do. NaN becomes -0 in formats without NaN (as ml_dtypes has it). Other arguments and errors as
    for :func:`encode_exact`.
    """
    f = binary_format(fmt) if isinstance(fmt, str) else fmt
    x = np.asarray(x, np.float64)
    infinite, nan = np.isinf(x), np.isnan(x)
    fraction, exponent = np.frexp(np.where(infinite | nan, 0.0, x))
    significand = np.ldexp(np.abs(fraction), 53).astype(np.uint64)
    sign = np.signbit(x) & ~nan
    codes = encode_exact(sign, significand, exponent.astype(np.int64) - 53, f, rounding, overflow, random)
    if infinite.any():
        largest = np.full(x.shape, f.largest, np.uint64)
        endless = _assemble(f, sign, largest, infinite, ~infinite, overflow, infinite)
        codes = np.where(infinite, endless, codes)
    code = nan_code(f)
    return np.where(nan, np.array(code if code is not None else 1 << (f.bits - 1), f.dtype), codes)


def representable(x: np.ndarray, fmt: BinaryFormat | str) -> np.ndarray:
    """Return, per element, whether a float value (NaN included) is exactly a number of the format."""
    from lutscape.hw.formats.binary import values

    x = np.asarray(x, np.float64)
    back = values(encode(x, fmt), fmt)
    return (back == x) | (np.isnan(x) & np.isnan(back))


def _shift_right(x: np.ndarray, by: np.ndarray) -> np.ndarray:
    """Shift uint64 right by 0 or more places; 64 places and more give 0."""
    by = np.maximum(by, 0)
    return np.where(by > 63, np.uint64(0), x >> np.minimum(by, 63).astype(np.uint64))


def _increment(
    rounding: str,
    sign: np.ndarray,
    kept: np.ndarray,
    guard: np.ndarray,
    sticky: np.ndarray,
    sig: np.ndarray,
    right: np.ndarray,
    random: np.ndarray | None,
) -> np.ndarray:
    if rounding == "RNE":
        return guard & (sticky | (kept & np.uint64(1) == 1))
    if rounding == "RZ":
        return np.zeros(sig.shape, bool)
    if rounding in ("RD", "RU"):
        return (guard | sticky) & (sign if rounding == "RD" else ~sign)
    assert random is not None
    rest = sig - (_shift_right(sig, right) << np.clip(right, 0, 63).astype(np.uint64))
    rest = np.where(right > 63, sig, rest)
    fraction = np.where(
        right > STOCHASTIC_BITS,
        _shift_right(rest, right - STOCHASTIC_BITS),
        rest << np.clip(STOCHASTIC_BITS - right, 0, STOCHASTIC_BITS).astype(np.uint64),
    )
    return (right > 0) & (fraction + np.asarray(random, np.uint64) >= np.uint64(1 << STOCHASTIC_BITS))


def _goes_to_infinity(rounding: str, overflow: str, sign: np.ndarray) -> np.ndarray:
    if rounding in ("RNE", "SR") or overflow == "infinity":
        return np.ones(sign.shape, bool)
    if rounding == "RZ":
        return np.zeros(sign.shape, bool)
    return sign if rounding == "RD" else ~sign
