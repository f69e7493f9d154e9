"""LUT-NN's soft assignment: the backward pass sees all centroids, weighed by a softmax with a learned temperature.

Forward as :class:`.lookup.LookupAffine`, by the nearest centroid. Backward as if a sub-vector x had been decoded to

    x' = sum_j p_j C_j,    p = softmax(-τ d(x, C_j)),    τ = softplus(t) + 1,    d: sum of squares

with one learned t per layer (arXiv 2302.03213; the authors' public code has this τ).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models.quantise.vector import Codebooks, padded
from lutscape.models.train.layers import Single
from lutscape.models.train.lookup import LookupAffine


class SoftAffine(LookupAffine):
    """A lookup whose centroids, inputs and temperature learn through the soft assignment.

    Raises:
        UserError: another metric than ``l2``.
    """

    def __init__(self, name: str, weight: Single, bias: Single, books: Codebooks) -> None:
        if books.metric != "l2":
            raise UserError(f"{name}: soft assignment is defined for metric 'l2', not {books.metric!r}")
        super().__init__(name, weight, bias, books)
        self.parameters["temperature"] = np.zeros(1, np.float32)

    def backward(self, gradient: Single) -> Single | None:
        g = gradient.reshape(-1, gradient.shape[-1])
        books, weight = self.books, self.parameters["weight"]
        to_decoded = padded(g @ weight, books.v)
        tau = float(np.logaddexp(0, self.parameters["temperature"][0])) + 1
        to_x, to_centroids, to_tau = soft_gradients(padded(self.rows, books.v), books.centroids, to_decoded, tau)
        slope = 1 / (1 + np.exp(-self.parameters["temperature"]))
        self.gradients = {
            "centroids": to_centroids,
            "temperature": (to_tau * slope).astype(np.float32),
            "weight": g.T @ self.decoded,
            "bias": g.sum(0),
        }
        return to_x[:, : self.columns].reshape(self.shape) if self.wanted else None


def soft_gradients(x: Single, centroids: Single, gradient: Single, tau: float) -> tuple[Single, Single, float]:
    """Return gradients by x (R, Nc v), centroids (Nc, c, v) and τ of a loss whose gradient by x' (R, Nc v) is given."""
    to_x, to_centroids = np.zeros_like(x), np.zeros_like(centroids)
    to_tau = _soft()(np.ascontiguousarray(x), centroids, np.ascontiguousarray(gradient), tau, to_x, to_centroids)
    return to_x, to_centroids, float(to_tau)


@cache
def _soft() -> Callable[..., float]:
    from numba import njit

    @njit(nogil=True, error_model="numpy")
    def run(x, centroids, gradient, tau, to_x, to_centroids):  # type: ignore[no-untyped-def]
        subspaces, count, v = centroids.shape
        far, share, pull = np.empty(count), np.empty(count), np.empty(count)
        total_tau = 0.0
        for r in range(len(x)):
            for k in range(subspaces):
                at, least = k * v, np.inf
                for j in range(count):
                    far[j] = 0.0
                    pull[j] = 0.0  # gradient by p_j
                    for t in range(v):
                        d = x[r, at + t] - centroids[k, j, t]
                        far[j] += d * d
                        pull[j] += gradient[r, at + t] * centroids[k, j, t]
                    least = min(least, far[j])
                total = 0.0
                for j in range(count):
                    share[j] = np.exp(-tau * (far[j] - least))
                    total += share[j]
                mean = 0.0
                for j in range(count):
                    share[j] /= total
                    mean += share[j] * pull[j]
                for j in range(count):
                    by_logit = share[j] * (pull[j] - mean)  # logit: -tau far
                    total_tau -= by_logit * far[j]
                    by_far = -tau * by_logit
                    for t in range(v):
                        d = x[r, at + t] - centroids[k, j, t]
                        to_x[r, at + t] += 2 * by_far * d
                        to_centroids[k, j, t] += share[j] * gradient[r, at + t] - 2 * by_far * d
        return total_tau

    return run
