"""Widths and offsets of one fused dot-product-add unit, derived once from its parameters.

Exponents inside the unit are unsigned offsets from ``base``, the least exponent any term can have. A term's
significand is ``s`` in ``s * 2^e`` with ``s`` below 4 (product) or below 2 (accumulator): it is never normalised,
so that a product of subnormals keeps their exponent (arXiv 2511.10909v2, section 4.2). The sum is a signed integer in
units of ``2^(e_max - F)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lutscape.hw.formats.binary import FORMATS, BinaryFormat
from lutscape.hw.formats.encode import encode_exact
from lutscape.hw.machines.fused_dot import Unit
from lutscape.sim.mma.api import NAN_CODE
from lutscape.sim.mma.custom import CustomInstruction
from lutscape.sim.mma.models import OutputRounding, TFdpa


def top_exponent(f: BinaryFormat) -> int:
    """Return the exponent of the largest finite number."""
    return (f.largest >> f.mantissa_bits) - f.bias


@dataclass(frozen=True)
class Design:
    """One unit: parameters of the arithmetic, and every width that follows from them.

    Attributes:
        products: L.
        fraction: F.
        a: operand format of A.
        b: operand format of B.
        rounding: output rounding and target.
        e_zero: exponent that zero terms count with.
    """

    products: int
    fraction: int
    a: BinaryFormat
    b: BinaryFormat
    rounding: OutputRounding
    e_zero: int

    @classmethod
    def of(cls, unit: Unit) -> Design:
        """Return the design of a spec's unit; UserError where :func:`lutscape.sim.mma.Custom` refuses it."""
        spec = instruction(unit).spec
        assert isinstance(spec.model, TFdpa)
        model = spec.model
        return cls(model.L, model.F, FORMATS[spec.a], FORMATS[spec.b], model.rounding, model.e_zero)

    # Formats ----------------------------------------------------------------------------------------------------

    @property
    def c(self) -> BinaryFormat:
        """Format of accumulator and result words."""
        return FORMATS[self.rounding.format]

    @property
    def target(self) -> BinaryFormat:
        """Format results are rounded to, in the word of :attr:`c`: E8M13 is FP32 without its low ten bits."""
        mantissa = self.rounding.fields[0]
        drop = self.c.mantissa_bits - mantissa
        return BinaryFormat(
            self.rounding.target.lower(), self.c.width, self.c.exponent_bits, mantissa, self.c.bias, "ieee", True, drop
        )

    @property
    def nan(self) -> int:
        """The one NaN that is returned."""
        return NAN_CODE[self.c.name]

    # Terms ------------------------------------------------------------------------------------------------------

    @property
    def product_fraction(self) -> int:
        """Fraction bits of an exact product."""
        return self.a.mantissa_bits + self.b.mantissa_bits

    @property
    def kept_product(self) -> int:
        """Fraction bits of a product that can survive the cut."""
        return min(self.product_fraction, self.fraction)

    @property
    def kept_c(self) -> int:
        """Fraction bits of the accumulator that can survive the cut."""
        return min(self.c.mantissa_bits, self.fraction)

    @property
    def term_bits(self) -> int:
        """Width of an aligned term: sign, two integer bits, F."""
        return self.fraction + 3

    @cached_property
    def _most_terms(self) -> tuple[int, int]:
        """Largest aligned product and accumulator, in units of 2^(e_max - F)."""
        product = ((2 << self.a.mantissa_bits) - 1) * ((2 << self.b.mantissa_bits) - 1)
        c = (2 << self.c.mantissa_bits) - 1
        return (product << self.fraction) >> self.product_fraction, (c << self.fraction) >> self.c.mantissa_bits

    @property
    def most(self) -> int:
        """Largest magnitude of the sum, in units of 2^(e_max - F)."""
        product, c = self._most_terms
        return self.products * product + c

    @property
    def sum_bits(self) -> int:
        """Width of the signed sum."""
        return self.most.bit_length() + 1

    # Exponents --------------------------------------------------------------------------------------------------

    @property
    def least_product(self) -> int:
        """Exponent of a product of subnormals."""
        return self.a.emin + self.b.emin

    @property
    def largest_product(self) -> int:
        """Exponent of the largest finite product."""
        return top_exponent(self.a) + top_exponent(self.b)

    @property
    def floor(self) -> int:
        """Least e_max: e_zero, or what any non-zero term has anyway."""
        return max(self.e_zero, min(self.least_product, self.c.emin))

    @property
    def base(self) -> int:
        """Exponent that offset 0 stands for."""
        return min(self.least_product, self.floor)

    @property
    def floor_acts(self) -> bool:
        """Whether terms that are not zero can lie below the floor."""
        return self.least_product < self.floor

    @property
    def exponent_bits(self) -> int:
        """Width of an exponent offset, of infinities and NaNs too."""
        product = sum((1 << f.exponent_bits) - 1 - f.bias for f in (self.a, self.b))
        c = (1 << self.c.exponent_bits) - 1 - self.c.bias
        return (max(product, c) - self.base).bit_length()

    # Result -----------------------------------------------------------------------------------------------------

    @property
    def below(self) -> int:
        """Zeros in front of the sum's magnitude, so that normalising never shifts right.

        The top bit of the magnitude weighs ``2^(e_max - F + sum_bits - 2)``; where that can lie below the least
        normal exponent, results are subnormal and the magnitude moves down. Beyond ``mantissa + 2`` places only a
        sticky bit is left.
        """
        lowest = self.floor - self.fraction + self.sum_bits - 2
        return min(max(0, self.target.emin - lowest), self.target.mantissa_bits + 2)

    @property
    def room_offset(self) -> int:
        """``room - offset of e_max``: room is how far the magnitude may move up before it is subnormal."""
        return self.base - self.fraction + self.sum_bits - 2 + self.below - self.target.emin

    @cached_property
    def overflows(self) -> tuple[bool, bool]:
        """Whether finite operands can give +infinity, -infinity: the largest sum at each largest exponent, rounded."""
        top = top_exponent(self.c)
        e = np.arange(self.floor, max(top, self.largest_product) + 1)
        product, c = self._most_terms
        # Below its own largest exponent, a term can be as large as the significand allows.
        far_product, far_c = np.maximum(e - self.largest_product, 0), np.maximum(e - top, 0)
        sums = self.products * (product >> np.minimum(far_product, 62)) + (c >> np.minimum(far_c, 62))
        infinity = (self.target.largest + 1) << self.target.dropped_bits
        found = []
        for sign in (False, True):
            signs = np.full(e.shape, sign)
            exponent = e - self.fraction
            code = encode_exact(
                signs, sums.astype(np.uint64), exponent, self.target, self.rounding.mode, overflow="infinity"
            )
            found.append(bool((code & ((1 << (self.c.width - 1)) - 1) == infinity).any()))
        return found[0], found[1]

    @property
    def can_overflow(self) -> bool:
        """Whether finite operands can give an infinity."""
        return any(self.overflows)

    @property
    def suffix(self) -> str:
        """Part of module names that tells designs apart."""
        formats = self.a.name if self.a == self.b else f"{self.a.name}_{self.b.name}"
        rounding = str(self.rounding).lower().replace("-", "_")
        return f"l{self.products}_f{self.fraction}_{formats}_{rounding}_z{-self.e_zero}"

    @property
    def parameters(self) -> dict[str, int | str]:
        """What was chosen, for headers and tables."""
        return {
            "L": self.products,
            "F": self.fraction,
            "a": self.a.name,
            "b": self.b.name,
            "rounding": str(self.rounding),
            "e_zero": self.e_zero,
        }

    @property
    def numbers(self) -> str:
        """Number formats in one line."""
        return (
            f"{self.a.name} x {self.b.name} products, exact; {self.sum_bits}-bit sum, {self.fraction} fraction bits; "
            f"{self.c.name} accumulator and result, {self.rounding}"
        )


def instruction(unit: Unit) -> CustomInstruction:
    """Return the golden model of a unit."""
    from lutscape.sim.mma import Custom

    made = Custom(
        L=unit.products,
        F=unit.fraction_bits,
        rounding=unit.rounding,
        input=",".join([unit.input, unit.input_b or unit.input]),
        e_zero=unit.e_zero,
    )
    assert isinstance(made, CustomInstruction)
    return made
