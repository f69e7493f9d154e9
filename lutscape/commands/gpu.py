"""``lutscape gpu``: kernels measured on a GPU."""

from __future__ import annotations

import json as json_module
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table
from lutscape.hw.errors import UserError, nearest

if TYPE_CHECKING:
    from lutscape.sim.gpu.points import Point


@click.group()
def gpu() -> None:
    """Kernels measured on a GPU: build, check, measure; show what was measured.

    \b
      lutscape gpu show                   the shipped H100, no GPU needed
      lutscape gpu build                  compile the kernels (nvcc, sm_90a)
      lutscape gpu check                  every kernel against its reference
      lutscape gpu measure -o my-h100     some minutes
      lutscape gpu fit my-h100            the timing model, fitted on half of the shapes
      lutscape gpu report my-h100
      lutscape gpu published              A100 and RTX 4090: the model beside published times
    """


@gpu.command("build")
@click.option("--nvcc", help="The compiler; by default from PATH, $CUDA_HOME or NVIDIA's wheel.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The library; in the user's cache by default.")
def build_command(nvcc: str | None, output: Path | None) -> None:
    """Compile the kernels."""
    from lutscape.sim.gpu import build

    path, notes = build.build(nvcc, output)
    for note in notes:
        click.echo(note, err=True)
    click.echo(path)


@gpu.command("check")
@click.option("--seed", default=0, show_default=True, help="Of the random data.")
@click.option("--small", is_flag=True, help="Small shapes only, as under compute-sanitizer.")
@click.option("--json", "as_json", is_flag=True)
def check_command(seed: int, small: bool, as_json: bool) -> None:
    """Compare every kernel with its reference; exit code 1 if one differs."""
    from lutscape.sim.gpu import build, check
    from lutscape.sim.gpu.driver import Gpu

    with Gpu(build.library()) as device:
        outcomes = []
        for outcome in check.checks(device, seed, small):
            outcomes.append(outcome)
            if not outcome.passed:
                click.echo(f"FAILED {outcome.name}: {outcome.error:.3g}, allowed {outcome.allowed:g}", err=True)
    failed = sum(not o.passed for o in outcomes)
    if as_json:
        rows = [{"name": o.name, "error": float(o.error), "allowed": o.allowed, "passed": o.passed} for o in outcomes]
        click.echo(json_module.dumps(rows, indent=1))
    else:
        worst: dict[str, tuple[int, float]] = {}
        for o in outcomes:
            kind = " ".join(word for word in o.name.split() if "x" not in word or not word[0].isdigit())
            count, error = worst.get(kind, (0, 0.0))
            worst[kind] = count + 1, max(error, float(o.error))
        print_table(
            ["kernel", "checks", "largest error"], [(k, n, f"{e:.2g}") for k, (n, e) in worst.items()], ["kernel"]
        )
        click.echo(f"{len(outcomes) - failed} of {len(outcomes)} checks passed")
    if failed:
        sys.exit(1)


@gpu.command("measure")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--only", help="Kernels, separated by commas; all by default.")
@click.option("--every", default=1, show_default=True, help="Measure every n-th point only.")
@click.option("--repetitions", type=click.IntRange(9), default=9, show_default=True)
@click.option(
    "--energy/--no-energy", default=True, show_default=True, help="Loops of seconds for the energy of some points."
)
@click.option("--check/--no-check", default=True, show_default=True, help="Check every kernel before.")
def measure_command(output: Path, only: str | None, every: int, repetitions: int, energy: bool, check: bool) -> None:
    """Time every kernel and shape on the GPU here."""
    import pandas as pd

    from lutscape.hw.gpu import records
    from lutscape.sim.gpu import build, measure, points
    from lutscape.sim.gpu import check as checking
    from lutscape.sim.gpu.driver import Gpu

    wanted = points.points()
    kernels = {p.kernel for p in wanted}
    chosen = only.split(",") if only else sorted(kernels)
    for name in chosen:
        if name not in kernels:
            raise UserError(
                f"--only: unknown kernel {name!r}{nearest(name, kernels)}; of: {', '.join(sorted(kernels))}"
            )
    wanted = [p for p in wanted if p.kernel in chosen][::every]
    began = time.perf_counter()

    def say(text: str) -> None:
        click.echo(f"{time.perf_counter() - began:7.1f} s  {text}", err=True)

    passed = 0
    with Gpu(build.library()) as device:
        if check:
            for outcome in checking.checks(device):
                if not outcome.passed:
                    raise UserError(
                        f"check failed: {outcome.name}: error {outcome.error:.3g}, allowed {outcome.allowed:g}"
                    )
                passed += 1
            say(f"{passed} checks passed")
        bench = measure.Bench(device)
        about: dict[str, Any] = measure.device(bench)
        about["checks_passed"] = passed
        about["idle_power_w"] = round(measure.idle_power(bench), 2)
        about["rates"] = bench.rates()
        say(json_module.dumps(about))
        rows: list[dict[str, Any]] = []
        loops: list[dict[str, Any]] = []

        def save() -> None:
            records.write(output, pd.DataFrame(rows), pd.DataFrame(loops), about)

        def tick(i: int, name: str) -> None:
            if i % 250 == 0:
                say(f"{i} of {len(wanted)}: {name}")
                if rows:
                    save()

        about["refused"] = []
        for found in measure.measure(bench, wanted, repetitions, tick):
            if isinstance(found, measure.Timing):
                rows.append(found.row())
            else:
                p, why = found
                about["refused"].append({"kernel": p.kernel, "form": p.form, "m": p.m, "n": p.n, "k": p.k, "why": why})
        say(f"{len(rows)} points timed")
        about["rates_after"] = bench.rates()
        save()
        if energy:
            for point in _energy_points(wanted):
                loops.append(measure.energy(bench, point).row())
            say(f"{len(loops)} energy loops")
        save()
    click.echo(output)


