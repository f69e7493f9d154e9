"""``lutscape choose``: from a finished sweep to one design with its Verilog and PPA report."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(path_type=Path), metavar="SWEEP_DIR")
@click.option(
    "--constraint", "constraints", multiple=True, metavar="BOUND", help="One more bound: 'area_mm2 < 50'; repeatable."
)
@click.option("--workload", "work", help="Of a comparison: choose for this workload [default: its first].")
@click.option("--machine", help="Of a comparison: choose among the designs of this machine.")
@click.option("--trial", type=click.IntRange(0), help="Take this trial instead of the rule's.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory [default: lutscape-out/choice].")
@click.option("--no-rtl", is_flag=True, help="Choose and explain only: no Verilog, no PPA report.")
@click.option("--liberty", "libraries", multiple=True, metavar="LIB", help="nangate45 (default), or Liberty files.")
@click.option("--driving-cell", help="Buffer before every input; needed with Liberty files.")
@click.option("--load", metavar="CAP", help="On every output (10fF); needed with Liberty files.")
@click.option("--vectors", type=click.IntRange(1), default=1000, show_default=True, help="Output beats to verify.")
@click.option("--operands", type=click.Choice(["smollm2", "gaussian"]), default="smollm2", show_default=True,
              help="Whose activations and weights the gates compute while power is measured.")  # fmt: skip
@click.option("--no-curve", is_flag=True, help="Leave the area-delay curve out (ten syntheses fewer).")
@click.option("--json", "as_json", is_flag=True, help="Print the choice as JSON.")
def choose(
    directory: Path,
    constraints: tuple[str, ...],
    work: str | None,
    machine: str | None,
    trial: int | None,
    output: Path | None,
    no_rtl: bool,
    libraries: tuple[str, ...],
    driving_cell: str | None,
    load: str | None,
    vectors: int,
    operands: str,
    no_curve: bool,
    as_json: bool,
) -> None:
    """Pick a design of a finished sweep or comparison, say why, and hand it over.

    The directory receives README.md (why this design, what binds it, what its neighbours cost), the resolved spec,
    its Verilog proven against the golden model, the mapped netlist, and the PPA report with power from a language
    model's operands.

    \b
      lutscape choose lutscape-out/quickstart --constraint 'area_mm2 < 5' -o mine/
    """
    from lutscape.explore import choose as chooser
    from lutscape.explore import comparison, handover
    from lutscape.explore.rtl_measured import Options
    from lutscape.hw.errors import UserError
    from lutscape.rtl import quantity

    output = output or Path("lutscape-out/choice")
    arguments = [str(directory)]
    for option, given in (("--workload", work), ("--machine", machine)):
        if given is not None and not comparison.stored(directory):
            raise UserError(f"{option} {given}: {directory} is not a comparison; leave it out")
        arguments += [option, given] if given is not None else []
    if comparison.stored(directory):
        directory = comparison.pick(directory, work, machine)
        click.echo(f"designs of {directory}", err=True)
    found = chooser.choose(directory, constraints, trial)
    options = Options(
        libraries=libraries or ("nangate45",), vectors=vectors, operands=operands, driving_cell=driving_cell,
        load_ff=quantity.load_ff(load, "--load") if load else None, curve=not no_curve, hardware="spec.yaml",
    )  # fmt: skip
    arguments += [word for c in constraints for word in ("--constraint", c)]
    arguments += ["--trial", str(trial)] if trial is not None else []
    path = handover.write(found, output, options, lambda line: click.echo(line, err=True), arguments, rtl=not no_rtl)
    if as_json:
        click.echo((output / "choice.json").read_text(encoding="utf-8").rstrip())
        return
    for line in json.loads((output / "choice.json").read_text(encoding="utf-8"))["reasons"]:
        click.echo(line)
    click.echo(f"handed over: {path}")
