"""Converted layers: the store, tables that are fitted, a language model, ``lutscape dla``."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lutscape import cli
from lutscape.hw.errors import UserError
from lutscape.models.quantise import vector, vector_linear, vector_store
from lutscape.models.trace import Trace
from lutscape.sim.lut_dla.linear import LookupLinear

QUICK = ("--epochs", 2, "--calibrate-steps", 5, "--joint-steps", 10, "--rows", 256)


@pytest.fixture
def lutscape(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run a command line in this process, with a cache of its own; return exit code, stdout, stderr."""
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path / "cache"))

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lutscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def layer(seed: int = 0, columns: int = 10) -> tuple[vector.VectorLayer, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, weight = rng.standard_normal((300, columns)).astype(np.float32), rng.standard_normal((6, columns))
    books = vector.codebooks(x, 4, 16, "l2", 0)
    bias = np.arange(6, dtype=np.float32)
    return vector.integer_layer(books, weight.astype(np.float32), bias, np.abs(x).max(axis=0)), x, weight


def images(path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for part, count in (("train", 300), ("test", 100)):
        y = rng.integers(0, 3, count)
        x = rng.normal(60, 20, (count, 8, 8))
        x[np.arange(count), 2 * y + 1] += 120
        arrays |= {f"x_{part}": x.clip(0, 255).astype(np.uint8), f"y_{part}": y}
    np.savez(path, **arrays)
    return path


def test_what_was_written_is_what_is_read(tmp_path: Path) -> None:
    one, x, _ = layer()
    about = {"network": "test"}
    manifest = vector_store.write(tmp_path / "out", {"a.b": one}, about, {"network.yaml": "kind: network\n"})
    layers, again = vector_store.read(tmp_path / "out")
    assert again == manifest
    assert again["layers"][0] | {"sha256": ""} == {
        "name": "a.b", "file": "layers/a.b.npz", "sha256": "", "n": 6, "k": 10, "v": 4, "c": 16, "subspaces": 3,
        "metric": "l2", "input_bits": 8, "table_bits": 8, "table_scale": one.table_scale, "table_bytes": 3 * 16 * 6,
        "unused_centroids": again["layers"][0]["unused_centroids"],
    }  # fmt: skip
    np.testing.assert_array_equal(LookupLinear(layers["a.b"])(x), LookupLinear(one)(x))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["layers", "manifest.json", "network.yaml"]


def test_the_kernels_of_a_layer_agree_and_come_close_to_the_product() -> None:
    one, x, weight = layer(columns=12)
    fast, plain = LookupLinear(one)(x), LookupLinear(one, kernel="plain")(x)
    np.testing.assert_array_equal(fast, plain)
    exact = x @ weight.T + np.arange(6)
    assert np.corrcoef(fast.ravel(), exact.ravel())[0, 1] > 0.8


def test_nothing_else_is_ever_replaced(tmp_path: Path) -> None:
    one, _, _ = layer()
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(UserError, match="exists and is no converted network; name another folder"):
        vector_store.write(folder, {"a": one}, {}, force=True)
    folder.rmdir()
    vector_store.write(folder, {"a": one}, {"turn": 1})
    with pytest.raises(UserError, match="holds a converted network; name another folder, or replace it with --force"):
        vector_store.write(folder, {"a": one}, {"turn": 2})
    vector_store.write(folder, {"a": one}, {"turn": 3}, force=True)
    assert vector_store.read(folder)[1]["turn"] == 3
    with pytest.raises(UserError, match=r"the folder '.*none' does not exist"):
        vector_store.write(tmp_path / "none" / "out", {"a": one}, {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, _, _ = layer()
    vector_store.write(tmp_path / "out", {"a": one}, {"turn": 1})

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(UserError, match="cannot be written: No space left on device"):
        vector_store.write(tmp_path / "out", {"a": one}, {"turn": 2}, force=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    assert vector_store.read(tmp_path / "out")[1]["turn"] == 1


def test_damaged_artefacts_are_named(tmp_path: Path) -> None:
    one, _, _ = layer()
    vector_store.write(tmp_path / "out", {"a": one}, {})
    file = tmp_path / "out" / "layers" / "a.npz"
    np.savez(file, **{**dict(np.load(file)), "tables": one.tables + 1})
    with pytest.raises(UserError, match=r"a\.npz: SHA-256 [0-9a-f]+, the manifest says"):
        vector_store.read(tmp_path / "out")
    file.unlink()
    with pytest.raises(UserError, match=r"a\.npz: missing or damaged"):
        vector_store.read(tmp_path / "out")
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    with pytest.raises(UserError, match="schema version 9, this lutscape reads 1; convert again"):
        vector_store.read(tmp_path / "out")
    with pytest.raises(UserError, match="holds no converted network; write one with: lutscape dla convert"):
        vector_store.read(tmp_path)


@pytest.mark.parametrize("rows", [40, 400])
def test_fitted_tables_are_the_ridge_regression(rows: int) -> None:
    """Both forms of the solution, against the stationary point of the regularised sum of squares."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((rows, 9)) @ rng.standard_normal((9, 9))  # correlated columns: indices tell of the others
    x = x.astype(np.float32)
    books = vector.codebooks(x, 3, 16, "l2", 0)
    found = vector_linear.corrections(books, x, 0.1)
    assert found.shape == (48, 9)
    indices = books.encode(x)
    hot = np.zeros((rows, 3, 16))
    for r in range(rows):
        for k in range(3):
            hot[r, k, indices[r, k]] = 1
    hot = hot.reshape(rows, 48)
    left = (x - books.decode(indices)) - hot @ found
    np.testing.assert_allclose(hot.T @ left, 0.1 * rows / 16 * found, atol=1e-3)
    assert (left**2).sum() < 0.9 * ((x - books.decode(indices)) ** 2).sum()


def test_inputs_are_sampled_once_for_all_their_readers(tiny_gguf: Path) -> None:
    from lutscape.models.executor import load_model

    model = load_model(str(tiny_gguf))
    windows = np.random.default_rng(0).integers(3, 200, (4, 16))
    names = vector_linear.chosen_layers(model, ())
    assert len(names) == 14
    found = vector_linear.sample_inputs(model, windows, names, 20, seed=1)
    assert list(found) == names
    assert found["layers.0.q"].shape == (20, 64)
    assert found["layers.0.q"] is found["layers.0.k"] is found["layers.0.v"]
    assert found["layers.1.gate"] is found["layers.1.up"]
    assert found["layers.1.down"].shape == (20, 96)
    assert vector_linear.chosen_layers(model, ("down", "layers.1.q")) == [
        "layers.0.down",
        "layers.1.q",
        "layers.1.down",
    ]
    with pytest.raises(UserError, match=re.escape("unknown layer 'dwn' (did you mean 'down'?); roles: down, gate")):
        vector_linear.chosen_layers(model, ("dwn",))


def test_convert_a_classifier_and_simulate_it(lutscape, tmp_path: Path) -> None:
    data, out = images(tmp_path / "rows.npz"), tmp_path / "out"
    make = ("dla", "convert", "cnn", "-o", out, "--data", data, "--keep", "none", *QUICK)
    code, text, err = lutscape(*make)
    assert (code, err) == (0, "")
    assert "of test images right" in text
    code, text, _ = lutscape("dla", "show", out, "--json")
    manifest = json.loads(text)
    assert [(e["name"], e["k"], e["n"], e["v"]) for e in manifest["layers"]] == [
        ("conv1", 9, 16, 9), ("conv2", 144, 32, 9), ("linear", 128, 3, 9),
    ]  # fmt: skip
    assert set(manifest["accuracy"]) == {"train", "replace", "calibrate", "joint", "integer"}
    trace = tmp_path / "t.parquet"
    assert lutscape("trace", out / "network.yaml", "--batch", 5, "--decode-tokens", 0, "-o", trace)[0] == 0
    rows = Trace.load(trace).rows
    linear = rows[rows["kind"] == "linear"]
    assert linear[["M", "N", "K"]].values.tolist() == [[5 * 64, 16, 9], [5 * 16, 32, 144], [5, 3, 128]]
    assert lutscape(*make, "--json")[0] == 2  # there already
    code, text, _ = lutscape(*make, "--force", "--json")
    again = json.loads(text)
    assert (code, again["accuracy"]) == (0, manifest["accuracy"])


def test_convert_a_language_model(lutscape, tiny_gguf: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the thing in the ring, 12 times: " * 40)
    make = ("dla", "convert", tiny_gguf, "--text", text, "--context", 32, "--tokens", 64, "--rows", 200, "--json")
    code, out, _ = lutscape(*make, "-o", tmp_path / "all")
    assert code == 0
    found = json.loads(out)
    assert len(found["layers"]) == 14
    assert found["perplexity"]["kl"]["value"] > 0
    finer = json.loads(lutscape(*make, "--v", 1, "--c", 64, "-o", tmp_path / "fine")[1])
    assert finer["perplexity"]["kl"]["value"] < found["perplexity"]["kl"]["value"]
    assert json.loads(lutscape(*make, "--layers", "down", "-o", tmp_path / "down")[1])["plan"]["layers"] == ["down"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("mlp", "--c", 12), "codebook: c = 12; must be a power of two, 2 to 1024; nearest: 8 or 16"),
        (("mlp", "--v", 40), "codebook: v = 40; allowed: 1 to 32"),
        (("mlp", "--metric", "chebishev"), "unknown metric 'chebishev' (did you mean 'chebyshev'?)"),
        (("mlp", "--data", "fasion-mnist"), "neither fashion-mnist (did you mean 'fashion-mnist'?) nor the path of an"),
        (("mlp", "--data", "none.npz"), "data set 'none.npz' not found; get it with: sudo apt-get install"),
        (("mlp", "--layers", "down"), "--layers is for language models; mlp is trained here on images"),
        (("tiny", "--keep", "q"), "are for mlp and cnn; a language model is not trained here"),
        (("smolm2-135m",), "model 'smolm2-135m' not found (did you mean 'smollm2-135m'?)"),
    ],
)
def test_bad_calls_end_in_one_line_and_leave_nothing(lutscape, tmp_path: Path, arguments: tuple, text: str) -> None:
    code, out, err = lutscape("dla", "convert", *arguments, "-o", tmp_path / "out")
    assert (code, out) == (2, "")
    assert text in err
    assert err.count("\n") == 1
    assert not [p for p in tmp_path.iterdir() if p.name != "cache"]
