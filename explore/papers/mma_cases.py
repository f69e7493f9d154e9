"""Published answers of arXiv 2511.10909v2 about matrix units, each beside the one computed now."""

from __future__ import annotations

from typing import Any

import numpy as np

from lutscape.sim import mma
from lutscape.sim.mma import analysis
from lutscape.sim.mma.api import Instruction

# machine, operands, architecture, instruction, published d
TABLE_8 = [
    *((machine, "FP64", arch, name, -0.875) for machine, arch, name in (
        ("Ampere", "sm_80", "m8n8k4.f64.f64.f64.f64"), ("Ada", "sm_89", "m8n8k4.f64.f64.f64.f64"),
        ("Hopper", "sm_90", "m16n8k16.f64.f64.f64.f64"), ("Blackwell", "sm_100", "m8n8k4.f64.f64.f64.f64"),
        ("RTX Blackwell", "sm_120", "m8n8k4.f64.f64.f64.f64"), ("CDNA2", "gfx90a", "f64_16x16x4f64"),
        ("CDNA3", "gfx942", "f64_16x16x4_f64"),
    )),
    ("CDNA1", "FP32", "gfx908", "f32_16x16x4f32", -0.875),
    ("CDNA2", "FP32", "gfx90a", "f32_16x16x4f32", -0.875),
    ("CDNA3", "FP32", "gfx942", "f32_16x16x4_f32", -0.875),
    ("Volta", "FP16", "sm_70", "m8n8k4.f32.f16.f16.f32", 0.0),
    ("Turing", "FP16", "sm_75", "m16n8k8.f32.f16.f16.f32", -0.5),
    *((machine, kind, arch, name, -0.5) for machine, arch in (("Ampere", "sm_80"), ("Ada", "sm_89"))
      for kind, name in (("FP16", "m16n8k16.f32.f16.f16.f32"), ("BF16", "m16n8k16.f32.bf16.bf16.f32"),
                         ("TF32", "m16n8k8.f32.tf32.tf32.f32"))),
    ("Ada", "FP8 (E5M2)", "sm_89", "m16n8k32.f32.e5m2.e5m2.f32", 0.0),
    ("Hopper", "FP8 (E5M2)", "sm_90", "wgmma.m64n8k32.f32.e5m2.e5m2", 0.0),
    *(("Hopper", kind, "sm_90", name, -0.75) for kind, name in (
        ("FP16", "m16n8k16.f32.f16.f16.f32"), ("BF16", "m16n8k16.f32.bf16.bf16.f32"),
        ("TF32", "m16n8k8.f32.tf32.tf32.f32"), ("FP16", "wgmma.m64n8k16.f32.f16.f16"),
        ("BF16", "wgmma.m64n8k16.f32.bf16.bf16"), ("TF32", "wgmma.m64n8k8.f32.tf32.tf32"))),
    *(("Blackwell", kind, "sm_100", name, -0.75) for kind, name in (
        ("FP16", "m16n8k16.f32.f16.f16.f32"), ("BF16", "m16n8k16.f32.bf16.bf16.f32"),
        ("TF32", "m16n8k8.f32.tf32.tf32.f32"), ("FP16", "tcgen05.m64n8k16.kind::f16.f32.f16.f16"),
        ("BF16", "tcgen05.m64n8k16.kind::f16.f32.bf16.bf16"), ("TF32", "tcgen05.m64n8k8.kind::tf32.f32.tf32.tf32"),
        ("FP8 (E5M2)", "tcgen05.m64n8k32.kind::f8f6f4.f32.e5m2.e5m2"))),
    *(("RTX Blackwell", kind, "sm_120", name, -0.75) for kind, name in (
        ("FP16", "m16n8k16.f32.f16.f16.f32"), ("BF16", "m16n8k16.f32.bf16.bf16.f32"),
        ("TF32", "m16n8k8.f32.tf32.tf32.f32"), ("FP8 (E5M2)", "m16n8k32.f32.e5m2.e5m2.f32"))),
    ("CDNA1", "FP16", "gfx908", "f32_16x16x16f16", -0.875),
    ("CDNA1", "BF16", "gfx908", "f32_16x16x8bf16", -0.875),
    ("CDNA2", "FP16", "gfx90a", "f32_16x16x16f16", 0.0),
    ("CDNA2", "BF16 (_1k)", "gfx90a", "f32_16x16x16bf16_1k", 0.0),
    ("CDNA2", "BF16", "gfx90a", "f32_16x16x8bf16", -0.375),
    ("CDNA3", "FP16", "gfx942", "f32_16x16x16_f16", -0.5),
    ("CDNA3", "BF16", "gfx942", "f32_16x16x16_bf16", -0.5),
    ("CDNA3", "XF32", "gfx942", "f32_16x16x8_xf32", -0.5),
    ("CDNA3", "FP8 (BF8)", "gfx942", "f32_16x16x32_bf8_bf8", -1.0),
]  # fmt: skip

