"""Time one design point of the detailed SM model: LLaMA-2-70B, a prefill of 4096 and one decode step.

    python reports/lut_tensor_core/design_point.py        # writes design_point.json

Identical layers are evaluated once. Every point is another machine (arrays and registers differ), so that nothing is
reused between points; the trace is prepared before. One thread; the required time is 50 ms.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from pathlib import Path

from lutscape.hw import spec as specs
from lutscape.models import shape as shapes
from lutscape.models.recorder import Formats
from lutscape.models.shape import ModelShape
from lutscape.models.tracing import trace_model
from lutscape.sim.operators import prepare
from lutscape.sim.simulate import simulate

REQUIRED_MS = 50.0


def main() -> None:
    """Evaluate the points and print milliseconds of processor and of wall-clock time."""
    formats = Formats(weights="int2-g128", activations="int8", kv="int8")
    shape = "llama-2-70b"
    trace = trace_model(_longer(shape), 4096, 1, 1, formats, execute=False).trace
    prepare(trace)
    base = specs.load("a100-lut-4x")
    simulate(specs.load("h100-lut-4x"), trace)  # imports, technology files
    points, cpu, wall = [], [], []
    for arrays, scale in itertools.product((4, 8, 16, 32), (1, 2, 4, 8)):
        changes = {"matrix_unit.arrays_per_sm": arrays, "matrix_unit.register_scale": scale}
        spec = specs.override(base, changes, place="benchmark")
        c, w = time.process_time(), time.perf_counter()
        result, ppa = simulate(spec, trace)
        cpu.append(1e3 * (time.process_time() - c))
        wall.append(1e3 * (time.perf_counter() - w))
        points.append(
            {
                "arrays_per_sm": arrays, "register_scale": scale, "prefill_ms": 1e3 * result.total_seconds("prefill"),
                "decode_ms": 1e3 * result.total_seconds("decode"), "area_mm2": ppa.metrics["area_mm2"].value,
            }
        )  # fmt: skip
    found = {
        "schema_version": 1,
        "model": shape,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "points": points,
        "cpu_ms": {"median": sorted(cpu)[len(cpu) // 2], "max": max(cpu)},
        "wall_ms": {"median": sorted(wall)[len(wall) // 2], "min": min(wall), "max": max(wall)},
        "required_ms": REQUIRED_MS,
    }
    path = Path(__file__).with_suffix(".json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(temporary, path)
    print(f"{shape}, prefill 4096 and one decode step, {len(points)} machines, timing and cost of each:")
    print(f"processor time: median {found['cpu_ms']['median']:.1f} ms, most {found['cpu_ms']['max']:.1f} ms per point")
    print(
        f"wall clock:     median {found['wall_ms']['median']:.1f} ms, most {found['wall_ms']['max']:.1f} ms per point"
    )
    print(f"required: {REQUIRED_MS:.0f} ms")


def _longer(name: str) -> ModelShape:
    """The model with room for one token after its whole context."""

    return shapes.load(name).model_copy(update={"max_context": 4097})


if __name__ == "__main__":
    main()
