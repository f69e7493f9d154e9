"""Proofs that no accumulator overflows, from the formats and K alone.

Integers. Inside a unit of n activations no partial sum, in any order of steps and planes, exceeds the sum of all
magnitudes:

    integer entries     L · Σ 2^p · ⌈n / k⌉                       L = 2^(bits-1) - 1
    exact entries       A · (V + |z'|) · n                        A largest activation, V largest value of a weight

since |Σ_p 2^p lookup_p| ≤ A V k in each step; for zero points among the codes |z'| = |α z - β| ≤ V. Both are reached:
by tables at their limit; by a = -A, q = top, z = 0.

Floats, u = 2^-(significant bits), rounding to nearest: one rounding grows a magnitude by at most 1 + u, and
(1 + u)^n ≤ 1 / (1 - n u) where n u < 1 (Higham 2002, lemma 3.1). Entries: k roundings at most. Accumulator: one per
lookup, two with parallel planes. If n u ≥ 1 there is no such bound and the design is refused. (A result so small
that rounding adds more than u relative is no larger than the smallest normal number and overflows nothing.)

Totals in FP32: all units together, two more roundings each.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import frexp

from lutscape.hw.errors import UserError
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.rounding import FLOATS, largest


@dataclass(frozen=True)
class Bound:
    """What the sums of one unit can reach.

    Attributes:
        values: activations in the unit.
        largest: bound of every partial sum's magnitude, in the accumulator's unit.
        limit: what the accumulator holds; None: as wide as it takes.
        proof: the bound in numbers.
    """

    values: int
    largest: Fraction
    limit: Fraction | None
    proof: str

    @property
    def bits(self) -> int:
        """Width of the two's complement integer that holds the bound."""
        return int(self.largest).bit_length() + 1

    @property
    def holds(self) -> bool:
        """No sum overflows."""
        return self.limit is None or self.largest <= self.limit


def unit_values(design: Mpgemm, columns: int, group: int) -> int:
    """Return the activations whose sums share an accumulator, for K columns and weight groups of ``group``."""
    group = min(group or columns, columns)
    return min(group, design.table_group or columns) if design.scaled_entries else group


