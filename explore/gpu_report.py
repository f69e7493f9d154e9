"""The report of a measured GPU: roofline, low-bit kernels against the vendor, attention, precompute, model, energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lutscape.explore import figures
from lutscape.explore.papers.frame import AGREES, DIFFERS, Cell, Figure, Page, Section, Table, Text, Tile, draw, render
from lutscape.hw.gpu.records import Measurement, cuda
from lutscape.hw.provenance import Grade
from lutscape.sim.gpu import energy_model, kernel_model, published

Rows = list[list[Cell | str]]
SHAPE = (14336, 4096)
"""(N, K) of the comparison by M: Llama-3-8B's gate and up projections."""
LABELS = {"gemm": "low-bit, tensor cores", "stream": "low-bit, streaming", "other": "norms and element-wise"}
VERDICT = {True: AGREES, False: DIFFERS}
MODEL = "sim/gpu/kernel_model.py, fitted on the other half"
STYLES = {
    "vendor fp16": ("cuBLASLt FP16", figures.BASELINE), "vendor fp8": ("cuBLASLt FP8", "#7d8896"),
    "vendor int8": ("cuBLASLt INT8", "#a9b7c7"), "gemm w4": ("W4 dequantised", figures.PALETTE[0]),
    "gemm w2": ("W2 dequantised", figures.PALETTE[2]), "gemm t5": ("ternary, 5 in 8 bits", figures.PALETTE[4]),
    "gemm_i8 w2a8": ("W2 x INT8", figures.PALETTE[3]), "lookup w4": ("W4 lookup", figures.PALETTE[1]),
    "lookup w2": ("W2 lookup", figures.PALETTE[10]),
}  # fmt: skip
NAMES = {
    "gemm": "low-bit weights, FP16", "gemm_bf16": "low-bit weights, BF16", "gemv_list": "lists of one token's products",
    "gemv_chain": "chains of one token's products", "gemm_i8": "2-bit weights, INT8", "lookup": "software lookup",
    "vendor": "cuBLASLt", "attention": "decode attention", "other": "norms and element-wise",
}  # fmt: skip


def write(found: Measurement, path: Path) -> Path:
    """Write the report of a measurement as one self-contained page."""
    model = kernel_model.predict(found.points, kernel_model.load(found.folder))
    html = render(page(found, model))
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(html)
    part.replace(path)
    return path


def page(found: Measurement, model: kernel_model.Fitted) -> Page:
    """Lay out the report."""
    d, rates, points = found.device, found.device["rates"], _rated(found)
    targets = _targets(points, rates, model)
    reached = sum(ok for *_, ok in targets)
    attention = model.error("attention")
    where = (
        f"{d['device']}, driver {d['driver']}, CUDA {cuda(d['cuda_runtime'])}, cuBLASLt {d['cublaslt']}, {d['date']}"
    )
    return Page(
        title=f"Measured GPU kernels: {d['device']}",
        citation=f"{where}; clocks read, not set (at most {d['max_sm_clock_mhz']} MHz); {len(points):,} points, "
        f"{d['checks_passed']} checks against references passed in the same run.",
        lead="What a GPU does with the operators that lutscape's accelerators are compared with. "
        "Each number is the median "
        "of at least nine replays of a CUDA graph of rotating copies, L2 flushed before each, and is held to the read "
        f"bandwidth ({rates['read_gb_s']:.0f} GB/s) and matrix rates of the same run. {reached} "
        f"of {len(targets)} targets "
        "are reached; the others are named below.",
        tiles=[
            Tile(f"{rates['read_gb_s'] / 1e3:.2f} TB/s", "read bandwidth", Grade.MEASURED, found.source),
            Tile(f"{rates['fp16_tera_ops']:.0f} TFLOP/s", "FP16, 8192³, cuBLASLt", Grade.MEASURED, found.source),
            Tile(f"{rates['kernel_gap_us']:.2f} µs", "an empty kernel within a graph", Grade.MEASURED, found.source),
            Tile(f"{attention:.1f} %", "model error, attention (scored half)", Grade.DERIVED, MODEL),
        ],
        sections=[
            _targets_section(targets), _roofline(points, rates), _by_batch(points), _one_token(points),
            _attention(points), _precompute(points), _model(model), _published(), _energy(found),
            _method(found),
        ],
        command="lutscape gpu report " + found.name,
    )  # fmt: skip


