"""SRAM macros at 7 nm: 57 sizes of the ASAP7 kit, fitted, and a foundry's compiler above them.

The macros (``asap7_macros.csv``) come from a predictive kit and are floor plans rather than layouts: their area
follows

    area = a·bits + b·√bits

within 12 % for one port (rms 2.4 %), whatever the shape, and is the same for one and two ports where both exist; their
.lib times are a straight line in log2(words), 5.0 ps (fast) or 11.8 ps (slow) per address bit, 70 or 165 ps at 16
words, whatever the width. So the areas are used up to 64 Kibit and the times are only shown beside other sources.

Above 64 Kibit the density moves (log-log) to that of TSMC's 7 nm compiler at 2K, 4K and 8K words of 64 bits and stays
there. That compiler's 1K x 64 takes 0.076 µm² per bit, the ASAP7 macro of the same size 0.050: the sources disagree by
a factor of 1.5 where they meet, and by 1.27 in the other direction at 8K x 64.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from lutscape.hw.memories.grid import bracket, read_csv

FILE = Path(__file__).with_name("asap7_macros.csv")
MACRO_BITS = 65536
"""The largest macro, 4096 x 16 or 1024 x 64."""
TSMC_SRAM_MBIT_PER_MM2 = ((1024, 13.1), (2048, 21.9), (4096, 23.6), (8192, 25.7))
"""(words of 64 bits, Mbit/mm²), TSMC 7 nm SRAM compiler: ROMA, arXiv 2503.12988, Fig. 2."""
TSMC_ROM_MBIT_PER_MM2 = ((1024, 21.6), (2048, 34.4), (4096, 47.1), (8192, 57.8))
"""Likewise, ROM compiler."""
WORD_BITS = 64


@dataclass(frozen=True)
class Macro:
    """One macro.

    Attributes:
        ports: 1 or 2, read-write.
        words, word_bits: shape.
        area_um2: width times height.
        slow_ps, fast_ps: clock to output in the .lib files (see above).
    """

    ports: int
    words: int
    word_bits: int
    area_um2: float
    slow_ps: float
    fast_ps: float

    @property
    def bits(self) -> int:
        return self.words * self.word_bits


@dataclass(frozen=True)
class Fit:
    """area = linear·bits + root·√bits, least squares of the relative error.

    Attributes:
        linear: µm² per bit.
        root: µm² per √bit.
        rms, worst: relative errors over the macros fitted.
        macros: how many.
    """

    linear: float
    root: float
    rms: float
    worst: float
    macros: int

    def area_um2(self, bits: float) -> float:
        return self.linear * bits + self.root * bits**0.5


@cache
def macros() -> tuple[Macro, ...]:
    """Return the macros, smallest first."""
    rows = [
        Macro(
            int(row["ports"].removesuffix("rw")),
            int(row["words"]),
            int(row["word_bits"]),
            float(row["width_um"]) * float(row["height_um"]),
            float(row["slow_ps"]),
            float(row["fast_ps"]),
        )
        for row in read_csv(FILE)
    ]
    return tuple(sorted(rows, key=lambda m: (m.ports, m.bits, m.words)))


@cache
def fit(ports: int | None = 1) -> Fit:
    """Return the fit of the macros with 1 or 2 ports, or of all (None)."""
    chosen = [m for m in macros() if ports in (None, m.ports)]
    bits, area = np.array([m.bits for m in chosen], float), np.array([m.area_um2 for m in chosen])
    design = np.stack([bits, np.sqrt(bits)], axis=1)  # (macros, 2)
    linear, root = np.linalg.lstsq(design / area[:, None], np.ones_like(area), rcond=None)[0]
    error = design @ (linear, root) / area - 1
    return Fit(float(linear), float(root), float(np.sqrt((error**2).mean())), float(np.abs(error).max()), len(chosen))


def sram_um2_per_bit(bits: float) -> float:
    """Return the area of one bit of a one-port SRAM bank at 7 nm, periphery included."""
    if bits <= MACRO_BITS:
        return fit().area_um2(bits) / bits
    points = [(MACRO_BITS, fit().area_um2(MACRO_BITS) / MACRO_BITS)]
    points += [(words * WORD_BITS, 1 / density) for words, density in TSMC_SRAM_MBIT_PER_MM2[1:]]
    return _log_log(points, bits)


def rom_um2_per_bit(words: float) -> float:
    """Return the area of one bit of a via-programmed ROM bank at 7 nm; below 1K words extrapolated."""
    return _log_log([(words, 1 / density) for words, density in TSMC_ROM_MBIT_PER_MM2], words)


def _log_log(points: list[tuple[int, float]], x: float) -> float:
    """Interpolate; beyond the last point its value."""
    if x >= points[-1][0]:
        return points[-1][1]
    i, t = bracket([float(np.log(p)) for p, _ in points], float(np.log(x)))
    return float(np.exp((1 - t) * np.log(points[i][1]) + t * np.log(points[i + 1][1])))
