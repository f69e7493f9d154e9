"""The page of "Bit-Accurate Modeling of GPU Matrix Multiply-Accumulate Units" (MMA-Sim, arXiv 2511.10909v2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lutscape.explore.papers.frame import (
    AGREES,
    DIFFERS,
    UNTESTED,
    Cell,
    Figure,
    Listing,
    Page,
    Section,
    Table,
    Text,
    Tile,
    draw,
)
from lutscape.hw.provenance import Grade

Rows = list[list[Cell | str]]
PAPER = "arXiv 2511.10909v2"
OURS = "computed for this page by lutscape's model of the instruction"
COMMAND = "lutscape papers mma-sim -o reports/papers/mma-sim.html"


def measure(root: Path) -> dict[str, Any]:
    """Compute every number of the page; ``root`` holds the captures and reports of a checkout."""
    from lutscape.explore.papers import mma_cases, mma_evidence
    from lutscape.explore.store import versions

    found = versions()
    return {
        "schema_version": 1,
        "versions": {k: found[k] for k in ("lutscape", "python", "numpy", "numba") if k in found},
        "silicon": mma_evidence.replayed(root),
        "differential": mma_evidence.load(root / "reports" / "mma" / "differential.json"),
        "accuracy": mma_evidence.accuracy(root),
        "modelled": mma_evidence.modelled(),
        "table_8": mma_cases.table_8(),
        "bounds": mma_evidence.bounds(),
        "risky": mma_cases.risky(),
        "asymmetry": mma_cases.asymmetry(),
        "parameters": mma_cases.parameters(),
        "monotonicity": mma_cases.monotonicity(),
        "lowering": mma_cases.lowering(),
    }


def page(data: dict[str, Any]) -> Page:
    """Lay the numbers out."""
    cells, silicon, peer = data["table_8"], data["silicon"], data["differential"]
    agree = sum(c["ours"] == c["published"] for c in cells)
    outputs, wrong = (sum(g[k] for g in silicon["groups"]) for k in ("outputs", "mismatches"))
    compared, unexplained = (sum(f[k] for f in peer["families"]) for k in ("outputs", "unexplained"))
    above = sum(b["above"] for b in data["bounds"])
    total = sum(m["instructions"] for m in data["modelled"])
    device = silicon["device"]["name"]
    lead = (
        f"{agree} of {len(cells)} published cells of table 8 come out as printed, {above or 'no'} "
        f"simulated error exceeds its bound (table 9, and four like it), and {wrong or 'none'} of {outputs:,} outputs "
        f"that an {device} "
        f"returned differ{'' if wrong else 's'} from the model in any bit. Against {peer['peer']}, "
        f"{unexplained or 'none'} of {compared / 1e6:.1f} million outputs differ{'' if unexplained else 's'} "
        "without an explanation."
    )
    tiles = [
        Tile(f"{agree} / {len(cells)}", "cells of table 8 agree", Grade.DERIVED, OURS),
        Tile(f"{wrong} / {outputs:,}", f"mismatches on {device}", Grade.MEASURED, f"captured {silicon['date']}"),
        Tile(f"{unexplained} / {compared / 1e6:.1f} M", f"unexplained against {peer['peer']}", Grade.DERIVED,
             "reports/mma/differential.json"),
        Tile(f"{total:,}", "instructions modelled, ten architectures"),
    ]  # fmt: skip
    return Page(
        title="Bit-accurate models of GPU matrix units",
        citation=f"MMA-Sim: {PAPER}, “Bit-Accurate Modeling of GPU Matrix Multiply-Accumulate Units” (April 2026), "
        "and its implementation mmasim 2.1.1.",
        lead=lead,
        tiles=tiles,
        sections=[
            _modelled(data), _silicon(silicon), _lowering(data), _table_8(cells), _parameters(data["parameters"]),
            _bounds(data["bounds"]), _risky(data["risky"]), _asymmetry(data["asymmetry"]),
            _monotonicity(data["monotonicity"]), _peer(peer), _accuracy(data["accuracy"]),
            Section("Area of the fused unit", [Text(
                "Not yet available. Trading the error above against the area of a unit needs its Verilog; lutscape "
                "has no generator of fused dot-product units yet, so this page prints no area.", "warn")]),
        ],
        command=COMMAND,
        versions=data["versions"],
    )  # fmt: skip


def _computed(text: str, good: bool | None = None) -> Cell:
    verdict = "" if good is None else AGREES if good else DIFFERS
    return Cell(text, Grade.DERIVED, OURS, verdict)


def _published(text: str, where: str) -> Cell:
    return Cell(text, Grade.PUBLISHED, f"{PAPER}, {where}")


def _verdict(good: bool) -> Cell:
    return Cell(AGREES if good else DIFFERS, verdict=AGREES if good else DIFFERS)


def short(name: str) -> str:
    """Return an instruction's name without what all of its family share."""
    for part in (".mma_async.sync.aligned", ".mma.cta_group::1", "mma.sync.aligned.", "v_mfma_", ".row.col"):
        name = name.replace(part, "")
    return name


