"""Which designs a calibration synthesises: those that coefficients are fitted to, and those held out to test the fit.

The grid varies one parameter of a base design at a time over its whole range, then takes corners where several are
extreme at once. Arrays are small, because area and energy are linear in rows, columns and elements; held-out ones are
up to thirty times larger, and have parameters between those of the grid.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Cell, Channel

FIT, HELD_OUT = "fit", "held out"
BASE: dict[str, Any] = {
    "m": 2,
    "n": 4,
    "k": 4,
    "count": 1,
    "activation_bits": 8,
    "table_bits": 8,
    "accumulator_bits": 24,
    "planes_per_cycle": 1,
    "multiplier_weight_bits": 4,
    "serial_weight_bits": 4,
}
SHORT = {
    "m": "m", "n": "n", "k": "k", "a": "activation_bits", "t": "table_bits", "s": "accumulator_bits",
    "p": "planes_per_cycle", "d": "multiplier_weight_bits", "w": "serial_weight_bits",
}  # fmt: skip

ARRAYS = {
    ("lut", FIT): (
        "", "k=2", "k=3", "k=5", "k=6", "k=8,n=2", "t=4", "t=12", "a=16,t=16", "a=16,t=20,s=32", "a=2,t=6", "a=4,t=6",
        "p=2", "p=4", "p=8,w=8,s=28", "w=1", "w=2", "w=8,s=28", "s=12,w=1", "s=16", "s=32", "s=48", "m=1,n=1",
        "m=1,n=8", "m=4,n=2", "m=4,n=4", "m=1,n=32", "m=8,n=1", "k=6,a=16,t=16,p=2,s=32", "k=2,t=4,p=8,w=8",
        "k=3,t=12,p=4,s=48", "k=5,t=4,w=8,s=20", "k=8,m=1,n=2,t=12,p=2",
    ),
    ("lut-full", FIT): (
        "", "k=2", "k=3", "k=6", "k=8,n=2", "t=4", "a=16,t=16", "p=2", "p=4", "w=8,s=28", "m=4,n=2", "m=1,n=16",
        "k=2,t=4,p=8,w=8", "k=5,t=12,p=2,s=40",
    ),
    ("add", FIT): (
        "", "k=2", "k=6", "k=8", "a=4", "a=16,s=32", "p=2", "p=4", "p=8,w=8,s=28", "w=8", "s=48", "m=4,n=2", "m=1,n=16",
        "k=8,a=4,p=2,s=16", "k=2,a=16,p=4,s=40",
    ),
    ("mac", FIT): (
        "", "k=2", "k=6", "k=8", "d=1", "d=2", "d=3", "d=8,w=8", "d=1,w=8", "d=2,w=8", "a=2", "a=4", "a=16,s=32",
        "a=16,d=8,w=8,s=40,n=2", "s=16,d=2", "s=48", "m=4,n=2", "m=1,n=16", "m=8,n=1", "k=8,d=1,w=1", "k=2,d=8,w=8",
        "k=6,d=2,a=4,s=16",
    ),
    ("lut", HELD_OUT): (
        "n=16", "m=4,n=16", "n=64,s=16,w=2", "m=16,n=4,s=32", "m=1,n=256,k=2,t=4,s=16,w=1", "m=3,n=5,k=5,t=10,p=2,s=28",
        "k=7,m=1,n=3,s=26", "m=2,n=8,k=3,t=7,p=3,w=3", "n=8,k=6,t=8,p=4,s=32",
    ),
    ("lut-full", HELD_OUT): ("n=16", "m=3,n=5,k=5,t=9,s=28", "m=2,n=6,k=3,p=3,w=6"),
    ("add", HELD_OUT): ("n=16", "m=4,n=16,p=2", "m=3,n=5,k=5,a=6,p=3,w=3,s=28", "k=7,a=12,n=3,s=30"),
    ("mac", HELD_OUT): (
        "n=16", "m=4,n=16,d=2", "n=16,d=8,w=8,s=32", "m=16,n=4,d=1", "m=1,n=256,k=2,d=1,a=4,s=16",
        "m=3,n=5,k=5,d=3,a=6", "m=1,n=6,k=7,d=5,w=5,a=10,s=32",
    ),
}  # fmt: skip
BUILDERS = {
    ("lut", FIT): (
        "", "k=2", "k=3", "k=5", "k=6", "k=8", "t=4", "t=11", "a=16", "a=16,t=16", "a=16,t=19", "a=4", "k=2,a=16",
        "k=6,a=4,t=4", "k=8,a=4,t=8", "k=6,a=16,t=16", "k=3,a=16,t=18",
    ),
    ("lut-full", FIT): ("", "k=2", "k=3", "k=6", "t=4", "t=11", "a=16,t=12", "k=5,t=12", "k=8,t=6"),
    ("lut", HELD_OUT): ("k=4,t=10", "k=7", "k=5,a=12,t=9", "k=3,a=6,t=5"),
    ("lut-full", HELD_OUT): ("k=5,t=7", "k=3,a=12,t=10"),
}  # fmt: skip
"""Changes to BASE, in the letters of SHORT."""


@dataclass(frozen=True, eq=False)
class Design:
    """One row of a calibration table.

    Attributes:
        kind: ``array``, ``builder`` or ``block``.
        role: ``fit`` or ``held out``.
        array: of arrays and builders; None for blocks.
        cell: what is synthesised (for blocks and builders: with registers in front of its inputs, if it has no clock).
        verilog: with all modules.
        top: module.
    """

    kind: str
    role: str
    array: Array | None
    cell: Cell
    verilog: str
    top: str


def changed(datapath: str, changes: str) -> Array:
    """Return the base array of a datapath with changes in short form: ``k=6,a=16``."""
    fields = {**BASE, "datapath": datapath}
    for change in filter(None, changes.split(",")):
        letter, _, value = change.partition("=")
        fields[SHORT[letter]] = int(value)
    return Array.model_validate(fields)


def arrays() -> Iterator[Design]:
    """Yield the arrays."""
    from lutscape.rtl.cells.array import array_cell

    for (datapath, role), rows in ARRAYS.items():
        for changes in rows:
            array = changed(datapath, changes)
            cell = array_cell(array)
            yield Design("array", role, array, cell, cell.verilog(), cell.name)


def builders() -> Iterator[Design]:
    """Yield the table builders, registers in front."""
    from lutscape.rtl.cells.table_builder import table_builder

    for (datapath, role), rows in BUILDERS.items():
        for changes in rows:
            array = changed(datapath, changes)
            cell = table_builder(array)
            yield Design("builder", role, array, cell, *registered(cell))


def blocks() -> Iterator[Design]:
    """Yield adder trees (registers in front), accumulators, FIFOs and fused dot-product-add units."""
    from lutscape.hw.machines.fused_dot import Unit
    from lutscape.rtl.cells.accumulator import accumulator
    from lutscape.rtl.cells.adder_tree import adder_tree
    from lutscape.rtl.cells.fifo import fifo
    from lutscape.rtl.cells.fused_dot import unit

    cells: list[Cell] = [adder_tree(n, w) for n, w in ((2, 8), (4, 8), (8, 8), (16, 8), (32, 8), (8, 4), (8, 16))]
    cells += [accumulator(w, i) for w, i in ((16, 8), (24, 12), (32, 12), (32, 24), (48, 24))]
    cells += [fifo(w, d) for w, d in ((8, 2), (8, 8), (32, 2), (32, 4), (32, 16), (64 - 1, 8))]
    shapes: Iterable[tuple[int, int, str]] = (
        (4, 13, "fp16"), (4, 25, "fp16"), (8, 13, "fp16"), (8, 25, "fp16"), (16, 25, "fp16"), (16, 25, "bf16"),
        (16, 13, "e4m3"), (16, 25, "e4m3"),
    )  # fmt: skip
    cells += [unit(Unit.model_validate({"products": n, "fraction_bits": f, "input": i})) for n, f, i in shapes]
    for cell in cells:
        yield Design("block", FIT, None, cell, *((cell.verilog(), cell.name) if cell.clocked else registered(cell)))


def registered(cell: Cell) -> tuple[str, str]:
    """Return Verilog and name of a combinational cell with a register in front of every input."""
    name = f"{cell.name}_registered"
    ports: list[str] = ["input wire clk"]
    body: list[str] = []
    pins: list[str] = []
    for channel, signal, bits in signals(cell.channels):
        span = f"[{bits - 1}:0] " if bits > 1 else ""
        if channel.direction == "in":
            ports.append(f"input wire {span}{signal}")
            body += [f"    reg  {span}{signal}_q;", f"    always @(posedge clk) {signal}_q <= {signal};"]
            pins.append(f".{signal}({signal}_q)")
        else:
            ports.append(f"output wire {span}{signal}")
            pins.append(f".{signal}({signal})")
    lines = [f"module {name} (", ",\n".join(f"    {p}" for p in ports), ");", *body]
    lines += [f"    {cell.name} cell_ ({', '.join(pins)});", "endmodule", ""]
    return cell.verilog() + "\n" + "\n".join(lines), name


def signals(channels: Iterable[Channel]) -> Iterator[tuple[Channel, str, int]]:
    """Yield (channel, port, bits) of every field."""
    for channel in channels:
        for field in channel.fields:
            yield channel, channel.signal(field.name), field.bits
