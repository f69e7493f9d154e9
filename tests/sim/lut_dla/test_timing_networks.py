"""LUT-DLA on whole traces: what runs where, totals, refusals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model
from lutscape.sim.lut_dla.layers import Product, time_product
from lutscape.sim.lut_dla.timing import accumulator_bits_needed, timing
from lutscape.sim.simulate import simulate


@pytest.fixture(scope="module")
def bert() -> Trace:
    return trace_model("bert-base", 128, 0, 1, Formats(activations="int8")).trace


def machine(**changes: Any) -> Any:
    return specs.override(specs.load("lut-dla"), {k.replace("__", "."): v for k, v in changes.items()})


def test_linear_operators_are_looked_up_and_attention_is_not(bert: Trace) -> None:
    result = timing(machine(), bert)
    kind = result.operators["kind"].to_numpy()
    linear = kind == "linear"
    assert (result.activity["lookup"][linear] > 0).all()
    assert (result.activity["lookup"][~linear] == 0).all()
    macs = result.operators["macs"].to_numpy(float)
    assert np.array_equal(result.activity["fp16_mac"], np.where(kind == "attention", macs, 0))
    # lookups: M N Nc, Nc = K / 4
    assert result.activity["lookup"][linear] == pytest.approx(macs[linear] / 4)
    assert result.activity["distance"][linear] == pytest.approx(16 * result.activity["index"][linear])


def test_a_row_takes_the_cycles_of_its_product(bert: Trace) -> None:
    spec = machine(buffers__activation_kib=0)
    result = timing(spec, bert)
    row = int(np.flatnonzero(result.operators["operator"] == "up")[0])
    layer = time_product(spec, Product("up", 128, 3072, 768, 128 * 768, 128 * 3072 * 2))
    assert result.cycles[row] == np.ceil(layer.cycles)
    assert (
        result.bytes["dram"][row] == layer.table_bytes + layer.activation_bytes + layer.centroid_bytes + 128 * 3072 * 2
    )


def test_kept_operators_run_on_the_multipliers(bert: Trace) -> None:
    all_, kept = timing(machine(), bert), timing(machine(kept_operators=["up"]), bert)
    up = (all_.operators["operator"] == "up").to_numpy()
    assert (kept.activity["lookup"][up] == 0).all()
    assert kept.activity["fp16_mac"][up] == pytest.approx(128 * 3072 * 768)
    assert np.array_equal(kept.cycles[~up], all_.cycles[~up])


def test_accumulator_width_by_hand() -> None:
    # 192 entries of 8 bits: 192 x 128 = 24576 = 2^14.58, so -24576 … 24384 needs 16 bits.
    assert accumulator_bits_needed(machine(), 768) == 16
    assert accumulator_bits_needed(machine(codebook__v=3), 768) == 16  # 256 x 128 = 2^15, reached on the negative side
    assert accumulator_bits_needed(machine(codebook__v=2), 768) == 17


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"imm__accumulator_bits": 12},
            "lut-dla: imm.accumulator_bits = 12 can overflow on layers.0.q (K = 768, v = 4); use accumulator_bits "
            ">= 16",
        ),
        (
            {"attention_macs_per_cycle": 0},
            "lut-dla: attention_macs_per_cycle = 0: layers.0.attention needs multipliers; use attention_macs_per_cycle "
            ">= 1, or a trace of linear layers alone",
        ),
        (
            {"kept_operators": ["upp"]},
            "lut-dla: kept_operators: the trace has no linear operator 'upp' (did you mean 'up'?); it has: down, k, o, "
            "q, up, v",
        ),
        (
            {"buffers__index_kib": 0},
            "lut-dla: layers.0.q (M 128, N 768, K 768, ls-n): buffers.index_kib = 0 holds no row's indices (768 bits); "
            "use index_kib >= 1, or indices: recompute",
        ),
    ],
)
def test_machines_that_cannot_run_a_trace(bert: Trace, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as error:
        timing(machine(**changes), bert)
    assert str(error.value) == message


@pytest.mark.parametrize("network", ["bert-base", "resnet-18"])
@pytest.mark.parametrize("name", ["lut-dla", "lut-dla-small", "lut-dla-medium", "lut-dla-large"])
def test_packaged_machines_run_both_networks(network: str, name: str) -> None:
    trace = trace_model(network, 128, 0, 1, Formats(activations="int8")).trace
    spec = specs.load(name)
    if network == "bert-base" and name != "lut-dla":  # no multipliers: matrix products alone
        trace = Trace(trace.header, trace.rows[trace.rows["kind"] == "linear"].reset_index(drop=True))
    result, ppa = simulate(spec, trace)
    linear = (result.operators["kind"] == "linear").to_numpy()
    busy = result.activity["lookup"].sum()
    assert busy > 0
    assert (result.cycles[linear] >= np.maximum(result.parts["lookup"], result.parts["dram"])[linear]).all()
    assert ppa.metrics["area_mm2"].value > 0.1
    assert set(ppa.energy) >= {"distance elements", "table banks", "lanes", "scratchpads", "DRAM", "leakage"}


def test_decoding_is_bound_by_tables() -> None:
    trace = trace_model("smollm2-135m", 128, 2, 1, Formats(activations="int8"), execute=False).trace
    result = timing(machine(), trace)
    linear = (result.operators["kind"] == "linear").to_numpy() & result.mask("decode")
    assert set(result.bound_by[linear]) == {"dram"}
    assert (result.cycles[linear] > 10 * result.parts["lookup"][linear]).all()
    # what does not wait for tables is centroids of the next subspace, and latencies
    assert (result.detail["waiting_cycles"][linear] > 0.65 * result.cycles[linear]).all()
