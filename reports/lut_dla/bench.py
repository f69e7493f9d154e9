"""Time the golden model: table accumulations and encoding, beside limits of the machine.

Lookup: M rows of Nc indices into INT8 tables (Nc, 16, N) and INT32 sums, as
:func:`lutscape.sim.lut_dla.golden.lookup` has them, checks included. Limits, measured here in the same process:

    kernel        the same kernel on 32 KiB of tables, which stay in the first-level cache
    cache         reading 16 KiB again and again; every accumulation reads one byte of a table at least
    roof          max(accumulations / rate of the cache, bytes of tables / rate of reading memory)

Encode: distances per second, one per element of a sub-vector and centroid, by metric. Results of the compiled kernels
are compared with the plain model. Rates are of the least time of several calls, by the wall clock. Writes bench.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np

from lutscape.models.quantise import vector_kernels
from lutscape.sim.lut_dla import golden, kernels

HERE = Path(__file__).resolve().parent
V, C = 4, 16
SHAPES = ((512, 768, 768), (128, 4096, 4096), (1, 4096, 4096))
"""M, K, N."""
REQUIRED = 1e9
"""Table accumulations per second on 2 cores."""


def least(call: Callable[[], object], seconds: float) -> float:
    """Return the least time of a call, at least seven of them."""
    call()
    best, end, turns = float("inf"), time.perf_counter() + seconds, 0
    while turns < 7 or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
        turns += 1
    return best


def limits(seconds: float) -> dict[str, float]:
    """Return rates of this machine, all threads together: of the kernel on little data, of cache and memory."""
    rng = np.random.default_rng(0)
    rows, subspaces = 4096, 64
    tables = rng.integers(-127, 128, (subspaces, 2, kernels.COLUMNS)).astype(np.int8)  # 32 KiB
    indices = rng.integers(0, 2, (rows, subspaces)).astype(np.uint16)
    found = least(lambda: kernels.lookup(indices, tables), seconds)
    memory, near = np.ones(1 << 25, np.int64), np.ones(1 << 11, np.int64)
    times = 20_000

    @numba.njit(nogil=True)
    def again(values, count):  # type: ignore[no-untyped-def]
        total = 0
        for turn in range(count):
            for i in range(len(values)):
                total += values[i] ^ turn
        return total

    def read() -> None:
        vector_kernels.shared(len(memory), len(memory), lambda i, j: memory[i:j].sum())

    def cached() -> None:
        vector_kernels.shared(times, len(memory), lambda i, j: again(near, j - i))

    return {
        "kernel_accumulations_per_s": rows * subspaces * kernels.COLUMNS / found,
        "cache_bytes_per_s": times * near.nbytes / least(cached, seconds),
        "read_bytes_per_s": memory.nbytes / least(read, seconds),
    }


def lookup(shape: tuple[int, int, int], roofs: dict[str, float], seconds: float) -> dict[str, Any]:
    """Return the rates of one shape."""
    m, k, n = shape
    rng = np.random.default_rng(m)
    tables = rng.integers(-127, 128, (k // V, C, n)).astype(np.int8)
    several = rng.integers(0, C, (64, m, k // V)).astype(np.uint16)  # so that few rows read other entries every time
    turns = itertools.cycle(several)
    best = least(lambda: golden.lookup(next(turns), tables), seconds)
    indices = several[0]
    some = slice(0, 4)
    plain = golden.lookup(indices[some], tables, kernel="plain")
    assert np.array_equal(golden.lookup(indices, tables)[some], plain), (
        "the kernel's bits differ from the plain model's"
    )
    count = m * (k // V) * n
    touched = min(tables.nbytes, count)  # few rows do not read every entry
    roof = max(count / roofs["cache_bytes_per_s"], touched / roofs["read_bytes_per_s"])
    return {
        "shape": f"{m}x{k}x{n}",
        "seconds": best,
        "accumulations_per_s": count / best,
        "roof_seconds": roof,
        "share_of_roof": roof / best,
    }


def encode(metric: str, seconds: float) -> dict[str, Any]:
    """Return distances per second of a metric."""
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (2048, 768)).astype(np.int16)
    centroids = rng.integers(-128, 128, (768 // V, C, V)).astype(np.int16)
    best = least(lambda: golden.encode(x, centroids, metric), seconds)
    plain = golden.encode(x[:8], centroids, metric, kernel="plain")
    assert np.array_equal(golden.encode(x, centroids, metric)[:8], plain), "the kernel's bits differ"
    return {"metric": metric, "seconds": best, "elements_per_s": x.size * C / best, "rows_per_s": len(x) / best}


def main() -> None:
    """Measure and write bench.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each measurement")
    parser.add_argument("--threads", type=int, default=0, help="threads of the kernels; default: the processors")
    options = parser.parse_args()
    if options.threads:
        os.environ["NUMBA_NUM_THREADS"] = str(options.threads)
    from llvmlite import binding

    roofs = limits(options.seconds)
    rows = [lookup(shape, roofs, options.seconds) for shape in SHAPES]
    encoded = [encode(metric, options.seconds) for metric in ("l2", "l1", "chebyshev")]
    print(
        f"{vector_kernels.threads()} threads; first-level cache {roofs['cache_bytes_per_s'] / 1e9:.0f} GB/s, "
        f"memory {roofs['read_bytes_per_s'] / 1e9:.1f} GB/s, "
        f"kernel on little data {roofs['kernel_accumulations_per_s'] / 1e9:.1f} billion accumulations/s"
    )
    for row in rows:
        print(
            f"lookup {row['shape']}: {row['accumulations_per_s'] / 1e9:.1f} billion accumulations/s, "
            f"{row['accumulations_per_s'] / REQUIRED:.0f}x the required, {row['share_of_roof']:.0%} of the roof"
        )
    for row in encoded:
        print(f"encode {row['metric']}: {row['elements_per_s'] / 1e9:.1f} billion elements/s")
    report = {
        "v": V,
        "c": C,
        "threads": vector_kernels.threads(),
        "required_accumulations_per_s": REQUIRED,
        **roofs,
        "lookup": rows,
        "encode": encoded,
        "load_average": list(os.getloadavg()),
        "processor": str(binding.get_host_cpu_name()),
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__},
    }
    part = HERE / ".bench.json.part"
    part.write_text(json.dumps(report, indent=2) + "\n")
    part.replace(HERE / "bench.json")


if __name__ == "__main__":
    main()
