"""Times every point on a GPU: graphs of rotating copies, L2 flushed, medians of at least nine replays.

A point's graph holds the operator ``copies`` times on different weights or caches (256 MB of them where they are
small), so that nothing is found in L2 and launch gaps count as they do in a real chain; activations are one array,
warm after the first copy. Time per operator = replay / copies. Clocks are read, never set; points are timed in the
order of their operations, so that short ones run at the clock of a cool chip.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.sim.gpu import check, packing
from lutscape.sim.gpu.driver import Buffer, GemvItem, Gpu, Graph
from lutscape.sim.gpu.nvml import Monitor
from lutscape.sim.gpu.points import VENDOR, Point

REPETITIONS = 9
ROTATED = 256 << 20
MOST_COPIES = 64
GIB = 1 << 30
ARENAS = {"bits": 6 * GIB, "half": 7 * GIB, "e4m3": 3 * GIB // 4, "scales": GIB // 2, "x": GIB // 2, "y": 7 * GIB // 2}
"""Bytes of random data of each kind; y is written."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one operator over the repetitions.

    Attributes:
        copies: operators in the graph.
        seconds: of each repetition, per operator.
        sm_clock_mhz: read right after.
    """

    point: Point
    copies: int
    seconds: tuple[float, ...]
    sm_clock_mhz: int

    def row(self) -> dict[str, Any]:
        """Return the point and its time as columns of the measurement file."""
        p, s = self.point, np.array(self.seconds) * 1e6
        return {
            "kernel": p.kernel, "form": p.form, "m": p.m, "n": p.n, "k": p.k, "heads": p.heads, "kv_heads": p.kv_heads,
            "listed": p.listed, "read_bytes": p.read, "written_bytes": p.written, "operations": p.operations,
            "copies": self.copies, "repetitions": len(s), "median_us": round(float(np.median(s)), 4),
            "min_us": round(float(s.min()), 4), "max_us": round(float(s.max()), 4), "sm_clock_mhz": self.sm_clock_mhz,
        }  # fmt: skip


class Bench:
    """Random data on a GPU and how each point is launched on it."""

    def __init__(self, gpu: Gpu) -> None:
        self.gpu, self.monitor = gpu, Monitor()
        need = sum(ARENAS.values()) + GIB
        if gpu.info["free_bytes"] < need:
            have, total = gpu.info["free_bytes"] / 1e9, gpu.info["memory_bytes"] / 1e9
            raise UserError(
                f"not enough GPU memory: {have:.1f} of {total:.1f} GB are free, {need / 1e9:.1f} GB are needed"
            )
        if self.monitor.others() > 1:
            raise UserError("another process uses the GPU; measure on an idle one")
        self.arena = {name: gpu.alloc(size) for name, size in ARENAS.items()}
        gpu.random_bits(self.arena["bits"], 1)
        gpu.random_half(self.arena["half"], -1.0, 1.0, 2)
        gpu.random_bits(self.arena["e4m3"], 3, 0xB7B7B7B7B7B7B7B7)  # no exponent above 2^-1: no NaN, no overflow
        gpu.random_half(self.arena["scales"], 0.005, 0.015, 4)
        gpu.random_half(self.arena["x"], -1.0, 1.0, 5)
        gpu.sync()
        self.lists: dict[tuple[int, ...], Buffer] = {}
        self.vendor = check.open_vendor(gpu) if gpu.has("vendor") else 0

    def copies(self, point: Point) -> int:
        """Return how many operators a graph holds."""
        each = max(point.read + point.written, 1)
        if point.kernel in (
            "gemm", "gemm_bf16", "gemv_list", "gemv_chain", "gemm_i8", "lookup", "vendor", "attention",
        ):  # fmt: skip
            return int(np.clip(ROTATED // each, 1, MOST_COPIES))
        return int(np.clip(2 * ROTATED // each, 2, MOST_COPIES))

    def _rotate(self, arena: str, size: int, copy: int) -> Buffer:
        """Return the copy-th piece of an arena, wrapping round."""
        whole, size = self.arena[arena], -(-size // 1024) * 1024
        if size > whole.bytes:
            raise UserError(f"measure: a point needs {size} bytes of {arena} data, {whole.bytes} are set up")
        return whole.at(copy % (whole.bytes // size) * size)

    def launch(self, p: Point, copy: int) -> None:
        """Launch a point on its copy-th data."""
        gpu, x, y, scales = self.gpu, self.arena["x"], self.arena["y"], self.arena["scales"]
        if p.kernel in ("gemv_list", "gemv_chain"):
            self._list(p, copy)
        elif p.kernel in ("gemm", "gemm_bf16"):
            form = "w2" if p.form == "t2" else p.form
            group = check.group_of(p.form)
            w = self._rotate("bits", packing.weight_bytes(form, p.n, p.k, 0), copy)
            scales_of = packing.weight_bytes(form, p.n, p.k, group) - packing.weight_bytes(form, p.n, p.k, 0)
            s = self._rotate("scales", scales_of + 256 * -(-p.n // 64), copy)
            number = check.FORMATS[form] + (check.BRAIN if p.kernel == "gemm_bf16" else 0)
            if gpu.ask("stream_fits", number, p.m, p.n, p.k):
                gpu.call("stream", number, w, s, x, y, p.m, p.n, p.k, group, 1)
            else:
                gpu.call("gemm", number, w, s, x, y, p.m, p.n, p.k, group, 0, 0, 1)
        elif p.kernel == "gemm_i8":
            w = self._rotate("bits", packing.weight_bytes("i2", p.n, p.k, 0), copy)
            q = self.arena["bits"].at(self.arena["bits"].bytes - GIB // 2)
            name = "stream_i8" if gpu.ask("stream_i8_fits", p.m, p.n, p.k) else "gemm_i8"
            sums, tail = self.arena["e4m3"], (0, 1) if name == "stream_i8" else (0, 0, 0, 1)
            gpu.call(name, w, scales, q, x, sums, y, p.m, p.n, p.k, *tail)
        elif p.kernel == "lookup":
            slabs, bits = -(-p.k // packing.SLAB), packing.BITS[p.form]
            w = self._rotate("bits", slabs * p.n * packing.SLAB // 8 * bits, copy)
            gpu.call("lookup", bits, w, self._rotate("scales", slabs * p.n * 4, copy), x, y, p.m, p.n, p.k)
        elif p.kernel == "vendor":
            arena = {"fp8": "e4m3", "int8": "bits"}.get(p.form, "half")
            w = self._rotate(arena, p.n * p.k * (1 if p.form in ("fp8", "int8") else 2), copy)
            gpu.call("vendor", VENDOR.index(p.form), w, self.arena["e4m3"] if p.form == "fp8" else x, y, p.m, p.n, p.k)
        elif p.kernel == "attention":
            self._attention(p, copy)
        elif p.kernel in ("rms_norm", "rms_norm_tables", "precompute", "silu_mul", "softmax", "rope"):
            self._element(p, copy)
        else:
            raise UserError(f"measure: unknown kernel {p.kernel!r}")

    def _list(self, p: Point, copy: int) -> None:
        """Activations of every product in places of their own, as results go to places of their own."""
        group = check.group_of(p.form)
        size = packing.weight_bytes(p.form, p.n, p.k, 0)
        scales = packing.weight_bytes(p.form, p.n, p.k, group) - size
        items = []
        for i in range(p.listed):
            w = self._rotate("bits", size, copy * p.listed + i)
            s = self._rotate("scales", scales, copy * p.listed + i)
            x, y = self.arena["x"].at(i * 2 * p.k), self.arena["y"].at(i * 2 * p.n)
            waits = int(p.kernel == "gemv_chain" and i > 0)
            items.append(GemvItem(w.address, s.address, x.address, y.address, p.n, p.k, waits, 0))
        array = (GemvItem * p.listed)(*items)
        self.gpu.call("gemv_list", check.FORMATS[p.form], array, p.listed, group, 1)

    def _attention(self, p: Point, copy: int) -> None:
        bits = int(p.form[2:])
        size = p.m * p.kv_heads * p.n * 16 * bits
        arena = "bits" if bits < 16 else "half"
        k, v = self._rotate(arena, size, 2 * copy), self._rotate(arena, size, 2 * copy + 1)
        s = p.m * p.kv_heads * p.n * 4
        ks, vs = (self._rotate("scales", s, 2 * copy + i) if bits < 16 else None for i in range(2))
        table = None
        if p.listed:
            shape = (p.m * p.kv_heads, p.listed, p.n // 64)
            if shape not in self.lists:
                rng = np.random.default_rng(shape)
                rows = [np.sort(rng.choice(shape[2], shape[1], False)) for _ in range(shape[0])]
                self.lists[shape] = self.gpu.upload(np.array(rows, np.int32))
            table = self.lists[shape]
        q, y = self.arena["x"], self.arena["y"]
        self.gpu.call("attention", bits, q, k, v, ks, vs, y, table, p.listed, p.m, p.heads, p.kv_heads, p.n, p.n, 0, 1)

    def _element(self, p: Point, copy: int) -> None:
        gpu, size = self.gpu, 2 * p.m * p.k
        x, y = self._rotate("half", size, 2 * copy), self._rotate("y", max(2 * size, 1024), copy)
        w, s = (
            self.arena["x"],
            self.arena["y"].at(self.arena["y"].bytes - GIB // 2 + copy * max(size // 4, 16) // 16 * 16),
        )
        if p.kernel == "rms_norm":
            gpu.call("rms_norm", x, w, y, p.m, p.k, 1e-5, 1)
        elif p.kernel == "rms_norm_tables":
            gpu.call("rms_norm_tables", x, w, y, s, p.m, p.k, 1e-5, 1)
        elif p.kernel == "precompute":
            gpu.call("precompute", x, y, s, p.m, p.k, 1)
        elif p.kernel == "silu_mul":
            gpu.call("silu_mul", x, self._rotate("half", size, 2 * copy + 1), y, p.m, p.k, 1)
        elif p.kernel == "softmax":
            gpu.call("softmax", x, y, p.m, p.k, 1)
        else:  # in place: on y, which holds whatever was written; angles from the small scales
            scales = self.arena["scales"]
            gpu.call("rope", y, scales, scales, p.m, p.k // 128, 128, 0, 1)

    def graph(self, p: Point, copies: int) -> Graph:
        """Capture a point's copies."""

        def all_copies() -> None:
            for i in range(copies):
                self.launch(p, i)

        return self.gpu.graph(all_copies)

    def time(self, p: Point, repetitions: int = REPETITIONS) -> Timing:
        """Time a point."""
        copies = self.copies(p)
        self.launch(p, 0)  # what a point sets up once cannot be captured
        graph = self.graph(p, copies)
        try:
            graph.time(2)
            seconds = graph.time(repetitions) / copies
        finally:
            graph.free()
        return Timing(p, copies, tuple(seconds), self.monitor.state()["sm_clock_mhz"] or 0)

    def rates(self) -> dict[str, Any]:
        """Measure what results are held to: read and copy bandwidth, matrix rates, launch gap, idle power."""
        gpu, found = self.gpu, {}
        size = 4 * GIB

        def seconds(launch: Callable[[], None]) -> float:
            graph = gpu.graph(launch)
            graph.time(2)
            median = float(np.median(graph.time(REPETITIONS)))
            graph.free()
            return median

        found["read_gb_s"] = size / seconds(lambda: gpu.read(self.arena["bits"], size)) / 1e9
        half = GIB + GIB // 2
        found["copy_gb_s"] = 2 * half / seconds(lambda: gpu.copy(self.arena["bits"], self.arena["y"], half)) / 1e9

        def empties(count: int, early: int) -> Callable[[], None]:
            def launch() -> None:
                for _ in range(count):
                    gpu.call("empty", early)

            return launch

        def product(p: Point) -> Callable[[], None]:
            return lambda: self.launch(p, 0)

        empty, early = ([seconds(empties(count, way)) for count in (100, 1100)] for way in (0, 1))
        found["kernel_gap_us"] = (empty[1] - empty[0]) / 1000 * 1e6
        found["early_gap_us"] = (early[1] - early[0]) / 1000 * 1e6  # kernels that start before the last one ends
        found["graph_us"] = empty[0] * 1e6 - 100 * found["kernel_gap_us"]
        if self.vendor:
            for form in VENDOR:
                p = Point("vendor", form, 8192, 8192, 8192, 1, 1, 2.0 * 8192**3)
                found[f"{form}_tera_ops"] = p.operations / seconds(product(p)) / 1e12
        return {k: round(v, 4) for k, v in found.items()}


