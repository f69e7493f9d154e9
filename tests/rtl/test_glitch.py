"""Simulation with delays: by hand, settled bits against zero delay, toggles against a scalar twin and Icarus."""

from __future__ import annotations

import dataclasses
import heapq
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_netlists import netlist_text
from tiny_liberty import write

from lutscape.hw.errors import UserError
from lutscape.rtl import gatesim, glitch, liberty
from lutscape.rtl.liberty import Library
from lutscape.rtl.netlist import Netlist, parse
from lutscape.rtl.sta import FALL, RISE, TimingReport, timing


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Library:
    return liberty.load(write(tmp_path_factory.mktemp("liberty")))


# y = NAND(a, !a): the inverter's delay leaves a pulse for the NAND, if the NAND is fast enough to let it out.
PULSE = """module t(a, y); input a; output y;
INV u (.A(a), .Y(b)); NAND2 v (.A(a), .B(b), .Y(y)); endmodule"""


def test_a_pulse_by_hand(tiny: Library) -> None:
    n = parse(PULSE)
    a = np.array([0, 1, 0, 1])[:, None]
    report = timing(n, tiny, 1000.0)
    # b falls 8 + 2 = 10 ps after a rises; NAND2 takes 12 ps from a: the pulse of 10 ps is swallowed. (When a falls, one
    # input of the NAND is low all the time.)
    swallowed = glitch.simulate(report, {"a": a})
    y, b = n.nets.index("y"), n.nets.index("b")
    assert (swallowed.toggles[y], swallowed.toggles[b]) == (0, 3)
    # With 10 fF on b it falls 18 ps after a: y falls at 12 and rises at 18 + 15, for each of the two rises of a.
    slow = parse(PULSE.replace("endmodule", "XOR2 w (.A(b), .B(b), .Y(z)); endmodule"))
    s = glitch.simulate(timing(slow, tiny, 1000.0), {"a": a})
    assert s.toggles[slow.nets.index("y")] == 4
    assert s.activity().toggles[slow.nets.index("y")] == pytest.approx(4 / 3)
    assert s.activity().source.startswith("gate simulation with delays (glitches counted), 1 streams of 3 cycles")
    settled = gatesim.simulate(slow, tiny, {"a": a})
    assert settled.toggles[slow.nets.index("y")] == 0
    assert glitch.glitch_ratio(s.activity(), settled.activity()) > 1


def test_registers_start_after_their_clock_to_output_delay(tiny: Library) -> None:
    # Two registers of different load feed an XOR: q0 rises at 50 + load. Both toggle in the same cycle, the XOR's 30 ps
    # swallow their skew of 4 ps.
    n = parse(
        "module t(clk, e, y); input clk, e; output y; DFF r (.CK(clk), .D(e), .Q(q)); DFF s (.CK(clk), .D(e), .Q(p)); "
        "XOR2 x (.A(q), .B(p), .Y(y)); XOR2 w (.A(p), .B(p), .Y(z)); endmodule"
    )
    s = glitch.simulate(timing(n, tiny, 1000.0), {"e": np.array([0, 1, 0, 1, 1])[:, None]})
    assert s.toggles[n.nets.index("q")] == 3
    assert s.toggles[n.nets.index("y")] == 0


def random_case(
    seed: int, gates: int, registers: int, library: Library
) -> tuple[Netlist, TimingReport, dict[str, Any]]:
    """A random netlist whose gates have delays by output edge alone, and stimulus for 12 cycles of 3 streams."""
    rng = np.random.default_rng(seed)
    n = parse(netlist_text(seed, gates, registers))
    report = timing(n, library, 1000.0)
    delay = report.arc_delay_ps.copy()
    by_net = rng.uniform(5, 60, (report.linked.nets, 2)).round(3)
    for e in (RISE, FALL):
        for f in (RISE, FALL):
            delay[:, e, f] = by_net[report.arc_pins[:, 1], e]
    report = dataclasses.replace(report, arc_delay_ps=delay, arrival_ps=np.zeros_like(report.arrival_ps))
    stimulus = {
        p: rng.integers(0, 2, (12, 3, len(b)), dtype=np.uint8) for p, b in n.inputs.items() if p not in ("clk", "rn")
    }
    return n, report, {**stimulus, "rn": np.ones((12, 1), int)}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 6))