# machine, operands, architecture, instruction, published L, published F
PARAMETERS = [
    ("Volta", "FP16", "sm_70", "m8n8k4.f32.f16.f16.f32", 4, 23),
    ("Turing", "FP16", "sm_75", "m16n8k8.f32.f16.f16.f32", 8, 24),
    ("Ampere", "FP16", "sm_80", "m16n8k16.f32.f16.f16.f32", 8, 24),
    ("Ampere", "BF16", "sm_80", "m16n8k16.f32.bf16.bf16.f32", 8, 24),
    ("Ampere", "TF32", "sm_80", "m16n8k8.f32.tf32.tf32.f32", 4, 24),
    ("Ada", "FP16", "sm_89", "m16n8k16.f32.f16.f16.f32", 8, 24),
    ("Ada", "FP8", "sm_89", "m16n8k32.f32.e4m3.e4m3.f32", 16, 13),
    ("Hopper", "FP16", "sm_90", "m16n8k16.f32.f16.f16.f32", 16, 25),
    ("Hopper", "FP16, wgmma", "sm_90", "wgmma.m64n8k16.f32.f16.f16", 16, 25),
    ("Hopper", "TF32, wgmma", "sm_90", "wgmma.m64n8k8.f32.tf32.tf32", 8, 25),
    ("Hopper", "FP8, wgmma", "sm_90", "wgmma.m64n8k32.f32.e4m3.e4m3", 32, 13),
    ("Blackwell", "FP16, tcgen05", "sm_100", "tcgen05.m64n8k16.kind::f16.f32.f16.f16", 16, 25),
    ("Blackwell", "FP8, tcgen05", "sm_100", "tcgen05.m64n8k32.kind::f8f6f4.f32.e4m3.e4m3", 32, 25),
    ("RTX Blackwell", "FP8", "sm_120", "m16n8k32.f32.e4m3.e4m3.f32", 32, 25),
]


def dot(op: Instruction, a: list[float], b: list[float], c: float = 0.0) -> float:
    """Return output (0, 0) with ``a`` and ``b`` at the start of a row and a column, zeros elsewhere."""
    s = op.spec
    A, B, C = np.zeros((s.m, s.k)), np.zeros((s.k, s.n)), np.zeros((s.m, s.n))
    A[0, : len(a)], B[: len(b), 0], C[0, 0] = a, b, c
    return float(op(A, B, C, convert=True)[0, 0])


def table_8() -> list[dict[str, Any]]:
    """Return every cell of table 8: one dot product that ten designs answer in six ways."""
    a, b = [-(2.0**13), -0.5, -0.25, -0.125], [2.0**10, 1.0, 1.0, 1.0]
    rows = []
    for machine, operands, arch, name, published in TABLE_8:
        op = mma.instruction(arch, name)
        rows.append({
            "machine": machine, "operands": operands, "arch": arch, "instruction": op.spec.name,
            "model": op.spec.model.symbol, "published": published, "ours": dot(op, a, b, 2.0**23),
        })  # fmt: skip
    return rows


def parameters() -> list[dict[str, Any]]:
    """Return L and F of designs, published and as probes of the simulated unit find them."""
    rows = []
    for machine, operands, arch, name, length, fraction in PARAMETERS:
        op = mma.instruction(arch, name)
        rows.append({
            "machine": machine, "operands": operands, "arch": arch, "instruction": op.spec.name,
            "L": length, "F": fraction, "our_L": _products_per_sum(op), "our_F": _fraction_bits(op),
        })  # fmt: skip
    return rows


def _products_per_sum(op: Instruction) -> int:
    """Count the places k where a small term beside a cancelling pair is lost in the pair's sum."""
    big, small = 2.0**7, 2.0**-6
    lost = 0
    for k in range(2, op.spec.k):
        a, b = [0.0] * op.spec.k, [0.0] * op.spec.k
        a[0], b[0], a[1], b[1], a[k], b[k] = big, big, big, -big, small, small
        lost += dot(op, a, b) == 0.0
    return lost + 2


def _fraction_bits(op: Instruction) -> int:
    """Lower the third term of U - U + x until it vanishes."""
    for bits in range(1, 33):
        x = 14 - bits - 1
        low = x // 2
        if dot(op, [2.0**7, 2.0**7, 2.0**low], [2.0**7, -(2.0**7), 2.0 ** (x - low)]) == 0.0:
            return bits
    return 33


