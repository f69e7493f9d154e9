"""Numbers that LUT-DLA (HPCA 2025, arXiv 2501.10658) and its neighbours print, and where each was read.

The paper's text was not available beyond its abstract and the captions of its figures. What is marked ``recalled`` is
what its table of comparisons is remembered to print, never seen for this project. Recalled numbers are shown and
checked for consistency, and no result here is held to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PAPER = "LUT-DLA, HPCA 2025, arXiv 2501.10658"
ABSTRACT = {
    "power efficiency": (1.4, 7.0),
    "area efficiency": (1.5, 146.1),
    "CNN loss, L2, %": (0.1, 3.1),
    "CNN loss, L1, %": (0.1, 3.4),
    "CNN loss, Chebyshev, %": (0.1, 3.8),
    "transformer loss, %": (1.4, 3.0),
}
"""Ranges of the abstract."""
READ, RECALLED = "read", "recalled"


@dataclass(frozen=True)
class Row:
    """One machine of a comparison.

    Attributes:
        name: of the machine or its configuration.
        node: of the area.
        mhz: clock.
        macs_per_cycle: peak; a table lookup counts as the multiply-accumulates that it replaces.
        gmac_s: peak 10⁹ multiply-accumulates per second.
        area_mm2: as printed.
        milliwatts: as printed.
        counts: what area and power include, and which node the power is of.
        printed: the rate as it is printed, with its convention.
        evidence: ``read`` in the source, or ``recalled``.
        source: citation.
        recalled: fields that are recalled though the others were read.
        peak: the rate is a peak; else what one workload reached.
    """

    name: str
    node: str
    mhz: float
    macs_per_cycle: float
    gmac_s: float
    area_mm2: float | None
    milliwatts: float | None
    counts: str
    printed: str
    evidence: str
    source: str
    recalled: tuple[str, ...] = ()
    peak: bool = True

    def is_recalled(self, name: str) -> bool:
        """Return whether a field is recalled."""
        return self.evidence == RECALLED or name in self.recalled


def _nvdla(macs: int, area: float, mw: float, fps: float, memory: str = "") -> Row:
    return Row(
        f"NVDLA, {macs} MACs{memory}", "28 nm", 1000, macs, float(macs), area, mw,
        "area at 28 nm; peak power at 16 nm", f"{macs} MACs at 1 GHz; ResNet-50 {fps:g} frames/s", READ,
        "NVIDIA, NVDLA primer (nvdla.org), INT8",
    )  # fmt: skip


BASELINES = (
    _nvdla(2048, 5.5, 766, 269, ", 512 KB, 20 GB/s"),
    _nvdla(1024, 3.0, 375, 153),
    _nvdla(512, 2.3, 210, 93),
    _nvdla(256, 1.7, 135, 46),
    _nvdla(128, 1.4, 82, 20),
    _nvdla(64, 0.91, 55, 7.3, ", 128 KB, 1 GB/s"),
    _nvdla(32, 0.85, 45, 3.6),
    Row("EVA, systolic array", "28 nm", 500, 15.75 / 2 / 0.5, 15.75 / 2, 1.256, 1647, "accelerator, 528 KB",
        "15.75 GOPs (taken as two per MAC), one token", READ, "EVA, arXiv 2605.24144, Table VIII", peak=False),
    Row("EVA, FIGLUT", "28 nm", 500, 44.49 / 2 / 0.5, 44.49 / 2, 1.582, 4037, "accelerator, 528 KB",
        "44.49 GOPs (taken as two per MAC), one token", READ, "EVA, arXiv 2605.24144, Table VIII", peak=False),
    Row("EVA", "28 nm", 500, 498.49 / 2 / 0.5, 498.49 / 2, 1.414, 3117, "accelerator, 528 KB",
        "498.49 GOPs (taken as two per MAC), one token", READ, "EVA, arXiv 2605.24144, Table VIII", peak=False),
    Row("RRAM-DNN", "22 nm", 120, 123 / 2 / 0.12, 123 / 2, 10.8, 127.9, "macro with RRAM",
        "123 GOPS (taken as two per MAC)", READ, "the work's abstract", ("mhz", "area_mm2")),
    Row("Gemmini, 16 x 16", "16 nm", 500, 256, 128.0, 1.21, 312.41, "not stated",
        "256 GOPS: 256 MACs at 500 MHz are 128 GMAC/s", RECALLED, "comparison table of LUT-DLA"),
)  # fmt: skip
"""Machines to compare with; every rate in MAC/s."""


@dataclass(frozen=True)
class Design:
    """A design of the paper as it is recalled.

    Attributes:
        name: of the paper.
        gops: as recalled.
        area_mm2, milliwatts: as recalled.
    """

    name: str
    gops: float
    area_mm2: float
    milliwatts: float

    @property
    def operations_per_cycle(self) -> int:
        """At 300 MHz."""
        return round(self.gops / 0.3)


DESIGNS = (
    Design("Design1", 460.8, 0.755, 219.57),
    Design("Design2", 1228.8, 1.701, 314.975),
    Design("Design3", 2764.8, 3.64, 496.4),
)
"""28 nm, 300 MHz, recalled. 460.8 / 0.3 = 1536 = 2 x 3 x 128 x 2 and so on: two operations per MAC fit."""
CLOCK_MHZ = 300
FACTORS = {"Design1": (3, 128), "Design2": (4, 256), "Design3": (3, 768)}
"""v and lanes of two modules, one factorisation of each size: the packaged ``lut-dla-small``, ``-medium``, "
"``-large``."""
RECALLED_RATIOS = (
    ("area efficiency, Design3 over ELSA", 759.6 / 506.8, 1.5, "area efficiency"),
    ("power efficiency, Design2 over FACT", 3.90 / 2.75, 1.4, "power efficiency"),
    ("area efficiency, Design3 over RRAM-DNN", 759.6 / 11.4, 146.1, "area efficiency"),
    ("power efficiency, Design3 over Gemmini", 5.57 / 0.82, 7.0, "power efficiency"),
)
"""What, ratio of two recalled efficiencies, end of the abstract's range, which range."""

HALUT: dict[str, Any] = {
    "name": "halut_decoder", "codebooks": 32, "entries": 16, "bits": 4096, "area_um2": 24_667.5, "milliwatts": 2.64,
    "period_ns": 6.0, "volts": 1.1,
    "source": "joennlae/halutmatmul, openroad-reports: Nangate45, 1.1 V, 6 ns, INT8 entries, 32-bit sums, latch memory",
}  # fmt: skip
"""A decoder placed and routed in public: 16 entries for each of 32 codebooks of one output column."""
