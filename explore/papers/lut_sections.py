"""Sections of the LUT Tensor Core page about time, traffic, accuracy, and what the paper contradicts itself in."""

from __future__ import annotations

from typing import Any

from lutscape.explore.papers import lut_claims as claimed
from lutscape.explore.papers import lut_published as published
from lutscape.explore.papers.frame import AGREES, DIFFERS, UNTESTED, Cell, Figure, Section, Table, Text, draw
from lutscape.explore.text import significant
from lutscape.hw.provenance import Grade

Rows = list[list[Cell | str]]
OURS = "computed for this page"
COLOUR = {
    claimed.REPRODUCED: AGREES, claimed.DIFFERENT: DIFFERS, claimed.INCONSISTENT: DIFFERS, claimed.UNTESTED: UNTESTED,
}  # fmt: skip
WORDS = {
    claimed.REPRODUCED: "reproduced within 10 %", claimed.DIFFERENT: "differs", claimed.UNTESTED: "not computed",
    claimed.INCONSISTENT: "inconsistent in the paper",
}  # fmt: skip


def theirs(text: str, where: str) -> Cell:
    """A published number."""
    return Cell(text, Grade.PUBLISHED, f"{published.PAPER}, {where}")


def ours(text: str, grade: Grade = Grade.DERIVED, source: str = OURS) -> Cell:
    """A number of ours."""
    return Cell(text, grade, source)


def summary(data: dict[str, Any]) -> Section:
    """All numbers, one a row."""
    rows: Rows = []
    found = claimed.claims(data)
    for claim in found:
        digits = 4 if claim.theirs >= 1000 else 3
        error = "" if claim.ours is None else f"{100 * (claim.ours / claim.theirs - 1):+.1f} %"
        text = "–" if claim.ours is None else f"{significant(claim.ours, digits)} {claim.unit}".strip()
        verdict = claim.verdict
        small = claim.cause if verdict in (claimed.DIFFERENT, claimed.INCONSISTENT) else ""
        rows.append(
            [
                claim.where, claim.what, theirs(f"{significant(claim.theirs, digits)} "
                                                f"{claim.unit}".strip(), claim.where),
                Cell(text, claim.grade, OURS if claim.grade else ""), error,
                Cell(WORDS[verdict], verdict=COLOUR[verdict], small=small),
            ]
        )  # fmt: skip
    count = {v: sum(c.verdict == v for c in found) for v in WORDS}
    text = (
        f"{len(found)} published numbers: {count[claimed.REPRODUCED]} reproduced within 10 %, "
        f"{count[claimed.DIFFERENT]} differ for a cause that the sections below show, "
        f"{count[claimed.INCONSISTENT]} inconsistent in the paper, {count[claimed.UNTESTED]} not computed (they need a "
        "GPU kernel or weights that are not here). No published result enters ours, except in rows marked "
        "consistency, which compute one printed number from others: machines are described by peak rates, clocks, "
        "memories and arrays; areas and power of Table 2 come from synthesis of generated Verilog."
    )
    columns = ["where", "what", "paper", "ours", "error", "verdict"]
    return Section("All numbers", [Text(text), Table(columns, rows, (1, 5))])


