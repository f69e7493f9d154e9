"""The bench that runs inside the simulator: one for every cell, driven by a plan that :mod:`lutscape.rtl.verify` wrote.

It is loaded by the simulator's embedded Python (cocotb), so it imports nothing heavy. The plan (JSON, named by the
environment variable ``LUTSCAPE_BENCH``) lists the channels of the cell under the harness of
:mod:`lutscape.rtl.harness`; the bits of every beat to drive and to expect lie packed in a file beside it.

Phases of a clocked cell, all in one simulator start:

    full rate   every input offers a beat whenever it can, every output is taken at once: cycle counts
    resets      traffic, at full rate or with stalls, then ``rst`` at a random time with valid, ready and fields at
                random; several times
    stalls      seeded gaps on the inputs and back-pressure on the outputs, in changing mixtures

A combinational cell has one phase: a vector per time step.

Rules that are checked on every rising edge (no beat moves on an edge on which ``rst`` is high):

    an output's fields equal the expected beat from the edge on which valid is seen until the beat moves;
    valid does not fall before its beat has moved; no beat beyond the last expected one is offered;
    valid of an output, and ready of an input that offers a beat, are 0 or 1, never x or z;
    something moves at least once in ``patience`` edges, until every beat has moved.

While an input has nothing to offer, its fields keep their old value or, after every fifth beat, are x (where the
plan says so, random bits): a cell that looks at fields without valid gives itself away.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer
from cocotb.types import LogicArray

VARIABLE = "LUTSCAPE_BENCH"
RATES = (1.0, 1.0, 0.5, 0.2)  # chances per edge that a stalled channel moves on, drawn anew for each segment
SEGMENT = 48  # edges
RESETS = 8  # in flight


class Beats:
    """Packed beats of one channel; index -> integer, lane 0 of the first field lowest."""

    def __init__(self, packed: memoryview, bits: int, count: int) -> None:
        self.packed, self.bits, self.count = packed, bits, count
        self.size = -(-bits // 8)

    def __getitem__(self, index: int) -> int:
        return int.from_bytes(self.packed[index * self.size : (index + 1) * self.size], "little")

    def text(self, index: int) -> str:
        """Return the beat as the simulator writes it: one character per bit, highest first."""
        return f"{self[index]:0{self.bits}b}"


class Report:
    """What happened, for the process outside; written once at the end and, for timeouts, every second."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self.path = Path(plan["report"])
        self.keep = int(plan["keep"])
        self.phases: dict[str, Any] = {}
        self.mismatches: list[dict[str, Any]] = []
        self.violations: list[dict[str, Any]] = []
        self.last = time.monotonic()
        self.parent = os.getppid()

    @property
    def full(self) -> bool:
        """A broken rule ends the run; so do mismatches enough to show."""
        return bool(self.violations) or len(self.mismatches) >= self.keep

    def violation(self, phase: str, cycle: int, text: str) -> None:
        self.violations.append({"phase": phase, "cycle": cycle, "text": text})

    def tick(self, phase: str, cycle: int, done: Callable[[], str]) -> None:
        """Leave a sign of life once a second; end if the process that asked is gone."""
        now = time.monotonic()
        if now - self.last > 1.0:
            self.last = now
            if os.getppid() != self.parent:
                os._exit(1)
            self.write("running", f"{phase}, cycle {cycle}, {done()}")

    def write(self, state: str, where: str = "") -> None:
        document = {
            "state": state,
            "where": where,
            "phases": self.phases,
            "mismatches": self.mismatches,
            "violations": self.violations,
        }
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(json.dumps(document))
        temporary.replace(self.path)


class Driver:
    """Offers the beats of an input channel."""

    def __init__(self, name: str, beats: Beats, data: Any, idle: Callable[[int], Any]) -> None:
        self.name, self.beats, self.data, self.idle = name, beats, data, idle
        self.restart()

    def restart(self) -> None:
        self.next, self.valid, self.refused, self.gaps = 0, False, 0, 0
        self.first: int | None = None  # edge of the first accepted beat
        self.edges: list[int] = []
        self.last = 0
        self.data.value = self.idle(self.beats.bits)

    @property
    def done(self) -> bool:
        return self.next == self.beats.count

    def sample(self, ready: str, cycle: int) -> str:
        """Look at an edge; return a broken rule or nothing."""
        if not self.valid:
            self.gaps += not self.done
            return ""
        if ready == "1":
            if self.first is None:
                self.first = cycle
            self.edges.append(cycle)
            self.next += 1
            self.last = cycle
            self.valid = False
        elif ready == "0":
            self.refused += 1
        else:
            return f"{self.name}_ready is {ready.lower()} while {self.name}_valid is 1"
        return ""

    def drive(self, go: bool, moved: bool) -> None:
        """Choose what is offered at the next edge."""
        if self.valid:
            return
        if go and not self.done:
            self.valid = True
            self.data.value = self.beats[self.next]
        elif moved and self.next % 5 == 0:
            self.data.value = self.idle(self.beats.bits)


