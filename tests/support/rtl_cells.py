"""Tiny cells for tests of the bench: a handshaken adder, a two-beat accumulator and a combinational xor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lutscape.rtl.cell import Beats, Cell, Channel, Field, header

ADDER = """module adder (
  input clk, input rst,
  input x_valid, output x_ready, input [15:0] x_a, input [15:0] x_b,
  output reg s_valid, input s_ready, output reg [17:0] s_sum
);
  // Two lanes of signed 8-bit sums behind one register.
  assign x_ready = !s_valid || s_ready;
  always @(posedge clk) begin
    if (rst) s_valid <= 1'b0;
    else if (x_ready) s_valid <= x_valid;
    if (x_valid && x_ready) begin
      s_sum[8:0] <= {x_a[7], x_a[7:0]} + {x_b[7], x_b[7:0]};
      s_sum[17:9] <= {x_a[15], x_a[15:8]} + {x_b[15], x_b[15:8]};
    end
  end
endmodule
"""

PAIRS = """module pairs (
  input clk, input rst,
  input x_valid, output x_ready, input [7:0] x_a,
  output reg s_valid, input s_ready, output reg [8:0] s_sum
);
  // Adds two beats; ready does not look through to the output.
  reg second;
  assign x_ready = !s_valid;
  always @(posedge clk)
    if (rst) begin
      s_valid <= 1'b0;
      second <= 1'b0;
    end else begin
      if (s_valid && s_ready) s_valid <= 1'b0;
      if (x_valid && x_ready) begin
        s_sum <= second ? s_sum + x_a : {1'b0, x_a};
        second <= !second;
        s_valid <= second;
      end
    end
endmodule
"""

XOR = """module xor_cell (input [3:0] x_a, input [3:0] x_b, output [3:0] y_z);
  assign y_z = x_a ^ x_b;
endmodule
"""


def adder() -> Cell:
    """Return a cell with two lanes, signed fields and one register."""
    lanes = [Field("a", 8, 2, True), Field("b", 8, 2, True)]

    def stimulus(rng: np.random.Generator, count: int) -> Beats:
        values = {f.name: rng.integers(-128, 128, (count, 2)) for f in lanes}
        values["a"][0], values["b"][0] = -128, -128
        return {"x": values}

    return Cell(
        name="adder",
        kind="test",
        parameters={"width": 8},
        source=header("Adder.", {"width": 8}, 1, 1, "edge i", "INT8") + ADDER,
        channels=(Channel("x", "in", tuple(lanes)), Channel("s", "out", (Field("sum", 9, 2, True),))),
        golden=lambda beats: {"s": {"sum": beats["x"]["a"] + beats["x"]["b"]}},
        stimulus=stimulus,
        coverage=lambda beats: {
            "lowest sum": int((beats["x"]["a"] + beats["x"]["b"] == -256).sum()),
            "positive": int((beats["x"]["a"] > 0).sum()),
        },
        schedule=lambda beats: {"s": np.arange(len(beats["x"]["a"])) + 1},
        latency=1,
    )


def pairs() -> Cell:
    """Return a cell that takes two beats per output."""

    def edges(beats: Beats) -> dict[str, np.ndarray]:
        return {"s": 3 * np.arange(len(beats["x"]["a"]) // 2) + 2}

    return Cell(
        name="pairs",
        kind="test",
        parameters={},
        source=PAIRS,
        channels=(Channel("x", "in", (Field("a", 8),)), Channel("s", "out", (Field("sum", 9),))),
        golden=lambda beats: {"s": {"sum": beats["x"]["a"].reshape(-1, 2, 1).sum(axis=1)}},
        stimulus=lambda rng, count: {"x": {"a": rng.integers(0, 256, (2 * count, 1))}},
        coverage=lambda beats: {"carry": int((beats["x"]["a"].reshape(-1, 2).sum(axis=1) > 255).sum())},
        schedule=edges,
        latency=1,
    )


def xor_cell() -> Cell:
    """Return a combinational cell."""
    return Cell(
        name="xor_cell",
        kind="test",
        parameters={},
        source=XOR,
        channels=(Channel("x", "in", (Field("a", 4), Field("b", 4))), Channel("y", "out", (Field("z", 4),))),
        golden=lambda beats: {"y": {"z": beats["x"]["a"] ^ beats["x"]["b"]}},
        stimulus=lambda rng, count: {"x": {n: rng.integers(0, 16, (count, 1)) for n in "ab"}},
        coverage=lambda beats: {f"a = {i}": int((beats["x"]["a"] == i).sum()) for i in range(16)},
        clocked=False,
    )


def altered(cell: Cell, before: str, after: str) -> Cell:
    """Return a cell with a change in its Verilog."""
    assert cell.source.count(before) == 1
    return replace(cell, source=cell.source.replace(before, after))
