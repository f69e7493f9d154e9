"""Lookups of FP32 tables inside vector registers: x86 permutes of 16 (AVX-512F) or 8 (AVX2) numbers.

A tile is some rows of activations times 64 outputs. For each step and plane, selects become the index of a permute of
the step's table, and 2^p times what it found is added by one fused multiply-add: the product is exact, so that is one
rounding, as the design has it. Tables are stored with their negatives, (sign, index) being the place; eight numbers
hold the half of k = 4 only, whose sign is then flipped apart.

Selects of eight steps share a 32-bit word, the first in the lowest nibble.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from lutscape.sim.lut_tensor_core import elut, kernels_loops
from lutscape.sim.lut_tensor_core.kernels_bytes import by_tile
from lutscape.sim.lut_tensor_core.kernels_shuffle import F32, I32, I64, OUTPUTS, TABLE, Emitter
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights, Single

INSTRUCTIONS = {  # width in bytes: features, permute
    64: (("avx512f",), "llvm.x86.avx512.permvar.sf.512"),
    32: (("avx2", "fma"), "llvm.x86.avx2.permps"),
}
ROWS = {64: 4, 32: 1}
CACHE_BYTES = 1 << 19
"""Tables that the rows between two looks at the weights should not exceed."""
ARGUMENTS = (
    "table",  # address of the first row's tables
    "table_row",  # bytes from row to row
    "selects",  # address of the selects of these outputs
    "first",  # first step
    "last",  # behind the last step
    "target",  # address of the tile's first output
    "target_row",  # bytes from row to row
    "factor",  # address of the weight factors of the outputs
    "sum",  # address of the first row's row sum; 0: nothing to correct
    "sum_row",  # bytes from row to row
    "correction",  # address of the corrections of the outputs
)


def fits(design: Mpgemm) -> bool:
    """Whether a select is a nibble: base 2 and k up to 4, or as few patterns."""
    return elut.select_bits(design.base, design.k) <= 4


@cache
def widths() -> tuple[int, ...]:
    """Return the register widths in bytes that this processor can permute, widest first."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return tuple(w for w, (needed, _) in INSTRUCTIONS.items() if all(features.get(f) for f in needed))


@cache
def _tile(counts: tuple[int, ...], bits: int, rows: int, width: int) -> Callable[..., Any]:
    """Return a numba intrinsic that computes one tile of one weight group; its argument is :data:`ARGUMENTS`."""

    @intrinsic
    def emit(typing: Any, arguments: Any) -> Any:
        def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
            items = [builder.extract_value(values[0], i) for i in range(len(ARGUMENTS))]
            _Tile(builder, counts, bits, rows, width, dict(zip(ARGUMENTS, items, strict=True))).emit()
            return context.get_dummy_value()

        return types.void(arguments), code

    return emit


class _Tile(Emitter):
    """Emits the code of one tile."""

    def __init__(
        self, builder: Any, counts: tuple[int, ...], bits: int, rows: int, width: int, arguments: dict[str, Any]
    ) -> None:
        super().__init__(builder)
        self.counts, self.bits, self.rows, self.arg = counts, bits, rows, arguments
        self.lanes = width // 4
        self.vectors = OUTPUTS // self.lanes
        self.floats, self.longs = ir.VectorType(F32, self.lanes), ir.VectorType(I32, self.lanes)
        self.permute = self.declare(INSTRUCTIONS[width][1], self.floats, [self.floats, self.longs])
        self.fma = self.declare(f"llvm.fma.v{self.lanes}f32", self.floats, [self.floats] * 3)

    def emit(self) -> None:
        """Emit the loop over steps and the end."""
        b, arg = self.b, self.arg
        count = self.rows * self.vectors
        start, loop, end = b.block, b.append_basic_block("loop"), b.append_basic_block("end")
        b.branch(loop)
        b.position_at_end(loop)
        s = b.phi(I64)
        sums = [b.phi(self.floats) for _ in range(count)]
        grown = self._step(s, list(sums))
        following = b.add(s, ir.Constant(I64, 1))
        zero = ir.Constant(self.floats, [0.0] * self.lanes)
        for phi, first, then in zip([s, *sums], [arg["first"], *[zero] * count], [following, *grown], strict=True):
            phi.add_incoming(first, start)
            phi.add_incoming(then, loop)
        b.cbranch(b.icmp_signed("<", following, arg["last"]), loop, end)
        b.position_at_end(end)
        self._finish(grown)

    def _step(self, s: Any, sums: list[Any]) -> list[Any]:
        b, arg = self.b, self.arg
        word = b.mul(b.ashr(s, ir.Constant(I64, 3)), ir.Constant(I64, len(self.counts) * OUTPUTS * 4))
        words = b.add(arg["selects"], word)
        shift = b.trunc(b.shl(b.and_(s, ir.Constant(I64, 7)), ir.Constant(I64, 2)), I32)
        shifts = self.splat(shift, self.longs)
        at = b.add(arg["table"], b.mul(s, ir.Constant(I64, TABLE * 4)))
        tables = [self.load(self.at(at, arg["table_row"], r), self.floats, 4) for r in range(self.rows)]
        for p, count in enumerate(self.counts):
            weight = ir.Constant(self.floats, [float(count)] * self.lanes)
            for v in range(self.vectors):
                address = self.at(words, None, 0, (p * OUTPUTS + v * self.lanes) * 4)
                select = b.lshr(self.load(address, self.longs, 4), shifts)
                for r in range(self.rows):
                    found = b.call(self.permute, [tables[r], self._index(select)])
                    found = self._signed(found, select)
                    place = r * self.vectors + v
                    sums[place] = b.call(self.fma, [found, weight, sums[place]])
        return sums

    def _index(self, select: Any) -> Any:
        """Clear what the permute would read above the select, if the select is shorter than its index."""
        size = self.bits + 1
        if 1 << size >= self.lanes:
            return select
        return self.b.and_(select, ir.Constant(self.longs, [(1 << size) - 1] * self.lanes))

    def _signed(self, found: Any, select: Any) -> Any:
        """Flip signs apart where the register holds no negatives."""
        if 1 << (self.bits + 1) <= self.lanes:
            return found
        b = self.b
        moved = b.shl(select, ir.Constant(self.longs, [31 - self.bits] * self.lanes))
        sign = b.and_(moved, ir.Constant(self.longs, [-(1 << 31)] * self.lanes))
        return b.bitcast(b.xor(b.bitcast(found, self.longs), sign), self.floats)

    def _finish(self, sums: list[Any]) -> None:
        b, arg = self.b, self.arg
        for r in range(self.rows):
            for v in range(self.vectors):
                factor = self.load(self.at(arg["factor"], None, 0, v * self.lanes * 4), self.floats, 4)
                self._add(r, v, b.fmul(sums[r * self.vectors + v], factor))
        with b.if_then(b.icmp_signed("!=", arg["sum"], ir.Constant(I64, 0))):
            for r in range(self.rows):
                one = self.load(self.at(arg["sum"], arg["sum_row"], r), F32, 4)
                spread = self.splat(one, self.floats)
                for v in range(self.vectors):
                    value = self.load(self.at(arg["correction"], None, 0, v * self.lanes * 4), self.floats, 4)
                    self._add(r, v, b.fmul(spread, value))

    def _add(self, r: int, v: int, value: Any) -> None:
        address = self.at(self.arg["target"], self.arg["target_row"], r, v * self.lanes * 4)
        self.store(self.b.fadd(self.load(address, self.floats, 4), value), address)


