"""The compiler's view: precompute split off and fused, instruction counts, totals, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timing_traces as traces
from click.testing import CliRunner

from lutscape.cli import cli
from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model
from lutscape.sim.lut_tensor_core import lmma
from lutscape.sim.lut_tensor_core.compile import Schedule, compile_trace
from lutscape.sim.simulate import simulate


def llama(tokens: int = 64) -> Trace:
    formats = Formats(weights="int2-g128", activations="int8", kv="int8")
    return trace_model("llama-2-7b", tokens, 1, 1, formats, execute=False).trace


def schedule(name: str, trace: Trace, **changes: Any) -> Schedule:
    spec = specs.override(specs.load(name), {k.replace("__", "."): v for k, v in changes.items()})
    return compile_trace(spec, trace)


@pytest.mark.parametrize("precompute", ["fused", "separate", "on-the-fly"])
def test_kernels_add_up_to_the_simulated_time(precompute: str) -> None:
    trace = llama()
    spec = specs.override(specs.load("a100-lut-4x"), {"matrix_unit.precompute": precompute})
    result = simulate(spec, trace)[0]
    total = compile_trace(spec, trace).total()
    assert total["seconds"] == pytest.approx(result.total_seconds(), rel=1e-9)


def test_tables_are_built_by_the_producer_of_each_tensor() -> None:
    found = schedule("a100-lut-4x", llama())
    builders = {(k.phase, k.name): k.tables_for for k in found.kernels if k.tables_for}
    assert builders["prefill", "layers.0.attn_norm"] == ("q", "k", "v")
    assert builders["prefill", "layers.0.attention"] == ("o",)
    assert builders["prefill", "layers.0.ffn_norm"] == ("gate", "up")
    assert builders["prefill", "layers.0.silu_mul"] == ("down",)
    total = found.total()
    assert total["precompute_kernels"] == 0
    assert total["fused_precomputes"] == 2 * 32 * 4  # four tensors per layer, prefill and one decode step


def test_separate_precompute_is_one_kernel_per_tensor() -> None:
    found = schedule("a100-lut-4x", llama(), matrix_unit__precompute="separate")
    kernels = [k for k in found.kernels if k.kind == "precompute"]
    assert [k.tables_for for k in kernels if k.phase == "prefill"] == [
        ("q", "k", "v"),
        ("o",),
        ("gate", "up"),
        ("down",),
    ]
    assert (kernels[0].m, kernels[0].n, kernels[0].k) == (64, 1024, 4)
    assert found.total()["precompute_kernels"] == 2 * 32 * 4
    assert found.total()["fused_precomputes"] == 0


def test_a_tensor_without_producer_gets_its_own_precompute() -> None:
    found = schedule("a100-lut-4x", traces.trace(traces.linear(64, 512, 512, "int2-g128")))
    assert [k.kind for k in found.kernels] == ["precompute", "lut"]


def test_instructions_cover_every_product() -> None:
    for kernel in schedule("a100-lut-8x", llama(256)).kernels:
        if kernel.kind == "lut":
            one = lmma.parse(kernel.lmma)
            assert kernel.lmmas * one.macs >= kernel.m * kernel.n * kernel.k
            assert kernel.row_bytes + kernel.weight_bytes > 0
            t_m, t_n, t_k = (int(x) for x in kernel.tile.split("/")[0].split("x"))
            assert kernel.row_bytes == t_m * t_k * 2  # 8 entries of one byte per 4 activations
            assert kernel.sum_bytes == 4 * t_m * t_n


def test_the_stand_alone_array_has_order_arrangement_and_steps() -> None:
    trace = llama()
    found = schedule("lut-tensor-core", trace)
    q = next(k for k in found.kernels if k.name == "layers.0.q" and k.phase == "prefill")
    assert q.kind == "lut"
    assert "stationary" in q.order
    result = simulate(specs.load("lut-tensor-core"), trace)[0]
    assert found.total()["seconds"] == pytest.approx(result.total_seconds())
    assert found.total()["array_steps"] == pytest.approx((result.parts["array"] * result.count).sum())


@pytest.mark.parametrize(
    ("name", "row", "changes", "words"),
    [
        ("a100-fp16", traces.linear(8, 64, 64), {}, "a100-fp16: matrix_unit.kind 'mma' looks nothing up"),
        ("mac-array", traces.linear(8, 64, 64), {}, "mac-array: array.datapath 'mac' looks nothing up"),
        (
            "a100-lut-4x", traces.linear(8, 64, 66, "int2"), {},
            "layers.0.q: K = 66 does not divide into tables of k = 4 activations; nearest: 64 or 68",
        ),
        (
            "a100-lut-4x", traces.linear(8, 64, 660, "int2-g66"), {},
            "layers.0.q: groups of 66 weights change their scale inside a table of k = 4; nearest: 64",
        ),
        (
            "a100-lut-4x", traces.linear(8, 64, 64, "int2", "fp16"), {"matrix_unit__precompute": "on-the-fly"},
            "a100-lut-4x: layers.0.q (int2): lmma.m2n64k64.fp16int2int32fp16: tables are built inside the unit",
        ),
    ],
)  # fmt: skip
def test_refusals(name: str, row: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError) as error:
        schedule(name, traces.trace(row), **changes)
    assert words.split("lmma")[0] in str(error.value)
    assert words.rsplit(": ", 1)[1] in str(error.value)


def test_command_prints_the_schedule_and_json(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    llama().save(path)
    text = CliRunner().invoke(cli, ["compile", str(path), "--hardware", "a100-lut-4x"], catch_exceptions=False).output
    assert "layers.0.attn_norm + tables for q, k, v" in text
    assert "lmma.m" in text
    out = CliRunner().invoke(
        cli, ["compile", str(path), "-w", "a100-lut-4x", "--set", "matrix_unit.precompute=separate", "--json"]
    )
    data = json.loads(out.output)
    assert data["totals"]["all"]["precompute_kernels"] == 256
    assert data["totals"]["decode"]["lmmas"] > 0
