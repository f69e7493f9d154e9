"""The sweep file: workload, template, ranges, constraints, objectives, baselines, sampler.

A :class:`Plan` is a sweep file with everything it names found, loaded and checked, so that a sweep
that starts can fail only for reasons outside the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lutscape.explore import space
from lutscape.explore.constraints import Constraint
from lutscape.explore.constraints import parse as parse_constraint
from lutscape.explore.funnel import Funnel, Rules
from lutscape.hw import spec as hardware
from lutscape.hw import technology, yaml_file
from lutscape.hw.errors import UserError, choose
from lutscape.hw.ppa import METRICS, ONLY

SCHEMA_VERSION = 1
SAMPLERS = ("nsga2", "nsga3", "tpe", "random", "qmc", "grid", "funnel")
DECODE_METRICS = frozenset(
    {"time_per_token_s", "tokens_per_s", "energy_per_token_j", "tokens_per_j", "aggregate_tokens_per_s"}
)


class Workload(BaseModel):
    """What the hardware runs: a stored trace, or a model to be traced."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trace: str | None = None
    """Path of a trace file; no other key goes with it."""
    model: str | None = None
    """Name or path of a model, as ``lutscape trace`` takes it."""
    prompt_tokens: int = Field(default=512, ge=1)
    decode_tokens: int = Field(default=64, ge=0)
    batch: int = Field(default=1, ge=1)
    weights: str | None = None
    """Weight format that is counted; none = as stored."""
    activations: str = "fp16"
    kv: str = "fp16"
    requantise: bool = False
    """Really requantise weights, activations and KV to those formats (with ``execute``)."""
    execute: bool = True
    """Run real tokens through real weights; false: walk the shapes alone."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.trace is None) == (self.model is None):
            raise ValueError("give either trace (a file) or model (a name or path)")
        extra = self.model_fields_set - {"trace"}
        if self.trace is not None and extra:
            raise ValueError(f"a stored trace fixes {', '.join(sorted(extra))}; remove from the file")
        if self.requantise and not self.execute:
            raise ValueError("requantise needs execute: true (shapes alone have no weights)")
        return self


class Sampler(BaseModel):
    """How designs are proposed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Literal["nsga2", "nsga3", "tpe", "random", "qmc", "grid", "funnel"] = "nsga2"
    """``funnel``: rules thin out the grid, see :mod:`lutscape.explore.funnel`; the others need none."""
    population: int = Field(default=40, ge=2, le=100_000)
    """Trials of one generation; they are proposed together and evaluated in parallel."""
    seed: int = Field(default=1, ge=0, lt=1 << 32)


class SweepFile(BaseModel):
    """A YAML file of ``configs/sweeps``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["sweep"]
    schema_version: Literal[1] = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the study, and of its default output directory."""
    description: str = ""
    workload: Workload
    hardware: str
    """Template: name or path of a hardware YAML."""
    parameters: dict[str, space.Domain] = Field(min_length=1)
    """Key path of a field of the template -> what it may be."""
    constraints: list[str] = Field(default_factory=list)
    """``METRIC op NUMBER``."""
    objectives: list[str] = Field(min_length=1, max_length=6)
    """Metrics to trade off; their direction is the metric's."""
    baselines: list[str] = Field(default_factory=list)
    """Hardware simulated on the same trace and shown beside the designs; not part of the search."""
    sampler: Sampler = Sampler()
    funnel: Rules | None = None
    """Rules of sampler ``funnel``."""
    trials: int = Field(ge=1, le=10_000_000)

    @model_validator(mode="after")
    def _rules(self) -> Self:
        if (self.sampler.name == "funnel") != (self.funnel is not None):
            raise ValueError("sampler funnel and section funnel go together: give both or none")
        return self


