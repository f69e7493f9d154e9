"""Hold a cell's Verilog, or its mapped netlist, to its golden model, its cycle formula and its coverage bins.

Stimulus and expected beats are computed here; :mod:`lutscape.rtl.bench` moves them through the simulator and
writes down what it saw. What it checks on every edge is listed there.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.rtl import clockings, harness, simulators
from lutscape.rtl import verification as outcome
from lutscape.rtl.cell import Beats, Cell
from lutscape.rtl.verification import Verification

if TYPE_CHECKING:
    from lutscape.rtl.liberty import Library

TIMEOUT_S = 600.0
SLOW_BITS = 256  # of all ports: from here on, two simulators share the phases
KEEP = 20  # mismatches after which a run ends
PLAN_VARIABLE = "LUTSCAPE_BENCH"  # as in lutscape.rtl.bench, which only a simulator can import


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
    processes: int | None = None,
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
        netlist: mapped gates with the cell's module name and ports, to run instead: a path, or the text itself.
        library: Liberty library of the netlist's cells.
        workdir: where sources, logs and the report stay; by default they are removed.
        timeout_s: limit of build and run together, seconds.
        keep: mismatching beats after which the run ends.
        processes: simulators at a time (1 or 2: full rate beside the other phases); by default 2 for cells
            that are slow to simulate.

    Raises:
        UserError: simulator not installed, Verilog that does not compile, time-out, netlist without library.
    """
    started = time.monotonic()
    found = simulators.find(simulator)
    if vectors < 1:
        raise UserError(f"vectors {vectors}: at least 1")
    if netlist is not None and library is None:
        raise UserError("netlist: a mapped netlist needs the Liberty library of its cells")
    inputs = cell.stimulus(np.random.default_rng(seed), vectors) if stimulus is None else stimulus
    expected = cell.golden(inputs)
    schedule = cell.schedule(inputs) if cell.clocked and cell.schedule else {}
    clocks = clockings.draw(cell, seed) if len(cell.domains) > 1 else []
    expected_edges = clockings.schedules(cell, inputs, clocks)
    if clocks:  # the longest run stands for all in limits of time
        schedule = max(expected_edges, key=lambda s: max((v.max(initial=0) for v in s.values()), default=0))
    with ExitStack() as stack:
        folder = _folder(workdir, stack)
        sources = _sources(cell, folder, source, netlist, library)
        build_started = time.monotonic()
        simulators.build(found, sources, harness.TOP, folder, timeout_s)
        build_seconds = time.monotonic() - build_started
        if processes is None:
            processes = 2 if sum(harness.bits(c) for c in cell.channels) >= SLOW_BITS else 1
        groups = _phases(cell, stalls, processes)
        common = _plan(cell, folder, inputs, expected, schedule, seed, netlist is not None, simulator, keep)
        shown = cell.crossings if simulator == "icarus" and netlist is None else ()
        common |= {"clockings": clocks, "domains": list(cell.domains), "crossings": list(shown)}
        limits = (timeout_s - build_seconds, timeout_s)
        stop = threading.Event()
        with ThreadPoolExecutor(len(groups)) as pool:
            runs = [pool.submit(_run, cell, found, folder, common, g, seed, limits, stop) for g in groups]
            try:
                report = _merged([r.result() for r in runs])
            except BaseException:  # one failed, or the user interrupts: the other need not go on
                stop.set()
                raise
        phases = report["phases"]
        first = phases[next(iter(phases))]
        coverage = cell.coverage(inputs) if outcome.all_driven(inputs, phases) else {}
        level = "rtl" if netlist is None else "gate level"
        complete = stimulus is None
        return Verification(
            cell=cell.name,
            kind=cell.kind,
            parameters=cell.parameters,
            clocked=cell.clocked,
            level=level,
            seed=seed,
            beats=first["checked"],
            mismatches=tuple(outcome.mismatches(cell, report["mismatches"], expected)),
            stopped=len(report["mismatches"]) >= keep,
            violations=tuple(f"{v['text']} at cycle {v['cycle']} ({v['phase']})" for v in report["violations"]),
            cycles={name: phase["cycles"] for name, phase in phases.items()},
            late=tuple(clockings.late(phases, clocks, expected_edges) if clocks else outcome.late(phases, schedule)),
            coverage=coverage if complete else {name: hits for name, hits in coverage.items() if hits},
            stalls={k: phases["stalls"][k] for k in ("refused", "gaps", "held")} if "stalls" in phases else {},
            unstalled=tuple(outcome.unstalled(phases, vectors)) if complete else (),
            simulator=found.version,
            seconds=time.monotonic() - started,
            build_seconds=build_seconds,
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
        from lutscape.rtl.gate_level import simulatable

        files = {f"{cell.name}.mapped.v": simulatable(netlist, cell.name, library)}
    files[f"{harness.TOP}.v"] = harness.wrapper(cell)
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]


