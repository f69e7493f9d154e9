"""``lutscape trace MODEL``, ``trace show FILE``, ``trace export FILE``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import click
import pandas as pd

from lutscape.commands.console import print_table, progress_bar, quantity
from lutscape.models.export import TARGETS
from lutscape.models.trace import TOTALS, Trace

PHASES: tuple[Literal["prefill", "decode"], ...] = ("prefill", "decode")


class DefaultGroup(click.Group):
    """Group that hands anything but a subcommand to its command ``make``."""

    default = "make"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helps = {"-h", "--help"}
        if args and args[0] not in self.commands and args[0] not in helps:
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "MODEL [OPTIONS] -o FILE")
        formatter.write_usage(ctx.command_path, "show FILE | export FILE", "       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[self.default].format_options(ctx, formatter)
        with formatter.section("Commands"):
            rows = [(n, c.get_short_help_str()) for n, c in self.commands.items() if n != self.default]
            formatter.write_dl(rows)


@click.group(cls=DefaultGroup)
def trace() -> None:
    """Write the operators that a model executes: prefill of P tokens, then D decode steps.

    MODEL is a registered name, the path of a GGUF file, the name of a packaged shape, or the path
    of a shape YAML. Models with weights run real tokens; shapes are walked without.

    \b
      lutscape trace smollm2-135m --prompt-tokens 512 --decode-tokens 64 -o t.parquet
      lutscape trace llama-2-7b --weights int2 --activations int8 -o t.parquet
      lutscape trace show t.parquet
    """


@trace.command(name="make", hidden=True)
@click.argument("model")
@click.option("--prompt-tokens", default=512, show_default=True, help="Tokens per sequence in prefill.")
@click.option("--decode-tokens", default=64, show_default=True, help="Decode steps; 0 = prefill alone.")
@click.option("--batch", default=1, show_default=True, help="Sequences.")
@click.option("--weights", help="Format of the linear layers: int2, int4-g64, … [default: as stored, else fp16]")
@click.option("--head-weights", help="Format of embedding and output projection. [default: as stored, else fp16]")
@click.option("--activations", default="fp16", show_default=True, help="Format of linear inputs: int8, fp16, …")
@click.option("--kv", default="fp16", show_default=True, help="Format of keys and values: fp16, int8, int4, …")
@click.option("--accumulator", help="Format of sums. [default: int32 for integer products, else fp32]")
@click.option("--requantise", is_flag=True, help="Really requantise to these formats; otherwise they are counted.")
@click.option("--shape-only", is_flag=True, help="Do not run the weights, even where there are any.")
@click.option("--capture", multiple=True, metavar="GLOB", help="Keep operands of these operators ('layers.3.*').")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Parquet file.")
@click.option("--json", "as_json", is_flag=True, help="Print header and totals as one JSON object.")
def make(
    model: str,
    prompt_tokens: int,
    decode_tokens: int,
    batch: int,
    weights: str | None,
    head_weights: str | None,
    activations: str,
    kv: str,
    accumulator: str | None,
    requantise: bool,
    shape_only: bool,
    capture: tuple[str, ...],
    output: Path,
    as_json: bool,
) -> None:
    """Write a trace."""
    from lutscape.hw.errors import UserError
    from lutscape.models.recorder import Formats
    from lutscape.models.tracing import save_captured, trace_model

    if not output.parent.is_dir():
        raise UserError(f"{output}: the directory {str(output.parent)!r} does not exist")
    formats = Formats(weights, head_weights, activations, kv, accumulator)
    with progress_bar() as progress:
        traced = trace_model(
            model,
            prompt_tokens,
            decode_tokens,
            batch,
            formats,
            execute=False if shape_only else None,
            requantise=requantise,
            capture=capture,
            progress=progress,
        )
    operands = output.with_suffix(".safetensors")
    if traced.captured:
        save_captured(traced.captured, operands)
    traced.trace.save(output)
    if as_json:
        print(json.dumps({"file": str(output), **_summary(traced.trace)}))
        return
    _print_header(traced.trace)
    _print_totals(traced.trace)
    print(f"wrote {output}: {len(traced.trace.rows)} operators")
    if traced.captured:
        size = sum(a.nbytes for a in traced.captured.values())
        print(f"wrote {operands}: {len(traced.captured)} arrays, {size / 1e6:.1f} MB")


@trace.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--layer", type=int, help="Rows of one block instead of the summary; -1 = outside the blocks.")
@click.option("--phase", type=click.Choice(["prefill", "decode"]), help="One phase.")
@click.option("--limit", default=40, show_default=True, type=click.IntRange(1), help="Most rows of a listing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(file: Path, layer: int | None, phase: str | None, limit: int, as_json: bool) -> None:
    """Show header, totals and operators of a trace."""
    loaded = Trace.load(file)
    rows = loaded.rows if phase is None else loaded.rows[loaded.rows["phase"] == phase]
    if layer is not None:
        chosen = rows[rows["layer"] == layer]
        if as_json:
            print(json.dumps(chosen.head(limit).to_dict(orient="records")))
        else:
            _print_rows(chosen, limit)
        return
    grouped = rows.groupby(["phase", "operator", "kind", "weight_format"], sort=False)[list(TOTALS)].sum()
    grouped.insert(0, "count", rows.groupby(["phase", "operator", "kind", "weight_format"], sort=False).size())
    table = grouped.reset_index()
    if as_json:
        print(json.dumps({**_summary(loaded), "operators": table.to_dict(orient="records")}))
        return
    _print_header(loaded)
    _print_operators(table)
    _print_totals(loaded)


@trace.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--to", "target", required=True, type=click.Choice(TARGETS), help="Format.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="File.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def export(file: Path, target: str, output: Path, as_json: bool) -> None:
    """Write a trace for another tool: SCALE-Sim GEMM topology, CSV, JSON lines."""
    from lutscape.models.export import export as write

    lines = write(Trace.load(file), target, output)
    if as_json:
        print(json.dumps({"file": str(output), "format": target, "lines": lines}))
    else:
        print(f"wrote {output}: {lines} lines")


def _summary(loaded: Trace) -> dict[str, object]:
    totals: dict[str, dict[str, int]] = {phase: loaded.totals(phase) for phase in PHASES}
    return {
        "header": loaded.header.model_dump(mode="json"),
        "rows": len(loaded.rows),
        "totals": {**totals, "all": loaded.totals()},
    }


def _print_header(loaded: Trace) -> None:
    h = loaded.header
    how = "executed on real weights" if h.executed else "shapes only"
    if h.executed:
        how += ", really requantised" if h.requantised else ", formats counted, not requantised"
    print(f"{h.model}: {how}")
    print(f"  prompt {h.prompt_tokens}, decode {h.decode_tokens}, batch {h.batch}")
    print(f"  weights {h.weights}, head {h.head_weights}, activations {h.activations}, kv {h.kv}")
    print(f"  accumulator {h.accumulator}")
    print(f"  source {h.source}")


def _print_totals(loaded: Trace) -> None:
    lines = []
    for phase in (*PHASES, None):
        totals = loaded.totals(phase)
        lines.append((phase or "all", quantity(totals["macs"]), *(quantity(totals[t], "B") for t in TOTALS[1:])))
    columns = ("totals", "MACs", "weights", "activations", "outputs", "KV read", "KV written")
    print_table(columns, lines, left=("totals",))


def _print_operators(table: pd.DataFrame) -> None:
    table = table.assign(bytes=table[list(TOTALS[1:])].sum(axis=1))
    lines = []
    for phase, part in table.groupby("phase", sort=False):
        macs, all_bytes = max(int(part["macs"].sum()), 1), max(int(part["bytes"].sum()), 1)
        for _, row in part.iterrows():
            names = (phase, row["operator"], row["kind"], row["weight_format"], row["count"])
            shares = (f"{100 * row['macs'] / macs:.1f}", f"{100 * row['bytes'] / all_bytes:.1f}")
            lines.append((*names, quantity(row["macs"]), shares[0], quantity(row["bytes"], "B"), shares[1]))
    columns = ("phase", "operator", "kind", "weights", "count", "MACs", "MACs %", "bytes", "bytes %")
    print_table(columns, lines, left=columns[:4])


def _print_rows(rows: pd.DataFrame, limit: int) -> None:
    shown = ["phase", "step", "name", "input", "M", "N", "K", "weight_format", "activation_format"]
    lines = [
        (*(row[c] for c in shown), quantity(row["macs"]), quantity(sum(row[c] for c in TOTALS[1:]), "B"))
        for _, row in rows.head(limit).iterrows()
    ]
    left = ("phase", "name", "input", "weight_format", "activation_format")
    print_table([*shown, "MACs", "bytes"], lines, left=left)
    if len(rows) > limit:
        print(f"{len(rows) - limit} more rows: --limit {len(rows)}")
