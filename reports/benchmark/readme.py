"""Put the measured numbers of all reports into the README's table, and into measured.md for the front page.

Run by ``make bench``; alone it measures nothing.

python reports/benchmark/readme.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
START, END = "<!-- measured:start -->", "<!-- measured:end -->"
Row = tuple[str, str, str, str]


def load(name: str) -> Any:
    """Return a report's numbers."""
    return json.loads((ROOT / "reports" / name).read_text())


def main() -> None:
    quickstart = load("benchmark/quickstart.json")
    rows = [*product_rows(quickstart), *matrix_rows(), *rtl_rows(), *lookup_rows(), *dla_rows(), *rom_rows()]
    about = f"Measured on {quickstart['machine']}, no GPU."
    table = ["| what | measured | required | by |", "|---|---|---|---|"]
    table += [f"| {what} | {value} | {limit} | `{by}` |" for what, value, limit, by in rows]
    lines = [START, about, "", *table]
    page = ROOT / "reports" / "benchmark" / "measured.md"
    page.write_text("\n".join(["# Measured, with what was required", "", about, "", *table]) + "\n")
    readme = ROOT / "README.md"
    before, rest = readme.read_text().split(START, 1)
    _, after = rest.split(END, 1)
    readme.write_text(before + "\n".join(lines) + "\n" + END + after)


def product_rows(result: dict[str, Any]) -> list[Row]:
    """Rows about set-up, quickstart and executor."""
    comparison = load("executor/transformers.json")
    setup = "set-up: virtual environment and all dependencies"
    return [
        (setup, f"{result['setup_s']:.0f} s", "≤ 5 min with the next two", "make bench"),
        ("model: download, unpack, check", f"{result['model_get_s']:.0f} s", "", "make bench"),
        (
            f"quickstart: trace on real weights, {result['quickstart_trials']} designs, report",
            f"{result['quickstart_s']:.0f} s",
            "≤ 60 s",
            "make bench",
        ),
        ("quickstart: peak memory", f"{result['quickstart_peak_mib']} MiB", "≤ 2048 MiB", "make bench"),
        ("SmolLM2-135M decode", f"{result['decode_tokens_per_s']:.0f} tokens/s", "", "make bench"),
        (
            f"logits against transformers + torch, {comparison['tokens']} tokens: top-1 agreement",
            f"{100 * comparison['top1_agreement']:.2f} %",
            "≥ 99.5 %",
            "reports/executor/compare_transformers.py",
        ),
        (
            "same, largest absolute difference",
            f"{comparison['max_abs_difference']:.1e}",
            "≤ 1e-3",
            "reports/executor/compare_transformers.py",
        ),
    ]


def matrix_rows() -> list[Row]:
    """Rows of the README about sim/mma, from the reports that its scripts wrote."""
    speed = load("mma/bench.json")
    peer = load("mma/differential.json")
    wgmma = next(r for r in speed["instructions"] if "m64n256k16.f32.f16.f16" in r["instruction"])
    gemm = min(r["seconds"] for r in speed["products"] if "f16.f16" in r["instruction"])
    outputs = sum(f["outputs"] for f in peer["families"])
    unexplained = sum(f["unexplained"] for f in peer["families"])
    command = ["-m", "lutscape", "mma", "check", str(ROOT / "tests/vectors/mma/sm_90.npz"), "--arch", "sm_90"]
    check = subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=ROOT)
    total = check.stdout.splitlines()[-1].removeprefix("TOTAL ")
    return [
        ("matrix instructions against H200 silicon", total, "0 mismatches", "lutscape mma check"),
        (
            f"same, against mmasim 2.1.1 over {outputs / 1e6:.1f} million outputs",
            f"{unexplained} unexplained differences",
            "0",
            "reports/mma/differential.py",
        ),
        ("wgmma m64n256k16 f16, one thread, against mmasim", f"{wgmma['ratio']:.0f}x", "≥ 40x", "make bench-mma"),
        ("1024³ product through the Hopper model", f"{gemm:.2f} s", "≤ 2.5 s", "make bench-mma"),
    ]


