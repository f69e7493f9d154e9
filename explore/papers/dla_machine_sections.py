"""Sections of the LUT-DLA page about units, machines, comparisons, the search and measured accuracies."""

from __future__ import annotations

import math
from typing import Any

from lutscape.explore.papers import dla_published as published
from lutscape.explore.papers.dla_sections import Rows, ours, read, recalled
from lutscape.explore.papers.frame import AGREES, DIFFERS, UNTESTED, Cell, Figure, Section, Table, Text, draw
from lutscape.explore.text import quantity, significant
from lutscape.hw.provenance import Grade

PLACED = {
    "synthesised_um2": "after synthesis",
    "placed_and_repaired_um2": "placed and repaired",
    "routed_um2": "routed, with clock tree",
}
METRICS = ("l2", "l1", "chebyshev")
COLOURS = {"l2": "#1d4ed8", "l1": "#0f766e", "chebyshev": "#b45309"}


def units(data: dict[str, Any]) -> Section:
    """Synthesised dPEs, chains and lanes, and the interpolation to 28 nm."""
    blocks: list[Table | Text | Figure] = []
    for name, library in data["units"]["libraries"].items():
        rows: Rows = []
        for r in library["rows"]:
            source = f"{library['source']}; reports/lut_dla/units.json"
            operands = "captured" if "captured" in r["energy"] else next(iter(r["energy"]))
            energy = r["energy"][operands]
            what = {"dla_dpe": "dPE", "dla_ccm": "CCM: chain and codebooks", "dla_imm": "IMM"}.get(r["kind"], r["kind"])
            shape = f"v {r['v']}, INT{r['input_bits']}, c {r['c']}" if "v" in r else f"{r['lanes']} lanes, c {r['c']}"
            rows.append([
                Cell(what, small=r.get("metric", "")), shape,
                ours(f"{significant(r['area_um2'], 4)} µm²", Grade.SYNTHESISED, source),
                ours(quantity(r["min_period_ps"] * 1e-12, "s"), Grade.SYNTHESISED, source),
                ours(f"{significant(energy['pj_per_cycle'], 3)} pJ", Grade.SYNTHESISED, f"{source}; {operands}"),
                f"{energy['glitch_factor']:.2f}×",
            ])  # fmt: skip
        columns = ["unit", "size", "area", "shortest period", "energy per cycle", "glitches"]
        blocks.append(Table(columns, rows, (1,), f"{library['source']}. No wires, no clock tree.",
                            folded=f"{name}: {len(rows)} synthesised units"))  # fmt: skip
    rows = []
    for r in data["units"]["libraries"]["nangate45"]["summary"]["ratios"]:
        rows.append([
            Cell({"dla_dpe": "dPE", "dla_ccm": "CCM"}[r["kind"]]), f"v {r['v']}, INT{r['input_bits']}",
            ours(f"{r['l2_to_l1']:.2f}", Grade.SYNTHESISED), ours(f"{r['l1_to_chebyshev']:.2f}", Grade.SYNTHESISED),
            ours(f"{r['energy_l2_to_l1']:.2f}", Grade.SYNTHESISED),
            ours(f"{r['energy_l1_to_chebyshev']:.2f}", Grade.SYNTHESISED),
        ])  # fmt: skip
    ordered = all(x["summary"]["area_ordering_l2_l1_chebyshev"] for x in data["units"]["libraries"].values())
    ratios = Table(["unit", "size", "area L2 / L1", "area L1 / Chebyshev", "energy L2 / L1", "energy L1 / Chebyshev"],
                   rows, (1,), narrow=True)  # fmt: skip
    lines: Rows = []
    for node in ("45nm", "28nm", "7nm"):
        for bits in sorted({r["input_bits"] for r in data["interpolated"]}):
            cells: list[Cell | str] = [node if bits == 4 else "", f"INT{bits}"]
            for metric in METRICS:
                r = next(x for x in data["interpolated"] if (x["node"], x["input_bits"], x["metric"])
                         == (node, bits, metric))  # fmt: skip
                grade = Grade(r["grade"])
                cells += [ours(f"{significant(r['area_um2'], 3)}", grade, r["source"]),
                          ours(f"{significant(r['energy_pj'], 3)}", grade, r["source"])]  # fmt: skip
            lines.append(cells)
    fit: Rows = [
        [r["library"], r["kind"], *(f"{100 * r[f'{e}_{q}']:.1f} %" for q in ("area_um2", "energy_pj")
                                    for e in ("rms", "worst"))]
        for r in data["fits"]
    ]  # fmt: skip

    check: Rows = []
    for r in data["checks"]:
        area = f"{significant(r['area_um2'], 4)}"
        energy = f"{significant(r['energy_pj'], 3)}" if r["energy_pj"] else "–"
        check.append([
            r["what"], ours(area, Grade.SYNTHESISED, "reports/lut_dla/units.json"), ours(f"{r['ours_um2']:.5g}"),
            f"{100 * (r['ours_um2'] / r['area_um2'] - 1):+.1f} %",
            ours(energy, Grade.SYNTHESISED if r["energy_pj"] else None, "reports/lut_dla/units.json"),
            ours(f"{significant(r['ours_pj'], 3)}") if r["ours_pj"] else "–",
        ])  # fmt: skip

    def plot(axes: Any) -> None:
        for ax, node in zip(axes, ("45nm", "28nm", "7nm"), strict=True):
            for metric in METRICS:
                mine = [r for r in data["interpolated"] if (r["node"], r["metric"]) == (node, metric)]
                ax.plot([r["input_bits"] for r in mine], [r["area_um2"] for r in mine], marker="o",
                        color=COLOURS[metric], label=metric)  # fmt: skip
            ax.set_title(node, fontsize=9)
            ax.set_xlabel("bits of a value")
            ax.set_xticks([4, 8, 12, 16])
            ax.set_ylim(bottom=0)
        axes[0].set_ylabel("µm² of a dPE, v = 4")
        axes[0].legend(fontsize=8, frameon=False)

    return Section("Units: area, time and energy by metric and width", [
        Text("The paper's area and power by metric were not read; only their order is known, **L2 above L1 above "
             f"Chebyshev. Our synthesis {'keeps' if ordered else 'does not keep'} that order in area** for every "
             f"shape. "
             "At 4 bits the order of L2 and L1 in energy may turn round: squares of 4-bit differences are small."),
        ratios,
        Text("What the machine model takes: costs fitted to synthesised units of both libraries, interpolated at 28 nm "
             "(area against gate density, energy and leakage against feature size). v = 4, c = 16."),
        Figure(draw(plot, 8.6, 2.7, 3), "Area of a distance element by metric and width; 28 nm interpolated."),
        Table(["node", "width", "L2, µm²", "pJ", "L1, µm²", "pJ", "Chebyshev, µm²", "pJ"], lines, (1,), narrow=True),
        Text("The same costs put together beside whole units that were synthesised, Nangate45 at 1.1 V; energy of a "
             "cycle at full rate on Gaussian operands (dPEs alone in ours: the codebooks stand still)."),
        Table(["unit", "synthesised, µm²", "model, µm²", "", "synthesised, pJ", "model, pJ"], check, narrow=True),
        Table(["library", "part", "area, rms", "worst", "energy, rms", "worst"], fit, (1,),
              "Errors of the fit on designs that it had not seen.", folded="errors of the fitted costs", narrow=True),
        *blocks,
    ])  # fmt: skip


