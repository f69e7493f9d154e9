"""Cycles of one array, and of one array with its table builder: the formulas that its Verilog is held to.

An array works in beats. A tile of m x n outputs over S steps of k takes B = S P beats, P passes of its weight
digits each; beats follow each other without gaps as long as operands arrive and sums are taken.

    edge 0     the first beat is accepted: operand registers hold tables (or activations) and weights
    edge b     beat b is accepted
    edge B     the last beat is added to the accumulators (lookup, sign, shift and addition are one stage)
    edge B+1   all m n sums of the tile leave in one beat

so that an output moves 2 edges after its last beat was accepted, and tiles follow each other every B edges.
Counted in cycles, first and last included, a tile takes B + STAGES with STAGES = 2.

With a builder of t tables per beat in front (``unit``), the m tables of a step take ⌈m/t⌉ beats of activations,
each one edge after it was accepted; a step then takes max(P, ⌈m/t⌉) edges, and the first one ⌈m/t⌉ more:

    unit: ⌈m/t⌉ + (S - 1) max(P, ⌈m/t⌉) + P + STAGES cycles for a tile of S steps
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lutscape.hw.machines.lut_tensor_core import Array

STAGES = 2
"""Operand registers to accumulators, accumulators to the consumer."""


def passes(array: Array, weight_bits: int) -> int:
    """Return P, the beats of one step for weights of some bits."""
    return -(-weight_bits // array.digit_bits)


def step_edges(passes_of_steps: npt.NDArray[np.int64], build: int = 0) -> npt.NDArray[np.int64]:
    """Return the edge on which the first weight beat of each step is accepted; tiles of any width follow each other.

    Args:
        passes_of_steps: P of every step.
        build: ⌈m/t⌉ of a unit; 0: an array alone.
    """
    taken = np.maximum(passes_of_steps, build)
    return build + np.cumsum(taken) - taken


def tile_cycles(array: Array, steps: int, weight_bits: int) -> int:
    """Return cycles from the first accepted beat of a tile to its sums leaving, both counted."""
    return steps * passes(array, weight_bits) + STAGES


def unit_cycles(array: Array, steps: int, weight_bits: int, tables_per_cycle: int) -> int:
    """Return cycles from the first accepted activations of a tile to its sums leaving, both counted.

    Args:
        array: the design.
        steps: S = ⌈K/k⌉ of the tile.
        weight_bits: W.
        tables_per_cycle: t, tables that the unit's builder finishes per cycle.
    """
    build = -(-array.m // tables_per_cycle)
    beats = passes(array, weight_bits)
    return build + (steps - 1) * max(beats, build) + beats + STAGES
