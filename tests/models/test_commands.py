"""The verbs ``models`` and ``trace`` as a user types them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lutscape import cli
from lutscape.hw.errors import UserError
from lutscape.models.trace import Trace

CHECKOUT = Path(cli.__file__).resolve().parent.parent


@pytest.fixture
def lutscape(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line in this process; return exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lutscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def test_trace_show_export(lutscape, tiny_gguf: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    make = ("trace", tiny_gguf, "--prompt-tokens", 6, "--decode-tokens", 2, "--weights", "int2-g32", "-o", path)
    code, out, _ = lutscape(*make, "--capture", "layers.1.*")
    assert code == 0
    assert f"wrote {path}: " in out
    assert "executed on real weights, formats counted, not requantised" in out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.parquet", "t.safetensors"]
    rows = Trace.load(path).rows
    code, out, _ = lutscape("trace", "show", path)
    assert code == 0
    assert "silu_mul" in out
    assert "int2-g32" in out
    code, out, _ = lutscape("trace", "show", path, "--json")
    summary = json.loads(out)
    assert summary["rows"] == len(rows)
    assert sum(o["macs"] for o in summary["operators"]) == summary["totals"]["all"]["macs"] == rows["macs"].sum()
    code, out, _ = lutscape("trace", "show", path, "--layer", 1, "--phase", "decode", "--limit", 3)
    assert len(out.splitlines()) == 1 + 3 + 1
    assert out.splitlines()[-1] == f"{2 * 14 - 3} more rows: --limit {2 * 14}"
    code, out, _ = lutscape("trace", "export", path, "--to", "scalesim", "-o", tmp_path / "t.csv")
    assert code == 0
    assert (tmp_path / "t.csv").read_text().startswith("Layer,M,N,K,\n")


def test_trace_of_a_shape(lutscape, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    code, out, _ = lutscape("trace", "llama-2-7b", "--decode-tokens", 1, "-o", path, "--json")
    assert code == 0
    assert json.loads(out)["header"]["source"].startswith("shape:arXiv 2307.09288")


def test_shape_only_of_a_gguf(lutscape, tiny_gguf: Path, tmp_path: Path) -> None:
    code, out, _ = lutscape(
        "trace", tiny_gguf, "--prompt-tokens", 8, "--decode-tokens", 1, "--shape-only", "-o", tmp_path / "t"
    )
    assert code == 0
    assert "tiny: shapes only" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trace", "llama-2-7", "-o", "T"], "model 'llama-2-7' not found (did you mean 'llama-2-7b'?); give"),
        (["trace", "llama-2-7b", "--weights", "int44", "-o", "T"], "unknown weight format 'int44' (did you mean"),
        (["trace", "llama-2-7b", "-o", "no/T"], "no/T: the directory 'no' does not exist"),
        (["trace", "llama-2-7b"], "Missing option '-o' / '--output'."),
        (["trace", "llama-2-7b", "--prompt-tokens", "9999", "-o", "T"], "llama-2-7b: 9999 prompt + 64 decode"),
        (["trace", "llama-2-7b", "--requantise", "-o", "T"], "--requantise needs a run on real weights"),
        (["trace", "show", "no.parquet"], "trace 'no.parquet' not found; write one with: lutscape trace MODEL"),
        (["models", "run", "llama-2-7b", "--prompt", "a"], "llama-2-7b is a shape without weights; give"),
        (["models", "eval", "GGUF", "--text", "no.txt"], "text file 'no.txt' not found"),
        (["models", "eval", "GGUF", "--weights", "int0"], "unknown weight format 'int0'"),
        (["models", "run", "GGUF", "--prompt", ""], "tiny: no tokens to run: the prompt is empty"),
        (
            ["models", "run", "GGUF", "--prompt", "a", "--tokens", "99"],
            "tiny: 100 tokens exceed the model's context of 64",
        ),
    ],
)
def test_bad_input(
    lutscape, tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = lutscape(*[tiny_gguf if a == "GGUF" else a for a in arguments])
    assert (code, out) == (2, "")
    assert err.startswith(f"lutscape: error: {message}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_corrupt_traces(lutscape, tmp_path: Path, tiny_shape) -> None:
    from lutscape.models.tracing import trace_model

    path = tmp_path / "t.parquet"
    trace_model(tiny_shape(), 4).trace.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    code, _, err = lutscape("trace", "show", path)
    assert code == 2
    assert err.startswith(f"lutscape: error: {path}: not a readable Parquet file: ")
    path.write_bytes(whole)
    table = pq.read_table(path)
    header = json.loads(table.schema.metadata[b"lutscape"]) | {"schema_version": 9}
    pq.write_table(table.replace_schema_metadata({"lutscape": json.dumps(header)}), path)
    code, _, err = lutscape("trace", "show", path)
    assert err == (
        f"lutscape: error: {path}: trace schema version 9, this lutscape reads version 1; "
        "write the trace again with: lutscape trace\n"
    )


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("kind", "conv", "kind is not one of linear, attention, norm, elementwise, gather"),
        ("phase", "warmup", "phase is neither prefill nor decode"),
        ("M", 0, "M, N, K and batch must be at least 1"),
        ("macs", -1, "counts must not be negative"),
    ],
)
def test_rows_that_cannot_be(lutscape, tmp_path: Path, tiny_shape, column: str, value: object, message: str) -> None:
    from lutscape.models.tracing import trace_model

    trace = trace_model(tiny_shape(), 4).trace
    trace.rows.loc[2, column] = value
    trace.save(tmp_path / "t.parquet")
    code, _, err = lutscape("trace", "show", tmp_path / "t.parquet")
    assert code == 2
    assert err == f"lutscape: error: {tmp_path / 't.parquet'}: row 2 (layers.0.q): {message}\n"


def test_damaged_traces_end_in_one_line(tmp_path: Path, tiny_shape) -> None:
    """A few bytes changed anywhere: checksums, header and row checks leave no traceback."""
    from lutscape.models.tracing import trace_model

    path = tmp_path / "t.parquet"
    trace_model(tiny_shape(), 4).trace.save(path)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(0, len(data), 3):
            data[place] = rng.integers(0, 256)
        path.write_bytes(data)
        try:
            Trace.load(path)
        except UserError:
            refused += 1
    assert refused > 100


def test_run_prints_text(lutscape, tiny_gguf: Path) -> None:
    code, text, err = lutscape("models", "run", tiny_gguf, "--prompt", "the man", "--tokens", 5)
    assert code == 0
    assert err.startswith("prefill ")
    code, out, _ = lutscape("models", "run", tiny_gguf, "--prompt", "the man", "--tokens", 5, "--json")
    result = json.loads(out)
    assert result["text"] + "\n" == text
    assert len(result["tokens"]) <= 5


def test_eval(lutscape, tiny_gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("the man in the boat and the other one " * 30)
    command = ("models", "eval", tiny_gguf, "--text", tmp_path / "text", "--context", 16, "--tokens", 160)
    code, out, _ = lutscape(*command, "--weights", "int4-g32", "--json")
    result = json.loads(out)
    assert code == 0
    assert (result["tokens"], result["windows"], result["blocks"]) == (150, 10, "windows")
    assert result["kl"]["value"] > 0
    code, out, _ = lutscape(*command)
    assert "perplexity, reference" in out
    assert "quantised" not in out.replace("perplexity, reference", "")


def test_models_list(lutscape) -> None:
    code, out, _ = lutscape("models", "list", "--json")
    assert code == 0
    assert {r["model"]: r["parameters"] for r in json.loads(out)}["llama-2-7b"] == 6_738_415_616
    code, out, _ = lutscape("models", "list")
    assert "mixtral-8x7b" in out


def test_help_needs_no_heavy_imports() -> None:
    code = (
        "import sys; from lutscape.commands import models, trace; import lutscape.models.quantise.recipe\n"
        "print(sorted(m for m in ('torch', 'gguf', 'tokenizers', 'numba', 'matplotlib') if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