@cache
def _loop(counts: tuple[int, ...], bits: int, width: int) -> Callable[..., None]:
    rows = ROWS[width]
    many, one = _tile(counts, bits, rows, width), _tile(counts, bits, 1, width)

    @njit(nogil=True, error_model="numpy")
    def run(tables, selects, factors, sums, corrections, total, group):  # type: ignore[no-untyped-def]
        m, steps = tables.shape[0], tables.shape[1]
        blocks, groups, wide = selects.shape[0], factors.shape[1], np.int64(total.shape[1])
        table_at, select_at = np.int64(tables.ctypes.data), np.int64(selects.ctypes.data)
        factor_at, total_at = np.int64(factors.ctypes.data), np.int64(total.ctypes.data)
        sum_at, correct_at = np.int64(sums.ctypes.data), np.int64(corrections.ctypes.data)
        corrects = corrections.shape[1] > 0
        size = np.int64(selects.size // blocks * 4)
        for g in range(groups):
            for n in range(blocks):
                r = 0
                while r < m:
                    height = rows if m - r >= rows else 1
                    place = (np.int64(n) * groups + g) * OUTPUTS * 4
                    arguments = (
                        table_at + np.int64(r) * steps * TABLE * 4,
                        np.int64(steps * TABLE * 4),
                        select_at + n * size,
                        np.int64(g * group),
                        np.int64(min((g + 1) * group, steps)),
                        total_at + (r * wide + n * OUTPUTS) * 4,
                        wide * 4,
                        factor_at + place,
                        sum_at + (np.int64(r) * groups + g) * 4 if corrects else np.int64(0),
                        np.int64(groups * 4),
                        correct_at + place,
                    )
                    if height == 1:
                        one(arguments)
                    else:
                        many(arguments)
                    r += height

    return run


class Layout:
    """Weights as the permutes read them.

    Attributes:
        selects: (N / 64, ⌈S / 8⌉, W, 64) uint32, eight steps in a word.
        factors: (N / 64, G, 64) float32.
        corrections: (N / 64, G, 64) float32, or of no groups.
    """

    def __init__(self, weights: LookupWeights) -> None:
        chosen = kernels_loops.selects(weights)
        padded = np.pad(chosen, [(0, 0), (0, -weights.rows % OUTPUTS), (0, -weights.steps % 8)]).astype(np.uint32)
        split = padded.reshape(len(chosen), -1, OUTPUTS, padded.shape[-1] // 8, 8)  # (W, NB, 64, S / 8, 8)
        words = np.bitwise_or.reduce(split << (4 * np.arange(8, dtype=np.uint32)), axis=-1)
        self.selects = np.ascontiguousarray(words.transpose(1, 3, 0, 2))
        self.factors = by_tile(weights.factors)
        none = np.zeros((len(self.selects), 0, OUTPUTS), np.float32)
        self.corrections = none if weights.corrections is None else by_tile(weights.corrections)


def products(weights: LookupWeights, entries: np.ndarray, sums: Single, width: int) -> Single:
    """Return products (M, N) of float entries (M, S, H) with an FP32 accumulator, by permutes."""
    design, layout = weights.design, weights.cache.get("permute")
    if not isinstance(layout, Layout):
        layout = Layout(weights)
        weights.cache["permute"] = layout
    bits, held = elut.index_bits(design.base, design.k), entries.shape[-1]
    tables = np.zeros((*entries.shape[:2], TABLE), np.float32)
    tables[..., :held] = entries
    tables[..., 1 << bits : (1 << bits) + held] = -tables[..., :held]
    total = np.zeros((len(entries), len(layout.selects) * OUTPUTS), np.float32)
    group = -(-weights.group // design.k)
    _loop(design.plane_weights, bits, width)(
        tables, layout.selects, layout.factors, sums, layout.corrections, total, group
    )
    return total[:, : weights.rows]