def measure(
    bench: Bench, wanted: Iterable[Point], repetitions: int, tick: Callable[[int, str], None]
) -> Iterator[Timing | tuple[Point, str]]:
    """Time points one after the other; one that the library refuses comes back with what it said."""
    for i, p in enumerate(wanted):
        tick(i, f"{p.kernel} {p.form} {p.m}x{p.n}x{p.k}")
        try:
            yield bench.time(p, repetitions)
        except UserError as error:
            yield p, str(error)


@dataclass(frozen=True)
class Energy:
    """Joules of a loop over one point."""

    point: Point
    seconds: float
    joules: float
    operators: int
    sm_clock_mhz: int

    def row(self) -> dict[str, Any]:
        """Return columns of the energy file."""
        p = self.point
        return {
            "kernel": p.kernel, "form": p.form, "m": p.m, "n": p.n, "k": p.k, "heads": p.heads, "kv_heads": p.kv_heads,
            "listed": p.listed, "read_bytes": p.read, "written_bytes": p.written, "operations": p.operations,
            "operators": self.operators, "seconds": round(self.seconds, 5), "joules": round(self.joules, 4),
            "sm_clock_mhz": self.sm_clock_mhz,
        }  # fmt: skip


def energy(bench: Bench, p: Point, seconds: float = 1.5) -> Energy:
    """Loop over a point's graph for some seconds between two readings of the energy counter."""
    copies = bench.copies(p)
    graph = bench.graph(p, copies)
    once = float(np.median(graph.time(3)))
    batch = max(1, int(0.1 / once))  # replays between looks at the clock
    for _ in range(3 * batch):  # the power controller settles
        graph.launch()
    bench.gpu.sync()
    joules, start, count, clock = bench.monitor.energy_j(), time.perf_counter(), 0, 0
    while time.perf_counter() - start < seconds:
        for _ in range(batch):
            graph.launch()
        clock = bench.monitor.state()["sm_clock_mhz"] or clock  # while the batch runs
        bench.gpu.sync()
        count += batch
    elapsed = time.perf_counter() - start
    spent = bench.monitor.energy_j() - joules
    graph.free()
    return Energy(p, elapsed, spent, count * copies, clock)


def idle_power(bench: Bench, seconds: float = 3.0) -> float:
    """Watts with a context open and nothing running."""
    bench.gpu.sync()
    time.sleep(1.0)
    joules, start = bench.monitor.energy_j(), time.perf_counter()
    time.sleep(seconds)
    return (bench.monitor.energy_j() - joules) / (time.perf_counter() - start)


def device(bench: Bench) -> dict[str, Any]:
    """Describe the machine: device, driver, CUDA, date, clocks."""
    info = bench.gpu.info
    return {
        "device": info["name"], "capability": f"{info['major']}.{info['minor']}", "sms": info["sms"],
        "memory_bytes": info["memory_bytes"], "l2_bytes": info["l2_bytes"], "driver": bench.monitor.driver(),
        "cuda_runtime": info["runtime"], "cublaslt": bench.vendor, "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        **bench.monitor.limits(),
    }  # fmt: skip
