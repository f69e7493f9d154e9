"""Measure what the README promises: set-up, quickstart, executor. Writes quickstart.json and the README's table.

Run by ``make bench``. A fresh clone of HEAD, an empty home and cache; the clone's own virtual environment.
Peak memory is the largest sum of proportional set sizes over the process tree, sampled every 50 ms.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
START, END = "<!-- measured:start -->", "<!-- measured:end -->"


def timed(command: list[str], cwd: Path, environment: dict[str, str]) -> tuple[float, float, str]:
    """Return seconds, peak MiB of the process tree, and stdout of a command that must succeed."""
    begin, peak = time.perf_counter(), 0.0
    process = psutil.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    while process.poll() is None:
        peak = max(peak, tree_mib(process))
        time.sleep(0.05)
    seconds = time.perf_counter() - begin
    out = process.stdout.read()
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{out}")
    return seconds, peak, out


def tree_mib(process: psutil.Process) -> float:
    total = 0
    try:
        for one in [process, *process.children(recursive=True)]:
            total += one.memory_full_info().pss
    except psutil.Error:
        return 0.0
    return total / 2**20


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        clone = scratch / "clone"
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
        environment |= {"HOME": str(scratch / "home"), "XDG_CACHE_HOME": str(scratch / "cache")}
        (scratch / "home").mkdir()
        tool = str(clone / ".venv/bin/lutscape")
        setup, _, _ = timed(["make", ".venv/.package"], clone, environment)
        get, _, _ = timed([tool, "models", "get", "smollm2-135m"], clone, environment)
        sweep, peak, _ = timed([tool, "sweep", "quickstart"], clone, environment)
        prompt = ["--prompt", "The capital of France is", "--tokens", "64", "--json"]
        _, _, text = timed([tool, "models", "run", "smollm2-135m", *prompt], clone, environment)
        help_s, _, _ = timed([tool, "--help"], clone, environment)
        import_s = min(timed([tool, "--version"], clone, environment)[0] for _ in range(3))
        generated = json.loads(text)
        trials = len((clone / "lutscape-out/quickstart/trials.csv").read_text().splitlines()) - 1
    result = {
        "machine": f"{psutil.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "setup_s": round(setup, 1),
        "model_get_s": round(get, 1),
        "quickstart_s": round(sweep, 1),
        "quickstart_trials": trials,
        "quickstart_peak_mib": round(peak),
        "decode_tokens_per_s": generated["decode_tokens_per_s"],
        "help_s": round(help_s, 2),
        "version_s": round(import_s, 2),
    }
    comparison = json.loads((ROOT / "reports/executor/transformers.json").read_text())
    (HERE / "quickstart.json").write_text(json.dumps(result, indent=1) + "\n")
    write_table(result, comparison)
    print(json.dumps(result, indent=1))


def matrix_rows() -> list[tuple[str, str, str, str]]:
    """Rows of the README about sim/mma, from the reports that its scripts wrote."""
    speed = json.loads((ROOT / "reports/mma/bench.json").read_text())
    peer = json.loads((ROOT / "reports/mma/differential.json").read_text())
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


def write_table(result: dict, comparison: dict) -> None:
    """Put the measured numbers between the README's markers."""
    setup = "set-up: virtual environment and all dependencies"
    rows = [
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
    rows += matrix_rows()
    lines = [START, f"Measured on {result['machine']}, no GPU.", ""]
    lines += ["| what | measured | required | by |", "|---|---|---|---|"]
    lines += [f"| {what} | {value} | {limit} | `{by}` |" for what, value, limit, by in rows]
    readme = ROOT / "README.md"
    text = readme.read_text()
    before, rest = text.split(START, 1)
    _, after = rest.split(END, 1)
    readme.write_text(before + "\n".join(lines) + "\n" + END + after)


if __name__ == "__main__":
    main()
