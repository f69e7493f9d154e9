"""Calibration: every kind of cell synthesised over a grid, measured at work, and fitted, for one cell library.

Written to ``hw/calibration/NAME``:

    library.csv       the library, tools, constraints, operands
    arrays.csv        one row per array: parameters, area, timing, energy per beat, leakage, hashes
    builders.csv      likewise table builders, with registers in front; energy per table
    blocks.csv        adder trees, accumulators, FIFOs, fused dot products; energy per cycle
    errors.csv        relative errors of the fits: of fitted designs, of each left out in turn, of held-out designs
    coefficients.csv  area, energy and leakage of each count of :mod:`lutscape.hw.calibration.features`

Rows are kept in the cache as they come, so a run that was stopped goes on where it was.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lutscape.hw.calibration import features
from lutscape.hw.errors import UserError
from lutscape.models.registry import cache_dir
from lutscape.rtl import calibrate_fit, calibrate_grid, calibrate_measure, calibrate_operands, liberty, synth_cache
from lutscape.rtl.calibrate_grid import Design
from lutscape.rtl.calibrate_measure import Setting
from lutscape.rtl.synth_process import version

WEIGHT_BITS = range(1, 9)
ARRAY_COLUMNS = ("m", "n", "k", "activation_bits", "table_bits", "accumulator_bits", "planes_per_cycle",
                 "multiplier_weight_bits", "serial_weight_bits")  # fmt: skip
BUILDER_COLUMNS = ("k", "activation_bits", "table_bits")
MEASURED = ("area_um2", "register_area_um2", "gates", "registers", "min_period_ps", "energy_captured_pj",
            "glitch_captured", "toggles_captured", "energy_random_pj", "glitch_random", "toggles_random", "leakage_uw",
            "recipe", "key")  # fmt: skip
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Library:
    """What is calibrated.

    Attributes:
        name: folder.
        node_nm: feature size.
        source: citation of the library.
        setting: files and constraints.
    """

    name: str
    node_nm: float
    source: str
    setting: Setting


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was written.

    Attributes:
        folder: of the tables.
        rows: number of designs.
        fits: quality of the fits.
        seconds: it took.
        cpu_seconds: of all processes.
    """

    folder: Path
    rows: int
    fits: tuple[calibrate_fit.Fit, ...]
    seconds: float
    cpu_seconds: float


