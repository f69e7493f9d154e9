"""LUT-DLA in Verilog: every cell against the golden model, its stage formulas and its bins; faults are caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import METRICS, Codebook
from lutscape.rtl import catalogue, waves
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import dla_ccm, dla_distance, dla_imm, dla_unit
from lutscape.rtl.cells.async_fifo import async_fifo
from lutscape.rtl.cells.dla_ccm import ccm
from lutscape.rtl.cells.dla_codebook import codebook
from lutscape.rtl.cells.dla_distance import distance
from lutscape.rtl.cells.dla_dpe import dpe
from lutscape.rtl.cells.dla_imm import Module, imm
from lutscape.rtl.cells.dla_latch_decoder import latch_decoder
from lutscape.rtl.cells.dla_unit import Unit, unit
from lutscape.rtl.verify import exhaustive, verify
from lutscape.sim.lut_dla import golden, stage_timing


def book(metric: str, v: int, bits: int, c: int = 16) -> Codebook:
    return Codebook.model_validate({"v": v, "c": c, "metric": metric, "input_bits": bits})


SMALL = Unit(book("l2", 2, 4, 4), Module(4, 2, 8, 16, 8, 1), input_rows=4, depth=4)
BOOKS = [book(m, v, b, c) for m in METRICS for v, b, c in ((4, 8, 8), (9, 4, 4), (3, 16, 2))]
BOOKS.append(book("l2", 4, 8, 16))
MODULES = [
    Module(2, 1, 8, 8, 1, 1),
    Module(2, 1, 6, 8, 2, 1, 3),
    Module(4, 2, 8, 12, 5, 1),
    Module(4, 6, 5, 20, 8, 2),
    Module(16, 8, 8, 32, 16, 8),
    Module(8, 4, 8, 10, 40, 4),
    Module(8, 3, 16, 48, 6, 1),
]
UNITS = [
    SMALL,
    Unit(book("l1", 1, 3, 2), Module(2, 1, 4, 8, 3, 1), stages=2, input_rows=2, depth=8, synchroniser=3),
    Unit(book("chebyshev", 4, 8, 8), Module(8, 4, 8, 32, 32, 4), input_rows=16, depth=16),
]


@pytest.mark.parametrize("cell", [f(b) for b in BOOKS for f in (distance, dpe, codebook)], ids=lambda c: c.name)
def test_distances_and_elements(cell: Cell) -> None:
    run = verify(cell, vectors=400, seed=5)
    assert run.failures() == []
    assert min(run.coverage.values()) > 0


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("chosen", BOOKS, ids=lambda b: f"{b.metric}v{b.v}b{b.input_bits}c{b.c}")
def test_chains(chosen: Codebook, stages: int) -> None:
    for cell, vectors in ((dpe(chosen, stages), 300), (ccm(chosen, stages), 120)):
        assert verify(cell, vectors=vectors, seed=stages).failures() == []
    assert ccm(chosen, stages).latency == chosen.c + stages - 1


@pytest.mark.parametrize("design", MODULES, ids=lambda d: imm(d).name)
def test_matching_modules(design: Module) -> None:
    run = verify(imm(design), vectors=400, seed=2)
    assert run.failures() == []
    assert run.coverage["bank 1 word 1"] > 0


@pytest.mark.parametrize("design", UNITS, ids=lambda d: unit(d).name)
def test_units(design: Unit) -> None:
    run = verify(unit(design), vectors=60, seed=3)
    assert run.failures() == []
    assert len([name for name in run.cycles if name.startswith("full rate")]) == 6


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("v", "bits"), [(1, 5), (2, 3), (3, 2)])
def test_every_operand_of_small_distances(metric: str, v: int, bits: int) -> None:
    cell = distance(book(metric, v, bits))
    assert verify(cell, stimulus=exhaustive(cell)).failures() == []


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(METRICS), st.integers(1, 9), st.integers(2, 16), st.integers(0, 1 << 30))
def test_the_greatest_distance_fits_its_bits(metric: str, v: int, bits: int, seed: int) -> None:
    chosen = book(metric, v, bits)
    x = dla_distance.stimulus(chosen, np.random.default_rng(seed), 1)
    found = dla_distance.exact(chosen, x["values"], x["centroid"])
    assert (
        found.max().bit_length()
        if isinstance(found.max(), int)
        else int(found.max()).bit_length() == (chosen.distance_bits)
    )


@pytest.mark.parametrize(
    "cell",
    [
        *(f(b) for b in BOOKS for f in (distance, dpe, codebook, ccm)),
        *(dpe(b, 2) for b in BOOKS),
        *map(imm, MODULES),
        *map(unit, UNITS),
        async_fifo(4, 8),
        latch_decoder(4, 4),
    ],
    ids=lambda c: c.name,
)
def test_few_vectors_still_cover_every_bin(cell: Cell) -> None:
    """Corners come first, so that a short run on a wide design covers as much as a long one."""
    beats = cell.stimulus(np.random.default_rng(3), 1)
    assert [name for name, hits in cell.coverage(beats).items() if not hits] == []


# Cycles


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 40), subspaces=st.integers(1, 6), lanes=st.integers(1, 6), fill=st.integers(1, 6),
    c=st.sampled_from([2, 4, 8, 16]),
)  # fmt: skip
def test_one_tile_takes_the_cycles_of_the_formula(rows: int, subspaces: int, lanes: int, fill: int, c: int) -> None:
    design = Module(c, lanes * fill, rows=64, fill=fill)
    tile = dla_imm.Tile(np.zeros((rows, subspaces), np.int64), np.zeros((subspaces, c, lanes * fill), np.int64))
    edges = dla_imm.schedule(design, tile.beats(design))
    beats = stage_timing.fill_cycles(book("l2", 4, 8, c), design.lanes, fill)
    assert design.fill_beats == beats
    assert edges["d"][-1] + 1 == stage_timing.tile_cycles(rows, subspaces, beats)
    fills, starts = stage_timing.subspace_edges(rows, subspaces, beats)
    assert edges["f"][::beats].tolist() == fills
    assert edges["i"][::rows].tolist() == starts


@settings(max_examples=100, deadline=None)
@given(rows=st.integers(1, 60), stages=st.integers(1, 2), c=st.sampled_from([2, 4, 16]))
def test_a_chain_takes_the_cycles_of_the_formula(rows: int, stages: int, c: int) -> None:
    chosen = book("l1", 2, 8, c)
    first = np.zeros(rows, np.int64)
    first[0] = 1
    edges = dla_ccm.schedule(chosen, stages, first)
    assert edges["x"][0] == stage_timing.centroid_load_cycles(chosen)
    assert edges["y"][-1] - edges["x"][0] + 1 == stage_timing.chain_cycles(chosen, stages, rows)
    assert (edges["y"] - edges["x"] == stage_timing.chain_latency(chosen, stages)).all()


def test_long_subspaces_follow_each_other_without_a_gap() -> None:
    chosen = book("l1", 2, 8, 8)
    first = np.zeros(60, np.int64)
    first[::12] = 1
    assert (np.diff(dla_ccm.schedule(chosen, 1, first)["y"]) == 1).all()


def test_a_unit_with_equal_clocks_runs_at_one_index_per_edge() -> None:
    design = replace(SMALL, module=Module(4, 2, 8, 16, 64, 2), depth=8)
    rng = np.random.default_rng(1)
    tile = dla_unit.Tile(
        rng.integers(-8, 8, (40, 6)), rng.integers(-8, 8, (3, 4, 2)), rng.integers(-128, 128, (3, 4, 2))
    )
    edges = dla_unit.schedule(design, tile.beats(design), {"": (1000, 0), "ccm": (1000, 0)})
    load, chain = stage_timing.centroid_load_cycles(design.book), stage_timing.chain_latency(design.book, 1)
    # Coinciding edges do not see each other, so a word takes the synchroniser and one more edge.
    first_lookup = load + chain + stage_timing.fifo_latency(design.synchroniser)
    assert edges["d"][0] == first_lookup + 2 * 40 + stage_timing.LOOKUP_STAGES
    assert (np.diff(edges["d"]) == 1).all()


# Inside: address, index and valid of every cycle


def test_addresses_of_every_cycle() -> None:
    design = Module(4, 2, 8, 16, 8, 1)
    cell = imm(design)
    beats = cell.stimulus(np.random.default_rng(1), 100)
    edges = dla_imm.schedule(design, beats)
    inside = ("at", "from", "index", "busy", "to", "adds", "done")
    seen = {w.name: w.values for w in waves.record(cell, beats, 2600, inside)}
    start = next(n for n, (v, r) in enumerate(zip(seen["f_valid"], seen["f_ready"], strict=True)) if v and r)
    taken = [n for n, (v, r) in enumerate(zip(seen["i_valid"], seen["i_ready"], strict=True)) if v and r]
    count = len(taken)
    assert count > 300
    assert taken == (edges["i"][:count] + start).tolist()
    row, bank, s = [], [], 0
    for rows, subspaces in dla_imm.sizes(design, beats):
        for _ in range(subspaces):
            row += range(rows)
            bank += [s % 2] * rows
            s += 1
    index = beats["i"]["index"][:, 0]
    for k, n in enumerate(taken[:-2]):
        here = {name: seen[name][n + 1] for name in ("at", "from", "index", "busy")}
        assert here == {"at": row[k], "from": bank[k], "index": index[k], "busy": 1}, k
        assert (seen["to"][n + 2], seen["adds"][n + 2]) == (row[k], 1), k
    done = {n + 2 for n in taken}
    assert all(seen["adds"][n] == (n in done) for n in range(start, taken[-2]))


@pytest.mark.parametrize("stages", [1, 2])
def test_running_minimum_of_every_place_of_the_chain(stages: int) -> None:
    chosen = book("l1", 2, 4, 4)
    cell = ccm(chosen, stages)
    beats = cell.stimulus(np.random.default_rng(1), 60)
    inside = ("least", "index", "busy")
    seen = {w.name: w.values for w in waves.record(cell, beats, 160, inside)}
    pairs = zip(seen["x_valid"], seen["x_ready"], strict=True)
    taken = [n for n, (v, r) in enumerate(pairs) if v and r and n < 140]
    assert len(taken) > 40
    tables = beats["b"]["centroid"].reshape(-1, chosen.c, chosen.v)
    subspace = np.cumsum(beats["x"]["first"][:, 0]) - 1
    far, wide = chosen.distance_bits, chosen.index_bits
    for k, n in enumerate(taken):
        x, table = beats["x"]["values"][k : k + 1], tables[subspace[k]][None]
        distances = golden.distances(x[:, None], table, "l1")[0, 0]
        for j in range(chosen.c):  # dPE j has compared after j + stages edges
            at = n + j + stages
            least, index = seen["least"][at], seen["index"][at]
            if least is None or index is None:  # other places are still undefined
                continue
            assert least >> ((j + 1) * far) & ((1 << far) - 1) == distances[: j + 1].min()
            assert index >> ((j + 1) * wide) & ((1 << wide) - 1) == distances[: j + 1].argmin()
            assert seen["busy"][at - stages + 1] >> (j + 1) & 1


# Whole matrices


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(METRICS), st.integers(1, 6), st.integers(1, 9), st.integers(0, 1 << 30))
def test_tiles_of_beats_are_the_matrix(metric: str, rows: int, values: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    design = replace(SMALL, book=book(metric, 2, 4, 4))
    subspaces = -(-values // 2)
    tile = dla_unit.Tile(
        rng.integers(-8, 8, (rows, values)),
        rng.integers(-8, 8, (subspaces, 4, 2)),
        rng.integers(-128, 128, (subspaces, 4, 2)),
    )
    expected = golden.multiply(
        tile.activations, tile.centroids, tile.tables.astype(np.int8), metric, 4, 16, kernel="plain"
    )
    cell = unit(design)
    np.testing.assert_array_equal(cell.golden(tile.beats(design))["d"]["sums"], expected)


def test_a_layer_of_several_blocks_and_column_tiles() -> None:
    """Y = X W through the Verilog, tile by tile as ls-n orders them, and dequantised."""
    rng = np.random.default_rng(4)
    design = Unit(book("l2", 4, 8, 8), Module(8, 4, 8, 32, 8, 4), input_rows=16, depth=8)
    x = rng.integers(-128, 128, (12, 18))
    centroids = rng.integers(-128, 128, (5, 8, 4))
    weights = rng.standard_normal((5, 4, 8))
    exact = np.einsum("kct,ktn->kcn", centroids, weights)
    scale = np.abs(exact).max() / 127
    tables = np.rint(exact / scale).astype(np.int8)
    parts = [
        dla_unit.Tile(x[a:b], centroids, tables[:, :, n : n + 4]) for a, b in ((0, 8), (8, 12)) for n in range(0, 8, 4)
    ]
    beats = {
        channel: {f: np.concatenate([t.beats(design)[channel][f] for t in parts]) for f in fields}
        for channel, fields in parts[0].beats(design).items()
    }
    y = golden.multiply(x, centroids, tables, "l2")
    rows = np.concatenate([y[a:b, n : n + 4] for a, b in ((0, 8), (8, 12)) for n in range(0, 8, 4)])
    said = replace(unit(design), golden=lambda _: {"d": {"sums": rows.astype(np.int64)}})
    assert verify(said, stimulus=beats, stalls=False).failures() == []
    near = np.stack([c[i] for c, i in zip(centroids, golden.encode(x, centroids, "l2").T, strict=True)], axis=1)
    product = np.einsum("mkt,ktn->mn", near, weights)
    assert np.abs(golden.dequantise(y, scale) - product).max() <= 5 * scale / 2 * (1 + 1e-5)


# Faults

WRONG = {
    "ties to the higher index": (ccm(BOOKS[0]), "distance < x_least", "distance <= x_least"),
    "a sign forgotten": (distance(BOOKS[0]), "wire [7:0] m1 = n1 + {7'd0, d1[8]};", "wire [7:0] m1 = n1;"),
    "candidates stay": (distance(BOOKS[6]), "c7 & (b7", "c8 & (b7"),
    "the other half": (ccm(BOOKS[0]), "x_first ? next : half", "half"),
    "loading overtakes the chain": (ccm(book("l1", 2, 4, 8)), "assign b_ready = move && room", "assign b_ready = room"),
    "a half is given up while it is used": (ccm(BOOKS[0]), "swap && used && next", "used && next"),
    "no forwarding": (imm(MODULES[1]), "at == to ? sums : pad[at]", "pad[at]"),
    "a bank filled too early": (imm(MODULES[2]), "!full[fill] && !unread", "!full[fill]"),
    "a bank read too early": (imm(MODULES[2]), "active && full[bank]", "active"),
    "sums overwritten while they wait": (imm(MODULES[2]), "!d_valid || d_ready", "1'b1"),
    "the pad starts with old sums": (imm(MODULES[2]), "partial <= fresh ?", "partial <= 1'b0 ?"),
    "entries without sign": (imm(MODULES[3]), "{15{word_of[n*ENTRY+ENTRY-1]}}", "15'd0"),
    "the FIFO overflows": (async_fifo(4, 4), "assign i_ready = tail_gray !=", "assign i_ready = 1'b1 | tail_gray !="),
    "binary pointers": (async_fifo(4, 8), "head_gray <= head_next ^ (head_next >> 1)", "head_gray <= head_next"),
    "one flip-flop": (async_fifo(4, 4), "{tail_sync[2:0], tail_gray}", "{tail_gray, tail_gray}"),
    "marks of rows lost": (unit(SMALL), "{x_first, x_values}", "{1'b1, x_values}"),
}


@pytest.mark.parametrize("what", WRONG)
def test_faults_are_caught(what: str) -> None:
    cell, before, after = WRONG[what]
    source = cell.verilog()
    assert source.count(before) == 1, source.count(before)
    run = verify(cell, vectors=100 if cell.kind == "dla_unit" else 600, source=source.replace(before, after))
    assert not run.passed


# Specs


def spec(**changes: object) -> specs.Spec:
    return specs.override(specs.load("lut-dla"), {k.replace("__", "."): v for k, v in changes.items()})  # type: ignore[misc]


def test_cells_of_the_packaged_design() -> None:
    assert [c.kind for c in catalogue.cells(spec())] == [
        "fifo", "dla_distance", "dla_dpe", "dla_codebook", "dla_ccm", "async_fifo", "dla_imm", "dla_unit",
    ]  # fmt: skip
    assert [c.name for c in catalogue.synthesised(spec())] == [
        "dla_dpe_l2v4b8c16", "dla_ccm_l2v4b8c16", "async_fifo_w4d16", "dla_imm_c16n1t8s32r1f1",
    ]  # fmt: skip
    assert catalogue.cells(spec())[-1].parameters == {
        "metric": "l2", "v": 4, "input_bits": 8, "stages": 1, "input_rows": 512, "fifo_depth": 16,
        "synchroniser_stages": 2, "c": 16, "lanes": 128, "table_bits": 8, "accumulator_bits": 32, "rows": 256,
        "fill": 64, "subspace_bits": 12,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "values", "text"),
    [
        ({"dataflow": "ls-k"}, None, "lut-dla: dataflow = 'ls-k' has no Verilog; allowed: ls-n"),
        (
            {"imm__lanes": 4096},
            None,
            "lut-dla: imm.lanes = 4096 makes a bus of 131072 bits of sums; allowed: at most 65536, so lanes <= 2048",
        ),
        (
            {"codebook__c": 1024, "codebook__v": 16},
            None,
            "lut-dla: codebook.c = 1024 makes a bus of 131072 bits of centroids; allowed: at most 65536, so c <= 512",
        ),
        ({"ccm__input_rows": 8192}, None, "lut-dla: ccm.input_rows = 8192 has no Verilog; allowed: at most 4096"),
        (
            {"imm__table_bits": 16, "imm__accumulator_bits": 12},
            None,
            "lut-dla: imm.table_bits = 16; allowed: at most imm.accumulator_bits = 12",
        ),
        (
            {"imm__accumulator_bits": 12},
            200,
            "lut-dla: imm.accumulator_bits = 12 can overflow on K = 200: 50 entries of 8 bits; "
            "allowed: K of at most 64",
        ),
        ({}, 16388, "lut-dla: too many subspaces on K = 16388: 4097 entries of 8 bits; allowed: K of at most 16384"),
        ({}, 0, "K = 0; at least 1"),
    ],
)
def test_what_cannot_be_built(changes: dict[str, object], values: int | None, text: str) -> None:
    with pytest.raises(UserError) as error:
        catalogue.cells(spec(**changes), values)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: dpe(BOOKS[0], 3), "dla_dpe: stages = 3; allowed: 1 or 2"),
        (lambda: async_fifo(4, 6), "async_fifo: depth = 6; must be a power of two; nearest: 4 or 8"),
        (lambda: async_fifo(64, 4), "async_fifo: width = 64; allowed: 1 … 63"),
        (lambda: async_fifo(4, 4, 5), "async_fifo: stages = 5; allowed: 2 … 4"),
        (lambda: Module(12, 4), "dla_imm: c = 12; must be a power of two"),
        (lambda: Module(4, 4, fill=3), "dla_imm: fill = 3; must divide lanes = 4"),
        (lambda: Module(4, 4, table_bits=16, accumulator_bits=8), "dla_imm: table_bits = 16; allowed: 2 … 8"),
        (lambda: Unit(BOOKS[0], Module(4, 4)), "dla_unit: tables of c = 4 for codebooks of c = 8"),
    ],
)
def test_bad_parameters(make, text: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value) == text


def test_equal_names_mean_equal_modules() -> None:
    sources: dict[str, str] = {}
    for metric in METRICS:
        for v, bits, c, stages in ((4, 8, 16, 1), (4, 8, 16, 2), (4, 8, 8, 1), (3, 8, 16, 1), (4, 6, 16, 1)):
            for part in ccm(book(metric, v, bits, c), stages).all_parts:
                assert sources.setdefault(part.name, part.source) == part.source
    for design in (*UNITS, replace(SMALL, depth=8), replace(SMALL, input_rows=8), replace(SMALL, synchroniser=4)):
        for part in unit(design).all_parts:
            assert sources.setdefault(part.name, part.source) == part.source
