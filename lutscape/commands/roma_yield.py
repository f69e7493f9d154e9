"""``lutscape roma yield``: share of good dies, with and without ECC and patch rows."""

from __future__ import annotations

import json
import math
from typing import Any

import click

from lutscape.commands.console import print_table
from lutscape.commands.roma_common import machine, model, weight_bits


@click.command("yield")
@click.argument("name", metavar="MODEL")
@click.option("--hardware", "-w", default="roma", show_default=True, metavar="SPEC", help="Spec of kind roma.")
@click.option("--weights", default="int2-g128", show_default=True, help="Format in ROM.")
@click.option("--via-defects", default=1e-9, show_default=True, help="Probability that one stored bit is wrong.")
@click.option("--ecc-data", default=256, show_default=True, help="Payload bits of a code word (SECDED).")
@click.option("--patch-rows", default=2, show_default=True, help="Rows that can be replaced on the die.")
@click.option("--row-faults", default=0.0, show_default=True, help="Mean number of rows on a die that are bad whole.")
@click.option("--defects-per-cm2", default=0.11, show_default=True, help="Of the die (HNLPU's 0.11 at 5 nm).")
@click.option("--die-model", default="murphy", show_default=True, help="poisson or murphy.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def yield_(
    name: str, hardware: str, weights: str, via_defects: float, ecc_data: int, patch_rows: int, row_faults: float,
    defects_per_cm2: float, die_model: str, as_json: bool,
) -> None:  # fmt: skip
    """Share of dies of MODEL that are good.

    Bits are independent; whole rows are bad as often as --row-faults says; columns, periphery and clustering are
    left out (see hw/rom_yield.py).

    \b
      lutscape roma yield llama-3-8b
      lutscape roma yield llama-3-8b --via-defects 1e-8 --ecc-data 128 --patch-rows 4
    """
    from lutscape.hw import cost_roma, rom_yield
    from lutscape.sim.roma import capacity

    spec, shape = machine(hardware), model(name)
    role_bits = dict.fromkeys((r for r in shape.linear_shapes if r != "router"), weight_bits(spec, weights))
    words = capacity.check_rom(spec, shape, role_bits)
    bits = words * spec.l_unit.word_bits * spec.l_units
    code = rom_yield.secded(ecc_data)
    die = rom_yield.die_yield(cost_roma.die_mm2(spec), defects_per_cm2, die_model) ** spec.chips
    rows: list[dict[str, Any]] = []
    for label, used, patches in (
        ("bare", None, 0), (f"{patch_rows} patch rows", None, patch_rows),
        (f"SECDED({code.bits},{code.data})", code, 0),
        (f"SECDED({code.bits},{code.data}) and {patch_rows} patch rows", code, patch_rows),
    ):  # fmt: skip
        log = rom_yield.log_rom_yield(bits, via_defects, used, patches, spec.l_unit.word_bits, row_faults)
        rows.append(
            {
                "repair": label, "extra_bits": used.overhead if used else 0.0, "log10_rom_yield": log / math.log(10),
                "rom_yield": math.exp(log), "die_and_rom_yield": math.exp(log) * die,
            }
        )  # fmt: skip
    expected = bits * via_defects
    if as_json:
        document = {"model": shape.name, "bits": bits, "wrong_bits": expected, "die_yield": die, "rows": rows}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(
        f"{shape.name} on {spec.name}: {bits:,} stored bits, {expected:.3g} wrong ones expected at {via_defects:g}; "
        f"{cost_roma.die_mm2(spec):.4g} mm² a die, {defects_per_cm2:g} defects per cm²: {die:.1%} without die defect"
    )
    print_table(
        ["repair", "extra bits", "ROM right", "good dies"],
        [[r["repair"], f"{r['extra_bits']:.1%}", shown(r["log10_rom_yield"]),
          f"{r['die_and_rom_yield']:.3g}"] for r in rows],
        left=["repair"],
    )  # fmt: skip


def shown(log10: float) -> str:
    """Return a probability: plain digits near one, a power of ten far below.

    >>> shown(-62.5)
    '3e-63'
    """
    if log10 < -300:
        return f"1e{math.floor(log10)}"
    if log10 < -3:
        return f"{10**log10:.0e}"
    value = 10**log10
    return f"{value:.4f}" if value < 0.9999 else f"1 - {max(0.0, -math.expm1(log10 * math.log(10))):.1e}"
