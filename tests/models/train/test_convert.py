"""Data sets, checkpoints and the stages of a conversion, on small made-up images."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.models.train import checkpoint, data
from lutscape.models.train.convert import convert
from lutscape.models.train.data import Images
from lutscape.models.train.lookup import LookupAffine
from lutscape.models.train.lutboost import Plan

PLAN = Plan(rows=256, calibrate_steps=10, joint_steps=30)


def write_npz(path: Path, rows: int = 400, side: int = 8, **changes: np.ndarray) -> Path:
    """Write images whose class is the quarter with the bright spot."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for part, count in (("train", rows), ("test", rows // 2)):
        y = rng.integers(0, 4, count)
        x = rng.normal(0, 30, (count, side, side)) + 60
        half = side // 2
        for i, label in enumerate(y):
            x[i, half * (label // 2) :, half * (label % 2) :][:half, :half] += 90
        arrays |= {f"x_{part}": np.clip(x, 0, 255).astype(np.uint8), f"y_{part}": y.astype(np.uint8)}
    np.savez(path, **{k: v for k, v in (arrays | changes).items() if v is not None})
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return data.load(str(write_npz(tmp_path_factory.mktemp("data") / "spots.npz")))


def test_a_data_set_is_standardised(images: Images) -> None:
    assert images.shape == (8, 8, 1)
    assert images.classes == 4
    assert images.x_train.mean() == pytest.approx(0, abs=1e-5)
    assert images.x_train.std() == pytest.approx(1, abs=1e-5)
    assert len(images.part(100).x_train) == 100
    assert images.part(100).sha256 != images.sha256


@pytest.mark.parametrize(("kind", "v"), [("mlp", 4), ("cnn", 9)])
def test_every_stage_leaves_a_network_that_works(images: Images, kind: str, v: int) -> None:
    found = convert(images, kind, replace(PLAN, v=v), seed=0, epochs=15)
    assert [s.name for s in found.stages] == ["train", "replace", "calibrate", "joint"]
    assert found.accuracies["train"] > 0.9
    assert found.accuracies["joint"] > 0.8
    assert set(found.layers()) == {layer.name for _, layer in found.network.affine()}
    for layer in found.layers().values():
        assert (layer.tables.dtype, layer.centroids.dtype) == (np.int8, np.int16)
    exact = {name: (lambda x, own=layer: own.forward(x)) for layer in _lookups(found) for name in [layer.name]}
    assert found.computed_by(exact).accuracy(images.x_test, images.y_test) == found.accuracies["joint"]


def _lookups(found) -> list[LookupAffine]:  # type: ignore[no-untyped-def]
    return [layer for _, layer in found.network.affine() if isinstance(layer, LookupAffine)]


def test_the_trained_encoder_chooses_as_the_machine_does(images: Images) -> None:
    from lutscape.sim.lut_dla import golden

    found = convert(images, "cnn", replace(PLAN, v=9, input_bits=8), seed=1, epochs=1)
    inputs = found.network.inputs(images.x_test[:50])
    for name, layer in found.layers().items():
        (own,) = [lookup for lookup in _lookups(found) if lookup.name == name]
        whole = layer.quantise(inputs[name])
        np.testing.assert_array_equal(golden.encode(whole, layer.centroids, "l2"), own.encode(inputs[name]))
    plain = convert(images, "cnn", replace(PLAN, v=9), seed=1, epochs=1)
    assert any(
        not np.array_equal(a.parameters["centroids"], b.parameters["centroids"])
        for a, b in zip(_lookups(found), _lookups(plain), strict=True)
    )


def test_calibration_moves_centroids_alone(images: Images) -> None:
    before = convert(images, "mlp", replace(PLAN, calibrate_steps=0, joint_steps=0), seed=0, epochs=3)
    after = convert(images, "mlp", replace(PLAN, joint_steps=0), seed=0, epochs=3)
    for a, b in zip(_lookups(before), _lookups(after), strict=True):
        np.testing.assert_array_equal(a.parameters["weight"], b.parameters["weight"])
        assert not np.array_equal(a.parameters["centroids"], b.parameters["centroids"])


def test_soft_assignment_runs_and_learns_a_temperature(images: Images) -> None:
    found = convert(images, "mlp", replace(PLAN, variant="soft"), seed=0, epochs=5)
    assert found.accuracies["joint"] > 0.7
    assert all(layer.parameters["temperature"][0] != 0 for layer in _lookups(found))


def test_layers_can_be_kept(images: Images) -> None:
    found = convert(images, "cnn", replace(PLAN, v=9, keep=("conv1",), joint_steps=2), seed=0, epochs=1)
    assert set(found.layers()) == {"conv2", "linear"}


def test_equal_seeds_give_equal_bits_and_stages_resume(images: Images, tmp_path: Path) -> None:
    plain = convert(images, "mlp", PLAN, seed=5, epochs=2)
    first = convert(images, "mlp", PLAN, seed=5, epochs=2, folder=tmp_path)
    files = sorted(p.name.partition("-")[0] for p in tmp_path.iterdir())
    assert files == ["calibrate", "joint", "replace", "train"]
    (broken,) = tmp_path.glob("joint-*")
    broken.write_bytes(broken.read_bytes()[:-400])  # a damaged stage is computed again, from the one before
    calls: list[str] = []
    again = convert(
        images, "mlp", PLAN, seed=5, epochs=2, folder=tmp_path, progress=lambda what, done, total: calls.append(what)
    )
    assert set(calls) == {"joint"}
    for name, array in plain.network.state().items():
        np.testing.assert_array_equal(array, first.network.state()[name])
        np.testing.assert_array_equal(array, again.network.state()[name])
    other = convert(images, "mlp", PLAN, seed=6, epochs=2)
    assert not np.array_equal(other.network.state()["1.weight"], plain.network.state()["1.weight"])
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_a_checkpoint_of_another_run_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    checkpoint.save(path, "key", {"x": np.arange(3)}, {"name": "train"})
    assert checkpoint.load(path, "other") is None
    assert checkpoint.load(tmp_path / "none.npz", "key") is None
    arrays, about = checkpoint.load(path, "key") or ({}, {})
    assert (arrays["x"].tolist(), about) == ([0, 1, 2], {"name": "train"})
    changed = dict(np.load(path))
    changed["x"] = np.arange(1, 4)
    np.savez(path, **changed)
    assert checkpoint.load(path, "key") is None


def test_idx_files(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\x02" + (2).to_bytes(4, "big") + (3).to_bytes(4, "big") + bytes(range(6))))
    assert data.idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
    for content, text in (
        (b"\0\0\x08\x01" + (9).to_bytes(4, "big") + b"12", "2 bytes of data; its header says 9"),
        (b"\0\0\x0d\x01", "no IDX file of bytes: begins with 00000d01"),
    ):
        path.write_bytes(gzip.compress(content))
        with pytest.raises(UserError, match=re.escape(text)):
            data.idx(path)
    path.write_bytes(b"plain")
    with pytest.raises(UserError, match="damaged or no gzip file"):
        data.idx(path)


def test_fashion_mnist_that_is_not_there_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape("get it with: sudo apt-get install dataset-fashion-mnist, or name")):
        data.load("fashion-mnist", tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"y_test": None}, "has no y_test; it holds"),
        ({"x_test": np.zeros((200, 7, 8))}, "x_train is (400, 8, 8, 1), x_test (200, 7, 8, 1); images must agree"),
        ({"x_train": np.zeros((400, 64))}, "x_train is float64 of shape (400, 64); needed: numbers, (R, H, W)"),
        ({"y_train": np.zeros(399, int)}, "y_train is int64 of shape (399,); needed: integers of shape (400,)"),
        ({"y_train": np.full(400, -1)}, "y_train holds -1 … -1; allowed: 0 … 999"),
        ({"x_train": np.full((400, 8, 8), np.nan)}, "x_train holds 25600 values that are no number"),
    ],
)
def test_data_sets_of_another_shape(tmp_path: Path, changes: dict, text: str) -> None:
    with pytest.raises(UserError, match=re.escape(text)):
        data.load(str(write_npz(tmp_path / "bad.npz", **changes)))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"keep": ("liner1",)}, "unknown layer to keep 'liner1' (did you mean 'linear1'?); allowed: linear1, linear2"),
        ({"keep": ("linear1", "linear2", "linear3")}, "all layers are kept"),
        ({"c": 10}, "c = 10; must be a power of two, 2 to 1024; nearest: 8 or 16"),
        ({"variant": "sotf"}, "unknown variant 'sotf' (did you mean 'soft'?)"),
        ({"variant": "soft", "metric": "l1"}, "soft assignment is defined for metric 'l2', not 'l1'"),
    ],
)
def test_bad_plans_end_before_anything_is_trained(images: Images, changes: dict, text: str) -> None:
    calls: list[str] = []
    with pytest.raises(UserError, match=re.escape(text)):
        convert(images, "mlp", replace(PLAN, **changes), 0, progress=lambda what, *_: calls.append(what))
    assert calls == []


def test_a_loss_that_is_no_number_is_named(images: Images) -> None:
    broken = replace(images, x_train=images.x_train * np.float32(np.inf))
    with np.errstate(all="ignore"), pytest.raises(UserError, match="mlp: train: the loss is nan in step 1 of"):
        convert(broken, "mlp", PLAN, 0, epochs=1)
