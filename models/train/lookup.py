"""A linear layer by vector-quantised lookup that can be trained.

With indices i = encode(x), decoded rows x' = C[i] and N outputs:

    q = x' Wᵀ + b          what the tables give          s = x Wᵀ + b          what they should give

The forward value is q. Backward, indices are constants: centroids and weights get the gradient that passes through x'
and W of q; the input gets it straight through, as if the result had been s. A reconstruction loss is added,

    rate · (mean((sg(q) - s)²) + mean((q - sg(s))²)),        sg: not differentiated

after the public training layer of PIM-DL (LUT-DLA's own code is not public). There the loss of the task reaches
centroids only by way of the layers before (``task_gradient = False``).
"""

from __future__ import annotations

import numpy as np

from lutscape.models.quantise import vector_kernels as kernels
from lutscape.models.quantise.vector import Codebooks, integer_centroids, integers, padded
from lutscape.models.train.layers import Affine, Single


class LookupAffine(Affine):
    """x' Wᵀ + b, x' the decoded x.

    Attributes:
        metric: of the distance.
        rate: of the reconstruction loss.
        task_gradient: whether the loss of the task moves centroids and tables through the lookup, or everything passes
            through s.
        largest: (K,) greatest magnitudes of sampled inputs.
        input_bits: encode on integers of as many bits, as the machine does; 0: on float32.
        reconstruction: mean((q - s)²) of the last training batch.
    """

    def __init__(self, name: str, weight: Single, bias: Single, books: Codebooks) -> None:
        super().__init__(name, weight, bias)
        self.parameters["centroids"] = books.centroids.copy()
        self.metric, self.columns = books.metric, books.columns
        self.rate, self.task_gradient, self.reconstruction = 0.0, True, 0.0
        self.largest, self.input_bits = np.zeros(self.columns, np.float32), 0

    @property
    def books(self) -> Codebooks:
        """The codebooks as they are now."""
        return Codebooks(self.parameters["centroids"], self.metric, self.columns)

    def encode(self, rows: Single) -> kernels.Indices:
        """Return indices (R, Nc) of rows (R, K)."""
        books = self.books
        if not self.input_bits:
            return books.encode(rows)
        centroids, scales = integer_centroids(books, self.largest, self.input_bits)
        whole = integers(rows, scales, books.v, self.input_bits)
        return kernels.nearest(padded(whole, books.v), centroids.astype(np.float32), self.metric)[0]

    def forward(self, x: Single, training: bool = False) -> Single:
        books, weight, bias = self.books, self.parameters["weight"], self.parameters["bias"]
        rows = x.reshape(-1, x.shape[-1])
        indices = self.encode(rows)
        decoded = books.decode(indices)
        y = decoded @ weight.T
        if training:
            self.shape, self.rows, self.indices, self.decoded = x.shape, rows, indices, decoded
            self.error = y - rows @ weight.T if self.rate or not self.task_gradient else None
            self.reconstruction = 0.0 if self.error is None else float((self.error**2).mean())
        y += bias
        return y.reshape(*x.shape[:-1], -1)

    def backward(self, gradient: Single) -> Single | None:
        g = gradient.reshape(-1, gradient.shape[-1])
        weight = self.parameters["weight"]
        pull = None
        if self.rate:
            assert self.error is not None
            pull = self.error * np.float32(2 * self.rate / self.error.size)
        zero = np.zeros_like(g)
        through = g if self.task_gradient else zero  # by q
        straight = zero if self.task_gradient else g  # by s
        if pull is not None:
            through, straight = through + pull, straight - pull
        to_decoded = through @ weight
        self.gradients = {
            "centroids": kernels.scatter(self.indices, padded(to_decoded, self.books.v), self.books.c),
            "bias": g.sum(0),
            "weight": through.T @ self.decoded,
        }
        if pull is not None or not self.task_gradient:
            self.gradients["weight"] += straight.T @ self.rows
        if not self.wanted:
            return None
        if self.task_gradient and pull is None:
            return to_decoded.reshape(self.shape)
        back = g if pull is None else np.asarray(g - pull, np.float32)
        return np.asarray(back @ weight, np.float32).reshape(self.shape)
