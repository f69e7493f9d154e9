"""Memories of standard cells: register files, logic ROMs and the pointers of FIFOs, fitted to synthesised ones.

``standard_cells.csv`` holds what yosys and abc map with the Nangate45 and ASAP7 libraries (4 to 128 words of 8 to 64
bits, 1 to 4 readers; random ROMs of 16 to 4,096 words), and what gate simulation and Liberty tables say of their
energy (``reports/memory/synthesise.py``). No wires, no clock tree, no glitches.

Area of a register file, µm², for w words, b bits, r read ports:

    state·w·b + multiplexer·r·(w-1)·b + word·w + column·b

``state`` is the flip-flop (4.5 µm² at 45 nm) or latch (2.6) with its share of buffers; ``multiplexer`` a MUX2 (1.8);
``word`` the decoder and clock gate; ``column`` the data register of the latch style. Within 2 % of every synthesised
register file. A second write port adds a multiplexer per bit and a decoder per word (counted, not synthesised).

All else is fitted as ln y = c0 + c1 ln w + c2 (ln w)² + c3 ln b over the register files whose words are enabled by
multiplexers (the one style that the power engine can take) and over the ROMs: within 7 % (energies), 11 % (times).
From there to the other styles, per access: a gated flip-flop's word sees the clock when written, a latch's
never; an idle word costs its clock gate, or in the latch style nothing. Leakage follows area.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lutscape.hw import technology
from lutscape.hw.memories.grid import read_csv
from lutscape.hw.memories.request import Request
from lutscape.hw.memories.scaling import delay_scale
from lutscape.hw.technology import Technology

FILE = Path(__file__).with_name("standard_cells.csv")
REGISTER_WORDS, REGISTER_BITS = (2, 256), (1, 1024)
ROM_WORDS, ROM_BITS = (16, 4096), (1, 256)
FITTED = ("read_pj", "write_pj", "leakage_w", "access_ps")
STYLES = ("flip-flop", "enable-flip-flop", "latch")
SMALL_NM = 10.0
"""Up to here the ASAP7 rows are scaled, above the Nangate45 ones."""


@dataclass(frozen=True)
class Library:
    """Where synthesised numbers come from.

    Attributes:
        name: in the table.
        title: for sources.
        node: process and supply of the library.
    """

    name: str
    title: str
    node: Technology


@dataclass(frozen=True)
class Cost:
    """Cost of a standard-cell memory at a node.

    Attributes:
        area_um2, leakage_w, access_ns: of the whole.
        read_pj, write_pj: on top of an idle cycle.
        idle_pj: of every clock cycle.
        scaled: sentence on scaling, empty at the library's own node.
    """

    area_um2: float
    read_pj: float
    write_pj: float
    idle_pj: float
    leakage_w: float
    access_ns: float
    library: Library
    scaled: str


def library_for(node: Technology) -> Library:
    """Return the library from which a node is scaled."""
    if node.node_nm <= SMALL_NM:
        at = technology.load("7nm").model_copy(update={"supply_v": 0.7})
        return Library("asap7", "ASAP7 RVT TT 0.7 V 25 C (predictive 7 nm), yosys 0.70 and abc", at)
    at = technology.load("45nm").model_copy(update={"supply_v": 1.1})
    return Library("nangate45", "NanGate 45 nm Open Cell Library, typical 1.1 V 25 C, yosys 0.70 and abc", at)


@cache
def rows(library: str, kind: str, style: str) -> tuple[dict[str, str], ...]:
    """Return the synthesised memories of one style."""
    return tuple(row for row in read_csv(FILE) if (row["library"], row["kind"], row["style"]) == (library, kind, style))


def _column(table: tuple[dict[str, str], ...], name: str) -> np.ndarray:
    return np.array([float(row[name]) for row in table])


@cache
def area_coefficients(library: str, style: str) -> tuple[float, float, float, float]:
    """Return state, multiplexer, word and column (see above), µm²."""
    table = rows(library, "register_file", style)
    w, b, r, area = (_column(table, name) for name in ("words", "word_bits", "readers", "area_um2"))
    if style == "flip-flop":
        design = np.stack([w * b, r * (w - 1) * b, w, b], axis=1)
        found = np.linalg.lstsq(design / area[:, None], np.ones_like(area), rcond=None)[0]
        return tuple(float(v) for v in found)  # type: ignore[return-value]
    multiplexer = area_coefficients(library, "flip-flop")[1]
    rest = area - multiplexer * r * (w - 1) * b
    design = np.stack([w * b, w, b], axis=1)
    state, word, column = np.linalg.lstsq(design / area[:, None], rest / area, rcond=None)[0]
    return float(state), multiplexer, float(word), float(column)


def register_file_area(library: str, style: str, words: int, bits: int, readers: int, writers: int) -> float:
    """Return µm² at the library's node."""
    state, multiplexer, word, column = area_coefficients(library, style)
    area = state * words * bits + multiplexer * readers * (words - 1) * bits + word * words + column * bits
    return area + (writers - 1) * (multiplexer * words * bits + abs(word) * words)


