"""Element-wise lookup tables of any base: k digits of one weight plane select a sum of k activations.

Base 2 is the bit plane of arXiv 2408.06003 and its functions are those of :mod:`.golden`. A larger base looks whole
weights up (bitnet.cpp, arXiv 2502.11880, sec. 3: three ternary weights in five bits). Digits d = 0 … b - 1 stand for
values that are symmetric about zero::

    v(d) = 2 d - (b - 1)        b even: odd integers
    v(d) = d - (b - 1) / 2      b odd

A pattern P = Σ_j d_j b^j of k digits selects Σ_j v(d_j) a_j. Its mirror b^k - 1 - P selects the negative, so only the
H = ⌈b^k / 2⌉ entries of the lower half are stored, and the mirror is taken offline::

    sign = P ≥ H,   index = sign ? b^k - 1 - P : P,   select = sign 2^⌈log2 H⌉ + index

A select has ⌈log2 b^k⌉ bits: 5 for three trits, 8 for five, k for k bits.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import golden

Ints = npt.NDArray[np.int64]


def half(base: int, k: int) -> int:
    """Return the stored entries of a table."""
    return (base**k + 1) // 2


def index_bits(base: int, k: int) -> int:
    """Return the bits of an index into the stored half."""
    return (half(base, k) - 1).bit_length()


def select_bits(base: int, k: int) -> int:
    """Return the stored bits of k digits: the index and a sign."""
    return index_bits(base, k) + 1


def step(base: int) -> int:
    """Return by how much neighbouring digits differ in value."""
    return 1 if base % 2 else 2


def digit_values(base: int) -> Ints:
    """Return v (base,) of the digits."""
    return step(base) * np.arange(base) - (base - 1) * step(base) // 2


@cache
def coefficients(base: int, k: int) -> Ints:
    """Return what the stored entries multiply the activations by, (k, H), read-only."""
    index = np.arange(half(base, k))
    found = np.stack([digit_values(base)[index // base**j % base] for j in range(k)])
    found.setflags(write=False)
    return found


def patterns(digits: Ints, base: int) -> Ints:
    """Return patterns (…) of digits (…, k), digit 0 lowest."""
    if base == 2:
        return golden.patterns(digits)
    return (digits * base ** np.arange(digits.shape[-1])).sum(axis=-1)


def remap(pattern: Ints, base: int, k: int) -> Ints:
    """Return the selects of patterns: the offline remap."""
    if base == 2:
        return golden.remap(pattern, k)
    mirrored = pattern >= half(base, k)
    index = np.where(mirrored, base**k - 1 - pattern, pattern)
    return (mirrored.astype(np.int64) << index_bits(base, k)) | index


def lookup(table: np.ndarray, select: Ints, base: int, k: int) -> np.ndarray:
    """Return entries (…) of tables (…, H) at selects (…): the indexed one, its negative if the sign is set."""
    if base == 2:
        return golden.lookup(_array(k), table, select)
    index = select & ((1 << index_bits(base, k)) - 1)
    value = np.take_along_axis(table, index[..., None], axis=-1)[..., 0]
    return np.where(select >> index_bits(base, k) == 1, -value, value)


@cache
def _array(k: int) -> Array:
    return Array(datapath="lut", m=1, n=1, k=k, count=1)


def pack(fields: npt.NDArray[np.integer], bits: int) -> npt.NDArray[np.uint8]:
    """Join fields (…, n) of some bits, lowest bit first, into bytes (…, ⌈n bits / 8⌉)."""
    split = (fields[..., None] >> np.arange(bits)) & 1
    joined = split.reshape(*fields.shape[:-1], -1).astype(np.uint8)
    return np.packbits(joined, axis=-1, bitorder="little")


def unpack(packed: npt.NDArray[np.uint8], bits: int, count: int) -> Ints:
    """Return fields (…, count) of bytes: the inverse of :func:`pack`."""
    split = np.unpackbits(packed, axis=-1, count=count * bits, bitorder="little").astype(np.int64)
    return (split.reshape(*packed.shape[:-1], count, bits) << np.arange(bits)).sum(axis=-1)