def decoder(data: dict[str, Any]) -> Section:
    """The public placed decoder beside our model."""
    h = data["halut"]
    public = read(f"{significant(h['area_um2'], 5)} µm²", h["source"])
    rows: Rows = [
        [f"latches, {h['words']} words of 8 bits, one read port", "", ours(f"{significant(h['latch_um2'], 4)} µm²")],
        ["adder and register of 32 bits", "", ours(f"{significant(h['lane_um2'], 3)} µm²")],
        ["**all**", public, ours(f"**{significant(h['ours_um2'], 4)} µm²**")],
        ["per bit of the table", read(f"{h['per_bit_public_um2']:.2f} µm²", h["source"]),
         ours(f"{h['per_bit_ours_um2']:.2f} µm²")],
        ["same table of flip-flops", "", ours(f"{significant(h['flip_flop_um2'], 4)} µm²")],
    ]  # fmt: skip
    within = abs(h["ratio"] - 1) <= 0.25
    blocks: list[Text | Table] = []
    built = data.get("decoder")
    if built is not None:
        where = "reports/lut_dla/decoder.json"
        area, named = f"{significant(built['area_um2'], 4)} µm²", built["published"]
        steps: Rows = [
            [what, read(f"{significant(named[key], 5)} µm²", h["source"]), ours(area, Grade.SYNTHESISED, where),
             f"{built['area_to_published'][key]:.2f}×"]
            for key, what in PLACED.items()
        ]  # fmt: skip
        blocks = [
            Text("The same decoder generated as Verilog, verified, synthesised with latches and a clock gate a word: "
                 f"{area}, {built['um2_per_bit']:.2f} µm² per bit. The public flow ends at "
                 f"{100 * named['utilisation']:.0f} % utilisation of its core; not counted in ours: "
                 f"{built['not_counted']}."),
            Table(["public area", "public", "generated Verilog, synthesised", "ours / public"], steps, narrow=True),
        ]  # fmt: skip
    return Section("A placed decoder in public", [
        Text(f"halutmatmul's decoder (16 entries for each of {h['codebooks']} codebooks, 4,096 latches, 32-bit "
             f"sums) was "
             f"placed and routed with OpenROAD in Nangate45. Our area model gives **{h['ratio']:.2f} of its area, "
             f"{'within' if within else 'not within'} 25 %**: cells of synthesis at 100 % utilisation, without the "
             "buffers that placement, clock tree and hold repair add, nor its FP16 path."),
        Table(["part", "public", "ours"], rows, narrow=True),
        *blocks,
    ])  # fmt: skip


