"""The integer golden model: exact where tables are, a scalar twin where they are rounded, bounds, error texts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lut_arrays import arrays

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import golden


def array(datapath: str = "lut", **changes: int) -> Array:
    return Array.model_validate({"datapath": datapath, "m": 2, "n": 2, "k": 4, "count": 1} | changes)


def operands(design: Array, seed: int, weight_bits: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    half = 1 << (design.activation_bits - 1)
    a = rng.integers(-half, half, (3, depth))
    if seed % 3 == 0:
        a = rng.choice(np.array([-half, half - 1]), (3, depth))
    return a, rng.integers(0, 1 << weight_bits, (2, depth))


def scalar_sum(design: Array, a: list[int], q: list[int], weight_bits: int, shift: int) -> int:
    """One sum, entry by entry, with Python's integers."""
    k, total = design.k, 0
    if not design.looks_up:
        for x, code in zip(a, q, strict=True):
            total += x * (2 * code - (2**weight_bits - 1) if design.datapath == "add" else code)
    else:
        a, q = a + [0] * (-len(a) % k), q + [0] * (-len(q) % k)
        limit = 2 ** (design.table_bits - 1) - 1
        for at in range(0, len(a), k):
            for plane in range(weight_bits):
                bits = [q[at + j] >> plane & 1 for j in range(k)]
                negate = False
                if design.datapath == "lut":
                    negate = bits[-1] == 1  # the stored half has a minus sign before the last activation
                    bits = [1 - b for b in bits] if negate else bits
                    entry = sum(x if b else -x for x, b in zip(a[at : at + k], bits, strict=True))
                else:
                    entry = sum(x for x, b in zip(a[at : at + k], bits, strict=True) if b)
                if design.largest_shift:
                    # round half up: floor(x / 2^shift + 1/2)
                    entry = (2 * entry + 2**shift) // 2 ** (shift + 1)
                    entry = max(-limit, min(limit, entry))
                total += (-entry if negate else entry) * 2**plane
    wrapped = total % 2**design.accumulator_bits
    return wrapped - 2**design.accumulator_bits if wrapped >= 2 ** (design.accumulator_bits - 1) else wrapped


