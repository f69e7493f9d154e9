"""Yield of a die with weights in ROM: defects of the die, and single bad vias with and without repair.

Die defects (D₀ per cm², A cm²):

    poisson  e^(-A D₀)         murphy  ((1 - e^(-A D₀)) / (A D₀))²

Bad vias: every stored bit is one via (or contact) and is wrong with probability p, each on its own. Without repair one
wrong bit discards the die. A code of n bits for k corrects one wrong bit a word; R patch rows on the die replace the R
first bad rows, so that the yield is P(bad rows ≤ R) with the number of bad rows Poisson. Faults of whole rows (word
lines, drivers) are given as their mean number on a die; a code does not correct them, patch rows do. What is left out:
faults of columns and periphery, which neither repairs, and clustering. Whether a model bears wrong bits at all is
another question: a die with faults may be good enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lutscape.hw.errors import UserError, choose

DIE_MODELS = ("poisson", "murphy")


@dataclass(frozen=True)
class Code:
    """A code that corrects one bit a word.

    Attributes:
        bits: n, of a coded word.
        data: k, of its payload.
    """

    bits: int
    data: int

    @property
    def overhead(self) -> float:
        """Extra bits by payload."""
        return self.bits / self.data - 1


def secded(data: int) -> Code:
    """Return the extended Hamming code of some payload: r check bits with 2^(r-1) ≥ data + r.

    >>> secded(256)
    Code(bits=266, data=256)
    """
    if not 1 <= data <= 1 << 20:
        raise UserError(f"payload of {data} bits: must be 1 … {1 << 20}")
    check = 2
    while 1 << (check - 1) < data + check:
        check += 1
    return Code(data + check, data)


def die_yield(area_mm2: float, defects_per_cm2: float, model: str = "murphy") -> float:
    """Return the share of dies without a die defect.

    Raises:
        UserError: unknown model, or a number that is not positive.
    """
    choose(model, DIE_MODELS, "die yield model")
    if not area_mm2 > 0:
        raise UserError(f"die of {area_mm2:g} mm2: must be above zero")
    if not defects_per_cm2 >= 0:
        raise UserError(f"{defects_per_cm2:g} defects per cm2: must not be negative")
    count = area_mm2 / 100 * defects_per_cm2
    if model == "poisson" or count == 0:
        return math.exp(-count)
    return (-math.expm1(-count) / count) ** 2


def log_rom_yield(
    bits: int,
    via_defects: float,
    code: Code | None = None,
    patch_rows: int = 0,
    row: int = 256,
    row_faults: float = 0.0,
) -> float:
    """Return the natural logarithm of the share of dies whose ROM reads right after repair.

    Args:
        bits: stored, payload.
        via_defects: probability p that one bit is wrong.
        code: corrects one wrong bit in every ``code.data``; none: any wrong bit is bad.
        patch_rows: bad rows that are replaced, on the whole die.
        row: payload bits of a row without a code; with one, a row is a word.
        row_faults: mean number of rows on the die that are bad as a whole.

    Raises:
        UserError: a probability outside 0 … 1, or negative counts.
    """
    if not 0 <= via_defects <= 1:
        raise UserError(f"via defect probability {via_defects:g}: must be 0 … 1")
    for name, value, least in (("bits", bits, 1), ("patch_rows", patch_rows, 0), ("row", row, 1)):
        if value < least:
            raise UserError(f"{name} = {value}: must be {least} or more")
    if not row_faults >= 0:
        raise UserError(f"row_faults = {row_faults:g}: must not be negative")
    payload = code.data if code else row
    rows = -(-bits // payload)
    bad = tail(code.bits, via_defects, 2) if code else tail(payload, via_defects, 1)
    return log_poisson_at_most(rows * bad + row_faults, patch_rows)


def tail(n: int, p: float, least: int) -> float:
    """Return P(at least ``least`` of n independent events of probability p), least 1 or 2, exact for small p."""
    if p >= 1:
        return 1.0 if n >= least else 0.0
    none = n * math.log1p(-p)
    if least == 1:
        return -math.expm1(none)
    # Σ over k ≥ 2 of C(n, k) p^k (1-p)^(n-k): no cancellation, terms fall fast for small n p.
    if n * p > 1:
        return max(0.0, -math.expm1(none) - n * p * math.exp((n - 1) * math.log1p(-p)))
    total, term = 0.0, n * (n - 1) / 2 * p * p * math.exp((n - 2) * math.log1p(-p))
    for k in range(2, n + 1):
        total += term
        if term < total * 1e-17:
            break
        term *= (n - k) / (k + 1) * p / (1 - p)
    return total


def log_poisson_at_most(mean: float, count: int) -> float:
    """Return ln P(N ≤ count) of a Poisson number, also where it underflows."""
    logs = [-mean]
    for k in range(1, count + 1):
        logs.append(logs[-1] + (math.log(mean) - math.log(k) if mean > 0 else -math.inf))
    most = max(logs)
    return most + math.log(math.fsum(math.exp(x - most) for x in logs))