def _rated(found: Measurement) -> pd.DataFrame:
    p = found.points.copy()
    p["gb_s"] = (p["read_bytes"] + p["written_bytes"]) / p["median_us"] * 1e-3
    p["tera_ops"] = p["operations"] / p["median_us"] * 1e-6
    p["of_read"] = 100 * p["gb_s"] / found.device["rates"]["read_gb_s"]
    return p


def _targets(
    points: pd.DataFrame, rates: dict[str, Any], model: kernel_model.Fitted
) -> list[tuple[str, str, str, bool]]:
    """What the kernels and the model must reach: (what, target, measured, reached)."""

    def share(kernel: str, form: str, **where: int) -> pd.Series:
        chosen = (points["kernel"] == kernel) & (points["form"] == form)
        for column, value in where.items():
            chosen &= points[column] == value
        return points[chosen]["of_read"]

    rows: list[tuple[str, str, str, bool]] = []
    for form in ("w4", "w2"):
        listed, chained, alone = (
            [float(share(kernel, form, m=1, n=n, k=k).iloc[0]) for n, k in ((14336, 4096), (4096, 14336))]
            for kernel in ("gemv_list", "gemv_chain", "gemm")
        )
        text = "{:.0f} % (14336 x 4096), {:.0f} % (4096 x 14336) in one launch of 16 products".format(*listed)
        text += "; each waiting for the one before: {:.0f}, {:.0f} %; a launch each: ".format(*chained)
        text += "{:.0f}, {:.0f} %".format(*alone)
        rows.append((f"GEMV {form.upper()}, M = 1", "≥ 80 % of read bandwidth", text, min(listed) >= 80))
    for form, least in (("kv16", 80), ("kv4", 65)):
        long = share("attention", form, listed=0, m=8, n=131072)
        value = float(long.iloc[0]) if len(long) else float("nan")
        low = points[(points["kernel"] == "attention") & (points["form"] == form) & (points["listed"] == 0)]
        enough = low[low["read_bytes"] >= 2**28]
        text = f"{value:.0f} % (8 sequences of 128K); at least {enough['of_read'].min():.0f} % from 256 MB of cache on"
        rows.append(
            (f"decode attention, {form[2:]}-bit cache", f"≥ {least} %", text, bool(enough["of_read"].min() >= least))
        )
    w4 = points[(points["kernel"] == "gemm") & (points["form"] == "w4") & (points["m"] >= 512)].set_index(
        ["m", "n", "k"]
    )
    fp16 = points[(points["kernel"] == "vendor") & (points["form"] == "fp16")].set_index(["m", "n", "k"])
    ratio = (fp16["median_us"] / w4["median_us"]).dropna() * 100
    shapes = ratio.index.to_frame()[["n", "k"]].to_numpy()
    large = ratio[[tuple(shape) in ((14336, 4096), (4096, 14336)) for shape in shapes]]
    least = shapes[ratio.to_numpy().argmin()]
    text = f"{large.min():.0f}–{large.max():.0f} % at 4096 x 14336 and 14336 x 4096; median {ratio.median():.0f} %, "
    text += f"{(ratio >= 60).sum()} of {len(ratio)} points; least {ratio.min():.0f} %, at {least[0]} x {least[1]}"
    rows.append(("GEMM W4, M ≥ 512", "≥ 60 % of cuBLASLt FP16", text, bool(ratio.min() >= 60)))
    for what, families, most in (
        ("timing model, matrix products", "gemm+stream+vendor", 5.2), ("… our tensor-core kernels alone", "gemm", 5.2),
        ("timing model, attention", "attention", 10.0), ("timing model, element-wise", "other", 10.0),
    ):  # fmt: skip
        error = model.error(families)
        rows.append((what, f"MAPE ≤ {most:g} % on shapes not fitted", f"{error:.1f} %", error <= most))
    return rows


def _targets_section(rows: list[tuple[str, str, str, bool]]) -> Section:
    table: Rows = [
        [what, target, Cell(text, Grade.MEASURED), Cell("reached" if ok else "not reached", verdict=VERDICT[ok])]
        for what, target, text, ok in rows
    ]  # fmt: skip
    return Section("Targets", [Table(["what", "target", "measured", ""], table, (1, 2, 3))])


