"""Progress of a sweep on stderr: trials, best of each objective, time left."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from lutscape.explore.evaluate import COMPLETE
from lutscape.explore.sweep_file import Plan
from lutscape.explore.text import metric_label, quantity
from lutscape.hw.ppa import METRICS

if TYPE_CHECKING:
    from lutscape.explore.study import FinishedTrial


class SweepProgress:
    """A rich progress bar, silent where stderr is no terminal; call it with every finished trial."""

    def __init__(self, plan: Plan, total: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._plan = plan
        self._best: dict[str, float] = {}
        console = Console(stderr=True)
        self._bar = Progress(
            TextColumn("search"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("search", total=total, best="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def __call__(self, trial: FinishedTrial) -> None:
        """Count one trial; only designs that keep the constraints can be best."""
        metrics = trial.outcome.metrics
        if trial.outcome.state == COMPLETE and all(c.satisfied(metrics) for c in self._plan.constraints):
            for name in self._plan.file.objectives:
                better = max if METRICS[name][1] == "maximize" else min
                self._best[name] = better(metrics[name], self._best.get(name, metrics[name]))
        shown = ", ".join(f"{metric_label(n)} {quantity(v, METRICS[n][0])}" for n, v in self._best.items())
        self._bar.update(self._task, advance=1, best=f"best {shown}" if shown else "")
