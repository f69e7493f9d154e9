"""Loop orders of LUT-DLA: what each of them must hold on chip, and when a table stays.

The work of a layer is one lookup for every row m of M, subspace k of Nc = ⌈K/v⌉ and tile n of N columns. An order names
the loops from the outside in. If every table entry is to be read from DRAM once, the loops that lie inside decide what
has to wait on chip:

    partial sums     one, times every of M and N whose loop lies inside k
    indices          one, times M and Nc where they are met again for another n: whose loops lie inside n
    tables           c entries for one column and subspace, times Nc and N where they are met again for another row:
                     whose loops lie inside m

Where a loop has one trip nothing is met again in it, and one of its kind is enough.

LUT-stationary tiles of Tn columns: ``ls-n`` is ``nkm`` and ``ls-k`` is ``knm`` with Tn columns at once and two banks,
so that the next table is loaded while this one is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lutscape.hw.errors import UserError, choose
from lutscape.hw.machines.lut_dla import DATAFLOWS, Codebook

Indices = Literal["store", "recompute"]
CANONICAL = {"ls-n": "nkm", "ls-k": "knm"}


@dataclass(frozen=True)
class OnChip:
    """Bytes that have to be held on chip.

    Attributes:
        sums_bytes: partial sums.
        index_bytes: indices.
        table_bytes: table entries.
    """

    sums_bytes: float
    index_bytes: float
    table_bytes: float

    @property
    def total_bytes(self) -> float:
        """All of it."""
        return self.sums_bytes + self.index_bytes + self.table_bytes


def order_of(dataflow: str) -> str:
    """Return the order of the loops, outermost first: three letters.

    Raises:
        UserError: no such dataflow.
    """
    choose(dataflow, DATAFLOWS, "dataflow")
    return CANONICAL.get(dataflow, dataflow)


def subspaces(k: int, v: int) -> int:
    """Return Nc; a K that v does not divide is padded with zeros, activations and weights alike."""
    return -(-k // v)


def minimum_on_chip(
    dataflow: str,
    m: int,
    n: int,
    k: int,
    codebook: Codebook,
    lanes: int = 1,
    sum_bits: int = 32,
    table_bits: int = 8,
    indices: Indices = "store",
) -> OnChip:
    """Return the least on-chip memory with which every table entry is read once.

    Args:
        dataflow: ``ls-n``, ``ls-k`` or one of the six orders.
        m: rows.
        n: columns.
        k: values of a row.
        codebook: v and c.
        lanes: Tn of the LUT-stationary tiles; the six orders take single columns.
        sum_bits: of a partial sum.
        table_bits: of a table entry.
        indices: ``ls-n`` only: keep all indices for the next tile, or compute them again.

    Raises:
        UserError: no such dataflow, or a size below 1.

    Example, one layer of BERT-base (KiB):
        >>> book = Codebook(v=4, c=32, metric="l2")
        >>> round(minimum_on_chip("nmk", 512, 768, 768, book, sum_bits=8).total_bytes / 1024, 1)
        66.0
        >>> round(minimum_on_chip("ls-n", 512, 768, 768, book, 32, 8, indices="recompute").total_bytes / 1024, 1)
        18.3
    """
    for name, value in {"m": m, "n": n, "k": k, "lanes": lanes}.items():
        if value < 1:
            raise UserError(f"{name} = {value}: must be at least 1")
    order = order_of(dataflow)
    tiled = dataflow in CANONICAL
    trips = {"m": m, "k": subspaces(k, codebook.v), "n": n}
    inside = {loop: order[order.index(loop) + 1 :] for loop in order}
    width = min(lanes, n) if tiled else 1  # columns at once

    sums = width
    for loop in "mn" if trips["k"] > 1 else "":
        if loop in inside["k"]:
            sums *= trips[loop] if loop == "m" else -(-n // width)
    kept = 1
    for loop in "mk" if -(-n // width) > 1 else "":
        if loop in inside["n"]:
            kept *= trips[loop]
    if dataflow == "ls-n" and indices == "recompute":
        kept = m
    entries = codebook.c * width * (2 if tiled else 1)
    for loop in "kn" if m > 1 else "":
        if loop in inside["m"]:
            entries *= trips[loop] if loop == "k" else -(-n // width)
    return OnChip(sums * sum_bits / 8, kept * codebook.index_bits / 8, entries * table_bits / 8)


def stays(dataflow: str, trips: dict[str, int]) -> bool:
    """Return whether a table stays while all rows pass: whether the loops inside m are single.

    Args:
        dataflow: ``ls-n``, ``ls-k`` or one of the six orders.
        trips: of the loops ``n`` and ``k``.
    """
    order = order_of(dataflow)
    return all(trips[loop] == 1 for loop in order[order.index("m") + 1 :])
