"""Sections of the ROMA page around the machine: peers, a measured GPU, masks and yield, questions."""

from __future__ import annotations

import math
from typing import Any

from lutscape.explore.papers import roma_published as published
from lutscape.explore.papers.frame import Cell, Section, Table, Text
from lutscape.explore.papers.roma_sections import Rows, ours, verdict
from lutscape.explore.text import significant
from lutscape.hw.provenance import Grade


def peers(data: dict[str, Any]) -> Section:
    """Peers side by side."""
    rows: Rows = []
    scale: Rows = []
    for p in data["peers"]:
        m = p["metrics"]

        def theirs_of(key: str, unit: str, p: dict[str, Any] = p) -> Cell | str:
            value = p[key]
            return "–" if value is None else Cell(f"{value:,} {unit}", Grade.PUBLISHED, p["source"])

        rate = Cell(f"{m['tokens_per_s']:,.0f} tok/s", Grade.ASSUMED, p["assumed"])
        rows.append(
            [
                Cell(p["spec"], small=f"{p['node']}, {p['clock_mhz']:g} MHz, {p['chips']} die{'s' * (p['chips'] > 1)}"),
                Cell(p["model"], small=f"{p['weights']}, {p['prompt']:,} tokens"),
                theirs_of("published_tok_s", "tok/s"), rate,
                theirs_of("published_mm2", "mm²"), ours(f"{significant(m['area_mm2'], 4)} mm²"),
                theirs_of("published_w", "W"),
                ours(f"{significant(m['energy_per_token_j'] * m['tokens_per_s'], 3)} W", Grade.ASSUMED,
                     "decode energy x rate, batch 1"),
                Cell(p["fitted"]), Cell(p["evidence"]),
            ]
        )  # fmt: skip
        scale.append(
            [
                p["spec"], f"{p['weights_g']:.3g}", ours(f"{p['rom_gb']:.3g}"),
                ours(f"{m['area_mm2'] / p['weights_g']:.0f}"), ours(f"{1e3 * m['time_to_first_token_s']:.2f} ms"),
                ours(f"{1e6 * m['time_per_token_s']:.1f} µs"), ours(f"{m['aggregate_tokens_per_s']:,.0f}"),
                ours(f"{int(m['context_tokens']):,}"), ours(f"{1e3 * m['energy_per_token_j']:.3g} mJ", Grade.ASSUMED),
            ]
        )  # fmt: skip
    text = (
        "Each peer is a YAML file of the same kind (`configs/hardware/tom.yaml` and so on) on the model it was built "
        "for, with every number cited or marked as assumed. Where a rate was fitted, ours agrees by construction; the "
        "table shows what the description implies for all else. Differences that remain: TOM's and HC1's powers are "
        "far above what activity gives, because clocks, control and links are not counted; HNLPU's published watts are "
        "at 216 sequences, ours at one, where the leakage of 5 GB of SRAM weighs most; HC1's area is over by the "
        "difference of 4 bits to its mean of 3.5, less control."
    )
    return Section(
        "Peers side by side", [
            Text(text),
            Table(["machine", "workload", "paper, rate", "ours, one user", "paper, area", "ours, area", "paper, power",
                   "ours, decode", "fitted", "their evidence"], rows, left=(1, 8, 9)),
            Table(["machine", "G weights", "ROM, GB", "mm² per G weights", "time to first token", "a token, batch 1",
                   "aggregate, tok/s", "tokens that fit", "a token"], scale,
                  caption="Aggregate: as many sequences of the workload's length as the SRAM holds; HNLPU prints "
                  "249,960 tok/s, to which the overhead of its steps is fitted."),
        ],
    )  # fmt: skip


def gpu(data: dict[str, Any]) -> Section:
    """Beside a measured GPU."""
    rows: Rows = []
    for r in data["gpu"]["rows"]:
        rows.append(
            [
                r["model"], f"{r['bits']}", f"{r['context']:,}", ours(f"{1 / r['seconds']:,.0f}"),
                ours(f"{1e3 * r['joules']:.2f} mJ", Grade.ASSUMED),
                Cell(f"{1 / r['gpu_seconds']:,.0f}", Grade.DERIVED, data["gpu"]["source"]),
                Cell(f"{1e3 * r['gpu_joules']:.0f} mJ", Grade.DERIVED, data["gpu"]["source"]),
                ours(f"{r['gpu_seconds'] / r['seconds']:.0f}×"),
                ours(f"{r['gpu_joules'] / r['joules']:.0f}×", Grade.ASSUMED),
            ]
        )  # fmt: skip
    table = [published.TABLE_TOK_S[c] / published.GPU_TOK_S[c] for c in published.GPU_TOK_S]
    mean = sum(table) / len(table)
    text = (
        f"The paper compares with an RTX 4090 under TensorRT-LLM: 205.8 to 219 tok/s, {published.GPU_SPEEDUP}× on "
        f"average ({mean:.1f}× from its printed rates). We compare with an H100 whose kernels were measured here, "
        "product by product at 2 and 4 bits, in a CUDA graph. Its energy is the board's, ours the die's without host "
        "and mesh; both leave out embedding and output projection. A GPU serves many users from one read of the "
        "weights; at batch 1 it is at its worst."
    )
    return Section(
        "Beside a measured GPU", [
            Text(text),
            Table(["model", "bits", "context", "ours, tok/s", "ours, a token", "H100, tok/s", "H100, a token", "faster",
                   "less energy"], rows,
                  caption=f"{data['gpu']['source']}. `lutscape roma energy` prints it for any model."),
        ],
    )  # fmt: skip


