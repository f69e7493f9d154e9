"""The PPA report of a design cell by cell: LUT-DLA, L-Units with their ROM.

Every cell is verified; those that are logic are mapped, timed and powered at a uniform activity. Memories are left to
the models of :mod:`lutscape.hw.memory`, and a ROM is cut to :data:`ROM_WORDS` words: its contents are weights, which a
design does not have before it has a model (``lutscape roma rom`` writes those).
"""

from __future__ import annotations

import json
from typing import Any

from lutscape.explore import rtl_figures
from lutscape.explore.papers.frame import (
    AGREES,
    DIFFERS,
    Cell,
    Figure,
    Page,
    Section,
    Table,
    Text,
    Tile,
    draw,
)
from lutscape.explore.rtl_measured import Options, Say, described, report_command, tool_versions
from lutscape.explore.text import plain, quantity, significant
from lutscape.hw import spec as hardware
from lutscape.hw.machines.roma import RomaSpec
from lutscape.hw.provenance import Grade
from lutscape.hw.spec import Spec
from lutscape.rtl import catalogue, measure, power, simulators, synth, verify

ROM_WORDS = 16
"""Words of a ROM that is built."""
ROM_GROUP = 32
"""Weights of an L-Unit that is mapped: its arithmetic repeats with every weight, and 128 of them take minutes."""
ACTIVITY = 0.2
"""Toggles per net and cycle."""


def shrunk(spec: Spec) -> tuple[Spec, str]:
    """Return the spec that is built, and what was cut from it, in words."""
    if isinstance(spec, RomaSpec) and spec.l_unit.rom_words > ROM_WORDS:
        cut = f"ROM of {spec.l_unit.rom_words} words cut to {ROM_WORDS}"
        return hardware.override(spec, {"l_unit.rom_words": ROM_WORDS}), cut
    return spec, ""


def mapped(spec: Spec) -> tuple[Spec, str]:
    """Return the spec whose cells are mapped, and what was cut from the verified one, in words."""
    if isinstance(spec, RomaSpec) and spec.l_unit.group > ROM_GROUP:
        cut = f"mapped with {ROM_GROUP} of {spec.l_unit.group} weights a word, verified with all"
        return hardware.override(spec, {"l_unit.group": ROM_GROUP}), cut
    return spec, ""


def measured(spec: Spec, options: Options, say: Say) -> tuple[dict[str, Any], dict[str, str]]:
    """Return every number of the report, and the Verilog and netlist files by name.

    Raises:
        UserError: as verification and synthesis.
    """
    built, cut = shrunk(spec)
    sliced, more = mapped(built)
    cut = "; ".join(text for text in (cut, more) if text)
    found = catalogue.cells(built)
    top = found[-1]
    period = options.period_ps or 1e6 / spec.clock_mhz
    proofs = []
    for cell in found:
        say(f"{cell.name}: verify")
        simulator = simulators.suited(cell)
        proofs.append(verify.verify(cell, vectors=options.vectors, seed=options.seed, simulator=simulator))
    rows, files, versions = [], {f"{top.name}.v": top.verilog()}, {}
    for cell in catalogue.synthesised(sliced):
        say(f"{cell.name}: synthesis")
        s = synth.synthesise(
            cell.verilog(), cell.name, options.libraries, period_ps=period, driving_cell=options.driving_cell,
            load_ff=options.load_ff,
        )  # fmt: skip
        report = s.timing(max(period, s.min_period_ps))
        used = power.power(
            report.linked.netlist, report.linked.library, ACTIVITY, max(period, s.min_period_ps), report,
            clock="clk" if "clk" in report.linked.netlist.inputs else None, states=measure.STATES,
        )  # fmt: skip
        files[f"{cell.name}.mapped.v"] = s.netlist
        versions = dict(s.versions)
        rows.append({
            "cell": cell.name, "kind": cell.kind, "area_um2": s.area_um2, "gates": s.gates, "registers": s.registers,
            "min_period_ps": s.min_period_ps, "met": s.min_period_ps <= period * 1.0005, "library": s.library,
            "total_w": used.internal_w + used.switching_w + used.leakage_w, "leakage_w": used.leakage_w,
            "recipe": s.recipe,
        })  # fmt: skip
    data = {
        "schema_version": 1,
        "form": "cells",
        "versions": {**tool_versions(), **versions, "simulator": proofs[-1].simulator},
        "spec": json.loads(spec.model_dump_json()),
        "digest": spec.digest(),
        "cut": cut,
        "target_period_ps": period,
        "cell": described(top),
        "cells": [described(c) for c in found],
        "verification": [p.as_dict() for p in proofs],
        "synthesis": rows,
        "diagram": draw(lambda ax: rtl_figures.block_diagram(ax, top), 8.6, 3.2),
        "command": report_command(spec, options),
    }
    return data, files


