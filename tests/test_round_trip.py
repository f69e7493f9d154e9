"""One parameter changed in the YAML walks the whole way: bits, cycles, Verilog, area, for each system.

The changed spec is written as a YAML file and read back; everything below comes from that file alone. The Verilog of
both specs is held to its golden model and its cycles by the bench: a change that reached only one of them fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lutscape.hw import spec as hardware
from lutscape.hw.spec import Spec
from lutscape.models import shape
from lutscape.models.recorder import Formats
from lutscape.models.trace import Trace
from lutscape.models.tracing import trace_model
from lutscape.rtl import catalogue
from lutscape.rtl.cell import Cell
from lutscape.rtl.verify import verify


@dataclass(frozen=True)
class Way:
    """A system, what makes it small, and the one change.

    Attributes:
        name: packaged hardware.
        small: key path -> value, for both specs.
        key: the parameter.
        value: its new value.
        weights: format of the trace.
        bits: whether results change.
        cycles: whether times change.
    """

    name: str
    small: dict[str, Any]
    key: str
    value: Any
    weights: str = "int4-g128"
    bits: bool = True
    cycles: bool = True


LOOKUP = {"array.m": 2, "array.n": 4, "array.count": 4, "tables_per_cycle": 4, "array.serial_weight_bits": 4}
ROM = {"l_unit.rom_words": 512, "l_unit.group": 16, "matrix_units": 1024}
WAYS = [
    Way("lut-tensor-core", LOOKUP, "array.planes_per_cycle", 2, bits=False),
    Way("lut-tensor-core", LOOKUP, "array.k", 3, cycles=False),
    Way("lut-tensor-core", LOOKUP, "array.table_bits", 6, cycles=False),
    Way("mac-array", {"array.m": 2, "array.n": 4, "array.count": 4, "array.multiplier_weight_bits": 4,
                      "array.serial_weight_bits": 4}, "array.multiplier_weight_bits", 2, bits=False),
    Way("lut-dla", {"imm.lanes": 4, "imm.fill_entries": 4, "imm.rows": 16, "ccm.input_rows": 16},
        "codebook.c", 8),
    Way("roma", ROM, "l_unit.cycles_per_word", 2, weights="int4-g16", bits=False),
    Way("roma", ROM, "l_unit.activation_bits", 8, weights="int4-g16", cycles=False),
]  # fmt: skip


def written(spec: Spec, path: Path, changes: dict[str, Any]) -> Spec:
    """Write a spec with changes as YAML and read it back."""
    data = hardware.override(spec, changes).model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return hardware.load(path)


def bits(cell: Cell) -> dict[str, Any]:
    """Golden outputs of a cell on its own stimulus."""
    beats = cell.stimulus(np.random.default_rng(5), 64)
    return {c: {f: v.tolist() for f, v in fields.items()} for c, fields in cell.golden(beats).items()}


@pytest.fixture(scope="module")
def traced() -> Callable[[str], Trace]:
    made: dict[str, Trace] = {}

    def of(weights: str) -> Trace:
        if weights not in made:
            formats = Formats(weights=weights, activations="int8", kv="int8")
            made[weights] = trace_model(shape.load("smollm2-135m"), 16, 2, formats=formats).trace
        return made[weights]

    return of


@pytest.mark.parametrize("way", WAYS, ids=lambda w: f"{w.name}-{w.key}")
def test_one_parameter_changes_everything(way: Way, tmp_path: Path, traced: Callable[[str], Trace]) -> None:
    from lutscape.sim.simulate import simulate

    base = hardware.load(way.name)
    before = written(base, tmp_path / "before.yaml", way.small)
    after = written(base, tmp_path / "after.yaml", way.small | {way.key: way.value})
    assert before.digest() != after.digest()

    tops = [catalogue.cells(s)[-1] for s in (before, after)]
    assert tops[0].name != tops[1].name
    assert tops[0].verilog() != tops[1].verilog()
    runs = [verify(top, vectors=60, seed=2) for top in tops]
    assert [run.failures() for run in runs] == [[], []]
    assert (bits(tops[0]) != bits(tops[1])) or not way.bits

    trace = traced(way.weights)
    (old, old_cost), (new, new_cost) = (simulate(s, trace) for s in (before, after))
    assert old_cost.metrics["area_mm2"].value != new_cost.metrics["area_mm2"].value
    assert old_cost.metrics["energy_j"].value != new_cost.metrics["energy_j"].value
    assert (old.cycles.tolist() != new.cycles.tolist()) or not way.cycles
