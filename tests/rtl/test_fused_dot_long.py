"""Minutes: every pair of FP8 operands, the whole grid of designs, 10^5 vectors, mapped gates."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from lutscape.hw import spec as specs
from lutscape.hw.machines.fused_dot import FusedDotSpec, Unit
from lutscape.rtl import liberty
from lutscape.rtl.cell import Cell
from lutscape.rtl.cells import fused_dot
from lutscape.rtl.simulators import find
from lutscape.rtl.synth import synthesise
from lutscape.rtl.verify import exhaustive, verify

pytestmark = pytest.mark.long


def made(L: int, F: int, form: str, rounding: str, **other: int | str) -> Cell:
    """Return a unit by the letters of the paper."""
    fields = {"products": L, "fraction_bits": F, "input": form, "rounding": rounding, "stages": 0}
    return fused_dot.unit(Unit.model_validate(fields | other))


@pytest.mark.parametrize(("a", "b"), [("e4m3", "e4m3"), ("e5m2", "e5m2"), ("e4m3", "e5m2")])
@pytest.mark.parametrize(
    ("rounding", "c"),
    [
        ("RZ-E8M13", 0x00000000),
        ("RZ-E8M13", 0xC1234FFF),
        ("RNE-FP16", 0x3BFF),
        ("RD-FP16", 0x8001),
        ("RU-FP32", 0x3F800001),
        ("RNE-BF16", 0xFF80),
    ],
)
def test_every_pair_of_operands(a: str, b: str, rounding: str, c: int) -> None:
    cell = made(1, 13, a, rounding, input_b=b)
    code = np.arange(256, dtype=np.int64)
    x = {"a": np.repeat(code, 256)[:, None], "b": np.tile(code, 256)[:, None], "c": np.full((65536, 1), c)}
    run = verify(cell, stimulus={"x": x})
    assert run.failures() == []
    assert run.beats == {"y": 65536}


def test_every_code_of_the_decoders_and_every_fp8_product() -> None:
    small = [made(2, 25, form, "RZ-FP32") for form in ("fp16", "bf16", "tf32", "e4m3", "e5m2", "e2m1")]
    cells = {c.name: c for unit in small for c in unit.all_parts}
    chosen = [c for c in cells.values() if c.kind in ("fused_dot_decode", "fused_dot_product")]
    chosen = [c for c in chosen if sum(f.bits for f in c.inputs[0].fields) <= 16]
    assert len(chosen) == 8
    for cell in chosen:
        assert verify(cell, stimulus=exhaustive(cell)).failures() == [], cell.name


@pytest.mark.parametrize("form", ["fp16", "bf16", "e4m3", "e5m2"])
@pytest.mark.parametrize("F", [13, 23, 24, 25])
def test_the_grid(form: str, F: int) -> None:
    for L, rounding in product((4, 8, 16, 32), ("RZ-FP32", "RNE-FP32", "RNE-FP16", "RZ-E8M13", "RD-BF16", "RU-FP16")):
        cell = made(L, F, form, rounding)
        run = verify(cell, vectors=1000, seed=F)
        assert run.bits_match, (cell.name, run.failures())


@pytest.mark.parametrize("name", ["hopper", "hopper-fp8", "ampere"])
def test_a_hundred_thousand_vectors(name: str) -> None:
    find("verilator")
    spec = specs.load(f"fused-dot-{name}")
    assert isinstance(spec, FusedDotSpec)
    run = verify(fused_dot.cells(spec)[-1], vectors=100_000, simulator="verilator", stalls=False)
    assert run.failures() == []
    assert run.beats == {"y": 100_000}


@pytest.mark.parametrize(("form", "F", "rounding"), [("e4m3", 13, "RZ-E8M13"), ("fp16", 25, "RNE-FP16")])
def test_mapped_gates(form: str, F: int, rounding: str, nangate45: liberty.Library) -> None:
    cell = made(4, F, form, rounding, stages=3)
    mapped = synthesise(cell.verilog(), cell.name, "nangate45", period_ps=2000)
    run = verify(cell, vectors=1000, netlist=mapped.netlist, library=nangate45)
    assert run.failures() == []
