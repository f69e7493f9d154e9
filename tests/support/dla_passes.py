"""Slow twin of LUT-DLA's cycle model: every pass of a layer one after the other, loop by loop, as a machine would."""

from __future__ import annotations

from dataclasses import dataclass

from lutscape.hw.machines.lut_dla import LutDlaSpec


@dataclass
class Walked:
    """What was counted on the way."""

    cycles: float
    waits: float
    table_bytes: float
    encoded_rows: int
    lookups: int


def walk(spec: LutDlaSpec, m: int, n: int, k: int, act_bytes: float, out_bytes: float, block: int) -> Walked:
    """Return the passes of ``ls-n`` or ``ls-k`` in a plain list: busy, load, store; and their time with two banks."""
    book, imm = spec.codebook, spec.imm
    f_imm, f_ccm = spec.clock_mhz * 1e6, spec.ccm.clock_mhz * 1e6
    beta = spec.dram.bandwidth_gb_s * 1e9 * spec.dram.efficiency / f_imm
    nc = -(-k // book.v)
    at_once = imm.count if imm.share == "rows" else 1  # rows looked up per cycle
    width = imm.lanes * (imm.count if imm.share == "columns" else 1)
    chains = spec.ccm.count * spec.ccm.ccus
    rate = chains * min(f_ccm, f_imm) / f_imm  # FIFOs deep enough
    latency = spec.dram.latency_ns * 1e-9 * f_imm
    fill = book.c * imm.lanes / imm.fill_entries

    def encode(rows: int) -> float:
        waits = rows * latency / (spec.ccm.count * spec.ccm.input_rows) if act_bytes else 0.0
        return max(rows / rate, waits)

    codebook = (book.c + 1) * f_imm / f_ccm

    def load(rows: int, columns: int, encodes: bool) -> float:
        size = book.c * columns * imm.table_bits / 8
        if encodes:
            size += act_bytes * rows / m / nc + book.c * book.v * book.input_bits / 8
        return max(size / beta, fill)

    row_blocks = [range(i, min(i + block, m)) for i in range(0, m, block)]
    column_tiles = [range(i, min(i + width, n)) for i in range(0, n, width)]
    passes: list[tuple[float, float, float]] = []  # busy, load, store
    groups: list[tuple[int, float]] = []  # passes of one subspace, least time (ls-k)
    table_bytes, encoded = 0.0, 0
    for b, rows in enumerate(row_blocks):
        r = len(rows)
        order = (
            [(t, s) for t in range(len(column_tiles)) for s in range(nc)]
            if spec.dataflow == "ls-n"
            else [(t, s) for s in range(nc) for t in range(len(column_tiles))]
        )
        for t, s in order:
            columns = len(column_tiles[t])
            encodes = t == 0 or (spec.dataflow == "ls-n" and spec.indices == "recompute")
            busy = float(len(range(0, r, at_once)))
            if encodes and spec.dataflow == "ls-n":
                busy = max(busy, encode(r))
            store = 0.0
            if s == nc - 1:
                busy = max(busy, r * columns / spec.vector_lanes)
                store = out_bytes * r * columns / (m * n) / beta
            own = load(r, columns, encodes)
            if encodes and spec.dataflow == "ls-n":
                own = max(own, codebook)
            passes.append((busy, own, store))
            table_bytes += book.c * columns * imm.table_bits / 8
            encoded += r if encodes else 0
            if spec.dataflow == "ls-k" and t == len(column_tiles) - 1:
                if s < nc - 1:
                    least = max(encode(r), codebook)
                else:
                    least = max(encode(len(row_blocks[b + 1])), codebook) if b + 1 < len(row_blocks) else 0.0
                groups.append((len(column_tiles), least))
    periods, waits = [], 0.0
    for i, (busy, _, store) in enumerate(passes):
        following = passes[i + 1][1] if i + 1 < len(passes) else 0.0
        periods.append(max(busy, following + store))
        waits += periods[-1] - busy
    if groups:
        total, at = 0.0, 0
        for size, least in groups:
            total += max(sum(periods[at : at + size]), least)
            at += size
        total += max(0.0, encode(len(row_blocks[0])) - len(range(0, len(row_blocks[0]), at_once)))
    else:
        total = sum(periods)
    first = load(len(row_blocks[0]), len(column_tiles[0]), True)  # without its centroids: they come beside it
    centroids = len(row_blocks) * nc * book.c * book.v * book.input_bits / 8
    encodings = encoded / (m * nc)
    dram = (table_bytes + act_bytes * encodings + centroids * encodings + out_bytes) / beta
    chain = (book.c + spec.ccm.dpe_stages - 1) * f_imm / f_ccm + spec.synchroniser_stages + 1
    cycles = max(total, dram) + max(first, book.c * f_imm / f_ccm + chain) + latency + 2
    return Walked(cycles, waits + first, table_bytes, encoded, len(passes))
