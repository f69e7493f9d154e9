"""Event-driven simulation of a mapped netlist with the delays of static timing: toggles with glitches.

Each gate output follows its inputs after the delay of the arc from the input that changed, by output and input edge
(:class:`lutscape.rtl.sta.TimingReport`; the mean where a library gives several by state). Delays are inertial: a pulse
shorter than the gate's delay does not come out. At the clock edge registers take the settled values of the cycle
before and drive them after their clock-to-output delay; input ports change at their arrival time. A cycle runs until
nothing moves, so a netlist that misses its period is simulated as if the clock waited.

Interface and outputs are those of :mod:`lutscape.rtl.gatesim`, and so are the settled bits; only the toggles differ.
Streams are simulated one after the other, so give some tens of them, not thousands.

What it leaves out: partial-swing pulses, and input transitions other than the slowest (which static timing carries).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutscape.hw.errors import UserError
from lutscape.rtl.activity import Activity
from lutscape.rtl.gatesim import Simulation, cell_plan, pack
from lutscape.rtl.glitch_kernel import run
from lutscape.rtl.sta import FALL, RISE, TimingReport

MAX_INPUTS = 12  # of a cell output's function


@dataclass(frozen=True, eq=False)
class _Gates:
    """Cell outputs as truth tables with delays; register states count as nets behind the netlist's.

    Attributes:
        out: (gates,) output net.
        table_start: (gates + 1,) into ``table``.
        table: truth tables, entry j has input k at bit k of j.
        delay: (inputs of all gates, 2, 2) ps by output edge and input edge.
        input_start: (gates + 1,) first row of a gate in ``delay``.
        fan_start: (nets + states + 1,) into ``fan``.
        fan: (inputs of all gates, 2) gate and input position that a net feeds.
        next_start: (states + 1,), next_inputs, next_table_start, next_table: the next state of each register as a
            truth table over nets.
    """

    out: NDArray[np.int64]
    table_start: NDArray[np.int64]
    table: NDArray[np.uint8]
    delay: NDArray[np.float64]
    input_start: NDArray[np.int64]
    fan_start: NDArray[np.int64]
    fan: NDArray[np.int64]
    next_start: NDArray[np.int64]
    next_inputs: NDArray[np.int64]
    next_table_start: NDArray[np.int64]
    next_table: NDArray[np.uint8]


def simulate(
    report: TimingReport,
    stimulus: Mapping[str, NDArray[Any]],
    count_from: int = 1,
    initial: int = 0,
) -> Simulation:
    """Simulate a timed netlist.

    Args:
        report: static timing of the netlist, from :func:`lutscape.rtl.sta.timing`.
        stimulus: as in :func:`lutscape.rtl.gatesim.simulate`.
        count_from: first cycle whose edges and levels count; at least 1.
        initial: value of all registers before cycle 0.

    Raises:
        UserError: as in :func:`lutscape.rtl.gatesim.simulate`.
    """
    linked = report.linked
    netlist = linked.netlist
    gates = _gates(report)
    cycles, streams, packed = pack(netlist, linked.clock, stimulus)
    last = max(1, cycles - 1)
    if not 1 <= count_from <= last:
        raise UserError(f"count_from {count_from}; allowed: 1 to {last} (the stimulus has {cycles} cycles)")
    if initial not in (0, 1):
        raise UserError(f"initial {initial}; allowed: 0, 1")
    in_nets = np.concatenate([netlist.inputs[p] for p in packed] or [np.zeros(0, np.int64)])
    arrival = np.maximum(report.arrival_ps[in_nets], 0.0)
    bits = [np.unpackbits(w.view(np.uint8), axis=2, count=streams, bitorder="little") for w in packed.values()]
    parts = [np.broadcast_to(b, (cycles, *b.shape[1:])) for b in bits]
    inputs = np.concatenate(parts, axis=1) if parts else np.zeros((cycles, 0, streams), np.uint8)
    out_nets = np.concatenate([np.asarray(n, np.int64) for n in netlist.outputs.values()] or [np.zeros(0, np.int64)])
    outputs = np.zeros((streams, cycles, len(out_nets)), np.uint8)
    toggles, ones = np.zeros(linked.nets, np.int64), np.zeros(linked.nets, np.int64)
    for stream in range(streams):
        run(
            gates.out,
            gates.table_start,
            gates.table,
            gates.delay,
            gates.input_start,
            gates.fan_start,
            gates.fan,
            gates.next_start,
            gates.next_inputs,
            gates.next_table_start,
            gates.next_table,
            linked.nets,
            in_nets,
            np.ascontiguousarray(inputs[:, :, stream]),
            arrival,
            out_nets,
            outputs[stream],
            count_from,
            initial,
            toggles,
            ones,
        )
    words: dict[str, NDArray[np.uint64]] = {}
    at = 0
    for port, nets in netlist.outputs.items():
        bytes_ = np.packbits(outputs[:, :, at : at + len(nets)].transpose(1, 2, 0), axis=2, bitorder="little")
        padded = np.zeros((cycles, len(nets), -(-streams // 64) * 8), np.uint8)
        padded[:, :, : bytes_.shape[2]] = bytes_
        words[port] = padded.view(np.uint64)
        at += len(nets)
    method = "gate simulation with delays (glitches counted)"
    return Simulation(cycles, streams, cycles - count_from, toggles, ones, words, linked, method)


@lru_cache(maxsize=4)
def _gates(report: TimingReport) -> _Gates:
    linked = report.linked
    netlist = linked.netlist
    plans = {name: cell_plan(cell) for name, cell in linked.cells.items()}
    tables: dict[tuple[str, str], NDArray[np.uint8]] = {}
    for name, plan in plans.items():
        functions = {**plan.outputs, **({"": plan.next_state} if plan.next_state is not None else {})}
        for pin, function in functions.items():
            if len(function.variables) > MAX_INPUTS:
                raise UserError(f"cell {name!r}: a function of {len(function.variables)} inputs; at most {MAX_INPUTS}")
            tables[name, pin] = function.table().astype(np.uint8)
    state_net = {int(i): linked.nets + k for k, i in enumerate(linked.registers)}
    out: list[int] = []
    lengths: list[int] = []
    chosen: list[NDArray[np.uint8]] = []
    sources: list[int] = []
    delays: list[NDArray[np.float64]] = []
    for i in linked.order:
        name, pins = netlist.cells[i], linked.pins[i]
        found = _delays(report, int(i))
        for pin, function in plans[name].outputs.items():
            net = pins[pin]
            if linked.clock_nets[net]:
                continue
            out.append(net)
            lengths.append(len(function.variables))
            chosen.append(tables[name, pin])
            for variable in function.variables:
                source = pins.get(variable, state_net.get(int(i), -1))
                sources.append(source)
                delays.append(_arc(found, source, net, source >= linked.nets))
    registers = [netlist.cells[i] for i in linked.registers]
    next_inputs: list[int] = []
    for i, name in zip(linked.registers, registers, strict=True):
        loads = plans[name].next_state
        assert loads is not None
        next_inputs += [linked.pins[i].get(v, state_net[int(i)]) for v in loads.variables]
    fan_order = np.argsort(sources, kind="stable") if sources else np.zeros(0, np.int64)
    starts = _starts(lengths)
    owner = np.repeat(np.arange(len(out)), lengths)
    position = np.arange(len(sources)) - starts[owner] if sources else np.zeros(0, np.int64)
    nets = linked.nets + len(registers)
    return _Gates(
        np.array(out, np.int64),
        _starts([len(t) for t in chosen]),
        np.concatenate([*chosen, np.zeros(1, np.uint8)]),
        np.array(delays).reshape(-1, 2, 2),
        starts,
        np.searchsorted(np.array(sources, np.int64)[fan_order], np.arange(nets + 1)).astype(np.int64),
        np.stack([owner, position], 1)[fan_order].astype(np.int64),
        _starts([len(plans[n].next_state.variables) for n in registers]),  # type: ignore[union-attr]
        np.array(next_inputs, np.int64),
        _starts([len(tables[n, ""]) for n in registers]),
        np.concatenate([*(tables[n, ""] for n in registers), np.zeros(1, np.uint8)]),
    )


def _starts(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _delays(report: TimingReport, instance: int) -> dict[tuple[int, int], NDArray[np.float64]]:
    """Return (input net, output net) -> delays by output and input edge, the mean over the states."""
    found: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for row in range(int(report.arc_start[instance]), int(report.arc_start[instance + 1])):
        start, end = (int(n) for n in report.arc_pins[row])
        found.setdefault((start, end), []).append(report.arc_delay_ps[row])
    result = {}
    for key, rows in found.items():
        stack = np.array(rows)
        count = np.isfinite(stack).sum(0)
        result[key] = np.where(count > 0, np.nansum(stack, 0) / np.maximum(count, 1), np.nan)
    return result


def _arc(
    found: Mapping[tuple[int, int], NDArray[np.float64]], source: int, net: int, state: bool
) -> NDArray[np.float64]:
    """Return delays (output edge, input edge) from a source to an output, never negative.

    A register's state moves its output by the clock's arc, whichever way. Edges without an arc of their own (a
    library that calls a function unate, an asynchronous pin) take the other edge's delay, then any arc's to the output.
    """
    if (source, net) in found and not state:
        d = found[source, net].copy()
    else:
        d = np.full((2, 2), np.nan)
    towards = [rows for (_, end), rows in found.items() if end == net]
    for e in (RISE, FALL):
        known = d[e][np.isfinite(d[e])]
        if not len(known):
            known = np.array([v for rows in towards for v in rows[e] if np.isfinite(v)])
        d[e][~np.isfinite(d[e])] = known.max() if len(known) else 0.0
    return np.maximum(d, 0.0)


def glitch_ratio(with_delays: Activity, settled: Activity) -> float:
    """Return all toggles over the settled ones, summed over nets."""
    return float(with_delays.toggles.sum() / settled.toggles.sum())
