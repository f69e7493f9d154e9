"""Mutants are small, different and in code; proofs tell mutants that mean the same from faults; scores add up."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rtl_cells import adder, altered, pairs, xor_cell

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Cell, Field
from lutscape.rtl.equivalence import compare
from lutscape.rtl.mutate import Mutant, mutants
from lutscape.rtl.mutation import score

SAMPLE = """// 1 + 2 in a comment & more
module sample #(parameter W = 4) (input clk, input [3:0] a, input [3:0] b, input s, output reg [3:0] y);
  /* a ? b : 3 */
  localparam N = 3;
  wire signed [4:0] t = s ? a + b : a - b;  // !s
  genvar i;
  generate
    for (i = 0; i < N; i = i + 1) begin : each
      leaf u (.x(a[i]), .y({a, b}));
    end
  endgenerate
  always @(posedge clk)
    if (s && t <= 5'd3) y <= ~a;
    else case (a)
      4'd2: y <= b >>> 1;
      default: y <= {t[1:0], b[2 +: 2]};
    endcase
endmodule
"""


def after(rule: str, line: int) -> set[str]:
    return {m.after for m in mutants(SAMPLE, 1, 10_000) if m.rule == rule and m.line == line}


def test_every_kind_of_change() -> None:
    assert after("arms", 5) == {"wire signed [4:0] t = s ? a - b : a + b;  // !s"}
    assert after("sign", 5) == {"wire  [4:0] t = s ? a + b : a - b;  // !s"}
    assert after("range", 5) == {"wire signed [3:0] t = s ? a + b : a - b;  // !s"}
    assert after("operator", 5) == {
        "wire signed [4:0] t = s ? a - b : a - b;  // !s",
        "wire signed [4:0] t = s ? a + b : a + b;  // !s",
    }
    assert "wire signed [4:0] t = ~s ? a + b : a - b;  // !s" in after("inversion", 5)
    assert after("constant", 4) == {"localparam N = 2;", "localparam N = 4;"}
    assert after("operator", 8) == {"for (i = 0; i <= N; i = i + 1) begin : each"}
    assert after("constant", 8) == {"for (i = 1; i < N; i = i + 1) begin : each"}
    assert after("order", 9) == {"leaf u (.x(a[i]), .y({b, a}));"}
    assert after("operator", 13) == {"if (s || t <= 5'd3) y <= ~a;", "if (s && t < 5'd3) y <= ~a;"}
    assert "if (s && t <= 5'd3) y <= a;" in after("inversion", 13)
    assert after("constant", 13) == {f"if (s && t <= 5'd{n}) y <= ~a;" for n in (2, 4, 19)}
    assert after("operator", 15) == {"4'd2: y <= b >> 1;"}
    assert {"4'd3: y <= b >>> 1;", "4'd2: y <= b >>> 0;", "4'd2: y <= b >>> 2;"} <= after("constant", 15)
    assert "default: y <= {b[2 +: 2], t[1:0]};" in after("order", 16)
    assert "default: y <= {t[1:0], b[2 -: 2]};" in after("index", 16)


def test_comments_ports_and_loop_steps_stay() -> None:
    for mutant in mutants(SAMPLE, 1, 10_000):
        assert mutant.source.count("// 1 + 2 in a comment & more\n") == 1
        assert "  /* a ? b : 3 */\n" in mutant.source
        assert "(input clk, input [3:0] a, input [3:0] b, input s, output reg [3:0] y);" in mutant.source
        assert "i = i + 1" in mutant.source
        assert "// !s" in mutant.source


@pytest.mark.parametrize("cell", [adder(), pairs(), xor_cell()], ids=lambda c: c.name)
def test_one_change_in_one_line_each_different(cell: Cell) -> None:
    source = cell.verilog()
    found = mutants(source, 5, 10_000)
    assert len({m.source for m in found}) == len(found)
    assert {m.module for m in found} == {cell.name}
    lines = source.split("\n")
    for m in found:
        changed = m.source.split("\n")
        assert [i for i, (a, b) in enumerate(zip(lines, changed, strict=True), 1) if a != b] == [m.line]
        assert (lines[m.line - 1].strip(), changed[m.line - 1].strip()) == (m.before, m.after)


def test_the_seed_chooses() -> None:
    first, again, other = (mutants(SAMPLE, seed, 10) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert len(first) == 10


def test_nearly_all_mutants_compile(tmp_path: Path) -> None:
    found = mutants(pairs().verilog(), 1, 10_000)
    for m in found:
        (tmp_path / "m.v").write_text(m.source)
        subprocess.run(["iverilog", "-g2012", "-o", tmp_path / "m", tmp_path / "m.v"], check=True)


EQUIVALENT = [
    (adder, "x_valid && x_ready", "x_ready"),  # fields are looked at without valid, but nobody sees it
    (adder, "!s_valid || s_ready", "s_ready || !s_valid"),
    (pairs, "{1'b0, x_a}", "x_a"),
    (pairs, "s_valid <= second;", "s_valid <= s_valid | second;"),
    (xor_cell, "x_a ^ x_b", "(x_a | x_b) & ~(x_a & x_b)"),
]
DIFFERENT = [
    (adder, "x_valid && x_ready", "x_valid"),
    (adder, "if (rst) s_valid <= 1'b0;\n    else ", ""),
    (adder, "x_a[15:8]}", "x_a[14:8]}"),
    (pairs, "      second <= 1'b0;\n", ""),
    (pairs, "second ? s_sum + x_a", "second ? s_sum - x_a"),
    (pairs, "x_ready = !s_valid", "x_ready = !s_valid | s_ready"),
    (xor_cell, "x_a ^ x_b", "x_a | x_b"),
]


@pytest.mark.parametrize(("make", "before", "changed"), EQUIVALENT)
def test_equal_modules_are_proven_equal(make, before: str, changed: str) -> None:
    cell = make()
    assert compare(cell, cell.verilog(), altered(cell, before, changed).verilog()).verdict == "equivalent"


@pytest.mark.parametrize(("make", "before", "changed"), DIFFERENT)
def test_different_modules_are_told_apart(make, before: str, changed: str) -> None:
    cell = make()
    assert compare(cell, cell.verilog(), altered(cell, before, changed).verilog()).verdict == "different"


def test_what_cannot_be_decided_in_time_is_bounded() -> None:
    """Two arrays of adders that are equal for arithmetic reasons: hard for a prover."""
    text = """module hard (input clk, input rst, input x_valid, output x_ready, input [31:0] x_a,
      output reg y_valid, input y_ready, output reg [31:0] y_b);
      wire [15:0] a = x_a[15:0], b = x_a[31:16];
      assign x_ready = !y_valid || y_ready;
      always @(posedge clk) begin
        if (rst) y_valid <= 1'b0; else if (x_ready) y_valid <= x_valid;
        if (x_valid && x_ready) y_b <= a * b;
      end
    endmodule
    """
    x, y = adder().channels
    channels = (replace(x, fields=(Field("a", 32),)), replace(y, name="y", fields=(Field("b", 32),)))
    cell = replace(adder(), name="hard", channels=channels)
    found = compare(cell, text, text.replace("a * b", "a * (b - 32'd1) + a"), timeout_s=1)
    assert found.verdict == "undecided"
    assert found.how == "bounded model checking"
    assert found.cycles >= 1


def test_a_text_that_yosys_refuses() -> None:
    with pytest.raises(UserError, match=r"xor_cell: yosys cannot build the miter: .*syntax error"):
        compare(xor_cell(), xor_cell().verilog(), "module xor_cell (; endmodule")


def test_scores_of_good_benches() -> None:
    found = score(pairs(), count=12, vectors=200)
    assert found.mutants == 12
    assert found.places == len(mutants(pairs().verilog(), 1, 1000))
    assert found.survivors == ()
    assert found.score == 1.0
    assert set(found.killed) <= {"bits", "handshake", "cycles", "no end", "crash"}


def test_a_weak_stimulus_leaves_survivors() -> None:
    """Operands below 8 never reach the top bits of the adder."""
    weak = {"x": {n: np.random.default_rng(1).integers(0, 8, (200, 2)) for n in "ab"}}
    cell = replace(adder(), stimulus=lambda rng, count: weak)
    found = score(cell, count=24, vectors=200)
    assert found.score < 0.9
    texts = [str(s) for s in found.survivors]
    assert all("[differs: " in text for text in texts)
    assert any(re.search(r"adder:\d+ \(index\): .*x_a\[7\], x_a\[7:0\]", text) for text in texts)


def test_a_cell_that_fails_has_no_score() -> None:
    with pytest.raises(UserError, match=r"adder: the unchanged cell fails: s\.sum\[0\] expected"):
        score(altered(adder(), "s_sum[8:0] <= {", "s_sum[8:0] <= ~{"), vectors=10)


def test_a_change_in_one_line() -> None:
    mutant = Mutant("operator", "m", 3, "a + b", "a - b", "")
    assert mutant.change == "m:3 (operator): a + b  ->  a - b"
