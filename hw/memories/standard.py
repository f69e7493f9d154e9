"""Register files, ROMs and FIFOs: answers from synthesised standard cells and published densities.

Register files: :mod:`lutscape.hw.memories.cells`; each bank has its own decoder and multiplexers, and one multiplexer
per bit and read port joins the banks.

ROM of style ``via``: one transistor a bit, programmed by contacts or vias. Density at 7 nm by depth from TSMC's ROM
compiler (ROMA, arXiv 2503.12988, Fig. 2), at other nodes scaled with the SRAM's. Its energy has no published number
of its own: a ROM takes at most 0.59 of the SRAM of the same shape, the ratio of the powers of ROMA's units with either
memory, arithmetic included (Fig. 12); that bound is the estimate. Leakage is the SRAM's times the ratio of the areas,
access time the SRAM's. All three are graded assumed.

FIFO: storage with one write and one read port (a register file or an SRAM) and, from gate counts
(:mod:`lutscape.hw.gates`), two pointers one bit longer than an address (register, half adder, synchronous reset) and
their comparison. With flip-flop storage the sum is within 3 % of four synthesised FIFOs of 4 to 64 words at 45 nm and
within 9 % of the same four at 7 nm.
"""

from __future__ import annotations

from dataclasses import replace

from lutscape.hw import gates, technology
from lutscape.hw.memories import asap7, cells, published, sram
from lutscape.hw.memories.request import MemoryEstimate, Ports, Request, within
from lutscape.hw.ppa import Quantity
from lutscape.hw.provenance import Grade

VIA_WORDS = (1024, 2**21)
HALF_ADDER = gates.XOR2 + gates.AND2
NO_WRITE = Quantity(0.0, "pJ", Grade.DERIVED, "a ROM is not written")


def register_file(request: Request) -> MemoryEstimate:
    """Answer for a register file of flip-flops or latches."""
    cost = cells.register_file(request, request.style)
    banks, joins = request.banks, _join_area(request, cost.library)
    said = f"fit of synthesised register files: {cost.library.title}"
    grade = Grade.DERIVED if cost.scaled or request.banks > 1 else Grade.SYNTHESISED
    notes = ["no wires and no clock tree; reads without glitches"]
    if request.style != "enable-flip-flop":
        notes.append(
            f"energies of {request.style} words are derived from measured enable-flip-flop ones (hw.memories.cells)"
        )
    if cost.scaled:
        said = f"{said}; {cost.scaled}"
    dynamic = Grade.DERIVED
    estimate = MemoryEstimate(
        request,
        Quantity(cost.area_um2 * banks + joins, "um2", grade, said),
        Quantity(cost.read_pj, "pJ", dynamic, said),
        Quantity(cost.write_pj, "pJ", dynamic, said),
        Quantity(cost.leakage_w * banks, "W", Grade.ASSUMED if cost.scaled else Grade.DERIVED, said),
        Quantity(cost.access_ns, "ns", dynamic, said),
        answered_by="table",
        idle_energy_pj=Quantity(cost.idle_pj * banks, "pJ", dynamic, said),
        notes=tuple(notes),
    )
    return replace(estimate, others=_other_library(request, estimate))


def check_cells(request: Request) -> None:
    """Raise UserError where the model of register files (and FIFOs made of them) is not valid."""
    hint = "larger ones: style sram" if request.kind == "fifo" else "larger ones: kind sram"
    within(request.bank_words, *cells.REGISTER_WORDS, "words of a bank", "the standard-cell model", hint)
    within(request.word_bits, *cells.REGISTER_BITS, "word_bits", "the standard-cell model", hint)


def _join_area(request: Request, library: cells.Library) -> float:
    """Return µm² of the multiplexers that join the banks, at the request's node."""
    multiplexer = cells.area_coefficients(library.name, "flip-flop")[1]
    at = request.node.logic_area_ratio(library.node)
    return (request.banks - 1) * request.word_bits * request.ports.readers * multiplexer * at


def _other_library(request: Request, estimate: MemoryEstimate) -> tuple[tuple[str, Quantity], ...]:
    """Return the area by the other node's library, scaled: how far gate-area factors carry."""
    if request.node.node_nm > cells.SMALL_NM:
        return ()
    at = technology.load("45nm")
    style, ports = request.style, request.ports
    area = cells.register_file_area(
        "nangate45", style, request.bank_words, request.word_bits, ports.readers, ports.writers
    )
    scaled = area * request.banks * request.node.logic_area_ratio(at)
    source = f"Nangate45 fit x gate area of {request.node.name} / 45nm (hw.technology)"
    return (("area_um2", Quantity(scaled, "um2", Grade.DERIVED, source)),)


def rom(request: Request) -> MemoryEstimate:
    """Answer for a ROM."""
    return _logic_rom(request) if request.style == "logic" else _via_rom(request)


