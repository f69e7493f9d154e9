"""Logic synthesis: Verilog to a netlist of library cells, with its area and timing.

yosys (pyosys) elaborates, optimises and maps flip-flops; abc maps, buffers and sizes the logic between them with a
driving cell and an output load (see :mod:`lutscape.rtl.synth_script`); :mod:`lutscape.rtl.sta` then times the whole
netlist with clock-to-output and setup, which abc leaves out. abc sizes towards the period but does not promise it:
``worst_slack_ps`` says whether it was reached.

Results are cached by content: Verilog, libraries, constraints, recipe and tool version. Area is the sum of cell areas:
no wires, no clock tree, no utilisation.

Example:
    >>> from lutscape.rtl.synth import synthesise
    >>> unit = synthesise(verilog, "lut_array", "nangate45", period_ps=1000)     # doctest: +SKIP
    >>> unit.area_um2, unit.min_period_ps                                        # doctest: +SKIP
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from lutscape.hw.errors import UserError
from lutscape.models.registry import CACHE_VARIABLE, cache_dir
from lutscape.rtl import liberty, netlist, sta
from lutscape.rtl.synth_process import library_names, run, version
from lutscape.rtl.synth_script import RECIPE, Recipe, commands, constraints

DEFAULTS = {"nangate45": ("BUF_X2", 10.0)}
"""Driving cell and load (fF, about six inverter inputs) of the libraries that have names."""
TIMEOUT_S = 900.0
TIMERS = (
    "sta.py",
    "sta_kernels.py",
    "linked.py",
    "netlist.py",
    "verilog_reader.py",
    "liberty.py",
    "liberty_read.py",
    "expression.py",
)
SCHEMA = 1


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
    def parsed(self) -> netlist.Netlist:
        """The netlist as numbered nets, for timing, gate simulation and power."""
        return netlist.parse(self.netlist, self.top)

    def timing(self, period_ps: float | None = None) -> sta.TimingReport:
        """Time the netlist again, with all arrivals, under the constraints of the synthesis."""
        return _timing(self.parsed, self.libraries, period_ps or self.period_ps, self.driving_cell, self.load_ff)


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
    recipe: Recipe = RECIPE,
) -> Synthesis:
    """Synthesise one module.

    Args:
        verilog: text with all modules.
        top: module to build.
        library: Liberty files, or the name of one in the cache.
        period_ps: clock period to aim at.
        driving_cell: buffer in front of every input; may be left out for a named library.
        load_ff: on every output; may be left out for a named library.
        flatten: dissolve the hierarchy (smaller, faster; the netlist can then be timed and simulated).
        keep_hierarchy_for_area: synthesise a second time module by module and report ``blocks``.
        dont_use: cell names or globs that may not be used.
        cache: read and write results in the cache directory.
        timeout_s: for each run of yosys.
        recipe: how.

    Raises:
        UserError: bad arguments or Verilog, a library without a needed cell, pyosys missing, a time-out.
    """
    names = [library] if isinstance(library, str | Path) else list(library)
    driving_cell, load_ff = _drive(names, driving_cell, load_ff)
    _check(top, period_ps, load_ff, driving_cell, dont_use := tuple(dont_use))
    paths = [liberty.find(name) for name in names]
    if not paths:
        raise UserError("no Liberty file given; give a path, or nangate45 after: lutscape rtl liberty get nangate45")
    plain = [_plain(path, cache) for path in paths]
    script = commands("design.v", top, library_names(len(plain)), period_ps, flatten, dont_use, recipe)
    limits = constraints(driving_cell, load_ff)
    versions = {"pyosys": version()}
    key = _hash([SCHEMA, verilog, top, script, limits, keep_hierarchy_for_area, [h for h, _ in plain], versions])
    stored = _read(key) if cache else None
    if stored is None:
        start = time.perf_counter()
        cells = liberty.load(paths)
        cells.cell(driving_cell, "driving cell")
        files = [path for _, path in plain]
        mapped = run(verilog, top, files, script, limits, timeout_s)
        blocks: dict[str, Block] = {}
        if keep_hierarchy_for_area:
            deep = commands("design.v", top, library_names(len(plain)), period_ps, False, dont_use, recipe)
            blocks = _blocks(run(verilog, top, files, deep, limits, timeout_s).modules, top, cells)
        stored = {
            "netlist": mapped.netlist,
            "blocks": {name: asdict(b) for name, b in blocks.items()},
            "library": cells.name,
            "seconds": time.perf_counter() - start,
            **_totals(mapped.modules, top, cells),
        }
        fresh = True
    else:
        fresh = False
    timer = _timer()
    if flatten and stored.get("timer") != timer:
        report = _timing(netlist.parse(stored["netlist"], top), tuple(paths), period_ps, driving_cell, load_ff)
        stored["min_period_ps"] = report.min_period_ps
        stored["critical_path"] = [asdict(s) for s in report.critical_path]
        stored["timer"] = timer
        if cache:
            _write(key, stored)
    elif fresh and cache:
        _write(key, stored)
    reached = float(stored.get("min_period_ps", float("nan")))
    return Synthesis(
        top,
        stored["netlist"],
        _place(key).with_suffix(".v.gz") if cache else None,
        tuple(paths),
        stored["library"],
        stored["area_um2"],
        stored["cells"],
        stored["registers"],
        stored["register_area_um2"],
        {name: Block(**b) for name, b in stored["blocks"].items()},
        period_ps,
        driving_cell,
        load_ff,
        period_ps - reached,
        reached,
        tuple(sta.Step(**s) for s in stored.get("critical_path", ())),
        recipe.name,
        versions,
        key,
        stored["seconds"],
        not fresh,
    )


def _drive(names: Sequence[str | Path], driving_cell: str | None, load_ff: float | None) -> tuple[str, float]:
    known = DEFAULTS.get(str(names[0])) if len(names) == 1 else None
    if known is None and (driving_cell is None or load_ff is None):
        missing = "a driving cell" if driving_cell is None else "a load in fF"
        raise UserError(
            f"synthesis with {', '.join(map(str, names))} needs {missing}: abc sizes and buffers only with both "
            f"(named libraries have defaults: {', '.join(DEFAULTS)})"
        )
    cell, load = known or ("", 0.0)
    return driving_cell if driving_cell is not None else cell, load_ff if load_ff is not None else load


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
    clock = "clk" if "clk" in parsed.inputs else None
    return sta.timing(parsed, _library(paths), period_ps, driving_cell, load_ff, clock=clock)


@lru_cache(maxsize=4)
def _library(paths: tuple[Path, ...]) -> liberty.Library:
    return liberty.load(paths)


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


# Cache.


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@lru_cache(maxsize=1)
def _timer() -> str:
    """Return a hash of the modules that time netlists: stored timing is theirs."""
    folder = Path(__file__).parent
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in TIMERS)).hexdigest()


def _plain(path: Path, cache: bool) -> tuple[str, Path]:
    """Return hash and path of a Liberty file, unpacked into the cache if it is compressed."""
    stat = path.stat()
    return _unpacked(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=32)
def _unpacked(path: Path, stamp: tuple[int, int]) -> tuple[str, Path]:
    try:
        data = path.read_bytes()
        if data[:2] != b"\x1f\x8b":
            return hashlib.sha256(data).hexdigest(), path
        data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    digest = hashlib.sha256(data).hexdigest()
    target = cache_dir() / "liberty" / "unpacked" / f"{digest}.lib"
    if not target.is_file():
        _replace(target, data)
    return digest, target


def _place(key: str) -> Path:
    return cache_dir() / "synthesis" / key[:2] / f"{key}.json"


def _read(key: str) -> dict[str, Any] | None:
    """Return a stored result; None if there is none, or a damaged one."""
    path = _place(key)
    try:
        stored: dict[str, Any] = json.loads(path.read_text())
        stored["netlist"] = gzip.decompress(path.with_suffix(".v.gz").read_bytes()).decode()
    except (OSError, ValueError, EOFError, zlib.error):
        return None
    return stored


def _write(key: str, stored: Mapping[str, Any]) -> None:
    path = _place(key)
    text = json.dumps({k: v for k, v in stored.items() if k != "netlist"}, indent=1)
    _replace(path.with_suffix(".v.gz"), gzip.compress(stored["netlist"].encode(), 6, mtime=0))
    _replace(path, text.encode())


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        place = error.filename or path
        raise UserError(
            f"{place}: cannot be written: {error.strerror or error}; set {CACHE_VARIABLE} to another directory"
        ) from None
