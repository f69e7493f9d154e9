"""Time table-lookup mpGEMM beside numpy's FP32 product of the same shape, one thread each.

W2A8, INT8 tables of k = 4, one table scale per 64 activations, weight scales and zero points per 64 weights: the
whole call of :func:`lutscape.sim.lut_tensor_core.mpgemm.mpgemm`, checks and table build included, against ``A @ W.T``.
The two alternate; times are the least of many, by the wall clock and by the thread's processor time, which leaves out
what neighbours take on a busy machine. Results are compared with the plain golden model bit for bit. The
roof is the same loop over one tile whose operands stay in the first-level cache, and the read bandwidth of a thread.

Writes bench.json next to itself.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np

from lutscape.sim.lut_tensor_core import kernels, kernels_bytes, kernels_loops, kernels_shuffle
from lutscape.sim.lut_tensor_core.mpgemm import check_bound, mpgemm, plain
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights

HERE = Path(__file__).resolve().parent
N = K = 4096
GROUP = 64
DESIGN = Mpgemm(weights="int2", activations="int8", k=4, entries="int8", table_group=GROUP)


def own_environment() -> None:
    """Start again with one thread and the BLAS kernels that the processor really has, unless that is so already."""
    wanted = {k: v for k, v in os.environ.items() if k not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}
    wanted |= {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)


@dataclass
class Least:
    """Least seconds of a call: wall clock and processor time."""

    wall: float = float("inf")
    cpu: float = float("inf")


def least(calls: list[Callable[[], object]], seconds: float) -> list[Least]:
    """Return the least times of each call; they take turns until the time is spent, at least 7 times."""
    best = [Least() for _ in calls]
    for call in calls:
        call()
    end, turns = time.perf_counter() + seconds, 0
    while turns < 7 or time.perf_counter() < end:
        for call, found in zip(calls, best, strict=True):
            wall, cpu = time.perf_counter(), time.thread_time()
            call()
            found.cpu = min(found.cpu, time.thread_time() - cpu)
            found.wall = min(found.wall, time.perf_counter() - wall)
        turns += 1
    return best


def random_weights(design: Mpgemm, rows: int, columns: int, seed: int = 0) -> LookupWeights:
    """Return random codes with scales and zero points per 64 weights."""
    rng = np.random.default_rng(seed)
    groups = -(-columns // GROUP)
    codes = rng.integers(0, design.levels, (rows, columns)).astype(np.uint8)
    scales = (rng.random((rows, groups)) + 0.5).astype(np.float16).astype(np.float32) / 64
    zeros = rng.integers(0, design.levels, (rows, groups)).astype(np.float32)
    return LookupWeights(design, codes, scales, zeros, GROUP)


def roof() -> dict[str, float]:
    """Return lookups per second where all operands stay in the first-level cache, and read bytes per second."""
    rows, columns, times = 16, 256, 200
    small = random_weights(DESIGN, kernels_shuffle.OUTPUTS, columns)
    a = np.random.default_rng(1).integers(-128, 128, (rows, columns)).astype(np.int8)
    tables, scales, span = kernels_loops.byte_tables(DESIGN, a)
    sums, layout = kernels_loops.row_sums(DESIGN, a, small), kernels_bytes.layout_of(small)
    total = np.zeros((rows, kernels_shuffle.OUTPUTS), np.float32)
    width = kernels_shuffle.widths()[0]
    loop = kernels_bytes.loops(kernels_shuffle.passes(DESIGN), False, width, False)

    @numba.njit(error_model="numpy")
    def repeat(*operands):  # type: ignore[no-untyped-def]
        for _ in range(times):
            loop(*operands)

    operands = (
        tables, scales, span, layout.selects, layout.signs, layout.factors, sums, layout.corrections, total,
        layout.unit, GROUP // DESIGN.k, kernels_shuffle.steps_in_int16(DESIGN), 1 << 20,
    )  # fmt: skip
    memory = np.ones(1 << 25, np.int64)
    compute, read = least([lambda: repeat(*operands), memory.sum], 2.0)
    lookups = times * rows * kernels_shuffle.OUTPUTS * (columns // DESIGN.k) * DESIGN.plane_count
    return {"lookups_per_s_in_cache": lookups / compute.cpu, "read_bytes_per_s": memory.nbytes / read.cpu}


def host_name() -> str:
    """Return LLVM's name of the processor."""
    from llvmlite import binding

    return str(binding.get_host_cpu_name())


