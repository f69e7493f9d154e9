"""One model on all machines: every machine of a comparison on every workload, swept where it has parameters.

The directory holds, besides index.html:

=============================  ==============================================================================
comparison.yaml                the file, word for word
comparison.json                every number of the page
picture.png                    the first workload's figure
WORKLOAD/trace.parquet         what all machines ran
WORKLOAD/MACHINE/              the stored sweep of a machine with parameters: ``lutscape choose`` and ``report`` read it
WORKLOAD/MACHINE.sweep.yaml    its sweep file, and hardware/MACHINE.yaml its template
=============================  ==============================================================================

Areas by one rule for all: arithmetic of linear layers, and on-chip memory, apart; :data:`PARTS` says which component of
which family belongs where. What a family does not price is priced here where the spec knows its size (caches and
registers of a GPU), and named where it does not.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lutscape.explore import accuracy, choose, comparison_file, measured_gpu, session, store, workload
from lutscape.explore.comparison_file import Comparison, Entry
from lutscape.explore.workload import FixedTrace
from lutscape.hw.errors import UserError
from lutscape.hw.errors import choose as named
from lutscape.hw.machines.gpu import GpuSpec
from lutscape.hw.memory import sram_area_mm2
from lutscape.hw.ppa import Ppa
from lutscape.hw.provenance import Grade, worst
from lutscape.hw.result import Result
from lutscape.hw.spec import Spec

ARITHMETIC, MEMORY, REST = "arithmetic", "memory", "rest"
PARTS: dict[str, dict[str, str]] = {
    "gpu": {"matrix units": ARITHMETIC, "table builders": ARITHMETIC},
    "lut-tensor-core": {
        "arrays": ARITHMETIC, "table builder": ARITHMETIC, "FP16 MACs": REST, "vector lanes": REST,
        "weight buffer": MEMORY, "activation buffer": MEMORY, "output buffer": MEMORY,
    },
    "roma": {"L-Units": ARITHMETIC, "H-Units": MEMORY, "Vector Units": REST, "other": REST},
    "lut-dla": {"index FIFOs": MEMORY, "table banks": MEMORY, "scratchpads": MEMORY},
}  # fmt: skip
"""Component of a family's area -> class; others by :func:`part`."""
MEMORY_WORDS = ("buffer", "sram", "rom", "table", "scratchpad", "fifo", "memory")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One machine on one workload.

    Attributes:
        machine: name in the file.
        spec: what ran: the chosen design of a swept machine.
        result: its timing; None if it cannot run the workload.
        ppa: its cost.
        trial: of the sweep, if there was one.
        front: points on the sweep's front.
        directory: of the sweep, relative to the comparison's.
        refused: why there is no result.
    """

    machine: str
    spec: Spec | None
    result: Result | None
    ppa: Ppa | None
    trial: int | None = None
    front: int = 0
    directory: str = ""
    refused: str = ""


def part(kind: str, component: str) -> str:
    """Return the class of a component of a family's area."""
    known = PARTS.get(kind, {})
    if component in known:
        return known[component]
    lower = component.lower()
    if any(word in lower for word in MEMORY_WORDS):
        return MEMORY
    return REST if any(word in lower for word in ("vector", "fp16", "other")) else ARITHMETIC


def areas(spec: Spec, ppa: Ppa) -> dict[str, tuple[float, Grade, str]]:
    """Return area by class, mm², with grade and source."""
    found: dict[str, list[Any]] = {}
    for name, quantity in ppa.area.items():
        if quantity.value:
            found.setdefault(part(spec.kind, name), []).append((name, quantity))
    result = {
        kind: (sum(q.value for _, q in parts), worst(*(q.grade for _, q in parts)), ", ".join(n for n, _ in parts))
        for kind, parts in found.items()
    }
    if isinstance(spec, GpuSpec):
        kib = spec.l2_mib * 1024 + spec.sms * (spec.shared_memory_kib_per_sm + spec.register_file_kib_per_sm)
        text = f"{kib / 1024:.0f} MiB of L2, shared memory and registers at {spec.node.name}'s SRAM density"
        result[MEMORY] = (sram_area_mm2(kib, spec.node), Grade.DERIVED, text)
    return result


