"""The operators of a transformer on float32 arrays, with the KV cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models import kernels
from lutscape.models.ops import Ops, Value
from lutscape.models.recorder import Recorder

if TYPE_CHECKING:
    from lutscape.models.executor import Model

KvQuantiser = Callable[[np.ndarray], np.ndarray]
"""(B, kv_heads, T, head_dim) float32 keys or values, to what the cache gives back, same shape."""

Observer = Callable[[str, dict[str, np.ndarray]], None]
"""Gets the name of an operator and its operands: ``x`` (``x1``, …), ``w``, ``b``, ``y``."""


class KvCache:
    """Keys and values of a batch of sequences of equal length.

    Attributes:
        keys: per layer (B, kv_heads, capacity, head_dim) float32.
        values: the same.
        length: tokens per sequence that are in.
        capacity: tokens per sequence that fit.
    """

    def __init__(self, layers: int, batch: int, kv_heads: int, head_dim: int, capacity: int) -> None:
        size = (batch, kv_heads, capacity, head_dim)
        self.keys = [np.zeros(size, np.float32) for _ in range(layers)]
        self.values = [np.zeros(size, np.float32) for _ in range(layers)]
        self.length = 0
        self.capacity = capacity


@dataclass(frozen=True)
class Routing:
    """Experts of each token: indices and weights, (rows, experts_per_token)."""

    experts: np.ndarray
    weights: np.ndarray

    def rows(self, expert: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of an expert and their position among the row's experts."""
        row, place = np.nonzero(self.experts == expert)
        return row, place


class NumericOps(Ops):
    """Operators on float32 arrays, one instance per forward pass.

    Args:
        model: weights and linear layers.
        cache: read and appended to.
        recorder: gets one row per operator; None = none wanted.
        observer: gets the operands of every operator; None = nobody.
    """

    def __init__(
        self, model: Model, cache: KvCache, recorder: Recorder | None = None, observer: Observer | None = None
    ) -> None:
        super().__init__(model.shape, recorder)
        self._weights = model
        self._cache = cache
        self._observer = observer

    def _embed(self, name: str, tokens: np.ndarray) -> np.ndarray:
        table = self._weights.matrices["embed"]
        end = self._cache.length + tokens.shape[1]
        if end > self._cache.capacity:
            raise UserError(f"{self.model.name}: {end} tokens do not fit the {self._cache.capacity} of the KV cache")
        return table[tokens]

    def _positions(self, count: int) -> slice:
        return slice(self._cache.length, self._cache.length + count)

    def _add_positions(self, x: np.ndarray) -> np.ndarray:
        return x + self._weights.matrices["positions"][self._positions(x.shape[1])]

    def _norm(self, name: str, x: np.ndarray) -> np.ndarray:
        weight = self._weights.vectors[name]
        if self.model.norm == "layernorm":
            return kernels.layer_norm(x, weight, self._weights.vectors[f"{name}.bias"], self.model.norm_eps)
        return kernels.rms_norm(x, weight, self.model.norm_eps)

    def _linear(self, name: str, x: np.ndarray) -> np.ndarray:
        y = self._weights.linears[name](x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], y.shape[-1])

    def _rope(self, q: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        cos, sin = (table[self._positions(q.shape[1])] for table in self._weights.rope_tables)
        pairs = self._weights.rope_pairs
        return tuple(  # type: ignore[return-value]
            kernels.rotate(x.reshape(*x.shape[:2], -1, self.model.head_dim), cos, sin, pairs).reshape(x.shape)
            for x in (q, k)
        )

    def _attention(self, layer: int, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, int]:
        cache, new = self._cache, self._positions(q.shape[1])
        for x, store in ((k, cache.keys[layer]), (v, cache.values[layer])):
            heads = x.reshape(*x.shape[:2], -1, self.model.head_dim).swapaxes(1, 2)  # (B, kv_heads, T, d)
            quantiser = self._weights.kv_quantiser
            store[:, :, new] = heads if quantiser is None else quantiser(heads)
        y = kernels.attention(
            q.reshape(*q.shape[:2], -1, self.model.head_dim),
            cache.keys[layer][:, :, : new.stop],
            cache.values[layer][:, :, : new.stop],
            self._weights.alibi_slopes,
        )
        return y, new.stop

    def _add(self, x: np.ndarray, residual: np.ndarray) -> np.ndarray:
        return x + residual

    def _activation(self, kind: str, gate: np.ndarray, up: np.ndarray | None) -> np.ndarray:
        return kernels.activate(kind, gate, up)

    def _last_token(self, x: np.ndarray) -> np.ndarray:
        return x[:, -1:]

    def route(self, logits: Value) -> Routing:
        """Choose the experts of each token."""
        rows = logits.data.reshape(-1, logits.shape[-1])
        return Routing(*kernels.top_experts(rows, self.model.experts_per_token))

    def experts_in_use(self, routing: Routing) -> Sequence[int]:
        """Return the experts that got a token, ascending."""
        used: list[int] = np.unique(routing.experts).tolist()
        return used

    def tokens_of(self, routing: Routing, expert: int, x: Value) -> Value:
        """Return the rows of ``x`` that go to an expert."""
        return Value(x.name, x.data.reshape(-1, x.shape[-1])[routing.rows(expert)[0]])

    def _combine(self, routing: Routing, outputs: list[np.ndarray], like: np.ndarray) -> np.ndarray:
        y = np.zeros((routing.experts.shape[0], like.shape[-1]), np.float32)
        for expert, output in zip(self.experts_in_use(routing), outputs, strict=True):
            row, place = routing.rows(expert)
            y[row] += output * routing.weights[row, place][:, None]
        return y.reshape(like.shape)

    def _done(self, name: str, y: Value, *inputs: Value) -> Value:
        if self._observer is not None:
            operands = {"x" if i == 0 else f"x{i}": v.data for i, v in enumerate(inputs)}
            weight = self._weights.matrices.get(name, self._weights.vectors.get(name))
            if weight is not None:
                operands["w"] = weight
            bias = self._weights.vectors.get(f"{name}.bias")
            if bias is not None:
                operands["b"] = bias
            self._observer(name, {**operands, "y": y.data})
        return y
