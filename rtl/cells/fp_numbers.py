"""Random and corner numbers of floating-point cells, and the functional bins that they must hit."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lutscape.hw.formats.binary import FINITE, INFINITE, NOT_A_NUMBER, ZERO, BinaryFormat, decode
from lutscape.hw.formats.encode import encode
from lutscape.sim.lut_tensor_core.float_array import Floats, Ints, name_of, values
from lutscape.sim.lut_tensor_core.rounding import round_float

Flags = dict[str, npt.NDArray[np.bool_]]
TAILS = (-1, 0, 1, 2, 3, 4)
"""Distances of operands from a tie; those above 1 stand for a bit at random."""


def edges(form: BinaryFormat) -> Ints:
    """Return codes at the ends of every class, of both signs: zero, subnormal, normal, infinity, NaN."""
    m, top = form.mantissa_bits, (1 << (form.bits - 1)) - 1
    one = form.bias << m
    found = [0, 1, 2, (1 << m) - 1, 1 << m, (1 << m) + 1, one, one + 1, form.largest - 1, form.largest]
    found += [min(form.largest + 1, top), top]
    both = np.array(found, np.int64)
    return np.concatenate([both, both | 1 << (form.bits - 1)])


def classes(form: BinaryFormat, codes: Ints) -> Flags:
    """Return which codes are of which class."""
    d = decode(codes.astype(form.dtype), form)
    tiny = (d.kind == FINITE) & (d.significand < 1 << form.mantissa_bits)
    found = {
        "+0": (d.kind == ZERO) & ~d.sign,
        "-0": (d.kind == ZERO) & d.sign,
        "subnormal": tiny,
        "normal": (d.kind == FINITE) & ~tiny,
        "NaN": d.kind == NOT_A_NUMBER,
    }
    return found | ({"infinity": d.kind == INFINITE} if form.has_infinity else {})


def finite(form: BinaryFormat, rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
    """Return random codes of numbers, every exponent as likely."""
    magnitude = rng.integers(0, form.largest + 1, shape)
    return magnitude | rng.integers(0, 2, shape) << (form.bits - 1)


def near_one(form: BinaryFormat, rng: np.random.Generator, shape: tuple[int, ...]) -> Ints:
    """Return codes of Gaussian numbers."""
    return encode(rng.standard_normal(shape), form).astype(np.int64)


def pairs(
    a: BinaryFormat, b: BinaryFormat, passes: int, rng: np.random.Generator, count: int
) -> tuple[Ints, Ints, Ints]:
    """Return operands of additions a + b 2^position: codes (n,), codes (n,), positions (n,); at least ``count``."""
    left, right = (x.ravel() for x in np.meshgrid(edges(a), edges(b)))
    position = np.arange(len(left)) % passes
    small = [[0, 1, 2, 3, 1 << b.mantissa_bits]] * passes  # at every position, also alone
    left = np.concatenate([left, np.zeros(5 * passes, np.int64)])
    right = np.concatenate([right, np.array(small).ravel()])
    position = np.concatenate([position, np.repeat(np.arange(passes), 5)])
    # a power of two and the number just below it: all but one place cancels
    below = (np.arange(1, (b.largest >> b.mantissa_bits) + 1) << b.mantissa_bits) - 1
    above = 2.0 ** np.ceil(np.log2(values(below, b)))
    at = np.arange(len(below)) % passes
    negative = encode(np.ldexp(-above, at), a).astype(np.int64)
    left, right = np.concatenate([left, negative]), np.concatenate([right, below])
    position = np.concatenate([position, at])
    for first, second, p in (
        near_ties(a, b, passes, rng), near_ties_of_sum(a, b, passes, rng), cancelling(a, b, passes, rng),
    ):  # fmt: skip
        left, right = np.concatenate([left, first]), np.concatenate([right, second])
        position = np.concatenate([position, p])
    more = max(count - len(left), 256)
    style = np.arange(more) % 5
    p = rng.integers(0, passes, more)
    second = finite(b, rng, (more,))
    number = np.ldexp(values(second, b), p)
    # cancellations: a number next to the negative of the other
    close = encode(-number * (1 + rng.integers(-4, 5, more) * 2.0 ** -rng.integers(1, a.mantissa_bits + 2, more)), a)
    # ties: half of the last place of the other, or next to it
    power = np.where(rng.random(more) < 0.8, 1 << b.mantissa_bits, 1)
    power = power * rng.integers(1, 1 << (b.exponent_bits - 1), more)
    tied = np.ldexp(values(power, b), p) * 2.0 ** (a.mantissa_bits + 1) * (1 + rng.random(more))
    far = encode(np.ldexp(rng.uniform(-1, 1, more), rng.integers(-4, 2 * a.mantissa_bits, more)) * number, a)
    every = rng.integers(0, 1 << a.bits, more)
    first = np.choose(style, [close, encode(tied * rng.choice([-1, 1], more), a), far, finite(a, rng, (more,)), every])
    second = np.where(style == 1, power | rng.integers(0, 2, more) << (b.bits - 1), second)
    second = np.where(style == 4, rng.integers(0, 1 << b.bits, more), second)
    # overflow of both signs, from the largest numbers
    big = (style == 3) & (rng.random(more) < 0.2)
    high = a.largest - rng.integers(0, 1 << a.mantissa_bits, more)
    first = np.where(big, high | rng.integers(0, 2, more) << (a.bits - 1), first)
    top = b.largest - rng.integers(0, 1 << b.mantissa_bits, more)
    second = np.where(big, top | (first >> (a.bits - 1)) << (b.bits - 1), second)
    join = np.concatenate
    return join([left, first.astype(np.int64)]), join([right, second.astype(np.int64)]), join([position, p])


def single_bit(rng: np.random.Generator, t: Ints, low: Ints) -> Ints:
    """Return distances from a tie: -1, 0, 1 as they are, larger ones a power of two below 2^t."""
    return np.where(low > 1, np.int64(1) << (rng.random(len(t)) * t).astype(np.int64), low)


def near_ties(a: BinaryFormat, b: BinaryFormat, passes: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return operands of which t bits of b lie below the last place of a: just below half of it, half, just above.

    Every t up to two more than b has, added and subtracted, to even and odd numbers.
    """
    m = b.mantissa_bits
    t, low, odd, sign = (x.ravel() for x in np.meshgrid(np.arange(1, m + 3), TAILS, [0, 1], [-1, 1], indexing="ij"))
    low = single_bit(rng, t, low)
    kept = np.where(t <= m, t, m)  # fraction bits that are chosen; above them, random ones
    place = np.int64(1) << kept
    tail = np.where(t <= m, (place >> 1) + low, np.maximum(low, 0))
    fraction = (rng.integers(0, 1 << m, len(t)) & ~(place - 1)) | (tail & (place - 1))
    fraction = np.where(t == m + 1, np.maximum(low, 0), fraction)
    p = rng.integers(0, passes, len(t))
    distance = t + a.mantissa_bits - m
    top_a, top_b = (int(np.frexp(f.max_value)[1]) - 1 for f in (a, b))
    most = np.minimum(top_b, top_a - distance - p)
    e = b.emin + (rng.random(len(t)) * (most - b.emin)).astype(np.int64)
    right = ((e + b.bias) << m) | fraction | (rng.integers(0, 2, len(t)) << (b.bits - 1))
    mantissa = (rng.integers(0, 1 << a.mantissa_bits, len(t)) & ~np.int64(1)) | odd
    left = np.ldexp(1 + mantissa * 2.0**-a.mantissa_bits, e + p + distance) * sign * np.sign(values(right, b))
    return encode(left, a).astype(np.int64), right, p


