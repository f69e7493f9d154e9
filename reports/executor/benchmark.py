"""Measure the executor on SmolLM2-135M: loading, prefill, decode, a traced run and its memory.

    OPENBLAS_NUM_THREADS=1 python reports/executor/benchmark.py

Writes ``benchmark.json`` beside this script. Times are the best of several runs in one process, the
traced run is a fresh process (start-up and loading included).
"""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def best(run: Callable[[], object], times: int) -> float:
    """Return the shortest of several durations, seconds."""
    durations = []
    for _ in range(times):
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return min(durations)


def processor() -> str:
    """Return the name of the processor, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Measure and write."""
    sys.path.insert(0, str(ROOT))
    from lutscape.models.executor import load_model
    from lutscape.models.text import default_text

    start = time.perf_counter()
    model = load_model("smollm2-135m")
    load = time.perf_counter() - start
    ids = np.array(model.tokenizer.encode(default_text())[:640])

    def decode() -> None:
        cache = model.new_cache(1, 640)
        cache.length = 128
        for token in ids[128:160]:
            model.forward([token], cache)

    result = {
        "processor": processor(),
        "threads": os.environ.get("OPENBLAS_NUM_THREADS", "all"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "load_s": round(load, 2),
        "prefill_512_tokens_per_s": round(512 / best(lambda: model.forward(ids[:512]), 5), 1),
        "decode_tokens_per_s_at_context_128_to_160": round(32 / best(decode, 5), 1),
    }
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lutscape", "trace", "smollm2-135m", "--prompt-tokens", "512"]
        command += ["--decode-tokens", "64", "-o", f"{folder}/t.parquet"]
        start = time.perf_counter()
        subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        result["trace_512_prompt_64_decode_s"] = round(time.perf_counter() - start, 2)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        result["trace_peak_memory_mib"] = round(peak / 1024)
    (HERE / "benchmark.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
