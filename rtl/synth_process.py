"""One run of yosys in a child process, with a time limit and errors of one line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lutscape.hw.errors import UserError

SOURCE = "design.v"
MISSING = "synthesis needs pyosys; install the extra: pip install 'lutscape[rtl]'"


@dataclass(frozen=True)
class Mapped:
    """What yosys wrote.

    Attributes:
        netlist: structural Verilog.
        modules: per module, instances by type of cell or module.
    """

    netlist: str
    modules: Mapping[str, Mapping[str, int]]


def version() -> str:
    """Return the version of pyosys.

    Raises:
        UserError: not installed.
    """
    try:
        return importlib.metadata.version("pyosys")
    except importlib.metadata.PackageNotFoundError:
        raise UserError(MISSING) from None


def library_names(count: int) -> list[str]:
    """Return the names that commands have for the Liberty files."""
    return [f"library{i}.lib" for i in range(count)]


def run(
    verilog: str,
    top: str,
    libraries: Sequence[Path],
    commands: Sequence[str],
    constraints: str,
    timeout_s: float,
    more: Mapping[str, str] | None = None,
) -> Mapped:
    """Run yosys on one design; the commands know the libraries as ``library0.lib``, ``library1.lib`` ...

    ``more``: further files that the commands name, with their text.

    Raises:
        UserError: bad Verilog, a library without a needed cell, a crash, or no end within ``timeout_s``.
    """
    with tempfile.TemporaryDirectory(prefix="lutscape-synth-") as name:
        folder = Path(name)
        given = {SOURCE: verilog, "commands": "\n".join(commands) + "\n", "constraints": constraints}
        for file, text in (given | dict(more or {})).items():
            (folder / file).write_text(text)
        for file, path in zip(library_names(len(libraries)), libraries, strict=True):
            (folder / file).symlink_to(path.resolve())
        log, code = _child(folder, timeout_s, top)
        if code:
            raise UserError(f"{top}: {_reason(log, code)}")
        try:
            found = json.loads((folder / "stat.json").read_text())
            netlist = (folder / "netlist.v").read_text()
        except (OSError, ValueError) as error:
            raise UserError(f"{top}: yosys ended without a netlist ({error})") from None
    modules = {_plain(name): _counts(module) for name, module in found["modules"].items()}
    _check_mapped(top, modules)
    return Mapped(netlist, modules)


def _child(folder: Path, timeout_s: float, top: str) -> tuple[str, int]:
    """Run the worker; return its log and exit code. Its own children (abc) end with it."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    with (folder / "log").open("w+") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "lutscape.rtl.synth_worker"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise UserError(
                f"{top}: synthesis did not end within {timeout_s:g} s; allow more time, or take a smaller design"
            ) from None
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        log.seek(0)
        return log.read(), code


def _reason(log: str, code: int) -> str:
    """Return what went wrong, from the log."""
    if code == 3 and "MISSING:" in log:
        return f"{MISSING} ({log.split('MISSING:')[1].strip().splitlines()[0]})"
    errors = [line for line in log.splitlines() if "ERROR:" in line]
    if errors:
        text = errors[-1].split("ERROR:", 1)[1].strip()
        flop = re.search(r"\(type (\S+)\) cannot be legalized: (.*)", text)
        if flop:
            return f"the library has no flip-flop for {flop.group(1)} ({flop.group(2)}); give more Liberty files"
        place = re.search(rf"{re.escape(SOURCE)}:(\d+)", errors[-1])
        at = f"line {place.group(1)} of the Verilog: " if place else ""
        abc = [line[12:] for line in log.splitlines() if line.startswith("ABC: Error: ")]
        return at + text + (f" ({abc[-1]})" if abc and "ABC" in text else "")
    if code < 0:
        return f"yosys was killed by signal {-code} ({signal.Signals(-code).name}); out of memory, perhaps"
    tail = [line for line in log.splitlines() if line.strip()][-1:]
    return f"yosys ended with code {code}" + (f": {tail[0]}" if tail else "")


def _plain(name: str) -> str:
    return name.removeprefix("\\")


def _counts(module: Mapping[str, Any]) -> dict[str, int]:
    both = {**module.get("num_cells_by_type", {}), **module.get("num_submodules_by_type", {})}
    return {_plain(name): int(n) for name, n in both.items()}


def _check_mapped(top: str, modules: Mapping[str, Mapping[str, int]]) -> None:
    """Refuse a netlist with cells that the library does not have."""
    for name, module in modules.items():
        for cell in module:
            if cell.startswith("$") and cell not in modules:
                what = "latch" if "LATCH" in cell else "flip-flop" if "FF" in cell else "cell"
                where = "" if name == top else f" (in module {name})"
                raise UserError(f"{top}: the library has no {what} for {cell}{where}; give more Liberty files")
