"""Hold a cell's Verilog, or its mapped netlist, to its golden model, its cycle formula and its coverage bins.

Stimulus and expected beats are computed here; :mod:`lutscape.rtl.bench` moves them through the simulator and
writes down what it saw. What it checks on every edge is listed there.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.rtl import harness, simulators
from lutscape.rtl.cell import Beats, Cell, Channel

if TYPE_CHECKING:
    from lutscape.rtl.liberty import Library

TIMEOUT_S = 600.0
KEEP = 20  # mismatches after which a run ends
SHOWN = 5  # of them in a summary
PLAN_VARIABLE = "LUTSCAPE_BENCH"  # as in lutscape.rtl.bench, which only a simulator can import


@dataclass(frozen=True)
class Mismatch:
    """One value that is not what the golden model says.

    Attributes:
        phase: of the bench.
        channel, field, lane: where.
        beat: of that channel, from 0.
        cycle: rising edge in the phase, from the end of reset.
        expected: by the golden model.
        got: a number, or bits if some are x or z.
        changed: the beat was right on an earlier edge and changed while it waited to be taken.
    """

    phase: str
    channel: str
    field: str
    lane: int
    beat: int
    cycle: int
    expected: int
    got: int | str
    changed: bool = False

    def __str__(self) -> str:
        place = f"{self.channel}.{self.field}[{self.lane}]"
        got = f"{self.got} (undefined bits)" if isinstance(self.got, str) else f"{self.got}"
        late = ", changed while it waited" if self.changed else ""
        where = f"beat {self.beat}, cycle {self.cycle} ({self.phase})"
        return f"{place} expected {self.expected}, got {got} at {where}{late}"


@dataclass(frozen=True)
class Verification:
    """What a run showed.

    Attributes:
        cell: name of the module.
        level: ``rtl`` or ``gate level``.
        beats: output beats checked in the first phase, by channel.
        mismatches: the first ones.
        violations: broken handshake rules, in words.
        cycles: rising edges of each phase, or vectors of a combinational cell.
        late: first beat of each channel whose edge is not the formula's, in words; empty if all are.
        coverage: bin -> hits; empty if no phase drove the whole stimulus (then something else has failed).
        stalls: ``refused`` (input beats waiting), ``gaps`` (inputs idle), ``held`` (output beats waiting): edges by
            channel in the phase with stalls.
        unstalled: back-pressure or gaps that never happened although they should, in words.
        simulator: with version.
        seconds: all in.
        build_seconds: of them in the Verilog compiler.
    """

    cell: str
    level: str
    seed: int
    beats: Mapping[str, int]
    mismatches: tuple[Mismatch, ...]
    violations: tuple[str, ...]
    cycles: Mapping[str, int]
    late: tuple[str, ...]
    coverage: Mapping[str, int]
    stalls: Mapping[str, Mapping[str, int]]
    unstalled: tuple[str, ...]
    simulator: str
    seconds: float
    build_seconds: float
    parameters: Mapping[str, int | str] = field(default_factory=dict)

    @property
    def missing(self) -> tuple[str, ...]:
        """Bins that were never hit."""
        return tuple(name for name, hits in self.coverage.items() if not hits)

    @property
    def bits_match(self) -> bool:
        """Every beat is the golden model's, by the rules of the handshake."""
        return not self.mismatches and not self.violations

    @property
    def passed(self) -> bool:
        """Bits, cycles, handshakes and coverage."""
        return self.bits_match and not self.late and not self.missing and not self.unstalled

    def failures(self) -> list[str]:
        """Return one line per failure; the first mismatches stand for all."""
        lines = [str(m) for m in self.mismatches[:SHOWN]]
        if len(self.mismatches) > SHOWN:
            more = f"{len(self.mismatches) - SHOWN} more mismatches"
            lines.append(more + (" (stopped there)" if len(self.mismatches) >= KEEP else ""))
        lines += [*self.violations, *self.late, *self.unstalled]
        if self.missing:
            lines.append(f"coverage: never hit: {', '.join(self.missing)}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "cell": self.cell,
            "level": self.level,
            "passed": self.passed,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "beats": dict(self.beats),
            "mismatches": [str(m) for m in self.mismatches],
            "violations": list(self.violations),
            "cycles": dict(self.cycles),
            "late": list(self.late),
            "coverage": dict(self.coverage),
            "missing": list(self.missing),
            "stalls": {k: dict(v) for k, v in self.stalls.items()},
            "unstalled": list(self.unstalled),
            "simulator": self.simulator,
            "seconds": round(self.seconds, 3),
            "build_seconds": round(self.build_seconds, 3),
        }