def _roofline(points: pd.DataFrame, rates: dict[str, Any]) -> Section:
    family = points["kernel"].where(points["kernel"].isin(NAMES), "other")

    def plot(ax: Any) -> None:
        x = np.logspace(-1, 4.2, 200)
        for form, label in (("fp8", "FP8"), ("fp16", "FP16")):
            peak = rates[f"{form}_tera_ops"]
            ax.plot(x, np.minimum(x * rates["read_gb_s"] * 1e-3, peak), color=figures.BASELINE, linewidth=0.9)
            ax.text(12, peak * 1.08, f"{label} {peak:.0f} TFLOP/s", fontsize=8, color=figures.MUTED)
            ax.plot([10, peak / rates["read_gb_s"] * 1e3], [peak, peak], ":", color=figures.MUTED, linewidth=0.7)
        ax.text(0.12, 1.2, f"read {rates['read_gb_s']:.0f} GB/s", fontsize=8, color=figures.MUTED)
        order = ("vendor", "gemm", "gemm_i8", "lookup", "attention", "other", "gemv_list", "gemv_chain", "gemm_bf16")
        for i, name in enumerate(order):
            p = points[family == name]
            colour = figures.BASELINE if name == "vendor" else figures.PALETTE[(i - 1) % len(figures.PALETTE)]
            intensity = p["operations"] / (p["read_bytes"] + p["written_bytes"])
            ax.scatter(
                intensity, p["tera_ops"], s=7, c=colour, linewidths=0, alpha=0.65, label=NAMES[name], rasterized=True
            )
        ax.set_xscale("log")
        ax.set_yscale("log")
        ax.set_xlim(0.1, 1.6e4)
        ax.set_ylim(1e-3, 2.6e3)
        ax.grid(True, color=figures.GRID, linewidth=0.6)
        ax.set_xlabel("operations per byte that must move")
        ax.set_ylabel("tera-operations per second")
        ax.legend(fontsize=8, frameon=False, loc="lower right", markerscale=2)

    return Section("Roofline", [
        Figure(draw(plot, 8.6, 4.4), "Every measured point. Low-bit weights count their packed bytes, with scales and "
               "padding "
               "included; points below the lines at the left are short: launch and latency bound them."),
    ])  # fmt: skip


def _by_batch(points: pd.DataFrame) -> Section:
    n, k = SHAPE
    p = points[(points["n"] == n) & (points["k"] == k) & points["kernel"].isin(["gemm", "gemm_i8", "lookup", "vendor"])]
    series = {(kernel, form): part.sort_values("m") for (kernel, form), part in p.groupby(["kernel", "form"])}

    def plot(ax: Any) -> None:
        for name, (label, colour) in STYLES.items():
            kernel, form = name.split()
            part = series[kernel, form]
            dashed = "--" if kernel == "vendor" else "-"
            ax.plot(
                part["m"], part["median_us"], dashed, marker="o", markersize=3, linewidth=1.3, color=colour, label=label
            )
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.set_xticks([1, 8, 32, 128, 512, 2048, 4096], ["1", "8", "32", "128", "512", "2048", "4096"])
        ax.grid(True, color=figures.GRID, linewidth=0.6)
        ax.set_xlabel("M (tokens)")
        ax.set_ylabel("µs")
        ax.legend(fontsize=8, frameon=False, ncols=2)

    batches = sorted(p["m"].unique())
    rows: Rows = []
    for (kernel, form), part in series.items():
        times = part.set_index("m")["median_us"]
        label = STYLES.get(f"{kernel} {form}", (f"{NAMES[str(kernel)]} {form}", ""))[0]
        rows.append([label, *(f"{times[m]:.4g}" if m in times else "–" for m in batches)])
    return Section("Lookup, dequantise, vendor: by M", [
        Figure(draw(plot, 8.6, 3.6), f"N x K = {n} x {k}; time of one product, L2 cold for weights."),
        Table(["µs", *(f"M = {m}" for m in batches)], rows, (), "Medians. Software lookup is timed up to M = 32: "
              "its time "
              "is proportional to M.", folded="The numbers"),
    ])  # fmt: skip


