"""The architect's tools: the split solver against exhaustion, energy beside a measured GPU, the command line."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.commands.roma import roma
from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import RomaSpec
from lutscape.models import shape as shapes
from lutscape.sim.roma import against_gpu, budget, split


@settings(max_examples=200, deadline=None)
@given(
    items=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, 1.25, 3.0]), st.floats(0, 10)), min_size=1, max_size=9
    ),
    budget_mm2=st.floats(0, 12),
)  # fmt: skip
def test_the_split_is_optimal(items: list[tuple[float, float]], budget_mm2: float) -> None:
    """Against every subset."""
    tensors = [split.Tensor(f"t{i}", 1, 1, 1.0, 1.0 + extra, value) for i, (extra, value) in enumerate(items)]
    found = split.solve(tensors, budget_mm2)
    best = max(
        sum(t.value for t in chosen)
        for count in range(len(tensors) + 1)
        for chosen in itertools.combinations(tensors, count)
        if sum(t.extra_mm2 for t in chosen) <= budget_mm2 * (1 + 1e-12)
    )
    assert found.value == pytest.approx(best)
    assert found.extra_mm2 <= budget_mm2 * (1 + 1e-9)
    assert found.value == pytest.approx(sum(t.value for t in tensors if t.name in found.sram))


def test_the_split_of_a_model() -> None:
    spec, shape = specs.load("roma"), shapes.load("llama-3-8b")
    assert isinstance(spec, RomaSpec)
    values = {f"layers.{i}.{r}": 1.0 for i in range(shape.layers) for r in shape.linear_shapes}
    items = split.tensors(spec, shape, 2, 8, values)
    assert len(items) == 7 * 32
    assert all(t.sram_mm2 > t.rom_mm2 for t in items)
    none, every = split.solve(items, 0), split.solve(items, 1e9)
    assert not none.sram
    assert len(every.sram) == len(items)
    some = split.solve(items, 100)  # equal values: the cheapest tensors first, k and v
    assert {n.rpartition(".")[2] for n in some.sram} >= {"k", "v"}


def test_split_refuses() -> None:
    spec, shape = specs.load("roma"), shapes.load("llama-3-8b")
    assert isinstance(spec, RomaSpec)
    with pytest.raises(UserError) as error:
        split.tensors(spec, shape, 2, 8, {"layers.0.qq": 1.0})
    assert str(error.value) == "no value for tensor 'layers.0.q' (did you mean 'layers.0.qq'?)"
    with pytest.raises(UserError) as error:
        split.solve([split.Tensor("a", 1, 1, 1, 2, -1.0)], 1)
    assert str(error.value) == "a: value -1: must not be negative"
    with pytest.raises(UserError) as error:
        split.solve([], -1)
    assert str(error.value) == "budget of -1 mm2: must not be negative"


def test_energy_on_the_gpu_grows_with_bits_and_context() -> None:
    shape = shapes.load("llama-3-8b")
    two, four = (against_gpu.decode_token(shape, bits, 1024) for bits in (2, 4))
    longer = against_gpu.decode_token(shape, 4, 4096)
    assert two.joules < four.joules < longer.joules
    assert two.seconds < four.seconds < longer.seconds
    # No faster than the weights stream from DRAM at the 3.1 TB/s that the same run measured.
    assert four.seconds > 6_979_321_856 * 4.25 / 8 / 3.1e12
    assert "NVIDIA H100" in four.source


@pytest.mark.parametrize(("model", "bits"), [("gpt-oss-120b", 4), ("opt-175b", 4)])
def test_models_that_the_gpu_does_not_run(model: str, bits: int) -> None:
    with pytest.raises(UserError) as error:
        against_gpu.decode_token(shapes.load(model), bits, 1024)
    assert str(error.value) == f"{model}: measured kernels run dense gated models with heads of 128 only"


def run(*arguments: str) -> dict[str, object]:
    done = CliRunner().invoke(roma, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, object] = json.loads(done.output)
    return found


def test_commands_as_json() -> None:
    rows = run("budget", "llama-3-8b", "--sram-mib", "64,256", "--ranks", "16,64")["rows"]
    assert isinstance(rows, list)
    assert [r["tokens"] for r in rows] == [736, 0, 3808, 2944]
    found = run("split", "llama-3-8b", "--area-mm2", "20", "--weights", "int2-g128")
    assert 0 < float(str(found["extra_mm2"])) <= 20
    good = run("yield", "llama-3-8b")
    assert good["bits"] == 16_384 * 3328 * 274
    bills = run("masks", "llama-3-8b")["rows"]
    assert isinstance(bills, list)
    assert {b["option"] for b in bills} >= {"via", "metal-4", "all"}
    energy = run("energy", "llama-3.2-3b", "--contexts", "256")["rows"]
    assert isinstance(energy, list)
    assert energy[0]["gpu_joules"] > energy[0]["joules"]


def test_commands_as_tables() -> None:
    for arguments, text in (
        (["budget", "llama-3-8b", "--context", "4096"], "largest rank with 4096 tokens in 288 MiB: 28"),
        (["split", "llama-3-8b", "--area-mm2", "20", "--weights", "int2-g128"], "of 224 tensors"),
        (["yield", "llama-3-8b"], "SECDED(266,256) and 2 patch rows"),
        (["masks", "llama-3-8b"], "this machine (roma)"),
        (["energy", "llama-3.2-3b", "--contexts", "256"], "measured: NVIDIA H100"),
    ):
        done = CliRunner().invoke(roma, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert text in done.output


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["budget", "llama-3-8b", "--ranks", "4,x"], "--ranks '4,x': 'x' is no number; write for example 64,256"),
        (["budget", "llama-3-8b", "--ranks", "-4"], "rank -4: must be 0 or more"),
        (["budget", "llama-3-8b", "--sram-mib", "0"], "SRAM of 0 MiB: must be above zero"),
        (["budget", "llama-3-8b", "--targets", "gates"],
         "--targets: lora: unknown layer 'gates' (did you mean 'gate'?)"),
        (["budget", "llama-3-8b", "--kv", "fp8x"], "unknown KV format 'fp8x' (did you mean 'fp8'?)"),
        (["budget", "llama-3-8b", "--context", "0"], "context of 0 tokens: must be 1 or more"),
        (["budget", "llama-3-8b", "--context", "9999"],
         "roma: context of 9999 tokens does not fit; 4608 do without an adapter"),
        (["budget", "llama-3-8b", "-w", "a100-fp16"], "--hardware a100-fp16: kind 'gpu'; allowed: kind 'roma'"),
        (["split", "llama-3-8b", "--area-mm2", "1", "--value", "none.csv"],
         "--value none.csv: No such file or directory; "),
        (["split", "llama-3-8b", "--area-mm2", "1", "--sram-bits", "0"], "--sram-bits 0: must be 1 … 32"),
        (["split", "llama-3-8b", "--area-mm2", "1", "--weights", "fp16"],
         "roma: --weights has fp16 weights, which ROM "),
        (["yield", "llama-3-8b", "--die-model", "murphi"], "unknown die yield model 'murphi' (did you mean 'murphy'?)"),
        (["yield", "llama-3-8b", "--via-defects", "2"], "via defect probability 2: must be 0 … 1"),
        (["masks", "llama-3-8b", "--node", "7nm"],
         "no cited price of masks at 7nm; known: 5nm; give --mask-set (M$) and "),
        (["masks", "llama-3-8b", "--nodes", "8nm"], "technology file '8nm' not found"),
        (["masks", "llama-3-8b", "--models", "0"], "--models 0: must be 1 or more"),
        (["energy", "gpt-oss-120b", "--weights", "int4-g128", "--contexts", "256"],
         "roma: l_unit.rom_words = 3328 holds"),
        (["energy", "llama-3.2-3b", "--gpu", "h200"], "no measurement 'h200'; a folder with device.json, or of: "),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(arguments: list[str], text: str) -> None:
    done = CliRunner().invoke(roma, arguments)
    assert isinstance(done.exception, UserError), done.output
    assert str(done.exception).startswith(text)
    assert "\n" not in str(done.exception)


def test_a_table_of_values(tmp_path: Path) -> None:
    shape = shapes.load("llama-3-8b")
    names = [f"layers.{i}.{r}" for i in range(shape.layers) for r in shape.linear_shapes]
    path = tmp_path / "values.csv"
    path.write_text("tensor,value\n" + "".join(f"{n},{int(n == 'layers.7.o')}\n" for n in names))
    found = run("split", "llama-3-8b", "--area-mm2", "5", "--weights", "int2-g128", "--value", str(path))
    assert found["sram"] == ["layers.7.o"]
    path.write_text("tensor,value\nlayers.0.q,a\n")
    done = CliRunner().invoke(roma, ["split", "llama-3-8b", "--area-mm2", "3", "--value", str(path)])
    assert str(done.exception) == f"{path}:2: value = 'a': must be a number"
    path.write_text("name,value\n")
    done = CliRunner().invoke(roma, ["split", "llama-3-8b", "--area-mm2", "3", "--value", str(path)])
    assert str(done.exception) == f"{path}:1: columns name, value; needed: tensor, value"


def test_with_sram_changes_only_sram_and_rank() -> None:
    spec = specs.load("roma")
    assert isinstance(spec, RomaSpec)
    changed = budget.with_sram(spec, 64, 8)
    assert changed.sram_bytes == 64 << 20
    assert changed.lora.rank == 8
    assert changed.l_unit == spec.l_unit