def masks_and_yield(data: dict[str, Any]) -> Section:
    """Known answers of masks and yield."""
    m, known = data["masks"], published.HNLPU_MASKS
    bills: Rows = []
    for key, label in (("full", "16 full sets"), ("first", "60 shared masks once, 10 a die"), ("respin", "10 a die")):
        bills.append([label, Cell(f"{known[key]:g} M$", Grade.PUBLISHED, "HNLPU, arXiv 2508.16151"),
                      ours(f"{m[key]:.2f} M$"), verdict(m[key], known[key])])  # fmt: skip
    models: Rows = [
        [r["model"], ours(str(r["dies"])), Cell(f"{r['published']} M$", Grade.PUBLISHED, "HNLPU, arXiv 2508.16151"),
         ours(f"{r['masks']:.0f} M$")]
        for r in m["models"]
    ]  # fmt: skip
    y, p = data["yield"], published.OPENTALLAS
    own_answer = y["opentallas"]

    def power_of_ten(log10: float) -> str:
        return f"10^({log10:.1f})" if log10 < -3 else f"{10**log10:.4f}"

    source = "OpenTallas (read through a digest)"
    rows: Rows = [
        ["no repair", Cell(f"{p['bare']:.0e}", Grade.PUBLISHED, source), ours(power_of_ten(own_answer["bare_log10"])),
         Cell(f"theirs needs {own_answer['implied_bits'] / 1e9:.0f} G vias, 1.10 times the bits of 8.19 G BF16 "
              "weights")],
        ["SECDED(266,256)", Cell(f"{p['secded']}", Grade.PUBLISHED, source), ours(f"{own_answer['secded']:.5f}"),
         Cell("independent bits leave more; 0.004 faults of whole rows a die, which no code corrects, give theirs")],
        ["and 2 patch rows", Cell(f"{p['patched']}", Grade.PUBLISHED, source), ours(f"{own_answer['patched']:.6f}"),
         Cell("the remaining 0.0002 are neither bits nor rows: columns or periphery")],
        ["extra bits", Cell(f"{p['overhead']:.1%}", Grade.PUBLISHED, source), ours(f"{own_answer['overhead']:.1%}"),
         verdict(own_answer["overhead"], float(p["overhead"]))],
    ]  # fmt: skip
    own: Rows = [
        [f"{r['p']:.0e}", ours(significant(r["wrong"])), ours(power_of_ten(r["bare_log10"])),
         ours(power_of_ten(r["patched_log10"])),
         ours(f"1 - {-math.expm1(r['secded_log10'] * math.log(10)):.1e}")]
        for r in y["roma"]
    ]  # fmt: skip
    text = (
        "Masks are priced where a price is cited (5 nm); other nodes ask for one. Yield counts single wrong bits, each "
        "on its own, and die defects apart (Murphy: "
        f"{y['die']:.1%} of dies of {published.DIE_MM2} mm² at 0.11 per cm², {y['hnlpu_die']:.1%} of HNLPU's). Whole "
        "rows, columns and clusters are left out, so that ECC looks better here than it is. `lutscape roma masks` and "
        "`lutscape roma yield` answer for any model."
    )
    return Section(
        "Masks, re-spins and yield", [
            Text(text),
            Table(["gpt-oss-120B on 16 dies", "HNLPU", "ours", "verdict"], bills, left=(3,), narrow=True),
            Table(["model in FP4", "dies, ours", "HNLPU, all one-time cost", "ours, masks alone"], models, narrow=True,
                  caption="A die holds what 69.3 % of 827.08 mm² hold at 52 Mbit/mm². The difference is what masks do "
                  "not cover: design, verification, licences."),
            Table(["Qwen3-8B in BF16, 10^-9 a via", "OpenTallas", "ours", "why"], rows, left=(3,)),
            Table(["chance a bit is wrong", "wrong bits of ROMA", "no repair", "2 patch rows", "SECDED(266,256)"], own,
                  caption="Share of dies whose 1.8675 GB read right."),
        ],
    )  # fmt: skip


def questions() -> Section:
    """Where each question is answered."""
    rows: Rows = [
        ["Does a real model still work with these bits?", "`reports/roma/accuracy.py`; `lutscape models eval`",
         "executor computes with the golden unit, no PyTorch"],
        ["What if a tensor does not fit the format?", "every verb", "an error with the tensor's name, no placeholder"],
        ["Can an accumulator overflow?", "spec and golden model", "bound from group, bits and width; else refused"],
        ["How fast for one user, to the first token, in all?", "`lutscape simulate`, `lutscape sweep roma`",
         "four figures, named apart"],
        ["What does a token cost in energy, by part?", "`lutscape simulate`, `lutscape roma energy`",
         "by activity; beside a measured GPU"],
        ["What rank, what context?", "`lutscape roma budget`", "exact bytes; largest rank for a context"],
        ["Which tensors should stay changeable?", "`lutscape roma split`", "exact under an area budget"],
        ["What do new weights cost?", "`lutscape roma masks`, `lutscape roma diff`", "masks, re-spins, changed vias"],
        ["How many dies are good?", "`lutscape roma yield`", "die defects, vias, SECDED, patch rows"],
        ["2, 3, 4 bits, ternary, FP4, group scales, zero points?", "`l_unit` of the spec", "one spec for golden model, "
                                                                                          "timing, cost and Verilog"],
        ["What design is best?", "`lutscape sweep roma`", "Pareto front of context, rank, area and rate; report with "
                                                         "figures"],
        ["How dense is the ROM?", "`configs/memory/rom.yaml`", "by depth and by what is counted; every number with its "
                                                               "source"],
        ["Without network?", "all of the above", "shapes of models are packaged; weights are a file"],
    ]  # fmt: skip
    return Section("Questions and where they are answered", [Table(["question", "command", "how"], rows, left=(1, 2))])
