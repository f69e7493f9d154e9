"""Search by elimination: cheap rules thin out the full grid of designs, what is left is simulated.

The rules are those by which LUT-DLA (HPCA 2025) is described to prune its space: operations, memory, a quick accuracy
check, then the balance of the hardware's parts. They run in this order, each on what the one before left, from the one
that needs no hardware to the one that needs most of it:

    clock         the chains' clock, against the shortest period of a distance element as synthesised
    operations    Σ (M Nc c a + M Nc N) over the looked-up products, against Σ 2 M N K of the products themselves:
                  distances of a operations per value (3 for l2, 2 for the others, the running comparison included)
    tables        bytes of all tables of the network
    on chip       bytes of the banks, scratchpads, buffers
    accuracy      points lost, as measured; a codebook that was not measured is out
    balance       time of lookups over time of encoding, least and most, both as if alone: below 1 the chains hold up
                  the modules, far above they stand still
    swap          share of all lookups in passes that are over before the next table is there

What is left is the survivors, in the order of the grid; a sweep simulates them all, or evenly spread ones if it has
fewer trials than survivors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lutscape.explore import space
from lutscape.explore.space import Design, Domain
from lutscape.hw import measured_accuracy
from lutscape.hw import spec as hardware
from lutscape.hw.calibration import dla
from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_dla import LutDlaSpec
from lutscape.models.trace import Trace
from lutscape.sim.lut_dla import stage_timing
from lutscape.sim.lut_dla.dataflow import subspaces

OPERATIONS_PER_VALUE = {"l2": 3, "l1": 2, "chebyshev": 2}
MOST_DESIGNS = 2_000_000


class Rules(BaseModel):
    """Section ``funnel`` of a sweep: what a design may cost before anything is simulated; none = no such rule."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: Literal["lut-dla"] = "lut-dla"
    meets_clock: bool = True
    """Drop chains that are clocked faster than the netlists of their elements (hw.calibration.dla)."""
    max_operations: float | None = Field(default=1.0, gt=0)
    """Operations over those of the matrix products (two per multiply-accumulate)."""
    max_tables_mib: float | None = Field(default=None, gt=0)
    """Tables of the whole network."""
    max_on_chip_kib: float | None = Field(default=None, gt=0)
    """Banks, scratchpads and buffers."""
    max_accuracy_loss_points: float | None = None
    """Measured accuracy loss; the template then needs ``accuracy``."""
    balance: tuple[float, float] | None = None
    """Least and most time of lookups over time of encoding."""
    max_exposed_swaps: float | None = Field(default=None, ge=0, le=1)
    """Share of lookups in passes that wait for their table."""


@dataclass(frozen=True)
class Stage:
    """One rule and what it did.

    Attributes:
        name: of the rule.
        entered: designs.
        left: designs that it let pass.
        example: why the first one was dropped; empty if none was.
    """

    name: str
    entered: int
    left: int
    example: str


