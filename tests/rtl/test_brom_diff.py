"""Differences of checkpoints, counted against a twin; the commands for differences and faults."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.registry import open_checkpoint
from lutscape.rtl import brom_diff
from lutscape.rtl.brom_layer import Recipe

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "lutscape", "roma", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


@settings(max_examples=50, deadline=None)
@given(depth=st.integers(1, 20), width=st.integers(1, 20), seed=st.integers(0, 10**6), rate=st.floats(0, 1))
def test_changes_are_those_of_the_twin(depth: int, width: int, seed: int, rate: float) -> None:
    rng = np.random.default_rng(seed)
    old = rng.integers(0, 2, (depth, width)).astype(np.uint8)
    new = old ^ (rng.random((depth, width)) < rate).astype(np.uint8)
    found = brom_diff.compare(*(np.packbits(b, axis=1, bitorder="little") for b in (old, new)), width)
    added = removed = moved = 0
    for block in range(-(-depth // 4)):
        for j in range(width):
            was, now = (tuple(b[4 * block : 4 * block + 4, j]) for b in (old, new))
            added += not any(was) and any(now)
            removed += any(was) and not any(now)
            moved += was != now and any(was) and any(now)
    assert (found.added, found.removed, found.moved) == (added, removed, moved)
    assert found.standard_vias == (old != new).sum()
    assert found.changed_words == (old != new).any(axis=1).sum()
    assert found.block_vias == added + removed + 2 * moved


def test_words_of_different_numbers() -> None:
    with pytest.raises(UserError, match="ROM difference: 4 words before, 5 now"):
        brom_diff.compare(np.zeros((4, 1), np.uint8), np.zeros((5, 1), np.uint8), 8)


def test_a_checkpoint_against_itself_changes_nothing(tiny_gguf: Path) -> None:
    one = open_checkpoint(str(tiny_gguf))
    found = brom_diff.difference(one, one, Recipe(LUnit(), "uint4"), 2)
    assert found.masks == found.changed_roms == found.total.changed_words == 0
    assert found.total.words == sum(c.words for c in found.tensors.values()) == 2 * 896


def test_one_changed_tensor_changes_its_roms_alone(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = open_checkpoint(str(tiny_gguf)), open_checkpoint(str(tiny_gguf))
    read = new.tensor

    def tensor(name: str) -> np.ndarray:
        found = read(name)
        if name == "layers.1.down":
            found = found.copy()
            found[3, 5] += 4 * np.abs(found).max()
        return found

    monkeypatch.setattr(new, "tensor", tensor)
    found = brom_diff.difference(old, new, Recipe(LUnit(rom_words=256), "uint4"), 2)
    assert [name for name, c in found.tensors.items() if c.changed_words] == ["layers.1.down"]
    assert found.tensors["layers.1.down"].changed_words <= 2
    assert [r.index for r in found.roms if r.before != r.now] == [6]
    assert found.masks == 2


def test_the_signatures_are_those_of_the_manifest(tiny_gguf: Path, tmp_path: Path) -> None:
    made = run("rom", "--model", tiny_gguf, "-o", tmp_path / "t.v", "--json")
    roms = json.loads(made.stdout)["roms"]
    done = run("diff", tiny_gguf, tiny_gguf, "--json")
    assert [r["now"] for r in json.loads(done.stdout)["roms"]] == [r["crc32"] for r in roms]


def test_the_command_for_differences(tiny_gguf: Path, tmp_path: Path, write_gguf: Callable[..., Path]) -> None:
    other = write_gguf(tmp_path / "other.gguf", quantisation="Q8_0", seed=1)
    done = run("diff", tiny_gguf, other)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == (
        "1 of 1 ROMs change their signature; 1792 of 1792 words; 2 masks to make anew"
    )
    done = run("diff", tiny_gguf, "smollm2")
    assert done.returncode == 2


def test_shapes_that_differ_are_refused(
    tiny_gguf: Path, tmp_path: Path, write_gguf: Callable[..., Path], tiny_shape: Callable[..., object]
) -> None:
    wide = write_gguf(tmp_path / "wide.gguf", shape=tiny_shape(ffn=128))
    with pytest.raises(UserError, match=r"layers.0.gate: 192 words before, 256 now: not the same shape"):
        brom_diff.difference(open_checkpoint(str(tiny_gguf)), open_checkpoint(str(wide)), Recipe(LUnit(), "uint4"), 2)
    deep = write_gguf(tmp_path / "deep.gguf", shape=tiny_shape(layers=3))
    with pytest.raises(UserError, match="tiny and deep do not have the same linear layers"):
        brom_diff.difference(open_checkpoint(str(tiny_gguf)), open_checkpoint(str(deep)), Recipe(LUnit(), "uint4"), 2)


def test_the_command_for_faults(tiny_gguf: Path, tmp_path: Path) -> None:
    options = ["--model", tiny_gguf, "--context", 32, "--tokens", 64, "--rank", 4]
    options += ["--rate", 0, "--rate", 0.002, "--rate", 0.02]
    done = run("faults", *options, "--json")
    assert done.returncode == 0, done.stderr
    rows = {(r["rate"], r["way"]): r for r in json.loads(done.stdout)["rows"]}
    assert rows[0, "none"]["kl"] == rows[0, "secded"]["kl"]
    assert rows[0, "adapter"]["kl"] == rows[0, "patch"]["kl"]
    assert rows[0, "none"]["damage"]["wrong_bits"] == 0
    assert rows[0.02, "none"]["damage"]["left_bits"] == rows[0.02, "none"]["damage"]["wrong_bits"] > 0
    few, many = (rows[rate, "secded"]["damage"] for rate in (0.002, 0.02))
    assert 0 < few["left_bits"] < few["wrong_bits"] / 2
    assert many["left_bits"] > many["wrong_bits"]  # three wrong bits look like one: correction makes it four
    assert rows[0.02, "none"]["kl"]["value"] > rows[0, "none"]["kl"]["value"]
    assert rows[0.02, "patch"]["kl"]["value"] < rows[0.02, "adapter"]["kl"]["value"]
    table = run("faults", *options, "--way", "secded")
    assert table.stdout.splitlines()[2].split()[1] == "secded"
    text = tmp_path / "short.txt"
    text.write_text("a b " * 20)
    short = run("faults", *options, "--text", text, "--way", "patch", "--context", 16, "--tokens", 64)
    assert "--weighted: 13 tokens of text behind the windows; at least --context 16, or --unweighted" in short.stderr
    wrong = run("faults", *options, "--way", "pach")
    assert "unknown way to live with faults 'pach' (did you mean 'patch'?)" in wrong.stderr