def calibrate(
    library: Library,
    folder: Path,
    jobs: int = 2,
    resume: bool = True,
    only: Sequence[str] = (),
    progress: Progress | None = None,
) -> Calibration:
    """Synthesise, measure and fit all designs of the grid.

    Args:
        library: what is calibrated.
        folder: where the tables go.
        jobs: processes; 1: this one.
        resume: take rows of earlier runs from the cache.
        only: kinds of designs (``array``, ``builder``, ``block``) to write; all if empty.
        progress: told what is done.

    Raises:
        UserError: the library, the operands, or designs that failed (the rows of the others are kept).
    """
    kinds = {"array": calibrate_grid.arrays, "builder": calibrate_grid.builders, "block": calibrate_grid.blocks}
    for kind in only:
        if kind not in kinds:
            raise UserError(f"calibrate: no kind {kind!r}; allowed: {', '.join(kinds)}")
    start, start_cpu = time.perf_counter(), _cpu_seconds()
    designs = [d for kind, make in kinds.items() if not only or kind in only for d in make()]
    cells = liberty.load(list(library.setting.libraries))
    tell = progress or (lambda what, done, total: None)
    tell("operands", 0, 1)
    uniform, captured = calibrate_operands.uniform(WEIGHT_BITS), calibrate_operands.captured(WEIGHT_BITS)
    tell("operands", 1, 1)
    identity = [
        *calibrate_measure.settings_key(library.setting, cells.sha256),
        calibrate_measure.code_hash(),
        synth_cache.timer(),
        version(),
        captured.text,
    ]
    rows = _rows(designs, library.setting, identity, uniform, captured, jobs, resume, tell)
    pairs = list(zip(designs, rows, strict=True))
    fits: list[calibrate_fit.Fit] = []
    for kind, columns, names, count in (
        ("array", ARRAY_COLUMNS, features.ARRAY_FEATURES, features.of_array),
        ("builder", BUILDER_COLUMNS, features.BUILDER_FEATURES, features.of_builder),
    ):
        chosen = [(d, r) for d, r in pairs if d.kind == kind]
        if not chosen:
            continue
        write_table(folder / f"{kind}s.csv", ["datapath", "role", *columns, *MEASURED], _table(chosen, columns))
        fits += [
            calibrate_fit.fit(kind, target, [(count(d.array), r, d.role) for d, r in chosen if d.array], list(names))
            for target in calibrate_fit.TARGETS
        ]
    chosen = [(d, r) for d, r in pairs if d.kind == "block"]
    if chosen:
        write_table(folder / "blocks.csv", ["kind", "cell", "parameters", *MEASURED], _blocks(chosen))
    if not only:
        write_table(folder / "coefficients.csv", ["kind", "count", *calibrate_fit.TARGETS], calibrate_fit.table(fits))
        write_table(folder / "errors.csv", ["kind", "quantity", *calibrate_fit.ERRORS], calibrate_fit.errors(fits))
        write_table(folder / "library.csv", ["key", "value"], _library(library, cells, captured.text))
    return Calibration(folder, len(rows), tuple(fits), time.perf_counter() - start, _cpu_seconds() - start_cpu)


