"""The roundings of a lookup datapath: sums to float formats, scaled entries to integers, exact sums to FP32.

Float formats carry the names of traces (``fp8_e4m3``). Every add of two numbers of at most 24 significant bits is
done in float64 and rounded once more: 53 ≥ 2 · 24 + 2 bits make the second rounding the only one that shows
(Figueroa 1995, "When is double rounding innocuous?").
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lutscape.hw.formats.binary import FORMATS, BinaryFormat

FLOATS: dict[str, BinaryFormat] = {
    "fp8_e4m3": FORMATS["e4m3"],
    "fp8_e5m2": FORMATS["e5m2"],
    "fp16": FORMATS["fp16"],
    "bf16": FORMATS["bf16"],
    "fp32": FORMATS["fp32"],
}
"""Names in traces, and the formats they mean."""

ROUNDINGS = ("nearest-even", "half-up", "half-away")
"""To the nearest integer; halves go to the even one, up (toward plus infinity), or away from zero."""

Floats = npt.NDArray[np.float64]


@cache
def largest(name: str) -> float:
    """Return the largest finite number of a float format."""
    return FLOATS[name].max_value


def lowest_exponent(name: str) -> int:
    """Return e where 2^e is the smallest subnormal number of a float format."""
    return FLOATS[name].emin - FLOATS[name].mantissa_bits


def round_float(x: Floats, name: str, saturate: bool = False) -> Floats:
    """Round to nearest, ties to even.

    Args:
        x: float64 of any shape; infinities and NaN allowed.
        name: key of :data:`FLOATS`.
        saturate: overflow gives the largest number; otherwise infinity, or NaN in fp8_e4m3, which has none
            (IEEE 754-2019, 7.4; OCP OFP8 1.0, sec. 5.1).

    Returns:
        float64 of the same shape, numbers of the format.
    """
    form, top = FLOATS[name], largest(name)
    with np.errstate(over="ignore", invalid="ignore"):
        if saturate:
            x = np.clip(x, -top, top)
        # Adding just under half of the last place kept, plus its lowest bit, carries exactly where nearest-even
        # rounds up; the dropped bits are then cut.
        drop = np.int64(52 - form.mantissa_bits)
        word = np.ascontiguousarray(x).view(np.int64)
        word = word + ((np.int64(1) << (drop - 1)) - 1 + ((word >> drop) & 1)) & -(np.int64(1) << drop)
        rounded = word.view(np.float64)
        # Subnormals: at this magnitude the last place of float64 is the format's smallest number.
        anchor = 1.5 * 2.0 ** (52 + lowest_exponent(name))
        size = np.abs(x)
        rounded = np.where(size < 2.0**form.emin, np.copysign((size + anchor) - anchor, x), rounded)
        if not np.isfinite(x).all():
            rounded = np.where(np.isfinite(x), rounded, x)
        over = np.abs(rounded) > top
        if over.any():
            rounded = np.where(over, np.copysign(np.inf, x) if form.has_infinity else np.nan, rounded)
    return rounded


def round_integer(x: npt.NDArray[np.floating], rounding: str) -> npt.NDArray[np.floating]:
    """Round to integers, kept as floats of the same type. No step of it rounds twice."""
    if rounding == "nearest-even":
        return np.rint(x)
    if rounding == "half-up":
        below = np.floor(x)
        return below + (x - below >= 0.5)
    size = np.abs(x)
    below = np.floor(size)
    return np.copysign(below + (size - below >= 0.5), x)


def round_exact(values: np.ndarray, exponent: int) -> npt.NDArray[np.float32]:
    """Return FP32 (nearest even, once) of integers times 2^exponent.

    Args:
        values: int64, or Python integers of any size (dtype object).
        exponent: of the unit.
    """
    if values.dtype != object and abs(exponent) <= 64:
        return np.ldexp(values.astype(np.float32), exponent)  # |values| < 2^63: nothing overflows or underflows
    flat = [_odd(int(v)) for v in values.ravel()]
    scaled = [np.ldexp(np.float64(m), e + exponent) for m, e in flat]
    with np.errstate(over="ignore"):
        return np.array(scaled, np.float64).astype(np.float32).reshape(values.shape)


def _odd(value: int) -> tuple[int, int]:
    """Return (m, e), m of at most 50 bits: value = m 2^e, cut with a sticky lowest bit (round to odd)."""
    size = abs(value)
    drop = max(0, size.bit_length() - 50)
    kept = size >> drop
    if kept << drop != size:
        kept |= 1
    return (-kept if value < 0 else kept), drop
