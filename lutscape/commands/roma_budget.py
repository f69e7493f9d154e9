"""``lutscape roma budget``: SRAM between adapter rank and context."""

from __future__ import annotations

import dataclasses
import json

import click

from lutscape.commands.console import print_table
from lutscape.commands.roma_common import machine, model, numbers


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("--hardware", "-w", default="roma", show_default=True, metavar="SPEC", help="Spec of kind roma.")
@click.option("--sram-mib", help="MiB of all H-Units, separated by commas [default: the machine's].")
@click.option("--ranks", default="0,4,8,16,32,64", show_default=True, help="Adapter ranks, separated by commas.")
@click.option("--targets", help="Layers with an adapter: all, or q,k,v,o,gate,up,down [default: the machine's].")
@click.option("--kv", default="fp8_e4m3", show_default=True, help="Format of keys and values.")
@click.option("--context", type=int, help="Print the largest rank that leaves room for so many tokens.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def budget(
    name: str, hardware: str, sram_mib: str | None, ranks: str, targets: str | None, kv: str, context: int | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Tokens of context that fit beside an adapter of MODEL.

    \b
      lutscape roma budget llama-3-8b --sram-mib 64,128,256,288 --ranks 16,64
    """
    from lutscape.hw import spec as specs
    from lutscape.hw.formats.storage import KV_FORMATS, parse_element_format
    from lutscape.hw.machines.roma import RomaSpec
    from lutscape.sim.roma import budget as budgets

    spec, shape = machine(hardware), model(name)
    if targets is not None:
        changed = specs.override(spec, {"lora.targets": targets}, "--targets")
        assert isinstance(changed, RomaSpec)
        spec = changed
    kv = parse_element_format(kv, KV_FORMATS, "KV format").name
    sizes = numbers(sram_mib, "--sram-mib") if sram_mib else [spec.sram_bytes / 2**20]
    rows = budgets.table(spec, shape, sizes, [int(r) for r in numbers(ranks, "--ranks")], kv)
    best = budgets.largest_rank(spec, shape, context, kv) if context is not None else None
    if as_json:
        click.echo(
            json.dumps(
                {
                    "model": shape.name,
                    "targets": sorted(spec.lora.projections),
                    "kv": kv,
                    "rows": [dataclasses.asdict(r) for r in rows],
                    "largest_rank": best,
                },
                indent=1,
            )
        )
        return
    click.echo(f"{shape.name} on {spec.name}: adapters on {spec.lora.targets}, {kv} cache")
    print_table(
        ["SRAM, MiB", "rank", "adapter, MiB", "tokens"],
        [[f"{r.sram_mib:g}", r.rank, f"{r.adapter_mib:.4g}", r.tokens] for r in rows],
        left=[],
    )
    if best is not None:
        click.echo(f"largest rank with {context} tokens in {spec.sram_bytes / 2**20:g} MiB: {best}")
