"""The design of a table-lookup mpGEMM: every choice that its result depends on, in one object.

Weights. A code q = 0 … ``levels`` - 1 is read as digits of W planes; the value of a plane's digit is defined in
:mod:`.elut`. ``int1`` … ``int4`` and ``ternary`` (two bits, codes 0, 1, 2) have W planes of ±1 bits, of weights
2^p (arXiv 2408.06003, eq. 1-3); ``base3`` … ``base16`` have one plane of digits, k of them looked up at once
(``base3`` with k = 3: three trits in five bits). All are affine in q:

    value(q) = α q - β,    α = 2 for planes of bits and even bases, 1 for odd bases

so that a weight r = s (q - z) is s' (value - z') with s' = s / α and z' = α z - β (eq. 3; the paper's z' = 2 z + 1
- 2^W). The term of z' needs the sum of the activations of each weight group: the row sum.

Activations are integers, or numbers of a float format. Tables hold sums of k activations: ``exact``; integers of
some bits, rounded after a multiplication by the reciprocal of a scale that ``table_group`` activations share; or
numbers of a float format, each add of the table builder rounded to it.

Order of the sums. A *unit* is a run of activations that share table scale and weight scale.

1. Integer or exact entries add up in integers inside a unit, in any order.
   Float entries add up in the accumulator's format inside a weight group, steps ascending. ``serial`` planes: each
   plane of a step is added by itself, lowest first, its weight 2^p exact. ``parallel``: the planes of a step are
   added to one another first (lowest first), then their sum to the accumulator, in the same format.
2. Units are scaled and added in FP32, ascending; products and sums are rounded one by one (no fused multiply-add):

       exact           total += fp32(Σ lookups - z' Σ a) · s'
       integer         total += fp32(Σ lookups) · (table scale · s')
       float           total += fp32(accumulator) · s'
       integer, float  after a weight group:  total += fp32(Σ a) · -(s' z')

   Σ a over a weight group is exact and rounded once for integer activations, and a chain of FP32 adds for floats.
3. Scales of integer activations, one per row, multiply the total last.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import cached_property

from lutscape.hw.errors import UserError, choose, nearest
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import elut
from lutscape.sim.lut_tensor_core.rounding import FLOATS, ROUNDINGS, largest, lowest_exponent

BIT_PLANES = {"int1": 1, "int2": 2, "int3": 3, "int4": 4, "ternary": 2}
WEIGHTS = (*BIT_PLANES, *(f"base{b}" for b in range(3, 17)))
ACTIVATIONS = ("int8", "int16", "fp8_e4m3", "fp8_e5m2", "fp16", "bf16")
ENTRIES = ("exact", *(f"int{b}" for b in range(2, 17)), *FLOATS)
SCALES = ("fp32", "fp16", "power-of-two")
ADDS = ("fp32", "fp16", "bf16")
ORDERS = ("tree", "chain")
PLANES = ("serial", "parallel")
OVERFLOWS = ("prove", "ieee", "saturate")
MOST_ENTRIES = 4096


@dataclass(frozen=True)
class Mpgemm:
    """One design.

    Attributes:
        weights: ``int1`` … ``int4``, ``ternary`` (as two bits), ``base3`` … ``base16`` (element-wise).
        activations: ``int8``, ``int16``, ``fp8_e4m3``, ``fp8_e5m2``, ``fp16`` or ``bf16``.
        k: activations per table.
        entries: ``exact``, ``int2`` … ``int16``, or a float format.
        table_group: activations that share the scale of integer entries: k is one scale per table, 0 per row.
        table_scale: format of that scale: ``fp32``, ``fp16`` or ``power-of-two``.
        rounding: of integer entries: ``nearest-even``, ``half-up`` or ``half-away``.
        adds: format of each add where float activations are summed for integer entries.
        add_order: of the builder's adds: ``tree`` (neighbours first) or ``chain`` (element 0 first).
        planes: ``serial`` or ``parallel``; integers do not show the difference.
        accumulator: ``int8`` … ``int64``, ``exact`` (as wide as it takes), ``fp32``, ``fp16`` or ``bf16``. For exact
            tables of float activations an integer counts in units of the format's smallest subnormal.
        padding: whether the hardware fills a last table up with zero activations where k does not divide K.
        largest_activation: bound that the activations keep, for the overflow proof; None: that of the format.
        overflow: of float entries and accumulators: ``prove`` refuses what could overflow; ``ieee`` goes to
            infinity, ``saturate`` to the largest number.

    Example:
        >>> Mpgemm(weights="int2", entries="int8").plane_weights
        (1, 2)
    """

    weights: str = "int2"
    activations: str = "int8"
    k: int = 4
    entries: str = "exact"
    table_group: int = 64
    table_scale: str = "fp32"
    rounding: str = "nearest-even"
    adds: str = "fp32"
    add_order: str = "tree"
    planes: str = "serial"
    accumulator: str = "int32"
    padding: bool = True
    largest_activation: float | None = None
    overflow: str = "prove"

    def __post_init__(self) -> None:
        """Refuse formats that do not combine."""
        choose(self.weights, WEIGHTS, "weight format")
        choose(self.activations, ACTIVATIONS, "activation format")
        choose(self.entries, ENTRIES, "format of table entries")
        choose(self.table_scale, SCALES, "format of table scales")
        choose(self.rounding, ROUNDINGS, "rounding of table entries")
        choose(self.adds, ADDS, "format of table adds")
        choose(self.add_order, ORDERS, "order of table adds")
        choose(self.planes, PLANES, "order of planes")
        choose(self.overflow, OVERFLOWS, "overflow rule")
        self._check_accumulator()
        self._check_table()
        top = self.largest_activation
        if top is not None and not 0 < top <= self.format_largest:
            raise UserError(
                f"largest_activation {top:g} is no bound inside {self.activations}; "
                f"allowed: above 0, up to {self.format_largest:g}"
            )

    def _check_table(self) -> None:
        least = 2 if self.base == 2 else 1
        most = max(n for n in range(1, 9) if self.base**n <= MOST_ENTRIES)
        if not least <= self.k <= most:
            raise UserError(
                f"k = {self.k} digits of base {self.base} ({self.weights}); allowed: {least} … {most} "
                f"(at most {MOST_ENTRIES} patterns); nearest: {min(max(self.k, least), most)}"
            )
        if self.scaled_entries and (self.table_group < 0 or self.table_group % self.k):
            close = max(1, round(self.table_group / self.k)) * self.k
            raise UserError(
                f"table_group of {self.table_group} activations is no multiple of k = {self.k}; "
                f"nearest: {close} (0: one scale per row)"
            )

    def _check_accumulator(self) -> None:
        width = re.fullmatch(r"int(\d+)", self.accumulator)
        floats = self.accumulator in ADDS
        if not (width or floats or self.accumulator == "exact") or (width and not 8 <= int(width[1]) <= 64):
            allowed = ("int32", "exact", *ADDS)
            raise UserError(
                f"unknown accumulator {self.accumulator!r}{nearest(self.accumulator, allowed)}; "
                f"allowed: int8 … int64, exact, {', '.join(ADDS)}"
            )
        if self.integer_activations and self.entries in FLOATS:
            raise UserError(
                f"{self.entries} entries of {self.activations} activations do not combine: integer sums stay integers; "
                f"nearest: exact or int8 entries"
            )
        if self.entries in FLOATS and not floats:
            raise UserError(
                f"{self.entries} entries and accumulator {self.accumulator} do not combine: float entries add up in "
                f"{', '.join(ADDS)}; nearest: fp32"
            )
        if self.entries not in FLOATS and floats:
            wide = "int32" if self.integer_activations or self.entries != "exact" else "exact"
            raise UserError(
                f"{self.entries} entries and accumulator {self.accumulator} do not combine: they add up in integers, "
                f"int8 … int64 or exact; nearest: {wide}"
            )
        if self.entries not in FLOATS and self.overflow != "prove":
            raise UserError(
                f"overflow {self.overflow!r} with {self.entries} entries: integer sums are proven not to overflow; "
                f"nearest: prove"
            )

    @classmethod
    def of_array(cls, array: Array, weights: str) -> Mpgemm:
        """Return what an array of a hardware spec computes, tables scaled per row: :func:`.golden.matmul` in units,
        or :mod:`.float_array` where its activations are floats.

        Raises:
            UserError: a datapath without these tables, or activations of another width.
        """
        if not array.integer:
            from lutscape.sim.lut_tensor_core.float_array import design

            return design(array, weights)
        bits = f"int{array.activation_bits}"
        if array.datapath != "lut" or bits not in ACTIVATIONS:
            raise UserError(
                f"an array of datapath {array.datapath!r} and activation_bits {array.activation_bits} is no design "
                f"here; allowed: datapath lut with activation_bits 8 or 16"
            )
        entries = f"int{array.table_bits}" if array.largest_shift else "exact"
        return cls(
            weights, bits, array.k, entries, 0, "power-of-two", "half-up", accumulator=f"int{array.accumulator_bits}"
        )

    def with_weights(self, weights: str) -> Mpgemm:
        """Return the same design for another weight format."""
        return replace(self, weights=weights)

    @property
    def integer_activations(self) -> bool:
        """Activations are integers."""
        return self.activations.startswith("int")

    @property
    def exact_entries(self) -> bool:
        """Tables hold exact sums."""
        return self.entries == "exact"

    @property
    def float_entries(self) -> bool:
        """Tables hold rounded sums in a float format."""
        return self.entries in FLOATS

    @property
    def scaled_entries(self) -> bool:
        """Tables hold integers times a scale."""
        return not self.exact_entries and not self.float_entries

    @cached_property
    def base(self) -> int:
        """Digits of one plane."""
        return 2 if self.weights in BIT_PLANES else int(self.weights[4:])

    @property
    def plane_count(self) -> int:
        """Planes of one weight, W."""
        return BIT_PLANES.get(self.weights, 1)

    @property
    def plane_weights(self) -> tuple[int, ...]:
        """What the planes count, lowest first."""
        return tuple(1 << p for p in range(self.plane_count))

    @property
    def levels(self) -> int:
        """Codes of one weight."""
        return 3 if self.weights == "ternary" else self.base**self.plane_count

    @property
    def alpha(self) -> int:
        """α of value(q) = α q - β."""
        return elut.step(self.base)

    @property
    def beta(self) -> int:
        """β of value(q) = α q - β."""
        return self.largest_value

    @property
    def largest_value(self) -> int:
        """Largest magnitude of a weight's value."""
        return int(-elut.digit_values(self.base)[0]) * sum(self.plane_weights)

    @property
    def stored_entries(self) -> int:
        """Entries of one table, H."""
        return elut.half(self.base, self.k)

    @property
    def entry_limit(self) -> int:
        """Largest magnitude of an integer entry; its negative fits as well."""
        return (1 << (int(self.entries[3:]) - 1)) - 1

    @property
    def bits_per_weight(self) -> float:
        """Stored bits of one weight, scales apart."""
        return self.plane_count * elut.select_bits(self.base, self.k) / self.k

    @property
    def format_largest(self) -> float:
        """Largest magnitude of the activation format: 2^(b-1) of two's complement integers."""
        if self.integer_activations:
            return float(1 << (int(self.activations[3:]) - 1))
        return largest(self.activations)

    @property
    def activation_bound(self) -> float:
        """Largest magnitude that activations have, by the format or by :attr:`largest_activation`."""
        return self.format_largest if self.largest_activation is None else self.largest_activation

    @property
    def unit_exponent(self) -> int:
        """e where all activations are integers times 2^e."""
        return 0 if self.integer_activations else lowest_exponent(self.activations)
