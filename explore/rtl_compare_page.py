"""The page of :mod:`lutscape.explore.rtl_compare`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lutscape.explore.figures import GRID, INK, MUTED, PALETTE
from lutscape.explore.papers.frame import Cell, Figure, Page, Section, Table, Text, Tile, draw
from lutscape.explore.rtl_compare import BY_BLOCK, COLUMNS, DESIGNS, REFERENCE, WEIGHT_BITS
from lutscape.explore.text import plain, quantity, ratio, significant
from lutscape.hw.provenance import Grade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = dict[str, Any]
COMMAND = (
    "lutscape rtl compare --liberty nangate45 --liberty ASAP7.lib,... --driving-cell BUFx2_ASAP7_75t_R --load 3.898fF "
    "-o reports/rtl/lut-vs-mac.html"
)
BEST_LOOKUP = ("lut-serial", "lut-parallel")


def area(row: Row) -> float:
    """µm² per multiply-accumulate per cycle."""
    return float(row["area_um2"] / row["macs_per_cycle"])


def energy(row: Row) -> float:
    """fJ per multiply-accumulate."""
    return float(row["energy_per_mac_fj"])


def at(data: dict[str, Any], library: str, bits: int, design: str) -> Row:
    """Return the row of a design; one bit plane at a time is all planes at once for one bit."""
    name = "lut-parallel" if bits == 1 and design == "lut-serial" else design
    return next(r for r in data["rows"] if (r["library"], r["weight_bits"], r["design"]) == (library, bits, name))


def best(data: dict[str, Any], library: str, bits: int, what: Any) -> float:
    """Return multipliers / best INT8-table lookup of area or energy: above 1 lookup wins."""
    lookup = min(what(at(data, library, bits, d)) for d in BEST_LOOKUP)
    return float(what(at(data, library, bits, REFERENCE)) / lookup)


def page(data: dict[str, Any]) -> Page:
    """Lay the numbers out."""
    names = [x["name"] for x in data["libraries"]]
    spans = {
        what: (min(values), max(values))
        for what, f in (("area", area), ("energy", energy))
        for values in [[best(data, n, b, f) for n in names for b in WEIGHT_BITS]]
    }
    shape = data["shape"]
    exact = [area(at(data, n, b, REFERENCE)) / area(at(data, n, b, "lut-exact")) for n in names for b in WEIGHT_BITS]
    wide = [
        area(at(data, n, b, "mac8")) / min(area(at(data, n, b, d)) for d in BEST_LOOKUP)
        for n in names
        for b in WEIGHT_BITS
    ]
    lead = (
        f"At equal throughput, INT8 activations and multipliers as narrow as the weights, multipliers take "
        f"{spans['area'][0]:.2f} to {spans['area'][1]:.2f} times the area of lookup with INT8 tables and "
        f"{spans['energy'][0]:.2f} to {spans['energy'][1]:.2f} times the energy. "
        f"With exact tables, which lose nothing, the area ratio is {min(exact):.2f} to {max(exact):.2f}. "
        f"Against INT8 x INT8 multipliers with widened weights it is {min(wide):.1f} to {max(wide):.1f}."
    )
    return Page(
        title="Lookup against multipliers at equal throughput",
        citation=(
            f"{shape['rows']} rows, {shape['columns']} / W columns (bit-serial: {shape['columns']}), K = {shape['k']}, "
            f"{shape['accumulator_bits']}-bit accumulators; after LUT Tensor Core (arXiv 2408.06003), figures 12 to 14"
        ),
        lead=lead,
        tiles=[
            Tile(f"{best(data, n, b, area):.2f}×", f"area, multipliers / lookup, W{b}, {n}", Grade.SYNTHESISED, n)
            for n in names for b in (1, 4)
        ],
        sections=[*(_node(data, x) for x in data["libraries"]), _parts(data), _verdict(data), _method(data)],
        command=COMMAND,
        versions=data["versions"],
    )  # fmt: skip


def _node(data: dict[str, Any], library: dict[str, Any]) -> Section:
    name = library["name"]
    grade: dict[str, Any] = {"grade": Grade.SYNTHESISED, "source": f"yosys and abc, {name}; zero-delay gate simulation"}
    rows: list[list[Cell | str]] = []
    for bits in WEIGHT_BITS:
        rows.append([f"{bits}-bit weights"])
        reference = at(data, name, bits, REFERENCE)
        for key, what in DESIGNS.items():
            if bits == 1 and key == "lut-serial":
                continue
            r = at(data, name, bits, key)
            rows.append(
                [
                    what,
                    Cell(significant(area(r)), **grade, small=f"{ratio(area(r), area(reference))} of multipliers"),
                    Cell(
                        significant(energy(r)), **grade, small=f"{ratio(energy(r), energy(reference))} of multipliers"
                    ),
                    Cell(f"{r['min_period_ps']:.0f}", **grade),
                    plain(r["gates"]),
                    f"{100 * r['register_area_um2'] / r['area_um2']:.0f} %",
                    f"{r['gate_level_values'] - r['gate_level_mismatches']} / {r['gate_level_values']}",
                ]
            )
    svg = draw(lambda axes: _figure(axes, data, name), 8.6, 3.0, columns=2)
    return Section(
        f"{name}, {library['node']}, {quantity(library['period_ps'] * 1e-12, 's')}",
        [
            Figure(svg, "Area and energy relative to multipliers of W bits; below the line the design is better. "
                "INT8 x INT8 multipliers are in the table alone."),
            Table(
                ["design", "µm² per MAC per cycle", "fJ per MAC", "shortest period, ps", "gates", "registers",
                 "gate-level values right"], rows,
            ),
        ],
    )  # fmt: skip


def _figure(axes: list[Axes], data: dict[str, Any], library: str) -> None:
    for ax, (label, what) in zip(axes, (("area", area), ("energy", energy)), strict=True):
        for (key, text), colour in zip(DESIGNS.items(), PALETTE, strict=False):
            if key in (REFERENCE, "mac8"):
                continue
            values = [what(at(data, library, b, key)) / what(at(data, library, b, REFERENCE)) for b in WEIGHT_BITS]
            ax.plot(WEIGHT_BITS, values, "o-", ms=4, lw=1.3, color=colour, label=text)
        ax.axhline(1, color=INK, lw=0.9)
        ax.grid(axis="y", color=GRID, lw=0.6)
        ax.set_title(f"{label} / multipliers INT8 x W")
        ax.set_xticks(WEIGHT_BITS)
        ax.set_xlabel("weight bits", color=MUTED)
        ax.set_ylim(bottom=0)
    axes[1].legend(frameon=False, fontsize=6.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _parts(data: dict[str, Any]) -> Section:
    """Where the area of the lookup units goes."""
    rows: list[list[Cell | str]] = []
    for library in data["libraries"]:
        rows.append([f"{library['name']}"])
        for bits in WEIGHT_BITS:
            for key in BY_BLOCK:
                r = at(data, library["name"], bits, key)
                total = sum(r["parts"].values()) or 1.0
                shares = ", ".join(
                    f"{n.replace('_', ' ')} {100 * v / total:.0f} %"
                    for n, v in sorted(r["parts"].items(), key=lambda p: -p[1])
                    if v
                )
                rows.append([f"W{bits}, {DESIGNS[key]}", significant(total), shares])
    return Section(
        "Where the area goes",
        [
            Text(
                "Synthesised block by block; operand and sum registers stand under the array.",
                "note",
            ),
            Table(["design", "µm²", "shares"], rows, left=[2]),
        ],
    )


def _verdict(data: dict[str, Any]) -> Section:
    names = [x["name"] for x in data["libraries"]]
    lines = []
    for name in names:
        area_wins = [b for b in WEIGHT_BITS if best(data, name, b, area) > 1]
        energy_wins = [b for b in WEIGHT_BITS if best(data, name, b, energy) > 1]
        lines.append(
            f"{name}: lookup with INT8 tables is smaller for {_bits(area_wins)} and takes less energy for "
            f"{_bits(energy_wins)}."
        )
    claim = (
        "The paper's figure 14 shows 4 to 6 times less area and power at one-bit weights, and lookup best for every "
        "pair of formats. Its multipliers work in the activations' format: weights are widened to "
        "INT8 (the last design here). "
    )
    wide = {n: area(at(data, n, 1, "mac8")) / area(at(data, n, 1, "lut-parallel")) for n in names}
    claim += "That ratio at one bit is here " + ", ".join(f"{v:.1f} ({n})" for n, v in wide.items()) + ". "
    claim += (
        "A multiplier array that is given the weights' own width is the stronger opponent, and against it the "
        "advantage is what the first table of each node says."
    )
    return Section("Does the paper's advantage appear?", [Text(" ".join(lines)), Text(claim)])


def _bits(values: list[int]) -> str:
    return ("W" + ", W".join(map(str, values))) if values else "no weight width"


def _method(data: dict[str, Any]) -> Section:
    r = data["rows"][0]
    text = (
        f"One recipe (`{r['recipe']}`) and one target period per node for all designs; a driving cell before every "
        f"input and a load on every output. Operands: {r['operands']}; 64 tiles of K = 64 run through each mapped "
        "netlist, whose sums are compared with the golden model value by value; toggles of that run give the power "
        "at the target period (or the period reached, where it is longer). Lookup units have enough builders to "
        "finish their tables while one step is looked up, and registers for all tables; INT8 tables round entries "
        "by a shift per tile."
    )
    columns = (
        f"A table serves {COLUMNS} / W columns here ({COLUMNS} bit-serial): few at four bits. More columns share table "
        "registers and builder; the shares above bound what that can gain."
    )
    left = (
        "Left out: wires, clock tree, glitches, other corners. Glitches grow with logic depth, which charges "
        "multipliers and adder trees more than lookups; wires charge the broadcast of tables."
    )
    return Section("Method", [Text(text, "note"), Text(columns, "note"), Text(left, "note")])