def _modelled(data: dict[str, Any]) -> Section:
    rows: Rows = [
        [
            Cell(m["arch"], small=m["gpus"]), f"{m['instructions']:,}",
            ", ".join(f"{k} {n:,}" for k, n in m["models"].items()),
            ", ".join(f"{k} {n:,}" for k, n in m["evidence"].items()),
        ]
        for m in data["modelled"]
    ]  # fmt: skip
    return Section("What is modelled", [
        Text("Each instruction is one of a few arithmetic designs with explicit parameters: how many products are "
             "summed at once (L), how many fraction bits survive below the largest exponent of the sum (F), how the "
             "result is rounded, and what exponent a zero counts with. `lutscape mma explain NAME` prints them."),
        Table(["architecture (GPUs of the paper)", "instructions", "by arithmetic model", "by evidence"], rows, (2, 3),
              "Evidence: *captured* on silicon by lutscape (wgmma at a few N, which its "
              "arithmetic does not depend on); *published vectors* agree; *paper*: "
              f"{PAPER} compared its model, which is ours, with that GPU; *by definition*: exact integer "
              "arithmetic; *documentation only*: nobody compared.".replace("*", "")),
    ])  # fmt: skip


def _silicon(s: dict[str, Any]) -> Section:
    d = s["device"]
    where = f"{d['name']}, driver {d.get('driver', '?')}, CUDA {d.get('cuda_runtime', '?')}, {s['date']}"

    def sass(found: list[str]) -> Cell:
        parts = [" ".join(x.split()[1:]) if x.startswith("1 ") and "," not in x else x for x in found]
        more = len(parts) - 1
        return Cell(
            f"`{parts[0]}`" if parts else "–", small=f"and {more} other form{'s' * (more > 1)}" if more > 0 else ""
        )

    rows = [
        [
            g["family"], g["model"], str(g["instructions"]), f"{g['outputs']:,}",
            Cell(str(g["mismatches"]), Grade.MEASURED, where, AGREES if not g["mismatches"] else DIFFERS),
            sass(g["sass"]),
        ]
        for g in s["groups"]
    ]  # fmt: skip
    every: Rows = [
        [f"`{i['name']}`", f"{i['outputs']:,}",
         Cell(str(i["mismatches"]), verdict=AGREES if not i["mismatches"] else DIFFERS), f"`{i['sass'] or '–'}`"]
        for i in s["instructions"]
    ]  # fmt: skip
    return Section("Evidence on silicon: sm_90", [
        Text(f"Captured on an {where} with `lutscape mma capture`: random bits, normal, wide, subnormal, dominant-c "
             "and cancelling operands, specials, NaN payloads, and probes of every parameter. The vectors lie in "
             "`tests/vectors/mma/sm_90.npz` and were replayed through the models while this page was written; an "
             "output counts as mismatched if any bit differs, NaN payloads and signs of zero included."),
        Table(["instructions", "model", "forms", "outputs", "mismatches now", "machine code (SASS)"], rows, (1, 5),
              "Forms: shapes, operand signs and options of one family. SASS: what ptxas made of the instruction."),
        Table(["instruction", "outputs", "mismatches", "SASS"], every, (3,), folded=f"All {len(every)} instructions"),
    ])  # fmt: skip


