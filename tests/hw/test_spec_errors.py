"""Every bad hardware YAML ends in one exact line: file, line, key, value, what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lutscape.hw import spec as specs
from lutscape.hw import technology
from lutscape.hw.errors import UserError
from lutscape.hw.yaml_file import configs_dir

KINDS = ", ".join(sorted(specs.families()))
A100 = (configs_dir() / "hardware" / "a100-lut-4x.yaml").read_text()
ARRAY = (configs_dir() / "hardware" / "lut-tensor-core.yaml").read_text()

CASES = [
    (A100, "sms: 108\n", "sms: -3\n", ":6: sms = -3: must be greater than 0"),
    (
        A100,
        "sms: 108\n",
        "sms: many\n",
        ":6: sms = 'many': must be a valid integer, unable to parse string as an integer",
    ),
    (A100, "sms: 108\n", "", ":1: key 'sms' is missing"),
    (A100, "  n: 64\n", "  n: 0\n", ":12: matrix_unit.n = 0: must be greater than or equal to 1"),
    (
        A100,
        "  n: 64\n",
        "  nn: 64\n",
        ":12: unknown key 'matrix_unit.nn' (did you mean 'n'?); allowed here: activation_format, area_mm2_per_sm, "
        "arrays_per_sm, efficiency_weight_bits, k, kind, m, n, precompute, published_for, register_scale, table_bits, "
        "tera_ops_per_watt (and 1 more)",
    ),
    (
        A100,
        "kind: gpu",
        "kind: gppu",
        ":1: kind: unknown hardware kind 'gppu' (did you mean 'gpu'?); allowed: " + KINDS,
    ),
    (A100, "kind: gpu\n", "", ": key 'kind' is missing; allowed: " + KINDS),
    (
        A100,
        "technology: 28nm",
        "technology: 27nm",
        ":4: technology: technology file '27nm' not found (did you mean '7nm'?); give a path or "
        "one of: 16nm, 28nm, 45nm, 5nm, 65nm, 6nm, 7nm",
    ),
    (A100, "  sms: {", "  smz: {", ":38: sources: no field 'smz' in this spec (did you mean 'sms'?)"),
    (
        A100,
        "activation_format: int8",
        "activation_format: int9",
        ":9: matrix_unit.activation_format = 'int9': must be 'int8', 'fp8_e4m3', 'fp16' or 'int16' "
        "(did you mean 'int8'?)",
    ),
    (A100, "grade: published", "grade: certain", None),
    (ARRAY, "schema_version", "schema_version", None),
    (ARRAY, "clock_mhz: 1000", "clock_ghz: 1", None),
    (
        ARRAY,
        "clock_mhz: 1000",
        "clock_mhz: 1 GHz",
        ":5: clock_mhz = '1 GHz': must be a valid number, unable to parse string as a number",
    ),
    (ARRAY, "bandwidth_gb_s: 256", "bandwidth_gb_s: true", ":24: dram.bandwidth_gb_s = true: must be a number"),
    (ARRAY, "bandwidth_gb_s: 256", "bandwidth_gb_s: .nan", ":24: dram.bandwidth_gb_s = nan: must be a finite number"),
    (ARRAY, "bandwidth_gb_s: 256", "bandwidth_gb_s: 1e-300", None),
    (ARRAY, "  n: 64", "  n: 64\n  n: 32", ":11: key 'array.n' is written twice (first at line 10)"),
    (ARRAY, "clock_mhz: 1000", "clock_mhz: [1000", None),
]


@pytest.mark.parametrize(("text", "old", "new", "message"), CASES)
def test_error_is_one_exact_line(tmp_path: Path, text: str, old: str, new: str, message: str | None) -> None:
    path = tmp_path / "machine.yaml"
    if old == new:
        path.write_text(text + "schema_version: 2\n")
        expected = f"{path}:{len(text.splitlines()) + 1}: schema_version = 2: must be 1"
    else:
        assert old in text
        path.write_text(text.replace(old, new, 1))
        expected = f"{path}{message}"
    with pytest.raises(UserError) as error:
        specs.load(path)
    line = str(error.value)
    assert "\n" not in line
    assert line.startswith(str(path))
    if message is not None or old == new:
        assert line == expected


def test_unit_in_the_wrong_name_suggests_the_right_one(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(ARRAY.replace("clock_mhz: 1000", "clock_ghz: 1"))
    with pytest.raises(UserError, match=r":5: unknown key 'clock_ghz' \(did you mean 'clock_mhz'\?\)"):
        specs.load(path)


def test_array_beyond_limits_names_the_product(tmp_path: Path) -> None:
    path = tmp_path / "machine.yaml"
    path.write_text(ARRAY.replace("  m: 2\n  n: 64", "  m: 256\n  n: 1024"))
    with pytest.raises(UserError, match=r"array: m\*n\*k = 1048576 is beyond 65536"):
        specs.load(path)


def test_missing_file_lists_the_packaged_ones() -> None:
    with pytest.raises(
        UserError, match=r"hardware file 'a100-fp61' not found \(did you mean 'a100-fp16'\?\); give a path"
    ):
        specs.load("a100-fp61")


def test_override_names_the_nearest_parameter() -> None:
    spec = specs.load("lut-tensor-core")
    with pytest.raises(UserError, match=r"no parameter 'array.cout' .* \(did you mean 'array.count'\?\)"):
        specs.override(spec, {"array.cout": 4})
    with pytest.raises(UserError, match=r"override: array.count = 0: must be greater than or equal to 1"):
        specs.override(spec, {"array.count": 0})
    assert specs.override(spec, {"array.count": 4}).digest() != spec.digest()


@pytest.mark.parametrize("path", sorted((configs_dir() / "hardware").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_packaged_number_is_sourced_or_a_design_choice(path: Path) -> None:
    spec = specs.load(path)
    bare = [
        key
        for key, value in spec.leaves()
        if isinstance(value, int | float)
        and key not in spec.chosen | {"schema_version"}
        and spec.provenance(key) is None
    ]
    assert bare == []


@pytest.mark.parametrize("path", sorted((configs_dir() / "technology").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_technology_number_is_sourced(path: Path) -> None:
    node = technology.load(path.stem)
    numbers = {"supply_v", "gate_area_um2", "sram_area_um2_per_bit", "switched_capacitance"}
    assert numbers == set(node.sources)


def test_technology_path_is_relative_to_the_yaml_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mynode.yaml").write_text(
        (configs_dir() / "technology" / "28nm.yaml").read_text().replace("28nm", "mine")
    )
    path = tmp_path / "machine.yaml"
    path.write_text(ARRAY.replace("technology: 28nm", "technology: mynode.yaml"))
    assert specs.load(path).node.name == "mine"
    assert specs.load("lut-tensor-core").technology == "28nm"
