"""What a matrix unit's accumulator does to a language model: SmolLM2-135M with every linear layer bit-exact.

    python reports/mma/accuracy.py [--windows 4] [--context 256]

Each row runs all linear layers (lm_head included; attention stays float32) through one instruction and
scores the same text twice: beside the float32 executor, and beside the same rounded operands with exact
sums, which leaves the accumulator alone. Rows are written to ``accuracy.json`` as they finish; a run with
the same text, windows and source continues an unfinished one. ``accuracy.md`` is the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))

from lutscape.models import perplexity  # noqa: E402
from lutscape.models.executor import load_model  # noqa: E402
from lutscape.models.text import default_text, sha256  # noqa: E402
from lutscape.sim import mma  # noqa: E402
from lutscape.sim.mma.linear import Cache, linear_factory, reference_factory  # noqa: E402

E4M3 = "wgmma.m64n64k32.f32.e4m3.e4m3"
# label, group of operands, architecture and instruction, how the kernel runs it
UNITS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("Hopper wgmma, FP16 into FP32", "fp16", "sm_90", "wgmma.m64n64k16.f32.f16.f16", {}),
    ("Hopper wgmma, FP16 into FP16", "fp16", "sm_90", "wgmma.m64n64k16.f16.f16.f16", {}),
    ("Ampere mma.sync, FP16 into FP32", "fp16", "sm_80", "m16n8k16.f32.f16.f16.f32", {}),
    ("CDNA2, FP16 (subnormals flushed)", "fp16", "gfx90a", "f32_16x16x16f16", {}),
    ("Hopper wgmma, BF16", "bf16", "sm_90", "wgmma.m64n64k16.f32.bf16.bf16", {}),
    ("Hopper wgmma, TF32", "tf32", "sm_90", "wgmma.m64n64k8.f32.tf32.tf32", {}),
    ("CDNA3, FP8 (FNUZ)", "e4m3fnuz", "gfx942", "f32_16x16x32_fp8_fp8", {}),
    ("Hopper wgmma, FP8", "e4m3", "sm_90", E4M3, {}),
    ("Hopper wgmma, FP8, promoted every 128", "e4m3", "sm_90", E4M3, {"promotion": 128}),
    ("Hopper mma.sync, FP8 (two half-precision steps)", "e4m3", "sm_90", "m16n8k32.f32.e4m3.e4m3.f32", {}),
    ("Blackwell tcgen05, FP8", "e4m3", "sm_100", "tcgen05.m64n64k32.kind::f8f6f4.f32.e4m3.e4m3", {}),
]
# products per sum, fraction bits, output rounding of custom FP8 units
GRID = [
    *((32, f, "RZ-FP32") for f in (8, 10, 13, 16, 25)),
    (32, 25, "RZ-E8M13"),
    (32, 25, "RNE-FP32"),
    (8, 13, "RZ-FP32"),
]


class Remembered:
    """A model whose logits of each window are computed once."""

    def __init__(self, model: Any) -> None:
        self.model, self.logits, self.seconds = model, {}, 0.0

    def forward(self, window: np.ndarray, every_logit: bool = True) -> np.ndarray:
        """Return logits of one window."""
        key = window.tobytes()
        if key not in self.logits:
            start = time.perf_counter()
            self.logits[key] = self.model.forward(window, every_logit=every_logit)
            self.seconds += time.perf_counter() - start
        return self.logits[key]


def main() -> None:
    """Measure, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--context", type=int, default=256)
    given = parser.parse_args()
    model = load_model("smollm2-135m")
    text = default_text()
    ids = perplexity.windows(model.tokenizer.encode(text), given.context, given.windows * given.context, model.shape)
    path = HERE / "accuracy.json"
    header = {
        "model": "smollm2-135m", "source": model.source, "windows": len(ids), "context": given.context,
        "text": "Python's help topics (pydoc_data)", "text_sha256": sha256(text),
        "scales": "FP8: max-abs, one per call (activations) and per matrix (weights)",
        "layers": "all linear layers, lm_head included; attention in float32",
    }  # fmt: skip
    found: dict[str, Any] = {}
    if path.is_file():
        old = json.loads(path.read_text())
        if all(old.get(k) == v for k, v in header.items()):
            found = {row["label"]: row for row in old["rows"]}
    macs = sum(m.size for n, m in model.matrices.items() if n != "embed") * ids.size
    reference = Remembered(model)
    groups: dict[str, tuple[Cache, Remembered]] = {}
    wanted: list[tuple[str, str, str, Any, dict[str, Any]]] = [*UNITS]
    for length, fraction, rounding in GRID:
        op = mma.Custom(L=length, F=fraction, rounding=rounding, input="e4m3")
        wanted.append((f"FP8 unit L={length} F={fraction} {rounding}", "e4m3", "custom", op, {}))

    def score(label: str, run: Remembered, **about: Any) -> None:
        rows = {"float32": perplexity.evaluate(reference, run, ids)}  # type: ignore[arg-type]
        if "exact" not in label:
            rows["operands"] = perplexity.evaluate(groups[about["operands"]][1], run, ids)  # type: ignore[arg-type]
        found[label] = {
            "label": label, **about, "seconds": round(run.seconds, 1), "mac_per_s": macs / run.seconds,
            **{f"against_{k}": r.as_dict() for k, r in rows.items()},
        }  # fmt: skip
        order = [f"{g} operands, {s} sums" for g in dict.fromkeys(w[1] for w in wanted) for s in ("exact", "float32")]
        order += [w[0] for w in wanted]
        kept = sorted(found.values(), key=lambda r: order.index(r["label"]))
        about_run = {
            "command": "python reports/mma/accuracy.py", "cores": len(os.sched_getaffinity(0)),
            "numpy": np.__version__, "python": platform.python_version(),
        }  # fmt: skip
        path.write_text(json.dumps({**header, **about_run, "rows": kept}, indent=1) + "\n")
        print(f"{label}: {run.seconds:.0f} s", flush=True)

    for label, operands, arch, name, options in wanted:
        exact = f"{operands} operands, exact sums"
        if label in found and exact in found:
            continue
        if operands not in groups:
            groups.clear()
            cache: Cache = {}
            groups[operands] = (cache, Remembered(model.variant(reference_factory(operands, cache=cache))))
            score(exact, groups[operands][1], operands=operands, arch="", instruction="", options={})
            single = Remembered(model.variant(reference_factory(operands, sums="float32", cache=cache)))
            score(f"{operands} operands, float32 sums", single, operands=operands, arch="", instruction="", options={})
        if label not in found:
            run = Remembered(model.variant(linear_factory(arch, name, cache=groups[operands][0], **options)))
            spec = name if isinstance(name, str) else name.spec.name
            score(label, run, operands=operands, arch=arch, instruction=spec, options=options)
    (HERE / "accuracy.md").write_text(markdown(json.loads(path.read_text())))


