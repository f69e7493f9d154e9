"""Weights as indices of short vectors, main and residual codebook, in the manner of VPTQ.

W (N, K): v neighbouring outputs of one input channel make a vector, so that a matrix holds ⌈N/v⌉ K of them. One
codebook of k vectors serves the matrix; a second one of k_r vectors may quantise what is left:

    W'[g v : (g+1) v, i] = (C[main[g, i]] + C_r[residual[g, i]]) · scale[i] + bias[i]

    bits per weight = log2(k) / v + log2(k_r) / v, codebooks apart

Scale and bias of an input channel are its deviation and mean (:func:`quantise` with ``normalise``). Vector direction,
the two codebooks and the formula of the bits are those of VPTQ (arXiv 2409.17066, and its public code's README), as is
the weighing of vectors by the second derivative of the loss, here the mean square of the input channel:
channels are weighed in the k-means of the codebook. The correction of later columns for the error of earlier ones
is not done.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.models.quantise import vector, vector_kernels
from lutscape.models.quantise.vector import Single


@dataclass(frozen=True)
class VectorWeight:
    """A weight matrix as indices.

    Attributes:
        main: (⌈N/v⌉, K) uint16.
        residual: the same of the second codebook, or None.
        codebook: (k, v) float32.
        residual_codebook: (k_r, v) float32, or None.
        scales: (K,) float32.
        biases: (K,) float32.
        rows: N.
    """

    main: npt.NDArray[np.uint16]
    residual: npt.NDArray[np.uint16] | None
    codebook: Single
    residual_codebook: Single | None
    scales: Single
    biases: Single
    rows: int

    @property
    def index_bits(self) -> float:
        """Bits of indices per weight."""
        v = self.codebook.shape[1]
        books = [self.codebook] if self.residual_codebook is None else [self.codebook, self.residual_codebook]
        return sum((len(book) - 1).bit_length() / v for book in books)

    @property
    def bits(self) -> float:
        """Bits per weight with codebooks, scales and biases in FP16, and the vectors that rows are filled up to."""
        groups, columns = self.main.shape
        v = self.codebook.shape[1]
        stored = self.codebook.size + (0 if self.residual_codebook is None else self.residual_codebook.size)
        stored += self.scales.size + self.biases.size
        return (self.index_bits * v * groups * columns + 16 * stored) / (self.rows * columns)

    def dequantise(self) -> Single:
        """Return (N, K) float32."""
        vectors = self.codebook[self.main]  # (groups, K, v)
        if self.residual is not None and self.residual_codebook is not None:
            vectors = vectors + self.residual_codebook[self.residual]
        groups, columns, v = vectors.shape
        w = vectors.transpose(0, 2, 1).reshape(groups * v, columns)[: self.rows]
        return np.asarray(w * self.scales + self.biases, np.float32)


def quantise(
    weight: np.ndarray,
    v: int,
    k: int,
    residual: int = 0,
    *,
    importance: np.ndarray | None = None,
    normalise: bool = True,
    seed: int = 0,
    iterations: int = vector.ITERATIONS,
) -> VectorWeight:
    """Quantise a weight matrix to indices.

    Args:
        weight: (N, K) float32; N is filled up with zeros to a multiple of v.
        v: outputs of a vector.
        k: vectors of the main codebook, a power of two up to 1024.
        residual: vectors of the second codebook; 0: none.
        importance: (K,) mean squares of the input channels; vectors of a channel count as much in the codebook.
        normalise: take mean and deviation of every input channel out first.
        seed: of the codebooks.
        iterations: rounds of k-means.

    Raises:
        UserError: bad parameters, or weights that are not finite.
    """
    if weight.ndim != 2:
        raise UserError(f"weight of shape {weight.shape}; a matrix is needed")
    for count in (k, residual):
        if count:
            vector.check_parameters(v, count, "l2", "weight codebook")
    vector.check_finite(weight, "weight")
    rows, columns = weight.shape
    if importance is not None and (importance.shape != (columns,) or (importance < 0).any()):
        raise UserError(f"importance of shape {importance.shape}; needed: ({columns},), none below 0")
    w = weight.astype(np.float32)
    scales, biases = np.ones(columns, np.float32), np.zeros(columns, np.float32)
    if normalise:
        biases, scales = w.mean(0), w.std(0)
        scales = np.where(scales > 0, scales, 1).astype(np.float32)
    vectors = vector.padded(((w - biases) / scales).T, v)  # (K, groups v)
    vectors = vectors.reshape(columns, -1, v)
    weights = scales**2 * (1 if importance is None else importance)  # what an error of a channel's vectors costs
    main, codebook = _codebook(vectors, k, weights, seed, iterations)
    if not residual:
        return VectorWeight(main.T, None, codebook, None, scales, biases, rows)
    second, second_book = _codebook(vectors - codebook[main], residual, weights, seed + 1, iterations)
    return VectorWeight(main.T, second.T, codebook, second_book, scales, biases, rows)


def _codebook(
    vectors: Single, count: int, weights: np.ndarray, seed: int, iterations: int
) -> tuple[npt.NDArray[np.uint16], Single]:
    """Return indices (K, groups) and codebook (count, v) of vectors (K, groups, v) with weights (K,)."""
    columns, groups, v = vectors.shape
    rows = vectors.reshape(-1, v)
    each = np.repeat(weights.astype(np.float64), groups)
    book = vector_kernels.plus_plus(rows, count, "l2", np.random.default_rng(seed).random((1, count)))
    indices, _ = vector_kernels.nearest(rows, book, "l2")
    for _ in range(iterations):
        place = indices[:, 0].astype(np.int64)
        total = np.bincount(place, each, count)
        sums = np.stack([np.bincount(place, each * rows[:, t], count) for t in range(v)], axis=1)
        used = total > 0
        book[0, used] = (sums[used] / total[used, None]).astype(np.float32)
        before = indices
        indices, _ = vector_kernels.nearest(rows, book, "l2")
        if np.array_equal(before, indices):
            break
    return indices.reshape(columns, groups), book[0]
