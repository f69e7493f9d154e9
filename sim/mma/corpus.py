"""Operands that tell arithmetic designs apart: nine families of raw codes, reproducible from a seed.

Uniformly random bits alone miss most rules (an FP32 infinity turns up once in 2^31 words), so the
families aim: exponent windows as wide as the fused sum, cancelling pairs, tiny sums, specials.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.formats.binary import FORMATS, BinaryFormat
from lutscape.hw.formats.encode import encode, nan_code
from lutscape.hw.formats.integer import INTEGERS
from lutscape.sim.mma.instructions import Spec

FAMILIES = ("random", "normal", "wide", "window", "subnormal", "dominant", "cancelling", "tiny", "specials")


def cases(spec: Spec, family: str, tiles: int, seed: int) -> dict[str, np.ndarray]:
    """Return raw operands of one family.

    Args:
        spec: instruction.
        family: one of :data:`FAMILIES`.
        tiles: number of tiles T.
        seed: of the generator.

    Returns:
        A (T, M, K'), B (T, K, N), C (T, M, N); alpha (T, M, K/block) and beta (T, K/block, N) for
        block-scaled, metadata (T, M, K') for sparse instructions.
    """
    rng = np.random.default_rng([seed, FAMILIES.index(family)])
    kept = spec.k * spec.keep[0] // spec.keep[1]
    shapes = {"A": (tiles, spec.m, kept), "B": (tiles, spec.k, spec.n), "C": (tiles, spec.m, spec.n)}
    formats = {"A": spec.a, "B": spec.b, "C": spec.c}
    out = {key: _codes(rng, formats[key], family, key, shapes[key]) for key in shapes}
    if family == "cancelling" and spec.a in FORMATS and spec.keep == (1, 1):
        _cancel(rng, out, FORMATS[spec.a], FORMATS[spec.b])
    if spec.scale:
        blocks = spec.k // spec.block
        out["alpha"] = _scale_codes(rng, spec.scale, family, (tiles, spec.m, blocks))
        out["beta"] = _scale_codes(rng, spec.scale, family, (tiles, blocks, spec.n))
    if spec.keep != (1, 1):
        out["metadata"] = _metadata(rng, (tiles, spec.m, kept), spec.keep)
    return out


def _codes(rng: np.random.Generator, name: str, family: str, role: str, shape: tuple[int, ...]) -> np.ndarray:
    if name in INTEGERS:
        i = INTEGERS[name]
        bits = rng.integers(0, 1 << i.bits, shape, dtype=np.uint64)
        if family == "dominant" and role == "C":
            bits = rng.choice(np.array([0x7FFFFFFF, 0x80000000, 0x7FFFFF00, 0x80000080], np.uint64), shape)
        return bits.astype(i.dtype)
    f = FORMATS[name]
    if family == "random":
        return _random_bits(rng, f, shape)
    if family in ("normal", "cancelling"):
        return encode(rng.standard_normal(shape), f, overflow="saturate")
    top = f.max_value
    e_top = int(np.frexp(top)[1]) - 1
    if family == "wide":
        return _powers(rng, f, shape, f.emin, e_top)
    if family == "window":
        centre = int(rng.integers(-3, 4))
        return _powers(rng, f, shape, max(f.emin, centre - 15), min(e_top, centre + 15))
    if family == "subnormal":
        low = _powers(rng, f, shape, f.emin - f.mantissa_bits, min(f.emin + 6, e_top))
        return np.where(rng.random(shape) < 0.5, low, _powers(rng, f, shape, max(f.emin, -8), min(e_top, 8)))
    if family == "dominant":
        if role != "C":
            return encode(rng.standard_normal(shape), f, overflow="saturate")
        return _powers(rng, f, shape, 0, min(e_top, 40))
    if family == "tiny":
        if role == "C":
            zero = rng.random(shape) < 0.7
            return np.where(zero, f.dtype.type(0), _powers(rng, f, shape, f.emin - f.mantissa_bits, f.emin + 2))
        half = max(f.emin, -75)
        low = _powers(rng, f, shape, max(half, f.emin - f.mantissa_bits), half + 16)
        power = rng.integers(max(half - 10, f.emin - f.mantissa_bits), half + 12, shape)
        exact = encode(np.ldexp(rng.choice([-1.0, 1.0], shape), power), f)
        low = np.where(np.arange(len(low))[:, None, None] % 2 == 1, exact, low)
        return np.where(rng.random(shape) < 0.3, _random_sign_zero(rng, f, shape), low)
    return _specials(rng, f, shape)


def _random_bits(rng: np.random.Generator, f: BinaryFormat, shape: tuple[int, ...]) -> np.ndarray:
    bits = rng.integers(0, (1 << f.width) - 1, shape, dtype=np.uint64, endpoint=True)
    mask = (1 << (f.bits + f.dropped_bits)) - 1 if f.bits < 8 else (1 << f.width) - 1
    return (bits & np.uint64(mask)).astype(f.dtype)


def _powers(rng: np.random.Generator, f: BinaryFormat, shape: tuple[int, ...], low: int, high: int) -> np.ndarray:
    """Numbers with exponents uniform in low … high, half of them with few significant bits."""
    size = rng.uniform(1, 2, shape)
    size = np.where(rng.random(shape) < 0.5, rng.choice([1.0, 1.25, 1.5, 1.75], shape), size)
    exponent = rng.integers(low, high, shape, endpoint=True)
    return encode(np.ldexp(size, exponent) * rng.choice([-1.0, 1.0], shape), f, overflow="saturate")


def _random_sign_zero(rng: np.random.Generator, f: BinaryFormat, shape: tuple[int, ...]) -> np.ndarray:
    sign = 0 if f.specials == "fnuz" else 1 << (f.width - 1 if f.bits >= 8 else f.bits - 1)
    return np.where(rng.random(shape) < 0.5, f.dtype.type(0), f.dtype.type(sign))


def _specials(rng: np.random.Generator, f: BinaryFormat, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers, some of them large, with about one special code in thirty: zeros, infinities, NaN payloads."""
    e_top = int(np.frexp(f.max_value)[1]) - 1
    codes = _powers(rng, f, shape, -2, min(e_top, 8))
    codes = np.where(rng.random(shape) < 0.1, _powers(rng, f, shape, e_top - 1, e_top), codes)
    sign = 1 << (f.bits - 1 + f.dropped_bits)
    pool = [0, f.largest << f.dropped_bits, 1 << f.dropped_bits]
    if f.specials != "fnuz" and f.signed:
        pool += [sign, sign | (f.largest << f.dropped_bits)]
    nan = nan_code(f)
    if nan is not None:
        pool.append(nan)
    if f.has_infinity:
        top = (f.largest + 1) << f.dropped_bits
        pool += [top, sign | top, top, sign | top, top + 1, sign | (top + (1 << f.dropped_bits)), sign | nan_code(f)]  # type: ignore[operator]
    return np.where(rng.random(shape) < 1 / 30, rng.choice(np.array(pool, f.dtype), shape), codes)


def _cancel(rng: np.random.Generator, out: dict[str, np.ndarray], fa: BinaryFormat, f: BinaryFormat) -> None:
    """Make half of the products cancel in pairs: equal a, opposite b, at random positions of k.

    In every other tile the pairs are powers of two, up to 30 binades above the rest, so that what is left shows
    how many bits the sum kept.
    """
    a, b = out["A"], out["B"]
    k = a.shape[2]
    order = rng.permutation(k)
    pairs = order[: k // 4 * 2].reshape(-1, 2)
    sign = f.dtype.type(1 << (f.width - 1 if f.bits >= 8 else f.bits - 1))
    top = min(15, int(np.frexp(f.max_value)[1]) - 1, int(np.frexp(fa.max_value)[1]) - 1)
    for x, y in pairs:
        for z, form, shape in ((a[1::2, :, x], fa, a[1::2, :, x].shape), (b[1::2, x, :], f, b[1::2, x, :].shape)):
            z[:] = encode(
                np.ldexp(1.0, np.broadcast_to(rng.integers(0, top, (shape[0], 1), endpoint=True), shape)), form
            )
        a[:, :, y] = a[:, :, x]
        b[:, y, :] = b[:, x, :] ^ sign
    if f.specials == "fnuz":  # -0 is NaN there
        b[b == sign] = 0


def _scale_codes(rng: np.random.Generator, name: str, family: str, shape: tuple[int, ...]) -> np.ndarray:
    if family in ("random", "wide"):
        return rng.integers(0, 256, shape).astype(np.uint8)
    if name == "ue4m3":
        codes = rng.integers(0, 127, shape)
        return np.where(rng.random(shape) < 0.02, 0x7F if family == "specials" else 0, codes).astype(np.uint8)
    codes = rng.integers(127 - 12, 127 + 12, shape)
    return np.where((rng.random(shape) < 0.02) & (family == "specials"), 0xFF, codes).astype(np.uint8)


def _metadata(rng: np.random.Generator, shape: tuple[int, ...], keep: tuple[int, int]) -> np.ndarray:
    kept, group = keep
    groups = (*shape[:-1], shape[-1] // kept)
    order = np.argsort(rng.random((*groups, group)), axis=-1)[..., :kept]
    columns = np.sort(order, axis=-1) + np.arange(groups[-1])[:, None] * group
    return columns.reshape(shape).astype(np.uint8)