def near_ties_of_sum(
    a: BinaryFormat, b: BinaryFormat, passes: int, rng: np.random.Generator
) -> tuple[Ints, Ints, Ints]:
    """Return operands of which t bits of a lie below the last place of a sum that b leads, as :func:`near_ties`."""
    m = a.mantissa_bits
    t, low, sign = (x.ravel() for x in np.meshgrid(np.arange(1, m + 3), TAILS, [-1, 1], indexing="ij"))
    low = single_bit(rng, t, low)
    p = rng.integers(0, passes, len(t))
    right = finite(b, rng, t.shape) | 1 << (b.bits - 2)
    right = np.where(right & ((1 << (b.bits - 1)) - 1) > b.largest, b.largest, right)
    number = np.ldexp(values(right, b), p)
    place = np.int64(1) << np.minimum(t, m)
    tail = np.where(t <= m, (place >> 1) + low, np.maximum(low, 0)) & (place - 1)
    fraction = (rng.integers(0, 1 << m, len(t)) & ~(place - 1)) | tail
    e = np.frexp(np.abs(number))[1] - 1 - t
    left = np.ldexp(1 + fraction * 2.0**-m, e) * sign
    return encode(left, a).astype(np.int64), right, p


def cancelling(a: BinaryFormat, b: BinaryFormat, passes: int, rng: np.random.Generator) -> tuple[Ints, Ints, Ints]:
    """Return operands whose sum starts at each place of a."""
    place = np.repeat(np.arange(a.mantissa_bits + 1), 4)
    right = finite(b, rng, place.shape) | 1 << (b.bits - 2)  # no subnormals
    right = np.where(right & ((1 << (b.bits - 1)) - 1) > b.largest, b.largest, right)
    p = rng.integers(0, passes, len(place))
    number = np.ldexp(values(right, b), p)
    unit = np.ldexp(1.0, np.frexp(np.abs(number))[1] - 1 - a.mantissa_bits)
    rest = np.ldexp(1 + rng.random(len(place)), place) * unit * rng.choice([-1, 1], len(place))
    return encode(-(number + np.floor(rest / unit) * unit), a).astype(np.int64), right, p


