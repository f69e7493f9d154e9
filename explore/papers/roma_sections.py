"""Sections of the ROMA page on the machine itself: all numbers, conflicts, area, SRAM, times, power, density."""

from __future__ import annotations

import math
from typing import Any

from lutscape.explore.papers import roma_published as published
from lutscape.explore.papers.frame import AGREES, DIFFERS, UNTESTED, Cell, Figure, Listing, Section, Table, Text, draw
from lutscape.explore.text import significant
from lutscape.hw.provenance import Grade

Rows = list[list[Cell | str]]
FITTED, SET, EXACT = "fitted", "set by the split", "exact"
CLOSE = 0.05
DIGEST = "read from a digest of the paper"


def theirs(text: str, where: str = "") -> Cell:
    """A published number."""
    return Cell(text, Grade.PUBLISHED, f"{published.PAPER}{', ' + where if where else ''}; {DIGEST}")


def ours(text: str, grade: Grade = Grade.DERIVED, source: str = "computed for this page") -> Cell:
    """A number of ours."""
    return Cell(text, grade, source)


def verdict(mine: float, other: float, kind: str = "") -> Cell:
    """Return the verdict of a row: what it is, and how far off."""
    error = 100 * (mine / other - 1) if other else 0.0
    error = error if abs(error) >= 0.005 else 0.0
    if kind == FITTED:
        return Cell("fitted to it", small=f"{error:+.1f} %", verdict=UNTESTED)
    if kind == SET:
        return Cell("closes; the split enters", small=f"{error:+.2f} %", verdict=UNTESTED)
    if kind == EXACT:
        return Cell("exact" if mine == other else "differs", verdict=AGREES if mine == other else DIFFERS)
    close = abs(mine - other) <= CLOSE * abs(other)
    return Cell("within 5 %" if close else "differs", small=f"{error:+.1f} %", verdict=AGREES if close else DIFFERS)


def numbers(data: dict[str, Any]) -> Section:
    """All numbers, one a row."""
    rows: Rows = []

    def add(where: str, what: str, other: float, mine: float, unit: str, kind: str = "", digits: int = 4,
            grade: Grade = Grade.DERIVED) -> None:  # fmt: skip
        def shown(value: float) -> str:
            return f"{value:,.0f} {unit}".strip() if digits == 0 else f"{significant(value, digits)} {unit}"

        rows.append([where, what, theirs(shown(other), where), ours(shown(mine), grade), verdict(mine, other, kind)])

    close, area = data["closing"], data["area"]["components"]
    add("spec table", "ROM", published.ROM_GB, close["rom_gb"], "GB", digits=3)
    add("spec table", "die", published.DIE_MM2, math.fsum(area.values()), "mm²", SET)
    for name, share in published.SHARES.items():
        add("Fig. 11(a)", f"share of {name}", 100 * share, 100 * area[name] / math.fsum(area.values()), "%", SET, 3)
    kinds = {"sram": "", "standard": SET, "b-rom": SET, "fused": SET}
    for form, label in published.FORMS.items():
        add(
            "Fig. 12", f"L-Unit: {label}", published.L_UNIT_KUM2[form], data["l_unit"][form] / 1e3, "k µm²", kinds[form]
        )
    for row in data["sram"]:
        if row["published"] is not None:
            add("SRAM table", f"tokens at {row['mib']} MB, rank {row['rank']}", row["published"], row["tokens"], "",
                EXACT if row["published"] != 1600 else "", 0)  # fmt: skip
    for row in data["fits"]["rows"]:
        fast = row["phase"] == "decode"
        other, mine = ((1 / row[k] if fast else 1e3 * row[k]) for k in ("published_s", "model_s"))
        add("text" if row["fitted"] else "comparison table", row["name"].split(":")[0], other, mine,
            "tok/s" if fast else "ms", FITTED if row["fitted"] else "", 0 if fast else 4)  # fmt: skip
    chip = next(r for r in data["power"]["rows"] if r["context"] == 0 and r["cycles_per_word"] == 1)
    add("spec table", "power at full rate", published.DIE_W, chip["watts"], "W", digits=3, grade=Grade.ASSUMED)
    add("digest", "energy of a token", published.ENERGY_MJ, 1e3 * math.fsum(chip["joules"].values()), "mJ", digits=3,
        grade=Grade.ASSUMED)  # fmt: skip
    text = (
        "Four verdicts. **fitted**: a constant was set to meet the number, so that it proves nothing. **closes**: the "
        "published split enters the areas of the parts, and the total says only that the parameter set is consistent. "
        "**within 5 %**, **differs** and **exact**: no constant of ours was set to the number. What was printed is "
        "known through digests; a digest's error is one of ours."
    )
    return Section("All numbers", [Text(text), Table(["where", "what", "paper", "ours", "verdict"], rows, left=(1, 4))])