def risky() -> list[dict[str, Any]]:
    """Return the risky designs of table 10, each with small sums computed now."""
    ftz, exact = mma.instruction("gfx90a", "f32_16x16x16f16"), mma.instruction("gfx908", "f32_16x16x16f16")
    wgmma = mma.instruction("sm_90", "wgmma.m64n8k32.f32.e4m3.e4m3")
    blackwell = mma.instruction("sm_100", "tcgen05.m64n8k32.kind::f8f6f4.f32.e4m3.e4m3")
    sync = mma.instruction("sm_90", "m16n8k32.f32.e4m3.e4m3.f32")
    half = mma.instruction("sm_90", "wgmma.m64n8k16.f16.f16.f16")
    fp8_half = mma.instruction("sm_90", "wgmma.m64n8k32.f16.e4m3.e4m3")
    cdna3 = mma.instruction("gfx942", "f32_16x16x16_f16")
    hopper = mma.instruction("sm_90", "wgmma.m64n8k16.f32.f16.f16")
    wide = mma.Custom(L=32, F=13, rounding="RZ-FP32", input="e4m3")
    ones = np.ones((1, 65536))

    def long_sum(op: Instruction, **options: int) -> float:
        return float(mma.gemm("", op, ones, ones.T, **options)[0, 0])  # type: ignore[arg-type]

    tiny = float(np.float32(1e-6))
    a, b = [2048.0, 2048.0], [2048.0, -2048.0]
    return [
        {"design": "FP16 input subnormals flushed", "where": "CDNA2", "cases": [
            case("2^-15 × 2^14", "CDNA2", dot(ftz, [2.0**-15], [2.0**14]), 0.5),
            case("2^-15 × 2^14", "CDNA1", dot(exact, [2.0**-15], [2.0**14]), 0.5)]},
        {"design": "FP8 sums keep 13 fraction bits", "where": "Ada, Hopper", "cases": [
            case("1 + 4 × 2^-8 × 2^-6", "Hopper wgmma", dot(wgmma, [2.0**-8] * 4, [2.0**-6] * 4, 1.0), 1 + 2.0**-12),
            case("1 + 4 × 2^-8 × 2^-6", "Hopper mma.sync", dot(sync, [2.0**-8] * 4, [2.0**-6] * 4, 1.0), 1 + 2.0**-12),
            case("sum of 65,536 ones", "Hopper wgmma", long_sum(wgmma), 65536.0),
            case("sum of 65,536 ones", "Hopper wgmma, promoted every 128", long_sum(wgmma, promotion=128), 65536.0),
            case("sum of 65,536 ones", "Blackwell tcgen05", long_sum(blackwell), 65536.0)]},
        {"design": "FP8 results cut to E8M13 (RZ)", "where": "Ada, Hopper", "cases": [
            case("1 × 1 + (1 + 2^-13)", "Hopper wgmma", dot(wgmma, [1.0], [1.0], 1 + 2.0**-13), 2 + 2.0**-13),
            case("1 × 1 + (1 + 2^-13)", "the same unit with RZ-FP32",
                 float(wide(np.eye(1, 32), np.eye(32, 1), np.full((1, 1), 1 + 2.0**-13))[0, 0]), 2 + 2.0**-13)]},
        {"design": "FP16 accumulators", "where": "all NVIDIA", "cases": [
            case("2048 + 1 × 1", "Hopper wgmma f16", dot(half, [1.0], [1.0], 2048.0), 2049.0),
            case("65504 + 1 × 16", "Hopper wgmma f16", dot(half, [1.0], [16.0], 65504.0), 65520.0),
            case("448 × 448 (E4M3)", "Hopper wgmma f16", dot(fp8_half, [448.0], [448.0]), 200704.0)]},
        {"design": "Sums rounded down, not toward zero or to nearest", "where": "CDNA3", "cases": [
            case("2048² - 2048² - 10^-6", "CDNA3", dot(cdna3, a, b, -tiny), -tiny),
            case("2048² - 2048² + 10^-6", "CDNA3", dot(cdna3, a, b, tiny), tiny),
            case("2048² - 2048² - 10^-6", "Hopper wgmma", dot(hopper, a, b, -tiny), -tiny)]},
    ]  # fmt: skip


def case(what: str, machine: str, got: float, exact: float) -> dict[str, Any]:
    """Return one small computation; infinities as text, so that JSON holds them."""
    return {"sum": what, "machine": machine, "got": got if np.isfinite(got) else str(got), "exact": exact}


