"""Floating-point adder: a + b 2^position, rounded once to nearest even, in the format of a.

Subnormals are numbers like all others. Overflow gives infinity (NaN in a format without, e4m3), or the largest number
if the cell saturates; then an infinite sum is the largest number, too. NaN results are the canonical NaN; a sum of
zero is +0 unless both operands are -0.

The larger magnitude keeps its place, the smaller one moves down by the difference of exponents with two bits and a
sticky one behind it. The sum moves up until its first bit, or the subnormal grid, is at the top; exponent field and
significand are added, so that rounding carries run into the exponent.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.formats.binary import BinaryFormat
from lutscape.hw.formats.encode import nan_code
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells import fp_numbers
from lutscape.rtl.cells.fp_unpack import check, exponent_bits, unpack
from lutscape.rtl.cells.fused_dot_part import extend, part, unused
from lutscape.rtl.cells.fused_dot_round import leading_zeros
from lutscape.rtl.cells.text import index_bits, vector
from lutscape.sim.lut_tensor_core.float_array import codes, name_of, values
from lutscape.sim.lut_tensor_core.rounding import round_float

Arrays = dict[str, np.ndarray]


@cache
def fp_add(a: BinaryFormat, b: BinaryFormat, passes: int = 1, saturate: bool = False) -> Cell:
    """Return an adder.

    Args:
        a: format of the first operand and of the sum.
        b: format of the second operand, every number of which is one of ``a``.
        passes: positions 0 … passes - 1 that the second operand is shifted up by; 1: no port for it.
        saturate: overflow gives the largest number.

    Raises:
        UserError: formats that do not nest.
    """
    check(a, b, "fp_add")
    inputs = [Field("a", a.width, meaning=a.name), Field("b", b.width, meaning=b.name)]
    if passes > 1:
        inputs.append(Field("position", index_bits(passes), meaning="b counts 2^position"))
    both = a.name if a == b else f"{a.name}_{b.name}"
    rule = "saturating" if saturate else "infinity" if a.has_infinity else "NaN"
    parameters: dict[str, int | str] = {"a": a.name, "b": b.name, "passes": passes, "overflow": rule}
    lines, parts = _lines(a, b, passes, saturate)
    return part(
        kind="fp_add",
        name=f"fp_add_{both}" + (f"_x{passes}" if passes > 1 else "") + ("_sat" if saturate else ""),
        what="floating-point sum of two numbers, rounded once",
        parameters=parameters,
        numbers=f"{a.name} + {b.name}, {a.name} sum rounded to nearest even, overflow: {rule}",
        inputs=tuple(inputs),
        outputs=(Field("sum", a.width, meaning=a.name),),
        lines=lines,
        golden=lambda x: {"sum": evaluate(a, b, saturate, x)},
        stimulus=lambda rng, count: stimulus(a, b, passes, rng, count),
        coverage=lambda x: coverage(a, b, passes, x),
        parts=parts,
        operations=1.0,
    )


def _lines(a: BinaryFormat, b: BinaryFormat, passes: int, saturate: bool) -> tuple[list[str], tuple[Cell, ...]]:
    m, field, w = a.mantissa_bits, a.mantissa_bits + a.exponent_bits, exponent_bits(a, b, passes)
    first, second = unpack("a", "x_a", a, a, w), unpack("b", "x_b", b, a, w, passes)
    kept = m + 3  # a significand and two bits behind it
    width = m + 5  # with the carry in front and the sticky bit
    stages = kept.bit_length()
    counter = leading_zeros(width)
    lz = (width - 1).bit_length()
    cw = max(w, lz)
    lines = [
        *first.lines,
        "",
        *second.lines,
        "",
        "// the larger magnitude stays",
        "wire swap = {a_exponent, a_significand} < {b_exponent, b_significand};",
        f"wire {vector(w)}exponent = swap ? b_exponent : a_exponent;",
        f"wire {vector(m + 1)}big = swap ? b_significand : a_significand;",
        f"wire {vector(m + 1)}little = swap ? a_significand : b_significand;",
        f"wire {vector(w)}distance = exponent - (swap ? a_exponent : b_exponent);",
        "",
        "// the other moves down; what it loses leaves a sticky bit",
        f"wire {vector(kept)}down0 = {{little, 2'd0}};",
        "wire lost0 = 1'b0;",
    ]
    for i in range(min(stages, w)):
        by, bit = 1 << i, f"distance[{i}]"
        rest = f"{{{by}'d0, down{i}[{kept - 1}:{by}]}}" if by < kept else f"{kept}'d0"
        gone = f"|down{i}[{min(by, kept) - 1}:0]"
        lines += [
            f"wire {vector(kept)}down{i + 1} = {bit} ? {rest} : down{i};",
            f"wire lost{i + 1} = lost{i} | {bit} & {gone};",
        ]
    last = min(stages, w)
    if w > stages:
        lines += [
            f"wire far = |distance[{w - 1}:{stages}];",
            f"wire {vector(kept)}moved = down{last} & {{{kept}{{~far}}}};",
            f"wire sticky = lost{last} | far & |down{last};",
        ]
    else:
        lines += [f"wire {vector(kept)}moved = down{last};", f"wire sticky = lost{last};"]
    lines += [
        "",
        "wire minus = a_sign ^ b_sign;",
        f"wire {vector(width)}other = {{1'b0, moved, sticky}} ^ {{{width}{{minus}}}};",
        f"wire {vector(width)}sum = {{1'b0, big, 3'd0}} + other + {{{width - 1}'d0, minus}};",
        "",
        f"wire {vector(lz)}count;",
        "wire none;",
        f"{counter.name} counter (.x_x(sum), .y_count(count), .y_none(none));",
        f"wire subnormal = {extend('exponent', w, cw)} < {extend('count', lz, cw)};",
        f"wire {vector(lz)}up = subnormal ? {_resized('exponent', w, lz)} : count;",
        f"wire {vector(width)}shifted = sum << up;",
        f"wire {vector(w)}steps = subnormal || none ? {w}'d0 : exponent - {_resized('count', lz, w)};",
        "wire away = shifted[3] & (shifted[4] | |shifted[2:0]);",
        f"wire {vector(w + m)}rounded = {{steps, {m}'d0}} + {extend(f'shifted[{width - 1}:4]', m + 1, w + m)} + "
        f"{extend('away', 1, w + m)};",
        f"wire over = rounded >= {w + m}'d{a.largest + 1};",
        unused("top", f"rounded[{w + m - 1}:{field}]"),
        "",
    ]
    nan, infinity = nan_code(a), a.largest + 1
    top = a.largest if saturate or not a.has_infinity else infinity
    nans = ["a_nan", "b_nan"]
    infinities = [x for x in (first.infinite, second.infinite) if x]
    if len(infinities) == 2:
        nans.append("a_infinite & b_infinite & minus")
    if not infinities and not saturate:
        nans.append("over")  # nothing else shows an overflow
    lines += [
        "wire sign = none ? a_sign & b_sign : swap ? b_sign : a_sign;",
        f"wire {vector(field)}finite = over ? {field}'h{top:x} : rounded[{field - 1}:0];",
    ]
    ordinary = "{sign, finite}"
    if infinities:
        endless = "a_infinite ? a_sign : b_sign" if len(infinities) == 2 else f"{infinities[0][0]}_sign"
        lines.append(f"wire endless = {endless};")
        ordinary = f"{' | '.join(infinities)} ? {{endless, {field}'h{top:x}}} : {{sign, finite}}"
    lines.append(f"assign y_sum = {' | '.join(nans)} ? {field + 1}'h{nan:x} : {ordinary};")
    return lines, (*first.parts, *second.parts, counter)


def _resized(name: str, width: int, to: int) -> str:
    """Return the lowest ``to`` bits of a wire, with zeros in front where it has fewer."""
    return f"{name}[{to - 1}:0]" if width > to else extend(name, width, to)


def exact(a: BinaryFormat, b: BinaryFormat, x: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Return both terms as numbers."""
    return values(x["a"], a), np.ldexp(values(x["b"], b), x.get("position", 0))


