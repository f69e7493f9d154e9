"""Linear layers of a language model by vector-quantised lookup: sample their inputs, make codebooks, fit tables.

Layers that read one tensor (q, k and v; gate and up) share its codebooks, as the machine encodes it once.

Fitted tables. Decoding leaves an error E = X - X', which the exact tables pass on. With Z (R, Nc c) the one-hot indices
of R sampled rows, ridge regression finds what the indices tell about it,

    D = (ZᵀZ + λ I)⁻¹ Zᵀ E          λ = ridge · R / c, R / c being the mean count of an index
    T = tables of exact products + D Wᵀ

after the optimised prototypes of MADDNESS (arXiv 2106.10860, sec. 4.4), which the hardware does not notice: a table
holds any numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError, nearest
from lutscape.models import perplexity
from lutscape.models.executor import Linear, Model, Progress, dense
from lutscape.models.parameters import linear_names
from lutscape.models.quantise import vector
from lutscape.models.quantise.vector import Codebooks, Single, VectorLayer

KEPT = ("lm_head", "router")
"""Last parts of the names of layers that are not converted, unless asked for."""


@dataclass(frozen=True)
class LinearPlan:
    """How linear layers are converted.

    Attributes:
        v: values of a sub-vector.
        c: centroids of a codebook.
        metric: ``l2``, ``l1`` or ``chebyshev``.
        layers: names, or their last parts (``down``); empty: all but :data:`KEPT`.
        rows: sampled input rows of a layer.
        ridge: regularisation of fitted tables; None: exact products. On SmolLM2, 0.1 of 2,048 rows made the perplexity
            worse (reports/lut_dla/perplexity.md).
        input_bits: of activations and centroids.
        table_bits: of table entries. A few activations of language models are hundreds of times the usual ones; the
            one scale of a layer's tables must span their products.
    """

    v: int = 4
    c: int = 16
    metric: str = "l2"
    layers: tuple[str, ...] = ()
    rows: int = 2048
    ridge: float | None = None
    input_bits: int = 8
    table_bits: int = 16

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "layers": list(self.layers)}


@dataclass
class _Sampler:
    """A linear layer that keeps some of its input rows."""

    layer: Linear
    each: int
    seed: int
    kept: list[Single] = field(default_factory=list)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng([self.seed, len(self.kept)])  # the same rows in every layer
        self.kept.append(x[np.sort(rng.permutation(len(x))[: self.each])])
        return self.layer(x)


def chosen_layers(model: Model, wanted: Collection[str]) -> list[str]:
    """Return the names of linear layers that names or last parts of names stand for.

    Raises:
        UserError: a word that stands for none.
    """
    names = [name for name, _ in linear_names(model.shape)]
    roles = sorted({name.rpartition(".")[2] for name in names})
    for word in wanted:
        if word not in names and word not in roles:
            raise UserError(f"unknown layer {word!r}{nearest(word, [*roles, *names])}; roles: {', '.join(roles)}")
    if not wanted:
        return [name for name in names if name.rpartition(".")[2] not in KEPT]
    return [name for name in names if name in wanted or name.rpartition(".")[2] in wanted]


def sample_inputs(
    model: Model, windows: np.ndarray, names: Collection[str], rows: int, seed: int, progress: Progress | None = None
) -> dict[str, Single]:
    """Return about ``rows`` input rows (R, K) of each layer, from windows (windows, context) of tokens.

    Layers that read one tensor get the same array.
    """
    each = -(-rows // len(windows))
    samplers: dict[str, _Sampler] = {}

    def make(name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
        layer = dense(name, weight, bias)
        if name not in names:
            return layer
        samplers[name] = _Sampler(layer, each, seed)
        return samplers[name]

    sampled = model.variant(make)
    for done, window in enumerate(windows):
        sampled.forward(window)
        if progress is not None:
            progress("sampling activations", done + 1, len(windows))
    found: dict[str, Single] = {}
    before: Single | None = None
    for name, sampler in samplers.items():
        x = np.concatenate(sampler.kept)
        sampler.kept.clear()
        if before is not None and before.shape == x.shape and np.array_equal(before, x):
            x = before
        found[name] = before = x
    return found


def corrections(books: Codebooks, x: Single, ridge: float) -> Single:
    """Return D (Nc c, K): what each index tells about the error that decoding leaves, by ridge regression."""
    indices = books.encode(x)
    error = (x - books.decode(indices)).astype(np.float64)
    rows, subspaces, count = len(x), books.subspaces, books.c
    hot = np.zeros((rows, subspaces * count), np.float32)
    hot[np.arange(rows)[:, None], indices + np.arange(subspaces) * count] = 1
    weight = ridge * rows / count
    if rows < subspaces * count:  # Zᵀ (Z Zᵀ + λ I)⁻¹ E is the same and smaller
        gram = (hot @ hot.T).astype(np.float64)  # counts, exact in float32
        gram.flat[:: rows + 1] += weight
        return np.asarray(hot.T @ np.linalg.solve(gram, error), np.float32)
    gram = (hot.T @ hot).astype(np.float64)
    gram.flat[:: len(gram) + 1] += weight
    return np.asarray(np.linalg.solve(gram, hot.T @ error), np.float32)


def convert_linears(
    model: Model, inputs: dict[str, Single], plan: LinearPlan, seed: int, progress: Progress | None = None
) -> dict[str, VectorLayer]:
    """Return the layers whose inputs were sampled in the machine's integers.

    Raises:
        UserError: bad parameters, or inputs that are not finite.
    """
    vector.check_parameters(plan.v, plan.c, plan.metric)
    found: dict[str, VectorLayer] = {}
    before: Single | None = None
    books, correction = None, None
    for done, (name, x) in enumerate(inputs.items()):
        if x is not before:
            books = vector.codebooks(x, plan.v, plan.c, plan.metric, seed + done, where=f"inputs of {name}")
            correction = None if plan.ridge is None else corrections(books, x, plan.ridge)
            before = x
        assert books is not None
        weight = model.matrices[name]
        tables = vector.products(books, weight)
        if correction is not None:
            tables += (correction @ weight.T).reshape(tables.shape)
        found[name] = vector.integer_layer(
            books,
            weight,
            model.vectors.get(f"{name}.bias"),
            np.abs(x).max(axis=0),
            input_bits=plan.input_bits,
            table_bits=plan.table_bits,
            tables=tables,
        )
        if progress is not None:
            progress("codebooks and tables", done + 1, len(inputs))
    return found


def split_text(model: Model, ids: Sequence[int], context: int, tokens: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return windows to score, from the beginning of a text, and windows to sample ``rows`` tokens from, from its end.

    Raises:
        UserError: the text is too short for windows of both that do not overlap.
    """
    scored = perplexity.windows(ids, context, tokens, model.shape)
    wanted = -(-rows // context)
    left = (len(ids) - scored.size) // context
    if left < 1:
        raise UserError(
            f"the text has {len(ids)} tokens, {scored.size} of them are scored; "
            f"none of the {rows} to sample are left; lower --tokens"
        )
    count = min(wanted, left)
    return scored, np.array(ids[len(ids) - count * context :], np.int64).reshape(count, context)
