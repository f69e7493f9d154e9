"""What reports say of the data: parameters without effect, free parameters, datapaths, faults, objectives."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from lutscape.explore import activity, figures, notes, report, session, store, sweep_file
from lutscape.explore.space import Domain
from lutscape.hw.errors import UserError
from lutscape.models.trace import Trace

Write = Callable[..., Path]
Lutscape = Callable[..., Any]
BOTH: dict[str, Any] = {
    "array.datapath": {"categorical": ["lut", "mac"]},
    "array.multiplier_weight_bits": {"categorical": [4, 8]},
    "array.planes_per_cycle": {"categorical": [1, 2]},
}


def options(**changes: Any) -> dict[str, Any]:
    """Return a grid of 2 x 2 x 2 designs; the datapath uses one of the two others, so 4 are different."""
    return {
        "parameters": BOTH, "sampler": {"name": "grid", "population": 8}, "trials": 8, "constraints": None,
        "baselines": None, "objectives": ["latency_s", "area_mm2"], **changes,
    }  # fmt: skip


def break_model(monkeypatch: pytest.MonkeyPatch, broken: list[int]) -> None:
    """Let the model fail on some values of array.k."""
    from lutscape.sim import simulate

    right = simulate.simulate

    def wrong(spec: Any, trace: Any) -> Any:
        return 1 / 0 if spec.array.k in broken else right(spec, trace)

    monkeypatch.setattr(simulate, "simulate", wrong)


def words(directory: Path) -> str:
    page = (directory / "index.html").read_text(encoding="utf-8")
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


@pytest.fixture(scope="module")
def two(trace_path: Path, tmp_path_factory: pytest.TempPathFactory) -> session.Finished:
    """Two objectives, no baseline, both datapaths, a free parameter, and a value on which the model fails."""
    base = tmp_path_factory.mktemp("two")
    parameters = {**BOTH, "clock_mhz": {"categorical": [500, 1000]}, "array.k": {"integer": [3, 4]}}
    data = {"kind": "sweep", "name": "small", "workload": {"trace": str(trace_path)}, "hardware": "lut-tensor-core"}
    data |= {k: v for k, v in options(parameters=parameters, trials=32).items() if v is not None}
    (base / "s.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        break_model(patch, [3])
        patch.setattr(figures, "render", lambda figure: ("<svg/>", b""))  # the slow part
        return session.sweep(base / "s.yaml", base / "out", workers=1)


def test_inert_parameters_do_not_count(two: session.Finished) -> None:
    frame = two.trials
    lut = frame["array.datapath"] == "lut"
    assert set(frame.loc[lut, "inert"]) == {"array.multiplier_weight_bits"}
    assert set(frame.loc[~lut, "inert"]) == {"array.planes_per_cycle"}
    assert (activity.active(frame, "array.planes_per_cycle") == lut).all()
    assert len(activity.distinct(frame, two.plan.file.parameters)) == 4 * 2 * 2
    counts = notes.counts(two.plan, frame)
    assert (counts["trials"], counts["distinct"], counts["feasible"], counts["failed"]) == (32, 16, 8, 8)
    assert store.load_trials(two.directory)["inert"].tolist() == frame["inert"].tolist()


def test_the_page_does_not_print_inert_values(two: session.Finished) -> None:
    page = (two.directory / "index.html").read_text(encoding="utf-8")
    front = page[page.index("of the front</summary>") : page.index("Time per operator")]
    assert front.count('<td title="no effect">–</td>') == notes.counts(two.plan, two.trials)["front"]
    chosen = two.trials[two.trials["is_chosen"]].iloc[0]
    designs = page[page.index("Swept parameters") :]
    row = designs[designs.index(chosen["inert"]) :].split("</tr>")[0]
    assert re.search(r'title="no effect">–</td>', row)
    assert "no effect on this design" in page


def test_the_command_line_does_not_print_inert_values(
    two: session.Finished, capsys: pytest.CaptureFixture[str]
) -> None:
    from lutscape.commands import sweep

    sweep._print_front(two.plan, two.trials)
    chosen = two.trials[two.trials["is_chosen"]].iloc[0]
    assert f"    {chosen['inert']}: no effect on this design\n" in capsys.readouterr().out
    for design in sweep._as_json(two.plan, two.trials, two.report, {})["front"]:
        assert len(design["inert"]) == 1


def test_the_page_warns(two: session.Finished) -> None:
    said = words(two.directory)
    assert "Free parameters. clock_mhz is free in this search: times depend on it" in said
    front = notes.front_points(two.plan, two.trials)
    lut = int((front["array.datapath"] == "lut").sum())
    assert "are priced from synthesis of their Verilog with operands of a language model, glitches counted" in said
    assert "(root mean square) nangate45 12.5 % and asap7 10.7 %" in said
    assert f"{lut} ({100 * lut / len(front):.0f} %)" in said
    assert "A model failed. The model failed on 16 of 32 trials, a fault of the model" in said
    assert "The line joins the front. Logarithmic axes" in said  # no baselines: no diamonds
    assert "Designs beside the baselines" not in said


def test_influence_counts_designs_with_effect_alone() -> None:
    frame = pd.DataFrame(
        {"a": [1, 2, 2, 2], "b": [1, 1, 2, 2], "inert": ["", "", "b", "b"], "is_pareto": [False, True, True, True]}
    )
    space = {key: Domain(categorical=[1, 2]) for key in "ab"}
    left, right = figures.influence(frame, space).axes
    assert [bar.get_height() for bar in left.patches] == [1 / 3, 2 / 3, 0.0, 1.0]  # three distinct designs
    assert [bar.get_height() for bar in right.patches] == [1.0, 0.0, 1.0, 0.0]
    assert (left.get_xlabel(), right.get_xlabel()) == ("", "has effect on 1 of 2 of the front")


@pytest.fixture
def unrendered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "write", lambda directory, *_: directory / "index.html")


def test_free_parameters_are_named(write_sweep: Write, lutscape: Lutscape, tmp_path: Path, unrendered: None) -> None:
    parameters = {**BOTH, "clock_mhz": {"categorical": [500, 1000]}}
    path = write_sweep(**options(parameters=parameters, trials=16))
    ran = lutscape("sweep", path, "-o", tmp_path / "out")
    assert ran.err == (
        "warning: clock_mhz is free in this search: times depend on it, and the area and energy models do not charge "
        "it, so the front leans to its fastest value\n"
    )
    plan = sweep_file.load(write_sweep(**options(parameters=parameters, trials=16, objectives=["energy_j"])))
    assert notes.free_parameters(plan).endswith("do not charge it (no objective or constraint is a time)")
    assert not notes.free_parameters(sweep_file.load(write_sweep(**options())))


@pytest.mark.parametrize(("baselines", "mixed"), [([], False), (["mac-array"], True)])
def test_datapaths_that_are_compared(
    write_sweep: Write, tmp_path: Path, trace: Trace, baselines: list[str], mixed: bool
) -> None:
    path = write_sweep(**options(parameters={"array.n": {"log2": [16, 64]}}, baselines=baselines))
    done = session.sweep(path, tmp_path / "out", workers=1, render=False)
    said = notes.mixed_datapaths(done.plan, done.trials, report.compare(done.plan, done.trials, trace))
    assert said.endswith("(100 %) are lookup designs and 0 (0 %) are multiplier designs.") == mixed
    assert bool(said) == mixed


@pytest.mark.parametrize(("broken", "code"), [([2], 0), ([2, 3, 4], 1)])
def test_faults_of_a_model_are_told(
    write_sweep: Write, lutscape: Lutscape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unrendered: None,
    broken: list[int], code: int,
) -> None:  # fmt: skip
    break_model(monkeypatch, broken)
    path = write_sweep(**options(parameters={"array.k": {"integer": [2, 6]}}))
    ran = lutscape("sweep", path, "-o", tmp_path / "out")
    assert ran.code == code
    assert ran.err == (
        f"warning: the model failed on {len(broken)} of 5 trials, a fault of the model and not of the designs, which "
        "are left out; first: trial 0: ZeroDivisionError: division by zero\n"
    )


def test_a_model_that_always_fails(
    write_sweep: Write, lutscape: Lutscape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_model(monkeypatch, [2, 3, 4, 5, 6])
    path = write_sweep(**options(parameters={"array.k": {"integer": [2, 6]}}))
    ran = lutscape("sweep", path, "-o", tmp_path / "out")
    assert (ran.code, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith("lutscape: error: no design is feasible: the model failed on 5 of 5 trials")
    with pytest.raises(UserError, match="the model failed on 5 of 5 trials"):
        session.load_directory(tmp_path / "out")


def test_one_objective(write_sweep: Write, lutscape: Lutscape, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "render", lambda figure: ("<svg/>", b""))
    path = write_sweep(**options(objectives=["area_mm2"], baselines=["a100-int8"]))
    ran = lutscape("sweep", path, "-o", tmp_path / "out")
    assert "small: best design\n" in ran.out
    assert "* chosen, the best: trial" in ran.out
    said = words(tmp_path / "out")
    assert "4 are feasible, and the best of them by area is chosen." in said
    assert "The chosen design is the feasible one with the least area." in said
    assert "Best feasible value after each trial." in said
    for wrong in ("Pareto", "hypervolume", "that the front dominates", "Beside a100-int8", "every objective"):
        assert wrong not in said.split("Reproduce")[0]


def test_best_so_far() -> None:
    frame = pd.DataFrame({"tokens_per_s": [2.0, 9.0, 1.0, 5.0], "feasible": [True, False, True, True]})
    (ax,) = figures.best_so_far(frame, "tokens_per_s", 2).axes
    best = next(line for line in ax.lines if line.get_label() == "best so far")
    assert list(best.get_ydata()) == [2.0, 2.0, 2.0, 5.0]
