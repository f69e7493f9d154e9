"""What each machine's arithmetic does to SmolLM2-135M: every linear layer through the machine's golden model, one text.

    python reports/all_machines/accuracy.py [--text FILE --text-name NAME] [--windows 8] [--context 256]

Writes ``configs/accuracy/smollm2-135m.yaml``, which ``lutscape sweep all-machines`` reads; entries are written as they
finish, and a run over the same text continues an unfinished one. Weights are 4 bits in groups of 128 for every machine
(round to nearest), so that rows differ by arithmetic alone; embedding, head and KV cache stay in FP32.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lutscape.hw.machines.roma import LUnit
from lutscape.models import perplexity
from lutscape.models.executor import Linear, Model, dense, load_model
from lutscape.models.quantise import vector_linear
from lutscape.models.quantise.recipe import Recipe
from lutscape.models.text import default_text, read_text, sha256
from lutscape.sim.lut_dla.linear import LookupLinear
from lutscape.sim.lut_tensor_core.linear import lookup_design, lookup_variant
from lutscape.sim.mma.linear import linear_factory
from lutscape.sim.roma.linear import RomRecipe, rom_variant

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "configs" / "accuracy" / "smollm2-135m.yaml"
W4, W2 = "int4-g128", "int2-g128"
HEAD = ("lm_head", "embed")
Make = Callable[[Model], Model]


class Remembered:
    """A model whose logits are computed once per window."""

    def __init__(self, model: Model) -> None:
        self.model, self.logits = model, dict[bytes, np.ndarray]()

    def forward(self, window: np.ndarray, every_logit: bool = True) -> np.ndarray:
        """Return the logits of all tokens of a window."""
        key = window.tobytes()
        if key not in self.logits:
            self.logits[key] = self.model.forward(window, every_logit=True)
        return self.logits[key]


def unit(arch: str, name: str, **options: Any) -> Make:
    """Return layers of a matrix unit over 4-bit weights that were widened to its format."""
    factory = linear_factory(arch, name, exclude=HEAD, **options)
    return lambda model: model.variant(factory, Recipe(weights=W4).weight_transform)


def lookup(activations: str, tables: str, scale: str, weights: str = W4) -> Make:
    """Return layers by table lookup."""

    def make(model: Model) -> Model:
        columns = max(model.shape.hidden, model.shape.ffn)
        design = lookup_design(activations, tables, scale, columns)
        return lookup_variant(model, design, Recipe(weights=weights), weights)

    return make


def rom(weights: str, rank: int = 0) -> Make:
    """Return layers in ROM, with an adapter of some rank fitted to the residual of rounding."""
    return lambda model: rom_variant(model, RomRecipe(LUnit(), weights, rank, kv=None))


def vectors(v: int) -> Make:
    """Return layers by vector-quantised lookup, 16 centroids; codebooks from Python's help topics, no training."""

    def make(model: Model) -> Model:
        plan = replace(vector_linear.LinearPlan(rows=2048), v=v, ridge=None)
        _, sampled = vector_linear.split_text(model, model.tokenizer.encode(default_text()), 128, 128, plan.rows)
        names = vector_linear.chosen_layers(model, ())
        inputs = vector_linear.sample_inputs(model, sampled, names, plan.rows, 0)
        layers = vector_linear.convert_linears(model, inputs, plan, 0)
        calls: dict[str, Linear] = {name: LookupLinear(layer) for name, layer in layers.items()}
        return model.variant(lambda name, weight, bias: calls.get(name) or dense(name, weight, bias))

    return make


