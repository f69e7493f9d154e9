"""How long ROMs of a real model take to write and to read back; an L-Unit in Verilog on real weights and activations.

    times     ``lutscape roma rom`` and ``roma verify`` as commands of their own, one block and the whole model
    L-Unit    some outputs of one layer: their words from the model, activations captured while it reads a text; the
              Verilog's results, scaled and added in FP32, must be those of the golden layer bit for bit
    speed     products per second of the golden layer

Writes golden.json next to itself. Times are wall clock and processor seconds of this machine as it was.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.machines.roma import LUnit
from lutscape.models.executor import Linear, dense, load_model
from lutscape.models.quantise import rom
from lutscape.models.quantise.rom import RomWeight
from lutscape.models.text import default_text
from lutscape.rtl.cells.l_unit import l_unit, slice_beats
from lutscape.rtl.verify import verify
from lutscape.sim.roma import golden
from lutscape.sim.roma import words as layout

HERE = Path(__file__).resolve().parent
LAYER, OUTPUTS, TOKENS = "layers.0.q", 16, 6


def command(*arguments: object) -> dict[str, Any]:
    """Run a command; return its times and last line."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run = subprocess.run([sys.executable, "-m", "lutscape", *map(str, arguments)], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if run.returncode:
        raise SystemExit(run.stdout + run.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    said = run.stdout.splitlines()
    return {"seconds": round(time.perf_counter() - begin, 2), "cpu_seconds": round(cpu, 2), "said": said[-1]}


def times(model: str) -> dict[str, Any]:
    """Return times of writing and reading back."""
    with tempfile.TemporaryDirectory() as name:
        path, whole = Path(name) / "layer0.v", Path(name) / "model.v"
        found = {"write one block": command("roma", "rom", "--model", model, "--layer", 0, "-o", path)}
        found["read one block back"] = command("roma", "verify", path)
        found["write the model"] = command("roma", "rom", "--model", model, "-o", whole)
        for key, file in (("write one block", path), ("write the model", whole)):
            manifest = json.loads(file.with_suffix(".json").read_text())
            found[key] |= {
                "words": manifest["words"],
                "bits": manifest["words"] * manifest["word_bits"],
                "verilog_bytes": file.stat().st_size,
            }
            found[key].pop("said")
    return found


def real_unit(model_name: str) -> dict[str, Any]:
    """Return what an L-Unit in Verilog made of real weights and activations."""
    model = load_model(model_name)
    caught: list[np.ndarray] = []

    def make(name: str, weight: np.ndarray, bias: np.ndarray | None) -> Linear:
        layer = dense(name, weight, bias)

        def watched(x: np.ndarray) -> np.ndarray:
            if name == LAYER:
                caught.append(x)
            return layer(x)

        return watched

    model.variant(make).forward(np.array(model.tokenizer.encode(default_text())[:TOKENS]))
    unit, x = LUnit(), caught[0]
    whole = rom.quantise(LAYER, model.matrices[LAYER], "uint4", unit.group)
    weight = RomWeight(whole.codes[:OUTPUTS], whole.scales[:OUTPUTS], whole.zeros[:OUTPUTS], unit.group, 4, "uint")
    cell = l_unit(unit, layout.pack(unit, weight), 4)
    aligned = golden.align(unit, x)
    groups = weight.groups
    slices = [aligned.mantissas[g, t].astype(np.int64) for t in range(len(x)) for g in range(groups)]
    rows = [np.arange(OUTPUTS) + g * OUTPUTS for _ in range(len(x)) for g in range(groups)]
    beats = slice_beats(unit, slices, rows)
    out = cell.golden(beats)["d"]
    products = np.ldexp(out["value"].astype(np.float64), out["exponent"]).reshape(len(x), groups, OUTPUTS)
    y = np.zeros((len(x), OUTPUTS), np.float32)
    for g in range(groups):
        y += np.ldexp(products[:, g].astype(np.float32), aligned.exponents[:, g : g + 1])
    run = verify(cell, stimulus=beats, simulator="verilator")
    return {
        "cell": cell.name,
        "layer": LAYER,
        "outputs": OUTPUTS,
        "tokens": len(x),
        "results_checked": run.beats["d"],
        "failures": run.failures(),
        "cycles_at_full_rate": int(cell.schedule(beats)["d"][-1]) + 1 if cell.schedule else None,
        "outputs_equal_golden_layer": bool((y == golden.matmul(unit, weight, x)).all()),
        "simulator": run.simulator,
    }


def speed() -> dict[str, Any]:
    """Return products per second of the golden layer."""
    rng = np.random.default_rng(0)
    unit, rows, outputs, columns = LUnit(), 256, 1536, 576
    weight = rom.quantise("w", rng.standard_normal((outputs, columns)).astype(np.float32), "uint4")
    operand = golden.RomOperand.of(unit, weight)
    x = rng.standard_normal((rows, columns)).astype(np.float32)
    golden.matmul(unit, operand, x)
    begin, count = time.process_time(), 20
    for _ in range(count):
        golden.matmul(unit, operand, x)
    spent = (time.process_time() - begin) / count
    return {"shape": [rows, outputs, columns], "gmac_per_cpu_second": round(rows * outputs * columns / spent / 1e9, 2)}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--output", type=Path, default=HERE / "golden.json")
    options = parser.parse_args()
    report = {
        "model": options.model,
        "times": times(options.model),
        "l_unit": real_unit(options.model),
        "speed": speed(),
        "cpus": os.cpu_count(),
        "load": [round(v, 1) for v in os.getloadavg()],
        "python": platform.python_version(),
    }
    part = options.output.with_name(options.output.name + ".part")
    part.write_text(json.dumps(report, indent=1) + "\n")
    part.replace(options.output)


if __name__ == "__main__":
    main()
