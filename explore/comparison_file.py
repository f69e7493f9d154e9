"""The comparison file: workloads, machines with what of them is swept, and the rules that hold for all.

A YAML file of kind ``comparison``. Every machine runs every workload. A machine with ``parameters`` is swept on each
workload, and its chosen design stands for it; one without runs as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lutscape.explore import sweep_file
from lutscape.explore.constraints import parse as parse_constraint
from lutscape.explore.space import Domain, Value
from lutscape.explore.sweep_file import Sampler, Workload
from lutscape.hw import spec as hardware
from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError, choose
from lutscape.hw.ppa import METRICS

KIND = "comparison"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Entry(BaseModel):
    """One machine of a comparison."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hardware: str
    """Name or path of a hardware YAML."""
    set: dict[str, Value] = Field(default_factory=dict)
    """Key path -> value, in place of the file's: the node or the memory system that all share."""
    parameters: dict[str, Domain] = Field(default_factory=dict)
    """Swept; none: the machine as it is."""
    trials: int | None = Field(default=None, ge=1)
    """In place of the comparison's."""
    accuracy: str | None = None
    """Which measured accuracy is this machine's (:mod:`lutscape.explore.accuracy`)."""
    note: str = ""
    """What a reader must know to compare it."""


class ComparisonFile(BaseModel):
    """A YAML file of ``configs/sweeps``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["comparison"]
    schema_version: Literal[1] = 1
    name: str = Field(pattern=NAME)
    description: str = ""
    workloads: dict[str, Workload] = Field(min_length=1, max_length=40)
    """By name; the first one is what ``lutscape choose`` chooses for."""
    machines: dict[str, Entry] = Field(min_length=1, max_length=40)
    constraints: list[str] = Field(default_factory=list)
    """On every swept design: ``METRIC op NUMBER``."""
    objectives: list[str] = Field(min_length=1, max_length=6)
    sampler: Sampler = Sampler()
    trials: int = Field(default=200, ge=1, le=10_000_000)
    """Of each swept machine on each workload."""
    measured: list[str] = Field(default_factory=list)
    """GPUs whose shipped measurements stand beside the machines."""


@dataclass(frozen=True)
class Comparison:
    """A checked comparison.

    Attributes:
        path: of the file.
        text: its text.
        file: its content.
        specs: machine -> hardware, with its ``set`` applied.
    """

    path: Path
    text: str
    file: ComparisonFile
    specs: dict[str, hardware.Spec]


def is_comparison(name: str | Path) -> bool:
    """Return whether a name or path leads to a comparison; nothing else is checked.

    Raises:
        UserError: no such file, or not YAML.
    """
    data, _ = yaml_file.read(yaml_file.find(name, "sweeps"))
    return data.get("kind") == KIND


def load(name: str | Path) -> Comparison:
    """Load a comparison and check everything that it names.

    Raises:
        UserError: one line with file, line, key path, bad value and what is allowed.
    """
    path = yaml_file.find(name, "sweeps")
    data, lines = yaml_file.read(path)
    file = yaml_file.validate(ComparisonFile, data, path, lines)

    def at(*key: str | int) -> str:
        for stop in range(len(key), 0, -1):
            if key[:stop] in lines:
                return f"{path}:{lines[key[:stop]]}: {yaml_file.dotted(key)}"
        return f"{path}: {yaml_file.dotted(key)}"

    specs: dict[str, hardware.Spec] = {}
    for machine, entry in file.machines.items():
        place = ("machines", machine)
        try:
            found = hardware.load(yaml_file.find(entry.hardware, "hardware", relative_to=path).resolve())
        except UserError as error:
            raise UserError(f"{at(*place, 'hardware')}: {error}") from None
        try:
            specs[machine] = hardware.override(found, dict(entry.set), "set") if entry.set else found
        except UserError as error:
            raise UserError(f"{at(*place, 'set')}: {str(error).removeprefix('set: ')}") from None
        _check_parameters(entry, specs[machine], lambda *key, place=place: at(*place, *key))
    for index, text in enumerate(file.constraints):
        try:
            parse_constraint(text)
        except UserError as error:
            raise UserError(f"{at('constraints', index)}: {error}") from None
    for index, objective in enumerate(file.objectives):
        try:
            choose(objective, METRICS, "objective")
        except UserError as error:
            raise UserError(f"{at('objectives', index)}: {error}") from None
    for name_, workload in file.workloads.items():
        used = [*file.objectives, *(parse_constraint(t).metric for t in file.constraints)]
        if workload.model is not None and not workload.decode_tokens:
            for metric in set(used) & sweep_file.DECODE_METRICS:
                raise UserError(f"{at('workloads', name_)}: {metric} needs decode steps, and decode_tokens is 0")
    return Comparison(path, path.read_text(encoding="utf-8"), file, specs)


def _check_parameters(entry: Entry, spec: hardware.Spec, at: Any) -> None:
    known = dict(spec.leaves())
    for key in entry.parameters:
        try:
            choose(key, known, f"parameter of {spec.kind} spec {spec.name!r}")
        except UserError as error:
            raise UserError(f"{at('parameters', key)}: {error}") from None
