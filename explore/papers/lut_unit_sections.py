"""Sections of the LUT Tensor Core page about units: the ladder of Table 2, K, tile shapes, small integers."""

from __future__ import annotations

from typing import Any

from lutscape.explore.papers import lut_published as published
from lutscape.explore.papers.frame import AGREES, DIFFERS, Cell, Figure, Section, Table, Text, draw
from lutscape.explore.papers.lut_sections import Rows, ours, theirs
from lutscape.hw import gates, technology
from lutscape.hw.provenance import Grade

SUMS = 2 * 64 * 16
"""Flip-flops that hold the sums of an M2N64 unit with 16-bit accumulators."""
STEP_WORDS = {
    "unpu": "UNPU: tables of 2^4 entries, builder inside",
    "reinterpretation": "+ weights ±1, half tables, index inverted online",
    "negation": "+ weights remapped offline",
    "fusion": "+ tables built by the producing operator: no builder",
}


def table_2(data: dict[str, Any]) -> Section:
    """The ladder from UNPU to the lookup array."""
    from lutscape.explore.papers.lut_tensor_core import ladder

    columns = [("Nangate45", "unpu-exact", "45 nm, UNPU exact"), ("Nangate45", "unpu", "45 nm, 8-bit tables"),
               ("ASAP7", "unpu-exact", "7 nm, UNPU exact"), ("ASAP7", "unpu", "7 nm, 8-bit tables")]  # fmt: skip
    found = [(label, ladder(data, library, first)) for library, first, label in columns]
    found = [(label, rows) for label, rows in found if rows]
    density: Rows = []
    power: Rows = []
    for step, area, ratio, milliwatts, saving in published.TABLE_2:
        row: list[Cell | str] = [
            STEP_WORDS[step], Cell(f"{ratio:.3f}", Grade.PUBLISHED, "Table 2", small=f"{area:,.0f} µm²")
        ]  # fmt: skip
        other: list[Cell | str] = [
            STEP_WORDS[step], Cell(f"{saving:.3f}", Grade.PUBLISHED, "Table 2", small=f"{milliwatts:.2f} mW")
        ]  # fmt: skip
        for _, rows in found:
            r = rows.get(step)
            near = r is not None and abs(r["density"] / ratio - 1) <= 0.10
            row.append(
                "–" if r is None else Cell(f"{r['density']:.3f}", Grade.SYNTHESISED, "ladder.json",
                                           AGREES if near else DIFFERS, small=f"{r['area_um2']:,.0f} µm²")
            )  # fmt: skip
            other.append(
                "–" if r is None else Cell(f"{r['power']:.3f}", Grade.SYNTHESISED, "gate simulation on SmolLM2 "
                                                                                   "operands",
                                           small=f"{r['power_mw']:.2f} mW, flip-flops {r['sequential_mw']:.2f}")
            )  # fmt: skip
        density.append(row)
        power.append(other)
    labels = [label for label, _ in found]
    return Section("Table 2: from UNPU to the lookup array", [
        Text("Every step is generated Verilog, M2N64K4, 2-bit weights in two passes, INT8 activations, 16-bit sums, "
             "one "
             "table builder; verified against the golden model at RTL and, on captured operands of SmolLM2, at gate "
             "level; synthesised with yosys and abc (45 nm at 500 MHz, 7 nm at 1 GHz). The paper does not say how wide "
             "UNPU's tables are. UNPU itself does not quantise tables: exact entries take 11 bits (*exact*); with 8 "
             "bits "
             "in every step only the ladder's own ideas remain.".replace("*", "")),
        Table(["density relative to UNPU", "paper, 28 nm", *labels], density, (),
              "Density: area of UNPU over area of the step."),
        Table(["power relative to UNPU", "paper, 28 nm", *labels], power, (),
              "At equal clock, full rate, on captured operands; without glitches, wires and clock tree. Flip-flops, "
              "half of "
              "our power, are nearly the same in every step. The paper's powers are those of its areas, step by step "
              "within 1 %: without switching activity (its scripts set none) power follows area."),
        Text(_absolute(data)),
        _without_sums(data),
    ])  # fmt: skip


