"""Which cells build a LUT-DLA spec: one chain, its index FIFO, one matching module.

A design has ``ccm.count`` x ``ccm.ccus`` such chains and ``imm.count`` such modules; the others are equal units beside
it. Chains that share a centroid buffer are not built sharing it, and indices are not kept for a second tile of columns:
the tiles of ``ls-n`` are fed one after the other.
"""

from __future__ import annotations

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook, LutDlaSpec
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import dla_ccm, dla_dpe, dla_imm, dla_unit
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_imm import SUBSPACE_BITS, Module
from lutscape.rtl.cells.dla_unit import Unit

WIDEST_PORT = 1 << 16
"""Bits of one bus: Verilog-2005 promises no wider vectors (IEEE 1364-2005, sec. 4.3.1)."""
LONGEST_BUFFER = 4096
"""Rows of an input buffer that is built."""


def cells(spec: LutDlaSpec, values: int | None = None) -> list[Cell]:
    """Return the cells of one unit, the unit last.

    Args:
        spec: the design.
        values: K, activations of one row; checked against accumulators and counters if given.

    Raises:
        UserError: a dataflow without Verilog, buses too wide to build, sums that can overflow.
    """
    return list(dla_unit.unit(design(spec, values)).all_parts)


def synthesised(spec: LutDlaSpec) -> list[Cell]:
    """Return the cells that are mapped to gates: all but the memories.

    dPE, chain with its centroid buffer, index FIFO, and one lane of the matching module with its two table columns
    and a single sum: the scratchpad and the input buffer are memories, and the lanes are equal.
    """
    made = design(spec)
    return [
        dla_dpe.dpe(made.book, made.stages),
        dla_ccm.ccm(made.book, made.stages),
        async_fifo(made.book.index_bits, made.depth, made.synchroniser),
        dla_imm.imm(
            Module(made.book.c, 1, spec.imm.table_bits, spec.imm.accumulator_bits, 1, 1, made.module.subspace_bits)
        ),
    ]


def design(spec: LutDlaSpec, values: int | None = None) -> Unit:
    """Return the unit of a spec."""
    name, book, imm = spec.name, spec.codebook, spec.imm
    if spec.dataflow != "ls-n":
        raise UserError(f"{name}: dataflow = {spec.dataflow!r} has no Verilog; allowed: ls-n")
    vector = book.v * book.input_bits
    for what, key, size, each in (
        ("centroids", "codebook.c", book.c, vector),
        ("sums", "imm.lanes", imm.lanes, imm.accumulator_bits),
    ):
        if size * each > WIDEST_PORT:
            raise UserError(
                f"{name}: {key} = {size} makes a bus of {size * each} bits of {what}; allowed: at most {WIDEST_PORT}, "
                f"so {key.split('.')[1]} <= {WIDEST_PORT // each}"
            )
    if spec.ccm.input_rows > LONGEST_BUFFER:
        raise UserError(
            f"{name}: ccm.input_rows = {spec.ccm.input_rows} has no Verilog; allowed: at most {LONGEST_BUFFER}"
        )
    if imm.table_bits > imm.accumulator_bits:
        raise UserError(
            f"{name}: imm.table_bits = {imm.table_bits}; allowed: at most imm.accumulator_bits = {imm.accumulator_bits}"
        )
    if values is not None:
        check_values(spec, values)
    module = Module(book.c, imm.lanes, imm.table_bits, imm.accumulator_bits, imm.rows, imm.fill_entries)
    return Unit(
        Codebook.model_validate(book.model_dump()), module, spec.ccm.dpe_stages, spec.ccm.input_rows, spec.fifo_depth,
        spec.synchroniser_stages,
    )  # fmt: skip


def check_values(spec: LutDlaSpec, values: int) -> None:
    """Refuse a K whose sums can overflow or whose subspaces cannot be counted."""
    if values < 1:
        raise UserError(f"K = {values}; at least 1")
    subspaces = -(-values // spec.codebook.v)
    bits, entry = spec.imm.accumulator_bits, spec.imm.table_bits
    counted, safe = 1 << SUBSPACE_BITS, 1 << (bits - entry)  # sums of that many least entries still fit
    for most, what in ((safe, f"imm.accumulator_bits = {bits} can overflow"), (counted, "too many subspaces")):
        if subspaces > most:
            raise UserError(
                f"{spec.name}: {what} on K = {values}: {subspaces} entries of {entry} bits; "
                f"allowed: K of at most {most * spec.codebook.v}"
            )
