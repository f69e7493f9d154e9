"""Density of compiled ROM and SRAM macros by depth, and the published densities beside it, level by level.

A macro is an array and its periphery. Along a column of D words the sense amplifier and its column logic are paid
once, so that the area of a bit is

    1 / ρ(D) = c + p / D          µm² per bit: cell c, periphery p per column

Two points of TSMC's 7 nm compilers (ROMA, arXiv 2503.12988, Fig. 2, 64-bit words: 1K and 8K) give c and p: 0.0132 and
33.9 µm² for ROM, 0.0335 and 43.8 µm² for SRAM. For ROM the two points between are met within 3 %; for SRAM 2K lies
17 % off. Inside 1K to 8K the printed points are interpolated (log-log), outside the formula answers (grade assumed).

Words of 274 bits are less dense than words of 64: the ROM of ROMA's unit, 911,872 bits in 26.75 k µm², has 0.795 of the
density of Fig. 2 at its depth. That one number (:data:`WIDE`) is derived from Fig. 12; the SRAM of the same figure has
0.794 and is the check. It is applied to macros of more than 64 bits a word.

B-ROM takes :data:`B_ROM` of a standard ROM (the paper's claim of 40 % less). Other nodes scale with their SRAM.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lutscape.hw import technology, yaml_file
from lutscape.hw.errors import UserError, choose
from lutscape.hw.memories.asap7 import TSMC_ROM_MBIT_PER_MM2, TSMC_SRAM_MBIT_PER_MM2
from lutscape.hw.ppa import Quantity
from lutscape.hw.provenance import Grade
from lutscape.hw.technology import Technology

LEVELS = ("cell", "macro", "compute", "die")
FIG_2 = "TSMC 7 nm by depth (ROMA, Fig. 2)"
POINTS = {"standard": TSMC_ROM_MBIT_PER_MM2, "sram": TSMC_SRAM_MBIT_PER_MM2}
"""(words, Mbit/mm²) at 7 nm, words of 64 bits."""
WIDE = 0.795
"""Density of words of 274 bits by that of 64 at 3,328 words: 34.09 / 42.87 Mbit/mm² (Fig. 12 by Fig. 2)."""
NARROW_BITS = 64
B_ROM = 0.6
"""Area of B-ROM by that of a standard ROM (ROMA, arXiv 2503.12988: 40 % smaller)."""
FORMS = ("sram", "standard", "b-rom")


class Row(BaseModel):
    """One published density."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str
    node_nm: float = Field(gt=0)
    level: Literal["cell", "macro", "compute", "die"]
    words: int | None = Field(default=None, gt=0)
    word_bits: int | None = Field(default=None, gt=0)
    mbit_per_mm2: float = Field(gt=0)
    grade: Grade
    source: str = Field(min_length=8)


class RomTable(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["rom-table"] = "rom-table"
    schema_version: Literal[1] = 1
    rows: tuple[Row, ...]


@cache
def table(name: str | Path = "rom") -> RomTable:
    """Load the published densities by packaged name or path.

    Raises:
        UserError: missing or invalid file, with file, line and key.
    """
    path = yaml_file.find(name, "memory")
    data, lines = yaml_file.read(path)
    return yaml_file.validate(RomTable, data, path, lines)


def rows(level: str) -> list[Row]:
    """Return the published densities of one level; there is no query across levels.

    Raises:
        UserError: unknown level.
    """
    choose(level, LEVELS, "density level")
    return [row for row in table().rows if row.level == level]


def periphery(form: str) -> tuple[float, float]:
    """Return (c, p) of the formula, µm² per bit and per column at 7 nm."""
    (short, sparse), (long, dense) = POINTS[form][0], POINTS[form][-1]
    p = (1 / sparse - 1 / dense) / (1 / short - 1 / long)
    return 1 / sparse - p / short, p


def macro_density(form: str, words: int, word_bits: int, node: Technology) -> Quantity:
    """Return Mbit/mm² of a macro, periphery included, arithmetic not.

    Args:
        form: ``sram``, ``standard`` or ``b-rom``.
        words: depth.
        word_bits: width; beyond 64 bits the factor :data:`WIDE` applies.
        node: process.

    Raises:
        UserError: unknown form, or a shape of nothing.
    """
    choose(form, FORMS, "ROM form")
    for name, value in (("words", words), ("word_bits", word_bits)):
        if value < 1:
            raise UserError(f"{name} = {value}: must be 1 or more")
    base = "sram" if form == "sram" else "standard"
    points, grade, source = POINTS[base], Grade.DERIVED, FIG_2
    if points[0][0] <= words <= points[-1][0]:
        low, high = next((a, b) for a, b in pairwise(points) if words <= b[0])
        share = math.log(words / low[0]) / math.log(high[0] / low[0])
        density = low[1] * (high[1] / low[1]) ** share
    else:
        c, p = periphery(base)
        density, grade = 1 / (c + p / words), Grade.ASSUMED
        source += f", {words} words extrapolated"
    if word_bits > NARROW_BITS:
        density *= WIDE
        source += f", x {WIDE} wide words"
    if form == "b-rom":
        density /= B_ROM
        source += f", / {B_ROM} B-ROM"
    seven = technology.load("7nm")
    if node.node_nm != seven.node_nm:
        density *= seven.sram_area_um2_per_bit / node.sram_area_um2_per_bit
        source += f", x SRAM of {node.name} / 7nm"
    return Quantity(density, "Mbit/mm2", grade, source)


def macro_area_um2(form: str, words: int, word_bits: int, node: Technology) -> Quantity:
    """Return µm² of a macro; arguments as :func:`macro_density`."""
    density = macro_density(form, words, word_bits, node)
    return Quantity(words * word_bits / density.value, "um2", density.grade, density.source)