def verify(
    cell: Cell,
    *,
    vectors: int = 1000,
    seed: int = 1,
    simulator: str = "icarus",
    stalls: bool = True,
    stimulus: Beats | None = None,
    source: str | None = None,
    netlist: str | Path | None = None,
    library: Library | None = None,
    workdir: str | Path | None = None,
    timeout_s: float = TIMEOUT_S,
    keep: int = KEEP,
) -> Verification:
    """Run a cell against its models.

    Args:
        cell: to verify.
        vectors: output beats to check per phase, about (the cell's stimulus rounds to its protocol).
        seed: of stimulus, gaps and back-pressure.
        simulator: ``icarus`` or ``verilator``.
        stalls: also run with stalls and with resets in flight; without, at full rate only.
        stimulus: beats to use instead of the cell's own; coverage is then reported but nothing is missing.
        source: Verilog to use instead of the cell's own (mutants).
        netlist: Verilog file of mapped gates with the cell's module name and ports, to run instead.
        library: Liberty library of the netlist's cells.
        workdir: where sources, logs and the report stay; by default they are removed.
        timeout_s: limit of build and run together, seconds.
        keep: mismatching beats after which the run ends.

    Raises:
        UserError: simulator not installed, Verilog that does not compile, time-out, netlist without library.
    """
    started = time.monotonic()
    found = simulators.find(simulator)
    if vectors < 1:
        raise UserError(f"vectors {vectors}: at least 1")
    if netlist is not None and library is None:
        raise UserError(f"{netlist}: a mapped netlist needs the Liberty library of its cells")
    inputs = cell.stimulus(np.random.default_rng(seed), vectors) if stimulus is None else stimulus
    expected = cell.golden(inputs)
    schedule = cell.schedule(inputs) if cell.clocked and cell.schedule else {}
    with ExitStack() as stack:
        folder = _folder(workdir, stack)
        sources = _sources(cell, folder, source, netlist, library)
        plan = _plan(cell, folder, inputs, expected, schedule, seed, stalls, netlist is not None, simulator, keep)
        build_started = time.monotonic()
        runner = simulators.build(found, sources, harness.TOP, folder, timeout_s)
        build_seconds = time.monotonic() - build_started
        report = _run(cell, runner, folder, plan, seed, timeout_s)
        phases = report["phases"]
        first = phases[next(iter(phases))]
        coverage = cell.coverage(inputs) if _all_driven(inputs, phases) else {}
        level = "rtl" if netlist is None else "gate level"
        complete = stimulus is None
        return Verification(
            cell=cell.name,
            level=level,
            seed=seed,
            beats=first["checked"],
            mismatches=tuple(_mismatches(cell, report["mismatches"], expected)),
            violations=tuple(f"{v['text']} at cycle {v['cycle']} ({v['phase']})" for v in report["violations"]),
            cycles={name: phase["cycles"] for name, phase in phases.items()},
            late=tuple(_late(phases, schedule)),
            coverage=coverage if complete else {name: hits for name, hits in coverage.items() if hits},
            stalls={k: phases["stalls"][k] for k in ("refused", "gaps", "held")} if "stalls" in phases else {},
            unstalled=tuple(_unstalled(phases, vectors)) if complete else (),
            simulator=found.version,
            seconds=time.monotonic() - started,
            build_seconds=build_seconds,
            parameters=cell.parameters,
        )


