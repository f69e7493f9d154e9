"""Networks that are no decoder-only language models: a list of layers, encoders and convolutions included.

A YAML file of ``configs/networks`` (``kind: network``) lists layers in their order; a trace of it is one prefill step.
An image has ``batch`` rows of height x width positions, a text ``batch`` times ``prompt_tokens`` rows.

Convolutions become matrix products (im2col): M = batch x output positions, N = output channels, K = input channels x
kernel². Their ``activation_bytes`` are those of the map that is read, each value once, not of the matrix that is
formed from it. Attention is that of encoders: every query sees every key.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError, nearest
from lutscape.hw.spec import Part
from lutscape.models.recorder import Formats, Recorder
from lutscape.models.trace import Header, Trace


class Linear(Part):
    """Fully connected layer on every row (``rows: all``), or on one row per sequence or image (``rows: one``)."""

    kind: Literal["linear"] = "linear"
    name: str
    n: int = Field(gt=0)
    k: int = Field(gt=0)
    bias: bool = True
    rows: Literal["all", "one"] = "all"
    input: str = ""
    """Layer of the same block that produced the operand; ``in``: what entered the block; empty: the layer before."""

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.n * (self.k + self.bias)


class Convolution(Part):
    """Square two-dimensional convolution."""

    kind: Literal["convolution"] = "convolution"
    name: str
    size: int = Field(gt=0)
    """Height and width of the input map."""
    inputs: int = Field(gt=0)
    """Input channels."""
    outputs: int = Field(gt=0)
    """Output channels."""
    kernel: int = Field(ge=1)
    stride: int = Field(default=1, ge=1)
    padding: int = Field(default=0, ge=0)
    bias: bool = False
    input: str = ""

    @model_validator(mode="after")
    def _fits(self) -> Convolution:
        if self.size + 2 * self.padding < self.kernel:
            raise ValueError(f"kernel = {self.kernel} is larger than the padded map of {self.size + 2 * self.padding}")
        return self

    @property
    def output_size(self) -> int:
        """Height and width of the output map."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return self.outputs * (self.inputs * self.kernel * self.kernel + self.bias)


class Attention(Part):
    """Scores, softmax and weighted sum; every query sees every key."""

    kind: Literal["attention"] = "attention"
    name: str
    heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    input: str = ""

    @property
    def parameters(self) -> int:
        """None."""
        return 0


class Rowwise(Part):
    """Norm or element-wise operator on rows of ``n`` values; maps have size² rows."""

    kind: Literal["norm", "elementwise"]
    name: str
    n: int = Field(gt=0)
    size: int = Field(default=0, ge=0)
    """Height and width of the output map; 0: the rows of the text."""
    operands: int = Field(default=1, ge=1, le=4096)
    """Inputs, counted in the size of the output: 2 of an addition, 49 of a mean over 7 x 7."""
    parameters_per_value: int = Field(default=0, ge=0)
    input: str = ""

    @property
    def parameters(self) -> int:
        """Of all values."""
        return self.n * self.parameters_per_value


Layer = Annotated[Linear | Convolution | Attention | Rowwise, Field(discriminator="kind")]


class Block(Part):
    """Layers that come several times, one after the other; named ``layers.i.name``."""

    repeat: int = Field(default=1, ge=1)
    layers: tuple[Layer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _inputs_exist(self) -> Block:
        seen: list[str] = []
        for layer in self.layers:
            if layer.name in seen or layer.name == "in":
                raise ValueError(f"layer {layer.name!r}: names differ within a block, and none is 'in'")
            if layer.input not in ("", "in", *seen):
                raise ValueError(
                    f"layer {layer.name!r}: no layer {layer.input!r} before it{nearest(layer.input, seen)}"
                )
            seen.append(layer.name)
        return self


class Network(Part):
    """A YAML file of ``configs/networks``."""

    kind: Literal["network"] = "network"
    name: str
    source: str = Field(min_length=8)
    """Where the sizes are published."""
    input: Literal["text", "image"]
    max_tokens: int = Field(default=512, ge=1)
    """Longest text."""
    blocks: tuple[Block, ...] = Field(min_length=1)

    @property
    def parameters(self) -> int:
        """Weights of all layers that are listed; a text's embedding is not."""
        return sum(block.repeat * sum(layer.parameters for layer in block.layers) for block in self.blocks)


def names() -> list[str]:
    """Return the names of the packaged networks."""
    return sorted(p.stem for p in (yaml_file.configs_dir() / "networks").glob("*.yaml"))


def find(name: str) -> Network | None:
    """Return a network by packaged name or path; None if the name stands for something else.

    Raises:
        UserError: a network's file that is not valid.
    """
    path = Path(name).expanduser()
    if name in names():
        path = yaml_file.find(name, "networks")
    elif path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return None
    data, lines = yaml_file.read(path)
    if data.get("kind") != "network":
        return None
    return yaml_file.validate(Network, data, path, lines)


def trace(network: Network, prompt_tokens: int = 128, batch: int = 1, formats: Formats | None = None) -> Trace:
    """Return the operators of one batch of texts or images.

    Args:
        network: the layers.
        prompt_tokens: tokens of each text; images have none.
        batch: texts or images.
        formats: number formats to count.

    Raises:
        UserError: bad counts or formats, a text longer than the network takes.
    """
    formats = (formats or Formats()).checked()
    text = network.input == "text"
    for key, value in (("prompt-tokens", prompt_tokens), ("batch", batch)):
        if value < 1:
            raise UserError(f"{key} {value}: must be at least 1")
    if text and prompt_tokens > network.max_tokens:
        raise UserError(f"{network.name}: {prompt_tokens} tokens exceed the network's {network.max_tokens}")
    recorder = Recorder(formats)
    recorder.begin("prefill", 0, batch)
    rows = batch * prompt_tokens if text else batch
    index, before = 0, "input"
    for block in network.blocks:
        for _ in range(block.repeat):
            at, entered = f"layers.{index}", before
            for layer in block.layers:
                name = f"{at}.{layer.name}"
                source = {"": before, "in": entered}.get(layer.input, f"{at}.{layer.input}")
                _record(recorder, layer, name, source, rows, batch, prompt_tokens)
                before = name
            index += 1
    header = Header(
        model=network.name,
        source=f"shape:{network.source}",
        shape=None,
        executed=False,
        requantised=False,
        prompt_tokens=prompt_tokens if text else 1,
        decode_tokens=0,
        batch=batch,
        weights=formats.weights or "fp16",
        head_weights=formats.head_weights or "fp16",
        activations=formats.activations,
        accumulator=formats.accumulator or "int32 for integer products, else fp32",
        kv=formats.kv,
    )
    return Trace(header, recorder.frame())


def _record(recorder: Recorder, layer: Layer, name: str, source: str, rows: int, batch: int, tokens: int) -> None:
    if isinstance(layer, Linear):
        recorder.linear(name, source, rows if layer.rows == "all" else batch, layer.n, layer.k, layer.bias)
    elif isinstance(layer, Convolution):
        m = batch * layer.output_size**2
        k = layer.inputs * layer.kernel**2
        read = batch * layer.inputs * layer.size**2
        recorder.linear(name, source, m, layer.outputs, k, layer.bias, values=min(read, m * k))
    elif isinstance(layer, Attention):
        recorder.attention(name, source, batch, tokens, tokens, layer.heads, layer.heads, layer.head_dim, causal=False)
    else:
        count = batch * layer.size**2 if layer.size else rows
        if layer.kind == "norm":
            recorder.norm(name, source, count, layer.n, layer.parameters)
        else:
            recorder.elementwise(name, source, count, layer.n, layer.operands)
