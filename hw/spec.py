"""Hardware specs: one validated object that golden models, timing, cost and RTL share.

A spec is a YAML mapping. ``kind:`` selects the family; units are part of the field names;
``sources:`` gives the grade and citation of each number by its key path. Fields that an architect
chooses (array dimensions, buffer sizes) need no source: they are the design.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from lutscape.hw import technology as nodes
from lutscape.hw import yaml_file
from lutscape.hw.errors import UserError, choose, nearest
from lutscape.hw.provenance import Grade, Source

SCHEMA_VERSION = 1


class Part(BaseModel):
    """A group of fields inside a spec. Numbers are finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Spec(Part):
    """Base of every hardware family.

    Class attributes:
        chosen: key paths that are design choices and need no source.
        cost_only: key paths that areas and energies use, and cycle counts do not.
        uncharged: key paths that cycle counts use, and areas and energies do not: free in a search.
    """

    chosen: ClassVar[frozenset[str]] = frozenset()
    cost_only: ClassVar[frozenset[str]] = frozenset()
    uncharged: ClassVar[frozenset[str]] = frozenset()

    kind: str
    """Hardware family."""
    schema_version: Literal[1] = 1
    name: str = Field(min_length=1)
    """Name printed in tables and reports."""
    description: str = ""
    technology: str
    """Node of the areas and energies: a name in configs/technology, or a path."""
    clock_mhz: float = Field(ge=1, le=10_000)
    """Clock of the machine, MHz."""
    sources: dict[str, Source] = Field(default_factory=dict)
    """Grade and source by key path (``dram.bandwidth_gb_s``)."""
    _overridden: frozenset[str] = PrivateAttr(default=frozenset())
    """Key paths set by :func:`override`: design choices of whoever set them."""

    @property
    def node(self) -> nodes.Technology:
        """The technology node."""
        return nodes.load(self.technology)

    def leaves(self) -> Iterator[tuple[str, Any]]:
        """Yield (key path, value) of every field but the sources."""
        yield from _leaves("", self.model_dump(exclude={"sources"}))

    def provenance(self, key: str) -> Source | None:
        """Return grade and source of a key path: its own, else the default's, else None.

        None means a design choice.
        """
        if key in self.sources:
            return self.sources[key]
        field = _field(type(self), key)
        if field is not None and isinstance(field.json_schema_extra, dict):
            extra = field.json_schema_extra
            if "grade" in extra:
                return Source(grade=Grade(str(extra["grade"])), source=str(extra["source"]))
        return None

    def inert(self) -> frozenset[str]:
        """Return the key paths that have no effect on this design, because another field switches them off."""
        return frozenset()

    def timing_source(self) -> Source:
        """Return the grade of times computed from this spec: that of the weakest number they use, by name."""
        weak: list[str] = []
        for key, value in self.leaves():
            exact = self.chosen | self.cost_only | self._overridden | {"schema_version"}
            if isinstance(value, int | float) and key not in exact:
                source = self.provenance(key)
                if source is None or source.grade is Grade.ASSUMED:
                    weak.append(key)
        if not weak:
            return Source(grade=Grade.DERIVED, source="cycle model of the machine")
        return Source(grade=Grade.ASSUMED, source=f"cycle model of the machine; assumed in it: {', '.join(weak)}")

    def digest(self) -> str:
        """Return a short hash of the spec's numbers (names and sources apart)."""
        return hashlib.sha256(json.dumps(self.digested(), sort_keys=True).encode()).hexdigest()[:12]

    def digested(self) -> dict[str, Any]:
        """Return what the digest covers."""
        return self.model_dump(mode="json", exclude={"sources", "name", "description"})

    def unpriced(self) -> str:
        """Return why the design has no cost model, or nothing."""
        return ""


def sourced(default: Any, grade: Grade, source: str, **limits: Any) -> Any:
    """Declare a field with a default whose grade and source are known."""
    return Field(default, json_schema_extra={"grade": str(grade), "source": source}, **limits)


def families() -> dict[str, type[Spec]]:
    """Return the hardware families by ``kind``."""
    from lutscape.hw.machines.fused_dot import FusedDotSpec
    from lutscape.hw.machines.gpu import GpuSpec
    from lutscape.hw.machines.lut_dla import LutDlaSpec
    from lutscape.hw.machines.lut_tensor_core import LutTensorCoreSpec
    from lutscape.hw.machines.roma import RomaSpec

    return {
        "fused-dot": FusedDotSpec,
        "gpu": GpuSpec,
        "lut-dla": LutDlaSpec,
        "lut-tensor-core": LutTensorCoreSpec,
        "roma": RomaSpec,
    }


