"""How wrong may a matrix unit be, and how wrong is it: bounds, ULP reports, tolerances, odd behaviour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.sim.mma import models
from lutscape.sim.mma.api import Instruction, run
from lutscape.sim.mma.convert import to_codes
from lutscape.sim.mma.corpus import FAMILIES, cases
from lutscape.sim.mma.operands import NOTHING, operand


def exact_product(A: np.ndarray, B: np.ndarray, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return A B + C as an unevaluated sum (high, low) of float64 (M, N), about 106 bits; finite operands.

    Args:
        A: (M, K) float64 whose products with B are exact in float64 (operands of at most 26 bits).
        B: (K, N) float64.
        C: (M, N) float64.
    """
    high, low = C.astype(np.float64).copy(), np.zeros(C.shape)
    for k in range(A.shape[1]):
        p = np.multiply.outer(A[:, k], B[k])
        s = high + p
        t = s - high
        low += (high - (s - t)) + (p - t)
        high = s
    return high, low


def ulp(x: np.ndarray, name: str) -> np.ndarray:
    """Return the spacing of a format's numbers at |x| (the least one at and below the smallest normal)."""
    f = FORMATS[name]
    e = np.frexp(np.abs(x))[1] - 1
    return np.ldexp(1.0, np.maximum(np.where(x == 0, f.emin, e), f.emin) - f.mantissa_bits)


@dataclass(frozen=True)
class UlpReport:
    """Errors in units of the last place of the exact result's binade, over finite outputs.

    Attributes:
        maximum: largest error.
        mean: mean error.
        bias: mean signed error; towards zero where it has the result's opposite sign.
        p99: 99th percentile.
        outputs: outputs compared.
    """

    maximum: float
    mean: float
    bias: float
    p99: float
    outputs: int


def ulp_report(got: np.ndarray, high: np.ndarray, low: np.ndarray, name: str) -> UlpReport:
    """Compare results (M, N) float64 with an exact (high, low) in ULPs of format ``name``."""
    finite = np.isfinite(got) & np.isfinite(high)
    error = ((got - high) - low)[finite] / ulp(high[finite], name)
    if not error.size:
        raise UserError("ulp_report: no finite output to compare")
    size = np.abs(error)
    toward = error * np.sign(high[finite])
    return UlpReport(
        float(size.max()), float(size.mean()), float(toward.mean()), float(np.quantile(size, 0.99)), size.size
    )


