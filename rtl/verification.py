"""What a bench run showed: the outcome in one object, and how the bench's notes become it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.rtl.cell import Beats, Cell, Channel

SHOWN = 5  # mismatches in a summary


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
        cell: name of the module; ``kind`` and ``parameters`` are the cell's.
        level: ``rtl`` or ``gate level``.
        beats: output beats checked in the first phase, by channel.
        mismatches: the first ones, one for each wrong beat.
        stopped: the run ended there, with more to come.
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
    kind: str
    parameters: Mapping[str, int | str]
    clocked: bool
    level: str
    seed: int
    beats: Mapping[str, int]
    mismatches: tuple[Mismatch, ...]
    stopped: bool
    violations: tuple[str, ...]
    cycles: Mapping[str, int]
    late: tuple[str, ...]
    coverage: Mapping[str, int]
    stalls: Mapping[str, Mapping[str, int]]
    unstalled: tuple[str, ...]
    simulator: str
    seconds: float
    build_seconds: float

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
            lines.append(more + (" (stopped there)" if self.stopped else ""))
        lines += [*self.violations, *self.late, *self.unstalled]
        if self.missing:
            lines.append(f"coverage: never hit: {', '.join(self.missing)}")
        return lines

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "cell": self.cell,
            "kind": self.kind,
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


def all_driven(inputs: Beats, phases: Mapping[str, Any]) -> bool:
    """Return whether some phase drove the whole stimulus; if not, it has failed, and coverage would count too much."""
    counts = {name: len(next(iter(fields.values()))) for name, fields in inputs.items()}
    return any(phase.get("accepted") == counts for phase in phases.values())


def mismatches(cell: Cell, found: list[dict[str, Any]], expected: Beats) -> list[Mismatch]:
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


def late(phases: Mapping[str, Any], schedule: Mapping[str, npt.NDArray[np.int64]]) -> list[str]:
    """Return the first beat of every channel whose edge is not the formula's, wherever the bench ran at full rate."""
    runs = [("full rate", phases["full rate"])] if "full rate" in phases else []
    runs += [("resets", r) for r in phases.get("resets", {}).get("flights", []) if not r["stalls"]]
    out = []
    for name, run in runs:
        if any(run["accepted"].values()) and run["start"] != runs[0][1]["start"]:
            first = runs[0][1]["start"]
            out.append(
                f"first input taken {run['start']} edges after a reset, but {first} after the first reset ({name})"
            )
        for channel, edges in schedule.items():
            seen = np.asarray(run["edges"][channel], np.int64) - run["start"]
            count = min(len(seen), len(edges))
            wrong = np.flatnonzero(seen[:count] != edges[:count])
            if len(wrong):
                i = int(wrong[0])
                out.append(
                    f"{channel}: beat {i} moved {seen[i]} edges after the first input, not {edges[i]} "
                    f"({name}, {len(wrong)} of {count} beats differ)"
                )
    return out


def unstalled(phases: Mapping[str, Any], vectors: int) -> list[str]:
    """Return the channels that the phase with stalls never stalled, if there was time to."""
    if "stalls" not in phases or vectors < 100:
        return []
    phase = phases["stalls"]
    if sum(phase["checked"].values()) < vectors // 2:
        return []  # ended early: the reason is reported
    idle = [f"{name}: the bench left no gap between its beats" for name, n in phase["gaps"].items() if not n]
    held = [f"{name}: the bench never made a beat wait" for name, n in phase["held"].items() if not n]
    return idle + held
