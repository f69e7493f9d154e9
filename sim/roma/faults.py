"""Open connections in a ROM: what they make of the words, with and without error correction.

Every programmed connection is open with the same chance, on its own. A bit line that is not pulled down reads 0:

    standard   one connection per stored 1: that bit reads 0
    block      one connection per block of four addresses and bit that is not all 0: all four bits read 0

so a fault only ever turns ones into zeros, and scales only become smaller. Check bits are stored and fail like data.
Blocks start at the first word of a tensor, as :mod:`.image` lays them out. Shorts, stuck word lines and faults of the
logic are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError, choose
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise.rom import RomWeight, code_values
from lutscape.sim.roma import golden, secded
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.golden import Floats, RomOperand
from lutscape.sim.roma.words import Layout, Words

Structure = Literal["standard", "block"]
STRUCTURES = ("standard", "block")
BLOCK = 4


@dataclass(frozen=True)
class Damage:
    """What faults did to a tensor.

    Attributes:
        connections: programmed, check bits included.
        opens: of them open.
        wrong_bits: data bits that were read wrong.
        wrong_words: words with one at least.
        corrected: words that the decoder corrected.
        detected: words that it knows to be wrong and cannot correct.
        left_bits: data bits still wrong behind the decoder.
    """

    connections: int = 0
    opens: int = 0
    wrong_bits: int = 0
    wrong_words: int = 0
    corrected: int = 0
    detected: int = 0
    left_bits: int = 0

    def __add__(self, other: Damage) -> Damage:
        return Damage(*(a + b for a, b in zip(self.counts(), other.counts(), strict=True)))

    def counts(self) -> tuple[int, ...]:
        """Return all numbers in order."""
        return tuple(vars(self).values())


def inject(
    words: Words,
    word_bits: int,
    rate: float,
    rng: np.random.Generator,
    structure: Structure = "block",
    ecc: bool = False,
) -> tuple[Words, Damage]:
    """Return the words of a tensor as a ROM with faults gives them out, and what happened.

    Args:
        words: as stored (:mod:`.words`).
        word_bits: of a word.
        rate: chance of a connection to be open, 0 … 1.
        rng: of the faults.
        structure: of the ROM.
        ecc: with SECDED per word.

    Raises:
        UserError: a rate outside 0 … 1, or an unknown structure.
    """
    if not 0 <= rate <= 1:
        raise UserError(f"fault rate {rate:g}; allowed: 0 … 1")
    choose(structure, STRUCTURES, "ROM structure")
    data = np.unpackbits(words, axis=1, count=word_bits, bitorder="little")
    stored = np.concatenate([data, secded.encode(data)], axis=1) if ecc else data
    read, connections, opens = _opened(stored, rate, rng, structure)
    wrong = read[:, :word_bits] != data
    touched = (read != stored).any(axis=1)
    out, corrected, detected = read[:, :word_bits].copy(), 0, 0
    if ecc and touched.any():
        found = secded.decode(read[touched, :word_bits], read[touched, word_bits:])
        out[touched] = found.data
        corrected, detected = int(found.corrected.sum()), int(found.detected.sum())
    damage = Damage(
        connections,
        opens,
        int(wrong.sum()),
        int(wrong.any(axis=1).sum()),
        corrected,
        detected,
        int((out != data).sum()),
    )
    return np.packbits(out, axis=1, bitorder="little"), damage


def _opened(
    stored: npt.NDArray[np.uint8], rate: float, rng: np.random.Generator, structure: Structure
) -> tuple[npt.NDArray[np.uint8], int, int]:
    """Return bits as read, the number of connections and of open ones."""
    if structure == "standard":
        ones = np.flatnonzero(stored)
        chosen = rng.choice(ones, rng.binomial(len(ones), rate), replace=False)
        read = stored.copy()
        read.ravel()[chosen] = 0
        return read, len(ones), len(chosen)
    depth, width = stored.shape
    blocks = -(-depth // BLOCK)
    padded = np.zeros((blocks * BLOCK, width), np.uint8)
    padded[:depth] = stored
    grouped = padded.reshape(blocks, BLOCK, width)
    connected = np.flatnonzero(grouped.any(axis=1))  # block * width + bit
    chosen = rng.choice(connected, rng.binomial(len(connected), rate), replace=False)
    block, bit = np.divmod(chosen, width)
    grouped[block, :, bit] = 0
    return grouped.reshape(-1, width)[:depth], len(connected), len(chosen)


def operand(unit: LUnit, place: Layout, words: Words) -> RomOperand:
    """Return what an L-Unit reads in words that may be damaged; the ends of rows meet activations of zero.

    Scales are 1 where the words hold none.
    """
    found = layout.fields(unit, place, words)
    values = code_values(found.codes, unit.encoding)
    if unit.encoding == "uint":
        values = values - found.zeros.astype(np.int16)[..., None]
    significand, exponent = golden.scale_fields(found.scales.astype(np.int64))
    scales = np.ldexp(significand.astype(np.float32), exponent.astype(np.int32))
    if not unit.scale_bits:
        scales = np.ones_like(scales)
    bits = place.planes * unit.plane_bits
    dtype = np.float32 if golden.largest_sum(unit, bits) < golden.EXACT_FLOAT32 else np.float64
    return RomOperand(np.ascontiguousarray(values.transpose(0, 2, 1).astype(dtype)), scales.astype(np.float32))


def matrix(read: RomOperand, columns: int) -> Floats:
    """Return the weights that an operand stands for, (N, columns) float32."""
    groups, group, rows = read.values.shape
    values = read.values * read.scales[:, None, :]
    return np.ascontiguousarray(values.transpose(2, 0, 1).reshape(rows, groups * group)[:, :columns], np.float32)


def damaged(
    unit: LUnit, weight: RomWeight, rate: float, rng: np.random.Generator, structure: Structure, ecc: bool
) -> tuple[RomOperand, Damage]:
    """Return what L-Units read of a weight matrix in a ROM with faults.

    Raises:
        UserError: as :func:`inject`, or weights that do not fit the unit.
    """
    packed = layout.pack(unit, weight)
    read, damage = inject(packed, unit.word_bits, rate, rng, structure, ecc)
    place = layout.layout(unit, *weight.shape, weight.bits)
    found = operand(unit, place, read)
    if not unit.scale_bits:  # scales are not in the ROM
        found = replace(found, scales=np.ascontiguousarray(weight.scales.T))
    return found, damage
