"""A series of sweeps: its file, its errors, its page; and the packaged one of ROMA."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from lutscape.commands.sweep import sweep
from lutscape.explore import series, sweep_file
from lutscape.hw.errors import UserError

ONE = """kind: sweep
name: {name}
workload: {{model: llama-3.2-3b, execute: false, prompt_tokens: 64, decode_tokens: 1, weights: int4-g128, kv: fp8_e4m3}}
hardware: hardware/roma
parameters:
  lora.rank: {{categorical: [8, 16]}}
  h_unit.sram_kib: {{categorical: [512, 1152]}}
objectives: [tokens_per_s, context_tokens, area_mm2]
sampler: {{name: grid}}
trials: 4
"""


def write(folder: Path, sweeps: str = "[a, b]") -> Path:
    for name in "ab":
        (folder / f"{name}.yaml").write_text(ONE.format(name=f"sweep-{name}"))
    path = folder / "both.yaml"
    path.write_text(f"kind: sweep-series\nname: both\ndescription: Two of a kind.\nsweeps: {sweeps}\n")
    return path


def test_a_series_runs_its_sweeps(tmp_path: Path) -> None:
    path, out = write(tmp_path), tmp_path / "out"
    done = CliRunner().invoke(sweep, [str(path), "-o", str(out), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [s["name"] for s in found["sweeps"]] == ["sweep-a", "sweep-b"]
    assert all(s["trials"] == 4 for s in found["sweeps"])
    html = (out / "index.html").read_text()
    for name in ("sweep-a", "sweep-b"):
        assert (out / name / "index.html").is_file()
        assert f'href="{name}/index.html"' in html
    assert "Two of a kind." in html
    # Rank 8 with all the SRAM holds the most context; less SRAM takes less area: both are on the front.
    assert "lora.<wbr>rank" in html


def test_the_packaged_series_has_both_models() -> None:
    loaded = series.load("roma")
    plans = [sweep_file.load(p) for p in loaded.paths]
    assert [(p.file.workload.model, p.file.workload.weights) for p in plans] == [
        ("llama-3.2-3b", "int4-g128"), ("llama-3-8b", "int2-g128"),
    ]  # fmt: skip
    for plan in plans:
        assert set(plan.file.objectives) == {"tokens_per_s", "context_tokens", "lora_rank", "area_mm2"}


@pytest.mark.parametrize(
    ("sweeps", "text"),
    [
        ("[a, c]", ":4: sweeps[1]: sweep file 'c' not found"),
        ("[a, a]", ":4: sweeps[1]: a second sweep named 'sweep-a'; names must differ"),
        ("[a, both]", ":4: sweeps[1]: 'both' is itself a series; name its sweeps"),
        ("[]", ":4: sweeps: "),
    ],
)
def test_bad_series(tmp_path: Path, sweeps: str, text: str) -> None:
    path = write(tmp_path, sweeps)
    with pytest.raises(UserError) as error:
        series.load(path)
    assert str(error.value).startswith(f"{path}{text}")
    assert "\n" not in str(error.value)


def test_a_series_is_not_shared(tmp_path: Path) -> None:
    path = write(tmp_path)
    done = CliRunner().invoke(sweep, [str(path), "--storage", "sqlite:///x.db"])
    assert str(done.exception) == (
        f"--storage sqlite:///x.db: '{path}' is a series of sweeps; share its sweeps one by one"
    )


def test_metrics_of_one_kind_are_refused_for_others(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    text = ONE.format(name="a").replace("objectives:", "baselines: [a100-fp16]\nobjectives:")
    path.write_text(text)
    with pytest.raises(UserError) as error:
        sweep_file.load(path)
    assert str(error.value) == (
        f"{path}:9: objectives[1]: hardware 'a100-fp16' of kind gpu has no context_tokens; only roma has"
    )