def blas_core() -> str:
    """Return the name of the BLAS kernel that numpy runs, as OpenBLAS tells it."""
    for line in Path("/proc/self/maps").read_text().splitlines() if Path("/proc/self/maps").exists() else []:
        path = line.split()[-1]
        if "openblas" in path:
            library = ctypes.CDLL(path)
            for name in ("scipy_openblas_get_corename64_", "openblas_get_corename64_", "openblas_get_corename"):
                if hasattr(library, name):
                    call = getattr(library, name)
                    call.restype = ctypes.c_char_p
                    return str(call().decode())
    return "unknown"


def shape(rows: int, weights: LookupWeights, seconds: float) -> dict[str, Any]:
    """Time one shape, compare it with the plain model, return the row of the report."""
    rng = np.random.default_rng(rows)
    a = rng.integers(-128, 128, (rows, K)).astype(np.int8)
    dense, floats = weights.values.astype(np.float32), a.astype(np.float32)
    ours, blas = least([lambda: mpgemm(DESIGN, a, weights), lambda: floats @ dense.T], seconds)
    result, info = mpgemm(DESIGN, a, weights)
    checked = min(rows, 2)
    equal = bool(np.array_equal(result[:checked], plain(DESIGN, a[:checked], weights)))
    others = {
        f"{8 * w} bit": least([lambda w=w: kernels.run(a, weights, "shuffle", w)], seconds / 4)[0].cpu  # type: ignore[misc]
        for w in kernels_shuffle.widths()
    }
    same = all(np.array_equal(kernels.run(a, weights, "shuffle", w), result) for w in kernels_shuffle.widths())
    assert equal, "the kernel's bits differ from the plain model's"
    assert same, "the bits of the register widths differ"
    return {
        "shape": f"{rows}x{N}x{K}",
        "kernel": info.kernel,
        "wall_seconds": ours.wall,
        "numpy_fp32_wall_seconds": blas.wall,
        "faster_by_wall": blas.wall / ours.wall,
        "cpu_seconds": ours.cpu,
        "numpy_fp32_cpu_seconds": blas.cpu,
        "faster_by_cpu": blas.cpu / ours.cpu,
        "numpy_flop_per_s": 2 * rows * N * K / blas.cpu,
        "lookups_per_s": info.lookups / ours.cpu,
        "cpu_seconds_by_register": others,
        "rows_compared_with_plain": checked,
        "widths_compared": True,
    }


def main() -> None:
    """Measure and write bench.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="time for each shape")
    parser.add_argument("--output", type=Path, default=HERE / "bench.json")
    options = parser.parse_args()
    own_environment()
    weights = random_weights(DESIGN, N, K)
    check_bound(DESIGN, weights)
    roofs = roof()
    rows = []
    stored = kernels_bytes.layout_of(weights)
    read = stored.selects.nbytes + stored.factors.nbytes + stored.corrections.nbytes
    for m in (1, 128):
        row = shape(m, weights, options.seconds)
        compute = row["lookups_per_s"] * row["cpu_seconds"] / roofs["lookups_per_s_in_cache"]
        row["roof_seconds"] = max(compute, read / roofs["read_bytes_per_s"])
        row["roof_is"] = "compute" if row["roof_seconds"] == compute else "memory"
        row["share_of_roof"] = row["roof_seconds"] / row["cpu_seconds"]
        rows.append(row)
        ours, blas = 1e3 * row["cpu_seconds"], 1e3 * row["numpy_fp32_cpu_seconds"]
        print(
            f"{row['shape']}: {ours:.3f} ms, numpy fp32 {blas:.3f} ms ({row['numpy_flop_per_s'] / 1e9:.0f} GFLOP/s): "
            f"{row['faster_by_cpu']:.2f}x faster ({row['faster_by_wall']:.2f}x by the wall clock); "
            f"{row['share_of_roof']:.0%} of the {row['roof_is']} roof; bits equal to the plain model"
        )
    report = {
        "design": {k: str(v) for k, v in vars(DESIGN).items() if k != "base"},
        "weights_bytes_read": read,
        **roofs,
        "load_average": list(os.getloadavg()),
        "rows": rows,
        "versions": {"python": platform.python_version(), "numpy": np.__version__, "numba": numba.__version__},
        "processor": host_name(),
        "numpy_blas_kernel": blas_core(),
    }
    part = options.output.with_suffix(".part")
    part.write_text(json.dumps(report, indent=2) + "\n")
    part.replace(options.output)


if __name__ == "__main__":
    main()
