"""Perplexity of a language model whose linear layers run by table lookup.

Every product is that of the golden kernels, bit for bit (:mod:`lutscape.sim.lut_tensor_core.mpgemm`); nothing is
emulated. Embedding and head stay as stored. Each row is compared with the stored weights in FP32 and with the same
weights by exact tables; the table's own effect is the second one. Standard errors are paired and over windows
(:mod:`lutscape.models.perplexity`).

Writes perplexity.json and perplexity.md next to itself.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from lutscape.models import perplexity
from lutscape.models.executor import Model, load_model
from lutscape.models.perplexity import Comparison, Mean
from lutscape.models.quantise.recipe import Recipe
from lutscape.models.text import default_text, read_text, sha256
from lutscape.sim.lut_tensor_core.linear import Cache, lookup_design, lookup_variant

HERE = Path(__file__).resolve().parent
MIX = "int2-g64 in ffn_gate, int4-g64 elsewhere"


def w4(name: str) -> str:
    """Return the weight format of every layer."""
    return "int4-g64"


def mix(name: str) -> str:
    """Return two bits for the gate, four for all others."""
    return "int2-g64" if name.endswith(".gate") else "int4-g64"


# weights, activations, tables, table scale; the first row of each weight format is its exact one
ROWS: list[tuple[str, str, str, str]] = [
    ("int4-g64", "fp16", "exact", ""),
    ("int4-g64", "fp16", "fp16", ""),
    ("int4-g64", "fp16", "int8", "table"),
    ("int4-g64", "fp16", "int8", "group64"),
    ("int4-g64", "fp16", "int8", "row"),
    ("int4-g64", "fp16", "int6", "table"),
    ("int4-g64", "fp16", "int4", "table"),
    ("int4-g64", "int8", "exact", ""),
    ("int4-g64", "int8", "int8", "group64"),
    (MIX, "fp16", "exact", ""),
    (MIX, "fp16", "int8", "table"),
    (MIX, "fp16", "int8", "group64"),
    (MIX, "fp16", "int8", "row"),
]


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


def compare(reference: Any, other: Any, windows: np.ndarray) -> Comparison:
    """Return the comparison of two remembered models."""
    return perplexity.evaluate(reference, other, windows)


def both(against_stored: Comparison, against_exact: Comparison | None) -> dict[str, Any]:
    """Return the numbers of a row."""

    def mean(value: Mean | None) -> dict[str, float] | None:
        return None if value is None else {"value": value.value, "error": value.error}

    found = {
        "perplexity": mean(against_stored.quantised_perplexity),
        "delta_nll_to_stored": mean(against_stored.delta_nll),
        "kl_to_stored": mean(against_stored.kl),
        "top1_to_stored": mean(against_stored.top1),
    }
    if against_exact is not None:
        found |= {
            "delta_nll_to_exact": mean(against_exact.delta_nll),
            "kl_to_exact": mean(against_exact.kl),
            "top1_to_exact": mean(against_exact.top1),
        }
    return found


def measure(model: Model, windows: np.ndarray) -> list[dict[str, Any]]:
    """Return all rows."""
    stored, cache, rows = Remembered(model), Cache(), []
    columns = max(model.shape.hidden, model.shape.ffn)

    def add(about: dict[str, str], make: Callable[[], Model], exact: Remembered | None) -> Remembered:
        begin = time.perf_counter()
        other = Remembered(make())
        first = compare(stored, other, windows)
        row = about | both(first, None if exact is None else compare(exact, other, windows))
        row["seconds"] = round(time.perf_counter() - begin, 1)
        rows.append(row)
        print({k: v for k, v in row.items() if not isinstance(v, dict)}, row["perplexity"], flush=True)
        return other

    first = compare(stored, stored, windows)
    fp32: dict[str, Any] = {"weights": "as stored", "activations": "fp32", "tables": "none", "table_scale": ""}
    own = first.reference_perplexity
    rows.append(fp32 | {"perplexity": {"value": own.value, "error": own.error}})
    halves = Recipe(weights="fp16", activations="fp16")
    about = {"weights": "fp16", "activations": "fp16", "tables": "none", "table_scale": ""}
    add(about, lambda: model.variant(halves.linear_factory, halves.weight_transform), None)
    exact: Remembered | None = None
    for weights, activations, tables, scale in ROWS:
        design = lookup_design(activations, tables, scale or "group64", columns)
        first_of_its_kind = tables == "exact" and activations == "fp16"
        about = {"weights": weights, "activations": activations, "tables": tables, "table_scale": scale}
        forms = mix if weights == MIX else w4

        def make(design: Any = design, forms: Any = forms) -> Model:
            return lookup_variant(model, design, Recipe(weights="int4-g64"), forms, cache)

        other = add(about, make, None if first_of_its_kind else exact)
        if first_of_its_kind:
            exact = other
    return rows


def markdown(report: dict[str, Any]) -> str:
    """Return the report as text."""

    def cell(value: dict[str, float] | None, form: str) -> str:
        return "" if value is None else f"{value['value']:{form}} ± {value['error']:{form}}"

    lines = [
        "# Perplexity by table lookup",
        "",
        f"{report['model']}, {report['windows']} windows of {report['context']} tokens of {report['text']} "
        f"(SHA-256 {report['text_sha256'][:12]}); standard errors over {report['blocks']}. k = 4, serial bit planes; "
        "round-to-nearest weights with zero points per 64; embedding and head as stored. KL, top-1 and Δnll against "
        "the same weights by exact tables of FP16 activations.",
        "",
        "| weights | activations | tables | scale per | perplexity | Δnll | KL | top-1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        scale = {"": "", "table": "table", "row": "row"}.get(row["table_scale"], "64 activations")
        lines.append(
            f"| {row['weights']} | {row['activations']} | {row['tables']} | {scale} | {cell(row['perplexity'], '.3f')} "
            f"| {cell(row.get('delta_nll_to_exact'), '.5f')} | {cell(row.get('kl_to_exact'), '.2e')} "
            f"| {cell(row.get('top1_to_exact'), '.2%')} |"
        )
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--text", type=Path, help="UTF-8 file; default: pydoc_data.topics")
    parser.add_argument("--text-name", help="what the report calls the text; default: the file's name")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--output", type=Path, default=HERE / "perplexity.json")
    options = parser.parse_args()
    text = default_text() if options.text is None else read_text(options.text)
    name = options.text_name or ("pydoc_data.topics" if options.text is None else options.text.name)
    model = load_model(options.model)
    windows = perplexity.windows(model.tokenizer.encode(text), options.context, options.tokens, model.shape)
    rows = measure(model, windows)
    report = {
        "model": model.shape.name,
        "source": model.source,
        "text": name,
        "text_sha256": sha256(text),
        "context": options.context,
        "windows": len(windows),
        "blocks": "windows" if len(windows) >= perplexity.BLOCKS else "tokens",
        "rows": rows,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__},
    }
    write(options.output, json.dumps(report, indent=2) + "\n")
    write(options.output.with_suffix(".md"), markdown(report))


if __name__ == "__main__":
    main()
