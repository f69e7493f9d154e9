"""Verilog of the memories that ``synthesise.py`` maps to standard cells."""

from __future__ import annotations

import random


def address_bits(words: int) -> int:
    return max(1, (words - 1).bit_length())


def register_file(style: str, words: int, bits: int, readers: int) -> str:
    """One write port, ``readers`` asynchronous read ports.

    ``flip-flop`` and ``enable-flip-flop`` share this source: the enable of a word becomes a clock gate or a
    multiplexer per bit in synthesis. ``latch``: write data and address are caught by flip-flops at the rising edge,
    one latch per bit is open in the following low phase.
    """
    a = address_bits(words)
    ports = "".join(f", input [{a - 1}:0] ra{i}, output [{bits - 1}:0] rd{i}" for i in range(readers))
    head = f"module top(input clk, input we, input [{a - 1}:0] wa, input [{bits - 1}:0] wd{ports});\n"
    if style == "latch":
        body = f"""  reg en; reg [{a - 1}:0] address; reg [{bits - 1}:0] data;
  always @(posedge clk) begin en <= we; if (we) begin address <= wa; data <= wd; end end
  wire [{words * bits - 1}:0] flat;
  genvar g;
  generate for (g = 0; g < {words}; g = g + 1) begin: word
    wire open = ~clk & en & (address == g);
    reg [{bits - 1}:0] q;
    always @* if (open) q = data;
    assign flat[g*{bits} +: {bits}] = q;
  end endgenerate
"""
        reads = "".join(f"  assign rd{i} = flat[ra{i}*{bits} +: {bits}];\n" for i in range(readers))
        return head + body + reads + "endmodule\n"
    body = f"  reg [{bits - 1}:0] mem [0:{words - 1}];\n  always @(posedge clk) if (we) mem[wa] <= wd;\n"
    reads = "".join(f"  assign rd{i} = mem[ra{i}];\n" for i in range(readers))
    return head + body + reads + "endmodule\n"


def fifo(words: int, bits: int) -> str:
    """A power of two of words, valid/ready on both sides, output from the read multiplexer."""
    a = address_bits(words)
    return f"""module top(input clk, input rst, input in_valid, output in_ready, input [{bits - 1}:0] in_data,
    output out_valid, input out_ready, output [{bits - 1}:0] out_data);
  reg [{bits - 1}:0] mem [0:{words - 1}];
  reg [{a}:0] head, tail;
  wire full = head[{a}] != tail[{a}] && head[{a - 1}:0] == tail[{a - 1}:0];
  assign in_ready = ~full;
  assign out_valid = head != tail;
  wire push = in_valid & in_ready, pop = out_valid & out_ready;
  always @(posedge clk) if (push) mem[tail[{a - 1}:0]] <= in_data;
  always @(posedge clk)
    if (rst) begin head <= 0; tail <= 0; end
    else begin if (push) tail <= tail + 1'b1; if (pop) head <= head + 1'b1; end
  assign out_data = mem[head[{a - 1}:0]];
endmodule
"""


def rom(words: int, bits: int, seed: int) -> str:
    """Uniformly random contents, read without a clock."""
    draw = random.Random(seed)
    a = address_bits(words)
    cases = "".join(f"    {a}'d{i}: rd0 = {bits}'h{draw.getrandbits(bits):x};\n" for i in range(words))
    return (
        f"module top(input [{a - 1}:0] ra0, output reg [{bits - 1}:0] rd0);\n  always @* case (ra0)\n{cases}"
        f"    default: rd0 = 0;\n  endcase\nendmodule\n"
    )
