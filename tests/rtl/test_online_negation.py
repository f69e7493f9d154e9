"""The unit with online negation equals the unit of remapped weights, in Verilog and in its golden model."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cells import operands
from lutscape.rtl.cells.online_negation import online_negation_unit, remapped
from lutscape.rtl.cells.unit import activation_beats
from lutscape.rtl.verify import verify
from lutscape.sim.lut_tensor_core import golden


def array(**changes: object) -> Array:
    return Array.model_validate(
        {
            "datapath": "lut",
            "m": 2,
            "n": 4,
            "k": 4,
            "count": 1,
            "accumulator_bits": 20,
            "serial_weight_bits": 2,
            **changes,
        }
    )


def test_verilog_equals_the_golden_model() -> None:
    run = verify(online_negation_unit(array(), 1), vectors=300)
    assert run.failures() == []


def test_raw_patterns_give_the_sums_of_the_matrix_product() -> None:
    """Exact tables: channel w carries plain weight bits, and sums are those of odd integers 2 q - 3."""
    a = array(table_bits=11)
    rng = np.random.default_rng(1)
    x, q = rng.integers(-128, 128, (2, 16)), rng.integers(0, 4, (4, 16))
    cell = online_negation_unit(a, 1)
    w = operands.weight_beats(a, q, 2)
    raw = golden.patterns(golden.bit_planes(golden.grouped(q, 4), 2)).transpose(2, 0, 1).reshape(8, 4)
    assert (remapped(a, {"w": w})["w"]["codes"] == raw).all()
    beats = {"x": activation_beats(a, 1, [(x, q, 2, 0)]), "w": {**w, "codes": raw}}
    assert (cell.golden(beats)["d"]["values"].reshape(2, 4) == x @ (2 * q - 3).T).all()


def test_only_half_tables_need_it() -> None:
    with pytest.raises(UserError, match="online negation: datapath 'unpu' stores no half table; allowed: lut"):
        online_negation_unit(array(datapath="unpu"), 1)
