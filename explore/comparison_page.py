"""The page of a comparison: one table for each workload, accuracy, what is swept, what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lutscape.explore import accuracy
from lutscape.explore.comparison_file import Comparison
from lutscape.explore.figures import CHOSEN, MUTED, PALETTE
from lutscape.explore.papers.frame import Cell, Figure, Page, Section, Table, Text, Tile, draw
from lutscape.explore.papers.frame import render as render_page
from lutscape.explore.text import metric_label, names, percent, plain, quantity, significant
from lutscape.hw.ppa import METRICS
from lutscape.hw.provenance import Grade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("time_to_first_token_s", "time_per_token_s", "energy_per_token_j")
MISSING = {
    "time_to_first_token_s": "no prompt in this workload",
    "time_per_token_s": "no decode step in this workload",
    "energy_per_token_j": "no decode step in this workload",
}


def render(comparison: Comparison, document: dict[str, Any]) -> str:
    """Return the page as one self-contained HTML document."""
    return render_page(page(comparison, document))


def page(comparison: Comparison, document: dict[str, Any]) -> Page:
    """Lay the numbers of ``comparison.json`` out."""
    file, works = comparison.file, document["workloads"]
    first = next(iter(works.values()))
    sections = [Section(title(name, work), _workload(work)) for name, work in works.items()]
    return Page(
        title=f"{file.name}: one model, {len(file.machines)} machines",
        citation=file.description,
        lead=lead(next(iter(works)), first),
        tiles=tiles(first),
        sections=[*sections, _accuracy(comparison, works), _designs(works), _rules(comparison, works)],
        command=f"lutscape sweep {file.name}",
        versions=document["versions"],
        kicker="comparison of machines",
    )


def title(name: str, work: dict[str, Any]) -> str:
    """Return the heading of a workload."""
    parts = [f"{work['prompt_tokens']} prompt" if work["prompt_tokens"] else "",
             f"{work['decode_tokens']} generated tokens" if work["decode_tokens"] else ""]  # fmt: skip
    batch = f", batch {work['batch']}" if work["batch"] > 1 else ""
    return f"{work['model']}: {' + '.join(p for p in parts if p)}{batch} ({name})"


def ran(work: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that have a result."""
    return [r for r in work["rows"] if "refused" not in r]


def _best(rows: Sequence[dict[str, Any]], metric: str) -> dict[str, Any] | None:
    have = [r for r in rows if metric in r["metrics"]]
    sign = -1 if METRICS[metric][1] == "maximize" else 1
    return min(have, key=lambda r: sign * r["metrics"][metric]["value"]) if have else None


def lead(name: str, work: dict[str, Any]) -> str:
    """Return the first paragraph: who is best at what on the first workload."""
    rows, parts = ran(work), []
    for metric in ("time_to_first_token_s", "time_per_token_s", "energy_per_token_j"):
        best = _best(rows, metric)
        if best is not None:
            value = quantity(best["metrics"][metric]["value"], METRICS[metric][0])
            parts.append(f"{best['machine']} has the least {metric_label(metric)} ({value})")
    small = min((r for r in rows if "memory" in r["areas"] or "arithmetic" in r["areas"]), key=total_area, default=None)
    if small is not None:
        parts.append(f"{small['machine']} is the smallest ({significant(total_area(small))} mm²)")
    refused = [r["machine"] for r in work["rows"] if "refused" in r]
    rest = f" {names(refused)} cannot run it." if refused else ""
    return f"On {work['model']} ({name}): {names(parts)}. No machine is best at everything.{rest}"


def total_area(row: dict[str, Any]) -> float:
    """mm² of arithmetic, memory and the rest that is counted."""
    return float(sum(a["value"] for a in row["areas"].values()))


def tiles(work: dict[str, Any]) -> list[Tile]:
    """Return the headline numbers."""
    found = []
    for metric in COLUMNS:
        best = _best(ran(work), metric)
        if best is not None:
            m = best["metrics"][metric]
            label = f"{metric_label(metric)}, least: {best['machine']}"
            found.append(Tile(quantity(m["value"], m["unit"]), label, Grade(m["grade"]), m["source"]))
    return found


def _workload(work: dict[str, Any]) -> list[Any]:
    heads = ["machine", *(metric_label(n) for n in COLUMNS), "arithmetic, mm²", "on-chip memory, mm²",
             "also counted, mm²", "waits for"]  # fmt: skip
    rows: list[list[Cell | str]] = []
    for row in work["rows"]:
        if "refused" in row:
            rows.append([_name(row), *(Cell("–", small="cannot run") for _ in heads[1:-1]), _short(row["refused"])])
            continue
        waits = ", ".join(f"{k} {percent(v)}" for k, v in list(row["bound_by"].items())[:2])
        rows.append([_name(row), *(_metric(row, n) for n in COLUMNS),
                     *(_area(row, kind) for kind in ("arithmetic", "memory", "rest")), waits])  # fmt: skip
    for device in work["measured"]:
        rows.append(_measured(device, len(heads)))
    formats = f"weights {work['weights']}, activations {work['activations']}, KV cache {work['kv']}"
    blocks: list[Any] = [Table(heads, rows, left=[len(heads) - 1], caption=f"One trace for all: {formats}.")]
    if work["decode_tokens"] and len(ran(work)) > 1:
        blocks.insert(0, Figure(draw(lambda ax: scatter(ax, work), 8.6, 3.2),
                                "Energy and time of one generated token; the area of a disc grows with what is counted "
                                "of the machine. Logarithmic axes."))  # fmt: skip
    return blocks


