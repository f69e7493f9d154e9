"""The GPU tile model: rooflines, monotonicity, known answers, precompute."""

from __future__ import annotations

import pytest
import timing_traces as traces
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.machines.gpu import GpuSpec
from lutscape.sim.gpu import timing as model
from lutscape.sim.simulate import simulate

MACHINES = [
    "a100-fp16",
    "a100-int8",
    "a100-lut-4x",
    "a100-lut-8x",
    "h100-fp16",
    "h100-int8",
    "h100-fp8",
    "h100-lut-4x",
    "h100-lut-8x",
]


def gpu(name: str, **changes: object) -> GpuSpec:
    spec = specs.override(specs.load(name), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, GpuSpec)
    return spec


@pytest.mark.parametrize("name", MACHINES)
@settings(max_examples=25, deadline=None)
@given(m=st.integers(1, 5000), n=st.integers(1, 20000), k=st.integers(16, 20000), bits=st.sampled_from([1, 2, 4]))
def test_no_matrix_product_beats_its_rooflines(name: str, m: int, n: int, k: int, bits: int) -> None:
    spec = gpu(name)
    row = traces.linear(m, n, k, f"int{bits}-g64")
    result = model.timing(spec, traces.trace(row))
    assert result.cycles[0] >= row["macs"] / spec.macs_per_cycle(bits)
    assert result.cycles[0] >= row["weight_bytes"] / spec.dram_bytes_per_cycle
    assert result.bytes["dram"][0] >= row["weight_bytes"] * 0.999
    assert result.cycles[0] >= spec.kernel_overhead_us * spec.clock_mhz


@settings(max_examples=40, deadline=None)
@given(m=st.integers(1, 4096), n=st.integers(64, 16384), k=st.integers(64, 16384))
def test_faster_parts_never_slow_a_product(m: int, n: int, k: int) -> None:
    row = traces.trace(traces.linear(m, n, k, "int4-g64"))
    base = gpu("a100-int8")
    cycles = model.timing(base, row).cycles[0]
    for change in (
        {"dram.bandwidth_gb_s": 2 * base.dram.bandwidth_gb_s},
        {"matrix_unit.macs_per_cycle_per_sm": 4096},
        {"l2_bytes_per_cycle": 2 * base.l2_bytes_per_cycle},
        {"shared_bytes_per_cycle_per_sm": 256},
    ):
        # The least-traffic tile within 1 % of the fastest is taken: allow that 1 %.
        assert model.timing(specs.override(base, change), row).cycles[0] <= 1.011 * cycles + 1  # type: ignore[arg-type]


def test_large_fp16_product_is_compute_bound_and_near_peak() -> None:
    spec = gpu("a100-fp16")
    row = traces.linear(8192, 8192, 8192, "fp16", "fp16")
    result = model.timing(spec, traces.trace(row))
    assert result.bound_by[0] == "compute"
    assert 0.85 <= row["macs"] / spec.macs_per_cycle(16) / result.cycles[0] <= 1.0


def test_gemv_is_dram_bound_and_low_bit_weights_pay() -> None:
    spec = gpu("a100-fp16")
    times = []
    for weights in ("fp16", "int8-g128", "int4-g128", "int2-g128"):
        result = model.timing(spec, traces.trace(traces.linear(1, 11008, 4096, weights, "fp16")))
        assert result.bound_by[0] == "dram"
        times.append(result.cycles[0])
    assert times == sorted(times, reverse=True)
    assert times[0] / times[2] > 2.5  # 16 against 4.16 bits, less launch overhead and latency


def test_lookup_units_scale_with_weight_bits_and_arrays() -> None:
    compute = {
        (name, bits): model.timing(gpu(name), traces.trace(traces.linear(4096, 8192, 8192, f"int{bits}-g128"))).parts[
            "compute"
        ][0]
        for name in ("a100-lut-4x", "a100-lut-8x")
        for bits in (1, 2, 4)
    }
    ideal = 4096 * 8192 * 8192 / gpu("a100-lut-4x").macs_per_cycle(2)
    assert compute["a100-lut-4x", 2] == pytest.approx(ideal, rel=0.2)
    assert compute["a100-lut-4x", 4] > 1.8 * compute["a100-lut-4x", 2]


def test_fused_precompute_is_cheaper_than_separate_and_shared_by_readers() -> None:
    q, k = traces.linear(2048, 4096, 4096, "int2-g128"), traces.linear(2048, 4096, 4096, "int2-g128")
    k.update(name="layers.0.k", operator="k")
    one, two = traces.trace(q), traces.trace(q, k)
    separate, fused = gpu("a100-lut-4x", matrix_unit__precompute="separate"), gpu("a100-lut-4x")
    assert model.timing(fused, one).cycles[0] < model.timing(separate, one).cycles[0]
    # The tables of one tensor are built once: two readers carry half each.
    alone, shared = model.timing(separate, one).parts["table"][0], model.timing(separate, two).parts["table"]
    assert shared[0] == pytest.approx(alone / 2)


