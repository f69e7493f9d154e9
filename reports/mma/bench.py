"""Time matrix instructions beside mmasim 2.1.1 in one process. Run by ``make bench-mma``.

Development only: mmasim and PyTorch must be importable (one thread each); without them the peer's
columns stay empty. Writes bench.md and bench.json next to itself. Every time is the least of several
repetitions; the two packages alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
os.environ.setdefault("LUTSCAPE_THREADS", "1")

CASES = [
    ("sm_90", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 1),
    ("sm_90", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 256),
    ("sm_80", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", 256),
    ("sm_90", "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", 256),
    ("sm_90", "wgmma.mma_async.sync.aligned.m64n256k16.f32.f16.f16", 1),
    ("sm_90", "wgmma.mma_async.sync.aligned.m64n256k16.f16.f16.f16", 1),
    ("sm_90", "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16", 1),
    ("sm_90", "wgmma.mma_async.sync.aligned.m64n256k32.f32.e4m3.e4m3", 1),
    ("sm_100", "tcgen05.mma.cta_group::1.kind::f16.m128n256k16.f32.f16.f16", 1),
    (
        "sm_120",
        "mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3",
        256,
    ),
    ("gfx908", "v_mfma_f32_16x16x16f16", 64),
    ("gfx90a", "v_mfma_f32_16x16x16f16", 64),
    ("gfx942", "v_mfma_f32_16x16x16_f16", 64),
    ("gfx942", "v_mfma_f32_16x16x32_fp8_fp8", 64),
    ("sm_90", "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64", 256),
]


def least(calls: list[Callable[[], object]], budget: float = 1.5) -> list[float]:
    """Return the least seconds of each call; they take turns, five calls a turn, until the budget is spent."""
    best = [float("inf")] * len(calls)
    for call in calls:
        call()
    end = time.perf_counter() + budget
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:
        for i, call in enumerate(calls):
            for _ in range(5):
                begin = time.perf_counter()
                call()
                best[i] = min(best[i], time.perf_counter() - begin)
        rounds += 1
    return best


def instructions() -> list[dict[str, Any]]:
    """Time single instructions, operands as raw codes, outputs as raw codes."""
    from lutscape.sim.mma.api import run
    from lutscape.sim.mma.corpus import cases
    from lutscape.sim.mma.names import find

    try:
        import torch

        torch.set_num_threads(1)
        sys.path.insert(0, str(HERE))
        import differential
    except ImportError:
        differential = None  # type: ignore[assignment]
    rows = []
    for arch, name, tiles in CASES:
        spec = find(arch, name)
        x = cases(spec, "normal", tiles, 0)
        extra = {k: x[k] for k in ("alpha", "beta") if k in x}
        calls: list[Callable[[], object]] = [lambda s=spec, x=x, e=extra: run(s, x["A"], x["B"], x["C"], **e)]  # type: ignore[misc]
        if differential is not None:
            op = differential.peer(spec)
            single = tiles == 1  # one tile goes through the peer's own __call__, many through its batched entry
            call = (
                differential.one_tile(op, spec, x) if single else lambda o=op, s=spec, x=x: differential.theirs(o, s, x)
            )
            calls.append(call)
        ours, *theirs = least(calls)
        macs = tiles * spec.m * spec.n * spec.k
        rows.append(
            {"arch": arch, "instruction": name, "tiles": tiles, "seconds": ours, "mac_per_s": macs / ours}
            | (
                {"peer_seconds": theirs[0], "peer_mac_per_s": macs / theirs[0], "ratio": theirs[0] / ours}
                if theirs
                else {}
            )
        )
        print(rows[-1], flush=True)
    return rows


def products(threads: int) -> list[dict[str, Any]]:
    """Time 1024 x 1024 x 1024 products through Hopper's wgmma with a number of threads."""
    from lutscape.sim import mma

    os.environ["LUTSCAPE_THREADS"] = str(threads)
    rng = np.random.default_rng(0)
    rows = []
    for name, kind in (("wgmma.m64n256k16.f32.f16.f16", np.float16), ("wgmma.m64n256k32.f32.e4m3.e4m3", None)):
        a, b = rng.standard_normal((1024, 1024)), rng.standard_normal((1024, 1024))
        a, b = (a.astype(kind), b.astype(kind)) if kind else (a, b)
        (seconds,) = least([lambda n=name, a=a, b=b: mma.gemm("sm_90", n, a, b, convert=True)])  # type: ignore[misc]
        rows.append({"instruction": name, "threads": threads, "seconds": seconds, "mac_per_s": 1024**3 / seconds})
        print(rows[-1], flush=True)
    os.environ["LUTSCAPE_THREADS"] = "1"
    return rows


