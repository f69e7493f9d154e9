"""Energy of the measured loops: idle and active power, joules per DRAM byte and per operation of each kind.

    joules = (idle + active) · seconds + operators · (e_byte · bytes + e_kind · operations)

idle is measured with a context open and nothing running; active (the clocks and schedulers of a busy chip), e_byte and
e_kind are the non-negative least-squares solution over all loops, each weighted by its joules.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

KINDS = {
    "FP16 tensor cores (vendor)": [("vendor", "fp16"), ("vendor", "bf16")],
    "FP8 tensor cores (vendor)": [("vendor", "fp8")],
    "INT8 tensor cores (vendor)": [("vendor", "int8")],
    "low-bit weights, dequantised to FP16": [("gemm", form) for form in ("w4", "w2", "w1", "t2", "t5")],
    "low-bit weights x bytes of FP16 (lists)": [(k, f) for k in ("gemv_list", "gemv_chain") for f in ("w4", "w2")],
    "2-bit weights x INT8": [("gemm_i8", "w2a8")],
    "software lookup": [("lookup", form) for form in ("w4", "w2", "w1")],
    "attention": [("attention", form) for form in ("kv16", "kv4", "kv2")],
    "element-wise": [(k, "fp16") for k in ("rms_norm", "rms_norm_tables", "precompute", "silu_mul", "rope", "softmax")],
}


@dataclass(frozen=True)
class EnergyModel:
    """Constants of one GPU.

    Attributes:
        idle_w: measured.
        active_w: fitted, above idle.
        pj_per_byte: of DRAM traffic.
        pj_per_operation: by kind; a multiply-accumulate is two operations.
        loops: the energy file with ``model_j``.
    """

    idle_w: float
    active_w: float
    pj_per_byte: float
    pj_per_operation: dict[str, float]
    loops: pd.DataFrame

    @property
    def error(self) -> float:
        """Mean absolute percentage error over the loops, %."""
        return float(100 * np.abs(self.loops["model_j"] / self.loops["joules"] - 1).mean())


def fit(loops: pd.DataFrame, idle_w: float) -> EnergyModel:
    """Fit the model to loops (``hw/gpu/records.py``: ENERGY_COLUMNS)."""
    of = {pair: i for i, pairs in enumerate(KINDS.values()) for pair in pairs}
    kind = np.array([of[k, f] for k, f in zip(loops["kernel"], loops["form"], strict=True)])
    seconds, joules = loops["seconds"].to_numpy(np.float64), loops["joules"].to_numpy(np.float64)
    count = loops["operators"].to_numpy(np.float64)
    columns = np.zeros((len(loops), 2 + len(KINDS)))
    columns[:, 0] = seconds
    columns[:, 1] = count * (loops["read_bytes"] + loops["written_bytes"]).to_numpy(np.float64) * 1e-12
    columns[np.arange(len(loops)), 2 + kind] = count * loops["operations"].to_numpy(np.float64) * 1e-12
    x = non_negative(columns / joules[:, None], (joules - idle_w * seconds) / joules)
    model = idle_w * seconds + columns @ x
    by_kind = {name: float(x[2 + i]) for i, name in enumerate(KINDS) if (kind == i).any()}
    return EnergyModel(idle_w, float(x[0]), float(x[1]), by_kind, loops.assign(model_j=model))


def non_negative(a: np.ndarray, b: np.ndarray, rounds: int = 20000) -> np.ndarray:
    """Return x >= 0 with the least ||a x - b||, by cyclic coordinate descent."""
    gram, right = a.T @ a, a.T @ b
    x = np.zeros(a.shape[1])
    for _ in range(rounds):
        before = x.copy()
        for i in range(len(x)):
            if gram[i, i] > 0:
                x[i] = max(0.0, x[i] + (right[i] - gram[i] @ x) / gram[i, i])
        if np.abs(x - before).max() <= 1e-12 * max(1.0, np.abs(x).max()):
            break
    return x
