"""The fused dot-product-add unit's Verilog equals the matrix-unit model bit for bit, and every bin is reached."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw import spec as specs
from lutscape.hw.errors import UserError
from lutscape.hw.machines.fused_dot import FusedDotSpec, Unit
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import fused_dot, fused_dot_round, fused_dot_stimulus
from lutscape.rtl.cells.fused_dot_design import Design
from lutscape.rtl.verify import verify
from lutscape.sim.mma.instructions import table
from lutscape.sim.mma.models import TFdpa

FORMATS = ("fp16", "bf16", "tf32", "e4m3", "e5m2", "e3m2", "e2m3", "e2m1")
ROUNDINGS = tuple(
    f"{mode}-{target}" for mode in ("RNE", "RZ", "RD", "RU") for target in ("FP32", "FP16", "BF16", "E8M13")
)


def made(L: int, F: int, form: str, rounding: str = "RZ-FP32", stages: int = 0, **other: int | str | None) -> Cell:
    """Return a unit by the letters of the paper."""
    b = form.split(",")
    return fused_dot.unit(
        Unit.model_validate({
            "products": L, "fraction_bits": F, "input": b[0], "input_b": b[-1], "rounding": rounding,
            "stages": stages, **other,
        })
    )  # fmt: skip


# Every format, F, L and rounding appears; what matters together (format and rounding target, F and target) does too.
CONFIGURATIONS = [
    (4, 25, "fp16", "RZ-FP32", {}),
    (8, 24, "fp16", "RZ-FP32", {"stages": 1}),
    (4, 13, "fp16", "RNE-FP32", {}),
    (4, 23, "fp16", "RNE-FP16", {}),
    (4, 25, "fp16", "RU-FP16", {"stages": 3}),
    (4, 24, "bf16", "RNE-FP32", {"stages": 2}),
    (8, 25, "bf16", "RZ-FP32", {}),
    (4, 13, "bf16", "RD-BF16", {}),
    (4, 23, "bf16", "RU-FP32", {}),
    (32, 13, "e4m3", "RZ-E8M13", {"e_zero": -133}),
    (16, 25, "e4m3", "RNE-FP32", {}),
    (8, 13, "e4m3", "RNE-FP16", {"e_zero": -21}),
    (4, 24, "e5m2", "RNE-E8M13", {}),
    (8, 13, "e5m2", "RZ-E8M13", {}),
    (8, 23, "e5m2", "RD-FP16", {}),
    (8, 13, "e4m3,e5m2", "RZ-E8M13", {}),
    (4, 25, "tf32", "RZ-FP32", {}),
    (4, 25, "e2m1", "RZ-FP32", {}),
    (3, 8, "e3m2", "RU-BF16", {}),
    (1, 40, "e2m3", "RD-E8M13", {"stages": 1}),
    (2, 13, "bf16", "RNE-FP32", {"e_zero": -400}),
]


@pytest.mark.parametrize(("L", "F", "form", "rounding", "other"), CONFIGURATIONS)
def test_verilog_equals_the_model(L: int, F: int, form: str, rounding: str, other: dict[str, int]) -> None:
    cell = made(L, F, form, rounding, **other)
    run = verify(cell, vectors=1000)
    assert run.failures() == []
    assert run.passed
    assert run.beats == {"y": 1000}


def test_hopper_unit_of_sixteen_products() -> None:
    spec = specs.load("fused-dot-hopper")
    assert isinstance(spec, FusedDotSpec)
    cell = fused_dot.cells(spec)[-1]
    assert cell.latency == 4
    run = verify(cell, vectors=1000, stalls=False)
    assert run.failures() == []


def test_every_block_equals_its_own_model() -> None:
    spec = specs.load("fused-dot-ampere")
    assert isinstance(spec, FusedDotSpec)
    cells = fused_dot.cells(specs.override(spec, {"unit.products": 4}))  # type: ignore[arg-type]
    assert len(cells) == 12
    assert cells[-1].kind == "fused_dot"
    for cell in cells[:-1]:
        assert verify(cell, vectors=1000).failures() == [], cell.name


@pytest.mark.parametrize("name", ["hopper", "hopper-fp8", "ampere", "blackwell-fp8"])
def test_packaged_units_have_the_parameters_of_the_instruction_table(name: str) -> None:
    where = {
        "hopper": ("sm_90", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"),
        "hopper-fp8": ("sm_90", "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3"),
        "ampere": ("sm_80", "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"),
        "blackwell-fp8": ("sm_100", "tcgen05.mma.cta_group::1.kind::f8f6f4.m64n8k32.f32.e4m3.e4m3"),
    }
    arch, instruction = where[name]
    known = table(arch)[instruction]
    spec = specs.load(f"fused-dot-{name}")
    assert isinstance(spec, FusedDotSpec)
    design = Design.of(spec.unit)
    assert isinstance(known.model, TFdpa)
    assert (design.products, design.fraction) == (known.model.L, known.model.F)
    assert (design.rounding, design.e_zero) == (known.model.rounding, known.model.e_zero)
    assert (design.a.name, design.b.name, design.c.name) == (known.a, known.b, known.c)


def code(x: float, form: str) -> int:
    """Return the code of a number that float16 or float32 holds."""
    if form == "fp16":
        return int(np.float16(x).view(np.uint16))
    return int(np.float32(x).view(np.uint32))


@pytest.mark.parametrize(("F", "expected"), [(23, 0.0), (24, -0.5), (25, -0.75), (26, -0.875)])
def test_published_sum_that_tells_units_apart(F: int, expected: float) -> None:
    """arXiv 2511.10909v2, table 8: 0 on Volta, -0.5 on Ampere, -0.75 on Hopper; -0.875 is exact."""
    a, b = (-(2.0**13), -0.5, -0.25, -0.125), (2.0**10, 1.0, 1.0, 1.0)
    x = {"a": [[code(v, "fp16") for v in a]], "b": [[code(v, "fp16") for v in b]], "c": [[code(2.0**23, "fp32")]]}
    beats = {"x": {key: np.array(value, np.int64) for key, value in x.items()}}
    cell = made(4, F, "fp16")
    said = replace(cell, golden=lambda _: {"y": {"d": np.array([[code(expected, "fp32")]], np.int64)}})
    assert verify(said, stimulus=beats).failures() == []


# Formats that reach what the unit is made of; hardly any simulation time.
GRID = list(product(("fp16", "bf16", "e4m3", "e5m2"), (13, 23, 24, 25), (4, 8, 16, 32)))


@pytest.mark.parametrize("rounding", ["RZ-FP32", "RNE-FP32", "RNE-FP16", "RD-FP32", "RU-FP16", "RZ-E8M13"])
def test_a_thousand_vectors_reach_every_bin(rounding: str) -> None:
    missing = {}
    for form, F, L in GRID:
        cell = made(L, F, form, rounding)
        hits = cell.coverage(cell.stimulus(np.random.default_rng(1), 1000))
        assert len(hits) > 60
        missing[form, F, L] = [name for name, n in hits.items() if not n]
    assert {key: names for key, names in missing.items() if names} == {}


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(FORMATS),
    st.sampled_from(FORMATS),
    st.integers(2, 40),
    st.integers(1, 9),
    st.sampled_from(ROUNDINGS),
    st.none() | st.integers(-400, -126),
    st.integers(0, 1 << 30),
)
def test_blocks_one_behind_the_other_are_the_model(
    a: str, b: str, F: int, L: int, rounding: str, e_zero: int | None, seed: int
) -> None:
    """The blocks' own models, each held to its Verilog, make the same results as the model of the whole unit."""
    cell = made(L, F, f"{a},{b}", rounding, e_zero=e_zero)
    design = Design.of(Unit(
        products=L, fraction_bits=F, input=a, input_b=b, rounding=rounding, e_zero=e_zero,  # type: ignore[arg-type]
    ))  # fmt: skip
    beats = cell.stimulus(np.random.default_rng(seed), 300)
    front, add, back = cell.parts
    x = front.golden(beats)["y"]
    sums = add.golden({"x": {f.name: x[f.name] for f in add.inputs[0].fields}})["y"]
    d = back.golden({"x": {f.name: (x | sums)[f.name] for f in back.inputs[0].fields}})["y"]["d"]
    np.testing.assert_array_equal(d, cell.golden(beats)["y"]["d"])
    assert int(np.abs(sums["sum"]).max()) <= design.most
    finite = (x["nan"] == 0) & (x["infinite"] == 0)
    if not design.can_overflow:
        infinity = (design.target.largest + 1) << design.target.dropped_bits
        assert not ((d & ((1 << (design.c.width - 1)) - 1) == infinity) & finite).any()


