"""The search's quick check: accuracy of one small perceptron for every codebook of a grid, after a short LUTBoost.

The perceptron of ``accuracy.py`` on Fashion-MNIST, trained once per seed, converted with a quarter of its steps, then
computed by the golden model in INT8. It ranks codebooks for ``lutscape sweep lut-dla``; ``accuracy.json`` holds what
full conversions reach. Cells and intervals are written as there, into ``quick_accuracy.json``; finished cells are kept.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path
from typing import Any

from accuracy import interval, own_environment  # this folder

HERE = Path(__file__).resolve().parent
V, C, METRICS = (4, 8, 2), (16,), ("l2", "l1", "chebyshev")
STEPS = {"calibrate_steps": 117, "joint_steps": 469}
STAGES = ("replace", "int8")


def measure(images: Any, plan: Any, seed: int, folder: Path) -> dict[str, Any]:
    """Return accuracies of one conversion; training is taken from disk where it is there."""
    from lutscape.models.train.convert import convert
    from lutscape.sim.lut_dla.linear import LookupLinear

    done = convert(images, "mlp", plan, seed, folder=folder)
    calls = {name: LookupLinear(layer) for name, layer in done.layers().items()}
    accuracies = done.accuracies | {"int8": done.computed_by(calls).accuracy(images.x_test, images.y_test)}
    return {"seed": seed, "accuracy": accuracies, "conversion_cpu_seconds": done.conversion_cpu_seconds}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return intervals of accuracies and paired losses, in percent and points."""
    trained = [r["accuracy"]["train"] for r in runs]
    found: dict[str, Any] = {"trained": interval([100 * a for a in trained])}
    for stage in STAGES:
        after = [r["accuracy"][stage] for r in runs]
        found[stage] = interval([100 * a for a in after])
        found[f"{stage}_loss"] = interval([100 * (a - b) for a, b in zip(trained, after, strict=True)])
    return found


def main() -> None:
    """Measure the grid; write after every cell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--folder", type=Path, default=None, help="of finished stages; default: in the user's cache")
    options = parser.parse_args()
    own_environment()
    from lutscape.hw.cache import cache_dir
    from lutscape.models.train.data import load
    from lutscape.models.train.lutboost import Plan

    images = load(options.data)
    folder = options.folder or cache_dir() / "dla" / "stages"
    path = HERE / "quick_accuracy.json"
    report: dict[str, Any] = {
        "data": images.name, "data_sha256": images.sha256, "seeds": list(range(options.seeds)), "cells": {},
    }  # fmt: skip
    if path.is_file():
        old = json.loads(path.read_text())
        if old["data_sha256"] == images.sha256:
            report["cells"] = old["cells"]
    for c, v, metric in itertools.product(C, V, METRICS):
        name, plan = f"mlp-v{v}-c{c}-{metric}", Plan(v=v, c=c, metric=metric, **STEPS)
        known = report["cells"].get(name)
        if known and known["plan"] == plan.as_dict() and len(known["runs"]) >= options.seeds:
            continue
        start = time.perf_counter()
        runs = [measure(images, plan, seed, folder) for seed in range(options.seeds)]
        report["cells"][name] = {"kind": "mlp", "plan": plan.as_dict(), "runs": runs, "summary": summary(runs)}
        found = report["cells"][name]["summary"]
        print(f"{name}: replaced {found['replace_loss']['mean']:.2f}, INT8 {found['int8_loss']['mean']:.2f} ± "
              f"{found['int8_loss']['half_width_95']:.2f} points lost, {time.perf_counter() - start:.0f} s",
              flush=True)  # fmt: skip
        part = path.with_suffix(".part")
        part.write_text(json.dumps(report, indent=1) + "\n")
        part.replace(path)


if __name__ == "__main__":
    main()
