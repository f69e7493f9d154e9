"""The SM model with lookup units against a slow scalar twin, bounds, precompute, swizzle, registers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import timing_traces as traces
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.sim.gpu import timing as model
from lutscape.sim.lut_tensor_core import lmma, sm_tiles, sm_timing
from lutscape.sim.operators import prepare
from lutscape.sim.simulate import simulate


def gpu(name: str = "a100-lut-4x", **changes: object) -> GpuSpec:
    spec = specs.override(specs.load(name), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, GpuSpec)
    return spec


def scalar_linear(spec: GpuSpec, row: dict[str, Any], bits: int, group: int) -> float:
    """Straight-line twin of the module's docstring: the fastest of all candidates before overhead, cycles.

    One reader; tables and launch overhead left out.
    """
    u = spec.matrix_unit
    assert isinstance(u, LutUnit)
    m, n, k = row["M"], row["N"], row["K"]
    b_w = row["weight_bytes"] * 8 / (n * k)
    unit_json = u.model_dump_json()
    per_k = 1.0 if u.precompute == "on-the-fly" else 2 ** (u.k - 1) * u.table_bits / 8 / u.k
    cores = min(4, u.arrays_per_sm)
    beta = spec.dram_bytes_per_cycle
    far = spec.dram.latency_ns * spec.clock_mhz * 1e-3
    vector = (m * n * math.ceil(k / group) + 3 * m * k) / spec.vector_ops_per_cycle_per_sm / spec.sms
    found: list[float] = []
    allowed = range(1, 2 * sm_timing.FEW_TILE) if m < sm_timing.FEW_ROWS else range(sm_timing.FEW_TILE, 257)
    for t_m in (u.m << i for i in range(9)):
        if t_m not in allowed:
            continue
        for t_n in (u.n << i for i in range(11)):
            if not 32 <= t_n <= 1024:
                continue
            for t_k in (u.k * s for s in (8, 16, 32, 64)):
                for g_m, g_n in sm_tiles.WARPS:
                    if t_m % g_m or t_n % g_n or t_m // g_m < u.m or t_n // g_n < u.n:
                        continue
                    warp = (t_m // g_m, t_n // g_n, t_k)
                    best = lmma.best(unit_json, warp, ("int8", f"int{bits}", "int32", "fp16"))
                    if best is None:
                        continue
                    one, run = best
                    registers = math.ceil(warp[0] * warp[1] * 4 / 128) + 32
                    registers += 2 * (run.table_registers + run.weight_registers)
                    if registers > 255 * u.register_scale:
                        continue
                    w = g_m * g_n
                    x_bytes, w_bytes = t_m * t_k * per_k, t_n * t_k * b_w / 8
                    each = warp[0] // one.m * (warp[1] // one.n)
                    for stages in (2, 3, 4):
                        file = spec.register_file_kib_per_sm * 1024 * u.register_scale / (w * 128 * registers)
                        shared_fit = spec.shared_memory_kib_per_sm * 1024 / (stages * (x_bytes + w_bytes))
                        c = math.floor(min(file, shared_fit, 32, 64 // w))
                        if c < 1:
                            continue

                        for split in (1, 2, 4, 8, 16):
                            if split > 1 and k < split * t_k:
                                continue
                            b_m, b_n = math.ceil(m / t_m), math.ceil(n / t_n)
                            grid = b_m * b_n * split
                            steps = math.ceil(k / (split * t_k))
                            busiest = math.ceil(grid / spec.sms)
                            waves = math.ceil(busiest / c)
                            issued = math.ceil(busiest * w / min(cores, c * w)) * each * run.interval
                            compute = steps * max(issued, waves * run.latency)
                            reads = x_bytes * g_n + w_bytes * g_m
                            shared = busiest * steps * (x_bytes + w_bytes + reads) / spec.shared_bytes_per_cycle_per_sm
                            partial = 8 * split * m * n if split > 1 else 0
                            loaded = grid * steps * (x_bytes + w_bytes)
                            l2_bytes = loaded + 2 * m * n + partial
                            l2 = max(
                                l2_bytes / spec.l2_bytes_per_cycle,
                                busiest * steps * (x_bytes + w_bytes) / spec.l2_bytes_per_cycle_per_sm,
                            )
                            acts, weights = m * k * per_k, n * k * b_w / 8
                            incoming = acts + weights
                            if incoming + 2 * m * n > 0.8 * spec.l2_mib * 2**20:
                                slots = min(spec.sms * c, b_m * b_n)
                                r, q = t_m * per_k, t_n * b_w / 8
                                p_m = min(max(math.sqrt(slots * q / r), 1), b_m)
                                p_n = min(max(slots / p_m, 1), b_n)
                                p_m = min(max(slots / p_n, 1), b_m)
                                patches = b_m * b_n / (p_m * p_n)
                                incoming = max(incoming, patches * (p_m * r + p_n * q) * k)
                            wait = spec.l2_latency_cycles + far * min(incoming / loaded, 1)
                            latency = waves * steps * wait / (stages - 1)
                            drain = t_m * t_n * 2 * (busiest if c == 1 else 1) / spec.l2_bytes_per_cycle_per_sm
                            ends = waves * (spec.l2_latency_cycles + far) + drain + partial / spec.l2_bytes_per_cycle
                            dram = (incoming + 2 * m * n) / beta
                            found.append(max(compute, shared, vector, l2, dram, latency) + ends)
    return min(found)


@settings(max_examples=5, deadline=None)
@given(
    m=st.integers(1, 3000), n=st.integers(1, 9000), k=st.integers(64, 6000),
    weights=st.sampled_from(["int1-g128", "int2-g64", "int4-g128"]),
    unit=st.tuples(st.sampled_from([1, 2, 4]), st.sampled_from([32, 64, 128]), st.integers(3, 5),
                   st.sampled_from([1, 4, 16, 32])),
    scale=st.sampled_from([1, 2, 4]),
    precompute=st.sampled_from(["fused", "on-the-fly"]),
)  # fmt: skip
def test_linear_equals_the_scalar_twin(
    m: int, n: int, k: int, weights: str, unit: tuple[int, int, int, int], scale: int, precompute: str
) -> None:
    spec = gpu(
        matrix_unit__m=unit[0], matrix_unit__n=unit[1], matrix_unit__k=unit[2], matrix_unit__arrays_per_sm=unit[3],
        matrix_unit__register_scale=scale, matrix_unit__precompute=precompute,
    )  # fmt: skip
    row = traces.linear(m, n, k, weights)
    ops = prepare(traces.trace(row))
    found = sm_timing.linear(spec, ops, np.array([0]))
    mine = max(found[p][0] for p in sm_timing.PARTS) + found["ends"][0]
    least = scalar_linear(spec, row, int(weights[3]), int(weights.split("-g")[1]))
    assert least * (1 - 1e-9) <= mine <= sm_timing.NEAR * least * (1 + 1e-9)


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 4096), n=st.integers(64, 16384), k=st.integers(64, 16384), bits=st.sampled_from([1, 2, 4]))
def test_faster_parts_and_more_registers_never_slow_a_product(m: int, n: int, k: int, bits: int) -> None:
    row = traces.trace(traces.linear(m, n, k, f"int{bits}-g128"))
    base = gpu(matrix_unit__register_scale=1)
    cycles = model.timing(base, row).cycles[0]
    for change in (
        {"dram.bandwidth_gb_s": 2 * base.dram.bandwidth_gb_s},
        {"l2_bytes_per_cycle": 2 * base.l2_bytes_per_cycle},
        {"shared_bytes_per_cycle_per_sm": 256},
        {"shared_memory_kib_per_sm": 2 * base.shared_memory_kib_per_sm},
        {"matrix_unit.register_scale": 2},
    ):
        # The least-traffic tile within 1 % of the fastest is taken: allow that 1 %.
        assert model.timing(specs.override(base, change), row).cycles[0] <= 1.011 * cycles + 1  # type: ignore[arg-type]


def test_the_papers_kernel_is_bound_by_the_arrays_at_1x() -> None:
    """2048 x 27648 x 5120 at W1: one M2N64K4 array per sub-core (512 products) takes at least its ideal time."""
    row = traces.trace(traces.linear(2048, 27648, 5120, "int1-g128"))
    ideal = 2048 * 27648 * 5120 / (108 * 4 * 512)
    result = model.timing(gpu(matrix_unit__arrays_per_sm=4, matrix_unit__register_scale=1), row)
    assert result.bound_by[0] == "compute"
    assert ideal <= result.cycles[0] <= 1.25 * ideal


def test_registers_limit_large_tiles() -> None:
    row = traces.trace(traces.linear(2048, 27648, 5120, "int1-g128"))
    spec = gpu("a100-lut-8x", matrix_unit__register_scale=1)
    small = model.timing(spec, row)
    large = model.timing(gpu("a100-lut-8x", matrix_unit__register_scale=4), row)
    assert small.detail["registers"][0] <= 255 < large.detail["registers"][0] <= 1020
    assert large.bytes["shared"][0] < small.bytes["shared"][0]
    assert large.cycles[0] < small.cycles[0]


def test_tables_built_in_the_units_repeat_as_in_the_papers_example() -> None:
    """[4096, 12288] x [12288, 12288] with N = 4: every table is built 3072 times (sec. 3.1.1)."""
    assert sm_timing.redundancy(12288, 4) == 3072
    row = traces.trace(traces.linear(4096, 12288, 12288, "int2-g128"))
    spec = gpu(matrix_unit__n=4, matrix_unit__arrays_per_sm=256, matrix_unit__precompute="on-the-fly")
    result, ppa = simulate(spec, row)
    assert result.activity["table"][0] == 3072 * 4096 * (12288 // 4)
    assert ppa.total_energy(result)["table builders"] > 0
    fused = simulate(gpu(matrix_unit__n=4, matrix_unit__arrays_per_sm=256), row)[1]
    assert ppa.area["table builders"].value > 0
    assert "table builders" not in fused.area


def test_on_the_fly_moves_activations_instead_of_tables() -> None:
    row = traces.trace(traces.linear(2048, 8192, 8192, "int2-g128"))
    tables = model.timing(gpu(), row)
    inside = model.timing(gpu(matrix_unit__precompute="on-the-fly"), row)
    assert inside.bytes["l2"][0] < tables.bytes["l2"][0]
    assert inside.parts["table"][0] == 0 < tables.parts["table"][0]


def test_swizzle_reads_less_of_a_product_that_l2_does_not_hold() -> None:
    row = traces.trace(traces.linear(4096, 28672, 8192, "int2-g128"))
    ops = prepare(row)
    spec = gpu(l2_mib=4)
    swizzled, plain = (sm_timing.linear(spec, ops, np.array([0]), swizzle=s) for s in (True, False))
    assert swizzled["dram_bytes"][0] < 0.8 * plain["dram_bytes"][0]


def test_a_machine_that_holds_no_tile_is_refused() -> None:
    spec = gpu(shared_memory_kib_per_sm=1)
    with pytest.raises(UserError, match=r"a100-lut-4x: no tile of int2 weights fits 1 KiB of shared memory and 510 "):
        model.timing(spec, traces.trace(traces.linear(64, 512, 512, "int2-g128")))


def test_schedule_of_a_known_product() -> None:
    """What is issued computes every product at least once, and waves and blocks are whole."""
    result = model.timing(gpu(), traces.trace(traces.linear(1024, 4096, 4096, "int2-g128")))
    one = lmma.parse(str(result.detail["lmma"][0]))
    assert result.detail["lmmas"][0] * one.macs == 1024 * 4096 * 4096
    assert result.detail["registers"][0] <= 510
    assert result.detail["stages"][0] in (2, 3, 4)
