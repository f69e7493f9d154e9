"""Area and energy of the vector-quantised lookup accelerator (kind ``lut-dla``).

Logic (distance elements, centroid buffers, lanes) is priced from synthesis of the generated Verilog
(:mod:`lutscape.hw.calibration.dla`): netlists without timing pressure, no wires, no clock tree. Memories (table banks,
scratchpads, FIFOs, buffers) come from :mod:`lutscape.hw.memory`, its table, whether CACTI is built or not. FP16
multiply-accumulators and vector lanes are those of :mod:`lutscape.hw.cost_array`. Interconnect, control, DMA and the
DRAM interface are left out.

Energy is activity times energy per operation, DRAM bytes, the clock of latch banks in every cycle, and leakage of all
of it over the operator's time. Idle lanes of a partly filled tile cost nothing but leakage.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from lutscape.hw import measured_accuracy, memory, technology
from lutscape.hw.calibration import dla
from lutscape.hw.calibration.dla import Price
from lutscape.hw.cost_array import FP16_MAC_PJ_28NM, FP16_MAC_UM2_28NM, TABLE1, VECTOR_PJ_45NM, VECTOR_UM2_45NM
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import LutDlaSpec
from lutscape.hw.memories.request import MemoryEstimate
from lutscape.hw.ppa import Ppa, Quantity, assemble
from lutscape.hw.provenance import Grade, Source, worst
from lutscape.hw.result import Floats, Result

WIDEST_SRAM_BITS = 4096
WIDEST_REGISTERS_BITS = 1024
FEWEST_SRAM_WORDS = 64


@dataclass(frozen=True)
class Memory:
    """Some equal memories side by side that are accessed as one word.

    Attributes:
        one: a memory.
        parts: that make up a word.
        copies: of the whole.
    """

    one: MemoryEstimate
    parts: int
    copies: int

    @property
    def area(self) -> Quantity:
        """Of all copies, mm²."""
        q = self.one.area_um2
        return Quantity(q.value * self.parts * self.copies * 1e-6, "mm2", q.grade, self.source)

    @property
    def source(self) -> str:
        """In words."""
        r = self.one.request
        beside = f"{self.parts} x " if self.parts > 1 else ""
        kind = f"{r.style} {r.kind.replace('_', ' ')}" if r.kind != "sram" else "SRAM"
        return f"hw.memory, table: {kind} of {r.words} x {beside}{r.word_bits} bits, {r.ports}"

    @property
    def leakage_w(self) -> float:
        """Of all copies."""
        return self.one.leakage_w.value * self.parts * self.copies

    @property
    def word_bits(self) -> int:
        """Of one access."""
        return self.one.request.word_bits * self.parts

    def read_pj(self) -> float:
        """Return pJ of one word read."""
        return self.one.read_energy_pj.value * self.parts

    def write_pj(self) -> float:
        """Return pJ of one word written."""
        return self.one.write_energy_pj.value * self.parts


@dataclass
class _Bill:
    """Areas and energies as they are added."""

    result: Result
    area: dict[str, Quantity] = field(default_factory=dict)
    energy: dict[str, Floats] = field(default_factory=dict)
    sources: dict[str, Source] = field(default_factory=dict)
    leaking: dict[str, tuple[float, Grade]] = field(default_factory=dict)

    def logic(self, name: str, count: float, price: Price, operations: Floats) -> None:
        """Add logic: its area, leakage and the energy of some operations."""
        self.area[name] = Quantity(count * price.area_um2 * 1e-6, "mm2", price.grade, price.source)
        self.leaking[name] = (count * price.leakage_uw * 1e-6, price.grade)
        self.spend(name, operations * price.energy_pj * 1e-12, price.grade, price.source)

    def memory(self, name: str, memory_: Memory, reads: Floats, writes: Floats) -> None:
        """Add a memory: area, leakage, clock, and the energy of words read and written (fractions of a word count)."""
        one = memory_.one
        self.area[name] = memory_.area
        self.leaking[name] = (memory_.leakage_w, one.leakage_w.grade)
        idle = one.idle_energy_pj.value * memory_.parts * memory_.copies * self.result.cycles
        joules = (reads * memory_.read_pj() + writes * memory_.write_pj() + idle) * 1e-12
        grade = worst(one.read_energy_pj.grade, one.write_energy_pj.grade)
        self.spend(name, joules, grade, memory_.source)

    def spend(self, name: str, joules: Floats, grade: Grade, source: str) -> None:
        """Add energy of one execution of every operator."""
        if joules.any():
            self.energy[name] = joules
            self.sources[name] = Source(grade=grade, source=source)


def cost(spec: LutDlaSpec, result: Result) -> Ppa:
    """Return area by component (mm²) and energy by component (J per execution of each operator).

    Raises:
        UserError: a memory outside what the memory models know, or a library without synthesised parts.
    """
    node, at28, at45 = spec.node, technology.load("28nm"), technology.load("45nm")
    book, imm, ccm, at = spec.codebook, spec.imm, spec.ccm, spec.technology
    bill, activity, moved = _Bill(result), result.activity, result.bytes
    none = np.zeros(len(result.operators))

    chains = ccm.count * ccm.ccus
    bill.logic("distance elements", chains * book.c, dla.dpe_price(book, node), activity["distance"])
    centroids = np.where(activity["index"] > 0, result.detail["centroid_loads"] * book.c, 0.0)
    bill.logic("centroid buffers", 2 * ccm.count, dla.codebook_price(book, node), centroids * ccm.count)
    sub_vectors = moved["input_buffer"] * 8 / (2 * book.v * book.input_bits)
    bill.memory(
        "input buffers",
        storage("sram", ccm.input_rows, book.v * book.input_bits, at, ccm.count),
        sub_vectors,
        sub_vectors,
    )
    fifos = storage("fifo", spec.fifo_depth, book.index_bits, at, chains)
    bill.memory("index FIFOs", fifos, activity["index"], activity["index"])

    try:
        tables = storage(imm.table_style, book.c, imm.lanes * imm.table_bits, at, 2 * imm.count)
    except UserError as error:
        where = f"{spec.name}: table banks of codebook.c = {book.c} words, imm.table_style = {imm.table_style}"
        raise UserError(f"{where}: {error}") from None
    words = activity["lookup"] / imm.lanes
    bill.memory("table banks", tables, words, activity["table_entry"] / imm.lanes)
    lane = dla.lane_price(imm.table_bits, imm.accumulator_bits, node)
    bill.logic("lanes", imm.count * imm.lanes, lane, activity["lookup"])
    sums = moved["scratchpad"] * 8 / (2 * imm.accumulator_bits * imm.lanes)  # words read, and as many written
    bill.memory("scratchpads", storage("sram", imm.rows, imm.lanes * imm.accumulator_bits, at, imm.count), sums, sums)
    for name, kib in (("index buffer", spec.buffers.index_kib), ("activation buffer", spec.buffers.activation_kib)):
        if kib:
            store = storage("sram", kib * 128, 64, at, 1, "1rw")
            half = moved[name.replace(" ", "_")] / 16  # 64-bit words, half of them read
            bill.memory(name, store, half, half)

    to_node, scale = node.logic_area_ratio(at28), node.energy_ratio(at28)
    published = Grade.PUBLISHED if node.name == at28.name else Grade.DERIVED
    bill.area["FP16 MACs"] = Quantity(
        spec.attention_macs_per_cycle * FP16_MAC_UM2_28NM * to_node * 1e-6, "mm2", published, f"{TABLE1}: A100 FP16"
    )
    bill.area["vector lanes"] = Quantity(
        spec.vector_lanes * VECTOR_UM2_45NM * node.logic_area_ratio(at45) * 1e-6,
        "mm2",
        Grade.DERIVED,
        "FP16 add + multiply, 3000 um2 at 45 nm (Dally 2015), scaled",
    )
    bill.spend(
        "FP16 MACs", activity["fp16_mac"] * FP16_MAC_PJ_28NM * scale * 1e-12, published, f"{TABLE1}: 2.98 TOPS/W"
    )
    bill.spend(
        "vector lanes",
        activity["vector_op"] * VECTOR_PJ_45NM * node.energy_scale * 1e-12,
        Grade.DERIVED,
        "FP16 add 0.4 + multiply 1.1 pJ at 45 nm (Horowitz 2014), scaled",
    )
    leakage = sum(watts for watts, _ in bill.leaking.values())
    grade = worst(*(g for _, g in bill.leaking.values()))
    bill.spend("leakage", none + leakage * result.seconds, grade, "of logic and memories, over the operator's time")
    provenance = spec.provenance("dram.energy_pj_per_bit")
    bill.spend(
        "DRAM",
        moved["dram"] * spec.dram.energy_pj_per_bit * 8e-12,
        provenance.grade if provenance else Grade.ASSUMED,
        provenance.source if provenance else "set by the user",
    )
    convention = (
        f"cells and memory macros at {node.name}: CCMs, FIFOs, IMMs, buffers, FP16 MACs, vector lanes; without wires, "
        "clock tree, control, DMA and DRAM interface"
    )
    area = {name: q for name, q in bill.area.items() if q.value > 0}
    ppa = assemble(result, area, convention, bill.energy, bill.sources, spec.timing_source())
    if spec.accuracy is None:
        return ppa
    return replace(ppa, metrics={**ppa.metrics, "accuracy_loss_points": accuracy_loss(spec)})


def accuracy_loss(spec: LutDlaSpec) -> Quantity:
    """Return the percentage points that converting the spec's network to its codebook was measured to lose.

    Raises:
        UserError: not measured.
    """
    assert spec.accuracy is not None
    book, asked = spec.codebook, spec.accuracy
    found = measured_accuracy.measured(asked.table, asked.network, asked.stage, book.v, book.c, book.metric)
    source = (
        f"{found.network} on {found.data} after {found.stage}, mean of {found.seeds} seeds, "
        f"95 % interval +- {found.ci95:.2g}"
    )
    return Quantity(found.loss_points, "points", Grade.MEASURED, source)


def storage(kind: str, words: int, word_bits: int, technology_: str, copies: int, ports: str = "1r1w") -> Memory:
    """Return a memory of any word, in as many equal parts as the memory models need.

    Args:
        kind: ``sram`` (latches below 64 words), ``latch``, ``flip-flop`` (with an enable) or ``fifo``.
        words: of one copy.
        word_bits: of one access.
        technology_: name or path of the node.
        copies: of the whole.
        ports: of each part.

    Raises:
        UserError: a size outside what the memory models know.
    """
    if kind == "sram" and words < FEWEST_SRAM_WORDS:
        kind = "latch"
    widest = WIDEST_SRAM_BITS if kind == "sram" else WIDEST_REGISTERS_BITS
    parts = -(-word_bits // widest)
    bits = -(-word_bits // parts)
    if kind == "sram":
        bits = max(bits, 8)
    return Memory(_estimate(kind, words, bits, technology_, ports), parts, copies)


STYLES = {
    # kind: kind and style of hw.memory
    "sram": ("sram", "6t"),
    "latch": ("register_file", "latch"),
    "flip-flop": ("register_file", "enable-flip-flop"),
    "fifo": ("fifo", "flip-flop"),
}


@lru_cache(maxsize=1024)
def _estimate(kind: str, words: int, bits: int, technology_: str, ports: str) -> MemoryEstimate:
    of, style = STYLES[kind]
    return memory.estimate(
        of,
        capacity_bits=words * bits,
        word_bits=bits,
        node=technology.load(technology_),
        ports=ports,
        style=style,
        prefer="table",
    )
