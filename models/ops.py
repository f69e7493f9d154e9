"""The operators of a transformer: each writes its trace row from the shapes of its operands.

:class:`Ops` records and leaves the computing to hooks; :class:`ShapeOps` has no arrays at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lutscape.models.parameters import has_bias
from lutscape.models.recorder import Recorder
from lutscape.models.shape import ModelShape


class HasShape(Protocol):
    """An array, or the stand-in for one."""

    @property
    def shape(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Extent:
    """Stands in for an array: its shape and nothing else."""

    shape: tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """An operand and the name of the operator that produced it."""

    name: str
    data: Any

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array or of its stand-in."""
        shape: tuple[int, ...] = self.data.shape
        return shape

    @property
    def rows(self) -> int:
        """Product of all axes but the last."""
        return math.prod(self.shape[:-1])


class Ops:
    """Operators with recording. Subclasses implement the hooks ``_embed``, ``_linear``, …

    Args:
        shape: the model.
        recorder: gets one row per operator; None = none wanted.
    """

    def __init__(self, shape: ModelShape, recorder: Recorder | None = None) -> None:
        self.model = shape
        self.recorder = recorder

    def embed(self, name: str, tokens: Value) -> Value:
        """Look up (B, T) token ids: (B, T, hidden)."""
        y = Value(name, self._embed(name, tokens.data))
        if self.recorder:
            self.recorder.gather(name, y.rows, y.shape[-1])
        return self._done(name, y)

    def add_positions(self, name: str, x: Value) -> Value:
        """Add the learned embedding of each position."""
        y = Value(name, self._add_positions(x.data))
        if self.recorder:
            self.recorder.elementwise(name, x.name, y.rows, y.shape[-1], inputs=2)
        return self._done(name, y, x)

    def norm(self, name: str, x: Value) -> Value:
        """RMSNorm or LayerNorm over the last axis."""
        y = Value(name, self._norm(name, x.data))
        if self.recorder:
            weights = y.shape[-1] * (2 if self.model.norm == "layernorm" else 1)
            self.recorder.norm(name, x.name, y.rows, y.shape[-1], weights)
        return self._done(name, y, x)

    def linear(self, name: str, x: Value) -> Value:
        """Y = X · Wᵀ (+ bias), (…, K) to (…, N)."""
        y = Value(name, self._linear(name, x.data))
        if self.recorder:
            self.recorder.linear(name, x.name, x.rows, y.shape[-1], x.shape[-1], has_bias(self.model, name))
        return self._done(name, y, x)

    def rope(self, name: str, q: Value, k: Value) -> tuple[Value, Value]:
        """Rotate (B, T, heads · head_dim) queries and (B, T, kv_heads · head_dim) keys by position."""
        data = self._rope(q.data, k.data)
        rotated = Value(name, data[0]), Value(name, data[1])
        if self.recorder:
            self.recorder.elementwise(name, q.name, q.rows, q.shape[-1] + k.shape[-1], inputs=1)
        self._done(name, rotated[0], q)
        return rotated

    def attention(self, name: str, layer: int, q: Value, k: Value, v: Value) -> Value:
        """Append k and v to the cache of ``layer``, then attend causally: (B, T, heads · head_dim)."""
        data, keys = self._attention(layer, q.data, k.data, v.data)
        y = Value(name, data)
        if self.recorder:
            model, (batch, queries, _) = self.model, q.shape
            self.recorder.attention(
                name, q.name, batch, queries, keys, model.heads, k.shape[-1] // model.head_dim, model.head_dim
            )
        return self._done(name, y, q, k, v)

    def add(self, name: str, x: Value, residual: Value) -> Value:
        """Element-wise sum."""
        y = Value(name, self._add(x.data, residual.data))
        if self.recorder:
            self.recorder.elementwise(name, x.name, y.rows, y.shape[-1], inputs=2)
        return self._done(name, y, x, residual)

    def activation(self, name: str, kind: str, gate: Value, up: Value | None = None) -> Value:
        """Apply the non-linearity to ``gate`` and multiply by ``up``, if there is one."""
        y = Value(name, self._activation(kind, gate.data, None if up is None else up.data))
        if self.recorder:
            self.recorder.elementwise(name, gate.name, y.rows, y.shape[-1], inputs=1 if up is None else 2)
        return self._done(name, y, gate, *([] if up is None else [up]))

    def combine(self, name: str, routing: Any, outputs: Sequence[Value], like: Value) -> Value:
        """Weighted sum of the experts' outputs, in the shape of ``like``."""
        y = Value(name, self._combine(routing, [o.data for o in outputs], like.data))
        if self.recorder:
            inputs = self.model.experts_per_token
            self.recorder.elementwise(name, outputs[-1].name, y.rows, y.shape[-1], inputs)
        return self._done(name, y)

    # Without a row of their own -----------------------------------------------------------------

    def last_token(self, x: Value) -> Value:
        """Keep the last token of each sequence: (B, T, D) to (B, 1, D)."""
        return Value(x.name, self._last_token(x.data))

    def route(self, logits: Value) -> Any:
        """Choose experts per token from (…, experts) router logits."""
        raise NotImplementedError

    def experts_in_use(self, routing: Any) -> Sequence[int]:
        """Return the experts that got a token."""
        raise NotImplementedError

    def tokens_of(self, name: str, routing: Any, expert: int, x: Value) -> Value:
        """Return the rows of ``x`` that go to an expert, (rows, hidden), as a tensor of its own name."""
        raise NotImplementedError

    # Hooks ----------------------------------------------------------------------------------------

    def _done(self, name: str, y: Value, *inputs: Value) -> Value:
        """Called behind every operator; captures operands in the numeric subclass."""
        return y

    def _embed(self, name: str, tokens: Any) -> Any:
        raise NotImplementedError

    def _add_positions(self, x: Any) -> Any:
        raise NotImplementedError

    def _norm(self, name: str, x: Any) -> Any:
        raise NotImplementedError

    def _linear(self, name: str, x: Any) -> Any:
        raise NotImplementedError

    def _rope(self, q: Any, k: Any) -> tuple[Any, Any]:
        raise NotImplementedError

    def _attention(self, layer: int, q: Any, k: Any, v: Any) -> tuple[Any, int]:
        """Return the output and the number of keys per sequence."""
        raise NotImplementedError

    def _add(self, x: Any, residual: Any) -> Any:
        raise NotImplementedError

    def _activation(self, kind: str, gate: Any, up: Any) -> Any:
        raise NotImplementedError

    def _combine(self, routing: Any, outputs: list[Any], like: Any) -> Any:
        raise NotImplementedError

    def _last_token(self, x: Any) -> Any:
        raise NotImplementedError