def _absolute(data: dict[str, Any]) -> str:
    """Say how the areas compare when scaled to 28 nm, and what that leaves of the difference."""
    at28 = technology.load("28nm").gate_area_um2 / gates.NAND2_UM2
    here = {r["step"]: r["area_um2"] * at28 for r in data["ladder"] if r["library_name"] == "Nangate45"}
    paper = {step: area for step, area, *_ in published.TABLE_2}
    text = "Scaled from 45 to 28 nm by gate area our units stand beside the paper's: " + "; ".join(
        f"{words} {here[step]:,.0f} µm² ({100 * (here[step] / paper[at] - 1):+.0f} %)"
        for step, at, words in (
            ("unpu", "unpu", "UNPU with 8-bit tables"), ("unpu-exact", "unpu", "UNPU with exact tables"),
            ("reinterpretation", "reinterpretation", "half tables"), ("fusion", "fusion", "lookup array"),
        )
        if step in here
    )  # fmt: skip
    return (
        text + ". So the baseline agrees and the last steps are a little larger than the paper's. What all steps hold "
        "alike dilutes every ratio: 128 sums with their adders are half of our lookup array, and the paper does not "
        "say "
        "how wide its sums are (ours: 16 bits). The same netlists without them:"
    )


def _without_sums(data: dict[str, Any]) -> Table:
    rows: Rows = []
    here = {r["step"]: r for r in data["ladder"] if r["library_name"] == "Nangate45"}
    if not {"unpu", "fusion"} <= set(here):
        return Table(["accounting", "density"], [], ())
    flip_flop = here["fusion"]["register_area_um2"] / here["fusion"]["registers"]
    adder = 16 * 128 * gates.FULL_ADDER * gates.NAND2_UM2
    for label, out in (
        ("all cells", 0.0), ("without the sums' flip-flops", SUMS * flip_flop),
        ("without the sums' flip-flops and adders", SUMS * flip_flop + adder),
    ):  # fmt: skip
        row: list[Cell | str] = [label, f"{here['fusion']['area_um2'] - out:,.0f}"]
        for first in ("unpu-exact", "unpu"):
            base = here.get(first)
            for step in ("reinterpretation", "negation", "fusion"):
                row.append("–" if base is None or step not in here else ours(
                    f"{(base['area_um2'] - out) / (here[step]['area_um2'] - out):.3f}",
                    Grade.SYNTHESISED if not out else Grade.DERIVED))  # fmt: skip
        rows.append(row)
    caption = (
        "Sums: 128 of 16 bits. Flip-flops from the netlist, adders by gate count (derived). Paper: 1.317, 1.351, 1.440."
    )
    columns = ["counted", "lookup array, "
                          "µm²", "exact: reinterpretation", "negation", "fusion", "8 bits: reinterpretation",
               "negation", "fusion"]  # fmt: skip
    return Table(columns, rows, (), caption)


def tiles_and_k(data: dict[str, Any]) -> list[Section]:
    """Figures 11, 13 and 14."""
    units = data["units"]
    if not units:
        text = Text("Not yet measured: run reports/lut_tensor_core/units.py.", "warn")
        return [Section("Figures 11, 13, 14: K, weights, shapes", [text])]
    return [_k(units), _shapes(units)]


def _k(units: dict[str, Any]) -> Section:
    def plot(axes: Any) -> None:
        for format_, rows in units["k_optimum"].items():
            style = "--" if format_ == "INT8" else "-"  # INT16 and INT8 coincide
            axes[0].plot([r["k"] for r in rows], [r["density"] for r in rows], style, marker="o", lw=1.3, label=format_)
        axes[0].set(xlabel="K", ylabel="density, best = 1", ylim=(0, 1.05))
        axes[0].legend(frameon=False, fontsize=8)
        names = {"lut": "lookup", "lut-full": "conventional table", "add": "additions", "mac": "multipliers"}
        for kind, label in names.items():
            rows = units["dot_products"]
            axes[1].plot(
                [r["weight_bits"] for r in rows], [r[kind] for r in rows], marker="o", ms=3.5, lw=1.3, label=label
            )
        axes[1].set(xlabel="weight bits, FP16 activations", ylabel="area / multipliers", ylim=(0, 3))
        axes[1].legend(frameon=False, fontsize=8)

    rows: Rows = []
    for format_, found in units["k_optimum"].items():
        best = max(found, key=lambda r: r["density"])["k"]
        paper = {"INT8": "4", "INT16": "4", "FP16": "5, 4 close", "FP8": "5, 4 close"}[format_]
        row: list[Cell | str] = [format_, theirs(paper, "Fig. 11"), ours(str(best))]
        rows.append([*row, *(f"{r['density']:.2f}" for r in found)])
    synthesised = [
        u for u in units["rows"] if u["unit"] == "element" and u["datapath"] == "lut" and u["table_bits"] == 8
    ]
    whole = [u["area_um2"] + 16 * gates.FLIP_FLOP * gates.NAND2_UM2 for u in synthesised]
    small: Rows = [[str(u["k"]), ours(f"{u['area_um2']:.1f}", Grade.SYNTHESISED), f"{u['k'] / a * 1e3:.1f}"]
                   for u, a in zip(synthesised, whole, strict=True)]  # fmt: skip
    dp4, ratio = units["dp4"], technology.load("28nm").gate_area_um2 / gates.NAND2_UM2
    ks = [f"K = {r['k']}" for r in units["k_optimum"]["INT8"]]
    return Section("Figures 11 and 13: how many activations a table covers, and when lookup pays", [
        Text(f"One element at W1 with its sum, tables outside. Integer elements are synthesised; selection and "
             "addition "
             f"are fitted to them (factors {units['select']:.2f} and {units['add']:.2f} on gate counts, largest error "
             f"{100 * units['fit_error']:.0f} %). FP adders are synthesised fused dot-product units without their "
             f"products ({units['fp_add']['FP16']:,.0f} µm² for FP16). The wider and dearer the addition, the larger "
             "the best K."),
        Figure(draw(plot, 8.6, 2.9, 2), "Left: products per area by K. Right: DP4 units per product and cycle, four "
               "columns, by weight bits. Derived from synthesised parts."),
        Table(["activations", "best K, paper", "ours", *ks], rows, ()),
        Table(["K", "INT8 element, µm² (no sum register)", "products per 1000 µm² with it"], small, (), narrow=True,
              folded="Synthesised elements, 8-bit tables, 45 nm: single ones scatter by the fit's error, enough to "
              "put K = 5 before K = 4"),
        Text(f"Figure 12 prints 61.55 TFLOPs/mm² for DP4, W1 AFP16, at 1 GHz: 130 µm². One FP16 adder takes "
             f"{dp4['fp16_add']:,.0f} µm² at 45 nm, {dp4['fp16_add'] * ratio:,.0f} scaled to 28 nm: an FP16 sum does "
             "not fit. "
             f"An INT8 element does: {dp4['lut_int8']:,.0f} µm², {dp4['lut_int8'] * ratio:,.0f} scaled, with a "
             "16-bit sum; "
             f"{dp4['lut_int8_24'] * ratio:,.0f} with a 24-bit sum. The published number is that of INT8 tables, "
             "tables and "
             "scales outside."),
    ])  # fmt: skip


