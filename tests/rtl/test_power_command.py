"""``lutscape rtl power`` and ``lutscape rtl liberty`` as typed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from tiny_liberty import text, write

from lutscape.cli import cli
from lutscape.hw.errors import UserError
from lutscape.rtl.quantity import load_ff, time_ps

SOURCE = """module unit(clk, d, q);
  input clk; input d; output q;
  INV u (.A(d), .Y(n));
  DFFR r (.CK(clk), .D(n), .RN(1'b1), .Q(q));
endmodule
module other(y); output y; endmodule
"""


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    path = tmp_path / "unit.v.gz"
    path.write_bytes(gzip.compress(SOURCE.encode()))
    return path


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(cli, ["rtl", *map(str, words)], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_json(unit: Path, tmp_path: Path) -> None:
    lib = write(tmp_path)
    words = ["--top", "unit", "--clock", "clk", "--period", "0.2ns", "--activity", "0.2", "--driving-cell", "INV"]
    found = json.loads(run("power", unit, "--liberty", lib, *words, "--load", "0.01pF", "--json"))
    # Clock to q, falling into 10 fF: 60 + 10; longer than d through u into r: 2 + 20 + 21.4.
    assert found["worst_slack_ps"] == pytest.approx(130.0)
    assert found["min_period_ps"] == pytest.approx(70.0)
    assert {"internal_w", "switching_w", "leakage_w", "total_w"} <= set(found)
    assert found["total_w"] == pytest.approx(found["internal_w"] + found["switching_w"] + found["leakage_w"])
    # DFFR states its clock energy whatever Q is: both conventions agree.
    assert found["states"] == "independent"
    assert found["total_by_states_w"] == pytest.approx(
        {"independent": found["total_w"], "consistent": found["total_w"]}
    )
    assert (found["cells"], found["registers"], found["area_um2"]) == (2, 1, 6.0)
    assert [s["instance"] for s in found["critical_path"]] == ["r", "q"]


def test_several_libraries_after_one_option(unit: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.lib", tmp_path / "second.lib"
    first.write_text(text().replace("cell (INV)", "cell (INVERTER)"))
    second.write_text(text().replace("cell (DFFR)", "cell (FLIP)"))
    both = ["--top", "unit", "--period", "1ns", "--json"]
    one = run("power", unit, "--liberty", first, second, *both)
    assert run("power", unit, "--liberty", first, "--liberty", second, *both) == one
    assert run("power", "--liberty", first, second, unit, *both) == one
    assert run("power", *both, "--liberty", first, second, "--", unit) == one


def test_table(unit: Path, tmp_path: Path) -> None:
    out = run("power", unit, "--top", "unit", "--liberty", write(tmp_path), "--period", "200ps")
    assert "unit: 2 cells (1 registers), 6 µm², tiny, 2 V" in out
    assert "worst slack 140.00 ps at 200 ps, shortest period 60.00 ps (ideal clock, no wires)" in out
    assert "0.2 toggles a cycle on every net" in out
    assert "total by convention of states: independent " in out
    assert all(group in out for group in ("sequential", "combinational", "total"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--period", "1.2"], "--period '1.2': write a number with a unit (fs, ps, ns, us), like 1.2ns or 1200ps"),
        (["--period", "fast"], "--period 'fast': write a number with a unit (fs, ps, ns, us), like 1.2ns or 1200ps"),
        (["--period", "0ns"], "--period '0ns': must be more than 0, like 1.2ns or 1200ps"),
        (["--load", "10"], "--load '10': write a number with a unit (aF, fF, pF, nF), like 10fF or 0.01pF"),
        (["--load", "-1fF"], "--load '-1fF': must be 0 or more, like 10fF or 0.01pF"),
        (["--activity", "-0.1"], "activity -0.1; allowed: 0 or more toggles per cycle"),
        (["--top", "unti"], "no module 'unti' (did you mean 'unit'?); has: unit, other"),
        (["--clock", "ck"], "clock 'ck': unit has no such input (did you mean 'clk'?); has: clk, d"),
        (["--driving-cell", "BUFF"], "driving cell: no cell 'BUFF' in tiny.lib (7 cells) (did you mean 'BUF'?)"),
        (["--states", "any"], "unknown states 'any'; allowed: consistent, independent"),
    ],
)
def test_bad_options(unit: Path, tmp_path: Path, words: list[str], message: str) -> None:
    plain = ["--top", "unit", "--period", "1ns", "--liberty", str(write(tmp_path))]
    with pytest.raises(UserError) as error:
        run("power", unit, *plain, *words)
    assert message in str(error.value)


def test_liberty_show(tmp_path: Path) -> None:
    lib = write(tmp_path)
    out = run("liberty", "show", lib)
    assert "tiny: 7 cells, 2 V, 25 C" in out
    assert "wire-load tables: present, not used (no wires are modelled)" in out
    document = json.loads(run("liberty", "show", lib, "--json"))
    assert [c["kind"] for c in document["cells"]] == ["combinational"] * 4 + ["latch", "ff", "ff"]
    cell = json.loads(run("liberty", "show", lib, "--cell", "NAND2", "--json"))
    assert cell["pins"][2]["function"] == "!(A & B)"
    assert "!(A & B)" in run("liberty", "show", lib, "--cell", "NAND2")
    with pytest.raises(UserError, match=r"--cell: no cell 'NAND' in tiny\.lib"):
        run("liberty", "show", lib, "--cell", "NAND")


def test_quantities() -> None:
    assert time_ps("1.2ns", "t") == pytest.approx(1200.0)
    assert time_ps("1200 ps", "t") == pytest.approx(1200.0)
    assert time_ps("1e-3us", "t") == pytest.approx(1000.0)
    assert load_ff("10fF", "c") == pytest.approx(10.0)
    assert load_ff(".01pf", "c") == pytest.approx(10.0)
    assert load_ff("0aF", "c") == 0.0
