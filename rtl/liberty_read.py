"""From the text of a Liberty file to the dataclasses of :mod:`lutscape.rtl.liberty`, through libparse.

libparse ends the process on a syntax error, so a file's first reading happens in a child process; the file's hash
is then remembered in the cache directory.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.rtl import expression
from lutscape.rtl.expression import Expression
from lutscape.rtl.liberty import Arc, Cell, InternalPower, Leakage, Pin, Register, Table

PREFIXES = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "": 1.0, "k": 1e3}
SIDES = ("rise", "fall")
# Tables that are read; others in their groups (CCS currents, variation) are passed over.
TIMES = ("cell_rise", "cell_fall", "rise_transition", "fall_transition", "rise_constraint", "fall_constraint")
ENERGIES = ("rise_power", "fall_power", "power")
SETUP_AXES = ("constrained_pin_transition", "input_net_transition", "input_transition_time")
LOAD_AXES = ("total_output_net_capacitance", "related_pin_transition")
_CHECK = "import sys, libparse; file = open(sys.argv[1]); libparse.LibertyParser(file)"


class File:
    """One parsed file: its library group, scales, templates and the syntax trees of its cells."""

    def __init__(self, path: Path, text: bytes) -> None:
        self.path = path
        self.sha256 = hashlib.sha256(text).hexdigest()
        self.parser = _parse(path, text, self.sha256)
        root = self.parser.ast
        if root is None or root.id != "library":
            raise UserError(f"{path}: not Liberty: no library group")
        _check_whole(path, text)
        self.name = _argument(root)
        self.cells: dict[str, Any] = {}
        self.templates: dict[str, Any] = {}
        attributes: dict[str, Any] = {}
        self.wire_loads = False
        for node in root.children:
            if node.id == "cell":
                self.cells[_argument(node)] = node
            elif node.id in ("lu_table_template", "power_lut_template"):
                self.templates[_argument(node)] = node
            else:
                self.wire_loads |= node.id in ("wire_load", "wire_load_table")
                attributes[node.id] = node
        if not self.cells:
            raise UserError(f"{path}: library {self.name!r} has no cells")
        self.has_power = b"internal_power" in text
        self._scales(attributes)

    def _scales(self, attributes: dict[str, Any]) -> None:
        def text(name: str, default: str) -> str:
            return attributes[name].value if name in attributes else default

        self.ps = self._unit(text("time_unit", "1ns"), "s", "time_unit") / 1e-12
        self.watts = self._unit(text("leakage_power_unit", "1W"), "W", "leakage_power_unit")
        volts = self._unit(text("voltage_unit", "1V"), "V", "voltage_unit")
        load = list(attributes["capacitive_load_unit"].args) if "capacitive_load_unit" in attributes else ["1", "pf"]
        self.ff = self._unit("".join(load).lower(), "f", "capacitive_load_unit") / 1e-15
        self.fj = self.ff * volts * volts
        self.voltage = self._number(text("nom_voltage", "0"), "nom_voltage") * volts
        self.temperature_c = self._number(text("nom_temperature", "25"), "nom_temperature")
        if self.voltage <= 0:
            raise UserError(f"{self.path}: nom_voltage is missing or not positive")
        keys = [f"slew_{side}_threshold_pct_{edge}" for side in ("lower", "upper") for edge in SIDES]
        self.thresholds = tuple(self._number(text(k, "20" if "lower" in k else "80"), k) for k in keys)
        self.default_leakage = text("default_cell_leakage_power", "")
        self.default_input_ff = self._number(text("default_input_pin_cap", "0"), "default_input_pin_cap") * self.ff

    def _unit(self, text: str, symbol: str, key: str) -> float:
        match = re.fullmatch(rf"\s*([\d.eE+-]+)\s*([fpnumk]?){symbol}\s*", text, re.IGNORECASE)
        if match is None:
            raise UserError(f"{self.path}: {key} {text!r} is not a unit like '1n{symbol}'")
        return float(match.group(1)) * PREFIXES[match.group(2).lower()]

    def _number(self, text: str, key: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise UserError(f"{self.path}: {key} {text!r} is not a number") from None

    def _expression(self, text: str, key: str) -> Expression:
        try:
            return expression.parse(text)
        except ValueError as error:
            raise UserError(f"{self.path}: {key}: {error}") from None

    def cell(self, name: str) -> Cell:
        """Convert one cell."""
        node = self.cells[name]
        pins: dict[str, Pin] = {}
        arcs: list[Arc] = []
        power: list[InternalPower] = []
        leakage: list[Leakage] = []
        register: Register | None = None
        grounds: set[str] = set()
        area, default_leakage, unsupported = 0.0, self.default_leakage, ""
        for child in node.children:
            if child.id == "area":
                area = self._number(child.value, f"{name}: area")
            elif child.id == "cell_leakage_power":
                default_leakage = child.value
            elif child.id == "leakage_power":
                leakage.append(self._leakage(child, name))
            elif child.id == "pg_pin" and _attributes(child).get("pg_type", "").endswith("ground"):
                grounds |= set(_names(child))
            elif child.id in ("ff", "latch"):
                register = self._register(child, name)
            elif child.id in ("ff_bank", "latch_bank", "bus", "bundle", "statetable"):
                unsupported = f"it has a {child.id} group, which is not read"
            elif child.id == "pin":
                for pin in _names(child):
                    pins[pin] = self._pin(child, name, pin)
                    arcs += self._arcs(child, name, pin)
                    power += self._power(child, name, pin)
        watts = self._number(default_leakage, f"{name}: cell_leakage_power") * self.watts if default_leakage else None
        return Cell(
            name,
            area,
            pins,
            frozenset(grounds),
            register,
            tuple(arcs),
            tuple(leakage),
            watts,
            tuple(power),
            unsupported,
        )

    def _leakage(self, node: Any, cell: str) -> Leakage:
        a = _attributes(node)
        when = self._expression(a["when"], f"{cell}: leakage_power when") if a.get("when") else None
        watts = self._number(a.get("value", ""), f"{cell}: leakage_power value") * self.watts
        return Leakage(when, watts, a.get("related_pg_pin", ""))

    def _register(self, node: Any, cell: str) -> Register:
        a = _attributes(node)
        clock, data = ("clocked_on", "next_state") if node.id == "ff" else ("enable", "data_in")
        for key in (clock, data):
            if key not in a:
                raise UserError(f"{self.path}: {cell}: {node.id} group without {key}")
        state = [*node.args, "", ""]
        found = {k: self._expression(a[k], f"{cell}: {k}") if k in a else None for k in ("clear", "preset")}
        return Register(
            node.id,
            (state[0], state[1]),
            self._expression(a[clock], f"{cell}: {clock}"),
            self._expression(a[data], f"{cell}: {data}"),
            found["clear"],
            found["preset"],
            a.get("clear_preset_var1", "L"),
        )

    def _pin(self, node: Any, cell: str, pin: str) -> Pin:
        a = _attributes(node)
        key = f"{cell}/{pin}"
        direction = a.get("direction", "")
        if direction not in ("input", "output", "inout", "internal"):
            raise UserError(f"{self.path}: {key}: direction {direction!r}; allowed: input, output, inout, internal")
        default = self.default_input_ff if direction == "input" else 0.0
        both = self._number(a["capacitance"], key) * self.ff if "capacitance" in a else default
        edges = [self._number(a[f"{e}_capacitance"], key) * self.ff if f"{e}_capacitance" in a else both for e in SIDES]
        limit = self._number(a["max_capacitance"], key) * self.ff if "max_capacitance" in a else np.inf
        function = self._expression(a["function"], f"{key}: function") if a.get("function") else None
        clock = a.get("clock", "").lower() == "true"
        return Pin(pin, direction, (edges[0], edges[1]), limit, function, "three_state" in a, clock)

    def _arcs(self, node: Any, cell: str, pin: str) -> Iterator[Arc]:
        for group in node.children:
            if group.id != "timing":
                continue
            a = _attributes(group)
            key = f"{cell}/{pin}: timing"
            kind = a.get("timing_type", "combinational")
            if kind.startswith(("min_pulse_width", "minimum_period", "non_seq", "retaining", "three_state")):
                continue
            when = self._expression(a["when"], key) if a.get("when") else None
            tables = {t.id: self._table(t, key, self.ps) for t in group.children if t.id in TIMES}
            both = [
                (tables.get(form.format("rise")), tables.get(form.format("fall")))
                for form in ("cell_{}", "{}_transition", "{}_constraint")
            ]
            for related in a.get("related_pin", "").split():
                yield Arc(pin, related, kind, a.get("timing_sense", "non_unate"), when, *both)

    def _power(self, node: Any, cell: str, pin: str) -> Iterator[InternalPower]:
        for group in node.children:
            if group.id != "internal_power":
                continue
            a = _attributes(group)
            key = f"{cell}/{pin}: internal_power"
            when = self._expression(a["when"], key) if a.get("when") else None
            tables = {t.id: self._table(t, key, self.fj) for t in group.children if t.id in ENERGIES}
            either = tables.get("power")
            energy = (tables.get("rise_power", either), tables.get("fall_power", either))
            for related in a.get("related_pin", "").split() or [""]:
                yield InternalPower(pin, related, a.get("related_pg_pin", ""), when, energy)

    def _table(self, node: Any, key: str, scale: float) -> Table:
        """Convert a table to axes (slew, load) or (data slew, clock slew), whatever order the template has."""
        name = _argument(node)
        template = {} if name in ("scalar", "") else _attributes(self._template(name, key))
        own: dict[str, Any] = {c.id: c for c in node.children}
        rows = [_floats(row, f"{self.path}: {key}") for row in own["values"].args] if "values" in own else []
        values = np.array([v for row in rows for v in row])
        axes: list[tuple[str, np.ndarray]] = []
        for i in (1, 2):
            variable = template.get(f"variable_{i}", "")
            if not variable:
                continue
            node_index = own.get(f"index_{i}")
            text = next(iter(node_index.args)) if node_index is not None else template.get(f"index_{i}", "")
            axes.append((variable, np.array(_floats(text, f"{self.path}: {key}"))))
        if len(values) != int(np.prod([len(x) for _, x in axes])):
            shape = " x ".join(str(len(x)) for _, x in axes) or "1"
            raise UserError(f"{self.path}: {key}: {node.id} has {len(values)} values, its axes ask for {shape}")
        values = values.reshape([len(x) for _, x in axes])
        first, second = np.zeros(1), np.zeros(1)
        for variable, index in axes:
            if variable in LOAD_AXES:
                second = index * (self.ff if variable == LOAD_AXES[0] else self.ps)
            elif variable in SETUP_AXES:
                first = index * self.ps
            else:
                raise UserError(f"{self.path}: {key}: {node.id} over {variable!r}, which is not read")
        if len(axes) == 2 and axes[0][0] in LOAD_AXES:
            values = values.T
        return Table(first, second, np.ascontiguousarray(values.reshape(len(first), len(second)) * scale))

    def _template(self, name: str, key: str) -> Any:
        if name not in self.templates:
            raise UserError(f"{self.path}: {key}: no table template {name!r}")
        return self.templates[name]


@lru_cache(maxsize=16)
def _read(path: Path, stamp: tuple[int, int]) -> File:
    try:
        text = path.read_bytes()
        if text[:2] == b"\x1f\x8b":
            text = gzip.decompress(text)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return File(path, text)


def read(path: Path) -> File:
    """Read one file; the same file is parsed once per process."""
    try:
        stat = path.stat()
    except OSError as error:
        raise UserError(f"Liberty file {str(path)!r}: {error.strerror}") from None
    return _read(path, (stat.st_mtime_ns, stat.st_size))


def _parse(path: Path, text: bytes, sha256: str) -> Any:
    """Return libparse's parser of the text, after a child process survived it."""
    try:
        import libparse  # type: ignore[import-untyped]
    except ImportError:
        raise UserError("reading Liberty needs libparse: pip install 'lutscape[rtl]'") from None
    with tempfile.TemporaryDirectory(prefix="lutscape-") as folder:
        plain = Path(folder) / "library.lib"
        plain.write_bytes(text)
        mark = _mark(sha256)
        if not mark.exists():
            child = subprocess.run(
                [sys.executable, "-c", _CHECK, str(plain)], capture_output=True, text=True, check=False
            )
            if child.returncode:
                found = re.search(r"on line (\d+)", child.stderr)
                place = f" line {found.group(1)}" if found else ""
                raise UserError(f"{path}{place}: not Liberty, or damaged there (syntax error)")
            try:
                mark.parent.mkdir(parents=True, exist_ok=True)
                mark.touch()
            except OSError:
                pass  # no cache: the next process checks again
        return libparse.LibertyParser(_Descriptor(os.open(plain, os.O_RDONLY)))


