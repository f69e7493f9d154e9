"""Perplexity, KL and paired errors against sums written out by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.models import perplexity
from lutscape.models.checkpoint import RandomCheckpoint
from lutscape.models.executor import Model
from lutscape.models.quantise.recipe import Recipe
from lutscape.models.shape import ModelShape


@pytest.fixture(scope="module")
def pair(tiny_shape: Callable[..., ModelShape]) -> tuple[Model, Model]:
    reference = Model(RandomCheckpoint(tiny_shape(), 1))
    recipe = Recipe(weights="int3-g32", activations="int8", kv="int4")
    return reference, reference.variant(recipe.linear_factory, recipe.weight_transform, recipe.kv_quantiser)


def by_hand(pair: tuple[Model, Model], windows: np.ndarray) -> np.ndarray:
    """Return (4, windows, tokens): nll of both, KL, agreement."""
    rows = []
    for window in windows:
        logits = [m.forward(window, every_logit=True)[0].astype(np.float64) for m in pair]
        p, q = (np.exp(y - y.max(-1, keepdims=True)) for y in logits)
        p, q = p / p.sum(-1, keepdims=True), q / q.sum(-1, keepdims=True)
        for t, target in enumerate(window[1:]):
            kl = sum(a * math.log(a / b) for a, b in zip(p[t], q[t], strict=True))
            rows.append([-math.log(p[t, target]), -math.log(q[t, target]), kl, p[t].argmax() == q[t].argmax()])
    return np.array(rows, float).reshape(len(windows), -1, 4).transpose(2, 0, 1)


@pytest.mark.parametrize(("count", "blocks"), [(3, "tokens"), (9, "windows")])
def test_equals_sums_by_hand(
    pair: tuple[Model, Model], count: int, blocks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perplexity, "_ROWS", 5)
    windows = np.random.default_rng(0).integers(0, pair[0].shape.vocab, (count, 13))
    result = perplexity.evaluate(*pair, windows)
    scores = by_hand(pair, windows)
    assert (result.tokens, result.windows, result.blocks) == (count * 12, count, blocks)
    expected = [scores[0], scores[1], scores[1] - scores[0], scores[2], scores[3]]
    found = [result.reference_nll, result.quantised_nll, result.delta_nll, result.kl, result.top1]
    for values, mean in zip(expected, found, strict=True):
        samples = values.mean(-1) if blocks == "windows" else values.ravel()
        assert mean is not None
        assert mean.value == pytest.approx(values.mean(), abs=1e-5)
        assert mean.error == pytest.approx(samples.std(ddof=1) / math.sqrt(len(samples)), abs=1e-5)
    assert result.reference_perplexity.value == pytest.approx(math.exp(scores[0].mean()), rel=1e-5)


def test_a_model_against_itself(pair: tuple[Model, Model]) -> None:
    windows = np.random.default_rng(0).integers(0, pair[0].shape.vocab, (8, 10))
    result = perplexity.evaluate(pair[0], pair[0].variant(), windows)
    assert result.delta_nll == perplexity.Mean(0.0, 0.0)
    assert result.top1 == perplexity.Mean(1.0, 0.0)
    assert result.kl is not None
    assert abs(result.kl.value) < 1e-7
    alone = perplexity.evaluate(pair[0], None, windows)
    assert alone.reference_nll == result.reference_nll
    assert alone.kl is None
    assert [line[0] for line in alone.lines()] == ["perplexity, reference"]


def test_windows(tiny_shape: Callable[..., ModelShape]) -> None:
    shape = tiny_shape()
    assert perplexity.windows(range(100), 10, 35, shape).tolist() == [list(range(i, i + 10)) for i in (0, 10, 20)]
    for arguments, message in (
        ((range(9), 10, 100), "the text (9 tokens) does not fill one window of 10 tokens; lower --context"),
        ((range(99), 10, 5), "--tokens 5 does not fill one window of 10 tokens; lower --context"),
        ((range(99), 65, 99), "context 65 exceeds the 64 of tiny"),
    ):
        with pytest.raises(UserError) as caught:
            perplexity.windows(*arguments, shape)
        assert str(caught.value) == message
