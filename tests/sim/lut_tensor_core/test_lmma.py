"""The LMMA instruction: names, legal shapes and formats, registers, cycles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.gpu import GpuSpec, LutUnit
from lutscape.sim.lut_tensor_core import array_timing, lmma, sm_tiles
from lutscape.sim.lut_tensor_core.lmma import Lmma


def unit(name: str = "a100-lut-4x", **changes: object) -> LutUnit:
    spec = specs.override(specs.load(name), {f"matrix_unit.{k}": v for k, v in changes.items()})
    assert isinstance(spec, GpuSpec)
    assert isinstance(spec.matrix_unit, LutUnit)
    return spec.matrix_unit


@given(
    sides=st.tuples(*[st.integers(1, 1024)] * 3),
    activation=st.sampled_from(sorted(lmma.ACTIVATIONS)),
    weight=st.sampled_from(sorted(lmma.WEIGHTS)),
    accumulator=st.sampled_from(sorted(lmma.ACCUMULATORS)),
    output=st.sampled_from(sorted(lmma.OUTPUTS)),
)
def test_a_name_reads_back_or_its_formats_are_refused(
    sides: tuple[int, int, int], activation: str, weight: str, accumulator: str, output: str
) -> None:
    instruction = Lmma(*sides, activation, weight, accumulator, output)
    integers = accumulator.startswith("int")
    sound = (integers or not activation.startswith("int")) and (integers or not output.startswith("int"))
    if sound and lmma.ACCUMULATORS[accumulator] >= lmma.OUTPUTS[output]:
        lmma.check_formats(instruction)
        assert lmma.parse(str(instruction)) == instruction
    else:
        with pytest.raises(UserError, match="nearest: "):
            lmma.parse(str(instruction))


def test_the_papers_array_as_one_instruction() -> None:
    """M2N64K4 on one array, W2: 2 planes of one step; tables 2 x 8 bytes, weights 64 x 4 x 2 bits, sums 128 x 4."""
    one = lmma.parse("lmma.m2n64k4.int8int2int32int32")
    run = lmma.issue(one, unit(), 1)
    assert (run.table_bytes, run.weight_bytes, run.sum_bytes) == (16, 64, 512)
    assert (run.table_registers, run.weight_registers, run.sum_registers) == (1, 1, 4)
    assert run.beats == 2
    assert run.interval == 4  # 512 bytes of sums through a port of 128
    assert run.latency == 4 + array_timing.STAGES + lmma.REGISTER_STAGES


def test_longer_k_hides_the_sums() -> None:
    run = lmma.issue(lmma.parse("lmma.m4n128k64.int8int2int32fp16"), unit(), 4)
    assert run.arrangement == (2, 2)
    assert run.beats == run.interval == 16 * 2


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(0, 7), columns=st.integers(0, 4), steps=st.sampled_from([8, 16, 32, 64]),
    bits=st.integers(1, 8), arrays=st.sampled_from([1, 4, 8, 16, 24, 32, 64]),
    shape=st.tuples(st.integers(1, 8), st.sampled_from([4, 8, 16, 32, 64, 128]), st.integers(2, 6)),
    scale=st.sampled_from([1, 2, 8]), precompute=st.sampled_from(["fused", "on-the-fly"]),
)  # fmt: skip
def test_arrays_of_tiles_choose_what_the_scalar_choice_is(
    rows: int, columns: int, steps: int, bits: int, arrays: int, shape: tuple[int, int, int], scale: int,
    precompute: str,
) -> None:  # fmt: skip
    u = unit(m=shape[0], n=shape[1], k=shape[2], arrays_per_sm=arrays, register_scale=scale, precompute=precompute)
    warp = (u.m << rows, u.n << columns, u.k * steps)
    scalar = lmma.best(u.model_dump_json(), warp, ("int8", f"int{bits}", "int32", "fp16"))
    found = sm_tiles.instructions(u, bits, *(np.array([float(s)]) for s in warp))
    if scalar is None:
        assert found["interval"][0] == np.inf
        return
    instruction, run = scalar
    assert (found["interval"][0], found["latency"][0]) == pytest.approx((run.interval, run.latency)) or (
        # of instructions with the same rate and registers either may be taken
        found["interval"][0] / (found["i_m"][0] * found["i_n"][0])
        == pytest.approx(run.interval / (instruction.m * instruction.n))
    )
    assert found["interval"][0] >= run.beats / instruction.macs * found["i_m"][0] * found["i_n"][0] * warp[2] - 1e-9


@settings(max_examples=100, deadline=None)
@given(c=st.integers(1, 4), rows=st.integers(1, 4), k=st.integers(1, 64), bits=st.integers(1, 8))
def test_beats_are_the_cycles_of_the_array_and_never_beat_its_peak(c: int, rows: int, k: int, bits: int) -> None:
    u = unit()
    one = Lmma(u.m * rows, u.n * c, u.k * k, "int8", f"int{bits}", "int32", "fp16")
    run = lmma.issue(one, u, 4)
    assert run.interval >= run.beats >= one.macs * bits / (4 * u.m * u.n * u.k)
    alone = lmma.issue(Lmma(u.m, u.n, u.k * k, "int8", f"int{bits}", "int32", "fp16"), u, 1)
    array = lmma.array_of(u, bits)
    assert alone.beats + array_timing.STAGES == array_timing.tile_cycles(array, k, bits)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mma.m2n64k4", "is no LMMA; write lmma.mMnNkK.AWAccumO, like lmma.m8n64k32.int8int2int32fp16"),
        ("lmma.m2n64k4.int8fp16int32fp16", "weight format 'fp16'"),
        ("lmma.m2n64k4.int7int2int32fp16", "activation format 'int7' (did you mean 'int8'?)"),
        ("lmma.m2n64k4.int8int2fp32fp16", "tables of int8 add up in integers, not fp32; nearest: int32"),
        ("lmma.m2n64k4.fp16int2fp32int8", "fp32 sums have no scale that makes them int8; nearest: fp16"),
        ("lmma.m2n64k4.int8int2int16int32", "output int32 is wider than its int16 sums"),
        ("lmma.m2n64k4.int8int2int32fp16x", "'x' after the output format"),
    ],
)
def test_bad_names(text: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        lmma.parse(text)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("text", "changes", "group", "words"),
    [
        ("lmma.m3n64k32.int8int2int32fp16", {}, 0, "M = 3 is no multiple of the array's m = 2 up to 256; nearest: 4"),
        ("lmma.m4n96k32.int8int2int32fp16", {}, 0, "N = 96 is no multiple of the array's n = 64 up to 1024; nearest:"),
        ("lmma.m4n64k30.int8int2int32fp16", {}, 0, "K = 30 is no multiple of the array's k = 4 up to 1024; nearest:"),
        (
            "lmma.m4n64k32.fp16int2int32fp16", {"precompute": "on-the-fly"}, 0,
            "tables are built inside the unit, from int8 alone; nearest: int8, or precompute: fused",
        ),
        (
            "lmma.m4n64k32.fp16int2fp32fp16", {}, 0,
            "entries of 8 bits are integers and do not add up in fp32; nearest: int32",
        ),
        (
            "lmma.m4n64k32.int8int4int16fp16", {}, 128,
            "128 products of int4 can reach 60960, which needs 17 bits; nearest: int32",
        ),
        ("lmma.m64n256k64.int8int2int32fp16", {"register_scale": 1}, 0, "operands take 608 registers per thread of"),
    ],
)  # fmt: skip
def test_what_a_unit_cannot_issue(text: str, changes: dict[str, object], group: int, words: str) -> None:
    with pytest.raises(UserError) as error:
        lmma.check(lmma.parse(text), unit(**changes), group)
    assert words in str(error.value)


def test_the_nearest_smaller_instruction_is_legal() -> None:
    u = unit(register_scale=1)
    with pytest.raises(UserError) as error:
        lmma.check(lmma.parse("lmma.m64n256k64.int8int2int32fp16"), u)
    smaller = lmma.parse(str(error.value).rsplit("nearest: ", 1)[1])
    lmma.check(smaller, u, 128)
