"""Sections of the LUT-DLA page about evidence, dataflows and the swap of tables."""

from __future__ import annotations

from typing import Any

from lutscape.explore.papers import dla_published as published
from lutscape.explore.papers.frame import Cell, Figure, Section, Table, Text, draw
from lutscape.explore.text import quantity, significant
from lutscape.hw.provenance import Grade

Rows = list[list[Cell | str]]
OURS = "computed for this page"


def ours(text: str, grade: Grade | None = Grade.DERIVED, source: str = OURS) -> Cell:
    """A number of ours."""
    return Cell(text, grade, source)


def recalled(text: str) -> Cell:
    """A number of the paper as it is remembered; without a grade, because it has none."""
    return Cell(text, small="recalled")


def read(text: str, source: str = published.PAPER) -> Cell:
    """A number read in its source."""
    return Cell(text, Grade.PUBLISHED, source)


def count(value: float) -> str:
    """Return a large number of things: ``304 k``, ``15.8 M``.

    >>> count(295), count(15_826_016)
    ('295', '15.8 M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{significant(value / size, 3)} {letter}"
    return f"{value:.0f}"


def evidence() -> Section:
    """What was read and what was not."""
    rows: Rows = []
    for name, (low, high) in published.ABSTRACT.items():
        unit = "×" if "efficiency" in name else ""
        rows.append([name, read(f"{low:g} – {high:g}{unit}", f"{published.PAPER}, abstract")])
    return Section("What could be read", [
        Text("Read: the abstract, the captions of figures 1, 2, 3 and 12, and notes of others on the structure "
             "(centroid modules of chained distance elements, an index FIFO between two clocks, matching modules "
             "with two table "
             "banks, a LUT-stationary dataflow, staged training). **Not read: every table.** What its comparison is "
             "remembered to print is shown below as *recalled*: checked for consistency, never a golden value, in no "
             "test.".replace("*recalled*", "recalled")),
        Table(["abstract", "range"], rows, narrow=True),
    ])  # fmt: skip


def _kib(value: float) -> Cell:
    return ours(f"{value:.2f}" if value >= 0.01 else "< 0.01")


def dataflows(data: dict[str, Any]) -> Section:
    """On-chip minima, and what orders cost on one machine."""
    rows: Rows = [
        [
            Cell(f"`{r['dataflow']}`", small=r["indices"]), f"{r['sum_bits']}",
            *(_kib(r[f"{part}_kib"]) for part in ("sums", "index", "table")),
            ours(f"**{r['total_kib']:.1f}**"),
        ]
        for r in data["on_chip"]
    ]  # fmt: skip
    times: Rows = [
        [
            Cell(f"`{r['dataflow']}`", small=r["indices"]), ours(count(r["cycles"])), count(r["lookup"]),
            f"{r['cycles'] / r['lookup']:.2f}×", f"{r['table_loads']}", f"{r['encodings']}",
            ours(quantity(r["dram_bytes"], "B")),
        ]
        for r in data["orders"]
    ]  # fmt: skip
    fewer: Rows = [
        [f"v = {r['v']}, c = {r['c']}", r["metric"], ours(f"{r['fewer']:.1f}×"),
         f"{r['table_bytes_per_weight_byte']:.2f}×"]
        for r in data["operations"]
    ]  # fmt: skip
    return Section("Dataflows", [
        Text("Least on-chip memory with which every table entry is read from DRAM once, for M = 512, K = N = 768 (a "
             "projection of BERT-base), v = 4, c = 32, tables of 8 bits; `ls-n` and `ls-k` with tiles of 32 columns "
             "and two banks. The paper has such a table; its values were not seen. LUT-stationary tiles with columns "
             "outermost need the least by far, as long as indices are computed again or the sums are narrow."),
        Table(["order", "bits of a sum", "sums, KiB", "indices, KiB", "tables, KiB", "all, KiB"], rows, narrow=True),
        Text("The same layer on one machine (`lut-dla`: c = 16, two modules of 128 lanes, two banks each, DDR4 at "
             "25.6 GB/s) in every order, loops over tiles of columns. Where a loop inside the rows has more than one "
             "trip the table changes with every lookup, and DRAM sets the time."),
        Table(["order", "cycles", "lookups", "cycles / lookups", "table loads", "encodings", "DRAM"], times,
              narrow=True),
        Text("Operations of encoding and lookup beside two per multiply-accumulate of the product (distances: three "
             "per value for L2, two for the others, comparison included), and bytes of tables beside bytes of 8-bit "
             "weights."),
        Table(["codebook", "metric", "fewer operations", "table bytes / weight bytes"], fewer, (1,), narrow=True),
    ])  # fmt: skip


def swapping(data: dict[str, Any]) -> Section:
    """Hidden swaps, the trap, stage latencies."""
    rows: Rows = [
        [f"{r['rows']}", ours(f"{significant(r['gb_s'], 3)} GB/s"), ours(f"{100 * r['waiting']:.0f} %"),
         f"{r['cycles'] / r['lookup']:.1f}×"]
        for r in data["swap"]
    ]  # fmt: skip
    traps: Rows = [
        [f"{r['lanes']}", r["indices"], ours(count(r["encoded"])), ours(count(r["cycles"])),
         f"{r['cycles'] / r['lookup']:.2f}×"]
        for r in data["trap"]
    ]  # fmt: skip
    stages: Rows = [[r["what"], ours(f"{r['cycles']}"), r["clock"]] for r in data["stages"]]

    def plot(axes: Any) -> None:
        axes.loglog([r["rows"] for r in data["swap"]], [r["gb_s"] for r in data["swap"]], marker="o")
        axes.axhline(25.6, color="#b91c1c", linewidth=1)
        axes.text(1.1, 28, "one channel of DDR4-3200", color="#b91c1c", fontsize=8)
        axes.set_xlabel("rows that share a table")
        axes.set_ylabel("GB/s that hide the swap")

    return Section("When the swap of tables is hidden", [
        Text("A pass of M rows takes M cycles; meanwhile the next bank of c × Tn entries arrives. It is hidden from "
             "c·Tn·b·f / (8·M) bytes per second on. With c = 32, Tn = 256, 8 bits and 300 MHz: 4.8 GB/s for 512 rows, "
             "2.46 TB/s for one. **Decoding one token is always bound by tables**, which are c/v times as large as "
             "8-bit weights."),
        Figure(draw(plot, 6.5, 2.6), "Bandwidth that hides the swap, c = 32, Tn = 256, 8 bits, 300 MHz."),
        Table(["rows", "hides the swap", "time that waits at 25.6 GB/s", "cycles / lookups"], rows, narrow=True),
        Text("The trap of LS-N: without stored indices every tile of columns encodes all rows again. With one column a "
             "tile, as in a third-party implementation, that is N encodings of every sub-vector. Chains at a quarter "
             "of the modules' clock:"),
        Table(["Tn", "indices", "sub-vectors encoded", "cycles", "cycles / lookups"], traps, (1,), narrow=True),
        Text("Stages of `lut-dla`; the generated Verilog is held to the same functions "
             "(`sim/lut_dla/stage_timing.py`)."),
        Table(["stage", "cycles", "clock"], stages, (2,), narrow=True),
    ])  # fmt: skip


def missing(data: dict[str, Any]) -> Section:
    """What this page cannot say."""
    lines = [
        "**End-to-end speed-ups and accuracies of the paper's networks** (ResNet, BERT, OPT): not in the abstract by "
        "network, and CIFAR, ImageNet and GLUE are not available here.",
        "**Area and power of its dPE by metric and width**: not read. Ours come from open libraries at 45 and 7 nm.",
        "**Its design-space heat maps**: not read. Ours is the search above.",
        "**Silicon-like power**: our chip power leaves out wires, clock tree, control and the DRAM interface.",
    ]
    if data["accuracy"] is None:
        lines.append("**Accuracies of ours**: `reports/lut_dla/accuracy.json` is not there; the search refuses to run.")
    return Section("What is not here", [Text(line) for line in lines])
