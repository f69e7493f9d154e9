"""Packaged shapes: published parameter counts, and a trace that equals the closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.formats.storage import parse_weight_format
from lutscape.models import registry, shape
from lutscape.models.parameters import parameter_count
from lutscape.models.recorder import Formats
from lutscape.models.shape import ModelShape
from lutscape.models.tracing import trace_model

# Published counts: model cards and papers named in the YAML files. OPT's includes two unused rows of
# the position table; BitNet's are rounded.
PUBLISHED = {
    "bitnet-b1.58-2b-4t": (2.41e9, 2e-3),
    "bitnet-b1.58-3b": (3.32e9, 2e-3),
    "bloom-176b": (176_247_271_424, 0),
    "falcon3-1b": (1.67e9, 2e-3),
    "gpt-oss-120b": (116.8e9, 2e-3),
    "llama-2-13b": (13_015_864_320, 0),
    "llama-2-70b": (68_976_648_192, 0),
    "llama-2-7b": (6_738_415_616, 0),
    "llama-3-8b": (8_030_261_248, 0),
    "llama-3.2-3b": (3_212_749_824, 0),
    "mixtral-8x7b": (46_702_792_704, 0),
    "opt-175b": (175e9, 3e-3),
    "qwen2.5-0.5b": (494_032_768, 0),
    "qwen2.5-1.5b": (1_543_714_304, 0),
    "qwen2.5-14b": (14_770_033_664, 0),
    "qwen2.5-32b": (32_763_876_352, 0),
    "qwen2.5-3b": (3_085_938_688, 0),
    "qwen2.5-72b": (72_706_203_648, 0),
    "qwen2.5-7b": (7_615_616_512, 0),
    "smollm2-135m": (134_515_008, 0),
}


def test_every_packaged_shape_has_a_published_count() -> None:
    assert set(registry.names()) == set(PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count(name: str) -> None:
    published, tolerance = PUBLISHED[name]
    file = shape.load_file(name)
    assert file.name == name
    assert abs(parameter_count(file) - published) <= tolerance * published
    # The closed form for linear layers, plus what is no linear layer, is the same number.
    embedding = 0 if file.tied_embeddings else file.vocab * file.hidden
    rest = parameter_count(file) - file.linear_parameters - embedding
    assert 0 <= rest < 0.005 * published


def closed_form(s: ModelShape, prompt: int, decode: int, batch: int) -> dict[str, int]:
    """Count weights of int4-g64, activations of int8, everything else FP16, KV of int4; by hand."""
    experts_hit = min(s.experts, batch * prompt * s.experts_per_token), min(s.experts, batch * s.experts_per_token)
    total = dict.fromkeys(("macs", "weight_bytes", "kv_read_bytes", "kv_write_bytes"), 0)
    token_kv = 2 * s.kv_heads * math.ceil((4 * s.head_dim + 32) / 8)
    form = parse_weight_format("int4-g64")
    steps = [(prompt, prompt, experts_hit[0])] + [(1, prompt + i + 1, experts_hit[1]) for i in range(decode)]
    for new, keys, hit in steps:
        total["macs"] += batch * (new * s.macs_per_token + s.vocab * s.hidden + s.attention_macs(new, keys))
        total["kv_read_bytes"] += s.layers * batch * keys * token_kv
        total["kv_write_bytes"] += s.layers * batch * new * token_kv
        for role, (n, k) in s.linear_shapes.items():
            count = hit if s.experts and role in ("gate", "up", "down") else 1
            biased = (s.bias == "all" and role != "router") or (s.bias == "qkv" and role in ("q", "k", "v"))
            stored = 2 * n * k if role == "router" else form.bytes(n, k)
            total["weight_bytes"] += s.layers * count * (stored + (2 * n if biased else 0))
        total["weight_bytes"] += 2 * s.vocab * s.hidden + 2 * batch * new * s.hidden
        norm_width = (2 * s.layers + 1 + s.embed_norm) * s.hidden
        if s.sub_norms:
            norm_width += s.layers * (s.heads * s.head_dim + s.ffn)
        total["weight_bytes"] += 2 * norm_width * (2 if s.norm == "layernorm" else 1)
    return total


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("name", PUBLISHED)
def test_trace_totals_equal_closed_forms(name: str, batch: int) -> None:
    s = shape.load(name)
    formats = Formats("int4-g64", None, "int8", "int4")
    trace = trace_model(s, 17, 3, batch, formats).trace
    totals = trace.totals()
    for key, value in closed_form(s, 17, 3, batch).items():
        assert totals[key] == value, key
    assert totals == {k: trace.totals("prefill")[k] + trace.totals("decode")[k] for k in totals}
    assert trace.header.source == f"shape:{s.source}"
    assert not trace.header.executed
    assert (trace.rows["kv_write_bytes"] <= trace.rows["kv_read_bytes"]).all()


def error_of(text: str, tmp_path: Path) -> str:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        shape.load(path)
    return str(caught.value).replace(str(path), "FILE")


GOOD = Path(shape.__file__).parent.parent / "configs" / "models" / "llama-2-7b.yaml"


def test_unknown_key(tmp_path: Path) -> None:
    message = error_of(GOOD.read_text() + "hiden: 4\n", tmp_path)
    line = len(GOOD.read_text().splitlines()) + 1
    assert message.startswith(f"FILE:{line}: unknown key 'hiden' (did you mean 'hidden'?); allowed here: ")


def test_impossible_value(tmp_path: Path) -> None:
    message = error_of(GOOD.read_text().replace("layers: 32", "layers: 0"), tmp_path)
    assert message == "FILE:5: layers = 0: must be greater than 0"
    message = error_of(GOOD.read_text().replace("kv_heads: 32", "kv_heads: 5"), tmp_path)
    assert message == "FILE:1: file: heads (32) must be a multiple of kv_heads (5)"


def test_experts_need_a_count_per_token(tmp_path: Path) -> None:
    message = error_of(GOOD.read_text() + "experts: 8\n", tmp_path)
    assert message == "FILE:1: file: experts_per_token (0) must be 1..experts (8), or both 0"
