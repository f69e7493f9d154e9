"""In-memory matching module: two table banks that change places, a scratchpad of partial sums, one lookup per edge.

    edge e        an index is accepted, with it row, bank, whether the sum starts anew and whether it is done
    edge e + 1    the table's word and the row's partial sums are read
    edge e + 2    the new sums move: into the scratchpad, or out after the last subspace

A bank is filled while the other one is looked up; it is free again when the last row of its subspace was accepted,
because its last word is read on the edge on which the first new entries are written; entries wait while that word
does. With one row per subspace a
partial sum is needed on the edge on which it moves into the scratchpad, and is taken from there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Beats, Cell, Channel, Field
from lutscape.rtl.cells import dla_imm_stimuli
from lutscape.rtl.cells.text import indented, index_bits, module, vector
from lutscape.sim.lut_dla import golden, stage_timing

Ints = np.ndarray
FORMULA = "F = c lanes / fill beats: Nc subspaces of R rows take F + (Nc - 1) max(R, F) + R + 2, first and last counted"
SUBSPACE_BITS = 12


@dataclass(frozen=True)
class Module:
    """Parameters of a module.

    Attributes:
        c: words of a bank.
        lanes: entries of a word, adders.
        table_bits: of an entry.
        accumulator_bits: of a sum.
        rows: of the scratchpad; 1: no scratchpad, the sums stay in the adder's register.
        fill: entries written per beat; divides the lanes.
        subspace_bits: of the counter of subspaces.
    """

    c: int
    lanes: int
    table_bits: int = 8
    accumulator_bits: int = 32
    rows: int = 256
    fill: int = 1
    subspace_bits: int = SUBSPACE_BITS

    def __post_init__(self) -> None:
        limits = (
            ("c", self.c, 2, 1024),
            ("lanes", self.lanes, 1, (1 << 16) // self.accumulator_bits),
            ("table_bits", self.table_bits, 2, min(16, self.accumulator_bits)),
            ("accumulator_bits", self.accumulator_bits, 8, 48),
            ("rows", self.rows, 1, 1 << 16),
            ("fill", self.fill, 1, self.lanes),
            ("subspace_bits", self.subspace_bits, 1, 16),
        )
        for name, value, least, most in limits:
            if not least <= value <= most:
                raise UserError(f"dla_imm: {name} = {value}; allowed: {least} … {most}")
        if self.c & (self.c - 1):
            raise UserError(f"dla_imm: c = {self.c}; must be a power of two")
        if self.lanes % self.fill:
            raise UserError(f"dla_imm: fill = {self.fill}; must divide lanes = {self.lanes}")

    @property
    def parts(self) -> int:
        """Beats that fill one word."""
        return self.lanes // self.fill

    @property
    def fill_beats(self) -> int:
        """F: beats that fill one bank."""
        return self.c * self.parts

    @property
    def index_bits(self) -> int:
        return self.c.bit_length() - 1

    @property
    def row_bits(self) -> int:
        return index_bits(self.rows)

    @property
    def parameters(self) -> dict[str, int | str]:
        return {
            "c": self.c, "lanes": self.lanes, "table_bits": self.table_bits,
            "accumulator_bits": self.accumulator_bits, "rows": self.rows, "fill": self.fill,
            "subspace_bits": self.subspace_bits,
        }  # fmt: skip


def tile_channel(design: Module) -> Channel:
    """Return channel ``t``: the size of a tile."""
    rows = (Field("last_row", design.row_bits, meaning="rows of the tile, less one"),) if design.rows > 1 else ()
    end = Field("last_subspace", design.subspace_bits, meaning="subspaces of the tile, less one")
    return Channel("t", "in", (*rows, end), "a tile: rows x lanes sums over its subspaces")


def table_channel(design: Module) -> Channel:
    """Return channel ``f``: the entries of one table after the other."""
    what = "entries of a table, word by word; lanes from the lowest"
    return Channel("f", "in", (Field("entries", design.table_bits, design.fill, True, what),), "tables of subspaces")


def sum_channel(design: Module) -> Channel:
    """Return channel ``d``: the sums of a row."""
    return Channel("d", "out", (Field("sums", design.accumulator_bits, design.lanes, True, "of one row"),), "sums")


@cache
def imm(design: Module) -> Cell:
    """Return the module of a design."""
    channels = (
        tile_channel(design),
        table_channel(design),
        Channel("i", "in", (Field("index", design.index_bits, meaning="word"),), "rows of a subspace in order"),
        sum_channel(design),
    )
    d = design
    name = f"dla_imm_c{d.c}n{d.lanes}t{d.table_bits}s{d.accumulator_bits}r{d.rows}f{d.fill}"
    name += f"k{d.subspace_bits}" if d.subspace_bits != SUBSPACE_BITS else ""
    numbers = (
        f"INT{d.table_bits} entries; {d.accumulator_bits}-bit sums, two's complement, modulo 2^{d.accumulator_bits}"
    )
    return Cell(
        name=name,
        kind="dla_imm",
        parameters=d.parameters,
        source=module(
            name,
            f"In-memory matching module of {d.lanes} lanes.",
            d.parameters,
            channels,
            indented(_body(d)),
            numbers=numbers,
            latency=stage_timing.LOOKUP_STAGES,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"d": {"sums": np.concatenate([t.sums(d) for t in tiles(d, beats)])}},
        stimulus=lambda rng, count: dla_imm_stimuli.draw(d, rng, count),
        coverage=lambda beats: dla_imm_stimuli.bins(d, beats),
        schedule=lambda beats: schedule(d, beats),
        latency=stage_timing.LOOKUP_STAGES,
        formula=FORMULA,
        numbers=numbers,
        operations=float(d.lanes),
        notes=("operations: table entries added per index",),
    )


def _body(d: Module) -> list[str]:
    word = index_bits(d.c)
    return [
        f"localparam C = {d.c};  // words of a bank",
        f"localparam N = {d.lanes};  // lanes",
        f"localparam ENTRY = {d.table_bits};  // bits of an entry",
        f"localparam SUM = {d.accumulator_bits};  // bits of a sum",
        "",
        "wire move;  // the sums in the adder are wanted, or not the last ones",
        "",
        *_tile(d),
        "",
        *_banks(d, word),
        "",
        *_stages(d, word),
    ]


def _tile(d: Module) -> list[str]:
    """Return where in a tile the next index belongs."""
    many, end = d.rows > 1, d.subspace_bits
    row = vector(d.row_bits)
    return [
        "// place of the next index in its tile",
        "reg  active;",
        *([f"reg  {row}row, last_row;"] if many else []),
        f"reg  {vector(end)}subspace, last_subspace;",
        f"wire row_done = {'row == last_row' if many else chr(49) + chr(39) + 'b1'};",
        "wire ending = subspace == last_subspace;",
        "wire take = i_valid && i_ready;",
        "wire finish = take && row_done && ending;",
        "assign t_ready = !active || finish;",
        "always @(posedge clk) begin",
        "    if (t_valid && t_ready) begin",
        *(["        last_row <= t_last_row;", f"        row <= {d.row_bits}'d0;"] if many else []),
        "        last_subspace <= t_last_subspace;",
        f"        subspace <= {end}'d0;",
        "    end else if (take) begin",
        *([f"        row <= row_done ? {d.row_bits}'d0 : row + 1'b1;"] if many else []),
        "        if (row_done) subspace <= subspace + 1'b1;",
        "    end",
        "    if (rst) active <= 1'b0;",
        "    else if (t_ready) active <= t_valid;",
        "end",
    ]


def _banks(d: Module, word: int) -> list[str]:
    """Return the two banks and who fills and reads which."""
    parts, part = d.parts, index_bits(d.parts)
    numbers = ", ".join(f"{part}'d{p}" for p in reversed(range(parts)))
    chosen = f" && part == NUMBERS[p*{part} +: {part}]" if parts > 1 else ""
    last = f"part == {part}'d{parts - 1}" if parts > 1 else "1'b1"
    split = ["wire next_word = put && part_done;", f"wire part_done = {last};"]
    return [
        "// two banks of tables: one is filled, one is read",
        "reg  busy;  // an index waits for its word",
        "reg  from;  // in this bank",
        "reg  bank, fill;",
        "reg  [1:0] full;",
        f"reg  {vector(word)}word;  // of the next entries",
        "wire put = f_valid && f_ready;",
        *([f"reg  {vector(part)}part;  // of the word", *reversed(split)] if parts > 1 else ["wire next_word = put;"]),
        f"wire filled = next_word && word == {word}'d{d.c - 1};",
        "wire unread = busy && !move && from == fill;  // a word of the bank that is free again waits to be read",
        "assign f_ready = !full[fill] && !unread;",
        "assign i_ready = move && active && full[bank];",
        "wire leave = take && row_done;",
        "always @(posedge clk) begin",
        "    if (rst) begin",
        "        bank <= 1'b0;",
        "        fill <= 1'b0;",
        "        full <= 2'b00;",
        f"        word <= {word}'d0;",
        *([f"        part <= {part}'d0;"] if parts > 1 else []),
        "    end else begin",
        *([f"        if (put) part <= part_done ? {part}'d0 : part + 1'b1;"] if parts > 1 else []),
        "        if (next_word) word <= word + 1'b1;  // c is a power of two",
        "        if (filled) fill <= !fill;",
        "        if (filled) full[fill] <= 1'b1;",
        "        if (leave) bank <= !bank;",
        "        if (leave) full[bank] <= 1'b0;",
        "    end",
        "end",
        "wire [N*ENTRY-1:0] entries;  // that the stage behind reads",
        f"reg  {vector(word)}index;",
        *([f"localparam [{parts * part - 1}:0] NUMBERS = {{{numbers}}};"] if parts > 1 else []),
        "genvar p;",
        "generate",
        f"    for (p = 0; p < {parts}; p = p + 1) begin : tables",
        f"        reg [{d.fill}*ENTRY-1:0] store [0:2*C-1];",
        f"        always @(posedge clk) if (put{chosen}) store[{{fill, word}}] <= f_entries;",
        f"        assign entries[p*{d.fill}*ENTRY +: {d.fill}*ENTRY] = store[{{from, index}}];",
        "    end",
        "endgenerate",
    ]


def _stages(d: Module, word: int) -> list[str]:
    """Return the pipeline: index, words, sums."""
    many, more = d.rows > 1, d.accumulator_bits - d.table_bits
    row = vector(d.row_bits)
    extended = (
        f"{{{{{more}{{word_of[n*ENTRY+ENTRY-1]}}}}, word_of[n*ENTRY +: ENTRY]}}"
        if more
        else ("word_of[n*ENTRY +: ENTRY]")
    )
    keep = "at == to ? sums : pad[at]" if many else "sums"
    return [
        "// stage 1: an index and its place",
        "reg  fresh, last;",
        *([f"reg  {row}at;"] if many else []),
        "always @(posedge clk) begin",
        "    if (take) begin",
        "        index <= i_index;",
        "        from <= bank;",
        f"        fresh <= subspace == {d.subspace_bits}'d0;",
        "        last <= ending;",
        *(["        at <= row;"] if many else []),
        "    end",
        "    if (rst) busy <= 1'b0;",
        "    else if (move) busy <= take;",
        "end",
        "",
        "// stage 2: entries and partial sums",
        "reg  adds, done;",
        *([f"reg  {row}to;", f"reg  [N*SUM-1:0] pad [0:{d.rows - 1}];  // scratchpad"] if many else []),
        "reg  [N*ENTRY-1:0] word_of;",
        "reg  [N*SUM-1:0] partial;",
        "wire [N*SUM-1:0] sums;",
        "genvar n;",
        "generate",
        "    for (n = 0; n < N; n = n + 1) begin : lane",
        f"        assign sums[n*SUM +: SUM] = partial[n*SUM +: SUM] + {extended};",
        "    end",
        "endgenerate",
        "assign d_valid = adds && done;",
        "assign d_sums = sums;",
        "assign move = !d_valid || d_ready;",
        "always @(posedge clk) begin",
        "    if (busy && move) begin",
        "        word_of <= entries;",
        f"        partial <= fresh ? {{N*SUM{{1'b0}}}} : {keep};",
        "        done <= last;",
        *(["        to <= at;"] if many else []),
        "    end",
        *(["    if (adds && !done) pad[to] <= sums;"] if many else []),
        "    if (rst) adds <= 1'b0;",
        "    else if (move) adds <= busy;",
        "end",
    ]


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile: indices (R, Nc), tables (Nc, c, lanes)."""

    indices: Ints
    tables: Ints

    def sums(self, design: Module) -> Ints:
        """Return the golden model's accumulators (R, lanes)."""
        kind = np.int8 if design.table_bits <= 8 else np.int16
        return np.asarray(golden.lookup(self.indices, self.tables.astype(kind), design.accumulator_bits), np.int64)

    def beats(self, design: Module) -> Beats:
        """Return the beats of ``t``, ``f`` and ``i``."""
        rows, subspaces = self.indices.shape
        size = {"last_subspace": np.array([[subspaces - 1]])}
        if design.rows > 1:
            size["last_row"] = np.array([[rows - 1]])
        return {
            "t": size,
            "f": {"entries": self.tables.reshape(-1, design.fill)},
            "i": {"index": self.indices.T.reshape(-1, 1)},
        }


