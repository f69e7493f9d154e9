"""``lutscape dla``: artefacts of the vector-quantised lookup accelerator."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from lutscape.commands.console import print_table, progress_bar
from lutscape.hw.errors import UserError

CLASSIFIERS = ("mlp", "cnn")


@click.group()
def dla() -> None:
    """LUT-DLA: turn networks into codebooks and tables; look at what was converted.

    \b
      lutscape dla convert mlp -o mlp-dla
      lutscape dla show mlp-dla
      lutscape trace mlp-dla/network.yaml --batch 64 --decode-tokens 0 -o mlp.parquet
      lutscape simulate mlp.parquet --hardware lut-dla
    """


@dla.command()
@click.argument("network")
@click.option("--output", "-o", required=True, type=click.Path(path_type=Path), help="Folder to write; must be new.")
@click.option("--force", is_flag=True, help="Replace a converted network of an earlier call.")
@click.option("--data", default="fashion-mnist", show_default=True, help="Images: fashion-mnist, or an .npz.")
@click.option("--v", type=int, help="Values of a sub-vector. [default: 4; cnn: 9, one 3x3 window]")
@click.option("--c", default=16, show_default=True, help="Centroids of a codebook, a power of two.")
@click.option("--metric", default="l2", show_default=True, help="Distance: l2, l1, chebyshev.")
@click.option("--variant", default="lutboost", show_default=True, help="Training: lutboost, or soft (LUT-NN).")
@click.option(
    "--keep", multiple=True, metavar="LAYER", help="Leave a layer as it is (repeatable). [default: cnn conv1; none]"
)
@click.option("--layers", multiple=True, metavar="NAME", help="Language model: layers or roles to convert: down.")
@click.option("--epochs", type=click.IntRange(0), help="Of the first training. [default: mlp 10, cnn 5]")
@click.option("--calibrate-steps", type=click.IntRange(0), help="Batches that centroids alone learn from.")
@click.option("--joint-steps", type=click.IntRange(0), help="Batches that everything learns from.")
@click.option("--input-bits", default=8, show_default=True, type=click.IntRange(2, 16), help="Activations, centroids.")
@click.option("--table-bits", type=click.IntRange(2, 16), help="Table entries. [default: 8; language models 16]")
@click.option("--ridge", default=0.0, show_default=True, help="Language model: fit tables (0.1); 0: exact products.")
@click.option("--text", type=click.Path(path_type=Path), help="Language model: UTF-8 file; default: pydoc_data.topics.")
@click.option("--rows", type=click.IntRange(1), help="Sampled rows of a codebook. [default: 4096; models 2048]")
@click.option("--context", default=256, show_default=True, type=click.IntRange(2), help="Tokens per window.")
@click.option("--tokens", default=2048, show_default=True, type=click.IntRange(2), help="Tokens to score.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of everything random.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def convert(network: str, output: Path, force: bool, as_json: bool, seed: int, **options: Any) -> None:
    """Turn NETWORK into codebooks and INT8 tables, and measure what that costs.

    NETWORK is mlp or cnn, trained here on images and converted by LUTBoost (replace, calibrate, joint), or a
    language model with weights (smollm2-135m, a GGUF file), whose linear layers are converted on sampled
    activations, without training; its few huge activations need tables of more than 8 bits. An interrupted
    training is taken up where its last finished stage ended.
    """
    from lutscape.models.quantise import vector, vector_store

    v = options.pop("v") or (9 if network == "cnn" else 4)
    vector.check_parameters(v, options["c"], options["metric"])
    output = output.absolute()
    vector_store.check_target(output, force)
    run = _classifier if network in CLASSIFIERS else _language_model
    started = time.perf_counter()
    layers, about, files, lines = run(network, v, seed, options)
    about |= {"seconds": time.perf_counter() - started}
    manifest = vector_store.write(output, layers, about, files, force)
    if as_json:
        click.echo(json.dumps({"folder": str(output), **manifest}, indent=1))
        return
    _layers(manifest)
    print_table(("after", "result", ""), lines, left=("after",))
    click.echo(f"{output}: {len(layers)} layers, {sum(e['table_bytes'] for e in manifest['layers'])} bytes of tables")


@dla.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the manifest.")
def show(folder: Path, as_json: bool) -> None:
    """Check a converted network and list its layers."""
    from lutscape.models.quantise import vector_store

    _, manifest = vector_store.read(folder)
    if as_json:
        click.echo(json.dumps(manifest, indent=1))
        return
    _layers(manifest)


def _layers(manifest: dict[str, Any]) -> None:
    columns = ("layer", "n", "k", "v", "c", "subspaces", "metric", "input_bits", "table_bits", "table_bytes")
    rows = [[e["name"], *(e[c] for c in columns[1:]), e["unused_centroids"]] for e in manifest["layers"]]
    print_table((*columns, "unused centroids"), rows, left=("layer", "metric"))


Converted = tuple[dict[str, Any], dict[str, Any], dict[str, str], list[tuple[str, str, str]]]
"""Layers, entries of the manifest, files, rows of the table."""


def _classifier(kind: str, v: int, seed: int, options: dict[str, Any]) -> Converted:
    from lutscape.hw.cache import cache_dir
    from lutscape.models.train import data
    from lutscape.models.train.convert import PLANS
    from lutscape.models.train.convert import convert as run
    from lutscape.models.train.export import network_yaml
    from lutscape.models.train.network import build
    from lutscape.sim.lut_dla.linear import LookupLinear

    for name in ("layers", "text"):
        if options[name]:
            raise UserError(f"--{name} is for language models; {kind} is trained here on images")
    changes = {k: options[k] for k in ("calibrate_steps", "joint_steps", "rows") if options[k] is not None}
    if options["keep"]:
        changes["keep"] = tuple(name for name in options["keep"] if name != "none")
    plan = replace(PLANS[kind], v=v, c=options["c"], metric=options["metric"], variant=options["variant"], **changes)
    images = data.load(options["data"])
    layout = network_yaml(build(kind, images.shape, images.classes, seed), images)  # refused before it is trained
    with progress_bar() as progress:
        folder = cache_dir() / "dla" / "stages"
        done = run(images, kind, plan, seed, epochs=options["epochs"], folder=folder, progress=progress)
        layers = done.layers(options["input_bits"], options["table_bits"] or 8)
        calls: dict[str, Callable[..., Any]] = {name: LookupLinear(layer) for name, layer in layers.items()}
        exact = done.computed_by(calls).accuracy(
            images.x_test, images.y_test, lambda n, total: progress("integer tables", n, total)
        )
    accuracies = done.accuracies | {"integer": exact}
    about = {
        "network": kind,
        "data": images.name,
        "data_sha256": images.sha256,
        "seed": seed,
        "plan": plan.as_dict(),
        "accuracy": accuracies,
        "conversion_seconds": done.conversion_seconds,
        "conversion_cpu_seconds": done.conversion_cpu_seconds,
    }
    lines = [(name, f"{100 * value:.2f} %", "of test images right") for name, value in accuracies.items()]
    return layers, about, {"network.yaml": layout}, lines


def _language_model(name: str, v: int, seed: int, options: dict[str, Any]) -> Converted:
    from lutscape.models import perplexity
    from lutscape.models.executor import dense, load_model
    from lutscape.models.quantise import vector_linear
    from lutscape.models.text import default_text, read_text, sha256
    from lutscape.sim.lut_dla.linear import LookupLinear

    trained = ("epochs", "calibrate_steps", "joint_steps")
    if options["keep"] or options["variant"] != "lutboost" or any(options[k] is not None for k in trained):
        raise UserError(
            "--keep, --variant, --epochs and the steps are for mlp and cnn; a language model is not trained here"
        )
    plan = vector_linear.LinearPlan(
        v,
        options["c"],
        options["metric"],
        tuple(options["layers"]),
        options["rows"] or vector_linear.LinearPlan.rows,
        options["ridge"] or None,
        options["input_bits"],
        options["table_bits"] or vector_linear.LinearPlan.table_bits,
    )
    text = default_text() if options["text"] is None else read_text(options["text"])
    with progress_bar() as progress:
        model = load_model(name, progress=progress)
        names = vector_linear.chosen_layers(model, plan.layers)
        ids = model.tokenizer.encode(text)
        scored, sampled = vector_linear.split_text(model, ids, options["context"], options["tokens"], plan.rows)
        inputs = vector_linear.sample_inputs(model, sampled, names, plan.rows, seed, progress)
        layers = vector_linear.convert_linears(model, inputs, plan, seed, progress)
        inputs.clear()
        calls = {name: LookupLinear(layer) for name, layer in layers.items()}
        converted = model.variant(lambda own, weight, bias: calls.get(own) or dense(own, weight, bias))
        result = perplexity.evaluate(model, converted, scored, progress)
    about = {
        "network": model.shape.name,
        "source": model.source,
        "text_sha256": sha256(text),
        "seed": seed,
        "plan": plan.as_dict(),
        "sampled_tokens": int(sampled.size),
        "perplexity": result.as_dict(),
    }
    return layers, about, {}, [(label, value, error) for label, value, error in result.lines()]
