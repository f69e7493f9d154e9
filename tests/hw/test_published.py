"""Packaged specs against the published tables they cite."""

from __future__ import annotations

import pytest

from lutscape.hw import gates, memory, technology
from lutscape.hw import spec as specs
from lutscape.hw.formats.storage import kv_bytes, parse_weight_format
from lutscape.hw.machines.gpu import GpuSpec

# LUT Tensor Core, arXiv 2408.06003 v3, Table 1: peak TOPS (W2 on LUT rows), mm² per SM, TOPS/mm².
TABLE_1 = {
    "a100-fp16": (16, 312, 0.975, 2.96),
    "a100-lut-4x": (2, 1248, 0.187, 61.84),
    "a100-lut-8x": (2, 2496, 0.373, 61.95),
    "h100-fp8": (8, 1525, 0.918, 12.59),
    "h100-lut-4x": (2, 1525, 0.488, 23.69),
    "h100-lut-8x": (2, 3049, 0.909, 25.40),
}


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1_peak_and_density(name: str) -> None:
    bits, peak, area, density = TABLE_1[name]
    spec = specs.load(name)
    assert isinstance(spec, GpuSpec)
    assert spec.peak_tera_ops(bits) == pytest.approx(peak, rel=1e-3)
    assert spec.matrix_unit.area_mm2_per_sm == area
    assert spec.peak_tera_ops(bits) / (spec.sms * area) == pytest.approx(density, rel=2e-3)


def test_lookup_array_is_anchored_to_table_2() -> None:
    node = technology.load("28nm")
    anchor = gates.anchor("lut", node.gate_area_um2)
    area = gates.lookup_array(2, 64, 4, 8, 16, 1) * node.gate_area_um2 * anchor.area_factor
    assert area == pytest.approx(11_991.29)
    # Independent of the anchor: Table 1's 0.187 mm² per SM for 16 arrays is within 3 % of it.
    assert area == pytest.approx(0.187e6 / 16, rel=0.03)


@pytest.mark.parametrize("datapath", ["lut", "mac"])
def test_gate_counts_alone_are_close_to_published_area(datapath: str) -> None:
    """The count times the node's gate area, before anchoring, is within 10 % of synthesis."""
    assert gates.anchor(datapath, technology.load("28nm").gate_area_um2).area_factor == pytest.approx(1, abs=0.10)


def test_table_additions_known_counts() -> None:
    # k = 4: two sums and differences of each pair, then the 8 entries (anchor: 4 pair sums, 8 adds).
    assert [gates.table_additions(k) for k in (1, 2, 3, 4)] == [0, 2, 6, 12]


def test_sram_energy_passes_through_its_cacti_points() -> None:
    node = technology.load("45nm")
    for kib, picojoules in memory.CACTI_45NM:
        assert memory.sram_energy_pj_per_byte(kib, node) * 8 == pytest.approx(picojoules)
    assert memory.sram_energy_pj_per_byte(1024, node) * 8 == pytest.approx(52.4, rel=0.01)


def test_weight_format_sizes() -> None:
    # 576 columns in groups of 128 make 5 groups, the last of 64: it still has a scale and zero point.
    fmt = parse_weight_format("int4-g128")
    assert fmt.bytes(576, 576) == 576 * 576 // 2 + (576 * 5 * (16 + 4)) // 8
    assert parse_weight_format("q4_1").bytes(1, 32) == 20
    assert parse_weight_format("ternary_5in8").bytes(1, 40) == 8 + 2
    assert parse_weight_format("fp16").bytes(3, 5) == 30
    assert parse_weight_format("int2-row").bytes(4, 64) == 64 + 4 * 18 // 8
    # Llama-3-8B, FP8: 2 · 32 · 8 · 128 bytes per token (ROMA's 64 KiB).
    assert 32 * kv_bytes(1, 8, 128, "fp8_e4m3") == 65536


@pytest.mark.parametrize("inputs", range(1, 9))
def test_an_adder_tree_has_one_adder_less_than_inputs(inputs: int) -> None:
    assert sum(gates.tree_levels(inputs)) == inputs - 1


def test_lookup_against_multiplier_as_the_published_units_say() -> None:
    """Table 1: 33.32 TOPS/W at W2 against 19.94 at INT8. Lookup wins energy below W = 3.3 bits; the model agrees."""
    node = technology.load("28nm")
    lut, mac = gates.anchor("lut", node.gate_area_um2), gates.anchor("mac", node.gate_area_um2)
    bit_product = lut.pj_per_gate * gates.lookup_array(2, 64, 4, 8, 16, 1) / 512
    multiply = mac.pj_per_gate * gates.mac_array(2, 64, 4, 8, 32) / 512
    assert bit_product * 2 == pytest.approx(2 / 33.32, rel=0.06)  # Table 2's array against Table 1's SM
    assert bit_product * 3 < multiply < bit_product * 4
    # Area at equal rate with one-bit weights: 4 to 6 times smaller (figure 14).
    area = (
        gates.mac_array(2, 64, 4, 8, 32) * mac.area_factor / (gates.lookup_array(2, 64, 4, 8, 16, 1) * lut.area_factor)
    )
    assert 4 <= area <= 7
