"""Area and energy of ROM-resident language-model machines (kind ``roma``).

    A = [N_L (a_compute + ROM) f + N_H (SRAM + a_H) + N_V (SRAM + a_V)] / (1 - other)

ROM by form and depth from :mod:`lutscape.hw.rom`; f = 22.5 / 26.0 where B-ROM is laid over the arithmetic (``fused``).
From ROMA's figures at 7 nm (arXiv 2503.12988, read from digests):

    a_compute  9.95 k µm²    L-Unit with standard ROM 36.7 and with B-ROM 26.0 differ by 0.4 ROM macros: 26.75 and 9.95
    a_H        0.038 mm²     H-Units 20.6 % of 503.7 mm², less 1,152 KiB at the compiler's density
    a_V        0.114 mm²     Vector Units 1.4 %, less 1 MiB each

The digest prints 16.6 % for H-Units, with which the shares add up to 96.0; 288 MB of SRAM alone would need 18.7 % at
25.7 Mbit/mm², so 20.6 is taken. These constants come out of the published split: that the total meets 503.7 mm² says
that the parameter set closes, not that it was predicted. L-Unit areas with SRAM (59.7) and fused (22.5) are the checks.

Energy is activity times energy per operation. A ROM word, read and multiplied, takes the power of an L-Unit over the
clock (6.8 mW / 500 MHz = 13.6 pJ fused): units that wait take nothing, so power follows the words that a workload
reads and is not the sum of the units' powers (16,384 x 6.8 mW = 111 W against 33.1 W for the chip). SRAM leaks all the
time. Broadcast and reduction over the mesh, the host, and DRAM without ``dram`` are not counted.
"""

from __future__ import annotations

import math
from dataclasses import replace

from lutscape.hw import rom, technology
from lutscape.hw.machines.roma import DIGEST, LUnit, RomaSpec
from lutscape.hw.memory import ENERGY_SOURCE, estimate, sram_area_mm2, sram_energy_pj_per_byte
from lutscape.hw.ppa import Ppa, Quantity, assemble
from lutscape.hw.provenance import Grade, Source, worst
from lutscape.hw.result import Floats, Result
from lutscape.hw.technology import Technology

COMPUTE_UM2_7NM = 36_700 - (36_700 - 26_000) / (1 - rom.B_ROM)
"""Arithmetic of an L-Unit of 128 weights of 2 bits a word, one word a cycle: 9,950 µm²."""
FUSED = 22.5 / 26.0
"""Area of the fused unit by that of B-ROM beside arithmetic (Fig. 12)."""
DIE_MM2, H_SHARE, V_SHARE = 503.7, 0.206, 0.014
UNIT_MW = {"sram": 19.2, "standard": 11.4, "b-rom": 6.9, "fused": 6.8}
"""Power of an L-Unit at 500 MHz, 7 nm (Fig. 12, from a digest whose table is scrambled)."""
UNIT_MHZ = 500.0
PUBLISHED_WORD_BITS, PUBLISHED_ACTIVATION_BITS = 274, 12
PUBLISHED_LANE_BITS = 128 * 2 * PUBLISHED_ACTIVATION_BITS
FP16_PJ_45NM = 0.4 + 1.1
"""pJ of an FP16 add and multiply at 45 nm, 0.9 V (Horowitz, ISSCC 2014, Fig. 1.1.9)."""
H_KIB, H_MACS, V_KIB, V_LANES = 1152.0, 512, 1024.0, 256
"""What the published H-Unit and Vector Unit hold; MACs and lanes are this project's assumptions."""
BANK_KIB = 128.0


