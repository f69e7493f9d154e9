"""Transistors of a plain ROM and of a block ROM: every count with its derivation, and bounds on the area they save.

Both are NOR arrays with precharged bit lines: a word line opens one transistor in every column, which pulls its bit
line down if it is connected. ``mux`` words share a row; a column multiplexer chooses. Static CMOS gates count two
transistors per input (inverter 2, two-input NAND or NOR 4), XOR 8 from true and complement inputs (Weste and Harris,
CMOS VLSI Design, 4th ed., sec. 1.4, 9.2 and 12.4). Counted:

    plain   cells        D W: one a stored bit, connected by a contact or not
            decoder      D / mux word lines
    block   cells        D W / 4: one a block of four bits; its source is one of the candidate lines in place of ground
            decoder      D / (4 mux) word lines
            candidates   functions of the two low address bits; constants take none
            repeaters    a buffer per candidate line and ``segment`` rows
    both    address buffers; precharge and multiplexer: 2 a bit line; sense inverter and keeper: 3 a bit of the word

The claim (ROMA, arXiv 2503.12988, read from digests) is 40 % less area, not 40 % fewer transistors. Area follows
transistors only where cells fill the macro; :func:`area_bounds` says what the published densities leave to save.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.hw.provenance import Grade
from lutscape.rtl import brom

INVERTER, NAND2, XOR2, BUFFER = 2, 4, 8, 4
CLAIM = 0.40
"""Published: block ROM against plain ROM, area (digest of arXiv 2503.12988)."""


@dataclass(frozen=True)
class Count:
    """Transistors of one part.

    Attributes:
        part: what.
        transistors: how many.
        derivation: in symbols and numbers.
        grade: of the number.
    """

    part: str
    transistors: int
    derivation: str
    grade: Grade = Grade.DERIVED


@dataclass(frozen=True)
class Counts:
    """All parts of a ROM.

    Attributes:
        form: ``standard`` or ``block``.
        parts: counts.
        bits: stored.
    """

    form: str
    parts: tuple[Count, ...]
    bits: int

    @property
    def total(self) -> int:
        """All transistors."""
        return sum(p.transistors for p in self.parts)

    @property
    def per_bit(self) -> float:
        """Transistors per stored bit."""
        return self.total / self.bits


def counts(form: str, depth: int, width: int, mux: int = 4, segment: int = 64) -> Counts:
    """Return the transistors of a ROM.

    Args:
        form: ``standard`` or ``block``.
        depth: D, words.
        width: W, bits of a word.
        mux: words of a row (of a block row); a power of two.
        segment: rows that one repeater of a candidate line drives.

    Raises:
        UserError: other numbers.
    """
    if form not in ("standard", "block"):
        raise UserError(f"transistors: form {form!r}; allowed: standard, block")
    if mux < 1 or mux & (mux - 1) or depth < brom.BLOCK * mux or width < 1 or segment < 1:
        raise UserError(
            f"transistors: depth {depth}, width {width}, mux {mux}, segment {segment}; mux is a power of two"
        )
    cells_deep = depth if form == "standard" else -(-depth // brom.BLOCK)
    rows, columns = -(-cells_deep // mux), width * mux
    bits = max(1, (rows - 1).bit_length())
    address = max(1, (depth - 1).bit_length())
    low = 0 if form == "standard" else 2
    parts = [
        Count("cells", cells_deep * width, f"{cells_deep} x {width}, one transistor each"),
        Count("address buffers", address * BUFFER, f"{address} bits x two inverters"),
        _decoder(rows, bits, "word lines"),
        Count("multiplexer select", mux * (NAND2 + INVERTER) if mux > 1 else 0, f"{mux} lines x (NAND2 + inverter)"),
        Count("bit lines", 2 * columns, f"{width} x {mux} lines x (precharge + multiplexer)"),
        Count("outputs", 3 * width, f"{width} x (sense inverter + keeper)"),
    ]
    if low:
        parts += [*candidates(), _repeaters(rows, segment)]
    return Counts(form, tuple(parts), depth * width)


def _decoder(rows: int, bits: int, what: str) -> Count:
    """Return a decoder of predecoded pairs of bits: 4 ANDs a pair, then one NAND and a driver per line."""
    pairs, odd = divmod(bits, 2)
    groups = pairs + odd
    predecode = pairs * 4 * (NAND2 + INVERTER)
    line = 2 * groups + INVERTER if groups > 1 else INVERTER
    return Count(
        f"decoder of {what}",
        predecode + rows * line,
        f"{pairs} pairs x 4 x (NAND2 + inverter) + {rows} lines x (NAND{groups} + driver)",
    )


def candidates() -> list[Count]:
    """Return the transistors of the 16 candidate functions; true and complement address bits are there already."""
    return [
        Count("candidates: constants", 0, "0 and 1 are supply lines"),
        Count("candidates: one bit", 4 * BUFFER, "a, b and their complements x buffer"),
        Count("candidates: minterms", 4 * (NAND2 + INVERTER), "4 x (NAND2 + inverter)"),
        Count("candidates: maxterms", 4 * (NAND2 + INVERTER), "4 x (NOR2 + inverter)"),
        Count("candidates: parity", 2 * (XOR2 + BUFFER), "XOR and XNOR x (8 + buffer)"),
    ]


def _repeaters(rows: int, segment: int) -> Count:
    used = brom.FUNCTIONS - 2
    stages = -(-rows // segment)
    return Count("candidate repeaters", used * BUFFER * stages, f"{used} lines x buffer x {stages} segments of rows")


def saving(plain: Counts, block: Counts) -> float:
    """Return the share of transistors that a block ROM saves."""
    return 1 - block.total / plain.total


def used(words: npt.NDArray[np.uint8], word_bits: int) -> dict[str, float]:
    """Return what real words make of the cells.

    Returns:
        ``ones``: share of connected cells of a plain ROM; ``choices``: share of blocks that are not constant 0;
        ``entropy_bits``: of the choice of a block, of 4; ``most_common``: share of the most frequent choice.
    """
    chosen = brom.choices(words, word_bits)
    share = np.bincount(chosen.ravel(), minlength=brom.FUNCTIONS) / chosen.size
    positive = share[share > 0]
    return {
        "ones": float(brom.bits_of(words, word_bits).mean()),
        "choices": float(1 - share[0]),
        "entropy_bits": float(-(positive * np.log2(positive)).sum()),
        "most_common": float(share.max()),
    }


def area_bounds(cell_um2: float, macro_mbit_per_mm2: float) -> dict[str, float]:
    """Return what block cells can save of a macro's area, as shares.

    Args:
        cell_um2: of a plain ROM's bit cell.
        macro_mbit_per_mm2: density of its macro, 10⁶ bits per mm².

    Returns:
        ``cells``: share of the macro that cells fill; ``quarter_cells``: saving if cells shrink to a quarter and
        nothing else; ``free_cells``: if they took no area at all; ``periphery_needed``: share of the other area that
        must go too for the claimed saving, cells at a quarter.
    """
    cells = cell_um2 * macro_mbit_per_mm2  # µm² · 10⁶ / 10⁶ µm²
    quarter = cells * 3 / 4
    return {
        "cells": cells,
        "quarter_cells": quarter,
        "free_cells": cells,
        "periphery_needed": (CLAIM - quarter) / (1 - cells),
    }