def _shapes(units: dict[str, Any]) -> Section:
    rows: Rows = []
    for p in units["panels"]:
        good = p["m2n64k4_excess"] <= 1.10
        rows.append(
            [
                f"W{p['weight_bits']} A {p['activation']}", ours("M{}N{}K{}".format(*p["lut"]["shape"])),
                Cell(f"{p['m2n64k4_excess']:.2f}×", Grade.DERIVED, verdict=AGREES if good else DIFFERS),
                ", ".join("M{}N{}K{} {:.2f}".format(*r["shape"], r["excess"]) for r in p["ranking"][1:4]),
                "M{}N{}K{}".format(*p["mac"]["shape"]), ours(f"{p['area_gain']:.2f}×"), ours(f"{p['power_gain']:.2f}×"),
                f"{p['lut-full']['area'] / p['lut']['area']:.2f}×", f"{p['add']['area'] / p['lut']['area']:.2f}×",
            ]
        )  # fmt: skip
    worst = max(p["m2n64k4_excess"] for p in units["panels"])
    best = sum(p["lut"]["shape"] == [2, 64, 4] for p in units["panels"])
    check: Rows = [
        [r["datapath"], "M{}N{}K{}".format(*r["shape"]), ours(f"{r['synthesised']:,.0f}", Grade.SYNTHESISED),
         ours(f"{r['counted']:,.0f}"), f"{100 * (r['counted'] / r['synthesised'] - 1):+.0f} %"]
        for r in units["check"]
    ]  # fmt: skip
    lut = [r for r in units["check"] if r["datapath"] == "lut" and r["shape"][2] == 4]
    blocks: list[Any] = [
        Text(f"Arrays of 512 products, all powers of two with K = 2, 4, 8, by area times switched area, per product "
             "and "
             f"cycle (bit-serial lookup takes W passes). Multipliers work on weights widened to the activations' "
             "format, "
             f"as in the paper. Elongated shapes win in all twelve panels; M2N64K4 is the best of {best} and within "
             f"{100 * (worst - 1):.0f} % of the best of all: m tables of 8 t bits against 4 n weight bits balance at "
             f"n = 2 t m, which is m = 2, n = 64 for 16-bit entries and m = 2 to 4 for 8 bits. FP8 prefers K = 8, "
             "for one "
             f"FP16 addition in every element outweighs larger tables; at W4 its multipliers are smaller than lookup."),
        Table(["", "best shape", "M2N64K4 above it", "next", "best multipliers", "area gain", "power gain",
               "conventional table", "additions"], rows, (3,),
              "Gains: multipliers over lookup; last two columns: area over lookup. Paper: W1 4 to 6 times in area and "
              "power; lookup best everywhere."),
    ]  # fmt: skip
    if len(lut) > 1:
        areas = {tuple(r["shape"]): r["synthesised"] for r in lut}
        least = min(areas, key=lambda shape: areas[shape])
        more = 100 * (areas[2, 64, 4] / areas[least] - 1)
        blocks.append(
            Text("Synthesis alone, INT8 activations, 2-bit weights, 8-bit tables: the smallest array of K = 4 is "
                 "M{}N{}K{}".format(*least) + f", M2N64K4 is {more:.1f} % larger. Counted areas against synthesised "
                                              "ones:")
        )  # fmt: skip
    blocks.append(Table(["datapath", "shape", "synthesised, µm²", "counted, µm²", "error"], check, (1,), narrow=True))
    return Section("Figure 14: shapes of 512 products, twelve pairs of formats", blocks)


