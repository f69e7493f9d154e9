"""``lutscape choose``: which design, why, what its neighbours cost, and what is handed over."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lutscape.explore import choose, pareto, session, store
from lutscape.explore.space import Domain
from lutscape.hw import spec as hardware
from lutscape.hw.errors import UserError
from lutscape.models.trace import Trace
from lutscape.sim.simulate import simulate

Write = Callable[..., Path]
OBJECTIVES = ["latency_s", "energy_j", "area_mm2"]


@pytest.fixture
def swept(write_sweep: Write, tmp_path: Path) -> Path:
    session.sweep(write_sweep(), tmp_path / "out", render=False, workers=1)
    return tmp_path / "out"


def test_without_more_constraints_it_is_the_sweeps_own_choice(swept: Path, trace: Trace) -> None:
    found = choose.choose(swept)
    frame = store.load_trials(swept)
    row = frame[frame["is_chosen"]].iloc[0]
    assert found.number == row["number"]
    _, ppa = simulate(found.spec, trace)
    assert ppa.metrics["energy_j"].value == row["energy_j"]
    assert set(found.front["number"]) <= set(frame[frame["is_pareto"]]["number"])


def test_an_added_constraint_moves_the_choice_and_is_said_to_bind(swept: Path) -> None:
    free = choose.choose(swept)
    area = free.ppa.metrics["area_mm2"].value
    found = choose.choose(swept, [f"area_mm2 < {area:.6g}"])
    assert found.number != free.number
    assert found.ppa.metrics["area_mm2"].value < area
    assert found.bounds[-1].without == free.number
    assert any(f"without it trial {free.number} would be chosen" in line for line in choose.reasons(found))
    # the rule, by hand, over the trials below the bound
    frame = store.load_trials(swept)
    kept = frame[frame["feasible"] & (frame["area_mm2"] < float(f"{area:.6g}"))]
    points = pareto.costs([kept[n].to_numpy() for n in OBJECTIVES], OBJECTIVES)
    assert found.number == kept["number"].iloc[pareto.knee(points)]


def test_neighbours_are_simulated_with_one_parameter_changed(swept: Path, trace: Trace) -> None:
    found = choose.choose(swept)
    assert found.neighbours
    complete = [n for n in found.neighbours if n.ratios]
    for n in complete[:3]:
        spec = hardware.override(found.spec, {n.key: n.after})
        _, ppa = simulate(spec, trace)
        expected = ppa.metrics["latency_s"].value / found.ppa.metrics["latency_s"].value
        assert n.ratios["latency_s"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        ({"log2": (16, 256)}, 64, [32, 128]),
        ({"log2": (16, 256)}, 16, [32]),
        ({"integer": (2, 6), "step": 2}, 6, [4]),
        ({"categorical": ["lut", "mac", "add"]}, "mac", ["lut", "add"]),
        ({"categorical": [8, 4, 16]}, 8, [4, 16]),
        ({"log": (1.0, 8.0)}, 2.5, []),
    ],
)
def test_steps(domain: dict[str, Any], value: Any, expected: list[Any]) -> None:
    assert choose.steps(Domain.model_validate(domain), value) == expected


def test_shares_of_time_sum_to_one(swept: Path) -> None:
    shares = choose.bound_by(choose.choose(swept).result)
    assert sum(share for _, share in shares) == pytest.approx(1)
    assert [s for _, s in shares] == sorted((s for _, s in shares), reverse=True)


def test_bad_input_ends_in_one_line(swept: Path, tmp_path: Path) -> None:
    frame = store.load_trials(swept)
    with pytest.raises(
        UserError, match=r"no trial of 28 satisfies all constraints; the tightest is 'area_mm2 < 0.001'"
    ):
        choose.choose(swept, ["area_mm2 < 0.001"])
    with pytest.raises(UserError, match=r"metric 'aera_mm2'.*area_mm2"):
        choose.choose(swept, ["aera_mm2 < 1"])
    with pytest.raises(UserError, match=r"--trial 99: no such trial; allowed: 0 … 27"):
        choose.choose(swept, trial=99)
    small, large = frame["area_mm2"].min(), frame["area_mm2"].max()
    largest = int(frame[frame["area_mm2"] == large]["number"].iloc[0])
    with pytest.raises(UserError, match=rf"--trial {largest}: not a feasible design: it breaks an added constraint"):
        choose.choose(swept, [f"area_mm2 < {(small + large) / 2}"], trial=largest)
    with pytest.raises(UserError, match="not found; give the output directory of a sweep"):
        choose.choose(tmp_path / "nowhere")


def test_a_store_of_another_version_is_refused(swept: Path) -> None:
    import pyarrow.parquet as pq

    path = swept / "trials.parquet"
    table = pq.read_table(path)
    metadata = json.loads(table.schema.metadata[b"lutscape_trials"])
    pq.write_table(
        table.replace_schema_metadata({"lutscape_trials": json.dumps({**metadata, "schema_version": 7})}), path
    )
    with pytest.raises(UserError, match="trials schema version 7, this lutscape reads 1; run the sweep again"):
        choose.choose(swept)


def test_the_command_hands_a_spec_over(swept: Path, tmp_path: Path, lutscape: Callable[..., Any], trace: Trace) -> None:
    output = tmp_path / "mine"
    ran = lutscape("choose", swept, "--no-rtl", "-o", output, "--json")
    assert ran.code == 0, ran.err
    data = json.loads(ran.out)
    text = (output / "README.md").read_text()
    assert f"Trial {data['trial']}" in text
    assert "What the neighbours cost" in text
    spec = hardware.load(output / "spec.yaml")
    assert spec.digest() == data["digest"]
    _, ppa = simulate(spec, trace)
    assert ppa.metrics["energy_j"].value == pytest.approx(data["metrics"]["energy_j"]["value"])
    again = lutscape("choose", swept, "--no-rtl", "-o", output)
    assert again.code == 2
    assert "exists and is not an empty directory; give another -o" in again.err


def test_a_design_without_verilog_names_parameter_and_nearest(
    write_sweep: Write, tmp_path: Path, lutscape: Callable[..., Any]
) -> None:
    path = write_sweep(
        parameters={"array.n": {"categorical": [1024]}, "array.m": {"categorical": [16]}}, constraints=[], trials=1,
        sampler={"name": "grid"},
    )  # fmt: skip
    session.sweep(path, tmp_path / "out", render=False, workers=1)
    ran = lutscape("choose", tmp_path / "out", "-o", tmp_path / "mine")
    assert ran.code == 2
    assert "trial 0 has no Verilog: small-0: array.n = 1024 makes a bus of" in ran.err
    assert "allowed: at most 65536, so n <= 128; choose another with --trial" in ran.err
    assert not (tmp_path / "mine").exists()


@pytest.mark.long
def test_a_small_unit_is_handed_over_whole(write_sweep: Write, tmp_path: Path, lutscape: Callable[..., Any]) -> None:
    path = write_sweep(
        parameters={"array.n": {"categorical": [8]}, "array.m": {"categorical": [2]}}, trials=1,
        sampler={"name": "grid"}, constraints=[],
    )  # fmt: skip
    session.sweep(path, tmp_path / "out", render=False, workers=1)
    ran = lutscape("choose", tmp_path / "out", "-o", tmp_path / "mine", "--operands", "gaussian", "--no-curve")
    assert ran.code == 0, ran.err
    data = json.loads((tmp_path / "mine" / "choice.json").read_text())
    assert data["rtl"]["verified"]
    assert np.isfinite(data["rtl"]["area_um2"])
    assert (tmp_path / "mine" / "rtl" / "index.html").is_file()
