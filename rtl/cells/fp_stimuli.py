"""Random and corner operands of builders, arrays and units of floating-point activations, and their functional bins.

As in :mod:`.array_stimuli`, corners come first and reach every bin whatever the count.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cells import array_stimuli, fp_numbers
from lutscape.sim.lut_tensor_core import float_array
from lutscape.sim.lut_tensor_core.float_array import Floats, Ints

DEEP = 24
"""Steps of the tiles that drive sums up to overflow."""
STYLES = 10

Tile = tuple[Ints, Ints, int]
"""Codes of activations (m, K), codes of weights (n, K), weight bits."""


def activations(array: Array, rng: np.random.Generator, shape: tuple[int, ...], style: int) -> Ints:
    """Return codes: largest of one sign (0, 1), of either sign (2), edges of every class (3), equal magnitudes (4),
    subnormal (5), any number (6), two magnitudes that meet in ties (7), Gaussian (8), zeros of either sign (9)."""
    form = array.activation
    sign = rng.integers(0, 2, shape) << (form.bits - 1)
    if style in (0, 1):
        return np.full(shape, form.largest | style << (form.bits - 1), np.int64)
    if style == 2:
        return (form.largest - rng.integers(0, 1 << form.mantissa_bits, shape)) | sign
    if style == 3:
        return rng.choice(fp_numbers.edges(form), shape)
    if style == 4:
        return np.broadcast_to(fp_numbers.finite(form, rng, (*shape[:-1], 1)), shape) ^ sign
    if style == 5:
        return rng.integers(0, 1 << form.mantissa_bits, shape) | sign
    if style == 6:
        return fp_numbers.finite(form, rng, shape)
    if style == 7:
        one = (form.bias + 2) << form.mantissa_bits
        low = one - ((form.mantissa_bits + 1) << form.mantissa_bits)
        odd = one + rng.integers(0, 1 << form.mantissa_bits, shape)
        return np.where(rng.random(shape) < 0.5, odd, np.maximum(low, 1)) | sign
    return sign if style == 9 else fp_numbers.near_one(form, rng, shape)


def groups(array: Array, rng: np.random.Generator, count: int) -> Ints:
    """Return codes of activation groups (n, k) for a builder."""
    form, k = array.activation, array.k
    each = fp_numbers.edges(form)
    single = np.stack([np.roll(np.resize(each, k * len(each)), 5 * j) for j in range(k)], axis=1)
    alone = np.zeros((k * len(each), k), np.int64)  # one activation against zeros
    alone[np.arange(len(alone)), np.arange(len(alone)) % k] = np.repeat(each, k)
    pairs = np.zeros((len(each) + 1, k), np.int64)
    pairs[:-1, 0] = pairs[:-1, 1] = each
    pairs[-1, :2] = form.largest + form.has_infinity, form.largest
    left, right, _ = fp_numbers.pairs(form, form, 1, rng, 1)
    met = []  # in each adder of neighbours, and behind it
    for i, j in ((0, 1), (0, 2), (2, 3)):
        if j < k:
            met.append(np.zeros((len(left), k), np.int64))
            met[-1][:, i], met[-1][:, j] = left, right
    styled = [activations(array, rng, (max(24, count // STYLES), k), s) for s in range(STYLES)]
    return np.concatenate([single, alone, alone | 1 << (form.bits - 1), pairs, *met, *styled])


def table_bins(array: Array, numbers: Floats) -> dict[str, np.ndarray]:
    """Return hits of the classes of entries of activations (…, k), by how they came about."""
    table = float_array.entries(array, numbers)
    codes = float_array.codes(table, array.entry)
    usable = np.isfinite(numbers).all(axis=-1, keepdims=True)
    some = usable & (numbers != 0).any(axis=-1, keepdims=True)
    found = fp_numbers.classes(array.entry, codes)
    bins = {
        "entry 0 by cancellation": some & (table == 0),
        "entry +0": found["+0"],
        "entry -0": found["-0"],
        "entry normal": found["normal"],
        "entry NaN": found["NaN"],
    }
    if array.activation.emin - array.activation.mantissa_bits < array.entry.emin:
        bins["entry subnormal"] = found["subnormal"] & usable
    if array.activation == array.entry:  # a wider one holds k activations
        top = np.abs(table) == array.entry.max_value
        saturates = array.float_overflow == "saturate"
        over = usable & (top if saturates else ~np.isfinite(table))
        bins["entry overflows"] = over
    if array.activation.has_infinity:
        endless = np.isinf(numbers)
        bins["two infinite activations"] = (endless.sum(axis=-1) == 2) & ~np.isnan(numbers).any(axis=-1)
        bins["infinite and largest activation"] = endless.any(axis=-1) & (
            np.abs(numbers) == array.activation.max_value
        ).any(axis=-1)
    if infinite_entries(array):
        bins["entry infinite"] = found["infinity"]
    return bins


def random_tile(array: Array, rng: np.random.Generator, bits: int, steps: int) -> Tile:
    """Return a tile of random style."""
    a = activations(array, rng, (array.m, steps, array.k), int(rng.integers(2, STYLES)))
    q = array_stimuli.codes(rng, (array.n, steps * array.k), bits, int(rng.integers(0, 6)))
    return a.reshape(array.m, -1), q, bits


def corner_tiles(array: Array, rng: np.random.Generator) -> Iterator[Tile]:
    """Yield tiles that hit every bin together."""
    widest, k = array.serial_weight_bits, array.k
    for a_style in (0, 1):
        for q_style in (0, 1):
            a = activations(array, rng, (array.m, DEEP * k), a_style)
            yield a, array_stimuli.codes(rng, (array.n, DEEP * k), widest, q_style), widest
    bits = (np.arange(1 << k)[:, None] >> np.arange(k)) & 1  # (2^k, k): every pattern in every plane
    for start in range(0, len(bits), 16):
        part = bits[start : start + 16].reshape(1, -1)
        q = np.repeat(part * ((1 << widest) - 1), array.n, axis=0)
        for codes in (q, ((1 << widest) - 1) - q):
            yield activations(array, rng, (array.m, q.shape[1]), 8), codes, widest
    for style in range(2, STYLES):
        for steps in (1, 2, 3, 6, 6, 6):
            a = activations(array, rng, (array.m, steps, k), style).reshape(array.m, -1)
            yield a, array_stimuli.codes(rng, (array.n, steps * k), widest, 3), widest
    far = np.array([[2, 6, 5, 4, 7, 8]])  # magnitudes far apart in one sum
    for _ in range(8):
        a = np.concatenate([activations(array, rng, (array.m, k), int(s)) for s in rng.permuted(far)[0]], axis=1)
        yield a, array_stimuli.codes(rng, (array.n, a.shape[1]), widest, 3), widest
    yield from cancelling_tiles(array)
    yield from tie_tiles(array)
    for width in range(1, widest + 1):
        for steps in (1, 2):
            yield random_tile(array, rng, width, steps)


def cancelling_tiles(array: Array) -> Iterator[Tile]:
    """Yield tiles that add an activation, subtract it, and add it again: a number, the largest one, an infinity; then
    pairs that cancel inside a table, and the largest one over and over."""
    form, k = array.activation, array.k
    one = (form.bias << form.mantissa_bits) + 1
    codes = [one, form.largest] + [form.largest + 1] * form.has_infinity
    q = np.broadcast_to(np.repeat([1, 0, 1], k), (array.n, 3 * k)).astype(np.int64)  # of one bit
    for code in codes:
        a = np.zeros((array.m, 3, k), np.int64)
        a[:, :, 0] = code
        yield a.reshape(array.m, -1), q, 1
    inside = [(one, one)] + [(form.largest + 1, form.largest + 1), (form.largest + 1, form.largest)] * form.has_infinity
    for pair in inside:
        pair_row = np.zeros((array.m, k), np.int64)
        pair_row[:, :2] = pair
        for second in (0, 1):
            signs = np.ones((array.n, k), np.int64)
            signs[:, 1] = second
            yield pair_row, signs, 1
    a = np.zeros((array.m, DEEP, k), np.int64)
    a[:, :, 0] = form.largest
    widest = array.serial_weight_bits
    for code in (0, (1 << widest) - 1):
        yield a.reshape(array.m, -1), np.full((array.n, DEEP * k), code), widest


def tie_tiles(array: Array) -> Iterator[Tile]:
    """Yield tiles whose last addition cuts: half of the last place of an even sum, of an odd one; less, more."""
    form, m = array.activation, array.total.mantissa_bits
    least = form.emin - form.mantissa_bits
    unit, high = 2.0**least, 2.0 ** (least + m + 1)
    for numbers in ([high, unit], [high, 2 * unit, unit], [4 * high, unit], [4 * high, 5 * unit]):
        if numbers[0] > form.max_value:
            continue
        a = np.zeros((array.m, len(numbers), array.k), np.int64)
        a[:, :, 0] = float_array.codes(np.array(numbers), form)
        row = a.reshape(array.m, -1)
        ones = np.ones((array.n, row.shape[1]), np.int64)  # of one bit: added as they are
        yield row, ones, 1
        yield np.where(row == 0, 0, row | 1 << (form.bits - 1)), ones, 1


def tiles(array: Array, rng: np.random.Generator, count: int) -> list[Tile]:
    """Return about ``count`` tiles of all weight widths and mostly few steps, the corners first."""
    out = list(corner_tiles(array, rng))
    while len(out) < count:
        bits = int(rng.integers(1, array.serial_weight_bits + 1))
        out.append(random_tile(array, rng, bits, int(rng.choice([1, 1, 1, 2, 2, 3, 5]))))
    return out


def largest_entry(array: Array) -> float:
    """Return the largest finite entry."""
    return min(array.entry.max_value, array.k * array.activation.max_value)


def infinite_entries(array: Array) -> bool:
    """Return whether entries can be infinite."""
    return array.float_overflow == "ieee" and array.entry.has_infinity and array.activation.has_infinity


def sum_bins(array: Array, sums: Floats, terms: Floats) -> dict[str, int]:
    """Return hits of the additions ``sums + terms`` of an array that its formats can reach."""
    form, low, largest = array.total, array.activation, largest_entry(array) * 2.0 ** (array.most_passes - 1)
    bins = fp_numbers.sum_bins(form, sums, terms, largest, array.entry.has_infinity)
    reached = {"exact", "cancels to +0", "carries", "loses places", "NaN operand"}
    if DEEP * ((1 << array.serial_weight_bits) - 1) * low.max_value > form.max_value:
        reached |= {"overflow up", "overflow down"}
    if infinite_entries(array):
        reached |= {"infinite sum of infinities", "infinities of opposite signs"}
    span = np.frexp(largest)[1] - (low.emin - low.mantissa_bits)
    if span > form.mantissa_bits + 4:  # two entries are too far apart for one sum
        reached |= {"rounded down", "rounded up", "tie to even, down", "tie to even, up", "beyond the last place"}
    return {name: int(np.count_nonzero(flags)) for name, flags in bins.items() if name in reached}
