"""Figures of the report. Data in, matplotlib Figure out; nothing is shown or written here."""

from __future__ import annotations

import functools
import io
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from lutscape.explore import activity, pareto
from lutscape.explore.space import Domain
from lutscape.explore.text import field_unit, metric_label, percent, plain, quantity, significant
from lutscape.hw.ppa import METRICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

P = ParamSpec("P")
F = TypeVar("F")

INK, MUTED, GRID = "#1d2733", "#6b7785", "#e3e7ec"
FRONT, CHOSEN, BASELINE, FEASIBLE, INFEASIBLE = "#1f5fa8", "#d4581a", "#1d2733", "#a9b7c7", "#e3c4bd"
PALETTE = (
    "#1f5fa8", "#d4581a", "#4c9a6a", "#8a63b0", "#c2a032", "#4aa3b8",
    "#b0486a", "#7d8896", "#2f7d7d", "#a3c1e0", "#e8b08f", "#b7d6c2",
)  # fmt: skip
STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica Neue", "Helvetica", "Arial", "Liberation Sans", "DejaVu Sans"],
    "font.size": 9,
    "axes.edgecolor": "#9aa5b1",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.fonttype": "none",
    "svg.hashsalt": "lutscape",
}
RASTER_ABOVE = 3000
"""Points above which a cloud is drawn as pixels inside the vector figure."""


@dataclass(frozen=True)
class Marked:
    """A machine to be marked in the Pareto figure.

    Attributes:
        label: printed beside the marker.
        metrics: its numbers.
        same_area: its area counts what the designs' area counts.
    """

    label: str
    metrics: Mapping[str, float]
    same_area: bool = True


def _styled(draw: Callable[P, F]) -> Callable[P, F]:
    """Draw with the report's style, and leave the caller's as it is."""

    @functools.wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> F:
        import matplotlib

        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


@_styled
def render(figure: Figure) -> tuple[str, bytes]:
    """Return a figure as SVG text and as PNG (200 dots per inch); the same figure, the same bytes."""
    svg, png = io.StringIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": "lutscape"})
    figure.savefig(png, format="png", dpi=200, metadata={"Software": "lutscape"})
    return svg.getvalue(), png.getvalue()


