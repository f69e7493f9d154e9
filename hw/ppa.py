"""Power, performance and area of one machine on one trace: what reports and objectives read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lutscape.hw.provenance import Grade, Source, worst
from lutscape.hw.result import Floats, Result

METRICS: dict[str, tuple[str, str, str]] = {
    # name: (unit, better direction, meaning)
    "latency_s": ("s", "minimize", "time of the whole trace: prefill and all decode steps"),
    "time_to_first_token_s": ("s", "minimize", "time of the prefill phase"),
    "time_per_token_s": ("s", "minimize", "time of one decode step"),
    "tokens_per_s": ("1/s", "maximize", "generated tokens per second of decode, all sequences"),
    "energy_j": ("J", "minimize", "energy of the whole trace"),
    "energy_per_token_j": ("J", "minimize", "decode energy per generated token"),
    "tokens_per_j": ("1/J", "maximize", "generated tokens per joule of decode"),
    "area_mm2": ("mm2", "minimize", "area that the machine's cost model counts"),
    "power_w": ("W", "minimize", "energy of the whole trace divided by its time"),
    "dram_gb": ("GB", "minimize", "DRAM traffic of the whole trace, 10⁹ bytes"),
    "aggregate_tokens_per_s": ("1/s", "maximize", "generated tokens per second of as many sequences as fit at a time"),
    "context_tokens": ("tokens", "maximize", "tokens whose keys and values fit on chip beside the adapter"),
    "lora_rank": ("", "maximize", "rank of the adapter that is held on chip"),
    "accuracy_loss_points": ("points", "minimize", "accuracy lost by conversion, measured on the spec's network"),
}
"""Metrics that machines report; a sweep may use any of them as objective or constraint."""

ONLY = {
    **{name: frozenset({"roma"}) for name in ("aggregate_tokens_per_s", "context_tokens", "lora_rank")},
    "accuracy_loss_points": frozenset({"lut-dla"}),
}
"""Metrics that only some hardware kinds report."""


@dataclass(frozen=True)
class Quantity:
    """A number with its unit, grade and source."""

    value: float
    unit: str
    grade: Grade
    source: str


@dataclass(frozen=True)
class Ppa:
    """Cost of a Result.

    Attributes:
        area: area by component, mm²; what is counted is the family's convention.
        area_convention: one sentence that says what is counted and at which node.
        energy: by component, (R,) joules of one execution of each operator of the Result.
        energy_source: grade and source of each component's energy.
        metrics: the numbers of :data:`METRICS` that the trace defines (no decode metrics without
            decode steps).
    """

    area: dict[str, Quantity]
    area_convention: str
    energy: dict[str, Floats]
    energy_source: dict[str, Source]
    metrics: dict[str, Quantity]

    def total_energy(self, result: Result, phase: str | None = None) -> dict[str, float]:
        """Return joules by component over the trace or one phase."""
        rows = result.mask(phase)
        return {name: float((values * result.count)[rows].sum()) for name, values in self.energy.items()}

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, units and grades, for JSON."""
        quantities = {
            group: {
                k: {"value": q.value, "unit": q.unit, "grade": str(q.grade), "source": q.source} for k, q in d.items()
            }
            for group, d in (("area", self.area), ("metrics", self.metrics))
        }
        return {**quantities, "area_convention": self.area_convention}


def assemble(
    result: Result,
    area: dict[str, Quantity],
    area_convention: str,
    energy: dict[str, Floats],
    energy_source: dict[str, Source],
    time: Source,
) -> Ppa:
    """Build a :class:`Ppa`: sum areas and energies and form the metrics.

    Args:
        result: timing of the trace.
        area: area by component, mm², with the grade of its coefficient.
        area_convention: what is counted.
        energy: joules of one execution by component.
        energy_source: grade and source by component.
        time: grade and source of the cycle counts.
    """
    # A count times a coefficient is derived at best, however well the coefficient is known.
    area = {n: replace(q, grade=worst(q.grade)) for n, q in area.items()}
    energy_source = {n: Source(grade=worst(s.grade), source=s.source) for n, s in energy_source.items()}
    per_row = np.zeros(len(result.operators))
    for values in energy.values():
        per_row = per_row + values
    totals = per_row * result.count
    decode = result.mask("decode")
    seconds, energy_j = result.total_seconds(), float(totals.sum())
    area_mm2 = sum(q.value for q in area.values())
    energy_grade = worst(*(s.grade for s in energy_source.values()))
    area_grade = worst(*(q.grade for q in area.values()))
    generated = result.decode_steps * result.sequences

    def timed(value: float, name: str) -> Quantity:
        return Quantity(value, METRICS[name][0], time.grade, time.source)

    def spent(value: float, name: str) -> Quantity:
        weak = [n for n, s in energy_source.items() if s.grade is Grade.ASSUMED]
        source = "activity x energy per operation" + (f"; assumed in it: {', '.join(weak)}" if weak else "")
        return Quantity(value, METRICS[name][0], energy_grade, source)

    def moved(value: float, name: str) -> Quantity:
        return Quantity(value, METRICS[name][0], Grade.DERIVED, "bytes counted by the machine's tiling")

    metrics = {
        "latency_s": timed(seconds, "latency_s"),
        "energy_j": spent(energy_j, "energy_j"),
        "area_mm2": Quantity(area_mm2, "mm2", area_grade, area_convention),
        "power_w": Quantity(
            energy_j / seconds if seconds else 0.0,
            "W",
            worst(energy_grade, time.grade),
            f"energy of the trace / its time ({time.source})",
        ),
        "dram_gb": moved(result.total_bytes("dram") * 1e-9, "dram_gb"),
    }
    if result.prefill_tokens:
        metrics["time_to_first_token_s"] = timed(result.total_seconds("prefill"), "time_to_first_token_s")
    if generated:
        decode_s, decode_j = result.total_seconds("decode"), float(totals[decode].sum())
        metrics["time_per_token_s"] = timed(decode_s / result.decode_steps, "time_per_token_s")
        metrics["tokens_per_s"] = timed(generated / decode_s, "tokens_per_s")
        metrics["energy_per_token_j"] = spent(decode_j / generated, "energy_per_token_j")
        metrics["tokens_per_j"] = spent(generated / decode_j, "tokens_per_j")
    for name, (value, source) in result.figures.items():
        metrics[name] = Quantity(value, METRICS[name][0], source.grade, source.source)
    return Ppa(area, area_convention, energy, energy_source, {n: metrics[n] for n in METRICS if n in metrics})
