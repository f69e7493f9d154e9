"""Weights for read-only memory: codes with one FP16 scale and one small zero point per group, or an error.

A group is ``group`` consecutive weights of a row; the last one of a row may be shorter. What a code stands for is an
integer v, and the weight is v · s:

    uint2 … uint8   q - z, q and z of W bits               (zero is exact; :mod:`.scalar`, or a searched range)
    ternary         magnitude in bit 0, sign in bit 1: -1, 0, 1 are 3, 0, 1 (2, never stored, reads as 0)
    fp4             twice the E2M1 number: 0, ±1, ±2, ±3, ±4, ±6, ±8, ±12 (OCP Microscaling 1.0, sec. 5.3.3)

Rounding to nearest over the whole range of a group (``search`` off) spends its levels on the largest weight. With
``search``, the range of a group is shrunk by each of :data:`SHRINKS` and the one of least squared error is kept,
weighted by the square of each input's root mean square where that is known. One is among the shrinks, so that the
error is never larger.

Memory cannot be patched once it is made, so nothing is guessed here: tensors that are placeholders, not finite, not
ternary although they should be, or outside the range of a scale are refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, nearest
from lutscape.models.quantise import scalar, ternary
from lutscape.models.quantise.scalar import fp16_scale

Encoding = Literal["uint", "ternary", "fp4"]
FORMATS = ("uint2", "uint4", "uint6", "uint8", "ternary", "fp4")
E2M1 = np.array([0, 1, 2, 3, 4, 6, 8, 12], np.int16)
"""Twice the magnitudes of E2M1, by code."""
SHRINKS = tuple(round(1 - 0.05 * i, 2) for i in range(14))
"""1.0, 0.95, … 0.35 of a group's range."""
LARGEST_SCALE = 65504.0
SMALLEST_SCALE = 2.0**-24


@dataclass(frozen=True)
class RomWeight:
    """A weight matrix as it is stored.

    Attributes:
        codes: (N, K) uint8.
        scales: (N, G) float32, each representable in FP16, G = ⌈K / group⌉.
        zeros: (N, G) uint8; 0 unless the encoding is ``uint``.
        group: weights per scale along K.
        bits: of a code.
        encoding: what a code stands for.
    """

    codes: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float32]
    zeros: npt.NDArray[np.uint8]
    group: int
    bits: int
    encoding: Encoding

    @property
    def shape(self) -> tuple[int, int]:
        """N and K."""
        return self.codes.shape[0], self.codes.shape[1]

    @property
    def groups(self) -> int:
        """G, groups of a row."""
        return self.scales.shape[1]

    @property
    def format(self) -> str:
        """Name of the format (``uint4``)."""
        return f"uint{self.bits}" if self.encoding == "uint" else self.encoding

    def integers(self) -> npt.NDArray[np.int16]:
        """Return v, (N, K)."""
        values = code_values(self.codes, self.encoding)
        if self.encoding == "uint":
            values -= np.repeat(self.zeros.astype(np.int16), self.group, axis=1)[:, : values.shape[1]]
        return values

    def dequantise(self) -> npt.NDArray[np.float32]:
        """Return v · s, (N, K) float32."""
        scales = np.repeat(self.scales, self.group, axis=1)[:, : self.codes.shape[1]]
        return self.integers().astype(np.float32) * scales


def code_values(codes: npt.NDArray[np.uint8], encoding: Encoding) -> npt.NDArray[np.int16]:
    """Return the integers of codes, zero points not subtracted.

    >>> code_values(np.array([0, 1, 3], np.uint8), "ternary").tolist()
    [0, 1, -1]
    >>> code_values(np.array([7, 15], np.uint8), "fp4").tolist()
    [12, -12]
    """
    if encoding == "uint":
        return codes.astype(np.int16)
    if encoding == "ternary":
        return np.array([0, 1, 0, -1], np.int16)[codes]
    magnitude = E2M1[codes & 7]
    return np.where(codes & 8, -magnitude, magnitude)


def parse(form: str) -> tuple[Encoding, int]:
    """Return encoding and bits of a format's name.

    Raises:
        UserError: no such format.
    """
    if form not in FORMATS:
        raise UserError(f"unknown ROM format {form!r}{nearest(form, FORMATS)}; allowed: {', '.join(FORMATS)}")
    if form == "ternary":
        return "ternary", 2
    match = re.fullmatch(r"uint(\d)", form)
    return ("uint", int(match[1])) if match else ("fp4", 4)


