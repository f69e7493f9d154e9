"""A measured GPU's time beside every simulated operator: the nearest point that was measured (hw/gpu/baseline.py).

Products take the kernel of their formats (weights above 4 bits the vendor's FP16 product, unless both operands are
INT8 or FP8), decode attention the FP16 cache at the measured head dimension by bytes, norms and element-wise operators
their own kernels. Attention of prompts and residual additions were not measured.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from lutscape.hw.formats.storage import parse_weight_format
from lutscape.hw.gpu.baseline import Baseline, nearest
from lutscape.hw.result import Result
from lutscape.models.trace import Trace

FORMS = {1: "w1", 2: "w2", 4: "w4"}
HEAD = 128


def form_of(weight_format: str, activation_format: str) -> str:
    """Return the measured format that runs a product: the least one that holds its weights and activations."""
    element = parse_weight_format(weight_format).element
    bits, integers = int(element.weight_bits), activation_format.startswith("int")
    if element.kind == "ternary":
        return "w2a8" if integers else "t5" if element.bits < 2 else "t2"
    if element.name.startswith("fp8"):
        return "fp8"
    if element.kind == "int" and integers and bits in (2, 8):
        return "w2a8" if bits == 2 else "int8"
    return next((FORMS[b] for b in FORMS if 0 < bits <= b), "fp16")


def of_row(r: Any, device: str) -> Baseline | None:
    """Return the measured GPU's time of one operator of a trace, or None where nothing was measured.

    Args:
        r: a row of :meth:`lutscape.models.trace.Trace.distinct`.
        device: a shipped measurement, or a folder.
    """
    m, n, k = int(r.M), int(r.N), int(r.K)
    if r.kind == "linear":
        return nearest("linear", m, n, k, form_of(r.weight_format, r.activation_format), device=device)
    if r.kind == "attention" and m == 1:
        width = max(1, round(r.kv_heads * k / HEAD))  # as many heads as read the same bytes
        heads = width * max(1, round(r.heads / r.kv_heads))
        return nearest("attention", int(r.batch), n, HEAD, "kv16", heads=heads, kv_heads=width, device=device)
    if r.kind == "norm":
        return nearest("rms_norm", m, 0, n, "fp16", device=device)
    if r.kind == "elementwise" and not r.operator.endswith("_add"):
        return nearest("rope" if r.operator == "rope" else "silu_mul", m, 0, n, "fp16", device=device)
    return None


def table(result: Result, trace: Trace, device: str) -> pd.DataFrame:
    """Return simulated and measured microseconds by phase and operator role, means over executions.

    Args:
        result: of the trace on a simulated machine.
        trace: what was simulated.
        device: a shipped measurement, or a folder.

    Returns:
        phase, operator, count, simulated_us, measured_us (NaN where nothing was measured), grade (the worst of the
        role's points).
    """
    found = [of_row(r, device) for r in trace.distinct().itertuples()]
    full = result.frame().assign(
        measured_us=[b.seconds * 1e6 if b else float("nan") for b in found],
        grade=[str(b.grade) if b else "" for b in found],
    )
    rows = []
    for (phase, operator), part in full.groupby(["phase", "operator"], sort=False):
        count = part["count"].sum()
        mean = {c: float((part[c] * part["count"]).sum(skipna=False) / count) for c in ("microseconds", "measured_us")}
        grade = "derived" if "derived" in set(part["grade"]) else part["grade"].iloc[0]
        rows.append(
            {
                "phase": phase, "operator": operator, "count": int(count), "simulated_us": mean["microseconds"],
                "measured_us": mean["measured_us"], "grade": grade,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)
