"""Area, shortest period and energy of LUT-DLA's units by synthesis: dPE by metric, width and v, CCM, a lane of the IMM.

    python reports/lut_dla/units.py                                          # Nangate45
    python reports/lut_dla/units.py --name asap7 --liberty asap7_*.lib.gz    # ASAP7

Every unit is generated, mapped, and its gates run on operand streams, outputs compared with the golden model. Rows go
into ``units.json`` as they finish; a row whose Verilog, library and script are unchanged is taken from it.

Operands: sub-vectors of SmolLM2-135M's inputs to one linear layer (INT8 per token, shifted to other widths) and of a
Gaussian matrix, quantised likewise. The codebook of a stream is c sub-vectors of the same columns after five rounds of
k-means (squared distance, rounded). A dPE stays at one centroid per stream, as in the chain, and gets the running
minimum of the centroids before it. Table entries are normal, three standard deviations at full scale; a matching module
looks up one index a cycle and is filled at one entry a lane and cycle. Energy is per cycle at full rate: dynamic by
zero-delay simulation times the share of glitches on a few streams, plus leakage over the period.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.commands.rtl_calibrate import KNOWN
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import METRICS, Codebook
from lutscape.rtl import calibrate_operands, gatesim, glitch, power, streams, synth
from lutscape.rtl.calibrate_measure import GLITCH_STREAMS
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.cells import dla_ccm, dla_distance, dla_dpe, dla_imm
from lutscape.rtl.measure import STATES
from lutscape.rtl.synth_process import version
from lutscape.version import __version__

HERE = Path(__file__).resolve().parent
OUT = HERE / "units.json"
WIDTHS, VECTORS, C = (4, 8, 16), (4, 8, 9), 16
ROWS, STREAMS, SEED = 60, 64, 1
LANES = (4, 8)
"""Of two modules, whose difference is the cost of lanes without the control beside them."""
PADS = (1, C)
"""Rows of their scratchpads: a single sum for area; as many as a fill takes for energy at one lookup a cycle."""
ROUNDS = 5  # of k-means

Ints = np.ndarray


def sources() -> dict[str, Ints]:
    """Return INT8 activations (T, K) by name; captured ones where the model's weights are there."""
    found = {"gaussian": streams.gaussian(4, SEED).activations}
    try:
        found["captured"] = streams.captured(4).activations
    except UserError as error:
        print(f"no captured operands: {error}", flush=True)
    return found


def pieces(book: Codebook, activations: Ints, count: int) -> Iterator[tuple[Ints, Ints]]:
    """Yield sub-vectors (ROWS, v) and centroids (c, v) of ``count`` random subspaces."""
    rng = np.random.default_rng(SEED)
    x = calibrate_operands.at_width(activations, book.input_bits, SEED)
    for _ in range(count):
        at = int(rng.integers(x.shape[1] - book.v + 1))
        part = x[:, at : at + book.v]
        yield part[rng.permutation(len(part))[:ROWS]], means(book, part, rng)


def means(book: Codebook, part: Ints, rng: np.random.Generator) -> Ints:
    """Return centroids (c, v) of sub-vectors (T, v): k-means, rounded; an empty cluster keeps its centroid."""
    centre = part[rng.permutation(len(part))[: book.c]].astype(float)
    for _ in range(ROUNDS):
        nearest = ((part[:, None] - centre) ** 2).sum(axis=2).argmin(axis=1)
        for j in set(nearest.tolist()):
            centre[j] = part[nearest == j].mean(axis=0)
    return np.rint(centre).astype(np.int64)


def dpe_beats(book: Codebook, activations: Ints) -> list[Beats]:
    """Return the beats of a dPE, one place of the chain a stream."""
    out = []
    top = (1 << book.distance_bits) - 1
    for s, (x, table) in enumerate(pieces(book, activations, STREAMS)):
        j = s % book.c
        before = [dla_distance.exact(book, x, np.broadcast_to(c, x.shape)) for c in table[:j]]
        far = np.concatenate([*before, np.full((len(x), 1), top)], axis=1)  # (ROWS, j + 1)
        out.append({"x": {
            "values": x, "centroid": np.broadcast_to(table[j], x.shape), "number": np.full((len(x), 1), j),
            "least": far.min(axis=1, keepdims=True), "index": far.argmin(axis=1, keepdims=True),
        }})  # fmt: skip
    return out


