"""Energy between nodes: held to our own netlists at both ends, a vendor's table, and a published scaling model."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from lutscape.hw import calibration, technology
from lutscape.hw.calibration import tables

FOLDER = Path(calibration.__file__).parent
# Jouppi et al., "Ten Lessons From Three Generations Shaped Google's TPUv4i", ISCA 2021, Table 2:
# pJ at 45 nm and at 7 nm.
TPU_V4I = {
    "int8 add": (0.03, 0.007), "int32 add": (0.1, 0.03), "fp16 add": (0.4, 0.16), "fp32 add": (0.9, 0.38),
    "int8 multiply": (0.2, 0.07), "int32 multiply": (3.1, 1.48), "fp16 multiply": (1.1, 0.34),
    "fp32 multiply": (3.7, 1.31),
}  # fmt: skip


def capacitance_ratio() -> np.ndarray:
    """Switched capacitance of every array in ASAP7 over that in Nangate45: E / V², glitches counted."""
    found: list[dict[tuple[str, ...], float]] = []
    for name in ("asap7", "nangate45"):
        volts = tables.load(name).voltage_v
        with (FOLDER / name / "arrays.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        keys = list(rows[0])[: list(rows[0]).index("area_um2")]
        found.append(
            {
                tuple(r[k] for k in keys): float(r["energy_captured_pj"]) * float(r["glitch_captured"]) / volts**2
                for r in rows
            }
        )
    small, large = found
    assert small.keys() == large.keys()
    return np.array([small[k] / large[k] for k in small])


def test_seven_nanometres_is_what_the_netlists_say() -> None:
    ratios = capacitance_ratio()
    assert len(ratios) == 107
    node = technology.load("7nm")
    assert node.switched_capacitance == pytest.approx(math.exp(np.log(ratios).mean()), rel=0.005)
    assert (round(ratios.min(), 3), round(ratios.max(), 3)) == (0.255, 0.348)


@pytest.mark.parametrize("name", ["28nm", "16nm"])
def test_nodes_between_are_interpolated(name: str) -> None:
    node, small = technology.load(name), technology.load("7nm")
    share = math.log(node.node_nm / 7) / math.log(45 / 7)
    assert node.switched_capacitance == pytest.approx(small.switched_capacitance ** (1 - share), rel=0.005)


def test_energy_is_capacitance_times_square_of_supply() -> None:
    node = technology.load("45nm")
    assert node.energy_scale == 1.0
    assert node.model_copy(update={"supply_v": 1.1}).energy_scale == pytest.approx((1.1 / 0.9) ** 2)
    scales = [technology.load(n).energy_scale for n in ("45nm", "28nm", "16nm", "7nm")]
    assert scales == sorted(scales, reverse=True)


def test_a_vendors_arithmetic_shrinks_alike() -> None:
    """45 nm, 0.9 V to 7 nm: ours 0.21, the geometric mean of the vendor's eight operations 0.34, the least 0.23.

    A wider supply than our 0.75 V and their own design changes lie between.
    """
    vendor = [new / old for old, new in TPU_V4I.values()]
    ours = technology.load("7nm").energy_scale
    assert ours == pytest.approx(0.213, abs=0.001)
    assert math.exp(np.log(vendor).mean()) / ours < 1.65
    assert min(vendor) / ours < 1.15


def test_the_usual_polynomials_would_say_a_third() -> None:
    """Stillmaker and Baas 2017, Table 5, high-performance rows of 45 and 7 nm: why they are not used."""

    def energy(coefficients: tuple[float, float, float], volts: float) -> float:
        return float(np.polyval(coefficients, volts))

    published = energy((0.1776, -0.09097, 0.02447), 0.75) / energy((1.018, -0.3107, 0.1539), 0.9)
    assert technology.load("7nm").energy_scale / published == pytest.approx(2.65, abs=0.05)