def quantise(
    name: str,
    weight: npt.NDArray[np.float32],
    form: str,
    group: int = 128,
    requantise: bool = False,
    search: bool = False,
    input_rms: npt.NDArray[np.float32] | None = None,
) -> RomWeight:
    """Return a tensor in a format.

    Args:
        name: of the tensor, for errors.
        weight: (N, K) float32.
        form: one of :data:`FORMATS`.
        group: weights per scale along K.
        requantise: round a tensor to ternary that is not (arXiv 2402.17764, eq. 1-3); without, it is refused.
        search: choose the range of each group (not for ternary).
        input_rms: (K,) root mean square of each input, to weigh errors in the search; all equal by default.

    Raises:
        UserError: unknown format, a placeholder, or weights that do not fit.
    """
    encoding, bits = parse(form)
    if group < 2:
        raise UserError(f"{name}: group = {group}; at least 2")
    check(name, weight)
    if search and encoding == "ternary":
        raise UserError(f"{name}: ternary weights have no range to search; allowed: uint formats and fp4")
    if search:
        importance = np.ones(weight.shape[1], np.float32) if input_rms is None else np.square(input_rms)
        result = _searched(weight, encoding, bits, group, importance)
    elif encoding == "uint":
        found = scalar.quantise(weight, bits, group)
        result = RomWeight(found.codes, found.scales, found.zeros.astype(np.uint8), group, bits, "uint")
    elif encoding == "fp4":
        result = _fp4(weight, group)
    else:
        result = _ternary(name, weight, group, requantise)
    check_groups(name, weight, result)
    return result


def check(name: str, weight: npt.NDArray[np.float32]) -> None:
    """Refuse what is no weight matrix: wrong rank, empty, not finite, or all of one value.

    Raises:
        UserError: with the tensor's name.
    """
    if weight.ndim != 2:
        raise UserError(f"{name}: shape {'x'.join(map(str, weight.shape)) or 'scalar'}; ROM holds matrices")
    if weight.size == 0:
        raise UserError(f"{name}: shape {weight.shape[0]}x{weight.shape[1]} holds no weights")
    bad = ~np.isfinite(weight)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise UserError(f"{name}: weight [{row}, {column}] is {weight[row, column]}; weights must be finite")
    if (weight == weight.flat[0]).all():
        raise UserError(
            f"{name}: all {weight.size} weights are {weight.flat[0] + 0:g}: a placeholder, not a trained tensor"
        )


def check_groups(name: str, weight: npt.NDArray[np.float32], found: RomWeight) -> None:
    """Refuse groups whose scale FP16 cannot hold: saturated ones, and those in which all weights are lost.

    Raises:
        UserError: with the tensor's name and the first such group.
    """
    rows, columns = weight.shape
    padded = np.zeros((rows, found.groups * found.group), np.float32)
    padded[:, :columns] = np.abs(weight)
    largest = padded.reshape(rows, found.groups, found.group).max(-1)  # (N, G)
    integers = np.zeros(padded.shape, np.int16)
    integers[:, :columns] = found.integers()
    kept = np.abs(integers).reshape(rows, found.groups, found.group).max(-1)  # (N, G)
    too_large = (found.scales >= LARGEST_SCALE) & (largest > (kept + 1.0) * LARGEST_SCALE)
    lost = (largest > 0) & (kept == 0)
    for bad, why in ((too_large, f"above {LARGEST_SCALE:g}"), (lost, f"below {SMALLEST_SCALE:g}")):
        if bad.any():
            row, group = np.argwhere(bad)[0]
            raise UserError(
                f"{name}: row {row}, group {group} has weights up to {largest[row, group]:g}: its scale is {why}, "
                f"which FP16 does not hold; rescale the tensor"
            )


