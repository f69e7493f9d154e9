"""``lutscape roma faults``: a model in a ROM with open connections."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lutscape.commands.console import print_table, progress_bar

CALIBRATION_TOKENS = 2048


@click.command()
@click.option("--model", required=True, help="Registered name (smollm2-135m) or GGUF file.")
@click.option("--rate", "rates", multiple=True, type=click.FloatRange(0, 1), help="Chance of an open connection.")
@click.option("--way", "ways", multiple=True, help="none, secded, adapter or patch; repeatable. [default: all]")
@click.option("--structure", default="block", show_default=True, help="block or standard.")
@click.option("--weights", default="uint4", show_default=True, help="uint2, uint4, ternary, fp4, …")
@click.option("--requantise", is_flag=True, help="Round tensors to ternary that are not.")
@click.option("--search", is_flag=True, help="Choose the range of each group by its squared error.")
@click.option("--rank", default=16, show_default=True, type=click.IntRange(1), help="Of adapters.")
@click.option(
    "--weighted/--unweighted",
    default=True,
    show_default=True,
    help="Fit adapters to the inputs that layers see on text behind the windows.",
)
@click.option("--hardware", default="roma", show_default=True, help="Spec whose L-Unit reads the ROM.")
@click.option("--text", "text_path", type=click.Path(path_type=Path), help="UTF-8 file; default: pydoc_data.topics.")
@click.option("--context", default=256, show_default=True, type=click.IntRange(2), help="Tokens per window.")
@click.option("--tokens", default=2048, show_default=True, type=click.IntRange(2), help="Tokens to read.")
@click.option("--seed", default=1, show_default=True, type=click.IntRange(0), help="Of the faults.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def faults(
    model: str,
    rates: tuple[float, ...],
    ways: tuple[str, ...],
    structure: str,
    weights: str,
    requantise: bool,
    search: bool,
    rank: int,
    weighted: bool,
    hardware: str,
    text_path: Path | None,
    context: int,
    tokens: int,
    seed: int,
    as_json: bool,
) -> None:
    """Perplexity and KL of MODEL in a ROM whose connections are open at random.

    Ways: none (as read), secded (words with check bits), adapter (of the residual of rounding alone), patch (an adapter
    of the same size that knows the faults of this die). KL is against the weights as stored. Chance 0: formats alone.
    """
    from lutscape.commands.roma_rom import machine
    from lutscape.hw.errors import UserError, choose
    from lutscape.models import perplexity
    from lutscape.models.executor import load_model
    from lutscape.models.text import default_text, read_text
    from lutscape.sim.roma.dies import WAYS, Die
    from lutscape.sim.roma.faults import STRUCTURES
    from lutscape.sim.roma.linear import Cache, RomRecipe, input_rms

    chosen = [choose(way, WAYS, "way to live with faults") for way in ways or WAYS]
    choose(structure, STRUCTURES, "ROM structure")
    unit, cache = machine(hardware).l_unit, Cache()
    rows = []
    with progress_bar() as progress:
        loaded = load_model(model, progress=progress)
        text = default_text() if text_path is None else read_text(text_path)
        ids = loaded.tokenizer.encode(text)
        windows = perplexity.windows(ids, context, tokens, loaded.shape)
        rms = None
        if weighted and {"adapter", "patch"} & set(chosen):
            behind = ids[windows.size : windows.size + CALIBRATION_TOKENS]
            if len(behind) < context:
                raise UserError(
                    f"--weighted: {len(behind)} tokens of text behind the windows; at least --context {context}, or "
                    f"--unweighted"
                )
            rms = input_rms(loaded, perplexity.windows(behind, context, CALIBRATION_TOKENS, loaded.shape))
        recipe = RomRecipe(unit, weights, rank, requantise=requantise, search=search, input_rms=rms)
        for rate in rates or (1e-4,):
            for way in chosen:
                die = Die(loaded, recipe, rate, structure, seed, cache)  # type: ignore[arg-type]
                made = die.variant(way)
                found = perplexity.evaluate(loaded, made, windows, progress)
                rows.append({"rate": rate, "way": way, "damage": vars(die.total()), **found.as_dict()})
                if not as_json:
                    d, kl, ppl = die.total(), found.kl, found.quantised_perplexity
                    assert kl is not None
                    assert ppl is not None
                    rows[-1]["line"] = [
                        f"{rate:g}", way, d.opens, d.wrong_bits, d.left_bits, d.detected,
                        f"{ppl.value:.3f} ± {ppl.error:.3f}", f"{kl.value:.5f} ± {kl.error:.5f}",
                    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps({"model": loaded.shape.name, "structure": structure, "rows": rows}, indent=1))
        return
    columns = ["chance", "way", "open", "wrong bits", "left", "words detected", "perplexity", "KL to stored"]
    print_table(columns, [row["line"] for row in rows], left=["way"])  # type: ignore[misc]
