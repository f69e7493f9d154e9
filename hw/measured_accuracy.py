"""Measured accuracy of converted networks: a table that a report wrote, read for one codebook. Nothing is interpolated.

JSON, as ``reports/lut_dla/accuracy.py`` writes it::

    {"schema_version": 1,
     "rows": [{"network": "cnn", "data": "fashion-mnist", "v": 9, "c": 16, "metric": "l2", "stage": "joint",
               "input_bits": 8, "seeds": 5, "loss_points": 1.9, "loss_points_ci95": 0.3}, ...]}

``loss_points``: mean over seeds of the unconverted network's accuracy less the converted one's, in percentage points.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError, nearest

COMMAND = "python reports/lut_dla/accuracy.py"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Accuracy:
    """Accuracy lost by one conversion.

    Attributes:
        network: that was trained and converted.
        data: set that it was tested on.
        v: values of a sub-vector.
        c: centroids.
        metric: distance.
        stage: of the conversion: replace, centroids, joint, …
        seeds: that the mean is over.
        loss_points: percentage points lost, mean.
        ci95: half the width of its 95 % confidence interval.
    """

    network: str
    data: str
    v: int
    c: int
    metric: str
    stage: str
    seeds: int
    loss_points: float
    ci95: float

    @property
    def codebook(self) -> str:
        """For messages."""
        return f"{self.metric} v={self.v} c={self.c}"


def find(name: str) -> Path:
    """Return the path of a table: as given, or relative to the checkout.

    Raises:
        UserError: not there, with the command that writes it.
    """
    given = Path(name).expanduser()
    for path in (given, yaml_file.configs_dir().parent / given):
        if path.is_file():
            return path
    raise UserError(f"accuracy table {name!r} not found; no accuracy is assumed: measure it with: {COMMAND}")


def load(name: str) -> tuple[Accuracy, ...]:
    """Read a table.

    Raises:
        UserError: not there, or not a table of this schema.
    """
    return _read(find(name))


@lru_cache(maxsize=8)
def _read(path: Path) -> tuple[Accuracy, ...]:
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        version, rows = document["schema_version"], document["rows"]
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise UserError(f"{path}: not an accuracy table ({type(error).__name__}); write one with: {COMMAND}") from None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: schema version {version}; this lutscape reads {SCHEMA_VERSION}: {COMMAND}")
    found = []
    for index, row in enumerate(rows):
        try:
            one = Accuracy(
                str(row["network"]), str(row["data"]), int(row["v"]), int(row["c"]), str(row["metric"]),
                str(row["stage"]), int(row["seeds"]), float(row["loss_points"]), float(row["loss_points_ci95"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: rows[{index}]: {type(error).__name__}: {error}") from None
        if not math.isfinite(one.loss_points):
            raise UserError(f"{path}: rows[{index}]: loss_points = {one.loss_points}: must be a finite number")
        found.append(one)
    return tuple(found)


def measured(name: str, network: str, stage: str, v: int, c: int, metric: str) -> Accuracy:
    """Return the accuracy that was measured for one codebook.

    Raises:
        UserError: no such table, network or stage, or this codebook was not measured; the message says what was.
    """
    rows = load(name)
    networks = sorted({r.network for r in rows})
    if network not in networks:
        raise UserError(f"{name}: no network {network!r}{nearest(network, networks)}; measured: {', '.join(networks)}")
    mine = [r for r in rows if r.network == network]
    stages = sorted({r.stage for r in mine})
    if stage not in stages:
        raise UserError(f"{name}: no stage {stage!r}{nearest(stage, stages)}; measured: {', '.join(stages)}")
    mine = [r for r in mine if r.stage == stage]
    for row in mine:
        if (row.v, row.c, row.metric) == (v, c, metric):
            return row
    known = ", ".join(r.codebook for r in mine)
    raise UserError(
        f"accuracy of {network} with {metric} v={v} c={c} is not measured in {name} and not assumed; "
        f"measured after {stage}: {known}"
    )