@dataclass(frozen=True)
class Funnel:
    """What elimination left.

    Attributes:
        designs: of the full grid.
        stages: in their order.
        survivors: indices into the grid.
    """

    designs: int
    stages: tuple[Stage, ...]
    survivors: tuple[int, ...]

    def text(self) -> str:
        """Return one line: how many designs each rule left."""
        steps = [f"{self.designs} designs", *(f"{s.name} {s.left}" for s in self.stages)]
        return " → ".join(steps)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for a store."""
        return asdict(self)

    @classmethod
    def load(cls, path: Path) -> Funnel:
        """Return what was stored of :meth:`as_dict`.

        Raises:
            UserError: missing or damaged.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            stages = tuple(Stage(**stage) for stage in data["stages"])
            return cls(int(data["designs"]), stages, tuple(int(i) for i in data["survivors"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: cannot be read, or damaged: {type(error).__name__}: {error}") from None

    def chosen(self, trials: int) -> tuple[int, ...]:
        """Return at most ``trials`` survivors, evenly spread over the grid."""
        if len(self.survivors) <= trials:
            return self.survivors
        picks = np.linspace(0, len(self.survivors) - 1, trials).round().astype(int)
        return tuple(self.survivors[i] for i in picks)


@dataclass(frozen=True)
class Work:
    """The looked-up products of a trace: (R,) integers each."""

    m: np.ndarray
    n: np.ndarray
    k: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, trace: Trace, kept: Sequence[str]) -> Work:
        """Return the linear operators that are converted."""
        rows = trace.distinct()
        rows = rows[(rows["kind"] == "linear") & ~rows["operator"].isin(kept)]
        m, n, k, count = (rows[name].to_numpy(np.int64) for name in ("M", "N", "K", "count"))
        return cls(m, n, k, count)


def run(rules: Rules, template: hardware.Spec, parameters: Mapping[str, Domain], trace: Trace) -> Funnel:
    """Thin out the grid.

    Raises:
        UserError: a continuous or too large grid, an accuracy rule without a measured table, no survivor.
    """
    if not isinstance(template, LutDlaSpec):
        raise UserError(f"sampler funnel: hardware of kind {template.kind}; its rules are for kind lut-dla")
    size = space.size(parameters)
    if size > MOST_DESIGNS:
        raise UserError(f"sampler funnel: the grid has {size:.4g} designs; allowed: at most {MOST_DESIGNS}")
    if rules.max_accuracy_loss_points is not None:
        if template.accuracy is None:
            raise UserError(
                f"funnel.max_accuracy_loss_points = {rules.max_accuracy_loss_points:g}: the hardware {template.name!r} "
                "names no measured accuracy; set accuracy.table and accuracy.network in it"
            )
        measured_accuracy.load(template.accuracy.table)
    work = Work.of(trace, template.kept_operators)
    specs: dict[int, LutDlaSpec] = {}
    alive: list[int] = []
    dropped, first = 0, ""
    for index in range(int(size)):
        try:
            specs[index] = _spec(template, space.grid_point(parameters, index))
            alive.append(index)
        except UserError as error:
            dropped, first = dropped + 1, first or str(error)
    stages = [Stage("spec", int(size), len(alive), first)] if dropped else []
    for name, check in _checks(rules, work).items():
        kept, example = [], ""
        for index in alive:
            reason = check(specs[index])
            if reason:
                example = example or reason
            else:
                kept.append(index)
        stages.append(Stage(name, len(alive), len(kept), example))
        alive = kept
        if not alive:
            raise UserError(
                f"sampler funnel: no design of {int(size)} passes rule {name!r}, the first because: {example}"
            )
    return Funnel(int(size), tuple(stages), tuple(alive))


def _spec(template: LutDlaSpec, design: Design) -> LutDlaSpec:
    found = hardware.override(template, dict(design), "design")
    assert isinstance(found, LutDlaSpec)
    return found


Check = Callable[[LutDlaSpec], str]


def _checks(rules: Rules, work: Work) -> dict[str, Check]:
    """Return the rules that are set, in their order; a check returns why a design is dropped, or nothing."""
    found: dict[str, Check] = {"clock": _clock} if rules.meets_clock else {}

    def above(name: str, limit: float | None, unit: str, value: Callable[[LutDlaSpec], float]) -> None:
        if limit is not None:

            def check(spec: LutDlaSpec) -> str:
                have = value(spec)
                return f"{have:.4g} {unit} > {limit:g}" if have > limit else ""

            found[name] = check

    above("operations", rules.max_operations, "operations of the matrix products'", lambda s: operations(s, work))
    above("tables", rules.max_tables_mib, "MiB of tables", lambda s: table_bytes(s, work) / 2**20)
    above("on chip", rules.max_on_chip_kib, "KiB on chip", lambda s: on_chip_bytes(s) / 1024)
    if rules.max_accuracy_loss_points is not None:
        found["accuracy"] = lambda spec: _accuracy(spec, float(rules.max_accuracy_loss_points or 0.0))
    if rules.balance is not None:
        low, high = rules.balance
        found["balance"] = lambda spec: _balance(spec, work, low, high)
    above("swap", rules.max_exposed_swaps, "of lookups wait for tables", lambda s: exposed_swaps(s, work))
    return found


def operations(spec: LutDlaSpec, work: Work) -> float:
    """Return operations of encoding and lookup over those of the matrix products."""
    book = spec.codebook
    nc = -(-work.k // book.v)
    encode = work.m * nc * book.c * book.v * OPERATIONS_PER_VALUE[book.metric]
    total = float(((encode + work.m * nc * work.n) * work.count).sum())
    return total / float((2 * work.m * work.n * work.k * work.count).sum())


def table_bytes(spec: LutDlaSpec, work: Work) -> float:
    """Return bytes of all tables of the network; operators of equal shape have tables of their own."""
    nc = -(-work.k // spec.codebook.v)
    return float((nc * work.n * work.count).sum()) * spec.codebook.c * spec.imm.table_bits / 8


def on_chip_bytes(spec: LutDlaSpec) -> float:
    """Return bytes of banks, scratchpads, centroid, input, index and activation buffers."""
    book, imm, ccm = spec.codebook, spec.imm, spec.ccm
    banks = 2 * imm.count * spec.table_bank_bits
    sums = imm.count * imm.rows * imm.lanes * imm.accumulator_bits
    inputs = ccm.count * (ccm.input_rows + 2 * book.c) * book.v * book.input_bits
    return (banks + sums + inputs) / 8 + 1024.0 * (spec.buffers.index_kib + spec.buffers.activation_kib)


def exposed_swaps(spec: LutDlaSpec, work: Work) -> float:
    """Return the share of lookups in passes of full blocks that are over before the next table is there."""
    bank = spec.codebook.c * spec.columns_per_pass * spec.imm.table_bits / 8 / spec.dram_bytes_per_cycle
    fill = stage_timing.fill_cycles(spec.codebook, spec.imm.lanes, spec.imm.fill_entries)
    rows = np.minimum(-(-work.m // spec.rows_per_cycle), spec.imm.rows)
    lookups = work.m * np.array([subspaces(int(k), spec.codebook.v) for k in work.k]) * work.n * work.count
    waits = np.maximum(bank, fill) > rows
    return float(lookups[waits].sum() / lookups.sum())


def _clock(spec: LutDlaSpec) -> str:
    if spec.ccm.dpe_stages != 1:
        return f"distance elements of {spec.ccm.dpe_stages} stages are not calibrated"
    book, most = spec.codebook, 1e6 / dla.dpe_period_ps(spec.codebook, spec.node)
    if spec.ccm.clock_mhz <= most:
        return ""
    element = f"{book.metric} element of v = {book.v}, INT{book.input_bits}"
    return f"{spec.ccm.clock_mhz:g} MHz: an {element} reaches {most:.0f}"


def _accuracy(spec: LutDlaSpec, limit: float) -> str:
    book, asked = spec.codebook, spec.accuracy
    assert asked is not None
    try:
        found = measured_accuracy.measured(asked.table, asked.network, asked.stage, book.v, book.c, book.metric)
    except UserError as error:
        return str(error)
    loss = found.loss_points
    return f"{found.codebook} loses {loss:.3g} points > {limit:g}" if loss > limit else ""


def balance(spec: LutDlaSpec, work: Work) -> float:
    """Return cycles of the modules' lookups over cycles of the chains' encoding."""
    rows = work.m * -(-work.k // spec.codebook.v) * work.count
    tiles = -(-work.n // spec.columns_per_pass)
    again = spec.dataflow in ("ls-n", "nkm", "nmk", "mnk") and spec.indices == "recompute"
    encode = rows * (tiles if again else 1) / stage_timing.indices_per_cycle(spec)
    return float((rows * tiles).sum() / spec.rows_per_cycle / encode.sum())


def _balance(spec: LutDlaSpec, work: Work, low: float, high: float) -> str:
    have = balance(spec, work)
    return "" if low <= have <= high else f"lookups take {have:.3g} of the encoding's time, not {low:g} to {high:g}"
