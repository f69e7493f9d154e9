"""Bit-accurate integer mpGEMM: what an array of each datapath adds up, entry by entry.

Shapes: activations A (M, K) integers of ``activation_bits``; weight codes Q (N, K) of W bits; K is padded with
zero activations to S = ⌈K/k⌉ steps of k. Result D (M, N): sums as the accumulators hold them, modulo
2^accumulator_bits. The value of a code and the datapaths are defined in
:class:`lutscape.hw.machines.lut_tensor_core.Array`.

Whole passes. A ±1 plane cannot be left out, it has no zero. If ``planes_per_cycle`` does not divide W, codes of the
±1 datapaths are recoded offline to W' bits of whole passes: q + 2^(W'-1) - 2^(W-1). All its planes from W-1 on hold
the old top bit, inverted except in plane W'-1; their lookups x, -x … -x add up to x 2^(W-1), because a table and its
roundings are odd: the sums stay the same, bit for bit.

Table lookup (arXiv 2408.06003, sec. 3.1). A group of k weight bits w_{k-1} … w_0 of one plane selects a sum of k
activations. With ±1 planes the table is odd (eq. 4: LUT[w] = -LUT[~w]), so half of it is stored:

    T[i] = -a_{k-1} + Σ_{j<k-1} (2 i_j - 1) a_j,          i = 0 … 2^(k-1) - 1
    lookup(s, i) = s ? -T[i] : T[i]                       with the offline remap (eq. 6)
    s = w_{k-1},   i = s ? ~w_{k-2..0} : w_{k-2..0}

Conventional tables hold T[i] = Σ_j i_j a_j for all 2^k patterns.

Narrow tables. If ``table_bits`` is less than :attr:`Array.exact_entry_bits`, an entry is rounded to
``(T + 2^(shift-1)) >> shift`` (half up; nothing added if shift = 0) and clamped to ±(2^(table_bits-1) - 1), so that
its negative fits as well. The shift is chosen per row, or per table; sums of tables of one shift add up, and the
scale 2^shift is applied with the weight scales.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lutscape.hw.errors import UserError
from lutscape.hw.machines.lut_tensor_core import Array

Ints = npt.NDArray[np.int64]


def code_values(array: Array, codes: Ints, weight_bits: int) -> Ints:
    """Return what weight codes stand for in an array: odd integers (lut, add) or the codes themselves."""
    return 2 * codes - ((1 << weight_bits) - 1) if array.symmetric else codes


def planes_added(array: Array, weight_bits: int) -> int:
    """Return W', the bit planes that the array adds for weights of W bits: those of whole passes if planes are ±1."""
    if not array.symmetric:
        return weight_bits
    return -(-weight_bits // array.planes_per_cycle) * array.planes_per_cycle


def widen(array: Array, codes: Ints, weight_bits: int) -> Ints:
    """Return codes of :func:`planes_added` bits that add up to the same sums."""
    wide = planes_added(array, weight_bits)
    return codes + (1 << wide >> 1) - (1 << weight_bits >> 1)


def bit_planes(codes: Ints, weight_bits: int) -> Ints:
    """Return bits (W, …) of codes (…), plane 0 lowest."""
    return (codes[None] >> np.arange(weight_bits).reshape(-1, *[1] * codes.ndim)) & 1


def grouped(values: Ints, k: int) -> Ints:
    """Return (…, S, k) from (…, K), padded with zeros to S k columns."""
    short = -values.shape[-1] % k
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, short)])
    return padded.reshape(*values.shape[:-1], -1, k)


def patterns(bits: Ints) -> Ints:
    """Return codes (…) from bits (…, k), element 0 lowest."""
    return (bits << np.arange(bits.shape[-1])).sum(axis=-1)


def remap(pattern: Ints, k: int) -> Ints:
    """Return the offline remap of k-bit patterns: sign in bit k-1, index of the stored half below (eq. 6)."""
    low = (1 << (k - 1)) - 1
    sign = pattern >> (k - 1)
    return (sign << (k - 1)) | np.where(sign == 1, ~pattern & low, pattern & low)


def exact_tables(array: Array, activations: Ints) -> Ints:
    """Return entries (…, E) of groups (…, k) before rounding."""
    k = array.k
    index = np.arange(array.entries)
    if array.datapath == "lut":
        signs = np.stack([2 * ((index >> j) & 1) - 1 for j in range(k - 1)] + [np.full(len(index), -1)])
    else:
        signs = np.stack([(index >> j) & 1 for j in range(k)])
    return activations @ signs


