"""Whether two modules of the same interface are the same to whoever keeps the handshake: proven by model checking.

Both stand side by side in a miter: the same inputs, and one output that says they differ. What may not differ:

    clocked         valid of every output; fields of an output while it is valid; ready of an input while it is
                    offered a beat. Nothing counts before the first reset; reset may come again at any time; whoever
                    drives the inputs keeps valid and fields until the beat has moved. Registers wake alike in both,
                    at zero, because sums that were never started (no first mark) are nobody's to compare.
    combinational   all outputs
    several clocks  as clocked, on the edges of each channel's domain; both stand on one clock, and the clocks of the
                    domains are enables that come at will (:func:`one_clock`); resets come together

yosys builds the miter; its abc proves it: equivalent signals are merged by induction (``scorr``), then property
directed reachability (``pdr``) finds an invariant or a run that ends in a difference. What it does not decide in time
is explored from the start as far as possible (``bmc3``): then equal is only known for that many cycles.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Cell, clock, reset

BUILD_S = 600.0  # limit of the miter's construction
Verdict = Literal["equivalent", "different", "undecided"]


@dataclass(frozen=True)
class Comparison:
    """The outcome of a proof.

    Attributes:
        verdict: of the prover.
        cycles: in which a difference shows (different), or before which none does (undecided).
        how: which method decided.
    """

    verdict: Verdict
    cycles: int
    how: str


def compare(cell: Cell, first: str, second: str, timeout_s: float = 60.0) -> Comparison:
    """Compare two texts of a cell's module.

    Args:
        cell: whose interface both have.
        first: Verilog.
        second: Verilog.
        timeout_s: of each step, seconds.

    Raises:
        UserError: pyosys is not installed, or cannot read a text.
    """
    with tempfile.TemporaryDirectory(prefix="lutscape-equivalence-") as name:
        folder = Path(name)
        if len(cell.domains) > 1:
            first, second = one_clock(first), one_clock(second)
        (folder / "first.v").write_text(first)
        (folder / "second.v").write_text(second)
        (folder / "miter.v").write_text(miter(cell))
        (folder / "commands").write_text("\n".join(_commands(cell)) + "\n")
        try:
            out, code = _run([sys.executable, "-m", "lutscape.rtl.synth_worker"], folder, BUILD_S)
        except subprocess.TimeoutExpired:
            return Comparison("undecided", 0, f"yosys did not build the miter in {BUILD_S:g} s")
        if code:
            lines = [x for x in out.splitlines() if "ERROR" in x or "MISSING" in x] or out.splitlines() or ["no output"]
            raise UserError(f"{cell.name}: yosys cannot build the miter: {lines[-1].strip()}")
        return _sequential(folder, timeout_s) if cell.clocked else _combinational(folder, timeout_s)


def one_clock(text: str) -> str:
    """Return Verilog of a cell of several clock domains on one clock ``clk``: each clock becomes an enable.

    Registers of a domain move on the edges of ``clk`` on which its enable is set, so that free enables stand for
    clocks of any ratio and phase, coinciding edges included. The enable of ``clk`` itself is ``main_clk``.
    """
    text = re.sub(r"\bclk\b", "main_clk", text)
    text = re.sub(r"input(\s+)wire main_clk\b", r"input\1wire clk,\n    input\1wire main_clk", text)
    text = re.sub(r"\.main_clk\(", ".clk(clk), .main_clk(", text)
    return re.sub(r"always @\(posedge (\w+)\)", r"always @(posedge clk) if (\1)", text)


def miter(cell: Cell) -> str:
    """Return the Verilog that compares modules ``first`` and ``second`` of a cell's interface."""
    ports, body, differ, broken = [], [], [], []
    pins: dict[str, list[str]] = {"first": [], "second": []}
    several = len(cell.domains) > 1
    if cell.clocked:
        ports += ["input clk", "input rst"]
        for m in pins.values():
            m += [".clk(clk)", ".rst(rst)"]
    for domain in cell.domains if several else ():
        name = clock(domain) if domain else "main_clk"
        ports.append(f"input {name}_free")
        body.append(f"  wire {name} = {name}_free | rst;  // all clocks run while reset is active")
        for m in pins.values():
            m += [f".{name}({name})", *([f".{reset(domain)}(rst)"] if domain else [])]

    def signal(name: str, bits: int, shared: bool) -> None:
        if shared:
            ports.append(f"input [{bits - 1}:0] {name}")
        else:
            body.append(f"  wire [{bits - 1}:0] first_{name}, second_{name};")
        for m, connections in pins.items():
            connections.append(f".{name}({name if shared else f'{m}_{name}'})")

    for channel in cell.channels:
        fields = [channel.signal(f.name) for f in channel.fields]
        driven = channel.direction == "in"
        now = f"{clock(channel.domain) if channel.domain else 'main_clk'} & " if several else ""
        for f in channel.fields:
            signal(channel.signal(f.name), f.bits, driven)
        if cell.clocked:
            valid, ready = channel.signal("valid"), channel.signal("ready")
            signal(valid, 1, driven)
            signal(ready, 1, not driven)
            if driven:
                differ.append(f"({now}{valid} & (first_{ready} != second_{ready}))")
                broken.append(f"{valid}_broken")
                body += _stable(channel.name, fields, sum(f.bits for f in channel.fields), valid, ready, now)
            else:
                differ.append(f"({now}(first_{valid} != second_{valid}))")
                other = " | ".join(f"(first_{f} != second_{f})" for f in fields)
                differ.append(f"({now}first_{valid} & ({other}))")
        elif not driven:
            differ += [f"(first_{f} != second_{f})" for f in fields]
    body += [f"  {m} {m}_module ({', '.join(connections)});" for m, connections in pins.items()]
    any_difference = " | ".join(differ)
    if cell.clocked:
        body += [
            "  reg started = 1'b0;  // a reset has been",
            "  reg lawful = 1'b1;   // inputs have kept the handshake since",
            f"  wire breaks = {' | '.join(broken)};",
            "  always @(posedge clk) begin",
            "    if (rst) started <= 1'b1;",
            "    lawful <= rst | (lawful & !breaks);",
            "  end",
            f"  assign differs = started & lawful & !breaks & !rst & ({any_difference});",
        ]
    else:
        body.append(f"  assign differs = {any_difference};")
    return "module miter (" + ", ".join([*ports, "output differs"]) + ");\n" + "\n".join(body) + "\nendmodule\n"