def designs(data: dict[str, Any]) -> Section:
    """Machines of the three recalled sizes."""
    rows: Rows = []
    for asked in published.DESIGNS:
        mine = [r for r in data["designs"] if r["size"] == asked.name]
        shown = sorted(mine, key=lambda r: -r["reached_per_mm2"])
        best = shown[0]
        wide = next(r for r in shown if r["sum_bits"] == 32)
        rows.append([
            f"{asked.name}: {asked.operations_per_cycle} operations per cycle, recalled "
            f"{asked.area_mm2:g} mm², {asked.milliwatts:g} mW; {len(mine)} factorisations priced"
        ])  # fmt: skip
        v, lanes = published.FACTORS[asked.name]
        typical = next(r for r in shown if (r["v"], r["lanes"], r["modules"], r["sum_bits"]) == (v, lanes, 2, 20))
        for label, r in (
            ("most reached per mm²", best),
            ("the best with sums of 32 bits", wide),
            ("short sub-vectors", typical),
        ):
            rows.append([
                Cell(label, small=_shape(r)), f"{r['sum_bits']}",
                ours(f"{r['gmac_s']:.1f}"), ours(f"{r['reached_gmac_s']:.1f}"),
                ours(f"{significant(r['area_mm2'], 3)}"), ours(f"{significant(r['chip_mw'], 3)}"),
                ours(f"{significant(r['dram_mw'], 3)}"), ours(f"{significant(r['gmac_s_per_mm2'], 3)}"),
                ours(f"{significant(r['gmac_s_per_mw'], 3)}"), ours(f"{r['latency_ms']:.1f} ms"),
            ])  # fmt: skip
    largest = max((r for r in data["designs"] if r["best"]), key=lambda r: r["gmac_s"])
    area = sorted(largest["parts"].items(), key=lambda kv: -kv[1])
    energy = sorted(largest["energy_parts"].items(), key=lambda kv: -kv[1])
    parts: Rows = [
        [a[0], ours(f"{a[1]:.4f} mm²"), f"{100 * a[1] / largest['area_mm2']:.1f} %", e[0],
         ours(f"{significant(e[1], 3)} mJ")]
        for a, e in zip(area, [*energy, *[("", 0.0)] * len(area)], strict=False) if e[0]
    ]  # fmt: skip
    metrics: Rows = [
        [r["metric"], ours(f"{r['area_mm2']:.3f} mm²"), ours(f"{1e3 * r['parts']['distance elements']:.2f}"),
         ours(f"{significant(r['chip_mw'], 4)} mW"), ours(f"{significant(r['energy_parts']['distance elements'], 3)}")]
        for r in data["metrics"]
    ]  # fmt: skip
    return Section("Machines of the size of the paper's three", [
        Text("The recalled rates are 1536, 4096 and 9216 operations per cycle at 300 MHz; v × Tn × modules × 2 gives "
             "them with two operations per multiply-accumulate (or four modules and one). For each size all "
             "factorisations with v of 2 to 8 and 64 to 768 lanes, modules that share columns or rows, were timed and "
             "priced at 28 nm: c = 16, L2, INT8, 256 rows of sums, 51.2 GB/s. Times and power are of BERT-base's "
             "matrix products on 512 tokens, power of the chip without DRAM; GMAC/s per mW is of the rate reached. "
             "Rates are 10^9 multiply-accumulates per second."),
        Table(["design", "bits of a sum", "GMAC/s peak", "reached", "mm²", "chip, mW", "DRAM, mW", "GMAC/s/mm²",
               "GMAC/s/mW", "BERT-base"], rows),
        Text("Scratchpads of partial sums are most of the area: rows × lanes × bits of a sum. The distance elements "
             "are next to nothing, so that **the metric decides accuracy, not the machine's area**; v = 4, two modules "
             "of 256 lanes, with each metric:"),
        Table(["metric", "area", "distance elements, 10^-3 mm²", "chip power", "distance energy, mJ"], metrics, (),
              narrow=True),
        Table(["part", "area", "share", "energy of", "BERT-base, 512 tokens"], parts, (3,),
              f"Largest size, v {largest['v']}, {largest['modules']} × {largest['lanes']} lanes.",
              folded="parts of the largest size", narrow=True),
    ])  # fmt: skip


