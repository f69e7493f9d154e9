"""The measured GPU beside a simulated machine: time and energy of an operator, from the nearest measured point.

    from lutscape.hw.gpu.baseline import nearest
    nearest("linear", 1, 14336, 4096, "w4").seconds     # a point of the measurement: graded measured
    nearest("linear", 1, 14000, 4096, "w4").grade       # scaled from that point: graded derived

A point of another shape is scaled by the larger of the ratios of bytes and of operations, and takes no less than the
shortest point of its kernel and format: right where memory or arithmetic binds, less so where latency does.
``leave_one_out`` says how far off that is on the measurement itself: 24-31 % over products, 13-27 % over attention; the
fitted model (sim/gpu/kernel_model.py) is closer.
Energy is that of the nearest loop of the same kernel and format, by its power: joules = watts of the loop x seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pandas as pd

from lutscape.hw.errors import UserError
from lutscape.hw.errors import nearest as spelling
from lutscape.hw.gpu import records
from lutscape.hw.provenance import Grade

DEVICE = "h100-sxm5-80gb"
KINDS = {
    "linear": {
        "w4": "gemm", "w2": "gemm", "w1": "gemm", "t2": "gemm", "t5": "gemm", "w2a8": "gemm_i8",
        "fp16": "vendor", "bf16": "vendor", "fp8": "vendor", "int8": "vendor",
    },
    "attention": {"kv16": "attention", "kv4": "attention", "kv2": "attention"},
    **{k: {"fp16": k} for k in ("rms_norm", "rms_norm_tables", "precompute", "silu_mul", "rope", "softmax")},
}  # fmt: skip
"""Kinds of operators, their formats, and the kernel that was measured for each."""


@dataclass(frozen=True)
class Baseline:
    """An operator on the measured GPU.

    Attributes:
        seconds: of one execution within a CUDA graph, operands from DRAM.
        joules: idle power included; None where no loop of the kernel and format was measured.
        grade: measured (this very point) or derived (scaled from another shape).
        joules_grade: measured where the point had a loop of its own.
        source: device, driver, date, and the point taken.
        shape: (M, N, K) of the point taken.
    """

    seconds: float
    joules: float | None
    grade: Grade
    joules_grade: Grade | None
    source: str
    shape: tuple[int, int, int]


def nearest(
    kind: str, m: int, n: int, k: int, weight_format: str, *, heads: int = 0, kv_heads: int = 0, device: str = DEVICE
) -> Baseline:
    """Return time and energy of an operator from the nearest measured point.

    Args:
        kind: ``linear``, ``attention`` or an element-wise kernel.
        m: rows (tokens); sequences for attention.
        n: outputs; the context for attention; not used for element-wise kernels.
        k: inputs, or the width; the head dimension for attention (128 was measured).
        weight_format: of the weights, or of the cache (``kv16``, ``kv4``, ``kv2``); ``fp16`` for element-wise kernels.
        heads, kv_heads: of attention.
        device: a shipped measurement, or a folder.

    Raises:
        UserError: unknown kind, format or measurement, or a dimension below 1.
    """
    if kind not in KINDS:
        raise UserError(f"baseline: unknown kind {kind!r}{spelling(kind, KINDS)}; of: {', '.join(KINDS)}")
    formats = KINDS[kind]
    if weight_format not in formats:
        near, listed = spelling(weight_format, formats), ", ".join(formats)
        raise UserError(f"baseline: {kind} was not measured with format {weight_format!r}{near}; of: {listed}")
    attention = kind == "attention"
    wanted = {"m": m, "k": k, **({"n": n} if kind in ("linear", "attention") else {})}
    wanted |= {"heads": heads, "kv_heads": kv_heads} if attention else {}
    for name, value in wanted.items():
        if value < 1:
            raise UserError(f"baseline: {name} = {value}: must be at least 1")
    points, loops, source = _measured(str(device))
    key = formats[weight_format], weight_format
    if key not in points:
        raise UserError(f"baseline: {device}: no {key[0]} {key[1]} among its points")
    frame = points[key]
    at = _closest(frame, wanted)
    p = frame.iloc[at]
    exact = all(int(p[name]) == value for name, value in wanted.items())
    seconds = float(p["median_us"]) * 1e-6
    if not exact:
        seconds = max(seconds * _scale(p, kind, wanted), float(frame["median_us"].min()) * 1e-6)
    joules, joules_grade = None, None
    if key in loops:
        loop = loops[key].iloc[_closest(loops[key], wanted)]
        joules = float(loop["joules"] / loop["seconds"]) * seconds
        same = exact and all(int(loop[name]) == value for name, value in wanted.items())
        joules_grade = Grade.MEASURED if same else Grade.DERIVED
    shape = (int(p["m"]), int(p["n"]), int(p["k"]))
    text = f"{source}; {key[0]} {key[1]} at {' x '.join(map(str, shape))}" + ("" if exact else ", scaled")
    return Baseline(seconds, joules, Grade.MEASURED if exact else Grade.DERIVED, joules_grade, text, shape)


def leave_one_out(kind: str, weight_format: str, device: str = DEVICE) -> float:
    """Return the mean absolute error, %, of predicting each measured point from the nearest other shape."""
    points, _, _ = _measured(str(device))
    frame = points[KINDS[kind][weight_format], weight_format]
    names = ["m", "n", "k", "heads", "kv_heads"] if kind == "attention" else ["m", "n", "k"]
    errors = []
    for i in range(len(frame)):
        others, p = frame.drop(frame.index[i]), frame.iloc[i]
        wanted = {name: int(p[name]) for name in names if int(p[name])}
        other = others.iloc[_closest(others, wanted)]
        time = max(float(other["median_us"]) * _scale(other, kind, wanted), float(others["median_us"].min()))
        errors.append(abs(time / float(p["median_us"]) - 1))
    return 100 * float(np.mean(errors))


def _closest(frame: pd.DataFrame, wanted: dict[str, int]) -> int:
    """Return the row at the least sum of |log| ratios of the wanted dimensions."""
    distance: npt.NDArray[np.float64] = np.zeros(len(frame))
    for name, value in wanted.items():
        distance += np.abs(np.log(np.maximum(frame[name].to_numpy(np.float64), 1) / value))
    return int(distance.argmin())


def _scale(p: pd.Series[float], kind: str, wanted: dict[str, int]) -> float:
    """Return the larger of the ratios of bytes and operations, of the wanted shape to a point's."""

    def ratio(*names: str) -> float:
        return float(np.prod([wanted[name] / p[name] for name in names]))

    if kind == "attention":
        return ratio("m", "kv_heads", "n", "k")
    if kind != "linear":
        return ratio("m", "k")
    weights = float(p["read_bytes"] - _activation_bytes(p))
    moved = (
        weights * ratio("n", "k") + _activation_bytes(p) * ratio("m", "k") + float(p["written_bytes"]) * ratio("m", "n")
    )
    return max(moved / float(p["read_bytes"] + p["written_bytes"]), ratio("m", "n", "k"))


def _activation_bytes(p: pd.Series[float]) -> float:
    size = 1 if p["form"] in ("w2a8", "fp8", "int8") else 2
    return float(size * p["m"] * p["k"])


Groups = dict[tuple[str, str], pd.DataFrame]


@lru_cache(maxsize=8)
def _measured(device: str) -> tuple[Groups, Groups, str]:
    """Dense points and energy loops by (kernel, format), and what to cite."""
    found = records.load(device)
    points, loops = (
        {(str(a), str(b)): part for (a, b), part in frame[frame["listed"] == 0].groupby(["kernel", "form"])}
        for frame in (found.points, found.energy)
    )
    return points, loops, found.source
