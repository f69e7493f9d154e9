"""Numbers as they are printed."""

from __future__ import annotations

import doctest

import pytest

from lutscape.explore import text


def test_examples() -> None:
    outcome = doctest.testmod(text)
    assert outcome.attempted >= 5
    assert outcome.failed == 0


@pytest.mark.parametrize(
    ("value", "unit", "printed"),
    [
        (0.0892, "s", "89.2 ms"),
        (5.3e-6, "J", "5.30 µJ"),
        (0.9996, "s", "1.00 s"),
        (999.96e-6, "s", "1.00 ms"),
        (12.5, "W", "12.5 W"),
        (1.5e9, "B", "1.50 GB"),
        (0.0, "s", "0 s"),
        (0.012345, "mm2", "0.0123 mm²"),
        (123456.0, "1/s", "123000 /s"),
        (float("nan"), "s", "–"),
        (None, "J", "–"),
        (-0.002, "s", "-2.00 ms"),
    ],
)
def test_quantities(value: float | None, unit: str, printed: str) -> None:
    assert text.quantity(value, unit) == printed


def test_ratios() -> None:
    assert text.ratio(1.0, 0.0) == "–"
    assert text.ratio(123.4, 1.0) == "123×"


@pytest.mark.parametrize(
    ("key", "unit"),
    [
        ("dram.bandwidth_gb_s", "GB/s"),
        ("matrix_unit.area_mm2_per_sm", "mm² per SM"),
        ("attention_macs_per_cycle", "MAC/cycle"),
        ("array.table_bits", "bits"),
        ("clock_mhz", "MHz"),
        ("array.count", ""),
        ("dram.energy_pj_per_bit", "pJ/bit"),
        ("matrix_unit.tera_ops_per_watt", "TOPS/W"),
    ],
)
def test_units_of_fields(key: str, unit: str) -> None:
    assert text.field_unit(key) == unit


@pytest.mark.parametrize(
    ("metric", "label"),
    [
        ("latency_s", "latency"),
        ("time_to_first_token_s", "time to first token"),
        ("tokens_per_s", "tokens per second"),
        ("tokens_per_j", "tokens per joule"),
        ("energy_per_token_j", "energy per token"),
        ("area_mm2", "area"),
        ("dram_gb", "DRAM traffic"),
    ],
)
def test_labels(metric: str, label: str) -> None:
    assert text.metric_label(metric) == label
