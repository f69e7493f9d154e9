"""Random netlists over the small library of ``tiny_liberty``."""

from __future__ import annotations

import numpy as np

INPUTS = {"INV": ("A",), "BUF": ("A",), "NAND2": ("A", "B"), "XOR2": ("A", "B")}


def netlist_text(seed: int, gates: int, registers: int, inputs: int = 4) -> str:
    """Return a netlist: ports clk, rn, a[inputs], y; gates read earlier nets, registers read any."""
    rng = np.random.default_rng(seed)
    sources = [f"a[{k}]" for k in range(inputs)] + [f"q{k}" for k in range(registers)] + ["1'h0", "1'h1"]
    lines: list[str] = []
    for g in range(gates):
        cell = str(rng.choice(list(INPUTS)))
        pins = ", ".join(f".{p}({rng.choice(sources)})" for p in INPUTS[cell])
        lines.append(f"  {cell} g{g} ({pins}, .Y(n{g}));")
        sources.append(f"n{g}")
    for r in range(registers):
        data = rng.choice(sources)
        if rng.integers(2):
            lines.append(f"  DFF r{r} (.CK(clk), .D({data}), .Q(q{r}));")
        else:
            lines.append(f"  DFFR r{r} (.CK(clk), .D({data}), .RN(rn), .Q(q{r}));")
    drawn = ["a[0]", *(str(s) for s in rng.choice(sources, 2))]
    rng.shuffle(lines)
    head = f"module t(clk, rn, a, y);\n  input clk, rn;\n  input [{inputs - 1}:0] a;\n  output [3:0] y;\n"
    body = "\n".join(lines)
    return f"{head}{body}\n  assign y = {{ n{gates - 1}, {', '.join(drawn)} }};\nendmodule\n"
