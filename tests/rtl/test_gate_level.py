"""Verilog models of library cells say what their Liberty functions say; a mapped netlist runs the same vectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from rtl_cells import adder, altered, pairs, xor_cell

from lutscape.hw.errors import UserError
from lutscape.rtl import expression, liberty
from lutscape.rtl.cell import Cell
from lutscape.rtl.gate_level import model, verilog
from lutscape.rtl.verify import verify


def gate(name: str, function: str, pins: str) -> str:
    inputs = "".join(f"pin({p}) {{ direction: input; capacitance: 1; }} " for p in pins)
    return f'cell({name}) {{ area: 1; {inputs} pin(Y) {{ direction: output; function: "{function}"; }} }}\n'


def register(name: str, group: str, pins: str, outputs: str) -> str:
    inputs = "".join(f"pin({p}) {{ direction: input; capacitance: 1; }} " for p in pins.split())
    out = "".join(
        f'pin({o.split("=")[0]}) {{ direction: output; function: "{o.split("=")[1]}"; }} ' for o in outputs.split()
    )
    return f"cell({name}) {{ area: 6; {group} {inputs} {out} }}\n"


TINY = (
    'library(tiny) { time_unit: "1ns"; capacitive_load_unit(1, ff); nom_voltage: 1.0;\n'
    + gate("BUF", "A", "A")
    + gate("INV", "A'", "A")
    + gate("NAND2", "!(A B)", "AB")
    + gate("AOI21", "!((A*B)+C)", "ABC")
    + gate("XNOR2", "(A ^ B)'", "AB")
    + register("DFF", 'ff(IQ, IQN) { clocked_on: "CK"; next_state: "!D"; }', "D CK", "QN=IQ")
    + register(
        "DFFSR",
        'ff(IQ, IQN) { clocked_on: "!CN"; next_state: "(D E) + (IQ E\')"; clear: "!RN"; preset: "S";'
        " clear_preset_var1: H; clear_preset_var2: L; }",
        "D E CN RN S",
        "Q=IQ QN=IQN",
    )
    + register("LATCH", 'latch(IQ, IQN) { enable: "G"; data_in: "D"; clear: "R"; }', "D G R", "Q=IQ")
    + "}\n"
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> liberty.Library:
    path = tmp_path_factory.mktemp("liberty") / "tiny.lib"
    path.write_text(TINY)
    return liberty.load(path)


def mapped(cell: Cell, library: liberty.Library, folder: Path) -> Path:
    """Map a cell with yosys, in a process of its own: its log goes to the terminal."""
    source, netlist, lib = folder / "cell.v", folder / "mapped.v", library.paths[0]
    source.write_text(cell.verilog())
    passes = [
        f"read_verilog {source}",
        f"synth -flatten -top {cell.name}",
        f"dfflibmap -liberty {lib}",
        f"abc -liberty {lib}",
        "opt_clean",
        f"write_verilog -noattr {netlist}",
    ]
    code = "from pyosys import libyosys as ys; d = ys.Design(); [ys.run_pass(p, d) for p in " + repr(passes) + "]"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return netlist


@pytest.mark.parametrize("cell", [adder(), pairs(), xor_cell()], ids=lambda c: c.name)
def test_a_mapped_netlist_runs_the_same_vectors(cell: Cell, library: liberty.Library, tmp_path: Path) -> None:
    run = verify(cell, vectors=1000, netlist=mapped(cell, library, tmp_path), library=library)
    assert run.failures() == []
    assert run.level == "gate level"
    assert list(run.beats.values()) == [1000]


def test_a_wrong_gate_is_caught(library: liberty.Library, tmp_path: Path) -> None:
    netlist = mapped(adder(), library, tmp_path)
    text = netlist.read_text()
    netlist.write_text(text.replace("  XNOR2 ", "  NAND2 ", 1))
    assert netlist.read_text() != text
    assert not verify(adder(), vectors=1000, netlist=netlist, library=library).passed


def test_a_wrong_netlist_is_caught(library: liberty.Library, tmp_path: Path) -> None:
    wrong = altered(adder(), "+ {x_b[15]", "- {x_b[15]")
    run = verify(adder(), netlist=mapped(wrong, library, tmp_path), library=library)
    assert run.failures()[0] == "s.sum[1] expected -256, got 0 at beat 0, cycle 1 (full rate)"


def simulate(text: str, lines: str, folder: Path) -> list[str]:
    """Run a Verilog test of one model in Icarus; return what it displays."""
    (folder / "t.v").write_text(f"{text}\nmodule t;\n{lines}\nendmodule\n")
    subprocess.run(["iverilog", "-o", folder / "t", "-s", "t", folder / "t.v"], check=True)
    out = subprocess.run(["vvp", "-n", folder / "t"], check=True, capture_output=True, text=True).stdout
    return out.split()


@pytest.mark.parametrize("text", ["A", "!(A B)+C", "A' ^ B C", "(A | B)' & !(C ^ D)", "A 0 + 1", "(A+B) (C'+D)'"])
def test_expressions_have_the_truth_tables_of_their_liberty_text(text: str, tmp_path: Path) -> None:
    parsed = expression.parse(text)
    n = len(parsed.variables)
    wires = "".join(f"wire {name} = v[{i}]; " for i, name in enumerate(parsed.variables))
    test = f"reg [8:0] v; {wires} initial for (v = 0; v < {1 << n}; v = v + 1) #1 $display({verilog(parsed)});"
    assert [bool(int(word)) for word in simulate("", test, tmp_path)] == np.asarray(parsed.table()).tolist()


def test_a_flip_flop_with_enable_clear_and_preset(library: liberty.Library, tmp_path: Path) -> None:
    """Falling clock; clear is active low; both together: H, as clear_preset_var1 says."""
    steps = [
        ("clear", "rn = 0;", "01"),
        ("load one", "rn = 1; d = 1; e = 1; cn = 1; #1 cn = 0;", "10"),
        ("rising edge does nothing", "d = 0; cn = 1;", "10"),
        ("hold", "e = 0; #1 cn = 0;", "10"),
        ("load zero", "cn = 1; e = 1; #1 cn = 0;", "01"),
        ("preset", "s = 1;", "10"),
        ("both", "rn = 0;", "10"),
        ("clear alone", "s = 0;", "01"),
    ]
    pins = ".D(d), .E(e), .CN(cn), .RN(rn), .S(s), .Q(q), .QN(qn)"
    test = f"reg d = 0, e = 0, cn = 0, rn = 1, s = 0; wire q, qn; DFFSR f({pins}); initial begin\n"
    test += "\n".join(f'{code} #1 $display("%b%b", q, qn);' for _, code, _ in steps) + "\nend"
    assert simulate(model(library["DFFSR"]), test, tmp_path) == [want for _, _, want in steps]


def test_a_latch(library: liberty.Library, tmp_path: Path) -> None:
    test = (
        "reg d = 1, g = 1, r = 0; wire q; LATCH f(.D(d), .G(g), .R(r), .Q(q)); initial begin\n"
        "#1 $display(q); g = 0; d = 0; #1 $display(q); g = 1; #1 $display(q); d = 1; r = 1; #1 $display(q); end"
    )
    assert simulate(model(library["LATCH"]), test, tmp_path) == ["1", "1", "0", "0"]


def test_a_missing_cell_is_named(library: liberty.Library, tmp_path: Path) -> None:
    netlist = tmp_path / "n.v"
    netlist.write_text(
        "module xor_cell(input [3:0] x_a, input [3:0] x_b, output [3:0] y_z);\n NAND3 u1(.A(x_a[0]));\nendmodule\n"
    )
    with pytest.raises(UserError) as error:
        verify(xor_cell(), netlist=netlist, library=library)
    assert str(error.value) == (f"{netlist}: u1: no cell 'NAND3' in tiny.lib (8 cells) (did you mean 'NAND2'?)")


def test_a_netlist_needs_its_library(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="netlist: a mapped netlist needs the Liberty library of its cells"):
        verify(xor_cell(), netlist=tmp_path / "m.v")
