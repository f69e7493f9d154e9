"""The result store: one directory per sweep, every file written whole or not at all.

=================  ====================================================================
sweep.yaml         the sweep file, word for word
hardware/*.yaml    template and baselines, word for word
trace.parquet      the workload
versions.json      versions, command, --trials and --seed in force
funnel.json        what each rule left of the grid (sampler funnel)
study.journal      Optuna's journal (not with --storage)
trials.parquet     one row per trial: number, state, reason, parameters, metrics, feasible,
                   violated, is_pareto, is_chosen, inert (parameters without effect on the
                   design); trials.csv is the same table
chosen.yaml        the recommended design as a hardware file
index.html         the report, with its figures beside it in figures/
=================  ====================================================================
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from lutscape.explore import pareto
from lutscape.explore.evaluate import COMPLETE
from lutscape.explore.sweep_file import Plan
from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError
from lutscape.hw.ppa import METRICS

if TYPE_CHECKING:
    from lutscape.explore.study import FinishedTrial

SCHEMA_VERSION = 1
LOCK = ".lock"


def write(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name, then rename it.

    Raises:
        UserError: cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written: {error.strerror or error}") from None


def check_writable(directory: Path) -> None:
    """Refuse a directory in which nothing can be written, before anything long is run for it.

    Tried for real, by making and removing a directory: access bits say little to root, /proc and
    read-only mounts. Where the directory does not exist yet, its nearest existing parent is tried.

    Raises:
        UserError: naming the directory and what the system says.
    """
    place = directory
    try:
        while not place.exists():
            place = place.parent
        probe = place / f".lutscape.{os.getpid()}.tmp"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise UserError(f"{directory}: cannot be written: {error.strerror or error}; give another -o") from None


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory for this process; the lock ends with the process, however it ends.

    Raises:
        UserError: another process holds it, or it cannot be written.
    """
    import fcntl

    try:
        directory.mkdir(parents=True, exist_ok=True)
        opened = open(directory / LOCK, "w")  # noqa: SIM115  an error in the caller's block is not ours
    except OSError as error:
        raise UserError(f"{directory}: cannot be written: {error.strerror or error}") from None
    with opened as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{directory}: another lutscape is writing there; wait for it or give another -o") from None
        yield


def table(trials: Sequence[FinishedTrial], plan: Plan) -> pd.DataFrame:
    """Return one row per trial, in the order of their numbers.

    Numbers carry the unit of :data:`lutscape.hw.ppa.METRICS`; metrics of refused designs are NaN.
    """
    ordered = sorted(trials, key=lambda t: t.number)
    outcomes = [t.outcome for t in ordered]
    columns: dict[str, Any] = {
        "number": np.array([t.number for t in ordered], np.int64),
        "state": [o.state for o in outcomes],
        "reason": [o.reason for o in outcomes],
    }
    for key in plan.file.parameters:
        columns[key] = _column([t.design[key] for t in ordered])
    defined = [name for name in METRICS if any(name in o.metrics for o in outcomes)]
    for name in defined:
        columns[name] = np.array([o.metrics.get(name, np.nan) for o in outcomes], np.float64)
    feasible = np.array(
        [o.state == COMPLETE and all(c.satisfied(o.metrics) for c in plan.constraints) for o in outcomes], bool
    )
    columns["feasible"] = feasible
    columns["violated"] = [
        "; ".join(str(c) for c in plan.constraints if o.state == COMPLETE and not c.satisfied(o.metrics))
        for o in outcomes
    ]
    front, chosen = np.zeros(len(ordered), bool), np.zeros(len(ordered), bool)
    if feasible.any():
        points = pareto.costs([columns[name] for name in plan.file.objectives], plan.file.objectives)
        rows = np.flatnonzero(feasible)
        front[rows] = pareto.non_dominated(points[rows])
        chosen[rows[pareto.knee(points[rows])]] = True
    columns["is_pareto"], columns["is_chosen"] = front, chosen
    columns["inert"] = ["; ".join(k for k in plan.file.parameters if k in o.inert) for o in outcomes]
    return pd.DataFrame(columns)


