"""The ladder of LUT Tensor Core's Table 2, built and synthesised: from UNPU's unit to the lookup array.

Every step is an M2N64K4 unit that takes one 2-bit weight plane per cycle beside INT8 activations, with tables of
8 bits, 16-bit sums (they hold groups of 344 weights without overflow) and as many table builders as keep up with two
planes per step: one.
"""

from __future__ import annotations

from typing import Any

from lutscape.explore.rtl_compare import Library
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl import measure, streams, synth
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.array import array_cell
from lutscape.rtl.cells.online_negation import online_negation_unit, remapped
from lutscape.rtl.cells.unit import unit

M, N, K, WEIGHT_BITS = 2, 64, 4, 2
ACCUMULATOR_BITS = 16
EXACT_BITS = 11
TIMEOUT_S = 3600.0

STEPS = {
    "unpu": "UNPU: tables of 2^4 entries, builder inside",
    "reinterpretation": "+ weights ±1: tables of 2^3 entries, index inverted online",
    "negation": "+ weights remapped offline",
    "fusion": "+ tables built by the producing operator: no builder",
    "unpu-exact": "UNPU with exact tables (11 bits)",
    "unpu-array": "UNPU's array without its builder",
}
"""Step: what it is. The first four are those of Table 2."""


def design(step: str) -> Array:
    """Return the array of a step."""
    unpu = step.startswith("unpu")
    return Array(
        datapath="unpu" if unpu else "lut", m=M, n=N, k=K, count=1, accumulator_bits=ACCUMULATOR_BITS,
        serial_weight_bits=WEIGHT_BITS, table_bits=EXACT_BITS if step == "unpu-exact" else 8,
    )  # fmt: skip


def cell(step: str) -> Cell:
    """Return the generated unit of a step.

    Raises:
        UserError: unknown step.
    """
    if step not in STEPS:
        raise UserError(f"ladder step {step!r}; allowed: {', '.join(STEPS)}")
    array = design(step)
    if step in ("fusion", "unpu-array"):
        return array_cell(array)
    return online_negation_unit(array, 1) if step == "reinterpretation" else unit(array, 1)


def measured(step: str, library: Library) -> dict[str, Any]:
    """Synthesise a step and run its gates on captured operands; W2A8, 64 tiles side by side.

    Raises:
        UserError: as the synthesis; gates that differ from the golden model.
    """
    array, top = design(step), cell(step)
    synth.synthesise(
        top.verilog(), top.name, library.files, period_ps=library.period_ps, driving_cell=library.driving_cell,
        load_ff=library.load_ff, timeout_s=TIMEOUT_S,
    )  # fmt: skip
    operands = streams.captured(WEIGHT_BITS)
    beats = measure.unit_beats(array, top, operands)
    if step == "reinterpretation":
        beats = [remapped(array, b) for b in beats]
    done = measure.measure(
        top, beats, float(M * N * measure.DEPTH), operands.source, library=library.files,
        period_ps=library.period_ps, driving_cell=library.driving_cell, load_ff=library.load_ff,
    )  # fmt: skip
    if done.wrong:
        raise UserError(f"{top.name}: {done.wrong} of {done.values} values of the mapped netlist are wrong")
    return {"step": step, "library_name": library.name, "node": library.node, **done.as_dict()}
