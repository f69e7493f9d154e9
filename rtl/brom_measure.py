"""Synthesised ROMs: area and read energy of each written form, with the words of real weights, as standard cells.

A ROM of logic has no bit cells: what is measured is how many gates the function of these words takes. Energy is of one
read of consecutive addresses, as an L-Unit reads, without glitches (zero-delay simulation) and without wires.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.machines.roma import LUnit
from lutscape.rtl import calibrate_operands, gatesim, liberty, measure, power, synth
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells.l_unit import l_unit, slice_beats
from lutscape.rtl.cells.rom_cell import rom_cell
from lutscape.sim.roma import golden

STREAMS = 64


@dataclass(frozen=True)
class Library:
    """A cell library and its constraints.

    Attributes:
        name: to print.
        node_nm: feature size.
        files: Liberty.
        period_ps: long, so that netlists are the smallest ones.
    """

    name: str
    node_nm: int
    files: tuple[str, ...]
    period_ps: float = 4000.0


def rom_row(words: npt.NDArray[np.uint8], word_bits: int, form: str, library: Library) -> dict[str, Any]:
    """Return area and read energy of one ROM as logic.

    Raises:
        UserError: as synthesis and power.
    """
    cell = rom_cell(words, word_bits, form)
    built = synth.synthesise(cell.verilog(), cell.name, list(library.files), period_ps=library.period_ps)
    depth = len(words)
    rng = np.random.default_rng(1)
    start = rng.integers(0, depth, STREAMS)
    addresses = (np.arange(min(depth, 256))[:, None] + start) % depth  # (cycles, streams), consecutive
    width = cell.channel("a").fields[0].width
    ports = {"a_address": calibrate_operands.as_bits(addresses[..., None], width)}
    simulated = gatesim.simulate(built.parsed, liberty.load(built.libraries), ports, count_from=2)
    read = simulated.bits("q_word")  # (cycles, streams, word_bits)
    expected = cell.golden({"a": {"address": addresses.reshape(-1, 1)}})["q"]["word"].reshape(read.shape)
    if (read != expected).any():
        raise AssertionError(f"{cell.name}: the mapped gates read other words")
    report = built.timing()
    found = power.power(
        report.linked.netlist, report.linked.library, simulated.activity(), library.period_ps, report,
        states=measure.STATES, clock=None,
    )  # fmt: skip
    bits = depth * word_bits
    return {
        "form": form,
        "depth": depth,
        "width": word_bits,
        "ones": round(float(np.unpackbits(words, axis=1, bitorder="little").sum()) / bits, 4),
        "library": library.name,
        "node_nm": library.node_nm,
        "area_um2": round(built.area_um2, 3),
        "area_um2_per_bit": round(built.area_um2 / bits, 6),
        "gates": built.gates,
        "min_period_ps": round(built.min_period_ps, 1),
        "energy_pj_per_read": round((found.internal_w + found.switching_w) * library.period_ps, 6),
        "energy_fj_per_bit": round((found.internal_w + found.switching_w) * library.period_ps * 1e3 / word_bits, 5),
        "leakage_uw": round(found.leakage_w * 1e6, 5),
        "recipe": built.recipe,
        "key": built.key,
        "seconds": round(built.seconds, 1),
    }


def tile(words: npt.NDArray[np.uint8], word_bits: int, depth: int, columns: Sequence[int]) -> npt.NDArray[np.uint8]:
    """Return the first ``depth`` words with some of their bits, packed."""
    bits = np.unpackbits(words[:depth], axis=1, count=word_bits, bitorder="little")
    return np.packbits(bits[:, list(columns)], axis=1, bitorder="little")


def unit_row(
    unit: LUnit, words: npt.NDArray[np.uint8], weight_bits: int, form: str, library: Library, streams: int = 16
) -> dict[str, Any]:
    """Return area and energy of an L-Unit with its ROM, flat and module by module.

    Flat, synthesis merges ROM and arithmetic: the nearest that standard cells come to a cell fused with compute, whose
    layout puts one over the other. Every stream is one slice of Gaussian activations, aligned, that meets all rows.

    Raises:
        UserError: as synthesis and power.
    """
    cell = l_unit(unit, words, weight_bits, form)
    rows = int(cell.parameters["rows"])
    x = np.random.default_rng(1).standard_normal((streams, unit.group)).astype(np.float32)
    aligned = golden.align(unit, x).mantissas[0].astype(np.int64)
    beats = [slice_beats(unit, [one], [np.arange(rows)]) for one in aligned]
    found = measure.measure(
        cell, beats, rows * unit.group, "Gaussian activations, stored weights", library=list(library.files),
        period_ps=library.period_ps, blocks=True,
    )  # fmt: skip
    if found.wrong:
        raise AssertionError(f"{cell.name}: {found.wrong} values of the mapped gates differ")
    built, power_w = found.synthesis, found.report
    blocks = built.blocks or {}
    by_kind: dict[str, float] = {}
    kinds = {part.name: part.kind for part in cell.all_parts}
    for name, block in blocks.items():
        kind = "rom" if kinds.get(name, "").startswith("rom") else "compute"
        by_kind[kind] = by_kind.get(kind, 0.0) + block.instances * block.area_um2
    row_s = int(cell.interval) * found.period_ps * 1e-12
    return {
        "form": form,
        "rows": rows,
        "words": len(words),
        "group": unit.group,
        "weight_bits": weight_bits,
        "activation_bits": unit.activation_bits,
        "library": library.name,
        "node_nm": library.node_nm,
        "area_um2": round(built.area_um2, 3),
        "rom_area_um2": round(by_kind.get("rom", 0.0), 3),
        "compute_area_um2": round(by_kind.get("compute", 0.0), 3),
        "registers": built.registers,
        "min_period_ps": round(built.min_period_ps, 1),
        "energy_pj_per_row": round((power_w.internal_w + power_w.switching_w) * row_s * 1e12, 5),
        "leakage_uw": round(power_w.leakage_w * 1e6, 5),
        "values_checked": found.values,
        "recipe": built.recipe,
        "key": built.key,
        "seconds": round(built.seconds, 1),
    }


def cell_row(cell: Cell, library: Library) -> dict[str, Any]:
    """Return area and delay of a cell.

    Raises:
        UserError: as synthesis.
    """
    built = synth.synthesise(cell.verilog(), cell.name, list(library.files), period_ps=library.period_ps)
    return {
        "cell": cell.name,
        "kind": cell.kind,
        "parameters": dict(cell.parameters),
        "library": library.name,
        "node_nm": library.node_nm,
        "area_um2": round(built.area_um2, 3),
        "gates": built.gates,
        "min_period_ps": round(built.min_period_ps, 1),
        "recipe": built.recipe,
        "key": built.key,
        "seconds": round(built.seconds, 1),
    }