def load(name: str | Path, relative_to: Path | None = None) -> Spec:
    """Load a hardware spec by packaged name (``a100-fp16``) or path.

    Raises:
        UserError: one line with file, line, key path, bad value and what is allowed.
    """
    path = yaml_file.find(name, "hardware", relative_to)
    data, lines = yaml_file.read(path)
    return parse(data, path, lines)


def parse(data: dict[str, Any], path: Path | str, lines: yaml_file.Lines | None = None) -> Spec:
    """Validate a mapping as the spec of its ``kind``.

    Raises:
        UserError: as :func:`load`.
    """
    known = families()
    where = f"{path}:{lines[('kind',)]}" if lines and ("kind",) in lines else str(path)
    if "kind" not in data:
        raise UserError(f"{where}: key 'kind' is missing; allowed: {', '.join(sorted(known))}")
    try:
        kind = choose(str(data["kind"]), known, "hardware kind")
    except UserError as error:
        raise UserError(f"{where}: kind: {error}") from None
    _refuse_booleans(known[kind], data, path, lines or {})
    spec = yaml_file.validate(known[kind], data, path, lines)
    keys = dict(spec.leaves())
    for key in spec.sources:
        if key not in keys and not any(k.startswith(f"{key}.") for k in keys):
            line = (lines or {}).get(("sources", key), 0)
            place = f"{path}:{line}" if line else str(path)
            raise UserError(f"{place}: sources: no field {key!r} in this spec{nearest(key, keys)}")
    return _resolve_technology(spec, path, lines or {})


def _resolve_technology(spec: Spec, path: Path | str, lines: yaml_file.Lines) -> Spec:
    """Return the spec with its node's path resolved against the file that names it; packaged names stay names."""
    try:
        found = yaml_file.find(spec.technology, "technology", path if isinstance(path, Path) else None)
        packaged = found.parent == yaml_file.configs_dir() / "technology"
        resolved = spec.model_copy(update={"technology": found.stem if packaged else str(found)})
        nodes.load(resolved.technology)
    except UserError as error:
        line = lines.get(("technology",), 0)
        raise UserError(f"{path}:{line}: technology: {error}" if line else f"{path}: technology: {error}") from None
    return resolved


def override(spec: Spec, changes: dict[str, Any], place: str = "override") -> Spec:
    """Return a copy of a spec with some key paths set, validated again.

    Args:
        spec: template.
        changes: key path to new value, ``{"array.n": 128}``.
        place: how an error names where the changes came from.

    Raises:
        UserError: unknown key path (with the nearest one) or a value the spec refuses.
    """
    data = copy.deepcopy(spec.model_dump(mode="json"))
    known = dict(spec.leaves())
    for key, value in changes.items():
        if key not in known:
            raise UserError(f"{place}: no parameter {key!r} in {spec.kind} spec {spec.name!r}{nearest(key, known)}")
        parts = key.split(".")
        target = data
        for part in parts[:-1]:
            target = target[part]
        target[parts[-1]] = value
        data["sources"].pop(key, None)
    _refuse_booleans(type(spec), data, place, {})
    changed = yaml_file.validate(type(spec), data, place)
    changed._overridden = spec._overridden | frozenset(changes)
    return changed


def _refuse_booleans(model: type[BaseModel], data: dict[str, Any], path: Path | str, lines: yaml_file.Lines) -> None:
    """Refuse true and false where a number belongs: pydantic would read them as 1 and 0."""
    for key, value in _leaves("", {k: v for k, v in data.items() if k != "sources"}):
        field = _field(model, key) if isinstance(value, bool) else None
        if field is not None and field.annotation in (int, float):
            line = lines.get(tuple(key.split(".")))
            where = f"{path}:{line}" if line else str(path)
            raise UserError(f"{where}: {key} = {str(value).lower()}: must be a number")


def _leaves(prefix: str, data: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in data.items():
        key = f"{prefix}.{name}" if prefix else name
        if isinstance(value, dict):
            yield from _leaves(key, value)
        else:
            yield key, value


def _field(model: type[BaseModel], key: str) -> Any:
    head, _, rest = key.partition(".")
    field = model.model_fields.get(head)
    if field is None or not rest:
        return field
    for candidate in yaml_file._models_in(field.annotation):
        found = _field(candidate, rest)
        if found is not None:
            return found
    return None
