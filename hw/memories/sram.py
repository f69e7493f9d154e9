"""SRAM: one question, answered by the table or by CACTI.

Words wider than 256 bits are macros side by side, each with the full number of words, all read in one access: CACTI's
banks and compilers' macros are not made wider. Nodes outside 22 to 90 nm are scaled
(:mod:`lutscape.hw.memories.scaling`).

Table:
    area      density of the node (hw.technology: bit cell / macro efficiency; 32 KiB and more) times a factor of the
              bank's size: at 10 nm and below that of macros at 7 nm (:mod:`lutscape.hw.memories.asap7`), above that of
              CACTI at 45 nm relative to 8K x 64
    energies, leakage, access time
              the recorded grid of CACTI runs, interpolated (:mod:`lutscape.hw.memories.grid`)
    banks     as many times the area and leakage of one; the wires between them are left out

CACTI:
    all five from one run (:mod:`lutscape.hw.memories.cacti`), wires between banks included
"""

from __future__ import annotations

import math

from lutscape.hw import technology
from lutscape.hw.memories import asap7, cacti, grid, published, scaling
from lutscape.hw.memories.cacti_build import Install
from lutscape.hw.memories.cells import SMALL_NM
from lutscape.hw.memories.request import ONE, MemoryEstimate, Request, within
from lutscape.hw.ppa import Quantity
from lutscape.hw.provenance import Grade

WORD_BITS = (8, 4096)
CACTI_SETTINGS = f"{cacti.DEVICE_CLASS}, {cacti.TEMPERATURE_K} K"
REFERENCE = (8192, 64)
"""Words and bits of the macro whose density a node's ``sram_area_um2_per_bit`` is."""


def check(request: Request) -> None:
    """Raise UserError where neither answer is valid."""
    small, large = "smaller ones: register files of flip-flops (2 to 256 words)", "divide it into more banks"
    words, model = request.bank_words, "the SRAM model"
    within(words, *cacti.WORDS, "words of a bank", model, small if words < cacti.WORDS[0] else large)
    within(request.word_bits, *WORD_BITS, "word_bits", model)
    macros, bits = _side_by_side(request)
    what = "bits of a bank" if macros == 1 else f"bits of each of the {macros} macros of a bank"
    within(words * bits, *cacti.CAPACITY_BITS, what, model, large)


def _side_by_side(request: Request) -> tuple[int, float]:
    """Return how many macros make a word, and the bits of each."""
    macros = math.ceil(request.word_bits / cacti.WORD_BITS[1])
    return macros, request.word_bits / macros


def _notes(request: Request) -> list[str]:
    macros, bits = _side_by_side(request)
    notes = [f"{macros} macros of {bits:g} bits side by side in each bank"] if macros > 1 else []
    return [*notes, scaling.WARNING] if request.node.node_nm < cacti.NODE_NM[0] else notes


def table(request: Request) -> MemoryEstimate:
    """Answer from recorded and published numbers."""
    check(request)
    node, factors = request.node, scaling.to(request.node)
    base = factors.base if factors else node
    macros, bits = _side_by_side(request)
    area, read, write, leakage, access = (
        float(v) for v in grid.interpolate(base.node_nm, request.bank_words, bits, request.ports)
    )
    all_macros = macros * request.banks
    source = f"CACTI 7.0 runs ({CACTI_SETTINGS}), interpolated in words, bits and node"
    if request.ports != ONE:
        source += f"; {request.ports} against 1rw as at 45 nm"
    notes = _notes(request)
    if request.banks > 1:
        notes.append("wires between banks are left out")
    energy = _scaled(read * macros, write * macros, leakage * all_macros, access, source, factors)
    other = Quantity(area * all_macros * (factors.area if factors else 1.0), "um2", Grade.DERIVED, source)
    return MemoryEstimate(
        request,
        _area(request, macros, bits),
        *energy,
        answered_by="table",
        notes=tuple(notes),
        others=(("area_um2", other), *_published(request)),
    )


