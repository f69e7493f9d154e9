"""Verilog models of the library cells in a mapped netlist, written from their Liberty functions.

Models have no delay: the netlist is held to the same bits and cycles as the generated Verilog. A flip-flop wakes with
a random bit instead of x, because optimised gates turn the x of a register that is about to be loaded into an x that
no real gate would show (a & ~a); uninitialised state is found in the generated Verilog, which keeps x.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

from lutscape.hw.errors import UserError
from lutscape.rtl import netlist as netlists
from lutscape.rtl.expression import AND, NOT, ONE, OR, XOR, ZERO, Expression
from lutscape.rtl.liberty import Cell, Library, Register

_SYMBOLS = {AND: "&", OR: "|", XOR: "^"}
_PLAIN = re.compile(r"[A-Za-z_]\w*\Z")
_BOTH = {"L": "1'b0", "H": "1'b1", "X": "1'bx", "T": "~{state}", "N": "{state}"}


def read(source: str | Path, top: str, library: Library) -> tuple[str, str]:
    """Return a netlist's Verilog and that of the library cells it uses.

    Args:
        source: path of a ``.v`` or ``.v.gz`` file, or the Verilog text itself.
        top: module.
        library: of its cells.

    Raises:
        UserError: no structural netlist with that module, or a cell that the library lacks.
    """
    netlist = netlists.parse(source, top)
    text, where = source, "netlist"
    if isinstance(source, Path) or "\n" not in source:
        data = Path(source).expanduser().read_bytes()
        text, where = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode(), str(source)
    first = {cell: netlist.instances[int(rows[0])] for cell, rows in netlist.by_cell.items()}
    models = [model(library.cell(cell, f"{where}: {instance}")) for cell, instance in sorted(first.items())]
    return str(text), "\n".join(models)


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
