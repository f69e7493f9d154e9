"""What can be captured: one row per matrix instruction, named by its PTX string.

A key is the PTX name, or that name with options after ``#``, comma separated:

``#a=shared``      wgmma with A read from shared memory (without it, A comes from registers)
``#scale_d=0``     wgmma with the scale-d predicate false: D = A·B, C is supplied and must be ignored
``#scale_a=-1``    wgmma with imm-scale-a = -1 (likewise ``#scale_b=-1``)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from lutscape.hw.errors import UserError, nearest

BITS = {
    "f64": 64, "f32": 32, "tf32": 32, "s32": 32, "f16": 16, "bf16": 16,
    "e4m3": 8, "e5m2": 8, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "b1": 1,
}  # fmt: skip
FP8 = ("e4m3", "e5m2")
Options = Mapping[str, Any]
NONE: Options = {}
SHARED: Options = {"a_shared": True}
NO_C: Options = {"scale_d": 0}
SPARSE: Options = {"sparse": True}


@dataclass(frozen=True)
class Instruction:
    """One capturable instruction; ``terms`` = K stored elements of a row of A (K/2 if sparse)."""

    name: str
    kind: str  # "mma" (a warp), "quad" (m8n8k4: eight lanes), "wgmma" (four warps)
    m: int
    n: int
    k: int
    a: str
    b: str
    c: str
    d: str
    since: int = 80  # lowest compute capability; wgmma exists on 9.0 only
    sparse: bool = False
    a_shared: bool = False
    scale_d: int = 1
    scale_a: int = 1
    scale_b: int = 1

    @property
    def ptx(self) -> str:
        return self.name.partition("#")[0]

    @property
    def terms(self) -> int:
        return self.k // 2 if self.sparse else self.k

    @property
    def group(self) -> int:
        """Columns of A among which the stored half is chosen: 4, tf32 2, s4/u4 8 (in pairs)."""
        return {"tf32": 2, "s4": 8, "u4": 8}.get(self.a, 4)

    @property
    def integer(self) -> bool:
        return self.d == "s32"

    def runs_on(self, capability: int) -> bool:
        return capability == 90 if self.kind == "wgmma" else capability >= self.since


def _mma(shape: str, d: str, a: str, b: str, c: str, since: int = 80, tail: str = "", sat: bool = False) -> Instruction:
    m, n, k = _sizes(shape)
    types = f"{'satfinite.' if sat else ''}{d}.{a}.{b}.{c}{tail}"
    kind = "quad" if (shape, a) == ("m8n8k4", "f16") else "mma"
    return Instruction(f"mma.sync.aligned.{shape}.row.col.{types}", kind, m, n, k, a, b, c, d, since)


def _sparse(shape: str, d: str, a: str, b: str, since: int = 80, sat: bool = False) -> Iterator[Instruction]:
    m, n, k = _sizes(shape)
    for form in ("mma.sp", "mma.sp::ordered_metadata"):
        types = f"{'satfinite.' if sat else ''}{d}.{a}.{b}.{d}"
        yield Instruction(f"{form}.sync.aligned.{shape}.row.col.{types}", "mma", m, n, k, a, b, d, d, since, True)


def _sizes(shape: str) -> tuple[int, int, int]:
    m, rest = shape[1:].split("n")
    n, k = rest.split("k")
    return int(m), int(n), int(k)


def _warp() -> Iterator[Instruction]:
    for d, c in (("f32", "f32"), ("f32", "f16"), ("f16", "f16")):
        yield _mma("m8n8k4", d, "f16", "f16", c, 70)
    for k in (8, 16):
        yield _mma(f"m16n8k{k}", "f32", "f16", "f16", "f32", 75 if k == 8 else 80)
        yield _mma(f"m16n8k{k}", "f16", "f16", "f16", "f16", 75 if k == 8 else 80)
        yield _mma(f"m16n8k{k}", "f32", "bf16", "bf16", "f32")
        yield _mma(f"m16n8k{k // 2}", "f32", "tf32", "tf32", "f32")
    for shape in ("m8n8k4", "m16n8k4", "m16n8k8", "m16n8k16"):
        for rounding in ("", ".rz", ".rm", ".rp"):
            since = 80 if shape == "m8n8k4" else 90
            yield _mma(shape, "f64", "f64", "f64", "f64", since, rounding)
    for k in (16, 32):
        for a in FP8:
            for b in FP8:
                for d in ("f32", "f16"):
                    yield _mma(f"m16n8k{k}", d, a, b, d, 89)
    for types, shapes in (
        (("s8", "u8"), {"m8n8k16": 75, "m16n8k16": 80, "m16n8k32": 80}),
        (("s4", "u4"), {"m8n8k32": 75, "m16n8k32": 80, "m16n8k64": 80}),
    ):
        for shape, since in shapes.items():
            for a in types:
                for b in types:
                    for sat in (False, True):
                        yield _mma(shape, "s32", a, b, "s32", since, sat=sat)
    for shape in ("m8n8k128", "m16n8k128", "m16n8k256"):
        for op in (".xor.popc", ".and.popc"):
            yield _mma(shape, "s32", "b1", "b1", "s32", 80, op)


def _warp_sparse() -> Iterator[Instruction]:
    for k in (16, 32):
        yield from _sparse(f"m16n8k{k}", "f32", "f16", "f16")
        yield from _sparse(f"m16n8k{k}", "f16", "f16", "f16")
        yield from _sparse(f"m16n8k{k}", "f32", "bf16", "bf16")
        yield from _sparse(f"m16n8k{k // 2}", "f32", "tf32", "tf32")
    for a in FP8:
        for b in FP8:
            yield from _sparse("m16n8k64", "f32", a, b, 89)
    for types, shapes in ((("s8", "u8"), ("m16n8k32", "m16n8k64")), (("s4", "u4"), ("m16n8k64", "m16n8k128"))):
        for shape in shapes:
            for a in types:
                for b in types:
                    for sat in (False, True):
                        yield from _sparse(shape, "s32", a, b, sat=sat)


def _wgmma(n: int, k: int, d: str, a: str, b: str, *, tail: str = "", options: Options = NONE) -> Instruction:
    sparse = "sparse" in options
    name = f"wgmma.mma_async{'.sp' if sparse else ''}.sync.aligned.m64n{n}k{k}.{d}.{a}.{b}{tail}"
    shown = {"a_shared": "a=shared", "sparse": ""}
    key = ",".join(filter(None, (shown.get(o, f"{o}={v}") for o, v in options.items())))
    row = Instruction(f"{name}#{key}" if key else name, "wgmma", 64, n, k, a, b, d, d, 90)
    return replace(row, **options)


def _warpgroup() -> Iterator[Instruction]:
    floats = [(16, "f32", "f16", "f16"), (16, "f16", "f16", "f16"), (16, "f32", "bf16", "bf16")]
    floats += [(8, "f32", "tf32", "tf32")]
    floats += [(32, d, a, b) for d in ("f32", "f16") for a in FP8 for b in FP8]
    for row in floats:
        for n in (8, 16, 64, 256):
            yield _wgmma(n, *row)
        for options in (SHARED, NO_C, {"scale_a": -1}, {"scale_b": -1}):
            yield _wgmma(8, *row, options=options)
    for a in ("s8", "u8"):
        for b in ("s8", "u8"):
            for tail in ("", ".satfinite"):
                for n in (8, 256) if tail else (8, 16, 64, 256):
                    yield _wgmma(n, 32, "s32", a, b, tail=tail)
        yield _wgmma(8, 32, "s32", a, a, options=SHARED)
        yield _wgmma(8, 32, "s32", a, a, options=NO_C)
    for n in (8, 256):
        yield _wgmma(n, 256, "s32", "b1", "b1", tail=".and.popc")
    for k, d, a, b in floats:
        for n in (8, 64) if a == b else (8,):
            yield _wgmma(n, 2 * k, d, a, b, options=SPARSE)
    for a in ("s8", "u8"):
        for b in ("s8", "u8"):
            yield _wgmma(8, 64, "s32", a, b, options=SPARSE)


@cache
def table() -> dict[str, Instruction]:
    """Return every capturable instruction by key, in a fixed order."""
    rows = [*_warp(), *_warp_sparse(), *_warpgroup()]
    return {row.name: row for row in rows}


def select(pattern: str, capability: int) -> list[Instruction]:
    """Return the instructions of a device (90 for sm_90) whose key matches the glob."""
    rows = [row for row in table().values() if row.runs_on(capability)]
    chosen = [row for row in rows if fnmatchcase(row.name, pattern)]
    if not chosen:
        near = nearest(pattern, [row.name for row in rows])
        raise UserError(f"no instruction of sm_{capability} matches {pattern!r}{near}; globs such as '*f16.f16.f32'")
    return chosen
