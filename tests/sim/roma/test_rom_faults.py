"""Open connections and their correction, against twins that go bit by bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lutscape.hw.errors import UserError
from lutscape.hw.machines.roma import LUnit
from lutscape.models.quantise import rom
from lutscape.sim.roma import faults, golden, secded
from lutscape.sim.roma import words as layout
from lutscape.sim.roma.golden import RomOperand


def words(depth: int = 23, width: int = 30, seed: int = 0) -> np.ndarray:
    bits = np.random.default_rng(seed).integers(0, 2, (depth, width)).astype(np.uint8)
    return np.packbits(bits, axis=1, bitorder="little")


@pytest.mark.parametrize("n", [1, 4, 11, 26, 64])
def test_every_single_error_is_corrected_and_every_double_one_detected(n: int) -> None:
    data = np.random.default_rng(n).integers(0, 2, (1, n)).astype(np.uint8)
    word = np.concatenate([data, secded.encode(data)], axis=1)
    total = word.shape[1]
    clean = secded.decode(word[:, :n], word[:, n:])
    assert not clean.corrected[0]
    assert not clean.detected[0]
    one = np.repeat(word, total, axis=0) ^ np.eye(total, dtype=np.uint8)
    found = secded.decode(one[:, :n], one[:, n:])
    assert (found.data == data).all()
    assert found.corrected.all()
    assert not found.detected.any()
    pairs = [(i, j) for i in range(total) for j in range(i)]
    two = np.repeat(word, len(pairs), axis=0)
    for row, (i, j) in enumerate(pairs):
        two[row, [i, j]] ^= 1
    found = secded.decode(two[:, :n], two[:, n:])
    assert found.detected.all()
    assert not found.corrected.any()
    assert (found.data == two[:, :n]).all()


def test_sizes_of_the_code() -> None:
    """(72, 64) is the usual code of memories; (266, 256) that of OpenTallas' ROMs."""
    assert [secded.check_bits(n) for n in (64, 256, 274)] == [8, 10, 10]
    with pytest.raises(UserError, match="SECDED: 3 check bits; 274 data bits have 10"):
        secded.decode(np.zeros((1, 274), np.uint8), np.zeros((1, 3), np.uint8))


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(1, 30), width=st.integers(1, 40), seed=st.integers(0, 10**6))
def test_all_open_reads_zero_and_none_open_reads_what_is_stored(depth: int, width: int, seed: int) -> None:
    stored = words(depth, width, seed)
    rng = np.random.default_rng(seed)
    bits = np.unpackbits(stored, axis=1, count=width, bitorder="little")
    for structure in faults.STRUCTURES:
        none, nothing = faults.inject(stored, width, 0.0, rng, structure)  # type: ignore[arg-type]
        assert (none == stored).all()
        assert nothing.opens == nothing.wrong_bits == 0
        every, damage = faults.inject(stored, width, 1.0, rng, structure)  # type: ignore[arg-type]
        assert not every.any()
        assert damage.opens == damage.connections
        assert damage.wrong_bits == bits.sum()
    blocks = np.zeros((-(-depth // 4) * 4, width), np.uint8)
    blocks[:depth] = bits
    assert damage.connections == blocks.reshape(-1, 4, width).any(axis=1).sum()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), structure=st.sampled_from(faults.STRUCTURES))
def test_faults_only_clear_bits_and_in_blocks_of_four(seed: int, structure: str) -> None:
    stored = words(24, 30, seed)
    read, damage = faults.inject(stored, 30, 0.05, np.random.default_rng(seed), structure)  # type: ignore[arg-type]
    before, after = (np.unpackbits(w, axis=1, count=30, bitorder="little") for w in (stored, read))
    assert ((after == before) | (after == 0)).all()
    changed = (before != after).reshape(6, 4, 30)
    assert changed.sum() == damage.wrong_bits == damage.left_bits
    if structure == "block":
        hit = changed.any(axis=1)
        assert hit.sum() == damage.opens
        assert (after.reshape(6, 4, 30).any(axis=1) & hit).sum() == 0
    else:
        assert changed.sum() == damage.opens


def test_the_number_of_faults_is_binomial() -> None:
    stored = words(400, 274)
    _, damage = faults.inject(stored, 274, 1e-2, np.random.default_rng(0), "standard")
    expected = damage.connections * 1e-2
    assert abs(damage.opens - expected) < 4 * np.sqrt(expected)


@pytest.mark.parametrize("structure", faults.STRUCTURES)
def test_correction_mends_all_words_with_one_wrong_bit(structure: str) -> None:
    stored = words(400, 274, 3)
    bare, before = faults.inject(stored, 274, 1e-4, np.random.default_rng(1), structure)  # type: ignore[arg-type]
    assert (bare != stored).any()
    assert before.left_bits == before.wrong_bits > 0
    mended, damage = faults.inject(stored, 274, 1e-4, np.random.default_rng(1), structure, True)  # type: ignore[arg-type]
    assert (mended == stored).all()
    assert damage.corrected > 0
    assert damage.detected == damage.left_bits == 0


def test_two_wrong_bits_are_left_and_known() -> None:
    stored = words(8, 274, 3)
    _, damage = faults.inject(stored, 274, 0.5, np.random.default_rng(1), "standard", True)
    assert damage.detected > 0
    assert damage.left_bits > 0


@settings(max_examples=20, deadline=None)
@given(form=st.sampled_from(["uint2", "uint4"]), seed=st.integers(0, 10**6))
def test_an_undamaged_operand_is_the_golden_one(form: str, seed: int) -> None:
    unit = LUnit(group=8)
    w = rom.quantise("w", np.random.default_rng(seed).standard_normal((5, 13)).astype(np.float32), form, 8)
    read, damage = faults.damaged(unit, w, 0.0, np.random.default_rng(0), "block", False)
    wanted = RomOperand.of(unit, w)
    assert (read.values == wanted.values).all()
    assert (read.scales == wanted.scales).all()
    assert damage.wrong_bits == 0
    assert (faults.matrix(read, 13) == w.dequantise()).all()


def test_scales_outside_the_rom_stay_as_they_are() -> None:
    unit = LUnit(group=8, encoding="ternary", zero_bits=0, scale_bits=0)
    w = rom.quantise("w", np.random.default_rng(0).standard_normal((5, 13)).astype(np.float32), "ternary", 8, True)
    read, _ = faults.damaged(unit, w, 0.0, np.random.default_rng(0), "block", False)
    assert (faults.matrix(read, 13) == w.dequantise()).all()


def test_damaged_words_are_read_as_an_l_unit_does() -> None:
    """Codes 3, zero point 1, scale 1: a code loses bit 0, the zero point all, the scale a bit of its exponent."""
    unit = LUnit(group=8)
    codes, one = np.full((1, 8), 3, np.uint8), np.ones((1, 1), np.uint8)
    w = rom.RomWeight(codes, one.astype(np.float32), one, 8, 2, "uint")
    packed = layout.pack(unit, w)
    bits = np.unpackbits(packed, axis=1, count=34, bitorder="little")
    bits[0, [0, 16]] = 0  # bit 0 of the first code, and the zero point
    bits[0, 18 + 10] = 0  # the exponent 15 becomes 14
    read = faults.operand(unit, layout.layout(unit, 1, 8, 2), np.packbits(bits, axis=1, bitorder="little"))
    assert read.values[0, :, 0].tolist() == [2] + [3] * 7
    assert read.scales.tolist() == [[0.5]]
    assert golden.accumulate(read, golden.align(unit, np.ones((1, 8), np.float32))).tolist() == [[11.5]]


@pytest.mark.parametrize(("rate", "structure", "text"), [
    (1.5, "block", "fault rate 1.5; allowed: 0 … 1"),
    (0.1, "blok", "unknown ROM structure 'blok' (did you mean 'block'?); allowed: block, standard"),
])  # fmt: skip
def test_what_is_refused(rate: float, structure: str, text: str) -> None:
    with pytest.raises(UserError) as error:
        faults.inject(words(), 30, rate, np.random.default_rng(0), structure)  # type: ignore[arg-type]
    assert str(error.value) == text
