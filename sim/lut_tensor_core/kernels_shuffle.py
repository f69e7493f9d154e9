"""Lookups of byte tables inside vector registers: x86 byte shuffles, written as LLVM code for numba.

One shuffle looks up 64 (AVX-512BW), 32 (AVX2) or 16 (SSSE3) entries of a 16-byte table. A *tile* is some rows of
activations times 64 outputs; the code below emits one, for the steps of one unit:

    look up            shuffle(table of the step, selects)                       int8
    weigh the planes   multiply-add of neighbouring bytes by (2^p, 2^(p+1))      int16, exact: ≤ 127 · 15 · 2
    accumulate         add                                                       int16, for as many steps as fit
    at the unit's end  float(sum) · (table scale · weight factor), add           fp32

Two planes of an output lie in neighbouring bytes (a *pair*). An odd last plane is *single*: neighbouring bytes are
outputs n and n + 32, which two multiply-adds by (2^p, 0) and (0, 2^p) take apart. Tables of up to 8 entries are
stored with their negatives, so that a select (sign, index) is the shuffle's index; tables of 9 to 16 take the sign
from a bit mask.

Selects of two steps share a byte: the first in the low nibble.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm

OUTPUTS = 64
"""Outputs of a tile."""
TABLE = 16
"""Bytes of a table."""
INSTRUCTIONS = {  # width: feature, shuffle, multiply-add
    64: ("avx512bw", "llvm.x86.avx512.pshuf.b.512", "llvm.x86.avx512.pmaddubs.w.512"),
    32: ("avx2", "llvm.x86.avx2.pshuf.b", "llvm.x86.avx2.pmadd.ub.sw"),
    16: ("ssse3", "llvm.x86.ssse3.pshuf.b.128", "llvm.x86.ssse3.pmadd.ub.sw.128"),
}
ROWS = {64: 4, 32: 4, 16: 2}
"""Rows of a tile, so that its sums stay in registers."""

I1, I8, I16, I32, I64, F32 = (
    ir.IntType(1),
    ir.IntType(8),
    ir.IntType(16),
    ir.IntType(32),
    ir.IntType(64),
    ir.FloatType(),
)


@dataclass(frozen=True)
class Pass:
    """One or two planes that are looked up together.

    Attributes:
        plane: the lower one.
        pair: two planes in neighbouring bytes, not one.
        count: what the lower one counts, 2^p.
    """

    plane: int
    pair: bool
    count: int

    @property
    def bytes(self) -> int:
        """Bytes of selects of a tile's outputs for two steps."""
        return 2 * OUTPUTS if self.pair else OUTPUTS


def passes(design: Mpgemm) -> tuple[Pass, ...]:
    """Return how the planes of a design are looked up."""
    counts, found = design.plane_weights, []
    plane = 0
    while plane < len(counts):
        pair = plane + 1 < len(counts) and not masked(design)
        found.append(Pass(plane, pair, counts[plane]))
        plane += 2 if pair else 1
    return tuple(found)


def masked(design: Mpgemm) -> bool:
    """Whether signs come from a mask, because entries and negatives together exceed a table of 16."""
    return design.stored_entries > TABLE // 2


def fits(design: Mpgemm) -> bool:
    """Whether byte shuffles can look a design's tables up."""
    return design.scaled_entries and design.entry_limit <= 127 and design.stored_entries <= TABLE


def steps_in_int16(design: Mpgemm) -> int:
    """Return how many steps a 16-bit sum holds, an even number of at least 2: L · Σ 2^p each."""
    return (2**15 - 1) // (design.entry_limit * sum(design.plane_weights)) // 2 * 2