def run(
    comparison: Comparison,
    directory: Path,
    say: Say,
    workers: int | None = None,
    trials: int | None = None,
    resume: bool = False,
    only: Sequence[str] = (),
    trace_progress: workload.Progress | None = None,
) -> Path:
    """Run a comparison and write its directory; return the page.

    Args:
        comparison: from :func:`lutscape.explore.comparison_file.load`.
        directory: output; with ``resume`` what an earlier run left.
        say: told what is being done.
        workers: processes of each sweep.
        trials: of each swept machine, in place of the file's.
        resume: keep the sweeps that are finished and go on.
        only: workloads; all if empty.
        trace_progress: told how far a model has run.

    Raises:
        UserError: a workload or a sweep that cannot run, or a directory that is not empty.
    """
    from lutscape.explore import comparison_page

    chosen = [named(name, comparison.file.workloads, "workload") for name in only] or list(comparison.file.workloads)
    if directory.exists() and any(directory.iterdir()):
        if not resume:
            raise UserError(f"{directory}: exists and is not empty; go on there with --resume, or give another -o")
        stored = directory / "comparison.yaml"
        if not stored.is_file() or stored.read_text(encoding="utf-8") != comparison.text:
            raise UserError(f"{directory}: --resume: {comparison.path} is not what was run there; give another -o")
    store.check_writable(directory)
    store.write(directory / "comparison.yaml", comparison.text)
    document: dict[str, Any] = {
        "schema_version": 1, "name": comparison.file.name, "versions": store.versions(), "workloads": {},
    }  # fmt: skip
    for name in chosen:
        work = comparison.file.workloads[name]
        path = directory / name / "trace.parquet"
        if path.is_file():
            trace = workload.Trace.load(path)
        else:
            say(f"{name}: trace")
            trace = workload.traced(work, comparison.path, f"workloads.{name}", trace_progress)
            path.parent.mkdir(parents=True, exist_ok=True)
            trace.save(path)
        fixed = FixedTrace.of(trace)
        rows = []
        for machine, entry in comparison.file.machines.items():
            say(f"{name}: {machine}")
            rows.append(_row(comparison, machine, entry, name, fixed, directory, workers, trials))
        document["workloads"][name] = {
            "model": trace.header.model, "prompt_tokens": trace.header.prompt_tokens,
            "decode_tokens": trace.header.decode_tokens, "batch": trace.header.batch,
            "weights": work.weights, "activations": work.activations, "kv": work.kv,
            "rows": [as_dict(r, comparison, trace.header.model) for r in rows],
            "measured": [measured_gpu.of_trace(device, fixed) for device in comparison.file.measured],
        }  # fmt: skip
    store.write(directory / "comparison.json", json.dumps(document, indent=1) + "\n")
    page = directory / "index.html"
    store.write(page, comparison_page.render(comparison, document))
    first = next(iter(document["workloads"].values()))
    if first["decode_tokens"]:
        store.write(directory / "picture.png", comparison_page.picture(first))
    return page


def _row(
    comparison: Comparison, machine: str, entry: Entry, work: str, trace: FixedTrace, root: Path, workers: int | None,
    trials: int | None,
) -> Row:  # fmt: skip
    from lutscape.sim.simulate import simulate

    spec = comparison.specs[machine]
    if not entry.parameters:
        try:
            return Row(machine, spec, *simulate(spec, trace))
        except UserError as error:
            return Row(machine, spec, None, None, refused=str(error))
    directory = root / work / machine
    if not (directory / "trials.parquet").is_file():
        shutil.rmtree(directory, ignore_errors=True)  # of a sweep that was stopped: it takes seconds to run again
        sweep = _write_sweep(comparison, machine, entry, root / work, trials)
        try:
            session.sweep(sweep, directory, workers=workers, render=False, command=_command(comparison))
        except session.ModelFault:
            raise
        except UserError as error:
            return Row(machine, None, None, None, directory=f"{work}/{machine}", refused=str(error))
    chosen = choose.choose(directory)
    front, relative = len(chosen.front), f"{work}/{machine}"
    return Row(machine, chosen.spec, chosen.result, chosen.ppa, chosen.number, front, relative)


def _command(comparison: Comparison) -> str:
    return f"lutscape sweep {comparison.file.name}"


