"""Cycle model of LUT-DLA: known answers, the slow twin, what each dataflow must obey, refusals."""

from __future__ import annotations

import dla_passes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import CLASSIC, DATAFLOWS, Codebook, LutDlaSpec
from lutscape.sim.lut_dla import stage_timing
from lutscape.sim.lut_dla.dataflow import minimum_on_chip, stays
from lutscape.sim.lut_dla.layers import Product, block_rows, time_product

BOOK = Codebook(v=4, c=32, metric="l2")


def machine(**changes: object) -> LutDlaSpec:
    spec = specs.override(specs.load("lut-dla"), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, LutDlaSpec)
    return spec


# On-chip minima of one layer of BERT-base, M = 512, K = N = 768, v = 4, c = 32, Tn = 32, 8-bit sums: counted by hand
# from the loops (anchor brief of the paper, section 2), KiB.
MINIMA = {
    ("mnk", "store"): 4608.1,
    ("mkn", "store"): 4608.8,
    ("nmk", "store"): 66.0,
    ("nkm", "store"): 60.5,
    ("kmn", "store"): 408.0,
    ("knm", "store"): 384.3,
    ("ls-n", "recompute"): 18.3,
    ("ls-n", "store"): 78.0,
}


@pytest.mark.parametrize(("dataflow", "indices"), MINIMA)
def test_minimum_memory_of_every_order(dataflow: str, indices: str) -> None:
    found = minimum_on_chip(dataflow, 512, 768, 768, BOOK, 32, 8, indices=indices)  # type: ignore[arg-type]
    assert f"{found.total_bytes / 1024 + 1e-9:.1f}" == f"{MINIMA[dataflow, indices]:.1f}"


def test_minimum_memory_with_32_bit_sums() -> None:
    found = minimum_on_chip("ls-n", 512, 768, 768, BOOK, 32, 32, indices="recompute")
    assert round(found.total_bytes / 1024, 1) == 66.3
    assert (found.sums_bytes, found.index_bytes, found.table_bytes) == (65536, 320, 2048)


