"""Published synthesis results beside what the calibrated tables say: a check of the tables, not an input to them.

LUT Tensor Core (Mo et al., ISCA 2025, arXiv 2408.06003) at TSMC 28 nm, 0.9 V:

- Table 2, M2N64K4, W2A8, 1 GHz: 11,991.29 µm² and 16.22 mW; UNPU re-implemented 17,271.71 µm² and 23.39 mW, its table
  builder inside. Accumulators are not stated; 16 bits are taken. Power is without switching activity from operands
  (the artifact's script sets none).
- Table 1: A100's INT8 tensor core, 2048 MACs per cycle in 0.312 mm², 19.94 TOPS/W.
"""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw import technology
from lutscape.hw.calibration.price import array_price, builder_price
from lutscape.hw.machines.lut_tensor_core import Array


@dataclass(frozen=True)
class Point:
    """One published unit.

    Attributes:
        name: for tables.
        array: as it is described.
        area_um2: published.
        energy_pj: published power over clock and beats: pJ of one beat.
        source: citation.
        builders: table builders inside.
    """

    name: str
    array: Array
    area_um2: float
    energy_pj: float
    source: str
    builders: int = 0


@dataclass(frozen=True)
class Check:
    """A published unit beside the tables.

    Attributes:
        point: what was published.
        area_um2: by the tables, at 28 nm.
        energy_pj: by the tables, at 28 nm and 0.9 V, leakage at the period included.
    """

    point: Point
    area_um2: float
    energy_pj: float

    @property
    def area_ratio(self) -> float:
        """Tables over publication."""
        return self.area_um2 / self.point.area_um2

    @property
    def energy_ratio(self) -> float:
        """Tables over publication."""
        return self.energy_pj / self.point.energy_pj


SHAPE = {"m": 2, "n": 64, "k": 4, "count": 1, "accumulator_bits": 16, "serial_weight_bits": 2}
POINTS = (
    Point(
        "LUT Tensor Core, W2A8",
        Array.model_validate({**SHAPE, "datapath": "lut"}),
        11_991.29,
        16.22,
        "arXiv 2408.06003, Table 2",
    ),
    Point(
        "UNPU, W2A8",
        Array.model_validate({**SHAPE, "datapath": "unpu"}),
        17_271.71,
        23.39,
        "arXiv 2408.06003, Table 2",
        builders=2,
    ),
    Point(
        "A100 INT8 tensor core",
        Array.model_validate(
            {**SHAPE, "datapath": "mac", "multiplier_weight_bits": 8, "serial_weight_bits": 8, "accumulator_bits": 32}
        ),
        0.312e6 / 4,  # 512 of 2048 MACs
        512 * 2 / 19.94,
        "arXiv 2408.06003, Table 1",
    ),
)
CLOCK_GHZ = 1.0


def checks() -> list[Check]:
    """Return the published units beside the tables at 28 nm."""
    node = technology.load("28nm")
    found = []
    for point in POINTS:
        one = array_price(point.array, node)
        area, energy, leakage = one.area_um2, one.energy_pj, one.leakage_uw
        if point.builders:
            builder = builder_price(point.array, node)
            area += point.builders * builder.area_um2
            leakage += point.builders * builder.leakage_uw
            energy += point.builders * builder.energy_pj / point.array.most_passes  # tables of a step serve all planes
        found.append(Check(point, area, energy + leakage * 1e-3 / CLOCK_GHZ))
    return found
