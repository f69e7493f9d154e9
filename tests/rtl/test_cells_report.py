"""Reports cell by cell: what is cut is said, every cell is verified, logic is mapped."""

from __future__ import annotations

import json
from pathlib import Path

from lutscape.explore import handover, rtl_cells_report, rtl_report
from lutscape.explore.rtl_measured import Options
from lutscape.hw import spec as hardware
from lutscape.rtl.liberty import Library


def test_what_is_cut_is_said() -> None:
    roma = hardware.load("roma")
    built, cut = rtl_cells_report.shrunk(roma)
    assert dict(built.leaves())["l_unit.rom_words"] == rtl_cells_report.ROM_WORDS
    assert cut == "ROM of 3328 words cut to 16"
    sliced, more = rtl_cells_report.mapped(built)
    assert dict(sliced.leaves())["l_unit.group"] == rtl_cells_report.ROM_GROUP
    assert more == "mapped with 32 of 128 weights a word, verified with all"
    dla = hardware.load("lut-dla")
    assert rtl_cells_report.shrunk(dla) == (dla, "")
    assert rtl_cells_report.mapped(dla) == (dla, "")


def test_a_small_unit_is_verified_mapped_and_written(tmp_path: Path, nangate45: Library) -> None:
    spec = hardware.override(hardware.load("roma"), {"l_unit.rom_words": 32, "l_unit.group": 8})
    said: list[str] = []
    path = rtl_report.write(spec, tmp_path / "out", Options(vectors=40, curve=False), said.append)
    data = json.loads((tmp_path / "out" / "report.json").read_text())
    assert all(v["passed"] for v in data["verification"])
    assert {r["cell"] for r in data["synthesis"]} == {c["name"] for c in data["cells"]}  # eight weights are not cut
    assert all(
        r["area_um2"] > 0 and r["min_period_ps"] > 0 and r["total_w"] > r["leakage_w"] for r in data["synthesis"]
    )
    text = path.read_text()
    assert "equal their golden models bit for bit" in text
    assert "ROM of 32 words cut to 16" in text
    found = handover.unit_numbers(data)
    assert found["verified"] is True
    assert set(found["mapped"]) == {r["cell"] for r in data["synthesis"]}
