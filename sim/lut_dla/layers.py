"""Cycles and traffic of one matrix product on LUT-DLA.

Symbols, all cycles in the modules' clock: M, N, K of the product; Nc = ⌈K/v⌉; T = ⌈N/(nI Tn)⌉ passes over the columns;
M_b rows of a block; p rows per cycle (1, or nI modules that share rows; T is then ⌈N/Tn⌉, and scratchpads add up);
β DRAM bytes per cycle; ρ indices per cycle that the chains deliver; F beats that fill a bank; D bytes of one pass's
tables, plus its activations and centroids where it encodes; O bytes of the outputs it finishes.

A *pass* is one table of c x nI Tn met by all rows of a block. It takes as long as the slowest of

    lookup     ⌈M_b / p⌉
    encode     where indices are made: M_b / ρ, and, if activations come from DRAM, M_b latency / (nC input_rows):
               more cannot be under way than the input buffers hold
    vector     in the last subspace: M_b columns / vector_lanes, sums leave as they are finished
    swap       the next pass's tables: max(D / β, F), and this pass's outputs in the same DRAM; where the next one
               encodes, its centroids: one after the other in the chains' clock

(:mod:`lutscape.sim.lut_dla.passes`), and a layer takes  DRAM latency + max(first load, first centroids + first index)
+ Σ passes + LOOKUP_STAGES. The swap is hidden where it is not the slowest: D / β <= M_b. Nothing is loaded before a
layer begins. On one chain and one module without DRAM this is the schedule of ``rtl/cells/dla_unit``, but for a start
of which only the longer half is counted there (tests/sim/lut_dla/test_timing_unit.py).

    ls-n    blocks, n, k, m. Indices are made in the first column pass and kept, or made again in every one
            (``recompute``; with T = 1 there is nothing to keep). Block: the rows that the scratchpad holds, and whose
            indices fit the index buffer.
    ls-k    blocks, k, n, m. The next subspace is encoded while this one is looked up: Σ over n against the encoding.
            Block: scratchpad rows / T; two subspaces' indices of a block in the index buffer.
    others  the same machine in another order. Where the loops inside m are single the table stays, and the order is
            one of the above; else it changes with every lookup, which takes max(1, D / β, F).

Every block more reads all tables from DRAM once more. Where v does not divide K, sub-vectors are padded with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import LutDlaSpec
from lutscape.sim.lut_dla import stage_timing
from lutscape.sim.lut_dla.dataflow import order_of, stays, subspaces
from lutscape.sim.lut_dla.passes import Node, Pass, Repeat, sequence, walk


@dataclass(frozen=True)
class Product:
    """A matrix product.

    Attributes:
        name: for errors.
        m: rows.
        n: columns.
        k: values of a row.
        activation_bytes: from DRAM, for one reading; 0: they are on chip.
        output_bytes: to DRAM; 0: they stay on chip.
    """

    name: str
    m: int
    n: int
    k: int
    activation_bytes: float = 0.0
    output_bytes: float = 0.0


@dataclass(frozen=True)
class Layer:
    """What a product takes.

    Attributes:
        cycles: of the modules' clock.
        encode: cycles that the chains are busy.
        lookup: cycles that the modules look up.
        table: cycles that filling the banks takes, by DRAM or by the port.
        dram: cycles that all traffic takes.
        exposed: cycles that wait for tables or centroids: the first one's and those that a swap does not hide.
        subspaces: Nc.
        column_passes: T.
        block_rows: M_b.
        blocks: of rows.
        encodings: times every sub-vector is encoded.
        table_loads: times every table is loaded.
        table_bytes: from DRAM.
        activation_bytes: from DRAM.
        centroid_bytes: from DRAM.
        output_bytes: to DRAM.
    """

    cycles: float
    encode: float
    lookup: float
    table: float
    dram: float
    exposed: float
    subspaces: int
    column_passes: int
    block_rows: int
    blocks: int
    encodings: int
    table_loads: int
    table_bytes: float
    activation_bytes: float
    centroid_bytes: float
    output_bytes: float


class _Machine:
    """Rates and sizes of one product on one machine."""

    def __init__(self, spec: LutDlaSpec, product: Product) -> None:
        self.spec, self.product = spec, product
        self.order = order_of(spec.dataflow)
        self.nc = subspaces(product.k, spec.codebook.v)
        self.width = spec.columns_per_pass
        self.rows_per_cycle = spec.rows_per_cycle
        self.tiles = -(-product.n // self.width)
        self.last_width = product.n - (self.tiles - 1) * self.width
        self.stationary = stays(spec.dataflow, {"n": self.tiles, "k": self.nc})
        self.beta = spec.dram_bytes_per_cycle
        self.latency = spec.dram.latency_ns * spec.clock_mhz * 1e-3
        self.block = block_rows(spec, product)
        self.blocks = -(-product.m // self.block)
        self.last_block = product.m - (self.blocks - 1) * self.block
        needs_again = self.tiles > 1 and self.order in ("nkm", "nmk", "mnk")
        self.encodings = self.tiles if needs_again and spec.indices == "recompute" else 1
        book, imm = spec.codebook, spec.imm
        self.fill = float(stage_timing.fill_cycles(book, imm.lanes, imm.fill_entries))
        self.table_byte = book.c * imm.table_bits / 8  # of one column and subspace
        self.centroid_bytes = book.c * book.v * book.input_bits / 8  # of one subspace
        slower = spec.imm_clock_mhz / spec.ccm.clock_mhz
        self.first_centroids = stage_timing.centroid_load_cycles(book) * slower
        self.centroid_cycles = stage_timing.codebook_cycles(book) * slower
        self.rho = stage_timing.indices_per_cycle(spec)

    def lookup(self, rows: int) -> float:
        """Return cycles that looking up one subspace of some rows takes."""
        return float(-(-rows // self.rows_per_cycle))

    def encode(self, rows: int) -> float:
        """Return cycles that encoding one subspace of some rows takes, its centroids in place."""
        waits = rows * self.latency / (self.spec.ccm.count * self.spec.ccm.input_rows)
        return max(rows / self.rho, waits if self.product.activation_bytes else 0.0)

    def subspace(self, rows: int) -> float:
        """Return cycles from one subspace to the next in the chains."""
        return max(self.encode(rows), self.centroid_cycles)

    def load(self, rows: int, columns: int, encodes: bool, streams: bool = False) -> float:
        """Return cycles that bring in a pass's tables, and what it encodes; centroids where the chains feed it."""
        size = self.table_byte * columns
        if encodes:
            size += self.product.activation_bytes * rows / self.product.m / self.nc + self.centroid_bytes
        return max(size / self.beta, self.fill, self.centroid_cycles if streams else 0.0)

    def one(self, rows: int, columns: int, encodes: bool, streams: bool, last: bool) -> Pass:
        """Return a pass.

        Args:
            rows: of the block.
            columns: of all modules.
            encodes: its load holds activations and centroids.
            streams: the chains feed it directly.
            last: it finishes its sums.
        """
        busy = max(self.lookup(rows), self.encode(rows) if streams else 0.0)
        if not last:
            return Pass(busy, self.load(rows, columns, encodes, streams))
        share = rows * columns / (self.product.m * self.product.n)
        busy = max(busy, rows * columns / self.spec.vector_lanes)
        return Pass(busy, self.load(rows, columns, encodes, streams), self.product.output_bytes * share / self.beta)

    def columns(self) -> list[tuple[int, int, bool]]:
        """Return (columns, how many such tiles, whether it is the first) of the tiles in their order."""
        if self.tiles == 1:
            return [(self.last_width, 1, True)]
        middle = [(self.width, self.tiles - 2, False)] if self.tiles > 2 else []
        return [(self.width, 1, True), *middle, (self.last_width, 1, False)]


