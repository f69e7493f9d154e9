"""Synthesise parts of LUT-DLA over a grid, run their gates, fit what a bit of each costs.

python reports/lut_dla/calibrate.py                                            # Nangate45: 3 minutes on one core
python reports/lut_dla/calibrate.py --name asap7 --liberty asap7_*.lib.gz      # ASAP7

Writes ``dla_designs.csv`` and ``dla_coefficients.csv`` into ``hw/calibration/NAME`` (see hw/calibration/dla.py).
Operands: a distance element meets normally distributed sub-vectors (three standard deviations are full scale) with a
centroid that stays, drawn likewise, and the least of seven other centroids' distances so far; lanes and codebooks
uniformly random bits. 64 streams of 60 cycles; a second simulation with delays gives the share of glitches.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.commands.rtl_calibrate import KNOWN
from lutscape.hw.calibration import dla
from lutscape.hw.machines.lut_dla import METRICS, Codebook
from lutscape.rtl import calibrate, calibrate_fit, calibrate_operands, gatesim, glitch, liberty, power, synth
from lutscape.rtl.calibrate_measure import GLITCH_STREAMS
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.accumulator import accumulator
from lutscape.rtl.cells.dla_codebook import codebook
from lutscape.rtl.cells.dla_dpe import dpe
from lutscape.rtl.measure import STATES
from lutscape.sim.lut_dla import golden

ROOT = Path(__file__).resolve().parent.parent.parent
SHAPES = ((1, 8), (2, 8), (3, 8), (4, 8), (6, 8), (8, 8), (9, 8), (16, 8), (4, 4), (4, 6), (4, 12), (4, 16),
          (2, 4), (8, 4), (9, 4), (2, 12), (9, 12))  # fmt: skip
"""(v, input bits) of distance elements with c = 16."""
HELD_OUT = ((5, 8), (3, 6), (8, 6), (6, 10))
LANES = ((16, 8), (20, 8), (24, 8), (32, 8), (48, 8), (24, 4), (32, 4), (32, 12), (32, 16))
"""(sum bits, entry bits)."""
CODEBOOKS = ((4, 8, 16), (4, 8, 32), (9, 8, 16), (4, 4, 16), (2, 8, 8), (8, 8, 16))
"""(v, input bits, c)."""
COLUMNS = ("kind", "role", "v", "input_bits", "c", "sum_bits", "entry_bits", "area_um2", "register_area_um2", "gates",
           "registers", "min_period_ps", "energy_pj", "glitch", "leakage_uw", "key")  # fmt: skip


def main() -> None:
    """Measure every design, then fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--name", default="nangate45", choices=sorted(KNOWN))
    parser.add_argument("--liberty", nargs="+", default=["nangate45"])
    arguments = parser.parse_args()
    known = KNOWN[arguments.name]
    designs: list[tuple[str, str, dict[str, int], Cell]] = []
    for metric in METRICS:
        for shapes, role in ((SHAPES, calibrate_fit.FIT), (HELD_OUT, "held out")):
            for v, bits in shapes:
                book = Codebook(v=v, c=16, metric=metric, input_bits=bits)
                designs.append((f"dpe {metric}", role, {"v": v, "input_bits": bits, "c": 16}, dpe(book)))
    for v, bits, c in CODEBOOKS:
        book = Codebook(v=v, c=c, metric="l1", input_bits=bits)
        designs.append(("codebook", calibrate_fit.FIT, {"v": v, "input_bits": bits, "c": c}, codebook(book)))
    for sums, entries in LANES:
        cell = accumulator(sums, entries)
        designs.append(("lane", calibrate_fit.FIT, {"sum_bits": sums, "entry_bits": entries}, cell))
    rows = []
    for i, (kind, role, parameters, cell) in enumerate(designs):
        start = time.perf_counter()
        rows.append({"kind": kind, "role": role, **parameters, **measure(cell, arguments.liberty, known)})
        print(f"{i + 1}/{len(designs)} {cell.name}: {rows[-1]['area_um2']:.0f} um2, "
              f"{rows[-1]['energy_pj']:.2f} pJ, {time.perf_counter() - start:.1f} s", flush=True)  # fmt: skip
    folder = ROOT / "hw" / "calibration" / arguments.name
    calibrate.write_table(folder / "dla_designs.csv", list(COLUMNS), [{c: r.get(c, "") for c in COLUMNS} for r in rows])
    calibrate.write_table(folder / "dla_coefficients.csv", list(fitted(rows)[0]), fitted(rows))


