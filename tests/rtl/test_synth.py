"""Synthesis: netlists that compute what the Verilog says, areas by hand, the ladder of recipes, cache, errors."""

from __future__ import annotations

import gzip
import importlib.metadata
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_liberty import write

from lutscape.commands.rtl_synth import synth as command
from lutscape.hw.errors import UserError
from lutscape.rtl import gatesim, liberty, liberty_get, synth_cache, synth_process
from lutscape.rtl.synth import flip_flops, register_overhead_ps, synthesise
from lutscape.rtl.synth_script import RECIPES, commands
from lutscape.rtl.synth_sweep import sweep

BANK = """
module bank(input clk, input [7:0] d, output reg [7:0] q);
  always @(posedge clk) q <= d;
endmodule
"""
MULTIPLY = """
// signed product and sum, registered
module multiply(input clk, input signed [5:0] a, input signed [4:0] b, input signed [11:0] c,
                output reg signed [11:0] y);
  reg signed [5:0] x; reg signed [4:0] w; reg signed [11:0] z;
  always @(posedge clk) begin x <= a; w <= b; z <= c; y <= x * w + z; end
endmodule
"""
FANOUT = """
module fanout(input clk, input a, input [199:0] d, output reg [199:0] q);
  reg select;
  always @(posedge clk) begin select <= a; q <= d & {200{select}}; end
endmodule
"""
HIERARCHY = """
module part(input clk, input d, output reg q); always @(posedge clk) q <= ~d; endmodule
module pair(input clk, input d, output q); wire m; part a(clk, d, m); part b(clk, m, q); endmodule
module whole(input clk, input d, output q); wire m; pair a(clk, d, m); part b(clk, m, q); endmodule
"""