def _shape(r: dict[str, Any]) -> str:
    """Return a design in words."""
    shared = f", {r['share']} shared" if r["modules"] > 1 else ""
    return f"v {r['v']}, {r['modules']} × {r['lanes']} lanes{shared}"


def comparison(data: dict[str, Any]) -> Section:
    """All machines in MAC/s."""
    rows: Rows = []
    for r in published.BASELINES:
        area, power = (
            Cell(f"{value:g}", None if r.is_recalled(name) else Grade.PUBLISHED, r.source,
                 small="; ".join(filter(None, (more, "recalled" if r.is_recalled(name) else ""))))
            if value else Cell("–")
            for name, value, more in (("area_mm2", r.area_mm2, ""), ("milliwatts", r.milliwatts, r.counts))
        )  # fmt: skip
        rows.append([
            Cell(r.name, small=r.source), r.node.replace(" ", "\u00a0"),
            Cell(f"{r.mhz:g}", small="recalled" if r.is_recalled("mhz") else ""),
            Cell(significant(r.gmac_s, 4), small=r.printed), area, power,
            significant(r.gmac_s / r.area_mm2, 3) if r.area_mm2 else "–",
            significant(r.gmac_s / r.milliwatts, 3) if r.milliwatts else "–",
        ])  # fmt: skip
    for r in [x for x in data["designs"] if x["best"]]:
        rows.append([
            Cell(f"ours, size of {r['size']}", small=f"v {r['v']}, {r['modules']} × {r['lanes']} lanes, c 16, L2"),
            "28\u00a0nm", f"{published.CLOCK_MHZ}", Cell(significant(r["gmac_s"], 4), small="v Tn modules clock"),
            ours(significant(r["area_mm2"], 3)), Cell(significant(r["chip_mw"], 3), Grade.DERIVED, "model of the chip",
                                                      small="cells and macros; no wires, no clock tree"),
            significant(r["gmac_s_per_mm2"], 3), significant(r["gmac_s"] / r["chip_mw"], 3),
        ])  # fmt: skip
    return Section("Comparison in MAC/s", [
        Text("One convention for all: peak multiply-accumulates per second, a lookup counted as those that it "
             "replaces. "
             "Printed rates mix conventions: NVDLA's MACs are printed as operations, Gemmini's and RRAM-DNN's "
             "operations are two per MAC. Nodes differ, NVDLA's area (28 nm) and power (16 nm) even within a row, so "
             "the last two columns are no ranking. EVA's rates are of one token, reached rather than peak."),
        Table(["machine", "node", "MHz", "GMAC/s", "mm²", "mW", "GMAC/s/mm²", "GMAC/s/mW"], rows, (1,)),
    ])  # fmt: skip