@cache
def widths() -> tuple[int, ...]:
    """Return the register widths in bytes that this processor can shuffle, widest first."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return tuple(w for w, (feature, _, _) in INSTRUCTIONS.items() if features.get(feature))


Build = Callable[..., Any]
ARGUMENTS = (
    "table",  # address of the unit's first table in the first row
    "table_row",  # bytes from row to row
    "selects",  # address of the unit's selects
    "signs",  # address of the unit's sign masks (masked designs)
    "pairs",  # whole pairs of steps
    "odd",  # 1: one more step, in low nibbles
    "target",  # address of the tile's first output, fp32 (or int32 where sums are collected)
    "target_row",  # bytes from row to row
    "scale",  # address of the first row's table scale, fp32
    "scale_row",  # bytes from row to row
    "factor",  # address of the weight factors of the outputs, fp32
    "sum",  # address of the first row's row sum, fp32; 0: nothing to correct
    "sum_row",  # bytes from row to row
    "correction",  # address of the corrections of the outputs, fp32
)


@cache
def tile(layout: tuple[Pass, ...], signs: bool, rows: int, width: int, collect: bool) -> Build:
    """Return a numba intrinsic that computes one tile; its argument is a tuple of int64, :data:`ARGUMENTS`.

    Args:
        layout: the passes.
        signs: whether signs come from masks.
        rows: rows of the tile.
        width: bytes of a register.
        collect: add int32 sums to the target instead of scaling them.
    """

    @intrinsic
    def emit(typing: Any, arguments: Any) -> Any:
        def code(context: Any, builder: Any, _: Any, values: Any) -> Any:
            items = [builder.extract_value(values[0], i) for i in range(len(ARGUMENTS))]
            _Tile(builder, layout, signs, rows, width, dict(zip(ARGUMENTS, items, strict=True))).emit(collect)
            return context.get_dummy_value()

        return types.void(arguments), code

    return emit


class Emitter:
    """Shorthands for LLVM code."""

    def __init__(self, builder: Any) -> None:
        self.b = builder

    def declare(self, name: str, result: Any, arguments: list[Any]) -> Any:
        found = self.b.module.globals.get(name)
        return found or ir.Function(self.b.module, ir.FunctionType(result, arguments), name)

    def load(self, address: Any, kind: Any, align: int = 1) -> Any:
        found = self.b.load(self.b.inttoptr(address, kind.as_pointer()))
        found.align = align
        return found

    def store(self, value: Any, address: Any) -> None:
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer())).align = 4

    def at(self, base: Any, stride: Any, times: int, plus: int = 0) -> Any:
        moved = self.b.add(base, self.b.mul(stride, ir.Constant(I64, times))) if times else base
        return self.b.add(moved, ir.Constant(I64, plus)) if plus else moved

    def splat(self, value: Any, kind: Any) -> Any:
        undefined = ir.Constant(kind, ir.Undefined)
        one = self.b.insert_element(undefined, value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, kind.count), [0] * kind.count)
        return self.b.shuffle_vector(one, undefined, zeros)


class _Tile(Emitter):
    """Emits the code of one tile."""

    def __init__(
        self, builder: Any, layout: tuple[Pass, ...], signs: bool, rows: int, width: int, arguments: dict[str, Any]
    ) -> None:
        super().__init__(builder)
        self.layout, self.signs, self.rows, self.width = layout, signs, rows, width
        self.arg = arguments
        self.parts = OUTPUTS // width
        self.bytes, lanes = ir.VectorType(I8, width), width // 2
        self.lanes = lanes
        self.words, self.longs = ir.VectorType(I16, lanes), ir.VectorType(I32, lanes)
        self.floats, self.table = ir.VectorType(F32, lanes), ir.VectorType(I8, TABLE)
        _, shuffle, madd = INSTRUCTIONS[width]
        self.shuffle = self.declare(shuffle, self.bytes, [self.bytes, self.bytes])
        self.madd = self.declare(madd, self.words, [self.bytes, self.bytes])

    def emit(self, collect: bool) -> None:
        """Emit loop, odd step and end."""
        b, arg = self.b, self.arg
        zero = [ir.Constant(self.words, [0] * self.lanes)] * (self.rows * 2 * self.parts)
        start, loop, tail, last, end = b.block, *(b.append_basic_block(n) for n in ("loop", "tail", "last", "end"))
        none = ir.Constant(I64, 0)
        b.cbranch(b.icmp_signed(">", arg["pairs"], none), loop, tail)

        b.position_at_end(loop)
        i = b.phi(I64)
        sums = [b.phi(self.words) for _ in zero]
        grown = self._step(i, 0, list(sums))
        grown = self._step(i, 1, grown)
        following = b.add(i, ir.Constant(I64, 1))
        for phi, first, then in zip([i, *sums], [none, *zero], [following, *grown], strict=True):
            phi.add_incoming(first, start)
            phi.add_incoming(then, loop)
        b.cbranch(b.icmp_signed("<", following, arg["pairs"]), loop, tail)

        b.position_at_end(tail)
        held = [b.phi(self.words) for _ in zero]
        for phi, first, then in zip(held, zero, grown, strict=True):
            phi.add_incoming(first, start)
            phi.add_incoming(then, loop)
        b.cbranch(b.icmp_signed("!=", arg["odd"], none), last, end)

        b.position_at_end(last)
        more = self._step(arg["pairs"], 0, list(held))
        b.branch(end)

        b.position_at_end(end)
        final = [b.phi(self.words) for _ in zero]
        for phi, first, then in zip(final, held, more, strict=True):
            phi.add_incoming(first, tail)
            phi.add_incoming(then, last)
        if collect:
            self._collect(final)
        else:
            self._scale(final)

    def _step(self, i: Any, nibble: int, sums: list[Any]) -> list[Any]:
        """Emit the lookups of step 2 i + nibble; sums are [row][half][part] of words."""
        b, arg, width = self.b, self.arg, self.width
        size = sum(p.bytes for p in self.layout)
        base = b.add(arg["selects"], b.mul(i, ir.Constant(I64, size)))
        masks = b.add(arg["signs"], b.mul(i, ir.Constant(I64, 16 * len(self.layout))))
        tables = []
        for r in range(self.rows):
            address = self.at(b.add(arg["table"], b.mul(i, ir.Constant(I64, 2 * TABLE))), arg["table_row"], r)
            one = self.load(self.at(address, None, 0, TABLE * nibble), self.table)
            spread = ir.Constant(ir.VectorType(I32, width), [j % TABLE for j in range(width)])
            tables.append(b.shuffle_vector(one, ir.Constant(self.table, ir.Undefined), spread))
        offset = 0
        for number, p in enumerate(self.layout):
            for vector in range(p.bytes // width):
                select = self._select(self.at(base, None, 0, offset + vector * width), nibble)
                mask = None
                if self.signs:
                    at = 8 * (nibble * len(self.layout) + number) + vector * width // 8
                    kind = ir.VectorType(I1, width)
                    mask = b.bitcast(self.load(self.at(masks, None, 0, at), ir.IntType(width)), kind)
                for r in range(self.rows):
                    found = b.call(self.shuffle, [tables[r], select])
                    if mask is not None:
                        found = b.select(mask, b.sub(ir.Constant(self.bytes, [0] * width), found), found)
                    halves = [(vector // self.parts, (p.count, 2 * p.count))]
                    if not p.pair:
                        halves = [(0, (p.count, 0)), (1, (0, p.count))]
                    for half, weights in halves:
                        place = (r * 2 + half) * self.parts + vector % self.parts
                        weighed = b.call(self.madd, [ir.Constant(self.bytes, list(weights) * self.lanes), found])
                        sums[place] = b.add(sums[place], weighed)
            offset += p.bytes
        return sums

    def _select(self, address: Any, nibble: int) -> Any:
        b, low = self.b, ir.Constant(self.bytes, [15] * self.width)
        both = self.load(address, self.bytes)
        if nibble:
            moved = b.lshr(b.bitcast(both, self.words), ir.Constant(self.words, [4] * self.lanes))
            both = b.bitcast(moved, self.bytes)
        return b.and_(both, low)

    def _places(self) -> list[tuple[int, int, int]]:
        """Return row, index of the sum and byte offset in the tile's row of each sum."""
        found = []
        for r in range(self.rows):
            for v in range(2 * self.parts):
                found.append((r, r * 2 * self.parts + v, v * self.lanes * 4))
        return found

    def _collect(self, sums: list[Any]) -> None:
        b, arg = self.b, self.arg
        for r, place, offset in self._places():
            address = self.at(arg["target"], arg["target_row"], r, offset)
            self.store(b.add(self.load(address, self.longs, 4), b.sext(sums[place], self.longs)), address)

    def _scale(self, sums: list[Any]) -> None:
        with self.b.if_else(self.b.icmp_signed("!=", self.arg["sum"], ir.Constant(I64, 0))) as (then, otherwise):
            with then:
                self._add(sums, True)
            with otherwise:
                self._add(sums, False)

    def _add(self, sums: list[Any], corrects: bool) -> None:
        b, arg = self.b, self.arg
        scales = [self._row("scale", r) for r in range(self.rows)]
        totals = [self._row("sum", r) for r in range(self.rows)] if corrects else []
        for r, place, offset in self._places():
            factor = b.fmul(scales[r], self.load(self.at(arg["factor"], None, 0, offset), self.floats, 4))
            found = b.fmul(b.sitofp(b.sext(sums[place], self.longs), self.floats), factor)
            address = self.at(arg["target"], arg["target_row"], r, offset)
            found = b.fadd(self.load(address, self.floats, 4), found)
            if corrects:
                correction = self.load(self.at(arg["correction"], None, 0, offset), self.floats, 4)
                found = b.fadd(found, b.fmul(totals[r], correction))
            self.store(found, address)

    def _row(self, name: str, r: int) -> Any:
        return self.splat(self.load(self.at(self.arg[name], self.arg[f"{name}_row"], r), F32, 4), self.floats)