def _one_token(points: pd.DataFrame) -> Section:
    """One token's products: a launch each, in lists and in chains; and BF16 activations beside FP16."""
    listed = points[points["kernel"] == "gemv_list"]
    rows: Rows = []
    for r in listed.sort_values(["form", "n", "k"], ascending=[False, True, True]).itertuples():
        cells = []
        for kernel in ("gemv_list", "gemv_chain", "gemm"):
            at = (points["kernel"] == kernel) & (points["form"] == r.form) & (points["m"] == 1)
            p = points[at & (points["n"] == r.n) & (points["k"] == r.k)].iloc[0]
            cells.append(f"{p['median_us'] / max(p['listed'], 1):.2f} ({p['of_read']:.0f} %)")
        rows.append([f"{str(r.form).upper()}, {r.n} x {r.k}", *cells])
    both = points[points["kernel"] == "gemm_bf16"].merge(
        points[points["kernel"] == "gemm"], on=["form", "m", "n", "k"], suffixes=("", "_fp16")
    )
    ratio = 100 * (both["median_us"] / both["median_us_fp16"] - 1)
    return Section("One token", [
        Text("Weights depend on nothing: in one launch of 16 products (`kernels/gemv_list.cu`) a thread streams them "
             "into shared memory ahead of the products, across their ends. Lists hold products of independent "
             "vectors (experts, or queries, keys and values, or gates and inputs); in chains each product waits "
             "until all blocks have the results of the one before, which takes 2 to 4 µs of reduction, signal and "
             "loading that the weights cannot hide. Activations are three signed bytes each, exact to 2^-22 of the "
             "largest of 128 (`kernels/digits.cuh`), and the sums integers: per four weights one AND instead of "
             "three instructions."),
        Table(["µs per product (share of read bandwidth)", "list", "chain", "a launch each"], rows, ()),
        Text(f"BF16 activations (`gemm_bf16`, {len(both)} points): {ratio.min():+.0f} to {ratio.max():+.0f} % of the "
             f"time with FP16, median {ratio.median():+.1f} %.", "note"),
    ])  # fmt: skip


def _attention(points: pd.DataFrame) -> Section:
    p = points[points["kernel"] == "attention"]
    shapes = [(1, 32, 32), (1, 32, 8), (8, 32, 8), (16, 64, 8)]

    def plot(axes: Any) -> None:
        for ax, dense in zip(axes, (True, False), strict=True):
            for i, (m, heads, kv) in enumerate(shapes):
                q = p[(p["m"] == m) & (p["heads"] == heads) & (p["kv_heads"] == kv)]
                base = q[(q["form"] == "kv16") & (q["listed"] == 0)].set_index("n")["median_us"]
                lines = (("kv4", 0, "-"), ("kv2", 0, "--")) if dense else (("kv16", 32, "-"), ("kv4", 32, "--"))
                for form, listed, style in lines:
                    other = q[(q["form"] == form) & (q["listed"] == listed)].set_index("n")["median_us"]
                    gain = (base / other).dropna()
                    label = f"{m} x {heads}/{kv} heads" if style == "-" else None
                    ax.plot(
                        gain.index,
                        gain,
                        style,
                        color=figures.PALETTE[i],
                        marker="o",
                        markersize=3,
                        linewidth=1.2,
                        label=label,
                    )
            ax.set_xscale("log", base=2)
            ticks = [1024 << i for i in range(0, 8)]
            ax.set_xticks(ticks, [f"{t // 1024}K" for t in ticks])
            ax.set_ylim(0, None)
            ax.grid(True, color=figures.GRID, linewidth=0.6)
            ax.set_xlabel("context")
            ax.legend(fontsize=8, frameon=False, loc="upper left")
        axes[0].set_ylabel("speed-up over FP16 cache")
        axes[0].set_title("INT4 (solid) and INT2 (dashed) caches")
        axes[1].set_title("block-sparse, 2048 keys: FP16 (solid), INT4 (dashed)")

    dense = p[p["listed"] == 0]
    rows: Rows = []
    for m, heads, kv in shapes:
        for form in ("kv16", "kv4", "kv2"):
            q = dense[
                (dense["m"] == m) & (dense["heads"] == heads) & (dense["kv_heads"] == kv) & (dense["form"] == form)
            ]
            at = q.set_index("n")
            cells = [f"{at['median_us'][n]:.4g} ({at['of_read'][n]:.0f} %)" if n in at.index else "–"
                     for n in (1024, 8192, 32768, 131072)]  # fmt: skip
            rows.append([f"{m} x {heads}/{kv} heads, {form[2:]}-bit", *cells])
    return Section("Decode attention: low-bit and block-sparse caches", [
        Figure(draw(plot, 8.6, 3.3, 2), "Against the same kernel over an FP16 cache. Short contexts of one sequence "
               "are bound by the latency of two dependent kernels; speed-ups approach the ratio of bytes "
               "(3.8 and 7.1) where the cache "
               "is large. Letting the last block of a head combine the parts, instead of the second kernel, was tried: "
               "9.3 became 10.8 µs at 1K keys (32/8 heads, FP16), so the second kernel stays."),
        Table(["µs (share of read bandwidth)", "1K", "8K", "32K", "128K"], rows, (), folded="The numbers"),
    ])  # fmt: skip


