"""Time gate simulation, timing and power on a unit of about 5,000 cells. Writes gatesim.json beside itself.

The unit: 10 lanes that multiply four int8 activations by four int2 weights each and accumulate in 16 bits, synthesised
for Nangate45 (lutscape rtl liberty get nangate45). A vector-cycle is one clock cycle of one stream. Times are the
least of five runs, after the kernels are compiled.

    python reports/rtl/bench_gatesim.py
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.rtl import gatesim, glitch, liberty, netlist, power, sta, synth

HERE = Path(__file__).resolve().parent
LANES = 10
PERIOD_PS = 2000.0
UNIT = f"""
module unit (input clk, input clr, input [31:0] x, input [{LANES * 8 - 1}:0] w, output reg [{LANES * 16 - 1}:0] acc);
  reg [31:0] held;
  always @(posedge clk) held <= x;
  genvar i;
  generate for (i = 0; i < {LANES}; i = i + 1) begin : lane
    wire signed [15:0] sum =
      $signed(held[7:0]) * $signed(w[i*8+0 +: 2]) + $signed(held[15:8]) * $signed(w[i*8+2 +: 2]) +
      $signed(held[23:16]) * $signed(w[i*8+4 +: 2]) + $signed(held[31:24]) * $signed(w[i*8+6 +: 2]);
    always @(posedge clk) acc[i*16 +: 16] <= clr ? 16'd0 : acc[i*16 +: 16] + sum;
  end endgenerate
endmodule
"""


def least(call: Callable[[], object], runs: int = 5) -> float:
    """Return the least seconds of some runs."""
    best = float("inf")
    for _ in range(runs):
        begin = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - begin)
    return best


def golden(stimulus: dict[str, np.ndarray]) -> np.ndarray:
    """Return the accumulators, shape (cycles, streams, lanes), of the unit's arithmetic in numpy."""
    x = stimulus["x"].reshape(*stimulus["x"].shape[:2], 4, 8) @ (1 << np.arange(8))
    w = stimulus["w"].reshape(*stimulus["w"].shape[:2], LANES, 4, 2) @ (1 << np.arange(2))
    x, w = np.where(x > 127, x - 256, x), np.where(w > 1, w - 4, w)
    held = np.concatenate([np.zeros_like(x[:1]), x[:-1]])
    sums = np.einsum("csk,cslk->csl", held, w)
    acc = np.zeros_like(sums)
    for c in range(1, len(acc)):
        acc[c] = np.where(stimulus["clr"][c - 1][:, None] == 1, 0, acc[c - 1] + sums[c - 1])
    return (acc + 2**15) % 2**16 - 2**15


def main() -> None:
    library = liberty.load("nangate45")
    unit = synth.synthesise(UNIT, "unit", "nangate45", period_ps=PERIOD_PS)
    parsed = netlist.parse(unit.netlist, "unit")
    rng = np.random.default_rng(0)

    def draw(cycles: int, streams: int) -> dict[str, np.ndarray]:
        bits = {p: rng.integers(0, 2, (cycles, streams, len(n)), dtype=np.uint8) for p, n in parsed.inputs.items()}
        clear = (np.arange(cycles) % 16 == 0).astype(int)[:, None]
        return {"x": bits["x"], "w": bits["w"], "clr": np.broadcast_to(clear, (cycles, streams))}

    small = draw(20, 70)
    seen = gatesim.simulate(parsed, library, small)
    lanes = seen.bits("acc").reshape(20, 70, LANES, 16).astype(np.int64) @ (1 << np.arange(16))
    assert np.array_equal((lanes + 2**15) % 2**16 - 2**15, golden(small)), "the netlist computes something else"
    rows: list[dict[str, Any]] = []
    for cycles, streams in ((1000, 64), (256, 1024), (64, 4096)):
        stimulus = draw(cycles, streams)
        seconds = least(lambda s=stimulus: gatesim.simulate(parsed, library, s))  # type: ignore[misc]
        rows.append({"cycles": cycles, "streams": streams, "vector_cycles_per_s": round(cycles * streams / seconds)})
        print(
            f"gate simulation, {cycles} cycles of {streams} streams: {cycles * streams / seconds:.3g} vector-cycles/s"
        )
    report = sta.timing(parsed, library, PERIOD_PS, unit.driving_cell, unit.load_ff)
    short = draw(100, 8)
    slow = glitch.simulate(report, short)
    settled = gatesim.simulate(parsed, library, short)
    glitching = least(lambda: glitch.simulate(report, short), 3)
    print(f"with delays, 100 cycles of 8 streams: {800 / glitching:.3g} vector-cycles/s")
    timing_s = least(lambda: sta.timing(parsed, library, PERIOD_PS, unit.driving_cell, unit.load_ff))
    power_s = least(lambda: power.power(parsed, library, settled.activity(), PERIOD_PS, report))
    print(f"static timing {timing_s:.3g} s, power {power_s:.3g} s")
    document = {
        "unit": f"{LANES} lanes of 4 x int8·int2, 16-bit accumulators, Nangate45",
        "cells": len(parsed.cells),
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": 1,
        "required_vector_cycles_per_s": 300_000,
        "gate_simulation": rows,
        "delay_simulation_vector_cycles_per_s": round(800 / glitching),
        "toggles_with_delays_over_settled": round(glitch.glitch_ratio(slow.activity(), settled.activity()), 3),
        "timing_s": round(timing_s, 3),
        "power_s": round(power_s, 3),
    }
    (HERE / "gatesim.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
