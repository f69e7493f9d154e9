"""Block ROM: which of 16 functions of two address bits each block of four stored bits is.

Four neighbouring addresses (one block) and one output bit hold four bits. Two address bits have 2^4 = 16 functions,
so that the four bits are one of them: bit i of the choice is the bit at address 4 b + i. A block ROM generates the
16 functions once (the candidates) and stores the choice: one connection, and one transistor that the block's select
line opens, where a plain ROM has four transistors (ROMA, arXiv 2503.12988, read from digests of the paper):

    word[j] = OR over blocks b of select[b] & candidate[choice[b][j]],       candidate[k] = k[address mod 4]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError

BLOCK = 4
FUNCTIONS = 16


def bits_of(words: npt.NDArray[np.uint8], word_bits: int) -> npt.NDArray[np.uint8]:
    """Return (words, word_bits) of packed words (:mod:`lutscape.sim.roma.words`).

    Raises:
        UserError: no words, or bits set beyond ``word_bits``.
    """
    if not words.size:
        raise UserError("ROM: no words")
    if words.shape[1] != -(-word_bits // 8):
        raise UserError(f"ROM: words of {words.shape[1]} bytes; {word_bits} bits take {-(-word_bits // 8)}")
    found = np.unpackbits(words, axis=1, bitorder="little")
    if found[:, word_bits:].any():
        raise UserError(f"ROM: words have bits set beyond their {word_bits}")
    return found[:, :word_bits]


def choices(words: npt.NDArray[np.uint8], word_bits: int) -> npt.NDArray[np.uint8]:
    """Return (blocks, word_bits) choices 0 … 15; addresses beyond the last word read 0."""
    bits = bits_of(words, word_bits)
    blocks = -(-len(bits) // BLOCK)
    padded = np.zeros((blocks * BLOCK, word_bits), np.uint8)
    padded[: len(bits)] = bits
    return (padded.reshape(blocks, BLOCK, word_bits) << np.arange(BLOCK, dtype=np.uint8)[:, None]).sum(
        axis=1, dtype=np.uint8
    )


def expand(chosen: npt.NDArray[np.uint8], depth: int) -> npt.NDArray[np.uint8]:
    """Return packed words of choices, the inverse of :func:`choices`."""
    blocks, word_bits = chosen.shape
    bits = chosen[:, None, :] >> np.arange(BLOCK, dtype=np.uint8)[:, None] & 1
    return np.packbits(bits.reshape(blocks * BLOCK, word_bits)[:depth], axis=1, bitorder="little")


def packed_choices(chosen: npt.NDArray[np.uint8]) -> list[int]:
    """Return one integer per block: four bits per output bit, bit 0's lowest."""
    pairs = np.zeros((chosen.shape[0], -(-chosen.shape[1] // 2) * 2), np.uint8)
    pairs[:, : chosen.shape[1]] = chosen
    packed = pairs[:, 0::2] | pairs[:, 1::2] << 4
    return [int.from_bytes(row.tobytes(), "little") for row in packed]
