"""Fused dot-product units of your own: T-FDPA with any L, F, rounding and formats."""

from __future__ import annotations

from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS
from lutscape.sim.mma import models
from lutscape.sim.mma.api import Instruction, compute
from lutscape.sim.mma.instructions import Spec

MAX_PRODUCTS, MAX_FRACTION = 1024, 40
"""Largest L and F: sums of 1,025 terms below 4 * 2^40 are exact in float64 (2^53)."""


def Custom(
    *,
    L: int,
    F: int,
    rounding: str = "RZ-FP32",
    input: str = "fp16",
    output: str | None = None,
    e_zero: int | None = None,
) -> Instruction:
    """Return a T-FDPA design of your own; it takes any M and N, and K that L divides.

    Args:
        L: products per sum, 1 … 1024.
        F: fraction bits kept below the largest exponent, 1 … 40.
        rounding: ``RNE|RZ|RD|RU`` - ``FP32|FP16|BF16|E8M13``.
        input: operand format of at most 16 bits, or tf32; ``e4m3,e5m2`` for unequal operands.
        output: accumulator format; the rounding's by default.
        e_zero: exponent of zero terms; ``-108 - F`` (FP32) or ``4 - F`` (FP16) by default, at most the format's emin.

    Raises:
        UserError: a parameter out of range.
    """
    target = models.OutputRounding.parse(rounding)
    if not 1 <= L <= MAX_PRODUCTS:
        raise UserError(f"L is 1 … {MAX_PRODUCTS} products per sum, got {L}")
    if not 1 <= F <= MAX_FRACTION:
        raise UserError(f"F is 1 … {MAX_FRACTION} fraction bits, got {F}")
    kinds = [k.strip() for k in input.split(",")]
    kinds = kinds * 2 if len(kinds) == 1 else kinds
    allowed = [n for n, f in FORMATS.items() if (f.width <= 16 or n == "tf32") and f.specials != "scale" and f.signed]
    for kind in kinds:
        if kind not in allowed or len(kinds) != 2:
            raise UserError(f"input is one or two of {', '.join(allowed)}, got {input!r}")
    form = output or target.format
    if form != target.format:
        raise UserError(f"output {form!r} cannot hold {target}; it is {target.format!r}")
    floor = min(4 - F if form == "fp16" else -108 - F, FORMATS[form].emin) if e_zero is None else e_zero
    if not -400 <= floor <= FORMATS[form].emin:
        raise UserError(f"e_zero is -400 … {FORMATS[form].emin} (least exponent of {form}), got {floor}")
    model = models.TFdpa(L, F, target, floor)
    spec = Spec("custom", f"custom.L{L}.F{F}.{target}", "custom", 0, 0, 0, kinds[0], kinds[1], form, form, model)
    return CustomInstruction(spec)


class CustomInstruction(Instruction):
    """An :class:`Instruction` of any shape; see :func:`Custom`."""

    def __call__(
        self, A: np.ndarray, B: np.ndarray, C: np.ndarray | None = None, *, convert: bool = False, **_: Any
    ) -> np.ndarray:
        """Return D (…, M, N) for A (…, M, K), B (…, K, N), C (…, M, N); K is a multiple of L."""
        A, B = np.asarray(A), np.asarray(B)
        model = self.spec.model
        assert isinstance(model, models.TFdpa)
        if A.ndim < 2 or B.ndim < 2 or A.shape[-1] != B.shape[-2] or A.shape[-1] % model.L:
            raise UserError(
                f"A (…, M, K) and B (…, K, N) need equal K, a multiple of L = {model.L}; got {A.shape} and {B.shape}"
            )
        if C is not None and np.asarray(C).shape[-2:] != (A.shape[-2], B.shape[-1]):
            raise UserError(f"C has shape (…, {A.shape[-2]}, {B.shape[-1]}), got {np.asarray(C).shape}")
        return compute(self.spec, A, B, C, convert=convert)

    def explain(self) -> str:
        """Return the design in words."""
        s = self.spec
        head = f"{s.name}: {s.a} x {s.b} -> {s.d}"
        return f"{head}\n  meaning   {s.model.describe()}\n  evidence  none: a design of your own"
