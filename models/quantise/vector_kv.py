"""Keys and values as indices of short vectors, with anchor tokens kept exact, in the manner of AnTKV.

A token's key (head_dim,) is cut into sub-vectors of v; each subspace of each head has a codebook of c centroids, made
once on sampled tokens. Anchors are the tokens whose error would do most harm; they stay as they are. AnTKV
(arXiv 2506.19505) ranks tokens by what its analysis of attention's error says; here the rank of a token is

    score = largest attention weight that any sampled query gives it · its quantisation error

which needs the queries of the sample. Without them the first tokens and those of greatest error are kept.

    bits per value = log2(c) / v · (1 - anchors) + 16 · anchors
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models.quantise import vector
from lutscape.models.quantise.vector import Codebooks, Single

SINKS = 4
"""First tokens that are always anchors: attention's sinks (arXiv 2309.17453 keeps four)."""


@dataclass(frozen=True)
class KvCodebooks:
    """Codebooks of the keys or the values of one layer.

    Attributes:
        books: over heads x head_dim values; a head's sub-vectors are its own.
        heads: key-value heads.
        anchors: share of tokens that stay exact.
    """

    books: Codebooks
    heads: int
    anchors: float

    @property
    def bits_per_value(self) -> float:
        """Mean bits of a stored value, anchors in 16."""
        return self.books.bits_per_value * (1 - self.anchors) + 16 * self.anchors

    def quantise(self, x: np.ndarray, importance: np.ndarray | None = None) -> tuple[Single, np.ndarray]:
        """Return the values that keys (T, heads, head_dim) take, and which tokens (T,) are anchors.

        Args:
            x: keys or values.
            importance: (T,) attention that tokens get; None: only the errors count.
        """
        flat = x.reshape(len(x), -1).astype(np.float32)
        vector.check_finite(flat, "keys or values")
        decoded = self.books.decode(self.books.encode(flat))
        score = ((flat - decoded) ** 2).sum(axis=1)
        if importance is not None:
            score = score * importance
        count = min(len(x), int(np.ceil(self.anchors * len(x))))
        kept = np.zeros(len(x), bool)
        if count:
            kept[:SINKS][:count] = True
            rest = np.where(kept, -1.0, score)
            kept[np.argsort(-rest, kind="stable")[: count - int(kept.sum())]] = True
        decoded[kept] = flat[kept]
        return decoded.reshape(x.shape), kept


def codebooks(
    x: np.ndarray, v: int, c: int, *, anchors: float = 0.01, seed: int = 0, metric: str = "l2"
) -> KvCodebooks:
    """Return codebooks of sampled keys or values.

    Args:
        x: (T, heads, head_dim); v must divide head_dim, so that no sub-vector spans two heads.
        v: values of a sub-vector.
        c: centroids, a power of two.
        anchors: share of tokens that stay exact, 0 to 1.
        seed: of the codebooks.
        metric: of the distance.

    Raises:
        UserError: bad parameters or values.
    """
    if x.ndim != 3:
        raise UserError(f"keys or values of shape {x.shape}; needed: (tokens, heads, head_dim)")
    if x.shape[2] % v:
        raise UserError(f"keys or values: v = {v} does not divide head_dim = {x.shape[2]}")
    if not 0 <= anchors <= 1:
        raise UserError(f"anchors = {anchors}: a share of the tokens, 0 to 1")
    rows = x.reshape(len(x), -1)
    return KvCodebooks(vector.codebooks(rows, v, c, metric, seed, where="keys or values"), x.shape[1], anchors)


def attention_weight(queries: np.ndarray, keys: np.ndarray) -> Single:
    """Return the largest causal attention weight (T,) that each token gets, over queries and heads.

    Args:
        queries: (T, heads, head_dim); heads a multiple of those of the keys.
        keys: (T, kv_heads, head_dim).
    """
    tokens, heads, width = queries.shape
    group = heads // keys.shape[1]
    hidden = np.triu(np.ones((tokens, tokens), bool), 1)
    found = np.zeros(tokens, np.float32)
    for head in range(heads):
        scores = queries[:, head] @ keys[:, head // group].T / np.sqrt(width)
        scores = np.where(hidden, -np.inf, scores)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        found = np.maximum(found, (scores / scores.sum(axis=1, keepdims=True)).max(axis=0))
    return found.astype(np.float32)
