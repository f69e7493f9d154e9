"""Weights under the names of :mod:`lutscape.models.parameters`: from a GGUF file, or random.

Architectures read from GGUF: ``llama`` (also Mixtral's mixture of experts) and ``qwen2``.
"""

from __future__ import annotations

import re
import zlib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from lutscape.hw.errors import UserError, nearest
from lutscape.models.gguf_file import GgufFile
from lutscape.models.parameters import parameters
from lutscape.models.shape import ModelShape

ARCHITECTURES = ("llama", "qwen2")

RopePairs = Literal["adjacent", "halves"]
"""Which elements of a head rotate together: (0, 1), (2, 3), … or (0, d/2), (1, d/2 + 1), …"""


class Checkpoint(Protocol):
    """What the executor needs to know of stored weights."""

    shape: ModelShape
    rope_pairs: RopePairs
    rope_factors: np.ndarray | None
    """(head_dim / 2,) divisors of the rotation frequencies (Llama 3.1), or None."""

    @property
    def source(self) -> str:
        """``gguf:<sha256>``, or ``random:<seed>``."""

    def tensor(self, name: str) -> np.ndarray:
        """Return the float32 values of a parameter, a fresh array."""

    def stored_format(self, name: str) -> str:
        """Return the number format in which a parameter is stored."""


GGUF_NAMES = {
    "embed": "token_embd",
    "lm_head": "output",
    "final_norm": "output_norm",
    "q": "attn_q",
    "k": "attn_k",
    "v": "attn_v",
    "o": "attn_output",
    "gate": "ffn_gate",
    "up": "ffn_up",
    "down": "ffn_down",
    "router": "ffn_gate_inp",
}