def markdown(data: dict[str, Any]) -> str:
    """Return the table."""
    first = data["rows"][0]["against_float32"]
    few = ", taken as independent, which makes it too small" if first["blocks"] == "tokens" else ""
    lines = [
        "# Accuracy of SmolLM2-135M on matrix units, bit for bit",
        "",
        f"Written by `{data['command']}`. {data['windows']} windows of {data['context']} tokens "
        f"({first['tokens']} scored) of {data['text']}, SHA-256 `{data['text_sha256'][:16]}`; {data['layers']}. "
        f"{data['scales']}.",
        "",
        "KL in nats per token; ± is one standard error over the scored "
        f"{first['blocks']} (Δ: paired){few}. *exact sums*: the same rounded operands, float64 sums; KL beside it is "
        "what the accumulator adds. *float32 sums*: numpy's product of the same operands, the floor that last-bit "
        "noise alone reaches because later layers round other activations; rows near it cannot be told apart. "
        f"Perplexity of the float32 executor: {first['reference_perplexity']['value']:.3f}.",
        "",
        "| linear layers | instruction | KL to float32 | Δ ln ppl (paired) | perplexity | top-1 | KL to exact sums "
        "| top-1 to exact sums | 10^9 MAC/s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    groups = list(dict.fromkeys(row["operands"] for row in data["rows"]))
    for row in sorted(data["rows"], key=lambda r: (groups.index(r["operands"]), r["instruction"] != "")):
        r, own = row["against_float32"], row.get("against_operands")
        options = ", ".join(f"{k}={v}" for k, v in row["options"].items())
        where = f"{row['arch']} `{row['instruction']}`" if row["instruction"] else "reference"
        alone = (
            [f"{own['kl']['value']:.2e} ± {own['kl']['error']:.0e}", f"{own['top1']['value']:.2%}"]
            if own
            else ["0", "100 %"]
        )
        cells = [
            row["label"], where + (f" ({options})" if options else ""),
            f"{r['kl']['value']:.2e} ± {r['kl']['error']:.0e}",
            f"{r['delta_nll']['value']:+.5f} ± {r['delta_nll']['error']:.5f}",
            f"{r['quantised_perplexity']['value']:.3f}", f"{r['top1']['value']:.2%}", *alone,
            f"{row['mac_per_s'] / 1e9:.1f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
