"""Operand families of integer and binary instructions: A, B and C as raw bits.

Integers are drawn as int64 and stored in two's complement (s4, u4 one to a uint8); b1 operands are
drawn as uint8 of eight elements, element k in bit k % 8 of byte k // 8.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lutscape.sim.mma.capture.bits import INTEGERS, Bits, storage

Operands = tuple[Bits, Bits, Bits]
_TOP = 2**31 - 1


@dataclass
class Draw:
    """The formats and sizes of one request, and its random generator (terms in elements)."""

    rng: np.random.Generator
    a: str
    b: str
    tiles: int
    m: int
    n: int
    terms: int

    def __post_init__(self) -> None:
        self.shape_a, self.shape_b = (self.tiles, self.m, self.terms), (self.tiles, self.n, self.terms)
        self.shape_c = (self.tiles, self.m, self.n)

    def within(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray:
        return self.rng.integers(low, high, shape, np.int64, endpoint=True)

    def operand(self, fmt: str, shape: tuple[int, ...]) -> np.ndarray:
        return self.within(*INTEGERS[fmt], shape)

    def codes(self, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Operands:
        def wrap(fmt: str, x: np.ndarray) -> Bits:
            mask = 15 if fmt in ("s4", "u4") else 2 ** (8 * storage(fmt).itemsize) - 1
            return (np.asarray(x, np.int64) & mask).astype(storage(fmt))

        return wrap(self.a, a), wrap(self.b, b), wrap("s32", c)


def random_all(g: Draw) -> Operands:
    """Uniform bits."""
    return g.codes(g.operand(g.a, g.shape_a), g.operand(g.b, g.shape_b), g.operand("s32", g.shape_c))


def small(g: Draw) -> Operands:
    """Small values, where nothing overflows."""
    low_a, low_b = max(INTEGERS[g.a][0], -3), max(INTEGERS[g.b][0], -3)
    return g.codes(g.within(low_a, 3, g.shape_a), g.within(low_b, 3, g.shape_b), g.within(-100, 100, g.shape_c))


def extremes(g: Draw) -> Operands:
    """Ends of the operand ranges, any C."""
    a, b = g.rng.choice([*INTEGERS[g.a], 0], g.shape_a), g.rng.choice([*INTEGERS[g.b], 1], g.shape_b)
    return g.codes(a, b, g.rng.choice([0, 1, -1, _TOP, -_TOP - 1, 2**30], g.shape_c))


def _saturate(g: Draw, sign: int) -> Operands:
    a, b = np.abs(g.operand(g.a, g.shape_a)), np.abs(g.operand(g.b, g.shape_b))
    a, b = np.minimum(a, INTEGERS[g.a][1]), np.minimum(b, INTEGERS[g.b][1])
    reach = max(2, int(INTEGERS[g.a][1] * INTEGERS[g.b][1] * g.terms // 2))
    if sign < 0 and g.a.startswith("s"):
        a = -a
    elif sign < 0 and g.b.startswith("s"):
        b = -b
    distance = g.within(0, reach, g.shape_c)
    return g.codes(a, b, _TOP - distance if sign > 0 else -_TOP - 1 + distance)


def overflow_up(g: Draw) -> Operands:
    """Positive products and C below 2^31 - 1 by about their sum: wrap or saturate."""
    return _saturate(g, 1)


def overflow_down(g: Draw) -> Operands:
    """Negative products (where a type allows them) and C above -2^31 by about their sum."""
    return _saturate(g, -1)


def crossing(g: Draw) -> Operands:
    """C at the ends with products of both signs: is only the final sum saturated?"""
    c = g.rng.choice([_TOP, _TOP - 1, -_TOP - 1, -_TOP], g.shape_c)
    return g.codes(g.operand(g.a, g.shape_a), g.operand(g.b, g.shape_b), c)


def cancelling(g: Draw) -> Operands:
    """Products that cancel in pairs (signed operands), C random."""
    a, b = g.operand(g.a, g.shape_a), g.operand(g.b, g.shape_b)
    b[..., 1::2] = b[..., 0::2]
    if g.a.startswith("s"):
        a[..., 1::2] = np.minimum(-a[..., 0::2], INTEGERS[g.a][1])
    return g.codes(a, b, g.within(-5, 5, g.shape_c))


def one_hot(g: Draw) -> Operands:
    """One element per row of A: shows the position of every element of B."""
    a = (np.arange(g.terms) == g.within(0, g.terms - 1, (g.tiles, g.m, 1))).astype(np.int64)
    return g.codes(a, g.operand(g.b, g.shape_b), np.zeros(g.shape_c, np.int64))


def zeros(g: Draw) -> Operands:
    """Mostly zeros."""
    a = g.operand(g.a, g.shape_a) * (g.rng.random(g.shape_a) < 0.1)
    b = g.operand(g.b, g.shape_b) * (g.rng.random(g.shape_b) < 0.3)
    return g.codes(a, b, g.operand("s32", g.shape_c) * (g.rng.random(g.shape_c) < 0.3))


def _binary(density_a: float, density_b: float, c_low: int, c_high: int) -> Callable[[Draw], Operands]:
    def family(g: Draw) -> Operands:
        a, b = (g.rng.random(s) < d for s, d in ((g.shape_a, density_a), (g.shape_b, density_b)))
        packed = (np.packbits(x, axis=-1, bitorder="little") for x in (a, b))
        return next(packed), next(packed), (g.within(c_low, c_high, g.shape_c) & 0xFFFFFFFF).astype(np.uint32)

    return family


def _complement(g: Draw) -> Operands:
    """Rows of B equal to rows of A or to their complement: 0 or all bits count."""
    a, _, c = _binary(0.5, 0.5, -9, 9)(g)
    rows = g.within(0, g.m - 1, (g.n,))
    flip = g.rng.choice(np.array([0, 255], np.uint8), (g.tiles, g.n, 1))
    return a, a[:, rows] ^ flip, c


Family = Callable[[Draw], Operands]
_INTEGER: tuple[Family, ...] = (
    random_all, small, extremes, overflow_up, overflow_down, crossing, cancelling, one_hot, zeros,
)  # fmt: skip
_BINARY: dict[str, Family] = {
    "random_all": _binary(0.5, 0.5, -(2**31), _TOP),
    "dense": _binary(0.95, 0.95, -100, 100),
    "sparse": _binary(0.05, 0.5, -100, 100),
    "rare": _binary(0.01, 0.01, 0, 0),
    "ones": _binary(1.0, 0.9, 0, 3),
    "zeros": _binary(0.0, 0.5, -3, 3),
    "complement": _complement,
    "overflow_up": _binary(0.7, 0.7, _TOP - 200, _TOP),
    "below_zero": _binary(0.5, 0.9, -200, -1),
}


def families(a_format: str) -> dict[str, Family]:
    """Return the families of an integer or binary operand format by case name."""
    return _BINARY if a_format == "b1" else {family.__name__: family for family in _INTEGER}
