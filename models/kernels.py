"""The arithmetic of a transformer on float32 numpy arrays: pure functions, shapes in the comments."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

QUERY_BLOCK = 128
"""Queries that attention handles at once: bounds the score matrix, skips most masked keys."""


def rms_norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    """Return x / sqrt(mean(x²) + eps) · weight over the last axis (arXiv 1910.07467)."""
    mean_square = np.einsum("...d,...d->...", x, x)[..., None] / np.float32(x.shape[-1])
    return x * (1 / np.sqrt(mean_square + np.float32(eps))) * weight


def layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float) -> np.ndarray:
    """Return (x - mean) / sqrt(variance + eps) · weight + bias over the last axis."""
    centred = x - x.mean(-1, keepdims=True)
    variance = np.einsum("...d,...d->...", centred, centred)[..., None] / np.float32(x.shape[-1])
    return centred * (1 / np.sqrt(variance + np.float32(eps))) * weight + bias


def rope_tables(
    positions: int, head_dim: int, base: float, factors: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine, each (positions, head_dim / 2) float32.

    Pair i turns by position · base^(-2i / head_dim) (arXiv 2104.09864, eq. 15), divided by
    ``factors[i]`` where given (Llama 3.1). Angles are rounded to float32 before the cosine is taken,
    as the models were trained.
    """
    frequency = np.float32(1) / np.float32(base) ** (np.arange(0, head_dim, 2, dtype=np.float32) / head_dim)
    if factors is not None:
        frequency = frequency / factors
    angle = np.arange(positions, dtype=np.float32)[:, None] * frequency.astype(np.float32)
    return np.cos(angle), np.sin(angle)


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, pairs: Literal["adjacent", "halves"]) -> np.ndarray:
    """Apply RoPE to (B, T, heads, head_dim) with (T, head_dim / 2) tables."""
    half = x.shape[-1] // 2
    y = np.empty_like(x)
    if pairs == "adjacent":
        first, second = x[..., 0::2], x[..., 1::2]
        y_first, y_second = y[..., 0::2], y[..., 1::2]
    else:
        first, second = x[..., :half], x[..., half:]
        y_first, y_second = y[..., :half], y[..., half:]
    cos, sin = cos[:, None, :], sin[:, None, :]  # (T, 1, head_dim / 2)
    np.subtract(first * cos, second * sin, out=y_first)
    np.add(first * sin, second * cos, out=y_second)
    return y


def alibi_slopes(heads: int) -> np.ndarray:
    """Return the slope of each head, (heads,) float32 (arXiv 2108.12409, section 3).

    For a count that is no power of two, the slopes of the next smaller one are followed by every
    other slope of the next larger one, as in BLOOM.
    """
    below = 2 ** math.floor(math.log2(heads))
    slopes = [2.0 ** (-8 * (i + 1) / below) for i in range(below)]
    slopes += [2.0 ** (-4 * (2 * i + 1) / below) for i in range(heads - below)]
    return np.array(slopes, np.float32)


def attention(q: np.ndarray, keys: np.ndarray, values: np.ndarray, slopes: np.ndarray | None = None) -> np.ndarray:
    """Causal grouped-query attention.

    Args:
        q: (B, T, heads, head_dim) queries of the last T positions.
        keys: (B, kv_heads, S, head_dim), S ≥ T.
        values: the same shape.
        slopes: (heads,) ALiBi slopes, or None.

    Returns:
        (B, T, heads · head_dim). Query head h reads key head h // (heads / kv_heads).
    """
    batch, new, heads, head_dim = q.shape
    kv_heads, past = keys.shape[1], keys.shape[2] - new
    groups = heads // kv_heads
    grouped = q.reshape(batch, new, kv_heads, groups, head_dim) * np.float32(head_dim**-0.5)
    out = np.empty_like(grouped)
    for first in range(0, new, QUERY_BLOCK):
        block = grouped[:, first : first + QUERY_BLOCK].transpose(0, 2, 3, 1, 4)  # (B, kv_heads, groups, t, d)
        count = block.shape[3]
        end = past + first + count
        rows = block.reshape(batch, kv_heads, groups * count, head_dim)
        scores = rows @ keys[:, :, :end].swapaxes(-1, -2)  # (B, kv_heads, groups * t, end)
        scores = scores.reshape(batch, kv_heads, groups, count, end)
        if slopes is not None:
            distance = np.arange(end) - np.arange(end - count, end)[:, None]  # (t, end), 0 or less when visible
            scores += slopes.reshape(kv_heads, groups, 1, 1) * distance.astype(np.float32)
        if count > 1:
            hidden = np.triu(np.ones((count, count), bool), 1)
            np.copyto(scores[..., end - count :], np.float32(-np.inf), where=hidden)
        weights = softmax_in_place(scores).reshape(batch, kv_heads, groups * count, end)
        result = (weights @ values[:, :, :end]).reshape(batch, kv_heads, groups, count, head_dim)
        out[:, first : first + count] = result.transpose(0, 3, 1, 2, 4)
    return out.reshape(batch, new, heads * head_dim)


def softmax_in_place(x: np.ndarray) -> np.ndarray:
    """Turn the last axis of ``x`` into probabilities; returns ``x``."""
    x -= x.max(-1, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(-1, keepdims=True)
    return x


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Return the logarithm of the softmax over the last axis."""
    shifted = x - x.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True, dtype=np.float64)).astype(x.dtype)


def silu(x: np.ndarray) -> np.ndarray:
    """Return x · sigmoid(x)."""
    with np.errstate(over="ignore"):
        y = np.exp(-x)
        y += 1
        return np.divide(x, y, out=y)


def gelu(x: np.ndarray) -> np.ndarray:
    """Return GELU in the tanh form (arXiv 1606.08415, section 2), as in BLOOM."""
    return np.float32(0.5) * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))


def activate(kind: str, gate: np.ndarray, up: np.ndarray | None) -> np.ndarray:
    """Return the non-linearity of :class:`~lutscape.models.shape.ModelShape` ``kind`` applied to ``gate``."""
    if kind == "gelu":
        return gelu(gate)
    positive = np.maximum(gate, 0) if kind in ("relu", "relu2_glu") else silu(gate)
    if up is None:
        return positive
    return positive * positive * up if kind == "relu2_glu" else positive * up


def top_experts(logits: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return expert indices and weights, each (rows, count): softmax over the ``count`` largest logits.

    Ties go to the lower index (arXiv 2401.04088, section 2.1, is silent about them).
    """
    chosen = np.argsort(-logits, axis=-1, kind="stable")[:, :count]
    return chosen, softmax_in_place(np.take_along_axis(logits, chosen, -1))
