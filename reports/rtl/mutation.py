"""Mutation score of the benches: every kind of cell in a small configuration, one fault at a time.

Writes mutation.json next to itself: what each mutant met, those proven to mean the same, and the survivors. Needs
Icarus Verilog and pyosys. A part that is a cell of its own is also mutated inside the cells that hold it. The prover
knows no ranges of operands: a survivor of a narrower differs only on values that no table builder sends it.

    python reports/rtl/mutation.py [--count 60] [--jobs 2] [--kind lut_array ...]
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from lutscape.hw import spec as specs
from lutscape.rtl import catalogue, simulators
from lutscape.rtl.cell import Cell
from lutscape.rtl.mutation import score
from lutscape.rtl.synth_process import version

HERE = Path(__file__).resolve().parent
SEED = 1
VECTORS = 1000
TARGET = 0.95
FUSED: list[dict[str, Any]] = [
    {"unit.products": 2, "unit.fraction_bits": 13, "unit.input": "fp16"},
    {"unit.products": 3, "unit.fraction_bits": 10, "unit.input": "e5m2", "unit.rounding": "RNE-FP16"},
]


def cells() -> list[Cell]:
    """Return the reference cells of the catalogue, those of floats and small fused dot products, each module once,
    short ones first."""
    found = {cell.name: cell for cell in (*catalogue.reference(), *catalogue.reference_floats())}
    for changes in FUSED:
        spec = specs.override(specs.load("fused-dot-hopper"), changes, place="mutation.py")
        found |= {cell.name: cell for cell in catalogue.cells(spec)}
    return sorted(found.values(), key=lambda cell: len(cell.verilog()))


def run(index: int, count: int) -> dict[str, Any]:
    """Score one cell."""
    started = time.monotonic()
    result = score(cells()[index], count=count, seed=SEED, vectors=VECTORS)
    return result.as_dict() | {"seconds": round(time.monotonic() - started, 1)}


def main() -> None:
    """Score all cells; write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--kind", nargs="*")
    parser.add_argument("-o", "--output", type=Path, default=HERE / "mutation.json")
    options = parser.parse_args()
    chosen = [(i, c) for i, c in enumerate(cells()) if not options.kind or c.kind in options.kind]
    rows: dict[int, dict[str, Any]] = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        jobs = {pool.submit(run, i, options.count): i for i, _ in chosen}
        for job in as_completed(jobs):
            row = rows[jobs[job]] = job.result()
            counted = row["mutants"] - len(row["equivalent"])
            print(f"{row['score']:7.2%} of {counted:3d}  {row['cell']}  ({row['seconds']} s)", flush=True)
            for survivor in row["survivors"]:
                print(f"           {survivor}", flush=True)
    ordered = [rows[i] for i in sorted(rows)]
    counted = sum(r["mutants"] - len(r["equivalent"]) for r in ordered)
    killed = sum(sum(r["killed"].values()) for r in ordered)
    document = {
        "what": "small faults in generated Verilog found by the benches, of those not proven to mean the same",
        "by": "reports/rtl/mutation.py",
        "seed": SEED,
        "vectors": VECTORS,
        "count": options.count,
        "versions": {"simulator": simulators.find("icarus").version, "pyosys": version()},
        "target": TARGET,
        "mutants": sum(r["mutants"] for r in ordered),
        "equivalent": sum(len(r["equivalent"]) for r in ordered),
        "killed": killed,
        "survivors": counted - killed,
        "score": round(killed / counted, 4) if counted else 1.0,
        "below_target": [r["cell"] for r in ordered if r["score"] < TARGET],
        "cells": ordered,
    }
    temporary = options.output.with_suffix(".tmp")
    temporary.write_text(json.dumps(document, indent=1) + "\n")
    temporary.replace(options.output)
    print(f"{killed} of {counted} found: {document['score']:.2%}; below {TARGET:.0%}: {document['below_target']}")


if __name__ == "__main__":
    main()
