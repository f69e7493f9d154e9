"""Outputs that an H200 returned, replayed through the Verilog of the units that its instructions run on.

The vectors (tests/vectors/mma/sm_90.npz, described in sm_90.json beside it) are captures of single instructions whose
depth is one sum, so every output is one pass through one unit: random bits, specials, cancellation, overflow, and a
probe of each parameter. The expected bits are the silicon's; no model takes part.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lutscape.hw.machines.fused_dot import Unit
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.cells import fused_dot
from lutscape.rtl.verify import verify
from lutscape.sim.mma import check
from lutscape.sim.mma.instructions import table
from lutscape.sim.mma.models import TFdpa

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "mma" / "sm_90.npz"

INSTRUCTIONS = [
    "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
    "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16",
    "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16",
    "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n8k32.f32.e5m2.e5m2",
    "wgmma.mma_async.sync.aligned.m64n8k32.f16.e4m3.e4m3",
    "wgmma.mma_async.sync.aligned.m64n8k32.f32.e4m3.e5m2",
]
FAST = 60
"""Outputs of each operand family in the fast tests."""


def unit(instruction: str) -> Cell:
    """Return the unit of an instruction, by the parameters in the instruction table."""
    known = table("sm_90")[instruction]
    assert isinstance(known.model, TFdpa)
    assert known.k == known.model.L  # one sum: nothing to chain
    return fused_dot.unit(Unit.model_validate({
        "products": known.model.L, "fraction_bits": known.model.F, "input": known.a, "input_b": known.b,
        "rounding": str(known.model.rounding), "e_zero": known.model.e_zero, "stages": 0,
    }))  # fmt: skip


def rows(instruction: str, limit: int | None) -> tuple[dict[str, np.ndarray], np.ndarray, set[str]]:
    """Return operands a, b (outputs, L), c (outputs, 1) and the silicon's d (outputs, 1), of all families."""
    out: dict[str, list[np.ndarray]] = {"a": [], "b": [], "c": [], "d": []}
    families = set()
    drop = 13 if ".tf32." in instruction else 0
    for (name, case), x in check.read(VECTORS).items():
        if name != instruction:
            continue
        families.add(case)
        t, i, j = (v.ravel() for v in np.indices(x["D"].shape))
        if limit is not None and len(t) > limit:
            chosen = np.random.default_rng(len(families)).choice(len(t), limit, replace=False)
            t, i, j = t[chosen], i[chosen], j[chosen]
        out["a"].append(x["A"][t, i].astype(np.int64) >> drop)
        out["b"].append(x["B"][t, j].astype(np.int64) >> drop)
        out["c"].append(x["C"][t, i, j].astype(np.int64)[:, None])
        out["d"].append(x["D"][t, i, j].astype(np.int64)[:, None])
    joined = {key: np.concatenate(value) for key, value in out.items()}
    return {key: joined[key] for key in "abc"}, joined["d"], families


def replay(instruction: str, limit: int | None, simulator: str = "icarus") -> int:
    """Run captured operands through the Verilog; return the number of outputs, all equal to the silicon's."""
    cell = unit(instruction)
    operands, d, families = rows(instruction, limit)
    assert len(families) >= 1

    def silicon(_: Beats) -> Beats:
        return {"y": {"d": d}}

    run = verify(replace(cell, golden=silicon), stimulus={"x": operands}, simulator=simulator)
    assert run.failures() == []
    return run.beats["y"]


@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_verilog_returns_the_bits_of_silicon(instruction: str) -> None:
    assert replay(instruction, FAST) >= FAST


def test_captured_families_are_all_there() -> None:
    _, d, families = rows(INSTRUCTIONS[0], None)
    assert families >= {"zero_exponent", "fraction_bits", "output_rounding", "overflow", "special_values", "random_all"}
    assert len(d) >= 2000
    assert len(np.unique(d)) > 500


def test_another_fraction_width_is_told_apart() -> None:
    """The captures can fail: F = 24 or another zero exponent gives other bits."""
    operands, d, _ = rows(INSTRUCTIONS[0], FAST)
    for change in ({"fraction_bits": 24, "e_zero": -133}, {"products": 16, "rounding": "RNE-FP32"}):
        parameters = {"products": 16, "fraction_bits": 25, "input": "fp16", "e_zero": -133, "stages": 0} | change
        cell = fused_dot.unit(Unit.model_validate(parameters))
        run = verify(replace(cell, golden=lambda _: {"y": {"d": d}}), stimulus={"x": operands})
        assert run.mismatches


@pytest.mark.long
@pytest.mark.parametrize("instruction", INSTRUCTIONS)
def test_verilog_returns_the_bits_of_silicon_for_every_capture(instruction: str) -> None:
    known = table("sm_90")[instruction]
    assert replay(instruction, None) >= known.m * known.n