def entry_bound(design: Mpgemm) -> Fraction:
    """Return the largest magnitude of a table's sum before it is scaled, roundings included."""
    exact = design.k * Fraction(design.activation_bound) * int(design.largest_value // sum(design.plane_weights))
    if design.exact_entries or design.integer_activations:
        return exact
    name = design.entries if design.float_entries else design.adds
    return _grown(exact, design.k, name, f"k = {design.k}")


def unit_bound(design: Mpgemm, values: int, offset: float | None = None) -> Bound:
    """Return what a unit of ``values`` activations can add up to.

    Args:
        design: the design.
        values: activations in the unit.
        offset: largest |z'|, which enters the integers of exact entries only; None: any zero point among the codes.

    Raises:
        UserError: float sums too long for any bound.
    """
    steps, planes = -(-values // design.k), sum(design.plane_weights)
    if design.float_entries:
        top = entry_bound(design)
        adds = steps * (design.plane_count if design.planes == "serial" else 1 + design.plane_count)
        found = _grown(top * planes * steps, adds, design.accumulator, f"{values} activations")
        proof = f"{float(top):.6g} · {planes} · {steps} lookups, {adds} roundings to {design.accumulator}"
        return Bound(values, found, Fraction(largest(design.accumulator)), proof)
    limit = None if design.accumulator == "exact" else Fraction((1 << (int(design.accumulator[3:]) - 1)) - 1)
    if design.scaled_entries:
        size = Fraction(design.entry_limit * planes * steps)
        return Bound(values, size, limit, f"{design.entry_limit} · {planes} · {steps} lookups")
    units = Fraction(design.activation_bound) / Fraction(2) ** design.unit_exponent
    span = design.largest_value + Fraction(design.largest_value if offset is None else offset)
    proof = f"{int(units)} · {float(span):g} · {values} activations"
    size = units * span * values
    return Bound(values, size, limit, proof)


def prove(design: Mpgemm, columns: int, group: int = 0, offset: float | None = None, scale: float = 1.0) -> Bound:
    """Return the bound of a design for K columns, proven to hold.

    Args:
        design: the design.
        columns: K.
        group: weights per scale; 0: the whole row.
        offset: largest |z'|; None: any zero point among the codes.
        scale: the largest weight scale factor s', for the totals.

    Raises:
        UserError: entries, accumulator or totals can overflow; with the bound and the nearest legal choice.
    """
    values = unit_values(design, columns, group)
    if design.overflow != "prove":
        return Bound(values, Fraction(0), None, f"overflow is defined: {design.overflow}")
    bound = unit_bound(design, values, offset)
    if not bound.holds and not design.float_entries:
        assert bound.limit is not None
        most = int(bound.limit / (bound.largest / values)) // design.k * design.k
        fits = f", or at most {most} activations per scale" if most else ""
        wide = f"int{bound.bits}" if bound.bits <= 64 else "exact"
        raise UserError(
            f"accumulator {design.accumulator} can overflow: {values} activations per scale of K = {columns} reach "
            f"{bound.proof} = {int(bound.largest)}, beyond {int(bound.limit)}; nearest: {wide}{fits}"
        )
    _prove_floats(design, _float_sums(design, columns, values, offset, scale))
    return bound


def provable_activation(design: Mpgemm, columns: int, group: int = 0, scale: float = 1.0) -> float | None:
    """Return the power of two that proves all float sums of K columns as ``largest_activation``; None: none is needed.

    Args:
        design: the design.
        columns: K.
        group: weights per scale; 0: the whole row.
        scale: the largest weight scale factor s'.
    """
    sums = _float_sums(design, columns, unit_values(design, columns, group), None, scale)
    return None if _worst(sums) <= 1 else _nearest(design, sums)


def _float_sums(
    design: Mpgemm, columns: int, values: int, offset: float | None, scale: float
) -> list[tuple[str, Fraction, str]]:
    """Return what is added up in floats, the bound of the sums, and their format."""
    found = []
    if not design.exact_entries and not design.integer_activations:
        name = design.entries if design.float_entries else design.adds
        found.append((f"table entries ({name})", entry_bound(design), name))
    if design.float_entries:
        bound = unit_bound(design, values, offset)
        what = f"accumulator {design.accumulator} over {values} activations ({bound.proof})"
        found.append((what, bound.largest, design.accumulator))
    units = -(-columns // values)
    span = design.largest_value + Fraction(design.largest_value if offset is None else offset)
    each = Fraction(design.activation_bound) * span * values * Fraction(scale)
    total = _grown(each * units, 4 * units + values, "fp32", f"K = {columns}")
    return [*found, (f"totals (fp32) over K = {columns}", total, "fp32")]


def _grown(size: Fraction, roundings: int, name: str, what: str) -> Fraction:
    """Return size / (1 - n u), the bound after n roundings to a format."""
    unit = Fraction(1, 1 << (FLOATS[name].mantissa_bits + 1))
    if roundings * unit >= 1:
        most = int(1 / unit) - 1
        raise UserError(
            f"{name} sums of {what}: {roundings} roundings leave no bound (at most {most}); "
            f"nearest: accumulator fp32, or shorter weight groups"
        )
    return size / (1 - roundings * unit)


def _worst(sums: list[tuple[str, Fraction, str]]) -> Fraction:
    return max(size / Fraction(largest(name)) for _, size, name in sums)


def _nearest(design: Mpgemm, sums: list[tuple[str, Fraction, str]]) -> float:
    """Return the largest power of two that, as bound of the activations, makes all sums hold: they grow with it."""
    return float(2.0 ** (frexp(float(Fraction(design.activation_bound) / _worst(sums)))[1] - 1))


def _prove_floats(design: Mpgemm, sums: list[tuple[str, Fraction, str]]) -> None:
    """Refuse the first of some float sums that can exceed its format."""
    for what, size, name in sums:
        if size > Fraction(largest(name)):
            near = _nearest(design, sums)
            shown = f"{near:g}" if 2.0**-14 <= near <= 2.0**16 else f"2^{frexp(near)[1] - 1}"
            other = ", or overflow ieee or saturate" if design.float_entries else ""
            raise UserError(
                f"{what} can overflow: with {design.activations} activations up to {design.activation_bound:g} they "
                f"reach {float(size):.4g}, beyond {largest(name):.6g}; nearest: largest_activation {shown}{other}"
            )