def test_numbers_are_made_exactly() -> None:
    """The stimulus's encoder against numpy's: every exponent of fp16, subnormals cut."""
    exponent = np.arange(-24, 16)[:, None]
    mantissa = np.arange(0, 1024, 93)[None, :]
    f = Design.of(Unit(products=1, fraction_bits=8, input="fp16")).a
    codes = fused_dot_stimulus.number(f, np.zeros_like(exponent + mantissa), exponent, mantissa)
    value = (1 + mantissa / 1024) * 2.0**exponent
    floor = np.floor(value * 2**24) / 2**24
    np.testing.assert_array_equal(
        codes.astype(np.uint16).view(np.float16).astype(float), np.where(value < 2**-14, floor, value)
    )


@pytest.mark.parametrize("width", [1, 2, 3, 7, 16, 17, 33])
def test_leading_zero_counter(width: int) -> None:
    assert verify(fused_dot_round.leading_zeros(width), vectors=300).failures() == []


WRONG = {
    "ties away from zero": ("guard & (sticky | shifted[", "guard & (1'b1 | shifted[", (4, 24, "fp16", "RNE-FP32")),
    "ties to odd": ("(sticky | shifted[", "(sticky | ~shifted[", (4, 24, "fp16", "RNE-FP32")),
    "overflow stays finite under RZ": ("15'h7c00 : packed", "15'h7bff : packed", (4, 24, "fp16", "RZ-FP16")),
    "far terms come round again": ("near & {27{~|distance", "near | {27{&distance", (4, 25, "fp16", "RZ-FP32")),
    "a term one place off": ("{x_significand, 5'd0} >>", "{1'd0, x_significand, 4'd0} >>", (4, 25, "fp16", "RZ-FP32")),
    "rounds terms down": ("{29'd0, x_terms[27]}", "30'd0", (2, 25, "fp16", "RZ-FP32")),
    "zeros raise the exponent": ("& {8{~zero}}", "| {8{1'b0}}", (4, 25, "fp16", "RZ-FP32")),
    "no floor": ("> 9'd119 ?", "> 9'd0 ?", (4, 25, "bf16", "RZ-FP32")),
    "a lane left out of the largest": ("? x_x[7:0] : x_x[15:8]", "? x_x[7:0] : x_x[7:0]", (4, 25, "fp16", "RZ-FP32")),
    "subnormals read as normal": ("wire normal = |biased;", "wire normal = 1'b1;", (4, 25, "fp16", "RZ-FP32")),
    "infinity times zero is infinite": ("infinite & zero", "infinite & 1'b0", (4, 25, "fp16", "RZ-FP32")),
    "infinities cancel": ("(plus & minus)", "1'b0", (4, 25, "fp16", "RZ-FP32")),
    "minus zero": ("negative & |finite", "negative", (4, 25, "fp16", "RU-FP16")),
    "subnormal results flushed": ("subnormal ? room[", "subnormal ? 0 & room[", (4, 25, "fp16", "RNE-FP16")),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arithmetic_is_caught(what: str) -> None:
    before, after, design = WRONG[what]
    cell = made(*design)
    source = cell.verilog()
    assert before in source
    run = verify(cell, vectors=1000, stalls=False, source=source.replace(before, after, 1))
    assert run.mismatches


def test_names_tell_designs_apart() -> None:
    names = [
        made(L, F, form, rounding, stages).name
        for L, F, form, rounding, stages in product(
            (1, 4), (13, 25), ("fp16", "e4m3", "e4m3,e5m2"), ("RZ-FP32", "RD-FP32"), (0, 2)
        )
    ]
    assert len(set(names)) == len(names)
    parts: dict[str, str] = {}
    for L, F, form, rounding in product((1, 4), (8, 13, 25), ("fp16", "bf16", "e4m3"), ("RZ-FP32", "RNE-FP16")):
        for part in made(L, F, form, rounding).all_parts:
            assert parts.setdefault(part.name, part.source) == part.source


def test_errors_name_key_and_limits() -> None:
    base = specs.load("fused-dot-hopper")
    cases = {
        ("unit.fraction_bits", 41): "must be less than or equal to 40",
        ("unit.products", 0): "must be greater than or equal to 1",
        ("unit.input", "fp8"): "must be 'fp16', 'bf16', 'tf32', 'e4m3', 'e5m2', 'e3m2', 'e2m3' or 'e2m1'",
        ("unit.rounding", "RN-FP32"): "RNE|RZ|RD|RU",
        ("unit.e_zero", -100): "e_zero = -100 lies above -126, the least exponent of RZ-FP32",
        ("unit.stages", 4): "must be less than or equal to 3",
    }
    for (key, value), words in cases.items():
        with pytest.raises(UserError) as error:
            specs.override(base, {key: value})
        assert "\n" not in str(error.value)
        assert words in str(error.value), str(error.value)
