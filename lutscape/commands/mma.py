"""``lutscape mma``: bit-exact matrix instructions from the command line."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import click

from lutscape.commands.console import print_table
from lutscape.hw.errors import UserError, nearest

ARCH = click.option("--arch", default="sm_90", show_default=True, help="sm_70 … sm_120, gfx908 … gfx942, or Hopper ….")
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class MmaVerbs(click.Group):
    """The group's own verbs and ``capture``, which loads its harness only when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return ["list", "explain", "run", "check", "probe", "capture"]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name == "capture":
            command: click.Command = importlib.import_module("lutscape.commands.mma_capture").capture
            return command
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        names = self.list_commands(ctx)
        if args and args[0] not in names and not args[0].startswith("-"):
            raise UserError(f"unknown command 'mma {args[0]}'{nearest(args[0], names)}; one of: {', '.join(names)}")
        return super().resolve_command(ctx, args)


@click.group(cls=MmaVerbs)
def mma() -> None:
    """What bits does a GPU's matrix instruction return?

    \b
      lutscape mma list --arch sm_90 --match f16
      lutscape mma explain m16n8k16.f32.f16.f16.f32 --arch sm_80
      lutscape mma check tests/vectors/mma/*.npz --arch sm_90
    """


@mma.command("list")
@ARCH
@click.option("--match", default="", help="Only names that contain this.")
@JSON
def list_(arch: str, match: str, as_json: bool) -> None:
    """Instructions of an architecture with their arithmetic and evidence."""
    from lutscape.sim.mma.evidence import evidence
    from lutscape.sim.mma.instructions import architecture, table

    found = [s for s in table(architecture(arch)).values() if match in s.name]
    if not found:
        raise UserError(f"no instruction of {arch} contains {match!r}; drop --match to see all")
    rows = [
        {
            "instruction": s.name,
            "model": s.model.symbol,
            **{key: getattr(s.model, key, None) for key in ("L", "F")},
            "rounding": str(getattr(s.model, "rounding", "")),
            "evidence": evidence(s).level,
        }
        for s in found
    ]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    shown = [["" if v is None else v for v in row.values()] for row in rows]
    print_table(list(rows[0]), shown, left=["instruction", "model", "rounding", "evidence"])


@mma.command()
@click.argument("instruction")
@ARCH
def explain(instruction: str, arch: str) -> None:
    """Model, parameters and evidence of one instruction."""
    from lutscape.sim.mma.api import instruction as get

    click.echo(get(arch, instruction).explain())


@mma.command()
@click.argument("instruction")
@click.argument("operands", type=click.Path(path_type=Path))
@ARCH
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write D to this .npy instead of printing it.")
@click.option("--convert", is_flag=True, help="Round numbers to the operand formats (RNE).")
@click.option("--trace", "trace_at", metavar="I,J", help="Print the aligned terms of one output instead.")
def run(instruction: str, operands: Path, arch: str, output: Path | None, convert: bool, trace_at: str | None) -> None:
    """Compute D for the arrays A, B and C (and alpha, beta, metadata) of OPERANDS.npz.

    Floats are numbers, unsigned integers are raw codes; leading axes are tiles.
    """
    import numpy as np

    from lutscape.sim.mma.api import instruction as get
    from lutscape.sim.mma.check import load_npz

    op = get(arch, instruction)
    arrays: dict[str, Any] = load_npz(operands)
    unknown = sorted(set(arrays) - {"A", "B", "C", "alpha", "beta", "metadata"})
    if unknown or not {"A", "B"} <= set(arrays):
        raise UserError(
            f"{operands}: needs A and B, may have C, alpha, beta, metadata; has {', '.join(sorted(arrays))}"
        )
    if trace_at is not None:
        try:
            i, j = map(int, trace_at.split(","))
        except ValueError:
            raise UserError(f"--trace takes ROW,COLUMN, got {trace_at!r}") from None
        click.echo(op.trace(i, j, arrays["A"], arrays["B"], arrays.get("C"), convert=convert))
        return
    d = op(arrays.pop("A"), arrays.pop("B"), arrays.pop("C", None), convert=convert, **arrays)
    if output:
        try:
            np.save(output, d)
        except OSError as error:
            raise UserError(f"{output}: cannot write: {error.strerror}") from None
        return
    with np.printoptions(threshold=4096, linewidth=160):
        click.echo(str(d) if d.dtype.kind != "u" else np.array2string(d, formatter={"int": hex}))


@mma.command()
@click.argument("vectors", nargs=-1, required=True, type=click.Path(path_type=Path))
@ARCH
@click.option("--cases", is_flag=True, help="One line per operand family instead of one per instruction.")
@JSON
@click.pass_context
def check(ctx: click.Context, vectors: tuple[Path, ...], arch: str, cases: bool, as_json: bool) -> None:
    """Replay captured hardware vectors; exit 1 if any output differs in any bit.

    Prints per instruction mismatches/outputs. An unknown instruction counts as all mismatched.
    """
    from lutscape.sim.mma.check import replay

    found: dict[tuple[str, ...], list[Any]] = {}
    for path in vectors:
        for case in replay(path, arch):
            key = (case.instruction, case.case)[: 2 if cases else 1]
            entry = found.setdefault(key, [0, 0, ""])
            entry[0] += case.mismatches
            entry[1] += case.outputs
            entry[2] = entry[2] or case.note
    wrong, outputs = sum(e[0] for e in found.values()), sum(e[1] for e in found.values())
    if as_json:
        rows = [
            {"instruction": "/".join(k), "mismatches": e[0], "outputs": e[1], "note": e[2]} for k, e in found.items()
        ]
        click.echo(json.dumps({"mismatches": wrong, "outputs": outputs, "instructions": rows}, indent=1))
    else:
        for key, (bad, total, note) in found.items():
            click.echo(f"{bad}/{total}  {'/'.join(key)}" + (f"  ({note})" if note else ""))
        click.echo(f"TOTAL {wrong} mismatches of {outputs} outputs")
    ctx.exit(1 if wrong else 0)


@mma.command()
@click.argument("vectors", type=click.Path(path_type=Path))
@click.option("--instruction", "pattern", default="", help="Only instructions whose name contains this.")
@JSON
def probe(vectors: Path, pattern: str, as_json: bool) -> None:
    """Infer products per sum, fraction bits, rounding and zero exponent from a capture.

    Tries every T-FDPA design (and, for FP8, two half-precision steps with a late c) on each dense
    floating-point instruction of VECTORS.npz and prints the one with the fewest mismatches.
    """
    from lutscape.sim.mma.probe import infer

    rows = [r.as_dict() for r in infer(vectors, pattern)]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    print_table(list(rows[0]), [list(map(str, r.values())) for r in rows], left=["instruction", "design", "rounding"])