def table_1(data: dict[str, Any]) -> Section:
    """Where the printed times come from."""
    from lutscape.explore.papers.lut_tensor_core import speedups

    rows: Rows = []
    by_name = {r["machine"]: r for r in data["table_1"]}
    for machine, label, bs1, bs1024, *_ in published.TABLE_1:
        row = by_name[machine]
        for key, printed, what in (("bs1", bs1, "BS1 SEQ2048"), ("bs1024", bs1024, "BS1024 SEQ1")):
            r = row[key]
            explained = 2 * r["ideal_ms"] + r["unfused_ms"]
            rows.append(
                [
                    Cell(machine, small=label), what, theirs(f"{printed:.2f}", "Table 1"), f"{r['ideal_ms']:.2f}",
                    f"{printed / r['ideal_ms']:.2f}×", f"{r['unfused_ms']:.1f}",
                    Cell(f"{explained:.1f}", small=f"{100 * (explained / printed - 1):+.0f} %"),
                    ours(f"{r['gemm_ms']:.2f}"), ours(f"{r['attention_ms']:.2f}"), ours(f"{r['elementwise_ms']:.2f}"),
                    ours(f"{r['all_ms']:.2f}"),
                ]
            )  # fmt: skip
    speed: Rows = [
        [r["label"], theirs(f"{r['published']:.2f}×", "Table 1"), f"{r['ideal']:.2f}×", ours(f"{r['no_tables']:.2f}×"),
         ours(f"{r['gemm']:.2f}×"), ours(f"{r['all']:.2f}×")]
        for r in speedups(data)
    ]  # fmt: skip
    ablated: Rows = [
        [r["pair"], r["label"], ours(f"{r['base_ms']:.2f}"), ours(f"{r['ms']:.2f}"), ours(f"{r['speedup']:.2f}×"),
         r["bound_by"]]
        for r in data["ablation"]
    ]  # fmt: skip
    return Section("Table 1: end to end", [
        Text("Printed times against what the layers need. *Ideal*: multiply-accumulates of the 26 layers at peak rate. "
             "*Unfused attention*: scores of 32 heads, FP16, moved five times through DRAM. The printed times follow "
             "2 × ideal + unfused attention, within 8 % on the A100 up to 4x: the products run at about half of peak "
             "there, "
             "which cancels in ratios. On 8x arrays and on the H100 they run at a third and more is left "
             "over.".replace("*", "")),
        Table(["machine", "workload", "paper, ms", "ideal", "paper / ideal", "unfused attention", "2 × ideal + unfused",
               "ours: products", "fused attention", "norms, element-wise", "all"], rows, (1,),
              "Ours: BitNet b1.58 3B with its sub-norms (LLaMA-3B: without), prefill of 2048 tokens, or 1024 sequences "
              "of one token; one scale per weight matrix; head included in all."),
        Text("Speed-ups at BS1024 SEQ1. With the matrix products alone and tables that move for free ours agree within "
             "10 %. That is how the artifact's Accel-Sim flow counts (it replays the trace of an FP16 product with "
             "fewer "
             "instructions: neither table bytes nor precompute are in it); the tile simulator behind Table 1 is not "
             "published. Counting the bytes of the tables, 8 entries of 8 bits "
             "for 4 activations, twice those of INT8 activations, makes shared memory and L2 the bound; counting norms "
             "and element-wise operators as separate kernels costs another third."),
        Table(["", "paper", "peak "
                            "rates", "products, tables free", "products, tables counted", "whole model"], speed, (),
              narrow=True),
        Table(["machines", "left out", "base, ms", "LUT-8X, ms", "speed-up", "bound by"], ablated, (1, 5),
              "The 26 layers' products at BS1024 SEQ1, costs taken away one after the other."),
    ])  # fmt: skip


def table_4(data: dict[str, Any]) -> Section:
    """What a precompute costs."""
    from lutscape.explore.papers.lut_tensor_core import precompute

    rows: Rows = []
    for r in precompute(data):
        rows.append(
            [
                r["model"], f"BS{r['batch']} S{r['tokens']}", theirs(f"{r['published_base_ms']:.2f}", "Table 4"),
                ours(f"{r['base_ms']:.2f}"), theirs(f"{r['published_separate']:.1f} %", "Table 4"),
                ours(f"{r['separate']:.1f} %"), theirs(f"{r['published_fused']:.1f} %", "Table 4"),
                ours(f"{r['fused']:.1f} %"), f"{r['activations'] / 1e6:.0f} M", f"{r['ns_per_1000']:.0f}",
                f"{100 * r['bandwidth']:.0f} %", f"{r['fused_bytes']:.1f}",
            ]
        )  # fmt: skip
    return Section("Table 4: precompute", [
        Text("Single layers on an A100 with FP16 tensor cores; tables of eight 16-bit entries for 4 activations, built "
             "once per tensor. A separate kernel reads 2 and writes 4 bytes per activation; a fused one writes 4 "
             "instead of 2. The paper's separate kernel takes 13 to 69 ns per 1000 activations, which is 6 to 30 % of "
             "the memory's bandwidth for those 6 bytes, and its time does not follow the work: LLaMA-2-70B takes "
             "longer "
             "for 1024 rows (3.76 ms) than for 4096 (2.92 ms). Its overhead is that of an untuned kernel, not of "
             "precompute; fusing it removes the kernel, and the ranking stays."),
        Table(["layer", "", "paper base, ms", "ours, ms", "separate, paper", "ours", "fused, paper", "ours",
               "activations", "paper, ns / 1000", "of 1555 GB/s", "fused, B / activation"], rows, (1,),
              "Last three columns, from the paper's times: separate precompute per 1000 activations and as a share "
              "of the "
              "memory's bandwidth; fused, as bytes at full bandwidth (ours: 2, the tables' 4 in place of 2)."),
    ])  # fmt: skip


