"""Mutation score of a cell's bench: how many small faults in its Verilog it finds, of those that are faults.

Every mutant runs through the bench that verifies the cell. One that passes is compared with the original by
:mod:`lutscape.rtl.equivalence`; proven equivalent, it is no fault. The others are survivors: holes in the stimulus.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl.cell import Cell
from lutscape.rtl.equivalence import Comparison, compare
from lutscape.rtl.mutate import Mutant, mutants
from lutscape.rtl.simulators import BenchTimedOut, DoesNotCompile
from lutscape.rtl.verify import verify


@dataclass(frozen=True)
class Survivor:
    """A mutant that passed the bench and is not proven equivalent."""

    mutant: Mutant
    comparison: Comparison

    def __str__(self) -> str:
        c = self.comparison
        found = f"equal for {c.cycles} cycles, undecided" if c.verdict == "undecided" else "differs"
        return f"{self.mutant.change}  [{found}: {c.how}]"


@dataclass(frozen=True)
class Score:
    """How a bench did.

    Attributes:
        cell: name of the module; ``kind`` is the cell's.
        places: different changes that the Verilog has.
        mutants: changes tried that compile.
        invalid: changes tried that do not; not counted.
        killed: by what the bench saw: ``bits``, ``handshake``, ``cycles``, ``crash`` or ``no end``.
        equivalent: proven to mean the same, as changes.
        survivors: not killed, not proven.
    """

    cell: str
    kind: str
    places: int
    mutants: int
    invalid: int
    killed: dict[str, int]
    equivalent: tuple[str, ...]
    survivors: tuple[Survivor, ...]

    @property
    def score(self) -> float:
        """Killed mutants of those that are not proven equivalent."""
        counted = self.mutants - len(self.equivalent)
        return sum(self.killed.values()) / counted if counted else 1.0

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "cell": self.cell,
            "kind": self.kind,
            "places": self.places,
            "mutants": self.mutants,
            "invalid": self.invalid,
            "killed": dict(sorted(self.killed.items())),
            "equivalent": list(self.equivalent),
            "survivors": [str(s) for s in self.survivors],
            "score": round(self.score, 4),
        }


def score(
    cell: Cell,
    *,
    count: int = 60,
    seed: int = 1,
    vectors: int = 1000,
    proof_s: float = 60.0,
    tell: Callable[[str], None] | None = None,
) -> Score:
    """Run mutants of a cell's Verilog, parts included, through its bench in Icarus.

    Args:
        cell: must pass its bench.
        count: mutants to run; those that do not compile are replaced.
        seed: of the choice, and of stimulus and stalls.
        vectors: of the bench.
        proof_s: limit of each step of an equivalence proof, seconds.
        tell: called with each survivor or proof as it is found.

    Raises:
        UserError: the unchanged cell fails.
    """
    fixed = _computed_once(cell, seed, vectors)
    whole = verify(fixed, vectors=vectors, seed=seed)
    if not (whole.bits_match and not whole.late):
        raise UserError(f"{cell.name}: the unchanged cell fails: {whole.failures()[0]}")
    limit = 20 + 20 * whole.seconds
    source = cell.verilog()
    places = mutants(source, seed, 1 << 30)
    killed: dict[str, int] = {}
    equivalent: list[str] = []
    survivors: list[Survivor] = []
    ran = invalid = 0
    for mutant in places:
        if ran == count:
            break
        try:
            how = _fate(fixed, mutant, seed, vectors, limit)
        except DoesNotCompile:
            invalid += 1
            continue
        ran += 1
        if how:
            killed[how] = killed.get(how, 0) + 1
            continue
        try:
            comparison = compare(cell, source, mutant.source, proof_s)
        except UserError as error:  # a fault that the simulator takes and yosys does not, two drivers say
            comparison = Comparison("undecided", 0, str(error))
        if comparison.verdict == "equivalent":
            equivalent.append(mutant.change)
        else:
            survivors.append(Survivor(mutant, comparison))
        if tell is not None:
            tell(f"{cell.name}: {comparison.verdict}: {mutant.change}")
    return Score(cell.name, cell.kind, len(places), ran, invalid, killed, tuple(equivalent), tuple(survivors))


def _computed_once(cell: Cell, seed: int, vectors: int) -> Cell:
    """Return the cell with its models evaluated: they are the same for every mutant."""
    inputs = cell.stimulus(np.random.default_rng(seed), vectors)
    expected = cell.golden(inputs)
    schedule = cell.schedule(inputs) if cell.schedule else {}
    return replace(
        cell,
        stimulus=lambda rng, n: inputs,
        golden=lambda beats: expected,
        schedule=(lambda beats: schedule) if cell.schedule else None,
        coverage=lambda beats: {},
    )


def _fate(cell: Cell, mutant: Mutant, seed: int, vectors: int, limit: float) -> str:
    """Return what the bench sees first in a mutant, or nothing."""
    try:
        run = verify(cell, source=mutant.source, seed=seed, vectors=vectors, timeout_s=limit, keep=1, processes=1)
    except DoesNotCompile:
        raise
    except BenchTimedOut:
        return "no end"
    except UserError:
        return "crash"
    return "bits" if run.mismatches else "handshake" if run.violations else "cycles" if run.late else ""
