"""How weights and caches lie in memory for the kernels (``kernels/formats.cuh`` says why). Pure numpy.

Weights (N, K) are cut into tiles of 16 rows by 64 columns (80 for ternary five to a byte, 128 for INT8
activations). Lane 4g + t of a warp holds, per step of 16 columns, register r (0..3) and half j (0, 1)::

    row = g + 8 (r mod 2),   column = 16 step + 8 (r div 2) + 2 t + j

and for INT8 activations, per step of 32 columns, byte b (0..3): column = 32 step + 16 (r div 2) + 4 t + b.
Memory order: (block of 64 rows, chunk, tile of the block, lane, word). Padding: rows to a multiple of 64 and
columns to an even number of chunks, with codes of zero value's choice (``fill``); the kernels multiply padded
columns by zero and never write padded rows.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint32]
Halves = npt.NDArray[np.float16]
Format = Literal["w4", "w2", "w1", "t5"]

CHUNK = {"w4": 64, "w2": 64, "w1": 64, "t5": 80, "i2": 128}
"""Columns of a tile."""
WORDS = {"w4": 4, "w2": 2, "w1": 1, "t5": 2, "i2": 4}
"""32-bit words of a lane and tile."""
BITS = {"w4": 4, "w2": 2, "w1": 1}
SLAB = 128
"""Activations of a block of the lookup kernel, and weights per scale there."""


def place(form: str, step: int, register: int, half: int) -> tuple[int, int]:
    """Return (word, lowest bit) of a code within its lane's tile; w4, w2 and w1 only."""
    if form == "w4":
        nibble = (1, 3)[register // 2] if step % 2 == 0 else (0, 2)[register // 2]
        return (step & ~1) + register % 2, 4 * nibble + 16 * half
    if form == "w2":
        field = ((4, 6, 0, 2), (5, 7, 1, 3))[step % 2][register]
        return step // 2, 2 * field + 16 * half
    bit = (9, 5, 13, 15 if step < 2 else 3)[register] - step
    return 0, bit + 16 * half


def _tiles(codes: npt.NDArray[np.uint8], chunk: int, run: int, chunks: int, fill: int) -> Any:
    """(N, K) codes as (block, chunk, tile, g, t, step, column half, row half, position in run)."""
    rows, columns = codes.shape
    blocks = -(-rows // 64)
    padded = np.full((blocks * 64, chunks * chunk), fill, np.uint8)
    padded[:rows, :columns] = codes
    # rows: block, tile, row half, g; columns: chunk, step, column half, t, position
    parts = padded.reshape(blocks, 4, 2, 8, chunks, chunk // (8 * run), 2, 4, run)
    return parts.transpose(0, 4, 1, 3, 7, 5, 6, 2, 8)


def chunks_of(form: str, k: int) -> int:
    """Return the chunks of a row of K weights: an even number; any for INT8 activations."""
    return -(-k // CHUNK[form]) if form == "i2" else 2 * -(-k // (2 * CHUNK[form]))


def pack(codes: npt.NDArray[np.uint8], form: str, fill: int = 0, chunks: int | None = None) -> Words:
    """Pack codes (N, K) for FP16 activations; returns (blocks, chunks, 4, 32, words).

    Args:
        codes: below 2^bits; for ``t5`` 0, 1, 2.
        form: ``w4``, ``w2``, ``w1`` or ``t5``.
        fill: code of padded columns and rows.
        chunks: per row; an even number that covers K by default.
    """
    chunk, words = CHUNK[form], WORDS[form]
    parts = _tiles(codes, chunk, 2, chunks or chunks_of(form, codes.shape[1]), fill)
    lead = parts.shape[:3]
    out = np.zeros((*lead, 8, 4, words), np.uint32)
    steps = chunk // 16
    if form == "t5":
        registers = parts.reshape(*lead, 8, 4, 20, 2).astype(np.uint32)  # register 4 step + 2 column half + row half
        digits = registers.reshape(*lead, 8, 4, 4, 5, 2)  # pair of bytes, digit, half
        number = np.zeros((*digits.shape[:-2], 2), np.uint32)
        for i in range(5):
            number = 3 * number + digits[..., i, :]
        byte = (256 * number + 242) // 243
        for pair in range(4):
            for half in range(2):
                out[..., pair // 2] |= byte[..., pair, half] << np.uint32(8 * (pair % 2) + 16 * half)
    else:
        for step in range(steps):
            for register in range(4):
                for half in range(2):
                    word, bit = place(form, step, register, half)
                    code = parts[..., step, register // 2, register % 2, half].astype(np.uint32)
                    out[..., word] |= code << np.uint32(bit)
    return out.reshape(*lead, 32, words)


def pack_i2(codes: npt.NDArray[np.uint8], fill: int = 0) -> Words:
    """Pack 2-bit codes (N, K) for INT8 activations; returns (blocks, chunks, 4, 32, 4)."""
    parts = _tiles(codes, 128, 4, chunks_of("i2", codes.shape[1]), fill)
    lead = parts.shape[:3]
    out = np.zeros((*lead, 8, 4, 4), np.uint32)
    for register in range(4):
        for byte in range(4):
            code = parts[..., register // 2, register % 2, byte].astype(np.uint32)  # (…, step)
            out |= code << np.uint32(8 * byte + 2 * register)
    return out.reshape(*lead, 32, 4)


def pack_scales(scales: npt.NDArray[np.float32], zeros: npt.NDArray[np.float32]) -> Halves:
    """Interleave (N, G) scales and zero points as (block of 64 rows, G, 64, 2) FP16; padded rows are zero."""
    rows, groups = scales.shape
    blocks = -(-rows // 64)
    out = np.zeros((blocks * 64, groups, 2), np.float16)
    out[:rows, :, 0], out[:rows, :, 1] = scales, zeros
    return np.ascontiguousarray(out.reshape(blocks, 64, groups, 2).transpose(0, 2, 1, 3))


def pack_planes(codes: npt.NDArray[np.uint8], bits: int) -> Words:
    """Bit planes (slab, plane, 4, N) of codes (N, K) for the lookup kernel: bit i of byte j = column 8 j + i."""
    rows, columns = codes.shape
    slabs = -(-columns // SLAB)
    padded = np.zeros((rows, slabs * SLAB), np.uint8)
    padded[:, :columns] = codes
    planes = np.stack([padded >> b & 1 for b in range(bits)])  # (plane, N, K)
    packed = np.packbits(planes, axis=-1, bitorder="little").reshape(bits, rows, slabs, SLAB // 8)
    words = np.ascontiguousarray(packed).view(np.uint32)  # (plane, N, slab, 4)
    return np.ascontiguousarray(words.transpose(2, 0, 3, 1))


def lookup_scales(scales: npt.NDArray[np.float32], zeros: npt.NDArray[np.float32]) -> Halves:
    """(N, slabs) scales and zero points as (slabs, N, 2) FP16; planes past the last column read as code 0."""
    return np.ascontiguousarray(np.stack([scales, zeros], -1).transpose(1, 0, 2).astype(np.float16))


def pack_cache(codes: npt.NDArray[np.uint8], bits: int, values: bool) -> Words:
    """Pack one head's cache of codes (S, 128), S a multiple of 64, in blocks of 64 keys: (S / 64, 8, 32, words).

    Keys: tiles of 16 keys by 64 columns. Values: tiles of 16 columns by 64 keys.
    """
    form = f"w{bits}"
    blocks = codes.reshape(-1, 64, codes.shape[1])
    each = [pack(block.T, form, chunks=1) if values else pack(block, form, chunks=2) for block in blocks]
    return np.stack([words.reshape(8, 32, WORDS[form]) for words in each])


def weight_bytes(form: str, n: int, k: int, group: int) -> int:
    """Return the bytes of packed weights and their scales (4 bytes per scale and zero point)."""
    blocks = -(-n // 64)
    groups = -(-k // group) if group else 1
    return blocks * (chunks_of(form, k) * 4 * 32 * WORDS[form] * 4 + groups * 64 * 4)
