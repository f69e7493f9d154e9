"""What is measured: every kernel, shape and batch, as points with the bytes and operations that each must take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lutscape.sim.gpu import packing

MODELS = ("llama-2-7b", "llama-2-70b", "llama-3-8b", "bitnet-b1.58-3b", "opt-175b", "smollm2-135m")
BATCHES = (1, 8, 32, 128, 512, 2048, 4096)
CONTEXTS = tuple(1024 << i for i in range(8))
ATTENTION = ((1, 32, 32), (1, 32, 8), (1, 64, 8), (8, 32, 8), (16, 64, 8))
"""(sequences, heads, KV heads): LLaMA-2-7B, Llama-3-8B, LLaMA-2-70B, and the last two in batches."""
BUDGETS = (1024, 2048, 4096)
"""Keys of block-sparse decode attention."""
LARGEST_CACHE = 6 << 30
ROWS = BATCHES
WIDTHS = (4096, 8192, 12288)


@dataclass(frozen=True)
class Point:
    """One kernel on one problem.

    Attributes:
        kernel: ``gemm`` (weight-only), ``gemm_bf16``, ``gemv_list``, ``gemv_chain``, ``gemm_i8``, ``lookup``,
            ``vendor``, ``attention`` or an element-wise kernel.
        form: weight or cache format, or the vendor's type.
        m, n, k: as in Y[m, n]; rows, 0 and width for element-wise kernels; sequences, context and head dimension
            for attention.
        heads, kv_heads: attention.
        listed: blocks of 64 keys of sparse attention, 0 if dense; products of a list or chain.
        read: bytes that must come from DRAM; written: bytes that must go there.
        operations: multiplications and additions of the mathematical operator.
    """

    kernel: str
    form: str
    m: int
    n: int
    k: int
    read: int
    written: int
    operations: float
    heads: int = 0
    kv_heads: int = 0
    listed: int = 0

    @property
    def key(self) -> tuple[str, str, int, int, int, int, int, int]:
        """What identifies the point."""
        return (self.kernel, self.form, self.m, self.n, self.k, self.heads, self.kv_heads, self.listed)


def shapes() -> list[tuple[int, int]]:
    """Return the distinct (N, K) of the models' linear layers, output projection included."""
    from lutscape.models.shape import load_file

    found: dict[tuple[int, int], None] = {}
    for name in MODELS:
        shape = load_file(name).shape
        for nk in [*shape.linear_shapes.values(), (shape.vocab, shape.hidden)]:
            found[nk] = None
    return sorted(found)


def linear(form: str, m: int, n: int, k: int) -> Point:
    """Weight-only product: FP16 activations, groups of 128 or (ternary) one scale per row."""
    stored = packing.weight_bytes("w2" if form == "t2" else form, n, k, 0 if form in ("t2", "t5") else 128)
    return Point("gemm", form, m, n, k, stored + 2 * m * k, 2 * m * n, 2.0 * m * n * k)


def brain(form: str, m: int, n: int, k: int) -> Point:
    """As linear, with BF16 activations and results."""
    p = linear(form, m, n, k)
    return Point("gemm_bf16", form, m, n, k, p.read, p.written, p.operations)


LISTED = 16


def products(kernel: str, form: str, n: int, k: int) -> Point:
    """``LISTED`` products of one token in one launch: ``gemv_list`` of independent vectors; in ``gemv_chain`` each
    product waits for the results of those before."""
    p = linear(form, 1, n, k)
    every = (LISTED * p.read, LISTED * p.written, LISTED * p.operations)
    return Point(kernel, form, 1, n, k, *every, listed=LISTED)


def integer(m: int, n: int, k: int) -> Point:
    """2-bit weights with INT8 activations."""
    stored = packing.weight_bytes("i2", n, k, 0)
    return Point("gemm_i8", "w2a8", m, n, k, stored + m * (k + 8), 2 * m * n, 2.0 * m * n * k)


