"""Logic synthesis: Verilog to a netlist of library cells, with its area and timing.

yosys (pyosys) elaborates, optimises and maps flip-flops; abc maps, buffers and sizes the logic between them with a
driving cell and an output load; :mod:`lutscape.rtl.sta` times the whole netlist. Recipes are tried from the smallest
to the fastest until one meets the period (:data:`lutscape.rtl.synth_script.RECIPES`); if none does, the fastest
netlist is returned, and ``worst_slack_ps`` says by how much it misses.

Results are cached by content: Verilog, libraries, constraints, recipe and tool version. Area is the sum of cell areas:
no wires, no clock tree, no utilisation.

Example:
    >>> from lutscape.rtl.synth import synthesise
    >>> unit = synthesise(verilog, "lut_array", "nangate45", period_ps=1000)     # doctest: +SKIP
    >>> unit.area_um2, unit.min_period_ps                                        # doctest: +SKIP
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lutscape.hw.errors import UserError
from lutscape.rtl import liberty, netlist, sta, synth_cache
from lutscape.rtl.netlist import Netlist
from lutscape.rtl.synth_process import run, version
from lutscape.rtl.synth_script import RECIPES, Recipe, commands, constraints

BUFFERS = {"BUF_X2": 10.0, "BUFx2_ASAP7_75t_R": 3.898}
"""Driving cells taken where none is named, with the load beside them, fF: Nangate45 and ASAP7."""
NAMED = {"nangate45": "BUF_X2"}
TIMEOUT_S = 900.0
FANOUT, SLEW_PS = 4, 30.0
SCHEMA = 3


@dataclass(frozen=True)
class Block:
    """One module of a hierarchical synthesis.

    Attributes:
        instances: how often it stands in the design.
        area_um2: of the library cells in one of them, its own parts left out.
        registers: flip-flops in one of them.
    """

    instances: int
    area_um2: float
    registers: int


@dataclass(frozen=True, eq=False)
class Synthesis:
    """A mapped design.

    Attributes:
        top: module.
        netlist: structural Verilog, flat unless ``flatten`` was off.
        path: of the netlist in the cache (``.v.gz``); None without a cache.
        libraries: Liberty files.
        library: their name.
        area_um2: sum of the cells' areas.
        cells: instances by library cell.
        registers: flip-flops.
        register_area_um2: area of the flip-flops.
        blocks: area by module from a second synthesis that keeps the hierarchy, if asked for; its sum is not
            ``area_um2``, because nothing is shared across borders.
        period_ps: target.
        driving_cell: in front of every input.
        load_ff: on every output.
        worst_slack_ps: at the target.
        min_period_ps: period reached; without registers the slowest path from input to output.
        critical_path: its steps.
        recipe: name.
        versions: of the tools.
        key: hash of all inputs.
        seconds: synthesis took, when it ran.
        cached: taken from the cache.
    """

    top: str
    netlist: str
    path: Path | None
    libraries: tuple[Path, ...]
    library: str
    area_um2: float
    cells: Mapping[str, int]
    registers: int
    register_area_um2: float
    blocks: Mapping[str, Block]
    period_ps: float
    driving_cell: str
    load_ff: float
    worst_slack_ps: float
    min_period_ps: float
    critical_path: tuple[sta.Step, ...]
    recipe: str
    versions: Mapping[str, str]
    key: str
    seconds: float
    cached: bool

    @property
    def gates(self) -> int:
        """Instances of library cells."""
        return sum(self.cells.values())

    @cached_property
    def parsed(self) -> Netlist:
        """The netlist as numbered nets, for timing, gate simulation and power."""
        return netlist.parse(self.netlist, self.top)

    def timing(self, period_ps: float | None = None) -> sta.TimingReport:
        """Time the netlist again, with all arrivals, under the constraints of the synthesis."""
        return _timing(self.parsed, self.libraries, period_ps or self.period_ps, self.driving_cell, self.load_ff)


@dataclass(frozen=True)
class _Job:
    """What all recipes have in common."""

    verilog: str
    top: str
    paths: tuple[Path, ...]
    period_ps: float
    driving_cell: str
    load_ff: float
    flatten: bool
    blocks: bool
    dont_use: tuple[str, ...]
    cache: bool
    timeout_s: float


def synthesise(
    verilog: str,
    top: str,
    library: Sequence[str | Path] | str | Path = "nangate45",
    *,
    period_ps: float,
    driving_cell: str | None = None,
    load_ff: float | None = None,
    flatten: bool = True,
    keep_hierarchy_for_area: bool = False,
    dont_use: Iterable[str] = (),
    cache: bool = True,
    timeout_s: float = TIMEOUT_S,
    recipes: Sequence[Recipe] = RECIPES,
) -> Synthesis:
    """Synthesise one module.

    Args:
        verilog: text with all modules.
        top: module to build.
        library: Liberty files, or the name of one in the cache.
        period_ps: clock period to aim at.
        driving_cell: buffer in front of every input; may be left out for libraries with a buffer of :data:`BUFFERS`.
        load_ff: on every output; likewise.
        flatten: dissolve the hierarchy (smaller, faster).
        keep_hierarchy_for_area: synthesise a second time module by module and report ``blocks``.
        dont_use: cell names or globs that may not be used.
        cache: read and write results in the cache directory.
        timeout_s: for each run of yosys.
        recipes: tried in turn until one meets the period.

    Raises:
        UserError: bad arguments or Verilog, a library without a needed cell, pyosys missing, a time-out.
    """
    names = [library] if isinstance(library, str | Path) else list(library)
    if not names:
        raise UserError("no Liberty file given; give a path, or nangate45 after: lutscape rtl liberty get nangate45")
    paths = tuple(liberty.find(name) for name in names)
    cell, load = drive(names, paths, driving_cell, load_ff)
    avoid = tuple(dont_use)
    _check(top, period_ps, load, cell, avoid)
    job = _Job(
        verilog=synth_cache.without_comments(verilog),
        top=top,
        paths=paths,
        period_ps=float(period_ps),
        driving_cell=cell,
        load_ff=float(load),
        flatten=flatten,
        blocks=keep_hierarchy_for_area,
        dont_use=avoid,
        cache=cache,
        timeout_s=timeout_s,
    )
    best: Synthesis | None = None
    for recipe in recipes:
        found = _one(job, recipe)
        if best is None or found.min_period_ps < best.min_period_ps:
            best = found
        if best.worst_slack_ps >= 0:
            break
    assert best is not None
    return best


def unpacked(paths: Sequence[Path]) -> list[Path]:
    """Return Liberty files as yosys reads them: plain text."""
    return [synth_cache.unpacked(path)[1] for path in paths]


def check_library(library: liberty.Library) -> None:
    """Refuse a library without what any logic needs: an inverter, and a two-input gate that AND or OR can be made of.

    Raises:
        UserError: naming what is missing.
    """
    gates = {"an inverter": False, "a two-input NAND, NOR, AND or OR": False}
    for cell in map(library.__getitem__, library):
        if cell.register is not None or cell.unsupported or len(cell.outputs) != 1:
            continue
        function = cell.pins[cell.outputs[0]].function
        if function is None or cell.pins[cell.outputs[0]].three_state or len(function.variables) != len(cell.inputs):
            continue
        if len(function.variables) == 1 and function.table()[0]:
            gates["an inverter"] = True
        elif len(function.variables) == 2 and function.table().sum() in (1, 3):
            gates["a two-input NAND, NOR, AND or OR"] = True
    missing = [name for name, found in gates.items() if not found]
    if missing:
        files = ", ".join(path.name for path in library.paths)
        raise UserError(f"{files}: no {missing[0].split(' ', 1)[1]} among {len(library)} cells; give all Liberty files")


def flip_flops(library: liberty.Library) -> list[liberty.Cell]:
    """Return the plain flip-flops (one data pin, neither clear nor preset), the smallest first."""
    found = [
        cell
        for cell in map(library.__getitem__, library)
        if cell.register is not None
        and cell.register.kind == "ff"
        and not cell.unsupported
        and cell.register.clear is None
        and cell.register.preset is None
        and len(cell.register.next_state.variables) == 1
    ]
    return sorted(found, key=lambda c: (c.area_um2, c.name))


def register_overhead_ps(library: liberty.Library) -> float:
    """Return clock-to-output at a fan-out of four data pins plus setup of the library's smallest flip-flop.

    It is what abc's delay target leaves of a period to logic; 0 for a library without plain flip-flops.
    """
    cells = flip_flops(library)
    if not cells:
        return 0.0
    cell = cells[0]
    data = [a for a in cell.arcs if a.kind in ("setup_rising", "setup_falling")]
    load = FANOUT * max((max(cell.pins[a.pin].capacitance_ff) for a in data), default=0.0)
    edges = [t for a in cell.arcs if a.kind in ("rising_edge", "falling_edge") for t in a.delay if t is not None]
    setups = [t for a in data for t in a.constraint if t is not None]
    launch = max((sta.look_up(t, 0.0, load) for t in edges), default=0.0)
    return launch + max((sta.look_up(t, SLEW_PS, 0.0) for t in setups), default=0.0)


def _one(job: _Job, recipe: Recipe) -> Synthesis:
    """Synthesise with one recipe, or take the result from the cache."""
    texts = [synth_cache.unpacked(path) for path in job.paths]
    versions = {"pyosys": version()}
    limits = constraints(job.driving_cell, job.load_ff)
    script = commands(job.top, len(texts), "{delay}", job.flatten, job.dont_use, (), recipe)
    text = " ".join(job.verilog.split())
    what = [SCHEMA, text, job.top, script, job.period_ps, limits, job.blocks, [h for h, _ in texts], versions]
    key = synth_cache.digest(what)
    stored = synth_cache.read(key) if job.cache else None
    fresh = stored is None
    if stored is None:
        stored = _run(job, recipe, [path for _, path in texts], limits)
    timed = stored.get("timer") == synth_cache.timer()
    if not timed:
        parsed = netlist.parse(stored["netlist"], job.top)
        report = _timing(parsed, job.paths, job.period_ps, job.driving_cell, job.load_ff)
        stored["min_period_ps"] = report.min_period_ps
        stored["critical_path"] = [asdict(step) for step in report.critical_path]
        stored["timer"] = synth_cache.timer()
    if job.cache and (fresh or not timed):
        synth_cache.write(key, stored)
    return Synthesis(
        top=job.top,
        netlist=stored["netlist"],
        path=synth_cache.netlist_path(key) if job.cache else None,
        libraries=job.paths,
        library=stored["library"],
        area_um2=stored["area_um2"],
        cells=stored["cells"],
        registers=stored["registers"],
        register_area_um2=stored["register_area_um2"],
        blocks={name: Block(**b) for name, b in stored["blocks"].items()},
        period_ps=job.period_ps,
        driving_cell=job.driving_cell,
        load_ff=job.load_ff,
        worst_slack_ps=job.period_ps - stored["min_period_ps"],
        min_period_ps=stored["min_period_ps"],
        critical_path=tuple(sta.Step(**step) for step in stored["critical_path"]),
        recipe=recipe.name,
        versions=versions,
        key=key,
        seconds=stored["seconds"],
        cached=not fresh,
    )


def _run(job: _Job, recipe: Recipe, files: Sequence[Path], limits: str) -> dict[str, Any]:
    """Run yosys; return what is stored of it."""
    start = time.perf_counter()
    cells = _library(job.paths)
    cells.cell(job.driving_cell, "driving cell")
    check_library(cells)
    delay = f"{max(1.0, job.period_ps - _overhead(job.paths)):.0f}"
    large = [cell.name for cell in flip_flops(cells)[1:]]

    def build(flatten: bool) -> tuple[str, Mapping[str, Mapping[str, int]]]:
        script = commands(job.top, len(files), delay, flatten, job.dont_use, large, recipe)
        mapped = run(job.verilog, job.top, files, script, limits, job.timeout_s)
        return mapped.netlist, mapped.modules

    text, modules = build(job.flatten)
    blocks = _blocks(build(False)[1], job.top, cells) if job.blocks else {}
    return {
        "netlist": text,
        "blocks": {name: asdict(b) for name, b in blocks.items()},
        "library": cells.name,
        "seconds": time.perf_counter() - start,
        **_totals(modules, job.top, cells),
    }


def drive(
    names: Sequence[str | Path], paths: tuple[Path, ...], driving_cell: str | None, load_ff: float | None
) -> tuple[str, float]:
    """Return driving cell and load, the defaults of the library where they are not given."""
    if driving_cell is None and len(names) == 1 and str(names[0]) in NAMED:
        driving_cell = NAMED[str(names[0])]
    if driving_cell is None:
        cells = _library(paths)
        driving_cell = next((name for name in BUFFERS if name in cells), None)
    if driving_cell is not None and load_ff is None:
        load_ff = BUFFERS.get(driving_cell)
    if driving_cell is None or load_ff is None:
        missing = "a driving cell" if driving_cell is None else "an output load in fF"
        raise UserError(
            f"synthesis with {', '.join(p.name for p in paths)} needs {missing}: abc buffers and sizes only with both "
            f"(known without: {', '.join(BUFFERS)})"
        )
    return driving_cell, load_ff


def _check(top: str, period_ps: float, load_ff: float, driving_cell: str, dont_use: Sequence[str]) -> None:
    if not period_ps >= 1:
        raise UserError(f"period {period_ps:g} ps; allowed: 1 ps or more")
    if not load_ff >= 0:
        raise UserError(f"load {load_ff:g} fF; allowed: 0 or more")
    for what, word in (("top module", top), ("driving cell", driving_cell), *(("dont_use", d) for d in dont_use)):
        if not re.fullmatch(r"[\w$*?\[\].-]+", word):
            raise UserError(f"{what} {word!r} is not a name")


def _timing(
    parsed: netlist.Netlist, paths: tuple[Path, ...], period_ps: float, driving_cell: str, load_ff: float
) -> sta.TimingReport:
    parsed = netlist.one_clock(parsed)
    clock = "clk" if "clk" in parsed.inputs else None
    return sta.timing(parsed, _library(paths), period_ps, driving_cell, load_ff, clock=clock)


@lru_cache(maxsize=4)
def _library(paths: tuple[Path, ...]) -> liberty.Library:
    return liberty.load(paths)


@lru_cache(maxsize=4)
def _overhead(paths: tuple[Path, ...]) -> float:
    return register_overhead_ps(_library(paths))


def _totals(modules: Mapping[str, Mapping[str, int]], top: str, cells: liberty.Library) -> dict[str, Any]:
    """Return area, cells and registers of a design, its hierarchy counted through."""
    counts: dict[str, int] = {}
    for name, instances in _instances(modules, top).items():
        for cell, count in modules[name].items():
            if cell not in modules:
                counts[cell] = counts.get(cell, 0) + count * instances
    flops = {cell: n for cell, n in counts.items() if cells[cell].register is not None}
    return {
        "area_um2": sum(cells[cell].area_um2 * n for cell, n in counts.items()),
        "cells": dict(sorted(counts.items())),
        "registers": sum(flops.values()),
        "register_area_um2": sum(cells[cell].area_um2 * n for cell, n in flops.items()),
    }


def _instances(modules: Mapping[str, Mapping[str, int]], top: str) -> dict[str, int]:
    """Return how often each module stands in the design."""
    found: dict[str, int] = {}

    def visit(name: str, times: int) -> None:
        found[name] = found.get(name, 0) + times
        for part, count in modules[name].items():
            if part in modules:
                visit(part, times * count)

    visit(top, 1)
    return found


def _blocks(modules: Mapping[str, Mapping[str, int]], top: str, cells: liberty.Library) -> dict[str, Block]:
    result: dict[str, Block] = {}
    for name, instances in _instances(modules, top).items():
        own = {c: n for c, n in modules[name].items() if c not in modules}
        area = sum(cells[c].area_um2 * n for c, n in own.items())
        result[name] = Block(instances, area, sum(n for c, n in own.items() if cells[c].register is not None))
    return result
