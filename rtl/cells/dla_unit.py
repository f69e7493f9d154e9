"""LUT-DLA from activations to sums: input buffer, centroid module, index FIFO between two clocks, matching module.

The centroid module and its input buffer run on ``ccm_clk``, the matching module on ``clk``. A tile is R rows over Nc
subspaces: Nc codebooks and R Nc sub-vectors, subspace by subspace, go in on one side, Nc tables on the other, and R
rows of sums come out. One chain feeds one matching module; neighbouring modules of a design look up the same indices
in the tables of their own columns, and share nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import Codebook
from lutscape.rtl.cell import Beats, Cell, Channel, Clocks
from lutscape.rtl.cells import dla_ccm, dla_distance, dla_imm, dla_unit_stimuli
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_imm import Module
from lutscape.rtl.cells.fifo import fifo
from lutscape.rtl.cells.text import indented, module, vector
from lutscape.sim.lut_dla import golden, stage_timing

Ints = np.ndarray
DOMAIN = "ccm"
FORMULA = (
    "chain, FIFO and module one behind the other: an index every edge of the slower clock, or as tables are filled"
)


@dataclass(frozen=True)
class Unit:
    """Parameters of a unit.

    Attributes:
        book: metric, v, c, bits.
        module: the matching module; its c is the codebook's.
        stages: of a dPE.
        input_rows: places of the input buffer.
        depth: of the index FIFO.
        synchroniser: flip-flops of each synchroniser.
    """

    book: Codebook
    module: Module
    stages: int = 1
    input_rows: int = 16
    depth: int = 16
    synchroniser: int = 2

    def __post_init__(self) -> None:
        if self.module.c != self.book.c:
            raise UserError(f"dla_unit: tables of c = {self.module.c} for codebooks of c = {self.book.c}")

    @property
    def parameters(self) -> dict[str, int | str]:
        """As they are printed."""
        own: dict[str, int | str] = {
            "metric": self.book.metric, "v": self.book.v, "input_bits": self.book.input_bits, "stages": self.stages,
            "input_rows": self.input_rows, "fifo_depth": self.depth, "synchroniser_stages": self.synchroniser,
        }  # fmt: skip
        return own | self.module.parameters


@cache
def unit(design: Unit) -> Cell:
    """Return the unit of a design."""
    book = design.book
    chain, imm = dla_ccm.ccm(book, design.stages), dla_imm.imm(design.module)
    buffer = fifo(1, design.input_rows, book.v * book.input_bits + 1)
    crossing = async_fifo(book.index_bits, design.depth, design.synchroniser)
    channels = (
        *(c for c in dla_ccm.channels(book, DOMAIN) if c.direction == "in"),
        *(c for c in imm.channels if c.name != "i"),
    )
    name = f"dla_unit_{chain.name.removeprefix('dla_ccm_')}x{design.input_rows}q{design.depth}"
    name += f"y{design.synchroniser}" if design.synchroniser != 2 else ""
    name += "_" + imm.name.removeprefix("dla_imm_")
    latency = chain.latency + crossing.latency + imm.latency
    numbers = f"{dla_distance.numbers(book)}; {imm.numbers}"
    return Cell(
        name=name,
        kind="dla_unit",
        parameters=design.parameters,
        source=module(
            name,
            "LUT-DLA: activations to sums, through indices and tables.",
            design.parameters,
            channels,
            indented(_body(design, buffer, chain, crossing, imm, channels)),
            numbers=numbers,
            latency=latency,
            formula=FORMULA,
        ),
        channels=channels,
        golden=lambda beats: {"d": {"sums": np.concatenate([t.sums(design) for t in tiles(design, beats)])}},
        stimulus=lambda rng, count: dla_unit_stimuli.draw(design, rng, count),
        coverage=lambda beats: dla_unit_stimuli.bins(design, beats),
        schedule_at=lambda beats, clocks: schedule(design, beats, clocks),
        latency=latency,
        formula=FORMULA,
        numbers=numbers,
        parts=(buffer, chain, crossing, imm),
        operations=float(book.v * design.module.lanes),
        notes=("operations: multiply-accumulates replaced per index",),
        crossings=tuple(f"indices.{c}" for c in crossing.crossings),
    )


def _body(
    design: Unit, buffer: Cell, chain: Cell, crossing: Cell, imm: Cell, channels: tuple[Channel, ...]
) -> list[str]:
    index = vector(design.book.index_bits)
    bits = design.book.v * design.book.input_bits
    slow = [c for c in channels if c.domain == ""]
    inner = [c.signal(s) for c in slow for s in ("valid", "ready", *(f.name for f in c.fields))]
    return [
        "wire row_valid, row_ready;",
        f"wire [{bits}:0] row;  // sub-vector and mark",
        f"{buffer.name} rows (",
        "    .clk(ccm_clk),",
        "    .rst(ccm_rst),",
        "    .i_valid(x_valid),",
        "    .i_ready(x_ready),",
        "    .i_data({x_first, x_values}),",
        "    .o_valid(row_valid),",
        "    .o_ready(row_ready),",
        "    .o_data(row)",
        ");",
        "",
        "wire near_valid, near_ready;",
        f"wire {index}near;",
        f"{chain.name} encoder (",
        "    .clk(ccm_clk),",
        "    .rst(ccm_rst),",
        "    .b_valid(b_valid),",
        "    .b_ready(b_ready),",
        "    .b_centroid(b_centroid),",
        "    .x_valid(row_valid),",
        "    .x_ready(row_ready),",
        f"    .x_values(row[{bits - 1}:0]),",
        f"    .x_first(row[{bits}]),",
        "    .y_valid(near_valid),",
        "    .y_ready(near_ready),",
        "    .y_index(near)",
        ");",
        "",
        "wire index_valid, index_ready;",
        f"wire {index}index;",
        f"{crossing.name} indices (",
        "    .in_clk(ccm_clk),",
        "    .in_rst(ccm_rst),",
        "    .clk(clk),",
        "    .rst(rst),",
        "    .i_valid(near_valid),",
        "    .i_ready(near_ready),",
        "    .i_data(near),",
        "    .o_valid(index_valid),",
        "    .o_ready(index_ready),",
        "    .o_data(index)",
        ");",
        "",
        f"{imm.name} lookup (",
        "    .clk(clk),",
        "    .rst(rst),",
        *[f"    .{signal}({signal})," for signal in inner],
        "    .i_valid(index_valid),",
        "    .i_ready(index_ready),",
        "    .i_index(index)",
        ");",
    ]


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile: activations (R, Nc v), centroids (Nc, c, v), tables (Nc, c, lanes)."""

    activations: Ints
    centroids: Ints
    tables: Ints

    def sums(self, design: Unit) -> Ints:
        """Return the golden model's accumulators (R, lanes)."""
        book, kind = design.book, np.int8 if design.module.table_bits <= 8 else np.int16
        found = golden.multiply(
            self.activations, self.centroids, self.tables.astype(kind), book.metric, book.input_bits,
            design.module.accumulator_bits,
        )  # fmt: skip
        return found.astype(np.int64)

    def beats(self, design: Unit) -> Beats:
        """Return the beats of all input channels."""
        rows, subspaces, v = len(self.activations), len(self.tables), design.book.v
        parts = golden.subvectors(self.activations, v).transpose(1, 0, 2)  # (Nc, R, v)
        first = np.zeros((subspaces, rows), np.int64)
        first[:, 0] = 1
        lookups = dla_imm.Tile(np.zeros((rows, subspaces), np.int64), self.tables).beats(design.module)
        del lookups["i"]
        return {
            "b": {"centroid": self.centroids.reshape(-1, v)},
            "x": {"values": parts.reshape(-1, v), "first": first.reshape(-1, 1)},
            **lookups,
        }


