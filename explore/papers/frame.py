"""The frame of every paper page: sections of text, tables, figures and listings, in the reports' style."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lutscape.hw.provenance import Grade

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AGREES, DIFFERS, UNTESTED = "agrees", "differs", "untested"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says; `` `code` `` is set in a fixed-width face.
        grade: of the number, or None.
        source: shown on the grade's badge.
        verdict: ``agrees``, ``differs`` or ``untested`` colours the text.
        small: a second line, muted.
    """

    text: str
    grade: Grade | None = None
    source: str = ""
    verdict: str = ""
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells (or plain strings) below column headings.

    Attributes:
        columns: headings.
        rows: of cells; a row of one string is a heading within the table.
        left: columns after the first that hold words, by number.
        caption: printed below.
        folded: hidden behind this line until opened.
        narrow: as wide as its cells need instead of the whole page.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    left: Sequence[int] = ()
    caption: str = ""
    folded: str = ""
    narrow: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Text:
    """A paragraph; `` `code` `` and ``**strong**`` are understood. ``style`` is ``note``, ``warn`` or empty."""

    text: str
    style: str = ""
    kind: str = "text"


@dataclass(frozen=True)
class Listing:
    """Preformatted lines."""

    text: str
    kind: str = "listing"


@dataclass(frozen=True)
class Figure:
    """An SVG figure with a caption."""

    svg: str
    caption: str
    kind: str = "figure"

    @property
    def uri(self) -> str:
        """The figure as a data URI."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.svg.encode()).decode()


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence[Table | Text | Listing | Figure]


@dataclass(frozen=True)
class Tile:
    """One large number at the top."""

    value: str
    label: str
    grade: Grade | None = None
    source: str = ""


@dataclass(frozen=True)
class Page:
    """A paper page.

    Attributes:
        title: heading.
        citation: of the paper.
        lead: one paragraph: what was published, what we find.
        tiles: large numbers.
        sections: the body.
        command: that writes the page again.
        versions: of the packages that computed it.
        kicker: what kind of page it is, above the title.
        beside: whether its numbers lie beside it as JSON.
    """

    title: str
    citation: str
    lead: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    command: str
    versions: dict[str, str] = field(default_factory=dict)
    kicker: str = "published beside computed"
    beside: bool = True


def render(page: Page) -> str:
    """Return the page as one self-contained HTML document."""
    from lutscape.explore.report import GRADES

    html: str = _template().render(page=page, grades=GRADES)
    return html


def draw(plot: Callable[[Any], None], width: float = 8.6, height: float = 2.9, columns: int = 1) -> str:
    """Return an SVG drawn by ``plot(axes)`` in the reports' style; a list of axes if there are several columns."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    from lutscape.explore import figures

    with matplotlib.rc_context(figures.STYLE):
        canvas = Canvas(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(canvas)
        axes: list[Axes] = list(canvas.subplots(1, columns, squeeze=False).flat)
        plot(axes[0] if columns == 1 else axes)
        return figures.render(canvas)[0]


LONGEST_CODE = 40
"""Characters of code that stay on one line in a table cell."""


def inline(text: str) -> Any:
    """Escape a text and set its `` `code` ``, ``**strong**``, ``[links](path)`` and raised parts (``2^-13``)."""
    from markupsafe import Markup, escape

    parts = str(escape(text)).split("`")
    for i in range(0, len(parts), 2):  # outside code
        linked = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", r'<a href="\2">\1</a>', parts[i])
        strong = re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", linked)
        parts[i] = re.sub(r"\^(?:\(([^)]+)\)|(-?\d+))", lambda m: f"<sup>{(m[1] or m[2])}</sup>", strong)
    for i in range(1, len(parts), 2):
        # Long instruction names may break after a dot, so that they do not squeeze the other columns of a table.
        code = parts[i].replace(".", ".<wbr>") if len(parts[i]) > LONGEST_CODE else parts[i]
        parts[i] = f"<code>{code}</code>"
    return Markup("".join(parts).replace("<sup>-", "<sup>−"))


@cache
def _template() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    here = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader([here / "templates", here.parent / "templates"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["inline"] = inline
    return environment.get_template("paper.html.j2")