def measure(cell: Cell, libraries: list[str], known: dict[str, Any]) -> dict[str, Any]:
    """Return area, time, energy of an operation and leakage of one cell."""
    period = known["period_ps"]
    built = synth.synthesise(
        cell.verilog(), cell.name, libraries,
        period_ps=period, driving_cell=known["driving_cell"], load_ff=known["load_ff"],
    )  # fmt: skip
    ports, library, report = stimulus(cell), liberty.load(built.libraries), built.timing()

    def dynamic(simulated: gatesim.Simulation) -> tuple[float, float]:
        found = power.power(
            report.linked.netlist, report.linked.library, simulated.activity(), period, report, states=STATES
        )
        return (found.internal_w + found.switching_w) * period, found.leakage_w * 1e6

    energy, leakage = dynamic(gatesim.simulate(built.parsed, library, ports, count_from=4))
    few = {port: bits[:, :GLITCH_STREAMS] for port, bits in ports.items()}
    delayed = dynamic(glitch.simulate(report, few, count_from=4))[0]
    factor = delayed / dynamic(gatesim.simulate(built.parsed, library, few, count_from=4))[0]
    return {
        "area_um2": built.area_um2, "register_area_um2": built.register_area_um2, "gates": built.gates,
        "registers": built.registers, "min_period_ps": built.min_period_ps, "energy_pj": energy * factor,
        "glitch": factor, "leakage_uw": leakage, "key": built.key,
    }  # fmt: skip


def stimulus(cell: Cell) -> dict[str, Any]:
    """Return the ports of a cell at full rate."""
    ports = calibrate_operands.block_ports(cell)
    if cell.kind != "dla_dpe":
        return ports
    p = cell.parameters
    book = Codebook.model_validate({name: p[name] for name in ("metric", "v", "c", "input_bits")})
    rng = np.random.default_rng(7)
    cycles, streams = calibrate_operands.CYCLES, calibrate_operands.STREAMS
    half = 1 << (book.input_bits - 1)

    def normal(*shape: int) -> Any:
        return np.clip(np.round(rng.standard_normal(shape) * half / 3), -half, half - 1).astype(np.int64)

    values, centroid = normal(cycles, streams, book.v), normal(streams, book.v)
    others = normal(streams, 7, book.v)
    ports["x_values"] = as_bits(values, book.input_bits)
    ports["x_centroid"] = as_bits(np.broadcast_to(centroid, values.shape), book.input_bits)
    before = np.stack(
        [golden.distances(values[:, s, None], others[s][None], book.metric).min(axis=-1) for s in range(streams)], 1
    )  # (cycles, streams, 1)
    ports["x_least"] = as_bits(before, book.distance_bits)
    ports["x_number"] = as_bits(np.broadcast_to(rng.integers(0, book.c, (1, streams, 1)), (cycles, streams, 1)),
                                book.index_bits)  # fmt: skip
    ports["x_index"] = as_bits(rng.integers(0, book.c, (cycles, streams, 1)), book.index_bits)
    return ports


def as_bits(values: Any, width: int) -> Any:
    """Return (cycles, streams, lanes · width) bits, lowest first, of (cycles, streams, lanes) integers."""
    bits = (values[..., None] >> np.arange(width)) & 1
    return bits.reshape(*values.shape[:2], -1).astype(np.uint8)


def fitted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return coefficients of every kind, with the errors of designs that were left out or not fitted."""
    table: list[dict[str, Any]] = []
    for kind, names in dla.FEATURES.items():
        mine = [r for r in rows if r["kind"] == kind]
        counted = [
            (counts(r), {**r, "energy_captured_pj": r["energy_pj"], "glitch_captured": 1.0}, r["role"]) for r in mine
        ]
        fits = {q: calibrate_fit.fit(kind, q, counted, list(names)) for q in ("area_um2", "energy_pj", "leakage_uw")}
        errors: dict[str, float] = {}
        for quantity, fit in fits.items():
            unseen = np.concatenate([fit.left_out, fit.held_out])
            errors[f"rms_{quantity}"] = float(np.sqrt((unseen**2).mean()))
            errors[f"worst_{quantity}"] = float(np.abs(unseen).max())
            print(f"{kind} {quantity}: rms {errors[f'rms_{quantity}']:.1%}, worst {errors[f'worst_{quantity}']:.1%}")
        for name in names:
            table.append({"kind": kind, "count": name, **{q: f.coefficients[name] for q, f in fits.items()}, **errors})
    return table


def counts(row: dict[str, Any]) -> dict[str, float]:
    """Return the counts of a measured design."""
    if row["kind"] == "lane":
        return dla.of_lane(row["entry_bits"], row["sum_bits"])
    metric = row["kind"].removeprefix("dpe ") if row["kind"] != "codebook" else "l1"
    book = Codebook(v=row["v"], c=row["c"], metric=metric, input_bits=row["input_bits"])
    return dla.of_codebook(book) if row["kind"] == "codebook" else dla.of_dpe(book)


if __name__ == "__main__":
    sys.exit(main())