def exhaustive(cell: Cell, limit_bits: int = 20) -> Beats:
    """Return every input vector of a combinational cell once.

    Raises:
        UserError: the cell is clocked, or has more than ``limit_bits`` input bits.
    """
    total = sum(harness.bits(c) for c in cell.inputs)
    if cell.clocked:
        raise UserError(f"{cell.name}: only a combinational cell has an input space to exhaust")
    if total > limit_bits:
        raise UserError(f"{cell.name}: {total} input bits; at most {limit_bits} can be exhausted")
    number = np.arange(1 << total, dtype=np.int64)
    out: Beats = {}
    low = 0
    for channel in cell.inputs:
        out[channel.name] = {}
        for f in channel.fields:
            lanes = []
            for _ in range(f.lanes):
                value = (number >> low) & ((1 << f.width) - 1)
                lanes.append(value - ((value >> (f.width - 1)) << f.width) if f.signed else value)
                low += f.width
            out[channel.name][f.name] = np.stack(lanes, axis=1)
    return out


def _folder(workdir: str | Path | None, stack: ExitStack) -> Path:
    """Return the folder of a run, removed at the end unless the user chose it."""
    if workdir is None:
        return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lutscape-rtl-")))
    folder = Path(workdir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot create the folder ({error.strerror})") from None
    return folder.resolve()


def _sources(
    cell: Cell, folder: Path, source: str | None, netlist: str | Path | None, library: Library | None
) -> list[Path]:
    """Write the Verilog of a run; return its files."""
    files = {f"{cell.name}.v": source if source is not None else cell.verilog()}
    if netlist is not None and library is not None:
        from lutscape.rtl.gate_level import read

        mapped, models = read(Path(netlist), cell.name, library)
        files = {f"{cell.name}.mapped.v": mapped, "library_cells.v": models}
    files[f"{harness.TOP}.v"] = harness.wrapper(cell)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def _plan(
    cell: Cell,
    folder: Path,
    inputs: Beats,
    expected: Beats,
    schedule: Mapping[str, npt.NDArray[np.int64]],
    seed: int,
    stalls: bool,
    gates: bool,
    simulator: str,
    keep: int,
) -> Path:
    """Write what the bench needs; return the plan's path."""
    packed, channels, offset = [], [], 0
    for i, channel in enumerate(harness.ordered(cell)):
        beats = (inputs if channel.direction == "in" else expected)[channel.name]
        data = harness.pack(cell, channel, beats)
        channels.append(
            {
                "name": channel.name,
                "signal": f"c{i}",
                "direction": channel.direction,
                "bits": harness.bits(channel),
                "count": len(next(iter(beats.values()))),
                "offset": offset,
            }
        )
        packed.append(data)
        offset += len(data)
    (folder / "beats.bin").write_bytes(b"".join(packed))
    edges = np.concatenate([np.sort(np.asarray(v)) for v in schedule.values()] or [np.zeros(1, np.int64)])
    widest = int(np.diff(edges, prepend=0).max(initial=0))
    plan = {
        "clocked": cell.clocked,
        "channels": channels,
        "beats": str(folder / "beats.bin"),
        "report": str(folder / "report.json"),
        "seed": seed,
        "phases": ["full rate", "stalls", "reset"] if stalls else ["full rate"],
        "idle": "x" if simulator == "icarus" and not gates else "random",
        "drain": 8 + cell.latency + cell.interval,
        "patience": 400 + 8 * (cell.latency + cell.interval + widest),
        "flight": max(8, min(int(edges.max(initial=0)) + cell.latency, 64 + 4 * (cell.latency + cell.interval))),
        "keep": keep,
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder / "plan.json"


def _run(cell: Cell, runner: Any, folder: Path, plan: Path, seed: int, timeout_s: float) -> dict[str, Any]:
    """Run the bench; return its report."""

    report_file = folder / "report.json"
    report_file.unlink(missing_ok=True)
    try:
        simulators.run(runner, "lutscape.rtl.bench", harness.TOP, folder, {PLAN_VARIABLE: str(plan)}, seed)
    except simulators.TimedOut:
        where = json.loads(report_file.read_text())["where"] if report_file.is_file() else "before the bench started"
        raise UserError(f"{cell.name}: the bench was stopped after {timeout_s:g} s: {where}") from None
    except simulators.Failed:
        pass
    report: dict[str, Any] = json.loads(report_file.read_text()) if report_file.is_file() else {"state": "absent"}
    if report["state"] != "done":
        log = (folder / "run.log").read_text(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(log) if line.strip()), "no output")
        raise UserError(f"{cell.name}: the simulator ended before the bench was done: {last}")
    return report


def _all_driven(inputs: Beats, phases: Mapping[str, Any]) -> bool:
    """Return whether some phase drove the whole stimulus; if not, it has failed, and coverage would count too much."""
    counts = {name: len(next(iter(fields.values()))) for name, fields in inputs.items()}
    return any(phase["accepted"] == counts for phase in phases.values())


def _mismatches(cell: Cell, found: list[dict[str, Any]], expected: Beats) -> list[Mismatch]:
    """Return the first wrong value of every mismatching beat, by field and lane."""
    out = []
    for entry in found:
        channel = cell.channel(entry["channel"])
        name, lane, want, got = _first_difference(channel, entry["got"], expected[channel.name], entry["beat"])
        place = (entry["phase"], channel.name, name, lane, entry["beat"], entry["cycle"])
        out.append(Mismatch(*place, expected=want, got=got, changed=entry["changed"]))
    return out


def _first_difference(
    channel: Channel, text: str, beats: Mapping[str, npt.NDArray[np.int64]], beat: int
) -> tuple[str, int, int, int | str]:
    low = 0
    for f in channel.fields:
        for lane in range(f.lanes):
            bits = text[len(text) - low - f.width : len(text) - low]
            low += f.width
            want = int(beats[f.name][beat, lane])
            if set(bits) - {"0", "1"}:
                return f.name, lane, want, bits.lower()
            got = int(bits, 2)
            got = got - (1 << f.width) if f.signed and bits[0] == "1" else got
            if got != want:
                return f.name, lane, want, got
    raise AssertionError("a beat that differs has a value that differs")


def _late(phases: Mapping[str, Any], schedule: Mapping[str, npt.NDArray[np.int64]]) -> list[str]:
    """Return the first beat of every channel whose edge is not the formula's, in the phases at full rate."""
    out = []
    for name in ("full rate", "reset"):
        if name not in phases:
            continue
        for channel, edges in schedule.items():
            seen = np.asarray(phases[name]["edges"][channel], np.int64) - phases[name]["start"]
            count = min(len(seen), len(edges))
            wrong = np.flatnonzero(seen[:count] != edges[:count])
            if len(wrong):
                i = int(wrong[0])
                out.append(
                    f"{channel}: beat {i} moved {seen[i]} edges after the first input, not {edges[i]} "
                    f"({name}, {len(wrong)} of {count} beats differ)"
                )
    return out


def _unstalled(phases: Mapping[str, Any], vectors: int) -> list[str]:
    """Return the channels that the phase with stalls never stalled, if there was time to."""
    if "stalls" not in phases or vectors < 100:
        return []
    phase = phases["stalls"]
    if sum(phase["checked"].values()) < vectors // 2:
        return []  # ended early: the reason is reported
    idle = [f"{name}: the bench left no gap between its beats" for name, n in phase["gaps"].items() if not n]
    held = [f"{name}: the bench never made a beat wait" for name, n in phase["held"].items() if not n]
    return idle + held
