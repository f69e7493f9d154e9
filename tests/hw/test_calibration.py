"""Cost tables: held to the designs they were fitted to and to ones they never saw, between nodes, against physics."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import technology
from lutscape.hw.calibration import features, price, published, tables
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.hw.provenance import Grade

LIBRARIES = tables.packaged()
# Largest relative error of any held-out design: area, energy, leakage; as measured (errors.csv), rounded up.
BOUNDS = {
    ("nangate45", "array"): (0.09, 0.30, 0.06),
    ("nangate45", "builder"): (0.15, 0.37, 0.18),
    ("asap7", "array"): (0.05, 0.28, 0.09),
    ("asap7", "builder"): (0.15, 0.38, 0.21),
}
ARRAY_FIELDS = ("m", "n", "k", "activation_bits", "table_bits", "accumulator_bits", "planes_per_cycle",
                "multiplier_weight_bits", "serial_weight_bits")  # fmt: skip


def node(name: str, **changes: object) -> technology.Technology:
    return technology.load(name).model_copy(update=changes)


def array(datapath: str = "lut", **changes: int) -> Array:
    fields: dict[str, object] = {"datapath": datapath, "m": 2, "n": 16, "k": 4, "count": 1, **changes}
    return Array.model_validate(fields)


def row_array(row: dict[str, str]) -> Array:
    fields = {name: int(row[name]) for name in ARRAY_FIELDS if name in row}
    return Array.model_validate(
        {"m": 1, "n": 1, "count": 1, "accumulator_bits": 24, **fields, "datapath": row["datapath"]}
    )


def synthesised(row: dict[str, str]) -> np.ndarray:
    """Return area, energy with glitches, leakage."""
    energy = float(row["energy_captured_pj"]) * float(row["glitch_captured"])
    return np.array([float(row["area_um2"]), energy, float(row["leakage_uw"])])


def test_two_nodes_are_packaged() -> None:
    assert [(n, tables.load(n).node_nm, tables.load(n).voltage_v) for n in LIBRARIES] == [
        ("asap7", 7.0, 0.7),
        ("nangate45", 45.0, 1.1),
    ]
    assert "Clark et al." in tables.load("asap7").source


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("kind", tables.KINDS)
def test_coefficients_predict_designs_that_were_not_fitted(name: str, kind: str) -> None:
    library, folder = tables.load(name), tables.find(name)
    count = features.of_array if kind == "array" else features.of_builder
    rows = tables.read(folder / f"{kind}s.csv")
    errors = np.array(
        [library.coefficients[kind].price(count(row_array(r))) / synthesised(r) - 1 for r in rows if r["role"] != "fit"]
    )
    assert len(errors) >= 6
    assert np.abs(errors).max(axis=0) == pytest.approx(library.coefficients[kind].worst, rel=1e-3)
    assert np.sqrt((errors**2).mean(axis=0)) == pytest.approx(library.coefficients[kind].error, rel=1e-3)
    assert (np.abs(errors).max(axis=0) <= BOUNDS[name, kind]).all()


@pytest.mark.parametrize("name", LIBRARIES)
def test_held_out_arrays_are_larger_than_fitted_ones(name: str) -> None:
    rows = tables.read(tables.find(name) / "arrays.csv")
    area = {role: max(float(r["area_um2"]) for r in rows if (r["role"] == "fit") is fit) for role, fit in
            (("fit", True), ("held", False))}  # fmt: skip
    assert area["held"] > 1.5 * area["fit"]
    shapes = {(r["datapath"], int(r["m"]), int(r["n"])) for r in rows if r["role"] != "fit"}
    assert {("lut", 2, 16), ("lut", 4, 16), ("lut", 2, 64), ("mac", 4, 16)} <= shapes


def test_costs_at_a_librarys_node_are_its_own() -> None:
    library = tables.load("nangate45")
    own = library.coefficients["array"].price(features.of_array(array()))
    one = price.array_price(array(), node("45nm", supply_v=1.1))
    assert (one.area_um2, one.energy_pj, one.leakage_uw) == pytest.approx(tuple(own))
    assert one.grade is Grade.SYNTHESISED
    assert one.source == "synthesis with nangate45 (45 nm)"
    low = price.array_price(array(), node("45nm"))  # 0.9 V
    assert low.area_um2 == one.area_um2
    assert low.energy_pj == pytest.approx(one.energy_pj * (0.9 / 1.1) ** 2)
    assert low.leakage_uw == pytest.approx(one.leakage_uw * 0.9 / 1.1)
    assert (low.grade, low.source) == (Grade.DERIVED, "synthesis with nangate45 (45 nm), energy from 1.1 V")


def test_costs_between_nodes_reach_both_ends() -> None:
    large, small = tables.load("nangate45"), tables.load("asap7")
    for library, nm in ((large, 44.999), (small, 7.001)):
        own = library.coefficients["array"].price(features.of_array(array()))
        at = node("28nm", node_nm=nm, gate_area_um2=library.gate_area_um2, supply_v=library.voltage_v)
        one = price.array_price(array(), at)
        assert (one.area_um2, one.energy_pj, one.leakage_uw) == pytest.approx(tuple(own), rel=1e-3)
        assert one.grade is Grade.DERIVED
        assert one.source == "synthesis with asap7 (7 nm) and nangate45 (45 nm), interpolated"
    # Half way on both logarithmic scales: the geometric mean.
    middle = node(
        "28nm",
        node_nm=math.sqrt(45 * 7),
        gate_area_um2=math.sqrt(large.gate_area_um2 * small.gate_area_um2),
        supply_v=1.0,
    )
    one = price.array_price(array(), middle)
    ends = [price.array_price(array(), node(name, supply_v=1.0)) for name in ("45nm", "7nm")]
    assert one.area_um2 == pytest.approx(math.sqrt(ends[0].area_um2 * ends[1].area_um2))
    assert one.energy_pj == pytest.approx(math.sqrt(ends[0].energy_pj * ends[1].energy_pj))


def test_finer_nodes_are_smaller_and_frugal() -> None:
    nodes = [node(name) for name in ("45nm", "28nm", "16nm", "7nm")]
    for design in (array(), array("mac"), array("add"), array("lut-full")):
        prices = [price.array_price(design, n) for n in nodes]
        for name in ("area_um2", "energy_pj"):
            values = [getattr(p, name) for p in prices]
            assert values == sorted(values, reverse=True)
    builders = [price.builder_price(array(), n).area_um2 for n in nodes]
    assert builders == sorted(builders, reverse=True)


def test_beyond_the_libraries_the_nearest_is_scaled() -> None:
    base, coarse = node("45nm", supply_v=1.1), node("45nm", node_nm=65.0, supply_v=1.1, gate_area_um2=1.6)
    one, at45 = price.array_price(array(), coarse), price.array_price(array(), base)
    assert one.area_um2 == pytest.approx(at45.area_um2 * 1.6 / 0.798)
    assert one.energy_pj == pytest.approx(at45.energy_pj)  # the same coefficients at the same supply
    assert one.source == "synthesis with nangate45 (45 nm), scaled by gate area and energy factors"


STEPS = {
    "m": (1, 8), "n": (1, 64), "k": (2, 7), "activation_bits": (2, 15), "accumulator_bits": (28, 47),
    "table_bits": (4, 12), "planes_per_cycle": (1, 3), "multiplier_weight_bits": (1, 7),
}  # fmt: skip


@given(st.sampled_from(["lut", "lut-full", "unpu", "add", "mac"]), st.data())
@settings(max_examples=150, deadline=None)
def test_more_hardware_never_costs_less_area(datapath: str, data: st.DataObject) -> None:
    fields = {name: data.draw(st.integers(*span), label=name) for name, span in STEPS.items()}
    name = data.draw(st.sampled_from(sorted(STEPS)), label="grown")
    before = array(datapath, serial_weight_bits=8, **fields)
    grown = array(datapath, serial_weight_bits=8, **{**fields, name: fields[name] + 1})
    if grown.most_passes < before.most_passes:
        return  # more planes, fewer passes: a smaller shifter
    for at in ("45nm", "28nm", "7nm"):
        assert price.array_price(grown, node(at)).area_um2 >= price.array_price(before, node(at)).area_um2 * (1 - 1e-9)


def test_shapes_beyond_the_synthesised_ones_are_said_to_be_extrapolated() -> None:
    ranges = tables.load("nangate45").ranges
    assert ranges["m"][1] >= 16
    assert ranges["n"][1] >= 256
    inside, outside = array(m=16, n=256), array(m=17, n=256)
    assert price.array_price(inside, node("28nm")).grade is Grade.DERIVED
    one = price.array_price(outside, node("28nm"))
    assert one.grade is Grade.ASSUMED
    assert one.source.endswith(f"; extrapolated: m = 17 beyond the synthesised 1 … {ranges['m'][1]}")


def test_the_whole_range_of_the_spec_is_calibrated() -> None:
    fields = Array.model_fields
    for name, span in tables.load("nangate45").ranges.items():
        limits = {type(m).__name__: m for m in fields[name].metadata}
        low, high = limits["Ge"].ge, limits["Le"].le
        if name not in tables.SHAPE:
            assert span == (low, high), name


def test_parameters_outside_the_calibrated_range_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "narrow"
    folder.mkdir()
    for file in tables.find("nangate45").glob("*.csv"):
        rows = file.read_text().splitlines()
        if file.name == "arrays.csv":
            k = rows[0].split(",").index("k")
            rows = [rows[0], *[r for r in rows[1:] if 3 <= int(r.split(",")[k]) <= 6]]
        (folder / file.name).write_text("\n".join(rows) + "\n")
    at = node("45nm", calibration=(str(folder),))
    with pytest.raises(UserError) as caught:
        price.array_price(array(k=8), at)
    assert str(caught.value) == "array.k = 8 is outside the calibrated range 3 … 6 of nangate45; nearest: 6"
    with pytest.raises(UserError, match=r"array\.k = 2 is outside .* nearest: 3"):
        price.builder_price(array(k=2), at)


def test_unknown_and_damaged_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        price.array_price(array(), node("28nm", calibration=("nangate54",)))
    assert str(caught.value) == (
        "calibration 'nangate54' not found (did you mean 'nangate45'?); give a folder that lutscape rtl calibrate "
        "wrote, or one of: asap7, nangate45"
    )
    folder = tmp_path / "damaged"
    folder.mkdir()
    for file in tables.find("asap7").glob("*.csv"):
        (folder / file.name).write_text(file.read_text())
    (folder / "library.csv").write_text("key,value\nname,damaged\n")
    with pytest.raises(UserError, match=r"damaged: damaged calibration tables \(KeyError: 'node_nm'\)"):
        tables.load(str(folder))


def test_a_table_written_for_another_node_needs_a_technology_to_scale_from(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    for file in tables.find("asap7").glob("*.csv"):
        (folder / file.name).write_text(file.read_text().replace("node_nm,7\n", "node_nm,4\n"))
    with pytest.raises(UserError, match=r"technology 28nm: 28 nm lies outside the calibrated nodes, and there is no"):
        price.array_price(array(), node("28nm", calibration=(str(folder),)))


def test_published_units_at_28_nm() -> None:
    """The tables against three published units: not fitted to them. Ratios as measured, ±10 %."""
    found = {c.point.name: c for c in published.checks()}
    area = {name: c.area_ratio for name, c in found.items()}
    assert area == pytest.approx(
        {"LUT Tensor Core, W2A8": 1.12, "UNPU, W2A8": 0.93, "A100 INT8 tensor core": 1.22}, rel=0.1
    )
