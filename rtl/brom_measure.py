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

from lutscape.rtl import calibrate_operands, gatesim, liberty, measure, power, synth
from lutscape.rtl.cells.rom_cell import rom_cell

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
