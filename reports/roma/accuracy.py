"""Perplexity and KL of SmolLM2 with its linear layers in ROM, with and without adapters.

Every product is that of the golden L-Unit and H-Unit, bit for bit (:mod:`lutscape.sim.roma.linear`); nothing is
emulated. Embedding and head stay as stored. All rows are compared with the stored weights in FP32 on the same tokens;
standard errors are paired and over windows (:mod:`lutscape.models.perplexity`). Weighted adapters know the root mean
square of each input on another text than the one they are judged by.

Writes accuracy.json and accuracy.md next to itself; rows that are there are not measured again.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np

from lutscape.hw.machines.roma import LUnit
from lutscape.models import perplexity
from lutscape.models.executor import Model, load_model
from lutscape.models.perplexity import Mean
from lutscape.models.text import default_text, read_text, sha256
from lutscape.sim.roma.linear import Cache, RomRecipe, input_rms, rom_variant

HERE = Path(__file__).resolve().parent
CALIBRATION_TOKENS = 2048

# weights (searched: range of each group by least weighted error), bits of an aligned activation, KV, rank, adapter
Row = tuple[str, int, str, int, str]
ROWS: list[Row] = [
    ("uint4", 12, "fp32", 0, ""),
    ("uint4", 12, "fp8_e4m3", 0, ""),
    ("uint4", 10, "fp8_e4m3", 0, ""),
    ("uint4", 8, "fp8_e4m3", 0, ""),
    ("uint4", 6, "fp8_e4m3", 0, ""),
    ("uint4", 12, "fp8_e4m3", 16, "residual"),
    ("uint4", 12, "fp8_e4m3", 16, "weighted"),
    ("uint4", 12, "fp8_e4m3", 64, "weighted"),
    ("uint4 searched", 12, "fp8_e4m3", 0, ""),
    ("uint4 searched", 12, "fp8_e4m3", 16, "weighted"),
    ("fp4", 12, "fp8_e4m3", 0, ""),
    ("fp4", 12, "fp8_e4m3", 16, "weighted"),
    ("uint2", 12, "fp8_e4m3", 0, ""),
    ("uint2", 12, "fp8_e4m3", 16, "weighted"),
    ("uint2", 12, "fp8_e4m3", 64, "weighted"),
    ("uint2 searched", 12, "fp8_e4m3", 0, ""),
    ("uint2 searched", 12, "fp8_e4m3", 64, "weighted"),
    ("ternary", 12, "fp8_e4m3", 0, ""),
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


def mean(value: Mean | None) -> dict[str, float] | None:
    """Return a mean as plain data."""
    return None if value is None else {"value": value.value, "error": value.error}


def measure(
    model: Model, stored: Any, windows: np.ndarray, rms: dict[str, np.ndarray], cache: Cache, row: Row
) -> dict[str, Any]:
    """Return one row."""
    begin = time.perf_counter()
    weights, bits, kv, rank, kind = row
    unit = LUnit(activation_bits=bits)
    form, _, searched = weights.partition(" ")
    weighed = rms if kind == "weighted" or searched else None
    recipe = RomRecipe(unit, form, rank, kv=kv, requantise=form == "ternary", search=bool(searched), input_rms=weighed)
    found = perplexity.evaluate(stored, rom_variant(model, recipe, cache=cache), windows)
    return {
        "weights": weights,
        "activation_bits": bits,
        "kv": kv,
        "rank": rank,
        "adapter": kind,
        "perplexity": mean(found.quantised_perplexity),
        "delta_nll": mean(found.delta_nll),
        "kl": mean(found.kl),
        "top1": mean(found.top1),
        "seconds": round(time.perf_counter() - begin, 1),
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the report as text."""

    def cell(value: dict[str, float] | None, form: str) -> str:
        return "" if value is None else f"{value['value']:{form}} ± {value['error']:{form}}"

    lines = [
        "# SmolLM2 in ROM: perplexity and KL",
        "",
        f"{report['model']}, {report['windows']} windows of {report['context']} tokens of {report['text']} "
        f"(SHA-256 {report['text_sha256'][:12]}); standard errors over {report['blocks']}. Linear layers by L-Units, "
        "bit for bit: groups of 128, FP16 scale, round to nearest (ternary: absolute mean, no training); searched: the "
        "range of each group by least squared error, weighted like adapters. Activations "
        "FP16, aligned to one exponent per group. Adapters of all seven projections, E4M3, from the singular value "
        "decomposition of what rounding left, without training; weighted: by the root mean square of each input on "
        f"{report['calibration_tokens']} tokens of other text. Embedding and head as stored. Against the stored "
        "weights in FP32.",
        "",
        "| weights | activation bits | KV | adapter rank | perplexity | Δnll | KL | top-1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        rank = f"{row['rank']} {row['adapter']}" if row.get("rank") else "none" if "rank" in row else ""
        lines.append(
            f"| {row['weights']} | {row.get('activation_bits', 'fp32')} | {row.get('kv', 'fp32')} | {rank} "
            f"| {cell(row['perplexity'], '.3f')} | {cell(row.get('delta_nll'), '.4f')} "
            f"| {cell(row.get('kl'), '.4f')} | {cell(row.get('top1'), '.2%')} |"
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
    parser.add_argument("--text", type=Path, help="UTF-8 file; default: pydoc_data.topics, calibrated on its end")
    parser.add_argument("--text-name", help="what the report calls the text; default: the file's name")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--output", type=Path, default=HERE / "accuracy.json")
    options = parser.parse_args()
    text = default_text() if options.text is None else read_text(options.text)
    name = options.text_name or ("pydoc_data.topics" if options.text is None else options.text.name)
    model = load_model(options.model)
    ids = model.tokenizer.encode(text)
    windows = perplexity.windows(ids, options.context, options.tokens, model.shape)
    other = ids[-CALIBRATION_TOKENS:] if options.text is None else model.tokenizer.encode(default_text())
    rms = input_rms(model, perplexity.windows(other, options.context, CALIBRATION_TOKENS, model.shape))
    report: dict[str, Any] = {
        "model": model.shape.name,
        "source": model.source,
        "text": name,
        "text_sha256": sha256(text),
        "context": options.context,
        "windows": len(windows),
        "blocks": "windows" if len(windows) >= perplexity.BLOCKS else "tokens",
        "calibration_tokens": CALIBRATION_TOKENS,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__},
    }
    known: dict[Row, dict[str, Any]] = {}
    if options.output.is_file():
        old = json.loads(options.output.read_text())
        if {k: v for k, v in old.items() if k != "rows"} == report:
            keys = ("weights", "activation_bits", "kv", "rank", "adapter")
            known = {tuple(r[k] for k in keys): r for r in old["rows"][1:]}  # type: ignore[misc]
    stored: Any = Remembered(model)
    own = perplexity.evaluate(stored, stored, windows).reference_perplexity
    rows: list[dict[str, Any]] = [{"weights": "as stored", "perplexity": mean(own)}]
    cache: Cache = {}
    for row in ROWS:
        if row not in known:
            known[row] = measure(model, stored, windows, rms, cache, row)
            print(*row, known[row]["kl"], known[row]["seconds"], flush=True)
        rows.append(known[row])
        write(options.output, json.dumps(report | {"rows": rows}, indent=2) + "\n")
    report["rows"] = rows
    write(options.output.with_suffix(".md"), markdown(report))


if __name__ == "__main__":
    main()
