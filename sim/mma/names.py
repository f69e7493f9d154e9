"""Instruction names: full PTX and MFMA strings, and the short forms people write."""

from __future__ import annotations

import difflib
import re
from functools import cache

from lutscape.hw.errors import UserError
from lutscape.sim.mma.instructions import Spec, table

FILLER = {"sync", "aligned", "row", "col", "mma_async", "cta_group::1", "block_scale", "mma"}
"""Parts of a full name that no two instructions differ in."""


def signature(name: str) -> tuple[str, ...]:
    """Return the parts that tell an instruction apart, in one order: family, flags, shape, types.

    ``mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32`` and ``m16n8k16.f32.f16.f16.f32`` agree;
    ``scale_vec::2X`` may be spelt ``block32`` (k64) as in the literature.
    """
    text = name.strip().lower().removeprefix("v_mfma_")
    if re.match(r"f(32|64)_\d+x", text):
        return ("mfma", text)
    parts = text.split(".")
    shapes = [p for p in parts if re.fullmatch(r"m\d+n\d+k\d+", p)]
    shape = shapes[0] if shapes else ""
    family = next((p for p in parts if p in ("sp", "sp::ordered_metadata")), "")
    flags, types = [], []
    for part in parts:
        if part in FILLER or part in (shape, "wgmma", "tcgen05", "sp", "sp::ordered_metadata", "popc"):
            continue
        if part.startswith("block") and part[5:].isdigit() and shape.rpartition("k")[2].isdigit():
            part = f"scale_vec::{int(shape.rpartition('k')[2]) // max(int(part[5:]), 1)}x"
        if part.startswith(("kind::", "scale_vec::")) or part in ("satfinite", "xor", "and"):
            flags.append(part)
        else:
            types.append(part)
    return (family, shape, *sorted(flags), *types)


@cache
def _signatures(arch: str) -> dict[tuple[str, ...], list[str]]:
    found: dict[tuple[str, ...], list[str]] = {}
    for name in table(arch):
        found.setdefault(signature(name), []).append(name)
    return found


def find(arch: str, name: str) -> Spec:
    """Return the instruction of a canonical architecture by full name or unambiguous short form.

    Raises:
        UserError: unknown (with the nearest names) or ambiguous (with the candidates).
    """
    specs = table(arch)
    if name in specs:
        return specs[name]
    candidates = _signatures(arch).get(signature(name), [])
    wanted = next((f for f in ("wgmma", "tcgen05") if name.lower().startswith(f)), None)
    if wanted:
        candidates = [c for c in candidates if specs[c].family.startswith(wanted)]
    if len(candidates) == 1:
        return specs[candidates[0]]
    if candidates:
        raise UserError(f"instruction {name!r} on {arch} could be any of: {', '.join(candidates)}")
    raise UserError(f"{arch} has no instruction {name!r}; nearest: {', '.join(closest(arch, name))}")


def closest(arch: str, name: str, count: int = 3) -> list[str]:
    """Return the full names whose distinguishing parts look most like ``name``'s."""
    keys = {".".join(filter(None, key)): full for key, (full, *_) in _signatures(arch).items()}
    wanted = ".".join(filter(None, signature(name)))
    close = difflib.get_close_matches(wanted, list(keys), count, 0.0)
    return [keys[c] for c in close]