def _phases(cell: Cell, stalls: bool, processes: int) -> list[list[str]]:
    """Return the phases that each simulator runs."""
    if not cell.clocked or not stalls:
        return [["full rate"]]
    return [["full rate", "resets", "stalls"]] if processes == 1 else [["full rate"], ["resets", "stalls"]]


def _plan(
    cell: Cell,
    folder: Path,
    inputs: Beats,
    expected: Beats,
    schedule: Mapping[str, npt.NDArray[np.int64]],
    seed: int,
    gates: bool,
    simulator: str,
    keep: int,
) -> dict[str, Any]:
    """Write the beats; return what the bench needs to know about them."""
    packed, channels, offset = [], [], 0
    for i, channel in enumerate(harness.ordered(cell)):
        beats = (inputs if channel.direction == "in" else expected)[channel.name]
        data = harness.pack(cell, channel, beats)
        channels.append(
            {
                "name": channel.name,
                "signal": f"c{i}",
                "direction": channel.direction,
                "domain": channel.domain,
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
    return {
        "clocked": cell.clocked,
        "channels": channels,
        "beats": str(folder / "beats.bin"),
        "seed": seed,
        "idle": "x" if simulator == "icarus" and not gates else "random",
        "drain": 8 + cell.latency + cell.interval,
        "patience": 400 + 8 * (cell.latency + cell.interval + widest),
        "flight": max(8, min(int(edges.max(initial=0)) + cell.latency, 64 + 4 * (cell.latency + cell.interval))),
        "keep": keep,
    }


def _run(
    cell: Cell,
    simulator: simulators.Simulator,
    folder: Path,
    plan: dict[str, Any],
    phases: list[str],
    seed: int,
    limits: tuple[float, float],
    stop: threading.Event,
) -> dict[str, Any]:
    """Run some phases of the bench in a folder of their own; return its report. Limits: seconds left, of all."""
    place = folder / "-".join(phases).replace(" ", "-")
    place.mkdir(exist_ok=True)
    report_file = place / "report.json"
    report_file.unlink(missing_ok=True)
    (place / "plan.json").write_text(json.dumps(plan | {"phases": phases, "report": str(report_file)}))
    # The second one keeps cocotb from setting up pytest's rewriting of assertions: half of a short run's time.
    environment = {PLAN_VARIABLE: str(place / "plan.json"), "COCOTB_REWRITE_ASSERTION_FILES": ""}
    bench = "lutscape.rtl.bench" if len(cell.domains) < 2 else "lutscape.rtl.bench_clocks"
    try:
        simulators.run(simulator, bench, harness.TOP, folder, place, environment, seed, limits[0], stop)
    except simulators.TimedOut:
        where = json.loads(report_file.read_text())["where"] if report_file.is_file() else "before the bench started"
        text = f"{cell.name}: the bench was stopped after {limits[1]:g} s: {where}"
        raise simulators.BenchTimedOut(text) from None
    except simulators.Failed:
        pass
    report: dict[str, Any] = json.loads(report_file.read_text()) if report_file.is_file() else {"state": "absent"}
    if report["state"] != "done":
        log = (place / "run.log").read_text(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(log) if line.strip()), "no output")
        raise UserError(f"{cell.name}: the simulator ended before the bench was done: {last}")
    return report


def _merged(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """Return one report of several."""
    names = ["vectors", "full rate", "resets", "stalls"]
    phases = {k: v for r in reports for k, v in r["phases"].items()}
    place = {name: (names.index(name.partition(",")[0]), name.partition(",")[2]) for name in phases}
    return {
        "phases": dict(sorted(phases.items(), key=lambda item: place[item[0]])),
        "mismatches": [m for r in reports for m in r["mismatches"]],
        "violations": [v for r in reports for v in r["violations"]],
    }
