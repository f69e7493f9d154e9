"""Time the flow on one unit of 16 lanes: verify, synthesise, time and power. Prints seconds beside the limits.

    python reports/rtl/bench_flow.py

Nothing comes from the cache of syntheses. Writes reports/rtl/flow.json.
"""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import gatesim, liberty, measure, power, streams, synth, verify
from lutscape.rtl.cells.unit import unit
from lutscape.version import __version__

LIMITS_S = {"verify": 5.0, "synthesise": 30.0, "time and power": 15.0}
VECTORS, PERIOD_PS = 1000, 2000.0
UNITS = {
    "lookup, 16 lanes, bit-serial, 2-bit weights": Array(
        datapath="lut", m=1, n=16, k=4, count=1, accumulator_bits=24, serial_weight_bits=2
    ),
    "multipliers, 16 lanes, 2-bit weights": Array(
        datapath="mac", m=1, n=16, k=4, count=1, accumulator_bits=24, serial_weight_bits=2, multiplier_weight_bits=2
    ),
}


def main() -> None:
    library = liberty.load("nangate45")
    rows = []
    for name, array in UNITS.items():
        cell = unit(array)
        operands = streams.captured(2)
        beats = measure.unit_beats(array, cell, operands)
        warm = measure.unit_beats(array, cell, operands, count=1)
        small = synth.synthesise(cell.verilog(), cell.name, period_ps=PERIOD_PS)  # compiles the numba kernels
        gatesim.simulate(small.parsed, library, streams.full_rate(cell, warm).ports)

        seconds: dict[str, float] = {}
        start = time.perf_counter()
        proof = verify.verify(cell, vectors=VECTORS)
        seconds["verify"] = time.perf_counter() - start

        start = time.perf_counter()
        built = synth.synthesise(cell.verilog(), cell.name, period_ps=PERIOD_PS, cache=False)
        seconds["synthesise"] = time.perf_counter() - start

        start = time.perf_counter()
        report = built.timing(PERIOD_PS)
        ports = streams.full_rate(cell, beats)
        simulated = gatesim.simulate(built.parsed, report.linked.library, ports.ports, count_from=ports.first)
        wrong = streams.mismatches(cell, ports, simulated)
        watts = power.power(
            built.parsed, report.linked.library, simulated.activity(), PERIOD_PS, report, states=measure.STATES
        )
        seconds["time and power"] = time.perf_counter() - start
        row: dict[str, Any] = {
            "unit": name,
            "cell": cell.name,
            "gates": built.gates,
            "area_um2": built.area_um2,
            "min_period_ps": built.min_period_ps,
            "total_w": watts.total_w,
            "verified": proof.passed,
            "beats": sum(proof.beats.values()),
            "gate_level_mismatches": wrong,
            "seconds": seconds,
        }
        rows.append(row)
        print(f"{name}: {built.gates} gates, {built.area_um2:.0f} um2, {built.min_period_ps:.0f} ps")
        for step, taken in seconds.items():
            print(f"  {step:15s} {taken:6.2f} s   limit {LIMITS_S[step]:g} s   {taken / LIMITS_S[step]:.2f} of it")
        print(f"  verified {proof.passed}, {wrong} wrong values at gate level")
    data = {
        "what": "seconds of the flow on one unit of 16 lanes, nothing cached",
        "lutscape": __version__,
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "limits_s": LIMITS_S,
        "vectors": VECTORS,
        "units": rows,
    }
    path = Path(__file__).with_name("flow.json")
    path.write_text(json.dumps(data, indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
