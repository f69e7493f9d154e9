"""The PPA report of a unit: its Verilog proven, synthesised, timed and powered, beside the multiplier baseline."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lutscape.explore import rtl_cells_report, rtl_figures
from lutscape.explore.papers.frame import (
    AGREES,
    DIFFERS,
    Cell,
    Figure,
    Listing,
    Page,
    Section,
    Table,
    Text,
    Tile,
    draw,
    render,
)
from lutscape.explore.rtl_measured import CURVE_ELEMENTS, Options, Say, measured
from lutscape.explore.text import plain, quantity, ratio, significant
from lutscape.hw.errors import UserError
from lutscape.hw.machines.fused_dot import FusedDotSpec
from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
from lutscape.hw.provenance import Grade
from lutscape.hw.spec import Spec
from lutscape.rtl import waves

PATH_STEPS = 40
"""Longest critical path printed whole."""


def write(spec: Spec, directory: Path, options: Options, say: Say) -> Path:
    """Measure a spec's unit and write report, numbers, Verilog and netlist into a directory.

    Raises:
        UserError: as verification and synthesis, or a file that cannot be written.
    """
    if isinstance(spec, FusedDotSpec | LutTensorCoreSpec):
        data, files = measured(spec, options, say)
        html = render(page(data))
    else:
        data, files = rtl_cells_report.measured(spec, options, say)
        html = render(rtl_cells_report.page(data))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in {
            "report.json": json.dumps(data, indent=1) + "\n", "index.html": html, **files,
        }.items():  # fmt: skip
            temporary = directory / f".{name}.tmp"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, directory / name)
    except OSError as error:
        raise UserError(f"{directory}: cannot write: {error.strerror}") from None
    return directory / "index.html"


def page(data: dict[str, Any]) -> Page:
    """Lay the numbers out."""
    unit, other = data["unit"], data["baseline"]
    top, passed = data["cell"], all(v["passed"] for v in data["verification"])
    met = unit["min_period_ps"] <= unit["target_period_ps"] * 1.0005
    proof = "equal their golden models bit for bit, with the cycles of the timing model"
    if not passed:
        proof = "were run against their golden models: NOT all of them pass"
    lead = (
        f"{len(data['cells'])} cells {proof}. "
        f"Mapped to {unit['library']}, the unit takes {significant(unit['area_um2'])} µm² and reaches "
        f"{quantity(unit['min_period_ps'] * 1e-12, 's')}"
        + ("" if met else f", slower than the {quantity(unit['target_period_ps'] * 1e-12, 's')} asked for")
        + f"; a multiply-accumulate costs {quantity(unit['energy_per_mac_fj'] * 1e-15, 'J')} on {unit['operands']}."
    )
    if other:
        lead += (
            f" Multipliers of equal throughput take {ratio(_per_mac(other), _per_mac(unit))} the area and "
            f"{ratio(other['energy_per_mac_fj'], unit['energy_per_mac_fj'])} the energy."
        )
    return Page(
        title=f"{data['spec']['name']}: {top['kind'].replace('_', ' ')}",
        citation=data["spec"]["description"] or top["name"],
        lead=lead,
        tiles=_tiles(data),
        sections=[
            _structure(data), _verification(data), _area(data), _timing(data), _power(data),
            *([_against(data)] if other else []), _limits(data),
        ],
        command=data["command"],
        versions=data["versions"],
        kicker="one unit, proven and priced",
    )  # fmt: skip


def _per_mac(row: dict[str, Any]) -> float:
    """µm² per multiply-accumulate per cycle."""
    return float(row["area_um2"] / row["macs_per_cycle"])


def _grade(data: dict[str, Any]) -> dict[str, Any]:
    return {"grade": Grade.SYNTHESISED, "source": f"yosys and abc, {data['unit']['library']}"}


def _tiles(data: dict[str, Any]) -> list[Tile]:
    unit = data["unit"]
    beats = sum(sum(v["beats"].values()) for v in data["verification"])
    found = [
        Tile(f"{significant(unit['area_um2'])} µm²", "area of the library cells", **_grade(data)),
        Tile(quantity(unit["min_period_ps"] * 1e-12, "s"), "shortest clock period", **_grade(data)),
        Tile(quantity(unit["total_w"], "W"), f"power at {quantity(unit['period_ps'] * 1e-12, 's')}", **_grade(data)),
        Tile(quantity(unit["energy_per_mac_fj"] * 1e-15, "J"), "energy per MAC", **_grade(data)),
        Tile(f"{beats}", "output beats checked at full rate, each with its cycle", Grade.MEASURED, "RTL simulation"),
    ]
    return found


def _structure(data: dict[str, Any]) -> Section:
    top = data["cell"]
    ports = [[d, f"`{c}_{f}`", str(n), str(w), "signed" if s else "", m] for d, c, f, n, w, s, m in top["ports"]]
    clocked = "" if top["clocked"] else " The cell is combinational."
    parameters = ", ".join(f"{k} = {plain(v)}" for k, v in top["parameters"].items())
    blocks: list[Any] = [
        Figure(data["diagram"], "The unit and the cells inside it. A beat moves when valid and ready are high."),
        Text(f"`{top['name']}`: {parameters}. Numbers: {top['numbers']}.{clocked}"),
        Table(["direction", "signal", "lanes", "bits each", "", "meaning"], ports, left=[1, 4, 5]),
    ]
    if top["formula"]:
        blocks.append(Text(f"Cycles: {top['formula']}. The bench asserts them beat by beat.", "note"))
    if data["wave"]:
        recorded = [waves.Wave(n, w, tuple(v)) for n, w, v in data["wave"]]
        svg = draw(lambda ax: rtl_figures.waveform(ax, recorded, data["signed"]), 8.6, 0.34 * len(recorded) + 0.5)
        caption = "The first beats of one operation from reset, one column per cycle; of signed buses the lowest lane."
        blocks.append(Figure(svg, caption))
    return Section("Structure", blocks)


def _verification(data: dict[str, Any]) -> Section:
    rows: list[list[Cell | str]] = []
    for v in data["verification"]:
        hit = sum(1 for n in v["coverage"].values() if n)
        rows.append(
            [
                f"`{v['cell']}`",
                Cell(plain(sum(v["beats"].values())), Grade.MEASURED, v["simulator"]),
                Cell(str(len(v["mismatches"])), verdict=DIFFERS if v["mismatches"] else AGREES),
                Cell("as the formula" if not v["late"] else "differ", verdict=DIFFERS if v["late"] else AGREES),
                Cell(f"{hit} of {len(v['coverage'])}", verdict=AGREES if hit == len(v["coverage"]) else DIFFERS),
                f"{v['seconds']:.1f} s",
            ]
        )
    unit = data["unit"]
    gates = (
        f"The mapped netlist computed {plain(unit['gate_level_values'])} values of the operand streams; "
        f"{unit['gate_level_mismatches']} differ from the golden model."
    )
    bins = [[n, plain(h)] for v in data["verification"][-1:] for n, h in v["coverage"].items()]
    return Section(
        "Verification",
        [
            Table(["cell", "output beats", "mismatches", "cycles", "coverage bins", "time"], rows),
            Text(f"{gates} Stimulus is random with corners; at full rate, with stalls, with resets in flight."),
            Table(["bin of the unit", "hits"], bins, folded="Functional coverage", narrow=True),
        ],
    )


def _area(data: dict[str, Any]) -> Section:
    unit = data["unit"]
    total = sum(b["area_um2"] for b in unit["blocks"].values()) or 1.0
    rows: list[list[Cell | str]] = [
        [f"`{n}`", plain(b["instances"]), Cell(significant(b["area_um2"]), **_grade(data)),
         f"{100 * b['area_um2'] / total:.1f} %", plain(b["registers"])]
        for n, b in sorted(unit["blocks"].items(), key=lambda r: -r[1]["area_um2"])
    ]  # fmt: skip
    kinds = [[f"`{n}`", plain(c), significant(a), f"{100 * a / unit['area_um2']:.1f} %"] for n, c, a in unit["by_cell"]]
    return Section(
        "Area",
        [
            Text(
                f"{significant(unit['area_um2'], 4)} µm² in {plain(unit['gates'])} cells, of which "
                f"{plain(unit['registers'])} flip-flops take {significant(unit['register_area_um2'], 4)} µm²."
            ),
            Table(
                ["block", "instances", "µm²", "share", "flip-flops"], rows,
                caption=f"Synthesised block by block: {significant(total, 4)} µm² in sum, more than the flat netlist, "
                "because nothing is shared across borders. Parts of a block are not counted in it.",
            ),
            Table(
                ["library cell", "instances", "µm²", "share"], kinds,
                folded="Largest kinds of library cells", narrow=True,
            ),
        ],
    )  # fmt: skip


def _timing(data: dict[str, Any]) -> Section:
    unit = data["unit"]
    blocks: list[Any] = []
    if data["curve"]:
        svg = draw(lambda ax: rtl_figures.area_delay(ax, data["curve"]), 8.6, 2.9)
        text = "Area against the period reached, for targets from 0.5 to 2.5 periods of the spec."
        if any(name != data["cell"]["name"] for name in data["curve"]):
            text += f" For arrays of at most {CURVE_ELEMENTS} elements: larger ones repeat their columns."
        blocks.append(Figure(svg, text))
    steps = unit["path"]
    shown = steps if len(steps) <= PATH_STEPS else [*steps[: PATH_STEPS // 2], *steps[-PATH_STEPS // 2 :]]
    rows = [[f"`{i[-48:]}`", f"`{c}`", p, e, f"{d:.0f}", f"{t:.0f}", f"{a:.0f}"] for i, c, p, e, d, t, a in shown]
    path = Table(
        ["instance", "cell", "pin", "edge", "delay, ps", "transition, ps", "arrival, ps"], rows, left=[1, 2, 3],
        folded=f"Critical path: {len(steps)} steps, {unit['min_period_ps']:.0f} ps with set-up",
    )  # fmt: skip
    note = f"Ideal clock, {unit['driving_cell']} before every input, {unit['load_ff']:g} fF on every output, no wires."
    return Section("Timing", [*blocks, path, Text(note, "note")])


def _power(data: dict[str, Any]) -> Section:
    rows, unit = data["activity"], data["unit"]
    clock = quantity(unit["period_ps"] * 1e-12, "s")
    labels = [r["label"] for r in rows]
    parts = {k: [r[k] * 1e3 for r in rows] for k in ("internal", "switching", "leakage")}
    svg = draw(lambda ax: rtl_figures.power_stack(ax, labels, parts, "mW"), 8.6, 2.7)
    groups = [
        [g, *(Cell(quantity(v[k], "W"), **_grade(data)) for k in ("internal", "switching", "leakage")),
         quantity(sum(v.values()), "W")]
        for g, v in unit["groups"].items()
    ]  # fmt: skip
    return Section(
        "Power",
        [
            Figure(svg, f"Power at {clock} when every net toggles so often per cycle, and on the operands."),
            Table(["cells", "internal", "switching", "leakage", "total"], groups, narrow=True),
            Text(f"Operands: {unit['operands']}. {unit['macs_per_cycle']:.3g} MACs per cycle.", "note"),
        ],
    )


def _against(data: dict[str, Any]) -> Section:
    unit, other = data["unit"], data["baseline"]
    grade = _grade(data)
    measures: tuple[tuple[str, Callable[[Any], float], Callable[[float], str]], ...] = (
        ("area, µm²", lambda r: r["area_um2"], significant),
        ("area per MAC per cycle, µm²", _per_mac, significant),
        ("flip-flops, µm²", lambda r: r["register_area_um2"], significant),
        ("shortest period", lambda r: r["min_period_ps"] * 1e-12, lambda v: quantity(v, "s")),
        ("power", lambda r: r["total_w"], lambda v: quantity(v, "W")),
        ("energy per MAC", lambda r: r["energy_per_mac_fj"] * 1e-15, lambda v: quantity(v, "J")),
    )
    rows: list[list[Cell | str]] = [
        ["MACs per cycle", f"{unit['macs_per_cycle']:.3g}", f"{other['macs_per_cycle']:.3g}", ""]
    ]
    for label, f, show in measures:
        rows.append([label, Cell(show(f(unit)), **grade), Cell(show(f(other)), **grade), ratio(f(other), f(unit))])
    a = other["array"]
    text = (
        f"The baseline has {a['m']} x {a['n']} x {a['k']} multipliers of INT{a['activation_bits']} x "
        f"{a['multiplier_weight_bits']}-bit weights, the same accumulators and the same interface. The unit's table "
        "registers and table builder are charged to it."
    )
    return Section(
        f"Beside multipliers, {data['weight_bits']}-bit weights",
        [Text(text), Table(["", "this unit", "multipliers", "multipliers / unit"], rows, narrow=True)],
    )


def _limits(data: dict[str, Any]) -> Section:
    text = (
        "No placement, no wires, no clock tree, one corner; zero-delay activity misses glitches. Ratios between units "
        "of one library and recipe are firmer than absolute numbers."
    )
    header = f"spec digest {data['digest']}\ntop         {data['cell']['name']}\nnetlist     {data['unit']['key']}"
    return Section("What is left out", [Text(text, "note"), Listing(header)])
