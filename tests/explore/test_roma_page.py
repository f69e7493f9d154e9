"""The page of ROMA: stored numbers are those computed now, fits are called fits, conflicts are named."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore import papers
from lutscape.explore.papers import roma, roma_numbers, roma_published
from lutscape.hw.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
STORED = ROOT / "reports" / "papers" / "roma.json"


@pytest.fixture(scope="module")
def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(STORED.read_text())
    return found


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", html.partition("</style>")[2]))


def test_the_committed_page_is_the_one_of_the_committed_numbers(stored: dict[str, Any]) -> None:
    assert words(STORED.with_suffix(".html").read_text()) == words(papers.render("roma", stored))


def equal(a: Any, b: Any) -> None:
    """Compare plain data, numbers within rounding."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            equal(a[key], b[key])
    elif isinstance(a, list):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            equal(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-12)
    else:
        assert a == b


@pytest.mark.parametrize("name", ["closing", "l_units", "area", "density", "sram", "fits", "yields", "masks"])
def test_stored_numbers_are_those_computed_now(stored: dict[str, Any], name: str) -> None:
    key = {"l_units": "l_unit", "yields": "yield"}.get(name, name)
    equal(json.loads(json.dumps(getattr(roma_numbers, name)())), stored[key])


def test_fits_are_called_fits(stored: dict[str, Any]) -> None:
    said = words(papers.render("roma", stored))
    assert said.count("fitted to it") >= 8  # four times in each of two tables
    assert "meeting them is no prediction" in said
    assert said.count("outside the fit: ") == 4
    assert "predict" not in said.replace("meeting them is no prediction", "").replace("predictive", "")


def test_conflicts_are_named(stored: dict[str, Any]) -> None:
    said = words(papers.render("roma", stored))
    assert "24.6k tok/s (text) and 12,840 tok/s (comparison table)" in said
    assert "16.6 % printed" in said
    assert "1,600 printed" in said


def test_every_number_of_the_issue_is_on_the_page(stored: dict[str, Any]) -> None:
    said = words(papers.render("roma", stored))
    for text in ("503.7 mm²", "59.7", "36.7", "26.0", "22.5", "736", "3,808", "31,800 tok/s", "24,600 tok/s",
    "20,078 tok/s",
                 "18,703 tok/s", "12,840 tok/s", "8,533 tok/s", "5.60 ms", "140.20 ms", "33.1 W"):  # fmt: skip
        assert text in said, text
    for peer in roma_published.PEERS:
        assert peer["spec"] in said


def test_a_difference_is_shown(stored: dict[str, Any]) -> None:
    changed = copy.deepcopy(stored)
    changed["sram"][0]["tokens"] = 735
    changed["l_unit"]["sram"] *= 1.2
    before, after = (papers.render("roma", d).count('class="v-differs">differs<') for d in (stored, changed))
    assert after == before + 4  # each in the summary and in its section


def test_without_long_runs_the_page_says_so(stored: dict[str, Any]) -> None:
    said = words(papers.render("roma", {**stored, "accuracy": None, "faults": None}))
    assert "Perplexity of SmolLM2 in ROM is not measured here" in said
    assert "Faults are not measured here" in said


def test_published_table_gives_the_printed_speed_up() -> None:
    """70.5x over the RTX 4090, the mean of the table's four ratios within 1 %."""
    ratios = [roma_published.TABLE_TOK_S[c] / roma_published.GPU_TOK_S[c] for c in roma_published.GPU_TOK_S]
    assert sum(ratios) / 4 == pytest.approx(roma_published.GPU_SPEEDUP, rel=0.01)


def test_outside_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        roma.measure(tmp_path)
    assert str(error.value) == f"{tmp_path}: no checkout of lutscape (no folder reports); set --root"


def test_the_page_stands_alone(stored: dict[str, Any]) -> None:
    html = papers.render("roma", stored)
    assert len(html) < 500_000
    assert "http" not in re.sub(r'src="data:[^"]*"', "", html).replace("http-equiv", "")
    for grade in ("published", "derived", "assumed"):
        assert f'class="g g-{grade}" title="' in html


def test_long_runs_are_shown(stored: dict[str, Any]) -> None:
    """Made-up numbers in the form that reports/roma writes."""

    def mean(value: float) -> dict[str, float]:
        return {"value": value, "error": 0.01}

    rom = {"library": "ASAP7", "depth": 64, "width": 16, "area_um2": 10.0, "area_um2_per_bit": 0.01,
           "energy_fj_per_bit": 1.5, "energy_pj_per_read": 0.02, "min_period_ps": 100.0}  # fmt: skip
    brom = {
        "model": "m", "layer": 0,
        "transistors": {
            "depth": 3328, "width": 274, "claim": 0.4, "area_bounds": {"quarter_cells": 0.23},
            "rows": [{"mux": 4, "standard_per_bit": 1.1, "block_per_bit": 0.4, "saving": 0.636}],
        },
        "roms": [{**rom, "form": "standard"}, {**rom, "form": "block", "area_um2": 11.0}],
        "units": [{"library": "ASAP7", "node_nm": 7, "words": 64, "group": 32, "form": "standard",
                   "compute_area_um2": 640.0, "rom_area_um2": 51.2, "area_um2": 622.08, "energy_pj_per_row": 3.2}],
    }  # fmt: skip
    damage = {"opens": 12, "wrong_bits": 34, "left_bits": 0, "detected": 0}
    faults = {"model": "m", "rows": [{"structure": "block", "rate": 1e-6, "way": "secded", "damage": damage,
                                      "perplexity": mean(12.5), "kl": mean(0.25)}]}  # fmt: skip
    accuracy = {"model": "m", "windows": 8, "context": 256, "rows": [
        {"weights": "as stored", "perplexity": mean(11.5)},
        {"weights": "uint4", "activation_bits": 12, "kv": "fp8_e4m3", "rank": 16, "adapter": "weighted",
         "perplexity": mean(12.25), "kl": mean(0.125)},
    ]}  # fmt: skip
    said = words(
        papers.render("roma", {**stored, "brom": brom, "faults": faults, "accuracy": accuracy, "golden": None})
    )
    for text in ("63.6%", "+10.0%", "20.0 µm²", "-10.0%", "100 fJ", "2.6 k µm²", "6.4 pJ", "secded", "12.5 ± 0.01",
                 "0.2500 ± 0.0100", "16 weighted", "run reports/roma/golden.py"):  # fmt: skip
        assert text in said, text
