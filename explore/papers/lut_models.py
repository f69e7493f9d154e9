"""End-to-end numbers of the LUT Tensor Core page: Table 1, Table 4, the kernel of figure 15, the roofline of figure 19.

Nothing here reads a published time: traces and machines in, times out.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from lutscape.explore.papers import lut_published as published
from lutscape.hw import spec as specs
from lutscape.hw.formats.storage import parse_weight_format
from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.models import shape as shapes
from lutscape.models.recorder import Formats
from lutscape.models.trace import Header, Trace
from lutscape.models.tracing import trace_model
from lutscape.sim.lut_tensor_core import sm_timing
from lutscape.sim.operators import prepare
from lutscape.sim.simulate import simulate

ATTENTION_PASSES = 5
"""Times that unfused attention moves its scores: written, read and written by softmax, read twice by mask and sum."""


def machine(name: str, **changes: Any) -> GpuSpec:
    """Return a packaged GPU with fields of its matrix unit changed."""
    spec = specs.override(specs.load(name), {f"matrix_unit.{k}": v for k, v in changes.items()}, place="papers")
    assert isinstance(spec, GpuSpec)
    return spec


def trace_of(name: str, batch: int, tokens: int, formats: Formats, layers: int | None = None, **changes: Any) -> Trace:
    """Return the trace of a prefill; with ``layers``, of the blocks alone."""
    shape = shapes.load(name).model_copy(update={"max_context": 8192, **changes})
    if layers:
        shape = shape.model_copy(update={"layers": layers})
    trace = trace_model(shape, tokens, 0, batch, formats, execute=False).trace
    return Trace(trace.header, trace.rows[trace.rows["layer"] >= 0].reset_index(drop=True)) if layers else trace


FORMATS = {
    "a100-fp16": Formats(weights="fp16", activations="fp16", kv="fp16"),
    "h100-fp8": Formats(weights="fp8_e4m3", activations="fp8_e4m3", kv="fp16"),
    "h100-lut-4x": Formats(weights="int2-tensor", activations="fp8_e4m3", kv="fp16"),
    "h100-lut-8x": Formats(weights="int2-tensor", activations="fp8_e4m3", kv="fp16"),
}


def table_1() -> list[dict[str, Any]]:
    """Return every row of Table 1 with our times: matrix products of the layers, unfused attention, everything."""
    rows = []
    for name, *_ in published.TABLE_1:
        spec = machine(name)
        formats = FORMATS.get(name, Formats(weights="int2-tensor", activations="int8", kv="fp16"))
        row: dict[str, Any] = {"machine": name}
        for key, batch, tokens in (("bs1", 1, 2048), ("bs1024", 1024, 1)):
            trace = trace_of("bitnet-b1.58-3b", batch, tokens, formats, sub_norms=name != "a100-fp16")
            result, _ = simulate(spec, trace)
            rows_ = result.operators
            layers = ((rows_["kind"] == "linear") & (rows_["operator"] != "lm_head")).to_numpy()
            bits = 16 if name == "a100-fp16" else 8 if name == "h100-fp8" else 2
            macs = float((rows_["macs"] * rows_["count"])[layers].sum())
            seconds = result.seconds * result.count
            # scores of every query, key and head, FP16; nothing is masked away, as in a plain softmax
            shape = trace.header.shape
            assert shape is not None
            scores = batch * shape.heads * tokens**2 * 2 * ATTENTION_PASSES * shape.layers
            row[key] = {
                "ideal_ms": 1e3 * macs / (spec.macs_per_cycle(bits) * spec.clock_mhz * 1e6),
                "gemm_ms": 1e3 * float(seconds[layers].sum()),
                "attention_ms": 1e3 * float(seconds[(rows_["kind"] == "attention").to_numpy()].sum()),
                "elementwise_ms": 1e3 * float(seconds[rows_["kind"].isin(["norm", "elementwise", "gather"])].sum()),
                "head_ms": 1e3 * float(seconds[(rows_["operator"] == "lm_head").to_numpy()].sum()),
                "unfused_ms": 1e3 * scores / (spec.dram.bandwidth_gb_s * 1e9 * spec.dram.efficiency),
                "all_ms": 1e3 * float(seconds.sum()),
            }
        rows.append(row)
    return rows


def table_4() -> list[dict[str, Any]]:
    """Return precompute overheads of single layers on an A100 with FP16 tensor cores, tables of 16 and of 8 bits."""
    rows = []
    for model, batch, tokens, *_ in published.TABLE_4:
        trace = trace_of(model, batch, tokens, FORMATS["a100-fp16"], layers=1)
        base = simulate(machine("a100-fp16"), trace)[0].total_seconds()
        weights = trace_of(model, batch, tokens, Formats(weights="int2-row", activations="fp16", kv="fp16"), layers=1)
        ops = prepare(weights)
        lookup = (ops.linear & (ops.weight_bits > 0)).nonzero()[0]
        row: dict[str, Any] = {"model": model, "batch": batch, "tokens": tokens, "base_ms": 1e3 * base}
        row["activations"] = float((ops.m * ops.k / ops.readers * ops.frame["count"])[lookup].sum())
        for bits in (16, 8):
            for kind in ("separate", "fused"):
                spec = machine("a100-lut-4x", precompute=kind, table_bits=bits)
                cost = sm_timing.precompute(spec, ops, lookup)
                cycles = cost["cycles"] + cost["kernels"] * spec.kernel_overhead_us * spec.clock_mhz
                count = ops.frame["count"].to_numpy(float)[lookup]
                seconds = float((cycles * count).sum()) / (spec.clock_mhz * 1e6)
                row[f"{kind}_{bits}_ms"] = 1e3 * seconds
        rows.append(row)
    return rows


def kernel(m: int = 2048, n: int = 27648, k: int = 5120, weights: str = "int1-row") -> Trace:
    """Return the trace of one matrix product with INT8 activations."""
    size = parse_weight_format(weights).bytes(n, k)
    record = {
        "phase": "prefill", "step": 0, "layer": 0, "name": "layers.0.gate_up", "operator": "gate_up", "kind": "linear",
        "input": "", "M": m, "N": n, "K": k, "batch": 1, "weight_format": weights, "activation_format": "int8",
        "accumulator_format": "int32", "output_format": "fp16", "macs": m * n * k, "weight_bytes": size,
        "activation_bytes": m * k, "output_bytes": 2 * m * n,
    }  # fmt: skip
    header = Header(
        model="kernel", source="shape:arXiv 2408.06003, figure 15", shape=shapes.load("llama-2-13b"), executed=False,
        requantised=False, prompt_tokens=m, decode_tokens=0, batch=1, weights=weights, activations="int8",
        accumulator="int32", kv="fp16",
    )  # fmt: skip
    return Trace.from_records(header, [record])


def scaling() -> list[dict[str, Any]]:
    """Return the kernel of figure 15 by arrays per SM and register scale, W1: cycles and what bounds them."""
    rows, trace = [], kernel()
    for arrays in (4, 8, 16, 32):
        for scale in (1, 2, 4, 8):
            spec = machine("a100-lut-4x", arrays_per_sm=arrays, register_scale=scale)
            result, ppa = simulate(spec, trace)
            ideal = 2048 * 27648 * 5120 / spec.macs_per_cycle(1)
            rows.append(
                {
                    "arrays": arrays, "register_scale": scale, "cycles": float(result.cycles[0]), "ideal": ideal,
                    "bound_by": str(result.bound_by[0]), "tile": str(result.detail["tile"][0]),
                    "warps": str(result.detail["warps"][0]), "registers": int(result.detail["registers"][0]),
                    "lmma": str(result.detail["lmma"][0]), "area_mm2": ppa.metrics["area_mm2"].value,
                    "tflops": 2e-12 * 2048 * 27648 * 5120 / float(result.seconds[0]),
                    "flop_per_byte": 2.0 * 2048 * 27648 * 5120 / float(result.bytes["dram"][0]),
                }
            )  # fmt: skip
    return rows


def roofline() -> list[dict[str, Any]]:
    """Return operational intensity and speed of the kernel as optimisations are added (figure 19), 4x arrays, W1."""
    steps: list[tuple[str, str, dict[str, Any], str, bool]] = [
        ("FP16 tensor core", "a100-fp16", {}, "fp16", True),
        ("tables built in every array, no swizzle", "a100-lut-4x", {"precompute": "on-the-fly", "arrays_per_sm": 8,
                                                                     "register_scale": 1}, "int1-row", False),
        ("tables in memory, no swizzle", "a100-lut-4x", {"arrays_per_sm": 8, "register_scale": 1}, "int1-row", False),
        ("+ thread-block swizzle", "a100-lut-4x", {"arrays_per_sm": 8, "register_scale": 1}, "int1-row", True),
        ("+ registers doubled", "a100-lut-4x", {"arrays_per_sm": 8, "register_scale": 2}, "int1-row", True),
    ]  # fmt: skip
    rows = []
    for label, name, changes, weights, swizzle in steps:
        spec, trace = machine(name, **changes), kernel(weights=weights)
        ops = prepare(trace)
        result = simulate(spec, trace)[0]
        if isinstance(spec.matrix_unit, LutUnit):
            on_unit = ops.linear & (ops.weight_bits > 0)
            result = sm_timing.refine(spec, ops, on_unit, result, swizzle)
        flops = 2.0 * 2048 * 27648 * 5120
        rows.append(
            {
                "label": label, "flop_per_byte": flops / float(result.bytes["dram"][0]),
                "l2_flop_per_byte": flops / float(result.bytes["l2"][0]),
                "tflops": 1e-12 * flops / float(result.seconds[0]), "bound_by": str(result.bound_by[0]),
                "tile": str(result.detail["tile"][0]),
            }
        )  # fmt: skip
    return rows


def end_to_end() -> list[dict[str, Any]]:
    """Return single layers of figure 17's models: FP16 tensor core against lookup arrays of 4x and 8x, W1 and W2."""
    rows = []
    for model, tokens in (("opt-175b", 2048), ("bloom-176b", 4096), ("llama-2-70b", 4096), ("bitnet-b1.58-3b", 2048)):
        for batch, length in ((1, tokens), (1024, 1)):
            base = simulate(machine("a100-fp16"), trace_of(model, batch, length, FORMATS["a100-fp16"], layers=1))[0]
            row: dict[str, Any] = {
                "model": model, "batch": batch, "tokens": length, "fp16_ms": 1e3 * base.total_seconds()
            }  # fmt: skip
            thin = trace_of(model, batch, length, Formats(weights="int1-row", activations="int8", kv="fp16"), layers=1)
            free = specs.override(
                machine("a100-lut-8x", precompute="on-the-fly"), {"vector_ops_per_cycle_per_sm": 1_000_000}, "papers"
            )
            row["free"] = base.total_seconds() / simulate(free, thin)[0].total_seconds()
            for weights in ("int1-row", "int2-row"):
                trace = trace_of(
                    model, batch, length, Formats(weights=weights, activations="int8", kv="fp16"), layers=1
                )
                for name in ("a100-lut-4x", "a100-lut-8x"):
                    result = simulate(machine(name), trace)[0]
                    linear = (result.operators["kind"] == "linear").to_numpy()
                    seconds = result.seconds * result.count
                    base_linear = (base.operators["kind"] == "linear").to_numpy()
                    row[f"{name}_{weights[:4]}"] = {
                        "ms": 1e3 * result.total_seconds(),
                        "speedup": base.total_seconds() / result.total_seconds(),
                        "gemm_speedup": float((base.seconds * base.count)[base_linear].sum() / seconds[linear].sum()),
                    }
            rows.append(row)
    return rows


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return rows as a table, for the terminal."""
    return pd.json_normalize(rows)


ABLATIONS: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("as modelled", {}, {}),
    ("vector work free", {}, {"vector_ops_per_cycle_per_sm": 1_000_000}),
    ("tables cost nothing: activations move, vector work free", {"precompute": "on-the-fly"},
     {"vector_ops_per_cycle_per_sm": 1_000_000}),
    ("and shared memory twice as wide", {"precompute": "on-the-fly"},
     {"vector_ops_per_cycle_per_sm": 1_000_000, "shared_bytes_per_cycle_per_sm": 256}),
    ("and no gap between kernels", {"precompute": "on-the-fly"},
     {"vector_ops_per_cycle_per_sm": 1_000_000, "shared_bytes_per_cycle_per_sm": 256, "kernel_overhead_us": 0.0}),
)  # fmt: skip
"""What is left out, changes of the unit, changes of the machine."""


def ablation() -> list[dict[str, Any]]:
    """Return the matrix products of BitNet-3B, BS1024 SEQ1, on 8x arrays as costs are taken away."""
    rows = []
    for pair in (("a100-fp16", "a100-lut-8x"), ("h100-fp8", "h100-lut-8x")):
        base = trace_of("bitnet-b1.58-3b", 1024, 1, FORMATS[pair[0]])
        formats = FORMATS.get(pair[1], Formats(weights="int2-tensor", activations="int8", kv="fp16"))
        trace = trace_of("bitnet-b1.58-3b", 1024, 1, formats)
        for label, unit, changes in ABLATIONS:
            against = specs.override(machine(pair[0]), {k: v for k, v in changes.items() if "gap" in label}, "papers")
            spec = specs.override(machine(pair[1], **unit), changes, place="papers")
            times = []
            for s, t in ((against, base), (spec, trace)):
                result = simulate(s, t)[0]
                o = result.operators
                layers = ((o["kind"] == "linear") & (o["operator"] != "lm_head")).to_numpy()
                times.append(1e3 * float((result.seconds * result.count)[layers].sum()))
            bound = result.bound_by[layers]
            rows.append(
                {
                    "pair": "/".join(pair), "label": label, "base_ms": times[0], "ms": times[1],
                    "speedup": times[0] / times[1], "bound_by": ", ".join(sorted(set(map(str, bound)))),
                }
            )  # fmt: skip
    return rows


def redundancy() -> dict[str, float]:
    """Return the paper's example of tables built in the arrays: [4096, 12288] x [12288, 12288], N = 4, counted."""
    spec = machine("a100-lut-4x", n=4, arrays_per_sm=256, precompute="on-the-fly")
    result = simulate(spec, kernel(4096, 12288, 12288, "int2-row"))[0]
    tables = 4096 * 12288 / 4
    return {"built": float(result.activity["table"][0]), "needed": tables,
            "ratio": float(result.activity["table"][0]) / tables}  # fmt: skip
