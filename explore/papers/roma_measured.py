"""Sections of the ROMA page from long runs (``reports/roma``): block ROM on real weights, bits, accuracy, faults."""

from __future__ import annotations

from typing import Any

from lutscape.explore.papers.frame import Cell, Section, Table, Text
from lutscape.explore.papers.roma_sections import Rows, ours, theirs
from lutscape.explore.text import significant
from lutscape.hw.provenance import Grade

SYNTHESISED = "mapped standard cells; reports/roma/brom.py"


def block_rom(data: dict[str, Any]) -> Section:
    """Block ROM against plain ROM on the weights of SmolLM2."""
    found = data["brom"]
    title = "B-ROM on real weights: transistors and synthesis"
    if found is None:
        return Section(title, [Text("Not measured here: run `reports/roma/brom.py`.", "note")])
    t = found["transistors"]
    counts: Rows = [
        [str(r["mux"]), ours(f"{r['standard_per_bit']:.3f}"), ours(f"{r['block_per_bit']:.3f}"),
         ours(f"{r['saving']:.1%}"), theirs(f"{t['claim']:.0%}", "area of B-ROM")]
        for r in t["rows"]
    ]  # fmt: skip
    plain = {(r["library"], r["depth"], r["width"]): r for r in found["roms"] if r["form"] == "standard"}
    roms: Rows = []
    for r in found["roms"]:
        base = plain[r["library"], r["depth"], r["width"]]
        roms.append(
            [
                r["library"], f"{r['depth']:,} x {r['width']}", r["form"],
                ours(f"{significant(r['area_um2_per_bit'])} µm²", Grade.SYNTHESISED, SYNTHESISED),
                ours(f"{r['area_um2'] / base['area_um2'] - 1:+.1%}", Grade.SYNTHESISED, SYNTHESISED),
                ours(f"{significant(r['energy_fj_per_bit'])} fJ", Grade.SYNTHESISED, SYNTHESISED),
                theirs("-40 %", "area of B-ROM") if r["form"] == "block" else "",
            ]
        )  # fmt: skip
    units: Rows = [
        [
            r["library"], f"{r['words']:,} x {r['group']} weights", r["form"],
            ours(f"{significant(r['compute_area_um2'] / r['group'])} µm²", Grade.SYNTHESISED, SYNTHESISED),
            ours(f"{significant(r['rom_area_um2'] / r['words'] / r['group'])} µm²", Grade.SYNTHESISED, SYNTHESISED),
            ours(f"{r['area_um2'] / (r['rom_area_um2'] + r['compute_area_um2']) - 1:+.1%}", Grade.SYNTHESISED,
                 SYNTHESISED),
            ours(f"{1e3 * r['energy_pj_per_row'] / r['group']:.0f} fJ", Grade.SYNTHESISED, SYNTHESISED),
        ]
        for r in found["units"]
    ]  # fmt: skip
    bounds = t["area_bounds"]
    block = [(r, plain[r["library"], r["depth"], r["width"]]) for r in found["roms"] if r["form"] == "block"]
    areas, energies = (
        f"{min(r[k] / b[k] - 1 for r, b in block):+.0%} to {max(r[k] / b[k] - 1 for r, b in block):+.0%}"
        for k in ("area_um2", "energy_pj_per_read")
    )
    blocks: list[Table | Text] = [
        Text(
            f"Words of block {found['layer']} of {found['model']}, 4 bits in two planes. The claim of 40 % is one of "
            f"layout area, and of a compiled macro. Counting its transistors gives a larger saving; cells of a quarter "
            f"the size alone would save {bounds['quarter_cells']:.0%} of a macro's area, and the rest must come from "
            f"its periphery. As standard cells the block form changes area by {areas} and energy of a read by "
            f"{energies}: nothing is stored there, synthesis finds the functions of the words from either form."
        ),
        Table(["words in a row", "plain, transistors a bit", "block, transistors a bit", "saved", "paper"], counts,
              narrow=True, caption=f"A macro of {t['depth']:,} words x {t['width']} bits, counted part by part."),
        Table(["library", "words x bits", "form", "a bit", "area against plain", "a bit read", "paper"], roms,
              left=(1, 2), folded="The same words as standard cells, by depth and library"),
    ]  # fmt: skip
    if units:
        columns = ["library", "tile", "form", "arithmetic, a weight", "ROM, a weight", "flattened against apart",
                   "a weight read and multiplied"]  # fmt: skip
        small = [r for r in found["units"] if r["node_nm"] == 7 and r["form"] == "standard"]
        caption = (
            "A tile of the L-Unit in standard cells, 4-bit weights in two words of 2 bits. Published for the cell laid "
            "out over its arithmetic: 13.5 % less than side by side."
        )
        if small:
            um2, each = (small[0][k] / small[0]["group"] for k in ("compute_area_um2", "energy_pj_per_row"))
            caption += (
                f" At 7 nm the arithmetic of 128 weights comes to {0.128 * um2:.1f} k µm² of cells, no wires, a part "
                "of the 9.95 k µm² that follow from Fig. 12 (which may hold more: alignment, utilisation, wider "
                f"operands); a word of 128 x 2 bits takes {64 * each:.1f} pJ against the 13.6 pJ of the published unit "
                "power."
            )
        blocks.append(Table(columns, units, left=(2,), caption=caption))
    return Section(title, blocks)