def _lowering(data: dict[str, Any]) -> Section:
    sass = {i["name"]: i["sass"] for i in data["silicon"]["instructions"]}
    name = "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32"
    group = [g for g in data["silicon"]["groups"] if "add" in g["model"] and g["family"].startswith("mma ")]
    wrong, outputs = (sum(g[k] for g in group) for k in ("mismatches", "outputs"))
    rows: Rows = [
        [str(r["k"]), _computed(f"{r['sync']:.4g}"), _computed(f"{r['wgmma']:.4g}")] for r in data["lowering"]
    ]
    return Section("Finding: FP8 mma.sync on Hopper is no FP8 unit", [
        Text("mmasim rejects FP8 `mma.sync` on sm_90. ptxas lowers it: operands become FP16, two half-precision "
             "instructions run one after the other, and the accumulator is added last by an ordinary FP32 add:"),
        Listing(f"{name}\n  → {sass.get(name, 'not captured')}"),
        Text("So it sums the products with k mod 4 in {0, 1} from zero, the others onto that, each with F = 25 instead "
             f"of 13, and rounds once more for c. {wrong} of {outputs:,} captured outputs of these forms differ from "
             "that model. wgmma on the same GPU uses the native unit (F = 13, c inside the sum), so the two FP8 paths "
             "of one GPU return different bits."),
        Table(["small product at k", "mma.sync", "wgmma"], rows, (),
              "2^15 × 2^15 at k = 0, its negative at k = 5, and 2^-16 × 2^-16 at k; exact: 2.328e-10. It survives "
              "where the pair is summed in another step.", narrow=True),
    ])  # fmt: skip


def _table_8(cells: list[dict[str, Any]]) -> Section:
    rows = [
        [c["machine"], c["operands"], f"`{short(c['instruction'])}`", c["model"],
         _published(f"{c['published']:g}", "table 8"), _computed(f"{c['ours']:g}"),
         _verdict(c["ours"] == c["published"])]
        for c in cells
    ]  # fmt: skip
    good = sum(c["ours"] == c["published"] for c in cells)
    return Section("Table 8: one dot product, many answers", [
        Text("a = (-2^13, -0.5, -0.25, -0.125), b = (2^10, 1, 1, 1), c = 2^23. The large terms cancel; the exact "
             f"result is -0.875. **{good} of {len(cells)} cells agree.**"),
        Table(["machine", "operands", "instruction", "model", "published", "ours", "verdict"], rows, (1, 2, 3)),
    ])  # fmt: skip


def _parameters(rows: list[dict[str, Any]]) -> Section:
    lines = [
        [r["machine"], r["operands"], f"`{short(r['instruction'])}`", _published(str(r["L"]), "tables 3-7"),
         _computed(str(r["our_L"])), _published(str(r["F"]), "tables 3-7"), _computed(str(r["our_F"])),
         _verdict((r["L"], r["F"]) == (r["our_L"], r["our_F"]))]
        for r in rows
    ]  # fmt: skip
    return Section("Probes of L and F", [
        Text("The probes see only inputs and outputs. F: the last x that survives U - U + x. L: among how many "
             "products a small one is lost beside a cancelling pair."),
        Table(["machine", "operands", "instruction", "L published", "L found", "F published", "F found", "verdict"],
              lines, (1, 2)),
    ])  # fmt: skip


