"""Rounding to short floating-point formats: round to nearest, ties to even, saturating."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class FloatFormat:
    """A binary floating-point format.

    Attributes:
        mantissa: stored fraction bits.
        smallest_exponent: of a normal number.
        largest: finite value.
    """

    mantissa: int
    smallest_exponent: int
    largest: float


FLOAT_FORMATS: dict[str, FloatFormat] = {
    # OCP 8-bit Floating Point Specification 1.0, table 1; arXiv 2209.05433.
    "fp8_e4m3": FloatFormat(3, -6, 448.0),
    "fp8_e5m2": FloatFormat(2, -14, 57344.0),
    "fp16": FloatFormat(10, -14, 65504.0),
    "bf16": FloatFormat(7, -126, float(np.float32(3.3895313892515355e38))),
}


def round_to(x: np.ndarray, name: str) -> np.ndarray:
    """Round float32 values to a format, as float32; beyond the largest finite value: saturate.

    Args:
        x: float32 of any shape; NaN stays NaN.
        name: ``fp32`` (unchanged) or a key of :data:`FLOAT_FORMATS`.
    """
    if name == "fp32":
        return x
    form = FLOAT_FORMATS[name]
    if name == "fp16":
        clipped = np.clip(x, -form.largest, form.largest)
        return clipped.astype(np.float16).astype(np.float32)
    _, exponent = np.frexp(x)  # |x| = m · 2^exponent, m in [0.5, 1)
    last_place = np.maximum(exponent - 1, form.smallest_exponent) - form.mantissa
    rounded = np.ldexp(np.rint(np.ldexp(x.astype(np.float64), -last_place)), last_place)
    return np.clip(rounded, -form.largest, form.largest).astype(np.float32)
