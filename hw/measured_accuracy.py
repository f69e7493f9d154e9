"""Measured accuracy of converted networks: a table that a report wrote, read for one codebook. Nothing is interpolated.

JSON, as ``reports/lut_dla/accuracy.py`` and ``quick_accuracy.py`` write it: a data set, and for every converted network
(a *cell*) its plan, the runs of its seeds and their summary::

    {"data": "fashion-mnist", "seeds": [0, 1, 2],
     "cells": {"mlp-v4-c16-l2": {"kind": "mlp", "plan": {"v": 4, "c": 16, "metric": "l2", "keep": [], ...},
               "runs": [...], "summary": {"int8_loss": {"mean": 1.2, "half_width_95": 0.2}, ...}}}}

A loss is the network's accuracy as trained less that after a stage (``replace``, ``calibrate``, ``joint``, ``int8``: as
the machine computes it), in percentage points, mean over seeds. Networks with kept layers are named so.
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

COMMAND = "python reports/lut_dla/quick_accuracy.py (or accuracy.py)"
LOSS = "_loss"


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
        data, cells = str(document["data"]), document["cells"].items()
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not an accuracy table ({type(error).__name__}); write one with: {COMMAND}") from None
    found = []
    for name, cell in cells:
        try:
            plan, summary = cell["plan"], cell["summary"]
            kept = f" with {', '.join(plan['keep'])} kept" if plan["keep"] else ""
            for key, loss in summary.items():
                if key.endswith(LOSS):
                    mean, ci95 = _finite(loss["mean"]), _finite(loss["half_width_95"])
                    found.append(Accuracy(
                        f"{cell['kind']}{kept}", data, int(plan["v"]), int(plan["c"]), str(plan["metric"]),
                        key.removesuffix(LOSS), len(cell["runs"]), mean, ci95,
                    ))  # fmt: skip
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{path}: cells.{name}: {type(error).__name__}: {error}; write it with: {COMMAND}"
            ) from None
    return tuple(found)


def _finite(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value!r} is not a finite number (an interval needs two seeds)")
    return number


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
