"""``lutscape rtl compare``: lookup against multipliers at equal throughput."""

from __future__ import annotations

from pathlib import Path

import click

from lutscape.hw.errors import UserError


@click.command()
@click.option(
    "--liberty", "libraries", multiple=True, default=("nangate45",), show_default=True, metavar="LIB",
    help="nangate45, or Liberty files of one library joined by commas; may be repeated.",
)  # fmt: skip
@click.option("--node", "nodes", multiple=True, metavar="TEXT", help="Process of each library, for the page (7 nm).")
@click.option("--period", "periods", multiple=True, metavar="TIME", help="Clock of each library; 2ns by default.")
@click.option("--driving-cell", help="Of libraries given by path.")
@click.option("--load", metavar="FF", help="On every output, for libraries given by path.")
@click.option(
    "--operands", type=click.Choice(["smollm2", "gaussian"]), default="smollm2", show_default=True,
    help="Whose activations and weights the gates compute.",
)  # fmt: skip
@click.option("-o", "--output", type=click.Path(path_type=Path), default=Path("lut-vs-mac.html"), show_default=True)
def compare(
    libraries: tuple[str, ...],
    nodes: tuple[str, ...],
    periods: tuple[str, ...],
    driving_cell: str | None,
    load: str | None,
    operands: str,
    output: Path,
) -> None:
    """Synthesise lookup, adder and multiplier units of equal throughput for 1 to 4 weight bits; write a page.

    About 27 syntheses per library, 5 to 20 s each at first; later runs take them from the cache.
    """
    from lutscape.explore import rtl_compare
    from lutscape.rtl import quantity

    chosen = []
    for i, text in enumerate(libraries):
        files = tuple(text.split(","))
        named = files == ("nangate45",)
        if not named and not (driving_cell and load):
            raise UserError(f"--liberty {text}: a library given by path needs --driving-cell and --load")
        chosen.append(
            rtl_compare.Library(
                name="Nangate45" if named else Path(files[0]).name.split("_")[0].split(".")[0].upper(),
                node=nodes[i] if i < len(nodes) else "45 nm" if named else "node not stated",
                files=files,
                period_ps=quantity.time_ps(periods[i], "--period") if i < len(periods) else 2000.0,
                driving_cell=None if named else driving_cell,
                load_ff=None if named or load is None else quantity.load_ff(load, "--load"),
            )
        )
    path = rtl_compare.write(output, chosen, operands, lambda line: click.echo(line, err=True))
    click.echo(f"{path}: {path.stat().st_size / 1e3:.0f} kB; numbers in {path.with_suffix('.json')}")
