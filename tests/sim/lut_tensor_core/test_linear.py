"""Linear layers by table lookup inside a language model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.models.checkpoint import RandomCheckpoint
from lutscape.models.executor import Model, dense
from lutscape.models.numeric import RoundsInput
from lutscape.models.quantise.activation import quantise_rows
from lutscape.models.quantise.recipe import Recipe, quantise_weight
from lutscape.models.quantise.rounding import round_to
from lutscape.models.shape import ModelShape
from lutscape.sim.lut_tensor_core import bounds
from lutscape.sim.lut_tensor_core.linear import Cache, design_for, linear_factory, lookup_design, table_group
from lutscape.sim.lut_tensor_core.mpgemm import mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_design import ACTIVATIONS, Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights

RNG = np.random.default_rng(5)
X = RNG.standard_normal((5, 96)).astype(np.float32)
W = (RNG.standard_normal((24, 96)) / 8).astype(np.float32)
BIAS = RNG.standard_normal(24).astype(np.float32)
EXACT = Mpgemm(weights="int4", activations="fp16", accumulator="exact", largest_activation=4096.0)


@pytest.mark.parametrize(
    ("fields", "form"),
    [
        ({"activations": "int8", "entries": "int8", "table_group": 32}, "int2-g32"),
        ({"activations": "int16", "accumulator": "int64"}, "int4-row"),
        ({"activations": "fp16", "entries": "int8", "table_group": 32, "largest_activation": 100.0}, "int3-g32"),
        ({"activations": "fp8_e4m3", "entries": "fp16", "accumulator": "fp32"}, "ternary-g32"),
        ({"activations": "fp8_e4m3", "accumulator": "int48", "weights": "base3", "k": 3}, "ternary"),
        ({"activations": "fp8_e4m3", "accumulator": "int48", "k": 3}, "ternary_5in8-row"),
    ],
)
def test_a_layer_is_mpgemm_on_rounded_operands(fields: dict[str, Any], form: str) -> None:
    design = design_for(Mpgemm(**fields), form)
    weights = LookupWeights.of(design, quantise_weight(W, form))
    if design.integer_activations:
        rows = quantise_rows(X, int(design.activations[3:]))
        expected, _ = mpgemm(design, rows.codes, weights, rows.scales, kernel="plain")
        rounded = rows.dequantise()
    else:
        rounded = round_to(X, design.activations)
        expected, _ = mpgemm(design, rounded, weights, kernel="plain")
    make = linear_factory(Mpgemm(**fields), form)
    np.testing.assert_array_equal(make("layers.0.q", W, None)(X), expected)
    layer = make("layers.0.q", W, BIAS)
    np.testing.assert_array_equal(layer(X), expected + BIAS)
    assert isinstance(layer, RoundsInput)
    np.testing.assert_array_equal(layer.operands(X)["x"], rounded)
    fake = rounded.astype(np.float64) @ quantise_weight(W, form).dequantise().T.astype(np.float64)
    close = 1e-5 if design.exact_entries else 0.05
    assert np.abs(expected - fake).max() <= close * np.abs(fake).max()


def test_output_format_and_excluded_layers() -> None:
    plain = linear_factory(EXACT, "int4-g32")("layers.0.q", W, BIAS)(X)
    rounded = linear_factory(EXACT, "int4-g32", output="bf16")("layers.0.q", W, BIAS)(X)
    np.testing.assert_array_equal(rounded, round_to(plain, "bf16"))
    for name in ("lm_head", "layers.3.down"):
        make = linear_factory(EXACT, "int4-g32", exclude=("lm_head", "down"))
        np.testing.assert_array_equal(make(name, W, None)(X), dense(name, W, None)(X))


def test_formats_by_layer_share_quantised_weights() -> None:
    cache: Cache = {}
    forms = {"gate": "int2-g32"}
    make = linear_factory(EXACT, lambda name: forms.get(name.rpartition(".")[2], "int4-g32"), cache=cache)
    make("layers.0.gate", W, None)
    make("layers.0.up", W, None)
    assert {k: v.bits for k, v in cache.items()} == {
        ("layers.0.gate", "int2-g32"): 2,
        ("layers.0.up", "int4-g32"): 4,
    }
    kept = cache["layers.0.up", "int4-g32"]
    make("layers.0.up", W, None)
    assert cache["layers.0.up", "int4-g32"] is kept


def test_a_model_with_exact_tables_is_the_requantised_model(tiny_shape: Callable[..., ModelShape]) -> None:
    """Lookup and dequantised FP32 products differ by FP32's rounding alone."""
    model = Model(RandomCheckpoint(tiny_shape(), 1))
    ids = np.arange(12)

    def fake(name: str, weight: np.ndarray) -> np.ndarray:
        kept = name in ("embed", "lm_head")
        return weight if kept else quantise_weight(weight, "int4-g32").dequantise()

    requantised = model.variant(Recipe(activations="fp16").linear_factory, fake).forward(ids, every_logit=True)
    exactly = model.variant(linear_factory(EXACT, "int4-g32")).forward(ids, every_logit=True)
    size = np.abs(requantised).max()
    assert np.abs(exactly - requantised).max() < 2e-3 * size  # FP16 inputs of the head differ where sums do
    narrow = Mpgemm(activations="fp16", entries="int4", table_group=0, largest_activation=4096.0)
    other = model.variant(linear_factory(narrow, "int4-g32")).forward(ids, every_logit=True)
    assert np.abs(other - exactly).max() > 2e-2 * size


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: linear_factory(EXACT, "int8-g32")("q", W, None), "weight format 'int8-g32' is not looked up; allowed"),
        (lambda: linear_factory(EXACT, "fp16")("q", W, None), "weight format 'fp16' is not looked up"),
        (lambda: linear_factory(EXACT, "int4-g30")("q", W, None), "weight groups of 30 are no multiple of k = 4"),
        (lambda: linear_factory(EXACT, "int4", output="fp61"), "unknown output format 'fp61' (did you mean 'fp16'?)"),
        (
            lambda: linear_factory(EXACT, "int4-g32")("q", W, None)(X * np.float32(5000)),
            "is outside the bound of fp16: -4096 … 4096",
        ),
        (
            lambda: table_group("rows"),
            "table scale 'rows' (did you mean 'row'?); allowed: table, row, group<activations>",
        ),
        (lambda: table_group("group30"), "with a multiple of k = 4; nearest: group32"),
        (lambda: lookup_design("fp32", "int8"), "unknown activation format 'fp32'"),
        (lambda: lookup_design("fp16", "int88"), "unknown format of table entries 'int88'"),
        (lambda: lookup_design("int8", "fp16"), "fp16 entries of int8 activations do not combine"),
    ],
)
def test_refused(call: Callable[[], object], text: str) -> None:
    with pytest.raises(UserError) as caught:
        call()
    assert text in str(caught.value)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_designs_of_a_few_words_are_proven(activation: str) -> None:
    for tables in ("exact", "int8", "int4", *(("fp16", "bf16", "fp32") if activation[0] != "i" else ())):
        design = lookup_design(activation, tables, "group32", columns=96)
        assert bounds.prove(design, 96, 32).holds
    assert [table_group(t) for t in ("table", "group64", "row")] == [4, 64, 0]


def test_eval_by_table_lookup(
    tiny_gguf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lutscape.cli import main

    def run(*options: str) -> tuple[int, str, str]:
        command = [
            "models",
            "eval",
            str(tiny_gguf),
            "--text",
            str(tmp_path / "text"),
            "--context",
            "16",
            "--tokens",
            "32",
        ]
        monkeypatch.setattr("sys.argv", ["lutscape", *command, *options])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    (tmp_path / "text").write_text("the man in the boat and the other one " * 30)
    own = ("--weights", "int4-g32", "--tables")
    code, out, _ = run(*own, "int4", "--table-scale", "row", "--against", "exact-tables", "--json")
    narrow = json.loads(out)
    assert code == 0
    assert (narrow["activations"], narrow["tables"], narrow["table_scale"]) == ("fp16", "int4", "row")
    wide = json.loads(run(*own, "int8", "--table-scale", "table", "--against", "exact-tables", "--json")[1])
    assert 0 < wide["kl"]["value"] < narrow["kl"]["value"]
    assert "tables exact against stored" in run(*own, "exact")[1]
    assert "tables need a weight format" in run("--tables", "int8")[2]
    assert "--against exact-tables compares tables; give --tables as well" in run("--against", "exact-tables")[2]