class _Descriptor:
    """What libparse takes a file from; it closes the descriptor itself, so no file object may own it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def fileno(self) -> int:
        return self.descriptor


def _mark(sha256: str) -> Path:
    from lutscape.models.registry import cache_dir

    return cache_dir() / "liberty" / "checked" / sha256


def _check_whole(path: Path, text: bytes) -> None:
    """Refuse a file whose braces do not close: libparse reads a truncated file without a word."""
    if text.count(b"{") == text.count(b"}"):
        return
    bare = re.sub(rb'/\*.*?\*/|"(?:[^"\\]|\\.)*"', b"", text, flags=re.DOTALL)
    opened, closed = bare.count(b"{"), bare.count(b"}")
    if opened != closed:
        raise UserError(f"{path}: damaged or cut off: {opened} groups open, {closed} close")


def _argument(node: Any) -> str:
    arguments = list(node.args)
    return arguments[0].strip('"') if arguments else ""


def _names(node: Any) -> list[str]:
    return [a.strip('"') for a in node.args]


def _attributes(node: Any) -> dict[str, str]:
    """Return simple attributes; of a complex one (``index_1 ("...")``) its first argument."""
    return {c.id: (c.value or _argument(c)).strip('"') for c in node.children}


def _floats(text: str, key: str) -> list[float]:
    try:
        return [float(v) for v in text.replace(",", " ").split()]
    except ValueError:
        raise UserError(f"{key}: {text!r} is not a list of numbers") from None


def cut_temporary(path: Path) -> Path:
    """Return the temporary name under which ``path`` is written before it is renamed."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")