def block_rows(spec: LutDlaSpec, product: Product) -> int:
    """Return M_b, the rows whose sums and indices fit the memories.

    Raises:
        UserError: not even one row fits; the message names the memory.
    """
    order, book = order_of(spec.dataflow), spec.codebook
    nc, tiles = subspaces(product.k, book.v), -(-product.n // spec.columns_per_pass)
    sums_inside, index_bits = order[order.index("k") + 1 :], spec.buffers.index_kib * 8192
    here = f"{spec.name}: {product.name} (M {product.m}, N {product.n}, K {product.k}, {spec.dataflow})"
    each = tiles if "n" in sums_inside else 1
    if each > spec.imm.rows:
        raise UserError(f"{here}: imm.rows = {spec.imm.rows} holds no row of N sums; use imm.rows >= {each}")
    held_rows = spec.imm.rows // each * spec.rows_per_cycle
    block = min(product.m, held_rows) if "m" in sums_inside else product.m
    if tiles == 1:
        return block
    if order in ("nkm", "nmk", "mnk") and spec.indices == "store":
        need = nc * book.index_bits
        advice = "or indices: recompute"
    elif order == "knm":
        need, advice = 2 * book.index_bits, "or another dataflow"
    else:
        return block
    held = index_bits // need
    if held < 1:
        kib = -(-need // 8192)
        raise UserError(
            f"{here}: buffers.index_kib = {spec.buffers.index_kib} holds no row's indices ({need} bits); "
            f"use index_kib >= {kib}, {advice}"
        )
    return min(block, held) if "m" in sums_inside else block


def time_product(spec: LutDlaSpec, product: Product) -> Layer:
    """Return cycles and traffic of a matrix product.

    Raises:
        UserError: sums or indices of one row do not fit the machine's memories.
    """
    at = _Machine(spec, product)
    m, nc, tiles = product.m, at.nc, at.tiles
    if at.stationary:
        root = _subspaces_first(at) if at.order in ("knm", "kmn") else _columns_first(at)
        passes, waits = walk(root, 0.0)
        loads, first, centroid_loads = at.blocks, _first_table(at), at.blocks * nc
        encode = at.encodings * sum(at.subspace(rows) * count for rows, count in _row_blocks(at)) * nc
        if at.order in ("knm", "kmn"):  # the first subspace is looked up as it is encoded
            first_rows = min(at.block, m)
            passes += max(0.0, at.encode(first_rows) - at.lookup(first_rows))
    else:
        passes, waits, encode = _changing(at)
        loads, first = int(at.lookup(m)), at.load(1, min(product.n, at.width), False)
        centroid_loads = nc if at.order == "kmn" or nc == 1 else m * nc
    tables = at.table_byte * product.n * nc * loads
    activations = product.activation_bytes * at.encodings
    centroids = at.centroid_bytes * centroid_loads * at.encodings
    dram = (tables + activations + centroids + product.output_bytes) / at.beta
    ready = max(first, at.first_centroids + stage_timing.first_index_cycles(spec))
    start = at.latency + ready + stage_timing.LOOKUP_STAGES
    return Layer(
        cycles=max(passes, dram) + start,
        encode=encode,
        lookup=sum(at.lookup(rows) * count for rows, count in _row_blocks(at)) * nc * tiles,
        table=max(tables / at.beta, at.fill * nc * tiles * loads),
        dram=dram,
        exposed=waits + first,
        subspaces=nc,
        column_passes=tiles,
        block_rows=at.block,
        blocks=at.blocks,
        encodings=at.encodings,
        table_loads=loads,
        table_bytes=tables,
        activation_bytes=activations,
        centroid_bytes=centroids,
        output_bytes=product.output_bytes,
    )


def _first_table(at: _Machine) -> float:
    """Return cycles until the first pass has its tables; the chains encode meanwhile."""
    return at.load(min(at.block, at.product.m), min(at.product.n, at.width), True)


def _row_blocks(at: _Machine) -> list[tuple[int, int]]:
    """Return (rows, how many such blocks) in their order."""
    full = [(at.block, at.blocks - 1)] if at.blocks > 1 else []
    return [*full, (at.last_block, 1)]


def _columns_first(at: _Machine) -> Repeat:
    """``ls-n``: for blocks, for n, for k."""
    blocks: list[Node] = []
    for rows, times in _row_blocks(at):
        tiles: list[Node] = []
        for columns, count, is_first in at.columns():
            encodes = is_first or at.encodings > 1
            inner = Repeat((at.one(rows, columns, encodes, encodes, False),), at.nc - 1)
            tiles.append(Repeat(sequence(inner, at.one(rows, columns, encodes, encodes, True)).body, count))
        blocks.append(Repeat(tuple(tiles), times))
    return sequence(*blocks)


def _subspaces_first(at: _Machine) -> Repeat:
    """``ls-k``: for blocks, for k, for n; the next subspace is encoded meanwhile."""

    def subspace(rows: int, last: bool) -> tuple[Node, ...]:
        return tuple(Repeat((at.one(rows, columns, is_first, False, last),), count)
                     for columns, count, is_first in at.columns())  # fmt: skip

    def block(rows: int, following: int) -> tuple[Node, ...]:
        inner = Repeat(subspace(rows, False), at.nc - 1, at.subspace(rows))
        return sequence(inner, Repeat(subspace(rows, True), 1, at.subspace(following) if following else 0.0)).body

    full, last = at.block, at.last_block
    nodes: list[Node] = []
    if at.blocks > 2:
        nodes.append(Repeat(block(full, full), at.blocks - 2))
    if at.blocks > 1:
        nodes.append(Repeat(block(full, last), 1))
    nodes.append(Repeat(block(last, 0), 1))
    return sequence(*nodes)


def _changing(at: _Machine) -> tuple[float, float, float]:
    """Return (cycles, waiting, encoding) where every lookup needs another table."""
    m, nc, steps = at.product.m, at.nc, at.lookup(at.product.m) * at.nc
    lookups = steps * at.tiles
    wide, last = at.load(1, at.width, False), at.load(1, at.last_width, False)
    cycles = steps * ((at.tiles - 1) * max(1.0, wide) + max(1.0, last))
    if at.order == "kmn" or nc == 1:  # the centroids stay while the rows pass
        encode = nc * at.subspace(m)
    else:
        encode = m * nc * at.subspace(1)
    encode *= at.encodings
    return max(cycles, encode), cycles - lookups, encode
