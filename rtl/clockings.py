"""Ratios and phases of clocks that a cell of several domains is verified with, and what its cycles are compared at."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np

from lutscape.rtl.cell import Beats, Cell, Clocks

TICK_PS = 10  # as in lutscape.rtl.bench_clocks, which only a simulator can import
SLOWEST = 8
"""Greatest ratio of periods, either way."""


def draw(cell: Cell, seed: int, count: int = 6) -> list[dict[str, list[int]]]:
    """Return clockings of a cell: domain -> (period, time of edge 0), ps.

    First one without any common factor to speak of, then equal clocks whose edges fall together, then one domain
    exactly twice and exactly half as fast; the others at random, log-uniform up to a ratio of :data:`SLOWEST`.
    """
    rng = random.Random(seed)
    names = cell.domains
    ratios: list[tuple[float, bool]] = [(0.618, False), (1.0, True), (2.0, True), (0.5, True)]
    while len(ratios) < count:
        ratios.append((SLOWEST ** rng.uniform(-1, 1), False))
    out = []
    for ratio, together in ratios[:count]:
        base = 100 if together else rng.randrange(80, 120)
        periods = [base, *(max(4, round(base * ratio)) for _ in names[1:])]
        starts = [0 if together else rng.randrange(p) for p in periods]
        out.append({n: [p * TICK_PS, s * TICK_PS] for n, p, s in zip(names, periods, starts, strict=True)})
    return out


def schedules(cell: Cell, beats: Beats, clockings: list[dict[str, list[int]]]) -> list[dict[str, np.ndarray]]:
    """Return the cell's schedule at every clocking; empty ones for a cell without."""
    if cell.schedule_at is None:
        return [{} for _ in clockings]
    return [cell.schedule_at(beats, _clocks(c)) for c in clockings]


def late(
    phases: Mapping[str, Any], clockings: list[dict[str, list[int]]], expected: list[dict[str, np.ndarray]]
) -> list[str]:
    """Return the first beat of every channel whose edge is not the formula's, wherever the bench ran at full rate."""
    of = {str(c): e for c, e in zip(clockings, expected, strict=True)}
    runs = [(name, p) for name, p in phases.items() if name.startswith("full rate")]
    runs += [("resets", r) for r in phases.get("resets", {}).get("flights", []) if not r["stalls"]]
    out = []
    for name, run in runs:
        for channel, edges in of[str(run["clocks"])].items():
            seen = np.asarray(run["edges"][channel], np.int64)
            n = min(len(seen), len(edges))
            wrong = np.flatnonzero(seen[:n] != edges[:n])
            if len(wrong):
                i = int(wrong[0])
                out.append(
                    f"{channel}: beat {i} moved on edge {seen[i]}, not {edges[i]} "
                    f"({name}, clocks {run['clocks']}, {len(wrong)} of {n} beats differ)"
                )
    return out


def _clocks(clocking: Mapping[str, list[int]]) -> Clocks:
    return {name: (period, start) for name, (period, start) in clocking.items()}