class GgufCheckpoint:
    """The weights of a GGUF file, checked against its hyper-parameters when opened.

    llama.cpp permutes the rows of q and k of ``llama`` models so that rotary pairs are adjacent;
    ``qwen2`` files keep the original order (halves).

    Args:
        path: the file.
        name: name of the model in traces; default: the file's ``general.name``, else its stem.

    Raises:
        UserError: unreadable, unknown architecture, missing key or tensor, or a tensor whose shape
            is not what the hyper-parameters say.
    """

    def __init__(self, path: Path, name: str | None = None) -> None:
        self.file = GgufFile(path)
        self.shape = _read_shape(self.file, name)
        architecture = self.file.key("general.architecture")
        self.rope_pairs: RopePairs = "adjacent" if architecture == "llama" else "halves"
        self.rope_factors: np.ndarray | None = None
        if "rope_freqs.weight" in self.file.tensors:
            self.file.info("rope_freqs.weight", (self.shape.head_dim // 2,))
            self.rope_factors = self.file.tensor("rope_freqs.weight")
        for parameter, size in parameters(self.shape).items():
            stored, expert = self._locate(parameter)
            self.file.info(stored, size if expert is None else (self.shape.experts, *size))

    @cached_property
    def source(self) -> str:
        """``gguf:<sha256 of the file>``."""
        return f"gguf:{self.file.sha256()}"

    def _locate(self, name: str) -> tuple[str, int | None]:
        """Return the name in the file, and the index of the expert in a stacked tensor."""
        suffix = "bias" if name.endswith(".bias") else "weight"
        name = name.removesuffix(".bias")
        if name == "lm_head" and self.shape.tied_embeddings:
            name = "embed"
        match = re.fullmatch(r"layers\.(\d+)\.(?:experts\.(\d+)\.)?(\w+)", name)
        if match is None:
            return f"{GGUF_NAMES.get(name, name)}.{suffix}", None
        layer, expert, operator = match.groups()
        stored = f"blk.{layer}.{GGUF_NAMES.get(operator, operator)}"
        if expert is None:
            return f"{stored}.{suffix}", None
        return f"{stored}_exps.{suffix}", int(expert)

    def tensor(self, name: str) -> np.ndarray:
        """Return the dequantised float32 values of a parameter."""
        stored, expert = self._locate(name)
        return self.file.tensor(stored, expert)

    def stored_format(self, name: str) -> str:
        """Return the number format of a parameter in the file (``q4_1``)."""
        return self.file.info(self._locate(name)[0]).format


def _read_shape(file: GgufFile, name: str | None) -> ModelShape:
    architecture = str(file.key("general.architecture"))
    if architecture not in ARCHITECTURES:
        raise UserError(
            f"{file.path}: architecture {architecture!r} is not supported"
            f"{nearest(architecture, ARCHITECTURES)}; supported: {', '.join(ARCHITECTURES)}"
        )

    def number(key: str, default: Any = None) -> Any:
        value = file.key(f"{architecture}.{key}", default)
        if not isinstance(value, int | float):
            raise UserError(f"{file.path}: metadata key {architecture}.{key}: one number expected, got an array")
        return value

    scaling = str(file.key(f"{architecture}.rope.scaling.type", "none"))
    if scaling != "none":
        raise UserError(f"{file.path}: RoPE scaling {scaling!r} is not supported; supported: none, rope_freqs")
    hidden, heads = int(number("embedding_length")), int(number("attention.head_count"))
    if not heads:
        raise UserError(f"{file.path}: metadata key {architecture}.attention.head_count is 0")
    head_dim = int(number("attention.key_length", hidden // heads))
    for key in ("rope.dimension_count", "attention.value_length"):
        if int(number(key, head_dim)) != head_dim:
            raise UserError(
                f"{file.path}: {architecture}.{key} {number(key)} differs from the head size {head_dim}: not supported"
            )
    vocab = file.info("token_embd.weight").shape[0]
    fields: dict[str, Any] = {
        "name": name or str(file.key("general.name", file.path.stem)),
        "source": f"metadata of the GGUF file {file.path.name}",
        "layers": int(number("block_count")),
        "hidden": hidden,
        "ffn": int(number("feed_forward_length")),
        "heads": heads,
        "kv_heads": int(number("attention.head_count_kv", heads)),
        "head_dim": head_dim,
        "vocab": vocab,
        "tied_embeddings": "output.weight" not in file.tensors,
        # Stored as float32: seven digits bring back the decimal that was meant.
        "norm_eps": float(f"{number('attention.layer_norm_rms_epsilon'):.7g}"),
        "rope_base": float(f"{number('rope.freq_base', 10000.0):.7g}"),
        "bias": "qkv" if "blk.0.attn_q.bias" in file.tensors else "none",
        "experts": int(number("expert_count", 0)),
        "experts_per_token": int(number("expert_used_count", 0)),
        "max_context": int(number("context_length")),
    }
    for key in ("layers", "experts"):
        if fields[key] > 64 * len(file.tensors):
            raise UserError(f"{file.path}: damaged: {fields[key]} {key} in {len(file.tensors)} tensors")
    try:
        return ModelShape.model_validate(fields)
    except ValueError as error:
        fault = error.errors()[0] if hasattr(error, "errors") else {"loc": (), "msg": str(error)}
        key = ".".join(map(str, fault["loc"]))
        raise UserError(f"{file.path}: hyper-parameters: {key + ': ' if key else ''}{fault['msg']}") from None


class RandomCheckpoint:
    """Random weights for any shape: for tests, and for operands where no real model is at hand.

    Matrices are normal with variance 1/K, norms near one, biases small; the values of a
    parameter depend on its name and the seed alone.
    """

    rope_factors: np.ndarray | None = None

    def __init__(self, shape: ModelShape, seed: int = 0, rope_pairs: RopePairs = "halves") -> None:
        self.shape = shape
        self.seed = seed
        self.rope_pairs: RopePairs = rope_pairs
        self.source = f"random:{seed}"
        self._sizes = parameters(shape)

    def tensor(self, name: str) -> np.ndarray:
        """Return the float32 values of a parameter."""
        if name == "lm_head" and self.shape.tied_embeddings:
            name = "embed"
        size = self._sizes[name]
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        values = rng.standard_normal(size).astype(np.float32)
        if name.endswith(".bias"):
            return values * np.float32(0.1)
        if len(size) == 1:
            return 1 + values * np.float32(0.1)
        return values / np.float32(np.sqrt(size[-1]))

    def stored_format(self, name: str) -> str:
        """Return ``fp32``."""
        return "fp32"
