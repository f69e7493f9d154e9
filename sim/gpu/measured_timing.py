"""Operators of a measured GPU take the time of the kernels that were measured, by the model fitted to them.

What the measurement covers (:mod:`lutscape.sim.gpu.kernel_model`): products of FP16 activations with integer weights of
at most 4 bits (dequantised) or 16-bit weights (the vendor's), decode attention over an FP16 cache, RMSNorm, RoPE and
SiLU. Everything else (prompts' attention, residual additions, other formats) keeps the tile model's time.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from lutscape.hw.gpu import records
from lutscape.hw.machines.gpu import GpuSpec
from lutscape.hw.result import Result
from lutscape.models.trace import Trace
from lutscape.sim.gpu import kernel_model, points
from lutscape.sim.gpu.points import Point
from lutscape.sim.operators import Operators

FORMS = {1: "w1", 2: "w2", 3: "w4", 4: "w4"}
HEAD = 128
"""Head dimension that was measured."""


def refine(spec: GpuSpec, ops: Operators, trace: Trace, result: Result) -> Result:
    """Return a result with the fitted time of every operator that the measurement covers.

    Args:
        spec: with ``measured_device``.
        ops: of the trace.
        trace: what is timed.
        result: of the tile model.

    Raises:
        UserError: no such measurement, or no fitted model beside it.
    """
    constants = _constants(spec.measured_device)
    found = {i: p for i, r in enumerate(trace.distinct().itertuples()) if (p := _point(r, int(ops.weight_bits[i])))}
    if not found:
        return result
    frame = pd.DataFrame(
        [
            {"kernel": p.kernel, "form": p.form, "m": p.m, "n": p.n, "k": p.k, "heads": p.heads,
             "kv_heads": p.kv_heads, "listed": p.listed, "read_bytes": p.read, "written_bytes": p.written,
             "operations": p.operations}
            for p in found.values()
        ],
        index=list(found),
    )  # fmt: skip
    times = kernel_model.predict(frame, constants).points["model_us"]
    cycles = result.cycles.copy()
    cycles[times.index] = np.ceil(times.to_numpy() * spec.clock_mhz)
    fitted = np.zeros(len(cycles))
    fitted[times.index] = 1.0
    return replace(result, cycles=cycles, detail={**result.detail, "fitted": fitted})


@lru_cache(maxsize=4)
def _constants(device: str) -> dict[tuple[str, str, str], kernel_model.Constants]:
    return kernel_model.load(records.load(device).folder)


def _point(r: Any, bits: int) -> Point | None:
    """Return the measured kernel that runs a row of a trace, or None."""
    m, n, k = int(r.M), int(r.N), int(r.K)
    kind, operator = str(r.kind), str(r.operator)
    if kind == "linear" and str(r.activation_format) == "fp16":
        if bits in FORMS:
            return points.linear(FORMS[bits], m, n, k)
        return points.vendor("fp16", m, n, k) if str(r.weight_format) == "fp16" else None
    if kind == "attention" and m == 1 and str(r.kv_format) == "fp16":
        kv_heads = int(r.kv_heads)
        width = max(1, round(kv_heads * k / HEAD))  # as many heads as read the same bytes
        shared = max(1, round(int(r.heads) / kv_heads))
        return points.attention(16, int(r.batch), width * shared, width, n)
    if kind == "norm":
        return points.element("rms_norm", m, n)
    if kind == "elementwise" and not operator.endswith("_add"):
        return points.element("rope" if operator == "rope" else "silu_mul", m, n)
    return None
