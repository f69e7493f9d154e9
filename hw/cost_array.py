"""Area and energy of the stand-alone lookup / MAC accelerator (kind ``lut-tensor-core``).

Area counts arrays, table builders, FP16 multiply-accumulators, vector lanes and buffers; it leaves
out interconnect, control and the DRAM interface. Energy is activity times energy per operation, DRAM bytes,
and the bytes of each buffer at its own capacity; there is no separate leakage term (the anchors of
:mod:`lutscape.hw.gates` contain the leakage of active units).
"""

from __future__ import annotations

from lutscape.hw import gates, technology
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
from lutscape.hw.memory import ENERGY_SOURCE, sram_area_mm2, sram_energy_pj_per_byte
from lutscape.hw.ppa import Ppa, Quantity, assemble
from lutscape.hw.provenance import Grade, Source
from lutscape.hw.result import Floats, Result

PRICED = ("lut", "mac")
"""Datapaths with a published anchor (:mod:`lutscape.hw.gates`)."""
TABLE1 = "LUT Tensor Core, arXiv 2408.06003, Table 1"
FP16_MAC_UM2_28NM = 0.975e6 / 1024
"""µm² per FP16 multiply-accumulate per cycle: A100 FP16 tensor core at 28 nm (Table 1)."""
FP16_MAC_PJ_28NM = 2 / 2.98
"""pJ per FP16 multiply-accumulate: 2.98 TOPS/W (Table 1)."""
VECTOR_PJ_45NM = 0.4 + 1.1
"""pJ of an FP16 add and multiply at 45 nm, 0.9 V (Horowitz, ISSCC 2014, Fig. 1.1.9)."""
VECTOR_UM2_45NM = 1360.0 + 1640.0
"""µm² of an FP16 adder and multiplier at 45 nm (Dally, High-Performance Hardware for ML, 2015)."""


def cost(spec: LutTensorCoreSpec, result: Result) -> Ppa:
    """Return area by component (mm²) and energy by component (J per execution of each operator).

    Raises:
        UserError: a datapath that no published unit anchors.
    """
    if spec.array.datapath not in PRICED:
        raise UserError(
            f"{spec.name}: array.datapath = {spec.array.datapath!r} has no machine cost yet; allowed: "
            f"{', '.join(PRICED)} (area and power of one unit: lutscape rtl report)"
        )
    node, at28, at45 = spec.node, technology.load("28nm"), technology.load("45nm")
    array, lut = spec.array, spec.array.datapath == "lut"
    anchor = gates.anchor(array.datapath, at28.gate_area_um2)
    if lut:
        count = gates.lookup_array(
            array.m, array.n, array.k, array.table_bits, array.accumulator_bits, array.planes_per_cycle
        )
    else:
        count = gates.mac_array(array.m, array.n, array.k, array.multiplier_weight_bits, array.accumulator_bits)
    builder = gates.table_builder(array.k, array.table_bits) if lut else 0.0
    gate_mm2 = node.gate_area_um2 * anchor.area_factor * 1e-6
    to_node, scale = node.logic_area_ratio(at28), node.energy_ratio(at28)

    gate_source = "gate count anchored to arXiv 2408.06003 " + ("Table 2 (M2N64K4)" if lut else "Table 1 (A100 INT8)")
    fp16_grade = Grade.PUBLISHED if node.name == at28.name else Grade.DERIVED
    area = {
        "arrays": Quantity(array.count * count * gate_mm2, "mm2", Grade.DERIVED, gate_source),
        "table builder": Quantity(spec.tables_per_cycle * builder * gate_mm2, "mm2", Grade.DERIVED, gate_source),
        "FP16 MACs": Quantity(
            spec.attention_macs_per_cycle * FP16_MAC_UM2_28NM * to_node * 1e-6,
            "mm2",
            fp16_grade,
            f"{TABLE1}: A100 FP16 tensor core, 0.975 mm2 / 1024 MACs",
        ),
        "vector lanes": Quantity(
            spec.vector_lanes * VECTOR_UM2_45NM * node.logic_area_ratio(at45) * 1e-6,
            "mm2",
            Grade.DERIVED,
            "FP16 add + multiply, 3000 um2 at 45 nm (Dally 2015), scaled",
        ),
    }
    buffers = {
        "weight": spec.buffers.weight_kib,
        "activation": spec.buffers.activation_kib,
        "output": spec.buffers.output_kib,
    }
    for name, kib in buffers.items():
        source = f"{node.sram_area_um2_per_bit} um2/bit at {node.name}"
        area[f"{name} buffer"] = Quantity(sram_area_mm2(kib, node), "mm2", Grade.DERIVED, source)

    per_gate = anchor.pj_per_gate * scale * 1e-12
    dram_j = spec.dram.energy_pj_per_bit * 8e-12
    energy: dict[str, Floats] = {}
    sources: dict[str, Source] = {}

    def add(name: str, joules: Floats, grade: Grade, source: str) -> None:
        if joules.any():
            energy[name] = joules
            sources[name] = Source(grade=grade, source=source)

    activity = result.activity
    per_lookup = count / (array.m * array.n) * per_gate
    add("lookup arrays", activity["lookup"] * per_lookup, Grade.DERIVED, f"{gate_source}: 16.22 mW at 1 GHz")
    add("MAC arrays", activity["int_mac"] * per_lookup / array.k, Grade.DERIVED, f"{gate_source}: 19.94 TOPS/W")
    add("table builder", activity["table"] * builder * per_gate, Grade.DERIVED, gate_source)
    add("FP16 MACs", activity["fp16_mac"] * FP16_MAC_PJ_28NM * scale * 1e-12, fp16_grade, f"{TABLE1}: 2.98 TOPS/W")
    add(
        "vector lanes",
        activity["vector_op"] * VECTOR_PJ_45NM * node.energy_scale * 1e-12,
        Grade.DERIVED,
        "FP16 add 0.4 + multiply 1.1 pJ at 45 nm (Horowitz 2014), scaled",
    )
    for name, kib in buffers.items():
        joules = result.bytes[f"{name}_buffer"] * sram_energy_pj_per_byte(kib, node) * 1e-12
        add(f"{name} buffer", joules, ENERGY_SOURCE.grade, ENERGY_SOURCE.source)
    provenance = spec.provenance("dram.energy_pj_per_bit")
    add(
        "DRAM",
        result.bytes["dram"] * dram_j,
        provenance.grade if provenance else Grade.ASSUMED,
        provenance.source if provenance else "set by the user",
    )
    convention = (
        f"arrays, table builder, FP16 MACs, vector lanes and buffers at {node.name}; "
        "without interconnect, control and DRAM interface"
    )
    return assemble(result, area, convention, energy, sources, spec.timing_source())
