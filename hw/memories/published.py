"""The cited table: published numbers on memories, from ``configs/memory/published.yaml``."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lutscape.hw import yaml_file
from lutscape.hw.memories.grid import bracket
from lutscape.hw.ppa import Quantity
from lutscape.hw.provenance import Grade, worst

UNITS = {
    "bit_cell_um2": "um2",
    "density_mbit_per_mm2": "Mbit/mm2",
    "read_energy_pj": "pJ",
    "power_mw": "mW",
}


class Row(BaseModel):
    """One published number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["sram", "register_file", "rom", "fifo"]
    what: Literal["bit_cell_um2", "density_mbit_per_mm2", "read_energy_pj", "power_mw"]
    node_nm: float = Field(gt=0)
    process: str
    value: float = Field(gt=0)
    capacity_kib: float | None = Field(default=None, gt=0)
    words: int | None = Field(default=None, gt=0)
    word_bits: int | None = Field(default=None, gt=0)
    grade: Grade
    source: str = Field(min_length=8)

    @property
    def size(self) -> str:
        """Size as text, empty where the number has none."""
        if self.words:
            return f"{self.words} x {self.word_bits}"
        return f"{self.capacity_kib:g} KiB" if self.capacity_kib else ""


class Table(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["memory-table"] = "memory-table"
    schema_version: Literal[1] = 1
    rows: tuple[Row, ...]


@cache
def load(name: str | Path = "published") -> Table:
    """Load the table by packaged name or path.

    Raises:
        UserError: missing or invalid file, with file, line and key.
    """
    path = yaml_file.find(name, "memory")
    data, lines = yaml_file.read(path)
    return yaml_file.validate(Table, data, path, lines)


def read_energies(node_nm: float, capacity_kib: float, word_bits: int) -> list[Quantity]:
    """Return published read energies of an SRAM of this capacity at this node.

    Between the capacities of one source log-log, never beyond them; per bit of the word (theirs has 64).
    """
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in load().rows:
        if row.what == "read_energy_pj" and row.node_nm == node_nm and row.capacity_kib:
            groups.setdefault((row.process, row.source), []).append(row)
    found = []
    for (_, source), rows in groups.items():
        points = sorted((row.capacity_kib or 0.0, row.value) for row in rows)
        if len(points) < 2 or not points[0][0] <= capacity_kib <= points[-1][0]:
            continue
        i, t = bracket([math.log(c) for c, _ in points], math.log(capacity_kib))
        value = math.exp((1 - t) * math.log(points[i][1]) + t * math.log(points[i + 1][1]))
        grade = worst(*(row.grade for row in rows))
        exact = next((row for row in rows if row.capacity_kib == capacity_kib and word_bits == 64), None)
        if exact is not None:
            value, grade = exact.value, exact.grade
        found.append(Quantity(value * word_bits / 64, "pJ", grade, source))
    return found