def _bounds(rows: list[dict[str, Any]]) -> Section:
    formula = {
        "T-FDPA": "(L+1) 2^(e_max-F) per sum + ½ or 1 ulp of D", "TR-FDPA": "(L+1) 2^(e_max-F) per sum + ½ ulp",
        "E-FDPA": "½ ulp per sum", "FTZ-AddMul": "flushed inputs + ½ ulp or 2^-126 per step", "FMA": "½ ulp per step",
    }  # fmt: skip
    ours = {
        "ST-FDPA": "(L+1) 2^(e_max-F) per sum + 1 ulp, scales in e_max",
        "GST-FDPA": "(L/G+1) 2^(e_max-F) per sum + 1 ulp, e_max of scales and c",
        "GTR-FDPA": "L/2 (2^(e_even-F) + 2^(e_odd-F)), floors of both sums, c and D, + ½ ulp",
        "T-FDPA x2 + add": "two sums of (K/2+1) 2^(e_max-F) + ½ or 1 ulp each, + ½ ulp of D",
    }  # fmt: skip

    def bound(model: str) -> Cell:
        if model in ours:
            return Cell(ours[model], Grade.DERIVED, "derived in the docstring of lutscape.sim.mma.analysis.error_bound")
        return Cell(formula[model], Grade.PUBLISHED, f"{PAPER}, table 9")

    lines = [
        [r["machine"], f"`{short(r['instruction'])}`", r["model"], bound(r["model"]),
         f"{r['outputs']:,}", _computed(f"{r['error']:.3g}"), _computed(f"{r['bound']:.3g}"),
         Cell(f"{100 * r['share']:.2f} %", Grade.DERIVED, OURS, small=r["family"]),
         Cell(str(r["above"]), verdict=AGREES if not r["above"] else DIFFERS)]
        for r in rows
    ]  # fmt: skip
    return Section("Table 9: error bounds against the largest error seen", [
        Text("Random tiles of five families (normal numbers, cancelling pairs, dominant c, a window of exponents, "
             "subnormals); errors against sums of 106 bits. Shown is the output that comes nearest to its own bound."),
        Table(["machine", "instruction", "model", "bound", "outputs", "error", "its bound", "share", "above"], lines,
              (1, 2, 3)),
    ])  # fmt: skip


def _risky(designs: list[dict[str, Any]]) -> Section:
    rows: Rows = []
    for d in designs:
        for i, c in enumerate(d["cases"]):
            good = c["got"] == c["exact"]
            got = c["got"] if isinstance(c["got"], str) else f"{c['got']:.8g}"
            rows.append([
                Cell(d["design"], small=d["where"]) if not i else "", c["sum"], c["machine"],
                Cell(f"{c['exact']:.8g}"), Cell(got, Grade.DERIVED, OURS, AGREES if good else DIFFERS),
            ])  # fmt: skip
    return Section("Table 10: risky designs, demonstrated", [
        Text(f"The designs that {PAPER}, table 10, calls risky, each with small sums computed now, beside a machine "
             "that does better where there is one. Green: exact."),
        Table(["design", "sum", "machine", "exact", "returned"], rows, (1, 2)),
    ])  # fmt: skip


def _asymmetry(a: dict[str, Any]) -> Section:
    def plot(ax: Any) -> None:
        width = a["edges"][1] - a["edges"][0]
        centres = [e + width / 2 for e in a["edges"][:-1]]
        for key, color, label in (("zero", "#a9b7c7", "cut toward zero"), ("down", "#d4581a", "CDNA3")):
            ax.step(centres, a["counts"][key], where="mid", color=color, lw=1.3, label=label)
            ax.axvline(a["mean"][key], color=color, lw=0.8, ls="--")
        ax.set(xlabel="error of D (computed - exact)", ylabel="outputs", xlim=(a["edges"][0], a["edges"][-1]))
        ax.legend(frameon=False, fontsize=8)

    cases = [
        [c["operands"], c["c"], _published(f"{c['published']:g}", "section on CDNA3"), _computed(f"{c['ours']:g}"),
         _verdict(c["published"] == c["ours"])]
        for c in a["cases"]
    ]  # fmt: skip
    mirrored = [
        [m["machine"], f"{m['outputs']:,}", _computed(f"{m['unequal']:,}"),
         "symmetric" if not m["unequal"] else "asymmetric"]
        for m in a["mirrored"]
    ]  # fmt: skip
    mean = a["mean"]
    return Section("CDNA3 rounds down", [
        Text("CDNA3 floors the aligned sum of products and c instead of cutting it toward zero, so that errors lean to "
             "negative results and mirrored operands do not give mirrored results."),
        Table(["operands", "c", "published", "ours", "verdict"], cases, (1,),
              "2048 × 2048 - 2048 × 2048 + c. The floor turns a tiny negative c into -0.25; FP8 sums drop it first.",
              narrow=True),
        Figure(draw(plot), f"Error of {a['outputs']:,} outputs, A and B 1000 N(0, 1) in FP16, C N(0, 1) in FP32. "
               f"CDNA3: mean {mean['down']:+.4f}; the same sum cut toward zero (T-FDPA, L = 8, F = 24, RNE-FP32): mean "
               f"{mean['zero']:+.4f} (dashed). Derived."),
        Table(["machine", "outputs", "D(-A, B, -C) ≠ -D(A, B, C)", ""], mirrored, (3,),
              "Finite outputs over the operand families.", narrow=True),
    ])  # fmt: skip


