"""Slow scalar twins of the matrix-unit models: exact rationals, one output at a time, no arrays.

Written from the papers' equations, sharing no code with the kernels: operands are decoded by their
own few lines, sums are Python fractions, rounding counts grid steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from lutscape.hw.formats.binary import FORMATS

TARGETS = {"FP32": ("fp32", 23), "FP16": ("fp16", 10), "BF16": ("bf16", 7), "E8M13": ("fp32", 13)}
INF, NAN = math.inf, math.nan


@dataclass
class Number:
    """A finite number with its alignment exponent, or an infinity / NaN in ``special``."""

    value: Fraction
    e: int
    special: float | None = None
    negative: bool = False


def number(code: int, name: str) -> Number:
    f = FORMATS[name]
    code >>= f.dropped_bits
    sign = bool(f.signed and code >> (f.exponent_bits + f.mantissa_bits) & 1)
    field = code >> f.mantissa_bits & ((1 << f.exponent_bits) - 1)
    mantissa = code & ((1 << f.mantissa_bits) - 1)
    magnitude = code & ((1 << f.exponent_bits + f.mantissa_bits) - 1)
    full = (1 << f.exponent_bits) - 1
    if f.specials == "scale":
        return Number(Fraction(0), 0, NAN) if code == 255 else Number(Fraction(2) ** (code - 127), code - 127)
    if f.specials == "ieee" and field == full:
        return Number(Fraction(0), 0, NAN if mantissa else (-INF if sign else INF))
    if f.specials == "fn" and magnitude == (1 << f.exponent_bits + f.mantissa_bits) - 1:
        return Number(Fraction(0), 0, NAN)
    if f.specials == "fnuz" and sign and magnitude == 0:
        return Number(Fraction(0), 0, NAN)
    e = max(field, 1) - f.bias
    s = Fraction(mantissa + ((1 << f.mantissa_bits) if field else 0), 1 << f.mantissa_bits)
    value = s * Fraction(2) ** e
    return Number(-value if sign else value, e, None, sign)


def floor_log2(x: Fraction) -> int:
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


def truncate(x: Fraction, unit: Fraction) -> Fraction:
    n = abs(x) / unit
    steps = n.numerator // n.denominator
    return (-steps if x < 0 else steps) * unit


def floor_to(x: Fraction, unit: Fraction) -> Fraction:
    return math.floor(x / unit) * unit


def round_to(x: Fraction, mode: str, target: str) -> float:
    """Round to a target's grid; overflow is infinite in every mode; zero is +0."""
    name, mantissa = TARGETS[target]
    f = FORMATS[name]
    if x == 0:
        return 0.0
    unit = Fraction(2) ** (max(floor_log2(abs(x)), f.emin) - mantissa)
    steps = abs(x) / unit
    whole = steps.numerator // steps.denominator
    rest = steps - whole
    up = {
        "RZ": False,
        "RNE": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1),
        "RD": rest > 0 and x < 0,
        "RU": rest > 0 and x > 0,
    }[mode]
    size = (whole + up) * unit
    limit = Fraction(2) ** (f.bias + 1)
    result = INF if size >= limit else float(size)
    return -result if x < 0 and result else result


def special_sum(values: list[float]) -> float | None:
    """Return NaN or an infinity if the IEEE sum of these specials is one, None if there are none."""
    if not values:
        return None
    if any(math.isnan(v) for v in values) or (INF in values and -INF in values):
        return NAN
    return values[0]


def special_product(x: Number, y: Number) -> float | None:
    if x.special is None and y.special is None:
        return None
    if any(v.special is not None and math.isnan(v.special) for v in (x, y)):
        return NAN
    if (x.special is None and x.value == 0) or (y.special is None and y.value == 0):
        return NAN
    sign = 1.0
    for v in (x, y):
        sign *= math.copysign(1.0, v.special) if v.special is not None else (-1.0 if v.value < 0 else 1.0)
    return sign * INF


def as_number(x: float, emin: int) -> Number:
    if math.isnan(x) or math.isinf(x):
        return Number(Fraction(0), 0, x)
    v = Fraction(x)
    return Number(v, max(floor_log2(abs(v)), emin) if v else emin, None, math.copysign(1, x) < 0)


def t_fdpa(
    a: list[Number], b: list[Number], c: Number, L: int, F: int, mode: str, target: str, e_zero: int, shift: int = 0
) -> float:
    """T-FDPA chain; ``shift`` is an exponent common to all products (ST-FDPA's scales)."""
    emin = FORMATS[TARGETS[target][0]].emin
    for k0 in range(0, len(a), L):
        pairs = list(zip(a[k0 : k0 + L], b[k0 : k0 + L], strict=True))
        specials = [s for s in (special_product(x, y) for x, y in pairs) if s is not None]
        if c.special is not None:
            specials.append(c.special)
        special = special_sum(specials)
        if special is not None:
            c = as_number(special, emin)
            continue
        terms = [(x.value * y.value * Fraction(2) ** shift, x.e + y.e + shift) for x, y in pairs] + [(c.value, c.e)]
        e_max = max(e if v else e_zero for v, e in terms)
        total = sum((truncate(v, Fraction(2) ** (e_max - F)) for v, _ in terms), Fraction(0))
        c = as_number(round_to(total, mode, target), emin)
    return c.special if c.special is not None else float(c.value)


