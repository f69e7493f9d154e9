"""Verilog models of the library cells in a mapped netlist, written from their Liberty functions.

Models have no delay: the netlist is held to the same bits and cycles as the generated Verilog. A flip-flop wakes with
a random bit instead of x, because optimised gates turn the x of a register that is about to be loaded into an x that
no real gate would show (a & ~a); uninitialised state is found in the generated Verilog, which keeps x.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from lutscape.hw.errors import UserError
from lutscape.rtl import netlist as netlists
from lutscape.rtl.expression import AND, NOT, ONE, OR, XOR, ZERO, Expression
from lutscape.rtl.liberty import Cell, Library, Register
from lutscape.rtl.netlist import Netlist

_SYMBOLS = {AND: "&", OR: "|", XOR: "^"}
_PLAIN = re.compile(r"[A-Za-z_]\w*\Z")
_BOTH = {"L": "1'b0", "H": "1'b1", "X": "1'bx", "T": "~{state}", "N": "{state}"}


def simulatable(source: str | Path, top: str, library: Library) -> str:
    """Return Verilog of a mapped netlist and of the library cells it uses.

    Vectors inside become scalar nets: Icarus copies a whole vector whenever one of its bits changes, which made a
    netlist of 7,000 cells more than a hundred times slower.

    Args:
        source: path of a ``.v`` or ``.v.gz`` file, or the Verilog text itself.
        top: module.
        library: of its cells.

    Raises:
        UserError: no structural netlist with that module, or a cell that the library lacks.
    """
    netlist = netlists.parse(source, top)
    where = "netlist" if isinstance(source, str) and "\n" in source else str(source)
    first = {cell: netlist.instances[int(rows[0])] for cell, rows in netlist.by_cell.items()}
    models = [model(library.cell(cell, f"{where}: {instance}")) for cell, instance in sorted(first.items())]
    return "\n".join([scalar(netlist), *models])


def scalar(netlist: Netlist) -> str:
    """Return a netlist with its ports, instances and one-bit nets ``n0`` (low), ``n1`` (high), ``n2`` ..."""
    ports, lines = [], ["  wire n0 = 1'b0, n1 = 1'b1;"]
    driven = {0, 1}
    for port, nets in netlist.inputs.items():
        ports.append(f"input [{len(nets) - 1}:0] {_name(port)}")
        lines += [f"  wire n{net} = {_name(port)}[{i}];" for i, net in enumerate(nets)]
        driven |= set(nets.tolist())
    lines += [f"  wire n{net};" for net in range(len(netlist.nets)) if net not in driven]
    for name, cell, pins in zip(netlist.instances, netlist.cells, netlist.pins, strict=True):
        connected = ", ".join(f".{_name(pin)}(n{net})" for pin, net in pins.items())
        lines.append(f"  {_name(cell)} {_name(name)} ({connected});")
    for port, nets in netlist.outputs.items():
        ports.append(f"output [{len(nets) - 1}:0] {_name(port)}")
        lines.append(f"  assign {_name(port)} = {{{', '.join(f'n{net}' for net in reversed(nets.tolist()))}}};")
    return f"module {_name(netlist.name)} ({', '.join(ports)});\n" + "\n".join(lines) + "\nendmodule\n"


def model(cell: Cell) -> str:
    """Return the Verilog module of a library cell.

    Raises:
        UserError: an output without a function.
    """
    ports = [f"input {_name(p)}" for p in cell.inputs] + [f"output {_name(p)}" for p in cell.outputs]
    lines = [f"module {_name(cell.name)} (" + ", ".join(ports) + ");"]
    if cell.register is not None:
        lines += _register(cell.register)
    for output in cell.outputs:
        function = cell.pins[output].function
        if function is None:
            raise UserError(f"library cell {cell.name!r}: output {output!r} has no function; it cannot be simulated")
        lines.append(f"  assign {_name(output)} = {verilog(function)};")
    return "\n".join([*lines, "endmodule", ""])


def verilog(expression: Expression, names: Mapping[str, str] | None = None) -> str:
    """Return a Liberty expression in Verilog, every operation in brackets."""
    stack: list[str] = []
    for code in expression.code:
        if code >= 0:
            variable = expression.variables[code]
            stack.append((names or {}).get(variable, _name(variable)))
        elif code in (ZERO, ONE):
            stack.append("1'b0" if code == ZERO else "1'b1")
        elif code == NOT:
            stack.append(f"(~{stack.pop()})")
        else:
            right = stack.pop()
            stack.append(f"({stack.pop()} {_SYMBOLS[code]} {right})")
    return stack[-1]


def _register(register: Register) -> list[str]:
    """Return the state of a flip-flop or latch, and its complement."""
    state = _name(register.state[0])
    lines = [f"  reg {state};", f"  initial {state} = $random;"]
    if register.state[1]:
        lines.append(f"  wire {_name(register.state[1])} = ~{state};")
    # Conditions exclude each other, so that the end of one is an edge of the other.
    active = {n: c for n, c in (("clear", register.clear), ("preset", register.preset)) if c is not None}
    values = {"clear": "1'b0", "preset": "1'b1", "both": _BOTH[register.both].format(state=state)}
    conditions = {name: verilog(condition) for name, condition in active.items()}
    if len(active) == 2:
        winner = {"L": "clear", "H": "preset"}.get(register.both)
        clear, preset = conditions["clear"], conditions["preset"]
        if winner != "clear":
            conditions["clear"] = f"{clear} & ~{preset}"
        if winner != "preset":
            conditions["preset"] = f"{preset} & ~{clear}"
        if winner is None:
            conditions["both"] = f"{clear} & {preset}"
    lines += [f"  wire __{name} = {condition};" for name, condition in conditions.items()]
    lines += [f"  wire __data = {verilog(register.next_state)};"]
    if register.kind == "ff":
        lines += [f"  wire __clock = {verilog(register.clocked_on)};"]
        lines += [f"  always @({' or '.join(f'posedge __{n}' for n in ('clock', *conditions))})"]
        assign, end = "<=", f"{state} <= __data;"
    else:
        lines += [f"  wire __enable = {verilog(register.clocked_on)};", "  always @*"]
        assign, end = "=", f"if (__enable) {state} = __data;"
    branches = [f"if (__{name}) {state} {assign} {values[name]};" for name in conditions]
    return [*lines, "    " + " else ".join([*branches, end])]


def _name(name: str) -> str:
    """Return a name as Verilog takes it."""
    return name if _PLAIN.match(name) else f"\\{name} "
