"""Compare every instruction that mmasim 2.1.1 knows with this package, bit for bit, in one process.

Development only: needs ``pip install mmasim==2.1.1 ninja`` (and so PyTorch) beside this package.
Writes differential.md and differential.json next to itself. Each family of instructions gets at
least ``--outputs`` outputs, over the nine operand families of :mod:`lutscape.sim.mma.corpus`.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmasim import amd, nv_ptx

from lutscape.sim.mma import models
from lutscape.sim.mma.api import run
from lutscape.sim.mma.corpus import FAMILIES, cases
from lutscape.sim.mma.instructions import Spec, table

HERE = Path(__file__).resolve().parent
NVIDIA = {
    "sm_70": "Volta", "sm_75": "Turing", "sm_80": "Ampere", "sm_89": "Ada Lovelace", "sm_90": "Hopper",
    "sm_100": "Blackwell", "sm_120": "RTX Blackwell",
}  # fmt: skip
AMD = {"gfx908": "CDNA1", "gfx90a": "CDNA2", "gfx942": "CDNA3"}
TORCH = {
    "fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16,
    "e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2, "e4m3fnuz": torch.float8_e4m3fnuz,
    "e5m2fnuz": torch.float8_e5m2fnuz, "ue8m0": torch.float8_e8m0fnu, "ue4m3": torch.float8_e4m3fn,
}  # fmt: skip
REASONS = {
    "nan": "NaN payload: mmasim returns what the host's CPU makes of it; sm_90 DMMA propagates operand payloads "
    "(captured), elsewhere the canonical quiet NaN is returned because payloads are unknown.",
    "gtr": "GTR-FDPA, infinite or NaN c: mmasim drops it when the products are large (its exponent of infinity is "
    "small), which no IEEE-like adder does; here c decides.",
}


def peer(spec: Spec) -> object | None:
    """Return mmasim's object for an instruction, or None where it has none."""
    try:
        if spec.family == "mfma":
            return amd.MFMA(AMD[spec.arch], spec.name.removeprefix("v_mfma_"))
        arch = NVIDIA[spec.arch]
        drop = {"sync", "aligned", "row", "col", "mma", "mma_async", "wgmma", "tcgen05", "cta_group::1", "block_scale"}
        parts = [p for p in spec.name.split(".") if p not in drop]
        shape = next(p for p in parts if p[0] == "m" and p[1].isdigit())
        kinds = [p for p in parts if p.startswith("kind::")]
        types = [p for p in parts if p != shape and "::" not in p]
        name = ".".join([shape, *kinds, *([f"block{spec.block}"] if spec.scale else []), *types])
        if spec.family == "wgmma":
            return nv_ptx.WGMMA(arch, name)
        if spec.family == "tcgen05":
            return (nv_ptx.TCGen05MMABlockScale if spec.scale else nv_ptx.TCGen05MMA)(arch, name)
        if spec.family == "mma":
            return (nv_ptx.MMABlockScale if spec.scale else nv_ptx.MMA)(arch, name)
    except (AssertionError, KeyError, ValueError):
        pass
    return None


def tensor(bits: np.ndarray, name: str, spec: Spec) -> torch.Tensor:
    """Reinterpret raw codes as the tensor that mmasim expects; last axis is k."""
    if name in ("e3m2", "e2m3", "e2m1"):
        if spec.k == 64:
            bits = (bits[..., ::2] << 4) | bits[..., 1::2]
        elif name == "e2m1":
            bits = bits << 2
        return torch.from_numpy(bits.copy())
    signed = np.ascontiguousarray(bits).view(f"i{bits.itemsize}")
    return torch.from_numpy(signed).view(TORCH[name])


def theirs(op: object, spec: Spec, x: dict[str, np.ndarray]) -> np.ndarray:
    """Return mmasim's raw outputs (T, M, N)."""
    a = tensor(x["A"], spec.a, spec)[:, :, None, :]
    b = tensor(np.ascontiguousarray(x["B"].transpose(0, 2, 1)), spec.b, spec)[:, None, :, :]
    shape = (*x["C"].shape, -1)
    a, b = a.expand(-1, -1, x["C"].shape[2], -1), b.expand(-1, x["C"].shape[1], -1, -1)
    c = tensor(x["C"], spec.c, spec)
    extra = []
    if spec.scale:
        extra = [
            tensor(x["alpha"], spec.scale, spec)[:, :, None, :].expand(*shape),
            tensor(np.ascontiguousarray(x["beta"].transpose(0, 2, 1)), spec.scale, spec)[:, None, :, :].expand(*shape),
        ]
        extra = [e.contiguous() for e in extra]
    d = op.dpa(a.contiguous(), b.contiguous(), c, *extra)
    return (
        d.contiguous()
        .view({2: torch.int16, 4: torch.int32, 8: torch.int64}[d.element_size()])
        .numpy()
        .view(f"u{d.element_size()}")
    )


def one_tile(op: object, spec: Spec, x: dict[str, np.ndarray]) -> Callable[[], object]:
    """Return a call of mmasim's object on one tile, operands ready as tensors (K x N for B)."""
    a, b, c = tensor(x["A"][0], spec.a, spec), tensor(x["B"][0], spec.b, spec), tensor(x["C"][0], spec.c, spec)
    return lambda: op(a, b, c)