def _precompute(points: pd.DataFrame) -> Section:
    rows: Rows = []
    for k in (4096, 8192, 12288):
        for m in (1, 128, 4096):

            def at(kernel: str, m: int = m, k: int = k) -> float:
                return float(
                    points[(points["kernel"] == kernel) & (points["m"] == m) & (points["k"] == k)]["median_us"].iloc[0]
                )

            norm, alone, fused = at("rms_norm"), at("precompute"), at("rms_norm_tables")
            rows.append([f"{m} x {k}", f"{norm:.2f}", f"{alone:.2f}", f"{fused:.2f}", f"{norm + alone - fused:+.2f}",
                         f"{100 * (fused - norm) / norm:+.0f} %"])  # fmt: skip
    return Section("Table precompute, alone and in the norm", [
        Text("What a lookup machine adds to the GPU's work: eight INT8 sums and a scale for every four activations "
             "(`kernels/element.cu`), as a kernel of its own or within RMSNorm, whose result then is never written."),
        Table(["rows x width", "norm, µs", "precompute alone, µs", "fused, µs", "fusing saves, µs", "over norm"], rows),
    ])  # fmt: skip


def _model(model: kernel_model.Fitted) -> Section:
    p = model.points
    scored = p[~p["fits"]]

    def plot(axes: Any) -> None:
        panels = {
            "matrix products": ("gemm", "stream", "vendor", "lookup"),
            "attention, element-wise": ("attention", "other"),
        }
        for ax, (title, families) in zip(axes, panels.items(), strict=True):
            low, high = 1e9, 0.0
            for i, name in enumerate(families):
                q = scored[scored["family"] == name]
                style = {"s": 7, "linewidths": 0, "alpha": 0.7, "rasterized": True}
                ax.scatter(q["median_us"], q["model_us"], c=figures.PALETTE[i], label=LABELS.get(name, name), **style)
                low, high = min(low, q["median_us"].min()), max(high, q["median_us"].max())
            ax.plot([low, high], [low, high], color=figures.BASELINE, linewidth=0.8)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.grid(True, color=figures.GRID, linewidth=0.6)
            ax.set_title(title)
            ax.set_xlabel("measured, µs")
            ax.legend(fontsize=8, frameon=False, markerscale=2)
        axes[0].set_ylabel("model, µs")

    rows: Rows = []
    for name, families in kernel_model.ERRORS.items():
        q = p[p["family"].isin(families.split("+"))]
        rows.append([name, f"{q['fits'].sum()}", f"{model.error(families, True):.1f} %", f"{(~q['fits']).sum()}",
                     Cell(f"{model.error(families):.1f} %", Grade.DERIVED, "mean |model / measured - 1|")])  # fmt: skip
    odd = scored[(scored["n"] % 8 != 0) & (scored["n"] > 0) & scored["family"].isin(["gemm", "stream", "vendor"])]
    even = scored[scored["family"].isin(["gemm", "stream", "vendor"]) & ~scored.index.isin(odd.index)]
    without = 100 * np.abs(even["model_us"] / even["median_us"] - 1).mean()
    return Section("Timing model against measurement", [
        Figure(draw(plot, 8.6, 3.4, 2), "Shapes that were not used for fitting."),
        Table(["", "fitting points", "error", "scored points", "error"], rows, (), "Mean absolute percentage "
              "error. Even-"
              "numbered shapes fit the constants of `sim/gpu/kernel_model.py`, odd ones score; the formulas follow the "
              "kernels' own tiling, the constants are in `model.json`."),
        Text("The output projection of BitNet-3B (N = 32002, no multiple of 8) falls into the "
             "scored half: the vendor's "
             "library and our epilogue store it unaligned, and no fitted shape shows that. "
             "Without it the matrix products' "
             f"error is {without:.1f} %.", "note"),
    ])  # fmt: skip


