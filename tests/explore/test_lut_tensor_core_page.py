"""The LUT Tensor Core page: cited numbers are consistent, claims follow from stored numbers, the page renders."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import papers
from lutscape.explore.papers import lut_claims, lut_gates, lut_tensor_core
from lutscape.explore.papers import lut_published as published
from lutscape.hw.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "reports" / "papers" / "lut-tensor-core.json"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STORED.read_text())
    return found


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.partition("</style>")[2]))


def test_cited_numbers_agree_with_each_other_as_they_do_in_the_paper() -> None:
    """A slip in copying would break what the paper computes from its own columns."""
    rows = {r[0]: r for r in published.TABLE_1}
    for speedup, base, fast in published.SPEEDUPS.values():
        assert rows[base][3] / rows[fast][3] == pytest.approx(speedup, abs=0.006)
    for name, _, _, _, peak, mm2, density, _, sms in published.TABLE_1:
        assert peak / (mm2 * sms) == pytest.approx(density, rel=0.05 if name == "a100-int8" else 0.002)
    first = published.TABLE_2[0]
    for _, area, density, milliwatts, power in published.TABLE_2:
        assert first[1] / area == pytest.approx(density, abs=0.001)
        assert first[3] / milliwatts == pytest.approx(power, abs=0.001)
    for batch, (separate, fused) in published.TABLE_4_MEANS.items():
        here = [r for r in published.TABLE_4 if r[1] == batch]
        assert sum(100 * (r[4] / r[3] - 1) for r in here) / 3 == pytest.approx(separate, abs=0.02)
        assert sum(100 * (r[5] / r[3] - 1) for r in here) / 3 == pytest.approx(fused, abs=0.02)
    assert published.ROOFLINE_FLOP_PER_BYTE * 1.5 == published.ROOFLINE_TFLOPS


def test_equations_hold() -> None:
    assert [(e["equation"], e["wrong"]) for e in lut_tensor_core.equations()] == [
        ("1-3", 0), ("4", 0), ("5, 6", 0), ("7", 0), ("8", 0)
    ]  # fmt: skip


def test_every_target_is_reached_or_has_its_cause(stored: dict[str, Any]) -> None:
    claims = lut_claims.claims(stored)
    by_what = {c.what: c for c in claims}
    assert by_what["tables built in the arrays: how often each, N = 4"].ours == 3072
    assert by_what["A100, LUT-8X over FP16, BS1024 SEQ1, tables free"].verdict == lut_claims.REPRODUCED
    assert by_what["H100, LUT-8X over FP8, BS1024 SEQ1, tables free"].verdict == lut_claims.REPRODUCED
    assert by_what["density after fusion, UNPU with exact tables"].verdict == lut_claims.REPRODUCED
    assert [c.what for c in claims if c.verdict == lut_claims.DIFFERENT and not c.cause] == []


def test_the_page_says_it(stored: dict[str, Any]) -> None:
    html = papers.render("lut-tensor-core", stored)
    said = words(html)
    for text in (
        "5.51",
        "2.06",
        "1.440",
        "16.5",
        "reproduced within 10 %",
        "inconsistent in the paper",
        "3.76 ms for 1024",
    ):
        assert text in said
    assert len(html) < 2_000_000
    assert "http" not in re.sub(r'src="data:[^"]*"', "", html).replace("http-equiv", "")


def test_the_committed_page_is_the_one_of_the_committed_numbers(stored: dict[str, Any]) -> None:
    assert words(STORED.with_suffix(".html").read_text()) == words(papers.render("lut-tensor-core", stored))


def test_a_difference_is_shown(stored: dict[str, Any]) -> None:
    changed = copy.deepcopy(stored)
    before = sum(c.verdict == lut_claims.REPRODUCED for c in lut_claims.claims(changed))
    for row in changed["ablation"]:
        row["speedup"] *= 2
    claims = lut_claims.claims(changed)
    assert sum(c.verdict == lut_claims.REPRODUCED for c in claims) == before - 2
    changed["equations"][0]["wrong"] = 3
    assert "3 of 16 wrong" in words(papers.render("lut-tensor-core", changed))


def test_page_without_long_measurements_says_so(stored: dict[str, Any]) -> None:
    said = words(papers.render("lut-tensor-core", {**stored, "units": None, "perplexity": None, "compare": None}))
    assert said.count("Not yet measured") == 2


def test_shapes_hold_the_product_and_counts_follow_synthesis(stored: dict[str, Any]) -> None:
    assert all(m * n * k == 512 for m, n, k in lut_gates.shapes())
    assert stored["units"]["fit_error"] < 0.25
    for row in stored["units"]["check"]:
        if row["datapath"] == "lut":
            assert row["counted"] == pytest.approx(row["synthesised"], rel=0.25)


def test_without_the_ladder_the_command_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"ladder.json: not found; run reports/lut_tensor_core/ladder.py, or set --root"
    ):
        lut_tensor_core.measure(tmp_path)
