"""ROMs of a model's layers: written, read back, and every way in which they must not pass."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import PROJECTIONS, LUnit
from lutscape.models.registry import open_checkpoint
from lutscape.rtl import brom_layer, brom_verify

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lutscape", "roma", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@pytest.fixture(scope="module")
def written(tiny_gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ROMs of one block of the tiny model."""
    path = tmp_path_factory.mktemp("rom") / "tiny.v"
    made = run("rom", "--model", tiny_gguf, "--layer", 1, "-o", path)
    assert made.returncode == 0, made.stderr
    return path


def copied(written: Path, folder: Path) -> Path:
    """Return a copy of ROMs and manifest to damage."""
    for suffix in (".v", ".json"):
        (folder / f"tiny{suffix}").write_bytes(written.with_suffix(suffix).read_bytes())
    return folder / "tiny.v"


def changed(path: Path, change: Callable[[Any], object]) -> None:
    """Change a manifest in place."""
    document = json.loads(path.with_suffix(".json").read_text())
    change(document)
    path.with_suffix(".json").write_text(json.dumps(document))


def test_roms_pass_and_the_manifest_says_what_is_where(written: Path, tiny_gguf: Path) -> None:
    found = brom_verify.verify(written, open_checkpoint(str(tiny_gguf)))
    assert found.failures == ()
    assert found.passed
    manifest = json.loads(written.with_suffix(".json").read_text())
    assert [t["name"] for t in manifest["tensors"]] == [f"layers.1.{n}" for n in PROJECTIONS]
    assert found.words == manifest["words"] == 2 * (64 + 32 + 32 + 64 + 96 + 96 + 64)
    assert found.bits == found.words * 274
    assert found.signatures == {r["module"]: r["crc32"] for r in manifest["roms"]}
    assert manifest["weights_stored"] == 64 * 64 * 2 + 2 * 32 * 64 + 3 * 64 * 96
    vias = manifest["roms"][0]["vias"]
    assert 0 < vias["block"] < vias["standard"] < found.bits


def test_all_layers_and_forms(tiny_gguf: Path, tmp_path: Path) -> None:
    for form, weights in (("standard", "uint2"), ("or", "fp4")):
        path = tmp_path / f"{form}.v"
        done = run("rom", "--model", tiny_gguf, "--weights", weights, "--form", form, "-o", path, "--check")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed" in done.stdout


def flip(path: Path) -> None:
    """Turn one digit of one constant over."""
    text = path.read_text()
    where = re.search(r"11'd3: choice = 1096'h|8'd3: choice = 1096'h|\d+'d3: choice = 1096'h", text)
    assert where is not None
    place = where.end() + 40
    path.write_text(text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :])


def test_a_flipped_bit_fails(written: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    path = copied(written, tmp_path)
    flip(path)
    found = brom_verify.verify(path, open_checkpoint(str(tiny_gguf)))
    assert not found.passed
    assert found.wrong_words >= 1
    assert found.failures[0] == "tiny.v: SHA-256 is not the manifest's: the file was edited"
    assert re.match(
        r"tiny_0: word 1[2-5] differs in \d+ of 274 bits from layers.1.q row [67], group 0", found.failures[1]
    )
    done = run("verify", path)
    assert done.returncode == 1
    assert done.stdout.endswith("FAILED\n")


def test_undefined_bits_fail(written: Path, tiny_gguf: Path, tmp_path: Path) -> None:
    path = copied(written, tmp_path)
    path.write_text(path.read_text().replace("candidate[6] = high != low", "candidate[6] = 1'bx"))
    found = brom_verify.verify(path, open_checkpoint(str(tiny_gguf)))
    assert not found.passed
    assert any("is undefined" in f for f in found.failures)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d["roms"][0].update(crc32="00000000"), "tiny_0: manifest has"),
        (lambda d: d["tensors"][2].update(sha256="0"), "layers.1.v: SHA-256 of its words is not the manifest's"),
        (lambda d: d["tensors"].pop(0), "layers.1.q: not in the manifest"),
        (
            lambda d: d["tensors"].append({"name": "extra", "sha256": ""}),
            "extra: in the manifest, but not in the model",
        ),
        (lambda d: d.update(verilog_sha256="0"), "tiny.v: SHA-256 is not the manifest's: the file was edited"),
    ],
)
def test_a_manifest_that_does_not_match_fails(
    written: Path, tiny_gguf: Path, tmp_path: Path, change: Callable[[Any], object], text: str
) -> None:
    path = copied(written, tmp_path)
    changed(path, change)
    found = brom_verify.verify(path, open_checkpoint(str(tiny_gguf)))
    assert not found.passed
    assert found.failures[0].startswith(text)


