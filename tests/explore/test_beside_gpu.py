"""The measured GPU's column: which kernel stands beside which operator, and what was not measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import timing_traces as traces
from click.testing import CliRunner

from lutscape.commands.simulate import simulate as command
from lutscape.explore import beside_gpu
from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.gpu import baseline
from lutscape.sim.simulate import simulate

DEVICE = baseline.DEVICE


def test_products_take_the_kernel_of_their_bits_and_attention_that_of_its_bytes() -> None:
    rows = (
        traces.linear(1, 14336, 4096, "int4-g128", "fp16"), traces.linear(1, 14336, 4096, "int2-g128", "fp16"),
        traces.linear(1, 14336, 4096, "fp16", "fp16"), traces.attention(1, 1024, 32, 8, 128), traces.norm(1, 4096),
        traces.attention(64, 64, 32, 8, 128),
    )  # fmt: skip
    for i, row in enumerate(rows):
        row.update(operator=f"o{i}", name=f"layers.0.o{i}")
    trace = traces.trace(*rows)
    result, _ = simulate(specs.load("h100-fp16"), trace)
    found = beside_gpu.table(result, trace, DEVICE).set_index("operator")
    expected = [
        baseline.nearest("linear", 1, 14336, 4096, form).seconds * 1e6 for form in ("w4", "w2", "fp16")
    ] + [
        baseline.nearest("attention", 1, 1024, 128, "kv16", heads=32, kv_heads=8).seconds * 1e6,
        baseline.nearest("rms_norm", 1, 0, 4096, "fp16").seconds * 1e6,
    ]  # fmt: skip
    assert found["measured_us"][:5].tolist() == pytest.approx(expected)
    assert found["grade"][:5].tolist() == ["measured"] * 5
    assert found["measured_us"].isna()["o5"]  # a prompt's attention
    assert found["grade"]["o5"] == ""
    assert found["simulated_us"].tolist() == pytest.approx((result.seconds * 1e6).tolist())


@pytest.mark.parametrize(
    ("weights", "activations", "form"),
    [
        ("int1-g128", "fp16", "w1"), ("int3-g64", "fp16", "w4"), ("int6-g64", "fp16", "fp16"), ("q4_1", "fp16", "w4"),
        ("ternary", "fp16", "t2"), ("ternary_5in8", "fp16", "t5"), ("ternary", "int8", "w2a8"),
        ("int2-tensor", "int8", "w2a8"), ("int8-row", "int8", "int8"), ("int8-row", "fp16", "fp16"),
        ("fp8_e4m3", "fp8_e4m3", "fp8"), ("fp16", "fp16", "fp16"),
    ],
)  # fmt: skip
def test_the_least_format_that_holds_the_operands(weights: str, activations: str, form: str) -> None:
    assert beside_gpu.form_of(weights, activations) == form


def test_the_command_prints_the_column_and_names_an_unknown_gpu(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    traces.trace(traces.linear(1, 4096, 14336, "int4-g128", "fp16")).save(path)
    ran = CliRunner().invoke(command, [str(path), "-w", "lut-tensor-core", "--beside", DEVICE])
    assert ran.exit_code == 0, ran.output
    assert "h100-sxm5-80gb, measured kernels" in ran.output
    assert "measured / simulated" in ran.output
    ran = CliRunner().invoke(command, [str(path), "-w", "lut-tensor-core", "--beside", "h100-sxm"])
    assert isinstance(ran.exception, UserError)
    assert "no measurement 'h100-sxm' (did you mean 'h100-sxm5-80gb'?)" in str(ran.exception)