def conflicts() -> Section:
    """Where the published numbers contradict each other."""
    rows: Rows = [[what, printed, Cell(text)] for what, printed, text in published.CONFLICTS]
    return Section(
        "Conflicts in the published numbers", [Table(["about", "printed", "what follows"], rows, left=(1, 2))]
    )


def closing(data: dict[str, Any]) -> Section:
    """The parameter set."""
    c = data["closing"]
    rows: Rows = [
        ["L-Units", ours(f"{c['l_units']:,}"), "73.2 % of 503.7 mm² / 22.5 k µm² = 16,387; 64 x 256 = 16,384"],
        ["words of a ROM", ours(f"{c['rom_words']:,}"),
         f"Llama-3-8B at 2 bits takes {c['words']['llama-3-8b']:,} words exactly; Llama-3.2-3B in two planes 2,688 on "
         f"average and {c['words']['llama-3.2-3b']:,} in the fullest unit (k and v do not divide evenly)"],
        ["bits of a word", ours(str(c["word_bits"])), "128 x 2 bits, FP16 scale, 2-bit zero point"],
        ["ROM", ours(f"{c['rom_gb']:.4f} GB"), "paper: 1.86 GB; embedding and output projection are not in it"],
        ["SRAM for adapter and cache", ours(f"{c['sram_mib']:.0f} MiB"), "1.125 MiB in each H-Unit; 16 MiB more in "
                                                                         "Vector Units"],
    ]  # fmt: skip
    return Section("A parameter set that closes", [Table(["", "value", "from"], rows, left=(2,), narrow=True)])


def area(data: dict[str, Any]) -> Section:
    """Areas of the unit and the die."""
    rows: Rows = []
    for form, label in published.FORMS.items():
        mine, other = data["l_unit"][form] / 1e3, published.L_UNIT_KUM2[form]
        kind = "" if form == "sram" else SET
        rows.append([label, theirs(f"{other} k µm²", "Fig. 12"), ours(f"{mine:.2f} k µm²"), verdict(mine, other, kind)])
    die: Rows = []
    total = math.fsum(data["area"]["components"].values())
    for name, value in data["area"]["components"].items():
        share = published.SHARES[name]
        die.append([name, theirs(f"{share:.1%}", "Fig. 11(a)"), ours(f"{value / total:.1%}"), ours(f"{value:.1f} mm²")])
    die.append(["die", theirs(f"{published.DIE_MM2} mm²", "spec table"), "", ours(f"{total:.1f} mm²")])
    text = (
        "Arithmetic (9.95 k µm²) and ROM macro (26.75 k µm²) follow from two of the four unit areas and B-ROM's 0.6; "
        "the factor of the fused cell is the third. The unit with SRAM is then free: density by depth from Fig. 2 and "
        "the one factor for wide words, taken from the ROM, give it. Areas of H-Unit and Vector Unit arithmetic are "
        "what the split leaves beside their SRAM."
    )
    return Section(
        "Area", [
            Text(text),
            Table(["L-Unit", "paper", "ours", "verdict"], rows, left=(3,), narrow=True),
            Table(["die", "share, paper", "share, ours", "area, ours"], die, narrow=True,
                  caption="The H-Units' share is printed as 16.6 %; see the conflicts."),
        ],
    )  # fmt: skip


