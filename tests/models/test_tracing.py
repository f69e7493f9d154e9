"""With weights and without: the same rows. Capture, requantisation, export, and bad input."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lutscape.hw.errors import UserError
from lutscape.models.checkpoint import RandomCheckpoint
from lutscape.models.executor import Model
from lutscape.models.export import export
from lutscape.models.quantise.recipe import Recipe
from lutscape.models.recorder import Formats
from lutscape.models.shape import ModelShape
from lutscape.models.tokenizer import Tokenizer
from lutscape.models.trace import Trace
from lutscape.models.tracing import prompt_windows, save_captured, trace_model

from .test_executor import KINDS

Shape = Callable[..., ModelShape]
TEXT = "the man in the boat is the one in the hat and nothing on earth is another thing. " * 40
FORMATS = Formats("int2-g32", "fp16", "int8", "int4")


@pytest.fixture
def tokenizer(tiny_gguf: Path) -> Tokenizer:
    from lutscape.models.gguf_file import GgufFile

    return Tokenizer(GgufFile(tiny_gguf))


def model_of(shape: ModelShape, tokenizer: Tokenizer) -> Model:
    return Model(RandomCheckpoint(shape, 5), tokenizer=tokenizer)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_shapes_give_the_same_rows(tiny_shape: Shape, tokenizer: Tokenizer, kind: str, batch: int) -> None:
    shape = tiny_shape(**KINDS[kind])
    run = trace_model(model_of(shape, tokenizer), 19, 3, batch, FORMATS, text=TEXT).trace
    walk = trace_model(shape, 19, 3, batch, FORMATS).trace
    assert run.header.executed
    assert not walk.header.executed
    if not shape.experts:
        pd.testing.assert_frame_equal(run.rows, walk.rows)
        return
    # Which expert a token goes to depends on the weights; the sums do not.
    for phase in ("prefill", "decode"):
        for column in ("macs", "activation_bytes", "output_bytes", "kv_read_bytes", "kv_write_bytes"):
            assert run.totals(phase)[column] == walk.totals(phase)[column], column
    if batch == 1:  # one token per step: it uses experts_per_token experts either way
        assert run.totals()["weight_bytes"] == walk.totals()["weight_bytes"]


def test_rows_follow_from_the_operands(tiny_shape: Shape, tokenizer: Tokenizer) -> None:
    """Shapes of the captured arrays are those of the rows, operator by operator."""
    shape = tiny_shape(sub_norms=True)
    traced = trace_model(model_of(shape, tokenizer), 7, 2, 2, FORMATS, text=TEXT, capture=["*"])
    produced = {f"{r.phase}.{r.step}.{r.name}": r for r in traced.trace.rows.itertuples()}
    assert len(produced) == len(traced.trace.rows)
    for key, row in produced.items():
        y = traced.captured[f"{key}.y"]
        columns = row.heads * row.K if row.kind == "attention" else row.N
        if row.operator == "rope":
            columns = shape.heads * shape.head_dim
        assert y.shape[-1] == columns, key
        if row.kind == "attention":
            assert y.shape[:2] == (row.batch, row.M)
        else:
            assert y.size // y.shape[-1] == row.M
        if row.kind == "linear":
            x, w = traced.captured[f"{key}.x"], traced.captured[f"prefill.0.{row.name}.w"]
            assert (x.shape[-1], w.shape) == (row.K, (row.N, row.K))
            np.testing.assert_allclose(y, x @ w.T, atol=1e-4)
        if row.input:
            source = traced.captured[f"{row.phase}.{row.step}.{row.input}.y"]
            first = traced.captured[f"{key}.x"]
            rows = source[:, -1:] if row.name == "lm_head" else source
            np.testing.assert_array_equal(rows, first)


def test_prompt_is_the_text_and_decode_feeds_the_greedy_token(tiny_shape: Shape, tokenizer: Tokenizer) -> None:
    model = model_of(tiny_shape(), tokenizer)
    ids = tokenizer.encode(TEXT)
    prompt = prompt_windows(model, 5, 2, TEXT)
    assert prompt.tolist() == [ids[:5], ids[5:10]]
    traced = trace_model(model, 5, 3, 2, FORMATS, text=TEXT, capture=["embed", "lm_head"])
    expected = hashlib.sha256(np.array(ids[:10], "<i4").tobytes()).hexdigest()
    assert traced.trace.header.prompt_sha256 == expected
    for sequence in range(2):
        fed = list(model.generate(prompt[sequence], 3))
        for step, token in enumerate(fed):
            y = traced.captured[f"decode.{step}.embed.y"][sequence, 0]
            np.testing.assert_array_equal(y, model.matrices["embed"][token])


def test_requantised_run_computes_with_the_formats(
    tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = Formats("int4-g32", None, "int8", "int8")
    traced = trace_model(
        str(tiny_gguf), 5, 0, 1, formats, requantise=True, capture=["layers.0.q", "layers.1.up"], text=TEXT
    )
    assert traced.trace.header.requantised
    recipe = Recipe.of(formats.checked())
    counted = trace_model(str(tiny_gguf), 5, 0, 1, formats, capture=["layers.0.q", "layers.1.up"], text=TEXT)
    assert not counted.trace.header.requantised
    pd.testing.assert_frame_equal(traced.trace.rows, counted.trace.rows)
    for name in ("layers.0.q", "layers.1.up"):
        stored = counted.captured[f"prefill.0.{name}.w"]
        weight = traced.captured[f"prefill.0.{name}.w"]
        assert not np.array_equal(stored, weight)
        np.testing.assert_array_equal(weight, recipe.weight_transform(name, stored))
        x, y = traced.captured[f"prefill.0.{name}.x"], traced.captured[f"prefill.0.{name}.y"]
        np.testing.assert_array_equal(y[0], recipe.linear_factory(name, weight, None)(x[0]))


def test_as_stored_formats_come_from_the_file(tiny_gguf: Path) -> None:
    trace = trace_model(str(tiny_gguf), 5, 0, text=TEXT).trace
    assert trace.header.weights == "as stored"
    by_kind = trace.rows.groupby("kind")["weight_format"].unique()
    assert by_kind["linear"].tolist() == by_kind["gather"].tolist() == ["q8_0"]
    assert by_kind["norm"].tolist() == ["fp32"]
    assert trace.header.source == f"gguf:{hashlib.sha256(tiny_gguf.read_bytes()).hexdigest()}"


def test_accumulator_and_output_formats(tiny_shape: Shape) -> None:
    rows = trace_model(tiny_shape(), 4, 0, 1, Formats("int2", None, "int8")).trace.rows.set_index("name")
    columns = ["weight_format", "activation_format", "accumulator_format", "output_format"]
    assert rows.loc["layers.0.q", columns].tolist() == ["int2-g128", "int8", "int32", "fp16"]
    assert rows.loc["lm_head", columns].tolist() == ["fp16", "fp16", "fp32", "fp16"]
    rows = trace_model(tiny_shape(), 4, 0, 1, Formats("int2", "int8-row", "int8")).trace.rows.set_index("name")
    assert rows.loc["lm_head", columns].tolist() == ["int8-row", "int8", "int32", "fp16"]
    rows = trace_model(tiny_shape(), 4, 0, 1, Formats("int2", None, "fp8")).trace.rows.set_index("name")
    assert rows.loc["layers.0.q", columns].tolist() == ["int2-g128", "fp8_e4m3", "fp32", "fp8_e4m3"]


def test_save_and_load(tiny_shape: Shape, tmp_path: Path) -> None:
    trace = trace_model(tiny_shape(), 4, 2, 1, FORMATS).trace
    trace.save(tmp_path / "t.parquet")
    again = Trace.load(tmp_path / "t.parquet")
    assert again.header == trace.header
    pd.testing.assert_frame_equal(again.rows, trace.rows)
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_distinct_counts_every_row(tiny_shape: Shape) -> None:
    trace = trace_model(tiny_shape(layers=5), 4, 3, 1, FORMATS).trace
    distinct = trace.distinct()
    assert distinct["count"].sum() == len(trace.rows)
    for total in ("macs", "weight_bytes", "kv_read_bytes"):
        assert (distinct[total] * distinct["count"]).sum() == trace.totals()[total]
    assert len(distinct) < len(trace.rows) / 3


def test_captured_file(tiny_shape: Shape, tokenizer: Tokenizer, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    model = model_of(tiny_shape(bias="qkv"), tokenizer)
    traced = trace_model(model, 4, 1, 1, FORMATS, text=TEXT, capture=["layers.1.[qk]", "layers.0.silu*"])
    save_captured(traced.captured, tmp_path / "c.safetensors")
    loaded = load_file(tmp_path / "c.safetensors")
    expected = {f"{p}.layers.1.{r}.{o}" for p in ("prefill.0", "decode.0") for r in "qk" for o in "xy"}
    expected |= {f"prefill.0.layers.1.{r}.{o}" for r in "qk" for o in "wb"}
    expected |= {f"{p}.layers.0.silu_mul.{o}" for p in ("prefill.0", "decode.0") for o in ("x", "x1", "y")}
    assert set(loaded) == expected
    for name, array in loaded.items():
        np.testing.assert_array_equal(array, traced.captured[name])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt_tokens": 0}, "prompt-tokens 0: must be at least 1"),
        ({"decode_tokens": -1}, "decode-tokens -1: must be at least 0"),
        ({"batch": 0}, "batch 0: must be at least 1"),
        ({"decode_tokens": 61}, "tiny: 4 prompt + 61 decode tokens exceed the model's context of 64"),
        ({"requantise": True}, "--requantise needs a run on real weights; this one walks shapes only"),
        ({"capture": ["*"]}, "--capture needs a run on real weights; this one walks shapes only"),
        ({"execute": True}, "tiny: only weights can be executed"),
    ],
)
def test_bad_arguments(tiny_shape: Shape, arguments: dict, message: str) -> None:
    with pytest.raises(UserError) as caught:
        trace_model(tiny_shape(), **{"prompt_tokens": 4, **arguments})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("formats", "start"),
    [
        (Formats("int9"), "unknown weight format 'int9' (did you mean 'int"),
        (Formats("int4-x"), "weight format 'int4-x': suffix -x is not one of -g<group 1..65536>, -row, -tensor"),
        (Formats(activations="int7"), "unknown activation format 'int7' (did you mean 'int8'?)"),
        (Formats(kv="int3"), "unknown KV format 'int3' (did you mean 'int8'?)"),
        (Formats(accumulator="f8"), "unknown accumulator format 'f8'"),
    ],
)
def test_bad_formats(tiny_shape: Shape, formats: Formats, start: str) -> None:
    with pytest.raises(UserError) as caught:
        trace_model(tiny_shape(), 4, 0, 1, formats)
    assert str(caught.value).startswith(start)


def test_capture_that_matches_nothing(tiny_shape: Shape, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError) as caught:
        trace_model(model_of(tiny_shape(), tokenizer), 4, 0, text=TEXT, capture=["layers.0.gat"])
    assert str(caught.value) == (
        "--capture 'layers.0.gat' matches no operator (did you mean 'layers.0.gate'?); names are like layers.3.gate"
    )


def test_text_too_short(tiny_shape: Shape, tokenizer: Tokenizer) -> None:
    with pytest.raises(UserError) as caught:
        trace_model(model_of(tiny_shape(), tokenizer), 4, 0, 2, text="abc")
    count = len(tokenizer.encode("abc"))
    assert str(caught.value) == f"the text has {count} tokens; 2 prompts of 4 need 8"


def test_export_scalesim(tiny_shape: Shape, tmp_path: Path) -> None:
    trace = trace_model(tiny_shape(), 4, 1, 2, FORMATS).trace
    count = export(trace, "scalesim", tmp_path / "t.csv")
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "Layer,M,N,K,"
    assert len(lines) == count + 1
    assert "prefill.0.layers.0.gate,8,96,64," in lines
    assert "prefill.0.layers.1.attention.1.3.scores,4,4,16," in lines
    assert "decode.0.layers.1.attention.1.3.sum,1,16,5," in lines
    linear = trace.rows[trace.rows["kind"] == "linear"]
    attention = trace.rows[trace.rows["kind"] == "attention"]
    products = [np.prod([int(v) for v in line.split(",")[1:4]]) for line in lines[1:]]
    whole = 2 * (attention["batch"] * attention["heads"] * attention["M"] * attention["N"] * attention["K"])
    assert sum(products) == linear["macs"].sum() + whole.sum()


def test_export_csv_and_jsonl(tiny_shape: Shape, tmp_path: Path) -> None:
    trace = trace_model(tiny_shape(), 4, 1, 1, FORMATS).trace
    assert export(trace, "csv", tmp_path / "t.csv") == len(trace.rows)
    frame = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert frame.astype(str).to_numpy().tolist() == trace.rows.astype(str).to_numpy().tolist()
    assert export(trace, "jsonl", tmp_path / "t.jsonl") == len(trace.rows)
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert lines[0]["header"] == trace.header.model_dump(mode="json")
    assert lines[1:] == trace.rows.to_dict(orient="records")
    with pytest.raises(UserError, match=r"^unknown export format 'cvs' \(did you mean 'csv'\?\)"):
        export(trace, "cvs", tmp_path / "x")
    with pytest.raises(UserError, match=r"no/x\.csv: cannot be written: No such file or directory$"):
        export(trace, "csv", tmp_path / "no" / "x.csv")
