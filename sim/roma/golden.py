"""Bit-accurate L-Unit: aligned activations times ROM weights, one group after the other.

Activations x (rows, K) are FP16. The activations of one group share the exponent e of the largest of them (-14 at
least) and become integers of M = ``activation_bits`` bits::

    m = clip(rint(x · 2^(M-2-e)), ±(2^(M-1) - 1))        x ≈ m · 2^E,  E = e - (M - 2)

rint rounds halves to even. With M = 12 the largest activation of a group is exact, and smaller ones lose the bits that
FP16 has below 2^E. A row of weights and a group give one integer and one product (v, q, z, s:
:mod:`lutscape.models.quantise.rom`)::

    D = Σ v m = Σ q m - z Σ m                             exact; Σ m is shared by all rows that meet the group
    y ← fp32(y + fp32(D · s) · 2^E)                       groups in order, y = 0 before the first

The L-Unit ends with the exact product of D and the significand of s; FP32 rounding and the sum over groups are its
H-Unit's. An FP16 scale field is read without special cases: exponent 31 counts as a normal one.

Bound. |D| ≤ group · max|v| · (2^(M-1) - 1), which all weights at v = ±max and all activations at the largest reach;
accumulators are taken modulo 2^A, so partial sums may wrap as long as D itself fits. If the bound is below 2^24, D is
exact as a sum of float32 products in any order, and is computed as a matrix product; else in float64, below 2^53.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise.rom import RomWeight
from lutscape.models.quantise.rounding import round_to

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
LEAST_EXPONENT = -14
"""Of an FP16 group: that of its subnormals."""
EXACT_FLOAT32 = 1 << 24


@dataclass(frozen=True)
class Aligned:
    """Activations with one exponent per group.

    Attributes:
        mantissas: (G, rows, group) float32 integers.
        exponents: (rows, G) int32, E: x ≈ m · 2^E.
    """

    mantissas: Floats
    exponents: npt.NDArray[np.int32]

    @property
    def sums(self) -> Ints:
        """Σ m, (rows, G)."""
        return self.mantissas.sum(-1, dtype=np.float64).astype(np.int64).T

    def values(self) -> Floats:
        """Return m · 2^E, (rows, G · group) float32."""
        scaled = self.mantissas * power_of_two(self.exponents.T[:, :, None])
        return np.ascontiguousarray(scaled.transpose(1, 0, 2)).reshape(self.exponents.shape[0], -1)


def align(unit: LUnit, x: Floats) -> Aligned:
    """Round (rows, K) float32 activations to FP16 and align them; K is padded with zeros to whole groups.

    Raises:
        UserError: activations that are not finite.
    """
    rows, columns = x.shape
    if not np.isfinite(x).all():
        raise UserError("activations must be finite: an L-Unit has no code for infinity or NaN")
    groups = -(-columns // unit.group)
    padded = np.zeros((rows, groups * unit.group), np.float32)
    padded[:, :columns] = round_to(x, "fp16")
    grouped = np.ascontiguousarray(padded.reshape(rows, groups, unit.group).transpose(1, 0, 2))  # (G, rows, group)
    largest = np.abs(grouped).max(-1)  # (G, rows)
    exponents = np.where(largest > 0, np.frexp(largest)[1] - 1, LEAST_EXPONENT)
    shared = np.maximum(exponents, LEAST_EXPONENT).astype(np.int32) - np.int32(unit.activation_bits - 2)
    top = np.float32(largest_activation(unit))
    mantissas = np.clip(np.rint(grouped * power_of_two(-shared[:, :, None])), -top, top)
    return Aligned(mantissas, np.ascontiguousarray(shared.T))


def power_of_two(exponents: npt.NDArray[np.int32]) -> Floats:
    """Return 2^exponent in float32; products with it are exact as long as they are normal numbers."""
    return np.ldexp(np.float32(1), exponents)


def largest_activation(unit: LUnit) -> int:
    """Return the largest aligned activation."""
    return (1 << (unit.activation_bits - 1)) - 1


def largest_value(encoding: str, bits: int) -> int:
    """Return the largest |v| of a weight of some bits."""
    return {"ternary": 1, "fp4": 12}.get(encoding, (1 << bits) - 1)


def largest_sum(unit: LUnit, bits: int) -> int:
    """Return the largest |D| of a group of weights of some bits; the smallest D is its negative."""
    return unit.group * largest_value(unit.encoding, bits) * largest_activation(unit)


def accumulator_bits_needed(unit: LUnit, bits: int) -> int:
    """Return the bits of D in two's complement.

    >>> accumulator_bits_needed(LUnit(), 2), accumulator_bits_needed(LUnit(), 4)
    (21, 23)
    """
    return largest_sum(unit, bits).bit_length() + 1


def check(unit: LUnit, encoding: str, bits: int, what: str = "l_unit") -> None:
    """Refuse weights that an L-Unit does not read, and accumulators that can overflow on them.

    Raises:
        UserError: naming the field to change.
    """
    if encoding != unit.encoding:
        raise UserError(f"{what}: {encoding} weights; an L-Unit of encoding {unit.encoding!r} reads only its own")
    if unit.scale_bits not in (0, 16):
        raise UserError(f"{what}.scale_bits = {unit.scale_bits}; allowed: 16 (FP16), or 0: scaled outside")
    if encoding == "uint" and unit.zero_bits != unit.plane_bits:
        raise UserError(
            f"{what}.zero_bits = {unit.zero_bits}; allowed: plane_bits = {unit.plane_bits}, as wide as a weight"
        )
    if encoding == "uint" and bits % unit.plane_bits:
        raise UserError(f"{what}: {bits}-bit weights are no whole planes of plane_bits = {unit.plane_bits}")
    needed = accumulator_bits_needed(unit, bits)
    if needed > unit.accumulator_bits:
        raise UserError(
            f"{what}.accumulator_bits = {unit.accumulator_bits} can overflow on a group of {unit.group} {bits}-bit "
            f"weights and {unit.activation_bits}-bit activations: needs {needed}; use accumulator_bits >= {needed}"
        )


def check_weight(unit: LUnit, weight: RomWeight, what: str = "l_unit") -> None:
    """Refuse a weight matrix that an L-Unit does not read (:func:`check`), or that has other groups.

    Raises:
        UserError: naming the field to change.
    """
    check(unit, weight.encoding, weight.bits, what)
    if weight.group != unit.group:
        raise UserError(f"{what}: weights in groups of {weight.group}; allowed: l_unit.group = {unit.group}")


@dataclass(frozen=True)
class RomOperand:
    """A weight matrix laid out for :func:`matmul`.

    Attributes:
        values: (G, group, N), v as float32 or float64, tail groups padded with 0.
        scales: (G, N) float32.
    """

    values: npt.NDArray[np.floating]
    scales: Floats

    @classmethod
    def of(cls, unit: LUnit, weight: RomWeight) -> RomOperand:
        """Lay out a matrix.

        Raises:
            UserError: it does not fit the unit (:func:`check_weight`).
        """
        check_weight(unit, weight)
        rows, columns = weight.shape
        dtype = np.float32 if largest_sum(unit, weight.bits) < EXACT_FLOAT32 else np.float64
        padded = np.zeros((rows, weight.groups * weight.group), dtype)
        padded[:, :columns] = weight.integers()
        values = padded.reshape(rows, weight.groups, weight.group).transpose(1, 2, 0)
        return cls(np.ascontiguousarray(values), np.ascontiguousarray(weight.scales.T))


def dots(weights: RomOperand, aligned: Aligned, group: int) -> npt.NDArray[np.floating]:
    """Return D of one group, (rows, N), integers."""
    found: npt.NDArray[np.floating] = aligned.mantissas[group].astype(weights.values.dtype) @ weights.values[group]
    return found


def accumulate(weights: RomOperand, aligned: Aligned) -> Floats:
    """Return y (rows, N): scaled sums of the groups, added in order in FP32."""
    count, _, outputs = weights.values.shape
    if aligned.mantissas.shape[0] != count:
        raise ValueError(f"{aligned.mantissas.shape[0]} groups of activations for {count} of weights")
    y = np.zeros((aligned.mantissas.shape[1], outputs), np.float32)
    for g in range(count):
        product = scaled(dots(weights, aligned, g), weights.scales[g])
        product *= power_of_two(aligned.exponents[:, g : g + 1])
        y += product
    return y


def scaled(sums: npt.NDArray[np.floating], scales: Floats) -> Floats:
    """Return fp32(D · s), one rounding: D times 11 bits of s is exact in float64."""
    if sums.dtype == np.float32:
        return sums * scales
    return (sums * scales.astype(np.float64)).astype(np.float32)


def matmul(unit: LUnit, weight: RomWeight | RomOperand, x: Floats) -> Floats:
    """Return y (rows, N) float32 of x (rows, K) float32 and a weight matrix.

    Raises:
        UserError: weights that do not fit the unit, or activations that are not finite.
    """
    operand = weight if isinstance(weight, RomOperand) else RomOperand.of(unit, weight)
    return accumulate(operand, align(unit, x))


def scale_fields(codes: Ints) -> tuple[Ints, Ints]:
    """Return significand (with sign) and exponent of FP16 fields: s = significand · 2^exponent, no special cases."""
    exponent = (codes >> 10) & 31
    significand = (codes & 1023) + np.where(exponent > 0, 1024, 0)
    return np.where(codes >> 15 & 1, -significand, significand), np.maximum(exponent, 1) - 25


def products(sums: Ints, scales: Ints) -> tuple[Ints, Ints]:
    """Return what leaves an L-Unit: D times the significand of an FP16 field, and the exponent of that field."""
    significand, exponent = scale_fields(scales)
    return sums * significand, exponent