def abstract(data: dict[str, Any]) -> Section:
    """The abstract's ranges."""
    best = max((r for r in data["designs"] if r["best"]), key=lambda r: r["gmac_s_per_mm2"])
    rows: Rows = []
    for what, ratio, end, name in published.RECALLED_RATIOS:
        close = abs(ratio / end - 1) <= 0.02
        rows.append([
            what, read(f"{end:g}×", f"{published.PAPER}, abstract"), recalled(f"{ratio:.1f}×"),
            Cell("recalled numbers give this end" if close else "recalled numbers do not give it",
                 verdict=AGREES if close else UNTESTED, small=name),
        ])  # fmt: skip
    against: Rows = []
    for r in published.BASELINES:
        if r.peak and r.area_mm2 and r.milliwatts:
            area = best["gmac_s_per_mm2"] / (r.gmac_s / r.area_mm2)
            power = best["gmac_s"] / best["chip_mw"] / (r.gmac_s / r.milliwatts)
            inside = published.ABSTRACT["area efficiency"][0] <= area <= published.ABSTRACT["area efficiency"][1]
            against.append([
                Cell(r.name, small=r.evidence), f"{r.node}", ours(f"{significant(area, 3)}×"),
                ours(f"{significant(power, 3)}×"),
                Cell("within" if inside else "outside", verdict=AGREES if inside else DIFFERS),
            ])  # fmt: skip
    return Section("The abstract's ranges", [
        Text("1.4 to 7.0 times the power efficiency and 1.5 to 146.1 times the area efficiency. From recalled numbers "
             "the lower ends follow (ELSA, FACT). **146.1 follows from no pair of recalled numbers** (66.7 at most, "
             "against RRAM-DNN), nor does 7.0 (6.8 against Gemmini): node scaling or another row must be in it."),
        Table(["ratio", "abstract", "recalled", ""], rows, narrow=True),
        Text("Our best of the three sizes beside every machine of the comparison, as printed and unscaled; ours "
             "without wires and clock tree, theirs mostly whole accelerators: an upper bound, not a claim. EVA's rates "
             "are of one token, reached, and are left out."),
        Table(["beside", "node", "area efficiency", "power efficiency", "area: in the abstract's range"], against, (1,),
              narrow=True),
    ])  # fmt: skip


