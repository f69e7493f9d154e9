"""Paper pages: built from stored numbers, they say what agrees; bad input ends in one line."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import papers
from lutscape.explore.papers import frame, mma_cases, mma_evidence, mma_sim
from lutscape.hw.errors import UserError
from lutscape.hw.provenance import Grade

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "reports" / "papers" / "mma-sim.json"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STORED.read_text())
    return found


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.partition("</style>")[2]))


def test_the_page_says_what_agrees(stored: dict[str, Any]) -> None:
    html = papers.render("mma-sim", stored)
    said = words(html)
    cells = len(stored["table_8"])
    assert f"{cells} of {cells} cells agree" in said
    assert "none of" in said
    assert "NVIDIA H200" in said
    assert html.count('class="v-agrees">agrees<') >= cells
    assert 'class="v-differs">differs<' not in html
    assert "Not yet available" in said
    for grade in ("measured", "published", "derived"):
        assert f'class="g g-{grade}" title="' in html
    assert len(html) < 2_000_000
    assert "http" not in re.sub(r'src="data:[^"]*"', "", html).replace("http-equiv", "")


def test_the_committed_page_is_the_one_of_the_committed_numbers(stored: dict[str, Any]) -> None:
    assert words(STORED.with_suffix(".html").read_text()) == words(papers.render("mma-sim", stored))


def test_a_difference_is_shown(stored: dict[str, Any]) -> None:
    changed = copy.deepcopy(stored)
    changed["table_8"][0]["ours"] = -0.5
    changed["silicon"]["groups"][0]["mismatches"] = 3
    html = papers.render("mma-sim", changed)
    cells = len(stored["table_8"])
    assert f"{cells - 1} of {cells} cells agree" in words(html)
    assert "and 3 of" in words(html)
    assert html.count('class="v-differs">differs<') == 1


def test_without_accuracy_the_page_says_so(stored: dict[str, Any]) -> None:
    assert "Not measured" in words(papers.render("mma-sim", {**stored, "accuracy": None}))


def test_stored_numbers_are_those_computed_now(stored: dict[str, Any]) -> None:
    for name in ("table_8", "parameters", "risky", "monotonicity", "lowering"):
        assert json.loads(json.dumps(getattr(mma_cases, name)())) == stored[name]
    now = mma_cases.asymmetry()
    assert now["cases"] == stored["asymmetry"]["cases"]
    assert now["mean"] == pytest.approx(stored["asymmetry"]["mean"])


def test_no_error_exceeds_its_bound(stored: dict[str, Any]) -> None:
    now = mma_evidence.bounds(tiles=4)
    assert not [row for row in now if row["above"]]
    assert {row["model"] for row in now} >= {"ST-FDPA", "GST-FDPA", "GTR-FDPA", "T-FDPA x2 + add"}
    assert not [row for row in stored["bounds"] if row["above"]]


def test_text_is_escaped_and_marked_up() -> None:
    assert frame.inline("a < `b^2` **c** 2^-13 2^(e-F)") == (
        "a &lt; <code>b^2</code> <b>c</b> 2<sup>−13</sup> 2<sup>e-F</sup>"
    )


def test_a_page_of_another_paper_uses_the_same_frame() -> None:
    table = frame.Table(["what", "number"], [["x", frame.Cell("1", Grade.PUBLISHED, "a <source>", frame.AGREES)]])
    page = frame.Page("T", "C", "L", [], [frame.Section("S", [table, frame.Listing("code"), frame.Text("t")])], "cmd")
    html = frame.render(page)
    assert 'title="published: a &lt;source&gt;">P<' in html
    assert "<pre>code</pre>" in html


def test_unknown_paper(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        papers.write("mma-sin", tmp_path / "x.html", ROOT)
    assert str(error.value) == "unknown paper 'mma-sin' (did you mean 'mma-sim'?); one of: " + ", ".join(papers.PAPERS)
    assert not list(tmp_path.iterdir())


def test_outside_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        mma_sim.measure(tmp_path)
    assert "run in a checkout of lutscape, or name one with --root" in str(error.value)


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stored: dict[str, Any]) -> None:
    from click.testing import CliRunner

    from lutscape.commands.papers import papers as command

    listed = CliRunner().invoke(command, [])
    assert [line.partition("  ")[0] for line in listed.output.splitlines()] == list(papers.PAPERS)
    monkeypatch.setattr(mma_sim, "measure", lambda root: stored)
    page = tmp_path / "new" / "page.html"
    done = CliRunner().invoke(command, ["mma-sim", "-o", str(page)])
    assert done.exit_code == 0, done.output
    assert page.is_file()
    assert json.loads(page.with_suffix(".json").read_text()) == stored