@given(
    m=st.integers(1, 5), n=st.integers(1, 5), k=st.integers(1, 9), v=st.integers(1, 3), order=st.sampled_from(CLASSIC)
)
@settings(max_examples=150, deadline=None)
def test_minimum_memory_is_what_a_walk_through_the_loops_needs(m: int, n: int, k: int, v: int, order: str) -> None:
    """Walk the loops; a thing lives from its first use to its last; the most that live at once must be held."""
    book = Codebook(v=v, c=2, metric="l1")
    nc = -(-k // v)
    trips = {"m": m, "n": n, "k": nc}
    uses: dict[str, dict[tuple[int, ...], list[int]]] = {"sums": {}, "indices": {}, "tables": {}}
    step = 0
    for a in range(trips[order[0]]):
        for b in range(trips[order[1]]):
            for c in range(trips[order[2]]):
                at = dict(zip(order, (a, b, c), strict=True))
                for what, key in (("sums", "mn"), ("indices", "mk"), ("tables", "kn")):
                    uses[what].setdefault(tuple(at[x] for x in key), []).append(step)
                step += 1
    most = {
        what: max(sum(u[0] <= now <= u[-1] for u in lives.values()) for now in range(step))
        for what, lives in uses.items()
    }
    found = minimum_on_chip(order, m, n, k, book, 1, 8)
    assert (found.sums_bytes, found.index_bytes * 8, found.table_bytes / 2) == (
        most["sums"],
        most["indices"],
        most["tables"],
    )


@given(
    dataflow=st.sampled_from(["ls-n", "ls-k"]),
    indices=st.sampled_from(["store", "recompute"]),
    m=st.integers(1, 300),
    n=st.integers(1, 700),
    k=st.integers(1, 40),
    v=st.integers(1, 8),
    c=st.sampled_from([2, 8, 16, 64]),
    lanes=st.sampled_from([16, 64, 128]),
    count=st.integers(1, 3),
    rows=st.integers(44, 200),
    vector=st.sampled_from([8, 64, 512]),
    ccm_mhz=st.sampled_from([100, 300, 777]),
    chains=st.integers(1, 3),
    bandwidth=st.sampled_from([0.5, 5.0, 80.0]),
    on_dram=st.booleans(),
    share=st.sampled_from(["columns", "rows"]),
)
@settings(max_examples=300, deadline=None)
def test_closed_form_equals_the_walk_through_every_pass(
    dataflow: str, indices: str, m: int, n: int, k: int, v: int, c: int, lanes: int, count: int, rows: int,
    vector: int, ccm_mhz: int, chains: int, bandwidth: float, on_dram: bool, share: str,
) -> None:  # fmt: skip
    spec = machine(
        dataflow=dataflow, indices=indices, codebook__v=v, codebook__c=c, imm__lanes=lanes, imm__count=count,
        imm__rows=rows, imm__fill_entries=16, vector_lanes=vector, ccm__clock_mhz=ccm_mhz, ccm__ccus=chains,
        ccm__input_rows=16, dram__bandwidth_gb_s=bandwidth, imm__share=share,
    )  # fmt: skip
    act, out = (float(m * k), float(2 * m * n)) if on_dram else (0.0, 0.0)
    product = Product("x", m, n, k, act, out)
    found = time_product(spec, product)
    slow = dla_passes.walk(spec, m, n, k, act, out, block_rows(spec, product))
    assert found.cycles == pytest.approx(slow.cycles, rel=1e-9)
    assert found.exposed == pytest.approx(slow.waits, rel=1e-6, abs=1e-6)
    assert found.table_bytes == pytest.approx(slow.table_bytes)
    assert m * found.subspaces * found.encodings == slow.encoded_rows


def test_one_module_on_chip_takes_the_cycles_of_its_verilog() -> None:
    """Without DRAM and with chains that keep up, a layer is the tile that rtl/cells/dla_imm is held to."""
    spec = machine(imm__count=1, imm__rows=512, ccm__clock_mhz=3000, dram__bandwidth_gb_s=100000, dram__latency_ns=0,
                   vector_lanes=4096)  # fmt: skip
    fill = stage_timing.fill_cycles(spec.codebook, spec.imm.lanes, spec.imm.fill_entries)
    for rows, k in ((100, 64), (7, 64), (300, 4)):
        layer = time_product(spec, Product("x", rows, 128, k))
        tile = stage_timing.tile_cycles(rows, -(-k // 4), fill)
        assert layer.cycles == pytest.approx(tile)  # the first index is there before the first table


def test_recomputing_indices_is_a_trap_where_chains_are_slow() -> None:
    # LS-N with one column a tile runs the encoder Nc N times (the third-party Verilog); stored, Nc times.
    trap = machine(dataflow="ls-n", indices="recompute", imm__lanes=16, imm__fill_entries=16, imm__count=1,
                   ccm__clock_mhz=75)  # fmt: skip
    product = Product("x", 256, 768, 768)
    stored = time_product(specs.override(trap, {"indices": "store"}), product)
    again = time_product(trap, product)
    assert (stored.encodings, again.encodings) == (1, 48)
    assert again.encode == 48 * stored.encode
    assert again.cycles > 3.5 * stored.cycles  # chains at a quarter of the clock set every pass, not one in 48


@pytest.mark.parametrize(("rows", "gb_s"), [(512, 4.8), (1, 2457.6)])
def test_bandwidth_that_hides_the_swap(rows: int, gb_s: float) -> None:
    # BW >= c Tn b_l f / (8 M): c = 32, Tn = 256, 8 bits, 300 MHz (anchor brief): 4.8 GB/s; one row, decode: 2.46 TB/s.
    base: dict[str, object] = {
        "codebook__c": 32, "imm__lanes": 256, "imm__count": 1, "imm__rows": 512, "imm__fill_entries": 256,
        "dram__efficiency": 1.0, "dram__latency_ns": 0, "ccm__ccus": 16, "ccm__clock_mhz": 5000, "vector_lanes": 65536,
    }  # fmt: skip
    # the bank's port fills 32 rows: with one row, it is the port that cannot keep up
    product = Product("x", rows, 256, 4 * 100)
    enough = time_product(machine(**base, dram__bandwidth_gb_s=gb_s * 1.01), product)
    short = time_product(machine(**base, dram__bandwidth_gb_s=gb_s * 0.8), product)
    if rows == 512:
        centroid_share = 1.0 + 32 * 4 / (32 * 256)  # centroids come beside the tables
        hidden = time_product(machine(**base, dram__bandwidth_gb_s=gb_s * centroid_share * 1.001), product)
        assert hidden.exposed == pytest.approx(hidden.table / 100, rel=0.05)  # the first table alone
        assert short.exposed > 20 * hidden.exposed
        assert short.cycles == pytest.approx(enough.cycles / 0.8, rel=0.02)
    else:
        assert enough.exposed > 0.9 * enough.cycles


def test_dram_traffic_by_hand() -> None:
    # M = 512, N = 768, K = 768; v = 4, c = 16, 8-bit tables: Nc = 192. Two blocks of 256 rows read all tables twice.
    spec = machine(imm__rows=256)
    layer = time_product(spec, Product("x", 512, 768, 768, 512 * 768, 512 * 768 * 2))
    assert (layer.blocks, layer.column_passes, layer.subspaces) == (2, 3, 192)
    assert layer.table_bytes == 2 * 192 * 16 * 768
    assert layer.activation_bytes == 512 * 768
    assert layer.centroid_bytes == 2 * 192 * 16 * 4
    again = time_product(specs.override(spec, {"indices": "recompute"}), Product("x", 512, 768, 768, 512 * 768, 0))
    assert again.activation_bytes == 3 * 512 * 768  # once per column pass
    assert again.centroid_bytes == 3 * 2 * 192 * 16 * 4


@pytest.mark.parametrize("dataflow", DATAFLOWS)
def test_a_table_that_changes_with_every_lookup_is_loaded_for_every_row(dataflow: str) -> None:
    spec = machine(dataflow=dataflow, imm__rows=512, buffers__index_kib=64)
    layer = time_product(spec, Product("x", 64, 768, 64))
    stationary = stays(dataflow, {"n": 3, "k": 16})
    assert stationary == (dataflow in ("ls-n", "ls-k", "nkm", "knm"))
    assert layer.table_loads == (1 if stationary else 64)
    assert layer.table_bytes == layer.table_loads * 16 * 16 * 768
    if not stationary:  # a bank of 16 x 256 entries takes longer to load than a lookup
        assert layer.cycles > 40 * layer.lookup


def test_one_column_tile_makes_orders_equal() -> None:
    product = Product("x", 64, 256, 64, 64 * 64, 64 * 256)
    found = {d: time_product(machine(dataflow=d), product) for d in DATAFLOWS}
    assert found["ls-n"].cycles == found["nkm"].cycles
    assert found["ls-k"].cycles == found["knm"].cycles == found["kmn"].cycles
    assert found["ls-n"].table_bytes == found["ls-k"].table_bytes


def test_modules_that_share_rows_need_more_indices() -> None:
    # N = 128: of two modules of 128 lanes one is idle, unless they share rows; then two indices a cycle are needed.
    product = Product("x", 256, 128, 768)
    columns = time_product(machine(), product)
    rows = machine(imm__share="rows")
    assert (rows.columns_per_pass, rows.rows_per_cycle) == (128, 2)
    assert rows.peak_macs_per_second == machine().peak_macs_per_second
    one_chain, two_chains = time_product(rows, product), time_product(specs.override(rows, {"ccm.ccus": 2}), product)
    assert one_chain.lookup == columns.lookup / 2
    assert one_chain.cycles == columns.cycles  # a FIFO gives one index per cycle of the modules, at most
    assert two_chains.cycles == pytest.approx(columns.cycles / 2, rel=0.02)
    assert two_chains.table_bytes == columns.table_bytes  # broadcast


def test_v_that_does_not_divide_k_is_padded() -> None:
    spec = machine(codebook__v=8)
    assert time_product(spec, Product("x", 16, 64, 65)).cycles == time_product(spec, Product("x", 16, 64, 72)).cycles
    assert time_product(spec, Product("x", 16, 64, 65)).subspaces == 9


@pytest.mark.parametrize(
    ("changes", "product", "message"),
    [
        (
            {"dataflow": "ls-k", "imm.rows": 2},
            Product("q", 4, 1000, 64),
            "lut-dla: q (M 4, N 1000, K 64, ls-k): imm.rows = 2 holds no row of N sums; use imm.rows >= 4",
        ),
        (
            {"buffers.index_kib": 0},
            Product("q", 4, 1000, 64),
            "lut-dla: q (M 4, N 1000, K 64, ls-n): buffers.index_kib = 0 holds no row's indices (64 bits); "
            "use index_kib >= 1, or indices: recompute",
        ),
    ],
)
def test_a_row_that_does_not_fit_is_refused(changes: dict[str, object], product: Product, message: str) -> None:
    spec = specs.override(specs.load("lut-dla"), changes)
    assert isinstance(spec, LutDlaSpec)
    with pytest.raises(UserError) as error:
        time_product(spec, product)
    assert str(error.value) == message


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(UserError, match=r"^m = 0: must be at least 1$"):
        minimum_on_chip("ls-n", 0, 1, 1, BOOK)
    with pytest.raises(UserError, match=r"unknown dataflow 'ls-m' \(did you mean 'ls-n'\?\)"):
        minimum_on_chip("ls-m", 1, 1, 1, BOOK)
