"""Waveforms of one operation of a clocked cell, as its ports show it in an RTL simulation at full rate."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lutscape.hw.errors import UserError
from lutscape.rtl import simulators
from lutscape.rtl.cell import Beats, Cell, pack

HALF = 5  # time units of half a clock period
LIMIT_S = 60.0


@dataclass(frozen=True)
class Wave:
    """Values of one port, sampled in the middle of every clock cycle, before the rising edge that ends it.

    Attributes:
        name: of the port.
        width: bits.
        values: one per cycle; None where a bit is undefined.
    """

    name: str
    width: int
    values: tuple[int | None, ...]


def record(cell: Cell, stimulus: Beats, cycles: int, inside: Sequence[str] = ()) -> list[Wave]:
    """Drive a cell with beats at full rate and return the waveforms of its ports, reset included.

    Args:
        cell: a clocked cell.
        stimulus: beats of every input channel.
        cycles: clock cycles to record, from the start of the two cycles of reset.
        inside: nets and registers inside the cell to record, too, by paths; their waves have the last name.

    Raises:
        UserError: Icarus Verilog is not installed, or the cell has no clock.
    """
    if not cell.clocked:
        raise UserError(f"{cell.name}: a combinational cell has no waveform over cycles")
    program = simulators.find("icarus").program
    with tempfile.TemporaryDirectory(prefix="lutscape-waves-") as name:
        folder = Path(name)
        (folder / "cell.v").write_text(cell.verilog())
        (folder / "bench.v").write_text(_bench(cell, stimulus, cycles, inside))
        binary, dump = folder / "bench.vvp", folder / "waves.vcd"
        try:
            for command in (
                [str(program), "-g2005-sv", "-o", str(binary), str(folder / "bench.v"), str(folder / "cell.v")],
                [str(program.with_name("vvp")), "-n", str(binary)],
            ):
                subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=LIMIT_S)
        except subprocess.CalledProcessError as error:
            raise UserError(f"{cell.name}: simulation failed: {error.stderr.strip().splitlines()[-1:]}") from None
        except subprocess.TimeoutExpired:
            raise UserError(f"{cell.name}: simulation took longer than {LIMIT_S:g} s") from None
        return _sampled(dump.read_text(), cycles)


def _bench(cell: Cell, stimulus: Beats, cycles: int, inside: Sequence[str] = ()) -> str:
    """Return a Verilog bench that plays the beats and dumps the ports."""
    lines = ["`timescale 1ns/1ns", "module bench;", "  reg clk = 1; reg rst = 1;"]
    pins, ports, body = [".clk(clk)", ".rst(rst)"], ["clk", "rst"], []
    for channel in cell.channels:
        valid, ready = channel.signal("valid"), channel.signal("ready")
        pins += [f".{s}({s})" for s in (valid, ready)]
        ports += [valid, ready]
        if channel.direction == "out":
            lines += [f"  wire {valid}; reg {ready} = 1;"]
        else:
            count = len(next(iter(stimulus[channel.name].values())))
            index = f"{channel.name}_at"
            lines += [f"  wire {ready}; integer {index} = 0; wire {valid} = !rst && {index} < {count};"]
            body += [f"    if ({valid} && {ready}) {index} <= {index} + 1;"]
        for field in channel.fields:
            signal = channel.signal(field.name)
            pins.append(f".{signal}({signal})")
            ports.append(signal)
            if channel.direction == "out":
                lines.append(f"  wire [{field.bits - 1}:0] {signal};")
                continue
            words = pack(stimulus[channel.name][field.name], field)
            lines.append(f"  reg [{field.bits - 1}:0] {signal}_beats [0:{max(len(words), 1) - 1}];")
            lines.append("  initial begin")
            lines += [f"    {signal}_beats[{i}] = {field.bits}'h{word:x};" for i, word in enumerate(words)]
            lines.append("  end")
            lines.append(f"  wire [{field.bits - 1}:0] {signal} = {signal}_beats[{channel.name}_at];")
    lines.append(f"  {cell.name} dut (" + ", ".join(pins) + ");")
    lines += [f"  always #{HALF} clk = ~clk;", "  always @(posedge clk) begin", *body, "  end"]
    ports += [f"dut.{path}" for path in inside]
    lines += ["  initial begin", '    $dumpfile("waves.vcd");', f"    $dumpvars(0, {', '.join(ports)});"]
    lines += [f"    #{4 * HALF + 1} rst = 0;", f"    #{2 * HALF * cycles} $finish;", "  end", "endmodule"]
    return "\n".join(lines) + "\n"


def _sampled(text: str, cycles: int) -> list[Wave]:
    """Return the values in the middle of each cycle's high phase, by port in the order of the dump."""
    names: dict[str, tuple[str, int]] = {}
    for width, code, name in re.findall(r"\$var\s+\w+\s+(\d+)\s+(\S+)\s+(\w+)", text):
        names.setdefault(code, (name, int(width)))
    now: dict[str, int | None] = dict.fromkeys(names, None)
    values: dict[str, list[int | None]] = {code: [] for code in names}
    time = 0
    for line in text.split("$enddefinitions $end", 1)[1].splitlines():
        if line.startswith("#"):
            later = int(line[1:])
            _sample(now, values, time, later, cycles)
            time = later
        elif line[:1] in "01xz" and line:
            now[line[1:]] = int(line[0]) if line[0] in "01" else None
        elif line.startswith("b"):
            bits, code = line[1:].split()
            now[code] = int(bits, 2) if set(bits) <= {"0", "1"} else None
    _sample(now, values, time, time + 2 * HALF * cycles, cycles)
    return [Wave(name, width, tuple(values[code])) for code, (name, width) in names.items() if name != "clk"]


def _sample(
    now: Mapping[str, int | None], values: Mapping[str, list[int | None]], start: int, end: int, cycles: int
) -> None:
    """Append the values that hold from ``start`` to ``end`` to the cycles whose sample lies between."""
    for code, taken in values.items():
        while len(taken) < cycles and start <= 2 * HALF * len(taken) + 2 * HALF - 1 < end:
            taken.append(now[code])