def search(data: dict[str, Any]) -> Section:
    """The co-design search."""
    found = data["search"]
    title = "Co-design search"
    rules = (
        "Rules thin out the full grid before anything is simulated: the chains' clock, operations, bytes of tables, "
        "memory on the chip, accuracy as measured, balance of lookup and encoding; what is left is simulated on "
        "BERT-base's layers. "
        "`lutscape sweep lut-dla` runs it."
    )
    if "missing" in found:
        return Section(title, [Text(rules), Text(f"Not run: {found['missing']}", "warn")])
    stages: Rows = [
        [s["name"], f"{s['entered']}", ours(f"{s['left']}"), Cell(s["example"][:160])] for s in found["stages"]
    ]
    front = found["front"]
    shown = front[:: max(1, len(front) // 12)]
    rows: Rows = [
        [
            f"v {r['codebook.v']}, c {r['codebook.c']}, {r['codebook.metric']}",
            f"{r['imm.count']} × {r['imm.lanes']}", f"{r['clock_mhz']:g} / {r['ccm.clock_mhz']:g}",
            f"{r['dram.bandwidth_gb_s']:g}", ours(quantity(r["latency_s"], "s")),
            ours(f"{significant(r['area_mm2'], 3)} mm²"), ours(quantity(r["energy_j"], "J")),
            Cell(f"{r['accuracy_loss_points']:.2f}", Grade.MEASURED, "reports/lut_dla/quick_accuracy.json"),
        ]
        for r in shown
    ]  # fmt: skip
    return Section(title, [
        Text(rules),
        Table(["rule", "designs", "left", "first one dropped"], stages, (3,)),
        Text(f"{found['simulated']} designs simulated; {len(front)} are not dominated in time, area, energy and "
             f"accuracy "
             "loss. The accuracy is that of the quick check, a perceptron on Fashion-MNIST: it ranks codebooks "
             "and is no "
             "accuracy of BERT."),
        Table(["codebook", "modules × lanes", "MHz, IMM / CCM", "GB/s", "BERT-base", "area", "energy",
               "points lost"], rows, (), f"Every {max(1, len(front) // 12)}th of the front, by time."),
    ])  # fmt: skip


def accuracy(data: dict[str, Any]) -> Section:
    """Measured accuracies."""
    blocks: list[Table | Text] = [
        Text("Points lost after each stage of LUTBoost, mean and half a 95 % interval over seeds; INT8 is the golden "
             "model's, bit for bit. The abstract's losses are of other networks and data; none of them is a target."),
    ]  # fmt: skip
    for key, file, what in (
        ("accuracy", "accuracy", "Full conversions"),
        ("quick", "quick_accuracy", "The search's quick check: a quarter of the steps, three seeds"),
    ):
        found = data[key]
        if found is None:
            blocks.append(Text(f"{what}: not measured yet, run reports/lut_dla/{file}.py.", "warn"))
            continue
        rows: Rows = []
        for name, cell in found["cells"].items():
            plan, summary = cell["plan"], cell["summary"]
            steps = f"{plan['calibrate_steps']} + {plan['joint_steps']} steps"
            cells: list[Cell | str] = [Cell(name, small=steps), f"{len(cell['runs'])}"]
            cells.append(_interval(summary["trained"], "%", file))
            cells += [_interval(summary.get(f"{s}_loss"), "", file) for s in ("replace", "calibrate", "joint", "int8")]
            rows.append(cells)
        columns = ["network", "seeds", "trained", "replaced", "calibrated", "joint", "INT8"]
        blocks += [Text(f"{what} ({found['data']})."), Table(columns, rows, narrow=True)]
    return Section("Accuracy of converted networks", blocks)


def _interval(found: dict[str, float] | None, unit: str, file: str) -> Cell:
    if found is None:
        return Cell("–")
    width = found["half_width_95"]
    small = f"± {width:.2f}" if math.isfinite(width) else "one seed"
    return Cell(f"{found['mean']:.2f} {unit}".strip(), Grade.MEASURED, f"reports/lut_dla/{file}.json", small=small)