def error_bound(op: Instruction, A: np.ndarray, B: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Return a bound (M, N) on |D - (A B + C)| for finite operands without overflow (arXiv 2511.10909v2, table 9).

    Per chunk of a fused design ``(L + 1) 2^(e_max - F)`` for the cut terms and half an ULP (RNE) or one
    (RZ, RD, RU) of the result for the output; FMA chains half an ULP per step; FTZ-AddMul the flushed
    inputs and half an ULP, or 2^-126, per rounded step.

    Args:
        op: dense instruction or custom design with a bound.
        A, B, C: one tile, numbers or raw codes, (M, K), (K, N), (M, N).
    """
    s = op.spec
    a, b, c = (
        to_codes(np.asarray(A), s.a, False, "A"),
        to_codes(np.asarray(B), s.b, False, "B"),
        to_codes(np.asarray(C), s.c, False, "C"),
    )
    model = s.model
    if isinstance(model, models.FmaChain):
        return _rounded_steps(values(a, s.a), values(b, s.b), values(c, s.c), 0.5, s.d)
    if isinstance(model, models.FtzAddMul):
        av, bv = np.abs(values(a, s.a)), np.abs(values(b, s.b))
        least = 2.0**model.input_emin
        flushed = np.where(av < least, av, 0) @ bv + av @ np.where(bv < least, bv, 0)
        steps = 2 * a.shape[1] + a.shape[1] // model.P
        size = av @ bv + np.abs(values(c, s.c))
        return flushed * (1 + 2.0**-20) + steps * (2.0**-24 * size * (1 + 2.0**-20) + 2.0**-126) + 2.0**-126
    if isinstance(model, models.EFdpa):
        fraction, length = None, model.L
    elif type(model) in (models.TFdpa, models.TrFdpa):
        assert isinstance(model, models.TFdpa | models.TrFdpa)
        fraction, length = model.F, model.L
    else:
        raise UserError(f"error_bound covers T-, TR-, E-FDPA, FTZ-AddMul and FMA designs, not {model.symbol}")
    left, right = operand(a, s.a), operand(b, s.b)
    bound, now = np.zeros(c.shape), c
    for k0 in range(0, a.shape[1], length):
        chunk = slice(k0, k0 + length)
        old = values(now, s.c if k0 == 0 else s.d)
        now = run(s, a[None, :, chunk], b[None, chunk], now[None])[0]
        new = values(now, s.d)
        if fraction is not None:
            e_max = np.where(old == 0, NOTHING, np.maximum(np.frexp(old)[1] - 1, FORMATS[s.c].emin))
            for k in range(k0, min(k0 + length, a.shape[1])):
                e_max = np.maximum(e_max, np.add.outer(left.exponent[:, k].astype(int), right.exponent[k].astype(int)))
            floor = model.e_zero if isinstance(model, models.TFdpa) else -126
            bound += (length + 1) * np.ldexp(1.0, np.maximum(e_max, floor) - fraction)
        rounding = model.rounding if isinstance(model, models.TFdpa) else models.OutputRounding("RNE", "FP32")
        mantissa, emin, _, mode = rounding.fields
        e = np.maximum(np.frexp(np.nextafter(np.abs(new), np.inf))[1] - 1, emin)
        bound += (0.5 if mode == 0 else 1.0) * np.ldexp(1.0, e - mantissa)
    return bound


def _rounded_steps(a: np.ndarray, b: np.ndarray, c: np.ndarray, share: float, name: str) -> np.ndarray:
    """Half an ULP per step of a chain, each of a partial sum no larger than the sum of magnitudes."""
    size, bound = np.abs(c), np.zeros(c.shape)
    for k in range(a.shape[1]):
        size = size + np.multiply.outer(np.abs(a[:, k]), np.abs(b[k]))
        bound += share * ulp(size + bound, name)
    return bound


@dataclass(frozen=True)
class Tolerance:
    """What a unit test of a GEMM on this arithmetic should allow.

    Attributes:
        relative: allowed |error| per unit of ``(|A| |B| + |C|)``: twice the largest seen.
        absolute: allowed |error| of the tried shape: twice the largest seen.
        seen: largest |error| seen.
        outputs: outputs tried.
    """

    relative: float
    absolute: float
    seen: float
    outputs: int


def tolerance(
    arch: str, name: str | Instruction, K: int, *, size: int = 64, seeds: int = 4, **options: int
) -> Tolerance:
    """Suggest a tolerance from simulated products of normal random numbers.

    Args:
        arch, name: as for :func:`lutscape.sim.mma.gemm`; further options (promotion, split_k) too.
        K: depth of the product under test.
        size: rows and columns tried.
        seeds: repetitions.
    """
    from lutscape.hw.formats.encode import encode
    from lutscape.sim.mma.api import instruction
    from lutscape.sim.mma.chaining import gemm

    op = name if isinstance(name, Instruction) else instruction(arch, name)
    worst = relative = 0.0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        a, b = (encode(rng.standard_normal(shape), f) for shape, f in (((size, K), op.spec.a), ((K, size), op.spec.b)))
        d = values(gemm(arch, op, a, b, **options), op.spec.d)  # type: ignore[arg-type]
        x, y = values(a, op.spec.a), values(b, op.spec.b)
        high, low = exact_product(x, y, np.zeros(d.shape))
        error = np.abs((d - high) - low)
        worst = max(worst, float(error.max()))
        relative = max(relative, float((error / (np.abs(x) @ np.abs(y))).max()))
    return Tolerance(2 * relative, 2 * worst, worst, seeds * size * size)


def monotonicity(op: Instruction) -> list[tuple[float, float, float, float]]:
    """Return cases (c, D(c), c', D(c')) with c < c' and D(c) > D(c'): a sum that falls when a term grows.

    The accumulator steps up to a power of two while all products are so small that its larger exponent
    cuts them (Fasi et al., Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 2021, 4.5).
    """
    s = op.spec
    f, fa, fb = FORMATS[s.c], FORMATS[s.a], FORMATS[s.b]
    length = int(getattr(s.model, "L", 0) or s.k)
    m, n, k = max(s.m, 1), max(s.n, 1), max(s.k, length)
    below, above = 2.0 - 2.0**-f.mantissa_bits, 2.0
    found = []
    for small in range(4, 40):
        ea, eb = -(small // 2), -(small - small // 2)
        if ea < fa.emin - fa.mantissa_bits or eb < fb.emin - fb.mantissa_bits:
            break
        A, B = np.zeros((m, k)), np.zeros((k, n))
        A[0, :length], B[:length, 0] = 2.0**ea, 2.0**eb
        low, high = (float(op(A, B, np.full((m, n), c))[0, 0]) for c in (below, above))
        if high < low:
            found.append((below, low, above, high))
    return found


def asymmetry(op: Instruction, tiles: int = 4, seed: int = 0) -> tuple[int, int]:
    """Return how many finite outputs have D(-A, B, -C) != -D(A, B, C), and how many there were.

    Runs over the operand families; zeros of either sign compare equal.
    """
    s = op.spec
    if s.scale or s.keep != (1, 1) or s.a not in FORMATS:
        raise UserError(f"asymmetry covers dense floating-point instructions, not {s.name}")
    wrong = total = 0
    flip = {name: np.array(1 << (FORMATS[name].width - 1), FORMATS[name].dtype) for name in (s.a, s.c)}
    for family in FAMILIES:
        x = cases(s, family, tiles, seed)
        a, c = x["A"], x["C"]
        mirrored = np.where(a == 0, a, a ^ flip[s.a]) if FORMATS[s.a].specials == "fnuz" else a ^ flip[s.a]
        plus, minus = (values(run(s, p, x["B"], q), s.d) for p, q in ((a, c), (mirrored, c ^ flip[s.c])))
        finite = np.isfinite(plus) & np.isfinite(minus)
        wrong += int((plus != -minus)[finite].sum())
        total += int(finite.sum())
    return wrong, total
