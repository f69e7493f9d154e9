"""Lookup against multipliers at equal throughput: synthesised units on real operands, on one page.

Every design of a row does the same multiply-accumulates per clock cycle on W-bit weights and INT8 activations, with the
same accumulators and the same interface. Table registers and table builders are charged to the lookup units.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutscape.explore import store
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import measure, streams
from lutscape.rtl.cells.unit import unit

Say = Callable[[str], None]
WEIGHT_BITS = (1, 2, 3, 4)
ROWS, COLUMNS, K = 2, 24, 4
"""Tables, columns of the bit-serial unit (divided by W elsewhere), activations per table."""
ACCUMULATOR_BITS = 24
EXACT = 11
"""Bits of exact tables of four INT8 activations."""

DESIGNS = {
    "lut-serial": "lookup, bit-serial, INT8 tables",
    "lut-parallel": "lookup, all bit planes at once, INT8 tables",
    "lut-exact": "lookup, all bit planes at once, exact 11-bit tables",
    "lut-full": "conventional lookup (2^K entries), all bit planes at once, exact tables",
    "add": "additions, all bit planes at once",
    "mac": "multipliers INT8 x W bits",
    "mac8": "multipliers INT8 x INT8, weights widened",
}
"""Design: what it is."""
REFERENCE = "mac"
BY_BLOCK = ("lut-parallel", REFERENCE)
"""Designs that are synthesised a second time block by block, to tell where their area goes."""


@dataclass(frozen=True)
class Library:
    """A node to compare at.

    Attributes:
        name: for tables.
        node: process.
        files: name or Liberty files.
        period_ps: clock of synthesis and power.
        driving_cell: of an unnamed library.
        load_ff: likewise.
    """

    name: str
    node: str
    files: tuple[str, ...]
    period_ps: float
    driving_cell: str | None = None
    load_ff: float | None = None


def design(name: str, weight_bits: int) -> Array:
    """Return the array of a design for W-bit weights: ROWS x COLUMNS x K / W multiply-accumulates per cycle.

    INT8 x INT8 multipliers do not depend on W: the array of the widest weights stands for all.
    """
    common: dict[str, Any] = {
        "m": ROWS, "k": K, "count": 1, "accumulator_bits": ACCUMULATOR_BITS, "serial_weight_bits": weight_bits,
    }  # fmt: skip
    narrow = COLUMNS // weight_bits
    kinds: dict[str, dict[str, Any]] = {
        "lut-serial": {"datapath": "lut", "n": COLUMNS},
        "lut-parallel": {"datapath": "lut", "n": narrow, "planes_per_cycle": weight_bits},
        "lut-exact": {"datapath": "lut", "n": narrow, "planes_per_cycle": weight_bits, "table_bits": EXACT},
        "lut-full": {"datapath": "lut-full", "n": narrow, "planes_per_cycle": weight_bits, "table_bits": EXACT},
        "add": {"datapath": "add", "n": narrow, "planes_per_cycle": weight_bits},
        "mac": {"datapath": "mac", "n": narrow, "multiplier_weight_bits": weight_bits},
        "mac8": {"datapath": "mac", "n": COLUMNS // max(WEIGHT_BITS), "multiplier_weight_bits": 8},
    }
    return Array.model_validate({**common, **kinds[name]})


def builders(array: Array) -> int:
    """Return the table builders of a lookup unit: enough to finish its tables while one step is looked up."""
    return -(-array.m // array.most_passes)


def compare(libraries: Sequence[Library], operands: str, say: Say) -> dict[str, Any]:
    """Synthesise and measure every design; syntheses come from the cache where they were done before.

    Raises:
        UserError: as :func:`lutscape.rtl.measure.measure`.
    """
    rows = []
    for library in libraries:
        for bits in WEIGHT_BITS:
            stream = streams.gaussian(bits) if operands == "gaussian" else streams.captured(bits)
            for name in DESIGNS:
                if bits == 1 and name == "lut-serial":
                    continue  # the parallel one with one plane
                row = _measured(name, bits, library, stream, say)
                rows.append({**row, "library": library.name, "weight_bits": bits})
    found = store.versions()
    return {
        "schema_version": 1,
        "versions": {k: found[k] for k in ("lutscape", "python", "numpy", "numba") if k in found},
        "libraries": [{"name": x.name, "node": x.node, "period_ps": x.period_ps} for x in libraries],
        "shape": {"rows": ROWS, "columns": COLUMNS, "k": K, "accumulator_bits": ACCUMULATOR_BITS},
        "rows": rows,
    }


def _measured(name: str, bits: int, library: Library, operands: streams.Operands, say: Say) -> dict[str, Any]:
    array = design(name, bits)
    cell = unit(array, builders(array))
    say(f"{library.name}, W{bits}, {name}")
    done = measure.measure(
        cell, measure.unit_beats(array, cell, operands), float(array.m * array.n * measure.DEPTH), operands.source,
        library=library.files, period_ps=library.period_ps, driving_cell=library.driving_cell,
        load_ff=library.load_ff, blocks=name in BY_BLOCK,
    )  # fmt: skip
    if done.wrong:
        raise UserError(f"{cell.name}: {done.wrong} of {done.values} values of the mapped netlist are wrong")
    blocks = {n: b.area_um2 * b.instances for n, b in done.synthesis.blocks.items()}
    parts = {c.kind: blocks.get(c.name, 0.0) for c in cell.all_parts}
    return {"design": name, **done.as_dict(), "parts": parts, "driving_cell": done.synthesis.driving_cell}


def write(path: Path, libraries: Sequence[Library], operands: str, say: Say) -> Path:
    """Compare and write the page, with its numbers beside it as JSON.

    Raises:
        UserError: as :func:`compare`, or a file that cannot be written.
    """
    from lutscape.explore.papers.frame import render
    from lutscape.explore.rtl_compare_page import page

    data = compare(libraries, operands, say)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, text in (
            (path.with_suffix(".json"), json.dumps(data, indent=1) + "\n"),
            (path, render(page(data))),
        ):
            temporary = target.with_name(f".{target.name}.tmp")
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, target)
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror}") from None
    return path
