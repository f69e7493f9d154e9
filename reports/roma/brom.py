"""Block ROM against plain ROM on the weights of SmolLM2: transistors, and gates by synthesis.

Words are those of one block's linear layers, UInt4 in two planes of 274 bits. Three comparisons, each beside the
published saving of 40 % area:

    transistors   of compiled macros, counted part by part (:mod:`lutscape.rtl.brom_transistors`)
    logic         the same words as standard cells, in three written forms, over depths; area and energy of a read
    L-Unit        ROM and dot product as standard cells, apart and flattened into each other
    around        the alignment unit that serves a Matrix Unit's L-Units, and the decoder that SECDED words need

Writes brom.json and brom.md next to itself; synthesised rows come from the cache the second time.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from lutscape.hw.machines.roma import LUnit
from lutscape.models.registry import open_checkpoint
from lutscape.rtl import brom_layer, brom_transistors
from lutscape.rtl.brom_measure import Library, cell_row, rom_row, tile, unit_row
from lutscape.rtl.cells.align_unit import align_unit
from lutscape.rtl.cells.rom_cell import FORMS
from lutscape.rtl.cells.secded_decoder import secded_decoder
from lutscape.sim.roma.image import image, quantised_layers

HERE = Path(__file__).resolve().parent
TILES = ((64, 16), (256, 16), (1024, 16), (3328, 16), (128, 274))
UNIT, UNIT_WORDS = LUnit(group=32), 64
MUXES = (1, 4, 8)
ROM_CELL_UM2 = 0.009
"""A third of TSMC N7's 0.027 µm² SRAM cell (published in digests of arXiv 2503.12988, sec. II-C)."""
ROM_MACRO = 34.1
"""911,872 bits in 26.75 k µm²: 59.7, 36.7 and 26.0 k µm² of Fig. 12 (digest), block ROM at 60 % of plain (derived)."""