def _column(values: list[Any]) -> Any:
    """Return integers, floats or booleans as arrays; mixtures as text."""
    kinds = {type(v) for v in values}
    if kinds <= {bool}:
        return np.array(values, bool)
    if kinds <= {int}:
        return np.array(values, np.int64)
    if kinds <= {int, float}:
        return np.array(values, np.float64)
    return [str(v) for v in values]


def save_trials(frame: pd.DataFrame, plan: Plan, directory: Path) -> None:
    """Write trials.parquet and trials.csv; equal tables give equal bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        "schema_version": SCHEMA_VERSION,
        "sweep": plan.file.name,
        "parameters": list(plan.file.parameters),
        "objectives": plan.file.objectives,
        "constraints": [str(c) for c in plan.constraints],
        "units": {name: METRICS[name][0] for name in METRICS if name in frame.columns},
    }
    arrow = pa.Table.from_pandas(frame, preserve_index=False)
    arrow = arrow.replace_schema_metadata({"lutscape_trials": json.dumps(metadata)})
    sink = pa.BufferOutputStream()
    pq.write_table(arrow, sink, compression="zstd")
    write(directory / "trials.parquet", sink.getvalue().to_pybytes())
    write(directory / "trials.csv", frame.to_csv(index=False))


def load_trials(directory: Path) -> pd.DataFrame:
    """Read the trials of a stored sweep.

    Raises:
        UserError: missing, not readable, not a sweep's, or of another schema version.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = directory / "trials.parquet"
    if not path.is_file():
        raise UserError(
            f"{path} not found: {directory} holds no finished sweep; finish one with: lutscape sweep --resume"
        )
    try:
        arrow = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a readable Parquet file: {str(error).splitlines()[0]}") from None
    metadata = (arrow.schema.metadata or {}).get(b"lutscape_trials")
    if metadata is None:
        raise UserError(f"{path}: a Parquet file, but not the trials of a sweep (no 'lutscape_trials' metadata)")
    version = _schema_version(metadata)
    if version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: trials schema version {version}, this lutscape reads {SCHEMA_VERSION}; run the sweep again"
        )
    frame = arrow.to_pandas()
    return frame if "inert" in frame else frame.assign(inert="")


def _schema_version(metadata: bytes) -> Any:
    try:
        return json.loads(metadata).get("schema_version")
    except (ValueError, AttributeError):
        return None


def masked(url: str) -> str:
    """Return a storage URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@/]*@", r"\1:***@", url)


def located(url: str) -> str:
    """Return a storage as versions.json keeps it: without its password, its file as an absolute path."""
    if url.startswith("sqlite:///"):
        file, mark, options = url.removeprefix("sqlite:///").partition("?")
        return f"sqlite:///{Path(file).absolute()}{mark}{options}" if file and file != ":memory:" else url
    return masked(url) if "://" in url else str(Path(url).expanduser().absolute())


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    from lutscape.version import __version__

    found = {"lutscape": __version__, "python": platform.python_version()}
    for package in ("numpy", "numba", "pandas", "pyarrow", "optuna", "pydantic", "matplotlib", "gguf"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


class Versions(BaseModel):
    """Versions a result depends on, by package."""

    model_config = ConfigDict(extra="allow", strict=True)
    __pydantic_extra__: dict[str, str]

    lutscape: str


class Settings(BaseModel):
    """What versions.json holds."""

    model_config = ConfigDict(extra="allow", strict=True)

    schema_version: Literal[1]
    trials: int = Field(ge=1)
    seed: int = Field(ge=0, lt=1 << 32)
    storage: str | None
    """Of a shared study, as :func:`located` writes it."""
    command: str
    versions: Versions


def read_settings(directory: Path) -> dict[str, Any]:
    """Read versions.json.

    Raises:
        UserError: missing, not JSON, or a key is missing or has the wrong type.
    """
    path = directory / "versions.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{directory} holds no sweep (no versions.json)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read, the file is damaged: {error}") from None
    if not isinstance(data, dict):
        raise UserError(f"{path}: the file is damaged: not a mapping of settings")
    yaml_file.validate(Settings, data, path)
    return data
