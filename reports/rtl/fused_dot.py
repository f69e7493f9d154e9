"""What the fraction bits of a tensor core's dot product cost: area and period of its Verilog at 45 nm.

    python reports/rtl/fused_dot.py [--only L32] [--period-ps 2000]

Every design is generated, held to the matrix-unit model on 1,000 vectors, synthesised, and its mapped netlist held
to the model on 1,000 vectors again. Rows are written to ``fused_dot.json`` as they finish; a run with the same
Verilog and period continues an unfinished one. ``fused_dot.md`` is the table; the language model's error beside FP8
designs is that of ``reports/mma/accuracy.json``.
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
from lutscape.rtl.cells import fused_dot
from lutscape.rtl.synth import synthesise
from lutscape.rtl.verify import verify
from lutscape.version import __version__

HERE = Path(__file__).resolve().parent
OUT = HERE / "fused_dot.json"
ACCURACY = HERE.parent / "mma" / "accuracy.json"
STAGES, VECTORS = 3, 1000

# group, L, F, format, rounding, e_zero
POINTS: list[tuple[str, int, int, str, str, int | None]] = [
    *(("FP8", 32, f, "e4m3", "RZ-FP32", None) for f in (8, 10, 13, 16, 19, 22, 25, 28)),
    ("FP8", 32, 13, "e4m3", "RZ-E8M13", -133),
    ("FP8", 32, 25, "e4m3", "RZ-E8M13", None),
    ("FP8", 32, 25, "e4m3", "RNE-FP32", None),
    ("FP8", 8, 13, "e4m3", "RZ-FP32", None),
    ("FP8", 16, 13, "e4m3", "RZ-E8M13", -132),
    *(("F", 8, f, "fp16", "RZ-FP32", None) for f in (8, 10, 12, 13, 14, 16, 18, 20, 22, 23, 24, 25, 26, 28, 30)),
    *(("L", n, f, "fp16", "RZ-FP32", None) for n in (4, 16) for f in (13, 25)),
    *(("rounding", 8, 25, "fp16", r, None) for r in ("RNE-FP32", "RD-FP32", "RNE-FP16", "RNE-BF16", "RZ-E8M13")),
    *(("format", 8, f, x, "RZ-FP32", None) for x in ("bf16", "tf32", "e5m2", "e4m3", "e2m1") for f in (13, 25)),
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


def measure(
    group: str, L: int, F: int, form: str, rounding: str, e_zero: int | None, period_ps: float
) -> dict[str, Any]:
    """Return one row: verify, synthesise, verify the gates."""
    started = time.monotonic()
    cell = fused_dot.unit(Unit.model_validate({
        "products": L, "fraction_bits": F, "input": form, "rounding": rounding, "e_zero": e_zero, "stages": STAGES,
    }))  # fmt: skip
    verilog = cell.verilog()
    run = verify(cell, vectors=VECTORS, stalls=False)
    by_block = (L, F, form, rounding) in MACHINES
    mapped = synthesise(verilog, cell.name, "nangate45", period_ps=period_ps, keep_hierarchy_for_area=by_block)
    gates = verify(cell, vectors=VECTORS, stalls=False, netlist=mapped.netlist, library=liberty.load("nangate45"))
    blocks: dict[str, float] = {}
    for name, block in mapped.blocks.items():
        kind = next((c.kind for c in cell.all_parts if c.name == name), "other")
        blocks[kind] = round(blocks.get(kind, 0.0) + block.instances * block.area_um2, 1)
    return {
        "group": group,
        "L": L,
        "F": F,
        "format": form,
        "rounding": rounding,
        "e_zero": cell.parameters["e_zero"],
        "stages": STAGES,
        "machine": MACHINES.get((L, F, form, rounding), ""),
        "module": cell.name,
        "verilog_sha256": hashlib.sha256(verilog.encode()).hexdigest(),
        "vectors": run.beats["y"],
        "bins": len(run.coverage),
        "verified": run.passed,
        "gates_verified": gates.bits_match and not gates.late,
        "area_um2": round(mapped.area_um2, 2),
        "register_area_um2": round(mapped.register_area_um2, 2),
        "registers": mapped.registers,
        "cells": mapped.gates,
        "target_period_ps": period_ps,
        "min_period_ps": round(mapped.min_period_ps, 1),
        "block_area_um2": blocks,
        "library": mapped.library,
        "recipe": mapped.recipe,
        "versions": dict(mapped.versions),
        "seconds": round(time.monotonic() - started, 1),
    }


def load() -> dict[str, Any]:
    """Return the rows so far."""
    return json.loads(OUT.read_text()) if OUT.is_file() else {"rows": []}


def store(data: dict[str, Any]) -> None:
    """Write JSON and table, each whole."""
    for path, text in ((OUT, json.dumps(data, indent=1) + "\n"), (OUT.with_suffix(".md"), markdown(data))):
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
        ((32, 13, "e4m3", "RZ-FP32"), (32, 25, "e4m3", "RZ-FP32"), "FP8, 32 products, both RZ-FP32"),
        ((16, 13, "fp16", "RZ-FP32"), (16, 25, "fp16", "RZ-FP32"), "FP16, 16 products, both RZ-FP32"),
        *(
            ((8, 13, f, "RZ-FP32"), (8, 25, f, "RZ-FP32"), f"{f}, 8 products, both RZ-FP32")
            for f in ("fp16", "bf16", "tf32", "e5m2", "e4m3", "e2m1")
        ),
    ]
    lines = []
    for low, high, what in pairs:
        if low in rows and high in rows:
            a, b = rows[low], rows[high]
            more, of = b["area_um2"] - a["area_um2"], 100 * (b["area_um2"] / a["area_um2"] - 1)
            slower = b["min_period_ps"] - a["min_period_ps"]
            lines.append(
                f"| {what} | {a['area_um2']:,.0f} | {b['area_um2']:,.0f} | {more:+,.0f} | {of:+.1f} % | "
                f"{more / 12:,.0f} | {a['min_period_ps']:,.0f} | {slower:+,.0f} |"
            )
    return lines


def markdown(data: dict[str, Any]) -> str:
    """Return the tables."""
    rows = {key(r): r for r in data["rows"]}
    error = model_error()
    floor = error.get((0, 0, "e4m3", "float32"))
    text = [
        "# Fused dot-product-add units: what fraction bits cost",
        "",
        "Written by `python reports/rtl/fused_dot.py`. Verilog of `rtl/cells/fused_dot.py`, pipelines of "
        f"{STAGES} stages with registered inputs and outputs, synthesised with yosys and abc to the NanGate 45 nm "
        "open cell library, typical corner; no wires, no clock tree, no placement. Every row: RTL and mapped "
        f"netlist equal to `lutscape.sim.mma.Custom` on {VECTORS:,} vectors each, all functional bins reached.",
        "",
        "## F = 25 instead of 13",
        "",
        "Area in µm², period in ps; *per bit*: of F.",
        "",
        "| unit | area, F = 13 | area, F = 25 | more | | per bit | period, F = 13 | more |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *answer(rows),
        "",
        "## All designs",
        "",
        "Area without registers in brackets. KL: nats per token of SmolLM2-135M with every linear layer on this unit, "
        "to exact sums of the same FP8 operands (`reports/mma/accuracy.json`, ± one standard error)"
        + (f"; float32 sums give {floor['value']:.4f}." if floor else "."),
        "",
        "| L | F | format | rounding | arithmetic of | area µm² | registers | min. period ps | KL to exact sums |",
        "|---:|---:|---|---|---|---:|---:|---:|---:|",
    ]
    order = sorted(rows.values(), key=lambda r: (r["format"], r["L"], r["rounding"], r["F"]))
    for r in order:
        kl = error.get(key(r))
        shown = f"{kl['value']:.4f} ± {kl['error']:.4f}" if kl else ""
        logic = r["area_um2"] - r["register_area_um2"]
        text.append(
            f"| {r['L']} | {r['F']} | {r['format']} | {r['rounding']} | {r['machine']} | {r['area_um2']:,.0f} "
            f"({logic:,.0f}) | {r['registers']} | {r['min_period_ps']:,.0f} | {shown} |"
        )
    shown_rows = [r for r in order if r["machine"]]
    kinds = ["product", "decode", "largest", "align", "sum", "round"]
    text += [
        "",
        "## Where the area is",
        "",
        "µm² of each block's own cells, synthesised block by block, which hinders sharing: in sum more than the areas "
        "above. *other*: registers, handshake, special values.",
        "",
        "| arithmetic of | " + " | ".join([*kinds, "other"]) + " |",
        "|---|" + "---:|" * (len(kinds) + 1),
    ]
    for r in shown_rows:
        areas = {k.removeprefix("fused_dot_"): v for k, v in r["block_area_um2"].items()}
        areas["round"] = areas.get("round", 0) + areas.pop("leading_zeros", 0)
        rest = sum(v for k, v in areas.items() if k not in kinds)
        cells = [f"{areas.get(k, 0):,.0f}" for k in kinds]
        text.append(f"| {r['machine']} | {' | '.join(cells)} | {rest:,.0f} |")
    return "\n".join(text) + "\n"


def main() -> None:
    """Measure what is missing, in order."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only designs whose module name contains this")
    parser.add_argument("--period-ps", type=float, default=2000.0)
    options = parser.parse_args()
    data = load()
    data |= {"command": "python reports/rtl/fused_dot.py", "lutscape": __version__, "grade": "synthesised"}
    for group, L, F, form, rounding, e_zero in POINTS:
        cell = fused_dot.unit(Unit.model_validate({
            "products": L, "fraction_bits": F, "input": form, "rounding": rounding, "e_zero": e_zero, "stages": STAGES,
        }))  # fmt: skip
        if options.only not in cell.name:
            continue
        digest = hashlib.sha256(cell.verilog().encode()).hexdigest()
        old = {r["module"]: r for r in data["rows"]}.get(cell.name)
        if old and old["verilog_sha256"] == digest and old["target_period_ps"] == options.period_ps:
            continue
        row = measure(group, L, F, form, rounding, e_zero, options.period_ps)
        data["rows"] = [r for r in data["rows"] if r["module"] != cell.name] + [row]
        store(data)
        print(f"{row['module']}: {row['area_um2']:,.0f} um2, {row['min_period_ps']:,.0f} ps, verified "
              f"{row['verified']}, gates {row['gates_verified']}, {row['seconds']} s", flush=True)  # fmt: skip
    store(data)


if __name__ == "__main__":
    main()