def small_integers(data: dict[str, Any]) -> Section:
    """Whether tables pay for small integers."""
    blocks: list[Any] = [
        Text("A design-space study of ternary lookup units at KU Leuven (arXiv 2604.25183, 16 nm) finds that tables "
             "pay "
             "for FP16 activations and little for small integers. Two tests of it:")
    ]  # fmt: skip
    if data["units"]:
        gain = {(p["activation"], p["weight_bits"]): p for p in data["units"]["panels"]}
        rows: Rows = [
            [f"W{w}", *(ours(f"{gain[a, w]['area_gain']:.2f}×") for a in ("FP16", "INT16", "FP8", "INT8"))]
            for w in (1, 2, 4)
        ]
        over = {a: gain[a, 1]["add"]["area"] / gain[a, 1]["lut"]["area"] for a in ("FP16", "INT16", "FP8", "INT8")}
        held = min(over["FP16"], over["FP8"]) > 1.5 > max(over["INT8"], over["INT16"])
        rows.append(["any W, over additions", *(ours(f"{over[a]:.2f}×") for a in over)])
        blocks += [
            Table(["lookup gains in area", "FP16", "INT16", "FP8", "INT8"], rows, (), narrow=True,
                  caption="W1 to W4: over multipliers of the activations' width (8 x 8 for INT8). Last row: over "
                          "adding the "
                  "K signed activations anew for every weight bit, which is what a multiplier by ±1 is."),
            Text(("The finding holds: " if held else "The finding does not hold here: ")
                 + f"against a design that uses the narrow weights as well, lookup gains {over['FP16']:.1f}× with "
                   "FP16 and "
                 f"{over['FP8']:.1f}× with FP8 activations, {over['INT16']:.2f}× and {over['INT8']:.2f}× with INT16 "
                 "and "
                 "INT8: one dear FP addition per table instead of K is what tables save. The large gains over "
                 "multipliers "
                 "that widen their weights are the widening's."),
        ]  # fmt: skip
    if data["compare"]:
        blocks += _synthesised_small(data["compare"])
    else:
        blocks.append(
            Text("`lutscape rtl compare` sets synthesised integer units side by side, multipliers as narrow as the "
                 "weights among them; its report is not in reports/rtl yet.", "note")
        )  # fmt: skip
    return Section("Do tables pay for small integers?", blocks)


def _synthesised_small(compare: dict[str, Any]) -> list[Any]:
    rows: Rows = []
    for library in compare["libraries"]:
        for bits in (1, 2, 3, 4):
            here = {r["design"]: r for r in compare["rows"]
                    if r["library"] == library["name"] and r["weight_bits"] == bits}  # fmt: skip
            if "lut-parallel" not in here or "mac" not in here:
                continue
            lut = min((here[d] for d in ("lut-parallel", "lut-serial") if d in here),
                      key=lambda r: r["area_um2"] / r["macs_per_cycle"])  # fmt: skip
            area = lut["area_um2"] / lut["macs_per_cycle"]
            row: list[Cell | str] = [f"{library['node']}, W{bits} A8"]
            for other in ("mac", "mac8", "add", "lut-full"):
                o = here.get(other)
                row.append("–" if o is None else ours(f"{o['area_um2'] / o['macs_per_cycle'] / area:.2f}×",
                                                      Grade.SYNTHESISED))  # fmt: skip
            energy = here["mac"]["energy_per_mac_fj"] / lut["energy_per_mac_fj"]
            rows.append([*row, ours(f"{energy:.2f}×", Grade.SYNTHESISED)])
    columns = ["lookup gains in area "
               "over", "multipliers 8 x W", "multipliers 8 x 8", "additions", "conventional tables",
               "energy over 8 x W"]  # fmt: skip
    return [Table(columns, rows, (), "Synthesised units of equal throughput on SmolLM2 operands (lutscape rtl "
                                     "compare), "
                  "table registers and builders charged to lookup.")]  # fmt: skip
