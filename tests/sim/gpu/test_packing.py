"""Packed weights against a scalar twin of the kernels' unpacking, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.sim.gpu import packing


def unpacked(words: list[int], form: str) -> dict[tuple[int, int, int], int]:
    """The codes that one lane finds in its words of a tile: (step, register, half) -> code.

    Written from the shifts and masks of kernels/formats.cuh, one register at a time.
    """
    found = {}
    if form == "t5":
        number = 0
        for pair in range(4):
            v = (words[pair // 2] >> 8 if pair & 1 else words[pair // 2]) & 0x00FF00FF
            for _ in range(5):
                v = v * 3 & 0xFFFFFFFF
                for half in range(2):
                    found[number // 4, number % 4, half] = v >> (8 + 16 * half) & 3
                v &= 0x00FF00FF
                number += 1
        return found
    for step in range(4):
        if form == "w4":
            x, y = words[step & ~1], words[step | 1]
            shifted, low, bits = (x << 2, y << 2, x >> 6, y >> 6), 2 if step & 1 else 6, 4
        elif form == "w2":
            x = words[step // 2]
            shifted = (x >> 4, x >> 8, x << 4, x) if step & 1 else (x, x >> 4, x << 8, x << 4)
            low, bits = 6 if step & 1 else 8, 2
        else:
            x = words[0]
            shifted, low, bits = (x, x << 4, x >> 4, x >> 6 if step < 2 else x << 6), 9 - step, 1
        for register, word in enumerate(shifted):
            for half in range(2):
                found[step, register, half] = (word & 0xFFFFFFFF) >> (low + 16 * half) & (1 << bits) - 1
    return found


def unpacked_brain(words: list[int], form: str) -> dict[tuple[int, int, int], int]:
    """As unpacked, for the formats with BF16 activations, whose codes lie in the seven bits of its mantissa."""
    found = {}
    for step in range(4):
        if form == "w4":
            x, y, low = words[step & ~1], words[step | 1], 0 if step & 1 else 4
            shifted, at, bits = (x >> low, y >> low, x >> low + 8, y >> low + 8), 0, 4
        elif form == "w2":
            x = words[step // 2]
            shifted = (x >> 6, x >> 10, x << 2, x >> 2) if step & 1 else (x >> 4, x >> 8, x << 4, x)
            at, bits = 4, 2
        else:
            x = words[0] << 8  # left shifts below: right ones of this
            shifts = (3 - step, -1 - step, 7 - step, (9 if step < 2 else -3) - step)
            shifted, at, bits = tuple(x >> 8 + s for s in shifts), 6, 1
        for register, word in enumerate(shifted):
            for half in range(2):
                found[step, register, half] = word >> (at + 16 * half) & (1 << bits) - 1
    return found


@pytest.mark.parametrize("form", ["w4", "w2", "w1"])
def test_both_ways_of_unpacking_find_the_same_codes(form: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        words = [int(w) for w in rng.integers(0, 2**32, packing.WORDS[form], np.uint64)]
        assert unpacked_brain(words, form) == unpacked(words, form)


def bytes_of(words: list[int], form: str) -> list[tuple[int, int]]:
    """The four operands (mask, word) of one byte product of kernels/digits.cuh, from a lane's words for 32 columns."""
    if form == "w4":
        x, y = words
        return [(0x0F, x), (0x0F, y), (0xF0, x), (0xF0, y)]
    return [(mask, words[0]) for mask in (0x03, 0x30, 0x0C, 0xC0)]


