"""One function, :func:`evaluate`: a model, decoded operands and accumulators in, results out, on all cores.

Kernels release the interpreter lock; tiles, or rows of one tile, are dealt out to threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np

from lutscape.sim.mma import models
from lutscape.sim.mma.operands import NOTHING, Operand, flushed, group_masks

SMALL = 1 << 18
"""Multiply-accumulates below which threads cost more than they bring."""


def threads() -> int:
    """Return the number of worker threads: LUTSCAPE_THREADS, or the processors this process may use."""
    given = os.environ.get("LUTSCAPE_THREADS", "")
    return int(given) if given.isdigit() and int(given) > 0 else len(os.sched_getaffinity(0))


ROWS = 128
"""Rows of one task at most: their accumulators of one block of columns stay in the second-level cache."""


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="lutscape-mma")


def deal(kernel: Callable[[int, int, int, int], None], tiles: int, rows: int, macs: int) -> None:
    """Run ``kernel(t0, t1, i0, i1)`` over all tiles and rows, split over threads where that pays."""
    workers = threads()
    if macs < SMALL or tiles * rows < 2:
        kernel(0, tiles, 0, rows)
        return
    if tiles >= 2 * workers:
        cuts = np.linspace(0, tiles, 4 * workers + 1).astype(int)
        tasks = [(a, b, 0, rows) for a, b in pairwise(cuts) if a < b]
    else:
        cuts = np.linspace(0, rows, min(rows, max(4 * workers, -(-rows // ROWS))) + 1).astype(int)
        tasks = [(t, t + 1, a, b) for t in range(tiles) for a, b in pairwise(cuts) if a < b]
    if workers == 1:
        for task in tasks:
            kernel(*map(int, task))
        return
    for done in [_pool(workers).submit(kernel, *map(int, task)) for task in tasks]:
        done.result()


@cache
def _dense_index(k: int) -> np.ndarray:
    return np.arange(k, dtype=np.int32).reshape(1, 1, k)


def t_fdpa(
    model: models.TFdpa, a: Operand, b: Operand, d: np.ndarray, emin: int, index: np.ndarray | None = None
) -> None:
    """Chain T-FDPA over all of K into ``d`` (T, M, N) float64, in place.

    Args:
        model: L, F, rounding, e_zero.
        a: (T, M, K) operand; for a sparse A the K kept elements.
        b: (T|1, K', N) operand.
        d: accumulators, exact in the accumulator format.
        emin: least exponent of the accumulator format.
        index: (T, M, K) int32, row of B that each element of A meets; None where K = K' in order.
    """
    from lutscape.sim.mma import kernels_fused as kernels

    if index is None and _tall(a, b):
        turned = _turned(d)
        t_fdpa(model, _turned_operand(b), _turned_operand(a), turned, emin)
        d[:] = turned.swapaxes(1, 2)
        return
    tiles, rows, depth = a.value.shape
    chunks = -(-depth // model.L)
    special_a = np.zeros((tiles, rows, chunks), np.bool_)
    if a.special:
        special_a[:] = _any_chunk(~np.isfinite(a.value), model.L, chunks)
    special_b = np.zeros((b.value.shape[0], chunks), np.bool_)
    if b.special:
        bad = ~np.isfinite(b.value)
        special_b[:] = bad.any((1, 2))[:, None] if index is not None else _any_chunk(bad.any(2), model.L, chunks)
    narrow = a.narrow and b.narrow and model.F <= 25 and a.value.dtype == b.value.dtype == np.float32
    kernel = kernels.t_fdpa_narrow if narrow else kernels.t_fdpa_wide
    where = _dense_index(depth) if index is None else index
    rounding = model.rounding.fields
    deal(
        lambda t0, t1, i0, i1: kernel(
            a.value, a.exponent, b.value, b.exponent, where, special_a, special_b, d,
            model.L, model.F, emin, model.e_zero, *rounding, t0, t1, i0, i1,
        ),
        tiles, rows, d.size * depth,
    )  # fmt: skip


def _tall(a: Operand, b: Operand) -> bool:
    """Return whether the transposed product has longer rows, which the kernels vectorise over.

    T-FDPA treats both factors alike, so that transposing changes no bit.
    """
    rows, columns = a.value.shape[1], b.value.shape[2]
    return columns < min(rows, 64) and a.value.shape[0] == b.value.shape[0]


def _turned(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.swapaxes(1, 2))


def _turned_operand(x: Operand) -> Operand:
    return replace(x, value=_turned(x.value), exponent=_turned(x.exponent))


def _any_chunk(flags: np.ndarray, length: int, chunks: int) -> np.ndarray:
    """Return (…, chunks): whether any flag of (…, K) is set in each chunk of ``length``."""
    padded = np.zeros((*flags.shape[:-1], chunks * length), np.bool_)
    padded[..., : flags.shape[-1]] = flags
    return np.asarray(padded.reshape(*flags.shape[:-1], chunks, length).any(-1))


def gst_fdpa(
    model: models.GstFdpa, a: Operand, b: Operand, alpha: np.ndarray, beta: np.ndarray, scale: str, d: np.ndarray
) -> None:
    """Chain GST-FDPA into ``d``; alpha (T, M, K/block), beta (T|1, K/block, N) raw scale codes of format ``scale``."""
    from lutscape.hw.formats.binary import decode, values
    from lutscape.sim.mma.kernels_scaled import gst_fdpa as kernel

    tiles, rows, depth = a.value.shape
    repeat = model.block // model.G

    def spread(bits: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
        value, exponent = values(bits, scale), decode(bits, scale).exponent.astype(np.int16)
        return np.repeat(value, repeat, axis), np.repeat(exponent, repeat, axis)

    sav, sae = spread(alpha, 2)
    sbv, sbe = spread(beta, 1)
    masks = group_masks(a.value, model.G, 2), group_masks(b.value, model.G, 1)
    deal(
        lambda t0, t1, i0, i1: kernel(
            a.value, b.value, *masks, sav, sae, sbv, sbe, d, model.L, model.G, model.F, model.e_zero,
            *model.rounding.fields, t0, t1, i0, i1,
        ),
        tiles, rows, d.size * depth,
    )  # fmt: skip


def amd(model: models.Model, a: Operand, b: Operand, d: np.ndarray) -> None:
    """Chain a CDNA model (TR-, GTR-, E-FDPA, FTZ-AddMul) into ``d`` (T, M, N) float64, in place."""
    from lutscape.sim.mma import kernels_chain, kernels_down

    tiles, rows, depth = a.value.shape
    macs = d.size * depth
    if isinstance(model, models.EFdpa):
        deal(lambda *r: kernels_chain.e_fdpa(a.value, b.value, d, model.L, *r), tiles, rows, macs)
    elif isinstance(model, models.FtzAddMul):
        av, bv = flushed(a.value, model.input_emin), flushed(b.value, model.input_emin)
        with np.errstate(over="ignore"):
            acc = flushed(d.astype(np.float32), -126)
        deal(lambda *r: kernels_chain.ftz_add_mul(av, bv, acc, model.P, *r), tiles, rows, macs)
        d[:] = acc
    elif isinstance(model, models.TrFdpa | models.GtrFdpa):
        # A product reaches 2^128 only where the largest exponents add up to 127 or more.
        top = int(a.exponent.max(initial=NOTHING)) + int(b.exponent.max(initial=NOTHING))
        special = a.special or b.special or top >= 127
        kernel = kernels_down.tr_fdpa if isinstance(model, models.TrFdpa) else kernels_down.gtr_fdpa
        deal(
            lambda *r: kernel(
                a.value, a.exponent, b.value, b.exponent, _dense_index(depth), special, d,
                model.L, model.F, model.F2, *r,
            ),
            tiles, rows, macs,
        )  # fmt: skip
    else:
        raise TypeError(f"no kernel for {type(model).__name__}")


def fma_chain(model: models.FmaChain, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return raw results of FMA chains; a (T, M, K), b (T|1, K, N), c (T, M, N) raw fp64 or fp32 codes."""
    from lutscape.sim.mma import kernels_chain as kernels

    kind = np.dtype(np.float64 if model.format == "fp64" else np.float32)
    av, bv, d = a.view(kind), b.view(kind), c.copy().view(kind)
    macs = d.size * a.shape[2]
    if model.rounding == "RNE":
        deal(lambda *r: kernels.fma_chain(av, bv, d, *r), a.shape[0], a.shape[1], macs)
    else:
        from lutscape.sim.mma import directed

        hard = np.zeros(d.shape, np.bool_)
        mode = directed.MODES[model.rounding]
        deal(lambda *r: directed.chain(av, bv, d, mode, hard, *r), a.shape[0], a.shape[1], macs)
        directed.finish(av, bv, c.view(kind), d, hard, model.rounding)
    nan = np.isnan(d)
    raw = d.view(c.dtype)
    if nan.any():
        if model.nan == "propagate":
            invalid, quiet = np.uint64(0xFFF8000000000000), np.uint64(0x0008000000000000)
            kernels.fma_chain_nan(a, b, c, raw, nan, invalid, quiet)
        else:
            raw[nan] = 0x7FF8000000000000 if model.format == "fp64" else 0x7FC00000
    return raw


def emulated_quad(model: models.EmulatedQuad, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Return float64 results of m8n8k4 on ordinary cores.

    a (T, M, 4) and b (T|1, 4, N) are fp16 codes, c (T, M, N) float64. Chains start from -0, which no sum notices.
    """
    from lutscape.sim.mma import kernels_chain as kernels

    with np.errstate(invalid="ignore", over="ignore"):
        av, bv = a.view(np.float16).astype(np.float32), b.view(np.float16).astype(np.float32)
        late = c.astype(np.float32)

        def chain(first: int, last: int) -> np.ndarray:
            part = np.full(c.shape, -0.0, np.float32)
            left, right = np.ascontiguousarray(av[:, :, first:last]), np.ascontiguousarray(bv[:, first:last])
            deal(lambda *r: kernels.fma_chain(left, right, part, *r), a.shape[0], a.shape[1], c.size * 4)
            return part

        d = chain(0, 4) + late if model.late_c else (chain(0, 2) + late) + chain(2, 4)
    return d.astype(np.float64)
