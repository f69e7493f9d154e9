"""Training: shuffled batches, cross-entropy, Adam. Equal seeds on one machine give equal bits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models.train.layers import Layer, Single
from lutscape.models.train.network import Network

Step = Callable[[int, int], None]
"""Steps done, of how many."""
BATCH = 128


class Adam:
    """Adam (arXiv 1412.6980, algorithm 1) with betas 0.9 and 0.999.

    Args:
        rates: of each parameter that learns: (array, where its gradient is, learning rate).
    """

    def __init__(self, rates: Iterable[tuple[Layer, str, float]]) -> None:
        self.rates = [r for r in rates if r[2] > 0]
        self.first = [np.zeros_like(layer.parameters[name]) for layer, name, _ in self.rates]
        self.second = [np.zeros_like(m) for m in self.first]
        self.steps = 0

    def step(self, factor: float = 1.0) -> None:
        """Move all parameters; ``factor`` scales their rates."""
        self.steps += 1
        unbias = np.sqrt(1 - 0.999**self.steps) / (1 - 0.9**self.steps)
        for (layer, name, rate), m, s in zip(self.rates, self.first, self.second, strict=True):
            g = layer.gradients[name]
            m *= np.float32(0.9)
            m += np.float32(0.1) * g
            s *= np.float32(0.999)
            s += np.float32(0.001) * (g * g)
            layer.parameters[name] -= np.float32(rate * factor * unbias) * m / (np.sqrt(s) + np.float32(1e-8))


def cross_entropy(logits: Single, labels: np.ndarray) -> tuple[float, Single]:
    """Return the mean of -ln softmax(logits)[label], and its gradient by the logits (B, classes)."""
    shifted = logits - logits.max(-1, keepdims=True)
    e = np.exp(shifted)
    total = e.sum(-1, keepdims=True)
    place = np.arange(len(labels))
    loss = float((np.log(total[:, 0]) - shifted[place, labels]).mean())
    gradient = e / total
    gradient[place, labels] -= 1
    return loss, gradient / np.float32(len(labels))


def batches(count: int, steps: int, rng: np.random.Generator, size: int = BATCH) -> Iterator[np.ndarray]:
    """Yield ``steps`` batches of places among ``count`` images; every image once before any comes again."""
    size, order = min(size, count), np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < size:
            order = rng.permutation(count)
        yield order[:size]
        order = order[size:]


def fit(
    network: Network,
    x: Single,
    y: np.ndarray,
    optimiser: Adam,
    steps: int,
    seed: int,
    *,
    where: str = "training",
    step: Step | None = None,
) -> list[float]:
    """Train for some steps with rates that fall to zero along a half cosine; return the loss of every step.

    Raises:
        UserError: the loss is no number.
    """
    losses = []
    for done, chosen in enumerate(batches(len(x), steps, np.random.default_rng([seed, 2]))):
        logits = network.forward(x[chosen], training=True)
        loss, gradient = cross_entropy(logits, y[chosen])
        if not np.isfinite(loss):
            raise UserError(f"{where}: the loss is {loss} in step {done + 1} of {steps}; lower the learning rate")
        network.backward(gradient)
        optimiser.step(0.5 * (1 + np.cos(np.pi * done / steps)))
        losses.append(loss)
        if step is not None:
            step(done + 1, steps)
    return losses
