"""Gate counts of array units, and the two published points they are anchored to.

Areas are counted in gate equivalents (GE, one NAND2). Cell sizes are those of the open Nangate 45 nm
library divided by its NAND2_X1 (0.798 µm²): full adder 4.256, D flip-flop 4.522, two-input
multiplexer 1.862, XOR 1.596, AND 1.064 µm². A count times the node's gate area is then multiplied by
one factor per datapath, the ratio of a published synthesis result to the count:

    lookup  LUT Tensor Core, arXiv 2408.06003, Table 2: M2N64K4, W2A8, INT8 tables, 28 nm, 1 GHz:
            11,991.29 µm² and 16.22 mW (the paper prints mm²; accumulators of 16 bits assumed)
    mac     same paper, Table 1: A100 INT8 tensor core, 2048 MACs per cycle, 28 nm: 0.312 mm²,
            19.94 TOPS/W

Energy is anchored the same way: pJ per GE and active cycle of those two units (all of the published
power, leakage included). Grade: derived. Synthesis of generated RTL replaces this module's numbers.

How far the anchors carry. The published units themselves say that lookup costs 2 / 33.32 = 0.060 pJ per MAC
at 2-bit weights, doubling at 4 bits, and the INT8 multiplier 2 / 19.94 = 0.100 pJ: with INT8 activations
lookup saves energy up to 3 bits and loses at 4. Per gate the two anchors differ by a factor of 2.1 (3.7e-4
against 1.8e-4 pJ). Multipliers narrower than 8 x 8 follow from gate counts alone; no published point
supports them, and the paper's figure 14 (lookup best in area *and* power for every format pair) is
reproduced in area only.
"""

from __future__ import annotations

from functools import cache
from math import ceil, log2
from typing import NamedTuple

NAND2_UM2 = 0.798
FULL_ADDER = 4.256 / NAND2_UM2
FLIP_FLOP = 4.522 / NAND2_UM2
MUX2 = 1.862 / NAND2_UM2
XOR2 = 1.596 / NAND2_UM2
AND2 = 1.064 / NAND2_UM2

LUT_ANCHOR_UM2, LUT_ANCHOR_PJ_PER_CYCLE = 11_991.29, 16.22
MAC_ANCHOR_UM2, MAC_ANCHOR_PJ = 0.312e6 / 2048, 2 / 19.94


class Anchor(NamedTuple):
    """Calibration of a datapath at 28 nm."""

    area_factor: float
    """Published area / (gate count x gate area)."""
    pj_per_gate: float
    """pJ per gate equivalent and active cycle."""


def multiplier(a_bits: int, b_bits: int) -> float:
    """GE of an a x b array multiplier: AND partial products and a·(b-1) full adders."""
    return a_bits * b_bits * AND2 + a_bits * max(b_bits - 1, 0) * FULL_ADDER


def accumulator(bits: int) -> float:
    """GE of an adder with its register."""
    return bits * (FULL_ADDER + FLIP_FLOP)


def lookup_unit(k: int, table_bits: int, accumulator_bits: int, planes: int) -> float:
    """GE of one lookup unit: per plane a 2^(k-1):1 multiplexer and a sign flip, plane adders, accumulator."""
    select = planes * table_bits * ((2 ** (k - 1) - 1) * MUX2 + XOR2)
    return select + (planes - 1) * (table_bits + planes) * FULL_ADDER + accumulator(accumulator_bits)


def lookup_array(m: int, n: int, k: int, table_bits: int, accumulator_bits: int, planes: int) -> float:
    """GE of an m x n x k lookup array with its table and weight registers."""
    registers = (m * 2 ** (k - 1) * table_bits + n * k * planes) * FLIP_FLOP
    return m * n * lookup_unit(k, table_bits, accumulator_bits, planes) + registers


def tree_levels(inputs: int) -> list[int]:
    """Return the adders of each level of a binary tree; an odd input passes to the next level.

    >>> tree_levels(5)
    [2, 1, 1]
    """
    levels = []
    while inputs > 1:
        levels.append(inputs // 2)
        inputs -= inputs // 2
    return levels


def adder_tree(inputs: int, bits: int) -> float:
    """GE of a tree of ``inputs`` - 1 adders; operands of ``bits`` grow by one bit per level."""
    return sum(count * (bits + level) for level, count in enumerate(tree_levels(inputs), 1)) * FULL_ADDER


def mac_array(m: int, n: int, k: int, weight_bits: int, accumulator_bits: int) -> float:
    """GE of an m x n array of k-term INT8 x INTw dot products with operand registers."""
    dot = k * multiplier(8, weight_bits) + adder_tree(k, 8 + weight_bits) + accumulator(accumulator_bits)
    registers = (m * k * 8 + n * k * weight_bits) * FLIP_FLOP
    return m * n * dot + registers


def table_additions(k: int) -> int:
    """Additions that build the 2^(k-1) entries of a table of k activations by sharing half sums.

    Each half of p activations has 2^(p-1) sums up to sign; every pair of half sums gives two entries.
    k = 4: 2 + 2 half sums and 8 entries, 12 additions.
    """
    if k == 1:
        return 0
    left, right = (k + 1) // 2, k // 2
    return table_additions(left) + table_additions(right) + 2 ** (k - 1)


def table_builder(k: int, table_bits: int, activation_bits: int = 8) -> float:
    """GE of a unit that finishes one table per cycle: additions, rescaling multipliers, output registers."""
    width = activation_bits + ceil(log2(k))
    rescale = 2 ** (k - 1) * multiplier(width, table_bits) if width > table_bits else 0.0
    return table_additions(k) * width * FULL_ADDER + rescale + 2 ** (k - 1) * table_bits * FLIP_FLOP


@cache
def anchor(datapath: str, gate_area_um2: float) -> Anchor:
    """Return the calibration of ``lut`` or ``mac`` at 28 nm, given that node's gate area (µm²)."""
    if datapath == "lut":
        gates = lookup_array(2, 64, 4, 8, 16, 1)
        return Anchor(LUT_ANCHOR_UM2 / (gates * gate_area_um2), LUT_ANCHOR_PJ_PER_CYCLE / gates)
    gates = mac_array(2, 64, 4, 8, 32) / (2 * 64 * 4)
    return Anchor(MAC_ANCHOR_UM2 / (gates * gate_area_um2), MAC_ANCHOR_PJ / gates)