def test_tables_known_answer() -> None:
    """K = 4, INT8: 8 entries of one byte per 4 activations; 12 additions and 8 rescales per table."""
    # every lookup machine also scales its partial sums, as an INT8 machine does
    result, _ = simulate(gpu("a100-lut-4x"), traces.trace(traces.linear(512, 4096, 4096, "int2-g128")))
    alone, _ = simulate(gpu("a100-int8"), traces.trace(traces.linear(512, 4096, 4096, "int8-g128")))
    scaling = 512 * 4096 * 32 + 3 * 512 * 4096  # 32 groups along K; activations quantised once
    assert result.activity["vector_op"][0] == 512 * 1024 * 20 + scaling
    assert alone.activity["vector_op"][0] == scaling


def test_attention_prefill_and_decode() -> None:
    spec = gpu("a100-fp16")
    prefill = model.timing(spec, traces.trace(traces.attention(4096, 4096, 32, 32, 128)))
    assert prefill.bound_by[0] == "compute"
    decode = model.timing(spec, traces.trace(traces.attention(1, 65536, 32, 8, 128)))
    assert decode.bound_by[0] == "dram"
    assert decode.bytes["dram"][0] >= 2 * 65536 * 8 * 128


def test_small_operators_are_bound_by_launch() -> None:
    result = model.timing(gpu("a100-fp16"), traces.trace(traces.norm(1, 64)))
    assert result.bound_by[0] == "launch"


def test_energy_of_a_matrix_unit_is_its_published_efficiency() -> None:
    row = traces.linear(4096, 4096, 4096, "int2-g128")
    for name, bits, tera_ops_per_watt in (("a100-int8", 8, 19.94), ("a100-lut-4x", 2, 33.32)):
        result, ppa = simulate(gpu(name), traces.trace(row))
        unit = "lookup units" if bits == 2 else "tensor cores"
        assert ppa.total_energy(result)[unit] == pytest.approx(2 * row["macs"] / tera_ops_per_watt * 1e-12)


def test_grades_are_those_of_the_weakest_input() -> None:
    row = traces.trace(traces.linear(1, 64, 512, "int4-g64"))
    _, ppa = simulate(gpu("a100-int8"), row)
    latency = ppa.metrics["latency_s"]
    assert latency.grade == "assumed"
    assert "kernel_overhead_us" in latency.source
    assert ppa.metrics["dram_gb"].grade == "derived"
    assert ppa.area["matrix units"].grade == "derived"  # a published area times the number of SMs
    assert ppa.metrics["power_w"].grade == "assumed"


def test_finer_scale_groups_cost_vector_work_on_every_integer_machine() -> None:
    for name in ("a100-int8", "a100-lut-8x"):
        cycles = [
            model.timing(gpu(name), traces.trace(traces.linear(2048, 4096, 4096, f"int2-g{g}"))).parts["vector"][0]
            for g in (128, 32, 8)
        ]
        assert cycles == sorted(cycles)
        # 2048 x 4096 outputs x 512 groups over 108 SMs x 64 lanes
        assert cycles[-1] >= 2048 * 4096 * 512 / (108 * 64)


def test_units_take_only_the_formats_they_multiply_exactly() -> None:
    def on_unit(machine: str, weights: str, activations: str) -> bool:
        result = model.timing(gpu(machine), traces.trace(traces.linear(16, 64, 128, weights, activations)))
        unit = "plane_mac" if "lut" in machine else "matrix_mac"
        assert (result.activity[unit][0] > 0) != (result.activity["fp16_mac"][0] > 0)
        return bool(result.activity[unit][0] > 0)

    assert on_unit("a100-int8", "int4-g64", "int8")
    assert not on_unit("a100-int8", "int4-g64", "fp16")
    assert on_unit("h100-fp8", "int4-g64", "fp8_e4m3")
    assert not on_unit("h100-fp8", "int8-g64", "fp8_e4m3")  # E4M3 does not hold all of -128..127
    assert not on_unit("h100-fp8", "int4-g64", "int8")
    assert on_unit("a100-lut-4x", "int2-g64", "fp16")
    assert not on_unit("a100-lut-4x", "fp16", "fp16")
    assert on_unit("a100-fp16", "int4-g64", "int8")


def test_area_and_energy_follow_the_lookup_configuration() -> None:
    row = traces.trace(traces.linear(64, 512, 512, "int2-g128"))
    _, base = simulate(gpu("a100-lut-4x"), row)
    _, twice = simulate(gpu("a100-lut-4x", matrix_unit__arrays_per_sm=32), row)
    result, wide = simulate(gpu("a100-lut-4x", matrix_unit__table_bits=16), row)
    area = base.metrics["area_mm2"].value
    assert area == pytest.approx(108 * 0.187)
    assert twice.metrics["area_mm2"].value == pytest.approx(2 * area)
    assert wide.metrics["area_mm2"].value > 1.3 * area
    assert wide.total_energy(result)["lookup units"] > 1.3 * base.total_energy(result)["lookup units"]
    assert "scaled by gate counts" in wide.area["matrix units"].source
    assert "scaled" not in base.area["matrix units"].source
