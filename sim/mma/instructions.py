"""Every matrix instruction the package knows: a table of shapes, types and models per architecture.

Sources of the parameters: arXiv 2511.10909v2, tables 3-7 (dense and block-scaled floating point);
PTX ISA 8.8, "Warp Level Matrix Instructions" (integer, binary and sparse shapes); captures on
sm_90 silicon (see :func:`lutscape.sim.mma.evidence.evidence`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from lutscape.hw.errors import UserError, nearest
from lutscape.sim.mma.models import (
    BinaryDot,
    EFdpa,
    EmulatedQuad,
    FmaChain,
    FtzAddMul,
    GstFdpa,
    GtrFdpa,
    HalfPairThenAdd,
    IntegerDot,
    Model,
    OutputRounding,
    StFdpa,
    TFdpa,
    TrFdpa,
)

FORMAT_OF = {
    "f64": "fp64", "f32": "fp32", "tf32": "tf32", "xf32": "tf32", "f16": "fp16", "bf16": "bf16", "e4m3": "e4m3",
    "e5m2": "e5m2", "e3m2": "e3m2", "e2m3": "e2m3", "e2m1": "e2m1", "fp8": "e4m3fnuz", "bf8": "e5m2fnuz",
    "s32": "s32", "s8": "s8", "u8": "u8", "s4": "s4", "u4": "u4", "b1": "b1",
}  # fmt: skip
"""PTX and MFMA type names to the formats of :mod:`lutscape.hw.formats`."""
BITS = {"f64": 64, "f32": 32, "tf32": 32, "f16": 16, "bf16": 16}
FP8 = ("e5m2", "e4m3")
F8F6F4 = ("e5m2", "e4m3", "e3m2", "e2m3", "e2m1")
WGMMA_N = range(8, 257, 8)
WGMMA_INTEGER_N = (8, 16, 24, *range(32, 257, 16))


@dataclass(frozen=True)
class Spec:
    """One instruction of one architecture.

    Attributes:
        arch: canonical architecture (``sm_90``).
        name: full PTX or MFMA string.
        family: mma, mma.sp, wgmma, tcgen05 or mfma.
        m, n, k: shape of one tile; k counts elements before sparsity.
        a, b, c, d: operand formats.
        model: arithmetic.
        scale: format of the block scales, or empty.
        block: k per scale.
        keep: (kept, of) elements of A per group where A is sparse; (1, 1) otherwise.
    """

    arch: str
    name: str
    family: str
    m: int
    n: int
    k: int
    a: str
    b: str
    c: str
    d: str
    model: Model
    scale: str = ""
    block: int = 0
    keep: tuple[int, int] = (1, 1)


@dataclass(frozen=True)
class Unit:
    """Floating-point unit of an NVIDIA generation: fraction bits and bytes of operands per sum."""

    F: int
    bytes: int


UNITS = {
    "sm_70": Unit(23, 8),
    "sm_75": Unit(24, 16),
    "sm_80": Unit(24, 16),
    "sm_89": Unit(24, 16),
    "sm_90": Unit(25, 32),
    "sm_100": Unit(25, 32),
    "sm_120": Unit(25, 32),
}
ARCHITECTURES = (*UNITS, "gfx908", "gfx90a", "gfx942")
ALIASES = {
    "volta": "sm_70", "turing": "sm_75", "ampere": "sm_80", "ada": "sm_89", "ada lovelace": "sm_89", "hopper": "sm_90",
    "blackwell": "sm_100", "rtx blackwell": "sm_120", "cdna1": "gfx908", "cdna2": "gfx90a", "cdna3": "gfx942",
    "sm_72": "sm_70", "sm_86": "sm_80", "sm_87": "sm_80", "sm_90a": "sm_90", "sm_100a": "sm_100", "sm_120a": "sm_120",
    "gfx940": "gfx942", "gfx941": "gfx942",
}  # fmt: skip


def architecture(name: str) -> str:
    """Return the canonical architecture of ``sm_90a``, ``Hopper``, ``gfx942`` …; UserError otherwise."""
    key = name.strip().lower()
    key = ALIASES.get(key, key)
    if key not in ARCHITECTURES:
        known = [*ARCHITECTURES, *ALIASES]
        raise UserError(f"unknown architecture {name!r}{nearest(name, known)}; allowed: {', '.join(ARCHITECTURES)}")
    return key


def t_fdpa(unit: Unit, a: str, d: str, k: int) -> TFdpa:
    """Return T-FDPA of a unit for operand type ``a``, output type ``d`` and depth k.

    The exponent of zeros lies F + 108 (FP32) or F - 4 (FP16) below 2^0 (arXiv 2511.10909v2, section 4.2).
    """
    half = d == "f16"
    # FP6 and FP4 travel in bytes, so their sums are as long as FP8's.
    length = min(k, unit.bytes * 8 // BITS.get(a, 8))
    rounding = OutputRounding("RNE", "FP16") if half else OutputRounding("RZ", "FP32")
    return TFdpa(length, unit.F, rounding, 4 - unit.F if half else -108 - unit.F)


def fp8_13(model: TFdpa) -> TFdpa:
    """Return the 13-bit FP8 path of Ada and of Hopper's wgmma: same L and e_zero, F = 13."""
    half = model.rounding.target == "FP16"
    return replace(model, F=13, rounding=model.rounding if half else OutputRounding("RZ", "E8M13"))


