"""A tensor core's fused dot-product-add unit (T-FDPA, arXiv 2511.10909v2, section 4.2) as a piece of hardware.

Each unit adds ``products`` exact products and an accumulator: all terms are cut ``fraction_bits`` below the
largest exponent, summed exactly and rounded once. The arithmetic is that of :mod:`lutscape.sim.mma`; this spec says
which design of it is built, so that its Verilog can be generated, proven and priced.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from lutscape.hw.spec import Part, Spec


class Unit(Part):
    """One dot-product-add unit."""

    products: int = Field(ge=1, le=64)
    """L: products per sum."""
    fraction_bits: int = Field(ge=1, le=40)
    """F: fraction bits kept below the largest exponent."""
    input: Literal["fp16", "bf16", "e4m3", "e5m2"]
    """Operand format of A and B."""
    rounding: str = Field(default="RZ-FP32", pattern=r"^(RNE|RZ|RD|RU)-(FP32|FP16|BF16|E8M13)$")
    """Output rounding and format; the accumulator has the same format."""
    e_zero: int | None = Field(default=None, ge=-400, le=0)
    """Exponent that zero terms count with; by default that of :func:`lutscape.sim.mma.Custom`."""
    count: int = Field(default=1, ge=1, le=1024)
    """Units side by side."""


class FusedDotSpec(Spec):
    """Fused dot-product-add units."""

    chosen: ClassVar[frozenset[str]] = frozenset(
        {
            "clock_mhz",
            "unit.products",
            "unit.fraction_bits",
            "unit.input",
            "unit.rounding",
            "unit.e_zero",
            "unit.count",
        }
    )

    kind: Literal["fused-dot"] = "fused-dot"
    unit: Unit
