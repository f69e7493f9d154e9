"""Calibration: counts held to the generated Verilog, the solver to its conditions, a small run from end to end."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.commands.rtl_calibrate import KNOWN
from lutscape.commands.rtl_calibrate import calibrate as command
from lutscape.hw import technology
from lutscape.hw.calibration import features, price, tables
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import calibrate, calibrate_fit, calibrate_grid, calibrate_operands, liberty, synth
from lutscape.rtl.calibrate_grid import FIT, HELD_OUT, Design, changed
from lutscape.rtl.calibrate_measure import Setting
from lutscape.rtl.cells import operands
from lutscape.rtl.cells.table_builder import table_builder

arrays = st.builds(
    Array,
    datapath=st.sampled_from(["lut", "lut-full", "unpu", "add", "mac"]),
    m=st.integers(1, 4),
    n=st.integers(1, 8),
    k=st.integers(2, 8),
    count=st.just(1),
    activation_bits=st.integers(2, 16),
    table_bits=st.integers(4, 20),
    accumulator_bits=st.integers(12, 48),
    planes_per_cycle=st.integers(1, 8),
    multiplier_weight_bits=st.integers(1, 8),
    serial_weight_bits=st.integers(1, 8),
)


@given(arrays)
@settings(max_examples=200, deadline=None)
def test_register_counts_are_those_of_the_verilog(array: Array) -> None:
    assert features.row_bits(array) == operands.row_field(array, 1).bits
    assert features.column_bits(array) == operands.column_field(array, 1).bits
    counts = features.of_array(array)
    assert counts["row"] == array.m * operands.row_field(array, 1).bits
    assert set(counts) <= set(features.ARRAY_FEATURES)
    assert min(counts.values()) >= 0
    if array.looks_up:
        assert features.entry_bits(array) == operands.entry_bits(array)


@pytest.mark.parametrize("datapath", ["lut", "lut-full"])
@pytest.mark.parametrize("k", range(2, 8))
@pytest.mark.parametrize("table_bits", [8, 20])
def test_table_additions_are_those_of_the_verilog(datapath: str, k: int, table_bits: int) -> None:
    array = changed(datapath, f"k={k},t={table_bits}")
    lines = [line for line in table_builder(array).source.splitlines() if "=" in line and not line.startswith("//")]
    assert sum(" + " in line or " - " in line for line in lines) == features.table_additions(array)


def test_adder_bits_by_hand() -> None:
    # INT8, k = 4: two adders of 9 bits and one of 10; four planes of those 10 bits: 11 + 11 above the lowest bit,
    # then 12 bits and 2 above: sums of 12 bits 0 … 3 and 2 … 5 make 14 bits, of which 2 pass.
    counts = features.of_array(changed("mac", "m=1,n=1,s=24"))
    assert counts["tree"] == 4 * (9 + 9 + 10)
    assert counts["planes"] == 11 + 11 + (15 - 2)
    assert (counts["add"], counts["count"]) == (15, 9)


def test_the_grid_fits_every_count_and_holds_other_designs_out() -> None:
    designs = list(calibrate_grid.arrays())
    tops = [d.top for d in designs]
    assert len(set(tops)) == len(tops)
    fitted = [features.of_array(d.array) for d in designs if d.role == FIT and d.array]
    for name in features.ARRAY_FEATURES:
        assert sum(f.get(name, 0) > 0 for f in fitted) >= 5, name
    largest = max(d.array.m * d.array.n for d in designs if d.role == HELD_OUT and d.array)
    assert largest >= 4 * max(d.array.m * d.array.n for d in designs if d.role == FIT and d.array)
    builders = [features.of_builder(d.array) for d in calibrate_grid.builders() if d.array]
    for name in features.BUILDER_FEATURES:
        assert sum(f.get(name, 0) > 0 for f in builders) >= 5, name


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_nonnegative_least_squares_meets_its_conditions(seed: int, columns: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((rows, columns)), rng.standard_normal(rows)
    x = calibrate_fit.nonnegative(a, b)
    slope = a.T @ (b - a @ x)
    assert (x >= 0).all()
    assert (slope <= 1e-7).all()
    assert np.abs(slope[x > 0]).max(initial=0) <= 1e-7


def test_nonnegative_least_squares_recovers_costs() -> None:
    rng = np.random.default_rng(0)
    a, x = rng.random((40, 8)) * 10.0 ** rng.integers(0, 4, 8), rng.random(8) * (rng.random(8) > 0.3)
    assert calibrate_fit.nonnegative(a, a @ x) == pytest.approx(x, abs=1e-9)


def test_registers_in_front_of_a_combinational_cell(nangate45: liberty.Library) -> None:
    array = changed("lut", "k=2,a=4,t=4")
    verilog, top = calibrate_grid.registered(table_builder(array))
    built = synth.synthesise(verilog, top, period_ps=4000)
    assert built.registers == features.of_builder(array)["input"]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nangate45: liberty.Library) -> list[str]:
    """A grid of a few small designs and random operands instead of captured ones; returns what runs."""
    ran: list[str] = []
    every = list(calibrate_grid.arrays()) + list(calibrate_grid.builders())
    chosen = {
        ("array", FIT): ["lut_array_m1n1k4", "add_array_m2n4k2a8p1x4", "mac_array_m2n4k2a8d4"],
        ("array", HELD_OUT): ["add_array_m3n5"],
        ("builder", FIT): ["lut_builder_k2a8t8", "lut_builder_k2a16"],
        ("builder", HELD_OUT): ["lut_builder_k3a6t5"],
    }

    def some(kind: str) -> Iterator[Design]:
        return (d for d in every if d.kind == kind and d.top.startswith(tuple(chosen[kind, d.role])))

    monkeypatch.setattr(calibrate_grid, "arrays", lambda: some("array"))
    monkeypatch.setattr(calibrate_grid, "builders", lambda: some("builder"))
    monkeypatch.setattr(calibrate_grid, "blocks", lambda: iter(()))
    monkeypatch.setattr(calibrate_operands, "captured", lambda bits: calibrate_operands.uniform(bits, seed=2))
    monkeypatch.setattr(calibrate, "cache_dir", lambda: tmp_path / "cache")
    row = calibrate.calibrate_measure.row
    monkeypatch.setattr(calibrate.calibrate_measure, "row", lambda d, *a: (ran.append(d.top), row(d, *a))[1])
    return ran


SETTING = Setting(("nangate45",), 4000.0, "BUF_X2", 10.0)


def test_a_run_writes_tables_that_price_designs(small: list[str], tmp_path: Path) -> None:
    library = calibrate.Library("mine", 45.0, "a library made for tests", SETTING)
    folder = tmp_path / "mine"
    done = calibrate.calibrate(library, folder, jobs=1)
    assert done.rows == len(small) == 7
    with (folder / "arrays.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["role"] for r in rows].count(HELD_OUT) == 1
    first = next(r for r in rows if r["datapath"] == "lut")
    array = changed("lut", "m=1,n=1")
    cell = next(d for d in calibrate_grid.arrays() if d.array == array)
    built = synth.synthesise(cell.verilog, cell.top, period_ps=4000)
    assert float(first["area_um2"]) == pytest.approx(built.area_um2, rel=1e-5)
    assert first["key"] == built.key
    assert 0 < float(first["toggles_captured"]) < 1
    assert float(first["glitch_captured"]) >= 1
    node = technology.load("45nm").model_copy(update={"calibration": (str(folder),), "supply_v": 1.1})
    one = price.array_price(array, node)
    assert one.area_um2 == pytest.approx(built.area_um2, rel=0.02)  # three designs, more counts: fitted closely
    assert tables.load(str(folder)).keys["operands_captured"] == "uniform"
    again = calibrate.calibrate(library, folder, jobs=1)
    assert (again.rows, len(small)) == (7, 7)  # every row from the cache


def test_designs_that_fail_are_named_and_the_others_kept(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = calibrate.calibrate_measure.row

    def failing(design: Design, *arguments: object) -> dict[str, object]:
        if design.kind == "builder" and "k3" in design.top:
            raise UserError("out of gates")
        return row(design, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(calibrate.calibrate_measure, "row", failing)
    library = calibrate.Library("mine", 45.0, "a library made for tests", SETTING)
    with pytest.raises(UserError, match="1 of 7 designs failed, the others are kept; first: lut_builder_k3a6t5_reg"):
        calibrate.calibrate(library, tmp_path / "mine", jobs=1)
    assert len(small) == 6
    monkeypatch.setattr(calibrate.calibrate_measure, "row", row)
    calibrate.calibrate(library, tmp_path / "mine", jobs=1)
    assert len(small) == 7


def test_the_command_prints_the_errors_of_the_fits(small: list[str], tmp_path: Path) -> None:
    run = CliRunner().invoke(command, ["--jobs", "1", "-o", str(tmp_path / "out"), "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.output[run.output.index("{") :])
    assert found["designs"] == 7
    assert {(e["kind"], e["quantity"]) for e in found["errors"]} >= {("array", "area_um2"), ("builder", "energy_pj")}
    assert tables.load(str(tmp_path / "out")).source == KNOWN["nangate45"]["source"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--liberty", "a.lib"], "calibrate: --name is missing"),
        (["--name", "x"], "calibrate: library 'x' needs --node (known without: nangate45, asap7)"),
        (["--name", "x", "--node", "28"], "calibrate: library 'x' needs --source"),
        (["--only", "arrays"], "calibrate: no kind 'arrays'; allowed: array, builder, block"),
        (["--period", "4"], "--period '4': write a number with a unit"),
        (["--name", "asap7", "--liberty", "nosuch.lib"], "Liberty file 'nosuch.lib' not found"),
    ],
)
def test_the_command_answers_bad_input(arguments: list[str], message: str) -> None:
    run = CliRunner().invoke(command, arguments)
    assert isinstance(run.exception, UserError)
    assert message in str(run.exception)