def sram(data: dict[str, Any]) -> Section:
    """The SRAM table."""
    rows: Rows = []
    for row in data["sram"]:
        other = row["published"]
        rows.append(
            [
                f"{row['mib']} MB", str(row["rank"]), ours(f"{row['adapter_mib']:.1f} MiB"),
                theirs(str(other), "SRAM table") if other is not None else "–", ours(str(row["tokens"])),
                verdict(row["tokens"], other, EXACT) if other is not None else "",
            ]
        )  # fmt: skip
    text = (
        f"Llama-3-8B: {data['sram'][0]['token_bytes']:,} bytes of FP8 keys and values a token; adapters on gate and "
        "up, which take the 18.0 MiB that the table leaves at rank 16. Other sets do too (any two of gate, up and "
        "down; or k, v, one of q and o, and one of those), so that the table does not tell which layers have adapters. "
        "`lutscape roma budget llama-3-8b` prints the table for any model, SRAM, rank and target layers."
    )
    return Section(
        "SRAM: adapter rank against context",
        [Text(text), Table(["SRAM", "rank", "adapter", "paper, tokens", "ours, tokens", "verdict"], rows, left=(5,),
                           narrow=True)],
    )  # fmt: skip


def times(data: dict[str, Any]) -> Section:
    """Fits, and what lies outside them."""
    fits = data["fits"]
    keys = {
        "step.decode_cycles": ("overhead of a decode step", "cycles"),
        "h_unit.kv_bytes_per_cycle": ("KV read in decode, an H-Unit", "B/cycle"),
        "step.prefill_cycles": ("overhead of a prefill step and token", "cycles"),
        "h_unit.prefill_kv_bytes_per_cycle": ("KV read in prefill, an H-Unit", "B/cycle"),
    }
    slow, other = fits["cycles_per_word_4"]["constants"], fits["other_model"]
    constants: Rows = [
        [name, ours(f"{fits['constants'][k]:.2f} {unit}", Grade.DERIVED, "fitted, two points each phase"),
         ours(f"{slow[k]:.2f}"), ours(f"{other[k]:.2f}")]
        for k, (name, unit) in keys.items()
    ]  # fmt: skip
    rows: Rows = []
    for row, late in zip(fits["rows"], fits["cycles_per_word_4"]["rows"], strict=True):
        decode = row["phase"] == "decode"

        def shown(seconds: float, decode: bool = decode) -> str:
            return f"{1 / seconds:,.0f} tok/s" if decode else f"{1e3 * seconds:.2f} ms"

        line = fits["table_line"]["tok_s"].get(str(row["tokens"])) if decode else None
        rows.append(
            [
                row["name"].split(":")[0], theirs(shown(row["published_s"])),
                ours(shown(row["model_s"]), Grade.DERIVED, "cycle model"),
                Cell("fitted to it", verdict=UNTESTED) if row["fitted"] else
                Cell(f"outside the fit: {row['published_s'] / row['model_s']:.2f}×", verdict=DIFFERS),
                ours(shown(late["model_s"])), ours(f"{line:,.0f} tok/s") if line else "–",
            ]
        )  # fmt: skip
    missed = next(r for r in fits["cycles_per_word_4"]["rows"] if r["phase"] == "prefill")["error"]
    text = (
        "A token is a chain of dependent steps. A step takes its ROM words, and beside them adapter, KV cache and "
        "vector work, plus an overhead (alignment, broadcast and reduction over the mesh, dequantisation). Two "
        "published times of decode set overhead and KV bandwidth of decode, two of prefill those of prefill: **four "
        "constants, four points, no degree of freedom left; meeting them is no prediction.** The fit takes "
        "Llama-3.2-3B at 4 bits and rank 16, which the digest names for the prefill times only."
    )
    outside = (
        "The comparison table lies outside. A straight line through its own four points starts at "
        f"{fits['table_line']['base']:,.0f} cycles and grows by {fits['table_line']['slope']:.1f} cycles a token of "
        f"context (last column); it would put the text's two rates, 31.8k and 24.6k, at "
        f"{fits['table_line']['tok_s']['0']:,.0f} and {fits['table_line']['tok_s']['1024']:,.0f} tok/s. Neither set "
        "explains the other; without the paper's own text we calibrate to one and print the other."
    )
    slowly = (
        "With four cycles a word the ROM alone takes 10,752 cycles a token on average and 11,200 in the fullest unit, "
        "close to what prefill takes (10,938 at 256). But then no overhead is left for prefill, its times are missed "
        f"by {100 * missed:+.0f} %, and the L-Units would take twice the power of the chip (below). One cycle a word "
        "stays the default; it is a field of the spec."
    )
    blocks: list[Table | Text | Listing | Figure] = [
        Text(text),
        Table(["constant", "fitted", "at 4 cycles a word", "for Llama-3-8B at 2 bits"], constants, narrow=True),
        Text(outside),
        Table(["published time", "paper", "ours", "status", "ours at 4 cycles a word", "line through the table"], rows,
              left=(3,)),
        *_readings(data),
        Text(slowly),
        Figure(_curve(data), "Decode against context, batch 1. Dots: published, filled where fitted. Dashed: as many "
               "sequences of that length as the SRAM holds, interleaved (the pipelined aggregate)."),
    ]  # fmt: skip
    return Section("Decode and time to first token", [*blocks, *_named_apart(data)])


