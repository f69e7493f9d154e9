"""The aligned terms of one output, chunk by chunk: an exact scalar walk through a T-FDPA design."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, INFINITE, NOT_A_NUMBER, decode
from lutscape.sim.mma.convert import to_codes
from lutscape.sim.mma.models import GstFdpa, StFdpa, TFdpa

if TYPE_CHECKING:
    from lutscape.sim.mma.api import Instruction


def terms(codes: list[int], name: str) -> list[tuple[Fraction, int] | None]:
    """Return (value, exponent) of each code; None for infinities and NaNs."""
    f = FORMATS[name]
    d = decode(np.array(codes, f.dtype), f)
    out: list[tuple[Fraction, int] | None] = []
    for sign, sig, e, kind in zip(d.sign, d.significand, d.exponent, d.kind, strict=True):
        value = Fraction(int(sig)) * Fraction(2) ** (int(e) - f.mantissa_bits)
        out.append(None if kind in (INFINITE, NOT_A_NUMBER) else (-value if sign else value, int(e)))
    return out


def trace(
    op: Instruction, i: int, j: int, A: np.ndarray, B: np.ndarray, C: np.ndarray | None, convert: bool = False
) -> str:
    """Return the text of :meth:`Instruction.trace`."""
    s, model = op.spec, op.spec.model
    if not isinstance(model, TFdpa) or isinstance(model, StFdpa | GstFdpa) or s.keep != (1, 1):
        raise UserError(f"trace covers dense T-FDPA instructions; {s.name} is {model.symbol}")
    A, B = np.asarray(A), np.asarray(B)
    if A.ndim != 2 or B.ndim != 2:
        raise UserError(f"trace takes one tile, A (M, K) and B (K, N); got {A.shape} and {B.shape}")
    if not (0 <= i < A.shape[0] and 0 <= j < B.shape[1]):
        raise UserError(f"output ({i}, {j}) is outside {A.shape[0]} x {B.shape[1]}")
    a, b = to_codes(A[i : i + 1], s.a, convert, "A")[0], to_codes(B[:, j : j + 1], s.b, convert, "B")[:, 0]
    one = (
        np.zeros((1, 1), FORMATS[s.c].dtype)
        if C is None
        else to_codes(np.asarray(C)[i : i + 1, j : j + 1], s.c, convert, "C")
    )
    from lutscape.sim.mma.api import run

    lines = [f"{s.name} on {s.arch}, output ({i}, {j}): {model.symbol}, L={model.L}, F={model.F}, {model.rounding}"]
    ta, tb = terms(a.tolist(), s.a), terms(b.tolist(), s.b)
    for k0 in range(0, len(a), model.L):
        lines.append(f"k = {k0} … {min(k0 + model.L, len(a)) - 1}")
        tc = terms([int(one[0, 0])], s.c)[0]
        found = [(f"k={k}", _product(ta[k], tb[k])) for k in range(k0, min(k0 + model.L, len(a)))] + [("c", tc)]
        lines += _aligned(found, model)
        chunk = slice(k0, k0 + model.L)
        one = run(s, a[None, None, chunk], b[None, chunk, None], one[None])[0]
        shown = one.view(np.float16 if s.d == "fp16" else np.float32)[0, 0] if s.d in ("fp16", "fp32") else one[0, 0]
        lines.append(f"  rounded {model.rounding}: {float(shown)!r}  (0x{int(one[0, 0]):0{FORMATS[s.d].width // 4}X})")
    return "\n".join(lines)


def _product(x: tuple[Fraction, int] | None, y: tuple[Fraction, int] | None) -> tuple[Fraction, int] | None:
    return None if x is None or y is None else (x[0] * y[0], x[1] + y[1])


def _aligned(found: list[tuple[str, tuple[Fraction, int] | None]], model: TFdpa) -> list[str]:
    if any(term is None for _, term in found):
        return ["  an operand is infinite or NaN: the sum follows IEEE 754, not the alignment"]
    known = [(name, *term) for name, term in found if term is not None]
    e_max = max([e for _, value, e in known if value], default=model.e_zero)
    e_max = max(e_max, model.e_zero)
    unit = Fraction(2) ** (e_max - model.F)
    lines, total = [f"  e_max = {e_max}, unit 2^{e_max - model.F}"], 0
    for name, value, e in known:
        steps = abs(value) / unit
        cut = steps.numerator // steps.denominator * (-1 if value < 0 else 1)
        lost = value - cut * unit
        total += cut
        if value:
            lines.append(
                f"  {name:>5}  e={e:>5}  {float(value):>+24.17g}  -> {cut:>+13d} units  lost {float(lost):+.6g}"
            )
    lines.append(f"  {'sum':>5}  {total} units = {float(total * unit):.17g}")
    return lines