def _stable(name: str, fields: list[str], bits: int, valid: str, ready: str, edge: str) -> list[str]:
    """Return Verilog that sees an input break the handshake; ``edge``: of its domain, if there are several."""
    now = "{" + ", ".join(fields) + "}"
    begin = f"if ({edge.removesuffix(' & ')}) begin" if edge else "begin"
    return [
        f"  reg {name}_waits = 1'b0;",
        f"  reg [{bits - 1}:0] {name}_offered;",
        f"  always @(posedge clk) {begin}",
        f"    {name}_waits <= {valid} & !first_{ready} & !rst;",
        f"    {name}_offered <= {now};",
        "  end",
        f"  wire {valid}_broken = {edge}{name}_waits & (!{valid} | ({name}_offered != {now}));",
    ]


def _commands(cell: Cell) -> list[str]:
    """Return the yosys commands that write ``miter.aig``."""
    out = []
    for name in ("first", "second"):
        out += [
            f"read_verilog -sv {name}.v",
            f"hierarchy -check -top {cell.name}",
            "proc",
            "flatten",
            "memory",
            "opt_clean",
            f"rename -top {name}",
            f"design -stash {name}",
        ]
    return [
        *out,
        "design -copy-from first -as first first",
        "design -copy-from second -as second second",
        "read_verilog -sv miter.v",
        "hierarchy -check -top miter",
        "proc",
        "flatten",
        "opt -full",
        "setundef -undriven -zero",
        "techmap",
        "opt -fast",
        "dffunmap",
        "simplemap",
        "aigmap",
        "setundef -anyseq",  # what a mutant leaves undefined may be anything
        "clean",
        "write_aiger miter.aig",
    ]


def _combinational(folder: Path, timeout_s: float, start: str = "read_aiger miter.aig; ") -> Comparison:
    out = _abc(folder, f"{start} fraig; iprove", timeout_s)
    if "UNSATISFIABLE" in out:
        return Comparison("equivalent", 0, "SAT")
    if "SATISFIABLE" in out:
        return Comparison("different", 0, "SAT")
    return Comparison("undecided", 0, f"no answer in {timeout_s:g} s")


def _sequential(folder: Path, timeout_s: float) -> Comparison:
    read = "read_aiger miter.aig; zero; strash; scleanup; "
    start = f"{read} scorr; dc2; scorr -F 2; dc2; "
    limit = max(1, int(timeout_s))
    out = _abc(folder, f"{start} print_stats; pdr -T {limit}", 2 * timeout_s)
    match = re.search(r"asserted in frame (\d+)", out)
    if match:
        return Comparison("different", int(match[1]) + 1, "property directed reachability")
    if "Property proved" in out:
        return Comparison("equivalent", 0, "property directed reachability")
    if re.search(r"lat =\s*0 ", out):  # induction left no registers
        found = _combinational(folder, timeout_s, start)
        return Comparison(found.verdict, 1, f"induction and {found.how}")
    out = _abc(folder, f"{read} bmc3 -T {limit}", BUILD_S)
    match = re.search(r"asserted in frame (\d+)", out)
    if match:
        return Comparison("different", int(match[1]) + 1, "bounded model checking")
    match = re.search(r"No output asserted in (\d+) frames", out)
    return Comparison("undecided", int(match[1]) if match else 0, "bounded model checking")


def _abc(folder: Path, script: str, timeout_s: float) -> str:
    """Run yosys' abc; return its output, or nothing if it does not end."""
    spec = find_spec("pyosys")
    if spec is None or spec.origin is None:
        raise UserError("proofs need pyosys; run: pip install 'lutscape[rtl]'")
    try:
        return _run([str(Path(spec.origin).parent / "yosys-abc"), "-c", script], folder, timeout_s)[0]
    except subprocess.TimeoutExpired:
        return ""


def _run(command: list[str], folder: Path, timeout_s: float) -> tuple[str, int]:
    done = subprocess.run(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, check=False, text=True
    )
    return done.stdout, done.returncode
