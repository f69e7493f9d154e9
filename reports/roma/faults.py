"""Perplexity and KL of SmolLM2 in a ROM with open connections: with and without error correction and adapter patch.

The ROM holds all linear layers as UInt4 in two planes; every programmed connection is open with the same chance
(:mod:`lutscape.sim.roma.faults`). Layers run bit for bit as L-Units with the damaged words, adapters as H-Units. Four
ways to live with the faults:

    none       as read
    adapter    the adapter that the model has anyway, fitted to the residual of rounding; it does not know the faults
    patch      the adapter fitted to the residual of this die: rounding and faults, of the same rank and size
    secded     words with ten check bits

KL is against the stored weights in FP32, and, to see the faults alone, against the same ROM without faults.

Writes faults.json and faults.md next to itself; rows that are there are not measured again.
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
from lutscape.models.quantise.lora import Lora
from lutscape.models.text import default_text, read_text, sha256
from lutscape.sim.roma.dies import WAYS, Die
from lutscape.sim.roma.linear import Cache, RomRecipe, input_rms

HERE = Path(__file__).resolve().parent
RATES = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
RANK = 16
CALIBRATION_TOKENS = 2048


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


def markdown(report: dict[str, Any]) -> str:
    """Return the report as text."""

    def cell(value: dict[str, float] | None, form: str) -> str:
        return "" if value is None else f"{value['value']:{form}} ± {value['error']:{form}}"

    lines = [
        "# SmolLM2 in a ROM with open connections",
        "",
        f"{report['model']}, {report['windows']} windows of {report['context']} tokens of {report['text']} "
        f"(SHA-256 {report['text_sha256'][:12]}); standard errors over {report['blocks']}. All linear layers as UInt4 "
        "in two planes of 274-bit words, groups of 128; KV in FP8; embedding and head as stored. Every connection is "
        f"open with the same chance, one random die a row (seed {report['seed']}). Adapters of rank {RANK} in E4M3, "
        "weighted by the inputs of another text. KL against the weights as stored, and against the ROM without faults "
        "read in the same way.",
        "",
        "| structure | chance | way | open | wrong bits | left | words detected | perplexity | KL to stored "
        "| KL to no faults |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["rows"]:
        d = row["damage"]
        rate = f"{row['rate']:.0e}" if row["rate"] else "0"
        lines.append(
            f"| {row['structure']} | {rate} | {row['way']} | {d['opens']} | {d['wrong_bits']} | {d['left_bits']} "
            f"| {d['detected']} | {cell(row['perplexity'], '.3f')} | {cell(row['kl'], '.4f')} "
            f"| {cell(row['kl_to_no_faults'], '.2e')} |"
        )
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def plan() -> list[tuple[str, float, str]]:
    """Return structure, rate and way of every row; without faults first."""
    rows = [("block", 0.0, "none"), ("block", 0.0, "adapter")]
    for rate in RATES:
        rows += [("block", rate, way) for way in WAYS if way != "adapter" or rate > 1e-6]
    return rows + [("standard", rate, "none") for rate in (1e-4, 1e-3)]


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--text", type=Path, help="UTF-8 file; default: pydoc_data.topics")
    parser.add_argument("--text-name", help="what the report calls the text; default: the file's name")
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE / "faults.json")
    parser.add_argument("--render", action="store_true", help="write faults.md again from faults.json")
    options = parser.parse_args()
    if options.render:
        write(options.output.with_suffix(".md"), markdown(json.loads(options.output.read_text())))
        return
    text = default_text() if options.text is None else read_text(options.text)
    model = load_model(options.model)
    ids = model.tokenizer.encode(text)
    windows = perplexity.windows(ids, options.context, options.tokens, model.shape)
    other = ids[-CALIBRATION_TOKENS:] if options.text is None else model.tokenizer.encode(default_text())
    rms = input_rms(model, perplexity.windows(other, options.context, CALIBRATION_TOKENS, model.shape))
    report: dict[str, Any] = {
        "model": model.shape.name,
        "source": model.source,
        "text": options.text_name or ("pydoc_data.topics" if options.text is None else options.text.name),
        "text_sha256": sha256(text),
        "context": options.context,
        "windows": len(windows),
        "blocks": "windows" if len(windows) >= perplexity.BLOCKS else "tokens",
        "seed": options.seed,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__},
    }
    known: dict[tuple[str, float, str], dict[str, Any]] = {}
    if options.output.is_file():
        old = json.loads(options.output.read_text())
        if {k: v for k, v in old.items() if k != "rows"} == report:
            known = {(r["structure"], r["rate"], r["way"]): r for r in old["rows"]}
    cache: Cache = {}
    recipe = RomRecipe(LUnit(), "uint4", RANK, input_rms=rms)
    stored = Remembered(model)
    whole = Die(model, recipe, 0.0, cache=cache)
    shipped = whole.adapters(False)
    healthy = {way: Remembered(whole.variant(way, shipped)) for way in ("none", "adapter")}
    rows = []
    for structure, rate, way in plan():
        if (structure, rate, way) not in known:
            die = Die(model, recipe, rate, structure, options.seed, cache)  # type: ignore[arg-type]
            without = healthy["adapter" if way in ("adapter", "patch") else "none"]
            known[structure, rate, way] = measure(die, way, windows, stored, without, shipped)
            print(structure, rate, way, known[structure, rate, way]["kl"], flush=True)
        rows.append(known[structure, rate, way])
        write(options.output, json.dumps(report | {"rows": rows}, indent=2) + "\n")
    write(options.output.with_suffix(".md"), markdown(report | {"rows": rows}))


def measure(
    die: Die, way: str, windows: np.ndarray, stored: Any, healthy: Remembered, shipped: dict[str, Lora]
) -> dict[str, Any]:
    """Return one row."""
    begin = time.perf_counter()
    made = die.variant(way, shipped if way == "adapter" else None)
    damage = die.total()
    if damage.left_bits or way == "patch":
        read: Any = Remembered(made)
    else:
        read = healthy  # every word is right: the same model, bit for bit
    found = perplexity.evaluate(stored, read, windows)
    alone: Any = perplexity.evaluate(healthy, read, windows)  # type: ignore[arg-type]
    return {
        "structure": die.structure,
        "rate": die.rate,
        "way": way,
        "damage": vars(damage),
        "perplexity": mean(found.quantised_perplexity),
        "delta_nll": mean(found.delta_nll),
        "kl": mean(found.kl),
        "top1": mean(found.top1),
        "kl_to_no_faults": mean(alone.kl),
        "seconds": round(time.perf_counter() - begin, 1),
    }


if __name__ == "__main__":
    main()
