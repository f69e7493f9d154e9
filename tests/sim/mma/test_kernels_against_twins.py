"""Every kernel against its scalar twin, bit for bit, on constructed operand families and on hypothesis' choice."""

from __future__ import annotations

import math
from typing import Any

import mma_twins as twins
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.formats.binary import values
from lutscape.sim.mma import models
from lutscape.sim.mma.api import run
from lutscape.sim.mma.corpus import FAMILIES, cases
from lutscape.sim.mma.custom import Custom
from lutscape.sim.mma.instructions import Spec, architecture
from lutscape.sim.mma.names import find

INSTRUCTIONS = [
    ("sm_70", "m8n8k4.f32.f16.f16.f32"),
    ("sm_70", "m8n8k4.f16.f16.f16.f16"),
    ("sm_75", "m16n8k8.f32.f16.f16.f32"),
    ("sm_80", "m16n8k16.f32.bf16.bf16.f32"),
    ("sm_80", "m16n8k8.f32.tf32.tf32.f32"),
    ("sm_89", "m16n8k32.f32.e4m3.e5m2.f32"),
    ("sm_89", "m16n8k16.f16.e5m2.e5m2.f16"),
    ("sm_90", "m16n8k16.f32.f16.f16.f32"),
    ("sm_90", "m16n8k16.f16.f16.f16.f16"),
    ("sm_90", "m16n8k8.f32.tf32.tf32.f32"),
    ("sm_90", "m16n8k32.f32.e4m3.e5m2.f32"),
    ("sm_90", "m16n8k16.f16.e4m3.e4m3.f16"),
    ("sm_90", "wgmma.m64n8k32.f32.e5m2.e4m3"),
    ("sm_90", "mma.sp.m16n8k32.f32.f16.f16.f32"),
    ("sm_90", "mma.sp.m16n8k16.f32.tf32.tf32.f32"),
    ("sm_120", "m16n8k32.kind::f8f6f4.f32.e2m3.e3m2.f32"),
    ("sm_120", "m16n8k32.kind::mxf8f6f4.block32.f32.e4m3.e2m1.f32.ue8m0"),
    ("sm_120", "m16n8k64.kind::mxf4.block32.f32.e2m1.e2m1.f32.ue8m0"),
    ("sm_120", "m16n8k64.kind::mxf4nvf4.block16.f32.e2m1.e2m1.f32.ue4m3"),
    ("gfx908", "f32_4x4x4f16"),
    ("gfx908", "f32_16x16x8bf16"),
    ("gfx90a", "f32_4x4x4f16"),
    ("gfx90a", "f32_4x4x2bf16"),
    ("gfx90a", "f32_16x16x16bf16_1k"),
    ("gfx942", "f32_16x16x16_f16"),
    ("gfx942", "f32_16x16x8_xf32"),
    ("gfx942", "f32_16x16x16_bf16"),
    ("gfx942", "f32_16x16x32_fp8_bf8"),
    ("gfx942", "f32_16x16x4_f32"),
]


def twin(spec: Spec, x: dict[str, np.ndarray], t: int, i: int, j: int) -> float:
    """Return one output by the scalar twin of the instruction's model."""
    m: Any = spec.model
    a = [twins.number(int(v), spec.a) for v in x["A"][t, i]]
    rows = x["metadata"][t, i].astype(int) if "metadata" in x else np.arange(spec.k)
    b = [twins.number(int(v), spec.b) for v in x["B"][t, rows, j]]
    c = twins.number(int(x["C"][t, i, j]), spec.c)
    if isinstance(m, models.HalfPairThenAdd):
        emin = -14
        a, b = (
            [twins.as_number(v.special if v.special is not None else float(v.value), emin) for v in s] for s in (a, b)
        )
        order = [k for k in range(m.K) if k % 4 < 2] + [k for k in range(m.K) if k % 4 >= 2]
        s = m.step
        zero = twins.as_number(0.0, -126)
        t_sum = twins.t_fdpa(
            [a[k] for k in order], [b[k] for k in order], zero, s.L, s.F, s.rounding.mode, s.rounding.target, s.e_zero
        )
        last = twins.as_number(t_sum, -126)
        return twins.e_fdpa([last], [twins.number(0x3C00, "fp16")], c, 1) if spec.d == "fp32" else half_add(last, c)
    if isinstance(m, models.GstFdpa):
        alpha = [twins.number(int(v), spec.scale) for v in x["alpha"][t, i]]
        beta = [twins.number(int(v), spec.scale) for v in x["beta"][t, :, j]]
        return twins.gst_fdpa(a, b, c, alpha, beta, m.G, m.F, m.e_zero)
    if isinstance(m, models.TFdpa):
        shift = 0
        if spec.scale:
            alpha1, beta1 = (
                twins.number(int(x["alpha"][t, i, 0]), "ue8m0"),
                twins.number(int(x["beta"][t, 0, j]), "ue8m0"),
            )
            if alpha1.special is not None or beta1.special is not None:
                return math.nan
            shift = alpha1.e + beta1.e
        return twins.t_fdpa(a, b, c, m.L, m.F, m.rounding.mode, m.rounding.target, m.e_zero, shift)
    if isinstance(m, models.TrFdpa):
        return twins.tr_fdpa(a, b, c, m.L, m.F, m.F2)
    if isinstance(m, models.GtrFdpa):
        return twins.gtr_fdpa(a, b, c, m.L, m.F, m.F2)
    if isinstance(m, models.EFdpa):
        return twins.e_fdpa(a, b, c, m.L)
    if isinstance(m, models.FmaChain):
        return twins.fma_chain(a, b, c)
    assert isinstance(m, models.FtzAddMul)
    return twins.ftz_add_mul(a, b, c, m.P, m.input_emin)


