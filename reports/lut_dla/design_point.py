"""Time one design point of LUT-DLA: BERT-base (512 tokens) and ResNet-18 (one image), timing and cost.

    python reports/lut_dla/design_point.py        # writes design_point.json

Every point is another machine (codebook, lanes, modules, dataflow), so that nothing but the prepared trace is reused.
One thread; the required time is 20 ms.
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
from pathlib import Path

from lutscape.explore.workload import FixedTrace
from lutscape.hw import spec as specs
from lutscape.models.recorder import Formats
from lutscape.models.tracing import trace_model
from lutscape.sim.operators import prepare
from lutscape.sim.simulate import simulate

REQUIRED_MS = 20.0
NETWORKS = (("bert-base", 512), ("resnet-18", 1))


def main() -> None:
    """Evaluate the points and print milliseconds of processor and of wall-clock time."""
    base = specs.load("lut-dla")
    found: dict[str, object] = {
        "schema_version": 1,
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "required_ms": REQUIRED_MS,
    }
    for network, tokens in NETWORKS:
        trace = FixedTrace.of(trace_model(network, tokens, 0, 1, Formats(activations="int8")).trace)
        prepare(trace)
        simulate(base, trace)  # imports, technology files, calibration tables
        cpu, wall, points = [], [], []
        for v, metric, lanes, count, flow in itertools.product(
            (2, 4, 8), ("l2", "l1", "chebyshev"), (128, 256), (1, 2), ("ls-n", "ls-k")
        ):
            changes = {
                "codebook.v": v, "codebook.metric": metric, "imm.lanes": lanes, "imm.count": count, "dataflow": flow,
                "imm.rows": 300 + v,  # memories of a size of their own
            }  # fmt: skip
            spec = specs.override(base, changes, place="benchmark")
            c, w = time.process_time(), time.perf_counter()
            result, ppa = simulate(spec, trace)
            cpu.append(1e3 * (time.process_time() - c))
            wall.append(1e3 * (time.perf_counter() - w))
            points.append({**changes, "latency_ms": 1e3 * result.total_seconds(),
                           "area_mm2": ppa.metrics["area_mm2"].value})  # fmt: skip
        found[network] = {
            "points": points,
            "cpu_ms": {"median": sorted(cpu)[len(cpu) // 2], "max": max(cpu)},
            "wall_ms": {"median": sorted(wall)[len(wall) // 2], "min": min(wall), "max": max(wall)},
        }
        print(f"{network}: {len(points)} machines; processor time: median {sorted(cpu)[len(cpu) // 2]:.1f} ms, most "
              f"{max(cpu):.1f} ms; wall clock: median {sorted(wall)[len(wall) // 2]:.1f} ms, most {max(wall):.1f} ms; "
              f"required: {REQUIRED_MS:.0f} ms")  # fmt: skip
    path = Path(__file__).with_suffix(".json")
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=1) + "\n")
    os.replace(temporary, path)


if __name__ == "__main__":
    main()
