"""What a generator returns: one hardware cell with its source, its interface and the models it is held to.

A cell talks through channels. A channel is a bundle of fields with, in clocked cells, a valid/ready
handshake: a beat moves on a rising clock edge on which both are high. A producer keeps valid and its
fields until the beat has moved. Signals of channel ``w`` with field ``codes`` are ``w_valid``,
``w_ready`` and ``w_codes``; clocked cells also have ``clk`` and a synchronous, active-high ``rst``.
Combinational cells have no clock and no handshake: their signals are the fields alone
(``w_codes``), and every beat is one input vector. A channel may belong to a clock domain of its own: its handshake is
then in time with ``NAME_clk`` and ``NAME_rst`` instead of ``clk`` and ``rst``.

Values travel as integers: a field of ``lanes`` values of ``width`` bits is an array (beats, lanes) of
int64 (two's complement if ``signed``), packed with lane 0 in the lowest bits.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

Beats = dict[str, dict[str, npt.NDArray[np.int64]]]
"""channel name -> field name -> (beats, lanes) int64."""

Clocks = Mapping[str, tuple[int, int]]
"""clock domain -> (period, time of its edge 0), ps: edge n is at ``time + n period``."""


@dataclass(frozen=True)
class Field:
    """One bus of a channel.

    Attributes:
        name: signal name without the channel's prefix.
        width: bits of one value, 1 … 64 (64 only if signed).
        lanes: values side by side.
        signed: two's complement.
        meaning: for the port table.
    """

    name: str
    width: int
    lanes: int = 1
    signed: bool = False
    meaning: str = ""

    @property
    def bits(self) -> int:
        """Width of the bus."""
        return self.width * self.lanes


@dataclass(frozen=True)
class Channel:
    """Fields that move together.

    Attributes:
        name: prefix of the signals.
        direction: ``in`` or ``out``, seen from the cell.
        fields: at least one.
        meaning: for the port table.
        domain: clock domain; "" is that of ``clk``.
    """

    name: str
    direction: Literal["in", "out"]
    fields: tuple[Field, ...]
    meaning: str = ""
    domain: str = ""

    def signal(self, name: str) -> str:
        """Return the port of a field, or of ``valid`` and ``ready``."""
        return f"{self.name}_{name}"


WIDEST_COMMENT = 156


def clock(domain: str) -> str:
    """Return the clock port of a domain.

    >>> clock(""), clock("ccm")
    ('clk', 'ccm_clk')
    """
    return f"{domain}_clk" if domain else "clk"


def reset(domain: str) -> str:
    """Return the reset port of a domain."""
    return f"{domain}_rst" if domain else "rst"


@dataclass(frozen=True)
class Cell:
    """One Verilog module and everything that is known about it.

    Attributes:
        name: of the module; says its parameters, so that equal names mean equal modules.
        kind: of the generator (``lut_array``), for catalogues and calibration tables.
        parameters: numbers it was generated from, in the order they are printed.
        source: Verilog of this module alone.
        channels: interface.
        golden: beats of the input channels -> beats of the output channels, bit for bit.
        stimulus: (random generator, about how many output beats) -> beats of the input channels: random and
            corner values, whatever protocol the channels need (beats per step, first and last marks).
        coverage: beats of the input channels -> functional bins and how often each was hit; all must be.
        schedule: beats of the input channels -> for each output channel (beats,) clock edges from the first accepted
            input beat to that output beat moving, when nothing stalls; likewise input channels, where given. None for
            combinational cells.
        latency: clock edges from the acceptance of an input beat to the output that it completes; 0: combinational.
        interval: clock edges between input beats at full rate.
        formula: the schedule in words and symbols.
        numbers: formats in one line (``INT8 activations, two's complement; 32-bit sums, modulo 2^32``).
        parts: cells instantiated inside.
        clocked: has clk, rst and handshakes.
        operations: multiply-accumulates (or table entries built) per output beat at full rate, for costs.
        schedule_at: for cells of several clock domains, instead of ``schedule``: (beats, clocks) -> edges of channels,
            counted in their own domain from the end of reset.
        crossings: registers inside, as paths, that another clock domain samples: at most one bit of each may change
            at a time (Gray code).
    """

    name: str
    kind: str
    parameters: Mapping[str, int | str]
    source: str
    channels: tuple[Channel, ...]
    golden: Callable[[Beats], Beats]
    stimulus: Callable[[np.random.Generator, int], Beats]
    coverage: Callable[[Beats], dict[str, int]]
    schedule: Callable[[Beats], dict[str, npt.NDArray[np.int64]]] | None = None
    latency: int = 0
    interval: int = 1
    formula: str = ""
    numbers: str = ""
    parts: tuple[Cell, ...] = ()
    clocked: bool = True
    operations: float = 0.0
    notes: tuple[str, ...] = field(default=())
    schedule_at: Callable[[Beats, Clocks], dict[str, npt.NDArray[np.int64]]] | None = None
    crossings: tuple[str, ...] = ()

    @property
    def domains(self) -> tuple[str, ...]:
        """Clock domains of the channels, that of ``clk`` first; none for combinational cells."""
        return tuple(sorted({c.domain for c in self.channels} | {""})) if self.clocked else ()

    @property
    def inputs(self) -> tuple[Channel, ...]:
        """Channels that the bench drives."""
        return tuple(c for c in self.channels if c.direction == "in")

    @property
    def outputs(self) -> tuple[Channel, ...]:
        """Channels that the bench watches."""
        return tuple(c for c in self.channels if c.direction == "out")

    def channel(self, name: str) -> Channel:
        """Return a channel by name."""
        return next(c for c in self.channels if c.name == name)

    @cached_property
    def all_parts(self) -> tuple[Cell, ...]:
        """This cell and every cell below it, leaves first, each once."""
        found: dict[str, Cell] = {}
        for part in self.parts:
            for cell in part.all_parts:
                if found.setdefault(cell.name, cell).source != cell.source:
                    raise ValueError(f"two different modules are called {cell.name}")
        return (*found.values(), self)

    def verilog(self) -> str:
        """Return one file with all modules, leaves first."""
        return "\n".join(cell.source for cell in self.all_parts)


def header(
    what: str,
    parameters: Mapping[str, int | str],
    latency: int,
    interval: int,
    formula: str,
    numbers: str,
) -> str:
    """Return the comment that opens every generated module: what it is, parameters, timing, number formats."""
    shown = "parameters  " + (", ".join(f"{k} = {v}" for k, v in parameters.items()) or "none")
    lines = [what, "", *textwrap.wrap(shown, WIDEST_COMMENT, subsequent_indent=" " * 12)]
    if latency:
        lines += [f"latency     {latency} clock edges from an accepted input to its output"]
        lines += [f"throughput  one input beat every {interval} clock edge{'s' if interval > 1 else ''}"]
    else:
        lines += ["latency     combinational"]
    if formula:
        lines.append(f"cycles      {formula}")
    lines.append(f"numbers     {numbers}")
    return "\n".join(f"// {line}".rstrip() for line in lines) + "\n"


def pack(values: npt.NDArray[np.int64], field_: Field) -> list[int]:
    """Return one Python integer per beat: lanes of ``width`` bits, lane 0 lowest."""
    mask, out = (1 << field_.width) - 1, []
    for row in np.asarray(values, dtype=np.int64).tolist():
        word = 0
        for value in reversed(row):
            word = (word << field_.width) | (value & mask)
        out.append(word)
    return out


def unpack(words: list[int], field_: Field) -> npt.NDArray[np.int64]:
    """Return (beats, lanes) int64 from one integer per beat; the inverse of :func:`pack`."""
    mask, half = (1 << field_.width) - 1, 1 << (field_.width - 1)
    out = np.empty((len(words), field_.lanes), dtype=np.int64)
    for i, word in enumerate(words):
        for lane in range(field_.lanes):
            value = (word >> (lane * field_.width)) & mask
            out[i, lane] = value - (mask + 1) if field_.signed and value & half else value
    return out
