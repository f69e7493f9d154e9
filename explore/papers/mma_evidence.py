"""What silicon, other simulators and whole models say about the matrix units, gathered for the paper page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import values
from lutscape.sim import mma
from lutscape.sim.mma import analysis, names
from lutscape.sim.mma.api import run
from lutscape.sim.mma.corpus import cases

BOUNDED = [
    ("Volta", "sm_70", "m8n8k4.f32.f16.f16.f32"),
    ("Volta", "sm_70", "m8n8k4.f16.f16.f16.f16"),
    ("Ampere", "sm_80", "m16n8k16.f32.f16.f16.f32"),
    ("Ada", "sm_89", "m16n8k32.f32.e4m3.e4m3.f32"),
    ("Hopper", "sm_90", "m16n8k16.f32.f16.f16.f32"),
    ("Hopper", "sm_90", "wgmma.m64n8k16.f16.f16.f16"),
    ("Hopper", "sm_90", "wgmma.m64n8k16.f32.bf16.bf16"),
    ("Hopper", "sm_90", "wgmma.m64n8k8.f32.tf32.tf32"),
    ("Hopper", "sm_90", "wgmma.m64n8k32.f32.e4m3.e4m3"),
    ("Blackwell", "sm_100", "tcgen05.m64n8k32.kind::f8f6f4.f32.e4m3.e4m3"),
    ("CDNA1", "gfx908", "f32_16x16x16f16"),
    ("CDNA2", "gfx90a", "f32_16x16x16f16"),
    ("CDNA2", "gfx90a", "f32_16x16x8bf16"),
    ("CDNA3", "gfx942", "f32_16x16x16_f16"),
    ("CDNA3", "gfx942", "f32_16x16x8_xf32"),
    ("CDNA1", "gfx908", "f32_16x16x4f32"),
    ("Hopper", "sm_90", "m16n8k32.f32.e4m3.e4m3.f32"),
    ("Hopper", "sm_90", "m16n8k32.f16.e5m2.e4m3.f16"),
    ("Blackwell", "sm_120", "m16n8k32.kind::mxf8f6f4.block_scale.scale_vec::1X.f32.e4m3.e4m3.f32.ue8m0"),
    ("Blackwell", "sm_120", "m16n8k64.kind::mxf4.block_scale.scale_vec::2X.f32.e2m1.e2m1.f32.ue8m0"),
    ("Blackwell", "sm_120", "m16n8k64.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3"),
    ("CDNA3", "gfx942", "f32_16x16x32_fp8_fp8"),
    ("CDNA3", "gfx942", "f32_16x16x32_bf8_bf8"),
]
KINDS = {"e4m3": "fp8", "e5m2": "fp8", "s8": "int8", "u8": "int8", "s4": "int4", "u4": "int4"}
FAMILIES = ("normal", "cancelling", "dominant", "window", "subnormal")


def bounds(tiles: int = 60) -> list[dict[str, Any]]:
    """Return, per design, the largest error among random tiles beside the bound of table 9 on the same tiles."""
    rows = []
    for machine, arch, name in BOUNDED:
        op = mma.instruction(arch, name)
        s = op.spec
        worst, normal, outputs, above, largest = 0.0, 0.0, 0, 0, ("", 0.0, 0.0)
        for family in FAMILIES:
            x = cases(s, family, tiles, 7)
            scales = [key for key in ("alpha", "beta") if key in x]
            for t in range(tiles):
                a, b, c = x["A"][t], x["B"][t], x["C"][t]
                factors = {key: x[key][t] for key in scales}
                d = values(run(s, a[None], b[None], c[None], **{k: v[None] for k, v in factors.items()})[0], s.d)
                av, bv, cv = values(a, s.a), values(b, s.b), values(c, s.c)
                if scales:
                    av = av * np.repeat(values(factors["alpha"], s.scale), s.block, 1)
                    bv = bv * np.repeat(values(factors["beta"], s.scale), s.block, 0)
                with np.errstate(invalid="ignore", over="ignore"):
                    high, low = analysis.exact_product(av, bv, cv)
                    error = np.abs((d - high) - low)
                    bound = analysis.error_bound(op, a, b, c, **factors)
                fine = np.isfinite(d) & np.isfinite(error) & np.isfinite(bound)
                share = np.where(fine, error / np.where(bound > 0, bound, np.inf), 0)
                above += int((error > bound)[fine].sum())
                outputs += int(fine.sum())
                normal = max(normal, float(share.max())) if family == "normal" else normal
                if share.max() > worst:
                    worst = float(share.max())
                    at = np.unravel_index(share.argmax(), share.shape)
                    largest = (family, float(error[at]), float(bound[at]))
        rows.append({
            "machine": machine, "arch": arch, "instruction": s.name, "model": s.model.symbol, "share": worst,
            "normal_share": normal, "outputs": outputs, "above": above, "family": largest[0], "error": largest[1],
            "bound": largest[2],
        })  # fmt: skip
    return rows


def modelled() -> list[dict[str, Any]]:
    """Return, per architecture, how many instructions there are, by model and by level of evidence."""
    from collections import Counter

    from lutscape.sim.mma.evidence import VALIDATED, evidence
    from lutscape.sim.mma.instructions import table

    rows = []
    for arch, gpus in VALIDATED.items():
        specs = list(table(arch).values())
        rows.append({
            "arch": arch, "gpus": gpus, "instructions": len(specs),
            "models": dict(Counter(s.model.symbol for s in specs)),
            "evidence": dict(Counter(evidence(s).level for s in specs)),
        })  # fmt: skip
    return rows


def replayed(root: Path) -> dict[str, Any]:
    """Replay the vectors that an sm_90 GPU returned; group by instruction family and formats.

    Raises:
        UserError: no vectors below ``root``.
    """
    from lutscape.sim.mma.check import replay

    path = root / "tests" / "vectors" / "mma" / "sm_90.npz"
    about = load(path.with_suffix(".json"))
    groups: dict[str, dict[str, Any]] = {}
    instructions: dict[str, list[int]] = {}
    for case in replay(path, "sm_90"):
        entry = instructions.setdefault(case.instruction, [0, 0])
        entry[0] += case.mismatches
        entry[1] += case.outputs
    for name, (wrong, outputs) in instructions.items():
        try:
            spec = names.find("sm_90", name.partition("#")[0])
            key = f"{spec.family} {KINDS.get(spec.a, spec.a)} → {spec.d}"
            model = spec.model.symbol
        except UserError:
            key, model = name, "unknown"
        group = groups.setdefault(
            key + model, {"family": key, "model": model, "instructions": 0, "outputs": 0, "mismatches": 0, "sass": []}
        )
        group["instructions"] += 1
        group["outputs"] += outputs
        group["mismatches"] += wrong
        sass = about.get("sass", {}).get(name) or about.get("sass", {}).get(name.partition("#")[0], "")
        if sass and sass not in group["sass"]:
            group["sass"].append(sass)
    return {
        "device": about["device"], "date": about["date"], "groups": list(groups.values()),
        "instructions": [{"name": n, "mismatches": w, "outputs": o, "sass": about.get("sass", {}).get(n, "")}
                         for n, (w, o) in instructions.items()],
    }  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """Return a JSON file of the checkout.

    Raises:
        UserError: missing or not JSON.
    """
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} not found; run in a checkout of lutscape, or name one with --root") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return found


def accuracy(root: Path) -> dict[str, Any] | None:
    """Return reports/mma/accuracy.json, or None where it was not measured."""
    path = root / "reports" / "mma" / "accuracy.json"
    return load(path) if path.is_file() else None
