"""``lutscape rtl``: Verilog of a design, its proof, its area, delay and power."""

from __future__ import annotations

import importlib

import click

from lutscape.hw.errors import UserError, nearest

# verb -> (module, attribute, one line of help); a verb's module loads when it is used.
VERBS: dict[str, tuple[str, str, str]] = {
    "generate": ("lutscape.commands.rtl_generate", "generate", "Write the Verilog of a spec."),
    "verify": ("lutscape.commands.rtl_verify", "verify", "Prove the Verilog of a spec equal to its golden model."),
    "synth": ("lutscape.commands.rtl_synth", "synth", "Map a spec to a library: area, delay, critical path."),
    "power": ("lutscape.commands.rtl_power", "power", "Static timing and power of any mapped netlist."),
    "report": ("lutscape.commands.rtl_report", "report", "Verification, area, delay and power of a spec as HTML."),
    "compare": ("lutscape.commands.rtl_compare", "compare", "Lookup against multipliers at equal throughput."),
    "calibrate": ("lutscape.commands.rtl_calibrate", "calibrate", "Synthesise a grid of cells into the cost tables."),
    "liberty": ("lutscape.commands.rtl_liberty", "liberty", "Get a standard-cell library; show one."),
    "memory": ("lutscape.commands.rtl_memory", "memory", "Area, energy, leakage and access time of a memory."),
}


class RtlVerbs(click.Group):
    """Group whose verbs are imported on first use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        module, attribute, _ = VERBS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in VERBS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise UserError(f"unknown command 'rtl {args[0]}'{nearest(args[0], VERBS)}; one of: {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=RtlVerbs)
def rtl() -> None:
    """From a design to proven Verilog to area, delay and power.

    \b
      lutscape rtl verify lut-tensor-core
      lutscape rtl liberty get nangate45
      lutscape rtl report lut-tensor-core -o out/
    """