@dataclass(frozen=True)
class Plan:
    """A checked sweep.

    Attributes:
        path: the sweep file.
        text: its text.
        file: its content, with the command line's --trials and --seed applied.
        template: hardware that the parameters vary.
        baselines: hardware by the name that the sweep file gives it.
        hardware_files: path of each hardware file by that name, the template's included.
        constraints: parsed.
    """

    path: Path
    text: str
    file: SweepFile
    template: hardware.Spec
    baselines: dict[str, hardware.Spec]
    hardware_files: dict[str, Path]
    constraints: tuple[Constraint, ...]
    funnel: Funnel | None = None
    """What sampler ``funnel`` left, once the workload is known."""

    @property
    def trials(self) -> int:
        """Trials to run; a grid has no more than its designs, a funnel no more than it left."""
        if self.funnel is not None:
            return min(self.file.trials, len(self.funnel.survivors))
        if self.file.sampler.name == "grid":
            return int(min(self.file.trials, space.size(self.file.parameters)))
        return self.file.trials

    @property
    def designs(self) -> tuple[int, ...] | None:
        """Indices into the grid by trial, where a funnel chose them."""
        return None if self.funnel is None else self.funnel.chosen(self.trials)

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """``minimize`` or ``maximize`` for each objective."""
        return ["maximize" if METRICS[name][1] == "maximize" else "minimize" for name in self.file.objectives]


def load(
    name: str | Path, trials: int | None = None, seed: int | None = None, hardware_dir: Path | None = None
) -> Plan:
    """Load and check a sweep by packaged name (``quickstart``) or path.

    Args:
        name: name or path.
        trials: in place of the file's, from the command line.
        seed: likewise.
        hardware_dir: look here for the hardware files instead (a stored sweep).

    Raises:
        UserError: one line with file, line, key path, bad value and what is allowed.
    """
    path = yaml_file.find(name, "sweeps")
    data, lines = yaml_file.read(path)
    file = yaml_file.validate(SweepFile, data, path, lines)
    if trials is not None:
        if trials < 1:
            raise UserError(f"--trials {trials}: must be at least 1")
        file = file.model_copy(update={"trials": trials})
    if seed is not None:
        if not 0 <= seed < 1 << 32:
            raise UserError(f"--seed {seed}: must be 0 … 2³²-1")
        file = file.model_copy(update={"sampler": file.sampler.model_copy(update={"seed": seed})})

    def at(*key: str | int) -> str:
        for stop in range(len(key), 0, -1):
            if key[:stop] in lines:
                return f"{path}:{lines[key[:stop]]}: {yaml_file.dotted(key)}"
        return f"{path}: {yaml_file.dotted(key)}"

    place = "--trials" if trials is not None else at("trials")
    if file.sampler.name != "grid" and file.trials < file.sampler.population:
        raise UserError(
            f"{place} = {file.trials}: fewer than one generation; allowed: at least sampler.population = "
            f"{file.sampler.population}"
        )
    _check_grid(file, at, place)
    files: dict[str, Path] = {}
    specs: dict[str, hardware.Spec] = {}
    named = [(file.hardware, at("hardware"))]
    named += [(b, at("baselines", i)) for i, b in enumerate(file.baselines)]
    for given, where in named:
        if given in files and given != file.hardware:
            raise UserError(f"{where}: {given!r} is listed twice")
        stem = _stem(given)
        clash = next((g for g in files if g != given and _stem(g) == stem), None)
        if clash:
            raise UserError(f"{where}: {given!r} and {clash!r} have the same file name; rename one")
        try:
            if hardware_dir is not None:
                files[given] = yaml_file.find(hardware_dir / f"{stem}.yaml", "hardware")
            else:
                files[given] = yaml_file.find(given, "hardware", relative_to=path)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        specs[given] = hardware.load(files[given].resolve())
    template = specs[file.hardware]
    _check_parameters(file, template, at)
    constraints = []
    for index, text in enumerate(file.constraints):
        try:
            constraints.append(parse_constraint(text))
        except UserError as error:
            raise UserError(f"{at('constraints', index)}: {error}") from None
    _check_objectives(file, at)
    _check_reported(file, specs, at)
    if file.workload.model is not None:
        check_defined(file, file.workload.decode_tokens, at)
    baselines = {name: specs[name] for name in file.baselines}
    return Plan(path, path.read_text(encoding="utf-8"), file, template, baselines, files, tuple(constraints))