@pytest.mark.parametrize("form", ["w4", "w2"])
def test_bytes_hold_codes_of_one_row_in_the_order_of_the_activations(form: str) -> None:
    """Operands r = 0..3 of a product: rows g, g + 8, g, g + 8; columns of its first step (r < 2) and second."""
    factor, row_factor = (16, 1) if form == "w4" else (4, 16)
    codes = np.random.default_rng(2).integers(0, 2 ** packing.BITS[form], (64, 128), np.uint8)
    words = packing.pack(codes, form)
    per = packing.WORDS[form] // 2
    for chunk, tile, lane, i in np.ndindex(2, 4, 32, 2):
        g, t = divmod(lane, 4)
        of_lane = [int(w) for w in words[0, chunk, tile, lane, per * i : per * (i + 1)]]
        for register, (mask, word) in enumerate(bytes_of(of_lane, form)):
            scale = (factor if register >= 2 else 1) * (row_factor if register % 2 else 1)
            step = 2 * i + (register // 2 ^ (form == "w4"))
            first = 64 * chunk + 16 * step + 2 * t
            order = (0, 8, 1, 9) if form == "w4" else (8, 0, 9, 1)
            for byte, column in enumerate(order):
                value = word >> 8 * byte & mask
                assert value == scale * codes[16 * tile + g + 8 * (register % 2), first + column]


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.floats(-65504, 65504, width=16), min_size=128, max_size=128),
    bits=st.sampled_from([2, 4]),
    seed=st.integers(0, 2**32 - 1),
)
def test_three_bytes_hold_activations_to_2_to_the_minus_22_of_the_largest(
    values: list[float], bits: int, seed: int
) -> None:
    """The arithmetic of kernels/digits.cuh on one pair of chunks: exact integers, rounded activations."""
    factor = 16 if bits == 4 else 4
    x = np.array(values)
    largest = np.abs(x).max()
    exponent = max(int(np.float32(largest).view(np.uint32) >> 23), 22)
    second = np.arange(128) // 16 % 2 == (0 if bits == 4 else 1)  # columns whose codes come factor times too large
    scale = np.where(second, 2.0 ** (148 - exponent) / factor, 2.0 ** (148 - exponent))
    integers = np.rint(x * scale).astype(np.int64)
    shifted = integers + 0x808080
    digits = np.stack([(shifted >> 8 * i & 255) - 128 for i in range(3)])
    assert (integers == digits.T @ [1, 256, 65536]).all()
    assert np.abs(digits).max() <= 128
    codes = np.random.default_rng(seed).integers(0, 2**bits, 128) * np.where(second, factor, 1)
    row = 16 if bits == 2 else 1  # rows g + 8
    assert np.abs(digits @ (codes * row)).max() < 2**22  # what the mantissa of the magic number holds
    total = float((codes @ digits.T) @ np.array([1, 256, 65536])) * 2.0 ** (exponent - 148)
    exact = float((codes / np.where(second, factor, 1)) @ x)
    assert abs(total - exact) <= 128 * (2**bits - 1) * factor * 2.0 ** (exponent - 149)