def group(spec: Spec) -> str:
    """Return the family that an instruction's outputs count for."""
    kind = next((p for p in spec.name.split(".") if p.startswith("kind::")), "")
    types = "fp8" if spec.a in ("e4m3", "e5m2", "e4m3fnuz", "e5m2fnuz") else spec.a
    if kind in ("kind::f8f6f4", "kind::mxf8f6f4"):
        types = "f8f6f4"
    legacy = " 1k" if spec.name.endswith("_1k") else ""
    return " ".join(filter(None, [spec.arch, spec.family, kind, f"{types}{legacy}->{spec.d}"]))


def classify(spec: Spec, x: dict[str, np.ndarray], ours: np.ndarray, other: np.ndarray) -> dict[str, int]:
    """Count differing outputs per reason; ``unexplained`` is what no reason covers."""
    differ = ours != other
    counts: dict[str, int] = defaultdict(int)
    if not differ.any():
        return counts
    width = {2: (10, 0x7C00, 0x8000), 4: (23, 0x7F800000, 0x80000000), 8: (52, 0x7FF << 52, 1 << 63)}[ours.itemsize]
    _, top, sign = width
    nan = [(v & ~np.array(sign, v.dtype)) > top for v in (ours, other)]
    both = differ & nan[0] & nan[1]
    if isinstance(spec.model, models.FmaChain | models.FtzAddMul | models.EFdpa):
        counts["nan"] += int(both.sum())
        differ &= ~both
    if isinstance(spec.model, models.GtrFdpa):
        far = run(spec, x["A"][..., : spec.model.L], x["B"][:, : spec.model.L], x["C"])  # c of the second chunk
        dropped = differ & (((x["C"] & 0x7F800000) == 0x7F800000) | ((far & 0x7F800000) == 0x7F800000))
        counts["gtr"] += int(dropped.sum())
        differ &= ~dropped
    counts["unexplained"] += int(differ.sum())
    return counts


def chosen(every: bool) -> dict[str, list[tuple[Spec, object]]]:
    """Return the instructions to compare by family; without ``every``, wide N only for a few."""
    found: dict[str, list[tuple[Spec, object]]] = defaultdict(list)
    for arch in [*NVIDIA, *AMD]:
        for spec in table(arch).values():
            if (
                spec.family in ("wgmma", "tcgen05")
                and not every
                and (spec.n not in (8, 24) or (spec.family == "tcgen05" and (spec.m == 64) == (spec.n == 24)))
            ):
                continue
            op = peer(spec)
            if op is not None:
                found[group(spec)].append((spec, op))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--outputs", type=int, default=1_000_000, help="least outputs per family")
    parser.add_argument("--every", action="store_true", help="every N of wgmma and tcgen05")
    parser.add_argument("--only", default="", help="families whose name contains this")
    parser.add_argument("--arch", default="", help="only this architecture")
    parser.add_argument("--dry", action="store_true", help="print, write nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, begin = [], time.perf_counter()
    for name, members in chosen(options.every).items():
        if options.only not in name or (options.arch and not name.startswith(options.arch)):
            continue
        outputs, counts, examples = 0, defaultdict(int), []
        per_case = -(-options.outputs // (len(members) * len(FAMILIES)))
        for number, (spec, op) in enumerate(members):
            per_tile = spec.m * spec.n
            for family in FAMILIES:
                left = per_case
                while left > 0:
                    tiles = max(1, min(-(-left // per_tile), (1 << 21) // (per_tile * spec.k) or 1))
                    x = cases(spec, family, tiles, seed=outputs + number)
                    extra = {k: x[k] for k in ("alpha", "beta") if k in x}
                    ours, other = run(spec, x["A"], x["B"], x["C"], **extra), theirs(op, spec, x)
                    for reason, n in classify(spec, x, ours, other).items():
                        counts[reason] += n
                        if reason == "unexplained" and n and len(examples) < 5:
                            t, i, j = np.argwhere(ours != other)[0]
                            examples.append(
                                f"{spec.name} {family}: ours {ours[t, i, j]:#x} theirs {other[t, i, j]:#x} "
                                f"c {x['C'][t, i, j]:#x}"
                            )
                    outputs += tiles * per_tile
                    left -= tiles * per_tile
        rows.append(
            {
                "family": name,
                "instructions": len(members),
                "outputs": outputs,
                **{k: counts[k] for k in ("unexplained", *REASONS)},
            }
        )
        print(rows[-1], *examples, sep="\n  ", flush=True)
    if options.dry:
        return
    report = {
        "peer": "mmasim 2.1.1", "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(),
        "seconds": round(time.perf_counter() - begin, 1), "families": rows, "reasons": REASONS,
    }  # fmt: skip
    (HERE / "differential.json").write_text(json.dumps(report, indent=1) + "\n")
    total = {k: sum(r[k] for r in rows) for k in ("instructions", "outputs", "unexplained", *REASONS)}
    lines = [
        "# Matrix instructions compared with mmasim 2.1.1",
        "",
        "Written by `reports/mma/differential.py`. Raw output bits of both packages on the same raw operands: random",
        "bits, normal numbers, wide and windowed exponents, subnormals, dominant accumulators, cancelling pairs, tiny",
        "sums, specials.",
        "N of wgmma and tcgen05 does not enter the arithmetic; two values of it are compared.",
        "",
        f"{total['outputs']:,} outputs of {total['instructions']} instructions: "
        f"**{total['unexplained']} unexplained differences**.",
        "",
        "| family | instructions | outputs | unexplained | NaN payload | GTR c |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {r['family']} | {r['instructions']} | {r['outputs']:,} | {r['unexplained']} | {r['nan']:,} "
            f"| {r['gtr']:,} |"
            for r in rows
        ),
        "",
        "## Deliberate differences",
        "",
        *(f"- {text}" for text in REASONS.values()),
        "",
    ]
    (HERE / "differential.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