def _monotonicity(rows: list[dict[str, Any]]) -> Section:
    lines = []
    for r in rows:
        w = r["worst"]
        lines.append([
            r["machine"], f"`{short(r['instruction'])}`", _computed("yes" if r["cases"] else "none found"),
            f"c = {w[0]:.8g}: {w[1]:.8g}" if w else "–", f"c = {w[2]:.8g}: {w[3]:.8g}" if w else "–",
        ])  # fmt: skip
    return Section("Sums that fall when a term grows", [
        Text("Fasi et al. (PeerJ Computer Science 2021, section 4.5) found that tensor cores are not monotonic: when c "
             "steps up to a power of two, its larger exponent cuts all products. Same products, growing c:"),
        Table(["machine", "instruction", "non-monotonic", "D before", "D after"], lines, (1,),
              "None found: among L equal products of powers of two beside c next to 2, what this probe tries."),
    ])  # fmt: skip


def _peer(peer: dict[str, Any]) -> Section:
    reasons = peer["reasons"]
    rows = []
    for f in peer["families"]:
        parts = [f"{f[k]:,}" if f.get(k) else "–" for k in reasons]
        rows.append([f["family"], str(f["instructions"]), f"{f['outputs']:,}",
                     Cell(str(f["unexplained"]), Grade.DERIVED, "both packages on the same operands",
                          AGREES if not f["unexplained"] else DIFFERS), *parts])  # fmt: skip
    different = [r for r, f in zip(rows, peer["families"], strict=True) if any(f.get(k) for k in reasons)]
    heads = ["family", "instructions", "outputs", "unexplained", *({"nan": "NaN payload", "gtr": "infinite c"}.get(k, k)
             for k in reasons)]  # fmt: skip
    return Section(f"Differences to {peer['peer']}", [
        *(Text(f"**{text.partition(':')[0]}:**{text.partition(':')[2]}") for text in reasons.values()),
        Table(heads, different, (), "Families with a difference; both packages on the same raw operands."),
        Table(heads, rows, (), folded=f"All {len(rows)} families"),
    ])  # fmt: skip


def _accuracy(a: dict[str, Any] | None) -> Section:
    title = "A language model through the units"
    if a is None:
        return Section(title, [Text("Not measured: run `python reports/mma/accuracy.py`.", "warn")])
    first = a["rows"][0]["against_float32"]
    ppl = first["reference_perplexity"]["value"]
    source = f"executed bit for bit, {first['tokens']} tokens; {a['command']}"

    def number(value: float, error: float, form: str) -> Cell:
        return Cell(form.format(value), Grade.DERIVED, source, small=f"± {error:.1g}")

    rows: Rows = []
    heading = ""
    for r in sorted(a["rows"], key=_group):
        f, own = r["against_float32"], r.get("against_operands")
        if GROUPS[_group(r)] != heading:
            heading = GROUPS[_group(r)]
            rows.append([heading])
        options = ", ".join(f"{k}={v}" for k, v in r["options"].items())
        name = f"`{short(r['instruction'])}`" if r["instruction"] and r["arch"] != "custom" else ""
        arch = r["arch"] if name else ""
        label = r["label"] if r["instruction"] else "rounded " + r["label"].partition(" ")[2]
        own_ppl = f["quantised_perplexity"]["value"]
        rows.append([
            Cell(label, small=" · ".join(x for x in (arch, name, options) if x)),
            number(f["kl"]["value"], f["kl"]["error"], "{:.2e}"),
            number(f["delta_nll"]["value"], f["delta_nll"]["error"], "{:+.5f}"),
            number(own_ppl, own_ppl * f["delta_nll"]["error"], "{:.3f}"),
            number(100 * f["top1"]["value"], 100 * f["top1"]["error"], "{:.1f} %"),
            number(own["kl"]["value"], own["kl"]["error"], "{:.2e}") if own else Cell("0", verdict=UNTESTED),
        ])  # fmt: skip
    above = _above_floor(a)
    blocks: list[Any] = [
        Text(f"SmolLM2-135M, {a['layers']}. {a['windows']} windows of {a['context']} tokens ({first['tokens']} scored) "
             f"of {a['text']}. {a['scales']}. KL in nats per token; ± is one standard error over {first['blocks']}, "
             f"Δ ln ppl and the ± of perplexity are paired. Perplexity of the float32 executor: {ppl:.3f}."
             + (" With so few windows the errors take tokens as independent, which makes them too small."
                if first["blocks"] == "tokens" else "")),
        Text("The last column compares with the same rounded operands summed exactly: what the accumulator adds. The "
             "rows “float32 sums” are its floor: numpy's product of the same operands differs in last bits only, but "
             "every layer rounds its activations anew, and a flipped rounding travels on. Accumulators near that floor "
             "cannot be told apart."),
        Text(f"**Above the floor by more than three standard errors:** {'; '.join(above) or 'none'}. The longest sum "
             "of this model has 1,536 products; wider models sum more, and lose more in narrow accumulators."),
        Table(["linear layers", "KL to float32", "Δ ln ppl", "perplexity", "top-1", "KL to exact sums"], rows),
    ]  # fmt: skip
    figure = _grid(a)
    return Section(title, [*blocks, figure] if figure else blocks)


