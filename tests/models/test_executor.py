"""The executor against a plain float64 re-implementation, for every kind of model."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.models.checkpoint import RandomCheckpoint
from lutscape.models.executor import Model, dense
from lutscape.models.sampling import RandomSampler, greedy
from lutscape.models.shape import ModelShape

Shape = Callable[..., ModelShape]
KINDS: dict[str, dict] = {
    "llama": {},
    "untied, wide heads": {"tied_embeddings": False, "head_dim": 24},
    "qwen": {"bias": "qkv", "rope_base": 1e6, "norm_eps": 1e-6},
    "bitnet": {"sub_norms": True, "activation": "relu2_glu", "kv_heads": 4},
    "opt": {"norm": "layernorm", "activation": "relu", "position": "learned", "bias": "all", "kv_heads": 4},
    "bloom": {
        "norm": "layernorm",
        "activation": "gelu",
        "position": "alibi",
        "bias": "all",
        "embed_norm": True,
        "heads": 6,
        "kv_heads": 6,
    },
    "mixtral": {"experts": 4, "experts_per_token": 2},
    "experts with everything": {"experts": 3, "experts_per_token": 3, "sub_norms": True, "bias": "all"},
}


def reference_logits(shape: ModelShape, weights: RandomCheckpoint, tokens: list[int]) -> np.ndarray:
    """Return (T, vocab) float64 logits, one token, head and expert at a time."""

    def w(name: str) -> np.ndarray:
        return weights.tensor(name).astype(np.float64)

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        if shape.norm == "rmsnorm":
            return x / math.sqrt(sum(v * v for v in x) / len(x) + shape.norm_eps) * w(name)
        mean = sum(x) / len(x)
        variance = sum((v - mean) ** 2 for v in x) / len(x)
        return (x - mean) / math.sqrt(variance + shape.norm_eps) * w(name) + w(name + ".bias")

    def linear(name: str, x: np.ndarray) -> np.ndarray:
        y = w(name) @ x
        role = name.split(".")[-1]
        if (shape.bias == "all" and role not in ("router", "lm_head")) or (shape.bias == "qkv" and role in "qkv"):
            y = y + w(name + ".bias")
        return y

    def rotate(x: np.ndarray, position: int) -> np.ndarray:
        half = len(x) // 2
        y = x.copy()
        for i in range(half):
            a, b = (2 * i, 2 * i + 1) if weights.rope_pairs == "adjacent" else (i, i + half)
            turn = complex(x[a], x[b]) * np.exp(1j * position * shape.rope_base ** (-2 * i / len(x)))
            y[a], y[b] = turn.real, turn.imag
        return y

    def act(v: float) -> float:
        if shape.activation == "swiglu":
            return v / (1 + math.exp(-v))
        if shape.activation == "gelu":
            return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))
        return max(v, 0.0) ** (2 if shape.activation == "relu2_glu" else 1)

    def feed_forward(at: str, x: np.ndarray) -> np.ndarray:
        first = linear(f"{at}.gate" if shape.gated else f"{at}.up", x)
        h = np.array([act(v) for v in first])
        if shape.gated:
            h = h * linear(f"{at}.up", x)
        return linear(f"{at}.down", norm(f"{at}.ffn_sub_norm", h) if shape.sub_norms else h)

    def slope(head: int) -> float:
        below = 2 ** math.floor(math.log2(shape.heads))
        return 2 ** (-8 * (head + 1) / below) if head < below else 2 ** (-4 * (2 * (head - below) + 1) / below)

    d = shape.head_dim
    xs = []
    for position, token in enumerate(tokens):
        x = w("embed")[token]
        if shape.position == "learned":
            x = x + w("positions")[position]
        xs.append(norm("embed_norm", x) if shape.embed_norm else x)
    for layer in range(shape.layers):
        at = f"layers.{layer}"
        hs = [norm(f"{at}.attn_norm", x) for x in xs]
        qs, ks, vs = ([linear(f"{at}.{role}", h).reshape(-1, d) for h in hs] for role in "qkv")
        for t, x in enumerate(xs):
            heads = []
            for head in range(shape.heads):
                source = head * shape.kv_heads // shape.heads
                scores = []
                for s in range(t + 1):
                    q, k = qs[t][head], ks[s][source]
                    if shape.position == "rope":
                        q, k = rotate(q, t), rotate(k, s)
                    score = q @ k / math.sqrt(d)
                    scores.append(score + slope(head) * (s - t) if shape.position == "alibi" else score)
                p = np.exp(np.array(scores) - max(scores))
                p /= p.sum()
                heads.append(sum(p[s] * vs[s][source] for s in range(t + 1)))
            a = np.concatenate(heads)
            xs[t] = x + linear(f"{at}.o", norm(f"{at}.sub_norm", a) if shape.sub_norms else a)
        for t, x in enumerate(xs):
            h = norm(f"{at}.ffn_norm", x)
            if not shape.experts:
                xs[t] = x + feed_forward(at, h)
                continue
            router = linear(f"{at}.router", h)
            best = sorted(range(shape.experts), key=lambda e: -router[e])[: shape.experts_per_token]
            share = np.exp(router[best] - router[best].max())
            share /= share.sum()
            xs[t] = x + sum(p * feed_forward(f"{at}.experts.{e}", h) for e, p in zip(best, share, strict=True))
    return np.array([w("lm_head") @ norm("final_norm", x) for x in xs])


@pytest.mark.parametrize("pairs", ["adjacent", "halves"])
@pytest.mark.parametrize("kind", KINDS)
def test_logits_agree_with_float64(tiny_shape: Shape, kind: str, pairs: str) -> None:
    shape = tiny_shape(**KINDS[kind])
    weights = RandomCheckpoint(shape, 7, pairs)
    tokens = np.random.default_rng(1).integers(0, shape.vocab, 11)
    expected = reference_logits(shape, weights, tokens.tolist())
    ours = Model(weights).forward(tokens, every_logit=True)[0]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, rtol=0, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
def test_prefill_equals_one_token_at_a_time(tiny_shape: Shape, kind: str) -> None:
    shape = tiny_shape(**KINDS[kind])
    model = Model(RandomCheckpoint(shape, 3))
    tokens = np.random.default_rng(2).integers(0, shape.vocab, (2, 9))
    whole = model.forward(tokens, every_logit=True)
    cache = model.new_cache(2, 9)
    steps = [model.forward(tokens[:, :4], cache, every_logit=True)]
    steps += [model.forward(tokens[:, t : t + 1], cache, every_logit=True) for t in range(4, 9)]
    np.testing.assert_allclose(np.concatenate(steps, 1), whole, rtol=0, atol=1e-4 * np.abs(whole).max())
    assert cache.length == 9


def test_sequences_of_a_batch_do_not_mix(tiny_shape: Shape) -> None:
    model = Model(RandomCheckpoint(tiny_shape(), 3))
    tokens = np.random.default_rng(2).integers(0, model.shape.vocab, (3, 7))
    together = model.forward(tokens)
    alone = np.concatenate([model.forward(row) for row in tokens])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-4 * np.abs(alone).max())


def test_blocks_of_queries_do_not_change_attention(tiny_shape: Shape, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model(RandomCheckpoint(tiny_shape(position="alibi"), 3))
    tokens = np.random.default_rng(2).integers(0, model.shape.vocab, (2, 23))
    whole = model.forward(tokens, every_logit=True)
    monkeypatch.setattr("lutscape.models.kernels.QUERY_BLOCK", 5)
    np.testing.assert_allclose(model.forward(tokens, every_logit=True), whole, rtol=0, atol=1e-4)


def test_rope_factors_slow_the_rotation(tiny_shape: Shape) -> None:
    shape = tiny_shape()
    plain, scaled = RandomCheckpoint(shape, 3), RandomCheckpoint(shape, 3)
    scaled.rope_factors = np.full(shape.head_dim // 2, 4.0, np.float32)
    tables, slow = Model(plain).rope_tables, Model(scaled).rope_tables
    np.testing.assert_allclose(slow[0][8], tables[0][2], atol=1e-6)
    np.testing.assert_allclose(slow[1][8], tables[1][2], atol=1e-6)


def test_linear_layers_come_from_outside(tiny_shape: Shape) -> None:
    shape = tiny_shape(bias="qkv")
    calls: list[tuple[str, tuple[int, ...]]] = []

    def factory(name: str, weight: np.ndarray, bias: np.ndarray | None) -> Callable:
        assert (bias is not None) == (name.split(".")[-1] in "qkv")
        layer = dense(name, weight, bias)

        def run(x: np.ndarray) -> np.ndarray:
            assert x.ndim == 2
            assert x.dtype == np.float32
            calls.append((name, x.shape))
            return layer(x)

        return run

    weights = RandomCheckpoint(shape, 3)
    model = Model(weights, factory)
    logits = model.forward(np.arange(10).reshape(2, 5))
    np.testing.assert_array_equal(logits, Model(weights).forward(np.arange(10).reshape(2, 5)))
    first = [f"layers.0.{role}" for role in ("q", "k", "v", "o", "gate", "up", "down")]
    assert [name for name, _ in calls[:7]] == first
    assert calls[0][1] == (10, 64)
    assert calls[-1] == ("lm_head", (2, 64))


@pytest.mark.parametrize("rows", [1, 8, 9, 30])
def test_dense_layer(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((rows, 57), (31, 57), (31,)))
    expected = x.astype(np.float64) @ w.T.astype(np.float64)
    np.testing.assert_allclose(dense("", w, None)(x), expected, atol=1e-5)
    np.testing.assert_allclose(dense("", w, b)(x), expected + b, atol=1e-5)
    monkeypatch.delattr(np, "vecdot", raising=False)  # numpy 1
    np.testing.assert_allclose(dense("", w, b)(x), expected + b, atol=1e-5)


def test_variant_shares_what_it_does_not_change(tiny_shape: Shape) -> None:
    model = Model(RandomCheckpoint(tiny_shape(), 3))
    other = model.variant(weight_transform=lambda name, w: w * 0 if name.endswith(".down") else w)
    assert other.matrices["layers.0.q"] is model.matrices["layers.0.q"]
    assert other.matrices["lm_head"] is other.matrices["embed"] is model.matrices["embed"]
    assert not other.matrices["layers.1.down"].any()
    assert model.matrices["layers.1.down"].any()
    assert not np.array_equal(model.forward([1, 2]), other.forward([1, 2]))


def test_kv_quantiser_sees_keys_and_values(tiny_shape: Shape) -> None:
    shape = tiny_shape()
    seen = []

    def quantiser(x: np.ndarray) -> np.ndarray:
        seen.append(x.shape)
        return x

    Model(RandomCheckpoint(shape, 3), kv_quantiser=quantiser).forward(np.arange(6).reshape(2, 3))
    assert seen == [(2, shape.kv_heads, 3, shape.head_dim)] * 2 * shape.layers


def test_context_overflow(tiny_shape: Shape) -> None:
    model = Model(RandomCheckpoint(tiny_shape(), 3))
    with pytest.raises(UserError, match=r"^tiny: 65 tokens exceed the model's context of 64$"):
        model.forward(np.zeros(65, int))
    with pytest.raises(UserError, match=r"^tiny: 70 tokens exceed the model's context of 64$"):
        list(model.generate([1, 2], 68))
    cache = model.new_cache(1, 4)
    model.forward([1, 2, 3], cache)
    with pytest.raises(UserError, match=r"^tiny: 5 tokens do not fit the 4 of the KV cache$"):
        model.forward([1, 2], cache)


def test_bad_tokens(tiny_shape: Shape) -> None:
    model = Model(RandomCheckpoint(tiny_shape(), 3))
    last = model.shape.vocab - 1
    with pytest.raises(UserError, match=rf"^tiny: token id {last + 1} is outside the vocabulary 0\.\.{last}$"):
        model.forward([0, last + 1])
    with pytest.raises(UserError, match=r"^tiny: token id -1 is outside"):
        model.forward([-1])
    with pytest.raises(UserError, match=r"^tiny: no tokens to run: the prompt is empty$"):
        list(model.generate([], 3))


def test_generation_is_greedy_and_stops(tiny_shape: Shape) -> None:
    model = Model(RandomCheckpoint(tiny_shape(), 3))
    text = list(model.generate([5, 6], 6))
    ids = [5, 6]
    for token in text:
        assert token == int(model.forward(ids)[0, -1].argmax())
        ids.append(token)
    stop = text[3]
    assert list(model.generate([5, 6], 6, stop=[stop])) == text[: text.index(stop)]


def test_sampling_follows_the_distribution() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], np.float32))
    draws = np.bincount([RandomSampler(seed=s)(logits) for s in range(2000)], minlength=4) / 2000
    np.testing.assert_allclose(draws, [0.5, 0.3, 0.15, 0.05], atol=0.04)
    assert {RandomSampler(top_k=2, seed=s)(logits) for s in range(200)} == {0, 1}
    assert {RandomSampler(top_p=0.5, seed=s)(logits) for s in range(200)} == {0}
    assert {RandomSampler(top_p=0.51, seed=s)(logits) for s in range(200)} == {0, 1}
    cold = [RandomSampler(temperature=0.05, seed=s)(logits) for s in range(200)]
    assert cold == [0] * 200
    assert greedy(np.array([1.0, 3.0, 3.0])) == 1


def test_sampling_is_seeded(tiny_shape: Shape) -> None:
    model = Model(RandomCheckpoint(tiny_shape(), 3))
    texts = [list(model.generate([5], 20, RandomSampler(seed=s))) for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": -1.0}, "temperature -1.0: must be > 0 here; 0 means greedy"),
        ({"top_k": -1}, "top-k -1: must be ≥ 0; 0 keeps all tokens"),
        ({"top_p": 0.0}, "top-p 0.0: must be in (0, 1]"),
        ({"top_p": 1.5}, "top-p 1.5: must be in (0, 1]"),
    ],
)
def test_bad_sampling(arguments: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        RandomSampler(**arguments)
    assert str(caught.value) == message