def _area(request: Request, macros: int, bits: float) -> Quantity:
    """Return the area of all banks from the node's density."""
    node, bank_bits = request.node, request.bank_words * bits
    ports = float(grid.port_factors(request.bank_words, request.ports)[0])
    if node.node_nm <= SMALL_NM:
        seven = technology.load("7nm")
        per_bit = asap7.sram_um2_per_bit(bank_bits) * node.sram_area_um2_per_bit / seven.sram_area_um2_per_bit
        f = asap7.fit()
        if bank_bits <= asap7.MACRO_BITS:
            source = (
                f"fit of {f.macros} ASAP7 one-port macros (hammer-vlsi 1.2.0; rms {f.rms:.1%}, worst {f.worst:.1%})"
            )
        else:
            source = "between ASAP7 macros (64 Kibit) and TSMC's 7 nm compiler (ROMA, arXiv 2503.12988, Fig. 2)"
        if node.node_nm != seven.node_nm:
            source += f", x density of {node.name} / 7nm"
    else:
        shape = grid.interpolate(45.0, request.bank_words, bits, ONE)[0] / bank_bits
        reference = grid.interpolate(45.0, *REFERENCE, ONE)[0] / (REFERENCE[0] * REFERENCE[1])
        per_bit = float(node.sram_area_um2_per_bit * shape / reference)
        source = f"{node.sram_area_um2_per_bit} um2/bit at {node.name} (hw.technology), x size as CACTI at 45 nm"
    if request.ports != ONE:
        source += f"; {request.ports} against 1rw as CACTI at 45 nm"
    return Quantity(per_bit * request.bits * ports, "um2", Grade.DERIVED, source)


def _scaled(
    read_pj: float,
    write_pj: float,
    leakage_w: float,
    access_ns: float,
    source: str,
    factors: scaling.Factors | None,
) -> tuple[Quantity, Quantity, Quantity, Quantity]:
    """Return the four quantities at the node, with what scaled them."""
    if factors is None:
        return (
            Quantity(read_pj, "pJ", Grade.DERIVED, source),
            Quantity(write_pj, "pJ", Grade.DERIVED, source),
            Quantity(leakage_w, "W", Grade.DERIVED, source),
            Quantity(access_ns, "ns", Grade.DERIVED, source),
        )
    said = {name: f"{source} at {factors.base.name}, {text}" for name, text in factors.source.items()}
    return (
        Quantity(read_pj * factors.energy, "pJ", Grade.DERIVED, said["energy"]),
        Quantity(write_pj * factors.energy, "pJ", Grade.DERIVED, said["energy"]),
        Quantity(leakage_w * factors.leakage, "W", Grade.ASSUMED, said["leakage"]),
        Quantity(access_ns * factors.delay, "ns", Grade.DERIVED, said["delay"]),
    )


def ask_cacti(request: Request, install: Install) -> MemoryEstimate:
    """Answer from a run of CACTI.

    Raises:
        CactiFailure: CACTI cannot be asked this, or gives no answer.
    """
    check(request)
    if request.banks & (request.banks - 1):
        raise cacti.CactiFailure(f"banks = {request.banks}: CACTI takes powers of two only")
    factors = scaling.to(request.node)
    base = factors.base if factors else request.node
    macros, bits = _side_by_side(request)
    rounded = max(math.ceil(bits / 8) * 8, cacti.WORD_BITS[0])
    question = cacti.Question(base.node_nm, request.bank_words, rounded, request.ports, request.banks)
    answer = cacti.ask(question, install)
    share = macros * bits / rounded
    notes = _notes(request)
    if rounded != bits:
        notes.append(f"CACTI ran with {rounded}-bit words; all but the access time is scaled to {bits:g}")
    source = f"CACTI 7.0 ({CACTI_SETTINGS})"
    area = answer.area_um2 * share * (factors.area if factors else 1.0)
    area_source = f"{source} at {factors.base.name}, {factors.source['area']}" if factors else source
    table_area = _area(request, macros, bits)
    return MemoryEstimate(
        request,
        Quantity(area, "um2", Grade.DERIVED, area_source),
        *_scaled(
            answer.read_pj * share,
            answer.write_pj * share,
            answer.leakage_w * share,
            answer.access_ns,
            source,
            factors,
        ),
        answered_by=install.name,
        notes=tuple(notes),
        others=(("area_um2", table_area), *_published(request)),
    )


def _published(request: Request) -> tuple[tuple[str, Quantity], ...]:
    """Return published read energies of a one-port memory of this size."""
    if request.ports != ONE:
        return ()
    kib = request.bits / 8192
    found = published.read_energies(request.node.node_nm, kib, request.word_bits)
    return tuple(("read_energy_pj", quantity) for quantity in found)
