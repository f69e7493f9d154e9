"""Weights and keys as vectors: what the formulas say, what more bits bring, errors."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.models.quantise import vector_kv, vector_weights


def matrix(rows: int = 30, columns: int = 40, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, columns)) * rng.uniform(0.5, 2, columns)).astype(np.float32)


def test_every_weight_is_its_centroid_scaled() -> None:
    w = matrix()
    q = vector_weights.quantise(w, 4, 16, residual=8)
    assert (q.main.shape, q.residual.shape) == ((8, 40), (8, 40))
    found = q.dequantise()
    assert found.shape == w.shape
    for n, i in ((0, 0), (29, 39), (13, 7)):
        g, t = divmod(n, 4)
        value = q.codebook[q.main[g, i], t] + q.residual_codebook[q.residual[g, i], t]
        assert found[n, i] == pytest.approx(value * q.scales[i] + q.biases[i], rel=1e-6)
    assert q.index_bits == 4 / 4 + 3 / 4
    stored = 16 * (16 * 4 + 8 * 4 + 80)
    assert q.bits == pytest.approx((7 * 8 * 40 + stored) / (30 * 40))


def test_vectors_that_are_few_are_exact() -> None:
    book = np.random.default_rng(1).standard_normal((8, 3)).astype(np.float32)
    w = book[np.random.default_rng(2).integers(0, 8, (5, 12))].transpose(0, 2, 1).reshape(15, 12)
    q = vector_weights.quantise(w, 3, 8, normalise=False, iterations=50)
    np.testing.assert_allclose(q.dequantise(), w, atol=1e-6)


def test_a_residual_codebook_and_more_centroids_lower_the_error() -> None:
    w = matrix(64, 64)
    errors = [
        float(((vector_weights.quantise(w, 4, k, residual=r).dequantise() - w) ** 2).mean())
        for k, r in ((4, 0), (16, 0), (64, 0), (64, 16))
    ]
    assert errors == sorted(errors, reverse=True)


def test_important_channels_are_closer() -> None:
    w = matrix(64, 16)
    importance = np.where(np.arange(16) < 4, 100.0, 0.01)
    errors = [
        ((vector_weights.quantise(w, 4, 16, importance=i).dequantise() - w) ** 2)[:, :4].mean()
        for i in (None, importance)
    ]
    assert errors[1] < errors[0]


def test_a_constant_channel_and_a_bad_matrix() -> None:
    w = matrix()
    w[:, 3] = 0.25
    np.testing.assert_allclose(vector_weights.quantise(w, 4, 64).dequantise()[:, 3], 0.25, atol=1.0)
    for change, text in (
        ({"weight": w[0]}, "a matrix is needed"),
        ({"k": 20}, "weight codebook: c = 20; must be a power of two, 2 to 1024; nearest: 16 or 32"),
        ({"weight": np.where(w == 0.25, np.nan, w)}, "weight: 30 of 1200 values are not finite"),
        ({"importance": np.ones(3)}, "importance of shape (3,); needed: (40,), none below 0"),
    ):
        with pytest.raises(UserError, match=re.escape(text)):
            vector_weights.quantise(**({"weight": w, "v": 4, "k": 16} | change))


def keys(tokens: int = 200) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((tokens, 2, 8)).astype(np.float32)
    x[50] *= 30  # an outlier
    return x


def test_anchors_stay_exact_and_the_rest_are_centroids() -> None:
    x = keys()
    books = vector_kv.codebooks(x, 4, 16, anchors=0.05)
    found, kept = books.quantise(x)
    assert kept.sum() == 10
    assert kept[:4].all()
    np.testing.assert_array_equal(found[kept], x[kept])
    parts = found[~kept].reshape(-1, 4, 4)
    for k in range(4):
        rows = {row.tobytes() for row in books.books.centroids[k]}
        assert {row.tobytes() for row in np.ascontiguousarray(parts[:, k])} <= rows
    assert books.bits_per_value == pytest.approx(0.95 * 1 + 0.05 * 16)


def test_anchors_lower_the_error_of_attention() -> None:
    rng = np.random.default_rng(4)
    k, q, v = keys(), rng.standard_normal((200, 4, 8)).astype(np.float32), keys()
    weight = vector_kv.attention_weight(q, k)
    assert ((weight > 0) & (weight <= 1)).all()
    assert weight[0] == 1  # the first query sees the first token alone

    def attend(own: np.ndarray) -> np.ndarray:
        outputs = []
        for head in range(4):
            scores = q[:, head] @ own[:, head // 2].T / np.sqrt(8)
            scores = np.where(np.triu(np.ones((200, 200), bool), 1), -np.inf, scores)
            p = np.exp(scores - scores.max(1, keepdims=True))
            outputs.append(p / p.sum(1, keepdims=True) @ v[:, head // 2])
        return np.stack(outputs)

    errors = []
    for anchors in (0.0, 0.02, 0.2, 1.0):
        found, _ = vector_kv.codebooks(k, 4, 16, anchors=anchors).quantise(k, weight)
        errors.append(float(((attend(found) - attend(k)) ** 2).mean()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_bad_keys_are_named() -> None:
    x = keys()
    for call, text in (
        (lambda: vector_kv.codebooks(x, 3, 16), "v = 3 does not divide head_dim = 8"),
        (lambda: vector_kv.codebooks(x[0], 4, 16), "keys or values of shape (2, 8); needed: (tokens, heads, head_dim)"),
        (lambda: vector_kv.codebooks(x, 4, 16, anchors=2), "anchors = 2: a share of the tokens, 0 to 1"),
        (lambda: vector_kv.codebooks(x * np.inf, 4, 16), "keys or values: 3200 of 3200 values are not finite"),
    ):
        with np.errstate(invalid="ignore"), pytest.raises(UserError, match=re.escape(text)):
            call()
