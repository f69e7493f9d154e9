"""YAML files of the project: where they are found, and validation errors that point at a line.

A path in a command or inside a YAML file resolves, in this order: as given (relative to the YAML
file that names it, or to the current directory), then below the packaged ``configs/``, with or
without the ``.yaml`` ending. YAML is read with the safe loader: no code, no tags.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from lutscape.hw.errors import UserError, nearest

Model = TypeVar("Model", bound=BaseModel)
Lines = dict[tuple[str | int, ...], int]


def configs_dir() -> Path:
    """Return the directory of the packaged ``configs/``."""
    import lutscape.configs

    return Path(next(iter(lutscape.configs.__path__)))


def find(name: str | Path, section: str, relative_to: Path | None = None) -> Path:
    """Return the path of a YAML file.

    Args:
        name: a path, or the bare name of a packaged file (``a100-fp16``).
        section: folder of ``configs/`` in which bare names are looked up (``hardware``, …).
        relative_to: the YAML file in which ``name`` was written, if any.

    Raises:
        UserError: nothing there; the message gives the nearest packaged name.
    """
    given = Path(name).expanduser()
    bases = [relative_to.parent] if relative_to is not None else [Path()]
    packaged = configs_dir()
    # A sweep and a machine may share a name: beside a packaged file lie other kinds of files.
    others = {p.resolve() for p in packaged.iterdir() if p.is_dir() and p.name != section}
    candidates = [base / given for base in bases if base.resolve() not in others or given.suffix]
    if not given.is_absolute():
        candidates += [packaged / section / given, packaged / given, packaged.parent / given]
    for path in candidates:
        for candidate in (path, path.with_name(path.name + ".yaml")):
            if candidate.is_file():
                return candidate
    known = sorted(p.stem for p in (packaged / section).glob("*.yaml"))
    raise UserError(
        f"{section.removesuffix('s')} file {str(name)!r} not found{nearest(Path(name).stem, known)}; "
        f"give a path or one of: {', '.join(known) or '(none packaged)'}"
    )


def read(path: Path) -> tuple[dict[str, Any], Lines]:
    """Read a YAML mapping and the line of every key.

    Returns:
        The mapping, and for each key path (a tuple of keys and list indices) its 1-based line.

    Raises:
        UserError: unreadable, not YAML, not a mapping, or a key written twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = getattr(error, "problem", None) or str(error).replace("\n", " ")
        raise UserError(f"{where}: not valid YAML: {problem}") from None
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise UserError(f"{path}: expected a mapping of keys to values, got {type(data).__name__}")
    lines: Lines = {(): 1}
    _collect_lines(node, (), lines, path)
    return data, lines


def _collect_lines(node: yaml.Node, key: tuple[str | int, ...], lines: Lines, path: Path) -> None:
    if isinstance(node, yaml.MappingNode):
        for name_node, value in node.value:
            child = (*key, str(name_node.value))
            line = name_node.start_mark.line + 1
            if child in lines:
                raise UserError(f"{path}:{line}: key {dotted(child)!r} is written twice (first at line {lines[child]})")
            lines[child] = line
            _collect_lines(value, child, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            lines[(*key, index)] = value.start_mark.line + 1
            _collect_lines(value, (*key, index), lines, path)


def dotted(key: tuple[str | int, ...]) -> str:
    """Return a key path as a user writes it: ``array.n``, ``parameters[2].low``."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def validate(model: type[Model], data: dict[str, Any], path: Path | str, lines: Lines | None = None) -> Model:
    """Build a pydantic model from YAML data, or raise one :class:`UserError` line for the first fault.

    Args:
        model: pydantic class with ``extra="forbid"``.
        data: the mapping.
        path: file named in the message.
        lines: line of each key path, as :func:`read` returns it.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, model, data, path, lines or {})) from None


def explain(
    error: ValidationError, model: type[BaseModel], data: dict[str, Any], path: Path | str, lines: Lines
) -> str:
    """Return the first validation fault as one line: file:line: key: value: what is allowed."""
    faults = error.errors(include_url=False)
    # An unknown key is usually the cause of a missing one: say it first.
    fault = next((f for f in faults if f["type"] == "extra_forbidden"), faults[0])
    full = tuple(fault["loc"])
    key = _strip(full, data)
    line = lines.get(key) or lines.get(key[:-1]) or lines.get(()) or 0
    where = f"{path}:{line}" if line else str(path)
    value = fault.get("input")
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if fault["type"] == "extra_forbidden":
        allowed = _fields_at(model, full[:-1])
        hint = nearest(str(key[-1]), allowed)
        return f"{where}: unknown key {dotted(key)!r}{hint}; allowed here: {', '.join(allowed)}{more}"
    if fault["type"] == "missing":
        return f"{where}: key {dotted(key)!r} is missing{more}"
    message = fault["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    message = message[0].lower() + message[1:].removeprefix("nput should be ")
    if fault["msg"].startswith("Input should be "):
        message = "must be " + fault["msg"].removeprefix("Input should be ")
    hint = ""
    if fault["type"] in ("literal_error", "enum", "union_tag_invalid"):
        options = str(fault.get("ctx", {}).get("expected") or fault.get("ctx", {}).get("expected_tags", ""))
        names = [o.strip(" '\"") for o in options.replace(" or ", ", ").split(",")]
        hint = nearest(str(value), names)
    shown = "" if isinstance(value, dict | list) or value is None else f" = {value!r}"
    return f"{where}: {dotted(key) or 'file'}{shown}: {message}{hint}{more}"


def _strip(key: tuple[str | int, ...], data: Any) -> tuple[str | int, ...]:
    """Drop the union tags that pydantic adds to a location: they are not keys of the file."""
    kept: tuple[str | int, ...] = ()
    here = data
    for position, part in enumerate(key):
        inside = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if inside:
            here = here[part]
        if inside or position == len(key) - 1:
            kept = (*kept, part)
    return kept


def _fields_at(model: type[BaseModel], key: tuple[str | int, ...]) -> list[str]:
    """Return the field names allowed at a location, walking through nested models and unions."""
    current: list[type[BaseModel]] = [model]
    for part in key:
        following: list[type[BaseModel]] = []
        for candidate in current:
            field = candidate.model_fields.get(str(part))
            if field is not None:
                following += _models_in(field.annotation)
        tagged = [m for m in current if not following and _tag(m) == part]
        current = following or tagged or current
    return sorted({name for m in current for name in m.model_fields})


def _tag(model: type[BaseModel]) -> object:
    field = model.model_fields.get("kind")
    return getattr(field, "default", None) if field is not None else None


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found
