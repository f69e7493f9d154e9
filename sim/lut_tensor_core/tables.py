"""Tables of a row of activations: sums of k activations, exact or rounded, scaled to integers or not.

Entry i of a table of activations a_0 … a_{k-1} is Σ_j c_ji a_j with the coefficients of :func:`.elut.coefficients`.

Rounded sums (float activations, entries that are not exact). Terms c_ji a_j are rounded to the format of the adds
(exact for ±1, unless the activation does not fit it), then every add is rounded. ``tree``: neighbours are added, then
their sums, an odd one left over passes on. ``chain``: ((t_0 + t_1) + t_2) + … . Since rounding is symmetric, the half
that is not stored is the exact negative.

Integer entries T become q = clamp(round(T r), ±L), L = 2^(bits-1) - 1, where g is the largest |T| of the group of
tables that share a scale, s the scale and r its reciprocal:

    fp32, fp16          s = RNE(g / L) in that format (g / L rounded to FP32 first), r = fp32(1 / s); T r is rounded
                        to FP32
    power-of-two        s = 2^e with the least e for which round(g / 2^e) ≤ L, r = 2^-e exact

Integer sums that fit without scaling are not scaled: s ≥ 1 (e ≥ 0) where activations are integers; and s = 1 where
g = 0. With power-of-two and half-up this is :func:`.golden.narrow` at :func:`.golden.smallest_shift`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.sim.lut_tensor_core import elut, golden
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.rounding import round_float, round_integer

SMALLEST_SCALE = {"fp32": 2.0**-126, "fp16": 2.0**-24, "power-of-two": 2.0**-126}
"""No scale is smaller: FP32 without subnormals, so that its reciprocal is finite; FP16 with them."""
LARGEST_SCALE = {"fp32": 2.0**126, "fp16": 65504.0, "power-of-two": 2.0**126}
"""No scale is larger; entries beyond saturate."""

Node = tuple[npt.NDArray[np.float64], np.ndarray]
"""Different sums (M, S, U) of some elements of a group, and which of them each entry takes, (H,)."""


@dataclass(frozen=True)
class Tables:
    """Tables of M rows.

    Attributes:
        entries: (M, S, H): int64 (exact sums or scaled integers) or float64 holding numbers of the entry format;
            Python integers where exact sums do not fit 64 bits.
        scales: (M, ⌈S / span⌉) float32 of scaled entries, else None.
        span: tables per scale.
    """

    entries: np.ndarray
    scales: npt.NDArray[np.float32] | None = None
    span: int = 1


def build(design: Mpgemm, activations: np.ndarray) -> Tables:
    """Return the tables of activations.

    Args:
        design: the design.
        activations: (M, K): int64 (also of float formats, in units of their smallest number, for exact entries;
            Python integers where 64 bits do not hold them), or float64 for entries that are rounded.
    """
    groups: np.ndarray = golden.grouped(activations, design.k)  # (M, S, k)
    if groups.dtype == object:
        groups = np.frompyfunc(int, 1, 1)(groups)  # the padding's zeros as Python integers, too
    if design.exact_entries or (design.scaled_entries and design.integer_activations):
        sums = groups @ elut.coefficients(design.base, design.k).astype(groups.dtype)
        if design.exact_entries:
            return Tables(sums)
        return scaled(design, sums.astype(np.float64))
    if design.float_entries:
        return Tables(rounded_sums(design, groups, design.entries))
    return scaled(design, rounded_sums(design, groups, design.adds))


def rounded_sums(design: Mpgemm, groups: npt.NDArray[np.float64], name: str) -> npt.NDArray[np.float64]:
    """Return entries (M, S, H) of groups (M, S, k), each term and each add rounded to format ``name``."""
    saturate = design.overflow == "saturate"
    columns = elut.coefficients(design.base, design.k)  # (k, H)
    nodes: list[Node] = []
    with np.errstate(invalid="ignore"):  # infinity - infinity where overflow is IEEE's
        for j in range(design.k):
            values, place = np.unique(columns[j], return_inverse=True)
            nodes.append((round_float(groups[..., j, None] * values, name, saturate), place))
        while len(nodes) > 1:
            pairs = 1 if design.add_order == "chain" else len(nodes) // 2
            joined = [_joined(nodes[2 * i], nodes[2 * i + 1], name, saturate) for i in range(pairs)]
            nodes = joined + nodes[2 * pairs :]
    values, place = nodes[0]
    return values[..., place]


def _joined(first: Node, second: Node, name: str, saturate: bool) -> Node:
    """Return the rounded sums of two nodes."""
    (left, i), (right, j) = first, second
    kinds, place = np.unique(i * right.shape[-1] + j, return_inverse=True)
    one, other = np.divmod(kinds, right.shape[-1])
    return round_float(left[..., one] + right[..., other], name, saturate), place


def scaled(design: Mpgemm, sums: npt.NDArray[np.float64]) -> Tables:
    """Return integer entries and their scales of sums (M, S, H) that FP32 holds exactly."""
    steps = sums.shape[1]
    span = design.table_group // design.k or steps
    peaks = np.abs(sums).max(axis=-1)  # (M, S)
    peaks = np.pad(peaks, [(0, 0), (0, -steps % span)]).reshape(len(sums), -1, span).max(axis=-1)
    scales = scale_of(design, peaks)
    each = np.repeat(scales, span, axis=1)[:, :steps, None]
    if design.table_scale == "power-of-two":
        quotients = sums / each  # exact: a power of two
    else:
        quotients = (sums.astype(np.float32) * (np.float32(1) / each)).astype(np.float64)
    limit = design.entry_limit
    return Tables(np.clip(round_integer(quotients, design.rounding), -limit, limit).astype(np.int64), scales, span)


def scale_of(design: Mpgemm, peaks: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the scales of groups whose largest sums are ``peaks`` (any shape)."""
    kind, limit = design.table_scale, design.entry_limit
    if kind == "power-of-two":
        _, exponent = np.frexp(peaks)  # peak = m 2^exponent, m in [1/2, 1): m 2^(bits-1) needs bits - 1 bits
        shift = exponent - limit.bit_length()
        shift = shift + (round_integer(np.ldexp(peaks, -shift), design.rounding) > limit)
        found = np.ldexp(np.float32(1), np.clip(shift, -126, 126))
    else:
        found = peaks.astype(np.float32) / np.float32(limit)
        if kind == "fp16":
            with np.errstate(over="ignore"):
                found = found.astype(np.float16).astype(np.float32)
    smallest = 1.0 if design.integer_activations else SMALLEST_SCALE[kind]
    found = np.clip(found, np.float32(smallest), np.float32(LARGEST_SCALE[kind]))
    return np.where(peaks == 0, np.float32(1), found).astype(np.float32)
