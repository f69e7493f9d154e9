"""Bit-parallel, two-state, zero-delay simulation of a mapped netlist, with toggles and duty of every net.

Streams are independent runs of the netlist side by side, 64 to a machine word; cycles follow one another. In cycle t
the inputs of cycle t meet the register contents that cycle t - 1 left; all nets settle; outputs are taken and toggles
counted; then the clock edge loads the registers. So an output straight from a register shows what was loaded at
the end of the cycle before.

Stimulus, per input port but the clock, either of

- integers, shape (cycles, streams) or broadcastable to it ((cycles, 1): the same for all streams), for ports of at
  most 64 bits; negative numbers are two's complement;
- bits, bool or uint8, shape (cycles, streams, width), bit 0 of the port at index 0, for ports of any width.

Toggles are those of settled values: glitches within a cycle are not seen (:mod:`lutscape.rtl.glitch` sees them).
Registers start at ``initial``. Cell functions come from the library's ``function``, ``next_state``, ``clear`` and
``preset`` expressions, compiled to two-input operations; nothing is evaluated as Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError, nearest
from lutscape.rtl import expression
from lutscape.rtl.activity import Activity, settle
from lutscape.rtl.expression import Expression
from lutscape.rtl.gatesim_kernel import run
from lutscape.rtl.liberty import Cell, Library, Register
from lutscape.rtl.linked import Linked, link
from lutscape.rtl.netlist import ONE, ZERO, Netlist

Words = NDArray[np.uint64]
BLOCK = 8  # words simulated together: the values of 5,000 nets stay in the second-level cache
ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True, eq=False)
class Program:
    """A netlist as two-input operations on slots: the nets first, then register states, then scratch.

    Attributes:
        settle: (operations, 3) destination, operand a, operand b: what happens within a cycle, in order.
        settle_masks: (operations, 4) words m: result = m0 ^ a&m1 ^ b&m2 ^ a&b&m3.
        load: likewise at the clock edge.
        load_masks: likewise.
        slots: how many.
        states: slots of the register states.
    """

    settle: NDArray[np.int64]
    settle_masks: Words
    load: NDArray[np.int64]
    load_masks: Words
    slots: int
    states: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulation saw.

    Attributes:
        cycles: simulated.
        streams: side by side.
        counted: cycles whose toggles and duty were counted, per stream.
        toggles: (nets,) edges over all counted cycles and streams.
        ones: (nets,) cycles in which the net was 1, likewise.
        words: port -> (cycles, width, words of 64 streams), for every output; streams that do not exist are 0.
        linked: netlist and library.
        method: in words.
    """

    cycles: int
    streams: int
    counted: int
    toggles: NDArray[np.int64]
    ones: NDArray[np.int64]
    words: Mapping[str, Words]
    linked: Linked
    method: str = "gate simulation, zero delay"

    def bits(self, port: str) -> NDArray[np.uint8]:
        """Return an output as bits, shape (cycles, streams, width), bit 0 first."""
        bytes_ = self.words[port].view(np.uint8)  # (cycles, width, 8 x words), little-endian
        return np.unpackbits(bytes_, axis=2, count=self.streams, bitorder="little").transpose(0, 2, 1)

    def integers(self, port: str, signed: bool = False) -> NDArray[Any]:
        """Return an output of at most 64 bits as uint64 (or int64) numbers, shape (cycles, streams)."""
        bits = self.bits(port)
        width = bits.shape[2]
        if width > 64:
            raise UserError(f"output {port!r} has {width} bits; integers have at most 64, take bits()")
        value = np.zeros(bits.shape[:2], np.uint64)
        for k in range(width):
            value |= bits[:, :, k].astype(np.uint64) << np.uint64(k)
        if not signed:
            return value
        spare = np.uint64(64 - width)
        return (value << spare).view(np.int64) >> spare.astype(np.int64)

    def activity(self) -> Activity:
        """Return toggles per cycle and duty of every net."""
        if not self.counted:
            raise UserError("activity needs a stimulus of at least 2 cycles")
        total = self.streams * self.counted
        source = f"{self.method}, {self.streams} streams of {self.counted} cycles"
        activity = Activity(self.toggles / total, self.ones / total, source)
        settle(self.linked, activity)
        return activity


