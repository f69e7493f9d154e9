"""Areas, densities, yield and masks of machines with weights in ROM, against published numbers and slow twins."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import cost_roma, masks, rom, rom_yield, technology
from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import RomaSpec
from lutscape.hw.provenance import Grade

SEVEN = technology.load("7nm")


def machine(**changes: object) -> RomaSpec:
    spec = specs.override(specs.load("roma"), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, RomaSpec)
    return spec


def test_the_parameter_set_closes() -> None:
    spec = machine()
    assert spec.l_units == 16_384
    assert spec.l_unit.word_bits == 274
    assert round(spec.rom_bits / 8e9, 4) == 1.8675  # paper: 1.86 GB
    assert spec.sram_bytes == 288 << 20


@pytest.mark.parametrize(("form", "published"), [("sram", 59.7), ("standard", 36.7), ("b-rom", 26.0), ("fused", 22.5)])
def test_area_of_an_l_unit(form: str, published: float) -> None:
    """ROMA, arXiv 2503.12988, Fig. 12, k µm²; the one with SRAM enters nowhere."""
    area = cost_roma.l_unit_area(machine(l_unit__form=form).l_unit, SEVEN)
    assert area.value / 1e3 == pytest.approx(published, rel=0.05)


def test_area_of_the_die_and_its_split() -> None:
    """ROMA, arXiv 2503.12988, spec table and Fig. 11(a)."""
    areas = {name: q.value for name, q in cost_roma.areas(machine()).items()}
    total = sum(areas.values())
    assert total == pytest.approx(503.7, rel=0.05)
    for name, share in (("L-Units", 0.732), ("H-Units", 0.206), ("Vector Units", 0.014), ("rest", 0.048)):
        assert areas[name] / total == pytest.approx(share, rel=0.05)


def test_sram_of_the_h_units_alone_exceeds_the_printed_share() -> None:
    """16.6 % is printed; 288 MB at the compiler's best density take more."""
    assert 288 * 2**23 * SEVEN.sram_area_um2_per_bit * 1e-6 > 0.166 * 503.7


def test_area_follows_the_design() -> None:
    base = cost_roma.l_unit_area(machine().l_unit, SEVEN)
    deeper = cost_roma.l_unit_area(machine(l_unit__rom_words=6656).l_unit, SEVEN)
    slower = cost_roma.l_unit_area(machine(l_unit__cycles_per_word=4).l_unit, SEVEN)
    assert base.value < deeper.value < 2 * base.value
    assert slower.value < base.value
    assert base.grade is Grade.DERIVED
    assert slower.grade is Grade.ASSUMED
    twice = cost_roma.areas(machine(chips=2))
    assert sum(q.value for q in twice.values()) == pytest.approx(2 * cost_roma.die_mm2(machine()))


def test_power_is_not_the_sum_of_the_units() -> None:
    word = cost_roma.word_energy(machine())
    assert word.value == pytest.approx(6.8 / 500 * 1e3)  # pJ, one word a cycle
    assert word.value * 1e-12 * 16_384 * 500e6 == pytest.approx(111.4, rel=1e-3)  # W, were all units always at work


@pytest.mark.parametrize("form", ["standard", "sram"])
def test_density_meets_the_printed_points(form: str) -> None:
    for words, density in rom.POINTS[form]:
        assert rom.macro_density(form, words, 64, SEVEN).value == pytest.approx(density)
        assert rom.macro_density(form, words, 64, SEVEN).grade is Grade.DERIVED


def test_cell_and_periphery_meet_the_rom_points_that_they_do_not_know() -> None:
    c, p = rom.periphery("standard")
    for words, density in rom.POINTS["standard"][1:-1]:
        assert 1 / (c + p / words) == pytest.approx(density, rel=0.03)


@given(
    form=st.sampled_from(rom.FORMS),
    words=st.integers(16, 1 << 18),
    more=st.integers(1, 1 << 12),
    bits=st.integers(1, 1024),
)
def test_density_rises_with_depth(form: str, words: int, more: int, bits: int) -> None:
    assert rom.macro_density(form, words, bits, SEVEN).value <= rom.macro_density(form, words + more, bits, SEVEN).value
    area = rom.macro_area_um2(form, words, bits, SEVEN).value
    assert area < rom.macro_area_um2(form, words + more, bits, SEVEN).value


def test_densities_are_kept_by_level() -> None:
    assert {row.level for level in rom.LEVELS for row in rom.rows(level)} == set(rom.LEVELS)
    with pytest.raises(UserError) as error:
        rom.rows("macros")
    assert str(error.value) == (
        "unknown density level 'macros' (did you mean 'macro'?); allowed: cell, compute, die, macro"
    )


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: rom.macro_density("brom", 1024, 64, SEVEN),
         "unknown ROM form 'brom' (did you mean 'b-rom'?); allowed: "),
        (lambda: rom.macro_density("sram", 0, 64, SEVEN), "words = 0: must be 1 or more"),
        (lambda: rom_yield.die_yield(0, 0.1), "die of 0 mm2: must be above zero"),
        (lambda: rom_yield.die_yield(1, 0.1, "murphi"), "unknown die yield model 'murphi' (did you mean 'murphy'?)"),
        (lambda: rom_yield.log_rom_yield(8, 1.5), "via defect probability 1.5: must be 0 … 1"),
        (lambda: rom_yield.log_rom_yield(0, 0.5), "bits = 0: must be 1 or more"),
        (lambda: rom_yield.secded(0), "payload of 0 bits: must be 1 … 1048576"),
        (lambda: masks.mask_set("7nm"), "no cited price of masks at 7nm; known: 5nm; give --mask-set (M$) and --masks"),
        (lambda: masks.mask_set("7nm", 0.0, 60), "--mask-set 0: must be above zero"),
        (lambda: masks.bill(masks.mask_set("5nm"), 0, "via"), "0 dies: must be 1 or more"),
        (lambda: masks.bill(masks.mask_set("5nm"), 1, "vias"),
         "unknown programmable layers 'vias' (did you mean 'via'?)"),
        (lambda: masks.bill(masks.mask_set("5nm"), 1, 71),
         "71 programmable masks: must be 1 … 70, the masks of the set"),
    ],
)  # fmt: skip
def test_errors(call: object, text: str) -> None:
    with pytest.raises(UserError) as error:
        call()  # type: ignore[operator]
    assert str(error.value).startswith(text)