def tiles(design: Unit, beats: Beats) -> Iterator[Tile]:
    """Yield the tiles of beats."""
    book, values = design.book, beats["x"]["values"]
    centroids = beats["b"]["centroid"].reshape(-1, book.c, book.v)
    tables = beats["f"]["entries"].reshape(-1, book.c, design.module.lanes)
    at = k = 0
    for rows, subspaces in dla_imm.sizes(design.module, beats):
        mine = values[at : at + rows * subspaces].reshape(subspaces, rows, book.v)
        used = slice(k, k + subspaces)
        yield Tile(mine.transpose(1, 0, 2).reshape(rows, -1), centroids[used], tables[used])
        at, k = at + rows * subspaces, k + subspaces


def schedule(design: Unit, beats: Beats, clocks: Clocks) -> dict[str, Ints]:
    """Return the edges of all channels, each in its domain, when nothing waits outside.

    The chain counts in moves: edges on which it is not held up by a full FIFO. An index that finds the FIFO full adds
    its wait to every later move. FIFO and module follow their own formulas, index by index.
    """
    moves = dla_ccm.accepted(design.book, beats["x"]["first"][:, 0])
    latency, depth, lag = stage_timing.chain_latency(design.book, design.stages), design.depth, design.synchroniser
    (write, begin), (read, start) = clocks[DOMAIN], clocks[""]
    phase = start - begin
    fill, filled, free = design.module.fill_beats, 0, [0, 0]
    held = 0  # edges that the chain has stood still
    holds = np.zeros(len(moves[1]), np.int64)
    writes, reads = np.zeros(len(holds), np.int64), np.zeros(len(holds), np.int64)
    edges: dict[str, list[Ints]] = {"t": [], "f": [], "d": []}
    i, edge = 0, 1  # next index, edge from which it may be taken
    for rows, subspaces in dla_imm.sizes(design.module, beats):
        edges["t"].append(np.array([edge - 1]))
        for _ in range(subspaces):
            at = max(filled, free[-2])
            filled = at + fill
            edge = max(edge, filled)
            edges["f"].append(at + np.arange(fill))
            for _row in range(rows):
                offered = int(moves[1][i]) + latency + held
                writes[i] = offered
                if i >= depth:
                    writes[i] = max(offered, (phase + int(reads[i - depth]) * read) // write + 1 + lag)
                holds[i] = writes[i] - offered
                held += int(holds[i])
                seen = max((int(writes[i]) * write - phase) // read + 1, 0) + lag
                reads[i] = max(edge, seen)
                edge, i = int(reads[i]) + 1, i + 1
            free.append(edge)
        edges["d"].append(reads[i - rows : i] + stage_timing.LOOKUP_STAGES)
    before = np.concatenate([[0], np.cumsum(holds)])

    def at_move(move: Ints) -> Ints:
        """Return edges of moves: waits of indices that were offered before add up."""
        return np.asarray(move + before[np.searchsorted(moves[1] + latency, move, side="right")])

    taken, places = at_move(moves[1]), design.input_rows
    buffered = np.zeros(len(taken), np.int64)
    for k in range(len(taken)):
        earliest = int(buffered[k - 1]) + 1 if k else 0
        buffered[k] = max(earliest, int(taken[k - places]) + 1 if k >= places else 0)
    found = {channel: np.concatenate(parts) for channel, parts in edges.items()}
    return found | {"b": at_move(moves[0]), "x": buffered}
