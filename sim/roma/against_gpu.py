"""Energy of one decoded token on a measured GPU, to set a ROM machine beside.

Every operator of a decode step is a kernel that was measured (``hw/gpu/measured``): time from the model fitted to the
measured points, energy from the model fitted to the measured loops,

    joules = (idle + active) · seconds + Σ (e_byte · bytes + e_kind · operations)

Weights of 4 and 2 bits in groups of 128 (kernels ``w4`` and ``w2``), FP16 activations, FP16 cache; kernels follow each
other at the measured gap of a CUDA graph. Embedding and output projection are left out, as on the ROM machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from lutscape.hw.errors import UserError, choose
from lutscape.hw.gpu import records
from lutscape.models.shape import ModelShape
from lutscape.sim.gpu import energy_model, kernel_model, points

FORMS = {2: "w2", 4: "w4"}
DEFAULT = "h100-sxm5-80gb"


@dataclass(frozen=True)
class GpuToken:
    """One decoded token at batch 1.

    Attributes:
        seconds: kernels and the gaps between them.
        joules: of the board.
        source: device and date of the measurement, and the errors of the fitted models.
    """

    seconds: float
    joules: float
    source: str


def decode_token(shape: ModelShape, weight_bits: int, context: int, gpu: str = DEFAULT) -> GpuToken:
    """Return time and energy of one token of decode, batch 1.

    Args:
        shape: dense model with heads of 128, the measured head dimension.
        weight_bits: 2 or 4.
        context: keys that are read.
        gpu: measurement, by name or folder.

    Raises:
        UserError: weights or a model that no measured kernel runs.
    """
    choose(str(weight_bits), [str(b) for b in FORMS], "weight bits")
    if shape.experts or shape.head_dim != 128 or not shape.gated:
        raise UserError(f"{shape.name}: measured kernels run dense gated models with heads of 128 only")
    measured = records.load(gpu)
    found = _points(shape, FORMS[weight_bits], context)
    frame = pd.DataFrame([p.__dict__ for p in found]).rename(columns={"read": "read_bytes", "written": "written_bytes"})
    frame = frame.assign(median_us=0.0)
    fitted = kernel_model.predict(frame, kernel_model.load(measured.folder)).points
    if len(fitted) != len(frame):
        missing = sorted(set(frame["kernel"]) - set(fitted["kernel"]))
        raise UserError(f"{gpu}: no timing model for {', '.join(missing)}; write it with: lutscape gpu fit {gpu}")
    idle = float(measured.device["idle_power_w"])
    energy = energy_model.fit(measured.energy, idle)
    kind = {pair: name for name, pairs in energy_model.KINDS.items() for pair in pairs}
    gap = float(measured.device["rates"]["kernel_gap_us"])
    seconds = shape.layers * (float(fitted["model_us"].sum()) + gap * len(fitted)) * 1e-6
    moved = float((fitted["read_bytes"] + fitted["written_bytes"]).sum()) * energy.pj_per_byte
    spent = sum(
        float(operations) * energy.pj_per_operation.get(kind[kernel, form], 0.0)
        for kernel, form, operations in zip(fitted["kernel"], fitted["form"], fitted["operations"], strict=True)
    )
    joules = (idle + energy.active_w) * seconds + shape.layers * (moved + spent) * 1e-12
    return GpuToken(seconds, joules, f"{measured.source}; energy model within {energy.error:.1f} % of its loops")


def _points(shape: ModelShape, form: str, context: int) -> list[points.Point]:
    """Return the kernels of one block."""
    products = [points.linear(form, 1, n, k) for n, k in shape.linear_shapes.values()]
    width, inner = shape.heads * shape.head_dim, shape.ffn
    return [
        *products,
        points.attention(16, 1, shape.heads, shape.kv_heads, max(context, 64)),
        points.element("rms_norm", 1, shape.hidden),
        points.element("rms_norm", 1, shape.hidden),
        points.element("rope", 1, width + shape.kv_heads * shape.head_dim),
        points.element("silu_mul", 1, inner),
    ]
