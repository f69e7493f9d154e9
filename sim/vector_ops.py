"""Vector work of the operators that are not matrix products: elementary operations per output value.

One operation is one fused multiply-add, add, multiply or compare of a lane; an exponential or a
reciprocal counts :data:`SPECIAL` operations on machines without a special-function unit. The counts
are those of the textbook forms, stated beside each; they decide nothing but element-wise time.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

SPECIAL = 4
"""Lane operations of one exponential or reciprocal by range reduction and a cubic polynomial."""

# operator name without its layer prefix -> (plain operations, special operations) per output value
OPERATIONS: dict[str, tuple[float, float]] = {
    "norm": (4.0, 0.0),  # square-accumulate, (mean subtract), scale, weight
    "add": (1.0, 0.0),
    "rope": (3.0, 0.0),  # x·cos + y·sin, two rotations per pair
    "silu_mul": (3.0, 2.0),  # x · 1/(1+exp(-x)) · up
    "gelu": (6.0, 2.0),  # tanh form: cubic, exp, reciprocal
    "relu": (1.0, 0.0),
    "relu2_mul": (3.0, 0.0),
    "embed": (0.0, 0.0),
}
SOFTMAX = (4.0, 1.0)
"""Per attention score: scale, running maximum, subtract, sum; one exponential."""


def per_value(operators: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (R,) plain and (R,) special operations per output value of each operator row.

    Rows of kind ``norm`` use the norm's count, attention rows the softmax's (per score); linear
    rows have none. An element-wise operator that is not in the table counts as ``add``.
    """
    plain, special = np.zeros(len(operators)), np.zeros(len(operators))
    for row, (kind, operator) in enumerate(zip(operators["kind"], operators["operator"], strict=True)):
        if kind == "attention":
            plain[row], special[row] = SOFTMAX
        elif kind in ("norm", "elementwise", "gather"):
            key = "norm" if kind == "norm" else next((o for o in OPERATIONS if operator.endswith(o)), "add")
            plain[row], special[row] = OPERATIONS[key]
    return plain, special


def scores(operators: pd.DataFrame) -> npt.NDArray[np.float64]:
    """(R,) visible (query, key, head) triples of attention rows: MACs / (2 · head_dim); else 0."""
    attention = (operators["kind"] == "attention").to_numpy()
    head_dim = np.maximum(operators["K"].to_numpy(np.float64), 1.0)
    return np.where(attention, operators["macs"].to_numpy(np.float64) / (2 * head_dim), 0.0)
