"""A tensor core's fused dot-product-add unit (T-FDPA, arXiv 2511.10909v2, section 4.2) as a piece of hardware.

Each unit adds ``products`` exact products and an accumulator: all terms are cut ``fraction_bits`` below the
largest exponent, summed exactly and rounded once. The arithmetic is that of :mod:`lutscape.sim.mma`; this spec says
which design of it is built, so that its Verilog can be generated, proven and priced.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from lutscape.hw.spec import Part, Spec

Operand = Literal["fp16", "bf16", "tf32", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1"]


class Unit(Part):
    """One dot-product-add unit."""

    products: int = Field(ge=1, le=64)
    """L: products per sum."""
    fraction_bits: int = Field(ge=2, le=40)
    """F: fraction bits kept below the largest exponent."""
    input: Operand
    """Operand format of A and B."""
    input_b: Operand | None = None
    """Operand format of B where it differs from A's."""
    rounding: str = Field(default="RZ-FP32", pattern=r"^(RNE|RZ|RD|RU)-(FP32|FP16|BF16|E8M13)$")
    """Output rounding and format; the accumulator has the same format."""
    e_zero: int | None = Field(default=None, ge=-400, le=-14)
    """Exponent that zero terms count with; by default that of :func:`lutscape.sim.mma.Custom`."""
    stages: int = Field(default=1, ge=0, le=3)
    """Pipeline stages of logic, each between registers (inputs and output are registered); 0: combinational."""
    count: int = Field(default=1, ge=1, le=1024)
    """Units side by side; they share nothing."""

    @model_validator(mode="after")
    def _zero_below_normal(self) -> Unit:
        if self.e_zero is not None and self.e_zero > -126 and not self.rounding.endswith("FP16"):
            raise ValueError(f"e_zero = {self.e_zero} lies above -126, the least exponent of {self.rounding}")
        return self


class FusedDotSpec(Spec):
    """Fused dot-product-add units."""

    chosen: ClassVar[frozenset[str]] = frozenset(
        {
            "clock_mhz",
            "unit.products",
            "unit.fraction_bits",
            "unit.input",
            "unit.input_b",
            "unit.rounding",
            "unit.e_zero",
            "unit.stages",
            "unit.count",
        }
    )

    kind: Literal["fused-dot"] = "fused-dot"
    unit: Unit
