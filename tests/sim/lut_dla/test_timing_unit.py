"""The closed form of a layer against the schedule that the Verilog of a whole unit is held to, edge by edge."""

from __future__ import annotations

import random

import numpy as np

from lutscape.hw import spec as specs
from lutscape.hw.machines.lut_dla import Codebook, LutDlaSpec
from lutscape.rtl.cells import dla_unit
from lutscape.rtl.cells.dla_imm import Module
from lutscape.sim.lut_dla import stage_timing
from lutscape.sim.lut_dla.layers import Product, time_product

DESIGNS = 150


def test_a_layer_takes_the_cycles_of_one_unit_but_for_the_start() -> None:
    rng, numbers = random.Random(1), np.random.default_rng(3)
    late, exact_total = [], 0
    for _ in range(DESIGNS):
        c, v, lanes, fill = rng.choice([4, 8, 16]), rng.choice([1, 2, 4]), rng.choice([4, 8, 16]), rng.choice([1, 2, 4])
        rows, nc, depth = rng.choice([1, 2, 5, 16, 40, 64]), rng.choice([1, 2, 3, 8, 20]), rng.choice([4, 8, 16])
        write_ps = round(1e6 / rng.choice([100, 250, 300, 400, 777, 1000]))
        read_ps = round(1e6 / rng.choice([200, 300, 500]))
        book = Codebook(v=v, c=c, metric="l1")
        design = dla_unit.Unit(book, Module(c, lanes, 8, 32, rows, fill), 1, 16, depth, 2)
        tile = dla_unit.Tile(
            numbers.integers(-8, 8, (rows, nc * v)), numbers.integers(-8, 8, (nc, c, v)),
            numbers.integers(-8, 8, (nc, c, lanes)),
        )  # fmt: skip
        clocks = {"ccm": (write_ps, 0), "": (read_ps, rng.randrange(read_ps))}
        exact = int(dla_unit.schedule(design, tile.beats(design), clocks)["d"][-1]) + 1
        spec = specs.override(specs.load("lut-dla"), {
            "codebook.v": v, "codebook.c": c, "codebook.metric": "l1", "imm.count": 1, "imm.lanes": lanes,
            "imm.fill_entries": fill, "imm.rows": rows, "fifo_depth": depth, "ccm.clock_mhz": 1e6 / write_ps,
            "clock_mhz": 1e6 / read_ps, "dram.bandwidth_gb_s": 100000, "dram.latency_ns": 0, "vector_lanes": 4096,
        })  # fmt: skip
        assert isinstance(spec, LutDlaSpec)
        found = time_product(spec, Product("x", rows, lanes, nc * v))
        filled = stage_timing.fill_cycles(book, lanes, fill)
        chain = c * write_ps / read_ps + stage_timing.first_index_cycles(spec)
        # Never more than a cycle early; late by what the start overlaps at most: the shorter of bank and first index.
        difference = found.cycles - exact
        assert -1 <= difference <= min(filled, chain) + 1, (spec.codebook, spec.imm, spec.ccm, difference)
        late.append(difference)
        exact_total += exact
    assert sum(late) < 0.01 * exact_total
