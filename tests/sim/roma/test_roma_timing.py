"""The cycle model of machines with weights in ROM: a slow scalar twin, the L-Unit's formula, published numbers."""

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
from lutscape.hw.machines.roma import RomaSpec
from lutscape.models import shape as shapes
from lutscape.models.recorder import Formats
from lutscape.models.tracing import trace_model
from lutscape.sim.roma import budget, capacity, fit, stage_timing, timing
from lutscape.sim.simulate import simulate


def machine(base: str = "roma", **changes: Any) -> RomaSpec:
    spec = specs.override(specs.load(base), {k.replace("__", "."): v for k, v in changes.items()})
    assert isinstance(spec, RomaSpec)
    return spec


@settings(max_examples=60, deadline=None)
@given(
    phase=st.sampled_from(["prefill", "decode"]),
    m=st.integers(1, 9), n=st.integers(1, 5000), k=st.integers(1, 5000), bits=st.sampled_from([2, 3, 4, 8]),
    operator=st.sampled_from(["q", "gate", "down"]), units=st.sampled_from([1, 8, 64]), words=st.sampled_from([1, 2,
    8]),
    rank=st.sampled_from([0, 5, 16]), targets=st.sampled_from(["all", "gate,up", "q"]), beta=st.floats(1, 100),
    overhead=st.floats(0, 500), later=st.floats(0, 500),
)  # fmt: skip
def test_a_linear_layer_against_a_scalar_twin(
    phase: str, m: int, n: int, k: int, bits: int, operator: str, units: int, words: int, rank: int, targets: str,
    beta: float, overhead: float, later: float,
) -> None:  # fmt: skip
    """Straight-line arithmetic of the module's docstring."""
    spec = machine(
        matrix_units=16, l_unit__per_matrix_unit=units, l_unit__cycles_per_word=words, l_unit__rom_words=1 << 20,
        lora__rank=rank, lora__targets=targets, h_unit__kv_bytes_per_cycle=beta, h_unit__sram_kib=1 << 20,
        h_unit__prefill_kv_bytes_per_cycle=2 * beta, step__decode_cycles=overhead, step__prefill_cycles=later,
    )  # fmt: skip
    row = traces.linear(m, n, k, f"int{bits}-g128", phase=phase, operator=operator, name=f"layers.0.{operator}")
    result = timing.timing(spec, traces.trace(row))
    groups, planes = math.ceil(k / 128), math.ceil(bits / 2)
    rom = m * math.ceil(n * groups / (16 * units)) * planes * words
    has = rank if targets == "all" or operator in targets.split(",") else 0
    per_cycle = 16 * beta * (2 if phase == "prefill" else 1)
    adapter = m * has * (n + k) / per_cycle
    macs = m * has * (n + k) / (16 * spec.h_unit.macs_per_cycle)
    if phase == "prefill":
        extra = m * later
    else:
        extra = overhead + (m - 1) * later
    assert result.cycles[0] == pytest.approx(max(rom, adapter, macs) + stage_timing.STAGES + extra)
    assert result.activity["rom_word"][0] == m * n * groups * planes


@settings(max_examples=30, deadline=None)
@given(queries=st.integers(1, 40), before=st.integers(0, 300), beta=st.floats(0.5, 50), lanes=st.integers(1, 64))
def test_attention_reads_every_visible_key(queries: int, before: int, beta: float, lanes: int) -> None:
    spec = machine(matrix_units=4, h_unit__kv_bytes_per_cycle=beta, v_unit__lanes=lanes, h_unit__sram_kib=1 << 20)
    row = traces.attention(queries, before + queries)
    result = timing.timing(spec, traces.trace(row))
    pairs = sum(before + i + 1 for i in range(queries))
    key_bytes = 2 * 2 * (16 + 4)  # two KV heads of 16 INT8 values, scale and minimum
    kv = (pairs * key_bytes + queries * key_bytes) / (4 * beta)
    macs = 2 * 4 * 16 * pairs / (4 * spec.h_unit.macs_per_cycle)
    softmax = 4 * pairs * (4 + 4) / (16 * lanes)  # four heads; four operations and an exponential
    assert result.cycles[0] == pytest.approx(max(kv, macs, softmax))


