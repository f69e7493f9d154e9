"""Every kernel against the project's quantisers and a float64 reference, on fresh random data and poisoned outputs.

Errors are ||out - ref|| / ||ref||; integer kernels and table entries must agree exactly. FP16 results alone bring
about 3e-4 (half of the last place, uniform).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from lutscape.models.quantise import activation, kv, scalar, ternary
from lutscape.sim.gpu import packing
from lutscape.sim.gpu.driver import Buffer, GemvItem, Gpu

Array = npt.NDArray[Any]
FORMATS = {"w4": 4, "w2": 2, "w1": 1, "t2": 2, "t5": 5}
"""Format name and its number in the C interface; t2 is ternary in 2-bit codes, t5 five to a byte."""
BRAIN = 16
"""Added to a format's number for BF16 activations."""
BRAIN_BATCHES = (1, 3, 8, 9, 40, 50, 150, 300)
TOLERANCE, BRAIN_TOLERANCE = 6e-4, 2.5e-3
"""FP16 and BF16 results; BF16 rounding alone brings about 1.6e-3."""


@dataclass(frozen=True)
class Outcome:
    """One check.

    Attributes:
        name: kernel and shape.
        error: relative error of the whole output, or the number of unequal integers.
        allowed: largest error that passes.
    """

    name: str
    error: float
    allowed: float

    @property
    def passed(self) -> bool:
        """Whether the error is a number within what is allowed."""
        return bool(self.error <= self.allowed)


def relative(out: Array, reference: Array) -> float:
    """Return ||out - ref|| / ||ref||; NaN where the output has one."""
    return float(np.linalg.norm(out.astype(np.float64) - reference) / np.linalg.norm(reference))


def to_brain(x: Array) -> Array:
    """Round to BF16, to nearest even; returns FP32."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def brain_bits(x: Array) -> Array:
    """Return the upper halves of FP32 numbers that are BF16."""
    return (np.ascontiguousarray(x, np.float32).view(np.uint32) >> 16).astype(np.uint16)


def from_brain(bits: Array) -> Array:
    """Return BF16 bits as FP32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def quantised(rng: np.random.Generator, form: str, n: int, k: int) -> scalar.QuantisedWeight:
    """Return random weights (N, K) in a format: groups of 128, or one scale per row for ternary."""
    weight = rng.standard_normal((n, k), np.float32) * np.float32(0.05)
    return ternary.quantise(weight, 0) if form in ("t2", "t5") else scalar.quantise(weight, FORMATS[form], 128)


def packed(weight: scalar.QuantisedWeight, form: str) -> tuple[Array, Array]:
    """Return packed codes and scales."""
    codes = packing.pack(weight.codes, "w2" if form == "t2" else form)
    return codes, packing.pack_scales(weight.scales, weight.zeros)


def group_of(form: str) -> int:
    """Return weights per scale; 0: one per row."""
    return 0 if form in ("t2", "t5") else 128


def checks(gpu: Gpu, seed: int = 0, small: bool = False) -> Iterator[Outcome]:
    """Run every check; ``small`` keeps to shapes that compute-sanitizer gets through in seconds."""
    rng = np.random.default_rng(seed)
    for part in (_linear, _lists, _integer, _lookup, _attention, _element, _vendor):
        yield from part(gpu, rng, small)


def _half(rng: np.random.Generator, *shape: int) -> Array:
    return rng.standard_normal(shape, np.float32).astype(np.float16)


OUT = Buffer(0, 0)
"""Stands for the output among a call's arguments."""