def _stem(given: str) -> str:
    return Path(given).stem if given.endswith((".yaml", ".yml")) else Path(given).name


def _check_grid(file: SweepFile, at: Any, place: str) -> None:
    if file.sampler.name not in ("grid", "funnel"):
        return
    for key, domain in file.parameters.items():
        if domain.continuous:
            raise UserError(
                f"{at('parameters', key)}: a {domain.kind} range has no grid; allowed with sampler "
                f"{file.sampler.name}: categorical, integer, log2"
            )
    designs = int(space.size(file.parameters))
    if file.sampler.name == "grid" and file.trials < designs:
        raise UserError(
            f"{place} = {file.trials}: the grid has {designs} designs; raise trials, coarsen a range, or take "
            "sampler random"
        )


def _check_objectives(file: SweepFile, at: Any) -> None:
    for index, name in enumerate(file.objectives):
        try:
            choose(name, METRICS, "objective")
        except UserError as error:
            raise UserError(f"{at('objectives', index)}: {error}") from None
        if name in file.objectives[:index]:
            raise UserError(f"{at('objectives', index)}: {name!r} is listed twice")


def _check_reported(file: SweepFile, specs: dict[str, hardware.Spec], at: Any) -> None:
    """Refuse metrics that the template or a baseline does not report."""
    used = [("objectives", i, n) for i, n in enumerate(file.objectives)]
    used += [("constraints", i, parse_constraint(t).metric) for i, t in enumerate(file.constraints)]
    for section, index, name in used:
        for given, spec in specs.items():
            if name in ONLY and spec.kind not in ONLY[name]:
                raise UserError(
                    f"{at(section, index)}: hardware {given!r} of kind {spec.kind} has no {name}; only "
                    f"{', '.join(sorted(ONLY[name]))} has"
                )


def check_defined(file: SweepFile, decode_tokens: int, at: Any = None) -> None:
    """Refuse objectives and constraints on decode metrics when the trace has no decode step.

    Raises:
        UserError: naming the metric.
    """
    if decode_tokens:
        return
    used = [("objectives", i, n) for i, n in enumerate(file.objectives)]
    used += [("constraints", i, parse_constraint(t).metric) for i, t in enumerate(file.constraints)]
    for section, index, name in used:
        if name in DECODE_METRICS:
            where = at(section, index) if at else f"{section}[{index}]"
            raise UserError(f"{where}: {name} needs decode steps, and the workload has decode_tokens = 0")


def _check_parameters(file: SweepFile, template: hardware.Spec, at: Any) -> None:
    """Try every listed value, and both ends of every range, on the template alone.

    A value that its own field refuses can never work: an error. A combination that only a
    check across fields refuses may work beside other values: left to the sweep.
    """
    for key, domain in file.parameters.items():
        where = at("parameters", key)
        if key in ("kind", "schema_version", "name", "description"):
            raise UserError(f"{where}: {key!r} cannot be swept; it says what the spec is")
        values = domain.values()
        for value in values if domain.kind == "categorical" else (values[0], values[-1]):
            try:
                changed = hardware.override(template, {key: value}, where)
                if key == "technology":
                    technology.load(changed.technology)
            except UserError as error:
                message = str(error).removeprefix(f"{where}: ")
                leaf = key.rsplit(".", 1)[-1]
                own = (f"{key} ", f"{key}:", f"{leaf} ", f"{leaf}:", "no parameter", "technology")
                if message.startswith(own):
                    raise UserError(str(error)) from None
