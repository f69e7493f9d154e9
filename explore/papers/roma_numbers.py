"""What the page of ROMA computes: areas, capacities, fits, power, peers, yield and masks, as plain data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lutscape.explore.papers import roma_published as published
from lutscape.hw import cost_roma, rom, rom_yield
from lutscape.hw import masks as mask_prices
from lutscape.hw import spec as specs
from lutscape.hw.machines.roma import RomaSpec
from lutscape.models import shape as shapes
from lutscape.models.recorder import Formats
from lutscape.models.tracing import trace_model
from lutscape.sim.roma import against_gpu as gpus
from lutscape.sim.roma import capacity, fit, timing
from lutscape.sim.simulate import simulate


def machine(**changes: Any) -> RomaSpec:
    """Return ROMA with some key paths changed (dots written as two underscores)."""
    spec = specs.load("roma")
    if changes:
        spec = specs.override(spec, {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, RomaSpec)
    return spec


def closing() -> dict[str, Any]:
    """Return the parameter set and what it holds."""
    spec = machine()
    words = {}
    for name, bits in (("llama-3-8b", 2), ("llama-3.2-3b", 4)):
        shape = shapes.load(name)
        words[name] = sum(capacity.rom_words(spec, shape, dict.fromkeys(shape.linear_shapes, bits)).values())
    return {
        "l_units": spec.l_units, "rom_words": spec.l_unit.rom_words, "word_bits": spec.l_unit.word_bits,
        "rom_gb": spec.rom_bits / 8e9, "sram_mib": spec.sram_bytes / 2**20, "words": words,
    }  # fmt: skip


def l_units() -> dict[str, float]:
    """Return µm² of an L-Unit by form."""
    spec = machine()
    return {form: cost_roma.l_unit_area(machine(l_unit__form=form).l_unit, spec.node).value for form in published.FORMS}


def area() -> dict[str, Any]:
    """Return mm² of the die by component."""
    return {"components": {name: q.value for name, q in cost_roma.areas(machine()).items()}}


def density() -> dict[str, Any]:
    """Return the density model by depth and the published densities by level."""
    node = machine().node
    depths = (256, 512, 1024, 2048, 3328, 4096, 8192, 16384)
    model = {
        form: {str(bits): [rom.macro_density(form, words, bits, node).value for words in depths] for bits in (64, 274)}
        for form in rom.FORMS
    }
    rows = [row.model_dump(mode="json") for level in rom.LEVELS for row in rom.rows(level)]
    return {"depths": depths, "model": model, "rows": rows}


def sram() -> list[dict[str, Any]]:
    """Return the published SRAM table with ours."""
    shape = shapes.load("llama-3-8b")
    found = []
    for mib, rank, tokens in [*published.SRAM_TOKENS, (288, 16, None), (288, 64, None)]:
        spec = machine(h_unit__sram_kib=mib * 1024 / machine().h_units, lora__rank=rank)
        split = capacity.sram(spec, shape)
        found.append({"mib": mib, "rank": rank, "published": tokens, "tokens": split.tokens,
                      "adapter_mib": split.adapter / 2**20, "token_bytes": split.token})  # fmt: skip
    return found


def fits() -> dict[str, Any]:
    """Return the fitted constants, every published time scored, and what other readings would give."""
    spec = machine()
    constants = fit.fit(spec)
    fitted = specs.override(spec, constants)
    assert isinstance(fitted, RomaSpec)
    slow = machine(l_unit__cycles_per_word=4)
    slow_constants = fit.fit(slow)
    slow_fitted = specs.override(slow, slow_constants)
    assert isinstance(slow_fitted, RomaSpec)
    contexts = np.array(list(published.TABLE_TOK_S), np.float64)
    cycles = published.CLOCK_MHZ * 1e6 / np.array(list(published.TABLE_TOK_S.values()))
    slope, base = np.polyfit(contexts, cycles, 1)
    rate = published.CLOCK_MHZ * 1e6
    return {
        "constants": constants,
        "rows": fit.score(fitted),
        "cycles_per_word_4": {"constants": slow_constants, "rows": fit.score(slow_fitted)},
        "table_line": {
            "base": float(base), "slope": float(slope),
            "tok_s": {str(c): float(rate / (base + slope * c)) for c in (0, *published.TABLE_TOK_S)},
        },
        "other_model": fit.fit(spec, "llama-3-8b", "int2-g128"),
    }  # fmt: skip


def readings() -> list[dict[str, Any]]:
    """Return what other readings of the comparison table would give, with the shipped constants and none refitted.

    SRAM and ROM are made large enough for every reading; whether it fits ROMA's is said beside it.
    """
    found = []

    def add(what: str, model: str, weights: str, reads: str = "group", run: bool = False) -> None:
        roomy = machine(h_unit__sram_kib=1 << 15, l_unit__rom_words=1 << 15, h_unit__kv_reads=reads)
        rates = {}
        for context in published.TABLE_TOK_S:
            seconds = fit.seconds(roomy, "decode", context, model, weights)
            if run:
                first = fit.seconds(roomy, "prefill", context, model, weights)
                seconds = first / context + fit.seconds(roomy, "decode", context + context // 2, model, weights)
            rates[str(context)] = 1 / seconds
        errors = [rates[str(c)] / r - 1 for c, r in published.TABLE_TOK_S.items()]
        fits = capacity.sram(machine(), shapes.load(model)).tokens
        found.append({"what": what, "tok_s": rates, "mean_error": float(np.mean(np.abs(errors))), "fits": fits})

    add("Llama-3.2-3B at 4 bits, decode: what the constants were fitted on", "llama-3.2-3b", "int4-g128")
    add("Llama-3-8B at 2 bits, decode", "llama-3-8b", "int2-g128")
    add("Llama-3.2-3B, prompt and as many tokens out, whole run", "llama-3.2-3b", "int4-g128", run=True)
    add("Llama-3-8B at 2 bits, whole run", "llama-3-8b", "int2-g128", run=True)
    add("Llama-3.2-3B, decode; keys and values read anew for every query head", "llama-3.2-3b", "int4-g128", "head")
    add("Llama-3-8B at 2 bits, decode; read anew for every query head", "llama-3-8b", "int2-g128", "head")
    add("LLaMA-2-7B at 2 bits, decode; it has a KV head for every query head", "llama-2-7b", "int2-g128")
    return found


def curve(contexts: Sequence[int]) -> list[dict[str, Any]]:
    """Return decode rates over context: batch 1 and all sequences that fit."""
    found = []
    for name, weights in (("llama-3.2-3b", "int4-g128"), ("llama-3-8b", "int2-g128")):
        for context in contexts:
            trace = fit.workload("decode", context, name, weights)
            result = timing.timing(machine(), trace)
            found.append(
                {
                    "model": name, "context": context, "tok_s": 1 / result.total_seconds("decode"),
                    "aggregate_tok_s": result.figures["aggregate_tokens_per_s"][0],
                    "ttft_s": timing.timing(machine(), fit.workload("prefill", context, name, weights)).total_seconds()
                    if context
                    else None,
                }
            )  # fmt: skip
    return found


def power() -> dict[str, Any]:
    """Return energy of a token by component, and watts, against context and cycles per word."""
    rows = []
    for cycles in (1, 4):
        spec = machine() if cycles == 1 else specs.override(
            machine(l_unit__cycles_per_word=4), fit.fit(machine(l_unit__cycles_per_word=4))
        )  # fmt: skip
        assert isinstance(spec, RomaSpec)
        for context in (0, 256, 1024, 4096):
            result, ppa = simulate(spec, fit.workload("decode", context))
            joules = ppa.total_energy(result, "decode")
            seconds = result.total_seconds("decode")
            busy = float((result.parts["rom"] * result.count)[result.mask("decode")].sum())
            rows.append(
                {
                    "cycles_per_word": cycles, "context": context, "joules": joules, "seconds": seconds,
                    "watts": math.fsum(joules.values()) / seconds,
                    "duty": busy / (seconds * spec.clock_mhz * 1e6),
                    "units_w": cycles * joules["L-Units"] / seconds,
                }
            )  # fmt: skip
    sum_w = machine().l_units * published.L_UNIT_MW["fused"] * 1e-3
    return {"rows": rows, "sum_of_units_w": sum_w}


def peers() -> list[dict[str, Any]]:
    """Return every peer on its own workload."""
    found = []
    for peer in published.PEERS:
        spec = specs.load(str(peer["spec"]))
        assert isinstance(spec, RomaSpec)
        formats = Formats(weights=peer["weights"], activations="fp16", kv="fp8_e4m3")
        trace = trace_model(peer["model"], peer["prompt"], 8, 1, formats, execute=False).trace
        result, ppa = simulate(spec, trace)
        shape = timing.model_shape(spec, trace)
        weights = shape.linear_parameters - shape.vocab * shape.hidden
        metrics = {name: q.value for name, q in ppa.metrics.items()}
        joules = ppa.total_energy(result, "decode")
        found.append(
            {
                **peer, "node": spec.node.name, "clock_mhz": spec.clock_mhz, "chips": spec.chips,
                "weights_g": weights / 1e9, "rom_gb": spec.rom_bits / 8e9, "metrics": metrics,
                "mj": {name: 1e3 * value / 8 for name, value in joules.items()},
                "assumed": ppa.metrics["tokens_per_s"].source,
            }
        )  # fmt: skip
    return found


def against_gpu() -> dict[str, Any]:
    """Return ROMA beside the measured GPU, one token of decode at batch 1."""
    rows, source = [], ""
    for name, weights, bits in (("llama-3.2-3b", "int4-g128", 4), ("llama-3-8b", "int2-g128", 2)):
        for context in (256, 1024, 2048, 4096):
            result, ppa = simulate(machine(), fit.workload("decode", context, name, weights))
            token = gpus.decode_token(shapes.load(name), bits, context)
            source = token.source
            joules = math.fsum(ppa.total_energy(result, "decode").values())
            rows.append({"model": name, "bits": bits, "context": context, "seconds": result.total_seconds("decode"),
                         "joules": joules, "gpu_seconds": token.seconds, "gpu_joules": token.joules})  # fmt: skip
    return {"rows": rows, "source": source, "gpu": gpus.DEFAULT}


def yields() -> dict[str, Any]:
    """Return OpenTallas's points with ours, and ROMA's own."""
    p = published.OPENTALLAS
    code = rom_yield.secded(256)
    log = rom_yield.log_rom_yield(int(p["bits"]), p["p"]) / math.log(10)
    roma_bits = machine().rom_bits
    return {
        "opentallas": {
            "bare_log10": log, "implied_bits": -math.log(p["bare"]) / p["p"],
            "secded": math.exp(rom_yield.log_rom_yield(int(p["bits"]), p["p"], code)),
            "patched": math.exp(rom_yield.log_rom_yield(int(p["bits"]), p["p"], code, 2)),
            "overhead": code.overhead,
        },
        "roma": [
            {
                "p": chance, "wrong": roma_bits * chance,
                "bare_log10": rom_yield.log_rom_yield(roma_bits, chance) / math.log(10),
                "patched_log10": rom_yield.log_rom_yield(roma_bits, chance, None, 2, 274) / math.log(10),
                "secded_log10": rom_yield.log_rom_yield(roma_bits, chance, code) / math.log(10),
            }
            for chance in (1e-10, 1e-9, 1e-8, 1e-7)
        ],
        "die": rom_yield.die_yield(published.DIE_MM2, 0.11),
        "hnlpu_die": rom_yield.die_yield(827.08, 0.11),
    }  # fmt: skip


def masks() -> dict[str, Any]:
    """Return HNLPU's mask bill."""
    prices = mask_prices.mask_set("5nm")
    bill = mask_prices.bill(prices, int(published.HNLPU_MASKS["dies"]), "metal-4")
    each = 0.693 * 827.08 * 52e6 / 4.25  # FP4 weights with their scales in the array of one die
    models = []
    for name, (size, dollars) in published.HNLPU_NRE.items():
        dies = math.ceil(size * 1e9 / each)
        models.append({"model": name, "dies": dies, "published": dollars,
                       "masks": mask_prices.bill(prices, dies, "metal-4").first})  # fmt: skip
    return {"full": bill.unshared, "first": bill.first, "respin": bill.respin, "models": models}