def _write_sweep(comparison: Comparison, machine: str, entry: Entry, folder: Path, trials: int | None) -> Path:
    """Write one machine's sweep file and template; return the first."""
    file = comparison.file
    template = folder / "hardware" / f"{machine}.yaml"
    spec = comparison.specs[machine]
    store.write(template, yaml.safe_dump(spec.model_dump(mode="json", exclude_none=True), sort_keys=False, width=110))
    data = {
        "kind": "sweep",
        "name": f"{file.name}.{folder.name}.{machine}",
        "workload": {"trace": str((folder / "trace.parquet").resolve())},
        "hardware": f"hardware/{machine}.yaml",
        "parameters": {k: d.model_dump(mode="json", exclude_none=True) for k, d in entry.parameters.items()},
        "constraints": file.constraints,
        "objectives": file.objectives,
        "sampler": file.sampler.model_dump(mode="json"),
        "trials": trials or entry.trials or file.trials,
    }
    path = folder / f"{machine}.sweep.yaml"
    store.write(path, yaml.safe_dump(data, sort_keys=False, width=110))
    return path


def as_dict(row: Row, comparison: Comparison, model: str) -> dict[str, Any]:
    """Return a row as plain data; what is missing carries its reason."""
    entry = comparison.file.machines[row.machine]
    found: dict[str, Any] = {"machine": row.machine, "hardware": entry.hardware, "note": entry.note}
    if row.result is None or row.ppa is None or row.spec is None:
        return found | {"refused": row.refused}
    found |= {
        "kind": row.spec.kind, "node": row.spec.node.name, "digest": row.spec.digest(),
        "trial": row.trial, "front": row.front, "directory": row.directory,
        "metrics": row.ppa.as_dict()["metrics"], "area_convention": row.ppa.area_convention,
        "areas": {k: {"value": v, "grade": str(g), "source": s} for k, (v, g, s) in areas(row.spec, row.ppa).items()},
        "bound_by": dict(choose.bound_by(row.result)),
    }  # fmt: skip
    if row.trial is not None:
        leaves = dict(row.spec.leaves())
        found["parameters"] = {key: leaves[key] for key in entry.parameters}
    found["accuracy"] = _accuracy(entry, model)
    return found


def _accuracy(entry: Entry, model: str) -> dict[str, Any]:
    if entry.accuracy is None:
        return {"reason": "no golden model of this machine has run a language model"}
    if not accuracy.known(model):
        return {"reason": f"{model} is here by shape alone; its weights are not"}
    return accuracy.entry(model, entry.accuracy).model_dump()


def stored(directory: Path) -> bool:
    """Return whether a directory is that of a comparison."""
    return (directory / "comparison.json").is_file()


def pick(directory: Path, work: str | None = None, machine: str | None = None) -> Path:
    """Return the sweep below a comparison's directory that ``lutscape choose`` is to choose from.

    Args:
        directory: of a finished comparison.
        work: workload; the file's first by default.
        machine: only this one; by default the one whose chosen design lies nearest to the best of every objective.

    Raises:
        UserError: not a comparison, no such workload or machine, or one without a sweep.
    """
    import numpy as np

    from lutscape.explore import pareto

    try:
        document = json.loads((directory / "comparison.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{directory / 'comparison.json'}: cannot be read: {error}") from None
    if document.get("schema_version") != 1:
        raise UserError(
            f"{directory / 'comparison.json'}: schema version {document.get('schema_version')}, this lutscape reads 1; "
            "run the comparison again"
        )
    work = named(work, document["workloads"], "workload") if work else next(iter(document["workloads"]))
    rows = {r["machine"]: r for r in document["workloads"][work]["rows"]}
    swept = {name: r for name, r in rows.items() if r.get("directory") and "refused" not in r}
    if machine is not None:
        if named(machine, rows, "machine") not in swept:
            why = rows[machine].get("refused", "it runs as it is, without a sweep to choose from")
            raise UserError(f"--machine {machine}: {why}; allowed: {', '.join(swept)}")
        return directory / swept[machine]["directory"]
    if not swept:
        raise UserError(f"{directory}: no machine of {work!r} was swept")
    objectives = comparison_file.load(directory / "comparison.yaml").file.objectives
    points = pareto.costs(
        [np.array([r["metrics"][n]["value"] for r in swept.values()]) for n in objectives], objectives
    )
    return directory / list(swept.values())[pareto.knee(points)]["directory"]