def bits(data: dict[str, Any]) -> Section:
    """ROMs written and read back, an L-Unit on real activations."""
    found = data["golden"]
    title = "Bits: ROMs of a model, written and read back"
    if found is None:
        return Section(title, [Text("Not measured here: run `reports/roma/golden.py`.", "note")])
    rows: Rows = []
    for what, row in found["times"].items():
        size = f"{row['bits'] / 8e6:.1f} MB in {row['words']:,} words" if "bits" in row else str(row.get("said", ""))
        rows.append([what, Cell(f"{row['seconds']:.1f} s", Grade.MEASURED, "wall clock"),
                     Cell(f"{row['cpu_seconds']:.1f} s", Grade.MEASURED, "processor time"), size])  # fmt: skip
    u = found["l_unit"]
    same = u["outputs_equal_golden_layer"] and not u["failures"]
    equal = "equal to the golden layer bit for bit" if same else "some differ from the golden layer"
    load = ", ".join(f"{x:g}" for x in found["load"])
    return Section(
        title, [
            Text(f"`lutscape roma rom` and `lutscape roma verify` on {found['model']}. An L-Unit in Verilog "
                 f"({u['simulator']}) on words and activations of {u['layer']}: {u['results_checked']} results, "
                 f"{equal}."),
            Table(["step", "wall clock", "processor", "of"], rows, left=(3,), narrow=True,
                  caption=f"{found['cpus']} processors, load {load} while it ran."),
        ],
    )  # fmt: skip


def accuracy(data: dict[str, Any]) -> Section:
    """What was measured in the executor: accuracy of ROM formats, and faults."""

    def mean(value: dict[str, float] | None, form: str) -> str:
        return "–" if value is None else f"{value['value']:{form}} ± {value['error']:{form}}"

    blocks: list[Text | Table] = []
    found = data["accuracy"]
    if found is None:
        blocks.append(
            Text("Perplexity of SmolLM2 in ROM is not measured here: run `reports/roma/accuracy.py`.", "note")
        )
    else:
        rows: Rows = [
            [r["weights"], str(r.get("activation_bits", "fp32")), str(r.get("kv", "fp32")),
             f"{r['rank']} {r['adapter']}" if r.get("rank") else "none",
             Cell(mean(r["perplexity"], ".4g"), Grade.MEASURED, "golden model in the executor"),
             mean(r.get("kl"), ".4f")]
            for r in found["rows"]
        ]  # fmt: skip
        blocks += [
            Text(f"{found['model']} with all linear layers computed by the golden L-Unit, bit for bit; adapters from "
                 "the singular value decomposition of what rounding left, no training."),
            Table(["weights", "activation bits", "KV", "adapter rank", "perplexity", "KL to stored weights"], rows,
                  left=(3,),
                  caption=f"{found['windows']} windows of {found['context']} tokens; reports/roma/accuracy.py."),
        ]  # fmt: skip
    faults = data["faults"]
    if faults is None:
        blocks.append(Text("Faults are not measured here: run `reports/roma/faults.py`.", "note"))
    else:
        rows = [
            [r["structure"], f"{r['rate']:.0e}" if r["rate"] else "0", r["way"], f"{r['damage']['opens']:,}",
             f"{r['damage']['wrong_bits']:,}", Cell(mean(r["perplexity"], ".4g"), Grade.MEASURED, "golden model"),
             mean(r.get("kl"), ".4f")]
            for r in faults["rows"]
        ]  # fmt: skip
        blocks += [
            Text("The same model in a ROM with open connections: as read, with the adapter it has anyway, with the "
                 "adapter fitted to this die's faults, and with error correction."),
            Table(["structure", "chance", "way", "open", "wrong bits", "perplexity", "KL to stored weights"], rows,
                  left=(2,), caption="reports/roma/faults.py."),
        ]  # fmt: skip
    return Section("Accuracy and faults in a real model", blocks)
