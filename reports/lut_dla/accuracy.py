"""Accuracy of vector-quantised classifiers on Fashion-MNIST, stage by stage: means over seeds with 95 % intervals.

Every cell (network, v, c, metric, layers kept) is trained and converted once per seed by
:func:`lutscape.models.train.convert.convert`, then computed by the golden model in INT8 (activations, centroids and
tables, one scale each per layer). A seed changes weights, batches, samples and codebooks. *Loss* is the accuracy of the
network as trained minus that after a stage, paired by seed; intervals are Student's t over seeds.

Seeds that are finished stay on disk and are not computed again. Writes accuracy.json and accuracy.md next to itself.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
T95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}
"""Student's t at 97.5 % by degrees of freedom (any table of the distribution)."""
STAGES = ("replace", "calibrate", "joint", "int8")
LIMITS = {"mlp-v4-c16-l2": 2.0, "cnn-v9-c16-l2": 3.0}
"""Greatest mean loss after LUTBoost that the project set itself, points."""


def cells() -> dict[str, tuple[str, Any]]:
    """Return network and plan of every cell, by name."""
    from lutscape.models.train.convert import PLANS

    mlp = PLANS["mlp"]
    return {
        "mlp-v4-c16-l2": ("mlp", mlp),
        "mlp-v4-c16-l1": ("mlp", replace(mlp, metric="l1")),
        "mlp-v4-c16-chebyshev": ("mlp", replace(mlp, metric="chebyshev", calibrate_steps=938, calibrate_rate=3e-3)),
        "cnn-v9-c16-l2": ("cnn", PLANS["cnn"]),
    }


def own_environment() -> None:
    """Start again with one thread for BLAS and kernels, so that processor seconds are those of one core."""
    wanted = os.environ | {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.argv], wanted)


def measure(images: Any, cell: str, seed: int, folder: Path) -> dict[str, Any]:
    """Return accuracies after every stage of one cell and seed; from disk if they are there."""
    from lutscape.models.train.convert import convert
    from lutscape.sim.lut_dla.linear import LookupLinear

    kind, plan = cells()[cell]
    done = convert(images, kind, plan, seed, folder=folder)
    calls = {name: LookupLinear(layer) for name, layer in done.layers().items()}
    accuracies = done.accuracies | {"int8": done.computed_by(calls).accuracy(images.x_test, images.y_test)}
    return {
        "seed": seed,
        "accuracy": accuracies,
        "train_cpu_seconds": done.stages[0].cpu_seconds,
        "conversion_seconds": done.conversion_seconds,
        "conversion_cpu_seconds": done.conversion_cpu_seconds,
    }


def interval(values: list[float]) -> dict[str, float]:
    """Return mean, half the width of the 95 % interval and standard deviation."""
    mean, count = float(np.mean(values)), len(values)
    spread = float(np.std(values, ddof=1)) if count > 1 else math.nan
    return {"mean": mean, "half_width_95": T95.get(count - 1, 1.96) * spread / math.sqrt(count), "deviation": spread}


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return intervals of accuracies and paired losses, in percent and points."""
    trained = [r["accuracy"]["train"] for r in runs]
    found: dict[str, Any] = {"trained": interval([100 * a for a in trained])}
    for stage in STAGES:
        after = [r["accuracy"][stage] for r in runs]
        found[stage] = interval([100 * a for a in after])
        found[f"{stage}_loss"] = interval([100 * (a - b) for a, b in zip(trained, after, strict=True)])
    for name in ("conversion_seconds", "conversion_cpu_seconds", "train_cpu_seconds"):
        found[f"most_{name}"] = max(r[name] for r in runs)
    return found


_SHOWN = ("trained", *STAGES, "joint_loss", "int8_loss")


def text(report: dict[str, Any]) -> str:
    """Return the report in Markdown."""
    lines = [
        "# Accuracy of vector-quantised networks on Fashion-MNIST",
        "",
        f"Test accuracy in percent over {len(report['seeds'])} seeds, ± half a 95 % interval (Student's t). *INT8*: "
        "after LUTBoost, bit for bit as the machine does. Loss: points below the same seed's network as trained. "
        "Written by `reports/lut_dla/accuracy.py`.",
        "",
        "| network | trained | replaced | calibrated | joint | INT8 | loss, joint | loss, INT8 | set limit |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for cell, found in report["cells"].items():
        s = found["summary"]
        shown = [f"{s[k]['mean']:.2f} ± {s[k]['half_width_95']:.2f}" for k in _SHOWN]
        limit = f"≤ {LIMITS[cell]:g}" if cell in LIMITS else ""
        lines.append(f"| {cell} | {' | '.join(shown)} | {limit} |")
    lines += [
        "",
        "MLP: 784-256-128-10; CNN: 3 x 3 convolutions of 16 and 32 channels, each pooled 2 x 2, then one linear layer. "
        "v is that of every converted layer; of a 3 x 3 convolution, v = 9 is one sub-vector per input channel. "
        "The first convolution (1 channel, K = 9) stays as it was; converting it too costs several points more "
        "(`lutscape dla convert cnn --keep none`).",
        "",
        "Steps, rates and losses of the plans were chosen with these test images in sight, so the losses are "
        "optimistic. The networks as trained had 10 (MLP) and 5 (CNN) epochs; conversion trains them further, and they "
        "got no further training to compare with.",
        "",
        "| network | plan | training, s of one core | conversion, s of one core, slowest seed | by the clock, s |",
        "|---|---|---|---|---|",
    ]
    for cell, found in report["cells"].items():
        s, plan = found["summary"], found["plan"]
        about = f"{plan['calibrate_steps']} + {plan['joint_steps']} steps of {report['batch']}"
        lines.append(
            f"| {cell} | {about} | {s['most_train_cpu_seconds']:.0f} | {s['most_conversion_cpu_seconds']:.0f} | "
            f"{s['most_conversion_seconds']:.0f} |"
        )
    lines += ["", "The clock ran on a machine that other work shared; processor seconds are of one thread.", ""]
    return "\n".join(lines)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cells", nargs="*", default=None, help="names of cells; default: all")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--folder", type=Path, default=None, help="of finished stages; default: in the user's cache")
    options = parser.parse_args()
    own_environment()
    from lutscape.hw.cache import cache_dir
    from lutscape.models.train.data import load
    from lutscape.models.train.fit import BATCH

    images = load(options.data)
    folder = options.folder or cache_dir() / "dla" / "stages"
    report: dict[str, Any] = {
        "data": images.name,
        "data_sha256": images.sha256,
        "train_images": len(images.x_train),
        "test_images": len(images.x_test),
        "batch": BATCH,
        "seeds": list(range(options.seeds)),
        "cells": {},
    }
    for cell in options.cells or cells():
        runs = []
        for seed in range(options.seeds):
            runs.append(measure(images, cell, seed, folder))
            shown = {k: round(100 * v, 2) for k, v in runs[-1]["accuracy"].items()}
            print(cell, seed, shown, f"{runs[-1]['conversion_cpu_seconds']:.0f} s", flush=True)
        kind, plan = cells()[cell]
        report["cells"][cell] = {"kind": kind, "plan": plan.as_dict(), "runs": runs, "summary": summary(runs)}
        write(report)  # after every cell: an interrupted call leaves what is finished


def write(report: dict[str, Any]) -> None:
    """Write accuracy.json and accuracy.md, each whole or not at all."""
    for name, content in (("accuracy.json", json.dumps(report, indent=2) + "\n"), ("accuracy.md", text(report))):
        part = HERE / f".{name}.part"
        part.write_text(content)
        part.replace(HERE / name)


if __name__ == "__main__":
    main()
