"""Area and energy of the stand-alone lookup / MAC accelerator (kind ``lut-tensor-core``).

Area counts arrays, table builders, FP16 multiply-accumulators, vector lanes and buffers; it leaves out interconnect,
control and the DRAM interface. Arrays and table builders are priced from synthesis of the generated Verilog
(:mod:`lutscape.hw.calibration.price`): netlists without timing pressure, no wires, no clock tree. An array's tables or
activations, weights and accumulators are registers inside it.

Energy is activity times energy per operation, leakage of arrays and builders over the operator's time, DRAM bytes, and
the bytes of each buffer at its own capacity. Energy per operation is that of the gates on operands of a language
model, glitches counted, at full use of the array: idle rows and columns of a partly filled array cost nothing but
leakage. Builders of ``unpu`` sit in the arrays, one to each row; all others share ``tables_per_cycle`` of them.
"""

from __future__ import annotations

from dataclasses import replace

from lutscape.hw import technology
from lutscape.hw.calibration.price import Price, array_price, builder_price
from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
from lutscape.hw.memory import ENERGY_SOURCE, sram_area_mm2, sram_energy_pj_per_byte
from lutscape.hw.ppa import Ppa, Quantity, assemble
from lutscape.hw.provenance import Grade, Source
from lutscape.hw.result import Floats, Result

TABLE1 = "LUT Tensor Core, arXiv 2408.06003, Table 1"
FP16_MAC_UM2_28NM = 0.975e6 / 1024
"""µm² per FP16 multiply-accumulate per cycle: A100 FP16 tensor core at 28 nm (Table 1)."""
FP16_MAC_PJ_28NM = 2 / 2.98
"""pJ per FP16 multiply-accumulate: 2.98 TOPS/W (Table 1)."""
VECTOR_PJ_45NM = 0.4 + 1.1
"""pJ of an FP16 add and multiply at 45 nm, 0.9 V (Horowitz, ISSCC 2014, Fig. 1.1.9)."""
VECTOR_UM2_45NM = 1360.0 + 1640.0
"""µm² of an FP16 adder and multiplier at 45 nm (Dally, High-Performance Hardware for ML, 2015)."""
ARRAYS = {
    "lut": "lookup arrays",
    "lut-full": "lookup arrays",
    "unpu": "lookup arrays",
    "add": "adder arrays",
    "mac": "MAC arrays",
}


def cost(spec: LutTensorCoreSpec, result: Result) -> Ppa:
    """Return area by component (mm²) and energy by component (J per execution of each operator).

    Raises:
        UserError: an array outside the calibrated range.
    """
    node, at28, at45 = spec.node, technology.load("28nm"), technology.load("45nm")
    array = spec.array
    one = array_price(array, node)
    builder, builders = None, 0
    if array.looks_up:
        builder = builder_price(array, node)
        builders = array.count * array.m if array.datapath == "unpu" else spec.tables_per_cycle
    to_node, scale = node.logic_area_ratio(at28), node.energy_ratio(at28)
    fp16_grade = Grade.PUBLISHED if node.name == at28.name else Grade.DERIVED
    area = {"arrays": _area(array.count, one)}
    area["table builder"] = _area(builders, builder) if builder else replace(area["arrays"], value=0.0)
    area["FP16 MACs"] = Quantity(
        spec.attention_macs_per_cycle * FP16_MAC_UM2_28NM * to_node * 1e-6,
        "mm2",
        fp16_grade,
        f"{TABLE1}: A100 FP16 tensor core, 0.975 mm2 / 1024 MACs",
    )
    area["vector lanes"] = Quantity(
        spec.vector_lanes * VECTOR_UM2_45NM * node.logic_area_ratio(at45) * 1e-6,
        "mm2",
        Grade.DERIVED,
        "FP16 add + multiply, 3000 um2 at 45 nm (Dally 2015), scaled",
    )
    buffers = {
        "weight": spec.buffers.weight_kib,
        "activation": spec.buffers.activation_kib,
        "output": spec.buffers.output_kib,
    }
    for name, kib in buffers.items():
        source = f"{node.sram_area_um2_per_bit} um2/bit at {node.name}"
        area[f"{name} buffer"] = Quantity(sram_area_mm2(kib, node), "mm2", Grade.DERIVED, source)

    dram_j = spec.dram.energy_pj_per_bit * 8e-12
    energy: dict[str, Floats] = {}
    sources: dict[str, Source] = {}

    def add(name: str, joules: Floats, grade: Grade, source: str) -> None:
        if joules.any():
            energy[name] = joules
            sources[name] = Source(grade=grade, source=source)

    activity = result.activity
    elements = array.m * array.n
    beats = activity["lookup"] / elements if array.looks_up else activity["int_mac"] / (elements * array.k)
    add(ARRAYS[array.datapath], beats * one.energy_pj * 1e-12, one.grade, one.source)
    leakage_uw = array.count * one.leakage_uw
    if builder:
        add("table builder", activity["table"] * builder.energy_pj * 1e-12, builder.grade, builder.source)
        leakage_uw += builders * builder.leakage_uw
    add("leakage", leakage_uw * 1e-6 * result.seconds, one.grade, f"arrays and builders: {one.source}")
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


def _area(count: int, price: Price) -> Quantity:
    """Return the area of some equal pieces, mm²."""
    return Quantity(count * price.area_um2 * 1e-6, "mm2", price.grade, price.source)
