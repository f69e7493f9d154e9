"""Perplexity of SmolLM2-135M with linear layers by vector-quantised lookup, without training.

Codebooks come from the end of the text (the help topics that Python carries), windows to score from its beginning.
Layers are computed by the golden model. Writes perplexity.json and perplexity.md next to itself.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CONTEXT = 128

CELLS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("down, v = 4, c = 16, INT8 tables", {"layers": ("down",), "table_bits": 8, "ridge": None}),
    ("down, v = 4, c = 16", {"layers": ("down",), "ridge": None}),
    ("down, v = 4, c = 16, fitted tables", {"layers": ("down",), "ridge": 0.1}),
    ("down, v = 2, c = 16", {"layers": ("down",), "v": 2, "ridge": None}),
    ("all layers, v = 4, c = 16", {"ridge": None}),
    ("all layers, v = 2, c = 16", {"v": 2, "ridge": None}),
    ("all layers, v = 1, c = 16", {"v": 1, "ridge": None}),
)
"""Name and changes of :class:`lutscape.models.quantise.vector_linear.LinearPlan`."""


def text(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    first = report["cells"][0]["perplexity"]
    lines = [
        "# SmolLM2-135M with vector-quantised activations",
        "",
        f"{first['tokens']} tokens scored in {first['windows']} windows of {CONTEXT}, ± standard error over "
        f"{first['blocks']}; codebooks from {report['sampled_tokens']} other tokens, no training. Reference: "
        f"perplexity {first['reference_perplexity']['value']:.2f} ± {first['reference_perplexity']['error']:.2f}. "
        "Tables of 16 bits unless said; centroids and activations INT8, one scale per subspace. Written by "
        "`reports/lut_dla/perplexity.py`.",
        "",
        "| converted | bits per activation | perplexity | Δnll per token, paired | top-1 agreement | table bytes |",
        "|---|---|---|---|---|---|",
    ]
    for cell in report["cells"]:
        found = cell["perplexity"]
        shown = [
            f"{found[k]['value']:.{d}f} ± {found[k]['error']:.{d}f}"
            for k, d in (("quantised_perplexity", 1), ("delta_nll", 3), ("top1", 3))
        ]
        lines.append(
            f"| {cell['name']} | {cell['bits_per_activation']:g} | {' | '.join(shown)} | {cell['table_bytes']:,} |"
        )
    lines += [
        "",
        "A few activations are hundreds of times the others; the one scale of a layer's INT8 tables then leaves "
        "nothing of the rest, which 16 bits mend. What remains is the error of the vectors themselves: one bit per "
        "activation is not enough for a language model that was not trained for it. Training it (LUTBoost) needs "
        "gradients through a transformer, which this project does not have.",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--tokens", type=int, default=1024, help="tokens to score")
    parser.add_argument("--rows", type=int, default=2048, help="sampled rows of a codebook")
    options = parser.parse_args()
    from lutscape.models import perplexity
    from lutscape.models.executor import dense, load_model
    from lutscape.models.quantise import vector_linear
    from lutscape.models.text import default_text, sha256
    from lutscape.sim.lut_dla.linear import LookupLinear

    model = load_model(options.model)
    ids = model.tokenizer.encode(default_text())
    scored, sampled = vector_linear.split_text(model, ids, CONTEXT, options.tokens, options.rows)
    every = vector_linear.chosen_layers(model, ())
    inputs = vector_linear.sample_inputs(model, sampled, every, options.rows, 0)
    cells = []
    for name, changes in CELLS:
        plan = replace(vector_linear.LinearPlan(rows=options.rows), **changes)
        names = vector_linear.chosen_layers(model, plan.layers)
        layers = vector_linear.convert_linears(model, {n: inputs[n] for n in names}, plan, 0)
        calls = {n: LookupLinear(layer) for n, layer in layers.items()}
        variant = model.variant(lambda own, weight, bias, calls=calls: calls.get(own) or dense(own, weight, bias))  # type: ignore[misc]
        found = perplexity.evaluate(model, variant, scored)
        size = sum(layer.tables.size * layer.table_bits // 8 for layer in layers.values())
        cells.append(
            {
                "name": name,
                "plan": plan.as_dict(),
                "bits_per_activation": (plan.c.bit_length() - 1) / plan.v,
                "table_bytes": size,
                "perplexity": found.as_dict(),
            }
        )
        print(name, found.quantised_perplexity, flush=True)
    report = {
        "model": model.shape.name,
        "source": model.source,
        "text_sha256": sha256(default_text()),
        "context": CONTEXT,
        "sampled_tokens": int(sampled.size),
        "cells": cells,
    }
    for name, content in (("perplexity.json", json.dumps(report, indent=2) + "\n"), ("perplexity.md", text(report))):
        part = HERE / f".{name}.part"
        part.write_text(content)
        part.replace(HERE / name)


if __name__ == "__main__":
    main()
