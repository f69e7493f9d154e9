"""A netlist joined with its library: every pin has a net, every net a driver and a load, instances an order.

Shared by timing, power and gate simulation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError, nearest
from lutscape.rtl.liberty import Cell, Library
from lutscape.rtl.netlist import ONE, Netlist


@dataclass(frozen=True, eq=False)
class Linked:
    """A netlist and its cells.

    Attributes:
        netlist: as parsed.
        library: its cells.
        cells: the distinct cells, by name.
        nets: number of nets, with one more for each output pin that the netlist leaves open.
        pins: per instance, pin -> net for every input and output pin of the cell.
        driver: (nets,) instance that drives, -1 for input ports, constants and undriven nets.
        pin_load_ff: (nets, 2) capacitance of the input pins on a net for its rising and falling edge.
        order: instances; each comes after the drivers of the nets it passes on within a cycle.
        registers: instances of flip-flops.
        clock: name of the clock port, "" for none.
        clock_nets: (nets,) 0 no clock, 1 the clock, 2 its inverse.
        edge: the active edge of the clock port: ``rising`` or ``falling``.
    """

    netlist: Netlist
    library: Library
    cells: Mapping[str, Cell]
    nets: int
    pins: tuple[Mapping[str, int], ...]
    driver: NDArray[np.int64]
    pin_load_ff: NDArray[np.float64]
    order: NDArray[np.int64]
    registers: NDArray[np.int64]
    clock: str
    clock_nets: NDArray[np.int8]
    edge: str

    def columns(self, cell: str, pins: list[str]) -> NDArray[np.int64]:
        """Return the nets on some pins of all instances of a cell, shape (instances, pins)."""
        rows = self.netlist.by_cell[cell]
        return np.array([[self.pins[i][p] for p in pins] for i in rows], np.int64).reshape(len(rows), len(pins))

    def net_name(self, net: int) -> str:
        """Return the name of a net; of an open output, instance/pin."""
        if net < len(self.netlist.nets):
            return self.netlist.nets[net]
        i = int(self.driver[net])
        pin = next(p for p, n in self.pins[i].items() if n == net)
        return f"{self.netlist.instances[i]}/{pin}"

    def area_um2(self) -> float:
        return sum(len(rows) * self.cells[cell].area_um2 for cell, rows in self.netlist.by_cell.items())


@lru_cache(maxsize=8)
def link(netlist: Netlist, library: Library, clock: str | None = "clk") -> Linked:
    """Join a netlist with its library.

    Args:
        netlist: flat.
        library: with its cells.
        clock: name of the clock port. A netlist without flip-flops needs none.

    Raises:
        UserError: a cell or pin that the library lacks, an open input, two drivers, a combinational loop, latches,
            registers without clock or on both edges of it.
    """
    cells: dict[str, Cell] = {}
    for name, rows in netlist.by_cell.items():
        cells[name] = library.cell(name, f"{netlist.name}: instance {netlist.instances[rows[0]]!r}")
        register = cells[name].register
        if register is not None and register.kind == "latch":
            raise UserError(
                f"{netlist.name}: instance {netlist.instances[rows[0]]!r} of {name!r} is a latch; "
                "allowed: flip-flops and combinational cells"
            )
    pins, nets = _pins(netlist, cells)
    driver = np.full(nets, -1, np.int64)
    load = np.zeros((nets, 2))
    fixed = {int(n) for bits in netlist.inputs.values() for n in bits} | {0, ONE}
    for i, name in enumerate(netlist.cells):
        for pin, net in pins[i].items():
            p = cells[name].pins[pin]
            if p.direction == "input":
                load[net] += p.capacitance_ff
            else:
                if driver[net] >= 0 or net in fixed:
                    other = f"instance {netlist.instances[driver[net]]!r}" if driver[net] >= 0 else "a port or constant"
                    raise UserError(
                        f"{netlist.name}: net {netlist.nets[net]!r} has two drivers: "
                        f"instance {netlist.instances[i]!r} and {other}"
                    )
                driver[net] = i
    registers = np.array([i for i, c in enumerate(netlist.cells) if cells[c].register is not None], np.int64)
    order = _order(netlist, cells, pins, driver)
    clock_nets, edge = np.zeros(nets, np.int8), "rising"
    if clock is not None and (len(registers) or clock in netlist.inputs):
        clock_nets[netlist.input_net(clock, "clock")] = 1
        _spread(netlist, cells, pins, order, clock_nets)
    else:
        clock = None
    if len(registers):
        edge = _edge(netlist, cells, pins, registers, clock_nets, clock)
    return Linked(netlist, library, cells, nets, pins, driver, load, order, registers, clock or "", clock_nets, edge)


def _pins(netlist: Netlist, cells: Mapping[str, Cell]) -> tuple[tuple[Mapping[str, int], ...], int]:
    """Return all pins of all instances; open outputs get nets of their own."""
    nets = len(netlist.nets)
    result: list[Mapping[str, int]] = []
    signal = {
        name: [(p.name, p.direction == "input") for p in cell.pins.values() if p.direction in ("input", "output")]
        for name, cell in cells.items()
    }
    for i, name in enumerate(netlist.cells):
        connected = netlist.pins[i]
        full: dict[str, int] = {}
        for pin, is_input in signal[name]:
            if pin in connected:
                full[pin] = connected[pin]
            elif is_input:
                raise UserError(f"{netlist.name}: input {pin!r} of instance {netlist.instances[i]!r} ({name}) is open")
            else:
                full[pin] = nets
                nets += 1
        for pin in connected:
            if pin not in full:
                known = [p for p, _ in signal[name]]
                raise UserError(
                    f"{netlist.name}: instance {netlist.instances[i]!r}: {name} has no signal pin {pin!r}"
                    f"{nearest(pin, known)}; has: {', '.join(known)}"
                )
        result.append(full)
    return tuple(result), nets


def _order(
    netlist: Netlist, cells: Mapping[str, Cell], pins: tuple[Mapping[str, int], ...], driver: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return instances in topological order: a register depends only on its clear and preset."""
    through: dict[str, list[str]] = {}
    for name, cell in cells.items():
        if cell.register is None:
            through[name] = cell.inputs
        else:
            asynchronous = [e for e in (cell.register.clear, cell.register.preset) if e is not None]
            through[name] = [v for e in asynchronous for v in e.variables if v in cell.pins]
    waiting = np.zeros(len(pins), np.int64)
    users: list[list[int]] = [[] for _ in pins]
    for i, name in enumerate(netlist.cells):
        for pin in through[name]:
            source = driver[pins[i][pin]]
            if source >= 0:
                users[source].append(i)
                waiting[i] += 1
    order = [i for i in range(len(pins)) if waiting[i] == 0]
    for i in order:
        for user in users[i]:
            waiting[user] -= 1
            if waiting[user] == 0:
                order.append(user)
    if len(order) < len(pins):
        stuck = int(np.flatnonzero(waiting)[0])
        seen: list[int] = []
        while stuck not in seen:  # walk back along waiting drivers until an instance repeats: it is on the loop
            seen.append(stuck)
            sources = [int(driver[pins[stuck][p]]) for p in through[netlist.cells[stuck]]]
            stuck = next(s for s in sources if s >= 0 and waiting[s])
        loop = [netlist.instances[i] for i in seen[seen.index(stuck) :]]
        shown = " <- ".join(loop[:6]) + (" ..." if len(loop) > 6 else "")
        raise UserError(f"{netlist.name}: combinational loop through {len(loop)} instances: {shown}")
    return np.array(order, np.int64)