def test_query_heads_may_read_keys_anew() -> None:
    """Llama-3-8B: four query heads to a KV head; the published comparison table within 10 % at each context."""
    trace = fit.workload("decode", 1024, "llama-3-8b", "int2-g128")
    once, anew = (timing.timing(machine(h_unit__kv_reads=reads), trace) for reads in ("group", "head"))
    attention = (once.operators["kind"] == "attention").to_numpy()
    decode = attention & once.mask("decode")
    written = 2 * 8 * 128  # bytes of one token's keys and values in a block
    assert anew.bytes["sram"][decode] == pytest.approx(4 * (once.bytes["sram"][decode] - written) + written)
    table = {256: 20_078, 512: 18_703, 1024: 12_840, 2048: 8_533}
    for context, rate in table.items():
        ours = 1 / fit.seconds(machine(h_unit__kv_reads="head"), "decode", context, "llama-3-8b", "int2-g128")
        assert ours == pytest.approx(rate, rel=0.10)


@given(n=st.integers(1, 4000), groups=st.integers(1, 40), bits=st.sampled_from([2, 4]), cycles=st.sampled_from([1, 4]))
@settings(max_examples=25, deadline=None)
def test_rom_cycles_are_those_of_the_l_units_verilog(n: int, groups: int, bits: int, cycles: int) -> None:
    """The formula that the generated unit's bench is held to (tests/rtl)."""
    spec = machine(l_unit__cycles_per_word=cycles, l_unit__rom_words=1 << 20, lora__rank=0, step__decode_cycles=0)
    row = traces.linear(1, n, 128 * groups, f"int{bits}-g128")
    result = timing.timing(spec, traces.trace(row))
    rows = -(-n * groups // spec.l_units)
    assert result.cycles[0] == stage_timing.rows_cycles(spec.l_unit, rows, spec.planes(bits))


def test_llama_3_8b_fills_the_rom_exactly() -> None:
    shape = shapes.load("llama-3-8b")
    words = capacity.rom_words(machine(), shape, dict.fromkeys(shape.linear_shapes, 2))
    assert sum(words.values()) == 3328
    three = shapes.load("llama-3.2-3b")
    assert sum(capacity.rom_words(machine(), three, dict.fromkeys(three.linear_shapes, 4)).values()) == 2800


@pytest.mark.parametrize(
    ("mib", "rank", "tokens"),
    [(64, 16, 736), (256, 16, 3808), (64, 64, 0), (128, 16, 1760), (288, 16, 4320), (288, 64, 3456)],
)
def test_sram_fixtures(mib: int, rank: int, tokens: int) -> None:
    """The first three are ROMA's SRAM ablation; the others lie on the same line."""
    split = capacity.sram(budget.with_sram(machine(), mib, rank), shapes.load("llama-3-8b"))
    assert split.token == 65_536
    assert split.tokens == tokens


def test_largest_rank_is_the_largest() -> None:
    shape, spec = shapes.load("llama-3-8b"), machine()
    rank = budget.largest_rank(spec, shape, 4096, "fp8_e4m3")
    assert capacity.sram(budget.with_sram(spec, 288, rank), shape).tokens >= 4096
    assert capacity.sram(budget.with_sram(spec, 288, rank + 1), shape).tokens < 4096


def test_shipped_constants_are_the_fit() -> None:
    constants = fit.fit(machine())
    shipped = dict(machine().leaves())
    for key, value in constants.items():
        assert shipped[key] == pytest.approx(value, rel=1e-4)


def test_every_published_time_is_scored_and_fits_are_said() -> None:
    rows = fit.score(machine())
    assert [r["fitted"] for r in rows] == [True] * 4 + [False] * 4
    for row in rows:
        if row["fitted"]:
            assert row["model_s"] == pytest.approx(row["published_s"], rel=1e-3)
    # The table contradicts the fitted pair: 24.6k and 12,840 tok/s at 1K.
    assert next(r for r in rows if "12,840" in str(r["name"]))["error"] == pytest.approx(-0.478, abs=0.002)


def small(
    prompt: int = 128, decode: int = 2, batch: int = 1, weights: str = "int2-g128", model: str = "llama-3-8b"
) -> Any:
    formats = Formats(weights=weights, activations="fp16", kv="fp8_e4m3")
    return trace_model(model, prompt, decode, batch, formats, execute=False).trace


def test_rates_are_named_apart() -> None:
    _, ppa = simulate(machine(), small())
    m = {name: q.value for name, q in ppa.metrics.items()}
    assert m["tokens_per_s"] == pytest.approx(1 / m["time_per_token_s"])
    assert m["aggregate_tokens_per_s"] > m["tokens_per_s"]
    assert m["time_to_first_token_s"] < 128 * m["time_per_token_s"]
    assert m["context_tokens"] == 4320
    assert m["lora_rank"] == 16


def test_the_aggregate_is_bounded_by_the_sram() -> None:
    """With room for one sequence alone nothing can be interleaved."""
    one = machine(h_unit__sram_kib=(18 * 1024 + 130 * 64) / 256)
    _, ppa = simulate(one, small())
    assert ppa.metrics["aggregate_tokens_per_s"].value == pytest.approx(ppa.metrics["tokens_per_s"].value)


def test_a_batch_interleaves() -> None:
    one, four = (timing.timing(machine(), small(batch=b)) for b in (1, 4))
    assert one.total_seconds("decode") < four.total_seconds("decode") < 4 * one.total_seconds("decode")


def test_blocks_with_units_of_their_own_run_together() -> None:
    spread = machine(l_unit__rom_words=4096, step__decode_cycles=0, step__prefill_cycles=0)
    layers = machine(l_unit__rom_words=4096, step__decode_cycles=0, step__prefill_cycles=0, placement="layers")
    (_, a), (_, b) = (simulate(s, small()) for s in (spread, layers))
    assert b.metrics["tokens_per_s"].value < a.metrics["tokens_per_s"].value / 10
    ratio = b.metrics["aggregate_tokens_per_s"].value / a.metrics["aggregate_tokens_per_s"].value
    assert ratio == pytest.approx(1.0, rel=0.2)


def test_activity_times_energy_is_the_power() -> None:
    result, ppa = simulate(machine(), small())
    words = result.total_activity("rom_word", "decode") / 2
    assert words == 54_525_952  # groups of all linear layers of Llama-3-8B
    assert ppa.total_energy(result, "decode")["L-Units"] == pytest.approx(2 * words * 13.6e-12)
    watts = sum(ppa.total_energy(result, "decode").values()) / result.total_seconds("decode")
    assert 15 < watts < 60  # 111 W were the sum of the units


def test_the_head_takes_time_and_rom_only_where_it_is() -> None:
    def traced(model: str, weights: str) -> Any:
        formats = Formats(weights=weights, head_weights=weights, kv="fp8_e4m3")
        return trace_model(model, 16, 1, 1, formats, execute=False).trace

    trace = traced("llama-3.2-3b", "int4-g128")
    host, inside = (timing.timing(machine(head=where), trace) for where in ("host", "rom"))
    head = -(-128_256 * 24 // 16_384) * 2 + stage_timing.STAGES + machine().step.decode_cycles
    more = inside.cycles * inside.count - host.cycles * host.count
    assert more[host.mask("decode")].sum() == pytest.approx(head)
    with pytest.raises(UserError) as error:
        timing.timing(machine(head="rom"), traced("llama-3-8b", "int2-g128"))
    assert str(error.value) == ("roma: l_unit.rom_words = 3328 holds 1.868 GB; llama-3-8b needs 3579 words (2.008 GB)")


def test_a_mixture_of_experts_counts_all_experts_and_reads_those_of_the_token() -> None:
    spec, trace = machine("hnlpu"), small(8, 1, 1, "int4-g32", "gpt-oss-120b")
    result = timing.timing(spec, trace)
    shape = trace.header.shape
    used = sum(capacity.rom_words(spec, shape, dict.fromkeys(shape.linear_shapes, 4)).values())
    assert used <= spec.l_unit.rom_words
    # q, k and v, o, and gate, up and down of four experts: groups of 32 weights
    per_token = 36 * (4096 * 90 + 2 * 512 * 90 + 2880 * 128 + 4 * 3 * 2880 * 90)
    assert result.total_activity("rom_word", "decode") == per_token
    assert np.isfinite(result.cycles).all()


@pytest.mark.parametrize("name", ["roma", "tom", "bitrom", "hnlpu", "taalas-hc1"])
def test_every_peer_runs_its_own_model(name: str) -> None:
    from lutscape.explore.papers.roma_published import PEERS

    peer = next(p for p in PEERS if p["spec"] == name)
    _, ppa = simulate(machine(name), small(peer["prompt"], 8, 1, peer["weights"], peer["model"]))
    if peer["published_tok_s"]:
        assert ppa.metrics["tokens_per_s"].value == pytest.approx(peer["published_tok_s"], rel=0.05)
    if peer["published_mm2"]:
        assert ppa.metrics["area_mm2"].value == pytest.approx(peer["published_mm2"], rel=0.10)


@pytest.mark.parametrize(
    ("changes", "workload", "text"),
    [
        ({}, {"weights": "fp16"},
         "roma: layers.0.q has fp16 weights, which ROM words of 128 integers with one scale do not "
         "hold; count them as int4-g128 or int2-g128"),
        ({}, {"weights": "int2-g64"},
         "roma: layers.0.q has int2-g64 weights: a scale for 64 of them, where a word has one "
         "for l_unit.group = 128; allowed: multiples of 128"),
        ({}, {"weights": "int4-g128"},
         "roma: l_unit.rom_words = 3328 holds 1.868 GB; llama-3-8b needs 6656 words (3.735 GB)"),
        ({}, {"prompt": 5000},
         "roma: 5002 tokens of context take more than the SRAM: 4320 fit beside an adapter of rank 16 "
         "(288 MiB, 65536 bytes a token)"),
        ({"lora__rank": 64, "h_unit__sram_kib": 256}, {},
         "roma: the adapter of rank 64 takes 72 MiB of 64 MiB of SRAM; "
         "lower lora.rank or raise h_unit.sram_kib"),
        ({"placement": "layers", "matrix_units": 1, "l_unit__per_matrix_unit": 16, "l_unit__rom_words": 1 << 20}, {},
         "roma: placement = 'layers' with 16 L-Units cannot hold 32 blocks; use placement 'spread' or more L-Units"),
    ],
)  # fmt: skip
def test_refusals(changes: dict[str, Any], workload: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        timing.timing(machine(**changes), small(**workload))
    assert str(error.value) == text


def test_a_ternary_machine_refuses_wider_weights() -> None:
    with pytest.raises(UserError) as error:
        timing.timing(machine("tom"), small(weights="int4-g128", model="bitnet-b1.58-2b-4t"))
    assert "l_unit.encoding = 'ternary' holds ternary only" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"lora__targets": "gate,upp"},
         "lora: unknown layer 'upp' (did you mean 'up'?); allowed: all, q, k, v, o, gate, "),
        ({"l_unit__cycles_per_word": 3}, "l_unit: cycles_per_word = 3: must divide group = 128"),
        ({"l_unit__form": "custom"}, "l_unit: density_mbit_per_mm2 goes with form: custom, and form: custom with it"),
        ({"l_unit__form": "brom"},
         "l_unit.form = 'brom': must be 'sram', 'standard', 'b-rom', 'fused' or 'custom' (did you"),
        ({"l_unit__encoding": "ternary"}, "l_unit: encoding ternary needs plane_bits: 2 and zero_bits: 0"),
    ],
)  # fmt: skip
def test_specs_that_are_refused(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError) as error:
        machine(**changes)
    assert str(error.value).removeprefix("override: ").startswith(text)
