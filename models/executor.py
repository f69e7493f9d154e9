"""A language model in memory: forward pass, KV cache, generation. numpy, float32, no PyTorch.

A linear layer is a callable handed in from outside: :data:`LinearFactory` gets each layer's name,
weight and bias and returns what computes it, so that any model of a hardware datapath can run
inside a real language model. :data:`WeightTransform` changes the weights before that (quantisers).

Example:
    >>> model = load_model("smollm2-135m")                                  # doctest: +SKIP
    >>> ids = model.tokenizer.encode("The capital of France is")            # doctest: +SKIP
    >>> model.tokenizer.decode(list(model.generate(ids, 3)))                # doctest: +SKIP
    ' Paris. It'
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.models import kernels
from lutscape.models.checkpoint import Checkpoint
from lutscape.models.numeric import KvCache, KvQuantiser, NumericOps, Observer
from lutscape.models.ops import Value
from lutscape.models.parameters import linear_names, parameters
from lutscape.models.recorder import Recorder
from lutscape.models.sampling import Sampler, greedy
from lutscape.models.walk import forward

if TYPE_CHECKING:
    from lutscape.models.tokenizer import Tokenizer

Linear = Callable[[np.ndarray], np.ndarray]
"""(rows, K) float32 to (rows, N) float32."""


class LinearFactory(Protocol):
    """Makes the callable that computes a linear layer."""

    def __call__(self, name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
        """Return y = x · weightᵀ + bias for ``weight`` (N, K) and ``bias`` (N,) or None, float32."""


WeightTransform = Callable[[str, np.ndarray], np.ndarray]
"""Name and (N, K) float32 values of a matrix, to the values that take their place."""

Progress = Callable[[str, int, int], None]
"""What is going on, how much is done, of how much."""


FEW_ROWS = 8
"""Up to this many rows, one dot product per output reads the weights faster than BLAS does: OpenBLAS
packs the matrix for sgemm and walks short rows slowly in sgemv (OpenBLAS 0.3.31, 576 columns: 14 GB/s
against 27-35 GB/s)."""


def dense(name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
    """Return the default linear layer: one float32 matrix product."""
    vecdot = getattr(np, "vecdot", None)  # numpy 2

    def linear(x: np.ndarray) -> np.ndarray:
        if vecdot is None or len(x) > FEW_ROWS:
            y = x @ weight.T
        else:
            y = np.empty((len(x), len(weight)), np.float32)
            for row, out in zip(x, y, strict=True):
                vecdot(weight, row, out=out)
        return y if bias is None else y + bias

    return linear


class Model:
    """Weights of a model, and what runs them.

    Attributes:
        shape: hyper-parameters.
        source: where the weights come from (``gguf:<sha256>``).
        matrices: name -> float32 array, as the linear layers got them; a tied ``lm_head`` is the
            same array as ``embed``.
        vectors: name -> float32 array of norms and biases.
        linears: name -> callable.
        checkpoint: where the weights were read from.

    Args:
        checkpoint: the weights.
        linear_factory: makes the linear layers.
        weight_transform: applied to every matrix (embedding included) before ``linear_factory``.
        kv_quantiser: applied to keys and values before they enter the cache.
        tokenizer: of the model, if it has one.
        progress: called as matrices are read.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        linear_factory: LinearFactory = dense,
        weight_transform: WeightTransform | None = None,
        kv_quantiser: KvQuantiser | None = None,
        tokenizer: Tokenizer | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.checkpoint = checkpoint
        self.shape = shape = checkpoint.shape
        self.source = checkpoint.source
        self.rope_pairs = checkpoint.rope_pairs
        self.kv_quantiser = kv_quantiser
        self._tokenizer = tokenizer
        self.matrices: dict[str, np.ndarray] = {}
        self.vectors: dict[str, np.ndarray] = {}
        sizes = parameters(shape)
        for done, (name, size) in enumerate(sizes.items()):
            (self.vectors if len(size) == 1 else self.matrices)[name] = checkpoint.tensor(name)
            if progress is not None:
                progress("reading weights", done + 1, len(sizes))
        self._rope: tuple[np.ndarray, np.ndarray] | None = None
        self.alibi_slopes = kernels.alibi_slopes(shape.heads) if shape.position == "alibi" else None
        self._build(linear_factory, weight_transform, progress)

    def _build(
        self,
        linear_factory: LinearFactory,
        weight_transform: WeightTransform | None,
        progress: Progress | None,
    ) -> None:
        if weight_transform is not None:
            for done, name in enumerate(self.matrices):
                if name != "lm_head" or not self.shape.tied_embeddings:
                    self.matrices[name] = weight_transform(name, self.matrices[name])
                if progress is not None:
                    progress("quantising weights", done + 1, len(self.matrices))
        if self.shape.tied_embeddings:
            self.matrices["lm_head"] = self.matrices["embed"]
        self.linears = {
            name: linear_factory(name, self.matrices[name], self.vectors.get(f"{name}.bias"))
            for name, _ in linear_names(self.shape)
        }

    def variant(
        self,
        linear_factory: LinearFactory = dense,
        weight_transform: WeightTransform | None = None,
        kv_quantiser: KvQuantiser | None = None,
        progress: Progress | None = None,
    ) -> Model:
        """Return the same model computed otherwise; unchanged weights are shared, not copied."""
        other = copy.copy(self)
        other.matrices = dict(self.matrices)
        other.kv_quantiser = kv_quantiser
        other._build(linear_factory, weight_transform, progress)
        return other

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            UserError: the model has none.
        """
        if self._tokenizer is None:
            raise UserError(f"{self.shape.name}: no tokenizer comes with these weights")
        return self._tokenizer

    @property
    def rope_tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosines and sines of all positions, each (max_context, head_dim / 2)."""
        if self._rope is None:
            shape = self.shape
            factors = self.checkpoint.rope_factors
            self._rope = kernels.rope_tables(shape.max_context, shape.head_dim, shape.rope_base, factors)
        return self._rope

    def new_cache(self, batch: int, capacity: int) -> KvCache:
        """Return an empty KV cache for ``batch`` sequences of up to ``capacity`` tokens.

        Raises:
            UserError: more than the model's context.
        """
        shape = self.shape
        if capacity > shape.max_context:
            raise UserError(f"{shape.name}: {capacity} tokens exceed the model's context of {shape.max_context}")
        return KvCache(shape.layers, batch, shape.kv_heads, shape.head_dim, capacity)

    def forward(
        self,
        tokens: np.ndarray,
        cache: KvCache | None = None,
        every_logit: bool = False,
        recorder: Recorder | None = None,
        observer: Observer | None = None,
    ) -> np.ndarray:
        """Run new tokens behind those in ``cache`` and append them to it.

        Args:
            tokens: (B, T) ids, or (T,) for one sequence.
            cache: from :meth:`new_cache`; None = these tokens alone.
            every_logit: logits of all tokens, not of the last only.
            recorder: gets the rows of the trace.
            observer: gets the operands of every operator.

        Returns:
            (B, T or 1, vocab) float32 logits.

        Raises:
            UserError: ids outside the vocabulary, or more tokens than cache or context hold.
        """
        tokens = np.atleast_2d(np.asarray(tokens, np.int64))
        if tokens.size == 0:
            raise UserError(f"{self.shape.name}: no tokens to run: the prompt is empty")
        if tokens.min() < 0 or tokens.max() >= self.shape.vocab:
            bad = tokens.min() if tokens.min() < 0 else tokens.max()
            raise UserError(f"{self.shape.name}: token id {bad} is outside the vocabulary 0..{self.shape.vocab - 1}")
        if cache is None:
            cache = self.new_cache(tokens.shape[0], tokens.shape[1])
        ops = NumericOps(self, cache, recorder, observer)
        logits = forward(self.shape, ops, Value("tokens", tokens), every_logit)
        cache.length += tokens.shape[1]
        result: np.ndarray = logits.data
        return result

    def generate(
        self,
        prompt: Sequence[int] | np.ndarray,
        count: int,
        sampler: Sampler = greedy,
        stop: Sequence[int] = (),
    ) -> Iterator[int]:
        """Yield up to ``count`` new token ids behind a prompt.

        Args:
            prompt: ids, at least one.
            count: most tokens to yield.
            sampler: (vocab,) logits to an id.
            stop: ids that end the text (not yielded).

        Raises:
            UserError: prompt and new tokens exceed the context.
        """
        ids = np.asarray(prompt, np.int64).reshape(1, -1)
        cache = self.new_cache(1, ids.shape[1] + count)
        for _ in range(count):
            chosen = sampler(self.forward(ids, cache)[0, -1])
            if chosen in stop:
                return
            yield chosen
            ids = np.array([[chosen]], np.int64)


def load_model(
    name: str,
    linear_factory: LinearFactory = dense,
    weight_transform: WeightTransform | None = None,
    kv_quantiser: KvQuantiser | None = None,
    progress: Progress | None = None,
) -> Model:
    """Load a model with weights: a registered name (``smollm2-135m``) or the path of a GGUF file.

    Raises:
        UserError: unknown name, weights not in the cache, or a damaged file.
    """
    from lutscape.models.registry import open_checkpoint
    from lutscape.models.tokenizer import Tokenizer

    checkpoint = open_checkpoint(name)
    tokenizer = Tokenizer(checkpoint.file)
    return Model(checkpoint, linear_factory, weight_transform, kv_quantiser, tokenizer, progress)
