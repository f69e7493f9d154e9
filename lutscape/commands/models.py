"""``lutscape models get | list | run | eval``."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lutscape.commands.console import print_table, progress_bar
from lutscape.hw.errors import UserError

if TYPE_CHECKING:
    from lutscape.models.executor import Model, Progress
    from lutscape.models.quantise.recipe import Recipe


@click.group()
def models() -> None:
    """Get weights, run text, measure perplexity.

    MODEL is a registered name (smollm2-135m), the path of a GGUF file, the name of a packaged
    shape, or the path of a shape YAML. Weights lie in the user's cache; LUTSCAPE_CACHE moves it.
    """


@models.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def get(name: str, as_json: bool) -> None:
    """Fetch the weights of a registered model into the cache (once; offline afterwards)."""
    from lutscape.models import registry

    path, fetched = registry.get(name, lambda line: print(line, file=sys.stderr))
    if as_json:
        print(json.dumps({"model": name, "path": str(path), "fetched": fetched}))
    else:
        print(f"{name}: {'fetched and checked' if fetched else 'already there, SHA-256 right'}: {path}")


@models.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
def list_models(as_json: bool) -> None:
    """List packaged shapes and registered weights."""
    from lutscape.models import registry
    from lutscape.models.parameters import parameter_count
    from lutscape.models.shape import load_file

    rows: list[dict[str, Any]] = []
    for name in registry.names():
        file = load_file(name)
        cached = file.weights is not None and registry.weights_path(name, file.weights).is_file()
        rows.append(
            {
                "model": name,
                "parameters": parameter_count(file),
                "layers": file.layers,
                "hidden": file.hidden,
                "ffn": file.ffn,
                "heads": file.heads,
                "kv_heads": file.kv_heads,
                "vocab": file.vocab,
                "experts": file.experts,
                "weights": "in the cache" if cached else "models get" if file.weights else "shape only",
                "source": file.source,
            }
        )
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    columns = ("model", "parameters", "layers", "hidden", "ffn", "heads", "kv", "vocab", "weights")
    keys = ("layers", "hidden", "ffn", "heads", "kv_heads", "vocab", "weights")
    lines = [(r["model"], f"{r['parameters'] / 1e9:.2f} B", *(r[k] for k in keys)) for r in rows]
    print_table(columns, lines, left=("model", "weights"))


@models.command()
@click.argument("model")
@click.option("--prompt", required=True, help="Text to continue; '-' reads it from stdin.")
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(1), help="Most tokens to write.")
@click.option("--temperature", default=0.0, show_default=True, type=click.FloatRange(0), help="0 = greedy.")
@click.option("--top-k", default=0, show_default=True, type=click.IntRange(0), help="0 = all tokens.")
@click.option("--top-p", default=1.0, show_default=True, help="Nucleus; 1 = all tokens.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0))
@click.option("--chat", is_flag=True, help="Wrap the prompt as a user's turn (<|im_start|> models).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a stream.")
def run(
    model: str,
    prompt: str,
    tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int,
    chat: bool,
    as_json: bool,
) -> None:
    """Continue a text on real weights; speed goes to stderr."""
    from lutscape.models.executor import load_model
    from lutscape.models.sampling import make_sampler

    sampler = make_sampler(temperature, top_k, top_p, seed)
    if prompt == "-":
        prompt = sys.stdin.read()
    if chat:
        prompt = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
    with progress_bar() as progress:
        loaded = load_model(model, progress=progress)
    tokenizer = loaded.tokenizer
    ids = tokenizer.encode(prompt)
    start = time.perf_counter()
    times: list[float] = []
    produced: list[int] = []

    def timed() -> Iterator[int]:
        for token in loaded.generate(ids, tokens, sampler, tokenizer.stop):
            times.append(time.perf_counter())
            produced.append(token)
            yield token

    parts = []
    for part in tokenizer.stream(timed()):
        parts.append(part)
        if not as_json:
            print(part, end="", flush=True)
    prefill = len(ids) / (times[0] - start) if times else 0.0
    decode = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0.0
    if as_json:
        result = {
            "model": loaded.shape.name,
            "source": loaded.source,
            "prompt_tokens": len(ids),
            "tokens": produced,
            "text": "".join(parts),
            "prefill_tokens_per_s": prefill,
            "decode_tokens_per_s": decode,
        }
        print(json.dumps(result))
        return
    print()
    print(f"prefill {prefill:.1f} tok/s, decode {decode:.1f} tok/s", file=sys.stderr)


@models.command(name="eval")
@click.argument("model")
@click.option("--text", "text_path", type=click.Path(path_type=Path), help="UTF-8 file; default: pydoc_data.topics.")
@click.option("--weights", help="Format of the linear layers: int4-g64, ternary, … [default: as stored]")
@click.option("--head-weights", help="Format of embedding and output projection. [default: as stored]")
@click.option("--activations", help="Format of linear inputs: int8, fp8_e4m3, … [default: fp32]")
@click.option("--kv", help="Format of keys and values: int8, int4, … [default: fp32]")
@click.option(
    "--tables", help="Run linear layers by table lookup, entries exact, int8, fp16, … Inputs: fp16 by default."
)
@click.option("--table-scale", default="group64", show_default=True, help="Who shares a scale: table, row, group<n>.")
@click.option(
    "--against",
    type=click.Choice(["stored", "exact-tables"]),
    default="stored",
    show_default=True,
    help="Reference: stored weights in fp32, or the same weights by exact tables.",
)
@click.option("--context", default=512, show_default=True, type=click.IntRange(2), help="Tokens per window.")
@click.option("--tokens", default=4096, show_default=True, type=click.IntRange(2), help="Tokens to read.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def evaluate(
    model: str,
    text_path: Path | None,
    weights: str | None,
    head_weights: str | None,
    activations: str | None,
    kv: str | None,
    tables: str | None,
    table_scale: str,
    against: str,
    context: int,
    tokens: int,
    as_json: bool,
) -> None:
    """Perplexity, KL and top-1 agreement of a requantised model against the stored weights in fp32."""
    from lutscape.models import perplexity
    from lutscape.models.executor import load_model
    from lutscape.models.quantise.recipe import Recipe
    from lutscape.models.recorder import Formats
    from lutscape.models.text import default_text, read_text, sha256

    if against != "stored" and tables is None:
        raise UserError(f"--against {against} compares tables; give --tables as well")
    inputs = activations or ("fp32" if tables is None else "fp16")
    formats = Formats(weights, head_weights, inputs, kv or "fp32").checked()
    text = default_text() if text_path is None else read_text(text_path)
    with progress_bar() as progress:
        reference = load_model(model, progress=progress)
        recipe = Recipe.of(formats)
        quantised = None
        if tables is not None:
            reference, quantised = _by_lookup(reference, recipe, tables, table_scale, against, progress)
        elif recipe != Recipe(activations="fp32", kv="fp32"):
            quantised = reference.variant(recipe.linear_factory, recipe.weight_transform, recipe.kv_quantiser, progress)
        windows = perplexity.windows(reference.tokenizer.encode(text), context, tokens, reference.shape)
        result = perplexity.evaluate(reference, quantised, windows, progress)
    about = {
        "model": reference.shape.name,
        "source": reference.source,
        "text": "pydoc_data.topics" if text_path is None else str(text_path),
        "text_sha256": sha256(text),
        "weights": formats.weights or "as stored",
        "head_weights": formats.head_weights or "as stored",
        "activations": formats.activations,
        "kv": formats.kv,
        "tables": tables or "none",
        "table_scale": table_scale if (tables or "").startswith("int") else "none",
        "against": against,
        "context": context,
    }
    if as_json:
        print(json.dumps({**about, **result.as_dict()}, indent=2))
        return
    print_table(("quantity", "value", "± standard error"), result.lines(), left=("quantity",))
    recipe_line = f"weights {about['weights']}, activations {formats.activations}, kv {formats.kv}"
    if tables is not None:
        scale = f" (scale per {table_scale})" if tables.startswith("int") else ""
        recipe_line += f", tables {tables}{scale} against {against}"
    print(f"{reference.shape.name}: {recipe_line}; {result.tokens} tokens scored in {result.windows} windows")
    print(f"standard errors over {result.blocks}")


def _by_lookup(
    stored: Model, recipe: Recipe, tables: str, table_scale: str, against: str, progress: Progress
) -> tuple[Model, Model]:
    """Return reference and model whose linear layers run by table lookup."""
    from lutscape.sim.lut_tensor_core import linear

    columns = max(stored.shape.hidden, stored.shape.ffn, stored.shape.heads * stored.shape.head_dim)
    cache: linear.Cache = {}

    def variant(entries: str) -> Model:
        design = linear.lookup_design(recipe.activations or "fp16", entries, table_scale, columns)
        return linear.lookup_variant(stored, design, recipe, cache=cache, progress=progress)

    return (stored if against == "stored" else variant("exact")), variant(tables)