def gst_fdpa(
    a: list[Number], b: list[Number], c: Number, alpha: list[Number], beta: list[Number], G: int, F: int, e_zero: int
) -> float:
    """GST-FDPA, one sum over all of k, RZ-FP32."""
    if any(s.special is not None for s in (*alpha, *beta)):
        return NAN
    if c.special is not None:
        return c.special
    block = len(a) // len(alpha)
    terms = [(c.value, c.e if c.value else e_zero)]
    for k0 in range(0, len(a), G):
        products = [x.value * y.value for x, y in zip(a[k0 : k0 + G], b[k0 : k0 + G], strict=True)]
        sa, sb = alpha[k0 // block], beta[k0 // block]
        zero = all(p == 0 for p in products) or sa.value * sb.value == 0
        terms.append((sum(products, Fraction(0)) * sa.value * sb.value, e_zero if zero else sa.e + sb.e))
    e_max = max(e for _, e in terms)
    return round_to(sum((truncate(v, Fraction(2) ** (e_max - F)) for v, _ in terms), Fraction(0)), "RZ", "FP32")


def _down(total: Fraction, e_dot: int, c: Number, F: int, F2: int, drop_far: bool) -> float:
    top = max(e_dot, c.e)
    dot = floor_to(total, Fraction(2) ** (top - F2 - 1))
    add = floor_to(c.value, Fraction(2) ** (top - F))
    if drop_far and c.e < top - F - 1:
        add = Fraction(0)
    v = dot + add
    if v:
        v = floor_to(v, Fraction(2) ** (max(floor_log2(abs(v)), -126) - F2))
    return round_to(v, "RNE", "FP32")


def _cut(pairs: list[tuple[Number, Number]], F: int) -> tuple[Fraction, int]:
    live = [(x.value * y.value, x.e + y.e) for x, y in pairs if x.value * y.value]
    e = max((e for _, e in live), default=-999)
    return sum((truncate(v, Fraction(2) ** (e - F)) for v, _ in live), Fraction(0)), e


def tr_fdpa(a: list[Number], b: list[Number], c: Number, L: int, F: int = 24, F2: int = 31) -> float:
    for k0 in range(0, len(a), L):
        pairs = list(zip(a[k0 : k0 + L], b[k0 : k0 + L], strict=True))
        specials = []
        for x, y in pairs:
            s = special_product(x, y)
            if s is None and abs(x.value * y.value) >= Fraction(2) ** 128:
                s = INF if x.value * y.value > 0 else -INF
            specials += [] if s is None else [s]
        special = special_sum(specials + ([c.special] if c.special is not None else []))
        result = special if special is not None else _down(*_cut(pairs, F), c, F, F2, False)
        c = as_number(result, -126)
    return c.special if c.special is not None else float(c.value)


def gtr_fdpa(a: list[Number], b: list[Number], c: Number, L: int = 16, F: int = 24, F2: int = 31) -> float:
    for k0 in range(0, len(a), L):
        pairs = list(zip(a[k0 : k0 + L], b[k0 : k0 + L], strict=True))
        specials = [s for s in (special_product(x, y) for x, y in pairs) if s is not None]
        special = special_sum(specials + ([c.special] if c.special is not None else []))
        if special is None:
            (even, e_even), (odd, e_odd) = _cut(pairs[::2], F), _cut(pairs[1::2], F)
            e = max(e_even, e_odd)
            unit = Fraction(2) ** (e - F)
            special = _down(floor_to(even, unit) + floor_to(odd, unit), e, c, F, F2, True)
        c = as_number(special, -126)
    return c.special if c.special is not None else float(c.value)


def e_fdpa(a: list[Number], b: list[Number], c: Number, L: int) -> float:
    for k0 in range(0, len(a), L):
        pairs = list(zip(a[k0 : k0 + L], b[k0 : k0 + L], strict=True))
        specials = [s for s in (special_product(x, y) for x, y in pairs) if s is not None]
        special = special_sum(specials + ([c.special] if c.special is not None else []))
        if special is None:
            special = round_to(sum((x.value * y.value for x, y in pairs), c.value), "RNE", "FP32")
        c = as_number(special, -126)
    return c.special if c.special is not None else float(c.value)


def fma_chain(a: list[Number], b: list[Number], c: Number) -> float:
    """FP32 chain of fused multiply-adds; the sign of a zero result is not modelled."""
    return e_fdpa(a, b, c, 1)


def ftz_add_mul(a: list[Number], b: list[Number], c: Number, P: int, input_emin: int) -> float:
    """CDNA2 in Python floats: products and sums of FP32 numbers are exact rationals, rounded once each."""

    def value(x: Number, emin: int) -> float:
        if x.special is not None:
            return x.special
        return 0.0 if abs(x.value) < Fraction(2) ** emin else float(x.value)

    def step(x: float, y: float, multiply: bool) -> float:
        if not (math.isfinite(x) and math.isfinite(y)):
            return x * y if multiply else x + y
        exact = Fraction(x) * Fraction(y) if multiply else Fraction(x) + Fraction(y)
        r = round_to(exact, "RNE", "FP32")
        return 0.0 if abs(r) < 2.0**-126 else r

    d = value(c, -126)
    for k0 in range(0, len(a), P):
        p = [
            step(value(x, input_emin), value(y, input_emin), True)
            for x, y in zip(a[k0 : k0 + P], b[k0 : k0 + P], strict=True)
        ]
        s = step(p[0], p[1], False)
        if P == 4:
            s = step(s, step(p[2], p[3], False), False)
        d = step(d, s, False)
    return d