@pytest.mark.parametrize("form", ["w4", "w2", "w1", "t5"])
@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 130), columns=st.integers(1, 400), seed=st.integers(0, 2**32 - 1))
def test_lanes_find_every_code(form: str, rows: int, columns: int, seed: int) -> None:
    top = 3 if form == "t5" else 2 ** packing.BITS[form]
    fill = 1 if form == "t5" else 0
    codes = np.random.default_rng(seed).integers(0, top, (rows, columns), np.uint8)
    words = packing.pack(codes, form, fill)
    chunk = packing.CHUNK[form]
    assert words.shape == (-(-rows // 64), packing.chunks_of(form, columns), 4, 32, packing.WORDS[form])
    back = np.full((words.shape[0] * 64, words.shape[1] * chunk), 255, np.uint8)
    for block, c, tile, lane in np.ndindex(words.shape[:4]):
        g, t = divmod(lane, 4)
        for (step, register, half), code in unpacked([int(w) for w in words[block, c, tile, lane]], form).items():
            row = 64 * block + 16 * tile + g + 8 * (register % 2)
            back[row, chunk * c + 16 * step + 8 * (register // 2) + 2 * t + half] = code
    assert np.array_equal(back[:rows, :columns], codes)
    assert (back[rows:] == fill).all()
    assert (back[:, columns:] == fill).all()


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 130), columns=st.integers(1, 400), seed=st.integers(0, 2**32 - 1))
def test_integer_lanes_find_every_code(rows: int, columns: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 4, (rows, columns), np.uint8)
    words = packing.pack_i2(codes)
    back = np.full((words.shape[0] * 64, words.shape[1] * 128), 255, np.uint8)
    for block, c, tile, lane, step in np.ndindex(words.shape):
        g, t = divmod(lane, 4)
        word = int(words[block, c, tile, lane, step])
        for register in range(4):
            spread = word >> (2 * register) & 0x03030303
            for byte in range(4):
                row = 64 * block + 16 * tile + g + 8 * (register % 2)
                column = 128 * c + 32 * step + 16 * (register // 2) + 4 * t + byte
                back[row, column] = spread >> (8 * byte) & 255
    assert np.array_equal(back[:rows, :columns], codes)
    assert (back[rows:] == 0).all()


def test_ternary_bytes_known_answers() -> None:
    """ceil(256 n / 243) of the five digits: 0 -> 0, all twos (242) -> 255, 1 0 0 0 0 (81) -> 86, 0 0 0 0 1 (1) -> 2."""
    for digits, byte in (([0] * 5, 0), ([2] * 5, 255), ([1, 0, 0, 0, 0], 86), ([0, 0, 0, 0, 1], 2)):
        codes = np.zeros((1, 80), np.uint8)
        # pair 0, low half: registers 0..4 of lane 0, whose first halves are columns 0, 0 (row 8), 8, 8 (row 8), 16
        for register, digit in enumerate(digits):
            step, r = divmod(register, 4)
            if r % 2 == 0:
                codes[0, 16 * step + 8 * (r // 2)] = digit
        expected = -(-256 * sum(d * 3 ** (4 - i) for i, d in enumerate(digits) if i % 2 == 0) // 243)
        assert int(packing.pack(codes, "t5", 0)[0, 0, 0, 0, 0]) & 255 == expected
        number = sum(d * 3 ** (4 - i) for i, d in enumerate(digits))
        assert (256 * number + 242) // 243 == byte


def test_every_ternary_byte_returns_its_digits() -> None:
    for number in range(243):
        v, digits = (256 * number + 242) // 243, []
        for _ in range(5):
            v *= 3
            digits.append(v >> 8)
            v &= 255
        assert sum(d * 3 ** (4 - i) for i, d in enumerate(digits)) == number


def test_scales_are_by_block_group_and_row() -> None:
    scales = np.arange(130 * 3, dtype=np.float32).reshape(130, 3) / 8
    out = packing.pack_scales(scales, -scales)
    assert out.shape == (3, 3, 64, 2)
    assert out[1, 2, 5, 0] == scales[69, 2]
    assert out[2, 0, 1, 1] == -scales[129, 0]
    assert (out[2, :, 2:] == 0).all()


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_planes(bits: int) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (5, 200), np.uint8)
    words = packing.pack_planes(codes, bits)
    assert words.shape == (2, bits, 4, 5)
    for slab, plane, word, row in np.ndindex(words.shape):
        for bit in range(32):
            column = 128 * slab + 32 * word + bit
            expected = codes[row, column] >> plane & 1 if column < 200 else 0
            assert int(words[slab, plane, word, row]) >> bit & 1 == expected


@pytest.mark.parametrize("bits", [2, 4])
def test_cache_blocks(bits: int) -> None:
    codes = np.random.default_rng(0).integers(0, 2**bits, (128, 128), np.uint8)
    form = f"w{bits}"
    keys, values = packing.pack_cache(codes, bits, False), packing.pack_cache(codes, bits, True)
    assert keys.shape == values.shape == (2, 8, 32, packing.WORDS[form])
    # keys: chunk 1 (columns 64..127), tile 2 (keys 32..47) of block 1; values: tile 5 (columns 80..95) of block 1
    for block, row, column, transposed in ((keys[1, 4 + 2], 64 + 32, 64, False), (values[1, 5], 80, 64, True)):
        for lane in range(32):
            g, t = divmod(lane, 4)
            for (step, register, half), code in unpacked([int(w) for w in block[lane]], form).items():
                r = row + g + 8 * (register % 2)
                c = column + 16 * step + 8 * (register // 2) + 2 * t + half
                assert code == (codes[c, r] if transposed else codes[r, c])


def test_weight_bytes_count_what_is_packed() -> None:
    codes = np.zeros((200, 576), np.uint8)
    assert packing.weight_bytes("w4", 200, 576, 128) == packing.pack(codes, "w4").nbytes + 4 * 256 * 5
    assert packing.weight_bytes("t5", 200, 576, 0) == packing.pack(codes, "t5").nbytes + 4 * 256
    assert packing.weight_bytes("i2", 200, 576, 0) == packing.pack_i2(codes).nbytes + 4 * 256
