"""Verilog text that every generator writes: ports from channels, widths from ranges, the frame of a module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lutscape.rtl.cell import Channel, clock, header, reset

ASCII = str.maketrans({"…": "...", "±": "+-", "⌈": "ceil(", "⌉": ")"})
"""For comments in Verilog, of which tools expect plain characters."""


def index_bits(count: int) -> int:
    """Return bits of an unsigned number 0 … count - 1, at least one.

    >>> [index_bits(n) for n in (1, 2, 3, 4, 5)]
    [1, 1, 2, 2, 3]
    """
    return max(1, (count - 1).bit_length())


def signed_bits(low: int, high: int) -> int:
    """Return bits of a two's complement number low … high.

    >>> signed_bits(-128, 127), signed_bits(-128, 128), signed_bits(0, 0)
    (8, 9, 1)
    """
    return max(max(low, -low - 1).bit_length(), max(high, -high - 1).bit_length()) + 1


def vector(bits: int) -> str:
    """Return the range of a bus, empty for one bit."""
    return f"[{bits - 1}:0] " if bits > 1 else ""


def slice_of(name: str, lane: int, width: int, lanes: int) -> str:
    """Return one lane of a packed bus."""
    if lanes == 1:
        return name
    return f"{name}[{lane}]" if width == 1 else f"{name}[{lane * width + width - 1}:{lane * width}]"


def ports(channels: Iterable[Channel], clocked: bool) -> list[str]:
    """Return port declarations: clock and reset of each domain, then each channel's handshake and fields."""
    channels = tuple(channels)
    domains = sorted({c.domain for c in channels} | {""}) if clocked else []
    lines = [f"input  wire {port}" for d in domains for port in (clock(d), reset(d))]
    for channel in channels:
        forward, back = ("input  wire", "output wire") if channel.direction == "in" else ("output wire", "input  wire")
        if clocked:
            lines += [f"{forward} {channel.signal('valid')}", f"{back} {channel.signal('ready')}"]
        lines += [f"{forward} {vector(f.bits)}{channel.signal(f.name)}" for f in channel.fields]
    return lines


def module(
    name: str,
    what: str,
    parameters: Mapping[str, int | str],
    channels: Iterable[Channel],
    body: str,
    *,
    numbers: str,
    clocked: bool = True,
    latency: int = 0,
    interval: int = 1,
    formula: str = "",
) -> str:
    """Return one module: opening comment, ports, body (indented by four spaces already)."""
    head = header(what, parameters, latency, interval, formula, numbers)
    declared = ",\n".join(f"    {line}" for line in ports(channels, clocked))
    return f"{head}module {name} (\n{declared}\n);\n{body.rstrip()}\nendmodule\n".translate(ASCII)


def indented(lines: Iterable[str], by: int = 4) -> str:
    """Return lines joined, each indented; empty ones stay empty."""
    return "\n".join(" " * by + line if line else "" for line in lines)