def _shape(text: str) -> tuple[int, int, int]:
    m, rest = text[1:].split("n")
    n, k = rest.split("k")
    return int(m), int(n), int(k)


def _mma(arch: str, shape: str, d: str, a: str, b: str, c: str, model: Model, kind: str = "") -> Spec:
    m, n, k = _shape(shape)
    name = ".".join(filter(None, ["mma.sync.aligned", shape, "row.col", kind, d, a, b, c]))
    return Spec(arch, name, "mma", m, n, k, FORMAT_OF[a], FORMAT_OF[b], FORMAT_OF[c], FORMAT_OF[d], model)


def _dense(arch: str) -> Iterator[Spec]:
    """Floating-point mma.sync."""
    unit, level = UNITS[arch], int(arch[3:])

    def plain(shape: str, d: str, a: str, c: str, with_unit: Unit = unit) -> Spec:
        return _mma(arch, shape, d, a, a, c, t_fdpa(with_unit, a, d, _shape(shape)[2]))

    if level <= 75:  # Turing runs Volta's shape with Volta's arithmetic.
        for d, c in (("f32", "f32"), ("f32", "f16"), ("f16", "f16")):
            yield plain("m8n8k4", d, "f16", c, UNITS["sm_70"])
    if level == 90:  # captured there only
        for d, c in (("f32", "f32"), ("f32", "f16"), ("f16", "f16")):
            yield _mma(arch, "m8n8k4", d, "f16", "f16", c, EmulatedQuad(d == "f32"))
    if level >= 75:
        for d in ("f32", "f16"):
            yield plain("m16n8k8", d, "f16", d)
    if level >= 80:
        for d in ("f32", "f16"):
            yield plain("m16n8k16", d, "f16", d)
        for shape, a in (("m16n8k8", "bf16"), ("m16n8k16", "bf16"), ("m16n8k4", "tf32"), ("m16n8k8", "tf32")):
            yield plain(shape, "f32", a, "f32")
        nan = "propagate" if level == 90 else "canonical"
        for shape in ("m8n8k4", *(("m16n8k4", "m16n8k8", "m16n8k16") if level == 90 else ())):
            for suffix, rounding in (("", "RNE"), (".rz", "RZ"), (".rm", "RD"), (".rp", "RU")):
                spec = _mma(arch, shape, "f64", "f64", "f64", "f64", FmaChain("fp64", nan, rounding))
                yield replace(spec, name=spec.name + suffix)
    if level >= 89:
        for k in (16, 32):
            for d in ("f32", "f16"):
                for a in FP8:
                    for b in FP8:
                        yield _mma(arch, f"m16n8k{k}", d, a, b, d, _fp8(arch, k, d))
    if level == 120:
        for d in ("f32", "f16"):
            for a in F8F6F4:
                for b in F8F6F4:
                    yield _mma(arch, "m16n8k32", d, a, b, d, t_fdpa(unit, a, d, 32), "kind::f8f6f4")


