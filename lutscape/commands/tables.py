"""Tables and numbers for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence

PREFIXES = (
    (1e12, "T"),
    (1e9, "G"),
    (1e6, "M"),
    (1e3, "k"),
    (1.0, ""),
    (1e-3, "m"),
    (1e-6, "µ"),
    (1e-9, "n"),
    (1e-12, "p"),
)


def engineering(value: float, unit: str, digits: int = 3) -> str:
    """Return a number with an SI prefix: ``engineering(1.5e-5, "s") == "15 µs"``.

    Squared units and reciprocals (mm2, 1/s) take no prefix.
    """
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}".strip()
    if unit not in ("s", "J", "W", "B"):
        shown = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:,.0f}"
        return f"{shown} {unit.replace('mm2', 'mm²')}".strip()
    for scale, prefix in PREFIXES:
        if abs(value) >= scale * (1 - 0.5 * 10**-digits):
            scaled = value / scale
            return f"{scaled:.{max(0, digits - 1 - math.floor(math.log10(abs(scaled)) + 1e-9))}f} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[int] = (0,)) -> None:
    """Print one table to stdout; numbers right-aligned, the columns in ``left`` left-aligned."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="left" if position in left else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)
