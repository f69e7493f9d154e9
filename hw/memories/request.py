"""What is asked and what is answered: the shape of a memory, and its area, energy, leakage and access time."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from lutscape.hw.errors import UserError, choose
from lutscape.hw.ppa import Quantity
from lutscape.hw.provenance import Grade
from lutscape.hw.technology import Technology

KINDS = ("sram", "register_file", "rom", "fifo")
STYLES: dict[str, tuple[str, ...]] = {
    "sram": ("6t",),
    "register_file": ("flip-flop", "enable-flip-flop", "latch", "sram"),
    "rom": ("via", "logic"),
    "fifo": ("flip-flop", "latch", "sram"),
}
"""How each kind is built. The meaning of each style is in the docstring of :mod:`lutscape.hw.memory`."""

DEFAULT_PORTS = {"sram": "1rw", "register_file": "1r1w", "rom": "1r", "fifo": "1r1w"}
MAX_PORTS = 6
_PORTS = re.compile(r"(?:(\d+)rw)?(?:(\d+)r)?(?:(\d+)w)?")


@dataclass(frozen=True)
class Ports:
    """Ports of a memory: read-write, read-only and write-only."""

    read_write: int
    read: int
    write: int

    @property
    def total(self) -> int:
        return self.read_write + self.read + self.write

    @property
    def readers(self) -> int:
        """Ports that can read."""
        return self.read_write + self.read

    @property
    def writers(self) -> int:
        """Ports that can write."""
        return self.read_write + self.write

    def __str__(self) -> str:
        parts = ((self.read_write, "rw"), (self.read, "r"), (self.write, "w"))
        return "".join(f"{n}{name}" for n, name in parts if n)


ONE = Ports(1, 0, 0)
"""One read-write port."""


def parse_ports(text: str, kind: str) -> Ports:
    """Read ``1rw``, ``1r1w``, ``2rw1r`` ...

    Raises:
        UserError: not of that form, too many ports, or ports that the kind cannot have.
    """
    match = _PORTS.fullmatch(text)
    counts = tuple(int(group or 0) for group in match.groups()) if match else (0, 0, 0)
    if not text or match is None or sum(counts) == 0:
        raise UserError(f"ports = {text!r}: expected counts of rw, r and w ports in this order, e.g. 1rw, 1r1w, 2rw1r")
    ports = Ports(*counts)
    if ports.total > MAX_PORTS:
        raise UserError(f"ports = {text!r}: {ports.total} ports; the models reach to {MAX_PORTS}")
    if kind == "rom" and (ports.write or ports.read_write):
        raise UserError(f"ports = {text!r}: a ROM has read ports only, e.g. {ports.readers or 1}r")
    if kind == "fifo" and ports != Ports(0, 1, 1):
        raise UserError(f"ports = {text!r}: a FIFO has one write and one read port: 1r1w")
    if kind in ("sram", "register_file") and not (ports.readers and ports.writers):
        missing = "read" if not ports.readers else "write"
        raise UserError(f"ports = {text!r}: no port can {missing}; e.g. {DEFAULT_PORTS[kind]}")
    return ports


@dataclass(frozen=True)
class Request:
    """Shape of a memory, checked.

    Attributes:
        kind: of :data:`KINDS`.
        style: of :data:`STYLES`.
        words: of all banks together.
        word_bits: of one access.
        ports: of each bank.
        banks: equal parts with their own periphery; one access touches one bank.
        node: process.
    """

    kind: str
    style: str
    words: int
    word_bits: int
    ports: Ports
    banks: int
    node: Technology

    @property
    def bits(self) -> int:
        return self.words * self.word_bits

    @property
    def bank_words(self) -> int:
        return self.words // self.banks


def check(
    kind: str, style: str | None, capacity_bits: int, word_bits: int, ports: str | None, banks: int, node: Technology
) -> Request:
    """Check a memory's shape; ``style`` and ``ports`` None take the kind's defaults.

    Raises:
        UserError: naming the argument, its value and what is allowed.
    """
    choose(kind, KINDS, "memory kind")
    for name, value in (("word_bits", word_bits), ("capacity_bits", capacity_bits), ("banks", banks)):
        if value < 1:
            raise UserError(f"{name} = {value}: must be 1 or more")
    if capacity_bits % word_bits:
        whole = capacity_bits // word_bits
        near = [n * word_bits for n in (whole, whole + 1) if n]
        raise UserError(
            f"capacity_bits = {capacity_bits}: not a whole number of {word_bits}-bit words; "
            f"nearest: {' or '.join(map(str, near))}"
        )
    words = capacity_bits // word_bits
    if words % banks:
        raise UserError(f"banks = {banks}: {words} words do not divide into {banks} equal banks")
    if style is None:
        style = _default_style(kind, capacity_bits, words)
    choose(style, STYLES[kind], f"style of kind {kind!r}")
    parsed = parse_ports(ports if ports is not None else DEFAULT_PORTS[kind], kind)
    return Request(kind, style, words, word_bits, parsed, banks, node)


def _default_style(kind: str, capacity_bits: int, words: int) -> str:
    """Standard cells for FIFOs up to 4 Kibit and ROMs of less than 1,024 words, macros above."""
    if kind == "fifo" and capacity_bits > 4096 and words >= 64:
        return "sram"
    if kind == "rom" and words < 1024:
        return "logic"
    return STYLES[kind][0]


def within(value: float, low: float, high: float, what: str, model: str, hint: str = "") -> None:
    """Raise :class:`UserError` where a size lies outside what a model was made for."""
    if not low <= value <= high:
        more = f"; {hint}" if hint else ""
        raise UserError(f"{what} = {value:.12g}: {model} is valid from {low:.12g} to {high:.12g}{more}")


NO_CLOCK = Quantity(0.0, "pJ", Grade.DERIVED, "no registers: idle, it takes leakage only")


@dataclass(frozen=True)
class MemoryEstimate:
    """Cost of one memory; energies are of one access of one word, one port.

    Attributes:
        request: the shape.
        area_um2: all banks, periphery included.
        read_energy_pj: dynamic.
        write_energy_pj: dynamic.
        leakage_w: all banks.
        access_time_ns: address (or clock edge) to data.
        idle_energy_pj: of every clock cycle, accessed or not: clock pins of registers; 0 for SRAM and ROM.
        answered_by: ``table``, or CACTI's version and the hash of its source package.
        notes: what was assumed on the way: macros side by side, rounded sizes, scaling.
        others: what other sources say of the same memory, by quantity.
    """

    request: Request
    area_um2: Quantity
    read_energy_pj: Quantity
    write_energy_pj: Quantity
    leakage_w: Quantity
    access_time_ns: Quantity
    answered_by: str
    idle_energy_pj: Quantity = NO_CLOCK
    notes: tuple[str, ...] = ()
    others: tuple[tuple[str, Quantity], ...] = field(default=())

    def quantities(self) -> dict[str, Quantity]:
        """Return the answers by name."""
        names = ("area_um2", "read_energy_pj", "write_energy_pj", "idle_energy_pj", "leakage_w", "access_time_ns")
        return {name: getattr(self, name) for name in names}

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""

        def plain(q: Quantity) -> dict[str, Any]:
            return {"value": q.value, "unit": q.unit, "grade": str(q.grade), "source": q.source}

        r = self.request
        return {
            "kind": r.kind,
            "style": r.style,
            "capacity_bits": r.bits,
            "words": r.words,
            "word_bits": r.word_bits,
            "ports": str(r.ports),
            "banks": r.banks,
            "node": r.node.name,
            "answered_by": self.answered_by,
            **{name: plain(q) for name, q in self.quantities().items()},
            "notes": list(self.notes),
            "others": [{"quantity": name, **plain(q)} for name, q in self.others],
        }
