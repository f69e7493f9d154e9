"""Classifiers as lists of layers: a perceptron and a small convolutional network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models.train.layers import Affine, Flatten, Layer, Patches, Pool, Relu, Single

KINDS = ("mlp", "cnn")
MLP_WIDTHS = (256, 128)
CNN_CHANNELS = (16, 32)
EVALUATED = 1000
"""Images of a batch outside of training."""


@dataclass
class Network:
    """A classifier.

    Attributes:
        kind: ``mlp`` or ``cnn``.
        layers: in order; the last one makes the logits (B, classes).
    """

    kind: str
    layers: list[Layer]

    def forward(self, x: Single, training: bool = False) -> Single:
        """Return logits (B, classes) of images (B, H, W, C)."""
        for layer in self.layers:
            x = layer.forward(x, training)
        return x

    def backward(self, gradient: Single) -> None:
        """Leave the gradients of all parameters in the layers."""
        found: Single | None = gradient
        for layer in reversed(self.layers):
            assert found is not None
            found = layer.backward(found)
            if found is None:
                return

    def affine(self) -> list[tuple[int, Affine]]:
        """Return place and layer of all linear layers, in order."""
        return [(i, layer) for i, layer in enumerate(self.layers) if isinstance(layer, Affine)]

    def state(self) -> dict[str, Single]:
        """Return all parameters by ``<layer>.<name>``."""
        return {f"{i}.{k}": v for i, layer in enumerate(self.layers) for k, v in layer.parameters.items()}

    def accuracy(self, x: Single, y: np.ndarray, step: Callable[[int, int], None] | None = None) -> float:
        """Return the share of images (R, H, W, C) whose greatest logit is their label's."""
        right = 0
        for first in range(0, len(x), EVALUATED):
            logits = self.forward(x[first : first + EVALUATED])
            right += int((logits.argmax(-1) == y[first : first + EVALUATED]).sum())
            if step is not None:
                step(min(first + EVALUATED, len(x)), len(x))
        return right / len(x)

    def inputs(self, x: Single) -> dict[str, Single]:
        """Return the rows (R, K) that every linear layer multiplies for images x."""
        found: dict[str, Single] = {}
        for layer in self.layers:
            if isinstance(layer, Affine):
                found[layer.name] = x.reshape(-1, x.shape[-1])
            x = layer.forward(x)
        return found


def build(kind: str, shape: tuple[int, int, int], classes: int, seed: int) -> Network:
    """Return a network with random weights (He et al., arXiv 1502.01852: variance 2 / K), biases zero.

    Args:
        kind: ``mlp``: 256 and 128 neurons; ``cnn``: 3 x 3 convolutions of 16 and 32 channels, each halved by pooling.
        shape: (H, W, C) of an image.
        classes: logits.
        seed: of the weights.

    Raises:
        UserError: images too small for two poolings.
    """
    rng = np.random.default_rng([seed, 1])

    def affine(name: str, columns: int, rows: int) -> Affine:
        weight = rng.standard_normal((rows, columns)).astype(np.float32) * np.float32(np.sqrt(2 / columns))
        return Affine(name, weight, np.zeros(rows, np.float32))

    height, width, channels = shape
    layers: list[Layer] = []
    if kind == "mlp":
        widths: Sequence[int] = (height * width * channels, *MLP_WIDTHS, classes)
        layers.append(Flatten())
        for i in range(len(widths) - 1):
            layers += [affine(f"linear{i + 1}", widths[i], widths[i + 1]), Relu()]
        return _finish(kind, layers[:-1])
    if height < 4 or width < 4:
        raise UserError(f"images of {height} x {width} pixels; the convolutional network needs 4 x 4 at least")
    for i, many in enumerate(CNN_CHANNELS):
        layers += [Patches(), affine(f"conv{i + 1}", 9 * channels, many), Pool(), Relu()]
        channels, height, width = many, height // 2, width // 2
    return _finish(kind, [*layers, Flatten(), affine("linear", height * width * channels, classes)])


def _finish(kind: str, layers: list[Layer]) -> Network:
    """Mark the layers whose input gradient nothing uses: those up to the first with parameters."""
    for layer in layers:
        layer.wanted = False
        if layer.parameters:
            break
    return Network(kind, layers)
