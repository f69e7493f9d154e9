"""ROM words: how groups of weights lie in the words of L-Units, there and back.

One word is one plane of one group of one row. From its lowest bit on:

    group · plane_bits    codes, weight 0 lowest, ``plane_bits`` bits of each: plane p holds bits p · plane_bits …
    zero_bits             the same bits of the zero point
    scale_bits            FP16 scale; every plane of a group repeats it, the unit reads that of plane 0

(128 · 2 + 2 + 16 = 274 bits.) Weights beyond the end of a row are filled with codes of v = 0. A tensor lies slice by
slice, because an L-Unit works through all rows that meet one slice of the activations: word (g · N + n) · P + p.

Words are kept as (words, ⌈word_bits / 8⌉) uint8, bit 0 of the word in bit 0 of byte 0. Their CRC-32 (ISO-HDLC, that of
zlib) runs over these bytes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise.rom import RomWeight
from lutscape.sim.roma import golden

Words = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Layout:
    """Where the words of a tensor are.

    Attributes:
        rows: N.
        columns: K.
        groups: G.
        planes: P, words of a row and group.
    """

    rows: int
    columns: int
    groups: int
    planes: int

    @property
    def words(self) -> int:
        """Words of the tensor."""
        return self.rows * self.groups * self.planes


def layout(unit: LUnit, rows: int, columns: int, bits: int) -> Layout:
    """Return the layout of a tensor of some bits per weight."""
    return Layout(rows, columns, -(-columns // unit.group), -(-bits // unit.plane_bits))


def pack(unit: LUnit, weight: RomWeight) -> Words:
    """Return the words of a tensor.

    Raises:
        UserError: it does not fit the unit (:func:`.golden.check_weight`).
    """
    golden.check_weight(unit, weight)
    place = layout(unit, *weight.shape, weight.bits)
    rows, columns = weight.shape
    filler = weight.zeros[:, -1:] if weight.encoding == "uint" else np.zeros((rows, 1), np.uint8)
    codes = np.repeat(filler, place.groups * unit.group, axis=1)
    codes[:, :columns] = weight.codes
    codes = codes.reshape(rows, place.groups, unit.group).transpose(1, 0, 2)  # (G, N, group)
    bits = np.empty((place.groups, rows, place.planes, unit.word_bits), np.uint8)
    weights, p = unit.group * unit.plane_bits, unit.plane_bits
    for plane in range(place.planes):
        part = codes[..., None] >> (plane * p + np.arange(p, dtype=np.uint8)) & 1  # (G, N, group, plane_bits)
        bits[:, :, plane, :weights] = part.reshape(place.groups, rows, weights)
        zeros = weight.zeros.T[..., None] >> (plane * p + np.arange(unit.zero_bits, dtype=np.uint8)) & 1
        bits[:, :, plane, weights : weights + unit.zero_bits] = zeros
        if unit.scale_bits:
            fields = weight.scales.T.astype(np.float16).view(np.uint16)
            bits[:, :, plane, weights + unit.zero_bits :] = fields[..., None] >> np.arange(16, dtype=np.uint16) & 1
    return np.packbits(bits.reshape(place.words, unit.word_bits), axis=1, bitorder="little")


@dataclass(frozen=True)
class Fields:
    """What the words of a tensor say, as an L-Unit reads them: also after faults.

    Attributes:
        codes: (G, N, group) uint8.
        zeros: (G, N) uint8.
        scales: (G, N) uint16 FP16 fields, of plane 0.
    """

    codes: npt.NDArray[np.uint8]
    zeros: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.uint16]


def fields(unit: LUnit, place: Layout, words: Words) -> Fields:
    """Split the words of a tensor.

    Raises:
        UserError: another number of words, or of bytes, than the layout has.
    """
    if words.shape != (place.words, -(-unit.word_bits // 8)):
        raise UserError(
            f"ROM words: {words.shape[0]} of {words.shape[1]} bytes; a tensor of {place.rows}x{place.columns} "
            f"takes {place.words} of {-(-unit.word_bits // 8)}"
        )
    bits = np.unpackbits(words, axis=1, count=unit.word_bits, bitorder="little")
    bits = bits.reshape(place.groups, place.rows, place.planes, unit.word_bits)
    weights, p = unit.group * unit.plane_bits, unit.plane_bits
    codes = np.zeros((place.groups, place.rows, unit.group), np.uint8)
    zeros = np.zeros((place.groups, place.rows), np.uint8)
    for plane in range(place.planes):
        part = bits[:, :, plane, :weights].reshape(*codes.shape, p)
        codes |= (part << (plane * p + np.arange(p, dtype=np.uint8))).sum(-1, dtype=np.uint8)
        zero = bits[:, :, plane, weights : weights + unit.zero_bits]
        zeros |= (zero << (plane * p + np.arange(unit.zero_bits, dtype=np.uint8))).sum(-1, dtype=np.uint8)
    scales = np.zeros(zeros.shape, np.uint16)
    if unit.scale_bits:
        scale = bits[:, :, 0, weights + unit.zero_bits :].astype(np.uint16)
        scales = (scale << np.arange(16, dtype=np.uint16)).sum(-1, dtype=np.uint16)
    return Fields(codes, zeros, scales)


def unpack(unit: LUnit, place: Layout, words: Words, bits: int) -> RomWeight:
    """Return the weights of words, the inverse of :func:`pack`.

    Raises:
        UserError: words that :func:`pack` never writes: planes with different scales, codes or scales that are no
            numbers of the format, filled ends of rows that are not zero.
    """
    found = fields(unit, place, words)
    scales = found.scales.view(np.float16).astype(np.float32)
    if not np.isfinite(scales).all():
        raise UserError("ROM words: a scale is infinite or not a number")
    if unit.encoding == "ternary" and (found.codes == 2).any():
        raise UserError("ROM words: code 2 is no ternary weight")
    codes = found.codes.transpose(1, 0, 2).reshape(place.rows, -1)
    weight = RomWeight(
        np.ascontiguousarray(codes[:, : place.columns]),
        np.ascontiguousarray(scales.T) if unit.scale_bits else np.ones(scales.T.shape, np.float32),
        np.ascontiguousarray(found.zeros.T),
        unit.group,
        bits,
        unit.encoding,
    )
    if (pack(unit, weight) != words).any():
        raise UserError("ROM words: planes of a group differ in their scale, or the filled end of a row is not zero")
    return weight


def numbers(words: Words) -> list[int]:
    """Return words as integers."""
    return [int.from_bytes(row.tobytes(), "little") for row in words]


def signature(words: Words) -> int:
    """Return the CRC-32 of words."""
    return zlib.crc32(np.ascontiguousarray(words).tobytes())
