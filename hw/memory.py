"""On-chip memories: area, access energy, leakage and access time by kind, size and node.

:func:`estimate` is the one question; who answers is said in ``answered_by``:

- ``cacti 7.0 (...)``, if it was built (``lutscape rtl memory build-cacti``): SRAM, and register files and FIFOs of
  style ``sram``;
- ``table`` otherwise, and for all that CACTI does not model.

=============  ==================================================================  =====================================
kind           styles (the first is the default)                                   valid
=============  ==================================================================  =====================================
sram           ``6t``                                                              64 to 2 M words, 8 to 4096 bits
register_file  ``flip-flop`` (clock gate per word), ``enable-flip-flop``           2 to 256 words, 1 to 1024 bits
               (multiplexer per bit), ``latch``, ``sram`` (multi-ported macro)
rom            ``via`` (macro; 1024 words and more), ``logic`` (synthesised)       ``logic``: 16 to 4096 words
fifo           ``flip-flop`` (to 4 Kibit), ``sram``, ``latch``                     as its storage
=============  ==================================================================  =====================================

How far the sources disagree (``reports/memory/memory.json``, written by ``reports/memory/compare.py``):

- *Interpolated table against CACTI itself*, off the grid, 22 to 90 nm: 4 to 9 % on average, 29 % at worst.
- *Area*, bit cell / efficiency against CACTI at 28 nm: 0 to 19 % above. At 7 nm and 8 KiB, CACTI scaled from 28 nm
  gives 0.036 µm² per bit, ASAP7's macro 0.050, TSMC's compiler 0.076.
- *Energy* at 45 nm: Horowitz's caches take 2.1 to 3.2 times what CACTI says of RAM of low-power devices (and what it
  says of high-performance ones). At 7 nm the scaled energies are far below every other source: 7 to 31 times below
  Google's figures, see :mod:`lutscape.hw.memories.scaling`.
- *Leakage* depends on CACTI's device class by four orders of magnitude; itrs-lop lies in the middle.

**SRAM energy of the cost models.** :func:`sram_energy_pj_per_byte` interpolates (log-log) between three runs of
CACTI 7 at 45 nm (itrs-lop, 64-bit port, 300 K): 1, 8 and 64 KiB take 0.79, 3.16 and 13.1 pJ per 64-bit read. The
build of this module's CACTI gives 0.787, 3.162 and 13.07 pJ, and 0.439, 0.401 and 0.399 µm² per bit, with those
settings, ECC off, conservative wires and best energy x delay² (tests/hw/test_memory_cacti.py asks again where CACTI is
built). What the three points leave out: a *write* takes 1.44, 3.24 and 8.06 pJ, here it costs a read; above 64 KiB the
energy here grows with the square root of the capacity (wire length), 26.2 pJ at 256 KiB and 52.4 pJ at 1 MiB, where
CACTI says 20.3 and 41.8 (and Horowitz, ISSCC 2014, 100 pJ for a 1 MB *cache*, tags included). Other nodes scale by
the energy factors of :mod:`lutscape.hw.technology`; at 28 nm and 64 KiB that gives 6.6 pJ where CACTI itself says
4.5. Grade: derived.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from lutscape.hw import technology
from lutscape.hw.errors import UserError, choose
from lutscape.hw.memories import cacti, cacti_build, sram, standard
from lutscape.hw.memories.request import KINDS, MemoryEstimate, Request, check
from lutscape.hw.provenance import Grade, Source
from lutscape.hw.technology import Technology

PREFERENCES = ("auto", "cacti", "table")

CACTI_45NM = ((1.0, 0.79), (8.0, 3.16), (64.0, 13.1))
"""(KiB, pJ per 64-bit read) at 45 nm."""

ENERGY_SOURCE = Source(
    grade=Grade.DERIVED,
    source="CACTI 7 at 45 nm (itrs-lop, 64-bit port), log-log in capacity, scaled by hw.technology",
)


def estimate(
    kind: str,
    *,
    capacity_bits: int,
    word_bits: int,
    node: Technology | str | Path,
    ports: str | None = None,
    banks: int = 1,
    style: str | None = None,
    prefer: str = "auto",
) -> MemoryEstimate:
    """Return area, energies, leakage and access time of a memory.

    Args:
        kind: ``sram``, ``register_file``, ``rom`` or ``fifo``.
        capacity_bits: of all banks together.
        word_bits: of one access.
        node: a technology, its packaged name (``28nm``) or the path of its YAML.
        ports: of each bank: ``1rw``, ``1r1w``, ``2rw1r`` ... None takes 1rw for an SRAM, 1r1w for a register file or
            FIFO, 1r for a ROM.
        banks: equal parts with their own periphery; an access touches one.
        style: how it is built; None takes the kind's default (see above).
        prefer: ``auto`` asks CACTI where it is built and models the memory, else the table; ``cacti`` and ``table``
            insist.

    Raises:
        UserError: a bad argument, a size that the model does not reach, CACTI asked for but not built.

    Example:
        >>> e = estimate("sram", capacity_bits=64 * 8192, word_bits=64, node="28nm", prefer="table")
        >>> e.answered_by, e.area_um2.unit, 80_000 < e.area_um2.value < 110_000
        ('table', 'um2', True)
    """
    choose(kind, KINDS, "memory kind")
    choose(prefer, PREFERENCES, "preference")
    process = node if isinstance(node, Technology) else technology.load(str(node))
    request = check(kind, style, capacity_bits, word_bits, ports, banks, process)
    if kind == "rom":
        _refuse_cacti(prefer, request)
        return standard.rom(request)
    if kind == "fifo":
        inner = standard.fifo_storage(request)
        if inner.kind == "register_file":
            standard.check_cells(request)
        storage = _sram(inner, prefer) if inner.kind == "sram" else _cells(inner, prefer)
        return standard.fifo(request, storage)
    if request.style in ("6t", "sram"):
        return _sram(request, prefer)
    return _cells(request, prefer)


def _cells(request: Request, prefer: str) -> MemoryEstimate:
    _refuse_cacti(prefer, request)
    standard.check_cells(request)
    return standard.register_file(request)


def _refuse_cacti(prefer: str, request: Request) -> None:
    if prefer == "cacti":
        raise UserError(
            f"prefer = 'cacti': CACTI models no {request.kind} of style {request.style!r}; it models sram, and "
            "register_file and fifo of style 'sram'"
        )


def _sram(request: Request, prefer: str) -> MemoryEstimate:
    """Ask CACTI or the table; on ``auto`` CACTI's failures end in the table, with a note."""
    if prefer == "table":
        return sram.table(request)
    install = cacti_build.find()
    if install is None:
        if prefer == "cacti":
            raise UserError("prefer = 'cacti': CACTI is not built; build it with: lutscape rtl memory build-cacti")
        return sram.table(request)
    try:
        return sram.ask_cacti(request, install)
    except cacti.CactiFailure as failure:
        if prefer == "cacti":
            raise UserError(f"prefer = 'cacti': {failure}; prefer = 'table' answers without it") from None
        answer = sram.table(request)
        return replace(answer, notes=(*answer.notes, f"the table answers because {failure}"))


def sram_energy_pj_per_byte(capacity_kib: float, node: Technology) -> float:
    """Return pJ per byte read or written of an SRAM of some capacity (KiB) at a node."""
    points = CACTI_45NM
    if capacity_kib <= points[0][0]:
        energy = points[0][1]
    elif capacity_kib >= points[-1][0]:
        energy = points[-1][1] * math.sqrt(capacity_kib / points[-1][0])
    else:
        low, high = next((a, b) for a, b in pairwise(points) if capacity_kib <= b[0])
        share = math.log(capacity_kib / low[0]) / math.log(high[0] / low[0])
        energy = low[1] * (high[1] / low[1]) ** share
    return energy / 8 * node.energy_scale


def sram_area_mm2(capacity_kib: float, node: Technology) -> float:
    """Return mm² of an SRAM macro, periphery included."""
    return capacity_kib * 1024 * 8 * node.sram_area_um2_per_bit * 1e-6
