"""``lutscape roma diff``: what a new checkpoint changes in the ROMs of an old one."""

from __future__ import annotations

import json

import click

from lutscape.commands.console import print_table, progress_bar

SHOWN = 12


@click.command()
@click.argument("before")
@click.argument("now")
@click.option("--layer", "layers", multiple=True, type=click.IntRange(0), help="Block; repeatable. [default: all]")
@click.option("--weights", default="uint4", show_default=True, help="uint2, uint4, ternary, fp4, …")
@click.option("--requantise", is_flag=True, help="Round tensors to ternary that are not.")
@click.option("--search", is_flag=True, help="Choose the range of each group by its squared error.")
@click.option("--hardware", default="roma", show_default=True, help="Spec whose L-Unit reads the ROMs.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def diff(
    before: str,
    now: str,
    layers: tuple[int, ...],
    weights: str,
    requantise: bool,
    search: bool,
    hardware: str,
    as_json: bool,
) -> None:
    """Compare the ROMs of two checkpoints: changed words and connections, signatures, masks to make anew.

    BEFORE and NOW are registered names or GGUF files of one shape.
    """
    from lutscape.commands.roma_rom import machine
    from lutscape.models.registry import open_checkpoint
    from lutscape.rtl.brom_diff import difference
    from lutscape.rtl.brom_layer import Recipe

    spec = machine(hardware)
    recipe = Recipe(spec.l_unit, weights, tuple(sorted(set(layers))) or None, requantise, search)
    with progress_bar() as progress:
        found = difference(open_checkpoint(before), open_checkpoint(now), recipe, spec.programmable_masks, progress)
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=1))
        return
    most = sorted(found.tensors.items(), key=lambda item: -item[1].changed_words)
    print_table(
        ["tensor", "words", "changed", "bits set", "bits cleared", "vias, standard", "vias, blocks"],
        [
            [name, c.words, c.changed_words, c.set_bits, c.cleared_bits, c.standard_vias, c.block_vias]
            for name, c in [*most[:SHOWN], ("all", found.total)]
        ],
        left=["tensor"],
    )
    if len(most) > SHOWN:
        click.echo(f"{len(most) - SHOWN} more tensors, with fewer changes; --json lists them")
    changed = [r for r in found.roms if r.before != r.now]
    print_table(
        ["ROM", "CRC-32 before", "now", "words changed"],
        [[r.index, r.before, r.now, r.changed_words] for r in changed[:SHOWN]],
        left=["CRC-32 before", "now"],
    )
    total = found.total
    click.echo(
        f"{found.changed_roms} of {len(found.roms)} ROMs change their signature; {total.changed_words} of "
        f"{total.words} words; {found.masks} masks to make anew"
    )
