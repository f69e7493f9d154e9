"""Fixtures that several rooms' tests share: tiny GGUF files, and the real SmolLM2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lutscape.models.checkpoint import GGUF_NAMES, RandomCheckpoint
from lutscape.models.shape import ModelShape

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["t h", "Ġ th", "Ġth e", "i n", "Ġ a", "e r", "o n", "in g", "ĠĠ ĠĠ", "Ġ Ġ", "a b", "1 2"]


def byte_characters() -> list[str]:
    """Return the character that stands for each byte in byte-level BPE (GPT-2's bytes_to_unicode)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(others)) for b in range(256)]


def tiny_vocabulary() -> tuple[list[str], list[str]]:
    """Return tokens and merges of a byte-level vocabulary."""
    merges = [m for m in MERGES if m != "ĠĠ ĠĠ"] + ["ĠĠ ĠĠ"]
    return [*CONTROL, *byte_characters(), *(m.replace(" ", "") for m in merges)], merges


def tiny_shape(**changes: Any) -> ModelShape:
    """Return a llama-like shape of 40 thousand parameters."""
    fields: dict[str, Any] = {
        "name": "tiny",
        "source": "made for tests",
        "layers": 2,
        "hidden": 64,
        "ffn": 96,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 16,
        "vocab": len(tiny_vocabulary()[0]),
        "tied_embeddings": True,
        "max_context": 64,
    }
    return ModelShape.model_validate({**fields, **changes})


def write_gguf(
    path: Path,
    shape: ModelShape | None = None,
    architecture: str = "llama",
    quantisation: str = "F32",
    seed: int = 0,
    omit: tuple[str, ...] = (),
    metadata: dict[str, Any] | None = None,
) -> Path:
    """Write a random model as GGUF.

    Args:
        path: file to write.
        shape: default :func:`tiny_shape`.
        architecture: ``general.architecture`` and prefix of the keys.
        quantisation: GGML type of the matrices.
        seed: of the weights (those of ``RandomCheckpoint``).
        omit: tensors and metadata keys to leave out.
        metadata: string keys to change.
    """
    import gguf
    from gguf.quants import quantize

    from lutscape.models.parameters import parameters

    shape = shape or tiny_shape()
    weights = RandomCheckpoint(shape, seed)
    tokens, merges = tiny_vocabulary()
    tokens = tokens + [f"<pad{i}>" for i in range(shape.vocab - len(tokens))]
    writer = gguf.GGUFWriter(path, architecture)
    a = architecture
    numbers = {
        f"{a}.block_count": shape.layers,
        f"{a}.context_length": shape.max_context,
        f"{a}.embedding_length": shape.hidden,
        f"{a}.feed_forward_length": shape.ffn,
        f"{a}.attention.head_count": shape.heads,
        f"{a}.attention.head_count_kv": shape.kv_heads,
        f"{a}.attention.key_length": shape.head_dim,
    }
    if shape.experts:
        numbers |= {f"{a}.expert_count": shape.experts, f"{a}.expert_used_count": shape.experts_per_token}
    for key, value in numbers.items():
        if key not in omit:
            writer.add_uint32(key, value)
    writer.add_float32(f"{a}.attention.layer_norm_rms_epsilon", shape.norm_eps)
    writer.add_float32(f"{a}.rope.freq_base", shape.rope_base)
    strings = {"general.name": shape.name, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm"}
    for key, value in {**strings, **(metadata or {})}.items():
        if key not in omit:
            writer.add_string(key, value)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(CONTROL) + [1] * (len(tokens) - len(CONTROL)))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    kind = gguf.GGMLQuantizationType[quantisation]
    stacked: dict[str, list[np.ndarray]] = {}
    for name in parameters(shape):
        values = weights.tensor(name)
        suffix = "bias" if name.endswith(".bias") else "weight"
        parts = name.removesuffix(".bias").split(".")
        role = GGUF_NAMES.get(parts[-1], parts[-1])
        stored = f"blk.{parts[1]}.{role}.{suffix}" if parts[0] == "layers" else f"{role}.{suffix}"
        if "experts" in parts:
            stored = f"blk.{parts[1]}.{role}_exps.{suffix}"
            stacked.setdefault(stored, []).append(values)
            if len(stacked[stored]) < shape.experts:
                continue
            values = np.stack(stacked[stored])
        if stored in omit:
            continue
        if values.ndim > 1 and quantisation != "F32":
            writer.add_tensor(stored, quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(stored, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(name="write_gguf", scope="session")
def _write_gguf() -> Callable[..., Path]:
    return write_gguf


@pytest.fixture(name="tiny_shape", scope="session")
def _tiny_shape() -> Callable[..., ModelShape]:
    return tiny_shape


@pytest.fixture(scope="session")
def tiny_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama model of 40 thousand parameters, Q8_0."""
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", quantisation="Q8_0")


@pytest.fixture(scope="session")
def smollm2_path() -> Path:
    """The real SmolLM2-135M-Instruct, fetched into the cache if it is not there."""
    from lutscape.models import registry

    return registry.get("smollm2-135m")[0]


@pytest.fixture(scope="session")
def smollm2(smollm2_path: Path) -> Any:
    """SmolLM2 in memory (540 MB), loaded once per session."""
    from lutscape.models.executor import load_model

    return load_model("smollm2-135m")
