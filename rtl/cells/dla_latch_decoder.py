"""Decoder with its table in latches: one column of C tables of K entries, and the accumulator behind it.

The memory is what standard cells give at its smallest: a latch a bit, a clock gate a word. The entry to write is
registered on the edge that accepts it; the word's latches are transparent in the high half of the clock that follows,
and hold it from the falling edge on, so that the next edge can read it. Parameters of a public place-and-route point:
C = 32, K = 16, INT8 entries, 32-bit sums (halutmatmul's ``halut_decoder``), 4,096 bits.

    edge e        a lookup is accepted: its entry is read into a register
    edge e + 1    it is added; after the last one of a sum, the sum is kept and the accumulator starts anew
    edge e + 2    the sum moves
"""

from __future__ import annotations

from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells.text import indented, index_bits, module, vector
from lutscape.sim.lut_dla import golden

FORMULA = "a sum leaves 2 edges after its last lookup was taken; writes and lookups follow every edge"


@cache
def latch_decoder(codebooks: int = 32, centroids: int = 16, width: int = 8, sum_bits: int = 32) -> Cell:
    """Return a decoder of one column.

    Args:
        codebooks: C, tables of the column; a power of two.
        centroids: K, entries of a table; a power of two.
        width: bits of an entry.
        sum_bits: of the accumulator.

    Raises:
        UserError: parameters out of range.
    """
    limits = (
        ("codebooks", codebooks, 1, 4096), ("centroids", centroids, 2, 1024), ("width", width, 2, 16),
        ("sum_bits", sum_bits, width, 48),
    )  # fmt: skip
    for name, value, least, most in limits:
        if not least <= value <= most:
            raise UserError(f"dla_latch_decoder: {name} = {value}; allowed: {least} … {most}")
    for name, value in (("codebooks", codebooks), ("centroids", centroids)):
        if value & (value - 1):
            raise UserError(f"dla_latch_decoder: {name} = {value}; must be a power of two")
    words = codebooks * centroids
    parameters: dict[str, int | str] = {
        "codebooks": codebooks, "centroids": centroids, "width": width, "sum_bits": sum_bits,
    }  # fmt: skip
    fields = (
        Field("write", 1, meaning="the entry is stored; else one is looked up"),
        Field("place", index_bits(words), meaning="codebook and index"),
        Field("entry", width, 1, True, "to store"),
        Field("last", 1, meaning="last lookup of a sum"),
    )
    channels = (
        Channel("x", "in", fields, "writes and lookups in order"),
        Channel("d", "out", (Field("sum", sum_bits, 1, True, "sum of the entries"),), "sums"),
    )
    name = f"dla_latch_decoder_c{codebooks}k{centroids}w{width}s{sum_bits}"
    numbers = f"INT{width} entries; {sum_bits}-bit sums modulo 2^{sum_bits}"
    return Cell(
        name=name,
        kind="dla_latch_decoder",
        parameters=parameters,
        source=module(
            name, f"Decoder with {words * width} bits of latches.", parameters, channels,
            indented(_body(words, width, sum_bits)), numbers=numbers, latency=2, formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"d": {"sum": sums(words, sum_bits, beats)}},
        stimulus=lambda rng, count: stimulus(words, width, rng, count),
        coverage=lambda beats: coverage(words, width, beats),
        schedule=lambda beats: {"d": np.flatnonzero(beats["x"]["last"][:, 0] & ~beats["x"]["write"][:, 0]) + 2},
        latency=2,
        formula=FORMULA,
        numbers=numbers,
        operations=1,
    )  # fmt: skip


