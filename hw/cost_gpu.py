"""Area and energy of a GPU with tensor cores or lookup-table tensor cores (kind ``gpu``).

Area counts the matrix units only, at the spec's node, as Table 1 of LUT Tensor Core
(arXiv 2408.06003) does: it compares tensor cores, not dies. Energy is activity times energy per
operation plus bytes at each memory level; no leakage, no instruction issue, no idle power, so the
joules of a GPU here are a floor, fit for comparing designs and not for predicting a board's power.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw import gates, technology
from lutscape.hw.machines.gpu import GpuSpec, LutArrays, LutUnit
from lutscape.hw.memory import ENERGY_SOURCE, sram_energy_pj_per_byte
from lutscape.hw.ppa import Ppa, Quantity, assemble
from lutscape.hw.provenance import Grade, Source
from lutscape.hw.result import Floats, Result

FMA_PJ_45NM = 0.9 + 3.7
"""pJ of an FP32 add and multiply at 45 nm, 0.9 V (Horowitz, ISSCC 2014, Fig. 1.1.9)."""
L2_PJ_PER_BYTE_45NM = 100 / 8
"""pJ per byte of a 1 MB cache at 45 nm: 100 pJ per 64 bits (Horowitz, ISSCC 2014, Fig. 1.1.9)."""
SHARED_BANKS = 32
BUILDERS = Source(
    grade=Grade.DERIVED, source="builders inside the arrays: gate count anchored to arXiv 2408.06003 Table 2 (M2N64K4)"
)
ACCUMULATOR_BITS = 16
"""As in the anchor of :mod:`lutscape.hw.gates`."""


def cost(spec: GpuSpec, result: Result) -> Ppa:
    """Return area by component (mm²) and energy by component (J per execution of each operator)."""
    unit, node = spec.matrix_unit, spec.node
    fallback = Source(grade=Grade.ASSUMED, source="set by the user, no source given")
    area_source = spec.provenance("matrix_unit.area_mm2_per_sm") or fallback
    area_ratio, energy_ratio, scaled = 1.0, 1.0, ""
    if isinstance(unit, LutUnit):
        area_ratio, energy_ratio = _from_published(unit)
        if area_ratio != 1.0 or energy_ratio != 1.0:
            scaled = f", scaled by gate counts: area {area_ratio:.3g}x, energy {energy_ratio:.3g}x per bit product"
    area = {
        "matrix units": Quantity(
            spec.sms * unit.area_mm2_per_sm * area_ratio,
            "mm2",
            area_source.grade,
            f"{spec.sms} SMs x {area_source.source}{scaled}",
        )
    }
    builder_pj = 0.0
    if isinstance(unit, LutUnit) and unit.precompute == "on-the-fly":
        builder_mm2, builder_pj = _builder(spec, unit)
        count = spec.sms * unit.arrays_per_sm * unit.m
        area["table builders"] = Quantity(count * builder_mm2, "mm2", BUILDERS.grade, f"{count} x {BUILDERS.source}")
    efficiency = spec.provenance("matrix_unit.tera_ops_per_watt") or fallback
    attention = spec.provenance("attention_tera_ops_per_watt") or fallback
    dram = spec.provenance("dram.energy_pj_per_bit") or fallback
    energy: dict[str, Floats] = {}
    sources: dict[str, Source] = {}

    def add(name: str, picojoules: Floats, source: Source) -> None:
        if np.any(picojoules):
            energy[name] = picojoules * 1e-12
            sources[name] = source

    per_mac = 2 / unit.tera_ops_per_watt
    if isinstance(unit, LutUnit):
        add(
            "lookup units",
            result.activity["plane_mac"] * per_mac * energy_ratio / unit.efficiency_weight_bits,
            efficiency,
        )
        if builder_pj:
            add("table builders", result.activity.get("table", 0.0 * result.cycles) * builder_pj, BUILDERS)
    else:
        add("tensor cores", result.activity["matrix_mac"] * per_mac, efficiency)
    add("FP16 tensor cores", result.activity["fp16_mac"] * 2 / spec.attention_tera_ops_per_watt, attention)
    horowitz = Source(grade=Grade.DERIVED, source="Horowitz, ISSCC 2014, Fig. 1.1.9, 45 nm, scaled by hw.technology")
    add("vector units", result.activity["vector_op"] * FMA_PJ_45NM * node.energy_scale, horowitz)
    bank = sram_energy_pj_per_byte(spec.shared_memory_kib_per_sm / SHARED_BANKS, node)
    add("shared memory", result.bytes["shared"] * bank, ENERGY_SOURCE)
    add("L2", result.bytes["l2"] * L2_PJ_PER_BYTE_45NM * node.energy_scale, horowitz)
    add("DRAM", result.bytes["dram"] * spec.dram.energy_pj_per_bit * 8, dram)
    convention = f"matrix units only, at {node.name} (the convention of arXiv 2408.06003, Table 1); not the die"
    if isinstance(unit, LutUnit) or unit.activation_format not in ("fp16", "bf16"):
        convention += ", nor the FP16 tensor cores that run attention and floating-point layers"
    return assemble(result, area, convention, energy, sources, spec.timing_source())


def _builder(spec: GpuSpec, unit: LutUnit) -> tuple[float, float]:
    """Return mm² of a builder that finishes one table per cycle, and pJ per table, at the spec's node."""
    at28 = technology.load("28nm")
    anchor = gates.anchor("lut", at28.gate_area_um2)
    bits = 8 if unit.activation_format in ("int8", "fp8_e4m3") else 16
    count = gates.table_builder(unit.k, unit.table_bits, bits)
    area = count * spec.node.gate_area_um2 * anchor.area_factor * 1e-6
    return area, count * anchor.pj_per_gate * spec.node.energy_ratio(at28)


def _from_published(unit: LutUnit) -> tuple[float, float]:
    """Return area, and energy per one-bit product, relative to the arrays that were published."""
    then = unit.published_for

    def count(shape: LutUnit | LutArrays) -> float:
        return gates.lookup_array(shape.m, shape.n, shape.k, shape.table_bits, ACCUMULATOR_BITS, 1)

    products, products_then = unit.m * unit.n * unit.k, then.m * then.n * then.k
    area = count(unit) * unit.arrays_per_sm / (count(then) * then.arrays_per_sm)
    return area, count(unit) / products / (count(then) / products_then)