def page(data: dict[str, Any]) -> Page:
    """Lay the numbers out."""
    rows, top = data["synthesis"], data["cell"]
    passed = all(v["passed"] for v in data["verification"])
    slowest = max(rows, key=lambda r: r["min_period_ps"])
    largest = max(rows, key=lambda r: r["area_um2"])
    proof = "equal their golden models bit for bit, with the cycles of the timing model"
    if not passed:
        proof = "were run against their golden models: NOT all of them pass"
    beats = sum(sum(v["beats"].values()) for v in data["verification"])
    grade: dict[str, Any] = {"grade": Grade.SYNTHESISED, "source": f"yosys and abc, {rows[0]['library']}"}
    tiles = [
        Tile(f"{significant(largest['area_um2'])} µm²", f"largest mapped cell, {largest['kind']}", **grade),
        Tile(quantity(slowest["min_period_ps"] * 1e-12, "s"), f"slowest mapped cell, {slowest['kind']}", **grade),
        Tile(f"{beats}", "output beats checked at full rate, each with its cycle", Grade.MEASURED, "RTL simulation"),
    ]
    cut = f" For this report: {data['cut']}." if data["cut"] else ""
    return Page(
        title=f"{data['spec']['name']}: {top['kind'].replace('_', ' ')}",
        citation=data["spec"]["description"] or top["name"],
        lead=f"{len(data['cells'])} cells {proof}.{cut}",
        tiles=tiles,
        sections=[_structure(data), _verification(data), _synthesis(data, grade)],
        command=data["command"],
        versions=data["versions"],
        kicker="one unit, proven and priced",
    )


def _structure(data: dict[str, Any]) -> Section:
    top = data["cell"]
    ports = [[d, f"`{c}_{f}`", str(n), str(w), "signed" if s else "", m] for d, c, f, n, w, s, m in top["ports"]]
    parameters = ", ".join(f"{k} = {plain(v)}" for k, v in top["parameters"].items())
    blocks: list[Any] = [
        Figure(data["diagram"], "The top cell and the cells inside it."),
        Text(f"`{top['name']}`: {parameters}. Numbers: {top['numbers']}."),
        Table(["direction", "signal", "lanes", "bits each", "", "meaning"], ports, left=[1, 4, 5]),
    ]
    if top["formula"]:
        blocks.append(Text(f"Cycles: {top['formula']}.", "note"))
    return Section("Structure", blocks)


def _verification(data: dict[str, Any]) -> Section:
    rows: list[list[Cell | str]] = []
    for v in data["verification"]:
        hit = sum(1 for n in v["coverage"].values() if n)
        rows.append([
            f"`{v['cell']}`",
            Cell(plain(sum(v["beats"].values())), Grade.MEASURED, v["simulator"]),
            Cell(str(len(v["mismatches"])), verdict=DIFFERS if v["mismatches"] else AGREES),
            Cell("as the formula" if not v["late"] else "differ", verdict=DIFFERS if v["late"] else AGREES),
            Cell(f"{hit} of {len(v['coverage'])}", verdict=AGREES if hit == len(v["coverage"]) else DIFFERS),
            f"{v['seconds']:.1f} s",
        ])  # fmt: skip
    heads = ["cell", "output beats", "mismatches", "cycles", "coverage bins", "time"]
    return Section("Verification", [Table(heads, rows)])


def _synthesis(data: dict[str, Any], grade: dict[str, Any]) -> Section:
    rows: list[list[Cell | str]] = [
        [f"`{r['cell']}`", Cell(significant(r["area_um2"]), **grade), plain(r["gates"]), plain(r["registers"]),
         Cell(quantity(r["min_period_ps"] * 1e-12, "s"), **grade, small="" if r["met"] else "slower than asked"),
         Cell(quantity(r["total_w"], "W"), **grade), Cell(quantity(r["leakage_w"], "W"), **grade)]
        for r in data["synthesis"]
    ]  # fmt: skip
    period = quantity(data["target_period_ps"] * 1e-12, "s")
    text = (
        f"Each cell alone, asked for {period}; power at that clock, or the one reached, with every net toggling "
        f"{ACTIVITY:g} times a cycle. Cells contain the cells above them. Ideal clock, no wires; memories are priced "
        "by `lutscape rtl memory`, not mapped."
    )
    heads = ["cell", "µm²", "gates", "flip-flops", "shortest period", "power", "of it leakage"]
    return Section("Area, delay, power", [Text(text), Table(heads, rows)])