GROUPS = {
    0: "FP16 operands", 1: "BF16 operands", 2: "TF32 operands", 3: "FP8 operands, E4M3",
    4: "FP8 operands, E4M3, units of one's own", 5: "FP8 operands, E4M3 FNUZ (AMD)",
}  # fmt: skip


def _group(row: dict[str, Any]) -> int:
    if row["arch"] == "custom":
        return 4
    return {"fp16": 0, "bf16": 1, "tf32": 2, "e4m3": 3, "e4m3fnuz": 5}[row["operands"]]


def _above_floor(a: dict[str, Any]) -> list[str]:
    """Name the units whose KL to exact sums lies above that of float32 sums, errors added in squares."""
    floors = {r["operands"]: r["against_operands"]["kl"] for r in a["rows"] if r["label"].endswith("float32 sums")}
    found = []
    for r in sorted(a["rows"], key=_group):
        if r["instruction"]:
            kl, floor = r["against_operands"]["kl"], floors[r["operands"]]
            if kl["value"] - floor["value"] > 3 * (kl["error"] ** 2 + floor["error"] ** 2) ** 0.5:
                found.append(f"{r['label']} ({kl['value']:.2e} against {floor['value']:.2e})")
    return found


def _grid(a: dict[str, Any]) -> Figure | None:
    """Draw KL over F of the custom FP8 units with L = 32 and RZ-FP32."""
    by_label = {r["label"]: r for r in a["rows"]}
    points = []
    for label, r in by_label.items():
        parts = label.split()
        if label.startswith("FP8 unit L=32 ") and parts[-1] == "RZ-FP32":
            points.append((int(parts[3].removeprefix("F=")), r["against_operands"]["kl"]))
    floor = by_label.get("e4m3 operands, float32 sums")
    if len(points) < 2 or floor is None:
        return None

    def plot(ax: Any) -> None:
        x = [f for f, _ in points]
        ax.errorbar(x, [k["value"] for _, k in points], [k["error"] for _, k in points], fmt="o-", color="#1f5fa8",
                    ms=4, lw=1.2, capsize=2, label="L = 32, RZ-FP32")  # fmt: skip
        ax.axhline(floor["against_operands"]["kl"]["value"], color="#66727f", lw=0.9, ls="--",
                   label="floor: float32 sums")  # fmt: skip
        for label, color, name in (("Hopper wgmma, FP8", "#d4581a", "Hopper wgmma (F = 13, RZ-E8M13)"),):
            if label in by_label:
                k = by_label[label]["against_operands"]["kl"]
                ax.errorbar([13], [k["value"]], [k["error"]], fmt="D", color=color, ms=5, capsize=2, label=name)
        ax.set(yscale="log", xlabel="F, fraction bits kept", ylabel="KL to exact sums, nats/token")
        ax.set_xticks(x)
        ax.set_yticks([0.03, 0.05, 0.1, 0.2], ["0.03", "0.05", "0.1", "0.2"])
        ax.minorticks_off()
        ax.legend(frameon=False, fontsize=8)

    return Figure(draw(plot), "What the FP8 accumulator adds, by its width F. Derived; bars are one standard error.")
