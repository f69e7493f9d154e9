"""The front page of reports: what it reads out of pages and tables, and that every committed report is on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import front_page
from lutscape.explore.front_page import Headline
from lutscape.explore.papers.frame import Page, Tile, render
from lutscape.hw.errors import UserError
from lutscape.hw.provenance import Grade

REPORTS = Path(__file__).parents[2] / "reports"


def test_what_a_page_says_of_itself_is_read_back() -> None:
    tiles = [Tile("3 < 4", "a & b", Grade.SYNTHESISED, 'by "yosys"'), Tile("7", "plain")]
    made = Page("One <page>", "cited", "First **words**.", tiles, [], "cmd", {"lutscape": "0"})
    title, lead, headlines = front_page.read_page(render(made))
    assert (title, lead) == ("One <page>", "First words.")
    assert headlines == (
        Headline("3 < 4", "a & b", Grade.SYNTHESISED, 'synthesised: by "yosys"'),
        Headline("7", "plain"),
    )


def test_tables() -> None:
    table = "| what | measured | required | by |\n|---|---|---|---|\n| x | 3 s | ≤ 5 | `cmd` |\n"
    text = f"# A title\n\nWhat it is,\nin two lines.\n\n{table}"
    title, lead, headlines = front_page.read_table(text)
    assert (title, lead) == ("A title", "What it is, in two lines.")
    assert headlines == (Headline("3 s", "x", Grade.MEASURED, "cmd"),)
    assert front_page.read_table("# T\n\n| a | b |\n|---|---|\n| 1 | 2 |\n") == ("T", "", ())


def test_every_report_is_linked_and_counted(tmp_path: Path, lutscape: Callable[..., Any]) -> None:
    (tmp_path / "rtl").mkdir()
    (tmp_path / "rtl" / "a.html").write_text(
        render(Page("A", "", "Lead of A.", [Tile("1 W", "power", Grade.MEASURED, "meter")], [], "cmd"))
    )
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "b.md").write_text("# B\n\nLead of B.\n")
    ran = lutscape("report", "--all", tmp_path)
    assert ran.code == 0, ran.err
    text = (tmp_path / "index.html").read_text()
    assert re.findall(r'<a href="([^"#]+)"', text) == ["rtl/a.html", "odd/b.md"]
    assert "2 reports with 1 headline numbers: 1 measured." in text
    again = lutscape("report", "--all", tmp_path)  # the front page does not list itself
    assert again.code == 0
    assert (tmp_path / "index.html").read_text() == text


def test_bad_directories_end_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no report"):
        front_page.write(tmp_path)
    with pytest.raises(UserError, match="not found; give a directory of reports"):
        front_page.write(tmp_path / "x")


def test_the_committed_front_page_has_every_committed_report() -> None:
    text = (REPORTS / "index.html").read_text()
    linked = set(re.findall(r'<a href="([^"#]+)"', text))
    assert linked == {r.path.as_posix() for r in front_page.collect(REPORTS)}