def ccm_beats(book: Codebook, activations: Ints) -> list[Beats]:
    """Return the beats of a chain: two subspaces a stream, so that both halves are loaded and used."""
    found = list(pieces(book, activations, 2 * STREAMS))
    first = np.zeros((2 * ROWS, 1), np.int64)
    first[::ROWS] = 1
    return [
        {
            "b": {"centroid": np.concatenate([a[1], b[1]])},
            "x": {"values": np.concatenate([a[0], b[0]]), "first": first},
        }
        for a, b in zip(found[::2], found[1::2], strict=True)
    ]


def imm_beats(design: dla_imm.Module) -> list[Beats]:
    """Return the beats of a matching module: its rows over several subspaces, tables filled beside them."""
    rng, half, subspaces = np.random.default_rng(SEED), 1 << (design.table_bits - 1), max(4, ROWS // design.rows)
    out = []
    for _ in range(STREAMS):
        tables = np.rint(rng.standard_normal((subspaces, design.c, design.lanes)) * half / 3)
        entries = np.clip(tables, -half, half - 1).astype(np.int64)
        index = rng.integers(0, design.c, (design.rows, subspaces))
        out.append(dla_imm.Tile(index, entries).beats(design))
    return out


def measure(cell: Cell, setting: dict[str, Any], beats: dict[str, Callable[[], list[Beats]]]) -> dict[str, Any]:
    """Return one row: area, period, and energy per cycle on each kind of operands."""
    built = synth.synthesise(cell.verilog(), cell.name, setting["libraries"], **setting["options"], timeout_s=7200)
    report, period = built.timing(), built.period_ps
    gates, library = report.linked.netlist, report.linked.library
    row: dict[str, Any] = {
        "cell": cell.name, "kind": cell.kind, **cell.parameters, "area_um2": round(built.area_um2, 3),
        "register_area_um2": round(built.register_area_um2, 3), "cells": built.gates, "registers": built.registers,
        "min_period_ps": round(built.min_period_ps, 1), "period_ps": period, "recipe": built.recipe, "key": built.key,
        "energy": {},
    }  # fmt: skip
    for name, make in beats.items():
        ports = streams.full_rate(cell, make())
        settled = gatesim.simulate(gates, library, ports.ports, count_from=ports.first)
        few = {port: bits[:, :GLITCH_STREAMS] for port, bits in ports.ports.items()}
        quiet = gatesim.simulate(gates, library, few, count_from=ports.first)
        noisy = glitch.simulate(report, few, count_from=ports.first)

        def at_work(simulated: Any) -> Any:
            return power.power(gates, library, simulated.activity(), period, report, states=STATES)

        found, factor = at_work(settled), _dynamic(at_work(noisy)) / _dynamic(at_work(quiet))
        row["energy"][name] = {
            "dynamic_pj": round(_dynamic(found) * period * factor, 5),
            "glitch_factor": round(factor, 3),
            "leakage_uw": round(found.leakage_w * 1e6, 4),
            "pj_per_cycle": round((_dynamic(found) * factor + found.leakage_w) * period, 5),
            "gate_level_mismatches": streams.mismatches(cell, ports, settled),
        }
    return row


def code_of(kind: str) -> str:
    """Return a hash of what a row of a kind depends on here."""
    makers = {"dla_dpe": dpe_beats, "dla_ccm": ccm_beats, "dla_imm": imm_beats}
    text = "".join(inspect.getsource(f) for f in (sources, pieces, means, measure, makers[kind]))
    return hashlib.sha256(text.encode()).hexdigest()


def _dynamic(report: Any) -> float:
    return float(report.internal_w + report.switching_w)


def jobs(operands: dict[str, Ints]) -> Iterator[tuple[Cell, dict[str, Callable[[], list[Beats]]]]]:
    """Yield every unit with its operand streams."""

    def of(make: Callable[[Codebook, Ints], list[Beats]], book: Codebook) -> dict[str, Callable[[], list[Beats]]]:
        return {name: lambda x=x: make(book, x) for name, x in operands.items()}  # type: ignore[misc]

    for bits in WIDTHS:
        for v in VECTORS:
            for metric in METRICS:
                book = Codebook(v=v, c=C, metric=metric, input_bits=bits)
                yield dla_dpe.dpe(book), of(dpe_beats, book)
    for metric in METRICS:
        book = Codebook(v=4, c=C, metric=metric, input_bits=8)
        yield dla_ccm.ccm(book), of(ccm_beats, book)
    for rows, lanes in itertools.product(PADS, LANES):
        design = dla_imm.Module(c=C, lanes=lanes, rows=rows, fill=lanes)
        yield dla_imm.imm(design), {"normal": lambda design=design: imm_beats(design)}  # type: ignore[misc]


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the ordering of the metrics, with ratios, and the cost of one lane."""
    at = {(r["kind"], r.get("metric"), r.get("v"), r.get("input_bits")): r for r in rows}
    ratios: list[dict[str, Any]] = []
    ordered = True
    for kind, v, bits in [("dla_dpe", v, b) for b in WIDTHS for v in VECTORS] + [("dla_ccm", 4, 8)]:
        group = [at.get((kind, m, v, bits)) for m in METRICS]
        if None in group:
            continue
        l2, l1, chebyshev = (g["area_um2"] for g in group if g is not None)
        power_of = [next(iter(reversed(g["energy"].values())))["pj_per_cycle"] for g in group if g is not None]
        ordered &= l2 > l1 > chebyshev
        ratios.append({
            "kind": kind, "v": v, "input_bits": bits, "l2_to_l1": round(l2 / l1, 3),
            "l2_to_chebyshev": round(l2 / chebyshev, 3), "l1_to_chebyshev": round(l1 / chebyshev, 3),
            "energy_l2_to_l1": round(power_of[0] / power_of[1], 3),
            "energy_l1_to_chebyshev": round(power_of[1] / power_of[2], 3),
        })  # fmt: skip
    modules = {(r["rows"], r["lanes"]): r for r in rows if r["kind"] == "dla_imm"}
    lane: dict[str, Any] = {}
    if all(key in modules for key in itertools.product(PADS, LANES)):
        few, many = ([modules[pad, n] for pad in PADS] for n in LANES)
        area = [(b["area_um2"] - a["area_um2"]) / (LANES[1] - LANES[0]) for a, b in zip(few, many, strict=True)]
        energy = [m[1]["energy"]["normal"]["pj_per_cycle"] for m in (few, many)]
        lane = {
            "what": "a lane of the IMM: two banks of 16 INT8 entries, adder, 32-bit sum, all in flip-flops; no control",
            "area_um2": round(area[0], 3),
            "area_with_16_rows_um2": round(area[1], 3),
            "pj_per_lookup_with_16_rows": round((energy[1] - energy[0]) / (LANES[1] - LANES[0]), 5),
            "min_period_ps": many[0]["min_period_ps"],
        }
    operands = next((list(r["energy"])[-1] for r in rows if r["kind"] == "dla_dpe"), "")
    return {
        "area_ordering_l2_l1_chebyshev": ordered and bool(ratios),
        "energy_ratios_on": operands,
        "ratios": ratios,
        "imm_lane": lane,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all units of one library; write and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--name", default="nangate45", choices=sorted(KNOWN))
    parser.add_argument("--liberty", nargs="+", default=["nangate45"])
    parser.add_argument("--only", default="", help="Part of a cell's name.")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    options = parser.parse_args(arguments)
    known = KNOWN[options.name]
    setting = {
        "libraries": options.liberty,
        "options": {k: known[k] for k in ("period_ps", "driving_cell", "load_ff")},
    }
    document = json.loads(options.output.read_text()) if options.output.is_file() else {}
    operands = sources()
    old = {r["cell"]: r for r in document.get("libraries", {}).get(options.name, {}).get("rows", [])}
    rows: list[dict[str, Any]] = []
    for cell, beats in jobs(operands):
        if options.only not in cell.name:
            continue
        start, text = time.perf_counter(), hashlib.sha256(cell.verilog().encode()).hexdigest()
        code = code_of(cell.kind)
        row = old.get(cell.name)
        if row is None or row["verilog_sha256"] != text or row["script_sha256"] != code:
            row = measure(cell, setting, beats) | {"verilog_sha256": text, "script_sha256": code}
        rows.append(row)
        energy = ", ".join(f"{name} {e['pj_per_cycle']:.3f}" for name, e in row["energy"].items())
        print(
            f"{row['cell']}: {row['area_um2']:.1f} µm², {row['min_period_ps']:.0f} ps ({row['recipe']}), "
            f"pJ per cycle: {energy}  ({time.perf_counter() - start:.0f} s)",
            flush=True,
        )
        kept = {r["cell"]: r for r in (*old.values(), *rows)}
        found = {
            "node_nm": known["node_nm"], "source": known["source"], **setting["options"],
            "summary": summary(list(kept.values())), "rows": list(kept.values()),
        }  # fmt: skip
        document |= {
            "what": "units of LUT-DLA by synthesis: no wires, no clock tree, typical corner",
            "by": "reports/lut_dla/units.py", "version": __version__, "pyosys": version(),
            "libraries": {**document.get("libraries", {}), options.name: found},
        }  # fmt: skip
        temporary = options.output.with_suffix(".tmp")
        temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        temporary.replace(options.output)
    print(json.dumps(document["libraries"][options.name]["summary"], indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