class Monitor:
    """Takes the beats of an output channel and holds them to the expected ones."""

    def __init__(self, name: str, beats: Beats, data: Any, report: Report) -> None:
        self.name, self.beats, self.data, self.report = name, beats, data, report
        self.restart()

    def restart(self) -> None:
        self.next, self.ready, self.offered, self.wrong, self.held = 0, False, False, False, 0
        self.edges: list[int] = []
        self.expected = self.beats.text(0) if self.beats.count else ""

    @property
    def done(self) -> bool:
        return self.next == self.beats.count

    def sample(self, valid: str, cycle: int, phase: str) -> str:
        """Look at an edge; return a broken rule or nothing."""
        if valid == "0":
            return f"{self.name}_valid fell before beat {self.next} was taken" if self.offered else ""
        if valid != "1":
            return f"{self.name}_valid is {valid.lower()}"
        if self.next == self.beats.count:
            return f"{self.name} offers a beat more than the {self.beats.count} expected"
        got = str(self.data.value)
        if got != self.expected and not self.wrong:
            self.wrong = True  # one entry per beat
            self.report.mismatches.append(
                {
                    "phase": phase,
                    "channel": self.name,
                    "beat": self.next,
                    "cycle": cycle,
                    "got": got,
                    "changed": self.offered,
                }
            )
        self.offered = not self.ready
        if self.ready:
            self.edges.append(cycle)
            self.next += 1
            self.wrong = False
            if self.next < self.beats.count:
                self.expected = self.beats.text(self.next)
        else:
            self.held += 1
        return ""


class Traffic:
    """All channels of a clocked cell, stepped once per rising edge."""

    def __init__(self, dut: Any, plan: dict[str, Any], report: Report) -> None:
        self.dut, self.plan, self.report = dut, plan, report
        self.random = random.Random(plan["seed"])
        beats = load(plan)
        undefined = {c["bits"]: LogicArray("X" * c["bits"]) for c in plan["channels"]}
        idle: Callable[[int], Any] = undefined.__getitem__ if plan["idle"] == "x" else self.random.getrandbits
        self.drivers: list[Driver] = []
        self.monitors: list[Monitor] = []
        for channel in plan["channels"]:
            name = channel["name"]
            data = getattr(dut, channel["signal"])
            if channel["direction"] == "in":
                self.drivers.append(Driver(name, beats[name], data, idle))
            else:
                self.monitors.append(Monitor(name, beats[name], data, report))
        self.wants = -1
        self.cycle = 0

    def progress(self) -> str:
        """Return how far every channel has come."""
        ways = [(d.name, d.next, d.beats.count, "accepted") for d in self.drivers]
        ways += [(m.name, m.next, m.beats.count, "checked") for m in self.monitors]
        return ", ".join(f"{name} {done} of {count} beats {verb}" for name, done, count, verb in ways)

    def offer(self) -> None:
        """Put valid of the inputs and ready of the outputs on their bus (inputs lowest)."""
        wants = 0
        for bit, channel in enumerate(self.drivers):
            wants |= channel.valid << bit
        for bit, channel_out in enumerate(self.monitors, len(self.drivers)):
            wants |= channel_out.ready << bit
        if wants != self.wants:
            self.wants = wants
            self.dut.wants.value = wants

    async def reset(self, edges: int, noisy: bool) -> None:
        """Hold ``rst`` over some edges, with random valid, ready and fields if noisy; then start again."""
        bits = len(self.drivers) + len(self.monitors)
        self.dut.rst.value = 1
        for _ in range(edges):
            self.dut.wants.value = self.random.getrandbits(bits) if noisy else 0
            for driver in self.drivers:
                driver.data.value = self.random.getrandbits(driver.beats.bits) if noisy else 0
            await RisingEdge(self.dut.clk)
        self.dut.rst.value = 0
        for driver in self.drivers:
            driver.restart()
        for monitor in self.monitors:
            monitor.restart()
        self.wants, self.cycle = -1, 0

    async def run(self, phase: str, stalls: bool, edges: int | None = None) -> None:
        """Move beats until all have moved and nothing more comes, or for some edges, or until a rule is broken."""
        drivers, monitors, rng = self.drivers, self.monitors, self.random
        flags = self.dut.offers
        edge = RisingEdge(self.dut.clk)
        rates = [1.0] * (len(drivers) + len(monitors))
        quiet, drain = 0, self.plan["drain"]
        count = len(flags)
        for driver in drivers:
            driver.drive(True, False)
        for monitor in monitors:
            monitor.ready = True
        self.offer()
        while True:
            await edge
            cycle = self.cycle
            seen = str(flags.value)  # highest bit first: valid of outputs, then ready of inputs
            moved = False
            broken = ""
            for bit, driver in enumerate(drivers):
                before = driver.next
                broken = broken or driver.sample(seen[count - 1 - bit], cycle)
                went = driver.next != before
                moved |= went
                driver.drive(not stalls or rng.random() < rates[bit], went)
            for bit, monitor in enumerate(monitors, len(drivers)):
                before = monitor.next
                broken = broken or monitor.sample(seen[count - 1 - bit], cycle, phase)
                moved |= monitor.next != before
                monitor.ready = not stalls or rng.random() < rates[bit]
            self.offer()
            self.cycle += 1
            if broken:
                self.report.violation(phase, cycle, broken)
            if self.report.full or (edges is not None and self.cycle >= edges):
                return
            if stalls and cycle % SEGMENT == 0:
                rates = [rng.choice(RATES) for _ in rates]
            quiet = 0 if moved else quiet + 1
            if quiet > drain and all(c.done for c in drivers) and all(c.done for c in monitors):
                return
            if quiet > self.plan["patience"]:
                text = f"nothing moved for {quiet} edges: {self.progress()}"
                self.report.violation(phase, cycle, text)
                return
            if not cycle & 15:
                self.report.tick(phase, cycle, self.progress)

    def record(self) -> dict[str, Any]:
        """Return the counts since the last reset."""
        starts = [d.first for d in self.drivers if d.first is not None]
        return {
            "cycles": self.cycle,
            "start": min(starts, default=0),
            "accepted": {d.name: d.next for d in self.drivers},
            "checked": {m.name: m.next for m in self.monitors},
            "edges": {d.name: d.edges for d in self.drivers} | {m.name: m.edges for m in self.monitors},
            "refused": {d.name: d.refused for d in self.drivers},
            "gaps": {d.name: d.gaps for d in self.drivers},
            "held": {m.name: m.held for m in self.monitors},
        }


