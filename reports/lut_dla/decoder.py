"""Area of a decoder with 4,096 bits of latches, against a public place-and-route point of the same parameters.

    python reports/lut_dla/decoder.py

The point is halutmatmul's ``halut_decoder`` (K = 16, C = 32, INT8 entries, 32-bit sums, latches, Nangate45, 6 ns),
OpenROAD's metadata of it: github.com/joennlae/halutmatmul-openroad-reports, commit 02e8d9fb,
``latest/nangate45/halut_decoder/reports/metadata.json``. Ours is synthesised: no placement, no clock tree. Its gates
are held to the golden model; timing and power are not computed, because the timer here does not know transparent
latches. Writes ``decoder.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from lutscape.rtl import latches, liberty
from lutscape.rtl.cells.dla_latch_decoder import latch_decoder
from lutscape.rtl.synth_process import version
from lutscape.rtl.verify import verify
from lutscape.version import __version__

HERE = Path(__file__).resolve().parent
PERIOD_PS, VECTORS = 6000.0, 200
PUBLISHED: dict[str, float] = {
    "synthesised_um2": 18391.0,
    "placed_and_repaired_um2": 20619.5,
    "routed_um2": 24667.5,
    "core_um2": 47373.3,
    "utilisation": 0.520705,
    "cells_synthesised": 9373,
    "cells_routed": 12256,
}
"""``floorplan``, ``placeopt`` and ``finish`` ``__design__instance__area``, core area and utilisation of ``finish``."""
TARGET = 0.25


def main() -> None:
    """Synthesise, verify, compare; write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-o", "--output", type=Path, default=HERE / "decoder.json")
    options = parser.parse_args()
    cell = latch_decoder(32, 16, 8, 32)
    built = latches.synthesise(cell.verilog(), cell.name, "nangate45", period_ps=PERIOD_PS)
    rtl = verify(cell, vectors=VECTORS)
    gates = verify(cell, vectors=VECTORS, stalls=False, netlist=built.netlist, library=liberty.load("nangate45"))
    bits = 32 * 16 * 8
    stages = ("synthesised_um2", "placed_and_repaired_um2", "routed_um2")
    ratios = {stage: round(built.area_um2 / PUBLISHED[stage], 4) for stage in stages}
    core = built.area_um2 / PUBLISHED["utilisation"]
    document: dict[str, Any] = {
        "what": "a decoder of one column: 4,096 bits of latches, a clock gate a word, INT8 to a 32-bit sum",
        "by": "reports/lut_dla/decoder.py", "version": __version__, "pyosys": version(), "library": "nangate45",
        "period_ps": PERIOD_PS, "cell": cell.name, "parameters": dict(cell.parameters),
        "area_um2": round(built.area_um2, 2), "latch_area_um2": round(built.latch_area_um2, 2),
        "register_area_um2": round(built.register_area_um2, 2), "latches": built.latches,
        "registers": built.registers, "cells": sum(built.cells.values()),
        "um2_per_bit": round(built.area_um2 / bits, 3),
        "published_um2_per_bit": round(PUBLISHED["routed_um2"] / bits, 3),
        "verified": rtl.passed, "gates_verified": gates.bits_match and not gates.late,
        "published": PUBLISHED, "area_to_published": ratios,
        "core_um2_at_published_utilisation": round(core, 1),
        "core_to_published": round(core / PUBLISHED["core_um2"], 4),
        "target": f"cell area within {TARGET:.0%} of the routed one",
        "reached": abs(ratios["routed_um2"] - 1) <= TARGET,
        "not_counted": "clock tree, buffers of placement, filler; timing and power (no model of transparent latches)",
    }  # fmt: skip
    temporary = options.output.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(options.output)
    print(f"{cell.name}: {built.area_um2:.0f} µm² of cells, {built.latches} latches; published {PUBLISHED}")
    print(f"ours to published: {ratios}; within {TARGET:.0%} of the routed area: {document['reached']}")


if __name__ == "__main__":
    main()
