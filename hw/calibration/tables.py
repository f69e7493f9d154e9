"""Reading calibration tables: one library's coefficients, ranges and what they were measured with."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, nearest

Floats = npt.NDArray[np.float64]
QUANTITIES = ("area_um2", "energy_pj", "leakage_uw")
KINDS = ("array", "builder")
SHAPE = ("m", "n")


@dataclass(frozen=True)
class Coefficients:
    """Costs of one unit of each count.

    Attributes:
        names: of the counts.
        values: (counts, 3) µm², pJ per operation and µW.
        error: (3,) root mean square of the relative errors of designs that were not fitted.
        worst: (3,) largest of them.
    """

    names: tuple[str, ...]
    values: Floats
    error: Floats
    worst: Floats

    def price(self, counts: Mapping[str, float]) -> Floats:
        """Return (3,) area, energy and leakage of a design."""
        return np.array([counts.get(name, 0.0) for name in self.names]) @ self.values


@dataclass(frozen=True, eq=False)
class Library:
    """A calibrated cell library.

    Attributes:
        name: folder.
        node_nm: feature size.
        gate_area_um2: of the smallest two-input NAND.
        voltage_v: at which energy and leakage are.
        period_ps: that netlists were made for; long.
        source: citation.
        coefficients: by kind of design.
        ranges: parameter -> (least, greatest) over all synthesised arrays.
        keys: everything in ``library.csv``.
    """

    name: str
    node_nm: float
    gate_area_um2: float
    voltage_v: float
    period_ps: float
    source: str
    coefficients: Mapping[str, Coefficients]
    ranges: Mapping[str, tuple[int, int]]
    keys: Mapping[str, str]


def packaged() -> list[str]:
    """Return the names of the packaged libraries."""
    return sorted(p.parent.name for p in Path(__file__).parent.glob("*/library.csv"))


def find(name: str) -> Path:
    """Return the folder of a calibration, by packaged name or path.

    Raises:
        UserError: no tables there.
    """
    for folder in (Path(__file__).parent / name, Path(name).expanduser()):
        if (folder / "library.csv").is_file():
            return folder
    known = packaged()
    raise UserError(
        f"calibration {name!r} not found{nearest(name, known)}; give a folder that lutscape rtl calibrate wrote, "
        f"or one of: {', '.join(known)}"
    )


@lru_cache(maxsize=16)
def load(name: str) -> Library:
    """Load a calibration.

    Raises:
        UserError: missing or damaged tables.
    """
    folder = find(name)
    keys = {row["key"]: row["value"] for row in read(folder / "library.csv")}
    rows = read(folder / "coefficients.csv")
    arrays = read(folder / "arrays.csv")
    errors = read(folder / "errors.csv")
    try:
        coefficients = {}
        for kind in KINDS:
            mine = [r for r in rows if r["kind"] == kind]
            values = np.array([[float(r[q]) for q in QUANTITIES] for r in mine])
            held = {e["quantity"]: e for e in errors if e["kind"] == kind}
            error = np.array([[float(held[q][e]) for e in ("held_out_rms", "held_out_worst")] for q in QUANTITIES])
            coefficients[kind] = Coefficients(tuple(r["count"] for r in mine), values, error[:, 0], error[:, 1])
        integers = [c for c in arrays[0] if c in (*SHAPE, "k", "serial_weight_bits") or c.endswith("_bits")]
        integers = [c for c in (*integers, "planes_per_cycle") if c in arrays[0]]
        ranges = {c: (min(int(r[c]) for r in arrays), max(int(r[c]) for r in arrays)) for c in dict.fromkeys(integers)}
        return Library(
            name=keys["name"],
            node_nm=float(keys["node_nm"]),
            gate_area_um2=float(keys["gate_area_um2"]),
            voltage_v=float(keys["voltage_v"]),
            period_ps=float(keys["period_ps"]),
            source=keys["source"],
            coefficients=coefficients,
            ranges=ranges,
            keys=keys,
        )
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"{folder}: damaged calibration tables ({type(error).__name__}: {error})") from None


def read(path: Path) -> list[dict[str, str]]:
    """Read a CSV file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