def _new(rows: int, columns: int, width: float, height: float, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure in inches and its axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, list(axes.flat)


def _log_axis(ax: Axes, which: str, values: Sequence[float], unit: str) -> None:
    """Scale an axis logarithmically with labels in SI prefixes; linear where values touch zero."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axis: Axis = ax.xaxis if which == "x" else ax.yaxis
    finite = [v for v in values if math.isfinite(v)]
    axis.grid(True, color=GRID, linewidth=0.6)
    if not finite or min(finite) <= 0:
        axis.set_major_formatter(FuncFormatter(lambda v, _: quantity(v, unit, 3)))
        return
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    margin = _margin(finite)
    low, high = min(finite) / margin, max(finite) * margin
    decades = math.log10(high / low)
    steps: Sequence[float] = (1,) if decades > 2.6 else (1, 3) if decades > 1.7 else (1, 2, 5)
    if decades < 0.7:
        steps = (
            (1, 1.5, 2, 3, 4, 5, 6, 8) if decades > 0.35 else (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9)
        )
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [s * 10.0**e for e in exponents for s in steps if low <= s * 10.0**e <= high]
    if decades < 0.15:
        ticks = list(np.linspace(low, high, 5)[1:-1])
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda v, _: _short(v, unit, ticks)))
    (ax.set_xlim if which == "x" else ax.set_ylim)(low, high)


def _margin(values: Sequence[float]) -> float:
    """Return the factor between the last value a logarithmic axis must show and its end."""
    return min(1.25, max(1.02, (max(values) / min(values)) ** 0.08))


def _short(value: float, unit: str, ticks: Sequence[float]) -> str:
    digits = 3 if len(ticks) > 1 and min(b / a for a, b in itertools.pairwise(ticks)) < 1.1 else 2
    number, _, rest = quantity(value, unit, digits).partition(" ")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return f"{number} {rest}".strip()


@_styled
def pareto_front(frame: pd.DataFrame, objectives: Sequence[str], marked: Sequence[Marked]) -> Figure | None:
    """Draw the designs in every plane of two objectives (of the first against the others above three).

    Args:
        frame: trials, see :func:`lutscape.explore.store.table`.
        objectives: metric names; None is returned for a single one.
        marked: baselines.
    """
    if len(objectives) < 2:
        return None
    if len(objectives) <= 3:
        pairs = list(itertools.combinations(objectives, 2))
    else:
        pairs = [(objectives[0], other) for other in objectives[1:]]
    columns = min(len(pairs), 3)
    rows = -(-len(pairs) // columns)
    figure, axes = _new(rows, columns, 11 if columns > 1 else 7.5, 4.1 * rows + 0.1)
    done = frame[frame["state"] == "complete"].drop_duplicates(list(objectives))
    clouds = (
        ("outside a constraint", done[~done["feasible"]], INFEASIBLE, 10, 1),
        ("dominated", done[done["feasible"] & ~done["is_pareto"]], FEASIBLE, 12, 2),
        ("Pareto front", done[done["is_pareto"]], FRONT, 20, 4),
    )
    for index, (ax, (x, y)) in enumerate(zip(axes, pairs, strict=False)):
        for label, rows_, colour, size, order in clouds:
            if len(rows_):
                ax.scatter(
                    rows_[x], rows_[y], s=size, c=colour, linewidths=0, zorder=order, label=label,
                    rasterized=len(rows_) > RASTER_ABOVE,
                )  # fmt: skip
        _staircase(ax, done[done["feasible"]], x, y)
        for machine in marked:
            solid = machine.same_area or "area_mm2" not in (x, y)
            ax.scatter(
                [machine.metrics[x]], [machine.metrics[y]], s=34, marker="D", zorder=5, linewidths=1.0,
                facecolors=BASELINE if solid else "white", edgecolors=BASELINE,
            )  # fmt: skip
        chosen = frame[frame["is_chosen"]].iloc[0]
        ax.scatter([chosen[x]], [chosen[y]], s=150, marker="*", c=CHOSEN, zorder=6, edgecolors="white", linewidths=0.6)
        _log_axis(ax, "x", _in_view(done, x, marked), METRICS[x][0])
        _log_axis(ax, "y", _in_view(done, y, marked), METRICS[y][0])
        ax.set_xlabel(_arrowed(x))
        ax.set_ylabel(_arrowed(y))
        points = [("chosen", chosen[x], chosen[y], CHOSEN)]
        points += [(m.label, m.metrics[x], m.metrics[y], BASELINE) for m in marked]
        _label(ax, points)
        if index == 0:
            handles, labels = ax.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside upper left", ncols=3, frameon=False, fontsize=8.5,
                          handletextpad=0.2, columnspacing=1.4)  # fmt: skip
    for ax in axes[len(pairs) :]:
        ax.remove()
    return figure


def _in_view(done: pd.DataFrame, name: str, marked: Sequence[Marked]) -> list[float]:
    """Return the values an axis must show: front, baselines, and all designs but the worst tenth."""
    better, worse = (0.98, 0.1) if METRICS[name][1] == "maximize" else (0.02, 0.9)
    ends = [float(done[name].quantile(q)) for q in (better, worse)]
    return [*done.loc[done["is_pareto"], name], *ends, *(m.metrics[name] for m in marked)]


def outside_view(frame: pd.DataFrame, objectives: Sequence[str], marked: Sequence[Marked]) -> int:
    """Return how many dots the Pareto figure leaves out at its edges."""
    if len(objectives) < 2:
        return 0
    done = frame[frame["state"] == "complete"].drop_duplicates(list(objectives))
    outside = pd.Series(False, index=done.index)
    for name in objectives:
        shown = _in_view(done, name, marked)
        if min(shown) > 0:
            margin = _margin(shown)
            outside |= (done[name] < min(shown) / margin) | (done[name] > max(shown) * margin)
    return int(outside.sum())


def _arrowed(name: str) -> str:
    return f"{metric_label(name)} ({'more' if METRICS[name][1] == 'maximize' else 'less'} is better)"


def _staircase(ax: Axes, feasible: pd.DataFrame, x: str, y: str) -> None:
    """Draw the front of this plane alone, as the boundary of what was reached."""
    points = pareto.costs([feasible[x].to_numpy(), feasible[y].to_numpy()], [x, y])
    front = feasible[pareto.non_dominated(points)].sort_values([x, y])
    ax.step(front[x], front[y], where="post" if METRICS[x][1] == "minimize" else "pre",
            color=FRONT, linewidth=0.9, alpha=0.55, zorder=3)  # fmt: skip


def _label(ax: Axes, points: Sequence[tuple[str, float, float, str]]) -> None:
    """Write labels beside points, shifted apart where two would overlap."""
    ax.figure.canvas.draw()
    placed: list[tuple[float, float, float, float]] = []
    box = ax.get_window_extent()
    for text, x, y, colour in points:
        px, py = ax.transData.transform((x, y))
        width, height = 5.2 * len(text) * ax.figure.dpi / 72, 10 * ax.figure.dpi / 72
        candidates = [
            (9, 0, "left"),
            (-9, 0, "right"),
            (7, 11, "left"),
            (-7, 11, "right"),
            (7, -11, "left"),
            (-7, -11, "right"),
            (7, 22, "left"),
            (-7, 22, "right"),
            (7, -22, "left"),
            (-7, -22, "right"),
        ]
        scale = ax.figure.dpi / 72
        for dx, dy, align in candidates:
            left = px + dx * scale - (width if align == "right" else 0)
            bottom = py + dy * scale - height / 2
            spot = (left, bottom, left + width, bottom + height)
            inside = spot[0] >= box.x0 - 2 and spot[2] <= box.x1 + 14 and spot[1] >= box.y0 and spot[3] <= box.y1 + 6
            if inside and not any(_overlap(spot, other) for other in placed):
                break
        else:
            dx, dy, align = candidates[0]
        placed += [spot, (px - 5, py - 5, px + 5, py + 5)]
        ax.annotate(text, (x, y), (dx, dy), textcoords="offset points", ha=align, va="center", fontsize=8,
                    color=colour, zorder=7, fontweight="bold" if colour == CHOSEN else "normal",
                    path_effects=_halo())  # fmt: skip


def _halo() -> list[Any]:
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="white")]


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


@_styled
def stacked_bars(
    bars: Mapping[str, Mapping[str, float]], unit: str, keep: int = 9, label_above: float = 0.055
) -> Figure:
    """Draw horizontal stacked bars with labels on the segments.

    Args:
        bars: bar name -> segment name -> value.
        unit: of the values.
        keep: segments with a colour of their own (the largest over all bars); the rest is "other".
        label_above: share of the longest bar from which a segment is labelled.
    """
    totals: dict[str, float] = {}
    for segments in bars.values():
        for name, value in segments.items():
            totals[name] = max(totals.get(name, 0.0), value)
    largest = sorted(totals, key=lambda n: -totals[n])
    shown = largest if len(largest) <= keep + 1 else largest[:keep]
    colours = {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(shown)}
    longest = max(sum(s.values()) for s in bars.values()) or 1.0
    figure, (ax,) = _new(1, 1, 11, 0.85 + 0.52 * len(bars))
    used: dict[str, Any] = {}
    for row, segments in enumerate(bars.values()):
        groups = {name: segments[name] for name in shown if segments.get(name)}
        other = sum(v for name, v in segments.items() if name not in colours)
        if other:
            groups["other"] = other
        left = 0.0
        for name, value in groups.items():
            colour = colours.get(name, "#c9d0d8")
            bar = ax.barh(row, value, left=left, height=0.66, color=colour, edgecolor="white", linewidth=0.6)
            used.setdefault(name, bar)
            if value / longest > label_above and 0.0072 * len(name) < value / longest:
                ink = "white" if _dark(colour) else INK
                ax.text(left + value / 2, row, name, ha="center", va="center", fontsize=7.8, color=ink)
            left += value
        ax.text(left + longest * 0.006, row, quantity(left, unit), va="center", fontsize=8.5, fontweight="bold")
    ax.set_yticks(range(len(bars)), list(bars))
    ax.tick_params(axis="y", length=0, labelsize=9, labelcolor=INK)
    ax.invert_yaxis()
    ax.set_xlim(0, longest * 1.09)
    from matplotlib.ticker import FuncFormatter

    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _short(v, unit, ()) if v else "0"))
    ax.grid(axis="x", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    ax.spines["left"].set_visible(False)
    order = [name for name in (*shown, "other") if name in used]
    figure.legend([used[name] for name in order], order, loc="outside upper left", ncols=6, frameon=False, fontsize=8,
                  handlelength=1.0, handleheight=0.9, handletextpad=0.4, columnspacing=1.2)  # fmt: skip
    return figure


def _dark(colour: str) -> bool:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 150


@_styled
def influence(frame: pd.DataFrame, space: Mapping[str, Domain]) -> Figure:
    """Draw, for each parameter, how often its values occur on the front and among all designs.

    Designs on which a parameter has no effect do not count in its panel.
    """
    columns = 5
    rows = -(-len(space) // columns)
    figure, axes = _new(rows, columns, 11, 1.62 * rows + 0.3)
    designs = activity.distinct(frame, space)
    for ax, (key, domain) in zip(axes, space.items(), strict=False):
        counted = designs[activity.active(designs, key)]
        front = counted["is_pareto"]
        labels, everywhere, best = _shares(counted[key], counted.loc[front, key], domain)
        places = np.arange(len(labels))
        ax.bar(places, everywhere, width=0.86, color="#d5dce4", label="all designs")
        ax.bar(places, best, width=0.46, color=FRONT, label="on the front")
        unit = field_unit(key)
        ax.set_title(f"{key} ({unit})" if unit else key, fontsize=8)
        if len(counted) < len(designs):
            ax.set_xlabel(
                f"has effect on {front.sum()} of {designs['is_pareto'].sum()} of the front",
                fontsize=7, color=MUTED, labelpad=1,
            )  # fmt: skip
        ax.set_xticks(places, labels, fontsize=7, rotation=0 if sum(map(len, labels)) < 26 else 45)
        ax.set_yticks([])
        ax.tick_params(length=0)
        ax.spines["left"].set_visible(False)
    for ax in axes[len(space) :]:
        ax.remove()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper left", ncols=2, frameon=False, fontsize=8.5,
                  handlelength=1.0, handletextpad=0.4)  # fmt: skip
    return figure


def _shares(everywhere: pd.Series, front: pd.Series, domain: Domain) -> tuple[list[str], Any, Any]:
    values = domain.values()
    if domain.continuous or (len(values) > 9 and domain.kind != "categorical"):
        low, high = domain.bounds
        edges = np.geomspace(low, high, 7) if domain.kind == "log" else np.linspace(low, high, 7)
        edges[-1] = np.nextafter(edges[-1], np.inf)
        counts = [np.histogram(series.astype(float), edges)[0] for series in (everywhere, front)]
        labels = [significant(float(e), 2) for e in edges[:-1]]
    else:
        texts = [[str(v) for v in series] for series in (everywhere, front)]
        names = [str(float(v)) if everywhere.dtype.kind == "f" else str(v) for v in values]
        counts = [np.array([text.count(n) for n in names]) for text in texts]
        labels = [plain(v) for v in values]
    return labels, counts[0] / max(1, counts[0].sum()), counts[1] / max(1, counts[1].sum())


@_styled
def convergence(checkpoints: Sequence[int], volumes: Sequence[float], population: int) -> Figure:
    """Draw the hypervolume against the number of trials, with the generations."""
    figure, (ax,) = _new(1, 1, 11, 2.3)
    last = checkpoints[-1]
    if last / population <= 60:
        for edge in range(population, last, population):
            ax.axvline(edge, color=GRID, linewidth=0.6)
    ax.plot(checkpoints, volumes, color=FRONT, linewidth=1.6, drawstyle="steps-post")
    ax.set_xlabel(f"trials (a line every {population})" if last / population <= 60 else "trials")
    ax.set_ylabel("hypervolume\nrelative to the end")
    ax.set_ylim(0, 1.05)
    ax.set_xlim(0, last)
    from matplotlib.ticker import FuncFormatter

    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: percent(v).replace(".0", "")))
    reached = next((c for c, v in zip(checkpoints, volumes, strict=True) if v >= 0.99), last)
    ax.annotate(f"99 % of the end after {reached} trials", (reached, 0.99), (0, -26), textcoords="offset points",
                ha="right" if reached > last / 2 else "left", fontsize=8, color=MUTED,
                arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 0.6})  # fmt: skip
    return figure


@_styled
def best_so_far(frame: pd.DataFrame, objective: str, population: int) -> Figure:
    """Draw the best feasible value of a single objective after each trial."""
    figure, (ax,) = _new(1, 1, 11, 2.3)
    unit, direction, _ = METRICS[objective]
    values = frame[objective].where(frame["feasible"])
    best = values.cummax() if direction == "maximize" else values.cummin()
    best = best.ffill()
    last = len(frame)
    if last / population <= 60:
        for edge in range(population, last, population):
            ax.axvline(edge, color=GRID, linewidth=0.6)
    trials = np.arange(1, last + 1)
    ax.scatter(trials, values, s=7, c=FEASIBLE, linewidths=0, rasterized=last > RASTER_ABOVE, label="feasible trials")
    ax.plot(trials, best, color=FRONT, linewidth=1.6, drawstyle="steps-post", label="best so far")
    _log_axis(ax, "y", [*values.dropna()], unit)
    ax.set_ylabel(_arrowed(objective))
    ax.set_xlabel(f"trials (a line every {population})" if last / population <= 60 else "trials")
    ax.set_xlim(0, last)
    figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=8.5, handletextpad=0.4)
    return figure
