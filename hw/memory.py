"""On-chip SRAM: area and access energy by capacity and node.

Access energy at 45 nm is interpolated (log-log) between runs of CACTI 7 (itrs-lop, 64-bit port,
300 K): 1, 8 and 64 KiB take 0.79, 3.16 and 13.1 pJ per 64-bit read. Above 64 KiB it grows with the
square root of the capacity (wire length); a buffer of 1 MiB then takes 52 pJ, below the 100 pJ that
Horowitz (ISSCC 2014, Fig. 1.1.9) gives for a 1 MB *cache*, tags included. A write costs a read.
Other nodes scale by the energy factors of :mod:`lutscape.hw.technology`. Grade: derived.
"""

from __future__ import annotations

import math
from itertools import pairwise

from lutscape.hw.provenance import Grade, Source
from lutscape.hw.technology import Technology

CACTI_45NM = ((1.0, 0.79), (8.0, 3.16), (64.0, 13.1))
"""(KiB, pJ per 64-bit read) at 45 nm."""

ENERGY_SOURCE = Source(
    grade=Grade.DERIVED,
    source="CACTI 7 at 45 nm (itrs-lop, 64-bit port), log-log in capacity, scaled by Stillmaker and Baas 2017",
)


def sram_energy_pj_per_byte(capacity_kib: float, node: Technology) -> float:
    """Return pJ per byte read or written of an SRAM of some capacity (KiB) at a node."""
    points = CACTI_45NM
    if capacity_kib <= points[0][0]:
        energy = points[0][1]
    elif capacity_kib >= points[-1][0]:
        energy = points[-1][1] * math.sqrt(capacity_kib / points[-1][0])
    else:
        low, high = next((a, b) for a, b in pairwise(points) if capacity_kib <= b[0])
        share = math.log(capacity_kib / low[0]) / math.log(high[0] / low[0])
        energy = low[1] * (high[1] / low[1]) ** share
    return energy / 8 * node.energy_scale


def sram_area_mm2(capacity_kib: float, node: Technology) -> float:
    """Return mm² of an SRAM macro, periphery included."""
    return capacity_kib * 1024 * 8 * node.sram_area_um2_per_bit * 1e-6