def kernel(data: dict[str, Any]) -> Section:
    """Figure 15."""
    rows = data["scaling"]

    def plot(axes: Any) -> None:
        for scale in (1, 2, 4, 8):
            here = [r for r in rows if r["register_scale"] == scale]
            axes.plot([r["arrays"] for r in here], [r["tflops"] for r in here], marker="o", ms=4, lw=1.4,
                      label=f"registers {scale}x")  # fmt: skip
        peak = [2e-12 * 108 * r * 512 * 1.41e9 for r in (4, 8, 16, 32)]
        axes.plot([4, 8, 16, 32], peak, color="0.5", ls=":", lw=1.2, label="peak")
        axes.axhline(published.CUTLASS_TFLOPS, color="0.3", ls="--", lw=1, label="CUTLASS FP16, paper")
        axes.set(xscale="log", yscale="log", xlabel="M2N64K4 arrays per SM", ylabel="TFLOPS",
                 xticks=[4, 8, 16, 32], xticklabels=["4", "8", "16", "32"])  # fmt: skip
        axes.minorticks_off()
        axes.set_yticks([300, 600, 1200, 2400, 4800], ["300", "600", "1200", "2400", "4800"])
        axes.legend(frameon=False, fontsize=8)

    table: Rows = [
        [str(r["arrays"]), f"{r['register_scale']}x",
         ours(f"{r['cycles']:,.0f}"), f"{100 * r['ideal'] / r['cycles']:.0f} %",
         r["bound_by"], f"{r['tile']}, warps {r['warps']}", f"`{r['lmma']}`", str(r["registers"])]
        for r in rows
    ]  # fmt: skip
    return Section("Figure 15: one kernel, arrays and registers", [
        Text("2048 × 27648 × 5120, 1-bit weights, INT8 tables, A100 memories. Up to 8 arrays per SM (four times the "
             "FP16 tensor cores' rate) tiles fit the registers of an A100; 16 arrays need doubled registers to "
             "stay off the shared-memory limit, 32 need four to eight times as many: the same order as in the paper, "
             "whose Table 1 doubles them."),
        Figure(draw(plot, 7.0, 3.1), "Speed of the kernel by arrays and register scale. Derived; dashed: published."),
        Table(["arrays / SM", "registers", "cycles", "of array peak", "bound by", "tile / split-K", "instruction",
               "per thread"], table, (4, 5, 6), folded="All 16 points"),
    ])  # fmt: skip


def roofline(data: dict[str, Any]) -> Section:
    """Figure 19."""
    rows: Rows = [
        [r["label"], ours(f"{r['tflops']:.0f}"), ours(f"{r['flop_per_byte']:.0f}"),
         ours(f"{r['l2_flop_per_byte']:.0f}"),
         r["bound_by"], r["tile"]]
        for r in data["roofline"]
    ]  # fmt: skip
    return Section("Figure 19: roofline", [
        Text("The same kernel on 8 arrays per SM as optimisations are added. The paper's 736 FLOP/B times 1.5 TB/s is "
             "its 1104 TFLOPS; a kernel of this shape moves less than that from DRAM even without swizzle, because an "
             "L2 of 40 MB holds its weights (17.7 MB)."),
        Table(["", "TFLOPS", "FLOP per DRAM byte", "FLOP per L2 byte", "bound by", "tile / split-K"], rows, (4, 5)),
    ])  # fmt: skip


def end_to_end(data: dict[str, Any]) -> Section:
    """Figure 17."""
    rows: Rows = []
    for r in data["end_to_end"]:
        cells = [
            Cell(f"{r[key]['speedup']:.2f}×", Grade.DERIVED, OURS, small=f"products {r[key]['gemm_speedup']:.2f}×")
            for key in ("a100-lut-4x_int1", "a100-lut-8x_int1", "a100-lut-4x_int2", "a100-lut-8x_int2")
        ]
        free = ours(f"{r['free']:.2f}×")
        rows.append([r["model"], f"BS{r['batch']} S{r['tokens']}", ours(f"{r['fp16_ms']:.2f}"), *cells, free])
    return Section("Figure 17: single layers", [
        Text("Layers against FP16 tensor cores, per-row scales. At 1 bit, 4x arrays already run into shared memory, so "
             "that 8x gain nothing. The paper reports up to 8.2×. Tables free: the same layers on 8x arrays at W1 if "
             "tables and scales cost nothing, whole layers as in the first columns."),
        Table(["layer", "", "FP16, ms", "4x W1", "8x W1", "4x W2", "8x W2", "8x W1, tables free"], rows, (1,)),
    ])  # fmt: skip