def l_unit_area(unit: LUnit, node: Technology) -> Quantity:
    """Return µm² of one L-Unit: ROM and arithmetic."""
    compute = _compute_area(unit, node)
    if unit.form == "custom":
        assert unit.density_mbit_per_mm2 is not None
        area = unit.rom_bits / unit.density_mbit_per_mm2
        if unit.density_counts_compute:
            return Quantity(area, "um2", Grade.DERIVED, "bits / density of the spec, arithmetic included")
        return Quantity(area + compute.value, "um2", worst(compute.grade), f"density of the spec; {compute.source}")
    form = "b-rom" if unit.form == "fused" else unit.form
    macro = rom.macro_area_um2(form, unit.rom_words, unit.word_bits, node)
    factor = FUSED if unit.form == "fused" else 1.0
    source = f"{macro.source}; arithmetic {compute.value:.4g} um2, {compute.source}"
    if unit.form == "fused":
        source += "; x 22.5 / 26.0 overlaid"
    return Quantity((macro.value + compute.value) * factor, "um2", worst(macro.grade, compute.grade), source)


def _compute_area(unit: LUnit, node: Technology) -> Quantity:
    if unit.compute_area_um2 is not None:
        return Quantity(unit.compute_area_um2, "um2", Grade.DERIVED, "set in the spec")
    lane_bits = unit.group * unit.plane_bits * unit.activation_bits / unit.cycles_per_word
    area = COMPUTE_UM2_7NM * lane_bits / PUBLISHED_LANE_BITS * node.logic_area_ratio(technology.load("7nm"))
    same = lane_bits == PUBLISHED_LANE_BITS and node.node_nm == 7
    source = "Fig. 12"
    if same:
        return Quantity(area, "um2", Grade.DERIVED, source)
    return Quantity(area, "um2", Grade.ASSUMED, f"{source}, x bits a cycle and gate area")


def h_unit_area(spec: RomaSpec) -> Quantity:
    """Return mm² of one H-Unit."""
    node, unit, seven = spec.node, spec.h_unit, technology.load("7nm")
    memory = sram_area_mm2(unit.sram_kib, node)
    if spec.h_unit_area_um2 is not None:
        return Quantity(
            memory + spec.h_unit_area_um2 * 1e-6, "mm2", Grade.DERIVED, "SRAM density x bits; set in the spec"
        )
    logic = DIE_MM2 * H_SHARE / 256 - sram_area_mm2(H_KIB, seven)
    logic *= unit.macs_per_cycle / H_MACS * node.logic_area_ratio(seven)
    grade = Grade.DERIVED if unit.macs_per_cycle == H_MACS and node.node_nm == 7 else Grade.ASSUMED
    return Quantity(memory + logic, "mm2", grade, f"SRAM density x bits; arithmetic: 20.6 % of 503.7 mm2 ({DIGEST})")


def v_unit_area(spec: RomaSpec) -> Quantity:
    """Return mm² of one Vector Unit."""
    node, unit, seven = spec.node, spec.v_unit, technology.load("7nm")
    memory = sram_area_mm2(unit.sram_kib, node)
    if spec.v_unit_area_um2 is not None:
        return Quantity(
            memory + spec.v_unit_area_um2 * 1e-6, "mm2", Grade.DERIVED, "SRAM density x bits; set in the spec"
        )
    logic = DIE_MM2 * V_SHARE / 16 - sram_area_mm2(V_KIB, seven)
    logic *= unit.lanes / V_LANES * node.logic_area_ratio(seven)
    grade = Grade.DERIVED if unit.lanes == V_LANES and node.node_nm == 7 else Grade.ASSUMED
    return Quantity(memory + logic, "mm2", grade, f"SRAM density x bits; arithmetic: 1.4 % of 503.7 mm2 ({DIGEST})")


def areas(spec: RomaSpec) -> dict[str, Quantity]:
    """Return mm² by component, all chips."""
    unit = l_unit_area(spec.l_unit, spec.node)
    found = {
        "L-Units": replace(unit, value=unit.value * spec.l_units * 1e-6, unit="mm2"),
        "H-Units": _times(h_unit_area(spec), spec.h_units),
        "Vector Units": _times(v_unit_area(spec), spec.chips * spec.v_unit.count),
    }
    share = spec.other_area_share
    known = spec.provenance("other_area_share")
    other = sum(q.value for q in found.values()) * share / (1 - share)
    found["rest"] = Quantity(other, "mm2", known.grade if known else Grade.ASSUMED, f"{share:.1%} of the die")
    return found


