"""Arrays that callers hand in, to raw codes and back, with strict checks."""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.hw.formats.encode import encode, representable
from lutscape.hw.formats.integer import INTEGERS, integer_codes, integer_values

FLOAT_OF = {"fp64": np.float64, "fp32": np.float32, "fp16": np.float16, "s32": np.int32}
"""Result dtype of accumulator formats when the caller works in numbers, not codes."""


def to_codes(x: np.ndarray, name: str, convert: bool, what: str) -> np.ndarray:
    """Return contiguous raw codes of ``x`` in format ``name``.

    Args:
        x: unsigned codes of the format's width, or numbers (floats; any integers for integer formats).
        name: operand format.
        convert: round numbers to the format (RNE; integers clamp) instead of refusing inexact ones.
        what: operand name for messages (``A``).

    Raises:
        UserError: wrong dtype; a number outside the format without ``convert``.
    """
    if name in INTEGERS:
        return _integer_codes(x, name, convert, what)
    f = FORMATS[name]
    if x.dtype.kind == "u":
        if x.dtype != f.dtype:
            raise UserError(f"{what}: raw {name} codes are {f.dtype}, got {x.dtype}")
        return np.ascontiguousarray(x)
    if x.dtype.kind != "f" and not (x.dtype.kind == "V" or x.dtype.name in ("bfloat16",)):
        raise UserError(f"{what}: expected floats or raw {name} codes ({f.dtype}), got {x.dtype}")
    if x.dtype.kind != "f":
        x = x.astype(np.float32)
    return _float_codes(x, name, convert, what)


def _float_codes(x: np.ndarray, name: str, convert: bool, what: str) -> np.ndarray:
    f = FORMATS[name]
    if name in ("fp64", "fp32", "fp16"):
        kind = np.dtype(FLOAT_OF[name])
        if x.dtype == kind:
            return np.ascontiguousarray(x).view(f.dtype)
        with np.errstate(over="ignore"):
            y = x.astype(kind)  # numpy rounds once, to nearest even
        _check(x, y, name, convert, what)
        return y.view(f.dtype)
    if name in ("bf16", "tf32") and x.dtype.itemsize <= 4:
        word = np.ascontiguousarray(x.astype(np.float32)).view(np.uint32)
        drop = np.uint32(0xFFFF if name == "bf16" else 0x1FFF)
        if not ((word & drop) != 0).any() and not np.isnan(x).any():
            return (word >> np.uint32(16)).astype(np.uint16) if name == "bf16" else word
    if f.width == 8 and not convert:
        with np.errstate(over="ignore"):
            half = x.astype(np.float16)
        codes, valid = _from_half(name)
        bits = half.view(np.uint16)
        if bool((valid[bits] & ((half == x) | np.isnan(x))).all()):
            return codes[bits]
    if not convert:
        bad = ~representable(x, name)
        if bad.any():
            _refuse(x, bad, name, what)
    return encode(x, name)


@cache
def _from_half(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of an 8-bit format for every fp16 code, and whether the value is one of its numbers."""
    half = values(np.arange(1 << 16, dtype=np.uint16), "fp16")
    return encode(half, name), representable(half, name)


def _check(x: np.ndarray, y: np.ndarray, name: str, convert: bool, what: str) -> None:
    if not convert and x.dtype.itemsize > y.dtype.itemsize:
        bad = (y.astype(x.dtype) != x) & ~np.isnan(x)
        if bad.any():
            _refuse(x, bad, name, what)


def _refuse(x: np.ndarray, bad: np.ndarray, name: str, what: str) -> None:
    where = tuple(int(i) for i in np.argwhere(bad)[0])
    value = float(x[where])
    near = float(values(encode(np.array([value]), name), name)[0])
    raise UserError(
        f"{what}{list(where)} = {value!r} is not a number of {name} (nearest {near!r}); pass convert=True to round"
    )


def _integer_codes(x: np.ndarray, name: str, convert: bool, what: str) -> np.ndarray:
    f = INTEGERS[name]
    if x.dtype.kind == "u":
        if x.dtype != f.dtype:
            raise UserError(f"{what}: raw {name} codes are {f.dtype}, got {x.dtype}")
        if f.bits < 8 and bool((x >> f.bits).any()):
            raise UserError(f"{what}: {name} codes use the low {f.bits} bits of a byte, got {int(x.max())}")
        return np.ascontiguousarray(x)
    if x.dtype.kind not in "if":
        raise UserError(f"{what}: expected integers or raw {name} codes ({f.dtype}), got {x.dtype}")
    whole = x.astype(np.int64)
    bad = (whole != x) | (whole < f.low) | (whole > f.high)
    if bad.any() and not convert:
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        raise UserError(f"{what}{list(where)} = {x[where]} is not a number of {name} ({f.low} .. {f.high})")
    return integer_codes(whole, name, saturate=True)


def from_codes(codes: np.ndarray, name: str) -> np.ndarray:
    """Return numbers of accumulator codes: float64, float32, float16, int32; bf16 as float32."""
    if name in INTEGERS:
        return integer_values(codes, name).astype(np.int32)
    kind = FLOAT_OF.get(name)
    return values(codes, name).astype(np.float32) if kind is None else codes.view(kind)