def _run(gpu: Gpu, shape: tuple[int, ...], dtype: npt.DTypeLike, name: str, *arguments: Any) -> Array:
    """Call a kernel with a poisoned output in place of ``OUT``; returns the output."""
    out = gpu.alloc(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    gpu.poison(out)
    gpu.call(name, *(out if a is OUT else a for a in arguments))
    gpu.sync()
    result = gpu.download(out, shape, dtype)
    gpu.free(out)
    return result


def _linear(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    shapes = [(192, 576), (320, 1000)] if small else [(192, 576), (1000, 3200), (640, 8640), (4096, 4096)]
    batches = [1, 3, 9, 40, 150] if small else [1, 2, 8, 13, 16, 32, 50, 128, 300, 512]
    for form in FORMATS:
        for n, k in shapes:
            weight = quantised(rng, form, n, k)
            w, s = (gpu.upload(part) for part in packed(weight, form))
            exact = (weight.codes.astype(np.float64) - np.repeat(weight.zeros, weight.group, 1)[:, :k]) * np.repeat(
                weight.scales, weight.group, 1
            )[:, :k]
            scaled = (weight.codes - np.repeat(weight.zeros, weight.group, 1)[:, :k]) * to_brain(
                np.repeat(weight.scales.astype(np.float16), weight.group, 1)[:, :k]
            )
            for m in batches:
                x = _half(rng, m, k)
                number = 2 if form == "t2" else FORMATS[form]
                shape, group = (m, n), group_of(form)
                for brain in (False, True) if m in BRAIN_BATCHES else (False,):
                    if brain:  # the scale, then the weight, rounded to BF16
                        x, number, rounded = to_brain(x), number + BRAIN, to_brain(scaled).astype(np.float64)
                    else:
                        rounded = exact.astype(np.float16).astype(np.float64)
                    tolerance = BRAIN_TOLERANCE if brain else TOLERANCE
                    device_x = gpu.upload(brain_bits(x) if brain else x)
                    dtype, x64 = np.uint16 if brain else np.float16, x.astype(np.float64)
                    name = f"{form}{' bf16' if brain else ''} {m}x{n}x{k}"
                    if gpu.ask("stream_fits", number, m, n, k):
                        y = _run(gpu, shape, dtype, "stream", number, w, s, device_x, OUT, m, n, k, group, 0)
                        y = from_brain(y) if brain else y
                        yield Outcome(f"stream {name}", relative(y, x64 @ exact.T), tolerance)
                    for tokens, splits in ((0, 0),) if m < 100 else ((0, 0), (0, 1), (176, 1)):
                        y = _run(
                            gpu, shape, dtype, "gemm", number, w, s, device_x, OUT, m, n, k, group, tokens, splits, 0
                        )
                        y = from_brain(y) if brain else y
                        way = f" {tokens or 'chosen'} tokens unsplit" if splits else ""
                        yield Outcome(f"gemm {name}{way}", relative(y, x64 @ rounded.T), tolerance)
                    gpu.free(device_x)
            gpu.free(w, s)


def _lists(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    """Products of one launch: the second reads the first's result, the third none of them, the fourth the third's."""
    widths = [576, 1000, 320, 1000] if small else [1024, 3584, 1024, 3584]
    for form, brain in (("w4", False), ("w2", False), ("t2", False), ("w4", True), ("w2", True)):
        number = 2 if form == "t2" else FORMATS[form]
        x = to_brain(_half(rng, widths[0])) if brain else _half(rng, widths[0])
        free = gpu.upload(brain_bits(x) if brain else x)
        items, outs, weights = [], [], []
        for i in range(4):
            k, n = widths[i % 2], widths[i % 2 + 1]
            weight = quantised(rng, form, n, k)
            scale = np.float32(1 / np.sqrt(k))  # results stay near 1
            weight = replace(weight, scales=(weight.scales * 20 * scale).astype(np.float16).astype(np.float32))
            w, s = (gpu.upload(part) for part in packed(weight, form))
            outs.append(gpu.alloc(2 * n))
            source = outs[i - 1] if i % 2 else free
            items.append(GemvItem(w.address, s.address, source.address, outs[i].address, n, k, i % 2, 0))
            weights.append((w, s, weight))
        for repeat in range(2 if small else 8):
            for out in outs:
                gpu.poison(out)
            array = (GemvItem * 4)(*items)
            gpu.call("gemv_list", number + BRAIN * brain, array, 4, group_of(form), 0)
            gpu.sync()
            worst, given = 0.0, x.astype(np.float64)
            for i, (_, _, weight) in enumerate(weights):
                y = gpu.download(outs[i], weight.codes.shape[:1], np.uint16 if brain else np.float16)
                y = from_brain(y) if brain else y
                worst = np.fmax(worst, relative(y, weight.dequantise().astype(np.float64) @ given))
                if np.isnan(y).any():
                    worst = float("nan")
                given = x.astype(np.float64) if i % 2 else y.astype(np.float64)
            kind = f"list {form}{' bf16' if brain else ''} {widths[0]}x{widths[1]}"
            yield Outcome(f"{kind} {repeat + 1}", float(worst), BRAIN_TOLERANCE if brain else TOLERANCE)
        gpu.free(free, *outs, *(b for w, s, _ in weights for b in (w, s)))


def _integer(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    shapes = [(192, 576)] if small else [(192, 576), (1000, 3200), (3200, 8640)]
    for form in ("t2", "w2"):
        for n, k in shapes:
            if form == "t2":
                weight = quantised(rng, form, n, k)
            else:
                weight = scalar.quantise(rng.standard_normal((n, k), np.float32), 2, 0)
            w, s = (
                gpu.upload(packing.pack_i2(weight.codes)),
                gpu.upload(packing.pack_scales(weight.scales, weight.zeros)),
            )
            for m in (1, 5, 16, 70) if small else (1, 4, 8, 16, 33, 128, 257):
                x = _half(rng, m, k)
                rows = activation.quantise_rows(x.astype(np.float32))
                device_x, q = gpu.upload(x), gpu.alloc(m * k)
                scales, sums = gpu.alloc(4 * m), gpu.alloc(4 * m)
                gpu.call("quantise_rows", device_x, q, scales, sums, m, k)
                gpu.sync()
                wrong = np.count_nonzero(gpu.download(q, (m, k), np.int8) != rows.codes)
                wrong += np.count_nonzero(gpu.download(scales, (m, 1), np.float32) != rows.scales)
                yield Outcome(f"quantise_rows {m}x{k}", float(wrong), 0)
                zeros = weight.zeros[:, 0].astype(np.int64)
                exact = rows.codes.astype(np.float64) @ (weight.codes - zeros[:, None].astype(np.float64)).T  # integers
                y = exact * weight.scales[:, 0].astype(np.float64) * rows.scales
                kernels = ["gemm_i8"] + (["stream_i8"] if gpu.ask("stream_i8_fits", m, n, k) else [])
                for kernel in kernels:
                    tail = (0, 0, 0) if kernel == "gemm_i8" else (0,)
                    raw = _run(gpu, (m, n), np.int32, kernel, w, s, q, scales, sums, OUT, m, n, k, 1, *tail)
                    yield Outcome(f"{kernel} {form} {m}x{n}x{k} sums", float(np.count_nonzero(raw != exact)), 0)
                    scaled = _run(gpu, (m, n), np.float16, kernel, w, s, q, scales, sums, OUT, m, n, k, 0, *tail)
                    yield Outcome(f"{kernel} {form} {m}x{n}x{k}", relative(scaled, y), TOLERANCE)
                gpu.free(device_x, q, scales, sums)
            gpu.free(w, s)


def _lookup(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    for form in ("w4", "w2", "w1"):
        for n, k in [(192, 576)] if small else [(192, 576), (1000, 3200), (4096, 4096)]:
            weight, bits = quantised(rng, form, n, k), FORMATS[form]
            w = gpu.upload(packing.pack_planes(weight.codes, bits))
            s = gpu.upload(packing.lookup_scales(weight.scales, weight.zeros))
            for m in (1, 3):
                x = _half(rng, m, k)
                device_x = gpu.upload(x)
                y = _run(gpu, (m, n), np.float32, "lookup", bits, w, s, device_x, OUT, m, n, k)
                # Tables hold FP16 sums of up to eight activations: half of the last place each.
                yield Outcome(
                    f"lookup {form} {m}x{n}x{k}", relative(y, x.astype(np.float64) @ weight.dequantise().T), 1e-3
                )
                gpu.free(device_x)
            gpu.free(w, s)


def _cache(rng: np.random.Generator, heads: int, keys: int, padded: int, bits: int) -> tuple[Array, list[Array]]:
    """A random cache of some heads: its values (heads, padded, 128) and what the kernel reads."""
    x = rng.standard_normal((heads, padded, 128), np.float32)
    x += rng.standard_normal((heads, 1, 128), np.float32)  # channels with an offset, as keys have
    x[:, keys:] = 1e4  # must never count
    if bits == 16:
        x = x.astype(np.float16)
        return x.astype(np.float64), [x]
    q = kv.quantise(x, bits)
    exact = q.codes.astype(np.float64) * q.scales + q.minima
    return exact, [q.codes, np.concatenate([q.scales, q.minima], -1).astype(np.float16)]


def _attention(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    cases = [(1, 8, 2, 200), (2, 4, 4, 70)] if small else [
        (1, 32, 8, 1024), (1, 32, 32, 333), (2, 64, 8, 2050), (3, 6, 2, 4097), (1, 8, 8, 1), (1, 32, 8, 16384),
    ]  # fmt: skip
    for bits in (16, 4, 2):
        for batch, heads, kv_heads, keys in cases:
            unit = 128 if bits == 2 else 64
            padded = -(-keys // unit) * unit
            q = _half(rng, batch, heads, 128)
            k, k_parts = _cache(rng, batch * kv_heads, keys, padded, bits)
            v, v_parts = _cache(rng, batch * kv_heads, keys, padded, bits)
            if bits < 16:
                k_parts[0] = np.stack([packing.pack_cache(head, bits, False) for head in k_parts[0]])
                v_parts[0] = np.stack([packing.pack_cache(head, bits, True) for head in v_parts[0]])
            (dk, *ks), (dv, *vs) = [gpu.upload(a) for a in k_parts], [gpu.upload(a) for a in v_parts]
            dq = gpu.upload(q)
            blocks = -(-keys // 64)
            lists: list[Array | None] = [None]
            if bits > 2 and blocks > 3:
                chosen = [np.sort(rng.choice(blocks, (blocks + 1) // 2, False)) for _ in range(batch * kv_heads)]
                lists.append(np.array(chosen, np.int32))
            for listing in lists:
                table = None if listing is None else gpu.upload(listing)
                listed = 0 if listing is None else listing.shape[1]
                for splits in (0, 3):
                    out = _run(
                        gpu,
                        (batch, heads, 128),
                        np.float16,
                        "attention",
                        bits,
                        dq,
                        dk,
                        dv,
                        ks[0] if ks else None,
                        vs[0] if vs else None,
                        OUT,
                        table,
                        listed,
                        batch,
                        heads,
                        kv_heads,
                        keys,
                        padded,
                        splits,
                        0,
                    )
                    rows = [np.arange(blocks)] * (batch * kv_heads) if listing is None else list(listing)
                    seen = [_keys(row, keys) for row in rows]
                    reference = attend(q, k, v, seen, kv_heads)
                    kind = "sparse" if listing is not None else "dense"
                    name = f"attention {kind} kv{bits} b{batch} h{heads}/{kv_heads} {keys} keys"
                    # weights of the second product are FP16: half of the last place each
                    yield Outcome(name + (" 3 splits" if splits else ""), relative(out, reference), 1e-3)
                if table:
                    gpu.free(table)
            gpu.free(dk, dv, dq, *ks, *vs)


def _keys(blocks: Array, keys: int) -> Array:
    every = (blocks[:, None] * 64 + np.arange(64)).ravel()
    return every[every < keys]


def attend(q: Array, k: Array, v: Array, seen: list[Array], kv_heads: int) -> Array:
    """Attention in float64: q (B, heads, D); k, v (B · KV heads, S, D); keys that each KV head sees."""
    batch, heads, d = q.shape
    shared = heads // kv_heads
    out = np.empty(q.shape, np.float64)
    for b in range(batch):
        for h in range(heads):
            head = b * kv_heads + h // shared
            scores = k[head][seen[head]] @ q[b, h].astype(np.float64) / np.sqrt(d)
            weights = np.exp(scores - scores.max())
            out[b, h] = weights @ v[head][seen[head]] / weights.sum()
    return out


def tables_of(x: Array) -> tuple[Array, Array]:
    """Return the precomputed tables of FP16 activations (…, K): entries (…, K / 4, 8) int8, scales (…, K / 4) FP16."""
    a = x.astype(np.float32).reshape(*x.shape[:-1], -1, 4)
    reach = ((np.abs(a[..., 0]) + np.abs(a[..., 1])) + np.abs(a[..., 2])) + np.abs(a[..., 3])
    scales = (reach * np.float32(1 / 127)).astype(np.float16)
    scales = np.where(scales == 0, np.float16(1), scales)
    inverse = np.float32(1) / scales.astype(np.float32)
    entries = []
    for e in range(8):
        signs = [np.float32(1 if e >> i & 1 else -1) for i in range(3)]
        low = -a[..., 0] + signs[0] * a[..., 1]
        high = signs[1] * a[..., 2] + signs[2] * a[..., 3]
        entries.append(np.clip(np.rint((low + high) * inverse), -127, 127))
    return np.stack(entries, -1).astype(np.int8), scales


def _element(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    for m, k in [(3, 576), (70, 1024)] if small else [(1, 576), (7, 4096), (512, 8192), (33, 12288)]:
        x, w, up = _half(rng, m, k), _half(rng, k), _half(rng, m, k)
        dx, dw, du = gpu.upload(x), gpu.upload(w), gpu.upload(up)
        x64 = x.astype(np.float64)
        norm = x64 / np.sqrt((x64**2).mean(-1, keepdims=True) + 1e-5) * w.astype(np.float64)
        y = _run(gpu, (m, k), np.float16, "rms_norm", dx, dw, OUT, m, k, 1e-5, 0)
        yield Outcome(f"rms_norm {m}x{k}", relative(y, norm), TOLERANCE)
        scales = gpu.alloc(m * k // 2)
        gpu.poison(scales)
        tables = _run(gpu, (m, k // 4, 8), np.int8, "precompute", dx, OUT, scales, m, k, 0)
        entries, expected = tables_of(x)
        wrong = np.count_nonzero(tables != entries)
        wrong += np.count_nonzero(gpu.download(scales, (m, k // 4), np.float16) != expected)
        yield Outcome(f"precompute {m}x{k}", float(wrong), 0)
        gpu.poison(scales)
        fused = _run(gpu, (m, k // 4, 8), np.int8, "rms_norm_tables", dx, dw, OUT, scales, m, k, 1e-5, 0)
        entries, expected = tables_of(y)  # of the norm's own rounded result
        wrong = np.count_nonzero(fused != entries)
        wrong += np.count_nonzero(gpu.download(scales, (m, k // 4), np.float16) != expected)
        yield Outcome(f"rms_norm_tables {m}x{k}", float(wrong), 0)
        y = _run(gpu, (m, k), np.float16, "silu_mul", dx, du, OUT, m, k, 0)
        yield Outcome(f"silu_mul {m}x{k}", relative(y, x64 / (1 + np.exp(-x64)) * up.astype(np.float64)), TOLERANCE)
        if k <= 8192:
            y = _run(gpu, (m, k), np.float16, "softmax", dx, OUT, m, k, 0)
            e = np.exp(x64 - x64.max(-1, keepdims=True))
            yield Outcome(f"softmax {m}x{k}", relative(y, e / e.sum(-1, keepdims=True)), TOLERANCE)
        gpu.free(dx, dw, du, scales)
    for rows, heads, d, start in [(3, 4, 64, 5), (5, 8, 128, 0)]:
        x = _half(rng, rows, heads, d)
        angle = np.outer(np.arange(start + rows), 10000.0 ** (-np.arange(d // 2) / (d // 2)))
        cos, sin = np.cos(angle).astype(np.float32), np.sin(angle).astype(np.float32)
        dx, dc, ds = gpu.upload(x), gpu.upload(cos), gpu.upload(sin)
        gpu.call("rope", dx, dc, ds, rows, heads, d, start, 0)
        gpu.sync()
        y = gpu.download(dx, x.shape, np.float16)
        a, b = x[..., : d // 2].astype(np.float64), x[..., d // 2 :].astype(np.float64)
        c, s = cos[start:, None].astype(np.float64), sin[start:, None].astype(np.float64)
        yield Outcome(
            f"rope {rows}x{heads}x{d}", relative(y, np.concatenate([a * c - b * s, b * c + a * s], -1)), TOLERANCE
        )
        gpu.free(dx, dc, ds)


def e4m3_values() -> Array:
    """Return the value of every E4M3 code; NaN for the two that are."""
    from lutscape.hw.formats.binary import FORMATS as BINARY

    form = BINARY["e4m3"]
    codes = np.arange(256)
    sign, exponent, mantissa = codes >> 7, codes >> 3 & 15, codes & 7
    values = np.where(exponent == 0, mantissa * 2.0**-9, (8 + mantissa) * 2.0 ** (exponent - 10.0))
    values = np.where(values > form.max_value, np.nan, values)
    return np.where(sign == 1, -values, values)


def _vendor(gpu: Gpu, rng: np.random.Generator, small: bool) -> Iterator[Outcome]:
    if small or not gpu.has("vendor") or not open_vendor(gpu):
        return
    m, n, k = 48, 320, 576
    for type_, name in enumerate(("fp16", "bf16", "fp8", "int8")):
        if name == "fp16":
            x, w = _half(rng, m, k), _half(rng, n, k)
            x64, w64 = x.astype(np.float64), w.astype(np.float64)
        elif name == "bf16":
            x, w = (rng.standard_normal(s, np.float32).view(np.uint32) >> 16 for s in ((m, k), (n, k)))
            x64, w64 = ((a << 16).astype(np.uint32).view(np.float32).astype(np.float64) for a in (x, w))
            x, w = x.astype(np.uint16), w.astype(np.uint16)
        elif name == "fp8":
            x, w = (rng.integers(0, 256, s, np.uint8) & np.uint8(0xB7) for s in ((m, k), (n, k)))
            x64, w64 = (e4m3_values()[a] for a in (x, w))
        else:
            x, w = (rng.integers(-128, 128, s, np.int8) for s in ((m, k), (n, k)))
            x64, w64 = x.astype(np.float64), w.astype(np.float64)
        dx, dw = gpu.upload(x), gpu.upload(w)
        dtype = np.int32 if name == "int8" else np.uint16 if name == "bf16" else np.float16
        y = _run(gpu, (m, n), dtype, "vendor", type_, dw, dx, OUT, m, n, k)
        if name == "bf16":
            y = (y.astype(np.uint32) << 16).view(np.float32)
        allowed = {"int8": 0.0, "bf16": 4e-3}.get(name, TOLERANCE)
        yield Outcome(f"vendor {name} {m}x{n}x{k}", relative(y, x64 @ w64.T), allowed)
        gpu.free(dx, dw)


def open_vendor(gpu: Gpu) -> int:
    """Open cuBLASLt by its usual names; 0 where there is none."""
    import sys
    from pathlib import Path

    from lutscape.hw.errors import UserError

    names = [str(p) for d in sys.path if d for p in sorted(Path(d).glob("nvidia/cu*/lib/libcublasLt.so.*"))]
    for name in ["libcublasLt.so.13", "libcublasLt.so.12", "/usr/local/cuda/lib64/libcublasLt.so", *names]:
        try:
            return gpu.open_vendor(name)
        except UserError:
            continue
    return 0
