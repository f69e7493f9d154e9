"""The stand-alone array's cycle model against a slow scalar twin, bounds and known answers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import timing_traces as traces
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.calibration.price import array_price, builder_price
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
from lutscape.sim.lut_tensor_core import timing as model
from lutscape.sim.simulate import simulate


def array_spec(**changes: Any) -> LutTensorCoreSpec:
    spec = specs.override(specs.load("lut-tensor-core"), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, LutTensorCoreSpec)
    return spec


def scalar_linear(spec: LutTensorCoreSpec, row: dict[str, Any], weight_bits: int, group: int) -> tuple[int, float]:
    """Straight-line twin of the module's docstring: (cycles, DRAM bytes) of one linear row, one reader."""
    a, b = spec.array, spec.buffers
    lut = a.datapath == "lut"
    passes = spec.passes(weight_bits)
    beta = spec.dram.bandwidth_gb_s * 1e9 * spec.dram.efficiency / (spec.clock_mhz * 1e6)
    k_steps = math.ceil(row["K"] / a.k)
    resident = 512 * min(b.activation_kib, b.output_kib)
    act = 0 if row["activation_bytes"] <= resident else row["activation_bytes"]
    out = 0 if row["output_bytes"] <= resident else row["output_bytes"]
    row_bytes = k_steps * 2 ** (a.k - 1) * a.table_bits / 8 if lut else row["K"] * 1.0
    rows_held = math.floor(512 * b.activation_kib / row_bytes)
    best: tuple[float, float, int] | None = None
    for order in ("activation", "weight"):
        for c_m in (d for d in range(1, a.count + 1) if a.count % d == 0):
            columns = a.n * (a.count // c_m)
            n_passes = math.ceil(row["N"] / columns)
            row_groups = math.ceil(row["M"] / (a.m * c_m))
            steps = row_groups * n_passes * k_steps * passes
            stripe = min(row["N"], columns) * row["weight_bytes"] / row["N"]
            fits = stripe <= 512 * b.weight_kib
            if order == "activation":
                builds = 1 if rows_held >= 1 else n_passes
                weight_passes = math.ceil(row["M"] / max(rows_held, 1)) if fits else row_groups
                traffic = row["weight_bytes"] * weight_passes + act
            elif fits:
                builds = math.ceil(n_passes / math.floor(512 * b.weight_kib / stripe))
                held = row["activation_bytes"] <= 512 * b.activation_kib
                traffic = row["weight_bytes"] + act * (1 if held else builds)
            else:
                continue
            tables = row["M"] * k_steps * builds / spec.tables_per_cycle if lut else 0
            fill = math.ceil(a.m * c_m / spec.tables_per_cycle) if lut else 0
            scale = (row["M"] * row["N"] * math.ceil(row["K"] / group) + 3 * row["M"] * row["K"]) / spec.vector_lanes
            ends = fill
            key = max(steps, tables, traffic / beta) + ends
            latency = spec.dram.latency_ns * spec.clock_mhz * 1e-3 if act else 0
            cycles = math.ceil(max(steps, tables, (traffic + out) / beta, scale) + ends + latency + model.STAGES)
            if best is None or (key, traffic) < (best[0], best[1]):
                best = (key, traffic, cycles)
    assert best is not None
    return best[2], best[1] + out


@settings(max_examples=200, deadline=None)
@given(
    m=st.integers(1, 600),
    n=st.integers(1, 2000),
    k=st.integers(4, 1500),
    weights=st.sampled_from(["int1-g64", "int2-g64", "int3-g32", "int4-g64"]),
    datapath=st.sampled_from(["lut", "mac"]),
    array=st.tuples(st.integers(1, 8), st.integers(1, 128), st.integers(2, 6), st.integers(1, 24)),
    buffers=st.tuples(st.integers(1, 512), st.integers(1, 512), st.integers(1, 512)),
    tables=st.integers(1, 32),
    bandwidth=st.sampled_from([16, 64, 256, 1024]),
)
def test_linear_cycles_equal_the_scalar_twin(
    m: int, n: int, k: int, weights: str, datapath: str, array: Any, buffers: Any, tables: int, bandwidth: float
) -> None:
    spec = array_spec(
        array__datapath=datapath, array__m=array[0], array__n=array[1], array__k=array[2], array__count=array[3],
        array__accumulator_bits=40, buffers__weight_kib=buffers[0], buffers__activation_kib=buffers[1],
        buffers__output_kib=buffers[2], tables_per_cycle=tables, dram__bandwidth_gb_s=bandwidth,
    )  # fmt: skip
    row = traces.linear(m, n, k, weights)
    result = model.timing(spec, traces.trace(row))
    cycles, dram = scalar_linear(spec, row, int(weights[3]), int(weights.split("-g")[1]))
    assert abs(int(result.cycles[0]) - cycles) <= 1  # ceil of sums taken in another order
    assert result.bytes["dram"][0] == pytest.approx(dram)


def test_known_answer_of_one_array() -> None:
    """M2N64K4, one array, W2: 4 x 128 x 64 takes ⌈4/2⌉⌈128/64⌉⌈64/4⌉·2 = 128 steps; +2 stages, 1 fill."""
    spec = array_spec(array__count=1, tables_per_cycle=2, vector_lanes=65536, dram__bandwidth_gb_s=100000)
    result = model.timing(spec, traces.trace(traces.linear(4, 128, 64, "int2-g64")))
    assert result.cycles[0] == 128 + 2 + 1
    assert result.bound_by[0] == "array"
    # 4 rows x 128 columns x 16 groups of four x 2 planes
    assert result.activity["lookup"][0] == 4 * 128 * 16 * 2


@settings(max_examples=60, deadline=None)
@given(m=st.integers(1, 300), n=st.integers(1, 1000), k=st.integers(4, 1000), seed=st.integers(0, 10**6))
def test_no_faster_than_its_rooflines_and_more_hardware_never_slower(m: int, n: int, k: int, seed: int) -> None:
    row = traces.linear(m, n, k)
    base = array_spec(array__count=1 + seed % 16)
    result = model.timing(base, traces.trace(row))
    assert result.cycles[0] >= row["macs"] / (base.peak_tera_ops(4) * 1e12 / 2 / (base.clock_mhz * 1e6))
    assert result.cycles[0] >= row["weight_bytes"] / base.dram_bytes_per_cycle
    assert result.bytes["dram"][0] >= row["weight_bytes"]
    for change in (
        {"array.count": 2 * base.array.count},
        {"dram.bandwidth_gb_s": 2 * base.dram.bandwidth_gb_s},
        {"tables_per_cycle": 2 * base.tables_per_cycle},
        {"buffers.weight_kib": 2 * base.buffers.weight_kib},
    ):
        more = specs.override(base, change)
        assert isinstance(more, LutTensorCoreSpec)
        # drain grows with rows in flight: up to one cycle per row of the bigger arrangement
        slack = more.array.m * more.array.count
        assert model.timing(more, traces.trace(row)).cycles[0] <= result.cycles[0] + slack


def test_bit_serial_time_is_proportional_to_weight_bits() -> None:
    spec = array_spec(dram__bandwidth_gb_s=100000, vector_lanes=65536, tables_per_cycle=4096)
    steps = [
        model.timing(spec, traces.trace(traces.linear(64, 1024, 1024, f"int{b}-g64"))).parts["array"][0]
        for b in (1, 2, 3, 4)
    ]
    assert steps == [steps[0] * b for b in (1, 2, 3, 4)]


def test_overflowing_accumulator_is_refused_with_the_nearest_legal_choice() -> None:
    spec = array_spec(array__accumulator_bits=16)
    simulate(spec, traces.trace(traces.linear(1, 64, 512, "int4-g64")))
    with pytest.raises(
        UserError,
        match=r"lut-tensor-core: array.accumulator_bits = 16 can overflow on layers.0.q \(int4-g128, 128 weights per "
        r"scale\): needs 17; use accumulator_bits >= 17, or groups of at most 68 weights",
    ):
        simulate(spec, traces.trace(traces.linear(1, 64, 512, "int4-g128")))


def test_the_overflow_bound_is_reached_by_extreme_operands() -> None:
    """All activations at the extreme table entry, all planes set: the sum needs exactly the stated width."""
    spec = array_spec()
    worst = 127 * (2**4 - 1) * (64 // 4)
    needed = model.accumulator_bits_needed(spec.array, 4, 64)
    assert -(2 ** (needed - 1)) <= -worst
    assert worst <= 2 ** (needed - 1) - 1
    assert worst > 2 ** (needed - 2) - 1


def test_float_weights_run_on_the_fp16_macs() -> None:
    spec = array_spec()
    result = model.timing(spec, traces.trace(traces.linear(8, 64, 128, "fp16", "fp16")))
    assert result.activity["fp16_mac"][0] == 8 * 64 * 128
    assert result.activity["lookup"][0] == 0


def test_attention_and_norm() -> None:
    spec = array_spec(dram__bandwidth_gb_s=100000)
    result = model.timing(spec, traces.trace(traces.attention(1, 512), traces.norm(1, 64)))
    assert result.parts["fp16"][0] == 2 * 4 * 16 * 512 / spec.attention_macs_per_cycle
    # softmax: 4 plain and one special operation of 4 per score; 4 heads x 512 keys
    assert result.parts["vector"][0] == 4 * 512 * 8 / spec.vector_lanes
    assert result.parts["vector"][1] == 64 * 4 / spec.vector_lanes


def test_energy_adds_up_and_every_number_has_a_grade() -> None:
    spec = array_spec()
    result, ppa = simulate(spec, traces.trace(traces.linear(8, 256, 256), traces.attention(8, 64), traces.norm(8, 64)))
    parts = sum(ppa.total_energy(result).values())
    assert ppa.metrics["energy_j"].value == pytest.approx(parts)
    assert ppa.metrics["area_mm2"].value == pytest.approx(sum(q.value for q in ppa.area.values()))
    assert set(ppa.energy) == set(ppa.energy_source)
    # Beats of the arrays times the price of a beat, and of builders per table.
    price, builder = array_price(spec.array, spec.node), builder_price(spec.array, spec.node)
    beats = result.total_activity("lookup") / (spec.array.m * spec.array.n)
    assert ppa.total_energy(result)["lookup arrays"] == pytest.approx(beats * price.energy_pj * 1e-12)
    tables = result.total_activity("table")
    assert ppa.total_energy(result)["table builder"] == pytest.approx(tables * builder.energy_pj * 1e-12)
    leakage = (spec.array.count * price.leakage_uw + spec.tables_per_cycle * builder.leakage_uw) * 1e-6
    assert ppa.total_energy(result)["leakage"] == pytest.approx(leakage * result.total_seconds())


def test_reuse_needs_a_weight_buffer_that_holds_the_stripe() -> None:
    """64 row groups reuse a stripe of 1024 columns x 4096 (INT4: 2 MB); in 64 KiB it streams every time."""
    row = traces.trace(traces.linear(128, 1024, 4096, "int4-g64"))
    small, large = array_spec(buffers__weight_kib=64), array_spec(buffers__weight_kib=8192)
    little, plenty = model.timing(small, row), model.timing(large, row)
    assert plenty.bytes["dram"][0] < 1.5 * 1024 * 4096 / 2 * 1.1
    assert little.bytes["dram"][0] > 4 * plenty.bytes["dram"][0]
    slow = [array_spec(buffers__weight_kib=kib, dram__bandwidth_gb_s=16) for kib in (64, 8192)]
    little, plenty = (model.timing(spec, row) for spec in slow)
    assert little.cycles[0] > plenty.cycles[0]


def test_activations_that_the_multipliers_do_not_take_run_on_the_fp16_macs() -> None:
    fp16 = traces.trace(traces.linear(8, 64, 128, "int4-g64", "fp16"))
    mac = model.timing(array_spec(array__datapath="mac", array__accumulator_bits=32), fp16)
    assert (mac.activity["int_mac"][0], mac.activity["fp16_mac"][0]) == (0, 8 * 64 * 128)
    lut = model.timing(array_spec(), fp16)
    assert (lut.activity["lookup"][0], lut.activity["fp16_mac"][0]) == (8 * 64 * 32 * 4, 0)


def test_each_buffer_pays_for_its_own_capacity() -> None:
    row = traces.trace(traces.linear(64, 256, 256))
    energy = []
    for kib in (32, 1024):
        result, ppa = simulate(array_spec(buffers__output_kib=kib), row)
        energy.append(ppa.total_energy(result))
    assert energy[0]["weight buffer"] == energy[1]["weight buffer"]
    assert energy[0]["output buffer"] < energy[1]["output buffer"]


@pytest.mark.parametrize("datapath", ["lut-full", "unpu", "add"])
def test_machines_of_every_datapath_are_costed(datapath: str) -> None:
    """Conventional tables, builders inside, additions: all from synthesis, all larger than symmetric tables."""
    row = traces.trace(traces.linear(8, 64, 64))
    _, other = simulate(array_spec(array__datapath=datapath), row)
    _, lookup = simulate(array_spec(), row)
    arrays = other.area["arrays"].value + other.area["table builder"].value
    assert arrays > lookup.area["arrays"].value
    assert other.metrics["energy_j"].value > 0
