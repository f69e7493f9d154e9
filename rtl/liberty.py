"""Liberty libraries in the units of this room: ps, fF, fJ, W, V, um².

Several files are one library (ASAP7 comes in five). A cell is converted from its syntax tree when it is first asked
for, so a library of a thousand cells costs what the netlist uses. Read: area, pins and capacitances, functions,
flip-flops, NLDM timing arcs and constraints, leakage by state, internal power by pin, state and supply.
Not read: wire-load tables (no wires are modelled), CCS and noise data, operating conditions other than the file's
own. Reading and its errors are in :mod:`lutscape.rtl.liberty_read`; where libraries come from in
:mod:`lutscape.rtl.liberty_get`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError, nearest
from lutscape.rtl.expression import Expression

if TYPE_CHECKING:
    from lutscape.rtl.liberty_read import File


@dataclass(frozen=True, eq=False)
class Table:
    """A lookup table, bilinear inside, extrapolated linearly outside. A missing axis has the one index 0.

    Attributes:
        index_1: (n1,) input transition, or transition of the constrained pin, ps.
        index_2: (n2,) output load, fF, or transition of the related pin, ps.
        values: (n1, n2) in ps (delay, transition, constraint) or fJ (energy).
    """

    index_1: NDArray[np.float64]
    index_2: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arc:
    """A timing group: from ``related_pin`` to the pin it stands in.

    Attributes:
        pin: output pin; constrained pin in setup and hold groups.
        related_pin: input or clock pin.
        kind: ``timing_type``: ``combinational``, ``rising_edge``, ``setup_rising``, ``hold_rising``, ``clear``...
        sense: ``positive_unate``, ``negative_unate`` or ``non_unate``.
        when: state in which it holds (unused: the worst state counts).
        delay: tables of cell_rise, cell_fall; None where a group lacks one.
        transition: tables of rise_transition, fall_transition.
        constraint: tables of rise_constraint, fall_constraint.
    """

    pin: str
    related_pin: str
    kind: str
    sense: str
    when: Expression | None
    delay: tuple[Table | None, Table | None]
    transition: tuple[Table | None, Table | None]
    constraint: tuple[Table | None, Table | None]


@dataclass(frozen=True, eq=False)
class InternalPower:
    """Energy of a transition of ``pin``; groups that differ only in the supply add up.

    Attributes:
        pin: which toggles.
        related_pin: input that causes it (output pins); empty for the pin's own (hidden) energy.
        supply: related_pg_pin, empty if not given.
        when: state in which it holds; None for always.
        energy: tables for rising and falling pin, fJ.
    """

    pin: str
    related_pin: str
    supply: str
    when: Expression | None
    energy: tuple[Table | None, Table | None]


@dataclass(frozen=True)
class Leakage:
    """Leakage in one state, W. ``when`` None is the default of the cell; ``supply`` is a pin of :attr:`Cell.grounds`
    where a library states the same current a second time."""

    when: Expression | None
    watts: float
    supply: str


@dataclass(frozen=True)
class Register:
    """A flip-flop or latch group.

    Attributes:
        kind: ``ff`` or ``latch``.
        state: names of the state variable and its complement.
        clocked_on: expression of the clock (``enable`` of a latch).
        next_state: expression of the data (``data_in`` of a latch).
        clear: asynchronous, or None.
        preset: asynchronous, or None.
        both: value of the state variable (``L``, ``H``, ...) where clear and preset are active together.
    """

    kind: str
    state: tuple[str, str]
    clocked_on: Expression
    next_state: Expression
    clear: Expression | None
    preset: Expression | None
    both: str


@dataclass(frozen=True)
class Pin:
    """A signal pin.

    Attributes:
        direction: ``input``, ``output``, ``inout`` or ``internal``.
        capacitance_ff: (rise, fall).
        max_capacitance_ff: largest load of an output; infinite if not given.
        function: of an output; None if the library has none.
        three_state: whether the output can be released.
        clock: whether the library marks it as a clock.
    """

    name: str
    direction: str
    capacitance_ff: tuple[float, float]
    max_capacitance_ff: float
    function: Expression | None
    three_state: bool
    clock: bool


@dataclass(frozen=True, eq=False)
class Cell:
    """A standard cell.

    Attributes:
        grounds: supply pins that are ground.
        default_leakage_w: None if the library gives none.
        unsupported: why it cannot be used; empty if it can.
    """

    name: str
    area_um2: float
    pins: Mapping[str, Pin]
    grounds: frozenset[str]
    register: Register | None
    arcs: tuple[Arc, ...]
    leakage: tuple[Leakage, ...]
    default_leakage_w: float | None
    internal_power: tuple[InternalPower, ...]
    unsupported: str

    @property
    def inputs(self) -> list[str]:
        return [p.name for p in self.pins.values() if p.direction == "input"]

    @property
    def outputs(self) -> list[str]:
        return [p.name for p in self.pins.values() if p.direction == "output"]


@dataclass(frozen=True, eq=False)
class Library:
    """Cells by name, converted on first use.

    Attributes:
        name: names of the files' library groups, joined.
        paths: files read.
        sha256: of each file's (uncompressed) text.
        voltage: nominal supply, V.
        temperature_c: nominal.
        wire_loads: whether the files carry wire-load tables (they are not used).
    """

    name: str
    paths: tuple[Path, ...]
    sha256: tuple[str, ...]
    voltage: float
    temperature_c: float
    wire_loads: bool
    files: tuple[File, ...] = field(repr=False)
    where: Mapping[str, int] = field(repr=False)  # cell -> index into files
    converted: dict[str, Cell] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> Cell:
        if name not in self.converted:
            self.converted[name] = self.files[self.where[name]].cell(name)
        return self.converted[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)

    def __contains__(self, name: object) -> bool:
        return name in self.where

    def cell(self, name: str, user: str) -> Cell:
        """Return a cell that ``user`` (an instance, an option) asks for.

        Raises:
            UserError: the library has no such cell, or one that cannot be used here.
        """
        if name not in self.where:
            files = ", ".join(p.name for p in self.paths)
            raise UserError(f"{user}: no cell {name!r} in {files} ({len(self)} cells){nearest(name, self.where)}")
        cell = self[name]
        if cell.unsupported:
            raise UserError(f"{user}: cell {name!r} cannot be used: {cell.unsupported}")
        return cell

    def has_power(self) -> bool:
        """Return whether any cell has internal power tables."""
        return any(f.has_power for f in self.files)


def load(paths: Sequence[str | Path] | str | Path) -> Library:
    """Read Liberty files (``.lib``, ``.lib.gz`` or the name of a library in the cache) as one library.

    Raises:
        UserError: no such file, not Liberty, damaged, or files of different supplies or slew thresholds.
    """
    from lutscape.rtl.liberty_get import find
    from lutscape.rtl.liberty_read import read

    names = [paths] if isinstance(paths, str | Path) else list(paths)
    if not names:
        raise UserError("no Liberty file given; give a path, or nangate45 after: lutscape rtl liberty get nangate45")
    files = [read(find(name)) for name in names]
    first = files[0]
    where: dict[str, int] = {}
    for i, file in enumerate(files):
        for what, mine, other in (
            ("voltage", file.voltage, first.voltage),
            ("slew thresholds", file.thresholds, first.thresholds),
        ):
            if mine != other:
                raise UserError(f"{file.path}: {what} {mine} differ from {other} of {first.path}; give one corner")
        for name in file.cells:
            where.setdefault(name, i)
    return Library(
        "+".join(dict.fromkeys(f.name for f in files)),
        tuple(f.path for f in files),
        tuple(f.sha256 for f in files),
        first.voltage,
        first.temperature_c,
        any(f.wire_loads for f in files),
        tuple(files),
        where,
    )


def find(name: str | Path) -> Path:
    """Return the path of a Liberty file: a path as it is, ``nangate45`` from the cache."""
    from lutscape.rtl.liberty_get import find as find_cached

    return find_cached(name)