def _energy_points(wanted: list[Point]) -> list[Point]:
    from lutscape.sim.gpu import points

    keys = {p.key for p in wanted}
    return [p for p in points.energy_points() if p.key in keys or p.key[0] == "vendor"]


@gpu.command("show")
@click.argument("name", default="h100-sxm5-80gb")
@click.option("--kernel", help="Only this kernel.")
@click.option("--form", help="Only this weight or cache format.")
@click.option("--m", type=int, help="Only this M (rows, sequences).")
@click.option("--json", "as_json", is_flag=True)
def show_command(name: str, kernel: str | None, form: str | None, m: int | None, as_json: bool) -> None:
    """Print a measurement: a shipped one by NAME, or a folder that measure wrote."""
    from lutscape.hw.gpu import records

    found = records.load(name)
    frame = found.points
    for column, value in (("kernel", kernel), ("form", form), ("m", m)):
        if value is not None:
            options = sorted(map(str, frame[column].unique()))
            frame = frame[frame[column].astype(str) == str(value)]
            if frame.empty:
                near, listed = nearest(str(value), options), ", ".join(options)
                raise UserError(f"--{column}: nothing measured for {value!r}{near}; of: {listed}")
    if as_json:
        click.echo(
            json_module.dumps({"device": found.device, "points": json_module.loads(frame.to_json(orient="records"))})
        )
        return
    rates = found.device["rates"]
    click.echo(found.source.removeprefix("measured: "))
    click.echo(", ".join(f"{k} {v:g}" for k, v in rates.items()))
    print_table(
        ["kernel", "format", "M", "N", "K", "heads", "blocks", "µs", "spread", "GB/s", "of read", "tera-op/s", "MHz"],
        [_line(row, rates["read_gb_s"]) for row in frame.itertuples()],
        ["kernel", "format"],
    )


def _line(row: Any, read_rate: float) -> tuple[object, ...]:
    moved = (row.read_bytes + row.written_bytes) / row.median_us * 1e-3
    heads = f"{row.heads}/{row.kv_heads}" if row.heads else ""
    return (
        row.kernel, row.form, row.m, row.n, row.k, heads, row.listed or "", f"{row.median_us:.4g}",
        f"{100 * (row.max_us - row.min_us) / row.median_us:.1f} %", f"{moved:.0f}", f"{100 * moved / read_rate:.0f} %",
        f"{row.operations / row.median_us * 1e-6:.4g}", row.sm_clock_mhz,
    )  # fmt: skip


@gpu.command("fit")
@click.argument("name", default="h100-sxm5-80gb")
def fit_command(name: str) -> None:
    """Fit the timing model to a measurement; write model.json beside it; print both errors."""
    from lutscape.commands.console import progress_bar
    from lutscape.hw.gpu import records
    from lutscape.sim.gpu import kernel_model

    found = records.load(name)
    with progress_bar() as update:
        fitted = kernel_model.fit_all(found.points, lambda done, total: update("fit", done, total))
    path = kernel_model.save(found.folder, fitted)
    rows = [
        (what, f"{fitted.error(families, True):.2f} %", f"{fitted.error(families, False):.2f} %")
        for what, families in kernel_model.ERRORS.items()
    ]
    print_table(
        ["mean absolute percentage error", "fitting half", "scored half"], rows, ["mean absolute percentage error"]
    )
    click.echo(path)


@gpu.command("report")
@click.argument("name", default="h100-sxm5-80gb")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page; NAME.html by default.")
def report_command(name: str, output: Path | None) -> None:
    """Write the report of a measurement as one HTML page."""
    from lutscape.explore import gpu_report
    from lutscape.hw.gpu import records

    found = records.load(name)
    page = gpu_report.write(found, output or Path(f"{found.name}.html"))
    click.echo(f"{page}: {page.stat().st_size / 1e3:.0f} kB")


@gpu.command("published")
@click.option("--json", "as_json", is_flag=True)
def published_command(as_json: bool) -> None:
    """Print the model of GPUs that were not measured here beside times that others published."""
    from lutscape.sim.gpu import published

    scores = published.score()
    machines = list(dict.fromkeys(s.point.machine for s in scores))
    errors = {machine: published.mape(scores, machine) for machine in machines}
    if as_json:
        rows = [
            {"machine": s.point.machine, "what": s.point.what, "published_us": s.point.microseconds,
             "model_us": s.model_us, "source": s.point.source}
            for s in scores
        ]  # fmt: skip
        click.echo(json_module.dumps({"mape_percent": errors, "points": rows}, indent=1))
        return
    print_table(
        ["machine", "what", "published µs", "model µs", "error"],
        [
            (
                s.point.machine,
                s.point.what,
                f"{s.point.microseconds:.4g}",
                f"{s.model_us:.4g}",
                f"{100 * s.error:+.0f} %",
            )
            for s in scores
        ],
        ["machine", "what"],
    )
    for machine, error in errors.items():
        click.echo(f"{machine}: mean absolute percentage error {error:.1f} %")
    for source in dict.fromkeys(s.point.source for s in scores):
        click.echo(f"source: {source}")
