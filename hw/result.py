"""The Result: what a timing model says about a trace. The contract between timing, cost and reports.

Rows are the *distinct* operators of the trace (see ``Trace.distinct``), each with how often it ran;
all per-row arrays are for **one** execution.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lutscape.hw.provenance import Source

SCHEMA_VERSION = 1
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

LEVELS = ("dram", "l2", "shared", "weight_buffer", "activation_buffer", "output_buffer")
"""Memory levels that machines report bytes for; reads and writes added."""


@dataclass(frozen=True)
class Result:
    """Time, traffic and activity of every distinct operator of a trace on one machine.

    Attributes:
        machine: name of the hardware spec.
        clock_mhz: clock in which ``cycles`` count.
        operators: frame with phase, name, operator, kind, M, N, K, batch, macs, weight_format,
            activation_format and count (executions in the trace).
        cycles: (R,) cycles of one execution.
        bound_by: (R,) name of the resource that is busiest: compute, dram, l2, shared, table, …
        bytes: for each memory level, (R,) bytes moved in one execution.
        activity: for each unit, (R,) elementary operations in one execution (MACs, lookups,
            table entries built, vector operations); cost turns them into energy.
        parts: for each stage of the model (compute, dram, …), (R,) cycles it alone would take.
        detail: further per-row columns (chosen tile, waves) for tables.
        sequences: sequences in the batch.
        prefill_tokens: prompt tokens per sequence.
        decode_steps: decode steps (tokens generated per sequence).
        figures: further metrics of :data:`lutscape.hw.ppa.METRICS` that only this family has, with their source.
    """

    machine: str
    clock_mhz: float
    operators: pd.DataFrame
    cycles: Floats
    bound_by: npt.NDArray[np.str_]
    bytes: dict[str, Floats]
    activity: dict[str, Floats]
    parts: dict[str, Floats] = field(default_factory=dict)
    detail: dict[str, Any] = field(default_factory=dict)
    sequences: int = 1
    prefill_tokens: int = 0
    decode_steps: int = 0
    figures: dict[str, tuple[float, Source]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = len(self.operators)
        arrays = {"cycles": self.cycles, "bound_by": self.bound_by, **self.bytes, **self.activity, **self.parts}
        for name, array in arrays.items():
            if len(array) != rows:
                raise ValueError(f"Result.{name}: {len(array)} values for {rows} operators")

    @property
    def count(self) -> Floats:
        """(R,) executions of each row in the trace."""
        return self.operators["count"].to_numpy(np.float64)

    @property
    def seconds(self) -> Floats:
        """(R,) seconds of one execution."""
        return self.cycles / (self.clock_mhz * 1e6)

    def total_seconds(self, phase: str | None = None) -> float:
        """Return seconds of the whole trace, or of one phase (``prefill``, ``decode``)."""
        return float((self.seconds * self.count)[self.mask(phase)].sum())

    def mask(self, phase: str | None) -> Bools:
        """(R,) rows of a phase; all rows for None."""
        if phase is None:
            return np.ones(len(self.operators), dtype=bool)
        return (self.operators["phase"] == phase).to_numpy()

    def total_bytes(self, level: str, phase: str | None = None) -> float:
        """Return bytes moved at one memory level over the trace."""
        return float((self.bytes[level] * self.count)[self.mask(phase)].sum())

    def total_activity(self, unit: str, phase: str | None = None) -> float:
        """Return elementary operations of one unit over the trace."""
        return float((self.activity[unit] * self.count)[self.mask(phase)].sum())

    def frame(self) -> pd.DataFrame:
        """Return one table row per distinct operator, units in the column names."""
        table = self.operators.copy()
        table["cycles"] = self.cycles
        table["microseconds"] = self.seconds * 1e6
        table["total_ms"] = self.seconds * self.count * 1e3
        table["bound_by"] = self.bound_by
        for level, values in self.bytes.items():
            table[f"{level}_bytes"] = values
        for unit, values in self.activity.items():
            table[f"{unit}_ops"] = values
        for part, values in self.parts.items():
            table[f"{part}_cycles"] = values
        for name, values in self.detail.items():
            table[name] = values
        return table