FIRST = (
    "import time; t = time.perf_counter(); import numpy as np; from lutscape.sim import mma;"
    "op = mma.instruction('sm_90', 'm16n8k16.f32.f16.f16.f32');"
    "op(np.ones((16, 16)), np.ones((16, 8)), np.zeros((16, 8))); print(time.perf_counter() - t)"
)
PEER = (
    "import time; t = time.perf_counter(); import torch, mmasim.nv_ptx as n;"
    "op = n.MMA('Hopper', 'm16n8k16.f32.f16.f16.f32');"
    "op(torch.ones(16, 16).half(), torch.ones(16, 8).half(), torch.zeros(16, 8));"
    "print(time.perf_counter() - t)"
)


def starts() -> dict[str, float]:
    """Return seconds from interpreter start to the first result: with an empty cache, and afterwards."""
    found = {}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        for what in ("first call, nothing compiled", "first call of a later process"):
            times = []
            for _ in range(1 if "nothing" in what else 3):
                out = subprocess.run(
                    [sys.executable, "-c", FIRST], env=environment, capture_output=True, text=True, check=True
                )
                times.append(float(out.stdout))
            found[what] = min(times)
    peer = [subprocess.run([sys.executable, "-c", PEER], capture_output=True, text=True) for _ in range(3)]
    times = [float(p.stdout.split()[-1]) for p in peer if p.returncode == 0]
    if times:
        found["mmasim, first call of a later process"] = min(times)
    print(found, flush=True)
    return found


def processor() -> str:
    """Return the processor's name where /proc tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    report = {
        "processor": processor(), "cpus": os.cpu_count(), "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "starts": starts(), "instructions": instructions(), "products": [*products(1), *products(2)],
    }  # fmt: skip
    if options.dry:
        return
    (HERE / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    lines = [
        "# Speed of matrix instructions, beside mmasim 2.1.1",
        "",
        f"Written by `make bench-mma`: {report['processor']}, {report['cpus']} CPUs, load {report['load']:.1f}.",
        "One thread for both packages, taking turns in one process; least of many runs; raw codes in, raw codes out.",
        "",
        "| arch | instruction | tiles | time | MAC/s | mmasim | ratio |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for r in report["instructions"]:
        peer = f"{r['peer_seconds'] * 1e3:.3f} ms | {r['ratio']:.0f} x" if "ratio" in r else " | "
        ours = f"{r['seconds'] * 1e3:.3f} ms | {r['mac_per_s']:.2e}"
        lines.append(f"| {r['arch']} | {r['instruction']} | {r['tiles']} | {ours} | {peer} |")
    lines += ["", "| product 1024 x 1024 x 1024 | threads | time | MAC/s |", "|---|---:|---:|---:|"]
    lines += [
        f"| {r['instruction']} | {r['threads']} | {r['seconds']:.2f} s | {r['mac_per_s']:.2e} |"
        for r in report["products"]
    ]
    lines += ["", "| start of a process to its first result | time |", "|---|---:|"]
    lines += [f"| {what} | {seconds:.2f} s |" for what, seconds in report["starts"].items()]
    (HERE / "bench.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
