"""The forward pass of a decoder-only transformer, written once.

``ops`` computes on arrays (:class:`lutscape.models.numeric.NumericOps`) or on shapes alone
(:class:`lutscape.models.ops.ShapeOps`); either writes the rows of the trace on the way.
"""

from __future__ import annotations

from lutscape.models.ops import Ops, Value
from lutscape.models.shape import ModelShape

ACTIVATION_NAMES = {"swiglu": "silu_mul", "relu2_glu": "relu2_mul", "gelu": "gelu", "relu": "relu"}


def forward(shape: ModelShape, ops: Ops, tokens: Value, every_logit: bool = False) -> Value:
    """Run new tokens through the model, behind those in the cache of ``ops``.

    Args:
        shape: the model.
        ops: what computes.
        tokens: (B, T) token ids.
        every_logit: logits of every token instead of the last of each sequence.

    Returns:
        Logits, (B, 1, vocab) or (B, T, vocab).
    """
    x = ops.embed("embed", tokens)  # (B, T, hidden)
    if shape.position == "learned":
        x = ops.add_positions("pos_add", x)
    if shape.embed_norm:
        x = ops.norm("embed_norm", x)
    for layer in range(shape.layers):
        x = block(shape, ops, layer, x)
    x = ops.norm("final_norm", x)
    if not every_logit:
        x = ops.last_token(x)  # (B, 1, hidden)
    return ops.linear("lm_head", x)


def block(shape: ModelShape, ops: Ops, layer: int, x: Value) -> Value:
    """One transformer block, (B, T, hidden) to the same."""
    at = f"layers.{layer}"
    h = ops.norm(f"{at}.attn_norm", x)
    q = ops.linear(f"{at}.q", h)  # (B, T, heads * head_dim)
    k = ops.linear(f"{at}.k", h)  # (B, T, kv_heads * head_dim)
    v = ops.linear(f"{at}.v", h)
    if shape.position == "rope":
        q, k = ops.rope(f"{at}.rope", q, k)
    h = ops.attention(f"{at}.attention", layer, q, k, v)  # (B, T, heads * head_dim)
    if shape.sub_norms:
        h = ops.norm(f"{at}.sub_norm", h)
    x = ops.add(f"{at}.attn_add", ops.linear(f"{at}.o", h), x)

    h = ops.norm(f"{at}.ffn_norm", x)
    h = mixture(shape, ops, at, h) if shape.experts else feed_forward(shape, ops, at, h)
    return ops.add(f"{at}.ffn_add", h, x)


def feed_forward(shape: ModelShape, ops: Ops, at: str, h: Value) -> Value:
    """Feed-forward network (or one expert), (…, hidden) to the same."""
    activation = f"{at}.{ACTIVATION_NAMES[shape.activation]}"
    if shape.gated:
        gate = ops.linear(f"{at}.gate", h)  # (…, ffn)
        h = ops.activation(activation, shape.activation, gate, ops.linear(f"{at}.up", h))
    else:
        h = ops.activation(activation, shape.activation, ops.linear(f"{at}.up", h))
    if shape.sub_norms:
        h = ops.norm(f"{at}.ffn_sub_norm", h)
    return ops.linear(f"{at}.down", h)


def mixture(shape: ModelShape, ops: Ops, at: str, h: Value) -> Value:
    """Mixture of experts: softmax over the top-k router logits weighs the experts' outputs."""
    routing = ops.route(ops.linear(f"{at}.router", h))
    outputs = []
    for expert in ops.experts_in_use(routing):
        own = f"{at}.experts.{expert}"
        outputs.append(feed_forward(shape, ops, own, ops.tokens_of(f"{own}.in", routing, expert, h)))
    return ops.combine(f"{at}.experts_add", routing, outputs, h)