def evaluate(a: BinaryFormat, b: BinaryFormat, saturate: bool, x: Arrays) -> np.ndarray:
    """Return codes of sums."""
    left, right = exact(a, b, x)
    with np.errstate(invalid="ignore"):
        return codes(round_float(left + right, name_of(a), saturate), a)


def stimulus(a: BinaryFormat, b: BinaryFormat, passes: int, rng: np.random.Generator, count: int) -> Arrays:
    """Return corners of both formats against each other, near cancellations, ties, then random codes."""
    left, right, position = fp_numbers.pairs(a, b, passes, rng, count)
    x = {"a": left[:, None], "b": right[:, None]}
    return x | ({"position": position[:, None]} if passes > 1 else {})


def coverage(a: BinaryFormat, b: BinaryFormat, passes: int, x: Arrays) -> Arrays:
    """Return hits of the classes of operands and sums, roundings, cancellations and distances."""
    with np.errstate(invalid="ignore"):
        left, right = exact(a, b, x)
        total = left + right
    bins = fp_numbers.sum_bins(a, left, right, b.max_value * 2.0 ** (passes - 1), b.has_infinity)
    bins |= {f"a {k}": v for k, v in fp_numbers.classes(a, x["a"]).items()}
    bins |= {f"b {k}": v for k, v in fp_numbers.classes(b, x["b"]).items()}
    sizes = [np.frexp(np.where(np.isfinite(v), np.abs(v), 0))[1] for v in (left, total)]
    bins["cancels all but one place"] = (total != 0) & (sizes[0] - sizes[1] == b.mantissa_bits + 1)
    for p in range(passes if passes > 1 else 0):
        here = x["position"] == p
        bins |= {f"position {p}": here, f"position {p} of zero": here & (right == 0)}
        bins[f"position {p} of a subnormal"] = here & fp_numbers.classes(b, x["b"])["subnormal"]
    return bins
