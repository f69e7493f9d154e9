"""The bench for cells of several clock domains: channels move in their own domain, clocks run at any ratio.

It shares drivers, monitors and rules with :mod:`lutscape.rtl.bench`; this module turns the clocks itself. The plan
lists clockings: for each domain a period and the time of its edge 0, in ps, multiples of :data:`TICK_PS`. Edges that
fall together happen in one time step. Every clocking has a phase at full rate, whose edges are compared with the cell's
formula, and one with stalls; the first one also has resets in flight.

An edge at time t: outputs are looked at, clocks rise; inputs change 1 ps later, clocks fall 2 ps later. Domains leave
reset one after the other, in random order.

Registers that another domain samples (``crossings`` of the plan) may change by one bit an edge. They are watched in
Icarus and in the generated Verilog: Verilator does not show what is inside, and gates have other names.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cocotb
from cocotb.triggers import Timer

from lutscape.rtl.bench import RATES, RESETS, SEGMENT, VARIABLE, Report, Traffic

TICK_PS = 10
RESET_EDGES = 3


class Domain:
    """One clock."""

    def __init__(self, dut: Any, name: str) -> None:
        self.name = name
        self.clock = getattr(dut, f"{name}_clk" if name else "clk")
        self.reset = getattr(dut, f"{name}_rst" if name else "rst")
        self.period, self.start, self.edge = TICK_PS, 0, 0

    @property
    def next(self) -> int:
        """Time of the next edge, ps from the end of reset."""
        return self.start + self.edge * self.period


class Crossing:
    """A register that another domain samples."""

    def __init__(self, path: str, signal: Any) -> None:
        self.path, self.signal = path, signal
        self.last: str | None = None

    def sample(self) -> str:
        """Look at an edge; return a broken rule or nothing."""
        now = str(self.signal.value)
        before, self.last = self.last, now
        if before is None or set(before + now) - {"0", "1"}:
            return ""
        changed = sum(a != b for a, b in zip(before, now, strict=True))
        return f"{self.path} changed by {changed} bits at once: {before} to {now}" if changed > 1 else ""


class Clocks(Traffic):
    """All channels of a cell, stepped on the edges of their domains."""

    def __init__(self, dut: Any, plan: dict[str, Any], report: Report) -> None:
        super().__init__(dut, plan, report)
        self.domains = {name: Domain(dut, name) for name in plan["domains"]}
        of = {c["name"]: c["domain"] for c in plan["channels"]}
        self.drivers_of = {name: [d for d in self.drivers if of[d.name] == name] for name in self.domains}
        self.monitors_of = {name: [m for m in self.monitors if of[m.name] == name] for name in self.domains}
        names = [d.name for d in self.drivers] + [m.name for m in self.monitors]
        self.bit = {name: i for i, name in enumerate(names)}
        self.crossings = [_crossing(dut, path) for path in plan["crossings"]]
        self.count = len(dut.offers)

    async def rise(self, now: int) -> tuple[list[Domain], int]:
        """Wait for the next edge; return the domains that have it, and its time, ps."""
        at = min(d.next for d in self.domains.values()) + TICK_PS
        await Timer(at - now, "ps")
        return [d for d in self.domains.values() if d.next + TICK_PS == at], at

    async def hold(self, noisy: bool) -> None:
        """Reset all domains for some edges, then let them go one by one."""
        bits, rng = len(self.drivers) + len(self.monitors), self.random
        domains = list(self.domains.values())
        for domain in domains:
            domain.reset.value = 1
        for _ in range(RESET_EDGES):
            self.dut.wants.value = rng.getrandbits(bits) if noisy else 0
            for driver in self.drivers:
                driver.data.value = rng.getrandbits(driver.beats.bits) if noisy else 0
            await self._pulse(rng.sample(domains, len(domains)))
        self.dut.wants.value = 0
        for domain in rng.sample(domains, len(domains)):
            domain.reset.value = 0
            await Timer(1, "ps")
            for _ in range(rng.randrange(3)):
                await self._pulse([domain])
        for driver in self.drivers:
            driver.restart()
        for monitor in self.monitors:
            monitor.restart()
        self.wants = -1

    async def _pulse(self, domains: list[Domain]) -> None:
        """Give each domain an edge, one after the other."""
        for domain in domains:
            await Timer(TICK_PS, "ps")
            domain.clock.value = 1
            await Timer(TICK_PS, "ps")
            domain.clock.value = 0

    @property
    def done(self) -> bool:
        """Every beat has moved."""
        return all(d.done for d in self.drivers) and all(m.done for m in self.monitors)

    def tune(self, clocking: dict[str, list[int]]) -> None:
        """Set the clocks; edges count from 0."""
        for name, domain in self.domains.items():
            domain.period, domain.start = clocking[name]
            domain.edge = 0
        for crossing in self.crossings:
            crossing.last = None

    async def play(self, phase: str, stalls: bool, edges: int | None = None) -> None:
        """Move beats until all have moved and nothing more comes, or for some edges, or until a rule is broken."""
        rng, flags = self.random, self.dut.offers
        rates = [1.0] * self.count
        ratio = max(d.period for d in self.domains.values()) // min(d.period for d in self.domains.values()) + 1
        quiet = total = 0
        for driver in self.drivers:
            driver.drive(True, False)
        for monitor in self.monitors:
            monitor.ready = True
        self.offer()
        now = 0
        while True:
            here, now = await self.rise(now)
            moved, broken = self.look(here, str(flags.value), phase)
            for domain in here:
                domain.clock.value = 1
            await Timer(1, "ps")
            for domain in here:
                for driver in self.drivers_of[domain.name]:
                    driver.drive(not stalls or rng.random() < rates[self.bit[driver.name]], driver.name in moved)
                for monitor in self.monitors_of[domain.name]:
                    monitor.ready = not stalls or rng.random() < rates[self.bit[monitor.name]]
            self.offer()
            await Timer(1, "ps")
            for domain in here:
                domain.clock.value = 0
                domain.edge += 1
            now += 2
            total += 1
            if broken:
                self.report.violation(phase, total - 1, broken)
            if self.report.full or (edges is not None and total >= edges):
                break
            if stalls and total % SEGMENT == 0:
                rates = [rng.choice(RATES) for _ in rates]
            quiet = 0 if moved else quiet + 1
            if quiet > self.plan["drain"] * ratio and self.done:
                break
            if quiet > self.plan["patience"] * ratio:
                self.report.violation(phase, total - 1, f"nothing moved for {quiet} edges: {self.progress()}")
                break
            if not total & 15:
                self.report.tick(phase, total, self.progress)
        self.cycle = total

    def look(self, here: list[Domain], seen: str, phase: str) -> tuple[set[str], str]:
        """Look at the edge of some domains; return the channels that moved a beat, and a broken rule or nothing.

        ``seen``: valid of outputs and ready of inputs, the highest bit first.
        """
        moved, broken = set(), ""
        for domain in here:
            for driver in self.drivers_of[domain.name]:
                before = driver.next
                broken = broken or driver.sample(seen[self.count - 1 - self.bit[driver.name]], domain.edge)
                moved |= {driver.name} if driver.next != before else set()
            for monitor in self.monitors_of[domain.name]:
                before = monitor.next
                broken = broken or monitor.sample(seen[self.count - 1 - self.bit[monitor.name]], domain.edge, phase)
                moved |= {monitor.name} if monitor.next != before else set()
        for crossing in self.crossings:
            broken = broken or crossing.sample()
        return moved, broken


def _crossing(dut: Any, path: str) -> Crossing:
    """Return a register inside the cell under test."""
    signal = dut.cell_under_test
    for name in path.split("."):
        signal = getattr(signal, name)
    return Crossing(path, signal)


async def run(dut: Any, plan: dict[str, Any], report: Report) -> None:
    """Run the phases: of the first clocking by their own names, of the others with a number."""
    for domain in plan["domains"]:
        getattr(dut, f"{domain}_clk" if domain else "clk").value = 0
    traffic = Clocks(dut, plan, report)
    await Timer(1, "ns")
    for number, clocking in enumerate(plan["clockings"]):
        for phase in plan["phases"]:
            name = phase if number == 0 else f"{phase}, clocks {number}"
            if phase == "resets":
                if number == 0:
                    await _flights(traffic, plan, report)
            else:
                await traffic.hold(noisy=False)
                traffic.tune(clocking)
                await traffic.play(name, stalls=phase == "stalls")
                report.phases[name] = traffic.record() | {"clocks": clocking}
            if report.full:
                return


async def _flights(traffic: Clocks, plan: dict[str, Any], report: Report) -> None:
    """Start the stimulus again and again, each time cut off by a reset, with changing clocks."""
    records = []
    for flight in range(RESETS):
        clocking = plan["clockings"][flight % len(plan["clockings"])]
        stalls = bool(flight % 2)
        await traffic.hold(noisy=flight > 0)
        traffic.tune(clocking)
        await traffic.play("resets", stalls, edges=traffic.random.randint(1, 4 * plan["flight"]))
        records.append(traffic.record() | {"stalls": stalls, "clocks": clocking})
        if report.full:
            break
    report.phases["resets"] = {"cycles": sum(r["cycles"] for r in records), "flights": records}


@cocotb.test()
async def bench(dut: Any) -> None:
    """Run the plan; the report file holds the outcome, the assertion is for cocotb's own summary."""
    plan = json.loads(Path(os.environ[VARIABLE]).read_text())
    report = Report(plan)
    report.write("running", "start")
    await run(dut, plan, report)
    report.write("done")
    assert not report.mismatches
    assert not report.violations
