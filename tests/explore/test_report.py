"""The page: self-contained, complete, and rendered again from the store alone."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from lutscape.explore import report, session
from lutscape.hw.provenance import Grade

Write = Callable[..., Path]
ROOT = Path(__file__).parents[2]


class Page(HTMLParser):
    """Collects what a browser would load, and checks that tags are balanced."""

    VOID = ("meta", "img", "br", "link", "input", "hr")

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []
        self.badges: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                self.loads.append(value or "")
        if tag == "abbr":
            self.badges.append(dict(attributes).get("title") or "")
        if tag not in self.VOID:
            self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.tags.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory, trace_path: Path) -> Path:
    base = tmp_path_factory.mktemp("report")
    (base / "s.yaml").write_text(
        f"""kind: sweep
name: small
description: A <b>small</b> & safe one.
workload: {{trace: {trace_path}}}
hardware: lut-tensor-core
parameters:
  array.datapath: {{categorical: [lut, mac]}}
  array.n: {{log2: [16, 256]}}
  dram.bandwidth_gb_s: {{log: [64, 1024]}}
constraints: [area_mm2 <= 3]
objectives: [latency_s, energy_j, area_mm2]
baselines: [mac-array, a100-int8]
sampler: {{name: nsga2, population: 10}}
trials: 40
"""
    )
    session.sweep(base / "s.yaml", base / "out", workers=1, command="lutscape sweep s.yaml --trials 40")
    return base / "out"


@pytest.fixture(scope="module")
def page(directory: Path) -> Page:
    parsed = Page()
    parsed.feed((directory / "index.html").read_text(encoding="utf-8"))
    return parsed


def test_loads_nothing_from_outside(directory: Path, page: Page) -> None:
    assert page.loads
    assert all(load.startswith("data:image/svg+xml;base64,") for load in page.loads)
    html = (directory / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|<link|<iframe", html)
    assert len(html) < 2_000_000


def test_tags_are_balanced_and_text_is_escaped(page: Page) -> None:
    assert page.tags == []
    assert "A <b>small</b> & safe one." in page.text


@pytest.mark.parametrize(
    "needed",
    [
        "lutscape sweep s.yaml --trials 40",
        "kind: sweep",
        "numpy ",
        "Pareto front",
        "Areas do not all count the same.",
        "other convention",
        "lm_head",
        "DRAM",
        "dram.energy_pj_per_bit",
        "pJ/bit",
        "int4-g64",
        "shapes alone",
        "outside area_mm2 <= 3",
    ],
)
def test_says(page: Page, needed: str) -> None:
    assert needed in page.text


def test_grades_are_explained_and_sources_given(page: Page) -> None:
    for grade in Grade:
        assert f"{grade}: {report.GRADES[grade]}" in page.text
    assert len(page.badges) > 60
    for title in page.badges:
        grade, _, source = title.partition(": ")
        assert grade in set(Grade)
        assert len(source) >= 8


def test_numbers_of_the_chosen_design_are_those_of_the_store(directory: Path, page: Page) -> None:
    from lutscape.explore.text import quantity

    _, frame, _ = session.load_directory(directory)
    chosen = frame[frame["is_chosen"]].iloc[0]
    assert quantity(chosen["latency_s"], "s") in page.text
    assert quantity(chosen["area_mm2"], "mm2") in page.text
    assert f"trial {chosen['number']}" in page.text


def test_the_chosen_design_is_a_hardware_file(directory: Path) -> None:
    from lutscape.hw import spec
    from lutscape.models.trace import Trace
    from lutscape.sim.simulate import simulate

    chosen = spec.load((directory / "chosen.yaml").resolve())
    _, ppa = simulate(chosen, Trace.load(directory / "trace.parquet"))
    _, frame, _ = session.load_directory(directory)
    row = frame[frame["is_chosen"]].iloc[0]
    assert {name: q.value for name, q in ppa.metrics.items()} == {name: row[name] for name in ppa.metrics}


def test_figures_lie_beside_the_page(directory: Path) -> None:
    for name in ("pareto", "operators", "energy", "area", "influence", "convergence"):
        assert (directory / "figures" / f"{name}.svg").read_text().lstrip().startswith("<?xml")
        assert (directory / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_report_is_rendered_again_without_optuna(directory: Path) -> None:
    before = (directory / "index.html").read_bytes()
    (directory / "index.html").unlink()
    code = (
        "import sys; sys.modules['optuna'] = None; sys.argv = ['lutscape', 'report', sys.argv[1]];"
        "from lutscape.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (directory / "index.html").read_bytes() == before


def test_command_line(write_sweep: Write, tmp_path: Path) -> None:
    """Bad input: one line, exit code 2, nothing written. Good input: JSON on stdout alone."""

    def lutscape(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "lutscape", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    path, out = write_sweep(constraints=["area_mm2 < 3"]), tmp_path / "out"
    bad = lutscape("sweep", str(write_sweep(trials=2)), "-o", str(out))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.startswith("lutscape: error: ")
    assert bad.stderr.count("\n") == 1
    assert not out.exists()
    path = write_sweep(objectives=["latency_s", "energy_j"], baselines=None)
    good = lutscape("sweep", str(path), "-o", str(out), "--json")
    assert good.returncode == 0, good.stderr
    printed = json.loads(good.stdout)
    assert printed["trials"] == 28
    assert printed["front"][0]["chosen"] is True
    assert printed["units"]["latency_s"] == "s"
    assert Path(printed["report"]).is_file()
    again = lutscape("sweep", str(path), "-o", str(out))
    assert again.returncode == 2
    assert "exists and is not empty; go on there with --resume, or give another -o" in again.stderr
    missing = lutscape("report", str(tmp_path / "nowhere"))
    assert missing.returncode == 2
    assert "not found; give the output directory of a sweep" in missing.stderr
