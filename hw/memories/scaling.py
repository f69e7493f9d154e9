"""From a node that CACTI models to one that it does not: the factors, each with its source.

Energy and area scale as :mod:`lutscape.hw.technology` says: energies by switched capacitance and supply, areas by the
nodes' SRAM densities. Access time scales as the delay of a gate,

    d_Y / d_X = g_Y(V_Y) / g_X(V_X),    g(V) = a3 V³ + a2 V² + a1 V + a0

with the coefficients of Stillmaker and Baas 2017 for their high-performance devices (as transcribed in UCLA NanoCAD's
open script nodeScale), V at most 0.95 (above, the polynomials of 45 nm and below turn upward); wires scale worse, so
times below 22 nm are hopeful. Leakage has no published factor:
the current of a cell is taken as the same at every node below 28 nm, so power falls with the supply.

Energies follow logic. From 45 nm, 0.9 V to 7 nm, 0.75 V the factor is 0.21; the register files and ROMs that were
synthesised with both libraries agree with it (``energy_45_to_7nm`` in ``reports/memory/memory.json``). SRAM macros need
not: a vendor's table (Jouppi et al., ISCA 2021, Table 2) gives 8, 32 and 1,024 KB at 7 nm 0.75, 0.43 and 0.14 of their
energy at 45 nm. Estimates of SRAM below 22 nm carry :data:`WARNING`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lutscape.hw import technology
from lutscape.hw.memories import cacti
from lutscape.hw.memories.grid import bracket
from lutscape.hw.technology import Technology

DELAY_COEFFICIENTS = {
    # nm: (a3, a2, a1, a0), high-performance devices; the paper has one flavour at 65 nm and above.
    180.0: (0.0, 97.09, -356.7, 406.5),
    130.0: (-76.65, 334.9, -493.4, 275.8),
    90.0: (-60.34, 262.5, -384.2, 210.9),
    65.0: (-53.3, 230.4, -333.9, 178.6),
    45.0: (-501.6, 1567.0, -1619.0, 566.1),
    32.0: (-1047.0, 2982.0, -2797.0, 873.5),
    20.0: (0.0, 34.63, -66.37, 41.15),
    16.0: (0.0, 24.8, -47.52, 28.87),
    14.0: (-40.66, 109.2, -100.6, 35.92),
    10.0: (-34.95, 93.65, -85.99, 30.4),
    7.0: (-28.58, 76.6, -70.26, 24.69),
}
DELAY_VOLTS = 0.95
SMALL_BASE, LARGE_BASE = "28nm", "45nm"
"""Nodes from which smaller and larger ones are scaled: the packaged ones nearest to CACTI's ends."""
WARNING = "energy below 22 nm scaled like logic; a vendor prints 3.5x for 8 KB, 0.7x for 1 MB (hw.memories.scaling)"


@dataclass(frozen=True)
class Factors:
    """Multipliers of a quantity at the base node.

    Attributes:
        base: node whose numbers are scaled.
        area, energy, leakage, delay: multipliers.
        source: one sentence each, by quantity.
    """

    base: Technology
    area: float
    energy: float
    leakage: float
    delay: float
    source: dict[str, str]


def delay_scale(node: Technology) -> float:
    """Return g(V) of a node, picoseconds; nodes between two of the table's interpolate in feature size."""
    axis = sorted(DELAY_COEFFICIENTS)
    i, t = bracket(axis, min(max(node.node_nm, axis[0]), axis[-1]))
    low, high = (_delay(n, node.supply_v) for n in (axis[i], axis[i + 1]))
    return (1 - t) * low + t * high


def _delay(node_nm: float, volts: float) -> float:
    limit = DELAY_VOLTS if node_nm <= 45 else volts
    return float(np.polyval(DELAY_COEFFICIENTS[node_nm], min(volts, limit)))


def to(node: Technology) -> Factors | None:
    """Return the factors from the nearest node that CACTI models, or None where it models the node itself."""
    low, high = cacti.NODE_NM
    if low <= node.node_nm <= high:
        return None
    base = technology.load(SMALL_BASE if node.node_nm < low else LARGE_BASE)
    return Factors(
        base=base,
        area=node.sram_area_um2_per_bit / base.sram_area_um2_per_bit,
        energy=node.energy_ratio(base),
        leakage=node.supply_v / base.supply_v,
        delay=delay_scale(node) / delay_scale(base),
        source={
            "area": f"x SRAM density of {node.name} / {base.name} (hw.technology)",
            "energy": f"x energy factor of {node.name} / {base.name} (switched capacitance and supply, hw.technology)",
            "leakage": f"x supply of {node.name} / {base.name}, same current per cell (assumed)",
            "delay": f"x gate delay of {node.name} / {base.name} (Stillmaker and Baas 2017, high performance)",
        },
    )
