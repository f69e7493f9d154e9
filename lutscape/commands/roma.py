"""``lutscape roma``: ROMs of a model's weights, their verification, their difference between two checkpoints."""

from __future__ import annotations

import importlib

import click

from lutscape.hw.errors import UserError, nearest

# verb -> (module, attribute, one line of help); a verb's module loads when it is used.
VERBS: dict[str, tuple[str, str, str]] = {
    "rom": ("lutscape.commands.roma_rom", "rom", "Write the ROMs of a model's layers as Verilog, with a manifest."),
    "verify": ("lutscape.commands.roma_rom", "verify", "Read ROMs back in a simulator, word for word."),
    "diff": ("lutscape.commands.roma_diff", "diff", "What a new checkpoint changes: vias, signatures, masks."),
    "faults": ("lutscape.commands.roma_faults", "faults", "A model in a ROM with open connections: KL, ECC, patch."),
    "budget": ("lutscape.commands.roma_budget", "budget", "SRAM between adapter rank and context."),
    "split": ("lutscape.commands.roma_split", "split", "Which tensors stay changeable in SRAM, exactly."),
    "masks": ("lutscape.commands.roma_masks", "masks", "Masks and re-spins by the layers that hold weights."),
    "yield": ("lutscape.commands.roma_yield", "yield_", "Good dies, with and without ECC and patch rows."),
    "energy": ("lutscape.commands.roma_energy", "energy", "Energy of a token beside a measured GPU."),
}


class RomaVerbs(click.Group):
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
            raise UserError(f"unknown command 'roma {args[0]}'{nearest(args[0], VERBS)}; one of: {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=RomaVerbs)
def roma() -> None:
    """ROM-resident language models: weights as read-only memory."""
