"""Cycles of an L-Unit: the formulas that its Verilog is held to.

A row is one output and one group of weights: ``planes`` words of ROM, each worked off in ``cycles_per_word`` steps of
``group / cycles_per_word`` weights. S = planes · cycles_per_word; an edge is a rising clock edge.

    edge 0        the address of row 0 is accepted; that of row i on edge S i
    edge 1        the word of plane 0 is read into the word register; that of plane p on edge 1 + p cycles_per_word
    edge 2        the first weights of the row are added up; the last ones on edge S + 1
    edge S + 2    the zero point is subtracted, the sum multiplied by the scale
    edge S + 3    the result leaves

so that n rows take n S + STAGES cycles, first and last edge counted, when addresses and activations never wait. The
activations of a slice are held at the input until the last row that needs them has taken them; the next slice follows
without a gap.
"""

from __future__ import annotations

from lutscape.hw.machines.roma import LUnit

STAGES = 4
"""Address, word, sum, product: cycles of one row beyond its S steps."""


def row_steps(unit: LUnit, planes: int) -> int:
    """Return S, the edges between rows.

    >>> row_steps(LUnit(cycles_per_word=4), planes=2)
    8
    """
    return planes * unit.cycles_per_word


def rows_cycles(unit: LUnit, rows: int, planes: int) -> int:
    """Return cycles from the first accepted address to the last of ``rows`` results leaving, both counted."""
    return rows * row_steps(unit, planes) + STAGES if rows else 0


def result_edge(unit: LUnit, row: int, planes: int) -> int:
    """Return the edge on which the result of a row (from 0) leaves; the first accepted address is edge 0."""
    return rows_cycles(unit, row + 1, planes) - 1
