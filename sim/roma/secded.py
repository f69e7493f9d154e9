"""SECDED: one wrong bit of a word is corrected, two are detected (extended Hamming code).

Every data bit has its own column of r check bits, none of them zero or a power of two (those are the columns of the
check bits themselves); one more bit is the parity of all others. r is the least with 2^r - r - 1 >= data bits: 274
bits take 9 + 1, 3.6 %. Read back, the syndrome is the sum of the columns of the wrong bits:

    parity even, syndrome 0       right, or four wrong bits and more
    parity odd                    one wrong bit: the one of that column; no such column: at least three
    parity even, syndrome not 0   two wrong bits: detected, not corrected
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError

Bits = npt.NDArray[np.uint8]


def check_bits(data_bits: int) -> int:
    """Return check bits of a word, the parity included.

    >>> check_bits(274), check_bits(64), check_bits(256)
    (10, 8, 10)
    """
    r = 2
    while (1 << r) - r - 1 < data_bits:
        r += 1
    return r + 1


@cache
def columns(data_bits: int) -> npt.NDArray[np.int64]:
    """Return the column of every data bit: 3, 5, 6, 7, 9, …, no power of two."""
    numbers = np.arange(3, 1 << (check_bits(data_bits) - 1))
    return numbers[numbers & (numbers - 1) != 0][:data_bits]


def encode(data: Bits) -> Bits:
    """Return (words, check bits) of data bits (words, n): the Hamming bits, lowest first, then the parity."""
    n = data.shape[1]
    r = check_bits(n) - 1
    matrix = columns(n)[:, None] >> np.arange(r) & 1  # (n, r)
    hamming = (data.astype(np.float32) @ matrix.astype(np.float32)).astype(np.int64) & 1
    parity = (data.sum(axis=1, dtype=np.int64) + hamming.sum(axis=1)) & 1
    return np.concatenate([hamming, parity[:, None]], axis=1).astype(np.uint8)


@dataclass(frozen=True)
class Decoded:
    """Words as a decoder gives them out.

    Attributes:
        data: (words, n) bits.
        corrected: (words,) one bit was turned over.
        detected: (words,) known to be wrong, left as read.
    """

    data: Bits
    corrected: npt.NDArray[np.bool_]
    detected: npt.NDArray[np.bool_]


def decode(data: Bits, check: Bits) -> Decoded:
    """Return what a decoder makes of words as read.

    Raises:
        UserError: another number of check bits than the data has.
    """
    n = data.shape[1]
    if check.shape[1] != check_bits(n):
        raise UserError(f"SECDED: {check.shape[1]} check bits; {n} data bits have {check_bits(n)}")
    r = check.shape[1] - 1
    again = encode(data)[:, :r]
    syndrome = ((again ^ check[:, :r]).astype(np.int64) << np.arange(r)).sum(axis=1)
    odd = (data.sum(axis=1, dtype=np.int64) + check.sum(axis=1, dtype=np.int64)) & 1 == 1
    place = np.full(1 << r, -1)
    place[columns(n)] = np.arange(n)
    own = (syndrome & (syndrome - 1)) == 0  # a check bit, or the parity: the data are right
    hit = odd & (place[syndrome] >= 0)
    fixed = data.copy()
    rows = np.flatnonzero(hit)
    fixed[rows, place[syndrome[rows]]] ^= 1
    return Decoded(fixed, hit | (odd & own), (odd & ~own & ~hit) | (~odd & (syndrome != 0)))