def narrow(array: Array, entries: Ints, shift: Ints | int) -> Ints:
    """Round and clamp entries (…, E) to ``table_bits`` by shifts (…, 1) or one number; exact tables pass."""
    if not array.largest_shift:
        return entries
    s = np.asarray(shift, np.int64)
    limit = (1 << (array.table_bits - 1)) - 1
    rounded = (entries + np.where(s > 0, np.int64(1) << np.maximum(s - 1, 0), 0)) >> s
    return np.clip(rounded, -limit, limit)


def tables(array: Array, activations: Ints, shift: Ints | int = 0) -> Ints:
    """Return stored entries (…, E) of activation groups (…, k)."""
    return narrow(array, exact_tables(array, activations), shift)


def lookup(array: Array, table: Ints, codes: Ints) -> Ints:
    """Return table entries (…) for codes (…): remapped codes (lut) or patterns (lut-full, unpu); tables (…, E)."""
    if array.datapath != "lut":
        return np.take_along_axis(table, codes[..., None], axis=-1)[..., 0]
    index = codes & ((1 << (array.k - 1)) - 1)
    value = np.take_along_axis(table, index[..., None], axis=-1)[..., 0]
    return np.where(codes >> (array.k - 1) == 1, -value, value)


def entry_range(array: Array) -> tuple[int, int]:
    """Return the least and the greatest value that a stored table entry can have."""
    greatest = array.k << (array.activation_bits - 1)  # of k activations -2^(activation_bits-1)
    low, high = (1 - greatest, greatest) if array.datapath == "lut" else (-greatest, greatest - array.k)
    if array.largest_shift:
        limit = (1 << (array.table_bits - 1)) - 1
        return max(low, -limit), min(high, limit)
    return low, high


def beat(array: Array, operands: Ints, codes: Ints, position: Ints | int = 0) -> Ints:
    """Return what one beat adds to a sum, (…), before the accumulator's modulus.

    Args:
        array: the design.
        operands: table (…, E), or activations (…, k) of ``add`` and ``mac``.
        codes: (…, planes_per_cycle) remapped codes or patterns of k bits; ``mac``: digits (…, k).
        position: pass of the weight, (…) or one number.
    """
    if array.datapath == "mac":
        sums = (operands * codes).sum(axis=-1)
    elif array.looks_up:
        planes = [lookup(array, operands, codes[..., p]) << p for p in range(array.planes_per_cycle)]
        sums = np.sum(planes, axis=0)
    else:
        signs = 2 * ((codes[..., None] >> np.arange(array.k)) & 1) - 1  # (…, P, k)
        weights = np.int64(1) << np.arange(array.planes_per_cycle)
        sums = ((signs * operands[..., None, :]).sum(axis=-1) * weights).sum(axis=-1)
    return np.asarray(sums << (np.asarray(position, np.int64) * array.digit_bits))


def smallest_shift(array: Array, activations: Ints, group: int | None = None) -> Ints:
    """Return the least shift (M, 1) per row, or (M, S) per ``group`` activations, that clamps no table entry.

    Args:
        array: whose ``table_bits`` must hold the entries.
        activations: (M, K).
        group: activations that share a shift, a multiple of k; None: the whole row.

    Raises:
        UserError: a group that k does not divide.
    """
    if group is not None and group % array.k:
        raise UserError(
            f"table groups of {group} activations are no multiple of k = {array.k}; "
            f"nearest: {max(array.k, round(group / array.k) * array.k)}"
        )
    sums = np.abs(exact_tables(array, grouped(activations, array.k))).max(axis=-1)  # (M, S)
    steps = sums.shape[-1]
    span = steps if group is None else group // array.k
    padded = np.pad(sums, [(0, 0), (0, -steps % span)]).reshape(len(sums), -1, span).max(axis=-1)
    limit, shift = (1 << (array.table_bits - 1)) - 1, np.zeros_like(padded)
    for s in range(array.largest_shift, 0, -1):  # the least s that fits is found last
        fits = ((padded + (1 << (s - 1))) >> s) <= limit
        shift = np.where(fits, s, shift)
    shift = np.where(padded <= limit, 0, shift)
    return shift if group is None else np.repeat(shift, span, axis=1)[:, :steps]