def _times(quantity: Quantity, count: int) -> Quantity:
    return replace(quantity, value=quantity.value * count)


def word_energy(spec: RomaSpec) -> Quantity:
    """Return pJ of one ROM word, read and multiplied, at the spec's node."""
    unit, node = spec.l_unit, spec.node
    if unit.word_energy_pj is not None:
        known = spec.provenance("l_unit.word_energy_pj")
        given = known or Source(grade=Grade.ASSUMED, source="set by the user, no source given")
        return Quantity(unit.word_energy_pj, "pJ", given.grade, given.source)
    form = "b-rom" if unit.form == "custom" else unit.form
    energy = UNIT_MW[form] / UNIT_MHZ * 1e3 * unit.word_bits / PUBLISHED_WORD_BITS
    energy *= unit.activation_bits / PUBLISHED_ACTIVATION_BITS * node.energy_ratio(technology.load("7nm"))
    source = f"{UNIT_MW[form]} mW of an L-Unit ({form}) at 500 MHz ({DIGEST}), one word a cycle assumed"
    if unit.activation_bits != PUBLISHED_ACTIVATION_BITS:
        source += "; proportional to activation bits, as if it were arithmetic alone"
    return Quantity(energy, "pJ", Grade.ASSUMED, source)


def leakage(spec: RomaSpec) -> Quantity:
    """Return watts that the SRAM of all chips leaks."""
    bank_bits = int(BANK_KIB * 8192)
    bank = estimate("sram", capacity_bits=bank_bits, word_bits=64, node=spec.node, prefer="table").leakage_w
    kib = spec.h_units * spec.h_unit.sram_kib + spec.chips * spec.v_unit.count * spec.v_unit.sram_kib
    return Quantity(bank.value * kib / BANK_KIB, "W", Grade.ASSUMED, f"banks of 128 KiB; {bank.source}")


def cost(spec: RomaSpec, result: Result) -> Ppa:
    """Return area by component (mm²) and energy by component (J per execution of each operator)."""
    node = spec.node
    energy: dict[str, Floats] = {}
    sources: dict[str, Source] = {}

    def add(name: str, joules: Floats, grade: Grade, source: str) -> None:
        if joules.any():
            energy[name] = joules
            sources[name] = Source(grade=grade, source=source)

    word, leak = word_energy(spec), leakage(spec)
    add("L-Units", result.activity["rom_word"] * word.value * 1e-12, word.grade, word.source)
    per_byte = sram_energy_pj_per_byte(spec.h_unit.sram_kib, node)
    add("H-Unit SRAM", result.bytes["sram"] * per_byte * 1e-12, ENERGY_SOURCE.grade, ENERGY_SOURCE.source)
    horowitz = "FP16 add 0.4 + multiply 1.1 pJ at 45 nm (Horowitz 2014), scaled"
    for name, unit in (("H-Unit MACs", "fp16_mac"), ("Vector Units", "vector_op")):
        add(name, result.activity[unit] * FP16_PJ_45NM * node.energy_scale * 1e-12, Grade.DERIVED, horowitz)
    add("SRAM leakage", result.seconds * leak.value, leak.grade, leak.source)
    if spec.dram is not None:
        known = spec.provenance("dram.energy_pj_per_bit")
        source = known or Source(grade=Grade.ASSUMED, source="set by the user, no source given")
        add("DRAM", result.bytes["dram"] * spec.dram.energy_pj_per_bit * 8e-12, source.grade, source.source)
    dies = f"{spec.chips} dies" if spec.chips > 1 else "the die"
    head = "" if spec.head == "rom" else "; embedding and output projection are elsewhere"
    convention = f"{dies} at {node.name}: ROM with arithmetic, SRAM with arithmetic, Vector Units, the rest{head}"
    return assemble(result, areas(spec), convention, energy, sources, spec.timing_source())


def die_mm2(spec: RomaSpec) -> float:
    """Return mm² of one die."""
    return math.fsum(q.value for q in areas(spec).values()) / spec.chips
