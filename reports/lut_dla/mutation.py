"""Mutation score of LUT-DLA's benches: every cell in a small configuration, one fault at a time.

    python reports/lut_dla/mutation.py [--count 60] [--kind dla_imm ...]

Writes ``mutation.json`` beside itself: what each mutant met, those proven to mean the same, and the survivors. Needs
Icarus Verilog and pyosys. Cells of two clocks run at six ratios of their clocks. The decoder with latches is left out:
a bench without delays does not see faults in when a latch opens, and the prover knows no latches.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from lutscape.hw.machines.lut_dla import Codebook, Metric
from lutscape.rtl import simulators
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_ccm import ccm
from lutscape.rtl.cells.dla_codebook import codebook
from lutscape.rtl.cells.dla_distance import distance
from lutscape.rtl.cells.dla_dpe import dpe
from lutscape.rtl.cells.dla_imm import Module, imm
from lutscape.rtl.cells.dla_unit import Unit, unit
from lutscape.rtl.mutation import score
from lutscape.rtl.synth_process import version

HERE = Path(__file__).resolve().parent
SEED, VECTORS, TARGET = 1, 1000, 0.95
UNIT_VECTORS = 200  # of the whole unit, which is slow to simulate


def book(metric: Metric, v: int, bits: int, c: int) -> Codebook:
    """Return a small codebook."""
    return Codebook(v=v, c=c, metric=metric, input_bits=bits)


def cells() -> list[Cell]:
    """Return one cell of every kind, some with other parameters, too."""
    return [
        distance(book("l2", 3, 5, 4)),
        distance(book("l1", 3, 5, 4)),
        distance(book("chebyshev", 3, 5, 4)),
        dpe(book("l1", 2, 4, 4)),
        dpe(book("chebyshev", 2, 4, 4), 2),
        codebook(book("l1", 2, 4, 4)),
        async_fifo(3, 4),
        async_fifo(2, 8, 3),
        imm(Module(2, 1, 6, 8, 2, 1, 3)),
        imm(Module(4, 2, 4, 8, 4, 1)),
        imm(Module(2, 2, 6, 10, 1, 2)),
        ccm(book("l1", 2, 4, 4)),
        ccm(book("chebyshev", 1, 4, 4), 2),
        unit(Unit(book("l1", 1, 3, 2), Module(2, 1, 4, 8, 4, 1), input_rows=4, depth=4)),
    ]


def main() -> None:
    """Score all cells; write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--kind", nargs="*")
    parser.add_argument("--cell", nargs="*")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "mutation.json")
    options = parser.parse_args()
    document = json.loads(options.output.read_text()) if options.output.is_file() else {"cells": []}
    rows: dict[str, dict[str, Any]] = {row["cell"]: row for row in document["cells"]}
    names = [cell.name for cell in cells()]
    for cell in cells():
        if (options.kind and cell.kind not in options.kind) or (options.cell and cell.name not in options.cell):
            continue
        start, vectors = time.monotonic(), UNIT_VECTORS if cell.kind == "dla_unit" else VECTORS
        found = score(cell, count=options.count, seed=SEED, vectors=vectors)
        row = found.as_dict() | {"vectors": vectors, "seconds": round(time.monotonic() - start, 1)}
        rows[cell.name] = row
        counted = row["mutants"] - len(row["equivalent"])
        print(f"{row['score']:7.2%} of {counted:3d}  {row['cell']}  ({row['seconds']} s)", flush=True)
        for survivor in row["survivors"]:
            print(f"           {survivor}", flush=True)
        write(options.output, [rows[name] for name in names if name in rows], options.count)


def write(path: Path, rows: list[dict[str, Any]], count: int) -> None:
    """Write all rows and their sums."""
    counted = sum(r["mutants"] - len(r["equivalent"]) for r in rows)
    killed = sum(sum(r["killed"].values()) for r in rows)
    document = {
        "what": "small faults in LUT-DLA's Verilog found by the benches, of those not proven to mean the same",
        "by": "reports/lut_dla/mutation.py",
        "seed": SEED,
        "count": count,
        "versions": {"simulator": simulators.find("icarus").version, "pyosys": version()},
        "target": TARGET,
        "mutants": sum(r["mutants"] for r in rows),
        "equivalent": sum(len(r["equivalent"]) for r in rows),
        "killed": killed,
        "survivors": counted - killed,
        "score": round(killed / counted, 4) if counted else 1.0,
        "below_target": [r["cell"] for r in rows if r["score"] < TARGET],
        "cells": rows,
    }
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(path)


if __name__ == "__main__":
    main()
