"""Read and write what ``lutscape gpu measure`` found: a folder of points.csv, energy.csv and device.json."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from lutscape.hw.errors import UserError, nearest

SCHEMA = 1
SHIPPED = Path(__file__).parent / "measured"
POINT_COLUMNS = (
    "kernel", "form", "m", "n", "k", "heads", "kv_heads", "listed", "read_bytes", "written_bytes", "operations",
    "copies", "repetitions", "median_us", "min_us", "max_us", "sm_clock_mhz",
)  # fmt: skip
ENERGY_COLUMNS = (*POINT_COLUMNS[:11], "operators", "seconds", "joules", "sm_clock_mhz")


@dataclass(frozen=True)
class Measurement:
    """What one GPU did.

    Attributes:
        name: of the folder.
        points: a row per kernel and problem, ``POINT_COLUMNS``; µs per operator, medians of ``repetitions``.
        energy: a row per loop, ``ENERGY_COLUMNS``; joules of ``operators`` operators. May be empty.
        device: device, driver, CUDA, date, clocks; ``rates`` measured in the same run; how many checks passed before.
        folder: where it lies.
    """

    name: str
    points: pd.DataFrame
    energy: pd.DataFrame
    device: dict[str, Any]
    folder: Path

    @property
    def source(self) -> str:
        """What a report prints beside a number taken from here."""
        d = self.device
        return f"measured: {d['device']}, driver {d['driver']}, CUDA {cuda(d['cuda_runtime'])}, {d['date']}"


def cuda(number: int) -> str:
    """Return ``13.0`` for 13000."""
    return f"{number // 1000}.{number % 1000 // 10}"


def shipped() -> list[str]:
    """Return the names of the measurements that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/device.json"))


def load(name: str | Path) -> Measurement:
    """Read a shipped measurement by name, or a folder.

    Raises:
        UserError: no such measurement, or a file with missing columns or another schema.
    """
    folder = Path(name)
    if not folder.is_dir():
        folder = SHIPPED / str(name)
    if not (folder / "device.json").is_file():
        have = shipped()
        known = ", ".join(have) or "none"
        raise UserError(
            f"no measurement {str(name)!r}{nearest(str(name), have)}; a folder with device.json, or of: {known}"
        )
    try:
        device = json.loads((folder / "device.json").read_text())
    except ValueError as error:
        raise UserError(f"{folder / 'device.json'}: no JSON: {error}") from None
    if not isinstance(device, dict) or device.get("schema_version") != SCHEMA:
        found = device.get("schema_version") if isinstance(device, dict) else None
        raise UserError(f"{folder / 'device.json'}: schema_version {found!r}; this version reads {SCHEMA}")
    points = _table(folder / "points.csv", POINT_COLUMNS)
    energy = folder / "energy.csv"
    loops = _table(energy, ENERGY_COLUMNS) if energy.is_file() else pd.DataFrame(columns=list(ENERGY_COLUMNS))
    return Measurement(folder.resolve().name, points, loops, device, folder)


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    missing = [c for c in columns if c not in frame.columns]
    if missing:
        raise UserError(f"{path}: columns missing: {', '.join(missing)}")
    return frame


def write(folder: Path, points: pd.DataFrame, energy: pd.DataFrame, device: dict[str, Any]) -> None:
    """Write a measurement; each file under a temporary name first, device.json last."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame, columns in (("points.csv", points, POINT_COLUMNS), ("energy.csv", energy, ENERGY_COLUMNS)):
        if len(frame):
            _replace(folder / name, frame[list(columns)].to_csv(index=False))
    _replace(folder / "device.json", json.dumps({"schema_version": SCHEMA, **device}, indent=1) + "\n")


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text)
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot write: {error.strerror}") from None