def _logic_rom(request: Request) -> MemoryEstimate:
    hint = "larger ones: style via (1024 words and more)"
    within(request.bank_words, *cells.ROM_WORDS, "words of a bank", "the logic ROM model", hint)
    within(request.word_bits, *cells.ROM_BITS, "word_bits", "the logic ROM model", "divide the word")
    cost, banks = cells.logic_rom(request), request.banks
    said = f"fit of synthesised ROMs with random contents: {cost.library.title}"
    grade = Grade.DERIVED if cost.scaled or banks > 1 else Grade.SYNTHESISED
    if cost.scaled:
        said = f"{said}; {cost.scaled}"
    return MemoryEstimate(
        request,
        Quantity(cost.area_um2 * banks, "um2", grade, said),
        Quantity(cost.read_pj, "pJ", Grade.DERIVED, said),
        NO_WRITE,
        Quantity(cost.leakage_w * banks, "W", Grade.ASSUMED if cost.scaled else Grade.DERIVED, said),
        Quantity(cost.access_ns, "ns", Grade.DERIVED, said),
        answered_by="table",
        notes=("contents with structure take less area; reads without glitches",),
    )


def _via_rom(request: Request) -> MemoryEstimate:
    hint = "smaller ones: style logic (16 to 4096 words)"
    within(request.bank_words, *VIA_WORDS, "words of a bank", "the via ROM model", hint)
    within(request.word_bits, *sram.WORD_BITS, "word_bits", "the via ROM model")
    like = replace(request, kind="sram", style="6t", ports=Ports(1, 0, 0))
    ram = sram.table(like)
    seven = technology.load("7nm")
    share = request.node.sram_area_um2_per_bit / seven.sram_area_um2_per_bit
    per_bit = asap7.rom_um2_per_bit(request.bank_words) * share
    area = per_bit * request.bits * request.ports.total
    source = "TSMC 7 nm ROM compiler by depth (ROMA, arXiv 2503.12988, Fig. 2)"
    if request.node.name != seven.name:
        source += f", x SRAM density of {request.node.name} / 7nm"
    factor = power_ratio()
    return MemoryEstimate(
        request,
        Quantity(area, "um2", Grade.DERIVED, source),
        Quantity(
            ram.read_energy_pj.value * factor,
            "pJ",
            Grade.ASSUMED,
            f"upper bound: {factor:.2f} of an SRAM's (ROMA Fig. 12: units with ROM and SRAM, arithmetic included); "
            f"SRAM: {ram.read_energy_pj.source}",
        ),
        NO_WRITE,
        Quantity(
            ram.leakage_w.value * area / ram.area_um2.value,
            "W",
            Grade.ASSUMED,
            f"an SRAM's, by area; SRAM: {ram.leakage_w.source}",
        ),
        Quantity(ram.access_time_ns.value, "ns", Grade.ASSUMED, f"an SRAM's: {ram.access_time_ns.source}"),
        answered_by="table",
        notes=(*ram.notes, *(("each further read port is a copy",) if request.ports.total > 1 else ())),
        others=(("area_um2", replace(ram.area_um2, source=f"an SRAM of this shape: {ram.area_um2.source}")),),
    )


def power_ratio() -> float:
    """Return the power of ROMA's unit with ROM by that with SRAM."""
    power = {row.kind: row.value for row in published.load().rows if row.what == "power_mw"}
    return power["rom"] / power["sram"]


def fifo(request: Request, storage: MemoryEstimate) -> MemoryEstimate:
    """Add pointers and control to the storage of a FIFO."""
    node = request.node
    library = cells.library_for(node)
    bits = max(1, (request.words - 1).bit_length()) + 1
    pointer = bits * (gates.FLIP_FLOP + HALF_ADDER + gates.AND2)
    control = 2 * pointer + 2 * bits * gates.XOR2
    area = control * node.gate_area_um2
    clock = cells.clock_pin_pj(library.name) * node.energy_ratio(library.node)
    # A binary counter toggles two bits a step in the mean; a toggle costs a register about twice its clock.
    step = 2 * 2 * clock
    said = "pointers and comparison from gate counts (hw.gates)"

    def add(quantity: Quantity, value: float, grade: Grade = Grade.DERIVED) -> Quantity:
        weakest = max(quantity.grade, grade, key=list(Grade).index)
        return Quantity(quantity.value + value, quantity.unit, weakest, f"{quantity.source}; {said}")

    idle = storage.idle_energy_pj
    return replace(
        storage,
        request=request,
        area_um2=add(storage.area_um2, area),
        read_energy_pj=add(storage.read_energy_pj, step),
        write_energy_pj=add(storage.write_energy_pj, step),
        idle_energy_pj=Quantity(idle.value + 2 * bits * clock, "pJ", Grade.DERIVED, f"{said}; storage: {idle.source}"),
        others=(),
    )


def fifo_storage(request: Request) -> Request:
    """Return the memory inside a FIFO."""
    style = "6t" if request.style == "sram" else request.style
    return replace(request, kind="sram" if request.style == "sram" else "register_file", style=style)