@settings(max_examples=150, deadline=None)
@given(design=arrays(), seed=st.integers(0, 10**6), depth=st.integers(1, 13), data=st.data())
def test_matmul_equals_the_scalar_twin(design: Array, seed: int, depth: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    a, q = operands(design, seed, bits, depth)
    shift = data.draw(st.integers(0, design.largest_shift))
    found = golden.matmul(design, a, q, bits, shift)
    for i in range(len(a)):
        for j in range(len(q)):
            assert found[i, j] == scalar_sum(design, a[i].tolist(), q[j].tolist(), bits, shift)


@settings(max_examples=150, deadline=None)
@given(design=arrays(exact=True), seed=st.integers(0, 10**6), depth=st.integers(1, 40), data=st.data())
def test_exact_tables_give_exact_products(design: Array, seed: int, depth: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    a, q = operands(design, seed, bits, depth)
    exact = a @ golden.code_values(design, q, bits).T
    assert (golden.matmul(design, a, q, bits) == golden.wrap(exact, design.accumulator_bits)).all()


@settings(max_examples=60, deadline=None)
@given(design=arrays(("lut", "lut-full")), seed=st.integers(0, 10**6), depth=st.integers(1, 12), data=st.data())
def test_a_shift_per_row_or_per_table(design: Array, seed: int, depth: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    a, q = operands(design, seed, bits, depth)
    steps = -(-depth // design.k)
    shifts = np.random.default_rng(seed).integers(0, design.largest_shift + 1, (3, steps))
    a_steps, q_steps = golden.grouped(a, design.k), golden.grouped(q, design.k)
    parts = [
        golden.matmul(design, a_steps[i : i + 1, s], q_steps[:, s], bits, int(shifts[i, s]))
        for s in range(steps)
        for i in range(3)
    ]
    total = np.array(parts).reshape(steps, 3, 2).sum(axis=0)
    assert (golden.matmul(design, a, q, bits, shifts) == golden.wrap(total, design.accumulator_bits)).all()
    same = np.broadcast_to(shifts[:, :1], shifts.shape)
    assert (golden.matmul(design, a, q, bits, shifts[:, :1]) == golden.matmul(design, a, q, bits, same)).all()


@settings(max_examples=100, deadline=None)
@given(design=arrays(), seed=st.integers(0, 10**6), data=st.data())
def test_beats_add_up_to_the_product(design: Array, seed: int, data: st.DataObject) -> None:
    """Whole passes of recoded digits give the sums of the W planes themselves, rounded tables included."""
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    shift = data.draw(st.integers(0, design.largest_shift))
    a, q = operands(design, seed, bits, design.k)
    wide, digit = golden.planes_added(design, bits), design.digit_bits
    recoded = golden.widen(design, q, bits)
    assert (golden.code_values(design, recoded, wide) == golden.code_values(design, q, bits)).all()
    total = 0
    for position in range(-(-bits // digit)):
        digits = recoded >> (position * digit)
        if design.datapath == "mac":
            codes = digits & ((1 << digit) - 1)
        else:
            codes = np.stack([golden.patterns(digits >> p & 1) for p in range(digit)], axis=-1)
            codes = golden.remap(codes, design.k) if design.datapath == "lut" else codes
        rows = golden.tables(design, a, shift) if design.looks_up else a
        rows = np.broadcast_to(rows[:, None], (3, 2, rows.shape[-1]))
        total = total + golden.beat(design, rows, np.broadcast_to(codes, (3, 2, codes.shape[-1])), position)
    expected = golden.matmul(design, a, q, bits, shift)
    assert (golden.wrap(np.asarray(total), design.accumulator_bits) == expected).all()


def test_known_answer_of_one_table() -> None:
    """a = (1, 2, 4, 8): T[i] = -8 ± 4 ± 2 ± 1, bit j of i adds a_j."""
    table = golden.tables(array(activation_bits=5), np.array([1, 2, 4, 8]))
    assert table.tolist() == [-15, -13, -11, -9, -7, -5, -3, -1]
    full = golden.tables(array("lut-full", activation_bits=5), np.array([1, 2, 4, 8]))
    assert full.tolist() == list(range(16))
    # eq. 6: 1011 -> sign 1, index ~011 = 100; T[4] = -8 + 4 - 2 - 1 = -7, negated 7 = 8 - 4 + 2 + 1
    code = golden.remap(np.array(0b1011), 4)
    assert code == 0b1100
    assert golden.lookup(array(activation_bits=5), table, code) == 7


def test_known_answer_of_rounding() -> None:
    """INT8 tables of INT8 activations, k = 4: entries of up to ±512 shift by up to 3; half goes up."""
    design = array()
    assert (design.exact_entry_bits, design.largest_shift) == (11, 3)
    exact = np.array([512, 511, 508, 4, 3, -4, -5, -12, -511])
    assert golden.narrow(design, exact, 3).tolist() == [64, 64, 64, 1, 0, 0, -1, -1, -64]
    assert golden.narrow(design, exact, 0).tolist() == [127, 127, 127, 4, 3, -4, -5, -12, -127]


@settings(max_examples=100, deadline=None)
@given(design=arrays(("lut", "lut-full")), seed=st.integers(0, 10**6))
def test_entry_range_is_reached(design: Array, seed: int) -> None:
    half = 1 << (design.activation_bits - 1)
    least = np.full(design.k, -half)
    mixed = np.append(np.full(design.k - 1, -half), half - 1)
    greatest = np.full(design.k, half - 1)
    found = golden.tables(design, np.stack([least, mixed, greatest]))
    low, high = golden.entry_range(design)
    assert (found.min(), found.max()) == (low, high) or design.largest_shift
    random = np.random.default_rng(seed).integers(-half, half, (20, design.k))
    shift = seed % (design.largest_shift + 1)
    assert low <= golden.tables(design, random, shift).min()
    assert golden.tables(design, random, shift).max() <= high


@settings(max_examples=100, deadline=None)
@given(design=arrays(("lut", "lut-full", "unpu")), seed=st.integers(0, 10**6), groups=st.integers(1, 3))
def test_smallest_shift_is_minimal(design: Array, seed: int, groups: int) -> None:
    a, _ = operands(design, seed, 1, 4 * design.k)
    a = a >> np.random.default_rng(seed).integers(0, design.activation_bits, (3, 1))
    limit = 2 ** (design.table_bits - 1) - 1
    span = groups * design.k
    shifts = golden.smallest_shift(design, a, span)
    exact = golden.exact_tables(design, golden.grouped(a, design.k))  # (M, S, E)
    assert shifts.shape == exact.shape[:2]
    for i in range(3):
        for s in range(shifts.shape[1]):
            first = s // groups * groups
            worst = int(np.abs(exact[i, first : first + groups]).max())
            fitting = [
                t
                for t in range(design.largest_shift + 1)
                if (worst + (2 ** (t - 1) if t else 0)) // 2**t <= limit  # what narrow() would clamp
            ]
            assert shifts[i, s] == min(fitting)
    rows = golden.smallest_shift(design, a)
    assert (rows == golden.smallest_shift(design, a, 4 * design.k).max(axis=1, keepdims=True)).all()


@settings(max_examples=60, deadline=None)
@given(design=arrays(), depth=st.integers(1, 30), data=st.data())
def test_bounds_hold_and_are_tight(design: Array, depth: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    design = design.model_copy(update={"accumulator_bits": 48})
    bound = golden.largest_sum(design, bits, depth)
    half = 1 << (design.activation_bits - 1)
    found = []
    for value in (-half, half - 1):
        for code in (0, (1 << bits) - 1):
            a, q = np.full((1, depth), value), np.full((1, depth), code)
            found.append(int(golden.matmul(design, a, q, bits, 0)[0, 0]))
    worst = max(abs(f) for f in found)
    assert worst <= bound
    if depth % design.k == 0 or not (design.looks_up and design.largest_shift):
        assert worst == bound
    needed = golden.accumulator_bits_needed(design, bits, depth)
    assert -(2 ** (needed - 1)) <= -bound
    assert bound <= 2 ** (needed - 1) - 1 < 2 * bound + 1


@settings(max_examples=100, deadline=None)
@given(design=arrays(), width=st.integers(12, 30), data=st.data())
def test_safe_values_is_the_last_safe_number(design: Array, width: int, data: st.DataObject) -> None:
    bits = data.draw(st.integers(1, design.serial_weight_bits))
    design = design.model_copy(update={"accumulator_bits": width})
    safe = golden.safe_values(design, bits)
    limit = 2 ** (width - 1) - 1
    assert safe == 0 or golden.largest_sum(design, bits, safe) <= limit
    assert golden.largest_sum(design, bits, safe + 1) > limit


def test_the_bound_is_reached_by_the_packaged_array() -> None:
    """INT8 tables, W4, K = 64: 127 · 15 · 16 = 30480, 16 bits; K = 4096 needs 22."""
    design = array()
    a, q = np.full((1, 64), -128), np.zeros((1, 64), np.int64)
    assert golden.matmul(design, a, q, 4)[0, 0] == 127 * 15 * 16 == golden.largest_sum(design, 4, 64)
    assert golden.accumulator_bits_needed(design, 4, 64) == 16
    assert golden.accumulator_bits_needed(design, 4, 4096) == 22
    assert golden.safe_values(array(accumulator_bits=16), 4) == 32767 // (127 * 15) * 4 == 68


@pytest.mark.parametrize(
    ("a", "q", "bits", "text"),
    [
        ([[128]], [[0]], 4, "activation 128 is outside -128 … 127"),
        ([[0]], [[16]], 4, "weight code 16 is outside 0 … 15"),
        ([[0]], [[-1]], 2, "weight code -1 is outside 0 … 3"),
        ([[0]], [[0]], 5, "weights of 5 bits in an array of serial_weight_bits = 4; allowed: 1 … 4"),
        ([[0]], [[0]], 0, "weights of 0 bits in an array of serial_weight_bits = 4; allowed: 1 … 4"),
        ([[0, 0]], [[0]], 4, r"need A (M, K) and codes (N, K) of equal K; got (1, 2) and (1, 1)"),
        ([0], [0], 4, r"need A (M, K) and codes (N, K) of equal K; got (1,) and (1,)"),
    ],
)
def test_bad_operands(a: list, q: list, bits: int, text: str) -> None:
    with pytest.raises(UserError) as error:
        golden.matmul(array(), np.array(a), np.array(q), bits)
    assert str(error.value) == text


def test_a_shift_group_that_k_does_not_divide() -> None:
    with pytest.raises(UserError) as error:
        golden.smallest_shift(array(), np.zeros((1, 16), np.int64), 6)
    assert str(error.value) == "table groups of 6 activations are no multiple of k = 4; nearest: 8"
