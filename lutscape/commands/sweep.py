"""``lutscape sweep`` and ``lutscape report``."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

    from lutscape.explore.sweep_file import Plan

SHOWN = 10


@click.command()
@click.argument("sweep_file", metavar="SWEEP")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory [default: lutscape-out/NAME].")
@click.option("--trials", type=int, help="Trials in place of the file's.")
@click.option("--workers", type=int, help="Processes that evaluate [default: as many as pay off].")
@click.option("--resume", is_flag=True, help="Go on in a directory that an earlier run left.")
@click.option("--storage", metavar="URL", help="Share the study through an Optuna storage, see below.")
@click.option("--seed", type=int, help="Seed in place of the file's.")
@click.option("--workload", "works", multiple=True, metavar="NAME", help="Of a comparison: only this one; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print the front as JSON.")
def sweep(
    sweep_file: str,
    output: Path | None,
    trials: int | None,
    workers: int | None,
    resume: bool,
    storage: str | None,
    seed: int | None,
    works: tuple[str, ...],
    as_json: bool,
) -> None:
    """Explore a design space: write a result store and a report.

    SWEEP is a YAML file, or the name of a packaged one (quickstart). The directory receives
    index.html, trials.parquet and .csv, figures, and everything that reproduces them. A series
    (kind: sweep-series) runs several, each in a directory of its own below; a comparison (kind: comparison,
    all-machines) runs every machine on every workload.

    The result depends on the sweep file, the seed and the number of trials alone: not on --workers,
    and not on being killed and resumed.

    Exit status: 0; 1 if the model failed on more than half of the trials (what was found is written);
    2 for bad input, or if no design is feasible.

    \b
    With --storage several processes, on one machine or many, share one study:
      sqlite:///study.db              one machine, few processes
      postgresql://user:pw@host/db    many machines; pip install 'lutscape[postgresql]'
      /shared/study.journal           a journal file on a file system they share
    Start the same command on each with its own -o. They stop together at the shared total of
    trials; every one writes the whole result. Who evaluates what depends on timing, so runs with
    --storage are not reproducible bit by bit. Trials of a process that died are taken over after
    a minute.
    """
    from lutscape.explore import comparison_file, notes, series, session
    from lutscape.explore.progress import SweepProgress
    from lutscape.hw.errors import UserError

    if comparison_file.is_comparison(sweep_file):
        options = {"trials": trials, "workers": workers, "resume": resume, "seed": seed, "only": works}
        _comparison(sweep_file, output, storage, as_json, **options)
        return
    if works:
        raise UserError(f"--workload {works[0]}: {sweep_file!r} is not a comparison; leave it out")
    if series.is_series(sweep_file):
        _series(sweep_file, output, storage, as_json, trials=trials, workers=workers, resume=resume, seed=seed)
        return

    def begin(plan: Plan, total: int) -> SweepProgress:
        free = notes.free_parameters(plan)
        if free:
            click.echo(f"warning: {free}", err=True)
        return SweepProgress(plan, total)

    command = shlex.join(["lutscape", *_without_resume(sys.argv[1:])])
    shown = _TraceProgress()
    try:
        done = session.sweep(
            sweep_file,
            directory=output,
            trials=trials,
            workers=workers,
            resume=resume,
            storage=storage,
            seed=seed,
            command=command,
            trace_progress=shown,
            begin=begin,
        )
    except session.ModelFault as error:
        click.echo(f"lutscape: error: {error}", err=True)
        raise click.exceptions.Exit(1) from None
    except KeyboardInterrupt:
        click.echo("stopped; what was finished is kept: go on with the same command and --resume", err=True)
        raise
    if as_json:
        click.echo(json.dumps(_as_json(done.plan, done.trials, done.report, done.seconds), indent=2))
    else:
        _print_front(done.plan, done.trials)
        took = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.seconds.items())
        click.echo(f"\n{notes.plural(len(done.trials), 'trial')} ({took})\nreport: {done.report}")
    failure = notes.failure(done.trials)
    if failure:
        click.echo(f"warning: {failure}", err=True)
    if notes.mostly_failed(done.trials):
        raise click.exceptions.Exit(1)


def _comparison(name: str, output: Path | None, storage: str | None, as_json: bool, **options: Any) -> None:
    """Run every machine of a comparison on every workload."""
    from lutscape.explore import comparison, comparison_file, session
    from lutscape.hw.errors import UserError

    for option in ("storage", "seed"):
        given = storage if option == "storage" else options.pop(option)
        if given is not None:
            raise UserError(f"--{option} {given}: {name!r} is a comparison; give it in the file")
    loaded = comparison_file.load(name)
    directory = output if output is not None else session.OUT / loaded.file.name

    def say(line: str) -> None:
        click.echo(line, err=True)

    page = comparison.run(loaded, directory, say, trace_progress=_TraceProgress(), **options)
    text = (directory / "comparison.json").read_text(encoding="utf-8")
    if as_json:
        click.echo(text.rstrip())
        return
    _print_comparison(json.loads(text))
    click.echo(f"report: {page}")


def _print_comparison(document: dict[str, Any]) -> None:
    from lutscape.commands.console import print_table
    from lutscape.explore.comparison_page import COLUMNS, title
    from lutscape.explore.text import metric_label, quantity, significant

    for name, work in document["workloads"].items():
        click.echo(f"\n{title(name, work)}")
        rows: list[list[object]] = []
        for row in work["rows"]:
            if "refused" in row:
                rows.append([row["machine"], *("–" for _ in range(len(COLUMNS) + 2)), row["refused"][:60]])
                continue
            found = [row["metrics"].get(n) for n in COLUMNS]
            areas = [row["areas"].get(k) for k in ("arithmetic", "memory")]
            rows.append([
                row["machine"], *("–" if m is None else quantity(m["value"], m["unit"]) for m in found),
                *("–" if a is None else significant(a["value"]) for a in areas), next(iter(row["bound_by"])),
            ])  # fmt: skip
        columns = ["machine", *(metric_label(n) for n in COLUMNS), "arithmetic mm²", "memory mm²", "waits for"]
        print_table(columns, rows, left=["machine", "waits for"])


def _series(name: str, output: Path | None, storage: str | None, as_json: bool, **options: Any) -> None:
    """Run the sweeps of a series, each as if it had been asked for alone."""
    from lutscape.explore import series, session
    from lutscape.explore.progress import SweepProgress
    from lutscape.hw.errors import UserError

    if storage is not None:
        raise UserError(f"--storage {storage}: {name!r} is a series of sweeps; share its sweeps one by one")

    def run(path: Path, directory: Path) -> session.Finished:
        command = shlex.join(["lutscape", "sweep", path.stem])
        return session.sweep(path, directory, command=command, begin=SweepProgress, **options)

    loaded, documents = series.load(name), []
    for done in series.run(loaded, output, run):
        if as_json:
            documents.append(_as_json(done.plan, done.trials, done.report, done.seconds))
        else:
            _print_front(done.plan, done.trials)
            click.echo(f"{len(done.trials)} trials; report: {done.report}\n")
    if as_json:
        click.echo(json.dumps({"name": loaded.file.name, "sweeps": documents}, indent=2))
    else:
        click.echo(f"all fronts: {series.page_path(loaded, output)}")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--all", "every", is_flag=True, help="DIR holds reports: write their front page.")
def report(directory: Path, every: bool) -> None:
    """Render a stored sweep again, or the front page of all reports.

    DIR is the output directory of a finished sweep; with --all a directory of reports, whose index.html then lists
    every page and table in it with its headline numbers, grades and date.

    \b
      lutscape report lutscape-out/quickstart
      lutscape report --all reports
    """
    if every:
        from lutscape.explore import front_page

        click.echo(f"report: {front_page.write(directory)}")
        return
    from lutscape.explore import report as reports
    from lutscape.explore import session, store

    plan, frame, trace = session.load_directory(directory)
    with store.locked(directory):
        path = reports.write(directory, plan, frame, trace)
    click.echo(f"report: {path}")


def _without_resume(arguments: list[str]) -> list[str]:
    from lutscape.explore.store import masked

    return [masked(a) for a in arguments if a not in ("--resume", "--json")]


class _TraceProgress:
    """One line on stderr while a model runs; silent where stderr is not a terminal."""

    def __call__(self, what: str, done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done >= total else "\r"
            print(f"{what} the model: {done}/{total}".ljust(50), end=end, file=sys.stderr, flush=True)


def _front(plan: Plan, frame: pd.DataFrame) -> pd.DataFrame:
    """Return the front, the chosen design first, then by the first objective; of equal designs the first."""
    from lutscape.hw.ppa import METRICS

    first = plan.file.objectives[0]
    ascending = [False, METRICS[first][1] == "minimize", True]
    front = frame[frame["is_pareto"]].sort_values(["is_chosen", first, "number"], ascending=ascending)
    return front.drop_duplicates(plan.file.objectives)


def _print_front(plan: Plan, frame: pd.DataFrame) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from lutscape.explore import activity, notes
    from lutscape.explore.text import field_unit, metric_label, plain, quantity
    from lutscape.hw.ppa import METRICS

    front = _front(plan, frame)
    shown = front.head(SHOWN)
    same = [k for k in plan.file.parameters if activity.active(front, k).all() and front[k].nunique() == 1]
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("trial", justify="right")
    for name in plan.file.objectives:
        table.add_column(metric_label(name), justify="right")
    for _, row in shown.iterrows():
        numbers = [quantity(row[n], METRICS[n][0]) for n in plan.file.objectives]
        table.add_row(("* " if row["is_chosen"] else "") + str(row["number"]), *numbers)
    single = len(plan.file.objectives) == 1
    what = "best design" if single else f"Pareto front, {len(shown)} of {notes.plural(len(front), 'point')}"
    click.echo(f"{plan.file.name}: {what}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)
    chosen = front.iloc[0]
    rule = "the best" if single else "nearest to the best value of every objective"
    click.echo(f"* chosen, {rule}: trial {chosen['number']}")
    for key in plan.file.parameters:
        if key in chosen["inert"].split(activity.SEPARATOR):
            click.echo(f"    {key}: no effect on this design")
            continue
        note = "  (all of the front)" if key in same and len(front) > 1 else ""
        click.echo(f"    {key} = {plain(_plain(chosen[key]))} {field_unit(key)}".rstrip() + note)


def _as_json(plan: Plan, frame: pd.DataFrame, report: Path, seconds: dict[str, float]) -> dict[str, Any]:
    from lutscape.hw.ppa import METRICS

    front = _front(plan, frame)
    metrics = [name for name in METRICS if name in frame.columns]
    designs = [
        {
            "number": int(row["number"]),
            "chosen": bool(row["is_chosen"]),
            "parameters": {key: _plain(row[key]) for key in plan.file.parameters},
            "inert": [key for key in plan.file.parameters if key in row["inert"].split("; ")],
            "metrics": {name: float(row[name]) for name in metrics},
        }
        for _, row in front.iterrows()
    ]
    return {
        "name": plan.file.name,
        "trials": len(frame),
        "feasible": int(frame["feasible"].sum()),
        "failed": int((frame["state"] == "failed").sum()),
        "units": {name: METRICS[name][0] for name in metrics},
        "front": designs,
        "report": str(report),
        "seconds": seconds,
    }


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
