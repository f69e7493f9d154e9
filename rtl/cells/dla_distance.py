"""Distance of a sub-vector to a centroid, combinational and exact: L2, L1 or Chebyshev.

A difference of two b-bit numbers has b + 1 bits; its magnitude has b, and is made without a carry chain of its own
where the sum that follows takes the carry: |d| = (d ^ s) + s, s the sign of d.

    chebyshev   greatest of the v pairs (d ^ s, s) in the order of words, whose sum is the greatest magnitude; from the
                highest bit down: a bit of it is 1 if that of any candidate is, and candidates whose bit is then 0 drop
                out. Two small gates per value and bit, half of a comparator and a multiplexer: a dPE of v = 4, 8 bits
                is 8 % smaller in Nangate45
    l1          sum of the v one's complements and of the v signs
    l2          sum of v squares, each folded: m² = sum_j m_j 4^j + sum_(i > j) m_i m_j 2^(i + j + 1), half as many bits
                to add as in a product
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.cells.fused_dot_part import extend, part
from lutscape.rtl.cells.text import slice_of
from lutscape.sim.lut_dla import golden

Ints = np.ndarray
WIDEST = 44
"""Bits of a distance: v = 32 squares of 16-bit differences need 37."""


def suffix(book: Codebook) -> str:
    """Return what tells the distances of codebooks apart: metric, v and bits."""
    return f"{book.metric}v{book.v}b{book.input_bits}"


def vector_field(book: Codebook, name: str, meaning: str) -> Field:
    """Return the field of one sub-vector or centroid."""
    return Field(name, book.input_bits, book.v, True, meaning)


def numbers(book: Codebook) -> str:
    """Return the number formats in words."""
    return f"INT{book.input_bits} values, two's complement; distances exact, {book.distance_bits} bits unsigned"


@cache
def distance(book: Codebook) -> Cell:
    """Return the distance of a codebook's metric; the number of centroids does not matter.

    Raises:
        UserError: a distance too wide to be built.
    """
    if book.distance_bits > WIDEST:
        raise UserError(f"dla_distance: a distance of {book.distance_bits} bits; allowed: at most {WIDEST}")
    return part(
        kind="dla_distance",
        name=f"dla_distance_{suffix(book)}",
        what=f"distance of {book.v} values to a centroid, {book.metric}",
        parameters={"metric": book.metric, "v": book.v, "input_bits": book.input_bits},
        numbers=numbers(book),
        inputs=(vector_field(book, "values", "sub-vector"), vector_field(book, "centroid", "centroid")),
        outputs=(Field("distance", book.distance_bits, meaning="exact distance"),),
        lines=_body(book),
        golden=lambda x: {"distance": exact(book, x["values"], x["centroid"])},
        stimulus=lambda rng, count: stimulus(book, rng, count),
        coverage=lambda x: bins(book, x["values"], x["centroid"]),
        operations=float(book.v),
    )


def exact(book: Codebook, values: Ints, centroid: Ints) -> Ints:
    """Return the golden model's distances (n, 1) of sub-vectors (n, v) to centroids (n, v)."""
    return golden.distances(values[None], centroid[:, None], book.metric)[0]


def _body(book: Codebook) -> list[str]:
    b, v, wide = book.input_bits, book.v, book.distance_bits
    lines = []
    for t in range(v):
        x, c = slice_of("x_values", t, b, v), slice_of("x_centroid", t, b, v)
        lines += [
            f"wire [{b}:0] d{t} = {{{x}[{b - 1}], {x}}} - {{{c}[{b - 1}], {c}}};"
            if v == 1
            else f"wire [{b}:0] d{t} = {{{_top(x)}, {x}}} - {{{_top(c)}, {c}}};",
            f"wire [{b - 1}:0] n{t} = d{t}[{b - 1}:0] ^ {{{b}{{d{t}[{b}]}}}};  // magnitude, less its sign",
        ]
    if book.metric == "l1":
        terms = [extend(f"n{t}", b, wide) for t in range(v)]
        terms += [extend(f"d{t}[{b}]", 1, wide) for t in range(v)]
        return [*lines, "", *_sum("y_distance", terms)]
    if book.metric == "chebyshev":
        return [*lines, "", *_greatest(v, b)]
    lines += [""]
    lines += [f"wire [{b - 1}:0] m{t} = n{t} + {extend(f'd{t}[{b}]', 1, b)};" for t in range(v)]
    terms = []
    for t in range(v):
        for j in range(b):
            row, low = f"m{t}[{j}]", 2 * j
            if j < b - 1:
                other = f"m{t}[{b - 1}:{j + 1}]" if j + 1 < b - 1 else f"m{t}[{b - 1}]"
                several = f"{{{b - 1 - j}{{m{t}[{j}]}}}}" if b - 1 - j > 1 else f"m{t}[{j}]"
                row = f"{{{other} & {several}, 1'b0, m{t}[{j}]}}"
            width = 1 if j == b - 1 else b - j + 1
            terms.append(_placed(row, width, low, wide))
    return [*lines, *_sum("y_distance", terms)]