def matmul(array: Array, activations: Ints, codes: Ints, weight_bits: int, shift: Ints | int = 0) -> Ints:
    """Return sums (M, N) of A (M, K) and weight codes (N, K) as the array's accumulators hold them.

    Args:
        array: the design.
        activations: (M, K) integers of ``activation_bits``.
        codes: (N, K) in 0 … 2^W - 1.
        weight_bits: W, at most ``serial_weight_bits``.
        shift: of the tables: one number, (M, 1) or (M, S); ignored where tables are exact.

    Raises:
        UserError: an operand out of range, or weights wider than one run.
    """
    check_operands(array, activations, codes, weight_bits)
    a, q = grouped(activations, array.k), grouped(codes, array.k)  # (M, S, k), (N, S, k)
    if array.looks_up:
        shifts = np.broadcast_to(np.asarray(shift, np.int64), a.shape[:2])[..., None]
        table = tables(array, a, shifts)  # (M, S, E)
        total = np.zeros((len(a), len(q)), np.int64)
        for plane, bits in enumerate(bit_planes(q, weight_bits)):  # (N, S, k)
            code = patterns(bits)
            code = remap(code, array.k) if array.datapath == "lut" else code
            for s in range(a.shape[1]):
                rows = np.broadcast_to(table[:, None, s], (len(a), len(q), array.entries))
                total += lookup(array, rows, np.broadcast_to(code[None, :, s], total.shape)) << plane
    else:
        values = code_values(array, codes, weight_bits)
        total = activations @ values.T
    return wrap(total, array.accumulator_bits)


def wrap(values: Ints, bits: int) -> Ints:
    """Return values modulo 2^bits as two's complement numbers."""
    half = 1 << (bits - 1)
    return ((values + half) & ((1 << bits) - 1)) - half


def check_operands(array: Array, activations: Ints, codes: Ints, weight_bits: int) -> None:
    """Refuse operands that the array cannot take."""
    if not array.integer:
        raise UserError(f"activations of {array.activation_format} are no integers; use mpgemm with Mpgemm.of_array")
    half = 1 << (array.activation_bits - 1)
    if activations.ndim != 2 or codes.ndim != 2 or activations.shape[1] != codes.shape[1]:
        raise UserError(f"need A (M, K) and codes (N, K) of equal K; got {activations.shape} and {codes.shape}")
    if not 1 <= weight_bits <= array.serial_weight_bits:
        raise UserError(
            f"weights of {weight_bits} bits in an array of serial_weight_bits = {array.serial_weight_bits}; "
            f"allowed: 1 … {array.serial_weight_bits}"
        )
    for what, values, low, high in (
        ("activation", activations, -half, half - 1),
        ("weight code", codes, 0, (1 << weight_bits) - 1),
    ):
        bad = values[(values < low) | (values > high)]
        if bad.size:
            raise UserError(f"{what} {int(bad[0])} is outside {low} … {high}")


def largest_sum(array: Array, weight_bits: int, values: int) -> int:
    """Return the largest magnitude that a sum of ``values`` products can reach.

    Exact datapaths: |a| ≤ 2^(activation_bits-1) and |value of a code| ≤ 2^W - 1. Lookup with narrow tables: entries
    of at most 2^(table_bits-1) - 1, plane weights that sum to 2^W - 1, ⌈values/k⌉ lookups. W is at most
    ``serial_weight_bits``: wider weights run several times.
    """
    planes = (1 << min(weight_bits, array.serial_weight_bits)) - 1
    if array.looks_up and array.largest_shift:
        return ((1 << (array.table_bits - 1)) - 1) * planes * -(-values // array.k)
    return (1 << (array.activation_bits - 1)) * planes * values


def accumulator_bits_needed(array: Array, weight_bits: int, values: int) -> int:
    """Return the signed accumulator width that no sum of ``values`` products can overflow."""
    return largest_sum(array, weight_bits, values).bit_length() + 1


def safe_values(array: Array, weight_bits: int) -> int:
    """Return how many products the accumulators can always add without overflow (0: not one step)."""
    limit = (1 << (array.accumulator_bits - 1)) - 1
    if array.looks_up and array.largest_shift:
        return limit // largest_sum(array, weight_bits, array.k) * array.k
    return limit // largest_sum(array, weight_bits, 1)