@pytest.fixture
def apart(nangate45: liberty.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own; returns the library's file."""
    path = liberty_get.cached("nangate45")
    monkeypatch.setenv("LUTSCAPE_CACHE", str(tmp_path / "cache"))
    return path


def test_the_area_of_registers_alone_is_known(nangate45: liberty.Library) -> None:
    built = synthesise(BANK, "bank", period_ps=2000)
    assert built.cells == {"DFF_X1": 8}
    assert built.area_um2 == pytest.approx(8 * 4.522)
    assert (built.registers, built.gates, built.register_area_um2) == (8, 8, built.area_um2)
    assert built.recipe == "area"
    assert built.worst_slack_ps == pytest.approx(2000 - built.min_period_ps)
    assert built.critical_path[-1].cell in ("DFF_X1", "output port")


def test_gates_compute_what_the_verilog_says(nangate45: liberty.Library) -> None:
    built = synthesise(MULTIPLY, "multiply", period_ps=1500)
    rng = np.random.default_rng(3)
    a, b, c = (rng.integers(-(1 << w - 1), 1 << w - 1, (40, 64)) for w in (6, 5, 12))
    ports = {"a": a, "b": b, "c": c}
    found = gatesim.simulate(built.parsed, nangate45, ports).integers("y", signed=True)
    wanted = (a * b + c + 2048) % 4096 - 2048
    assert np.array_equal(found[2:], wanted[:-2])  # two registers in a row


def test_recipes_trade_area_for_delay(nangate45: liberty.Library) -> None:
    relaxed, tight, beyond = (synthesise(MULTIPLY, "multiply", period_ps=p) for p in (3000, 700, 100))
    assert relaxed.recipe == RECIPES[0].name
    assert relaxed.worst_slack_ps > 0
    assert tight.area_um2 > relaxed.area_um2
    assert tight.min_period_ps < relaxed.min_period_ps
    assert beyond.worst_slack_ps == pytest.approx(100 - beyond.min_period_ps)
    assert beyond.worst_slack_ps < 0


def test_wide_nets_are_buffered(nangate45: liberty.Library) -> None:
    built = synthesise(FANOUT, "fanout", period_ps=2000)
    report = built.timing()
    linked = report.linked
    sinks = np.zeros(linked.nets, int)
    for i, pins in enumerate(linked.pins):
        cell = linked.cells[linked.netlist.cells[i]]
        for pin, net in pins.items():
            sinks[net] += cell.pins[pin].direction == "input"
    assert sinks[linked.clock_nets == 0].max() <= 10
    assert report.transition_ps.max() < 150
    assert built.timing().worst_slack_ps == pytest.approx(built.worst_slack_ps)


def test_areas_by_module_count_instances_through_the_hierarchy(nangate45: liberty.Library) -> None:
    built = synthesise(HIERARCHY, "whole", period_ps=2000, keep_hierarchy_for_area=True)
    assert {name: b.instances for name, b in built.blocks.items()} == {"whole": 1, "pair": 1, "part": 3}
    assert built.blocks["part"].registers == 1
    assert built.blocks["whole"].area_um2 == built.blocks["pair"].area_um2 == 0
    assert built.registers == 3


def test_the_smallest_flip_flop_is_taken(nangate45: liberty.Library) -> None:
    plain = flip_flops(nangate45)
    assert [c.name for c in plain] == ["DFF_X1", "DFF_X2"]
    # DFF_X1: clock to output at four D pins of 1.14 fF (90 ps), setup at a transition of 30 ps (46 ps).
    assert 100 < register_overhead_ps(nangate45) < 180


def test_results_come_from_the_cache(apart: Path) -> None:
    first = synthesise(BANK, "bank", apart, period_ps=2000)
    again = synthesise("// said differently\n" + BANK, "bank", apart, period_ps=2000)
    other = synthesise(BANK, "bank", apart, period_ps=1000)
    assert (first.cached, again.cached, other.cached) == (False, True, False)
    assert again.key == first.key != other.key
    assert again.netlist == first.netlist
    assert again.critical_path == first.critical_path
    assert first.path is not None
    assert gzip.decompress(first.path.read_bytes()).decode() == first.netlist
    first.path.write_bytes(b"damaged")
    assert not synthesise(BANK, "bank", apart, period_ps=2000).cached
    assert synthesise(BANK, "bank", apart, period_ps=2000, cache=False).path is None


def test_a_compressed_library_is_the_same_library(apart: Path, tmp_path: Path) -> None:
    packed = tmp_path / "small.lib.gz"
    packed.write_bytes(gzip.compress(apart.read_bytes(), 1))
    first = synthesise(BANK, "bank", apart, period_ps=2000)
    again = synthesise(BANK, "bank", packed, period_ps=2000)
    assert again.cached
    assert again.key == first.key


def test_comments_that_synthesis_obeys_stay() -> None:
    text = "a // one\n/* two\nthree */ b // synopsys translate_off\nc"
    assert synth_cache.without_comments(text) == "a  \n\n b // synopsys translate_off\nc"


def test_commands_name_every_library_and_what_must_not_be_used() -> None:
    lines = commands("top", 2, "870", True, ("BUF_X8",), ("DFF_X2",), RECIPES[1])
    assert "synth -top top -flatten" in lines
    assert lines[3] == "dfflibmap -liberty library0.lib -liberty library1.lib -dont_use BUF_X8 -dont_use DFF_X2"
    assert "-D 870 -script +strash;&get,-n" in lines[5]
    assert "map,-B,0.2,-D,870" in lines[5]
    assert lines[5].endswith("-dont_use BUF_X8")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"verilog": "module bank(input clk);\n  wire 3x;\nendmodule"}, "bank: line 2 of the Verilog: syntax error"),
        ({"top": "bnk"}, "bnk: Module `bnk' not found"),
        ({"period_ps": 0.0}, "period 0 ps; allowed: 1 ps or more"),
        ({"load_ff": -1.0}, "load -1 fF; allowed: 0 or more"),
        ({"top": "a b"}, "top module 'a b' is not a name"),
        ({"driving_cell": "BUFX2"}, "no cell 'BUFX2' in nangate45.lib (135 cells) (did you mean 'BUF_X2'?)"),
        ({"library": []}, "no Liberty file given"),
        ({"library": "nosuch.lib"}, "Liberty file 'nosuch.lib' not found"),
        ({"timeout_s": 0.01, "cache": False}, "bank: synthesis did not end within 0.01 s; allow more time"),
    ],
)
def test_errors_are_one_line(nangate45: liberty.Library, change: dict[str, object], message: str) -> None:
    arguments = {"verilog": BANK, "top": "bank", "library": "nangate45", "period_ps": 1000.0, "load_ff": 10.0, **change}
    with pytest.raises(UserError) as caught:
        synthesise(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_library_without_a_default_needs_a_driving_cell(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(UserError, match=r"needs a driving cell: .*\(known without: BUF_X2, BUFx2_ASAP7_75t_R\)"):
        synthesise(BANK, "bank", path, period_ps=1000)
    with pytest.raises(UserError, match="needs an output load in fF"):
        synthesise(BANK, "bank", path, period_ps=1000, driving_cell="INV")


def test_a_library_without_flip_flops_is_refused(apart: Path, tmp_path: Path) -> None:
    small = tmp_path / "gates.lib"
    small.write_text(only_cells(apart.read_text(), {"BUF_X2", "NAND2_X1", "INV_X1"}))
    with pytest.raises(
        UserError,
        match=r"bank: the library has no flip-flop for \$_DFF_P_ \(D flip-flops are not supported\); give more",
    ):
        synthesise(BANK, "bank", small, period_ps=1000)


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        ({"DFF_X1", "BUF_X2", "NAND2_X1"}, "small.lib: no inverter among 3 cells; give all Liberty files"),
        ({"DFF_X1", "BUF_X2", "INV_X1"}, "small.lib: no two-input NAND, NOR, AND or OR among 3 cells"),
    ],
)
def test_a_library_without_a_needed_gate_is_refused(apart: Path, tmp_path: Path, kept: set[str], missing: str) -> None:
    small = tmp_path / "small.lib"
    small.write_text(only_cells(apart.read_text(), kept))
    with pytest.raises(UserError) as caught:
        synthesise(BANK, "bank", small, period_ps=1000, cache=False)
    assert str(caught.value).startswith(missing)


