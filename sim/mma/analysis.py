"""How wrong may a matrix unit be, and how wrong is it: bounds, ULP reports, tolerances, odd behaviour."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, decode, values
from lutscape.sim.mma import models
from lutscape.sim.mma.api import Instruction, run, scale_codes
from lutscape.sim.mma.convert import to_codes
from lutscape.sim.mma.corpus import FAMILIES, cases
from lutscape.sim.mma.instructions import Spec
from lutscape.sim.mma.operands import NOTHING, Operand, operand, scaled

Fused = models.EFdpa | models.TFdpa | models.TrFdpa | models.GtrFdpa


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


def error_bound(
    op: Instruction,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray,
    alpha: np.ndarray | None = None,
    beta: np.ndarray | None = None,
) -> np.ndarray:
    """Return a bound (M, N) on |D - (A B + C)| for finite operands without overflow (arXiv 2511.10909v2, table 9).

    Errors of consecutive chunks add up, because each chunk adds its own to an accumulator taken as exact.
    Cutting or flooring a number at the grid ``g`` moves it by less than ``g``, so that per chunk of L products:

    - T-, TR-FDPA: ``(L + 1) 2^(e_max - F)`` for the cut terms; half an ULP (RNE) or one (RZ, RD, RU) for the output.
    - E-FDPA: half an ULP of the output.
    - ST-FDPA: as T-FDPA; ``e_max`` is taken over ``e_a + e_b + e_alpha + e_beta``, since a power of two moves only
      exponents.
    - GST-FDPA: a group of G products times its scales is exact, so that only ``L / G`` groups and c are cut:
      ``(L / G + 1) 2^(e_max - F)``, where e_max is over the *scales'* exponents of groups that hold a product and
      over c's. One ULP for the output.
    - GTR-FDPA: ``L/2 2^(e_even - F) + L/2 2^(e_odd - F)`` for the products, each half cut at its own maximum. The half
      of the larger exponent top lies on the grid ``2^(top - F)`` already, so that the two floors cost
      ``2^(top - F)`` where the maxima differ, else nothing. With ``E = max(top, e_c)``: the floor of the
      product sum costs ``2^(E - F2 - 1)`` where it is coarser than the sum's grid; c costs ``2^(E - F)`` where
      that is coarser than c's grid, ``2^(e_c - 23)``, or |c| where c is dropped, ``e_c < E - F - 1``. The last
      floor costs ``2^(e_D - F2)`` and its RNE half an ULP.
    - Two-step FP8 (half the products from zero, the other half onto that, then c): per K elements the bounds of
      the two T-FDPA sums of K/2 products, and half an ULP of D for the add.

    FMA chains: half an ULP per step. FTZ-AddMul: the flushed inputs and half an ULP, or 2^-126, per rounded step.

    Args:
        op: dense instruction or custom design with a bound.
        A, B, C: one tile, numbers or raw codes, (M, K), (K, N), (M, N).
        alpha, beta: block scales of ST- and GST-FDPA, numbers or raw codes, (M, K/block) and (K/block, N).

    Raises:
        UserError: a design without a bound; scales missing, of wrong shape, or given where there are none.
    """
    s = op.spec
    a, b, c = (
        to_codes(np.asarray(A), s.a, False, "A"),
        to_codes(np.asarray(B), s.b, False, "B"),
        to_codes(np.asarray(C), s.c, False, "C"),
    )
    scales: dict[str, np.ndarray] = {}
    if s.scale:
        scales = scale_codes(s, alpha, beta, (), 1, a.shape[0], b.shape[1], a.shape[1], False)
    elif alpha is not None or beta is not None:
        raise UserError(f"{s.name} takes no scales; drop alpha and beta")
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
    if s.keep == (1, 1) and isinstance(model, models.HalfPairThenAdd):
        return _two_steps(s, model, a, b, c)
    if s.keep == (1, 1) and isinstance(model, Fused):
        return _chained(s, a, b, c, scales)[0]
    raise UserError(f"error_bound covers dense fused sums, FTZ-AddMul and FMA designs, not {model.symbol} of {s.name}")


def _chained(
    s: Spec, a: np.ndarray, b: np.ndarray, c: np.ndarray, scales: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Return bound and raw result of chained chunks; scales (1, M, K/block) and (1, K/block, N)."""
    model = s.model
    assert isinstance(model, Fused)
    rounding = model.rounding if isinstance(model, models.TFdpa) else models.OutputRounding("RNE", "FP32")
    mantissa, emin, _, mode = rounding.fields
    bound, now = np.zeros(c.shape), c
    for k0 in range(0, a.shape[1], model.L):
        chunk = slice(k0, k0 + model.L)
        old = values(now, s.c if k0 == 0 else s.d)
        x, y, factors = a[:, chunk], b[chunk], {}
        if scales:
            blocks = slice(k0 // s.block, (k0 + model.L) // s.block)
            factors = {"alpha": scales["alpha"][:, :, blocks], "beta": scales["beta"][:, blocks]}
        now = run(s, x[None], y[None], now[None], **factors)[0]
        new = values(now, s.d)
        e = np.maximum(np.frexp(np.nextafter(np.abs(new), np.inf))[1] - 1, emin)
        bound += _cut(s, model, x, y, old, factors) + (0.5 if mode == 0 else 1.0) * np.ldexp(1.0, e - mantissa)
        if isinstance(model, models.GtrFdpa):
            bound += np.ldexp(1.0, e - model.F2)
    return bound, now


def _cut(
    s: Spec, model: Fused, a: np.ndarray, b: np.ndarray, c: np.ndarray, scales: dict[str, np.ndarray]
) -> np.ndarray:
    """Return what one chunk may lose before its output is rounded; a and b raw codes, c numbers."""
    if isinstance(model, models.EFdpa):
        return np.zeros(c.shape)
    left, right = operand(a, s.a), operand(b, s.b)
    least = FORMATS[s.c].emin
    e_c = np.maximum(np.frexp(c)[1] - 1, least)
    if isinstance(model, models.GtrFdpa):
        e_c = np.where(c == 0, least, e_c)
        even, odd = (_largest(left.exponent[:, first::2], right.exponent[first::2]) for first in (0, 1))
        top = np.maximum(even, odd)
        E = np.maximum(top, e_c)
        pairs = (a.shape[1] + 1) // 2
        lost = pairs * (np.ldexp(1.0, even - model.F) + np.ldexp(1.0, odd - model.F))
        lost += np.where(even != odd, np.ldexp(1.0, top - model.F), 0)
        lost += np.where(top - model.F < E - model.F2 - 1, np.ldexp(1.0, E - model.F2 - 1), 0)
        floored = np.where((e_c - FORMATS[s.c].mantissa_bits < E - model.F) & (c != 0), np.ldexp(1.0, E - model.F), 0)
        return np.asarray(lost + np.where(e_c < E - model.F - 1, np.abs(c), floored))
    e_max, terms = np.where(c == 0, NOTHING, e_c), model.L
    if isinstance(model, models.GstFdpa):
        e_max, terms = np.maximum(e_max, _largest_group(model, left, right, s, scales)), model.L // model.G
    else:
        if isinstance(model, models.StFdpa):
            left = scaled(left, scales["alpha"][0], s.block, 1)
            right = scaled(right, scales["beta"][0], s.block, 0)
        e_max = np.maximum(e_max, _largest(left.exponent, right.exponent))
    floor = model.e_zero if isinstance(model, models.TFdpa) else -126
    return np.asarray((terms + 1) * np.ldexp(1.0, np.maximum(e_max, floor) - model.F))


def _largest(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return (M, N) the largest ``a[:, k] + b[k]``."""
    best = np.full((a.shape[0], b.shape[1]), 2 * NOTHING)
    for k in range(a.shape[1]):
        best = np.maximum(best, np.add.outer(a[:, k].astype(int), b[k].astype(int)))
    return best


def _largest_group(
    model: models.GstFdpa, left: Operand, right: Operand, s: Spec, scales: dict[str, np.ndarray]
) -> np.ndarray:
    """Return (M, N) the largest scale exponent of a group with a product and scales that are not zero."""
    exponents = [decode(scales[x][0], s.scale).exponent.astype(int) for x in ("alpha", "beta")]
    sizes = [values(scales[x][0], s.scale) for x in ("alpha", "beta")]
    best = np.full((left.value.shape[0], right.value.shape[1]), NOTHING)
    for k in range(0, model.L, model.G):
        group, block = slice(k, k + model.G), k // model.block
        live = (left.value[:, group] != 0).astype(int) @ (right.value[group] != 0).astype(int) > 0
        live &= np.multiply.outer(sizes[0][:, block], sizes[1][block]) != 0
        e = np.add.outer(exponents[0][:, block], exponents[1][block])
        best = np.maximum(best, np.where(live, e, NOTHING))
    return best


def _two_steps(s: Spec, model: models.HalfPairThenAdd, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Bound the two half-precision sums, from zero, and the rounded add of c, per K elements."""
    half = replace(s, a="fp16", b="fp16", c=s.d, model=model.step)
    order = np.argsort(np.arange(model.K) % 4 >= 2, kind="stable")
    x, y = (values(v, f).astype(np.float16).view(np.uint16) for v, f in ((a, s.a), (b, s.b)))
    bound, now = np.zeros(c.shape), c
    for k0 in range(0, a.shape[1], model.K):
        chunk = slice(k0, k0 + model.K)
        bound += _chained(half, x[:, k0 + order], y[k0 + order], np.zeros_like(c), {})[0]
        now = run(s, a[None, :, chunk], b[None, chunk], now[None])[0]
        bound += 0.5 * ulp(values(now, s.d), s.d)
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
