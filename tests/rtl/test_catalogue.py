"""Which cells a spec is built from, what cannot be built, and that names are unique."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lut_arrays import arrays

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import catalogue
from lutscape.rtl.cells.array import array_cell
from lutscape.rtl.cells.unit import unit
from lutscape.sim.lut_tensor_core import golden

SOURCES: dict[str, str] = {}


def spec(name: str = "lut-tensor-core", **changes: Any) -> specs.Spec:
    return specs.override(specs.load(name), {k.replace("__", "."): v for k, v in changes.items()})


def test_cells_of_the_packaged_designs() -> None:
    assert [c.name for c in catalogue.cells(spec())] == [
        "lut_builder_k4a8t8",
        "lut_pe_k4a8t8p1x4s32",
        "lut_array_m2n64k4a8t8p1x4s32",
        "lut_unit_m2n64k4a8t8p1x4s32b1",
    ]
    assert [c.kind for c in catalogue.cells(spec("mac-array"))] == ["mac_pe", "mac_array"]
    assert catalogue.cells(spec("fused-dot-hopper"))[-1].kind == "fused_dot"


@pytest.mark.parametrize(("total", "count", "built"), [(16, 16, 1), (17, 16, 2), (64, 16, 2), (1, 16, 1), (2, 1, 2)])
def test_builders_are_shared_out(total: int, count: int, built: int) -> None:
    top = catalogue.cells(spec(tables_per_cycle=total, array__count=count))[-1]
    assert top.parameters["tables_per_cycle"] == built


def test_unpu_is_the_conventional_array_with_its_builder() -> None:
    kinds = [c.kind for c in catalogue.cells(spec(array__datapath="unpu"))]
    assert kinds == ["lutfull_builder", "lutfull_pe", "lutfull_array", "lutfull_unit"]
    full, unpu = catalogue.small("lut-full"), catalogue.small("unpu")
    assert array_cell(full).source == array_cell(unpu).source


def test_a_conventional_table_does_not_store_the_empty_sum() -> None:
    """15 entries of 10 bits: -512 … 508; the symmetric half has 8 of 11 bits: -511 … 512."""
    fields = {d: array_cell(catalogue.small(d, table_bits=12)).channel("a").fields[0] for d in ("lut", "lut-full")}
    assert (fields["lut"].lanes, fields["lut"].width) == (2 * 8, 11)
    assert (fields["lut-full"].lanes, fields["lut-full"].width) == (2 * 15, 10)


def test_one_pass_has_no_position() -> None:
    names = [f.name for f in array_cell(catalogue.small("lut", planes_per_cycle=4)).channel("w").fields]
    assert names == ["codes", "start", "first", "last"]
    assert "position" in [f.name for f in array_cell(catalogue.small("lut")).channel("w").fields]


@pytest.mark.parametrize(
    ("changes", "values", "text"),
    [
        (
            {"array__accumulator_bits": 12},
            64,
            "lut-tensor-core: array.accumulator_bits = 12 can overflow on K = 64 with 4-bit weights: needs 16; "
            "use accumulator_bits >= 16, or K of at most 4",
        ),
        (
            {"array__accumulator_bits": 16},
            4096,
            "lut-tensor-core: array.accumulator_bits = 16 can overflow on K = 4096 with 4-bit weights: needs 22; "
            "use accumulator_bits >= 22, or K of at most 68",
        ),
        (
            {"array__accumulator_bits": 12, "array__table_bits": 11},
            None,
            "lut-tensor-core: array.accumulator_bits = 12 can overflow on one step of k = 4 with 4-bit weights: "
            "needs 14; use accumulator_bits >= 14",
        ),
        (
            {"array__n": 1024, "array__m": 4},
            None,
            "lut-tensor-core: array.n = 1024 makes a bus of 131072 bits of sums; allowed: at most 65536, so n <= 512",
        ),
        (
            {"array__m": 256, "array__n": 4, "array__k": 8, "array__accumulator_bits": 24},
            None,
            "lut-tensor-core: array.m = 256 makes a bus of 262144 bits of row operands; allowed: at most 65536, "
            "so m <= 64",
        ),
        ({}, 0, "K = 0; at least 1"),
    ],
)
def test_what_cannot_be_built(changes: dict[str, Any], values: int | None, text: str) -> None:
    with pytest.raises(UserError) as error:
        catalogue.cells(spec(**changes), values)
    assert str(error.value) == text


def test_a_kind_without_verilog() -> None:
    with pytest.raises(UserError) as error:
        catalogue.cells(spec("a100-fp16"))
    known = "fused-dot, lut-dla, lut-tensor-core, roma"
    assert str(error.value) == f"a100-fp16: kind 'gpu' has no Verilog; allowed: {known}"


@settings(max_examples=100, deadline=None)
@given(design=arrays(), values=st.integers(1, 10**6))
def test_the_safe_k_of_the_refusal_is_accepted(design: Array, values: int) -> None:
    try:
        catalogue.check_accumulators("x", design, values)
    except UserError:
        safe = golden.safe_values(design, design.serial_weight_bits)
        assert safe < values
        catalogue.check_accumulators("x", design, safe)
        needed = golden.accumulator_bits_needed(design, design.serial_weight_bits, values)
        catalogue.check_accumulators("x", design.model_copy(update={"accumulator_bits": needed}), values)


@settings(max_examples=150, deadline=None)
@given(design=arrays(most=3), tables=st.integers(1, 3))
def test_equal_names_mean_equal_modules(design: Array, tables: int) -> None:
    for cell in unit(design, tables).all_parts:
        assert SOURCES.setdefault(cell.name, cell.source) == cell.source
        assert cell.name in cell.source


def test_reference_has_every_kind() -> None:
    found = catalogue.reference()
    assert len({c.name for c in found}) == len(found)
    kinds = {f"{f}_{part}" for f in ("lut", "lutfull", "add", "mac") for part in ("pe", "array")}
    kinds |= {f"{f}_{part}" for f in ("lut", "lutfull") for part in ("builder", "unit")}
    kinds |= {"align_unit", "secded_decoder", "l_unit", "rom_block", "rom_or", "rom_standard"}
    assert {c.kind for c in found} == kinds | {"adder_tree", "accumulator", "fifo", "narrower"}