def _searched(
    weight: npt.NDArray[np.float32], encoding: Encoding, bits: int, group: int, importance: npt.NDArray[np.float32]
) -> RomWeight:
    """Round with the range of each group that gives the least weighted squared error."""
    rows, columns = weight.shape
    count = -(-columns // group)
    codes = np.empty((rows, columns), np.uint8)
    scales, zeros = np.empty((rows, count), np.float32), np.empty((rows, count), np.uint8)
    for g in range(count):
        part = weight[:, g * group : (g + 1) * group]
        weigh = importance[g * group : (g + 1) * group]
        least = np.full(rows, np.inf)
        for shrink in SHRINKS:
            q, s, z = _rounded(part, encoding, bits, np.float32(shrink))
            value = code_values(q, encoding).astype(np.float32) - z[:, None]
            error = np.square((value * s[:, None] - part).astype(np.float64)) @ weigh.astype(np.float64)
            better = error < least
            least[better] = error[better]
            codes[better, g * group : (g + 1) * group] = q[better]
            scales[better, g], zeros[better, g] = s[better], z[better]
    return RomWeight(codes, scales, zeros, group, bits, encoding)


def _rounded(
    part: npt.NDArray[np.float32], encoding: Encoding, bits: int, shrink: np.float32
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return codes (N, width), scales (N,) and zero points (N,) of one group at a shrunk range."""
    if encoding == "fp4":
        scale = fp16_scale(shrink * np.abs(part).max(-1) / np.float32(12))
        return _e2m1(part, scale), scale, np.zeros(len(part), np.float32)
    top = np.float32(2**bits - 1)
    low, high = shrink * np.minimum(part.min(-1), 0), shrink * np.maximum(part.max(-1), 0)
    scale = fp16_scale((high - low) / top)
    zero = np.clip(np.rint(np.abs(low) / scale), 0, top)
    return np.clip(np.rint(part / scale[:, None]) + zero[:, None], 0, top).astype(np.uint8), scale, zero


def _fp4(weight: npt.NDArray[np.float32], group: int) -> RomWeight:
    """Round to E2M1; the largest magnitude of a group becomes 6."""
    rows, columns = weight.shape
    count = -(-columns // group)
    codes = np.empty((rows, columns), np.uint8)
    scales = np.empty((rows, count), np.float32)
    for g in range(count):
        part = weight[:, g * group : (g + 1) * group]
        codes[:, g * group : (g + 1) * group], scales[:, g], _ = _rounded(part, "fp4", 4, np.float32(1))
    return RomWeight(codes, scales, np.zeros((rows, count), np.uint8), group, 4, "fp4")


def _e2m1(part: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Round twice the numbers of E2M1 times a scale, ties to even codes; beyond the largest: saturate."""
    between = (E2M1[1:] + E2M1[:-1]) / np.float32(2)  # midpoints of twice the numbers
    doubled = np.abs(part) / scale[:, None]
    low, high = np.searchsorted(between, doubled, "left"), np.searchsorted(between, doubled, "right")
    magnitude = np.where(low % 2 == 0, low, high)  # at a midpoint the even one of two neighbours
    return (magnitude + 8 * ((part < 0) & (magnitude > 0))).astype(np.uint8)


def _ternary(name: str, weight: npt.NDArray[np.float32], group: int, requantise: bool) -> RomWeight:
    """Take a ternary tensor as it is, or round one to ternary if that is asked for."""
    rows, columns = weight.shape
    count = -(-columns // group)
    if requantise:
        found = ternary.quantise(weight, group)
        codes = ((found.codes.astype(np.int16) - 1) & 3).astype(np.uint8)
        return RomWeight(codes, found.scales, np.zeros((rows, count), np.uint8), group, 2, "ternary")
    codes = np.zeros((rows, columns), np.uint8)
    scales = np.ones((rows, count), np.float32)
    for g in range(count):
        part = weight[:, g * group : (g + 1) * group]
        largest = np.abs(part).max(-1)
        wrong = (part != 0) & (np.abs(part) != largest[:, None])
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            raise UserError(
                f"{name}: not ternary: row {row}, group {g} holds ±{largest[row]:g} and {part[row, column]:g}; "
                f"take a ternary checkpoint, or ask for it to be rounded (--requantise)"
            )
        scale = largest.astype(np.float16).astype(np.float32)
        if (scale != largest).any():
            row = int(np.argmax(scale != largest))
            raise UserError(
                f"{name}: row {row}, group {g}: scale {largest[row]:.9g} is no FP16 number; "
                f"round the checkpoint's scales, or ask for it to be rounded (--requantise)"
            )
        codes[:, g * group : (g + 1) * group] = np.where(part > 0, 1, np.where(part < 0, 3, 0))
        scales[:, g] = np.where(scale > 0, scale, 1)
    return RomWeight(codes, scales, np.zeros((rows, count), np.uint8), group, 2, "ternary")
