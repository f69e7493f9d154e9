"""The front page of a directory of reports: every page and table in it with its headline numbers, grades and date.

Nothing is known here about any report: pages carry their title, lead and tiles with grades in their HTML
(:mod:`lutscape.explore.papers.frame`, the sweep's template), tables their title and first paragraph in Markdown. What a
report says of itself is what the front page says of it.
"""

from __future__ import annotations

import html
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lutscape.explore import store
from lutscape.explore.papers.frame import Cell, Page, Section, Table, render
from lutscape.hw.errors import UserError
from lutscape.hw.provenance import Grade

ROOMS = {
    "": "Comparisons",
    "all_machines": "Comparisons",
    "quickstart": "Explorations",
    "papers": "Published numbers beside ours",
    "rtl": "Verilog, area, delay, power",
    "lut_tensor_core": "LUT Tensor Core",
    "lut_dla": "LUT-DLA",
    "roma": "Weights in ROM",
    "mma": "Matrix-instruction arithmetic",
    "gpu": "Measured GPU",
    "executor": "Language-model executor",
    "memory": "Memories",
    "benchmark": "Benchmarks",
}
"""Folder -> heading, in order; others come last under their own name."""
_TILE = re.compile(
    r'<div class="tile"><b>(?P<value>.*?)(?:<abbr class="g g-(?P<grade>\w+)" title="(?P<source>.*?)">.*?</abbr>)?</b>'
    r"<span>(?P<label>.*?)</span></div>",
    re.S,
)
LONGEST = 420
"""Characters of a lead that are shown."""


@dataclass(frozen=True)
class Headline:
    """One large number of a report."""

    value: str
    label: str
    grade: Grade | None = None
    source: str = ""


@dataclass(frozen=True)
class Report:
    """One report.

    Attributes:
        path: relative to the directory.
        title: of the page.
        lead: its first paragraph.
        headlines: its large numbers.
        date: last changed, ISO.
    """

    path: Path
    title: str
    lead: str
    headlines: tuple[Headline, ...] = ()
    date: str = ""
    room: str = field(default="")


def _plain(text: str) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", text)).strip()


def read_page(text: str) -> tuple[str, str, tuple[Headline, ...]]:
    """Return title, lead and headlines of an HTML report."""
    title = re.search(r"<h1>(.*?)</h1>", text, re.S)
    lead = re.search(r'<p class="lead">(.*?)</p>', text, re.S) or re.search(r"<p[^>]*>(.*?)</p>", text, re.S)
    found = tuple(
        Headline(
            _plain(m["value"]), _plain(m["label"]), Grade(m["grade"]) if m["grade"] else None,
            html.unescape(m["source"] or ""),
        )
        for m in _TILE.finditer(text)
    )  # fmt: skip
    return _plain(title[1]) if title else "", _plain(lead[1]) if lead else "", found


def read_table(text: str) -> tuple[str, str, tuple[Headline, ...]]:
    """Return title, first paragraph and headlines of a Markdown report.

    Only a table of the columns what, measured, required, by has headlines.
    """
    title, _, rest = text.lstrip().partition("\n")
    paragraphs = [p for p in re.split(r"\n\s*\n", rest) if p.strip() and not p.lstrip().startswith("|")]
    rows = [[c.strip() for c in line.strip("| ").split(" | ")] for line in rest.splitlines() if line.startswith("|")]
    found: list[Headline] = []
    if rows and rows[0] == ["what", "measured", "required", "by"]:
        found = [Headline(r[1], r[0], Grade.MEASURED, r[-1].strip("`")) for r in rows[2:] if len(r) >= 3]
    lead = " ".join(paragraphs[0].split()) if paragraphs else ""
    return title.lstrip("# ").strip(), lead, tuple(found)


def changed(path: Path) -> str:
    """Return the day on which a file last changed: of its last commit, else of the file."""
    try:
        done = subprocess.run(
            ["git", "log", "-1", "--format=%cs", "--", path.name], cwd=path.parent, capture_output=True, text=True,
            timeout=20, check=False,
        )  # fmt: skip
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()


def collect(directory: Path) -> Iterator[Report]:
    """Yield every report below a directory.

    Raises:
        UserError: not a directory.
    """
    if not directory.is_dir():
        raise UserError(f"directory {str(directory)!r} not found; give a directory of reports")
    for path in sorted(directory.rglob("*")):
        if path == directory / "index.html" or path.suffix not in (".html", ".md") or not path.is_file():
            continue
        relative = path.relative_to(directory)
        room = relative.parts[0] if len(relative.parts) > 1 else ""
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        if path.suffix == ".html":
            title, lead, headlines = read_page(text)
        else:
            title, lead, headlines = read_table(text)
        yield Report(relative, title or relative.stem, lead, headlines, changed(path), room)


def write(directory: Path) -> Path:
    """Write ``index.html`` of a directory of reports.

    Raises:
        UserError: no directory, no report in it, or it cannot be written.
    """
    reports = list(collect(directory))
    if not reports:
        raise UserError(f"{directory}: no report (.html or .md) in it")
    path = directory / "index.html"
    store.write(path, render(page(directory, reports)))
    return path


def page(directory: Path, reports: list[Report]) -> Page:
    """Lay the front page out."""
    order = [*ROOMS, *sorted({r.room for r in reports} - set(ROOMS))]
    headings: dict[str, list[Report]] = {}
    for room in order:
        for report in reports:
            if report.room == room:
                headings.setdefault(ROOMS.get(room, room), []).append(report)
    numbers = sum(len(r.headlines) for r in reports)
    grades = {g: sum(h.grade is g for r in reports for h in r.headlines) for g in Grade}
    counts = ", ".join(f"{n} {g}" for g, n in grades.items() if n)
    return Page(
        title="Reports",
        citation="What the tool wrote about itself; every page names the command that writes it again.",
        lead=f"{len(reports)} reports with {numbers} headline numbers: {counts}. All other numbers carry their grades "
        "on their own page.",
        tiles=[],
        sections=[Section(name, [_table(found)]) for name, found in headings.items()],
        command=f"lutscape report --all {directory.name}",
        versions={k: v for k, v in store.versions().items() if k in ("lutscape", "python")},
        kicker="all reports",
        beside=False,
    )


def _table(reports: list[Report]) -> Table:
    rows: list[list[Cell | str]] = []
    for r in reports:
        lead = r.lead if len(r.lead) <= LONGEST else r.lead[: LONGEST - 1].rsplit(" ", 1)[0] + " …"
        rows.append([Cell(f"[{r.title}]({r.path.as_posix()})", small=r.date), lead, ""])
        rows += [["", Cell(h.label), Cell(h.value, h.grade, h.source)] for h in r.headlines]
    return Table(["report", "what it finds", "headline"], rows, left=[1])