def _readings(data: dict[str, Any]) -> list[Text | Table]:
    rows: Rows = []
    for r in data["readings"]:
        cells: list[Cell | str] = []
        for context, printed in published.TABLE_TOK_S.items():
            mine = r["tok_s"][str(context)]
            cells.append(Cell(f"{mine:,.0f}", small=f"{100 * (mine / printed - 1):+.0f} %"))
        held = r["fits"]
        most = max(published.TABLE_TOK_S)
        fits = f"{held:,} tokens fit" if held >= most else f"no: {held:,} tokens fit"
        rows.append([r["what"], *cells, ours(f"{r['mean_error']:.0%}"), fits])
    rows.insert(0, ["printed", *(theirs(f"{v:,}") for v in published.TABLE_TOK_S.values()), "", ""])
    best = [f"{r['mean_error']:.1%}" for r in sorted(data["readings"], key=lambda r: float(r["mean_error"]))[:2]]
    text = (
        "Readings of the table that were tried, all with the shipped constants and none refitted. Two come within "
        f"{best[0]} and {best[1]} on average, and both take 262,144 bytes of keys and values a token of context: "
        "LLaMA-2-7B, whose cache of 2K tokens does not fit the SRAM, and **Llama-3-8B at 2 bits if every query head "
        "reads its keys and values anew** (`h_unit.kv_reads: head`), which fits. Then the table would be the 8B model, "
        "the text's pair the 3B one. These seven stand for more: a dozen packaged models at two widths, as decode and "
        "as whole runs, were looked at, so that this is a hint of what to look for in the paper's own text and no "
        "reproduction. The table stays outside the fit."
    )
    columns = ["reading, tokens/s at", *(f"{c:,}" for c in published.TABLE_TOK_S), "mean error", "in 288 MB, rank 16"]
    return [Text(text), Table(columns, rows, left=(6,))]


def _named_apart(data: dict[str, Any]) -> list[Text | Table]:
    rows: Rows = []
    for row in data["curve"]:
        if row["context"] in (256, 1024, 4096):
            first = f"{1e3 * row['ttft_s']:.2f} ms"
            rows.append([row["model"], f"{row['context']:,}", ours(f"{1e6 / row['tok_s']:.1f} µs"), ours(first),
                         ours(f"{row['tok_s']:,.0f} tok/s"), ours(f"{row['aggregate_tok_s']:,.0f} tok/s")])  # fmt: skip
    return [
        Text("Four figures that one number hides: the time of a token for one user, the time to the first token, the "
             "rate of one user, and the aggregate of as many users as the SRAM holds."),
        Table(["model", "context", "a token, batch 1", "time to first token", "one user", "aggregate"], rows),
    ]  # fmt: skip