def _top(bits: str) -> str:
    """Return the highest bit of a slice ``name[high:low]``."""
    return bits.split(":")[0] + "]"


def _placed(row: str, width: int, low: int, wide: int) -> str:
    """Return a row of bits at a place of a wider word."""
    above = wide - width - low
    parts = [f"{above}'d0"] if above else []
    parts.append(row)
    parts += [f"{low}'d0"] if low else []
    return f"{{{', '.join(parts)}}}" if len(parts) > 1 else row


def _sum(name: str, terms: list[str]) -> list[str]:
    """Return an assignment of a sum, one term a line."""
    if len(terms) == 1:
        return [f"assign {name} = {terms[0]};"]
    return [f"assign {name} =", *(f"    {term} +" for term in terms[:-1]), f"    {terms[-1]};"]


def _greatest(v: int, bits: int) -> list[str]:
    """Return the greatest of v magnitudes, from the highest bit down."""
    lines = [f"wire [{bits}:0] k{t} = {{n{t}, d{t}[{bits}]}};" for t in range(v)]
    lines += [f"wire [{bits}:0] most;  // of all k", f"wire [{v - 1}:0] c{bits} = {{{v}{{1'b1}}}};  // candidates"]
    for i in range(bits, -1, -1):
        column = f"{{{', '.join(f'k{t}[{i}]' for t in reversed(range(v)))}}}"
        lines += [f"wire [{v - 1}:0] b{i} = {column};", f"assign most[{i}] = |(c{i} & b{i});"]
        if i:
            lines.append(f"wire [{v - 1}:0] c{i - 1} = c{i} & (b{i} | {{{v}{{~most[{i}]}}}});")
    return [*lines, f"assign y_distance = most[{bits}:1] + {extend('most[0]', 1, bits)};"]


def corners(book: Codebook) -> int:
    """Return the pairs that every stimulus begins with."""
    return 4 + 4 * book.v + book.input_bits


def stimulus(book: Codebook, rng: np.random.Generator, count: int) -> dict[str, Ints]:
    """Return corners first: equal, both extremes apart in every lane alone and in all, a step of one; then random.

    Half of the random pairs lie near each other, so that every size of distance comes up.
    """
    half, v = 1 << (book.input_bits - 1), book.v
    low, high = np.full(v, -half), np.full(v, half - 1)
    values, centroid = [low, high, low, high], [low, high, high, low]
    for t in range(v):
        for a, b in ((-half, half - 1), (half - 1, -half), (0, 1), (1, 0)):
            one, other = np.zeros(v, np.int64), np.zeros(v, np.int64)
            one[t], other[t] = a, b
            values.append(one)
            centroid.append(other)
    for bit in range(book.input_bits):  # every bit of every magnitude
        d = np.full(v, 1 << bit)
        values.append(np.minimum(d - half, half - 1))
        centroid.append(low)
    assert len(values) == corners(book)
    more = max(0, count - len(values))
    x = rng.integers(-half, half, (more, v))
    near = np.clip(x + rng.integers(-3, 4, (more, v)), -half, half - 1)
    mixed = rng.random((more, v)) < rng.random((more, 1))
    c = np.where(mixed, near, rng.integers(-half, half, (more, v)))
    return {"values": np.concatenate([values, x]), "centroid": np.concatenate([centroid, c])}


def bins(book: Codebook, values: Ints, centroid: Ints) -> dict[str, Ints]:
    """Return flags per functional bin."""
    found = exact(book, values, centroid)[:, 0]
    difference = values - centroid
    most = (1 << book.input_bits) - 1
    greatest = {"l2": book.v * most * most, "l1": book.v * most, "chebyshev": most}[book.metric]
    bits = {f"distance of {n} bits": _bits(found) == n for n in (0, 1, book.distance_bits)}
    lanes: dict[str, Ints] = {}
    for t in range(book.v):
        lanes[f"value {t} above"] = difference[:, t] > 0
        lanes[f"value {t} below"] = difference[:, t] < 0
        lanes[f"value {t} as far below as can be"] = difference[:, t] == -most
        lanes[f"value {t} as far above as can be"] = difference[:, t] == most
        if book.metric == "chebyshev":
            size = np.abs(difference)
            lanes[f"value {t} is the farthest"] = size[:, t] > np.delete(size, t, 1).max(axis=1, initial=-1)
    return {**bits, "greatest distance": found == greatest, "distance 0": found == 0, **lanes}


def _bits(values: Ints) -> Ints:
    """Return the length of unsigned integers below 2^53 in bits."""
    return np.frexp(values.astype(np.float64))[1] * (values > 0)