def test_die_yield_known_answers() -> None:
    """Textbook: A D₀ = 1 gives e⁻¹ (Poisson) and (1 - e⁻¹)² (Murphy)."""
    assert rom_yield.die_yield(100, 1, "poisson") == pytest.approx(math.exp(-1))
    assert rom_yield.die_yield(100, 1, "murphy") == pytest.approx((1 - math.exp(-1)) ** 2)
    assert rom_yield.die_yield(1e-9, 1, "murphy") == pytest.approx(1)
    assert rom_yield.die_yield(827.08, 0) == 1


@pytest.mark.parametrize(("data", "bits"), [(4, 8), (8, 13), (16, 22), (32, 39), (64, 72), (128, 137), (256, 266)])
def test_secded_sizes(data: int, bits: int) -> None:
    """Hamming's extended codes: (8,4), (22,16), (39,32), (72,64), ...; 3.9 % for 256 bits as OpenTallas says."""
    assert rom_yield.secded(data) == rom_yield.Code(bits, data)
    assert round(100 * rom_yield.secded(256).overhead, 1) == 3.9


@settings(max_examples=200)
@given(n=st.integers(2, 300), p=st.floats(1e-14, 0.3), least=st.sampled_from([1, 2]))
def test_tail_of_the_binomial(n: int, p: float, least: int) -> None:
    """Against exact rational arithmetic."""
    exact = Fraction(p)
    none = (1 - exact) ** n
    one = n * exact * (1 - exact) ** (n - 1)
    want = 1 - none - (one if least == 2 else 0)
    assert rom_yield.tail(n, p, least) == pytest.approx(float(want), rel=1e-9)


@given(mean=st.floats(1e-9, 30), count=st.integers(0, 12))
def test_poisson_of_at_most(mean: float, count: int) -> None:
    want = math.fsum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(count + 1))
    assert math.exp(rom_yield.log_poisson_at_most(mean, count)) == pytest.approx(want, rel=1e-9)


def test_rom_yield_of_a_bf16_model() -> None:
    """Qwen3-8B in BF16 at 1e-9: hopeless without repair (OpenTallas: 3e-63), nearly sure with a code."""
    bits = 8_190_735_360 * 16
    bare = rom_yield.log_rom_yield(bits, 1e-9)
    assert bare == pytest.approx(-bits * 1e-9, rel=1e-4)
    assert bare / math.log(10) < -56
    code = rom_yield.secded(256)
    assert 0.99 < math.exp(rom_yield.log_rom_yield(bits, 1e-9, code)) < 1
    assert rom_yield.log_rom_yield(bits, 1e-9, None, 2) > bare


@given(p=st.floats(1e-12, 1e-6), patches=st.integers(0, 8))
def test_repair_never_hurts(p: float, patches: int) -> None:
    code = rom_yield.secded(256)
    bare = rom_yield.log_rom_yield(10**9, p)
    assert bare <= rom_yield.log_rom_yield(10**9, p, None, patches) + 1e-12
    assert bare <= rom_yield.log_rom_yield(10**9, p, code) + 1e-12
    more = rom_yield.log_rom_yield(10**9, p, code, patches + 1)
    assert rom_yield.log_rom_yield(10**9, p, code, patches) <= more + 1e-12


def test_whole_rows_need_patches() -> None:
    code = rom_yield.secded(256)
    faulty = [rom_yield.log_rom_yield(10**9, 1e-12, code, patches, row_faults=0.004) for patches in (0, 2)]
    assert faulty[0] == pytest.approx(-0.004, rel=1e-3)
    assert faulty[1] == pytest.approx(0, abs=1e-6)
    with pytest.raises(UserError) as error:
        rom_yield.log_rom_yield(8, 0.1, row_faults=-1)
    assert str(error.value) == "row_faults = -1: must not be negative"


def test_masks_of_hnlpu() -> None:
    """HNLPU, arXiv 2508.16151: 480 M$ without sharing, 65 M$ tape-out, 37 M$ re-spin, 16 dies at 5 nm."""
    bill = masks.bill(masks.mask_set("5nm"), 16, "metal-4")
    assert bill.unshared == 480
    assert round(bill.first) == 65
    assert round(bill.respin) == 37
    assert bill.after(3) == pytest.approx(bill.first + 2 * bill.respin)


def test_a_die_whose_every_mask_changes_shares_nothing() -> None:
    prices = masks.mask_set("7nm", 12.0, 60)
    bill = masks.bill(prices, 3, "all")
    assert bill.first == bill.unshared == bill.respin == 36
    assert prices.source.grade is Grade.ASSUMED