def _spread(
    netlist: Netlist,
    cells: Mapping[str, Cell],
    pins: tuple[Mapping[str, int], ...],
    order: NDArray[np.int64],
    clock_nets: NDArray[np.int8],
) -> None:
    """Mark the nets that buffers and inverters carry the clock to; refuse it in other logic."""
    for i in order:
        cell = cells[netlist.cells[i]]
        if cell.register is not None:
            continue
        sources = [pins[i][p] for p in cell.inputs if clock_nets[pins[i][p]]]
        if not sources:
            continue
        function = cell.pins[cell.outputs[0]].function
        if len(cell.inputs) != 1 or len(cell.outputs) != 1 or function is None:
            raise UserError(
                f"{netlist.name}: the clock enters instance {netlist.instances[i]!r} ({cell.name}); "
                "allowed on a clock: flip-flops, buffers and inverters"
            )
        inverts = bool(function.table()[0])
        clock_nets[pins[i][cell.outputs[0]]] = 3 - clock_nets[sources[0]] if inverts else clock_nets[sources[0]]


def _edge(
    netlist: Netlist,
    cells: Mapping[str, Cell],
    pins: tuple[Mapping[str, int], ...],
    registers: NDArray[np.int64],
    clock_nets: NDArray[np.int8],
    clock: str | None,
) -> str:
    found: dict[str, int] = {}
    for i in registers:
        register = cells[netlist.cells[i]].register
        assert register is not None
        name = f"{netlist.name}: register {netlist.instances[i]!r} ({netlist.cells[i]})"
        if clock is None:
            raise UserError(f"{name} needs a clock; give the clock port, one of: {', '.join(netlist.inputs)}")
        if len(register.clocked_on.variables) != 1:
            raise UserError(f"{name}: clocked on more than one pin")
        polarity = int(clock_nets[pins[i][register.clocked_on.variables[0]]])
        if not polarity:
            raise UserError(f"{name} is not clocked by {clock!r}; allowed: one clock, through buffers and inverters")
        rises = bool(register.clocked_on.table()[1])
        found["rising" if rises == (polarity == 1) else "falling"] = int(i)
    if len(found) > 1:
        one, other = (netlist.instances[i] for i in found.values())
        raise UserError(f"{netlist.name}: registers on both edges of {clock!r} ({one!r}, {other!r}); allowed: one edge")
    return next(iter(found))