ENTRIES: dict[str, tuple[str, str, Make, str]] = {
    "fp16": (
        "FP16 tensor cores, FP32 sums (sm_80)", "sim.mma m16n8k16.f32.f16.f16.f32",
        unit("sm_80", "m16n8k16.f32.f16.f16.f32"), "",
    ),
    "fp8": (
        "FP8 tensor cores (sm_90), promoted every 128", "sim.mma wgmma.m64n64k32.f32.e4m3.e4m3",
        unit("sm_90", "wgmma.m64n64k32.f32.e4m3.e4m3", promotion=128),
        "4-bit weights rounded once more to E4M3, one scale per matrix",
    ),
    "int8": (
        "INT8 tensor cores or multiplier arrays", "sim.lut_tensor_core.mpgemm, exact tables (= integer products)",
        lookup("int8", "exact", "group64"), "activations INT8, one scale per token",
    ),
    "lookup-int8": (
        "lookup, INT8 activations, INT8 tables", "sim.lut_tensor_core.mpgemm",
        lookup("int8", "int8", "group64"), "one table scale per 64 activations",
    ),
    "lookup-fp16": (
        "lookup, FP16 activations, INT8 tables", "sim.lut_tensor_core.mpgemm",
        lookup("fp16", "int8", "group64"), "one table scale per 64 activations",
    ),
    "rom-w4": (
        "L-Units, 4-bit weights", "sim.roma.golden", rom("uint4"), "activations aligned to 12 bits; no adapter",
    ),
    "rom-w4-lora": (
        "L-Units, 4-bit weights, FP8 adapter of rank 16", "sim.roma.golden", rom("uint4", 16),
        "adapter: singular vectors of the rounding residual, without training",
    ),
    "vector-quantised": (
        "vector-quantised activations, v = 2, c = 16", "sim.lut_dla.golden", vectors(2),
        "2 bits per activation, 16-bit tables, weights as stored, without training; larger v lose more",
    ),
    "lookup-w2": (
        "lookup, 2-bit weights", "sim.lut_tensor_core.mpgemm", lookup("int8", "int8", "group64", W2),
        "two bits everywhere, without training: the model collapses",
    ),
}  # fmt: skip


def mean(value: perplexity.Mean | None) -> dict[str, float]:
    """Return a mean with six digits."""
    assert value is not None
    return {"value": float(f"{value.value:.6g}"), "error": float(f"{value.error:.3g}")}


def main() -> None:
    """Measure every entry that is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, help="UTF-8 file; default: pydoc_data.topics")
    parser.add_argument("--text-name", help="what the table calls it; default: the file's name")
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--context", type=int, default=256)
    given = parser.parse_args()
    text = default_text() if given.text is None else read_text(given.text)
    name = given.text_name or ("pydoc_data.topics" if given.text is None else given.text.name)
    model = load_model("smollm2-135m")
    ids = perplexity.windows(model.tokenizer.encode(text), given.context, given.windows * given.context, model.shape)
    reference: Any = Remembered(model)
    own = perplexity.evaluate(reference, reference, ids)
    table: dict[str, Any] = {
        "kind": "accuracy",
        "schema_version": 1,
        "model": "smollm2-135m",
        "text": f"{name} (SHA-256 {sha256(text)[:12]})",
        "windows": len(ids),
        "context": given.context,
        "blocks": own.blocks,
        "reference_perplexity": float(f"{own.reference_perplexity.value:.6g}"),
        "command": shlex.join(["python", "reports/all_machines/accuracy.py", *sys.argv[1:]]).replace(
            str(given.text), f"{name}.txt" if given.text else ""
        ),
        "entries": {},
    }
    if TABLE.is_file():
        old = yaml.safe_load(TABLE.read_text())
        if all(old[k] == table[k] for k in ("text", "windows", "context", "reference_perplexity")):
            table["entries"] = old["entries"]
    for key, (label, golden, make, note) in ENTRIES.items():
        if key in table["entries"]:
            continue
        begin = time.perf_counter()
        found = perplexity.evaluate(reference, make(model), ids)
        table["entries"][key] = {
            "label": label,
            "golden": golden,
            "kl": mean(found.kl),
            "perplexity": mean(found.quantised_perplexity),
            "top1": mean(found.top1),
            **({"note": note} if note else {}),
        }
        temporary = TABLE.with_suffix(".tmp")
        temporary.write_text(yaml.safe_dump(table, sort_keys=False, width=110, allow_unicode=True))
        temporary.replace(TABLE)
        print(f"{key}: KL {found.kl}, {time.perf_counter() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
