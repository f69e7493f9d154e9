"""Reading GGUF: the same as the gguf package says, and one clear line for every damage."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.models.checkpoint import GgufCheckpoint, RandomCheckpoint
from lutscape.models.gguf_file import GgufFile
from lutscape.models.parameters import parameters

Writer = Callable[..., Path]


def error_of(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        GgufCheckpoint(path)
    return str(caught.value).replace(str(path), "FILE")


@pytest.mark.parametrize("quantisation", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_agrees_with_the_gguf_package(tmp_path: Path, write_gguf: Writer, quantisation: str) -> None:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    path = write_gguf(tmp_path / "m.gguf", quantisation=quantisation)
    ours, theirs = GgufFile(path), GGUFReader(path)
    keys = {k: f.contents() for k, f in theirs.fields.items() if not k.startswith("GGUF.")}
    assert set(ours.metadata) == set(keys)
    for key, value in keys.items():
        assert list(np.atleast_1d(ours.metadata[key])) == list(np.atleast_1d(value)), key
    assert list(ours.tensors) == [t.name for t in theirs.tensors]
    for tensor in theirs.tensors:
        expected = dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(ours.tensor(tensor.name), expected)
        assert ours.info(tensor.name).bytes == tensor.n_bytes


def test_chunks_do_not_change_values(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = GgufFile(tiny_gguf).tensor("blk.0.ffn_up.weight")
    monkeypatch.setattr("lutscape.models.gguf_file._CHUNK", 64 * 7)
    np.testing.assert_array_equal(GgufFile(tiny_gguf).tensor("blk.0.ffn_up.weight"), whole)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("llama", {}),
        ("llama", {"tied_embeddings": False, "head_dim": 32}),
        ("llama", {"experts": 3, "experts_per_token": 2}),
        ("qwen2", {"bias": "qkv"}),
    ],
)
def test_checkpoint_gives_back_what_was_written(
    tmp_path: Path, write_gguf: Writer, tiny_shape: Callable[..., object], architecture: str, changes: dict
) -> None:
    shape = tiny_shape(**changes)
    checkpoint = GgufCheckpoint(write_gguf(tmp_path / "m.gguf", shape, architecture), "tiny")
    assert checkpoint.shape.model_dump(exclude={"source"}) == shape.model_dump(exclude={"source"})
    assert checkpoint.rope_pairs == ("adjacent" if architecture == "llama" else "halves")
    written = RandomCheckpoint(shape)
    for name in parameters(shape):
        np.testing.assert_array_equal(checkpoint.tensor(name), written.tensor(name))
        assert checkpoint.stored_format(name) == "fp32"


def test_missing_file(tmp_path: Path) -> None:
    assert error_of(tmp_path / "no.gguf") == "GGUF file 'FILE' not found"


def test_directory(tmp_path: Path) -> None:
    assert error_of(tmp_path) == "FILE: cannot be read: Is a directory"


def test_wrong_magic(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert error_of(path) == "FILE: not a GGUF file: it begins with b'PK\\x03\\x04', not b'GGUF'"


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"")
    assert error_of(path) == "FILE: not a GGUF file: it begins with b'', not b'GGUF'"


@pytest.mark.parametrize(("version", "more"), [(1, ""), (4, ""), (3 << 24, " (a big-endian file)")])
def test_version(tmp_path: Path, tiny_gguf: Path, version: int, more: str) -> None:
    data = bytearray(tiny_gguf.read_bytes())
    data[4:8] = struct.pack("<I", version)
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    assert error_of(path) == f"FILE: GGUF version {version}{more} is not supported; supported: 2, 3"


def test_cut_tensor(tmp_path: Path, tiny_gguf: Path) -> None:
    data = tiny_gguf.read_bytes()
    path = tmp_path / "m.gguf"
    path.write_bytes(data[:-1000])
    info = list(GgufFile(tiny_gguf).tensors.values())[-1]
    assert error_of(path) == (
        f"FILE: cut short: tensor '{info.name}' ends at byte {info.offset + info.bytes}, "
        f"the file has {len(data) - 1000}; download it again"
    )


def test_cut_header(tmp_path: Path, tiny_gguf: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(tiny_gguf.read_bytes()[:30])
    assert error_of(path) == "FILE: cut short or damaged: the header needs 8 bytes at byte 24, the file has 30"


def test_missing_key(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "m.gguf", omit=("llama.block_count",))
    assert error_of(path) == "FILE: metadata key 'llama.block_count' is missing"


def test_missing_tensor(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "m.gguf", omit=("blk.1.ffn_up.weight",))
    assert error_of(path) == "FILE: tensor 'blk.1.ffn_up.weight' is missing"


def test_unknown_architecture(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "m.gguf", architecture="gemma3")
    assert error_of(path) == "FILE: architecture 'gemma3' is not supported; supported: llama, qwen2"


def test_wrong_tensor_shape(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    data = path.read_bytes()
    key = b"llama.feed_forward_length" + struct.pack("<I", 4)
    place = data.index(key) + len(key)
    path.write_bytes(data[:place] + struct.pack("<I", 95) + data[place + 4 :])
    assert error_of(path) == (
        "FILE: tensor 'blk.0.ffn_gate.weight' is (96, 64) (rows, columns), the hyper-parameters say (95, 64)"
    )


def test_inconsistent_hyper_parameters(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "m.gguf")
    data = path.read_bytes()
    key = b"llama.attention.head_count_kv" + struct.pack("<I", 4)
    place = data.index(key) + len(key)
    path.write_bytes(data[:place] + struct.pack("<I", 3) + data[place + 4 :])
    expected = "FILE: hyper-parameters: Value error, heads (4) must be a multiple of kv_heads (3)"
    assert error_of(path) == expected


def test_rope_scaling_is_refused(tmp_path: Path, write_gguf: Writer) -> None:
    path = write_gguf(tmp_path / "m.gguf", metadata={"llama.rope.scaling.type": "yarn"})
    assert error_of(path) == "FILE: RoPE scaling 'yarn' is not supported; supported: none, rope_freqs"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damage_never_raises_anything_else(tmp_path: Path, tiny_gguf: Path, data: st.DataObject) -> None:
    """Cut anywhere, or with a few bytes of the header changed: a UserError or a readable file."""
    from lutscape.models.tokenizer import Tokenizer

    whole = bytearray(tiny_gguf.read_bytes())
    header = min(info.offset for info in GgufFile(tiny_gguf).tensors.values())
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(0, len(whole)))]
    path = tmp_path / "damaged.gguf"
    path.write_bytes(whole)
    with contextlib.suppress(UserError):
        Tokenizer(GgufCheckpoint(path).file)