class ShapeOps(Ops):
    """Operators on shapes: the rows of a run without weights, in microseconds.

    Which expert a token goes to depends on the weights; without them the T · experts_per_token
    assignments are spread evenly over min(experts, T · experts_per_token) experts. MACs and
    activation bytes are then exact; weight bytes are exact where the real routing uses as many
    experts.
    """

    def __init__(self, shape: ModelShape, recorder: Recorder | None = None) -> None:
        super().__init__(shape, recorder)
        self.past = 0  # tokens per sequence in the cache before this step
        self._sizes: dict[str, int] = {op: n for op, (n, _) in shape.linear_shapes.items()}
        self._sizes["lm_head"] = shape.vocab
        self._columns: dict[str, int] = {op: k for op, (_, k) in shape.linear_shapes.items()}
        self._columns["lm_head"] = shape.hidden

    def _embed(self, name: str, tokens: Extent) -> Extent:
        return Extent((*tokens.shape, self.model.hidden))

    def _add_positions(self, x: Extent) -> Extent:
        return x

    def _norm(self, name: str, x: Extent) -> Extent:
        return x

    def _linear(self, name: str, x: Extent) -> Extent:
        role = name.rpartition(".")[2]
        if x.shape[-1] != self._columns[role]:
            raise ValueError(f"{name}: input has {x.shape[-1]} columns, the weight {self._columns[role]}")
        return Extent((*x.shape[:-1], self._sizes[role]))

    def _rope(self, q: Extent, k: Extent) -> tuple[Extent, Extent]:
        return q, k

    def _attention(self, layer: int, q: Extent, k: Extent, v: Extent) -> tuple[Extent, int]:
        return q, self.past + q.shape[1]

    def _add(self, x: Extent, residual: Extent) -> Extent:
        if x.shape != residual.shape:
            raise ValueError(f"cannot add {x.shape} and {residual.shape}")
        return x

    def _activation(self, kind: str, gate: Extent, up: Extent | None) -> Extent:
        return gate

    def _combine(self, routing: list[int], outputs: list[Extent], like: Extent) -> Extent:
        return like

    def _last_token(self, x: Extent) -> Extent:
        return Extent((x.shape[0], 1, x.shape[2]))

    def route(self, logits: Value) -> list[int]:
        """Return the number of tokens per expert in use."""
        assignments = logits.rows * self.model.experts_per_token
        used = min(self.model.experts, assignments)
        return [assignments // used + (expert < assignments % used) for expert in range(used)]

    def experts_in_use(self, routing: list[int]) -> Sequence[int]:
        """Return the first experts."""
        return range(len(routing))

    def tokens_of(self, name: str, routing: list[int], expert: int, x: Value) -> Value:
        """Return the extent of the rows of an expert."""
        return Value(name, Extent((routing[expert], x.shape[-1])))
