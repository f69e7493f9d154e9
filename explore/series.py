"""A series of sweeps behind one name: each runs as it would alone, one page lists their fronts.

A YAML file of kind ``sweep-series`` names sweep files. They are run in order, each into a directory of its own name
below the series' directory.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lutscape.explore import session, sweep_file
from lutscape.explore.session import Finished
from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError

KIND = "sweep-series"
LONGEST = 40
"""Points of a front that the page lists."""


class SeriesFile(BaseModel):
    """A YAML file of ``configs/sweeps``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sweep-series"]
    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    sweeps: list[str] = Field(min_length=1, max_length=50)
    """Names or paths of sweep files."""


@dataclass(frozen=True)
class Series:
    """A checked series.

    Attributes:
        file: its content.
        paths: of the sweep files.
    """

    file: SeriesFile
    paths: tuple[Path, ...]


def is_series(name: str | Path) -> bool:
    """Return whether a name or path leads to a series; nothing else is checked.

    Raises:
        UserError: no such file, or not YAML.
    """
    data, _ = yaml_file.read(yaml_file.find(name, "sweeps"))
    return data.get("kind") == KIND


def load(name: str | Path) -> Series:
    """Load a series and check every sweep that it names.

    Raises:
        UserError: one line with file, line, key path, bad value and what is allowed.
    """
    path = yaml_file.find(name, "sweeps")
    data, lines = yaml_file.read(path)
    file = yaml_file.validate(SeriesFile, data, path, lines)
    paths: list[Path] = []
    names: set[str] = set()
    for index, given in enumerate(file.sweeps):
        where = f"{path}:{lines.get(('sweeps', index), 0)}: sweeps[{index}]"
        try:
            found = yaml_file.find(given, "sweeps", relative_to=path)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if is_series(found):
            raise UserError(f"{where}: {given!r} is itself a series; name its sweeps")
        plan = sweep_file.load(found)
        if plan.file.name in names:
            raise UserError(f"{where}: a second sweep named {plan.file.name!r}; names must differ")
        names.add(plan.file.name)
        paths.append(found)
    return Series(file, tuple(paths))


def run(series: Series, directory: Path | None, sweep: Callable[[Path, Path], Finished]) -> Iterator[Finished]:
    """Run the sweeps of a series, one after the other, and write the page.

    Args:
        series: from :func:`load`.
        directory: output; default ``lutscape-out/<name of the series>``.
        sweep: runs one sweep file into a directory.

    Yields:
        Each finished sweep.
    """
    root = directory if directory is not None else session.OUT / series.file.name
    done = []
    for path in series.paths:
        plan = sweep_file.load(path)
        done.append(sweep(path, root / plan.file.name))
        yield done[-1]
    write(series, root, done)


def page_path(series: Series, directory: Path | None) -> Path:
    """Return where the page is written."""
    return (directory if directory is not None else session.OUT / series.file.name) / "index.html"


def write(series: Series, directory: Path, done: list[Finished]) -> Path:
    """Write the page of a finished series: every front, with a link to its report."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    from lutscape.version import __version__

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("series.html.j2").render(
        file=series.file, fronts=[_front(directory, finished) for finished in done], version=__version__
    )
    page = directory / "index.html"
    temporary = page.with_name(f".{page.name}.{os.getpid()}.tmp")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(page)
    return page


def _front(directory: Path, finished: Finished) -> dict[str, Any]:
    """Return what the page shows of one sweep: its front, chosen design first, then by the first objective."""
    from lutscape.explore.text import field_unit, metric_label, plain, quantity
    from lutscape.hw.ppa import METRICS

    file = finished.plan.file
    first = file.objectives[0]
    front = finished.trials[finished.trials["is_pareto"]].sort_values(
        ["is_chosen", first], ascending=[False, METRICS[first][1] == "minimize"]
    )
    front = front.drop_duplicates(file.objectives)
    rows = [
        {
            "chosen": bool(row["is_chosen"]),
            "cells": [
                str(row["number"]),
                *(quantity(float(row[n]), METRICS[n][0]) for n in file.objectives),
                *(plain(row[k].item() if hasattr(row[k], "item") else row[k]) for k in file.parameters),
            ],
        }
        for _, row in front.head(LONGEST).iterrows()
    ]
    return {
        "file": file,
        "report": finished.report.relative_to(directory).as_posix(),
        "columns": [
            "trial",
            *(f"{metric_label(n)} {'↑' if METRICS[n][1] == 'maximize' else '↓'}" for n in file.objectives),
            *(f"{k} ({field_unit(k)})" if field_unit(k) else k for k in file.parameters),
        ],
        "rows": rows,
        "points": len(front),
        "trials": len(finished.trials),
    }