def _curve(data: dict[str, Any]) -> str:
    def plot(ax: Any) -> None:
        for name, colour in (("llama-3.2-3b", "#2f6fb0"), ("llama-3-8b", "#b0552f")):
            rows = [r for r in data["curve"] if r["model"] == name]
            x = [r["context"] for r in rows]
            ax.plot(x, [r["tok_s"] / 1e3 for r in rows], color=colour, label=f"ours, {name}, one user")
            ax.plot(x, [r["aggregate_tok_s"] / 1e3 for r in rows], color=colour, linestyle="--", linewidth=1)
        points = [r for r in data["fits"]["rows"] if r["phase"] == "decode"]
        for fitted in (True, False):
            chosen = [p for p in points if p["fitted"] == fitted]
            ax.scatter([p["tokens"] for p in chosen], [1e-3 / p["published_s"] for p in chosen], s=34, zorder=5,
                       facecolors="#222" if fitted else "white", edgecolors="#222",
                       label="published, fitted" if fitted else "published, outside the fit")  # fmt: skip
        ax.set_xlabel("tokens of context")
        ax.set_ylabel("1000 tokens/s")
        ax.set_ylim(0, None)
        ax.legend(frameon=False, fontsize=8)

    return draw(plot)


def power(data: dict[str, Any]) -> Section:
    """Power from activity."""
    rows: Rows = []
    for row in data["power"]["rows"]:
        parts = ", ".join(f"{name} {1e3 * value:.2f}" for name, value in row["joules"].items() if value > 5e-6)
        rows.append(
            [
                str(row["cycles_per_word"]), f"{row['context']:,}", ours(f"{row['duty']:.0%}"),
                ours(f"{row['units_w']:.1f} W", Grade.ASSUMED, "unit power x share of time it works"),
                ours(f"{row['watts']:.1f} W", Grade.ASSUMED, "activity x energy per operation") if
                row["cycles_per_word"] == 1 else "–",
                Cell(f"{1e3 * math.fsum(row['joules'].values()):.2f} mJ", small=parts)
                if row["cycles_per_word"] == 1 else "–",
            ]
        )  # fmt: skip
    text = (
        f"The sum of the units' powers is {data['power']['sum_of_units_w']:.0f} W and not the chip's: a unit that "
        "waits takes none of it. Energy is counted by activity: ROM words, SRAM bytes, multiply-accumulates, vector "
        f"operations, and the leakage of 304 MiB of SRAM. No constant was set to {published.DIE_W} W. The unit power "
        "is read from a digest whose table is scrambled, and taken as one word a cycle; mesh, clock tree and control "
        "are not counted, which a chip's power has. At four cycles a word the same unit power means four "
        "times the energy a word."
    )
    return Section(
        "Power", [
            Text(text),
            Table(["cycles a word", "context", "L-Units at work", "L-Units' power", "chip, from activity", "a token"],
                  rows, caption="Below each energy: its parts in mJ. Llama-3.2-3B at 4 bits, one decoded token."),
        ],
    )  # fmt: skip


def density(data: dict[str, Any]) -> Section:
    """The density model and the published densities."""
    d = data["density"]
    model: Rows = []
    for form in ("sram", "standard", "b-rom"):
        for bits in ("64", "274"):
            model.append([f"{published.FORMS[form].split(' and')[0]}, {bits} bits a word",
                          *(f"{v:.1f}" for v in d["model"][form][bits])])  # fmt: skip
    levels = {"cell": "bit cell alone", "macro": "macro: array and periphery", "compute": "macro and arithmetic",
              "die": "whole die"}  # fmt: skip
    rows: Rows = []
    for level, label in levels.items():
        rows.append([label])
        for row in d["rows"]:
            if row["level"] == level:
                shape = f"{row['words']:,} x {row['word_bits']:,}" if row["words"] else "–"
                rows.append([row["name"], f"{row['node_nm']:g} nm", shape,
                             Cell(f"{row['mbit_per_mm2']:g}", Grade(row["grade"]), row["source"])])  # fmt: skip
    text = (
        "One number per memory hides two things: depth (a column's sense amplifier is paid once) and what is counted. "
        "The model follows TSMC's compiler by depth, with cell and periphery per column beyond its ends; published "
        "densities stand by level, and a ratio across levels means nothing."
    )
    return Section(
        "Density", [
            Text(text),
            Table(["Mbit/mm² at 7 nm, by words", *(f"{n:,}" for n in d["depths"])], model,
                  caption="1,024 to 8,192: interpolated between printed points; outside: cell + periphery / depth."),
            Table(["published", "node", "macro", "Mbit/mm²"], rows, left=(1, 2), narrow=True),
        ],
    )  # fmt: skip
