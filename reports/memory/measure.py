"""Energy, leakage and access time of a mapped memory, by gate simulation and Liberty tables (``lutscape.rtl``).

Reads go to random addresses, writes put random words to random addresses, 64 streams side by side. Idle is the energy
of a clock cycle without either; a read or write is what comes on top of it. Settled values only: glitches in the read
multiplexers are left out, as are wires and the clock tree.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lutscape.rtl import gatesim, liberty, netlist, power, sta

PERIOD_PS = 2000.0
CYCLES = 64
STREAMS = 64
Stimulus = dict[str, NDArray[Any]]


def measure(
    text: str, libraries: list[str], words: int, bits: int, driver: str, load_ff: float, clocked: bool
) -> dict[str, float]:
    """Return read_pj, write_pj, idle_pj, leakage_w and access_ps of a register file or ROM with one read port."""
    library, parsed = liberty.load(libraries), netlist.parse(text, "top")
    clock = "clk" if clocked else None
    report = sta.timing(parsed, library, PERIOD_PS, driving_cell=driver, load_ff=load_ff, clock=clock)
    outputs = sorted({int(net) for nets in parsed.outputs.values() for net in nets})
    result = {"access_ps": float(report.arrival_ps[outputs].max())}

    def energy(stimulus: Stimulus, first: int) -> tuple[float, float]:
        """Return pJ of a cycle and watts of leakage."""
        seen = gatesim.simulate(parsed, library, stimulus, clock=clock, count_from=first)
        found = power.power(
            parsed, library, seen.activity(), PERIOD_PS, timing_report=report, clock=clock, states="consistent"
        )
        dynamic = found.internal_w + found.switching_w + found.input_switching_w - clock_w(found)
        return dynamic * PERIOD_PS, found.leakage_w

    def clock_w(found: power.PowerReport) -> float:
        """Return the power of the clock net, which belongs to the clock tree."""
        if not clocked:
            return 0.0
        net = int(parsed.inputs["clk"][0])
        load = report.load_ff.max(1)[net]
        return float(load * 1e-15 * library.voltage**2 / (PERIOD_PS * 1e-12))

    draw = np.random.default_rng(1)

    def addresses(cycles: int) -> NDArray[np.int64]:
        return draw.integers(0, words, (cycles, STREAMS))

    def data(cycles: int) -> NDArray[np.uint8]:
        return draw.integers(0, 2, (cycles, STREAMS, bits), dtype=np.uint8)

    if not clocked:
        read, result["leakage_w"] = energy({"ra0": addresses(CYCLES)}, 1)
        return result | {"read_pj": read, "write_pj": 0.0, "idle_pj": 0.0}
    fill = np.broadcast_to(np.arange(words)[:, None], (words, STREAMS))
    total, still = words + CYCLES, np.zeros((CYCLES, STREAMS), np.int64)
    first_data = np.concatenate([data(words), np.zeros((CYCLES, STREAMS, bits), np.uint8)])
    base: Stimulus = {
        "we": np.concatenate([np.ones((words, STREAMS), np.int64), still]),
        "wa": np.concatenate([fill, still]),
        "wd": first_data,
        "ra0": np.zeros((total, STREAMS), np.int64),
    }
    idle, result["leakage_w"] = energy(base, words + 2)
    reading = base | {"ra0": np.concatenate([fill * 0, addresses(CYCLES)])}
    writing = base | {
        "we": np.ones((total, STREAMS), np.int64),
        "wa": np.concatenate([fill, addresses(CYCLES)]),
        "wd": np.concatenate([first_data[:words], data(CYCLES)]),
    }
    read, write = energy(reading, words + 2)[0], energy(writing, words + 2)[0]
    return result | {"read_pj": read - idle, "write_pj": write - idle, "idle_pj": idle}


def clock_gate_pj(libraries: list[str], cell: str) -> float:
    """Return pJ of the clock pin of a closed clock gate per cycle, at a transition of 20 ps."""
    library = liberty.load(libraries)
    total = 0.0
    gate = library[cell]
    clock = "CK" if "CK" in gate.pins else "CLK"
    groups = [g for g in gate.internal_power if g.pin == clock]
    states = {str(g.when.variables) + str(g.when.code) if g.when else "" for g in groups}
    for group in groups:
        for table in group.energy:
            if table is not None:
                total += sta.look_up(table, 20.0, 0.0) * 1e-3
    return total / max(len(states), 1)