def test_settled_bits_match_zero_delay(tiny: Library, seed: int, gates: int, registers: int) -> None:
    n = parse(netlist_text(seed, gates, registers))
    report = timing(n, tiny, 1000.0)
    rng = np.random.default_rng(seed)
    stimulus = {p: rng.integers(0, 2, (8, 5, len(b)), dtype=np.uint8) for p, b in n.inputs.items() if p != "clk"}
    slow, settled = glitch.simulate(report, stimulus, 2), gatesim.simulate(n, tiny, stimulus, count_from=2)
    assert np.array_equal(slow.words["y"], settled.words["y"])
    assert np.array_equal(slow.ones[2:], settled.ones[2:])
    assert (slow.toggles >= settled.toggles).all()
    assert ((slow.toggles - settled.toggles) % 2 == 0).all()


class Queue:
    """Pending changes; each net has at most one that counts."""

    def __init__(self) -> None:
        self.events: list[tuple[float, int, int]] = []
        self.due: dict[int, int] = {}
        self.count = 0

    def schedule(self, time: float, net: int) -> None:
        self.count += 1
        self.due[net] = self.count
        heapq.heappush(self.events, (time, self.count, net))


def twin(n: Netlist, report: TimingReport, stimulus: dict[str, Any], stream: int) -> dict[str, int]:
    """Toggles of each net from cycle 1, one stream, with a Python heap; cells written out by hand."""
    delay: dict[tuple[int, int], float] = {}
    for row, (_, end) in enumerate(report.arc_pins):
        for e in (RISE, FALL):
            delay[int(end), e] = float(report.arc_delay_ps[row, e, RISE])

    def output(i: int, values: dict[int, int], state: dict[int, int]) -> dict[int, int]:
        pins, cell = n.pins[i], n.cells[i]
        if cell.startswith("DFF"):
            return {pins["Q"]: state[i]}
        a, b = values[pins["A"]], values[pins.get("B", pins["A"])]
        return {pins["Y"]: {"INV": 1 - a, "BUF": a, "NAND2": 1 - (a & b), "XOR2": a ^ b}[cell]}

    feeds: dict[int, list[int]] = {}
    for i in range(len(n.cells)):
        for pin, net in n.pins[i].items():
            if pin not in ("Y", "Q", "QN") and not n.cells[i].startswith("DFF"):
                feeds.setdefault(net, []).append(i)
    values = dict.fromkeys(range(len(n.nets)), 0) | {1: 1}
    state = {i: 0 for i, c in enumerate(n.cells) if c.startswith("DFF")}
    toggles = dict.fromkeys(n.nets, 0)
    for _ in range(len(n.cells) + 1):  # settle without delay
        for i in range(len(n.cells)):
            values |= output(i, values, state)
    for t in range(12):
        queue = Queue()
        if t:
            state = {i: values[n.pins[i]["D"]] for i in state}
            for i, bit in state.items():
                q = n.pins[i]["Q"]
                if bit != values[q]:
                    queue.schedule(delay[q, RISE if bit else FALL], q)
        for port, nets in n.inputs.items():
            for k, net in enumerate(nets):
                if (
                    port != "clk"
                    and np.broadcast_to(stimulus[port], (12, 3, *stimulus[port].shape[2:]))[t, stream].flat[k]
                    != values[net]
                ):
                    queue.schedule(0.0, int(net))
        while queue.events:
            time, number, net = heapq.heappop(queue.events)
            if queue.due.get(net) != number:
                continue
            del queue.due[net]
            values[net] ^= 1
            toggles[n.nets[net]] += t >= 1
            for i in feeds.get(net, []):
                for target, bit in output(i, values, state).items():
                    if bit == values[target]:
                        queue.due.pop(target, None)
                    elif target not in queue.due:
                        queue.schedule(time + delay[target, RISE if bit else FALL], target)
    return toggles


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(0, 6))
def test_toggles_match_the_scalar_twin(tiny: Library, seed: int, gates: int, registers: int) -> None:
    n, report, stimulus = random_case(seed, gates, registers, tiny)
    s = glitch.simulate(report, stimulus)
    expected = np.zeros(len(n.nets), int)
    for stream in range(3):
        found = twin(n, report, stimulus, stream)
        expected += [found[name] for name in n.nets]
    assert list(s.toggles[: len(n.nets)]) == list(expected)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="apt-get install iverilog")
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_toggles_match_icarus(tiny: Library, tmp_path: Path, seed: int) -> None:
    """Each gate as a continuous assignment with rise and fall delay: Icarus' inertial delays are the reference."""
    n, report, stimulus = random_case(seed, 80, 6, tiny)
    delay = {int(end): report.arc_delay_ps[row, :, RISE] for row, (_, end) in enumerate(report.arc_pins)}
    lines = ["`timescale 1ps/1fs", "module test;", "integer count = 0;"]
    regs = {int(net) for nets in n.inputs.values() for net in nets}
    nets = [k for k in range(2, len(n.nets))]
    for k in nets:
        lines.append(f"{'reg' if k in regs else 'wire'} n{k}{' = 0' if k in regs else ''}; integer c{k} = 0;")
        lines.append(f"always @(n{k}) if (count) c{k} = c{k} + 1;")
    lines.append("wire n0 = 0; wire n1 = 1;")
    for i, (cell, pins) in enumerate(zip(n.cells, n.pins, strict=True)):
        if cell.startswith("DFF"):
            rise, fall = delay[pins["Q"]]
            lines.append(f"reg s{i} = 0; always @(posedge clock) s{i} <= n{pins['D']};")
            lines.append(f"assign #({rise:.3f}, {fall:.3f}) n{pins['Q']} = s{i};")
            continue
        rise, fall = delay[pins["Y"]]
        a, b = f"n{pins['A']}", f"n{pins.get('B', pins['A'])}"
        form = {"INV": f"~{a}", "BUF": a, "NAND2": f"~({a} & {b})", "XOR2": f"{a} ^ {b}"}[cell]
        lines.append(f"assign #({rise:.3f}, {fall:.3f}) n{pins['Y']} = {form};")
    lines += ["reg clock = 0;", "initial begin"]
    total = np.zeros(len(n.nets), int)
    for stream in range(3):
        drive = []
        for t in range(12):
            drive.append("  clock = 1;" if t else "")  # blocking: registers sample before the inputs change
            for port, bits in n.inputs.items():
                for k, net in enumerate(bits):
                    if port != "clk":
                        wide = np.broadcast_to(stimulus[port], (12, 3, *stimulus[port].shape[2:]))
                        drive.append(f"  n{net} <= {int(wide[t, stream].flat[k])};")
            drive.append("  #50000 clock <= 0; #50000;" + ("" if t else " count = 1;"))
        shown = "\n".join(f'  $display("net {k} %0d", c{k});' for k in nets)
        source = tmp_path / f"test{stream}.v"
        source.write_text("\n".join([*lines, *drive, shown, "  $finish;", "end", "endmodule"]))
        binary = tmp_path / f"test{stream}.vvp"
        subprocess.run(["iverilog", "-g2005", "-o", str(binary), str(source)], check=True)
        out = subprocess.run(["vvp", str(binary)], check=True, capture_output=True, text=True).stdout
        for k, count in re.findall(r"net (\d+) (\d+)", out):
            total[int(k)] += int(count)
    s = glitch.simulate(report, stimulus)
    clock = n.inputs["clk"][0]
    wanted = [k for k in nets if k != clock]
    assert [int(s.toggles[k]) for k in wanted] == [int(total[k]) for k in wanted]
    assert s.toggles.sum() > gatesim.simulate(n, tiny, stimulus).toggles.sum()


def test_refusals(tiny: Library) -> None:
    report = timing(parse(PULSE), tiny, 1000.0)
    a = np.zeros((4, 1), int)
    with pytest.raises(UserError, match=r"^count_from 4; allowed: 1 to 3 \(the stimulus has 4 cycles\)$"):
        glitch.simulate(report, {"a": a}, count_from=4)
    with pytest.raises(UserError, match=r"^initial 3; allowed: 0, 1$"):
        glitch.simulate(report, {"a": a}, initial=3)
    with pytest.raises(UserError, match=r"^no stimulus for input 'a' of t$"):
        glitch.simulate(report, {})
