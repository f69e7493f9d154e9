"""Sequences of passes that repeat, and the time of one behind the other with two table banks.

A pass looks up its rows while the table of the next one is loaded into the other bank and its own finished sums leave:

    period of pass i = max(busy_i, load_(i+1) + store_i)

Layers have millions of passes but few different ones, so a layer is a tree of repetitions and its time a closed form:
a repeated body takes (times - 1) walks that are followed by itself and one that is followed by what comes after.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pass:
    """One table met by the rows of a block; cycles.

    Attributes:
        busy: until its last index is taken.
        load: to bring in what it needs, during the pass before.
        store: for the sums that it finishes, in the memory that loads come from.
    """

    busy: float
    load: float
    store: float = 0.0


@dataclass(frozen=True)
class Repeat:
    """A body walked several times; each walk takes at least ``least`` cycles."""

    body: tuple[Pass | Repeat, ...]
    times: int
    least: float = 0.0


Node = Pass | Repeat


def first_load(node: Node) -> float:
    """Return the load of the first pass of a node."""
    return node.load if isinstance(node, Pass) else first_load(node.body[0])


def walk(node: Node, then: float) -> tuple[float, float]:
    """Return (cycles, those of them that passes wait for the next table) of a node.

    Args:
        node: with at least one pass.
        then: load of the pass that follows, cycles; 0: none.

    >>> walk(Repeat((Pass(10, 4), Pass(10, 12)), 3), 0)
    (66.0, 6.0)
    """
    if isinstance(node, Pass):
        period = max(node.busy, then + node.store)
        return float(period), float(period - node.busy)
    inner, inner_waits = _once(node, first_load(node))
    last, last_waits = _once(node, then)
    return (node.times - 1) * inner + last, (node.times - 1) * inner_waits + last_waits


def _once(node: Repeat, then: float) -> tuple[float, float]:
    cycles = waits = 0.0
    for here, following in zip(node.body, (*node.body[1:], None), strict=True):
        more, waited = walk(here, first_load(following) if following is not None else then)
        cycles, waits = cycles + more, waits + waited
    return max(cycles, node.least), waits


def sequence(*nodes: Node) -> Repeat:
    """Return nodes one after the other; repetitions of nothing are left out."""
    return Repeat(tuple(n for n in nodes if isinstance(n, Pass) or n.times > 0), 1)
