"""The trace that a sweep runs on: read from a file, or made from a model."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import pandas as pd

from lutscape.explore.sweep_file import Plan, Workload
from lutscape.hw.errors import UserError
from lutscape.hw.yaml_file import configs_dir
from lutscape.models.trace import Trace

Progress = Callable[[str, int, int], None]


class FixedTrace(Trace):
    """A trace that will not change: its distinct operators are found once for all designs."""

    @cached_property
    def _distinct(self) -> pd.DataFrame:
        return super().distinct()

    def distinct(self) -> pd.DataFrame:
        """Return each different operator once, with how often it runs (a copy)."""
        return self._distinct.copy()

    @classmethod
    def of(cls, trace: Trace) -> FixedTrace:
        """Return the same trace, fixed."""
        return cls(trace.header, trace.rows)


def make(plan: Plan, progress: Progress | None = None) -> Trace:
    """Return the trace of a plan's workload.

    Args:
        plan: the sweep.
        progress: called with (what, done, total) while a model runs.

    Raises:
        UserError: missing or bad trace file, unknown model or format, missing weights.
    """
    return traced(plan.file.workload, plan.path, "workload", progress)


def traced(workload: Workload, path: Path, place: str, progress: Progress | None = None) -> Trace:
    """Return the trace of a workload that stands in a file.

    Args:
        workload: what to trace.
        path: of the file, against which a stored trace is looked for.
        place: key path of the workload in it, for errors.
        progress: called with (what, done, total) while a model runs.

    Raises:
        UserError: as :func:`make`.
    """
    if workload.trace is not None:
        return Trace.load(_find_trace(workload.trace, path))
    from lutscape.models.recorder import Formats
    from lutscape.models.tracing import trace_model

    assert workload.model is not None
    formats = Formats(weights=workload.weights, activations=workload.activations, kv=workload.kv)
    try:
        return trace_model(
            workload.model,
            workload.prompt_tokens,
            workload.decode_tokens,
            workload.batch,
            formats,
            execute=workload.execute,
            requantise=workload.requantise,
            progress=progress,
        ).trace
    except UserError as error:
        raise UserError(f"{path}: {place}: {error}") from None


def _find_trace(name: str, sweep: Path) -> Path:
    given = Path(name).expanduser()
    candidates = [given] if given.is_absolute() else [sweep.parent / given, configs_dir() / given, given]
    return next((path for path in candidates if path.is_file()), candidates[0])