def rtl_rows() -> list[Row]:
    """Rows about Verilog, gate simulation, timing and power."""
    sta, speed, flow, mutants = (load(f"rtl/{n}.json") for n in ("opensta", "gatesim", "flow", "mutation"))
    cases = sta["cases"].values()
    power = max(abs(c["power_difference_percent"]["independent"]["total"]["total"]) for c in cases)
    slack = max(abs(c["slack_difference_percent_of_period"]) for c in cases)
    fastest = max(r["vector_cycles_per_s"] for r in speed["gate_simulation"])
    slowest = {step: max(u["seconds"][step] for u in flow["units"]) for step in flow["limits_s"]}
    steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in slowest.items())
    limits = ", ".join(f"≤ {limit:g} s" for limit in flow["limits_s"].values())
    return [
        ("power of mapped netlists against OpenSTA 3.1", f"{power:.3f} %", "≤ 1.5 %", "reports/rtl/compare_opensta.py"),
        ("worst slack, share of the period", f"{slack:.4f} %", "≤ 1 %", "reports/rtl/compare_opensta.py"),
        (
            f"gate simulation with toggle counts, {speed['cells']} cells",
            f"{fastest / 1e6:.1f} million vector-cycles/s",
            "≥ 0.3",
            "reports/rtl/bench_gatesim.py",
        ),
        (f"unit of 16 lanes: {', '.join(flow['limits_s'])}", steps, limits, "reports/rtl/bench_flow.py"),
        (
            f"mutants of generated Verilog that the benches catch ({mutants['mutants'] - mutants['equivalent']}, "
            f"{len(mutants['cells'])} cells)",
            f"{100 * mutants['score']:.1f} %",
            "≥ 95 %",
            "reports/rtl/mutation.py",
        ),
    ]


def lookup_rows() -> list[Row]:
    """Rows about table lookup in software."""
    return [
        (
            f"lookup W2A8, INT8 tables, {r['shape'].replace('x', ' x ')}, one thread, against numpy fp32",
            f"{r['faster_by_cpu']:.1f}x",
            "> 1x",
            "reports/lut_tensor_core/bench.py",
        )
        for r in load("lut_tensor_core/bench.json")["rows"]
    ]


def dla_rows() -> list[Row]:
    """Rows about vector-quantised networks."""
    rows = []
    for cell, label, limit in (
        ("mlp-v4-c16-l2", "MLP, v = 4, c = 16", "≤ 2"),
        ("cnn-v9-c16-l2", "CNN, v = 9, c = 16", "≤ 3"),
    ):
        runs = [r["accuracy"] for r in load("lut_dla/accuracy.json")["cells"][cell]["runs"]]
        lost = 100 * sum(r["train"] - r["int8"] for r in runs) / len(runs)
        what = f"Fashion-MNIST, {label}: points lost to codebooks and INT8 tables, mean of {len(runs)} seeds"
        rows.append((what, f"{lost:.2f}", limit, "reports/lut_dla/accuracy.py"))
    return rows


def rom_rows() -> list[Row]:
    """Rows about weights in ROM."""
    rows = {
        (r["weights"], r.get("rank"), r.get("adapter")): r
        for r in load("roma/accuracy.json")["rows"]
        if r.get("activation_bits") == 12 and r.get("kv") == "fp8_e4m3"
    }
    plain, adapted = rows["uint4", 0, ""]["kl"]["value"], rows["uint4", 16, "weighted"]["kl"]["value"]
    return [
        (
            "SmolLM2 at 4 bits in ROM, KL without and with an FP8 adapter of rank 16",
            f"{plain:.3f}, {adapted:.3f}", "lower with it", "reports/roma/accuracy.py",
        )
    ]  # fmt: skip


if __name__ == "__main__":
    main()