def sizes(design: Module, beats: Beats) -> Iterator[tuple[int, int]]:
    """Yield rows and subspaces of every tile."""
    ends = beats["t"]["last_subspace"][:, 0] + 1
    rows = beats["t"]["last_row"][:, 0] + 1 if design.rows > 1 else np.ones(len(ends), np.int64)
    yield from zip(rows.tolist(), ends.tolist(), strict=True)


def tiles(design: Module, beats: Beats) -> Iterator[Tile]:
    """Yield the tiles of beats."""
    index, entries = beats["i"]["index"][:, 0], beats["f"]["entries"].reshape(-1, design.c, design.lanes)
    at = table = 0
    for rows, subspaces in sizes(design, beats):
        mine = index[at : at + rows * subspaces].reshape(subspaces, rows).T
        yield Tile(mine, entries[table : table + subspaces])
        at, table = at + rows * subspaces, table + subspaces


def schedule(design: Module, beats: Beats) -> dict[str, Ints]:
    """Return the edges of all channels when nothing waits outside.

    The recurrence of :func:`lutscape.sim.lut_dla.stage_timing.subspace_edges`, over tiles of different sizes.
    """
    fill, edge, free, filled = design.fill_beats, 1, [0, 0], 0
    edges: dict[str, list[Ints]] = {"t": [], "f": [], "i": [], "d": []}
    for rows, subspaces in sizes(design, beats):
        edges["t"].append(np.array([edge - 1]))  # with the last index of the tile before
        for s in range(subspaces):
            at = max(filled, free[-2])
            filled = at + fill
            start = max(edge, filled)
            edge = start + rows
            free.append(edge)
            edges["f"].append(at + np.arange(fill))
            edges["i"].append(start + np.arange(rows))
            if s == subspaces - 1:
                edges["d"].append(edges["i"][-1] + stage_timing.LOOKUP_STAGES)
    return {channel: np.concatenate(parts) for channel, parts in edges.items()}
