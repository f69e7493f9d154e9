"""Names and shapes of a model's parameters, the same for every file format.

Operators carry the names of their weights: ``layers.3.gate`` in a trace is computed with the
parameter ``layers.3.gate``. Biases add ``.bias``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from lutscape.models.shape import ModelShape


def linear_names(shape: ModelShape) -> Iterator[tuple[str, tuple[int, int]]]:
    """Yield name and (N, K) of every linear layer in order of execution, ``lm_head`` last."""
    for layer in range(shape.layers):
        for operator, size in shape.linear_shapes.items():
            if shape.experts and operator in ("gate", "up", "down"):
                for expert in range(shape.experts):
                    yield f"layers.{layer}.experts.{expert}.{operator}", size
            else:
                yield f"layers.{layer}.{operator}", size
    yield "lm_head", (shape.vocab, shape.hidden)


def has_bias(shape: ModelShape, name: str) -> bool:
    """Return whether the linear layer ``name`` adds a bias."""
    operator = name.rpartition(".")[2]
    if operator in ("router", "lm_head") or shape.bias == "none":
        return False
    return shape.bias == "all" or operator in ("q", "k", "v")


def norm_names(shape: ModelShape) -> Iterator[tuple[str, int]]:
    """Yield name and width of every norm in order of execution (one expert's sub-norm per expert)."""
    if shape.embed_norm:
        yield "embed_norm", shape.hidden
    for layer in range(shape.layers):
        block = f"layers.{layer}"
        yield f"{block}.attn_norm", shape.hidden
        if shape.sub_norms:
            yield f"{block}.sub_norm", shape.heads * shape.head_dim
        yield f"{block}.ffn_norm", shape.hidden
        if shape.sub_norms:
            for expert in range(shape.experts):
                yield f"{block}.experts.{expert}.ffn_sub_norm", shape.ffn
            if not shape.experts:
                yield f"{block}.ffn_sub_norm", shape.ffn
    yield "final_norm", shape.hidden


def parameters(shape: ModelShape) -> dict[str, tuple[int, ...]]:
    """Return every stored parameter and its shape; a tied ``lm_head`` is not stored again."""
    found: dict[str, tuple[int, ...]] = {"embed": (shape.vocab, shape.hidden)}
    if shape.position == "learned":
        found["positions"] = (shape.max_context, shape.hidden)
    for name, width in norm_names(shape):
        found[name] = (width,)
        if shape.norm == "layernorm":
            found[f"{name}.bias"] = (width,)
    for name, size in linear_names(shape):
        if name == "lm_head" and shape.tied_embeddings:
            continue
        found[name] = size
        if has_bias(shape, name):
            found[f"{name}.bias"] = size[:1]
    return found


def parameter_count(shape: ModelShape) -> int:
    """Return the number of stored parameters, norms and biases included."""
    return sum(math.prod(size) for size in parameters(shape).values())
