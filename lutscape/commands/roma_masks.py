"""``lutscape roma masks``: what weights cost in masks, and what new weights cost."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table
from lutscape.commands.roma_common import machine, model, weight_bits
from lutscape.hw.errors import UserError

if TYPE_CHECKING:
    from lutscape.hw.machines.roma import RomaSpec


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("--hardware", "-w", default="roma", show_default=True, metavar="SPEC", help="Spec of kind roma.")
@click.option("--weights", default="int2-g128", show_default=True, help="Format in ROM.")
@click.option("--node", default="5nm", show_default=True, help="Technology whose masks are priced, and of the dies.")
@click.option("--nodes", default="5nm,6nm,7nm,16nm", show_default=True, help="Nodes whose dies are compared.")
@click.option("--defects-per-cm2", default=0.11, show_default=True, help="Of the dies (HNLPU's 0.11 at 5 nm).")
@click.option("--models", default=4, show_default=True, help="Sets of weights over the life of the design.")
@click.option("--reticle-mm2", default=858.0, show_default=True, help="Largest die; larger models take several.")
@click.option("--mask-set", type=float, help="M$ of a full set, in place of the cited price.")
@click.option("--masks", "count", type=int, help="Masks in the set; with --mask-set.")
@click.option("--mask", "each", type=float, help="M$ of one programmable mask; with --mask-set.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def masks(
    name: str, hardware: str, weights: str, node: str, nodes: str, defects_per_cm2: float, models: int,
    reticle_mm2: float, mask_set: float | None, count: int | None, each: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Masks of MODEL by the layers that hold its weights: first tape-out, re-spin, and a series of models.

    Dies are sized by the machine's cost model at the node. Prices are cited at 5 nm (HNLPU); elsewhere give them.

    \b
      lutscape roma masks llama-3-8b
      lutscape roma masks llama-3-8b --node 7nm --mask-set 12 --masks 60
    """
    from lutscape.hw import masks as priced
    from lutscape.sim.roma import capacity

    if models < 1:
        raise UserError(f"--models {models}: must be 1 or more")
    if not reticle_mm2 > 0:
        raise UserError(f"--reticle-mm2 {reticle_mm2:g}: must be above zero")
    spec, shape = machine(hardware), model(name)
    bits = dict.fromkeys((r for r in shape.linear_shapes if r != capacity.ROUTER), weight_bits(spec, weights))
    used = sum(capacity.rom_words(spec, shape, bits).values())
    sizes = [_size(spec, used, n, reticle_mm2, defects_per_cm2) for n in dict.fromkeys([node, *nodes.split(",")])]
    area, dies = sizes[0]["area_mm2"], sizes[0]["dies"]
    prices = priced.mask_set(node, mask_set, count, each)
    bills = [priced.bill(prices, dies, option) for option in priced.LAYERS]
    bills.append(priced.bill(prices, dies, spec.programmable_masks))
    if as_json:
        rows = [{**dataclasses.asdict(b), "series": b.after(models)} for b in bills]
        click.echo(json.dumps({"model": shape.name, "node": node, "nodes": sizes, "rows": rows}, indent=1))
        return
    print_table(
        ["node", "all dies, mm²", "dies", "without die defect (Murphy)"],
        [[z["node"], f"{z['area_mm2']:.4g}", z["dies"], f"{z['die_yield']:.1%}"] for z in sizes],
        left=["node"],
    )
    click.echo(
        f"\n{shape.name} on {spec.name} at {node}: {area:.4g} mm² in {dies} die{'s' if dies > 1 else ''}; full set "
        f"{prices.full:g} M$, {prices.masks} masks, {prices.each:.3g} M$ a programmable one "
        f"({prices.source.grade}: {prices.source.source})"
    )
    print_table(
        ["layers", "masks", "first, M$", "re-spin, M$", f"{models} models, M$", "without sharing, M$", "who"],
        [[b.option, b.programmable, f"{b.first:.4g}", f"{b.respin:.4g}", f"{b.after(models):.4g}",
          f"{models * b.unshared:.4g}", priced.LAYERS[b.option][1] if b.option in priced.LAYERS else
          f"this machine ({spec.name})"] for b in bills],
        left=["layers", "who"],
    )  # fmt: skip
    click.echo(f"from masks to dies: {priced.WEEKS} ({priced.SOURCE})")


def _size(spec: RomaSpec, words: int, node: str, reticle_mm2: float, defects_per_cm2: float) -> dict[str, Any]:
    """Return area, dies and yield of a machine whose ROMs are as deep as the model needs, at a node."""
    from lutscape.hw import cost_roma, rom_yield, technology
    from lutscape.hw import spec as specs
    from lutscape.hw.machines.roma import RomaSpec

    technology.load(node.strip())
    sized = specs.override(spec, {"technology": node.strip(), "l_unit.rom_words": max(words, 1)}, "--nodes")
    assert isinstance(sized, RomaSpec)
    area = math.fsum(q.value for q in cost_roma.areas(sized).values())
    dies = max(1, math.ceil(area / reticle_mm2))
    good = rom_yield.die_yield(area / dies, defects_per_cm2)
    return {"node": node.strip(), "area_mm2": area, "dies": dies, "die_yield": good}
