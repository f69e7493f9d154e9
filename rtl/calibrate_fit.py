"""Coefficients of a calibration: non-negative least squares of relative errors, and how well they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.rtl.calibrate_grid import FIT

Floats = npt.NDArray[np.float64]
TARGETS = {
    "area_um2": lambda row: row["area_um2"],
    "energy_pj": lambda row: row["energy_captured_pj"] * row["glitch_captured"],
    "energy_random_pj": lambda row: row["energy_random_pj"] * row["glitch_random"],
    "leakage_uw": lambda row: row["leakage_uw"],
}
"""What is fitted: energies count glitches."""


@dataclass(frozen=True, eq=False)
class Fit:
    """Coefficients of one quantity.

    Attributes:
        kind: ``array`` or ``builder``.
        target: of :data:`TARGETS`.
        coefficients: by count.
        residuals: relative error of each fitted design.
        left_out: relative error of each fitted design by the coefficients of all others.
        held_out: relative error of each design that was not fitted.
    """

    kind: str
    target: str
    coefficients: Mapping[str, float]
    residuals: Floats
    left_out: Floats
    held_out: Floats


def fit(
    kind: str, target: str, rows: Sequence[tuple[Mapping[str, float], Mapping[str, Any], str]], names: Sequence[str]
) -> Fit:
    """Fit one quantity.

    Args:
        kind: of the designs.
        target: of :data:`TARGETS`.
        rows: (counts, measured row, role) of each design.
        names: of the counts.
    """
    x = np.array([[counts.get(name, 0.0) for name in names] for counts, _, _ in rows])
    y = np.array([TARGETS[target](row) for _, row, _ in rows])
    chosen = np.array([role == FIT for _, _, role in rows])
    scaled = x / y[:, None]  # relative errors count
    best = nonnegative(scaled[chosen], np.ones(chosen.sum()))
    errors = x @ best / y - 1
    fitted = np.flatnonzero(chosen)
    left_out = np.empty(len(fitted))
    for j, i in enumerate(fitted):
        others = fitted[fitted != i]
        left_out[j] = x[i] @ nonnegative(scaled[others], np.ones(len(others))) / y[i] - 1
    coefficients = dict(zip(names, map(float, best), strict=True))
    return Fit(kind, target, coefficients, errors[chosen], left_out, errors[~chosen])


def table(fits: Sequence[Fit]) -> list[dict[str, Any]]:
    """Return one row per count, one column per target."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for one in fits:
        for name, value in one.coefficients.items():
            rows.setdefault((one.kind, name), {"kind": one.kind, "count": name})[one.target] = value
    return list(rows.values())


ERRORS = ("fitted", "fit_rms", "fit_worst", "left_out_rms", "left_out_worst", "held_out", "held_out_rms",
          "held_out_worst")  # fmt: skip


def errors(fits: Sequence[Fit]) -> list[dict[str, Any]]:
    """Return the relative errors of each fit."""
    rows = []
    for one in fits:
        row: dict[str, Any] = {"kind": one.kind, "quantity": one.target, "fitted": len(one.residuals)}
        row["held_out"] = len(one.held_out)
        for name, values in (("fit", one.residuals), ("left_out", one.left_out), ("held_out", one.held_out)):
            row[f"{name}_rms"] = float(np.sqrt(np.mean(values**2)))
            row[f"{name}_worst"] = float(np.abs(values).max())
        rows.append(row)
    return rows


def nonnegative(a: Floats, b: Floats) -> Floats:
    """Return x >= 0 that minimises |a x - b|, by the active-set method of Lawson and Hanson (1974, chapter 23)."""
    columns = a.shape[1]
    scale = np.linalg.norm(a, axis=0)
    scale[scale == 0] = 1.0
    a = a / scale
    x, free = np.zeros(columns), np.zeros(columns, bool)
    for _ in range(30 * columns):
        slope = a.T @ (b - a @ x)
        slope[free] = -np.inf
        best = int(slope.argmax())
        if free.all() or slope[best] <= 1e-10:
            break
        free[best] = True
        while True:
            trial = np.zeros(columns)
            trial[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
            bad = free & (trial <= 0)
            if not bad.any():
                break
            share = np.min(x[bad] / np.maximum(x[bad] - trial[bad], 1e-300))
            x = x + share * (trial - x)
            free &= x > 1e-12
            x[~free] = 0.0
        x = trial
    return x / scale
