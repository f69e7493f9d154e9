"""ROM words: their bits, there and back, and what is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise import rom
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.image import image
from lutscape.sim.roma.linear import design_for


def weight(form: str, rows: int, columns: int, seed: int = 0, group: int = 8) -> rom.RomWeight:
    w = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    return rom.quantise("w", w, form, group, requantise=True)


def twin(unit: LUnit, w: rom.RomWeight) -> list[int]:
    """One word after the other, bit by bit."""
    planes, found = -(-w.bits // unit.plane_bits), []
    for g in range(w.groups):
        for n in range(w.shape[0]):
            zero = int(w.zeros[n, g])
            scale = int(w.scales[n, g].astype(np.float16).view(np.uint16))
            for p in range(planes):
                word = 0
                for j in range(unit.group):
                    k = g * unit.group + j
                    code = int(w.codes[n, k]) if k < w.shape[1] else zero
                    word |= (code >> (p * unit.plane_bits) & ((1 << unit.plane_bits) - 1)) << (j * unit.plane_bits)
                low = unit.group * unit.plane_bits
                word |= (zero >> (p * unit.plane_bits) & ((1 << unit.zero_bits) - 1)) << low
                found.append(word | scale << (low + unit.zero_bits))
    return found


@settings(max_examples=40, deadline=None)
@given(form=st.sampled_from(["uint2", "uint4", "uint8", "ternary", "fp4"]), rows=st.integers(1, 4),
       columns=st.integers(2, 30), seed=st.integers(0, 10**6))  # fmt: skip
def test_words_are_those_of_the_scalar_twin_and_come_back(form: str, rows: int, columns: int, seed: int) -> None:
    unit, w = design_for(LUnit(group=8), form), weight(form, rows, columns, seed)
    packed = layout.pack(unit.model_copy(update={"accumulator_bits": 40}), w)
    assert layout.numbers(packed) == twin(unit, w)
    place = layout.layout(unit, rows, columns, w.bits)
    back = layout.unpack(unit.model_copy(update={"accumulator_bits": 40}), place, packed, w.bits)
    assert (back.codes == w.codes).all()
    assert (back.scales == w.scales).all()
    assert (back.zeros == w.zeros).all()


def test_a_word_of_roma_has_274_bits() -> None:
    unit = LUnit()
    packed = layout.pack(unit, weight("uint4", 3, 200, group=128))
    assert unit.word_bits == 274
    assert packed.shape == (3 * 2 * 2, 35)
    assert max(layout.numbers(packed)) < 1 << 274


def test_the_signature_is_the_crc_of_zlib() -> None:
    """Check value of CRC-32/ISO-HDLC: 123456789 -> cbf43926 (G. Cook, catalogue of parametrised CRC algorithms)."""
    assert layout.signature(np.frombuffer(b"123456789", np.uint8).reshape(3, 3)) == 0xCBF43926
    assert layout.signature(np.zeros((2, 3), np.uint8)) == zlib.crc32(bytes(6))


@pytest.mark.parametrize(("bit", "text"), [
    (33, "ROM words: planes of a group differ in their scale, or the filled end of a row is not zero"),
    (14, "ROM words: planes of a group differ in their scale, or the filled end of a row is not zero"),
])  # fmt: skip
def test_words_that_were_never_packed_are_refused(bit: int, text: str) -> None:
    """Bit 33 of plane 1 is its copy of the scale; bit 14 is the code of the eighth weight, beyond K = 7."""
    unit, w = LUnit(group=8), weight("uint4", 2, 7)
    packed = layout.pack(unit, w)
    packed[1, bit // 8] ^= 1 << bit % 8
    with pytest.raises(UserError) as error:
        layout.unpack(unit, layout.layout(unit, 2, 7, 4), packed, 4)
    assert str(error.value) == text


def test_infinite_scales_and_wrong_counts_are_refused() -> None:
    unit, w = LUnit(group=8), weight("uint2", 2, 8)
    packed, place = layout.pack(unit, w), layout.layout(unit, 2, 8, 2)
    with pytest.raises(UserError, match="ROM words: 1 of 5 bytes; a tensor of 2x8 takes 2 of 5"):
        layout.fields(unit, place, packed[:1])
    bits = np.unpackbits(packed, axis=1, bitorder="little")
    bits[0, 18:34] = 0x7C00 >> np.arange(16) & 1
    with pytest.raises(UserError, match="ROM words: a scale is infinite or not a number"):
        layout.unpack(unit, place, np.packbits(bits, axis=1, bitorder="little"), 2)


def test_an_image_knows_whose_word_it_is() -> None:
    unit = LUnit(group=8, rom_words=16)
    made = image(unit, {"a": weight("uint4", 3, 20), "b": weight("uint4", 5, 8, 1)})
    assert (len(made.words), made.depth) == (28, 16)
    assert [len(r) for r in made.roms()] == [16, 12]
    tensor, row, group, plane = made.owner(11)
    assert (tensor.name, row, group, plane) == ("a", 2, 1, 1)
    tensor, row, group, plane = made.owner(27)
    assert (tensor.name, row, group, plane) == ("b", 4, 0, 1)
    with pytest.raises(UserError, match="ROM image: no tensors"):
        image(unit, {})
