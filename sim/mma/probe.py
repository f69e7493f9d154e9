"""What arithmetic does a captured instruction have? Fit L, F, rounding and zero exponent to its vectors.

The fit knows only the operand formats (from the instruction's name) and the T-FDPA family; it tries
every candidate on a sample, the survivors on everything, and says what the vectors cannot tell apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lutscape.hw.errors import UserError
from lutscape.hw.formats.binary import FORMATS, values
from lutscape.sim.mma import engine
from lutscape.sim.mma.api import NAN_CODE, run, to_raw
from lutscape.sim.mma.check import read
from lutscape.sim.mma.instructions import FORMAT_OF, Spec
from lutscape.sim.mma.models import HalfPairThenAdd, OutputRounding, TFdpa
from lutscape.sim.mma.operands import Operand, operand

FRACTIONS = range(8, 37)
SAMPLE = 1500
"""Outputs on which every candidate is tried."""


@dataclass(frozen=True)
class Fit:
    """The design that explains an instruction's vectors best.

    Attributes:
        instruction: name.
        design: ``T-FDPA``, or ``T-FDPA x2 + add`` where only two chained half-precision sums and a late c fit
            (FP8 on units without an FP8 path).
        L, F, rounding: parameters of the T-FDPA design; ranges like ``25..27`` where the vectors agree
            with all of them.
        e_zero: likewise.
        mismatches: outputs that even this design gets wrong.
        outputs: outputs compared.
    """

    instruction: str
    design: str
    L: str
    F: str
    rounding: str
    e_zero: str
    mismatches: int
    outputs: int

    def as_dict(self) -> dict[str, object]:
        """Return the fields in order."""
        return {
            k: getattr(self, k)
            for k in ("instruction", "design", "L", "F", "rounding", "e_zero", "mismatches", "outputs")
        }


@dataclass(frozen=True)
class _Vectors:
    a: Operand
    b: Operand
    c: np.ndarray  # raw
    d: np.ndarray  # raw
    c_format: str
    d_format: str

    def mismatches(self, model: TFdpa) -> int:
        d = values(self.c, self.c_format)
        engine.t_fdpa(model, self.a, self.b, d, FORMATS[self.c_format].emin)
        return int((to_raw(d, self.d_format, NAN_CODE[self.d_format]) != self.d).sum())

    def sample(self, outputs: int) -> _Vectors:
        tiles = max(1, outputs // (self.d.shape[1] * self.d.shape[2]))
        pick = np.unique(np.linspace(0, len(self.d) - 1, tiles).astype(int))
        return replace(self, a=self.a.take(pick, 0), b=self.b.take(pick, 0), c=self.c[pick], d=self.d[pick])


def formats(name: str) -> tuple[str, str, str, str] | None:
    """Return the formats of A, B, C and D in an instruction's name, or None where it has no fused float sum."""
    parts = [p for p in re.split(r"[._]", name.partition("#")[0]) if p in FORMAT_OF]
    if len(parts) == 3:
        parts.append(parts[0])
    if len(parts) != 4 or "#" in name or ".sp" in name:
        return None
    d, a, b, c = (FORMAT_OF[p] for p in parts)
    wide = ("fp64", "fp32", "s8", "u8", "s4", "u4", "b1", "s32")
    return None if a in wide or d not in NAN_CODE else (a, b, c, d)


def infer(path: str | Path, pattern: str = "") -> list[Fit]:
    """Fit every dense floating-point instruction of a capture whose name contains ``pattern``.

    Raises:
        UserError: as :func:`lutscape.sim.mma.check.read`; nothing to fit.
    """
    by_name: dict[str, list[dict[str, np.ndarray]]] = {}
    for (name, _), arrays in read(path).items():
        if pattern in name and formats(name) is not None:
            by_name.setdefault(name, []).append(arrays)
    if not by_name:
        raise UserError(f"{path}: no dense floating-point instruction contains {pattern!r}")
    return [_fit(name, cases) for name, cases in by_name.items()]


