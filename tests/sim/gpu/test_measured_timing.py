"""A spec that names a measured device: what its kernels cover takes their fitted time, the rest the tile model's."""

from __future__ import annotations

import pytest
import timing_traces as traces

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.gpu import baseline, records
from lutscape.hw.machines.gpu import GpuSpec
from lutscape.sim.gpu import kernel_model, timing
from lutscape.sim.simulate import simulate

NAME = "h100-sxm5-measured"


def machine(**changes: object) -> GpuSpec:
    spec = specs.override(specs.load(NAME), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, GpuSpec)
    return spec


def rows() -> list[dict[str, object]]:
    attention = traces.attention(1, 8192, 32, 8, 128) | {"kv_format": "fp16"}
    made = [
        traces.linear(1, 14336, 4096, "int4-g128", "fp16"), traces.linear(512, 14336, 4096, "int2-g128", "fp16"),
        traces.linear(2048, 14336, 4096, "fp16", "fp16"), attention, traces.norm(1, 4096),
        traces.linear(1, 14336, 4096, "int4-g128", "int8"), traces.attention(64, 64, 32, 8, 128),
    ]  # fmt: skip
    for i, row in enumerate(made):
        row.update(operator=f"o{i}", name=f"layers.0.o{i}")
    return made


def test_covered_operators_take_the_fitted_time_and_others_the_tile_models() -> None:
    trace = traces.trace(*rows())
    measured, alone = timing.timing(machine(), trace), timing.timing(machine(measured_device=""), trace)
    constants = kernel_model.load(records.load("h100-sxm5-80gb").folder)
    points = kernel_model.predict(records.load("h100-sxm5-80gb").points, constants).points
    at = points[(points["kernel"] == "gemm") & (points["form"] == "w4") & (points["m"] == 1)]
    model_us = float(at[(at["n"] == 14336) & (at["k"] == 4096)]["model_us"].iloc[0])
    assert measured.seconds[0] * 1e6 == pytest.approx(model_us, abs=1e-3)
    assert measured.detail["fitted"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    assert measured.cycles[5:].tolist() == alone.cycles[5:].tolist()
    assert (measured.bytes["dram"] == alone.bytes["dram"]).all()
    assert measured.bound_by.tolist() == alone.bound_by.tolist()


def test_fitted_times_are_near_the_measured_ones() -> None:
    """Within a quarter of each measured point: the mean error is some percent, single points are further off."""
    result = timing.timing(machine(), traces.trace(*rows()))
    expected = [
        baseline.nearest("linear", 1, 14336, 4096, "w4"), baseline.nearest("linear", 512, 14336, 4096, "w2"),
        baseline.nearest("linear", 2048, 14336, 4096, "fp16"),
        baseline.nearest("attention", 1, 8192, 128, "kv16", heads=32, kv_heads=8),
        baseline.nearest("rms_norm", 1, 0, 4096, "fp16"),
    ]  # fmt: skip
    for seconds, point in zip(result.seconds, expected, strict=False):
        assert seconds == pytest.approx(point.seconds, rel=0.25)


def test_the_machine_simulates_and_an_unknown_device_is_named() -> None:
    result, ppa = simulate(machine(), traces.trace(*rows()))
    assert ppa.metrics
    assert (result.seconds > 0).all()
    with pytest.raises(UserError, match=r"no measurement 'h100-sxm5' \(did you mean 'h100-sxm5-80gb'\?\)"):
        timing.timing(machine(measured_device="h100-sxm5"), traces.trace(*rows()))