def lookup(form: str, m: int, n: int, k: int) -> Point:
    """Software lookup: bit planes, scales of 128 weights, FP32 result cleared and accumulated."""
    slabs = -(-k // packing.SLAB)
    stored = slabs * n * (packing.SLAB // 8 * packing.BITS[form] + 4)
    return Point("lookup", form, m, n, k, stored + 2 * m * k, 4 * m * n, 2.0 * m * n * k)


VENDOR = ("fp16", "bf16", "fp8", "int8")


def vendor(form: str, m: int, n: int, k: int) -> Point:
    """cuBLASLt: 16-bit or 8-bit operands; INT8 writes INT32."""
    size = 1 if form in ("fp8", "int8") else 2
    return Point("vendor", form, m, n, k, size * (n * k + m * k), (4 if form == "int8" else 2) * m * n, 2.0 * m * n * k)


def attention(bits: int, batch: int, heads: int, kv_heads: int, context: int, listed: int = 0) -> Point:
    """Decode attention, head dimension 128; packed caches have four bytes of scale and minimum per key and head."""
    keys = 64 * listed if listed else context
    per_key = 2 * (256 if bits == 16 else 16 * bits + 4)
    read = batch * (kv_heads * (keys * per_key + 4 * listed) + heads * 256)
    return Point(
        "attention", f"kv{bits}", batch, context, 128, read, batch * heads * 256, 4.0 * batch * heads * keys * 128,
        heads, kv_heads, listed,
    )  # fmt: skip


ELEMENT = {
    # reads and writes of one row of width k in bytes, operations per value
    "rms_norm": (2, 2, 4),
    "rms_norm_tables": (2, 2.5, 9),  # 8 bytes of entries and 2 of scale per 4 activations
    "precompute": (2, 2.5, 5),
    "silu_mul": (4, 2, 5),
    "rope": (2, 2, 3),
    "softmax": (2, 2, 5),
}


def element(kernel: str, m: int, k: int) -> Point:
    """An element-wise kernel or norm over (m, k)."""
    read, written, operations = ELEMENT[kernel]
    return Point(kernel, "fp16", m, 0, k, int(read * m * k), int(written * m * k), float(operations * m * k))


def points() -> list[Point]:
    """Return every point of a full measurement, short ones first: long products heat the chip and lower its clock."""
    return sorted(_points(), key=lambda p: p.operations)


def _points() -> Iterator[Point]:
    for n, k in shapes():
        for m in BATCHES:
            for form in ("w4", "w2", "w1", "t2", "t5"):
                yield linear(form, m, n, k)
            if k % 16 == 0:
                yield integer(m, n, k)
            if m <= 32:
                for form in ("w4", "w2", "w1"):
                    yield lookup(form, m, n, k)
            for form in VENDOR:
                if n % 16 == 0 or form in ("fp16", "bf16"):
                    yield vendor(form, m, n, k)
    for n, k in ((14336, 4096), (4096, 14336)):
        for form in ("w4", "w2"):
            for m in BATCHES:
                yield brain(form, m, n, k)
    for n, k in ((4096, 4096), (14336, 4096), (4096, 14336), (8192, 8192), (28672, 8192)):
        for form in ("w4", "w2"):
            for kernel in ("gemv_list", "gemv_chain"):
                yield products(kernel, form, n, k)
    for batch, heads, kv_heads in ATTENTION:
        for context in CONTEXTS:
            if batch * kv_heads * context * 512 > LARGEST_CACHE:
                continue
            for bits in (16, 4, 2):
                yield attention(bits, batch, heads, kv_heads, context)
            for budget in BUDGETS:
                if budget < context:
                    for bits in (16, 4):
                        yield attention(bits, batch, heads, kv_heads, context, budget // 64)
    for kernel in ELEMENT:
        for k in WIDTHS:
            if kernel == "softmax" and k > 8192:
                continue
            for m in ROWS:
                yield element(kernel, m, k)


def energy_points() -> list[Point]:
    """Return the at most 40 points whose energy is measured: from pure streaming to pure arithmetic."""
    n, k = 14336, 4096
    found = [vendor(form, m, n, k) for form in ("fp16", "fp8", "int8") for m in (1, 128, 4096)]
    found += [vendor("fp16", 512, n, k), vendor("bf16", 4096, n, k)]
    found += [linear(form, m, n, k) for form in ("w4", "w2") for m in (1, 32, 512, 4096)]
    found += [products("gemv_list", form, n, k) for form in ("w4", "w2")]
    found += [linear("w1", 1, n, k), linear("t5", 1, n, k), linear("t2", 4096, n, k)]
    found += [integer(m, n, k) for m in (1, 4096)]
    found += [lookup(form, 1, n, k) for form in ("w4", "w2", "w1")]
    found += [attention(bits, 8, 32, 8, 32768) for bits in (16, 4, 2)]
    found += [attention(16, 8, 32, 8, 32768, 64), attention(4, 8, 32, 8, 32768, 64)]
    found += [element(kernel, 4096, 8192) for kernel in ELEMENT]
    return found
