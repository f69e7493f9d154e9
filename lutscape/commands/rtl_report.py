"""``lutscape rtl report``: a unit's verification, area, delay and power on one page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("hardware", metavar="SPEC")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Directory; lutscape-out/rtl/SPEC by default.")
@click.option("--liberty", "libraries", multiple=True, metavar="LIB", help="nangate45 (default), or Liberty files.")
@click.option("--driving-cell", help="Buffer before every input; needed with Liberty files.")
@click.option("--load", metavar="FF", help="On every output (10fF); needed with Liberty files.")
@click.option("--period", help="Target clock period (1ns); the spec's clock by default.")
@click.option(
    "--weight-bits", type=int, help="Weight bits of the operands; the widest of the spec, at most 4, by default."
)
@click.option("--vectors", type=int, default=1000, show_default=True, help="Output beats to verify, per cell.")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--operands", type=click.Choice(["smollm2", "gaussian"]), default="smollm2", show_default=True,
    help="Whose activations and weights the gates compute while power is measured.",
)  # fmt: skip
@click.option("--no-curve", is_flag=True, help="Leave the area-delay curve out (ten syntheses fewer).")
def report(
    hardware: str,
    output: Path | None,
    libraries: tuple[str, ...],
    driving_cell: str | None,
    load: str | None,
    period: str | None,
    weight_bits: int | None,
    vectors: int,
    seed: int,
    operands: str,
    no_curve: bool,
) -> None:
    """Prove, synthesise, time and power the unit of SPEC; write a page, its numbers, Verilog and netlist.

    SPEC is a packaged name (lut-tensor-core) or the path of a YAML.
    """
    from lutscape.explore import rtl_report
    from lutscape.explore.rtl_measured import Options
    from lutscape.hw import spec as specs
    from lutscape.rtl import quantity

    spec = specs.load(hardware)
    options = Options(
        libraries=libraries or ("nangate45",),
        period_ps=quantity.time_ps(period, "--period") if period else None,
        weight_bits=weight_bits,
        vectors=vectors,
        seed=seed,
        operands=operands,
        driving_cell=driving_cell,
        load_ff=quantity.load_ff(load, "--load") if load else None,
        curve=not no_curve,
        hardware=hardware,
    )
    directory = output or Path("lutscape-out/rtl") / spec.name
    path = rtl_report.write(spec, directory, options, lambda line: click.echo(line, err=True))
    click.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB; numbers in {path.with_name('report.json')}")
