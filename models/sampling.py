"""Choosing the next token from logits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lutscape.hw.errors import UserError

Sampler = Callable[[np.ndarray], int]
"""(vocab,) logits to a token id."""


def greedy(logits: np.ndarray) -> int:
    """Return the most probable token; the lowest id among equals."""
    return int(np.argmax(logits))


class RandomSampler:
    """Seeded sampling with temperature, then top-k, then top-p (nucleus, arXiv 1904.09751).

    Args:
        temperature: > 0; logits are divided by it.
        top_k: keep this many tokens; 0 = all.
        top_p: keep the fewest tokens whose probabilities reach this sum; 1 = all.
        seed: of numpy's PCG64.

    Raises:
        UserError: a value outside its range.
    """

    def __init__(self, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, seed: int = 0) -> None:
        if not temperature > 0:
            raise UserError(f"temperature {temperature}: must be > 0 here; 0 means greedy")
        if top_k < 0:
            raise UserError(f"top-k {top_k}: must be ≥ 0; 0 keeps all tokens")
        if not 0 < top_p <= 1:
            raise UserError(f"top-p {top_p}: must be in (0, 1]")
        self.temperature, self.top_k, self.top_p = temperature, top_k, top_p
        self._rng = np.random.default_rng(seed)

    def __call__(self, logits: np.ndarray) -> int:
        """Draw a token id from (vocab,) logits."""
        order = np.argsort(-logits, kind="stable")
        if self.top_k:
            order = order[: self.top_k]
        scaled = logits[order].astype(np.float64) / self.temperature
        probabilities = np.exp(scaled - scaled[0])
        probabilities /= probabilities.sum()
        cumulative = np.cumsum(probabilities)
        if self.top_p < 1:
            keep = int(np.searchsorted(cumulative, self.top_p)) + 1
            order, cumulative = order[:keep], cumulative[:keep]
        drawn = np.searchsorted(cumulative, self._rng.random() * cumulative[-1], side="right")
        return int(order[min(int(drawn), len(order) - 1)])


def make_sampler(temperature: float, top_k: int = 0, top_p: float = 1.0, seed: int = 0) -> Sampler:
    """Return :func:`greedy` for temperature 0, else a :class:`RandomSampler`."""
    return greedy if temperature == 0 else RandomSampler(temperature, top_k, top_p, seed)
