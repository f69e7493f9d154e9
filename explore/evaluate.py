"""Evaluation of designs: parameters in, metrics or the reason of a refusal out, in parallel."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from lutscape.explore.space import Design
from lutscape.explore.workload import FixedTrace
from lutscape.hw import spec as hardware
from lutscape.hw.errors import UserError
from lutscape.hw.spec import Spec
from lutscape.models.trace import Trace

COMPLETE = "complete"
REFUSED = "refused"
FAILED = "failed"


@dataclass(frozen=True)
class Outcome:
    """What became of one design.

    Attributes:
        state: ``complete``; ``refused`` where the spec or the timing model does not take the design;
            ``failed`` where a model broke on it, which is a fault of the model.
        reason: of a refusal or failure, one line.
        metrics: numbers of :data:`lutscape.hw.ppa.METRICS`; empty unless complete.
    """

    state: str
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a store."""
        return asdict(self)


def evaluate(template: Spec, trace: Trace, design: Design) -> Outcome:
    """Simulate one design; a refusal is data, not an error, and a fault of a model does not end a sweep."""
    from lutscape.sim.simulate import simulate

    try:
        spec = hardware.override(template, dict(design), "design")
        _, ppa = simulate(spec, trace)
    except UserError as error:
        return Outcome(REFUSED, str(error).removeprefix("design: "))
    except Exception as error:
        return Outcome(FAILED, f"{type(error).__name__}: {' '.join(str(error).split())}"[:300])
    metrics = {name: float(q.value) for name, q in ppa.metrics.items()}
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if bad:
        return Outcome(FAILED, f"the model gave no finite {', '.join(bad)}")
    return Outcome(COMPLETE, "", metrics)


class Evaluator:
    """Evaluates designs in this process or in a pool; equal designs are simulated once.

    A pool's workers load trace and template once each, from the files of the output directory.
    They end with this process, however it ends.
    """

    def __init__(self, template: Path, trace: Path, workers: int = 1) -> None:
        self.cache: dict[tuple[tuple[str, Any], ...], Outcome] = {}
        self.workers = workers
        self._files = (template, trace)
        self._local: tuple[Spec, Trace] | None = None
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def remember(self, design: Design, outcome: Outcome) -> None:
        """Put a known outcome into the cache."""
        self.cache[tuple(design.items())] = outcome

    def map(self, designs: Sequence[Design]) -> Iterator[Outcome]:
        """Yield the outcome of each design, in order.

        Raises:
            UserError: a worker process died.
        """
        keys = [tuple(design.items()) for design in designs]
        fresh = {k: dict(k) for k in keys if k not in self.cache}
        waiting: dict[Any, Future[Outcome]] = {}
        if self.workers > 1 and fresh:
            waiting = {key: self._processes().submit(_evaluate_here, design) for key, design in fresh.items()}
        for key in keys:
            if key not in self.cache:
                try:
                    self.cache[key] = waiting[key].result() if key in waiting else self._one(dict(key))
                except BrokenProcessPool:
                    raise UserError(
                        "a worker process died (out of memory?); finished trials are kept: go on with --resume "
                        "and fewer --workers"
                    ) from None
            yield self.cache[key]

    def _one(self, design: Design) -> Outcome:
        if self._local is None:
            self._local = load_task(*self._files)
        return evaluate(*self._local, design)

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            import multiprocessing

            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(str(self._files[0]), str(self._files[1])),
            )
        return self._pool


def load_task(template: Path, trace: Path) -> tuple[Spec, Trace]:
    """Load what every evaluation needs."""
    return hardware.load(template.resolve()), FixedTrace.of(Trace.load(trace))


# State of a worker process: template and trace.
_task: list[tuple[Spec, Trace]] = []


def _start_worker(template: str, trace: str) -> None:
    import signal
    import threading

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _task[:] = [load_task(Path(template), Path(trace))]


def _end_with_parent() -> None:
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _evaluate_here(design: Design) -> Outcome:
    return evaluate(*_task[0], design)
