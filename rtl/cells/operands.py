"""How operands of an array travel: fields of one row and one column, and matrices as beats of whole tiles.

Channel ``a`` carries one row operand per row: a table or its k activations. Channel ``w`` carries one column
operand per column: ``planes_per_cycle`` lanes of k bits (sign and index of a lookup, or the raw pattern), or k digits
of a multiplier. Entry 0 of a conventional table is the empty sum, always zero: it is neither sent nor stored.
"""

from __future__ import annotations

import numpy as np

from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.rtl.cell import Beats, Field
from lutscape.rtl.cells.text import index_bits, signed_bits
from lutscape.sim.lut_tensor_core import array_timing, golden
from lutscape.sim.lut_tensor_core.golden import Ints


def stored_entries(array: Array) -> int:
    """Return the entries of a table that have to be stored."""
    return array.entries - (array.datapath != "lut")


def entry_bits(array: Array) -> int:
    """Return the bits that hold every value of an entry: ``table_bits``, or fewer if those are not needed."""
    if not array.integer:
        return array.table_bits
    return signed_bits(*golden.entry_range(array))


def row_field(array: Array, rows: int) -> Field:
    """Return the operands of some rows: entry (or activation) j of row i at lane i E + j."""
    if array.looks_up:
        return Field("entries", entry_bits(array), rows * stored_entries(array), array.integer, "table of each row")
    return Field("values", array.activation_bits, rows * array.k, array.integer, "k activations of each row")


def column_field(array: Array, columns: int) -> Field:
    """Return the operands of some columns: plane p of column j at lane j P + p, digit i at lane j k + i."""
    if array.datapath == "mac":
        return Field("codes", array.multiplier_weight_bits, columns * array.k, False, "k weight digits of each column")
    meaning = {"lut": "sign (top bit) and table index", "add": "signs of the activations"}
    lanes = columns * array.planes_per_cycle
    return Field("codes", array.k, lanes, False, meaning.get(array.datapath, "table index") + ", per column and plane")


def position_fields(array: Array) -> tuple[Field, ...]:
    """Return the field that says which pass of the weight a beat is; none if there is only one."""
    if array.most_passes == 1:
        return ()
    return (Field("position", index_bits(array.most_passes), 1, False, f"shift by {array.digit_bits} bits each"),)


def unpack_rows(array: Array, lanes: Ints) -> Ints:
    """Return operands (beats, rows, E or k) from lanes of channel ``a``; the entry that is not sent is put back."""
    if not array.looks_up:
        return lanes.reshape(len(lanes), -1, array.k)
    entries = lanes.reshape(len(lanes), -1, stored_entries(array))
    missing = array.entries - stored_entries(array)
    return np.pad(entries, [(0, 0), (0, 0), (missing, 0)])


def pack_rows(array: Array, operands: Ints) -> Ints:
    """Return lanes (beats, …) from operands (beats, rows, E or k); the inverse of :func:`unpack_rows`."""
    if array.looks_up:
        operands = operands[..., array.entries - stored_entries(array) :]
    return operands.reshape(len(operands), -1)


def unpack_columns(array: Array, lanes: Ints) -> Ints:
    """Return codes (beats, columns, P or k) from lanes of channel ``w``."""
    return lanes.reshape(len(lanes), -1, array.k if array.datapath == "mac" else array.planes_per_cycle)


def weight_beats(array: Array, codes: Ints, weight_bits: int) -> dict[str, Ints]:
    """Return channel ``w`` of one tile of codes (n, K): S P beats, step by step, lowest digits first."""
    q = golden.grouped(golden.widen(array, codes, weight_bits), array.k)  # (n, S, k)
    steps, passes = q.shape[1], array_timing.passes(array, weight_bits)
    if array.datapath == "mac":
        bits = array.multiplier_weight_bits
        digits = (q[None] >> (bits * np.arange(passes)).reshape(-1, 1, 1, 1)) & ((1 << bits) - 1)  # (P, n, S, k)
        lanes = digits.transpose(2, 0, 1, 3)  # (S, P, n, k)
    else:
        planes = golden.patterns(golden.bit_planes(q, passes * array.planes_per_cycle))  # (W, n, S)
        planes = golden.remap(planes, array.k) if array.datapath == "lut" else planes
        lanes = planes.reshape(passes, array.planes_per_cycle, *planes.shape[1:]).transpose(3, 0, 2, 1)  # (S, P, n, p)
    beats = steps * passes
    position = np.tile(np.arange(passes), steps)
    place = np.arange(beats)
    fields = {
        "codes": lanes.reshape(beats, -1),
        "start": position == 0,
        "first": place == 0,
        "last": place == beats - 1,
    }
    if array.most_passes > 1:
        fields["position"] = position
    return {k: v.astype(np.int64).reshape(beats, -1) for k, v in fields.items()}


def row_beats(array: Array, activations: Ints, shift: Ints | int = 0) -> dict[str, Ints]:
    """Return channel ``a`` of one tile of activations (m, K): S beats; shift: one number, (m, 1) or (m, S)."""
    groups = golden.grouped(activations, array.k)  # (m, S, k)
    if array.looks_up:
        shifts = np.broadcast_to(np.asarray(shift, np.int64), groups.shape[:2])[..., None]
        groups = golden.tables(array, groups, shifts)
    return {row_field(array, 1).name: pack_rows(array, groups.transpose(1, 0, 2))}


def joined(tiles: list[dict[str, Ints]]) -> dict[str, Ints]:
    """Return the beats of one channel over tiles that follow each other."""
    return {name: np.concatenate([tile[name] for tile in tiles]) for name in tiles[0]}


def tiles(array: Array, parts: list[tuple[Ints, Ints, int, int]]) -> Beats:
    """Return channels ``a`` and ``w`` of tiles (activations (m, K), codes (n, K), weight bits, shift)."""
    return {
        "a": joined([row_beats(array, a, shift) for a, _, _, shift in parts]),
        "w": joined([weight_beats(array, q, bits) for _, q, bits, _ in parts]),
    }
