"""Gradients by hand against differences of the loss; patches against a plain loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lutscape.models.quantise.vector import Codebooks, codebooks, padded
from lutscape.models.train import fit, layers, network
from lutscape.models.train.lookup import LookupAffine
from lutscape.models.train.soft import SoftAffine, soft_gradients


def slopes(value: Callable[[], float], array: np.ndarray, places: list[tuple[int, ...]], step: float) -> list[float]:
    """Return central differences of a value by elements of an array that it reads."""
    found = []
    for place in places:
        kept = array[place]
        array[place] = kept + step
        above = value()
        array[place] = kept - step
        below = value()
        array[place] = kept
        found.append((above - below) / (2 * step))
    return found


def some(array: np.ndarray, rng: np.random.Generator, count: int = 12) -> list[tuple[int, ...]]:
    return [tuple(int(rng.integers(n)) for n in array.shape) for _ in range(count)]


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_gradients_of_all_parameters(kind: str) -> None:
    """Softmax, affine, pooling, patches and ReLU together; float32, so that differences are good to a percent."""
    rng = np.random.default_rng(1)
    net = network.build(kind, (9, 8, 2), 5, seed=3)
    x, y = rng.standard_normal((6, 9, 8, 2)).astype(np.float32), rng.integers(0, 5, 6)
    logits = net.forward(x, training=True)
    net.backward(fit.cross_entropy(logits, y)[1])

    def loss() -> float:
        logits = net.forward(x).astype(np.float64)
        return float((np.log(np.exp(logits).sum(-1)) - logits[np.arange(6), y]).mean())

    for _, layer in net.affine():
        for name, array in layer.parameters.items():
            places = some(array, rng)
            found = [layer.gradients[name][p] for p in places]
            np.testing.assert_allclose(found, slopes(loss, array, places, 1e-3), rtol=0.03, atol=2e-3)


def test_cross_entropy_of_known_logits() -> None:
    loss, gradient = fit.cross_entropy(np.log(np.array([[1, 2, 5], [1, 1, 2]], np.float32)), np.array([2, 0]))
    assert loss == pytest.approx((np.log(8 / 5) + np.log(4)) / 2, rel=1e-6)
    np.testing.assert_allclose(gradient, [[1 / 16, 2 / 16, -3 / 16], [-3 / 8, 1 / 8, 2 / 8]], rtol=1e-6)


def test_patches_put_the_taps_of_a_channel_side_by_side() -> None:
    x = np.arange(2 * 3 * 4 * 2, dtype=np.float32).reshape(2, 3, 4, 2)
    layer = layers.Patches()
    found = layer.forward(x)
    for b in range(2):
        for i in range(3):
            for j in range(4):
                for c in range(2):
                    for q in range(9):
                        y, z = i + q // 3 - 1, j + q % 3 - 1
                        wanted = x[b, y, z, c] if 0 <= y < 3 and 0 <= z < 4 else 0
                        assert found[b, i, j, 9 * c + q] == wanted
    g = np.random.default_rng(0).standard_normal(found.shape).astype(np.float32)
    assert np.vdot(layer.backward(g), x) == pytest.approx(np.vdot(g, found), rel=1e-5)  # the transpose of the same map


def test_pool_takes_the_greatest_and_sends_the_gradient_there() -> None:
    x = np.array([[1, 2, 9], [4, 3, 9], [9, 9, 9]], np.float32).reshape(1, 3, 3, 1)
    layer = layers.Pool()
    assert layer.forward(x).tolist() == [[[[4.0]]]]
    assert layer.backward(np.ones((1, 1, 1, 1), np.float32))[0, :, :, 0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


def lookup(kind: type[LookupAffine], rng: np.random.Generator, v: int = 3) -> tuple[LookupAffine, np.ndarray]:
    x = rng.standard_normal((40, 8)).astype(np.float32)
    weight, bias = rng.standard_normal((5, 8)).astype(np.float32), rng.standard_normal(5).astype(np.float32)
    return kind("one", weight, bias, codebooks(x, v, 4, "l2", 0)), x


def test_a_lookup_is_the_sum_of_its_tables() -> None:
    rng = np.random.default_rng(2)
    layer, x = lookup(LookupAffine, rng)
    books = layer.books
    wanted = books.decode(books.encode(x)) @ layer.parameters["weight"].T + layer.parameters["bias"]
    np.testing.assert_allclose(layer.forward(x), wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("task", [True, False])
def test_gradients_of_a_lookup(task: bool) -> None:
    """Against differences of loss(forward) + rate (mean (sg(q) - s)² + mean (q - sg(s))²), indices held."""
    rng = np.random.default_rng(4)
    layer, x = lookup(LookupAffine, rng)
    layer.rate, layer.task_gradient = 0.7, task
    pull = rng.standard_normal((40, 5)).astype(np.float32)  # of the task, which is then linear: vdot(pull, result)
    layer.forward(x, training=True)
    to_x = layer.backward(pull)
    parameters, books = layer.parameters, layer.books
    indices = books.encode(x)

    def q() -> np.ndarray:
        now = Codebooks(parameters["centroids"], "l2", 8)
        return now.decode(indices).astype(np.float64) @ parameters["weight"].T.astype(np.float64) + parameters["bias"]

    def s() -> np.ndarray:
        return x.astype(np.float64) @ parameters["weight"].T.astype(np.float64) + parameters["bias"]

    q0, s0 = q(), s()

    def loss() -> float:
        through = q() if task else s()
        return float(np.vdot(pull, through) + 0.7 * (((q0 - s()) ** 2).mean() + ((q() - s0) ** 2).mean()))

    for name, array in parameters.items():
        places = some(array, rng, 20)
        found = [layer.gradients[name][p] for p in places]
        if name == "centroids":  # elements beyond K are no parameters
            places, found = zip(
                *[(p, f) for p, f in zip(places, found, strict=True) if p[0] < 2 or p[2] < 2], strict=True
            )
        np.testing.assert_allclose(found, slopes(loss, array, list(places), 1e-2), rtol=1e-3, atol=1e-3)
    places = some(x, rng)

    def straight() -> float:  # the input sees s alone
        return float(np.vdot(pull, s()) + 0.7 * ((q0 - s()) ** 2).mean())

    np.testing.assert_allclose([to_x[p] for p in places], slopes(straight, x, places, 1e-2), rtol=1e-3, atol=1e-3)
    assert not layer.gradients["centroids"][2, :, 2:].any()


def test_gradients_of_the_soft_assignment() -> None:
    rng = np.random.default_rng(5)
    layer, x = lookup(SoftAffine, rng)
    x, centroids = padded(x, 3), layer.books.centroids.astype(np.float32)
    g, tau = rng.standard_normal(x.shape).astype(np.float32), np.array([1.3])
    to_x, to_centroids, to_tau = soft_gradients(x, centroids, g, 1.3)
    xs, cs = x.astype(np.float64), centroids.astype(np.float64)

    def loss() -> float:
        parts = xs.reshape(40, 3, 1, 3)
        far = ((parts - cs[None]) ** 2).sum(-1)
        p = np.exp(-tau[0] * far)
        p /= p.sum(-1, keepdims=True)
        return float((np.einsum("rkj,kjt->rkt", p, cs).reshape(40, 9) * g).sum())

    for array, gradient in ((xs, to_x), (cs, to_centroids), (tau, np.array([to_tau]))):
        places = some(array, rng)
        np.testing.assert_allclose(
            [gradient[p] for p in places], slopes(loss, array, places, 1e-5), rtol=2e-3, atol=2e-4
        )


def test_a_soft_layer_learns_its_temperature() -> None:
    rng = np.random.default_rng(6)
    layer, x = lookup(SoftAffine, rng)
    layer.parameters["temperature"][:] = 0.4
    pull = rng.standard_normal((40, 5)).astype(np.float32)
    layer.forward(x, training=True)
    assert layer.backward(pull).shape == x.shape
    tau = np.log1p(np.exp(0.4)) + 1
    rows, to_decoded = padded(x, 3), padded(pull @ layer.parameters["weight"], 3)
    to_tau = soft_gradients(rows, layer.books.centroids, to_decoded, tau)[2]
    assert layer.gradients["temperature"][0] == pytest.approx(to_tau / (1 + np.exp(-0.4)), rel=1e-4)


def test_adam_against_its_formulas() -> None:
    layer = layers.Affine("one", np.array([[1.0]], np.float32), np.zeros(1, np.float32))
    optimiser = fit.Adam([(layer, "weight", 0.1), (layer, "bias", 0.0)])
    w, m, s = 1.0, 0.0, 0.0
    for step, g in enumerate((0.5, -0.25, 2.0), 1):
        layer.gradients = {"weight": np.array([[g]], np.float32), "bias": np.ones(1, np.float32)}
        optimiser.step()
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        w -= 0.1 * (m / (1 - 0.9**step)) / (np.sqrt(s / (1 - 0.999**step)) + 1e-8)
        assert layer.parameters["weight"].item() == pytest.approx(w, rel=1e-4)
    assert layer.parameters["bias"].item() == 0  # a rate of zero: frozen


def test_every_image_comes_once_before_any_comes_again() -> None:
    found = list(fit.batches(10, 6, np.random.default_rng(0), size=5))
    for epoch in range(3):
        assert sorted(np.concatenate(found[2 * epoch : 2 * epoch + 2]).tolist()) == list(range(10))