def only_cells(text: str, kept: set[str]) -> str:
    """Return a Liberty file with some of its cells."""
    parts = re.split(r"(?m)^  cell \(", text)
    head = parts[0][: parts[0].rindex("/*")]
    cells = [f"  cell ({p[: p.index(chr(10) + '  }') + 4]}\n" for p in parts[1:] if p[: p.index(")")] in kept]
    return head + "".join(cells) + "}\n"


def test_missing_pyosys_names_the_extra(nangate45: liberty.Library, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(synth_process.importlib.metadata, "version", absent)
    with pytest.raises(UserError, match=r"synthesis needs pyosys; install the extra: pip install 'lutscape\[rtl\]'"):
        synthesise(BANK, "bank", period_ps=1000)


def test_a_sweep_ends_at_the_first_period_that_is_missed(nangate45: liberty.Library) -> None:
    points = sweep(MULTIPLY, "multiply")
    targets = [p.target_ps for p in points]
    assert targets == sorted(targets, reverse=True)
    assert all(p.synthesis.worst_slack_ps >= 0 for p in points[:-1])
    assert points[-2].synthesis.area_um2 > points[0].synthesis.area_um2
    powers = [p.power_w for p in points if p.power_w is not None]
    assert len(powers) == len(points)
    assert powers[-1] > powers[0]
    given = sweep(MULTIPLY, "multiply", periods_ps=[700, 3000])
    assert [p.target_ps for p in given] == [3000, 700]


def test_the_command_synthesises_files_and_specs(nangate45: liberty.Library, tmp_path: Path) -> None:
    path, mapped = tmp_path / "h.v", tmp_path / "mapped.v"
    path.write_text(HIERARCHY)
    run = CliRunner().invoke(command, [str(path), "--top", "whole", "--period", "2ns", "--netlist", str(mapped)])
    assert run.exit_code == 0, run.output
    assert "whole: 14.1 µm², 4 cells, 3 registers" in run.output
    assert "period 2000 ps met" in run.output
    assert "module whole(" in mapped.read_text()
    run = CliRunner().invoke(command, [str(path), "--top", "whole", "--period", "2ns", "--json"])
    found = json.loads(run.output)["cells"][0]
    assert (found["cell"], found["registers"], found["recipe"]) == ("whole", 3, "area")
    assert found["critical_path"][0]["arrival_ps"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["FILE"], "3 modules; say which is the top with --top: part, pair, whole"),
        (["FILE", "--top", "hole"], "unknown module of FILE 'hole' (did you mean 'whole'?)"),
        (["FILE", "--cell", "whole"], "--cell is for specs; FILE is a Verilog file: use --top"),
        (["nosuch.v"], "Verilog file 'nosuch.v' cannot be read: No such file or directory"),
        (["lut-tensor-core", "--top", "x"], "--top is for Verilog files; lut-tensor-core is a spec: use --cell"),
        (["lut-tensor-core", "--netlist", "x.v"], "cells: choose one with --cell"),
        (["FILE", "--top", "whole", "--period", "2"], "--period '2': write a number with a unit"),
    ],
)
def test_the_command_answers_bad_input(tmp_path: Path, arguments: list[str], message: str) -> None:
    path = tmp_path / "h.v"
    path.write_text(HIERARCHY)
    run = CliRunner().invoke(command, [str(path) if a == "FILE" else a for a in arguments])
    assert isinstance(run.exception, UserError)
    assert message.replace("FILE", str(path)) in str(run.exception)
