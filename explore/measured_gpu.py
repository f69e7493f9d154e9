"""A trace's decode steps on a GPU whose kernels were measured: the row that stands beside the simulated machines.

Every operator of a decode step is looked up among the measured points (:mod:`lutscape.hw.gpu.records`): weight-only
products with 4-bit weights and FP16 activations, the vendor's FP16 product for the output projection, decode attention
over an FP16 cache, RMSNorm, RoPE, SiLU. A point that was measured is taken; another one comes from the model that was
fitted to the measurement (:mod:`lutscape.sim.gpu.kernel_model`), attention by the bytes that it reads. Kernels follow
each other in a CUDA graph, as they were measured. Additions of residuals are taken as fused into the norms.

Prefill is left out: attention of prompts was not measured.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from lutscape.hw.gpu import records
from lutscape.hw.provenance import Grade
from lutscape.models.trace import Trace
from lutscape.sim.gpu import energy_model, kernel_model, points
from lutscape.sim.gpu.points import Point

FUSED = ("attn_add", "ffn_add")
FORMS = {1: "w1", 2: "w2", 4: "w4"}
ABOUT = "low-bit weights x FP16, FP16 KV cache"


def of_trace(device: str, trace: Trace) -> dict[str, Any]:
    """Return time and energy of a generated token from a GPU's measurements, as plain data.

    Args:
        device: name of a shipped measurement, or a folder.
        trace: with decode steps; without, the reason is returned.

    Raises:
        UserError: no such measurement.
    """
    measurement = records.load(device)
    label = measurement.device["device"]
    found: dict[str, Any] = {"device": label, "about": ABOUT, "metrics": {}}
    missing = {"time_to_first_token_s": "attention of prompts was not measured"}
    rows = trace.distinct()
    decode = rows[rows["phase"] == "decode"]
    steps = trace.header.decode_tokens
    if not steps or not len(decode):
        return found | {"reason": "only decode was measured"}
    wanted = list(_wanted(decode))
    times, exact = _times(measurement, [p for p, _ in wanted])
    counts = np.array([count for _, count in wanted], np.float64)
    seconds = float((times * counts).sum() * 1e-6)
    share = float((times * counts)[exact].sum() * 1e-6 / seconds)
    grade = Grade.MEASURED if share > 0.999 else Grade.DERIVED
    source = f"{measurement.source}; {share:.0%} of the time from points that were measured, the rest from their model"
    tokens = steps * trace.header.batch
    found["metrics"]["time_per_token_s"] = {"value": seconds / steps, "grade": str(grade), "source": source}
    joules = _joules(measurement, [p for p, _ in wanted], counts, seconds)
    if joules is not None:
        found["metrics"]["energy_per_token_j"] = {
            "value": joules / tokens, "grade": str(Grade.DERIVED),
            "source": f"{measurement.source}; power model fitted to loops, idle power included",
        }  # fmt: skip
    else:
        missing["energy_per_token_j"] = "no energy was measured"
    return found | {"missing": missing, "waits": "memory and kernel starts"}


def _wanted(rows: pd.DataFrame) -> Iterator[tuple[Point, int]]:
    """Yield (point, executions) of the kernels that run a decode step's operators."""
    records_: list[dict[str, Any]] = [{str(k): v for k, v in r.items()} for r in rows.to_dict("records")]
    for r in records_:
        count, m, n, k = (int(r[name]) for name in ("count", "M", "N", "K"))
        if r["kind"] == "linear":
            bits = 8 * float(r["weight_bytes"]) / (n * k)
            low = min((b for b in FORMS if bits < b + 0.9), default=0)
            yield (points.linear(FORMS[low], m, n, k) if low else points.vendor("fp16", m, n, k)), count
        elif r["kind"] == "attention":
            # the measured heads are 128 wide: as many of them as read the same bytes
            heads, kv_heads = int(r["heads"]), int(r["kv_heads"])
            width, group = max(1, round(kv_heads * k / 128)), max(1, round(heads / kv_heads))
            yield points.attention(16, int(r["batch"]), width * group, width, n), count
        elif r["kind"] == "norm":
            yield _elementwise("rms_norm", m, n), count
        elif r["kind"] == "elementwise" and r["operator"] not in FUSED:
            yield _elementwise("rope" if r["operator"] == "rope" else "silu_mul", m, n), count


def _elementwise(kernel: str, rows: int, width: int) -> Point:
    return Point(kernel, "fp16", rows, 0, width, 4 * rows * width, 2 * rows * width, 4.0 * rows * width)


def _frame(wanted: list[Point]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"kernel": p.kernel, "form": p.form, "m": p.m, "n": p.n, "k": p.k, "heads": p.heads,
             "kv_heads": p.kv_heads, "listed": p.listed, "read_bytes": p.read, "written_bytes": p.written,
             "operations": p.operations}
            for p in wanted
        ]
    )  # fmt: skip


def _times(measurement: records.Measurement, wanted: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Return µs of each point, and whether it was measured."""
    stored = measurement.points
    key = ["kernel", "form", "m", "n", "k", "heads", "kv_heads", "listed"]
    known = dict(zip(map(tuple, stored[key].itertuples(index=False)), stored["median_us"], strict=True))
    times = np.array([known.get(p.key, np.nan) for p in wanted], np.float64)
    exact = ~np.isnan(times)
    if not exact.all():
        frame = _frame(wanted)[~exact]
        modelled = kernel_model.predict(frame, kernel_model.load(measurement.folder)).points["model_us"]
        times[modelled.index] = modelled
    return times, exact


def _joules(measurement: records.Measurement, wanted: list[Point], counts: np.ndarray, seconds: float) -> float | None:
    """Return joules of all executions by the power model fitted to the loops."""
    if not len(measurement.energy):
        return None
    model = energy_model.fit(measurement.energy, float(measurement.device["idle_power_w"]))
    kind_of = {pair: kind for kind, pairs in energy_model.KINDS.items() for pair in pairs}
    moved = sum(c * (p.read + p.written) for p, c in zip(wanted, counts, strict=True))
    worked = sum(
        c * p.operations * model.pj_per_operation.get(kind_of[p.kernel, p.form], 0.0)
        for p, c in zip(wanted, counts, strict=True)
    )
    return float((model.idle_w + model.active_w) * seconds + (moved * model.pj_per_byte + worked) * 1e-12)
