"""ROM forms and L-Units in Verilog: contents, products of real weights, cycles, and what cannot be built."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise import rom
from lutscape.rtl import brom, brom_transistors, catalogue
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.align_unit import align_unit
from lutscape.rtl.cells.l_unit import l_unit, reference_words, slice_beats
from lutscape.rtl.cells.rom_cell import FORMS, candidates, rom_cell
from lutscape.rtl.cells.secded_decoder import secded_decoder
from lutscape.rtl.mutation import score
from lutscape.rtl.verify import verify
from lutscape.sim.roma import golden, stage_timing
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.linear import design_for


def words(depth: int, width: int, seed: int = 0) -> np.ndarray:
    bits = np.random.default_rng(seed).integers(0, 2, (depth, width)).astype(np.uint8)
    return np.packbits(bits, axis=1, bitorder="little")


@given(depth=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_choices_come_back(depth: int, width: int, seed: int) -> None:
    stored = words(depth, width, seed)
    chosen = brom.choices(stored, width)
    assert chosen.shape == (-(-depth // 4), width)
    assert (brom.expand(chosen, depth) == stored).all()
    bits = np.unpackbits(stored, axis=1, count=width, bitorder="little")
    for address in range(depth):
        for j in range(width):
            assert chosen[address // 4, j] >> (address % 4) & 1 == bits[address, j]
    packed = brom.packed_choices(chosen)
    assert [packed[0] >> (4 * j) & 15 for j in range(width)] == chosen[0].tolist()


def test_candidates_are_the_16_functions_of_two_bits() -> None:
    lines = candidates()
    for k in range(16):
        text = next(line for line in lines if line.startswith(f"assign candidate[{k}] = "))
        text = text.partition(" = ")[2].rstrip(";")
        for low in (0, 1):
            for high in (0, 1):
                expression = text.replace("1'b", "").replace("&&", " and ").replace("||", " or ")
                expression = expression.replace("!=", "^").replace("==", "%").replace("!", " not ")
                value = _evaluate(expression, low, high)
                assert value == k >> (2 * high + low) & 1, (k, text, low, high)


def _evaluate(expression: str, low: int, high: int) -> int:
    """Work out the few operators of a candidate by substitution."""
    names = {"low": low, "high": high}
    for name, value in names.items():
        expression = expression.replace(name, str(value))
    if "^" in expression or "%" in expression:
        a, sign, b = expression.split()
        return int((a == b) == (sign == "%"))
    outer = expression.strip().startswith("not (")
    inside = expression.strip().removeprefix("not").strip().strip("()") if outer else expression
    result = 1
    for part in inside.split("and"):
        word = part.split()
        result &= 1 - int(word[1]) if word[0] == "not" else int(word[0])
    return 1 - result if outer else result


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("depth", "width"), [(4, 2), (5, 3), (9, 17), (37, 70)])
def test_forms_hold_the_same_words(form: str, depth: int, width: int) -> None:
    run = verify(rom_cell(words(depth, width), width, form), vectors=depth + 20)
    assert run.failures() == []
    assert run.coverage["every word"] == 1


def test_a_flipped_bit_is_found() -> None:
    stored = words(16, 20)
    cell = rom_cell(stored, 20, "standard")
    other = stored.copy()
    other[5, 1] ^= 4
    wrong = rom_cell(other, 20, "standard", cell.name)
    run = verify(cell, vectors=16, source=wrong.source)
    assert [(m.beat, m.lane) for m in run.mismatches] == [(5, 10)]


@pytest.mark.parametrize(("depth", "width", "form", "text"), [
    (3, 8, "block", "ROM: 3 words of 8 bits; allowed: 4 … 65536 words of 2 bits or more"),
    (4, 1, "block", "ROM: words have bits set beyond their 1"),
    (4, 8, "blok", "unknown form of a ROM 'blok' (did you mean 'block'?); allowed: block, or, standard"),
    (4, 5, "block", "ROM: words have bits set beyond their 5"),
    (4, 20, "block", "ROM: words of 1 bytes; 20 bits take 3"),
    (0, 8, "block", "ROM: no words"),
])  # fmt: skip
def test_roms_that_cannot_be_built(depth: int, width: int, form: str, text: str) -> None:
    with pytest.raises(UserError) as error:
        rom_cell(np.full((depth, 1), 255, np.uint8), width, form)
    assert str(error.value) == text


def real(form: str, group: int, rows: int, **changes: int) -> tuple[LUnit, rom.RomWeight, Cell]:
    """Return an L-Unit with the words of a random tensor of one group."""
    unit = design_for(LUnit(group=group, activation_bits=7), form).model_copy(update=changes)
    tensor = np.random.default_rng(3).standard_normal((rows, group)).astype(np.float32)
    weight = rom.quantise("w", tensor, form, group, requantise=True)
    return unit, weight, l_unit(unit, layout.pack(unit, weight), weight.bits)


@pytest.mark.parametrize("form", ["uint2", "uint4", "ternary", "fp4"])
def test_an_l_unit_gives_the_products_of_the_golden_layer(form: str) -> None:
    """Words packed from weights, activations aligned from floats: value 2^(exponent + E) is D s 2^E, exactly."""
    unit, weight, cell = real(form, 16, 6, cycles_per_word=2)
    x = np.random.default_rng(4).standard_normal((3, 16)).astype(np.float32)
    aligned = golden.align(unit, x)
    slices = [aligned.mantissas[0, r].astype(np.int64) for r in range(3)]
    beats = slice_beats(unit, slices, [np.arange(6)] * 3)
    out = cell.golden(beats)["d"]
    products = np.ldexp(out["value"].astype(np.float64), out["exponent"]).reshape(3, 6)
    y = np.ldexp(products.astype(np.float32), aligned.exponents)
    assert (y == golden.matmul(unit, weight, x)).all()
    assert verify(cell, vectors=18, stimulus=beats).failures() == []


@pytest.mark.parametrize(("form", "cycles"), [("uint2", 1), ("uint4", 2), ("fp4", 4)])
def test_cycles_of_an_l_unit_are_those_of_the_timing_model(form: str, cycles: int) -> None:
    unit, weight, cell = real(form, 8, 5, cycles_per_word=cycles)
    planes = -(-weight.bits // unit.plane_bits)
    beats = slice_beats(unit, [np.zeros(8, np.int64)] * 2, [np.arange(5), np.arange(2)])
    run = verify(cell, vectors=7, stimulus=beats)
    assert run.failures() == []
    assert run.cycles["full rate"] >= stage_timing.rows_cycles(unit, 7, planes)
    assert cell.schedule is not None
    assert cell.schedule(beats)["d"][-1] == stage_timing.rows_cycles(unit, 7, planes) - 1


@pytest.mark.parametrize(("group", "bits"), [(8, 4), (9, 7), (8, 11), (12, 12), (8, 13), (10, 24)])
def test_alignment_is_the_golden_one(group: int, bits: int) -> None:
    assert verify(align_unit(LUnit(group=group, activation_bits=bits)), vectors=400).failures() == []


@pytest.mark.parametrize("bits", [2, 4, 26, 64, 274])
def test_a_decoder_corrects_what_the_model_corrects(bits: int) -> None:
    assert verify(secded_decoder(bits), vectors=100).failures() == []


def test_units_that_are_too_large() -> None:
    with pytest.raises(UserError, match="secded_decoder: bits = 1; allowed: 2 … 4096"):
        secded_decoder(1)


UNITS = st.fixed_dictionaries({
    "group": st.sampled_from([8, 12, 16]),
    "cycles_per_word": st.sampled_from([1, 2, 4]),
    "activation_bits": st.integers(4, 9),
    "scale_bits": st.sampled_from([0, 16]),
})  # fmt: skip


def check_random(form: str, fields: dict[str, int], extra: int, rows: int, seed: int, rom_form: str) -> None:
    unit = design_for(LUnit(), form).model_copy(update=fields)
    bits = rom.parse(form)[1]
    unit = unit.model_copy(update={"accumulator_bits": golden.accumulator_bits_needed(unit, bits) + extra})
    planes = -(-bits // unit.plane_bits)
    cell = l_unit(unit, reference_words(unit, rows, planes, seed), bits, rom_form)
    assert verify(cell, vectors=60, seed=seed).failures() == []


@settings(max_examples=6, deadline=None, derandomize=True)
@given(form=st.sampled_from(["uint2", "uint4", "uint8", "ternary", "fp4"]), fields=UNITS, extra=st.integers(0, 9),
       rows=st.integers(4, 9), seed=st.integers(0, 10**6), rom_form=st.sampled_from(FORMS))  # fmt: skip
def test_random_l_units_in_verilog(
    form: str, fields: dict[str, int], extra: int, rows: int, seed: int, rom_form: str
) -> None:
    check_random(form, fields, extra, rows, seed, rom_form)


@pytest.mark.long
@settings(max_examples=80, deadline=None)
@given(form=st.sampled_from(["uint2", "uint4", "uint8", "ternary", "fp4"]), fields=UNITS, extra=st.integers(0, 9),
       rows=st.integers(4, 9), seed=st.integers(0, 10**6), rom_form=st.sampled_from(FORMS))  # fmt: skip
def test_many_random_l_units_in_verilog(
    form: str, fields: dict[str, int], extra: int, rows: int, seed: int, rom_form: str
) -> None:
    check_random(form, fields, extra, rows, seed, rom_form)


@pytest.mark.long
@pytest.mark.parametrize("index", range(len(catalogue.reference_l_units())))
def test_the_bench_kills_mutants(index: int) -> None:
    unit, bits, form = catalogue.reference_l_units()[index]
    cell = l_unit(unit, reference_words(unit, 6, -(-bits // unit.plane_bits)), bits, form)
    found = score(cell, count=40)
    assert [str(s) for s in found.survivors] == []


@pytest.mark.parametrize(("changes", "bits", "depth", "text"), [
    ({"accumulator_bits": 14}, 4, 8, "l_unit.accumulator_bits = 14 can overflow on a group of 8 4-bit weights and "
                                     "8-bit activations: needs 15; use accumulator_bits >= 15"),
    ({}, 6, 6, "l_unit: 6-bit weights take 3 planes; in Verilog: 1, 2 or 4"),
    ({}, 4, 5, "l_unit: 5 words; allowed: two rows or more of 2 planes each"),
    ({"cycles_per_word": 8}, 2, 4, "l_unit.cycles_per_word = 8: one weight a step; allowed: at most 4"),
])  # fmt: skip
def test_l_units_that_cannot_be_built(changes: dict[str, int], bits: int, depth: int, text: str) -> None:
    unit = LUnit.model_validate({"group": 8, "activation_bits": 8} | changes)
    with pytest.raises(UserError) as error:
        l_unit(unit, words(depth, unit.word_bits), bits)
    assert str(error.value) == text


def test_cells_of_a_spec() -> None:
    spec = specs.override(specs.load("roma"), {"l_unit.rom_words": 8})
    built = catalogue.cells(spec)
    assert [c.kind for c in built] == ["adder_tree", "align_unit", "rom_block", "l_unit"]
    assert built[-1].parameters["planes"] == 2
    with pytest.raises(UserError) as error:
        catalogue.cells(specs.override(spec, {"l_unit.form": "sram"}))
    assert str(error.value) == "roma: l_unit.form = 'sram' has no Verilog; allowed: standard, b-rom, fused"
    with pytest.raises(UserError, match=r"roma: l_unit.accumulator_bits = 16 can overflow on a group of 128 2-bit"):
        catalogue.cells(specs.override(spec, {"l_unit.accumulator_bits": 16}))


def test_transistors_are_counted_part_by_part() -> None:
    """By hand, D = 64, W = 10, mux 4: 640 cells, 16 word lines of 2 pairs, 40 bit lines; then a quarter of them."""
    plain = brom_transistors.counts("standard", 64, 10, 4)
    block = brom_transistors.counts("block", 64, 10, 4)
    by = {p.part: p.transistors for p in plain.parts}
    assert by["cells"] == 640
    assert by["decoder of word lines"] == 2 * 4 * 6 + 16 * (2 * 2 + 2)
    assert by["address buffers"] == 6 * 4
    assert by["multiplexer select"] == 4 * 6
    assert by["bit lines"] == 2 * 40
    assert by["outputs"] == 30
    by = {p.part: p.transistors for p in block.parts}
    assert by["cells"] == 160
    assert by["decoder of word lines"] == 4 * 6 + 4 * 2
    assert sum(n for part, n in by.items() if part.startswith("candidates")) == 16 + 24 + 24 + 24
    assert brom_transistors.saving(plain, block) == pytest.approx(1 - block.total / plain.total)
    roma = [brom_transistors.counts(form, 3328, 274) for form in ("standard", "block")]
    assert 0.70 < brom_transistors.saving(*roma) < 0.75


def test_what_real_words_use() -> None:
    stored = np.array([[1], [1], [1], [1], [0], [0], [0], [0]], np.uint8)
    found = brom_transistors.used(stored, 1)
    assert found == {"ones": 0.5, "choices": 0.5, "entropy_bits": 1.0, "most_common": 0.5}


def test_bounds_of_the_area() -> None:
    """0.009 µm² a bit at 34.1 Mb/mm²: cells fill 30.7 %, so that 40 % needs a quarter of all else to go."""
    found = brom_transistors.area_bounds(0.009, 34.1)
    assert found["cells"] == pytest.approx(0.3069)
    assert found["quarter_cells"] == pytest.approx(0.230, abs=5e-4)
    assert found["periphery_needed"] == pytest.approx(0.245, abs=5e-4)


@pytest.mark.parametrize("arguments", [("standard", 64, 10, 3), ("block", 8, 10, 4), ("x", 64, 10, 4)])
def test_transistors_of_odd_roms(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(UserError, match="transistors: "):
        brom_transistors.counts(*arguments)
