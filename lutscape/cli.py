"""The command line: verbs first, one meaning each. Logic lives in the rooms."""

from __future__ import annotations

import importlib
import sys

import click

from lutscape.hw.errors import UserError, nearest
from lutscape.version import __version__

# verb -> (module, attribute, one line of help); modules load only when their verb is used.
VERBS: dict[str, tuple[str, str, str]] = {
    "models": ("lutscape.commands.models", "models", "Get weights, run text, measure perplexity."),
    "trace": ("lutscape.commands.trace", "trace", "Model (weights or shape) to operator trace; show; export."),
    "simulate": ("lutscape.commands.simulate", "simulate", "Cycles, time, energy and area of a trace on hardware."),
    "compile": ("lutscape.commands.compile", "compile_", "Schedule and LMMA instructions of a trace on lookup tables."),
    "sweep": (
        "lutscape.commands.sweep",
        "sweep",
        "Explore a design space, or compare machines; write store and report.",
    ),
    "choose": ("lutscape.commands.choose", "choose", "Pick a design of a sweep; hand over its Verilog and PPA."),
    "report": ("lutscape.commands.sweep", "report", "Render a stored sweep again, or the front page of all reports."),
    "mma": (
        "lutscape.commands.mma",
        "mma",
        "Bit-exact matrix instructions: list, explain, run, check, probe, capture.",
    ),
    "dla": ("lutscape.commands.dla", "dla", "LUT-DLA: convert networks into codebooks and tables; show them."),
    "rtl": ("lutscape.commands.rtl", "rtl", "Verilog of a design: generate, verify, synthesise, power, report."),
    "roma": ("lutscape.commands.roma", "roma", "Weights as read-only memory: ROMs, verification, faults, differences."),
    "gpu": ("lutscape.commands.gpu", "gpu", "Kernels measured on a GPU: show, build, check, measure, fit, report."),
    "papers": ("lutscape.commands.papers", "papers", "Published numbers beside ours, regenerated."),
}


class Verbs(click.Group):
    """Group whose verbs are imported on first use, so that --help and --version are instant."""

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
            raise UserError(f"unknown command {args[0]!r}{nearest(args[0], VERBS)}; one of: {', '.join(VERBS)}")
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "--version", prog_name="lutscape", message="%(prog)s %(version)s")
def cli() -> None:
    """Simulate, cost and explore low-bit LLM accelerators.

    \b
    A first look:
      lutscape models get smollm2-135m
      lutscape trace smollm2-135m --prompt-tokens 512 --decode-tokens 64 -o t.parquet
      lutscape simulate t.parquet --hardware lut-tensor-core
      lutscape sweep quickstart
      lutscape choose lutscape-out/quickstart -o mine/
    """


def main() -> None:
    """Run the command line; bad input ends in one line on stderr and exit code 2."""
    try:
        code = cli.main(standalone_mode=False)
    except UserError as error:
        _fail(str(error))
    except click.UsageError as error:
        where = f" (see: {error.ctx.command_path} --help)" if error.ctx else ""
        _fail(error.format_message() + where)
    except click.ClickException as error:
        _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        print("lutscape: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> None:
    print("lutscape: error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
