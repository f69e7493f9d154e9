"""Calling a matrix instruction: strict operands in, the bits of the hardware out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.hw.formats.encode import encode
from lutscape.hw.formats.integer import INTEGERS, integer_codes, integer_values
from lutscape.sim.mma import engine, evidence, models, names
from lutscape.sim.mma.convert import from_codes, to_codes
from lutscape.sim.mma.instructions import Spec, architecture
from lutscape.sim.mma.operands import accumulators, operand, scaled
from lutscape.sim.mma.sparse import row_index

NAN_CODE = {"fp32": 0x7FFFFFFF, "fp16": 0x7FFF, "bf16": 0x7FFF}
"""The one NaN that NVIDIA's and CDNA3's fused units return (sign clear, all ones; captured on sm_90)."""


@dataclass(frozen=True)
class Instruction:
    """One matrix instruction of one architecture: call it with A, B and C.

    Attributes:
        spec: shape, formats and model.

    Example:
        >>> import numpy as np
        >>> from lutscape.sim import mma
        >>> hmma = mma.instruction("sm_90", "m16n8k16.f32.f16.f16.f32")
        >>> a, b = np.ones((16, 16), np.float16), np.ones((16, 8), np.float16)
        >>> float(hmma(a, b, np.zeros((16, 8), np.float32))[0, 0])
        16.0
    """

    spec: Spec

    def __call__(
        self,
        A: np.ndarray,
        B: np.ndarray,
        C: np.ndarray | None = None,
        *,
        alpha: np.ndarray | None = None,
        beta: np.ndarray | None = None,
        metadata: np.ndarray | None = None,
        scale_d: int = 1,
        imm_scale_a: int = 1,
        imm_scale_b: int = 1,
        convert: bool = False,
    ) -> np.ndarray:
        """Return D (…, M, N) for A (…, M, K), B (…, K, N), C (…, M, N); leading axes broadcast.

        Each operand holds numbers (floats; integers for integer formats) or raw codes (unsigned
        integers of the format's width; 6- and 4-bit formats one per byte, in its low bits).

        Args:
            A: (…, M, K); for mma.sp the kept elements, (…, M, K/2).
            B: (…, K, N).
            C: (…, M, N); None is zero.
            alpha: block scales of A, (…, M, K/block), raw codes or numbers of the scale format.
            beta: block scales of B, (…, K/block, N).
            metadata: mma.sp only, (…, M, K/2) unsigned: column in 0 … K-1 of each kept element.
            scale_d: wgmma only: 0 drops C.
            imm_scale_a: wgmma only: -1 negates A.
            imm_scale_b: wgmma only: -1 negates B.
            convert: round numbers to the operand formats instead of refusing inexact ones.

        Returns:
            Raw codes if C (or, without C, A) is raw; otherwise numbers: float16, float32, float64
            or int32, after the output format.

        Raises:
            UserError: wrong shape or dtype, a number outside its format, a missing or needless operand.
        """
        s = self.spec
        shapes = {"A": (s.m, s.k * s.keep[0] // s.keep[1]), "B": (s.k, s.n), "C": (s.m, s.n)}
        for what, x in (("A", A), ("B", B), ("C", C)):
            if x is not None:
                _check_shape(what, np.asarray(x), shapes[what], s.name)
        _check_flags(s, scale_d, imm_scale_a, imm_scale_b)
        return compute(
            s, A, B, C, alpha=alpha, beta=beta, metadata=metadata, use_c=bool(scale_d),
            negate_a=imm_scale_a < 0, negate_b=imm_scale_b < 0, convert=convert,
        )  # fmt: skip

    def explain(self) -> str:
        """Return a few lines: shape and formats, model with its parameters, evidence."""
        s, proof = self.spec, evidence.evidence(self.spec)
        parameters = ", ".join(
            f"{key}={value}" for key in ("L", "F", "F2", "G", "P", "K", "e_zero", "rounding", "block")
            if (value := getattr(s.model, key, None)) is not None
        )  # fmt: skip
        sparse = f", {s.keep[0]} of {s.keep[1]} elements of A kept" if s.keep != (1, 1) else ""
        scales = f", scales {s.scale} per {s.block} k" if s.scale else ""
        return (
            f"{s.name} on {s.arch}\n"
            f"  D({s.m}x{s.n}, {s.d}) = A({s.m}x{s.k}, {s.a}) B({s.k}x{s.n}, {s.b}) + C({s.c}){sparse}{scales}\n"
            f"  model     {s.model.symbol}({parameters})\n"
            f"  meaning   {s.model.describe()}\n"
            f"  evidence  {proof.level}: {proof.text}"
        )

    def trace(self, i: int, j: int, A: np.ndarray, B: np.ndarray, C: np.ndarray | None = None, **options: Any) -> str:
        """Return the aligned terms of output (i, j) of one tile, chunk by chunk, as text.

        Only for T-FDPA designs; operands as for a call.
        """
        from lutscape.sim.mma.tracing import trace

        return trace(self, i, j, A, B, C, **options)


def instruction(arch: str, name: str) -> Instruction:
    """Return an instruction of an architecture.

    Args:
        arch: ``sm_70`` … ``sm_120``, ``gfx908`` … ``gfx942``, or a generation's name (``Hopper``).
        name: full PTX or MFMA string, or an unambiguous short form.

    Raises:
        UserError: unknown architecture or instruction, with the nearest names.
    """
    return Instruction(names.find(architecture(arch), name))


def compute(
    s: Spec,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray | None,
    *,
    alpha: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    metadata: np.ndarray | None = None,
    use_c: bool = True,
    negate_a: bool = False,
    negate_b: bool = False,
    convert: bool = False,
) -> np.ndarray:
    """Run ``s`` on operands of any M, N and K that its chunks divide; see :meth:`Instruction.__call__`."""
    A, B = np.asarray(A), np.asarray(B)
    raw_result = (A if C is None else np.asarray(C)).dtype.kind == "u" and not (C is None and s.a in INTEGERS)
    a, b = to_codes(A, s.a, convert, "A"), to_codes(B, s.b, convert, "B")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2], () if C is None else np.asarray(C).shape[:-2])
    shape = (*lead, a.shape[-2], b.shape[-1])
    if C is None or not use_c:
        c = np.zeros(shape, dtype_of(s.c))
    else:
        c = np.broadcast_to(to_codes(np.asarray(C), s.c, convert, "C"), shape)
    if negate_a:
        a = a ^ a.dtype.type(1 << (FORMATS[s.a].width - 1))
    if negate_b:
        b = b ^ b.dtype.type(1 << (FORMATS[s.b].width - 1))
    tiles = int(np.prod(lead, dtype=np.int64))
    depth = b.shape[-2]
    a3 = np.ascontiguousarray(np.broadcast_to(a, (*lead, *a.shape[-2:]))).reshape(tiles, *a.shape[-2:])
    if b.ndim == 2 or all(n == 1 for n in b.shape[:-2]):
        b3 = np.ascontiguousarray(b).reshape(1, *b.shape[-2:])
    else:
        b3 = np.ascontiguousarray(np.broadcast_to(b, (*lead, *b.shape[-2:]))).reshape(tiles, *b.shape[-2:])
    c3 = np.ascontiguousarray(c).reshape(tiles, *shape[-2:])
    extra: dict[str, np.ndarray] = {}
    if s.scale:
        extra = scale_codes(s, alpha, beta, lead, tiles, a3.shape[1], shape[-1], depth, convert)
    elif alpha is not None or beta is not None:
        raise UserError(f"{s.name} takes no scales; drop alpha and beta")
    if s.keep != (1, 1):
        if metadata is None:
            raise UserError(f"{s.name} needs metadata, the dense column of each kept element of A")
        extra["index"] = row_index(np.asarray(metadata), a.shape, s.keep, lead)
    elif metadata is not None:
        raise UserError(f"{s.name} is not sparse; drop metadata")
    d = run(s, a3, b3, c3, **extra).reshape(shape)
    return d if raw_result else from_codes(d, s.d)


def run(
    s: Spec,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray,
    alpha: np.ndarray | None = None,
    beta: np.ndarray | None = None,
    index: np.ndarray | None = None,
) -> np.ndarray:
    """Return raw D (T, M, N) for raw A (T, M, K), B (T|1, K, N), C (T, M, N)."""
    model = s.model
    if isinstance(model, models.IntegerDot | models.BinaryDot):
        return _integer(s, a, b, c, index)
    if isinstance(model, models.FmaChain):
        return engine.fma_chain(model, a, b, c)
    if isinstance(model, models.HalfPairThenAdd):
        return _half_pair(s, model, a, b, c, index)
    if isinstance(model, models.EmulatedQuad):
        return to_raw(engine.emulated_quad(model, a, b, accumulators(c, s.c)), s.d, NAN_CODE[s.d])
    left, right = operand(a, s.a), operand(b, s.b)
    d = accumulators(c, s.c)
    emin = FORMATS[s.c].emin
    if isinstance(model, models.GstFdpa):
        assert alpha is not None
        assert beta is not None
        engine.gst_fdpa(model, left, right, alpha, beta, s.scale, d)
    elif isinstance(model, models.TFdpa):
        if isinstance(model, models.StFdpa):
            assert alpha is not None
            assert beta is not None
            left, right = scaled(left, alpha, s.block, 2), scaled(right, beta, s.block, 1)
        engine.t_fdpa(model, left, right, d, emin, index)
    else:
        engine.amd(model, left, right, d)
    exact = isinstance(model, models.EFdpa | models.FtzAddMul)
    return to_raw(d, s.d, 0x7FC00000 if exact else NAN_CODE[s.d])


def to_raw(d: np.ndarray, name: str, nan: int) -> np.ndarray:
    """Return codes of float64 values that are exact in the format; NaNs become ``nan``."""
    if name == "fp32":
        raw = d.astype(np.float32).view(np.uint32)
    elif name == "fp16":
        with np.errstate(over="ignore"):
            raw = d.astype(np.float16).view(np.uint16)
    else:
        raw = encode(d, name)
    wrong = np.isnan(d)
    if wrong.any():
        raw[wrong] = nan
    return raw


def _half_pair(
    s: Spec, model: models.HalfPairThenAdd, a: np.ndarray, b: np.ndarray, c: np.ndarray, index: np.ndarray | None
) -> np.ndarray:
    """FP8 through the half-precision unit: per K elements two chained sums, then the rounded add of c."""
    to_half = {
        name: values(np.arange(256, dtype=np.uint8), name).astype(np.float16).view(np.uint16) for name in (s.a, s.b)
    }
    left, right = operand(to_half[s.a][a], "fp16"), operand(to_half[s.b][b], "fp16")
    d = accumulators(c, s.c)
    kept = model.K
    order = np.arange(kept)
    order = np.concatenate([order[order % 4 < 2], order[order % 4 >= 2]])
    spread = b.shape[1] // a.shape[2]  # 2 where A is sparse
    for k0 in range(0, a.shape[2], kept):
        t = np.zeros_like(d)
        if index is None:
            engine.t_fdpa(model.step, left.take(k0 + order, 2), right.take(k0 + order, 1), t, FORMATS[s.d].emin)
        else:
            rows = np.ascontiguousarray(index[..., k0 + order])
            assert spread >= 1
            engine.t_fdpa(model.step, left.take(k0 + order, 2), right, t, FORMATS[s.d].emin, rows)
        with np.errstate(invalid="ignore", over="ignore"):
            # Both are fp32 (or fp16) numbers: float64 holds fp16 sums exactly, float32 adds round once.
            d = (t.astype(np.float32) + d.astype(np.float32)).astype(np.float64) if s.d == "fp32" else t + d
            if s.d == "fp16":
                d = d.astype(np.float16).astype(np.float64)
    return to_raw(d, s.d, NAN_CODE[s.d])


def _integer(s: Spec, a: np.ndarray, b: np.ndarray, c: np.ndarray, index: np.ndarray | None) -> np.ndarray:
    """Exact sums by float64 matrix products: below 2^53 for every depth this package meets."""
    x, y = integer_values(a, s.a).astype(np.float64), integer_values(b, s.b).astype(np.float64)
    if index is not None:
        dense = np.zeros((*x.shape[:-1], y.shape[-2]))
        np.put_along_axis(dense, np.broadcast_to(index, x.shape).astype(np.int64), x, -1)
        x = dense
    dot = (x @ y).astype(np.int64)
    if isinstance(s.model, models.BinaryDot) and s.model.operation == "xor":
        dot = x.sum(-1, dtype=np.int64)[..., :, None] + y.sum(-2, dtype=np.int64)[..., None, :] - 2 * dot
    saturate = isinstance(s.model, models.IntegerDot) and s.model.saturate
    return integer_codes(integer_values(c, s.c) + dot, s.d, saturate)


def dtype_of(name: str) -> np.dtype[np.unsignedinteger]:
    """Return the raw dtype of a format."""
    return INTEGERS[name].dtype if name in INTEGERS else FORMATS[name].dtype


def _check_shape(what: str, x: np.ndarray, expected: tuple[int, int], name: str) -> None:
    if x.ndim < 2 or x.shape[-2:] != expected:
        raise UserError(f"{what} of {name} has shape (…, {expected[0]}, {expected[1]}), got {x.shape}")


def _check_flags(s: Spec, scale_d: int, imm_scale_a: int, imm_scale_b: int) -> None:
    flags = {"scale_d": (scale_d, (0, 1)), "imm_scale_a": (imm_scale_a, (-1, 1)), "imm_scale_b": (imm_scale_b, (-1, 1))}
    for key, (value, allowed) in flags.items():
        if value not in allowed:
            raise UserError(f"{key} is {allowed[0]} or {allowed[1]}, got {value}")
        if value != 1 and s.family not in ("wgmma", "wgmma.sp", "tcgen05"):
            raise UserError(f"{key}={value}: only wgmma and tcgen05 instructions have it, not {s.name}")
        if value != 1 and key != "scale_d" and s.a not in ("fp16", "bf16", "tf32", "e4m3", "e5m2"):
            raise UserError(f"{key}={value}: operands of {s.name} cannot be negated")


def scale_codes(
    s: Spec,
    alpha: np.ndarray | None,
    beta: np.ndarray | None,
    lead: tuple[int, ...],
    tiles: int,
    rows: int,
    columns: int,
    depth: int,
    convert: bool,
) -> dict[str, np.ndarray]:
    """Return raw ``alpha`` (tiles, rows, K/block) and ``beta`` (tiles, K/block, columns), broadcast over ``lead``."""
    if alpha is None or beta is None:
        raise UserError(f"{s.name} needs alpha and beta, {s.scale} scales, one per {s.block} k")
    blocks = depth // s.block
    out = {}
    for what, x, expected in (("alpha", alpha, (rows, blocks)), ("beta", beta, (blocks, columns))):
        x = np.asarray(x)
        if x.ndim < 2 or x.shape[-2:] != expected:
            raise UserError(
                f"{what} of {s.name} has one scale per {s.block} k, "
                f"shape (…, {expected[0]}, {expected[1]}), got {x.shape}"
            )
        codes = to_codes(x, s.scale, convert, what)
        out[what] = np.ascontiguousarray(np.broadcast_to(codes, (*lead, *expected))).reshape(tiles, *expected)
    return out
