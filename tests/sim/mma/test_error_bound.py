"""Bounds of scaled, grouped, rounded-down and two-step sums: never exceeded, and not far off."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import values
from lutscape.sim import mma
from lutscape.sim.mma import analysis
from lutscape.sim.mma.api import Instruction, run
from lutscape.sim.mma.corpus import cases

MX = "m16n8k32.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e4m3.f32.ue8m0"
DESIGNS = [
    ("sm_120", MX),
    ("sm_120", MX.replace("e4m3.e4m3", "e5m2.e2m1")),
    ("sm_120", "m16n8k64.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0"),
    ("sm_120", "m16n8k64.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue8m0"),
    ("sm_120", "m16n8k64.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3"),
    ("gfx942", "f32_16x16x32_fp8_fp8"),
    ("gfx942", "f32_16x16x32_bf8_fp8"),
    ("sm_90", "m16n8k16.f32.e4m3.e4m3.f32"),
    ("sm_90", "m16n8k32.f32.e5m2.e4m3.f32"),
    ("sm_90", "m16n8k32.f16.e4m3.e4m3.f16"),
]
FAMILIES = ("normal", "cancelling", "dominant", "window", "subnormal", "tiny")


def shares(op: Instruction, family: str, chained: int, tiles: int = 20) -> np.ndarray:
    """Return error / bound of every finite output; ``chained`` instructions along k."""
    s = op.spec
    x = cases(s, family, tiles * chained, seed=11)
    along = {"A": 2, "alpha": 2, "B": 1, "beta": 1}
    for key, axis in along.items():
        if key in x:
            x[key] = np.concatenate(np.split(x[key], chained), axis)
    found = []
    for t in range(tiles):
        a, b, c = x["A"][t], x["B"][t], x["C"][t]
        scales = {key: x[key][t] for key in ("alpha", "beta") if key in x}
        d = values(run(s, a[None], b[None], c[None], **{k: v[None] for k, v in scales.items()})[0], s.d)
        av, bv = values(a, s.a), values(b, s.b)
        if scales:
            av = av * np.repeat(values(scales["alpha"], s.scale), s.block, 1)
            bv = bv * np.repeat(values(scales["beta"], s.scale), s.block, 0)
        high, low = analysis.exact_product(av, bv, values(c, s.c))
        bound = analysis.error_bound(op, a, b, c, **scales)
        with np.errstate(invalid="ignore"):
            found.append((np.abs((d - high) - low) / bound)[np.isfinite(d)])
    return np.concatenate(found)


@pytest.mark.parametrize(("arch", "name"), DESIGNS)
@pytest.mark.parametrize("family", FAMILIES)
def test_no_output_exceeds_its_bound(arch: str, name: str, family: str) -> None:
    op = mma.instruction(arch, name)
    for chained in (1, 3):
        found = shares(op, family, chained)
        assert found.size > 500
        assert found.max() <= 1
        if family == "normal":
            assert found.max() >= 0.05


def test_numbers_serve_as_well_as_codes() -> None:
    op = mma.instruction("sm_120", MX)
    a, b, c = np.ones((16, 32)), np.ones((32, 8)), np.zeros((16, 8))
    once = analysis.error_bound(op, a, b, c, np.ones((16, 1)), np.ones((1, 8)))
    assert once == pytest.approx(33 * 2.0**-25 + 2.0**-18)
    assert analysis.error_bound(op, a, b, c, np.full((16, 1), 8.0), np.full((1, 8), 0.5)) == pytest.approx(4 * once)


def test_a_group_without_products_raises_no_bound() -> None:
    op = mma.instruction("sm_120", DESIGNS[2][1])
    a, b, c = np.ones((16, 64)), np.ones((64, 8)), np.zeros((16, 8))
    a[:, 32:] = 0
    alpha = np.ones((16, 2))
    alpha[:, 1] = 2.0**60
    assert analysis.error_bound(op, a, b, c, alpha, np.ones((2, 8))) == pytest.approx(5 * 2.0**-35 + 2.0**-18)


def test_a_dropped_accumulator_is_within_the_bound() -> None:
    op = mma.instruction("gfx942", "f32_16x16x32_fp8_fp8")
    a, b, c = np.zeros((16, 32)), np.zeros((32, 16)), np.full((16, 16), 1.5 * 2.0**-26)
    a[:, 16], b[16] = 1, 1
    error = 1.5 * 2.0**-26
    assert (op(a, b, c) == 1).all()
    bound = analysis.error_bound(op, a, b, c)
    assert ((bound >= error) & (bound < 2.0**-19)).all()


def test_needless_or_missing_scales_and_uncovered_designs() -> None:
    a, b, c = np.ones((16, 32)), np.ones((32, 8)), np.zeros((16, 8))
    with pytest.raises(UserError, match="needs alpha and beta"):
        analysis.error_bound(mma.instruction("sm_120", MX), a, b, c)
    with pytest.raises(UserError, match="one scale per 32 k"):
        analysis.error_bound(mma.instruction("sm_120", MX), a, b, c, np.ones((16, 2)), np.ones((1, 8)))
    with pytest.raises(UserError, match="takes no scales"):
        analysis.error_bound(mma.instruction("sm_90", DESIGNS[8][1]), a, b, c, np.ones((16, 1)), np.ones((1, 8)))
    sparse = mma.instruction("sm_90", "mma.sp.sync.aligned.m16n8k64.row.col.f32.e4m3.e4m3.f32")
    with pytest.raises(UserError, match="covers dense fused sums"):
        analysis.error_bound(sparse, a, np.ones((64, 8)), c)
