"""What the fraction bits of a tensor core's dot product cost: area and period of its Verilog at 45 nm.

    python reports/rtl/fused_dot.py [--only l32]

Every design is generated, held to the matrix-unit model on 1,000 vectors, synthesised for two periods, and its mapped
netlists held to the model on 1,000 vectors again. Rows are written to ``fused_dot.json`` as they finish; a run
continues an unfinished one where Verilog, script and library are the same. ``fused_dot.md`` is the table; the
language model's error beside FP8 designs is that of ``reports/mma/accuracy.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from lutscape.hw.machines.fused_dot import Unit
from lutscape.rtl import liberty
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import fused_dot
from lutscape.rtl.synth import Synthesis, synthesise
from lutscape.rtl.verify import verify
from lutscape.version import __version__

HERE = Path(__file__).resolve().parent
OUT = HERE / "fused_dot.json"
ACCURACY = HERE.parent / "mma" / "accuracy.json"
STAGES, VECTORS, TIMEOUT_S = 3, 1000, 7200.0
PERIODS_PS = (4000.0, 2000.0)
"""One that the smallest recipe reaches, and one that takes sizing."""

# group, L, F, format, rounding, e_zero
POINTS: list[tuple[str, int, int, str, str, int | None]] = [
    *(("FP8", 32, f, "e4m3", "RZ-FP32", None) for f in (8, 10, 13, 16, 25)),
    ("FP8", 32, 13, "e4m3", "RZ-E8M13", -133),
    ("FP8", 32, 25, "e4m3", "RZ-E8M13", None),
    ("FP8", 32, 25, "e4m3", "RNE-FP32", None),
    ("FP8", 8, 13, "e4m3", "RZ-FP32", None),
    ("FP8", 16, 13, "e4m3", "RZ-E8M13", -132),
    *(("F", 8, f, "fp16", "RZ-FP32", None) for f in (8, 10, 13, 16, 19, 22, 23, 24, 25, 26, 28, 30)),
    *(("L", 4, f, "fp16", "RZ-FP32", None) for f in (13, 25)),
    *(("rounding", 8, 25, "fp16", r, None) for r in ("RNE-FP32", "RD-FP32", "RNE-FP16", "RNE-BF16", "RZ-E8M13")),
    *(("format", 8, f, x, "RZ-FP32", None) for x in ("bf16", "tf32", "e5m2", "e4m3", "e2m1") for f in (13, 25)),
    ("machine", 4, 23, "fp16", "RZ-FP32", None),
    *(("L", 16, f, "fp16", "RZ-FP32", None) for f in (13, 25)),
]
MACHINES = {
    (4, 23, "fp16", "RZ-FP32"): "Volta FP16",
    (8, 24, "fp16", "RZ-FP32"): "Turing, Ampere, Ada FP16",
    (16, 25, "fp16", "RZ-FP32"): "Hopper, Blackwell FP16",
    (16, 13, "e4m3", "RZ-E8M13"): "Ada FP8",
    (32, 13, "e4m3", "RZ-E8M13"): "Hopper FP8",
    (32, 25, "e4m3", "RZ-FP32"): "Blackwell FP8",
}
"""Arithmetic of GPUs (arXiv 2511.10909v2, tables 3 to 5)."""


def key(row: dict[str, Any]) -> tuple[int, int, str, str]:
    """Return what tells designs apart."""
    return row["L"], row["F"], row["format"], row["rounding"]


def cell_of(point: tuple[int, int, str, str, int | None]) -> Cell:
    """Return the unit of a design."""
    L, F, form, rounding, e_zero = point
    fields = {"products": L, "fraction_bits": F, "input": form, "rounding": rounding, "e_zero": e_zero}
    return fused_dot.unit(Unit.model_validate({**fields, "stages": STAGES}))


def mapped(cell: Cell, period_ps: float, by_block: bool) -> Synthesis:
    """Return the synthesis for one period, from the cache if it is there."""
    return synthesise(
        cell.verilog(),
        cell.name,
        "nangate45",
        period_ps=period_ps,
        keep_hierarchy_for_area=by_block,
        timeout_s=TIMEOUT_S,
    )


def measure(group: str, cell: Cell, machine: str, units: list[Synthesis]) -> dict[str, Any]:
    """Return one row: hold RTL and gates to the model, note area and period."""
    run = verify(cell, vectors=VECTORS, stalls=False)
    row: dict[str, Any] = {
        "group": group,
        **{{"a": "format"}.get(k, k): v for k, v in cell.parameters.items() if k != "b"},
        "machine": machine,
        "module": cell.name,
        "verilog_sha256": hashlib.sha256(cell.verilog().encode()).hexdigest(),
        "vectors": run.beats["y"],
        "bins": len(run.coverage),
        "verified": run.passed,
        "syntheses": {},
    }
    for unit in units:
        gates = verify(cell, vectors=VECTORS, stalls=False, netlist=unit.netlist, library=liberty.load("nangate45"))
        blocks: dict[str, float] = {}
        for name, block in unit.blocks.items():
            kind = next((c.kind for c in cell.all_parts if c.name == name), "other")
            blocks[kind] = round(blocks.get(kind, 0.0) + block.instances * block.area_um2, 1)
        row["syntheses"][f"{unit.period_ps:.0f}"] = {
            "key": unit.key,
            "area_um2": round(unit.area_um2, 2),
            "register_area_um2": round(unit.register_area_um2, 2),
            "registers": unit.registers,
            "cells": unit.gates,
            "min_period_ps": round(unit.min_period_ps, 1),
            "gates_verified": gates.bits_match and not gates.late,
            "block_area_um2": blocks,
            "library": unit.library,
            "recipe": unit.recipe,
            "versions": dict(unit.versions),
        }
    return row


def load(path: Path) -> dict[str, Any]:
    """Return the rows so far."""
    return json.loads(path.read_text()) if path.is_file() else {"rows": []}


def store(data: dict[str, Any], out: Path) -> None:
    """Write JSON and table, each whole."""
    for path, text in ((out, json.dumps(data, indent=1) + "\n"), (out.with_suffix(".md"), markdown(data))):
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_text(text)
        temporary.replace(path)


def model_error() -> dict[tuple[int, int, str, str], dict[str, float]]:
    """Return KL to exact sums of FP8 designs on SmolLM2-135M, by design."""
    if not ACCURACY.is_file():
        return {}
    named = {"sm_90 wgmma.m64n64k32.f32.e4m3.e4m3": (32, 13, "e4m3", "RZ-E8M13")}
    out = {}
    for row in json.loads(ACCURACY.read_text())["rows"]:
        if row["label"] == "e4m3 operands, float32 sums":
            out[0, 0, "e4m3", "float32"] = row["against_operands"]["kl"]
        if row["options"] or row["operands"] != "e4m3" or "against_operands" not in row:
            continue
        where = named.get(f"{row['arch']} {row['instruction']}")
        if row["instruction"].startswith("custom."):
            _, length, fraction, rounding = row["instruction"].split(".")
            where = (int(length[1:]), int(fraction[1:]), "e4m3", rounding)
        if where:
            out[where] = row["against_operands"]["kl"]
    return out


def answer(rows: dict[tuple[int, int, str, str], dict[str, Any]]) -> list[str]:
    """Return the price of F = 25 instead of 13, one line per pair of designs that are both there."""
    pairs = [
        ((32, 13, "e4m3", "RZ-E8M13"), (32, 25, "e4m3", "RZ-FP32"), "FP8, 32 products, Hopper to Blackwell"),
        ((32, 13, "e4m3", "RZ-FP32"), (32, 25, "e4m3", "RZ-FP32"), "FP8, 32 products"),
        ((16, 13, "fp16", "RZ-FP32"), (16, 25, "fp16", "RZ-FP32"), "FP16, 16 products"),
        *(
            ((8, 13, f, "RZ-FP32"), (8, 25, f, "RZ-FP32"), f"{f}, 8 products")
            for f in ("fp16", "bf16", "tf32", "e5m2", "e4m3", "e2m1")
        ),
    ]
    lines = []
    for low, high, what in pairs:
        if low not in rows or high not in rows:
            continue
        cells = []
        for period in PERIODS_PS:
            a, b = (rows[k]["syntheses"][f"{period:.0f}"] for k in (low, high))
            more, of = b["area_um2"] - a["area_um2"], 100 * (b["area_um2"] / a["area_um2"] - 1)
            late = "".join(f" ({x['min_period_ps']:,.0f} ps)" for x in (a, b) if x["min_period_ps"] > period)
            cells += [f"{a['area_um2']:,.0f}", f"{b['area_um2']:,.0f}", f"{more:+,.0f}", f"{of:+.1f} %{late}"]
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def markdown(data: dict[str, Any]) -> str:
    """Return the tables."""
    rows = {key(r): r for r in data["rows"]}
    error = model_error()
    floor = error.get((0, 0, "e4m3", "float32"))
    ns = [f"{p / 1000:g} ns" for p in PERIODS_PS]
    text = [
        "# Fused dot-product-add units: what fraction bits cost",
        "",
        "Written by `python reports/rtl/fused_dot.py`. Verilog of `rtl/cells/fused_dot.py`, pipelines of "
        f"{STAGES} stages with registered inputs and outputs, synthesised with yosys and abc to the NanGate 45 nm "
        "open cell library, typical corner, for two periods; no wires, no clock tree, no placement. Every row: RTL "
        f"and mapped netlists equal to `lutscape.sim.mma.Custom` on {VECTORS:,} vectors each, all functional bins "
        "reached.",
        "",
        "## F = 25 instead of 13",
        "",
        "Area in µm². A period in brackets is what was reached where the target was not.",
        "",
        "| unit, RZ-FP32 | " + " | ".join(f"F = 13, {x} | F = 25 | more |" for x in ns),
        "|---|" + "---:|---:|---:|---:|" * len(ns),
        *answer(rows),
        "",
        "Hopper's FP8 unit rounds to E8M13.",
        "",
        "## All designs",
        "",
        "Area in µm², without registers in brackets; period reached. KL: nats per token of SmolLM2-135M with every "
        "linear layer on this unit, to exact sums of the same FP8 operands (`reports/mma/accuracy.json`, ± one "
        "standard error)" + (f"; float32 sums give {floor['value']:.4f}." if floor else "."),
        "",
        "| L | F | format | rounding | arithmetic of | "
        + " | ".join(f"area, {x} | ps" for x in ns)
        + " | registers | KL |",
        "|---:|---:|---|---|---|" + "---:|---:|" * len(ns) + "---:|---:|",
    ]
    order = sorted(rows.values(), key=lambda r: (r["format"], r["L"], r["rounding"], r["F"]))
    for r in order:
        kl = error.get(key(r))
        cells = [str(r[k]) for k in ("L", "F", "format", "rounding", "machine")]
        for s in r["syntheses"].values():
            logic = s["area_um2"] - s["register_area_um2"]
            cells += [f"{s['area_um2']:,.0f} ({logic:,.0f})", f"{s['min_period_ps']:,.0f}"]
        cells += [str(next(iter(r["syntheses"].values()))["registers"])]
        cells += [f"{kl['value']:.4f} ± {kl['error']:.4f}" if kl else ""]
        text.append(f"| {' | '.join(cells)} |")
    kinds = ["product", "decode", "largest", "align", "sum", "round"]
    text += [
        "",
        "## Where the area is",
        "",
        f"µm² of each block's own cells for {ns[0]}, synthesised block by block, which hinders sharing: in sum more "
        "than the areas above. *other*: registers, handshake, special values.",
        "",
        "| arithmetic of | " + " | ".join([*kinds, "other"]) + " |",
        "|---|" + "---:|" * (len(kinds) + 1),
    ]
    for r in order:
        if not r["machine"]:
            continue
        blocks = r["syntheses"][f"{PERIODS_PS[0]:.0f}"]["block_area_um2"]
        areas = {k.removeprefix("fused_dot_"): v for k, v in blocks.items()}
        areas["round"] = areas.get("round", 0) + areas.pop("leading_zeros", 0)
        rest = sum(v for k, v in areas.items() if k not in kinds)
        cells = [f"{areas.get(k, 0):,.0f}" for k in kinds]
        text.append(f"| {r['machine']} | {' | '.join(cells)} | {rest:,.0f} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure what is missing, in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only designs whose module name contains this")
    parser.add_argument("-o", "--output", type=Path, default=OUT)
    options = parser.parse_args()
    data = load(options.output)
    data["rows"] = [r for r in data["rows"] if "syntheses" in r]
    data |= {"command": "python reports/rtl/fused_dot.py", "lutscape": __version__, "grade": "synthesised"}
    for group, *point in POINTS:
        cell = cell_of((point[0], point[1], point[2], point[3], point[4]))
        if options.only not in cell.name:
            continue
        started = time.monotonic()
        machine = MACHINES.get((point[0], point[1], point[2], point[3]), "")
        units = [mapped(cell, p, bool(machine) and p == PERIODS_PS[0]) for p in PERIODS_PS]
        old = {r["module"]: r for r in data["rows"]}.get(cell.name)
        if old and [s.get("key") for s in old.get("syntheses", {}).values()] == [u.key for u in units]:
            continue
        row = measure(group, cell, machine, units)
        data["rows"] = [r for r in data["rows"] if r["module"] != cell.name] + [row]
        store(data, options.output)
        shown = ", ".join(f"{u.area_um2:,.0f} um2 at {u.min_period_ps:,.0f} ps ({u.recipe})" for u in units)
        gates = all(s["gates_verified"] for s in row["syntheses"].values())
        seconds = time.monotonic() - started
        print(f"{cell.name}: {shown}; RTL {row['verified']}, gates {gates}; {seconds:.0f} s", flush=True)
    store(data, options.output)


if __name__ == "__main__":
    main()