def transistors(words: Any) -> dict[str, Any]:
    """Return counts of a whole ROM, and what its words use."""
    depth, bits = len(words), LUnit().word_bits
    rows = []
    for mux in MUXES:
        plain, block = (brom_transistors.counts(form, depth, bits, mux) for form in ("standard", "block"))
        rows.append(
            {
                "mux": mux,
                "standard": plain.total,
                "block": block.total,
                "standard_per_bit": round(plain.per_bit, 4),
                "block_per_bit": round(block.per_bit, 4),
                "saving": round(brom_transistors.saving(plain, block), 4),
                "parts": {c.form: [asdict(p) for p in c.parts] for c in (plain, block)},
            }
        )
    return {
        "depth": depth,
        "width": bits,
        "rows": rows,
        "used": {k: round(v, 5) for k, v in brom_transistors.used(words, bits).items()},
        "area_bounds": {k: round(v, 4) for k, v in brom_transistors.area_bounds(ROM_CELL_UM2, ROM_MACRO).items()},
        "claim": brom_transistors.CLAIM,
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the report as text."""
    t = report["transistors"]
    bounds, used = t["area_bounds"], t["used"]
    lines = [
        "# Block ROM against plain ROM on real weights",
        "",
        f"Words of block {report['layer']} of {report['model']}, UInt4 in two planes of 274 bits. Published: 40 % less "
        "area (ROMA, arXiv 2503.12988, read from digests). Ours beside it; no row is a prediction of that number.",
        "",
        f"## Transistors of a macro of {t['depth']} words x {t['width']} bits (derived)",
        "",
        "| words in a row | plain | block | plain, a bit | block, a bit | saved | published (area) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in t["rows"]:
        lines.append(
            f"| {row['mux']} | {row['standard']} | {row['block']} | {row['standard_per_bit']} | {row['block_per_bit']} "
            f"| {row['saving']:.1%} | {t['claim']:.0%} |"
        )
    lines += ["", f"Parts at {t['rows'][1]['mux']} words in a row:", "", "| form | part | transistors | derivation |"]
    lines.append("|---|---|---|---|")
    for form, parts in t["rows"][1]["parts"].items():
        lines += [f"| {form} | {p['part']} | {p['transistors']} | {p['derivation']} |" for p in parts]
    lines += [
        "",
        f"Of the stored bits {used['ones']:.1%} are ones; {used['choices']:.1%} of the blocks choose a function other "
        f"than 0, and the choices carry {used['entropy_bits']:.2f} of 4 bits.",
        "",
        f"Area is another matter. Bit cells of {ROM_CELL_UM2} µm² (published) at the plain macro's {ROM_MACRO} Mb/mm² "
        f"(derived from published unit areas) fill {bounds['cells']:.1%} of the macro. Cells of a quarter the size "
        f"alone would save {bounds['quarter_cells']:.1%}; for 40 % another {bounds['periphery_needed']:.1%} of the "
        "rest (decoders, word-line drivers, sense amplifiers) must go as well. Four times fewer word lines let one "
        "expect that; none of the sources says how much.",
        "",
        "## The same words as standard cells (synthesised)",
        "",
        "| library | words x bits | form | µm² | µm² a bit | Mb/mm² | area against plain | fJ a bit read "
        "| energy against plain | ps |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    plain = {(r["library"], r["depth"], r["width"]): r for r in report["roms"] if r["form"] == "standard"}
    for row in report["roms"]:
        base = plain[row["library"], row["depth"], row["width"]]
        lines.append(
            f"| {row['library']} | {row['depth']} x {row['width']} | {row['form']} | {row['area_um2']:.1f} "
            f"| {row['area_um2_per_bit']:.5f} | {1 / row['area_um2_per_bit']:.1f} "
            f"| {row['area_um2'] / base['area_um2'] - 1:+.1%} "
            f"| {row['energy_fj_per_bit']:.2f} | {row['energy_pj_per_read'] / base['energy_pj_per_read'] - 1:+.1%} "
            f"| {row['min_period_ps']:.0f} |"
        )
    lines += [
        "",
        "As standard cells nothing is stored: synthesis finds the functions of the words again, whatever is written. "
        "Energy: consecutive addresses, without glitches and wires. Area: sum of cells, no wires and no utilisation; "
        "published macros at 7 nm hold 34 (plain) and 57 Mb/mm² (block, derived) with all their periphery, and TOM's "
        "logic ROM 120 (arXiv 2602.20662, digest).",
        "",
        "## L-Unit as standard cells (synthesised)",
        "",
        f"A tile: {UNIT.group} of the {LUnit().group} weights of a word, {UNIT_WORDS} words.",
        "",
        "| library | words | form | ROM µm² | arithmetic µm² | apart µm² | flattened µm² | flattened against apart "
        "| registers | pJ a row | ps |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in report["units"]:
        apart = row["rom_area_um2"] + row["compute_area_um2"]
        lines.append(
            f"| {row['library']} | {row['words']} | {row['form']} | {row['rom_area_um2']:.1f} "
            f"| {row['compute_area_um2']:.1f} | {apart:.1f} | {row['area_um2']:.1f} "
            f"| {row['area_um2'] / apart - 1:+.1%} | {row['registers']} | {row['energy_pj_per_row']:.2f} "
            f"| {row['min_period_ps']:.0f} |"
        )
    lines += [
        "",
        "Flattened, Yosys takes the choices of form block for a memory with a synchronous read and keeps registers for "
        "all of them: an artefact of the flow, seen in the number of registers. Form or has no such memory.",
        "",
        "Published for the cell laid out over its arithmetic: 26.0 to 22.5 k µm², 13.5 % less (Fig. 12, digest). "
        "Layout shares metal and base layers; synthesis can only share gates.",
        "",
        "## Around the L-Unit (synthesised)",
        "",
        "| library | cell | µm² | ps |",
        "|---|---|---|---|",
    ]
    for row in report["around"]:
        lines.append(f"| {row['library']} | {row['cell']} | {row['area_um2']:.1f} | {row['min_period_ps']:.0f} |")
    lines += [
        "",
        "Published L-Unit at 7 nm: 22.5 k µm² (Fig. 12, digest). SECDED adds ten bits to 274 (3.6 % of the ROM) and "
        "one decoder an L-Unit; an alignment unit serves the 64 L-Units of a Matrix Unit; here it aligns "
        f"{UNIT.group} activations.",
    ]
    return "\n".join(lines) + "\n"


def write(path: Path, text: str) -> None:
    """Write a file whole."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def main() -> None:
    """Count, synthesise and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--layer", type=int, default=0)
    parser.add_argument("--asap7", nargs="*", default=[], help="Liberty files of ASAP7; without, 45 nm alone")
    parser.add_argument("--output", type=Path, default=HERE / "brom.json")
    parser.add_argument("--render", action="store_true", help="write brom.md again from brom.json")
    options = parser.parse_args()
    if options.render:
        write(options.output.with_suffix(".md"), markdown(json.loads(options.output.read_text())))
        return
    checkpoint = open_checkpoint(options.model)
    made = brom_layer.build(checkpoint, brom_layer.Recipe(LUnit(), "uint4", (options.layer,)))
    libraries = [Library("Nangate45", 45, ("nangate45",), 4000.0)]
    if options.asap7:
        libraries.append(Library("ASAP7", 7, tuple(options.asap7), 3000.0))
    report: dict[str, Any] = {
        "model": checkpoint.shape.name,
        "source": checkpoint.source,
        "layer": options.layer,
        "transistors": transistors(made.roms()[0]),
        "roms": [],
        "units": [],
        "around": [],
    }
    old = json.loads(options.output.read_text()) if options.output.is_file() else {}
    same = all(old.get(key) == report[key] for key in ("source", "layer"))

    def add(kind: str, about: dict[str, Any], measure: Callable[[], dict[str, Any]]) -> None:
        rows = old.get(kind, []) if same else []
        known = [r for r in rows if all(r[k] == v for k, v in about.items())]
        report[kind].append(known[0] if known else measure())
        if not known:
            print(kind, *about.values(), report[kind][-1]["area_um2"], flush=True)
        write(options.output, json.dumps(report, indent=1) + "\n")

    tensors = quantised_layers(checkpoint, [f"layers.{options.layer}.q"], "uint4", UNIT.group)
    stored = image(UNIT, tensors).words[:UNIT_WORDS]
    for library in libraries:
        for depth, width in TILES:
            words = tile(made.words, made.unit.word_bits, depth, range(width))
            for form in FORMS:
                about = {"library": library.name, "depth": depth, "width": width, "form": form}
                add("roms", about, partial(rom_row, words, width, form, library))
    for library in libraries:
        for form in FORMS:
            about = {"library": library.name, "group": UNIT.group, "words": UNIT_WORDS, "form": form}
            add("units", about, partial(unit_row, UNIT, stored, 4, form, library))
        for cell in (secded_decoder(made.unit.word_bits), align_unit(UNIT)):
            about = {"library": library.name, "cell": cell.name}
            add("around", about, partial(cell_row, cell, library))
    write(options.output.with_suffix(".md"), markdown(report))


if __name__ == "__main__":
    main()