def _body(words: int, width: int, sum_bits: int) -> list[str]:
    place, more = index_bits(words), sum_bits - width
    low = place // 2  # write addresses are decoded in two halves
    high = place - low
    rows, columns = 1 << high, 1 << low
    row, column = f"place[{place - 1}:{low}]", f"place[{low - 1}:0]" if low > 1 else "place[0]"
    extended = f"{{{{{more}{{entry[{width - 1}]}}}}, entry}}" if more else "entry"
    return [
        f"localparam WORDS = {words};",
        f"localparam WIDTH = {width};",
        "",
        "reg  done;  // a sum waits to be taken",
        "wire move = !done || d_ready;",
        "assign x_ready = move;",
        "wire take = x_valid && move;",
        "wire store = take && x_write;",
        "wire look = take && !x_write;",
        f"wire {vector(place)}place = x_place;",
        "",
        "// latches: one gated clock a word",
        f"wire [{rows - 1}:0] row = {{{rows - 1}'d0, store}} << {row};",
        f"wire [{columns - 1}:0] column = {columns}'d1 << {column};",
        "reg  [WIDTH-1:0] written;",
        "always @(posedge clk) if (store) written <= x_entry;",
        "wire [WORDS*WIDTH-1:0] table_bits;",
        "genvar i;",
        "generate",
        "    for (i = 0; i < WORDS; i = i + 1) begin : words",
        "        reg  open;",
        "        reg  [WIDTH-1:0] held;",
        "        /* verilator lint_off LATCH */",
        f"        always @* if (!clk) open = row[i / {columns}] & column[i % {columns}];",
        "        wire gated = clk & open;",
        "        always @* if (gated) held = written;",
        "        /* verilator lint_on LATCH */",
        "        assign table_bits[i*WIDTH +: WIDTH] = held;",
        "    end",
        "endgenerate",
        "",
        "// lookup and sum",
        "reg  adds, last;",
        "reg  [WIDTH-1:0] entry;",
        f"reg  [{sum_bits - 1}:0] partial, total;",
        f"wire [{sum_bits - 1}:0] next = partial + {extended};",
        "always @(posedge clk) begin",
        "    if (look) begin",
        "        entry <= table_bits[place*WIDTH +: WIDTH];",
        "        last <= x_last;",
        "    end",
        "    if (adds && move && last) total <= next;",
        "    if (rst) begin",
        "        adds <= 1'b0;",
        "        done <= 1'b0;",
        f"        partial <= {sum_bits}'d0;",
        "    end else if (move) begin",
        "        adds <= look;",
        "        done <= adds && last;",
        f"        if (adds) partial <= last ? {sum_bits}'d0 : next;",
        "    end",
        "end",
        "assign d_valid = done;",
        "assign d_sum = total;",
    ]


def sums(words: int, sum_bits: int, beats: Beats) -> np.ndarray:
    """Return the sums (n, 1): lookups in tables of one column, written in between."""
    x = {name: values[:, 0].tolist() for name, values in beats["x"].items()}
    table = np.zeros(words, np.int64)
    out, total = [], 0
    for write, place, entry, last in zip(x["write"], x["place"], x["entry"], x["last"], strict=True):
        if write:
            table[place] = entry
            continue
        total += int(table[place])
        if last:
            out.append(total)
            total = 0
    return golden.wrap(np.array(out, np.int64), sum_bits)[:, None]


def stimulus(words: int, width: int, rng: np.random.Generator, count: int) -> Beats:
    """Return writes of all words, lookups of all, then both mixed; a lookup right behind its write now and then."""
    half = 1 << (width - 1)
    place = [np.arange(words), np.arange(words)]
    write = [np.ones(words, np.int64), np.zeros(words, np.int64)]
    entry = [rng.integers(-half, half, words), np.zeros(words, np.int64)]
    entry[0][: min(words, 2)] = (-half, half - 1)[:words]
    last = [np.zeros(words, np.int64), (np.arange(words) % 5 == 4).astype(np.int64)]
    last[1][-1] = 1
    for block, values in (
        (place, [0] * 5),
        (write, [1, 0, 1, 0, 0]),
        (entry, [1, 0, -1, 0, 0]),
        (last, [0, 1, 1, 1, 1]),
    ):
        block.append(np.array(values))
    more = max(8, count * 4 - words)
    chosen = rng.integers(0, words, more)
    again = rng.random(more) < 0.3
    chosen[1:][again[1:]] = chosen[:-1][again[1:]]
    mixed = (rng.random(more) < 0.4).astype(np.int64)
    place.append(chosen)
    write.append(mixed)
    entry.append(rng.integers(-half, half, more))
    last.append((rng.random(more) < 0.3).astype(np.int64))
    last[-1][-1], write[-1][-1] = 1, 0
    names = {"write": write, "place": place, "entry": entry, "last": last}
    return {"x": {name: np.concatenate(parts).astype(np.int64)[:, None] for name, parts in names.items()}}


def coverage(words: int, width: int, beats: Beats) -> dict[str, int]:
    """Return hits of every eighth word, extreme entries and orders of writes and lookups."""
    write, place = beats["x"]["write"][:, 0] == 1, beats["x"]["place"][:, 0]
    last, entry, half = beats["x"]["last"][:, 0] == 1, beats["x"]["entry"][:, 0], 1 << (width - 1)
    same = place[1:] == place[:-1]
    hits = {f"words {w} to {w + 7} looked up": int(((place[~write] // 8) == w // 8).sum()) for w in range(0, words, 8)}
    return hits | {
        "least entry": int((entry[write] == -half).sum()),
        "greatest entry": int((entry[write] == half - 1).sum()),
        "lookup right behind its write": int((same & write[:-1] & ~write[1:]).sum()),
        "write right behind its lookup": int((same & ~write[:-1] & write[1:]).sum()),
        "mark of a write": int((write & last).sum()),
        "sum of one lookup": int((last[1:] & last[:-1] & ~write[1:] & ~write[:-1]).sum()),
    }