def _short(reason: str) -> str:
    """Return a reason without where the trials lie."""
    return reason.split("; the trials are kept")[0]


def _name(row: dict[str, Any]) -> Cell:
    small = row["hardware"] if row.get("trial") is None else f"{row['hardware']}, trial {row['trial']}"
    return Cell(f"**{row['machine']}**", small=small)


def _metric(row: dict[str, Any], name: str) -> Cell:
    m = row["metrics"].get(name)
    if m is None:
        return Cell("–", small=MISSING[name])
    return Cell(quantity(m["value"], m["unit"]), Grade(m["grade"]), m["source"])


def _area(row: dict[str, Any], kind: str) -> Cell:
    a = row["areas"].get(kind)
    if a is None:
        why = {"arithmetic": "inside memory", "memory": "none on chip", "rest": "nothing else priced"}[kind]
        return Cell("–", small=why)
    return Cell(significant(a["value"]), Grade(a["grade"]), a["source"])


def _measured(device: dict[str, Any], columns: int) -> list[Cell | str]:
    """Return the row of a GPU's measurements."""
    label = Cell(f"**{device['device']}, measured**", small=device.get("about", ""))
    if "reason" in device:
        return [label, *(Cell("–", small=device["reason"]) for _ in range(columns - 2)), ""]
    cells: list[Cell | str] = [label]
    for name in COLUMNS:
        m = device["metrics"].get(name)
        missing = Cell("–", small=device.get("missing", {}).get(name, MISSING[name]))
        cells.append(missing if m is None else Cell(quantity(m["value"], METRICS[name][0]), Grade(m["grade"]),
                                                   m["source"]))  # fmt: skip
    return [*cells, *(Cell("–", small="whole die") for _ in range(columns - len(cells) - 1)),
            device.get("waits", "")]  # fmt: skip


def together(points: Sequence[tuple[float, ...]], near: float = 1.35) -> list[list[int]]:
    """Return which points are so near to each other that they share a label, as lists of indices."""
    groups: list[list[int]] = []
    for i, point in enumerate(points):
        for group in groups:
            if all(1 / near < a / b < near for a, b in zip(point, points[group[0]], strict=True)):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def scatter(ax: Axes, work: dict[str, Any]) -> None:
    """Draw energy against time per token."""
    shown = ran(work)
    points = [tuple(row["metrics"][n]["value"] for n in ("time_per_token_s", "energy_per_token_j")) for row in shown]
    for i, (row, (x, y)) in enumerate(zip(shown, points, strict=True)):
        size = 30 + 25 * max(total_area(row), 0.01) ** 0.5
        ax.scatter(x * 1e6, y * 1e3, s=size, color=PALETTE[i % len(PALETTE)], alpha=0.75, linewidths=0)
    for members in together(points):
        x, y = points[members[-1]]
        text = "\n".join(shown[i]["machine"] for i in members)
        ax.annotate(text, (x * 1e6, y * 1e3), xytext=(11, 0), textcoords="offset points", fontsize=7.5, va="center")
    for device in work["measured"]:
        m = device.get("metrics", {})
        if {"time_per_token_s", "energy_per_token_j"} <= m.keys():
            x, y = m["time_per_token_s"]["value"] * 1e6, m["energy_per_token_j"]["value"] * 1e3
            ax.scatter(x, y, marker="x", s=36, color=CHOSEN)
            ax.annotate(f"{device['device']}, measured", (x, y), xytext=(5, 4), textcoords="offset points",
                        fontsize=7.5, color=CHOSEN)  # fmt: skip
        elif "time_per_token_s" in m:
            x = m["time_per_token_s"]["value"] * 1e6
            ax.axvline(x, color=CHOSEN, linewidth=0.8, linestyle=":")
            ax.annotate(f"{device['device']}, measured time", (x, 0.02), xycoords=("data", "axes fraction"),
                        fontsize=7.5, color=CHOSEN, rotation=90, ha="right")  # fmt: skip
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlabel("time per token, µs")
    ax.set_ylabel("energy per token, mJ")
    ax.margins(0.12)
    ax.grid(color=MUTED, alpha=0.15)


