"""Rounding to short floating-point formats: round to nearest, ties to even, saturating.

The formats are those of :mod:`lutscape.hw.formats.binary`; a test holds this fast path, which never
makes codes, to its exact codec bit for bit.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.formats.binary import FORMATS, BinaryFormat

FLOAT_FORMATS: dict[str, BinaryFormat] = {
    "fp8_e4m3": FORMATS["e4m3"],
    "fp8_e5m2": FORMATS["e5m2"],
    "fp16": FORMATS["fp16"],
    "bf16": FORMATS["bf16"],
}
"""Names in traces and recipes, and the formats they mean."""


def round_to(x: np.ndarray, name: str) -> np.ndarray:
    """Round float32 values to a format, as float32; beyond the largest finite value: saturate.

    Args:
        x: float32 of any shape; NaN stays NaN.
        name: ``fp32`` (unchanged) or a key of :data:`FLOAT_FORMATS`.
    """
    if name == "fp32":
        return x
    form = FLOAT_FORMATS[name]
    largest = form.max_value
    if name == "fp16":
        clipped = np.clip(x, -largest, largest)
        return clipped.astype(np.float16).astype(np.float32)
    _, exponent = np.frexp(x)  # |x| = m · 2^exponent, m in [0.5, 1)
    last_place = np.maximum(exponent - 1, form.emin) - form.mantissa_bits
    rounded = np.ldexp(np.rint(np.ldexp(x.astype(np.float64), -last_place)), last_place)
    return np.clip(rounded, -largest, largest).astype(np.float32)
