"""Times that others published for GPUs that were not measured here: what the tile model of their specs is held to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FLASH_DECODING = (
    "Dao, Haziza, Massa, Sizov: Flash-Decoding for long-context inference, PyTorch blog (October 2023), "
    "component-level micro-benchmarks on A100, FP16, 16 query heads of dimension 128, 2 key/value heads"
)
MLC = "mlc-ai/llm-perf-bench, pull request 1 (August 2023): MLC LLM, 4-bit weights in groups of 32, one sequence"


@dataclass(frozen=True)
class Published:
    """One published time.

    Attributes:
        machine: packaged spec.
        kind: ``attention`` (µs of one decode step's kernel) or ``decode`` (tokens per second of a whole model).
        batch, context: of attention; for ``decode`` the tokens in the cache in the middle of the run.
        model: of ``decode``.
        value: µs, or tokens per second.
        source: citation.
    """

    machine: str
    kind: Literal["attention", "decode"]
    batch: int
    context: int
    value: float
    source: str
    model: str = ""

    @property
    def what(self) -> str:
        """What a table prints."""
        if self.kind == "attention":
            return f"decode attention, {self.batch} x {self.context} tokens"
        return f"{self.model}, 4-bit weights, one token"

    @property
    def microseconds(self) -> float:
        """The published time."""
        return self.value if self.kind == "attention" else 1e6 / self.value


HEADS, KV_HEADS, HEAD = 16, 2, 128
"""Of the attention points."""
POINTS = (
    *(
        Published("a100-fp16", "attention", batch, context, value, FLASH_DECODING)
        for batch, context, value in (
            (256, 256, 63.4), (128, 512, 67.7), (64, 1024, 77.7), (32, 2048, 58.5), (16, 4096, 57.0), (8, 8192, 56.4),
            (4, 16384, 58.2), (2, 32768, 60.3), (1, 65536, 64.4), (1, 131072, 106.6),
        )
    ),
    Published("rtx-4090-fp16", "decode", 1, 128, 191.0, MLC, "llama-2-7b"),
    Published("rtx-4090-fp16", "decode", 1, 128, 108.8, MLC, "llama-2-13b"),
)  # fmt: skip