def asymmetry() -> dict[str, Any]:
    """Return the rounding asymmetry of CDNA3: cases, mirrored operands, and the distribution of its error."""
    cdna3, fp8 = (mma.instruction("gfx942", n) for n in ("f32_16x16x16_f16", "f32_16x16x32_bf8_bf8"))
    tiny = float(np.float32(1e-6))
    a, b = [2048.0, 2048.0], [2048.0, -2048.0]
    mirrored = []
    for machine, arch, name in (("CDNA3 FP16", "gfx942", "f32_16x16x16_f16"),
                                ("CDNA3 FP8", "gfx942", "f32_16x16x32_fp8_fp8"),
                                ("CDNA1 FP16", "gfx908", "f32_16x16x16f16"),
                                ("CDNA2 FP16", "gfx90a", "f32_16x16x16f16"),
                                ("Hopper FP16", "sm_90", "m16n8k16.f32.f16.f16.f32"),
                                ("Volta FP16", "sm_70", "m8n8k4.f32.f16.f16.f32")):  # fmt: skip
        wrong, outputs = analysis.asymmetry(mma.instruction(arch, name))
        mirrored.append({"machine": machine, "unequal": wrong, "outputs": outputs})
    symmetric = mma.Custom(L=8, F=24, rounding="RNE-FP32", input="fp16")
    rng = np.random.default_rng(0)
    down: list[np.ndarray] = []
    zero: list[np.ndarray] = []
    for _ in range(200):
        A, B = ((1000 * rng.standard_normal((16, 16))).astype(np.float16) for _ in range(2))
        C = rng.standard_normal((16, 16)).astype(np.float32)
        high, low = analysis.exact_product(A.astype(float), B.astype(float), C.astype(float))
        for op, errors in ((cdna3, down), (symmetric, zero)):
            errors.append(((op(A, B, C).astype(float) - high) - low).ravel())
    edges = np.linspace(-0.8, 0.8, 65)
    counts = {n: np.histogram(np.concatenate(e), edges)[0].tolist() for n, e in (("down", down), ("zero", zero))}
    return {
        "cases": [
            {"operands": "FP16", "c": "-1e-6", "published": -0.25, "ours": dot(cdna3, a, b, -tiny)},
            {"operands": "FP16", "c": "+1e-6", "published": 0.0, "ours": dot(cdna3, a, b, tiny)},
            {"operands": "BF8", "c": "-1e-6", "published": 0.0, "ours": dot(fp8, a, b, -tiny)},
        ],
        "mirrored": mirrored, "edges": edges.tolist(), "counts": counts,
        "mean": {n: float(np.mean(e)) for n, e in (("down", down), ("zero", zero))},
        "outputs": int(np.concatenate(down).size),
    }  # fmt: skip


def monotonicity() -> list[dict[str, Any]]:
    """Return sums that fall when their accumulator grows, per machine."""
    rows = []
    for machine, arch, name in (
        ("Volta FP16", "sm_70", "m8n8k4.f32.f16.f16.f32"), ("Ampere FP16", "sm_80", "m16n8k16.f32.f16.f16.f32"),
        ("Hopper FP16", "sm_90", "m16n8k16.f32.f16.f16.f32"), ("Hopper FP8", "sm_90", "wgmma.m64n8k32.f32.e4m3.e4m3"),
        ("Blackwell FP8", "sm_100", "tcgen05.m64n8k32.kind::f8f6f4.f32.e4m3.e4m3"),
        ("CDNA1 FP16", "gfx908", "f32_16x16x16f16"), ("CDNA3 FP16", "gfx942", "f32_16x16x16_f16"),
    ):  # fmt: skip
        op = mma.instruction(arch, name)
        found = analysis.monotonicity(op)
        worst = max(found, key=lambda x: x[1] - x[3], default=None)
        rows.append({"machine": machine, "instruction": op.spec.name, "cases": len(found), "worst": worst})
    return rows


def lowering() -> list[dict[str, Any]]:
    """Return where a small product survives beside a cancelling pair at k = 0 and 5, on both FP8 paths of Hopper."""
    sync, group = (mma.instruction("sm_90", n) for n in ("m16n8k32.f32.e5m2.e5m2.f32", "wgmma.m64n8k32.f32.e5m2.e5m2"))
    rows = []
    for k in (1, 2, 3, 4, 6, 7):
        a, b = [0.0] * 32, [0.0] * 32
        a[0], b[0], a[5], b[5], a[k], b[k] = 2.0**15, 2.0**15, 2.0**15, -(2.0**15), 2.0**-16, 2.0**-16
        rows.append({"k": k, "sync": dot(sync, a, b), "wgmma": dot(group, a, b)})
    return rows
