"""``lutscape roma energy``: energy of a token against a measured GPU."""

from __future__ import annotations

import json
from typing import Any

import click

from lutscape.commands.console import print_table, quantity
from lutscape.commands.roma_common import machine, model, numbers, weight_bits


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("--hardware", "-w", default="roma", show_default=True, metavar="SPEC", help="Spec of kind roma.")
@click.option("--weights", default="int4-g128", show_default=True, help="Format in ROM; 2 or 4 bits on the GPU.")
@click.option("--contexts", default="256,1024,4096", show_default=True, help="Tokens before the one that is decoded.")
@click.option("--gpu", default="h100-sxm5-80gb", show_default=True, help="Measurement (lutscape gpu show).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def energy(name: str, hardware: str, weights: str, contexts: str, gpu: str, as_json: bool) -> None:
    """Time and energy of one decoded token, batch 1, beside those of a measured GPU.

    The GPU's are of its board, modelled kernel by kernel from measurements; the ROM machine's are of its die. Neither
    counts embedding and output projection.
    """
    from lutscape.models.recorder import Formats
    from lutscape.models.tracing import trace_model
    from lutscape.sim.roma import against_gpu
    from lutscape.sim.simulate import simulate

    spec, shape = machine(hardware), model(name)
    bits = weight_bits(spec, weights)
    rows: list[dict[str, Any]] = []
    source = ""
    for context in map(int, numbers(contexts, "--contexts")):
        trace = trace_model(
            shape, context, 1, 1, Formats(weights=weights, activations="fp16", kv="fp8_e4m3"), execute=False
        ).trace
        _, ppa = simulate(spec, trace)
        on_gpu = against_gpu.decode_token(shape, bits, context, gpu)
        seconds, joules = ppa.metrics["time_per_token_s"], ppa.metrics["energy_per_token_j"]
        source = on_gpu.source
        rows.append(
            {
                "context": context, "seconds": seconds.value, "joules": joules.value, "grade": str(joules.grade),
                "gpu_seconds": on_gpu.seconds, "gpu_joules": on_gpu.joules,
            }
        )  # fmt: skip
    if as_json:
        document = {"model": shape.name, "machine": spec.name, "gpu": gpu, "gpu_source": source, "rows": rows}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(f"{shape.name}, {weights}, one token of decode at batch 1: {spec.name} (die) and {gpu} (board)")
    print_table(
        ["context", "tokens/s", "energy", "GPU tokens/s", "GPU energy", "faster", "less energy"],
        [[r["context"], f"{1 / r['seconds']:.4g}", quantity_small(r["joules"]), f"{1 / r['gpu_seconds']:.4g}",
          quantity_small(r["gpu_joules"]), f"{r['gpu_seconds'] / r['seconds']:.3g}×",
          f"{r['gpu_joules'] / r['joules']:.3g}×"] for r in rows],
        left=[],
    )  # fmt: skip
    click.echo(f"GPU: {source}\n{spec.name}: energy {rows[0]['grade']}; see lutscape simulate for its parts")


def quantity_small(joules: float) -> str:
    """Return joules with a prefix."""
    return f"{joules * 1e3:.3g} mJ" if joules < 1 else quantity(round(joules, 3), "J")
