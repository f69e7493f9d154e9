"""``lutscape roma split``: which tensors stay changeable in SRAM."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lutscape.commands.console import print_table
from lutscape.commands.roma_common import machine, model, weight_bits
from lutscape.hw.errors import UserError


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("--hardware", "-w", default="roma", show_default=True, metavar="SPEC", help="Spec of kind roma.")
@click.option("--area-mm2", type=float, required=True, help="Area that SRAM in place of ROM may cost more.")
@click.option("--weights", default="int4-g128", show_default=True, help="Format in ROM.")
@click.option("--sram-bits", default=8, show_default=True, help="Bits of a weight in SRAM.")
@click.option(
    "--value", default="parameters", show_default=True,
    help="What a changeable tensor is worth: parameters, error (squared rounding error in ROM; needs weights), or a "
    "CSV file with the columns tensor and value.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def split(name: str, hardware: str, area_mm2: float, weights: str, sram_bits: int, value: str, as_json: bool) -> None:
    """Divide the tensors of MODEL between ROM and SRAM, exactly.

    \b
      lutscape roma split llama-3.2-3b --area-mm2 50
      lutscape roma split smollm2-135m --area-mm2 5 --value error
    """
    from lutscape.sim.roma import split as splits

    spec, shape = machine(hardware), model(name)
    bits = weight_bits(spec, weights)
    if not 1 <= sram_bits <= 32:
        raise UserError(f"--sram-bits {sram_bits}: must be 1 … 32")
    if value == "parameters":
        roles = {r: n * k for r, (n, k) in shape.linear_shapes.items() if r != "router"}
        values = {f"layers.{i}.{r}": float(v) for i in range(shape.layers) for r, v in roles.items()}
    elif value == "error":
        values = splits.rounding_errors(name, f"uint{bits}", spec.l_unit.group)
    else:
        values = _read(Path(value))
    items = splits.tensors(spec, shape, bits, sram_bits, values)
    found = splits.solve(items, area_mm2)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "model": shape.name, "budget_mm2": area_mm2, "extra_mm2": found.extra_mm2, "value": found.value,
                    "total_value": found.total, "sram": sorted(found.sram),
                },
                indent=1,
            )
        )  # fmt: skip
        return
    rows = []
    for role in shape.linear_shapes:
        mine = [t for t in items if t.name.endswith(f".{role}")]
        if not mine:
            continue
        held = [t for t in mine if t.name in found.sram]
        layers = [t.name.split(".")[1] for t in held]
        rows.append(
            [
                role, len(mine), f"{mine[0].rom_mm2:.4g}", f"{mine[0].sram_mm2:.4g}", len(held),
                f"{sum(t.value for t in held) / max(found.total, 1e-300):.1%}", _ranges(layers),
            ]
        )  # fmt: skip
    click.echo(f"{shape.name} on {spec.name}: {weights} in ROM, {sram_bits} bits in SRAM; value: {value}")
    print_table(
        ["tensor", "count", "ROM, mm²", "SRAM, mm²", "in SRAM", "of all value", "blocks"], rows,
        left=["tensor", "blocks"],
    )  # fmt: skip
    share = found.value / found.total if found.total else 0.0
    click.echo(f"{len(found.sram)} of {len(items)} tensors, {found.extra_mm2:.4g} of {area_mm2:g} mm², {share:.1%}")


def _ranges(layers: list[str]) -> str:
    """Return ``0-3, 7`` for 0, 1, 2, 3, 7."""
    numbers = sorted(map(int, layers))
    parts: list[list[int]] = []
    for n in numbers:
        if parts and parts[-1][1] == n - 1:
            parts[-1][1] = n
        else:
            parts.append([n, n])
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _read(path: Path) -> dict[str, float]:
    import csv

    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if not {"tensor", "value"} <= set(reader.fieldnames or []):
                raise UserError(f"{path}:1: columns {', '.join(reader.fieldnames or [])}; needed: tensor, value")
            found: dict[str, float] = {}
            for line, row in enumerate(reader, 2):
                try:
                    found[row["tensor"]] = float(row["value"])
                except (TypeError, ValueError):
                    raise UserError(f"{path}:{line}: value = {row['value']!r}: must be a number") from None
    except OSError as error:
        raise UserError(
            f"--value {path}: {error.strerror}; allowed: parameters, error, or a CSV file of tensor and value"
        ) from None
    return found