def perplexity(data: dict[str, Any]) -> Section:
    """Table 5 on weights that are here."""
    stored = data["perplexity"]
    blocks: list[Any] = [
        Text("The paper's Table 5: LLaMA-2-7B, W2 (BitDistiller) 7.68 with FP16 activations, 7.69 with INT8 tables, so "
             "+0.01 from table quantisation. Those weights are not here; ours are SmolLM2's, every linear layer "
             "computed "
             "by table lookup, bit for bit.")
    ]  # fmt: skip
    if stored is None:
        blocks.append(Text("Not yet measured: run reports/lut_tensor_core/perplexity.py.", "warn"))
        return Section("Table 5: what table quantisation costs", blocks)

    def spread(value: dict[str, float] | None, form: str) -> Cell | str:
        if value is None:
            return "–"
        return Cell(f"{value['value']:{form}} ± {value['error']:{form}}", Grade.MEASURED, "reports/lut_tensor_core")

    rows: Rows = [
        [r["weights"], r["activations"], r["tables"], r["table_scale"] or "–", spread(r["perplexity"], ".3f"),
         spread(r.get("delta_nll_to_exact"), ".5f"), spread(r.get("kl_to_exact"), ".1e")]
        for r in stored["rows"]
    ]  # fmt: skip
    caption = (
        f"{stored['model']}, {stored['windows']} windows of {stored['context']} tokens of {stored['text']}; one "
        "standard "
        "error. Changes against exact tables of the same weights."
    )
    columns = ["weights", "activations", "tables", "scale per", "perplexity", "change of nll", "KL"]
    blocks.append(Table(columns, rows, (1, 2, 3), caption))
    return Section("Table 5: what table quantisation costs", blocks)


def equations(data: dict[str, Any]) -> Section:
    """Equations 1 to 8."""
    rows: Rows = [
        [e["equation"], e["what"], e["found"],
         Cell("holds" if not e["wrong"] else f"{e['wrong']} of {e['tried']} wrong",
              verdict=AGREES if not e["wrong"] else DIFFERS)]
        for e in data["equations"]
    ]  # fmt: skip
    return Section("Equations", [
        Text("What the paper leaves out: with ±1 planes the term s'z'ΣA stays unless z is the middle of the codes, so "
             "asymmetric weights and ternary weights stored as INT2 (z' = -1) need the sum of the activations of every "
             "scale group. Our unit leaves it to the vector lanes and charges it there."),
        Table(["eq.", "says", "tried on", ""], rows, (1, 2, 3)),
    ])  # fmt: skip


def inconsistent() -> Section:
    """What the paper contradicts itself in."""
    rows: Rows = [
        ["Table 2", "areas of 12 000 to 17 000 mm²", "µm²: one M2N64K4 unit of Table 1 is 0.187 mm² / 16 = 11 690 µm²"],
        ["Table "
         "1", "A100 INT8: 17.73 TOPS/mm²", "624 / (0.312 × 108) = 18.52; every other row follows from its columns"],
        ["Table 4", "separate precompute, LLaMA-2-70B", "3.76 ms for 1024 rows, 2.92 ms for 4096"],
        ["Intro, fig. 15, 18, 19", "area of the lookup unit", "16 % or 14.3 %, and 57.2 % or 58.4 % at four times"],
        ["Sec. 4.2.2, 4.5.2", "“W_INT8 A_INT4”", "weights and activations swapped: W4 A8"],
        ["Fig. 15, Table 1", "“4x”", "four 512-product arrays in one, four times an FP16 tensor core in the other"],
        ["Eq. 1-3", "K", "bit width of a weight there, length of a table elsewhere"],
        ["Sec. "
         "3.1.3", "one scale per table of 8 entries", "each lookup then needs its own scale before it is added; no "
         "integer accumulator spans two tables. Accumulator width, scale format and rounding are not given"],
    ]  # fmt: skip
    return Section("Inconsistent or open in the paper", [Table(["where", "printed", "found"], rows, (1, 2))])
