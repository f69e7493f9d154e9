"""What LLVM has and numba's Python does not: fused multiply-add and reinterpretation of a float's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic


def _fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Fused multiply-add of three equal floats: one rounding (LLVM's fma, libm where the CPU has none)."""
    if not (a == b == c and a in (types.float32, types.float64)):
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return a(a, a, a), generate


def _bits_of(typingctx: Any, x: Any) -> Any:
    """Return the int64 pattern of a float64."""
    if x != types.float64:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(x), generate


def _float_of(typingctx: Any, bits: Any) -> Any:
    """Return the float64 with an int64 pattern."""
    if bits != types.int64:
        return None

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(bits), generate


# Any: numba's stubs take an intrinsic for an ordinary function of its typing arguments.
fma: Any = intrinsic(_fma)
bits_of: Any = intrinsic(_bits_of)
float_of: Any = intrinsic(_float_of)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def two_to(e):  # type: ignore[no-untyped-def]
    """Return 2^e for -1022 <= e <= 1023 as float64."""
    return float_of(np.int64(np.int64(e) + 1023) << 52)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def exponent_of(x):  # type: ignore[no-untyped-def]
    """Return ``floor(log2 |x|)`` of a normal float64; -1023 for zero, 1024 for infinities and NaNs."""
    return ((bits_of(x) >> 52) & 0x7FF) - 1023