def _cpu_seconds() -> float:
    """Return processor time of this process and of the ended ones below it."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _library(library: Library, cells: liberty.Library, operands: str) -> list[dict[str, Any]]:
    setting = library.setting
    values = {
        "name": library.name,
        "node_nm": f"{library.node_nm:g}",
        "library": cells.name,
        "source": library.source,
        "liberty_sha256": " ".join(cells.sha256),
        "gate_area_um2": f"{smallest_nand(cells):g}",
        "voltage_v": f"{cells.voltage:g}",
        "temperature_c": f"{cells.temperature_c:g}",
        "period_ps": f"{setting.period_ps:g}",
        "driving_cell": setting.driving_cell,
        "load_ff": f"{setting.load_ff:g}",
        "operands_captured": operands,
        "pyosys": version(),
    }
    return [{"key": key, "value": value} for key, value in values.items()]


def smallest_nand(cells: liberty.Library) -> float:
    """Return the area of the smallest two-input NAND, µm².

    Raises:
        UserError: the library has none.
    """
    areas = []
    for cell in map(cells.__getitem__, cells):
        if cell.register is None and len(cell.outputs) == 1 and len(cell.inputs) == 2:
            function = cell.pins[cell.outputs[0]].function
            if function is not None and len(function.variables) == 2 and function.table().tolist() == [1, 1, 1, 0]:
                areas.append(cell.area_um2)
    if not areas:
        raise UserError(f"{cells.name}: no two-input NAND")
    return min(areas)


def _table(pairs: Iterable[tuple[Design, Mapping[str, Any]]], columns: Sequence[str]) -> list[dict[str, Any]]:
    result = []
    for design, row in pairs:
        assert design.array is not None
        values = {name: getattr(design.array, name) for name in columns}
        result.append({"datapath": design.array.datapath, "role": design.role, **values, **row})
    return result


def _blocks(pairs: Iterable[tuple[Design, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    return [
        {
            "kind": design.cell.kind,
            "cell": design.cell.name,
            "parameters": " ".join(f"{k}={v}" for k, v in design.cell.parameters.items()),
            **row,
        }
        for design, row in pairs
    ]


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV file, floats with six digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        values = [row.get(name, "") for name in columns]
        writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in values])
    synth_cache.replace(path, text.getvalue().encode())


# Rows, in other processes.

_OPERANDS: dict[str, calibrate_operands.Source] = {}


def _start(uniform: str, captured: str) -> None:
    for name, path in (("uniform", uniform), ("captured", captured)):
        _OPERANDS[name] = calibrate_operands.load(Path(path))


def _one(kind: str, index: int, verilog: str, setting: Setting) -> dict[str, Any]:
    design = _design(kind, index)
    if synth_cache.without_comments(design.verilog) != verilog:
        raise UserError("the generators changed while the calibration ran; run it again")
    return calibrate_measure.row(design, setting, _OPERANDS["uniform"], _OPERANDS["captured"])


def _design(kind: str, index: int) -> Design:
    if kind not in _DESIGNS:
        make = {"array": calibrate_grid.arrays, "builder": calibrate_grid.builders, "block": calibrate_grid.blocks}
        _DESIGNS[kind] = list(make[kind]())
    return _DESIGNS[kind][index]


_DESIGNS: dict[str, list[Design]] = {}


def _rows(
    designs: Sequence[Design],
    setting: Setting,
    identity: list[Any],
    uniform: calibrate_operands.Source,
    captured: calibrate_operands.Source,
    jobs: int,
    resume: bool,
    tell: Progress,
) -> list[dict[str, Any]]:
    """Return the numbers of all designs, in order."""
    bare = [synth_cache.without_comments(d.verilog) for d in designs]
    keys = [
        synth_cache.digest([*identity, d.kind, d.top, " ".join(text.split())])
        for d, text in zip(designs, bare, strict=True)
    ]
    found: dict[int, dict[str, Any]] = {}
    for i, key in enumerate(keys):
        stored = _stored(key) if resume else None
        if stored is not None:
            found[i] = stored
    place: dict[str, int] = {}
    indices = []
    for design in designs:
        indices.append(place.get(design.kind, 0))
        place[design.kind] = indices[-1] + 1
    missing = sorted(set(range(len(designs))) - set(found), key=lambda i: -_size(designs[i]))
    total, failed = len(designs), []
    tell("designs", len(found), total)

    def keep(i: int, row: Callable[[], dict[str, Any]]) -> None:
        try:
            found[i] = row()
        except UserError as error:
            failed.append(f"{designs[i].top}: {error}")
            return
        synth_cache.replace(_place(keys[i]), json.dumps(found[i]).encode())
        tell("designs", len(found), total)

    if jobs == 1:
        for i in missing:
            keep(i, lambda i=i: calibrate_measure.row(designs[i], setting, uniform, captured))  # type: ignore[misc]
    elif missing:
        context = multiprocessing.get_context("spawn")
        with tempfile.TemporaryDirectory(prefix="lutscape-calibrate-") as name:
            paths = [str(Path(name) / f"{what}.npz") for what in ("uniform", "captured")]
            uniform.save(Path(paths[0]))
            captured.save(Path(paths[1]))
            with ProcessPoolExecutor(jobs, context, partial(_start, *paths)) as pool:
                waiting = {pool.submit(_one, designs[i].kind, indices[i], bare[i], setting): i for i in missing}
                for done in as_completed(waiting):
                    keep(waiting[done], done.result)
    if failed:
        raise UserError(f"calibrate: {len(failed)} of {total} designs failed, the others are kept; first: {failed[0]}")
    return [found[i] for i in range(total)]


def _size(design: Design) -> float:
    """Return a rough size, so that long designs start first."""
    if design.kind == "array" and design.array is not None:
        return sum(features.of_array(design.array).values())
    return 1e5 if design.cell.kind == "fused_dot" else 1e3


def _place(key: str) -> Path:
    return cache_dir() / "calibration" / f"{key}.json"


def _stored(key: str) -> dict[str, Any] | None:
    try:
        row: dict[str, Any] = json.loads(_place(key).read_text())
    except (OSError, ValueError):
        return None
    return row
