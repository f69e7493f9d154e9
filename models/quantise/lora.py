"""Low-rank adapters without training: the residual of quantisation, or of faults, as two small FP8 matrices.

An adapter adds y' = Σ_i b_i (a_i · x) 2^(e_i) to a layer: A (rank, K) and B (N, rank) are E4M3 numbers and every rank
has one power of two, so that rows of A and columns of B use the whole range of E4M3. The best approximation of a
residual R in the Frobenius norm is its truncated singular value decomposition (Eckart and Young, Psychometrika 1936);
with the root mean square d of each input it is that of R diag(d), which weighs an error by what it does to the output
(Zhang et al., LQER, arXiv 2402.02446, sec. 4). A is rounded first; B is fitted to the rounded A and rounded then.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.models.quantise.rounding import round_to

Floats = npt.NDArray[np.float32]
FORMAT = "fp8_e4m3"
LARGEST = 448.0
"""Of E4M3 (OCP 8-bit Floating Point 1.0, table 1)."""


@dataclass(frozen=True)
class Lora:
    """An adapter of a layer (N, K).

    Attributes:
        a: (rank, K) float32, E4M3 numbers.
        b: (N, rank) float32, E4M3 numbers.
        exponents: (rank,) int32, powers of two of the ranks.
    """

    a: Floats
    b: Floats
    exponents: npt.NDArray[np.int32]

    @property
    def rank(self) -> int:
        """Rows of A."""
        return self.a.shape[0]

    @property
    def bytes(self) -> int:
        """Storage: one byte a number, one a rank's exponent."""
        return self.a.size + self.b.size + self.exponents.size

    def matrix(self) -> Floats:
        """Return Σ b_i a_iᵀ 2^(e_i), (N, K) float32, in float64 until the end."""
        scaled = np.ldexp(self.b.astype(np.float64), self.exponents)
        return (scaled @ self.a.astype(np.float64)).astype(np.float32)


def from_residual(residual: Floats, rank: int, input_rms: Floats | None = None) -> Lora:
    """Return the adapter of a residual.

    Args:
        residual: (N, K): wanted minus stored weights, finite.
        rank: at least 1; more than min(N, K) is cut to it.
        input_rms: (K,) root mean square of each input of the layer; all equal by default.

    Raises:
        UserError: rank below 1, or a residual that is not finite.
    """
    if rank < 1:
        raise UserError(f"adapter: rank = {rank}; at least 1")
    if not np.isfinite(residual).all():
        raise UserError("adapter: the residual is not finite")
    weight = np.ones(residual.shape[1]) if input_rms is None else input_rms.astype(np.float64)
    floor = 1e-3 * float(np.sqrt(np.mean(weight**2))) or 1.0  # a dead input must not blow up A
    weight = np.maximum(weight, floor)
    weighted = residual.astype(np.float64) * weight
    s, vt = leading(weighted, min(rank, *residual.shape))
    a, a_exponents = to_fp8(np.sqrt(s)[:, None] * vt / weight)
    # B to the rounded A: least squares of R diag(d) ≈ B A diag(d); ranks without energy stay zero
    basis = np.ldexp(a.astype(np.float64), a_exponents[:, None]) * weight  # (rank, K)
    fitted = np.linalg.lstsq(basis.T, weighted.T, rcond=1e-10)[0].T  # (N, rank)
    b, b_exponents = to_fp8(fitted.T)
    return Lora(a, np.ascontiguousarray(b.T), a_exponents + b_exponents)


def leading(matrix: npt.NDArray[np.float64], rank: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the largest singular values (rank,) and right singular vectors (rank, K) of (N, K).

    From the eigenvectors of the smaller of the two Gram matrices: a third of the time of a decomposition of the whole
    matrix; singular values below 1e-7 of the largest, which it cannot tell from nothing, are taken as nothing.
    """
    tall = matrix.shape[0] >= matrix.shape[1]
    squares, vectors = np.linalg.eigh(matrix.T @ matrix if tall else matrix @ matrix.T)
    s = np.sqrt(np.maximum(squares[::-1][:rank], 0))
    chosen = vectors[:, ::-1][:, :rank].T  # (rank, K or N)
    s[s < 1e-7 * max(float(s[0]), 1e-300)] = 0
    if tall:
        return s, np.where(s[:, None] > 0, chosen, 0)
    divisor = np.where(s > 0, s, np.inf)
    return s, chosen @ matrix / divisor[:, None]


def to_fp8(rows: npt.NDArray[np.floating]) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Return E4M3 numbers (rank, n) and a power of two per row: rows ≈ numbers · 2^exponent."""
    largest = np.abs(rows).max(axis=1)
    _, exponents = np.frexp(largest / LARGEST)  # largest / 448 = f · 2^exponent, f in [1/2, 1)
    exponents = np.where(largest > 0, exponents, 0).astype(np.int32)
    return round_to(np.ldexp(rows, -exponents[:, None]).astype(np.float32), FORMAT), exponents


def merged(first: Lora, second: Lora) -> Lora:
    """Return one adapter that adds what both add: their ranks side by side."""
    return Lora(
        np.concatenate([first.a, second.a]),
        np.concatenate([first.b, second.b], axis=1),
        np.concatenate([first.exponents, second.exponents]),
    )
