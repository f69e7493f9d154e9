"""Layers with their gradients, by hand. Batches come first; images are (B, H, W, C), matrices float32.

``forward`` keeps what ``backward`` needs. ``backward`` takes the gradient of the loss by the result, leaves that by the
parameters in ``gradients`` and returns that by the input, or None where it is not ``wanted``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt

Single = npt.NDArray[np.float32]


class Layer:
    """A step of a network; this one passes everything on.

    Attributes:
        parameters: name -> array, changed in place by the optimiser.
        gradients: name -> array of the same shape, after ``backward``.
        wanted: whether ``backward`` must return the gradient by the input.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, Single] = {}
        self.gradients: dict[str, Single] = {}
        self.wanted = True

    def forward(self, x: Single, training: bool = False) -> Single:
        """Return the layer's result."""
        return x

    def backward(self, gradient: Single) -> Single | None:
        """Return the gradient by the input."""
        return gradient


class Flatten(Layer):
    """(B, …) to (B, all)."""

    def forward(self, x: Single, training: bool = False) -> Single:
        self.shape = x.shape
        return x.reshape(len(x), -1)

    def backward(self, gradient: Single) -> Single | None:
        return gradient.reshape(self.shape)


class Relu(Layer):
    """max(x, 0)."""

    def forward(self, x: Single, training: bool = False) -> Single:
        y = np.maximum(x, 0)
        if training:
            self.result = y
        return y

    def backward(self, gradient: Single) -> Single | None:
        return gradient * (self.result > 0)


class Pool(Layer):
    """Greatest of every 2 x 2 pixels; an odd last row or column is left out."""

    def forward(self, x: Single, training: bool = False) -> Single:
        x = np.ascontiguousarray(x)
        batch, height, width, channels = x.shape
        y = np.empty((batch, height // 2, width // 2, channels), np.float32)
        self.shape, self.place = x.shape, np.empty(y.shape, np.uint8)
        _loops()["pool"](x, y, self.place)
        return y

    def backward(self, gradient: Single) -> Single | None:
        back = np.zeros(self.shape, np.float32)
        _loops()["unpool"](np.ascontiguousarray(gradient), self.place, back)
        return back


class Patches(Layer):
    """im2col of 3 x 3 pixels with a border of zeros: (B, H, W, C) to (B, H, W, 9 C).

    The nine taps of a channel are neighbours, so that v = 9 makes one sub-vector of each input channel.
    """

    def forward(self, x: Single, training: bool = False) -> Single:
        self.shape = x.shape
        batch, height, width, channels = x.shape
        border = np.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
        found = np.empty((batch, height, width, 9 * channels), np.float32)
        _loops()["patches"](border, found)
        return found

    def backward(self, gradient: Single) -> Single | None:
        if not self.wanted:
            return None
        batch, height, width, channels = self.shape
        border = np.zeros((batch, height + 2, width + 2, channels), np.float32)
        _loops()["unpatch"](np.ascontiguousarray(gradient), border)
        return np.ascontiguousarray(border[:, 1:-1, 1:-1])


class Affine(Layer):
    """x Wᵀ + b along the last axis: the layer that tables replace.

    Attributes:
        name: in reports and artefacts.
    """

    def __init__(self, name: str, weight: Single, bias: Single) -> None:
        super().__init__()
        self.name = name
        self.parameters = {"weight": weight, "bias": bias}

    def forward(self, x: Single, training: bool = False) -> Single:
        weight, bias = self.parameters["weight"], self.parameters["bias"]
        rows = x.reshape(-1, x.shape[-1])
        if training:
            self.shape, self.rows = x.shape, rows
        y = rows @ weight.T
        y += bias
        return y.reshape(*x.shape[:-1], -1)

    def backward(self, gradient: Single) -> Single | None:
        g = gradient.reshape(-1, gradient.shape[-1])
        self.gradients = {"weight": g.T @ self.rows, "bias": g.sum(0)}
        return (g @ self.parameters["weight"]).reshape(self.shape) if self.wanted else None


class Given(Layer):
    """A linear layer that something outside computes, forward only: rows (R, K) to (R, N)."""

    def __init__(self, name: str, call: Callable[[np.ndarray], np.ndarray]) -> None:
        super().__init__()
        self.name, self.call = name, call

    def forward(self, x: Single, training: bool = False) -> Single:
        return self.call(x.reshape(-1, x.shape[-1])).reshape(*x.shape[:-1], -1)


@cache
def _loops() -> dict[str, Callable[..., None]]:
    """Return the compiled loops over pixels."""
    from numba import njit

    @njit(nogil=True, error_model="numpy")
    def pool(x, y, place):  # type: ignore[no-untyped-def]
        for b in range(y.shape[0]):
            for i in range(y.shape[1]):
                for j in range(y.shape[2]):
                    for c in range(y.shape[3]):
                        best, at = x[b, 2 * i, 2 * j, c], 0
                        for q in range(1, 4):
                            value = x[b, 2 * i + q // 2, 2 * j + q % 2, c]
                            if value > best:
                                best, at = value, q
                        y[b, i, j, c], place[b, i, j, c] = best, at

    @njit(nogil=True, error_model="numpy")
    def unpool(gradient, place, back):  # type: ignore[no-untyped-def]
        for b in range(gradient.shape[0]):
            for i in range(gradient.shape[1]):
                for j in range(gradient.shape[2]):
                    for c in range(gradient.shape[3]):
                        q = place[b, i, j, c]
                        back[b, 2 * i + q // 2, 2 * j + q % 2, c] = gradient[b, i, j, c]

    @njit(nogil=True, error_model="numpy")
    def patches(border, found):  # type: ignore[no-untyped-def]
        channels = border.shape[3]
        for b in range(found.shape[0]):
            for i in range(found.shape[1]):
                for j in range(found.shape[2]):
                    for c in range(channels):
                        for p in range(3):
                            for q in range(3):
                                found[b, i, j, c * 9 + p * 3 + q] = border[b, i + p, j + q, c]

    @njit(nogil=True, error_model="numpy")
    def unpatch(gradient, border):  # type: ignore[no-untyped-def]
        channels = border.shape[3]
        for b in range(gradient.shape[0]):
            for i in range(gradient.shape[1]):
                for j in range(gradient.shape[2]):
                    for c in range(channels):
                        for p in range(3):
                            for q in range(3):
                                border[b, i + p, j + q, c] += gradient[b, i, j, c * 9 + p * 3 + q]

    return {"pool": pool, "unpool": unpool, "patches": patches, "unpatch": unpatch}
