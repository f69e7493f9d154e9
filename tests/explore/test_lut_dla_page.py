"""The LUT-DLA page: cited numbers are consistent, recalled ones are marked, computed ones follow from the model."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import papers
from lutscape.explore.papers import dla_numbers, lut_dla
from lutscape.explore.papers import dla_published as published
from lutscape.hw.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "reports" / "papers" / "lut-dla.json"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STORED.read_text())
    return found


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.partition("</style>")[2]))


def test_the_committed_page_is_the_one_of_the_committed_numbers(stored: dict[str, Any]) -> None:
    assert words(STORED.with_suffix(".html").read_text()) == words(papers.render("lut-dla", stored))


def test_recalled_numbers_are_marked_and_never_graded(stored: dict[str, Any]) -> None:
    html = papers.render("lut-dla", stored)
    gemmini = html[html.index("Gemmini, 16 x 16") :]
    row = gemmini[: gemmini.index("</tr>")]
    assert row.count("recalled") >= 2
    assert "g-published" not in row
    assert "never a golden value" in words(html)
    for design in published.DESIGNS:
        assert f"recalled {design.area_mm2:g} mm²" in words(html)


def test_recalled_rates_are_those_of_whole_machines() -> None:
    # 460.8, 1228.8 and 2764.8 at 300 MHz are v x lanes x modules x 2 operations.
    assert [d.operations_per_cycle for d in published.DESIGNS] == [1536, 4096, 9216]
    for design in published.DESIGNS:
        v, lanes = published.FACTORS[design.name]
        assert 2 * v * lanes * 2 == design.operations_per_cycle


def test_rates_are_macs_per_second() -> None:
    for row in published.BASELINES:
        assert row.gmac_s == pytest.approx(row.macs_per_cycle * row.mhz * 1e-3)
        assert row.evidence in (published.READ, published.RECALLED)
    by_name = {r.name: r for r in published.BASELINES}
    assert by_name["Gemmini, 16 x 16"].gmac_s == 128  # 256 GOPS as printed
    assert by_name["EVA"].gmac_s == pytest.approx(498.49 / 2)


def test_operations_by_hand() -> None:
    # M = 512, K = N = 768, L2: v = 4, c = 16: 2 x 768 x 768 / (192 x (16 x 12 + 768)) = 6.4 (anchor brief of the paper)
    found = {(r["metric"], r["v"], r["c"]): r["fewer"] for r in dla_numbers.operations()}
    want = {("l2", 4, 16): 6.4, ("l2", 8, 16): 10.7, ("l2", 9, 16): 11.4, ("l2", 4, 32): 5.3}
    assert {k: round(found[k], 1) for k in want} == want


def test_every_size_is_found_and_priced(stored: dict[str, Any]) -> None:
    for asked in published.DESIGNS:
        mine = [r for r in stored["designs"] if r["size"] == asked.name]
        assert len(mine) >= 10
        assert sum(r["best"] for r in mine) == 1
        for r in mine:
            assert 2 * r["v"] * r["lanes"] * r["modules"] == asked.operations_per_cycle
            assert r["reached_gmac_s"] <= r["gmac_s"]
            assert r["area_mm2"] == pytest.approx(sum(r["parts"].values()))


def test_units_keep_the_order_of_metrics(stored: dict[str, Any]) -> None:
    for library in stored["units"]["libraries"].values():
        assert library["summary"]["area_ordering_l2_l1_chebyshev"]
    for row in stored["units"]["libraries"]["nangate45"]["rows"]:
        assert all(e["gate_level_mismatches"] == 0 for e in row["energy"].values())


def test_the_page_without_accuracies_says_so(stored: dict[str, Any]) -> None:
    changed = copy.deepcopy(stored)
    changed["accuracy"] = changed["quick"] = None
    changed["search"] = {"missing": "accuracy table 'x.json' not found"}
    said = words(papers.render("lut-dla", changed))
    assert said.count("not measured yet") == 2
    assert "Not run: accuracy table" in said


def test_a_checkout_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"units.json: not found; run reports/lut_dla/units.py, or set --root"):
        lut_dla.measure(tmp_path)