def picture(work: dict[str, Any]) -> bytes:
    """Return the figure of a workload as PNG."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    from lutscape.explore import figures

    with matplotlib.rc_context(figures.STYLE):
        canvas = Canvas(figsize=(8.6, 3.6), layout="constrained")
        FigureCanvasAgg(canvas)
        scatter(canvas.subplots(), work)
        return figures.render(canvas)[1]


def _accuracy(comparison: Comparison, works: dict[str, Any]) -> Section:
    models = list(dict.fromkeys(w["model"] for w in works.values()))
    rows: list[list[Cell | str]] = []
    for name, entry in comparison.file.machines.items():
        found = next(
            (r["accuracy"] for w in works.values() for r in w["rows"]
             if r["machine"] == name and "kl" in r.get("accuracy", {})), None,
        )  # fmt: skip
        if found is None:
            reasons = [r["accuracy"]["reason"] for w in works.values() for r in w["rows"]
                       if r["machine"] == name and "reason" in r.get("accuracy", {})]  # fmt: skip
            why = reasons[0] if reasons else "it runs none of the workloads"
            rows.append([f"**{name}**", entry.hardware, *(Cell("–", small=why) for _ in range(3)), ""])
            continue

        def mean(key: str, form: str, found: dict[str, Any] = found) -> Cell:
            return Cell(f"{found[key]['value']:{form}} ± {found[key]['error']:{form}}", Grade.MEASURED, found["golden"])

        rows.append([Cell(f"**{name}**", small=found["label"]), f"`{found['golden']}`", mean("kl", ".2g"),
                     mean("perplexity", ".4g"), mean("top1", ".1%"), found["note"]])  # fmt: skip
    blocks: list[Any] = []
    for model in models:
        if accuracy.known(model):
            t = accuracy.load(model)
            blocks.append(Text(
                f"{model} on {t.windows} windows of {t.context} tokens of {t.text}, standard errors over {t.blocks}; "
                f"stored weights in FP32: perplexity {t.reference_perplexity:.2f}. Every linear layer of the blocks is "
                "computed by the machine's golden model, bit for bit."
            ))  # fmt: skip
            others = [e for key, e in t.entries.items()
                      if key not in {m.accuracy for m in comparison.file.machines.values()}]  # fmt: skip
            for e in others:
                rows.append([Cell(f"{e.label}", small="not in this comparison"), f"`{e.golden}`",
                             Cell(f"{e.kl.value:.2g} ± {e.kl.error:.2g}", Grade.MEASURED, e.golden),
                             Cell(f"{e.perplexity.value:.4g} ± {e.perplexity.error:.4g}", Grade.MEASURED, e.golden),
                             Cell(f"{e.top1.value:.1%} ± {e.top1.error:.1%}", Grade.MEASURED, e.golden),
                             e.note])  # fmt: skip
    unknown = [m for m in models if not accuracy.known(m)]
    if unknown:
        blocks.append(Text(f"{names(unknown)}: shapes alone, so nothing is said of their accuracy.", "note"))
    heads = ["machine", "golden model", "KL, nats per token", "perplexity", "same first token", ""]
    return Section("Accuracy", [*blocks, Table(heads, rows, left=[1, 5])])


def _designs(works: dict[str, Any]) -> Section:
    rows: list[list[Cell | str]] = []
    for name, work in works.items():
        swept = [r for r in ran(work) if r.get("trial") is not None]
        if swept:
            rows.append([name])
        for row in swept:
            text = ", ".join(f"{k.rsplit('.', 1)[-1]} {plain(v)}" for k, v in row["parameters"].items())
            rows.append([row["machine"], Cell(str(row["trial"])), Cell(str(row["front"])), text,
                         f"`lutscape choose DIR/{row['directory']}`"])  # fmt: skip
    text = "Of each swept machine, the point of its front that lies nearest to the best value of every objective."
    heads = ["machine", "trial", "points on its front", "parameters", "hand it over"]
    return Section("Chosen designs", [Text(text), Table(heads, rows, left=[3, 4])])


def _rules(comparison: Comparison, works: dict[str, Any]) -> Section:
    rows: list[list[Cell | str]] = []
    seen: set[str] = set()
    for work in works.values():
        for row in ran(work):
            if row["machine"] not in seen:
                seen.add(row["machine"])
                rows.append([f"**{row['machine']}**", row["node"], row["area_convention"], row["note"]])
    text = (
        "Area is split by one rule: arithmetic of linear layers (arrays, table builders, tensor cores, distance "
        "elements) and on-chip memory, whether a family prices it itself or, for GPUs, its size is known and the "
        "node's SRAM density does. Weights in ROM are on-chip memory; all other machines keep weights in DRAM, whose "
        "energy is counted and whose area is not. Constraints on swept designs: "
        f"{'; '.join(comparison.file.constraints) or 'none'}; objectives: {', '.join(comparison.file.objectives)}."
    )
    return Section("What is counted", [Text(text), Table(["machine", "node", "area counts", "to know"], rows,
                                                         left=[1, 2, 3])])  # fmt: skip
