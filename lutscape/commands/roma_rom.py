"""``lutscape roma rom | verify``: a model's weights as read-only memory."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table
from lutscape.hw.errors import UserError

if TYPE_CHECKING:
    from lutscape.hw.machines.roma import RomaSpec


def machine(hardware: str) -> RomaSpec:
    """Return a machine with L-Units by packaged name or YAML.

    Raises:
        UserError: a machine without.
    """
    from lutscape.hw import spec as specs
    from lutscape.hw.machines.roma import RomaSpec

    found = specs.load(hardware)
    if not isinstance(found, RomaSpec):
        raise UserError(f"--hardware {hardware}: kind {found.kind!r} has no L-Units; allowed: kind roma")
    return found


@click.command()
@click.option("--model", required=True, help="Registered name (smollm2-135m) or GGUF file.")
@click.option("--layer", "layers", multiple=True, type=click.IntRange(0), help="Block; repeatable. [default: all]")
@click.option("--weights", default="uint4", show_default=True, help="uint2, uint4, ternary, fp4, …")
@click.option("--requantise", is_flag=True, help="Round tensors to ternary that are not.")
@click.option("--search", is_flag=True, help="Choose the range of each group by its squared error.")
@click.option("--hardware", default="roma", show_default=True, help="Spec whose L-Unit reads the ROMs.")
@click.option("--form", default="block", show_default=True, help="standard, block (16 shared functions) or or.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="FILE.v.")
@click.option("--check", is_flag=True, help="Read the ROMs back in a simulator at once.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def rom(
    model: str,
    layers: tuple[int, ...],
    weights: str,
    requantise: bool,
    search: bool,
    hardware: str,
    form: str,
    output: Path,
    check: bool,
    as_json: bool,
) -> int:
    """Write the ROMs of a model's layers as Verilog, one module a ROM, and a manifest beside it.

    Each word is one group of weights of one output with scale and zero point. A tensor that does not fit the format, a
    placeholder, or a sum that can overflow the L-Unit's accumulators is an error; nothing is written then.
    """
    from lutscape.models.registry import open_checkpoint
    from lutscape.rtl import brom_layer

    if output.suffix not in (".v", ".sv"):
        raise UserError(f"--output {output}: a Verilog file ends with .v or .sv")
    start = time.perf_counter()
    recipe = brom_layer.Recipe(
        machine(hardware).l_unit, weights, tuple(sorted(set(layers))) or None, requantise, search
    )
    checkpoint = open_checkpoint(model)
    made = brom_layer.build(checkpoint, recipe)
    prefix = output.stem.replace("-", "_")
    if not prefix.isidentifier():
        raise UserError(f"--output {output}: its name names the modules; letters, digits and _ only")
    text = brom_layer.verilog(made, form, prefix)
    manifest = brom_layer.manifest(made, recipe, model, checkpoint.source, form, prefix, text)
    brom_layer.write(output, text)
    brom_layer.write(brom_layer.manifest_path(output), json.dumps(manifest, indent=1) + "\n")
    seconds = time.perf_counter() - start
    if as_json:
        click.echo(json.dumps(manifest, indent=1))
    else:
        _show(manifest)
        click.echo(
            f"wrote {output} and {brom_layer.manifest_path(output).name}: {len(made.tensors)} tensors, "
            f"{len(made.words)} words of {made.unit.word_bits} bits, {seconds:.1f} s"
        )
    return _verified(output, model, False) if check else 0


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--model", help="Weights to compare with. [default: the manifest's]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(path: Path, model: str | None, as_json: bool) -> int:
    """Read the ROMs of FILE.v back in Icarus Verilog and hold every word to the model's weights.

    Exit code 1 if a word differs, a signature is not the manifest's, or the file was edited.
    """
    from lutscape.rtl import brom_layer

    named = model or str(brom_layer.read_manifest(brom_layer.manifest_path(path))["model"])
    return _verified(path, named, as_json)


def _verified(path: Path, model: str, as_json: bool) -> int:
    """Verify and print; return the exit code."""
    from lutscape.models.registry import open_checkpoint
    from lutscape.rtl import brom_verify

    found = brom_verify.verify(path, open_checkpoint(model))
    if as_json:
        click.echo(json.dumps({"passed": found.passed, **asdict(found)}, indent=1))
        return 0 if found.passed else 1
    for failure in found.failures:
        click.echo(failure)
    click.echo(
        f"{path.name}: {found.roms} ROMs, {found.words} words, {found.bits} bits read in {found.simulator}, "
        f"{found.wrong_words} words wrong, {found.seconds:.1f} s"
    )
    click.echo("passed" if found.passed else "FAILED")
    return 0 if found.passed else 1


def _show(manifest: dict[str, Any]) -> None:
    """Print tensors and ROMs."""
    print_table(
        ["tensor", "rows", "columns", "groups", "planes", "first word", "words"],
        [
            [t["name"], t["rows"], t["columns"], t["groups"], t["planes"], t["first_word"], t["words"]]
            for t in manifest["tensors"]
        ],
        left=["tensor"],
    )
    print_table(
        ["ROM", "words", "CRC-32", "vias, standard", "vias, blocks", "SHA-256"],
        [
            [r["module"], r["words"], r["crc32"], r["vias"]["standard"], r["vias"]["block"], r["sha256"][:16]]
            for r in manifest["roms"]
        ],
        left=["ROM", "CRC-32", "SHA-256"],
    )
