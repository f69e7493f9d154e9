"""Linear layers of a language model through the bits of a matrix unit.

:func:`linear_factory` makes the callables that :class:`lutscape.models.executor.Model` takes from
outside. Activations (rows, K) and weights (N, K) are rounded to the instruction's operand formats,
multiplied by :func:`lutscape.sim.mma.gemm` from zero accumulators, and come back as float32.

Operands of 8 bits and fewer are scaled first, as cuBLASLt's and TransformerEngine's per-tensor FP8
scaling does: ``codes = RNE(x / s)``, clamped to the largest number, and ``y = D * (s_x * s_w)`` in
FP32. ``s`` is ``max |x| / largest number`` (``max-abs``; "current scaling": one scale per call for the
activations, one per matrix or per output row for the weights), the power of two at or above that
(``power-of-two``), or one (``none``). 16-bit formats and tf32 are rounded to nearest even unscaled.

Example:
    >>> from lutscape.models.executor import load_model                                # doctest: +SKIP
    >>> model = load_model("smollm2-135m")                                             # doctest: +SKIP
    >>> hopper = model.variant(linear_factory("sm_90", "wgmma.m64n64k32.f32.e4m3.e4m3"))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache as once

import numpy as np

from lutscape.hw.errors import UserError, choose
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.hw.formats.encode import encode
from lutscape.models.executor import Linear, LinearFactory, dense
from lutscape.sim.mma.api import Instruction, instruction
from lutscape.sim.mma.chaining import gemm
from lutscape.sim.mma.convert import from_codes
from lutscape.sim.mma.operands import operand

SCALES = ("max-abs", "power-of-two", "none")
GRAINS = ("tensor", "row")


@dataclass(frozen=True)
class Codes:
    """A rounded matrix.

    Attributes:
        bits: raw codes; weights lie transposed, (K, N).
        scale: float32 that their values are multiplied by: () or, for weights, (N,).
    """

    bits: np.ndarray
    scale: np.ndarray


Cache = dict[tuple[str, str, str, str], Codes]
"""Rounded weights by layer, format, scale and grain, for factories over the same weights to share."""


def linear_factory(
    arch: str,
    name: str | Instruction,
    *,
    tile_k: int | None = None,
    split_k: int = 1,
    promotion: int | None = None,
    output: str | None = None,
    operand_scale: str = "max-abs",
    weight_scale: str = "tensor",
    exclude: Collection[str] = (),
    cache: Cache | None = None,
) -> LinearFactory:
    """Return a factory of linear layers that compute as one matrix instruction does.

    Args:
        arch: architecture, ignored if ``name`` is an :class:`Instruction` (a custom design, say).
        name: dense floating-point instruction without block scales.
        tile_k, split_k, promotion: how the kernel cuts k, as for :func:`lutscape.sim.mma.gemm`.
        output: format that y is rounded to (RNE) after scale and bias; float32 by default.
        operand_scale: ``max-abs``, ``power-of-two`` or ``none``; for operands of up to 8 bits.
        weight_scale: one scale per matrix (``tensor``) or per output row (``row``).
        exclude: names of layers that stay float32 (``lm_head``).
        cache: rounded weights are looked up and left here.

    Raises:
        UserError: integer, sparse or block-scaled instruction; unknown scale.
    """
    op = name if isinstance(name, Instruction) else instruction(arch, name)
    s = op.spec
    if s.a not in FORMATS or s.scale or s.keep != (1, 1):
        raise UserError(f"linear layers run on dense floating-point instructions without scales, not {s.name}")
    if output is not None:
        choose(output, FORMATS, "output format")

    def multiply(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        raw = gemm(arch, op, x, w, tile_k=tile_k, split_k=split_k, promotion=promotion)
        return from_codes(raw, s.d).astype(np.float32)

    return _factory(s.a, s.b, np.asarray, multiply, output, operand_scale, weight_scale, exclude, cache)


def reference_factory(
    operands: str,
    *,
    sums: str = "float64",
    operand_scale: str = "max-abs",
    weight_scale: str = "tensor",
    exclude: Collection[str] = (),
    cache: Cache | None = None,
) -> LinearFactory:
    """Return a factory whose operands are rounded as above and whose sums are those of numpy.

    In float64, where products of such operands are exact, the sum is rounded to float32 once: what is left
    beside float32 layers is the rounding of the operands alone. With ``float32`` sums, what is left beside
    float64 ones is how far last-bit noise travels through a model that rounds its activations anew in each layer.

    Args:
        operands: format of activations and weights.
        sums: ``float64`` or ``float32``.
        operand_scale, weight_scale, exclude, cache: as for :func:`linear_factory`.
    """
    choose(operands, [n for n, f in FORMATS.items() if f.signed and (f.width <= 16 or n == "tf32")], "operand format")
    kind = np.dtype(choose(sums, ("float64", "float32"), "precision of sums"))

    def numbers(bits: np.ndarray) -> np.ndarray:
        return operand(bits, operands).value.astype(kind)

    def multiply(x: np.ndarray, w: np.ndarray) -> np.ndarray:
        product: np.ndarray = (numbers(x) @ w).astype(np.float32)
        return product

    return _factory(operands, operands, numbers, multiply, None, operand_scale, weight_scale, exclude, cache)


def round_operand(x: np.ndarray, name: str, scale: str = "max-abs", rows: bool = False) -> Codes:
    """Return codes (RNE) and scale of a matrix.

    Args:
        x: (rows, K) float32.
        name: format; up to 8 bits it is scaled and clamped, wider ones overflow to infinity.
        scale: ``max-abs``, ``power-of-two`` or ``none``.
        rows: one scale per row instead of one for all.
    """
    f = FORMATS[name]
    if f.width > 8:
        return Codes(_wide_codes(x, name), np.ones((), np.float32))
    factor = np.ones(len(x) if rows else (), np.float32)
    if scale != "none":
        size = np.where(np.isfinite(x), np.abs(x), 0).max(-1 if rows else None, initial=0)
        factor = np.where(size > 0, size / np.float32(f.max_value), 1).astype(np.float32)
        factor = np.maximum(factor, np.finfo(np.float32).tiny)
        if scale == "power-of-two":
            factor = np.ldexp(np.float32(1), np.ceil(np.log2(factor)).astype(np.int32))
    return Codes(_narrow_codes(x / (factor[:, None] if rows else factor), name), factor)


def _factory(
    a: str,
    b: str,
    prepare: Callable[[np.ndarray], np.ndarray],
    multiply: Callable[[np.ndarray, np.ndarray], np.ndarray],
    output: str | None,
    operand_scale: str,
    weight_scale: str,
    exclude: Collection[str],
    cache: Cache | None,
) -> LinearFactory:
    choose(operand_scale, SCALES, "operand_scale")
    choose(weight_scale, GRAINS, "weight_scale")

    def make(name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
        if name in exclude:
            return dense(name, weight, bias)
        key = (name, b, operand_scale, weight_scale)
        codes = None if cache is None else cache.get(key)
        if codes is None:
            codes = round_operand(weight, b, operand_scale, weight_scale == "row")
            codes = Codes(np.ascontiguousarray(codes.bits.T), codes.scale)
            if cache is not None:
                cache[key] = codes
        factor, w = codes.scale, prepare(codes.bits)

        def linear(x: np.ndarray) -> np.ndarray:
            rounded = round_operand(x, a, operand_scale)
            y = multiply(rounded.bits, w)
            if FORMATS[a].width <= 8 or FORMATS[b].width <= 8:
                y *= rounded.scale * factor
            if bias is not None:
                y += bias
            return y if output is None else values(encode(y, output), output).astype(np.float32)

        return linear

    return make


def _wide_codes(x: np.ndarray, name: str) -> np.ndarray:
    """Return RNE codes of float32 numbers in a format wider than 8 bits; the fast forms of :func:`encode`."""
    x = np.ascontiguousarray(x, np.float32)
    if name == "fp16":
        with np.errstate(over="ignore"):
            return x.astype(np.float16).view(np.uint16)
    if name not in ("bf16", "tf32") or not np.isfinite(x).all():
        return encode(x, name)
    dropped = 16 if name == "bf16" else 13
    word = x.view(np.uint32)
    # Adding just under half, plus the lowest kept bit, carries exactly where nearest-even rounds up.
    word = word + (np.uint32((1 << (dropped - 1)) - 1) + ((word >> np.uint32(dropped)) & np.uint32(1)))
    return (word >> np.uint32(16)).astype(np.uint16) if name == "bf16" else word & np.uint32(0xFFFFE000)


def _narrow_codes(x: np.ndarray, name: str) -> np.ndarray:
    """Return RNE codes of float32 numbers in a format of up to 8 bits, clamped to its largest number.

    Cut to the upper 16 bits with a sticky lowest one (round to odd), a number keeps all that rounding to
    at most 6 bits needs; the 65,536 cases are looked up.
    """
    word = np.ascontiguousarray(x, np.float32).view(np.uint32)
    odd = (word >> np.uint32(16)) | ((word & np.uint32(0xFFFF)) != 0)
    return _narrow_table(name)[odd]


@once
def _narrow_table(name: str) -> np.ndarray:
    return encode(values(np.arange(1 << 16, dtype=np.uint16), "bf16"), name, overflow="saturate")