def load(plan: dict[str, Any]) -> dict[str, Beats]:
    """Return the beats of every channel of a plan."""
    packed = memoryview(Path(plan["beats"]).read_bytes())
    out = {}
    for channel in plan["channels"]:
        out[channel["name"]] = Beats(packed[channel["offset"] :], channel["bits"], channel["count"])
    return out


async def clocked(dut: Any, plan: dict[str, Any], report: Report) -> None:
    """Run the phases of a clocked cell."""
    dut.wants.value = 0
    dut.rst.value = 1
    dut.clk.value = 0
    traffic = Traffic(dut, plan, report)
    await Timer(1, "ns")
    Clock(dut.clk, 2, unit="ns", impl="gpi").start(start_high=False)
    for phase in plan["phases"]:
        await traffic.reset(2, noisy=False)
        if phase == "resets":
            await flights(traffic, plan, report)
        else:
            await traffic.run(phase, stalls=phase == "stalls")
            report.phases[phase] = traffic.record()
        if report.full:
            return


async def flights(traffic: Traffic, plan: dict[str, Any], report: Report) -> None:
    """Start the stimulus again and again, each time cut off by a reset."""
    records = []
    for flight in range(RESETS):
        stalls = bool(flight % 2)
        await traffic.run("resets", stalls, edges=traffic.random.randint(1, plan["flight"]))
        records.append(traffic.record() | {"stalls": stalls})
        if report.full:
            break
        await traffic.reset(traffic.random.randint(1, 3), noisy=True)
    report.phases["resets"] = {"cycles": sum(r["cycles"] for r in records), "flights": records}


async def combinational(dut: Any, plan: dict[str, Any], report: Report) -> None:
    """Apply one vector per time step."""
    beats = load(plan)
    inputs = [(beats[c["name"]], getattr(dut, c["signal"])) for c in plan["channels"] if c["direction"] == "in"]
    outputs = [
        (c["name"], beats[c["name"]], getattr(dut, c["signal"])) for c in plan["channels"] if c["direction"] == "out"
    ]
    count = outputs[0][1].count
    step = Timer(1, "ns")
    index = 0
    for index in range(count):
        for stream, data in inputs:
            data.value = stream[index]
        await step
        for name, stream, data in outputs:
            got = str(data.value)
            if got != stream.text(index):
                report.mismatches.append(
                    {"phase": "vectors", "channel": name, "beat": index, "cycle": index, "got": got, "changed": False}
                )
        if report.full:
            break
        if not index & 255:
            at = index
            report.tick("vectors", index, lambda: f"vector {at} of {count}")  # noqa: B023
    done = index + 1 if count else 0
    report.phases["vectors"] = {
        "cycles": done,
        "start": 0,
        "accepted": {c["name"]: done for c in plan["channels"] if c["direction"] == "in"},
        "checked": {name: done for name, _, _ in outputs},
    }


@cocotb.test()
async def bench(dut: Any) -> None:
    """Run the plan; the report file holds the outcome, the assertion is for cocotb's own summary."""
    plan = json.loads(Path(os.environ[VARIABLE]).read_text())
    report = Report(plan)
    report.write("running", "start")
    await (clocked if plan["clocked"] else combinational)(dut, plan, report)
    report.write("done")
    assert not report.mismatches
    assert not report.violations