def simulate(
    netlist: Netlist,
    library: Library,
    stimulus: Mapping[str, NDArray[Any]],
    clock: str | None = "clk",
    count_from: int = 1,
    initial: int = 0,
) -> Simulation:
    """Simulate a netlist.

    Args:
        netlist: flat, mapped.
        library: its cells.
        stimulus: per input port, see above.
        clock: name of the clock port; a netlist without flip-flops needs none.
        count_from: first cycle whose edges (from the cycle before) and levels count; at least 1.
        initial: value of all registers before cycle 0, 0 or 1.

    Raises:
        UserError: a port without stimulus, an unknown port, shapes that do not fit, a value too wide.
    """
    linked = link(netlist, library, clock)
    program = compile_netlist(linked)
    cycles, streams, packed = pack(netlist, linked.clock, stimulus)
    last = max(1, cycles - 1)
    if not 1 <= count_from <= last:
        raise UserError(f"count_from {count_from}; allowed: 1 to {last} (the stimulus has {cycles} cycles)")
    if initial not in (0, 1):
        raise UserError(f"initial {initial}; allowed: 0, 1")
    words = -(-streams // 64)
    mask = np.full(words, ALL)
    if streams % 64:
        mask[-1] = np.uint64((1 << streams % 64) - 1)
    in_nets, inputs = _gather(netlist.inputs, packed, cycles, words)
    out_nets = np.concatenate([np.asarray(n, np.int64) for n in netlist.outputs.values()] or [np.zeros(0, np.int64)])
    outputs = np.zeros((cycles, len(out_nets), words), np.uint64)
    toggles, ones = np.zeros(linked.nets, np.int64), np.zeros(linked.nets, np.int64)
    for first in range(0, words, BLOCK):
        block = slice(first, min(first + BLOCK, words))
        slots = np.zeros((program.slots, block.stop - first), np.uint64)
        slots[ONE] = ALL
        slots[program.states] = ALL if initial else 0
        part = np.zeros((cycles, len(out_nets), block.stop - first), np.uint64)
        run(
            program.settle,
            program.settle_masks,
            program.load,
            program.load_masks,
            slots,
            in_nets,
            np.ascontiguousarray(inputs[:, :, block]),
            out_nets,
            part,
            mask[block],
            count_from,
            toggles,
            ones,
        )
        outputs[:, :, block] = part & mask[block]
    found: dict[str, Words] = {}
    at = 0
    for port, nets in netlist.outputs.items():
        found[port] = np.ascontiguousarray(outputs[:, at : at + len(nets)])
        at += len(nets)
    return Simulation(cycles, streams, cycles - count_from, toggles, ones, found, linked)


def pack(netlist: Netlist, clock: str, stimulus: Mapping[str, NDArray[Any]]) -> tuple[int, int, dict[str, Words]]:
    """Return cycles, streams and, per port, words of shape (cycles or 1, width, words)."""
    wanted = [p for p in netlist.inputs if p != clock]
    for port in stimulus:
        if port not in wanted:
            what = "is the clock" if port == clock else f"is no input of {netlist.name}{nearest(port, wanted)}"
            raise UserError(f"stimulus {port!r} {what}; allowed: {', '.join(wanted)}")
    for port in wanted:
        if port not in stimulus:
            raise UserError(f"no stimulus for input {port!r} of {netlist.name}")
    arrays = {port: np.asarray(stimulus[port]) for port in wanted}
    shapes = {}
    for port, array in arrays.items():
        width = len(netlist.inputs[port])
        if array.ndim not in (2, 3) or array.dtype.kind not in "bui" or (array.ndim == 3 and array.shape[2] != width):
            raise UserError(
                f"stimulus {port!r}: {array.dtype} of shape {array.shape}; allowed: integers (cycles, streams) or bits "
                f"(cycles, streams, {width})"
            )
        shapes[port] = array.shape[:2]
    try:
        cycles, streams = np.broadcast_shapes(*shapes.values()) if shapes else (1, 1)
    except ValueError:
        text = ", ".join(f"{p} {s}" for p, s in shapes.items())
        raise UserError(f"stimulus: (cycles, streams) do not fit together: {text}") from None
    if not cycles or not streams:
        raise UserError("stimulus: no cycles or no streams")
    packed = {}
    for port, array in arrays.items():
        width = len(netlist.inputs[port])
        if array.ndim == 2:
            array = _bits(port, array, width)
        elif array.size and (array.max() > 1 or array.min() < 0):
            raise UserError(f"stimulus {port!r}: bits must be 0 or 1, found {array.max()}")
        bits = np.broadcast_to(array, (array.shape[0], streams, width)).transpose(0, 2, 1)
        bytes_ = np.packbits(bits.astype(np.bool_), axis=2, bitorder="little")
        padded = np.zeros((*bytes_.shape[:2], -(-streams // 64) * 8), np.uint8)
        padded[:, :, : bytes_.shape[2]] = bytes_
        packed[port] = padded.view(np.uint64)
    return int(cycles), int(streams), packed


def _bits(port: str, values: NDArray[Any], width: int) -> NDArray[np.bool_]:
    """Return integers (cycles, streams) as bits (cycles, streams, width)."""
    if width > 64:
        raise UserError(f"stimulus {port!r}: a port of {width} bits needs bits (cycles, streams, {width})")
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if high >= 1 << width or low < -(1 << (width - 1)):
        raise UserError(f"stimulus {port!r}: value {high if high >= 1 << width else low} does not fit {width} bits")
    raw = values.astype(np.uint64) if values.dtype.kind in "bu" else values.astype(np.int64).view(np.uint64)
    return (raw[:, :, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)).astype(np.bool_)


def _gather(
    ports: Mapping[str, NDArray[np.int64]], packed: Mapping[str, Words], cycles: int, words: int
) -> tuple[NDArray[np.int64], Words]:
    """Return the nets of all driven input bits and their words, shape (cycles, bits, words)."""
    nets = [np.asarray(ports[p], np.int64) for p in packed]
    parts = [np.broadcast_to(w, (cycles, w.shape[1], words)) for w in packed.values()]
    if not parts:
        return np.zeros(0, np.int64), np.zeros((cycles, 0, words), np.uint64)
    return np.concatenate(nets), np.concatenate(parts, axis=1)


@lru_cache(maxsize=8)
def compile_netlist(linked: Linked) -> Program:
    """Compile a netlist.

    Raises:
        UserError: an output pin without a function.
    """
    code = _Code(linked.nets, len(linked.registers))
    state_of = {int(i): linked.nets + k for k, i in enumerate(linked.registers)}
    plans = {name: cell_plan(cell) for name, cell in linked.cells.items()}
    netlist = linked.netlist
    for i in linked.order:
        slots = dict(linked.pins[i])
        plan = plans[netlist.cells[i]]
        if plan.state:
            slots[plan.state] = state_of[int(i)]
        for pin, function in plan.outputs.items():
            if not linked.clock_nets[slots[pin]]:
                code.emit(code.settle, function, slots, slots[pin])
    for i in linked.registers:
        plan = plans[netlist.cells[i]]
        slots = {**linked.pins[i], plan.state: state_of[int(i)]}
        assert plan.next_state is not None
        code.emit(code.load, plan.next_state, slots, state_of[int(i)])
    arrays = [np.array(rows, np.int64).reshape(-1, 3) for rows in (code.settle.rows, code.load.rows)]
    masks = [np.array(rows, np.uint64).reshape(-1, 4) for rows in (code.settle.masks, code.load.masks)]
    states = np.arange(linked.nets, linked.nets + len(linked.registers))
    return Program(arrays[0], masks[0], arrays[1], masks[1], code.scratch + code.used, states)


@dataclass(frozen=True)
class Plan:
    """What a cell computes: outputs over input pins and state, the next state, the state's name ("" for none)."""

    outputs: Mapping[str, Expression]
    next_state: Expression | None
    state: str


def cell_plan(cell: Cell) -> Plan:
    """Return what a cell computes.

    Raises:
        UserError: an output without a function, or a three-state one.
    """
    names: dict[str, Expression] = {}
    next_state, state = None, ""
    if cell.register is not None:
        state = cell.register.state[0]
        forced = _forced(cell.register)
        names = {state: forced, cell.register.state[1]: Expression(forced.variables, (*forced.code, expression.NOT))}
        loaded = _forced(cell.register).substitute({state: Expression((f"{state} next",), (0,))})
        # The data may read the state as it is; the name with a space cannot clash with a pin.
        next_state = loaded.substitute({f"{state} next": cell.register.next_state.substitute(names)})
    outputs = {}
    for pin in cell.outputs:
        function = cell.pins[pin].function
        if function is None or cell.pins[pin].three_state:
            why = "is three-state" if function is not None else "has no function"
            raise UserError(f"cell {cell.name!r}: output {pin!r} {why}, so it cannot be simulated")
        outputs[pin] = function.substitute(names)
    return Plan(outputs, next_state, state)


def _forced(register: Register) -> Expression:
    """Return the state variable under asynchronous clear and preset."""
    state = expression.parse(register.state[0])
    clear, preset = register.clear, register.preset
    names = {"s": state, "c": clear or expression.parse("0"), "p": preset or expression.parse("0")}
    if clear is None and preset is None:
        return state
    form = "(s & !c) | p" if register.both.upper() == "H" or clear is None else "(s | p) & !c"
    return expression.parse(form).substitute(names)


class _Rows:
    """Operations being collected."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, int]] = []
        self.masks: list[tuple[int, int, int, int]] = []

    def add(self, target: int, a: int, b: int, table: tuple[int, int, int, int]) -> None:
        """Add an operation given by f(0,0), f(1,0), f(0,1), f(1,1)."""
        zero, one, two, both = table
        bits = (zero, zero ^ one, zero ^ two, zero ^ one ^ two ^ both)
        self.rows.append((target, a, b))
        self.masks.append(tuple(int(ALL) if bit else 0 for bit in bits))  # type: ignore[arg-type]


class _Code:
    """Compiler of expressions; inversions cost no operation."""

    def __init__(self, nets: int, registers: int) -> None:
        self.settle, self.load = _Rows(), _Rows()
        self.scratch = nets + registers
        self.used = 0

    def emit(self, rows: _Rows, function: Expression, slots: Mapping[str, int], target: int) -> None:
        """Append operations that leave the function's value in slot ``target``."""
        stack: list[tuple[int, int]] = []  # slot, inverted
        operations: list[tuple[int, int, tuple[int, int, int, int]]] = []
        for c in function.code:
            if c >= 0:
                stack.append((slots[function.variables[c]], 0))
            elif c == expression.NOT:
                slot, inverted = stack.pop()
                stack.append((slot, 1 - inverted))
            elif c in (expression.ZERO, expression.ONE):
                stack.append((ZERO, int(c == expression.ONE)))
            else:
                (b, nb), (a, na) = stack.pop(), stack.pop()
                values = [_apply(c, x ^ na, y ^ nb) for x, y in ((0, 0), (1, 0), (0, 1), (1, 1))]
                operations.append((a, b, (values[0], values[1], values[2], values[3])))
                stack.append((self.scratch + len(operations) - 1, 0))
        slot, inverted = stack[-1]
        if not operations or slot != self.scratch + len(operations) - 1:
            operations.append((slot, ZERO, (inverted, 1 - inverted, inverted, 1 - inverted)))
            inverted = 0
        for k, (a, b, table) in enumerate(operations):
            last = k == len(operations) - 1
            flip = inverted if last else 0
            zero, one, two, both = table
            rows.add(target if last else self.scratch + k, a, b, (zero ^ flip, one ^ flip, two ^ flip, both ^ flip))
        self.used = max(self.used, len(operations))


def _apply(code: int, a: int, b: int) -> int:
    return a & b if code == expression.AND else a | b if code == expression.OR else a ^ b
