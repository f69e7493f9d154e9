"""Replaying vectors that hardware returned: how many outputs does the model get wrong?

A capture is an npz with keys ``<instruction>/<case>/A|B|C|D`` (and E for mma.sp), raw bits: A
(tiles, M, K), B (tiles, N, K), C and D (tiles, M, N); E the dense column of each stored element of
A; one-bit operands eight to a byte, lowest first. Options may follow the instruction's name:
``#scale_d=0``, ``#scale_a=-1``, ``#scale_b=-1``, ``#a=shared``.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.integer import unpack
from lutscape.sim.mma import names
from lutscape.sim.mma.api import compute
from lutscape.sim.mma.instructions import Spec, architecture

PARTS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Case:
    """One replayed case.

    Attributes:
        instruction: name with options, as in the file.
        case: operand family.
        outputs: number of outputs.
        mismatches: how many differ in any bit.
        note: why all of them count as mismatched, or the first difference; empty if none.
    """

    instruction: str
    case: str
    outputs: int
    mismatches: int
    note: str = ""


def load_npz(path: str | Path) -> dict[str, np.ndarray]:
    """Return the arrays of an npz file by name.

    Raises:
        UserError: no such file, not an npz, cut short or damaged, or arrays of objects.
    """
    try:
        with open(path, "rb") as file:
            if not zipfile.is_zipfile(file):
                raise UserError(f"{path}: not an npz, or cut short")
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror or error}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UserError(f"{path}: damaged npz ({error})") from None
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: not an npz of raw arrays ({str(error).splitlines()[0]})") from None


def read(path: str | Path) -> dict[tuple[str, str], dict[str, np.ndarray]]:
    """Return {(instruction, case): {"A": …, "B": …, "C": …, "D": …}} of a capture.

    Raises:
        UserError: no such file, no npz, a key of another form, a missing part.
    """
    arrays = load_npz(path)
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for key, array in arrays.items():
        parts = key.rsplit("/", 2)
        if len(parts) != 3 or parts[2] not in (*PARTS, "E", "alpha", "beta"):
            raise UserError(f"{path}: key {key!r} is not <instruction>/<case>/A|B|C|D")
        found.setdefault((parts[0], parts[1]), {})[parts[2]] = array
    if not found:
        raise UserError(f"{path}: holds no vectors; keys are <instruction>/<case>/A|B|C|D")
    for (instruction, case), arrays_of in found.items():
        missing = [p for p in PARTS if p not in arrays_of]
        if missing:
            raise UserError(
                f"{path}: {instruction}/{case} lacks {', '.join(missing)} (has {', '.join(sorted(arrays_of))})"
            )
    return found


def replay(path: str | Path, arch: str) -> Iterator[Case]:
    """Yield one :class:`Case` per case of a capture, in file order."""
    arch = architecture(arch)
    for (name, case), arrays in read(path).items():
        outputs = int(arrays["D"].size)
        try:
            spec = names.find(arch, name.partition("#")[0])
        except UserError:
            yield Case(name, case, outputs, outputs, f"unknown instruction on {arch}")
            continue
        try:
            got = _run(spec, name, arrays)
        except UserError as error:
            raise UserError(f"{path}: {name}/{case}: {error}") from None
        wrong = got != arrays["D"]
        note = ""
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            note = f"first at {list(at)}: model 0x{int(got[at]):X}, file 0x{int(arrays['D'][at]):X}"
        yield Case(name, case, outputs, int(wrong.sum()), note)


def _run(spec: Spec, name: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    a, b, c, d = (arrays[p] for p in PARTS)
    if spec.a == "b1":
        a, b = unpack(a, 1), unpack(b, 1)
    kept = spec.k * spec.keep[0] // spec.keep[1]
    expected = {"A": (spec.m, kept), "B": (spec.n, spec.k), "C": (spec.m, spec.n), "D": (spec.m, spec.n)}
    for part, x in zip(PARTS, (a, b, c, d), strict=True):
        if x.dtype.kind != "u" or x.ndim != 3 or x.shape[1:] != expected[part] or len(x) != len(d):
            raise UserError(
                f"{part} must be unsigned ({len(d)}, {expected[part][0]}, {expected[part][1]}), got {x.dtype} {x.shape}"
            )
    options = dict(o.partition("=")[::2] for o in name.partition("#")[2].split(",") if o)
    unknown = set(options) - {"a", "scale_d", "scale_a", "scale_b"}
    if unknown:
        raise UserError(f"unknown option {sorted(unknown)[0]!r}; allowed: a, scale_d, scale_a, scale_b")
    extra: dict[str, Any] = {
        key: arrays[part] for key, part in (("metadata", "E"), ("alpha", "alpha"), ("beta", "beta")) if part in arrays
    }
    return compute(
        spec, a, np.ascontiguousarray(b.transpose(0, 2, 1)), c, use_c=options.get("scale_d", "1") != "0",
        negate_a=options.get("scale_a") == "-1", negate_b=options.get("scale_b") == "-1", **extra,
    )  # fmt: skip
