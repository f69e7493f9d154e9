"""The arithmetic models of matrix units, one frozen dataclass per design.

Names follow arXiv 2511.10909v2 (April 2026), section 4. A model says what one output element does
with its row of A, column of B and accumulator c; k runs in chunks of ``L`` products, and the output
is rounded after every chunk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

from lutscape.hw.errors import UserError, choose


@dataclass(frozen=True)
class OutputRounding:
    """How an exact sum becomes a stored accumulator.

    Attributes:
        mode: RNE, RZ, RD or RU.
        target: FP32, FP16, BF16 or E8M13 (an FP32 word whose low ten bits stay zero).
    """

    mode: str
    target: str

    _TARGETS: ClassVar[dict[str, tuple[int, int, int]]] = {
        "FP32": (23, -126, 127), "FP16": (10, -14, 15), "BF16": (7, -126, 127), "E8M13": (13, -126, 127),
    }  # fmt: skip
    _MODES: ClassVar[tuple[str, ...]] = ("RNE", "RZ", "RD", "RU")

    @classmethod
    def parse(cls, text: str) -> OutputRounding:
        """Read ``RZ-FP32``; UserError names the allowed modes and targets."""
        match = re.fullmatch(r"([A-Za-z]+)-([A-Za-z0-9]+)", text)
        if not match:
            raise UserError(f"rounding {text!r} is not <mode>-<target>, e.g. RZ-FP32 or RNE-FP16")
        mode, target = match[1].upper(), match[2].upper()
        return cls(choose(mode, cls._MODES, "rounding mode"), choose(target, cls._TARGETS, "rounding target"))

    def __str__(self) -> str:
        return f"{self.mode}-{self.target}"

    @property
    def fields(self) -> tuple[int, int, int, int]:
        """Mantissa bits, emin, emax and mode number (RNE 0, RZ 1, RD 2, RU 3), as the kernels take them."""
        mantissa, emin, emax = self._TARGETS[self.target]
        return mantissa, emin, emax, self._MODES.index(self.mode)

    @property
    def format(self) -> str:
        """Binary format of the word that holds the result."""
        return {"FP16": "fp16", "BF16": "bf16"}.get(self.target, "fp32")


@dataclass(frozen=True)
class Model:
    """What all designs share: a name in the paper's notation."""

    symbol = "Phi"

    def describe(self) -> str:
        """Return one paragraph on what happens to the terms of one sum."""
        raise NotImplementedError


@dataclass(frozen=True)
class TFdpa(Model):
    """Truncated fused dot-product-add.

    Attributes:
        L: products per sum; K is walked in chunks of L.
        F: fraction bits kept below the largest exponent of a sum.
        rounding: output rounding after each chunk.
        e_zero: exponent that a zero term counts with, and so the least exponent a sum is aligned to.
    """

    L: int
    F: int
    rounding: OutputRounding
    e_zero: int
    symbol = "T-FDPA"

    def describe(self) -> str:
        return (
            f"Sums of {self.L} exact, unnormalised products and the accumulator. Every term is cut toward zero "
            f"(sign-magnitude, no sticky bit) {self.F} fraction bits below the largest exponent, at least "
            f"2^{self.e_zero}; the cut terms are added exactly and rounded once, {self.rounding}. A zero result is "
            f"+0; overflow is infinite also under RZ."
        )


@dataclass(frozen=True)
class StFdpa(TFdpa):
    """T-FDPA whose exponents include one power-of-two scale per row of A and column of B and block of 32."""

    block: int = 32
    symbol = "ST-FDPA"

    def describe(self) -> str:
        return super().describe() + f" Scales (ue8m0, one per {self.block} k) add to the products' exponents."


@dataclass(frozen=True)
class GstFdpa(TFdpa):
    """Grouped, scaled, truncated sum: exact dot products of G pairs, each scaled, then cut and added.

    Attributes:
        G: products per exact group.
        block: k per scale.
    """

    G: int = 16
    block: int = 32
    symbol = "GST-FDPA"

    def describe(self) -> str:
        return (
            f"{self.L // self.G} groups of {self.G} products are summed exactly, multiplied by their scales (one per "
            f"{self.block} k), then cut toward zero {self.F} bits below the largest scale exponent or the "
            f"accumulator's (a group's own magnitude does not take part; zeros count as 2^{self.e_zero}), added and "
            f"rounded {self.rounding}."
        )


@dataclass(frozen=True)
class TrFdpa(Model):
    """CDNA3 dot product: products truncated, then product sum and accumulator rounded down together."""

    L: int
    F: int = 24
    F2: int = 31
    symbol = "TR-FDPA"

    def describe(self) -> str:
        return (
            f"{self.L} products are cut toward zero {self.F} bits below their largest exponent and added. That sum is "
            f"floored at {self.F2 + 1} bits, c at {self.F} bits, below the larger of the two exponents; their sum is "
            f"floored to {self.F2} fraction bits and rounded RNE to FP32. Products of 2^128 and more are infinite."
        )


