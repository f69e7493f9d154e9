"""Small traces for timing tests, built through the shape-only executor or row by row."""

from __future__ import annotations

from typing import Any

from lutscape.hw.formats.storage import parse_element_format, parse_weight_format
from lutscape.models.shape import ModelShape
from lutscape.models.trace import Header, Trace

SHAPE = ModelShape(
    name="test", source="made for tests", layers=2, hidden=64, ffn=128, heads=4, kv_heads=2, head_dim=16, vocab=256
)


def linear(m: int, n: int, k: int, weights: str = "int4-g64", activations: str = "int8", **more: Any) -> dict[str, Any]:
    """One decode-phase linear row."""
    return {
        "phase": "decode", "step": 0, "layer": 0, "name": "layers.0.q", "operator": "q", "kind": "linear",
        "input": "layers.0.attn_norm", "M": m, "N": n, "K": k, "batch": 1, "weight_format": weights,
        "activation_format": activations, "accumulator_format": "int32", "output_format": "fp16",
        "macs": m * n * k, "weight_bytes": parse_weight_format(weights).bytes(n, k),
        "activation_bytes": int(m * k * parse_element_format(activations).bits // 8), "output_bytes": 2 * m * n, **more,
    }  # fmt: skip


def attention(queries: int, keys: int, heads: int = 4, kv_heads: int = 2, head_dim: int = 16) -> dict[str, Any]:
    """One attention row with an INT8 cache."""
    visible = queries * (keys - queries) + queries * (queries + 1) // 2
    return {
        "phase": "decode", "step": 0, "layer": 0, "name": "layers.0.attention", "operator": "attention",
        "kind": "attention", "input": "layers.0.q", "M": queries, "N": keys, "K": head_dim, "batch": 1,
        "heads": heads, "kv_heads": kv_heads, "activation_format": "fp16", "output_format": "fp16", "kv_format": "int8",
        "macs": 2 * heads * head_dim * visible, "activation_bytes": 2 * queries * heads * head_dim,
        "output_bytes": 2 * queries * heads * head_dim, "kv_read_bytes": 2 * keys * kv_heads * (head_dim + 4),
        "kv_write_bytes": 2 * queries * kv_heads * (head_dim + 4),
    }  # fmt: skip


def norm(rows: int, width: int) -> dict[str, Any]:
    """One RMSNorm row."""
    return {
        "phase": "decode", "step": 0, "layer": 0, "name": "layers.0.attn_norm", "operator": "attn_norm",
        "kind": "norm", "input": "embed", "M": rows, "N": width, "K": 1, "batch": 1, "activation_format": "fp16",
        "output_format": "fp16", "activation_bytes": 2 * rows * width, "output_bytes": 2 * rows * width,
        "weight_bytes": 4 * width,
    }  # fmt: skip


def trace(*records: dict[str, Any]) -> Trace:
    """A trace of some rows, one decode step."""
    header = Header(
        model="test", source="shape:made for tests", shape=SHAPE, executed=False, requantised=False, prompt_tokens=0,
        decode_tokens=1, batch=1, weights="int4-g64", activations="int8", accumulator="int32", kv="int8",
    )  # fmt: skip
    return Trace.from_records(header, list(records))