def _published() -> Section:
    scores = published.score()
    rows: Rows = [
        [s.point.machine, s.point.what, Cell(f"{s.point.microseconds:.4g}", Grade.PUBLISHED, s.point.source),
         Cell(f"{s.model_us:.4g}", Grade.DERIVED, "sim/gpu/timing.py"), f"{100 * s.error:+.0f} %"]
        for s in scores
    ]  # fmt: skip
    machines = list(dict.fromkeys(s.point.machine for s in scores))
    errors = "; ".join(f"{m} {published.mape(scores, m):.1f} %" for m in machines)
    sources = "; ".join(dict.fromkeys(s.point.source for s in scores))
    return Section("GPUs that were not measured", [
        Text(f"The tile model of their specs, in which nothing is fitted, beside times that others published. Mean "
             f"absolute percentage error: {errors}. Sources: {sources}"),
        Table(["machine", "what", "published, µs", "model, µs", ""], rows, (2, 3), "The A100's ten points read 67 MB "
              "each (the last 134 MB): the published kernels take 56 to 78 µs for them, 0.9 to 1.2 TB/s of 1.6."),
    ])  # fmt: skip


def _energy(found: Measurement) -> Section:
    if found.energy.empty:
        return Section("Energy", [Text("No energy loops were run.", "note")])
    idle = found.device["idle_power_w"]
    model = energy_model.fit(found.energy, idle)
    rows: Rows = [
        ["idle, context open", f"{idle:.0f} W", Cell("", Grade.MEASURED, found.source)],
        ["active, above idle", f"{model.active_w:.0f} W", Cell("", Grade.DERIVED, "least squares")],
        ["DRAM traffic", f"{model.pj_per_byte:.1f} pJ/byte", Cell("", Grade.DERIVED, "least squares")],
    ]
    for name, value in model.pj_per_operation.items():
        rows.append([name, f"{value:.3g} pJ/operation", Cell("", Grade.DERIVED, "least squares")])
    loops: Rows = []
    for r in model.loops.to_dict("records"):
        what = f"{r['kernel']} {r['form']}, {r['m']} x {r['n']} x {r['k']}"
        what += f", {r['listed']} blocks" if r["listed"] else ""
        loops.append([what, f"{r['joules'] / r['seconds']:.0f}", f"{1e3 * r['joules'] / r['operators']:.4g}",
                      f"{r['sm_clock_mhz']}", f"{100 * (r['model_j'] / r['joules'] - 1):+.0f} %"])  # fmt: skip
    return Section("Energy", [
        Text(f"NVML's energy counter around loops of 1.5 s. {len(loops)} loops, fitted by "
             "non-negative least squares with a "
             f"mean error of {model.error:.1f} %. A multiply-accumulate is two operations. At "
             "full rate the card runs at "
             "its 700 W limit and lowers its clock: the last column but one."),
        Table(["", "constant", ""], rows, (1,), narrow=True),
        Table(["loop", "W", "mJ per operator", "MHz", "model"], loops, (), folded=f"All {len(loops)} loops"),
    ])  # fmt: skip


def _method(found: Measurement) -> Section:
    d = found.device
    rates = "; ".join(f"{k} {v:g}" for k, v in d["rates"].items())
    after = "; ".join(f"{k} {v:g}" for k, v in d.get("rates_after", {}).items())
    return Section("How it was measured", [
        Text("`lutscape gpu measure` checks every kernel against float64 references and the "
             "project's quantisers, then times "
             "all points in one process. A graph holds an operator up to 64 times on different "
             "weights or caches (256 MB "
             "where they are small). Before each replay 256 MB are read, which empties L2 "
             "without leaving dirty lines; time "
             "is between events on the GPU. The kernels pass compute-sanitizer's memcheck and "
             "racecheck on the small shapes "
             "of `lutscape gpu check --small`."),
        Text(f"Rates before: {rates}. After: {after}."),
        Text("Not measured: head dimensions other than 128, and any GPU but this one; A100 and RTX 4090 stay on "
             "published points. Measured but not modelled: lists and chains of one token's products, and BF16 "
             "activations; their few shapes are too few to fit on half of them."),
    ])  # fmt: skip