def test_weights_of_another_model_fail(written: Path, tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    other = write_gguf(tmp_path / "other.gguf", quantisation="Q8_0", seed=1)
    found = brom_verify.verify(written, open_checkpoint(str(other)))
    assert not found.passed
    assert found.wrong_words == found.words


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.update(roms=[], tensors=[], words=0), "names no ROMs, tensors or words: nothing to verify"),
        (lambda d: d.update(kind="x"), "not a manifest of ROMs (kind is not 'lutscape ROM image')"),
        (lambda d: d.update(schema=9), "schema 9; this version reads 1"),
        (lambda d: d.pop("l_unit"), "manifest without l_unit"),
        (lambda d: d["l_unit"].update(group=0), "manifest: not a recipe of ROMs"),
        (lambda d: d.update(layers=[9]), "--layer 9: tiny has layers 0 … 1"),
        (lambda d: d.update(words=2), "manifest: 2 words in 1 ROMs; the model's tensors fill 896 in 1"),
        (lambda d: d["roms"][0].update(module="absent"), "iverilog refuses the ROMs"),
        (lambda d: d["l_unit"].update(accumulator_bits=16), "can overflow on a group of 128 4-bit weights"),
    ],
)
def test_what_cannot_be_verified_is_an_error(
    written: Path, tiny_gguf: Path, tmp_path: Path, change: Callable[[Any], object], text: str
) -> None:
    path = copied(written, tmp_path)
    changed(path, change)
    with pytest.raises(UserError) as error:
        brom_verify.verify(path, open_checkpoint(str(tiny_gguf)))
    assert text in str(error.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--weights", "ternary"], "not ternary: row 0, group 0 holds"),
        (["--weights", "int4"], "unknown ROM format 'int4' (did you mean 'uint4'?)"),
        (["--layer", 2], "--layer 2: tiny has layers 0 … 1"),
        (
            ["--hardware", "mac-array"],
            "--hardware mac-array: kind 'lut-tensor-core' has no L-Units; allowed: kind roma",
        ),
        (["--form", "blok"], "unknown form of a ROM 'blok'"),
    ],
)
def test_nothing_is_written_where_weights_do_not_fit(
    tiny_gguf: Path, tmp_path: Path, options: list[object], text: str
) -> None:
    done = run("rom", "--model", tiny_gguf, "-o", tmp_path / "x.v", *options)
    assert done.returncode == 2
    assert text in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_placeholder_is_refused(
    tmp_path: Path, write_gguf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = open_checkpoint(str(write_gguf(tmp_path / "t.gguf")))
    read = checkpoint.tensor
    monkeypatch.setattr(checkpoint, "tensor", lambda name: read(name) * (0 if name == "layers.0.v" else 1))
    with pytest.raises(UserError, match=r"layers.0.v: all 2048 weights are 0: a placeholder, not a trained tensor"):
        brom_layer.build(checkpoint, brom_layer.Recipe(LUnit(), "uint4", (0,)))
    monkeypatch.setattr(checkpoint, "tensor", lambda name: read(name)[:1, :1] if name == "layers.0.v" else read(name))
    with pytest.raises(UserError, match=r"layers.0.v: shape 1x1; t needs 32x64"):
        brom_layer.build(checkpoint, brom_layer.Recipe(LUnit(), "uint4", (0,)))


def test_output_must_be_verilog(tiny_gguf: Path, tmp_path: Path) -> None:
    done = run("rom", "--model", tiny_gguf, "-o", tmp_path / "x.txt")
    assert "a Verilog file ends with .v or .sv" in done.stderr
    done = run("rom", "--model", tiny_gguf, "-o", tmp_path / "1x.v")
    assert "its name names the modules; letters, digits and _ only" in done.stderr