@dataclass(frozen=True)
class GtrFdpa(Model):
    """CDNA3 FP8 dot product: even and odd k summed apart, then as TR-FDPA; far smaller c vanish."""

    L: int = 16
    F: int = 24
    F2: int = 31
    symbol = "GTR-FDPA"

    def describe(self) -> str:
        return (
            f"Of {self.L} products, even and odd k are cut toward zero at {self.F} bits and summed apart; both sums "
            f"are floored at {self.F} bits and added. With c (dropped when finite and more than {self.F + 1} binades "
            f"below) as TR-FDPA: floor at {self.F2} bits, RNE to FP32."
        )


@dataclass(frozen=True)
class EFdpa(Model):
    """CDNA1 dot product: exact sum of L products and c, rounded once."""

    L: int
    symbol = "E-FDPA"

    def describe(self) -> str:
        return (
            f"{self.L} products and the accumulator are added exactly and rounded once, RNE to FP32; subnormals kept."
        )


@dataclass(frozen=True)
class FtzAddMul(Model):
    """CDNA2: rounded products, pairwise rounded adds, subnormals flushed everywhere.

    Attributes:
        P: products added pairwise before the accumulator (2 or 4).
        input_emin: inputs below ``2^input_emin`` count as +0.
    """

    P: int
    input_emin: int
    symbol = "FTZ-AddMul"

    def describe(self) -> str:
        return (
            f"Inputs below 2^{self.input_emin} and accumulators below 2^-126 count as +0. Products are rounded to "
            f"FP32, {self.P} of them added pairwise, then added to the accumulator; every result is RNE with "
            f"subnormals flushed to zero of their sign."
        )


@dataclass(frozen=True)
class FmaChain(Model):
    """Fused multiply-adds in ascending k.

    Attributes:
        format: fp64 or fp32.
        nan: ``propagate`` (quieted operand: b before the accumulator before a) or ``canonical``.
        rounding: RNE; RZ, RD or RU for fp64.
    """

    format: str
    nan: str = "canonical"
    rounding: str = "RNE"
    symbol = "FMA"

    def describe(self) -> str:
        return f"d = fma(a_k, b_k, d) for k ascending, {self.rounding} in {self.format}; NaN: {self.nan}."


@dataclass(frozen=True)
class HalfPairThenAdd(Model):
    """FP8 mma.sync where the unit has no FP8 path: two half-precision steps over k mod 4, then a rounded add.

    ``t`` chains T-FDPA over k mod 4 in {0, 1} and then over k mod 4 in {2, 3}, both from zero; d = RNE(t + c).

    Attributes:
        K: depth of the instruction.
        step: the half-precision T-FDPA.
    """

    K: int
    step: TFdpa
    symbol = "T-FDPA x2 + add"

    def describe(self) -> str:
        return (
            f"No FP8 unit: operands become fp16; the {self.K // 2} products with k mod 4 in {{0, 1}} are summed from "
            f"zero, the other {self.K // 2} onto that ({self.step.symbol}, F={self.step.F}, {self.step.rounding}); the "
            f"accumulator is added last, RNE to {self.step.rounding.target}."
        )


@dataclass(frozen=True)
class EmulatedQuad(Model):
    """m8n8k4 where no unit has that shape: FP32 fused multiply-adds on the ordinary cores.

    Attributes:
        late_c: True: ``((p0 + p1) + p2) + p3`` and then c; False: ``((p0 + p1) + c) + (p2 + p3)``.
    """

    late_c: bool
    symbol = "FMA m8n8k4"

    def describe(self) -> str:
        order = "(((p0 + p1) + p2) + p3) + c" if self.late_c else "((p0 + p1) + c) + (p2 + p3)"
        return (
            f"No unit of this shape: FP32 FMAs and adds in the order {order}, RNE; FP16 results are rounded at the end."
        )


@dataclass(frozen=True)
class IntegerDot(Model):
    """Exact integer sums in 32 bits: modulo 2^32, or clamped once at the end."""

    saturate: bool = False
    symbol = "integer"

    def describe(self) -> str:
        end = "clamped to the range of s32" if self.saturate else "kept modulo 2^32"
        return f"Exact integer products and sum with the accumulator, {end}."


@dataclass(frozen=True)
class BinaryDot(Model):
    """Population count of XOR or AND of one-bit rows and columns, added to s32."""

    operation: str
    symbol = "binary"

    def describe(self) -> str:
        return f"c + popcount(a {self.operation} b) over k, modulo 2^32."