def _fp8(arch: str, k: int, d: str) -> Model:
    """FP8 mma.sync: Ada and RTX Blackwell have a unit for it; Hopper and B200 take two half-precision steps."""
    native = t_fdpa(UNITS[arch], "e4m3", d, k)
    if arch == "sm_89":
        return fp8_13(native)
    if arch == "sm_120":
        return native
    return HalfPairThenAdd(k, t_fdpa(UNITS[arch], "f16", d, k // 2))


def _scaled(arch: str) -> Iterator[Spec]:
    """Block-scaled mma.sync of sm_120 and tcgen05.mma of sm_100."""
    rounding = OutputRounding("RZ", "FP32")
    eight = StFdpa(32, 25, rounding, -133, 32)
    four = {block: GstFdpa(64, 35, rounding, -139, 16, block) for block in (16, 32)}
    rows: list[tuple[str, int, int, str, str, Model, str, int, str]] = [
        ("mxf8f6f4", 32, 1, a, b, eight, "ue8m0", 32, "") for a in F8F6F4 for b in F8F6F4
    ]
    rows.append(("mxf4", 64, 2, "e2m1", "e2m1", four[32], "ue8m0", 32, ""))
    rows.append(("mxf4nvf4", 64, 2, "e2m1", "e2m1", four[32], "ue8m0", 32, ""))
    rows += [("mxf4nvf4", 64, 4, "e2m1", "e2m1", four[16], scale, 16, "") for scale in ("ue8m0", "ue4m3")]
    for kind, k, vector, a, b, model, scale, block, _ in rows:
        qualifier = f"kind::{kind}.block_scale.scale_vec::{vector}X"
        formats = (FORMAT_OF[a], FORMAT_OF[b], "fp32", "fp32", model, scale, block)
        if arch == "sm_120":
            name = f"mma.sync.aligned.m16n8k{k}.row.col.{qualifier}.f32.{a}.{b}.f32.{scale}"
            yield Spec(arch, name, "mma", 16, 8, k, *formats)
        else:
            for n in WGMMA_N:
                name = f"tcgen05.mma.cta_group::1.{qualifier}.m128n{n}k{k}.f32.{a}.{b}.{scale}"
                yield Spec(arch, name, "tcgen05", 128, n, k, *formats)


def _integer(arch: str) -> Iterator[Spec]:
    """Integer and binary mma.sync: exact, so that only the shapes depend on the architecture."""
    ampere = int(arch[3:]) >= 80
    shapes = {
        "8": ["m8n8k16", *(["m16n8k16", "m16n8k32"] if ampere else [])],
        "4": ["m8n8k32", *(["m16n8k32", "m16n8k64"] if ampere else [])],
    }
    for bits, list_of_shapes in shapes.items():
        for shape in list_of_shapes:
            for a in (f"s{bits}", f"u{bits}"):
                for b in (f"s{bits}", f"u{bits}"):
                    for saturate in ("", "satfinite"):
                        yield _mma(arch, shape, "s32", a, b, "s32", IntegerDot(bool(saturate)), saturate)
    for shape in ["m8n8k128", *(["m16n8k128", "m16n8k256"] if ampere else [])]:
        for operation in ("xor", *(("and",) if ampere else ())):
            spec = _mma(arch, shape, "s32", "b1", "b1", "s32", BinaryDot(operation))
            yield replace(spec, name=f"{spec.name}.{operation}.popc")


def _sparse(arch: str) -> Iterator[Spec]:
    """mma.sp: two of four elements of A kept (one of two for tf32); sums run over kept products.

    Ordered metadata promises ascending columns and changes no result.
    """
    for form in ("mma.sp", "mma.sp::ordered_metadata"):
        for shape, d, a, b, model, keep, flag in _sparse_rows(arch):
            spec = _mma(arch, shape, d, a, b, d, model, flag)
            yield replace(spec, name=spec.name.replace("mma.sync", f"{form}.sync", 1), family="mma.sp", keep=keep)


def _sparse_rows(arch: str) -> Iterator[tuple[str, str, str, str, Model, tuple[int, int], str]]:
    unit = UNITS[arch]
    for k in (16, 32):
        for d, a in (("f32", "f16"), ("f16", "f16"), ("f32", "bf16")):
            yield f"m16n8k{k}", d, a, a, t_fdpa(unit, a, d, k // 2), (2, 4), ""
        yield f"m16n8k{k // 2}", "f32", "tf32", "tf32", t_fdpa(unit, "tf32", "f32", k // 4), (1, 2), ""
        for bits, depth, keep in ((8, 2 * k, (2, 4)), (4, 4 * k, (4, 8))):
            for a in (f"s{bits}", f"u{bits}"):
                for b in (f"s{bits}", f"u{bits}"):
                    for flag in ("", "satfinite"):
                        yield f"m16n8k{depth}", "s32", a, b, IntegerDot(bool(flag)), keep, flag
    if int(arch[3:]) >= 89:
        for d in ("f32", "f16"):
            for a in FP8:
                for b in FP8:
                    yield "m16n8k64", d, a, b, _fp8(arch, 32, d), (2, 4), ""


def _wgmma() -> Iterator[Spec]:
    unit = UNITS["sm_90"]
    rows = [
        (8, "f32", "tf32", "tf32"),
        (16, "f32", "f16", "f16"),
        (16, "f16", "f16", "f16"),
        (16, "f32", "bf16", "bf16"),
    ]
    rows += [(32, d, a, b) for d in ("f32", "f16") for a in FP8 for b in FP8]
    for k, d, a, b in rows:
        model = t_fdpa(unit, a, d, k)
        model = fp8_13(model) if k == 32 else model
        for n in WGMMA_N:
            name = f"wgmma.mma_async.sync.aligned.m64n{n}k{k}.{d}.{a}.{b}"
            yield Spec("sm_90", name, "wgmma", 64, n, k, FORMAT_OF[a], FORMAT_OF[b], FORMAT_OF[d], FORMAT_OF[d], model)
        for n in WGMMA_N:  # the sparse form is twice as deep and sums as many kept products
            name = f"wgmma.mma_async.sp.sync.aligned.m64n{n}k{2 * k}.{d}.{a}.{b}"
            formats = (FORMAT_OF[a], FORMAT_OF[b], FORMAT_OF[d], FORMAT_OF[d])
            keep = (1, 2) if a == "tf32" else (2, 4)
            yield Spec("sm_90", name, "wgmma.sp", 64, n, 2 * k, *formats, model, keep=keep)
    for n in WGMMA_INTEGER_N:
        for a in ("s8", "u8"):
            for b in ("s8", "u8"):
                for flag in ("", ".satfinite"):
                    end, model_of = f"s32.{a}.{b}{flag}", IntegerDot(bool(flag))
                    name = f"wgmma.mma_async.sync.aligned.m64n{n}k32.{end}"
                    yield Spec("sm_90", name, "wgmma", 64, n, 32, a, b, "s32", "s32", model_of)
                    name = f"wgmma.mma_async.sp.sync.aligned.m64n{n}k64.{end}"
                    yield Spec("sm_90", name, "wgmma.sp", 64, n, 64, a, b, "s32", "s32", model_of, keep=(2, 4))
        name = f"wgmma.mma_async.sync.aligned.m64n{n}k256.s32.b1.b1.and.popc"
        yield Spec("sm_90", name, "wgmma", 64, n, 256, "b1", "b1", "s32", "s32", BinaryDot("and"))


def _tcgen05() -> Iterator[Spec]:
    rows = [("tf32", 8, "f32", "tf32", "tf32"), ("f16", 16, "f16", "f16", "f16")]
    rows += [("f16", 16, "f32", a, a) for a in ("f16", "bf16")]
    rows += [("f8f6f4", 32, d, a, b) for d in ("f32", "f16") for a in F8F6F4 for b in F8F6F4]
    for kind, k, d, a, b in rows:
        model = t_fdpa(UNITS["sm_100"], a, d, k)
        formats = (FORMAT_OF[a], FORMAT_OF[b], FORMAT_OF[d], FORMAT_OF[d], model)
        for m in (64, 128):
            for n in WGMMA_N:
                name = f"tcgen05.mma.cta_group::1.kind::{kind}.m{m}n{n}k{k}.{d}.{a}.{b}"
                yield Spec("sm_100", name, "tcgen05", m, n, k, *formats)


CDNA1_SHAPES = {
    "f32": ("32x32x2", "32x32x1", "16x16x4", "16x16x1", "4x4x1"),
    "f16": ("32x32x8", "32x32x4", "16x16x16", "16x16x4", "4x4x4"),
    "bf16": ("32x32x4", "32x32x2", "16x16x8", "16x16x2", "4x4x2"),
}
CDNA3_SHAPES = {
    "f64": ("16x16x4", "4x4x4_4b"),
    "f32": ("32x32x1_2b", "16x16x1_4b", "4x4x1_16b", "32x32x2", "16x16x4"),
    "xf32": ("16x16x8", "32x32x4"),
    "f16": ("32x32x4_2b", "16x16x4_4b", "4x4x4_16b", "32x32x8", "16x16x16"),
    "bf16": ("32x32x4_2b", "16x16x4_4b", "4x4x4_16b", "32x32x8", "16x16x16"),
}


def _mfma(arch: str) -> Iterator[Spec]:
    def spec(d: str, shape: str, a: str, b: str, suffix: str, model: Model) -> Spec:
        m, n, k = map(int, shape.split("_")[0].split("x"))
        formats = (FORMAT_OF[a], FORMAT_OF[b], FORMAT_OF[d], FORMAT_OF[d])
        return Spec(arch, f"v_mfma_{d}_{shape}{suffix}", "mfma", m, n, k, *formats, model)

    if arch == "gfx942":
        models: dict[str, Model] = {
            "f64": FmaChain("fp64"), "f32": FmaChain("fp32"), "xf32": TrFdpa(4), "f16": TrFdpa(8), "bf16": TrFdpa(8),
        }  # fmt: skip
        for a, shapes in CDNA3_SHAPES.items():
            for shape in shapes:
                yield spec("f64" if a == "f64" else "f32", shape, a, a, f"_{a}", models[a])
        for shape in ("16x16x32", "32x32x16"):
            for a in ("bf8", "fp8"):
                for b in ("bf8", "fp8"):
                    yield spec("f32", shape, a, b, f"_{a}_{b}", GtrFdpa(16))
        return
    older: dict[str, Model] = {"f32": FmaChain("fp32"), "f16": EFdpa(4), "bf16": EFdpa(2)}
    if arch == "gfx90a":
        older |= {"f16": FtzAddMul(4, -14), "bf16": FtzAddMul(2, -126)}
        for shape in ("16x16x4", "4x4x4"):
            yield spec("f64", shape, "f64", "f64", "f64", FmaChain("fp64"))
        for shape in CDNA1_SHAPES["f16"]:
            yield spec("f32", shape, "bf16", "bf16", "bf16_1k", FtzAddMul(4, -126))
    for a, shapes in CDNA1_SHAPES.items():
        for shape in shapes:
            yield spec("f32", shape, a, a, a, older[a])


@cache
def table(arch: str) -> dict[str, Spec]:
    """Return every instruction of a canonical architecture by full name, in table order."""
    if arch.startswith("gfx"):
        return {s.name: s for s in _mfma(arch)}
    specs = list(_dense(arch))
    if arch != "sm_70":
        specs += _integer(arch)
    if int(arch[3:]) >= 80:
        specs += _sparse(arch)
    if arch in ("sm_100", "sm_120"):
        specs += _scaled(arch)
    specs += {"sm_90": _wgmma, "sm_100": _tcgen05}.get(arch, lambda: iter(()))()
    return {s.name: s for s in specs}
