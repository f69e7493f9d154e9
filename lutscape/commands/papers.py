"""``lutscape papers``: published numbers beside ours."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The page; NAME.html by default.")
@click.option(
    "--root", type=click.Path(path_type=Path), default=Path(), show_default="here",
    help="Checkout of lutscape with tests/vectors and reports.",
)  # fmt: skip
def papers(name: str | None, output: Path | None, root: Path) -> None:
    """Write the page of a paper: its numbers computed again, beside the published ones.

    Without NAME, list the papers. The numbers are written beside the page as JSON.
    """
    from lutscape.explore.papers import PAPERS, write

    if name is None:
        for known, (_, line) in PAPERS.items():
            click.echo(f"{known}  {line}")
        return
    page = write(name, output or Path(f"{name}.html"), root)
    click.echo(f"{page}: {page.stat().st_size / 1e3:.0f} kB; numbers in {page.with_suffix('.json')}")
