"""Element-wise tables of any base: base 2 is the golden model's bit plane, patterns and mirrors come back."""

from __future__ import annotations

import numpy as np
import pytest

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import elut, golden, kernels_loops
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.mpgemm_weights import LookupWeights

CASES = [(2, 2), (2, 4), (2, 5), (3, 1), (3, 3), (3, 5), (4, 2), (5, 2), (8, 2), (16, 1), (16, 3)]


def test_three_trits_take_five_bits_and_five_take_eight() -> None:
    """bitnet.cpp, arXiv 2502.11880, sec. 3: 27 patterns, a sign and 4 bits for 14 entries."""
    assert (elut.half(3, 3), elut.index_bits(3, 3), elut.select_bits(3, 3)) == (14, 4, 5)
    assert elut.select_bits(3, 5) == 8
    assert [elut.select_bits(2, k) for k in (2, 4, 6)] == [2, 4, 6]


@pytest.mark.parametrize("k", [2, 3, 4, 5])
def test_base_2_is_the_golden_bit_plane(k: int) -> None:
    array = Array(datapath="lut", m=1, n=1, k=k, count=1)
    every = np.arange(2**k)
    np.testing.assert_array_equal(elut.remap(every, 2, k), golden.remap(every, k))
    a = np.random.default_rng(k).integers(-128, 128, (7, k))
    np.testing.assert_array_equal(a @ elut.coefficients(2, k), golden.exact_tables(array, a))


@pytest.mark.parametrize(("base", "k"), CASES)
def test_every_pattern_selects_its_sum(base: int, k: int) -> None:
    a = np.random.default_rng(base).integers(-1000, 1000, k)
    every = np.arange(base**k)
    digits = every[:, None] // base ** np.arange(k) % base
    values = digits - (base - 1) // 2 if base % 2 else 2 * digits - (base - 1)
    np.testing.assert_array_equal(elut.patterns(digits, base), every)
    select = elut.remap(every, base, k)
    table = np.broadcast_to(a @ elut.coefficients(base, k), (len(every), elut.half(base, k)))
    np.testing.assert_array_equal(elut.lookup(table, select, base, k), values @ a)
    assert select.max() < 1 << elut.select_bits(base, k)


@pytest.mark.parametrize("bits", [1, 3, 5, 8, 12])
def test_packed_fields_come_back(bits: int) -> None:
    fields = np.random.default_rng(bits).integers(0, 1 << bits, (3, 4, 13))
    packed = elut.pack(fields, bits)
    assert packed.shape == (3, 4, -(-13 * bits // 8))
    np.testing.assert_array_equal(elut.unpack(packed, bits, 13), fields)


@pytest.mark.parametrize("weights", ["int1", "int2", "int3", "int4", "ternary", "base3", "base5", "base16"])
@pytest.mark.parametrize("columns", [1, 12, 25])
def test_compiled_remap_and_memory_image(weights: str, columns: int) -> None:
    design = Mpgemm(weights=weights, k=3)
    codes = np.random.default_rng(columns).integers(0, design.levels, (5, columns)).astype(np.uint8)
    laid_out = LookupWeights(design, codes)
    np.testing.assert_array_equal(kernels_loops.selects(laid_out), laid_out.selects)
    bits = elut.select_bits(design.base, 3)
    np.testing.assert_array_equal(elut.unpack(laid_out.image(), bits, laid_out.steps), laid_out.selects)
    if columns == 12:
        assert laid_out.image().nbytes == design.plane_count * 5 * -(-4 * bits // 8)
    assert design.bits_per_weight == design.plane_count * bits / 3
