"""How far each claim about an instruction can be trusted, in one line each."""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.sim.mma.instructions import Spec

CAPTURED = "captured"
PUBLISHED = "published vectors"
PAPER = "paper"
EXACT = "by definition"
DOCUMENTATION = "documentation only"
DEVICE = "NVIDIA H200 (driver 580.159.04, CUDA 13.0)"
"""Where tests/vectors/mma/sm_90.npz was captured."""
LEVELS = (CAPTURED, PUBLISHED, PAPER, EXACT, DOCUMENTATION)

VALIDATED = {
    "sm_70": "V100",
    "sm_75": "T4",
    "sm_80": "A100; A2, A30 and A40 agree",
    "sm_89": "RTX 4090; L40S and RTX 1000 agree",
    "sm_90": "H100; H200 and GH200 agree",
    "sm_100": "B200",
    "sm_120": "RTX PRO 6000",
    "gfx908": "MI100",
    "gfx90a": "MI210, MI250",
    "gfx942": "MI300A, MI300X",
}
"""GPUs on which arXiv 2511.10909v2 compared the dense and block-scaled models with silicon."""


@dataclass(frozen=True)
class Evidence:
    """Level and one sentence.

    Attributes:
        level: captured > published vectors > paper; ``by definition`` for exact integer arithmetic;
            ``documentation only`` where nobody compared the model with silicon.
        text: what was compared with what.
    """

    level: str
    text: str


def evidence(spec: Spec) -> Evidence:
    """Return the evidence for one instruction."""
    integer = spec.a in ("s8", "u8", "s4", "u4", "b1")
    if spec.arch == "sm_90":
        return _hopper(spec, integer)
    if integer:
        return Evidence(EXACT, "PTX ISA defines integer and binary results exactly; not captured on this architecture.")
    if spec.family == "mma.sp":
        return Evidence(
            DOCUMENTATION,
            f"No capture of sparse instructions on {spec.arch}: assumed to sum the kept products as the dense "
            "instruction of half the depth does.",
        )
    if spec.arch == "sm_100" and spec.a in ("e4m3", "e5m2") and spec.family == "mma":
        return Evidence(
            PUBLISHED,
            "Lowered by ptxas to two half-precision steps and an add; agrees with 5,000 published B200 vectors per "
            "format and output (MATLAB-tensor-core, BSD-2); not captured by this project.",
        )
    gpus = VALIDATED[spec.arch]
    if spec.arch in ("sm_70", "sm_80", "sm_89", "sm_100") and spec.family == "mma" and spec.a != "fp64":
        return Evidence(
            PUBLISHED,
            f"arXiv 2511.10909v2 on {gpus}; the same parameters agree with published {spec.arch} vectors of normal "
            "random numbers (MATLAB-tensor-core).",
        )
    extra = " NaN payloads of this architecture are unknown; the canonical quiet NaN is returned."
    needs = spec.family == "mfma" or spec.a == "fp64"
    return Evidence(PAPER, f"arXiv 2511.10909v2 on {gpus}; not captured by this project." + (extra if needs else ""))


def _hopper(spec: Spec, integer: bool) -> Evidence:
    """Evidence on sm_90; the vectors lie in tests/vectors/mma/sm_90.npz, with device and driver beside them."""
    uncaptured = "satfinite" in spec.name if spec.family == "wgmma.sp" else False
    if spec.family == "mma.sp" and spec.a in ("e4m3", "e5m2"):
        uncaptured = spec.d == "fp16"
    if uncaptured:
        level = EXACT if integer else DOCUMENTATION
        return Evidence(level, "This form was not captured; it follows the captured form of the same instruction.")
    if integer:
        return Evidence(
            CAPTURED, f"{DEVICE}: no mismatch with exact integer arithmetic, wrapped or clamped once at the end."
        )
    if spec.a == "fp64":
        return Evidence(
            CAPTURED,
            f"{DEVICE}: FMA chain in ascending k, in all four rounding directions. Operand NaNs come out quieted with "
            "sign and payload, b before the accumulator before a; invalid operations give 0xFFF8000000000000.",
        )
    if spec.k == 4 and spec.a == "fp16":
        return Evidence(
            CAPTURED, f"{DEVICE}: runs as FP32 FMAs; the order of the additions was fitted to 320 outputs a form."
        )
    shapes = (
        " N = 8, 16, 64 and 256 were captured; the arithmetic does not depend on N." if "wgmma" in spec.family else ""
    )
    return Evidence(
        CAPTURED,
        f"{DEVICE}: no mismatch over random bits, normal, wide, subnormal, dominant-c and cancelling operands, "
        "specials, NaN payloads and probes of every parameter." + shapes,
    )