def _load(name: str, cases: list[dict[str, np.ndarray]]) -> _Vectors:
    found = formats(name)
    assert found is not None
    a, b, c, d = (np.concatenate([case[part] for case in cases]) for part in ("A", "B", "C", "D"))
    columns = np.ascontiguousarray(b.transpose(0, 2, 1))
    return _Vectors(operand(a, found[0]), operand(columns, found[1]), c, d, found[2], found[3])


def _roundings(name: str) -> list[OutputRounding]:
    targets = {"fp32": ("FP32", "E8M13"), "fp16": ("FP16",), "bf16": ("BF16",)}[name]
    return [OutputRounding(mode, target) for target in targets for mode in ("RZ", "RNE", "RD", "RU")]


def _candidates(depth: int, d_format: str) -> Iterator[TFdpa]:
    lengths = [n for n in range(1, depth + 1) if (depth % n == 0 and (n & (n - 1)) == 0) or n == depth]
    for rounding in _roundings(d_format):
        for length in lengths:
            for fraction in FRACTIONS:
                yield TFdpa(length, fraction, rounding, 4 - fraction if d_format == "fp16" else -108 - fraction)


def _fit(name: str, cases: list[dict[str, np.ndarray]]) -> Fit:
    everything = _load(name, cases)
    small = everything.sample(SAMPLE)
    scored = [(small.mismatches(m), i, m) for i, m in enumerate(_candidates(small.a.value.shape[2], small.d_format))]
    least = min(s for s, _, _ in scored)
    survivors = [m for s, _, m in scored if s <= least + 8]
    full = [(everything.mismatches(m), m) for m in survivors]
    best = min(s for s, _ in full)
    winners = [m for s, m in full if s == best]
    first = winners[0]
    top = FORMATS[everything.c_format].emin
    floors = range(top, top - 48, -1)
    by_floor = {e: everything.mismatches(replace(first, e_zero=e)) for e in floors}
    good = [e for e, s in by_floor.items() if s == min(by_floor.values())]
    if best and first.L > 1 and everything.a.value.dtype == np.float32:
        pairs = _fit_pairs(name, cases, best)
        if pairs is not None:
            return pairs
    return Fit(
        name, first.symbol, _span({m.L for m in winners}), _span({m.F for m in winners}),
        "|".join(sorted({str(m.rounding) for m in winners})), _span(set(good)), min(best, by_floor[good[0]]),
        everything.d.size,
    )  # fmt: skip


def _fit_pairs(name: str, cases: list[dict[str, np.ndarray]], to_beat: int) -> Fit | None:
    """Fit the two-step FP8 design; None where it explains no more outputs than ``to_beat`` mismatches."""
    found = formats(name)
    assert found is not None
    if FORMATS[found[0]].width != 8 or FORMATS[found[1]].width != 8:
        return None
    a, b, c, d = (np.concatenate([case[part] for case in cases]) for part in ("A", "B", "C", "D"))
    columns, depth = np.ascontiguousarray(b.transpose(0, 2, 1)), a.shape[2]
    half = found[3] == "fp16"
    rounding = OutputRounding("RNE", "FP16") if half else OutputRounding("RZ", "FP32")
    scores = {}
    for fraction in FRACTIONS:
        step = TFdpa(depth // 2, fraction, rounding, 4 - fraction if half else -108 - fraction)
        spec = Spec("", name, "", 0, 0, depth, *found, HalfPairThenAdd(depth, step))
        scores[fraction] = int((run(spec, a, columns, c) != d).sum())
    best = min(scores.values())
    if best >= to_beat:
        return None
    good = {f for f, s in scores.items() if s == best}
    symbol = HalfPairThenAdd.symbol
    return Fit(name, symbol, str(depth // 2), _span(good), str(rounding), "", best, d.size)


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    if low == high:
        return str(low)
    return f"{low}..{high}" if len(numbers) == high - low + 1 else "|".join(map(str, sorted(numbers)))
