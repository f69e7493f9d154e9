"""Figures of the RTL reports: block diagram, waveform of one operation, area-delay curve, power against activity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lutscape.explore.figures import GRID, INK, MUTED, PALETTE
from lutscape.explore.text import plain
from lutscape.rtl.cell import Cell, Channel
from lutscape.rtl.waves import Wave

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE = PALETTE[0], PALETTE[1]


def block_diagram(ax: Axes, cell: Cell) -> None:
    """Draw a cell as a box: input channels from the left, the cells inside, output channels to the right."""
    from matplotlib.patches import FancyBboxPatch

    ax.set_axis_off()
    rows = max(len(cell.inputs), len(cell.outputs), 1)
    height = max(2.2, 1.5 * rows)
    ax.set_xlim(0, 16)
    ax.set_ylim(-0.2, height + 0.9)

    def box(x: float, y: float, w: float, h: float, face: str, edge: str) -> None:
        ax.add_patch(FancyBboxPatch((x, y), w, h, "round,pad=0,rounding_size=0.12", fc=face, ec=edge, lw=1.0))

    box(4.4, 0, 7.2, height + 0.5, "#ffffff", INK)
    ax.text(4.6, height + 0.2, cell.name, fontsize=9, weight="bold", va="center")
    parts = list(cell.parts)
    wide = 6.8 / max(len(parts), 1)
    for i, part in enumerate(parts):
        x = 4.6 + i * wide
        box(x + 0.05, 0.35, wide - 0.15, height - 0.65, "#eef3f9", BLUE)
        ax.text(x + wide / 2, height / 2 + 0.25, part.kind.replace("_", "\n"), ha="center", va="center", fontsize=8)
        shown = "\n".join(f"{k} = {plain(v)}" for k, v in list(part.parameters.items())[:4]) if len(parts) < 4 else ""
        ax.text(x + wide / 2, 0.45, shown, ha="center", va="bottom", fontsize=6, color=MUTED)
    if not parts:
        lines = [f"{k} = {plain(v)}" for k, v in list(cell.parameters.items())]
        text = "\n".join("   ".join(lines[i : i + 2]) for i in range(0, len(lines), 2))
        ax.text(8, height / 2, text, ha="center", va="center", fontsize=7.5, color=MUTED)
    for channels, x0, x1, align in ((cell.inputs, 0.3, 4.4, "left"), (cell.outputs, 11.6, 15.7, "right")):
        for i, channel in enumerate(channels):
            y = height * (1 - (i + 0.5) / len(channels)) + 0.1
            ax.annotate("", (x1, y), (x0, y), arrowprops={"arrowstyle": "-|>", "color": ORANGE, "lw": 1.6})
            at = x0 if align == "left" else x1
            ax.text(at, y + 0.13, channel.name, ha=align, va="bottom", fontsize=8.5, weight="bold", color=ORANGE)
            ax.text(at, y - 0.13, _fields(channel), ha=align, va="top", fontsize=6.5, color=MUTED)


def _fields(channel: Channel) -> str:
    return "\n".join(
        f"{f.name} {f.lanes} x {f.width}" if f.lanes > 1 else f"{f.name} {f.width}" for f in channel.fields
    )


def waveform(ax: Axes, waves: Sequence[Wave], signed: Mapping[str, int] | None = None) -> None:
    """Draw waveforms, one row per port: levels for single bits, labelled hexagons for buses.

    Args:
        ax: to draw on.
        waves: of one length.
        signed: port -> width of one signed lane; its lowest lane is printed as a number instead of hexadecimal.
    """
    cycles = len(waves[0].values)
    ax.set_xlim(0, cycles)
    ax.set_ylim(-len(waves) - 0.1, 0.35)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set_yticks([-i - 0.6 for i in range(len(waves))], [w.name for w in waves], fontsize=7.5)
    ax.tick_params(length=0)
    ax.xaxis.tick_top()
    ax.set_xticks([i + 0.5 for i in range(cycles)], [str(i) for i in range(cycles)], fontsize=7)
    for x in range(cycles + 1):
        ax.axvline(x, color=GRID, lw=0.6, zorder=0)
    for i, wave in enumerate(waves):
        low, high = -i - 0.9, -i - 0.3
        if wave.width == 1:
            _level(ax, wave, low, high)
        else:
            _bus(ax, wave, low, high, (signed or {}).get(wave.name))


def _level(ax: Axes, wave: Wave, low: float, high: float) -> None:
    from itertools import pairwise

    points = [(x, high if v else low) for x, v in enumerate(wave.values)]
    xs = [p for x, _ in points for p in (x, x + 1)]
    ys = [y for _, y in points for _ in range(2)]
    ax.plot(xs, ys, color=BLUE, lw=1.2, solid_joinstyle="miter")
    for (x, y), (x2, y2) in pairwise(zip(xs, ys, strict=True)):
        if y == y2 == high and x != x2:
            ax.fill_between([x, x2], low, high, color=BLUE, alpha=0.10, lw=0)


def _bus(ax: Axes, wave: Wave, low: float, high: float, lane: int | None) -> None:
    start, slope = 0, 0.12
    for x in range(1, len(wave.values) + 1):
        if x < len(wave.values) and wave.values[x] == wave.values[start]:
            continue
        value = wave.values[start]
        xs = [start, start + slope, x - slope, x, x - slope, start + slope, start]
        middle = (low + high) / 2
        ys = [middle, high, high, middle, low, low, middle]
        ax.fill(xs, ys, fc="#f1f3f5" if value is None else "#fff8f3", ec=MUTED if value is None else ORANGE, lw=0.9)
        if value is not None:
            text = _number(value, wave.width, lane, max(3, int(7 * (x - start)) - 1))
            ax.text(
                (start + x) / 2, middle, text, ha="center", va="center", fontsize=6.2, family="monospace", color=INK
            )
        start = x


def _number(value: int, width: int, lane: int | None, room: int) -> str:
    """Return a value as text of at most ``room`` characters: the lowest lane signed, or hexadecimal digits."""
    if lane:
        low = value & ((1 << lane) - 1)
        text = str(low - (1 << lane) if low >> (lane - 1) else low)
        return text + ("…" if width > lane and len(text) < room else "")
    text = f"{value:x}"
    return text if len(text) <= room else "…" + text[-(room - 1) :]


def area_delay(ax: Axes, curves: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw area against the period that was reached, one line per name; points need ``period_ps`` and ``area_um2``."""
    for (name, points), colour in zip(curves.items(), PALETTE, strict=False):
        ordered = sorted(points, key=lambda p: p["period_ps"])
        ax.plot(
            [p["period_ps"] * 1e-3 for p in ordered], [p["area_um2"] for p in ordered],
            "o-", ms=4, lw=1.2, color=colour, label=name,
        )  # fmt: skip
    ax.set_xlabel("minimum period, ns")
    ax.set_ylabel("cell area, µm²")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize=8)


def power_stack(ax: Axes, labels: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str) -> None:
    """Draw stacked bars of power or energy components, one bar per label."""
    base = [0.0] * len(labels)
    for (name, values), colour in zip(parts.items(), PALETTE, strict=False):
        ax.bar(labels, values, bottom=base, width=0.62, color=colour, label=name)
        base = [b + v for b, v in zip(base, values, strict=True)]
    for i, total in enumerate(base):
        ax.annotate(f"{total:.3g}", (i, total), (0, 2), textcoords="offset points", ha="center", fontsize=7.5)
    ax.set_ylabel(unit)
    ax.legend(frameon=False, fontsize=8, ncols=len(parts))
    ax.set_ylim(top=max(base) * 1.18 if base and max(base) > 0 else 1)
