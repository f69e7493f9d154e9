"""LUT-DLA as hardware: spec and its refusals, costs of its parts, measured accuracy."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lutscape.explore.papers import dla_published
from lutscape.hw import cost_lut_dla, measured_accuracy, technology
from lutscape.hw import spec as specs
from lutscape.hw.calibration import dla, tables
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import METRICS, Codebook, LutDlaSpec
from lutscape.hw.memories import cells
from lutscape.hw.provenance import Grade
from lutscape.models.recorder import Formats
from lutscape.models.tracing import trace_model
from lutscape.sim.simulate import simulate

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "configs" / "hardware" / "lut-dla.yaml").read_text()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  c: 16", "  c: 12", "codebook: c = 12: must be a power of two; nearest: 8 or 16"),
        ("  metric: l2", "  metric: l3", "codebook.metric = 'l3': must be 'l2', 'l1' or 'chebyshev'"),
        ("fifo_depth: 16", "fifo_depth: 12", "fifo_depth = 12: must be a power of two (Gray pointers)"),
        ("fill_entries: 64", "fill_entries: 48", "imm: fill_entries = 48: must divide lanes = 128"),
        ("  lanes: 128", "  lane: 128", "unknown key 'imm.lane' (did you mean 'lanes'?)"),
        ("dataflow: ls-n", "dataflow: lsn", "dataflow = 'lsn': must be 'ls-n', 'ls-k'"),
        ("  v: 4", "  v: true", "codebook.v = true: must be a number"),
    ],
)
def test_bad_specs_are_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert TEXT.count(old) == 1
    path = tmp_path / "machine.yaml"
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(UserError) as error:
        specs.load(path)
    assert message in str(error.value)
    assert str(error.value).startswith(f"{path}:")
    assert "\n" not in str(error.value)


def test_every_number_of_the_spec_has_a_source_or_is_a_choice() -> None:
    spec = specs.load("lut-dla")
    weak = {key for key, value in spec.leaves() if isinstance(value, int | float) and key not in spec.chosen}
    weak -= {"schema_version"}
    assert all(spec.provenance(key) is not None for key in weak), weak
    source = spec.provenance("synchroniser_stages")
    assert source is not None
    assert source.grade is Grade.PUBLISHED


@pytest.mark.parametrize(("name", "per_cycle"), [("small", 1536), ("medium", 4096), ("large", 9216)])
def test_packaged_sizes(name: str, per_cycle: int) -> None:
    spec = specs.load(f"lut-dla-{name}")
    assert isinstance(spec, LutDlaSpec)
    assert 2 * spec.peak_macs_per_second / (spec.clock_mhz * 1e6) == per_cycle
    recalled = {d.operations_per_cycle for d in dla_published.DESIGNS}
    assert per_cycle in recalled


@pytest.mark.parametrize("node", ["45nm", "28nm", "7nm"])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_metrics_cost_in_their_order(node: str, bits: int) -> None:
    at = technology.load(node)
    prices = [dla.dpe_price(Codebook(v=4, c=16, metric=m, input_bits=bits), at) for m in METRICS]
    areas, energies = [p.area_um2 for p in prices], [p.energy_pj for p in prices]
    assert areas[0] > areas[1] > areas[2]
    assert energies[0] > energies[1] > energies[2]


@pytest.mark.parametrize("library", ["nangate45", "asap7"])
def test_costs_are_close_to_the_synthesised_designs(library: str) -> None:
    node = {"nangate45": "45nm", "asap7": "7nm"}[library]
    at = technology.load(node)
    rows = [r for r in tables.read(tables.find(library) / "dla_designs.csv") if r["kind"].startswith("dpe")]
    assert len(rows) >= 60
    errors = []
    for row in rows:
        metric = row["kind"].removeprefix("dpe ")
        book = Codebook(v=int(row["v"]), c=int(row["c"]), metric=metric, input_bits=int(row["input_bits"]))  # type: ignore[arg-type]
        errors.append(dla.dpe_price(book, at).area_um2 / float(row["area_um2"]) - 1)
    assert max(map(abs, errors)) < 0.15
    assert abs(sum(errors) / len(errors)) < 0.02


def test_28_nm_lies_between_the_libraries() -> None:
    book = Codebook(v=4, c=16, metric="l2")
    large, middle, small = (dla.dpe_price(book, technology.load(n)) for n in ("45nm", "28nm", "7nm"))
    assert large.area_um2 > middle.area_um2 > small.area_um2
    assert large.energy_pj > middle.energy_pj > small.energy_pj
    assert middle.grade is Grade.DERIVED


@pytest.mark.parametrize("name", ["lut-dla", "lut-dla-small", "lut-dla-medium", "lut-dla-large", "lut-dla-search"])
def test_packaged_clocks_are_reached_by_the_smallest_netlists(name: str) -> None:
    spec = specs.load(name)
    assert isinstance(spec, LutDlaSpec)
    rows = tables.read(tables.find("nangate45") / "dla_designs.csv")
    periods = {(r["kind"], r["v"], r["input_bits"]): float(r["min_period_ps"]) for r in rows if r["v"]}
    book = spec.codebook
    period = periods[f"dpe {book.metric}", str(book.v), str(book.input_bits)]
    assert 1e6 / spec.ccm.clock_mhz >= period
    at = technology.load("45nm")
    assert dla.dpe_period_ps(book, at) == pytest.approx(period, rel=0.1)
    assert dla.dpe_period_ps(book, technology.load("28nm")) < dla.dpe_period_ps(book, at)


def test_beyond_the_synthesised_shapes_is_assumed() -> None:
    price = dla.dpe_price(Codebook(v=20, c=16, metric="l1"), technology.load("45nm"))
    assert price.grade is Grade.ASSUMED
    assert "v = 20 beyond the synthesised 1 … 16" in price.source


def test_a_library_without_parts_is_refused(tmp_path: Path) -> None:
    for file in tables.find("nangate45").glob("*.csv"):
        if not file.name.startswith("dla_"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(
        UserError, match=r"has no synthesised parts of LUT-DLA; write them with: python reports/lut_dla"
    ):
        dla.coefficients(str(tmp_path))


def test_the_placed_decoder_is_within_a_quarter() -> None:
    # halutmatmul, openroad-reports, halut_decoder: 32 codebooks x 16 entries x 8 bits of latches, 24,667.5 µm² placed.
    latches = cells.register_file_area("nangate45", "latch", 512, 8, 1, 1)
    lane = dla.lane_price(8, 32, technology.load("45nm"))
    assert (latches + lane.area_um2) / dla_published.HALUT["area_um2"] == pytest.approx(1.0, abs=0.25)


def test_areas_by_hand() -> None:
    spec = specs.load("lut-dla")
    assert isinstance(spec, LutDlaSpec)
    trace = trace_model("bert-base", 16, 0, 1, Formats(activations="int8")).trace
    _, ppa = simulate(spec, trace)
    element = dla.dpe_price(spec.codebook, spec.node)
    assert ppa.area["distance elements"].value == pytest.approx(16 * element.area_um2 * 1e-6)
    lane = dla.lane_price(8, 32, spec.node)
    assert ppa.area["lanes"].value == pytest.approx(2 * 128 * lane.area_um2 * 1e-6)
    bank = cost_lut_dla.storage("latch", 16, 1024, "28nm", 1)
    assert ppa.area["table banks"].value == pytest.approx(4 * bank.area.value)  # two of each of two modules
    assert {q.grade for q in ppa.area.values()} <= {Grade.PUBLISHED, Grade.DERIVED}


def test_a_codebook_too_large_for_latches_is_refused_by_name() -> None:
    trace = trace_model("bert-base", 16, 0, 1, Formats(activations="int8")).trace
    with pytest.raises(UserError) as error:
        simulate(specs.override(specs.load("lut-dla"), {"codebook.c": 512}), trace)
    assert str(error.value) == (
        "lut-dla: table banks of codebook.c = 512 words, imm.table_style = latch: words of a bank = 512: the "
        "standard-cell model is valid from 2 to 256; larger ones: kind sram"
    )
    simulate(specs.override(specs.load("lut-dla"), {"codebook.c": 512, "imm.table_style": "sram"}), trace)


def test_wide_memories_are_put_side_by_side() -> None:
    one = cost_lut_dla.storage("sram", 256, 4096, "28nm", 1)
    two = cost_lut_dla.storage("sram", 256, 8192, "28nm", 1)
    assert (one.parts, two.parts) == (1, 2)
    assert two.area.value == pytest.approx(2 * one.area.value)
    assert two.read_pj() == pytest.approx(2 * one.read_pj())
    assert cost_lut_dla.storage("sram", 32, 64, "28nm", 1).one.request.kind == "register_file"


def test_modules_and_chains_cost_what_their_synthesis_says() -> None:
    """Machine model beside whole units of the generated Verilog, Nangate45: reports/lut_dla/units.json."""
    units = json.loads((ROOT / "reports" / "lut_dla" / "units.json").read_text())["libraries"]["nangate45"]
    node = technology.load("45nm")
    for row in units["rows"]:
        if row["kind"] == "dla_ccm":
            book = Codebook(v=row["v"], c=row["c"], metric=row["metric"], input_bits=row["input_bits"])
            ours = book.c * dla.dpe_price(book, node).area_um2 + 2 * dla.codebook_price(book, node).area_um2
            assert ours == pytest.approx(row["area_um2"], rel=0.05)
    lane = units["summary"]["imm_lane"]  # flip-flop banks, adder, 32-bit sum
    bank = cells.register_file_area("nangate45", "enable-flip-flop", 16, 8, 1, 1)
    assert 2 * bank + dla.lane_price(8, 32, node).area_um2 == pytest.approx(lane["area_um2"], rel=0.05)


CELL: dict[str, Any] = {
    "kind": "mlp",
    "plan": {"v": 4, "c": 16, "metric": "l2", "keep": []},
    "runs": [{}, {}, {}],
    "summary": {"trained": {"mean": 88.0}, "int8_loss": {"mean": 1.25, "half_width_95": 0.5}},
}


def accuracy_file(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({"data": "test-set", "cells": {"mlp-v4": {**CELL, **changes}}}))
    return str(path)


def test_accuracy_is_measured_or_refused(tmp_path: Path) -> None:
    table = accuracy_file(tmp_path / "a.json")
    found = measured_accuracy.measured(table, "mlp", "int8", 4, 16, "l2")
    assert (found.loss_points, found.ci95, found.seeds, found.data) == (1.25, 0.5, 3, "test-set")
    for asked, message in (
        (("mlp", "int8", 8, 16, "l2"), "accuracy of mlp with l2 v=8 c=16 is not measured in "),
        (("mlp", "int7", 4, 16, "l2"), "no stage 'int7' (did you mean 'int8'?); measured: int8"),
        (("cnn", "int8", 4, 16, "l2"), "no network 'cnn'; measured: mlp"),
    ):
        with pytest.raises(UserError) as error:
            measured_accuracy.measured(table, *asked)
        assert message in str(error.value)


def test_a_cost_report_carries_the_measured_loss(tmp_path: Path) -> None:
    text = TEXT.replace(
        "sources:", f"accuracy: {{table: {accuracy_file(tmp_path / 'a.json')}, network: mlp}}\nsources:"
    )
    path = tmp_path / "machine.yaml"
    path.write_text(text)
    trace = trace_model("bert-base", 16, 0, 1, Formats(activations="int8")).trace
    _, ppa = simulate(specs.load(path), trace)
    loss = ppa.metrics["accuracy_loss_points"]
    assert (loss.value, loss.grade) == (1.25, Grade.MEASURED)
    assert loss.source == "mlp on test-set after int8, mean of 3 seeds, 95 % interval +- 0.5"
    with pytest.raises(UserError, match="is not measured in"):
        simulate(specs.override(specs.load(path), {"codebook.v": 8}), trace)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not an accuracy table (TypeError)"),
        ("{", "not an accuracy table (JSONDecodeError)"),
        ('{"data": "x", "cells": {"a": {"plan": {}}}}', "cells.a: KeyError: 'summary'"),
    ],
)
def test_bad_accuracy_tables(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / f"{len(content)}.json"
    path.write_text(content)
    with pytest.raises(UserError) as error:
        measured_accuracy.load(str(path))
    assert message in str(error.value)
    with pytest.raises(UserError, match=r"accuracy table 'none.json' not found; no accuracy is assumed"):
        measured_accuracy.load("none.json")


def test_one_seed_is_no_measurement(tmp_path: Path) -> None:
    bad = {"summary": {"int8_loss": {"mean": 1.0, "half_width_95": float("nan")}}}
    with pytest.raises(UserError, match="an interval needs two seeds"):
        measured_accuracy.load(accuracy_file(tmp_path / "one.json", **bad))