def half_add(t: twins.Number, c: twins.Number) -> float:
    special = twins.special_sum([v.special for v in (t, c) if v.special is not None])
    return special if special is not None else twins.round_to(t.value + c.value, "RNE", "FP16")


def agree(spec: Spec, code: int, expected: float) -> bool:
    got = twins.number(code, spec.d)
    value = got.special if got.special is not None else float(got.value)
    if math.isnan(expected):
        return math.isnan(value)
    fused = isinstance(spec.model, models.TFdpa)  # only these promise +0
    return value == expected and not (fused and expected == 0 and got.negative)


@pytest.mark.parametrize(("arch", "name"), INSTRUCTIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_kernel_equals_twin(arch: str, name: str, family: str) -> None:
    spec = find(architecture(arch), name)
    x = cases(spec, family, 2, seed=7)
    extra = {k: x[k] for k in ("alpha", "beta") if k in x}
    if "metadata" in x:
        extra["index"] = x["metadata"].astype(np.int32)
    d = run(spec, x["A"], x["B"], x["C"], **extra)
    rng = np.random.default_rng(1)
    for _ in range(24):
        t, i, j = int(rng.integers(2)), int(rng.integers(spec.m)), int(rng.integers(spec.n))
        expected = twin(spec, x, t, i, j)
        assert agree(spec, int(d[t, i, j]), expected), (t, i, j, hex(int(d[t, i, j])), expected)


codes16 = st.integers(0, 0xFFFF)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["fp16", "bf16", "e4m3", "e5m2"]),
    st.integers(1, 9),
    st.integers(1, 40),
    st.sampled_from(
        ["RZ-FP32", "RNE-FP32", "RD-FP32", "RU-FP32", "RNE-FP16", "RZ-FP16", "RZ-E8M13", "RNE-BF16", "RU-FP16"]
    ),
    st.integers(0, 20),
    st.data(),
)
def test_any_custom_design_equals_its_twin(
    form: str, L: int, F: int, rounding: str, slack: int, data: st.DataObject
) -> None:
    target = models.OutputRounding.parse(rounding)
    floor = twins.FORMATS[target.format].emin - slack
    op = Custom(L=L, F=F, rounding=rounding, input=form, e_zero=floor)
    width = 0xFF if form.startswith("e") else 0xFFFF
    code = st.integers(0, width)
    k = 2 * L
    a = data.draw(st.lists(code, min_size=k, max_size=k))
    b = data.draw(st.lists(code, min_size=k, max_size=k))
    out_bits = 16 if target.format in ("fp16", "bf16") else 32
    c = data.draw(st.integers(0, 2**out_bits - 1) | st.just(0))
    kind = np.uint8 if width == 0xFF else np.uint16
    out = np.uint16 if out_bits == 16 else np.uint32
    d = op(np.array([a], kind), np.array([b], kind).T, np.array([[c]], out))
    expected = twins.t_fdpa(
        [twins.number(v, form) for v in a], [twins.number(v, form) for v in b], twins.number(c, target.format),
        L, F, target.mode, target.target, floor,
    )  # fmt: skip
    assert agree(op.spec, int(d[0, 0]), expected)


def test_narrow_and_wide_kernels_agree() -> None:
    """The float32 and the float64 path give the same bits where both apply."""
    from lutscape.sim.mma import engine, operands

    spec = find("sm_90", "m16n8k16.f32.f16.f16.f32")
    assert isinstance(spec.model, models.TFdpa)
    for family in FAMILIES:
        x = cases(spec, family, 4, seed=3)
        a, b = operands.operand(x["A"], "fp16"), operands.operand(x["B"], "fp16")
        results = []
        for wide in (False, True):
            left, right = (operands.Operand(o.value, o.exponent, not wide, o.special) for o in (a, b))
            d = values(x["C"], "fp32")
            engine.t_fdpa(spec.model, left, right, d, -126)
            results.append(d.view(np.uint64)[~np.isnan(d)])
        np.testing.assert_array_equal(*results)


def test_threads_do_not_change_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find("sm_90", "wgmma.m64n64k16.f32.f16.f16")
    x = cases(spec, "window", 9, seed=5)
    results = []
    for count in ("1", "3"):
        monkeypatch.setenv("LUTSCAPE_THREADS", count)
        results.append(run(spec, x["A"], x["B"], x["C"]))
    np.testing.assert_array_equal(*results)