@cache
def fit(library: str, kind: str, quantity: str) -> tuple[float, float, float, float]:
    """Return c0 to c3 of ln y = c0 + c1 ln w + c2 (ln w)² + c3 ln b."""
    table = rows(library, kind, "enable-flip-flop" if kind == "register_file" else "logic")
    w, b, y = np.log(_column(table, "words")), np.log(_column(table, "word_bits")), _column(table, quantity)
    design = np.stack([np.ones_like(w), w, w * w, b], axis=1)
    return tuple(float(v) for v in np.linalg.lstsq(design, np.log(y), rcond=None)[0])  # type: ignore[return-value]


def fitted(library: str, kind: str, quantity: str, words: float, bits: float) -> float:
    """Return a quantity at the library's node."""
    c0, c1, c2, c3 = fit(library, kind, quantity)
    w = float(np.log(words))
    return float(np.exp(c0 + c1 * w + c2 * w * w + c3 * np.log(bits)))


@cache
def clock_pin_pj(library: str) -> float:
    """Return pJ of one flip-flop's clock pin per cycle."""
    row = rows(library, "register_file", "enable-flip-flop")[0]
    return float(row["idle_pj"]) / (int(row["words"]) * int(row["word_bits"]))


@cache
def clock_gate_pj(library: str) -> float:
    """Return pJ of one closed clock gate per cycle."""
    return next(float(r["idle_pj"]) for r in read_csv(FILE) if r["library"] == library and r["kind"] == "clock-gate")


def to_node(cost: Cost, node: Technology) -> Cost:
    """Scale a cost from its library's node and supply."""
    at = cost.library.node
    if at.node_nm == node.node_nm and at.supply_v == node.supply_v:
        return cost
    energy, delay = node.energy_ratio(at), delay_scale(node) / delay_scale(at)
    text = f"scaled from {at.node_nm:g} nm {at.supply_v:g} V to {node.name} {node.supply_v:g} V (hw.technology)"
    return Cost(
        area_um2=cost.area_um2 * node.logic_area_ratio(at),
        read_pj=cost.read_pj * energy,
        write_pj=cost.write_pj * energy,
        idle_pj=cost.idle_pj * energy,
        leakage_w=cost.leakage_w * node.supply_v / at.supply_v,
        access_ns=cost.access_ns * delay,
        library=cost.library,
        scaled=text,
    )


def register_file(request: Request, style: str) -> Cost:
    """Return the cost of one bank at the request's node."""
    library = library_for(request.node)
    name, words, bits, ports = library.name, request.bank_words, request.word_bits, request.ports
    area = register_file_area(name, style, words, bits, ports.readers, ports.writers)
    plain = register_file_area(name, "enable-flip-flop", words, bits, 1, 1)
    write = fitted(name, "register_file", "write_pj", words, bits)
    clock = clock_pin_pj(name)
    address = max(1, (words - 1).bit_length())
    idle = {
        "flip-flop": words * clock_gate_pj(name),
        "enable-flip-flop": words * bits * clock,
        "latch": (bits + address + 1) * clock,
    }[style]
    if style == "flip-flop":
        write += bits * clock
    cost = Cost(
        area_um2=area,
        read_pj=fitted(name, "register_file", "read_pj", words, bits),
        write_pj=write,
        idle_pj=idle,
        leakage_w=fitted(name, "register_file", "leakage_w", words, bits) * area / plain,
        access_ns=fitted(name, "register_file", "access_ps", words, bits) * 1e-3,
        library=library,
        scaled="",
    )
    return to_node(cost, request.node)


def logic_rom(request: Request) -> Cost:
    """Return the cost of one bank at the request's node; further read ports are further copies."""
    library = library_for(request.node)
    name, words, bits, copies = library.name, request.bank_words, request.word_bits, request.ports.total

    def value(quantity: str) -> float:
        return fitted(name, "rom", quantity, words, bits)

    cost = Cost(
        area_um2=copies * value("area_um2"),
        read_pj=value("read_pj"),
        write_pj=0.0,
        idle_pj=0.0,
        leakage_w=copies * value("leakage_w"),
        access_ns=value("access_ps") * 1e-3,
        library=library,
        scaled="",
    )
    return to_node(cost, request.node)
