"""Whole-kernel bits: a matrix product as a GPU kernel chains its instructions.

What decides the bits beyond the instruction: where k is cut (split-K, promotion), the order in which
partial sums meet, and the epilogue. All of that is explicit here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from lutscape.hw.errors import UserError, choose
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.hw.formats.encode import encode
from lutscape.hw.formats.integer import INTEGERS, integer_codes, integer_values
from lutscape.sim.mma.api import Instruction, dtype_of, instruction, run
from lutscape.sim.mma.convert import from_codes, to_codes
from lutscape.sim.mma.instructions import Spec
from lutscape.sim.mma.models import TFdpa

ORDERS = ("serial", "pairwise")


def gemm(
    arch: str,
    name: str | Instruction,
    A: np.ndarray,
    B: np.ndarray,
    C: np.ndarray | None = None,
    *,
    tile_k: int | None = None,
    split_k: int = 1,
    split_order: str = "serial",
    promotion: int | None = None,
    alpha: float = 1.0,
    beta: float | None = None,
    epilogue: Callable[[np.ndarray], np.ndarray] | None = None,
    output: str | None = None,
    scale_a: np.ndarray | None = None,
    scale_b: np.ndarray | None = None,
    convert: bool = False,
) -> np.ndarray:
    """Return the bits of D = A B (+ C) as a kernel built on one instruction computes them.

    Args:
        arch: architecture, ignored if ``name`` is an :class:`Instruction` (a custom design, say).
        name: instruction; only its k, formats and model matter. K is padded with zeros to whole instructions.
        A: (M, K) numbers or raw codes.
        B: (K, N) likewise.
        C: (M, N). Without ``beta`` it starts the accumulators; with it, it enters the epilogue.
        tile_k: depth of a kernel's k tile, a multiple of the instruction's k; split-K slices are whole tiles.
        split_k: number of slices of k, each accumulated from zero (the first from C).
        split_order: ``serial`` adds slices in ascending order, ``pairwise`` as a binary tree; FP32 RNE adds.
        promotion: after this many k, add the instruction's accumulator to an FP32 one (RNE) and restart it
            from zero: DeepSeek-V3's two-level accumulation (arXiv 2412.19437, section 3.3) with 128.
        alpha: epilogue factor of the product, FP32.
        beta: epilogue factor of C: ``fma(alpha, AB, RNE(beta C))`` in FP32, as CUTLASS's linear combination.
        epilogue: function on the FP32 result (M, N), before output conversion.
        output: format of D (RNE); the accumulator's by default.
        scale_a: block scales (M, K/block) of block-scaled instructions.
        scale_b: likewise (K/block, N).
        convert: round numbers to the operand formats instead of refusing inexact ones.

    Returns:
        (M, N): raw codes if A is raw, otherwise numbers.

    Raises:
        UserError: shapes that do not match, or parameters out of range.
    """
    op = name if isinstance(name, Instruction) else instruction(arch, name)
    s = op.spec
    step = s.k or _step(s)
    A, B = np.asarray(A), np.asarray(B)
    if A.ndim != 2 or B.ndim != 2 or A.shape[1] != B.shape[0] or 0 in (*A.shape, *B.shape):
        raise UserError(f"gemm takes A (M, K) and B (K, N), got {A.shape} and {B.shape}")
    if s.keep != (1, 1):
        raise UserError(f"gemm covers dense instructions, not {s.name}")
    if C is not None and np.asarray(C).shape != (A.shape[0], B.shape[1]):
        raise UserError(f"C has shape ({A.shape[0]}, {B.shape[1]}), got {np.asarray(C).shape}")
    if beta is not None and C is None:
        raise UserError("beta needs C")
    choose(split_order, ORDERS, "split_order")
    tile = tile_k or step
    for what, value in (("tile_k", tile), ("promotion", promotion)):
        if value is not None and (value < 1 or value % step):
            raise UserError(f"{what} is a multiple of the instruction's k = {step}, got {value}")
    tiles = -(-A.shape[1] // tile)
    if not 1 <= split_k <= tiles:
        raise UserError(f"split_k is 1 … {tiles} (k tiles of {tile}), got {split_k}")
    if s.d != "fp32" and (promotion or split_k > 1 or alpha != 1 or beta is not None or epilogue):
        raise UserError(f"promotion, split_k and epilogues work on fp32 accumulators; {s.name} has {s.d}")
    raw = A.dtype.kind == "u"
    depth = -(-A.shape[1] // step) * step
    a = _padded(to_codes(A, s.a, convert, "A"), depth, 1)
    b = _padded(to_codes(B, s.b, convert, "B"), depth, 0)
    scales = _scales(s, scale_a, scale_b, a.shape[0], b.shape[1], depth, convert)
    start = None if C is None or beta is not None else to_codes(np.asarray(C), s.c, convert, "C")
    if start is not None and s.c != s.d:
        raise UserError(f"{s.name} cannot chain: its C is {s.c}, its D {s.d}; pass beta")
    slices = []
    for number, (k0, k1) in enumerate(_slices(tiles, split_k, tile, depth)):
        slices.append(_chain(s, a, b, scales, k0, k1, promotion, start if number == 0 else None))
    d = _combine(slices, split_order)
    if alpha != 1 or beta is not None or epilogue is not None:
        d = _epilogue(d, alpha, beta, None if beta is None else _numbers(C, convert), epilogue)
    return _output(d, s.d, output, raw)


def _step(s: Spec) -> int:
    assert isinstance(s.model, TFdpa)
    return s.model.L


def _padded(x: np.ndarray, depth: int, axis: int) -> np.ndarray:
    missing = depth - x.shape[axis]
    if missing:
        x = np.pad(x, [(0, missing if i == axis else 0) for i in range(2)])
    return np.ascontiguousarray(x)


def _slices(tiles: int, split_k: int, tile: int, depth: int) -> Iterator[tuple[int, int]]:
    """Yield k ranges: contiguous runs of tiles, the first ones longer where the number does not divide."""
    cuts = [-(-tiles * i // split_k) for i in range(split_k + 1)]
    for first, last in pairwise(cuts):
        yield first * tile, min(last * tile, depth)


def _chain(
    s: Spec,
    a: np.ndarray,
    b: np.ndarray,
    scales: dict[str, np.ndarray],
    k0: int,
    k1: int,
    promotion: int | None,
    start: np.ndarray | None,
) -> np.ndarray:
    """Return raw accumulators (M, N) after k0 … k1."""
    zero = np.zeros((1, a.shape[0], b.shape[1]), dtype_of(s.d))
    acc = zero if start is None else start[None]

    def run_range(first: int, last: int, c: np.ndarray) -> np.ndarray:
        extra = {}
        if scales:
            blocks = slice(first // s.block, last // s.block)
            extra = {"alpha": scales["alpha"][None, :, blocks], "beta": scales["beta"][None, blocks]}
        return run(s, a[None, :, first:last], b[None, first:last], c, **extra)

    if promotion is None:
        return run_range(k0, k1, acc)[0]
    total = acc.view(np.float32)
    for first in range(k0, k1, promotion):
        part = run_range(first, min(first + promotion, k1), zero).view(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            total = total + part
    return total.view(np.uint32)[0]


def _combine(slices: list[np.ndarray], order: str) -> np.ndarray:
    while len(slices) > 1:
        with np.errstate(over="ignore", invalid="ignore"):
            if order == "serial":
                head = (slices[0].view(np.float32) + slices[1].view(np.float32)).view(np.uint32)
                slices = [head, *slices[2:]]
            else:
                pairs = zip(slices[::2], slices[1::2], strict=False)
                tail = slices[-1:] if len(slices) % 2 else []
                slices = [(x.view(np.float32) + y.view(np.float32)).view(np.uint32) for x, y in pairs] + tail
    return slices[0]


def _epilogue(
    d: np.ndarray,
    alpha: float,
    beta: float | None,
    C: np.ndarray | None,
    epilogue: Callable[[np.ndarray], np.ndarray] | None,
) -> np.ndarray:
    from lutscape.sim.mma.kernels_chain import scale_and_add

    x = d.view(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if C is not None:
            x = scale_and_add(np.float32(alpha), x, np.float32(beta) * C)
        elif alpha != 1:
            x = np.float32(alpha) * x
    if epilogue is not None:
        y = np.asarray(epilogue(x))
        if y.shape != x.shape or y.dtype != np.float32:
            raise UserError(f"epilogue must return float32 {x.shape}, got {y.dtype} {y.shape}")
        x = y
    return np.ascontiguousarray(x).view(np.uint32)


def _numbers(C: np.ndarray | None, convert: bool) -> np.ndarray:
    return to_codes(np.asarray(C), "fp32", convert, "C").view(np.float32)


def _output(d: np.ndarray, name: str, output: str | None, raw: bool) -> np.ndarray:
    if output is not None and output != name:
        choose(output, [*FORMATS, *INTEGERS], "output format")
        if name in INTEGERS:
            if output not in INTEGERS:
                raise UserError(f"an integer accumulator converts to integers, not {output}")
            d = integer_codes(integer_values(d, name), output, saturate=True)
        elif output in INTEGERS:
            raise UserError(f"a {name} accumulator converts to floats, not {output}")
        else:
            d = encode(values(d, name), output)
        name = output
    return d if raw else from_codes(d, name)


def _scales(
    s: Spec, scale_a: np.ndarray | None, scale_b: np.ndarray | None, rows: int, columns: int, depth: int, convert: bool
) -> dict[str, np.ndarray]:
    if not s.scale:
        if scale_a is not None or scale_b is not None:
            raise UserError(f"{s.name} takes no scales")
        return {}
    if scale_a is None or scale_b is None:
        raise UserError(f"{s.name} needs scale_a and scale_b, {s.scale} scales, one per {s.block} k")
    blocks = depth // s.block
    out = {}
    for what, key, x, shape in (
        ("scale_a", "alpha", scale_a, (rows, blocks)),
        ("scale_b", "beta", scale_b, (blocks, columns)),
    ):
        if np.asarray(x).shape != shape:
            raise UserError(
                f"{what} of {s.name} has one scale per {s.block} k, shape {shape}, got {np.asarray(x).shape}"
            )
        out[key] = to_codes(np.asarray(x), s.scale, convert, what)
    return out