def sum_bins(form: BinaryFormat, left: Floats, right: Floats, largest: float, infinite: bool) -> Flags:
    """Return hits of classes of sums left + right, rounded to a format: of roundings, cancellations, overflows.

    Args:
        form: of the left operand and the sum.
        left: (n,) or more.
        right: likewise.
        largest: finite magnitude of right operands.
        infinite: right operands can be infinite.
    """
    with np.errstate(invalid="ignore"):
        total = left + right
    usable = np.isfinite(left) & np.isfinite(right)
    exact = np.where(usable, total, 0.0)
    above = np.abs(exact)
    over = usable & ~np.isfinite(round_float(exact, name_of(form)))
    exponent = np.maximum(np.frexp(above)[1] - 1, form.emin)
    quotient = above / np.ldexp(1.0, exponent - form.mantissa_bits)
    rest, even = np.mod(quotient, 1), np.mod(np.floor(quotient), 2) == 0
    cut = usable & ~over & (rest > 0)
    sizes = [np.frexp(np.where(usable, np.abs(v), 0))[1] for v in (left, right)]
    lost = np.maximum(*sizes) - np.frexp(above)[1]
    nonzero = usable & (left != 0) & (right != 0)
    bins = {
        "exact": usable & ~over & (rest == 0),
        "rounded down": cut & (rest < 0.5),
        "rounded up": cut & (rest > 0.5),
        "tie to even, down": cut & (rest == 0.5) & even,
        "tie to even, up": cut & (rest == 0.5) & ~even,
        "cancels to +0": nonzero & (total == 0),
        "-0": usable & (total == 0) & np.signbit(total),
        "subnormal": usable & (above > 0) & (above < 2.0**form.emin),
        "carries": nonzero & (lost == -1),
        "loses one place": nonzero & (total != 0) & (lost == 1),
        "loses places": nonzero & (total != 0) & (lost > 1),
        "beyond the last place": nonzero & (np.abs(sizes[0] - sizes[1]) > form.mantissa_bits + 2),
        "NaN operand": np.isnan(left) | np.isnan(right),
    }
    if not np.isfinite(round_float(np.array([form.max_value + largest]), name_of(form)))[0]:
        bins |= {"overflow up": over & (total > 0), "overflow down": over & (total < 0)}
    if form.has_infinity:
        bins["infinite sum of infinities"] = np.isinf(total) & ~usable
    if form.has_infinity and infinite:
        bins["infinities of opposite signs"] = np.isinf(left) & np.isinf(right) & np.isnan(total)
    return bins
