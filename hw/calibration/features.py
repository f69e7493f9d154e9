"""What an array or a table builder is made of: counts of bits that its area and energy are linear in.

The counts follow the generated Verilog (``rtl/cells``) part by part; how much a part costs is not known here but
fitted to synthesised designs. Symbols: m, n, k of the array; E stored entries of e bits per table; p weight planes or
d weight bits per cycle; P passes; a activation bits; w bits of a partial sum; s accumulator bits. An adder counts the
bits of its sum.
"""

from __future__ import annotations

from functools import lru_cache

from lutscape.hw.machines.lut_tensor_core import Array

ARRAY_FEATURES = {
    # name: what one unit of it is
    "select lut": "bit of a table entry that a lookup element can select, symmetric tables (m n p E e)",
    "entry lut": "bit of a selected entry and its sign flip (m n p e)",
    "select full": "bit of a table entry that a lookup element can select, conventional tables (m n p E e)",
    "entry full": "bit of a selected entry (m n p e)",
    "decode": "selected line of a column's index decoder, by inputs beyond the first (n p E inputs)",
    "negate": "activation bit inverted by a weight bit (m n p k a)",
    "gate": "activation bit gated by a weight bit (m n d k a)",
    "tree": "adder bit inside a plane",
    "planes": "adder bit between planes",
    "shift": "two-input multiplexer bit of the shifter to a pass's place",
    "add": "accumulator bit that is added to",
    "count": "accumulator bit above the partial sum, which only counts",
    "sum": "accumulator register with its start of a tile (m n s)",
    "element": "processing element",
    "row": "row operand register bit: tables or activations",
    "row load": "row operand register bit, by how often it is loaded (per pass)",
    "column": "column operand register bit: weights",
    "array": "array: handshake and marks",
}
BUILDER_FEATURES = {
    "sums lut": "adder bit of shared sums, symmetric tables",
    "sums full": "adder bit of shared sums, conventional tables",
    "shift": "two-input multiplexer bit of the narrowing shifters",
    "clamp": "bit of a clamped entry",
    "input": "input register bit: activations and shift",
    "builder": "builder",
}


def stored_entries(array: Array) -> int:
    """Return the entries of a table that are stored: the empty sum of a conventional table is not."""
    return array.entries - (array.datapath != "lut")


def exact_bits(array: Array) -> int:
    """Return the bits of an entry that is not narrowed; a conventional one never reaches +k 2^(a-1)."""
    greatest = array.k << (array.activation_bits - 1)
    return (greatest if array.datapath == "lut" else greatest - 1).bit_length() + 1


def entry_bits(array: Array) -> int:
    """Return the bits of a stored entry."""
    return min(array.table_bits, exact_bits(array))


def row_bits(array: Array) -> int:
    """Return the register bits of one row operand."""
    return stored_entries(array) * entry_bits(array) if array.looks_up else array.k * array.activation_bits


def column_bits(array: Array) -> int:
    """Return the register bits of one column operand."""
    return array.k * array.digit_bits


def tree(inputs: int, bits: int) -> tuple[int, int]:
    """Return (adder bits, bits of the sum) of a balanced tree over signed values.

    >>> tree(4, 8)
    (28, 10)
    """
    if inputs == 1:
        return 0, bits
    left, right = tree((inputs + 1) // 2, bits), tree(inputs // 2, bits)
    width = max(left[1], right[1]) + 1
    return left[0] + right[0] + width, width


def planes_tree(planes: int, bits: int) -> tuple[int, int]:
    """Return (adder bits, bits of the sum) of planes added at weights 1, 2, 4 …; bits below a weight pass.

    >>> planes_tree(2, 8)
    (9, 10)
    """
    if planes == 1:
        return 0, bits
    up = (planes + 1) // 2
    left, right = planes_tree(up, bits), planes_tree(planes - up, bits)
    width = max(left[1], right[1] + up) + 1
    return left[0] + right[0] + width - up, width


@lru_cache(maxsize=4096)
def of_array(array: Array) -> dict[str, float]:
    """Return the counts of an array without table builders, by :data:`ARRAY_FEATURES`; absent ones are zero."""
    elements, digits = array.m * array.n, array.digit_bits
    found: dict[str, float] = {}
    if array.looks_up:
        kind = "lut" if array.datapath == "lut" else "full"
        entries, bits = stored_entries(array), entry_bits(array)
        inputs = array.k - (array.datapath == "lut")
        found[f"select {kind}"] = elements * digits * entries * bits
        found[f"entry {kind}"] = elements * digits * bits
        found["decode"] = array.n * digits * entries * max(inputs - 1, 0)
    else:
        found["negate" if array.datapath == "add" else "gate"] = elements * digits * array.k * array.activation_bits
        adders, bits = tree(array.k, array.activation_bits)
        found["tree"] = elements * digits * adders
    adders, bits = planes_tree(digits, bits)
    found["planes"] = elements * adders
    most = array.accumulator_bits
    shift, unshifted = 0, min(bits, most)
    bits = unshifted
    for stage in range((array.most_passes - 1).bit_length()):
        bits = min(unshifted + digits * min(array.most_passes - 1, (2 << stage) - 1), most)
        shift += bits
    found["shift"] = elements * shift
    found["add"] = elements * bits
    found["count"] = elements * (most - bits)
    found["sum"] = elements * array.accumulator_bits
    found["element"] = elements
    found["row"] = array.m * row_bits(array)
    found["row load"] = array.m * row_bits(array) / array.most_passes
    found["column"] = array.n * column_bits(array)
    found["array"] = 1
    return found


@lru_cache(maxsize=4096)
def of_builder(array: Array) -> dict[str, float]:
    """Return the counts of one table builder with registers for its activations, by :data:`BUILDER_FEATURES`."""
    kind = "lut" if array.datapath == "lut" else "full"
    entries, exact, wide = stored_entries(array), exact_bits(array), exact_bits(array) + 1
    most = array.largest_shift
    found: dict[str, float] = {f"sums {kind}": table_additions(array) * (exact - 1)}
    shift_bits = most.bit_length() if most else 0
    found["shift"] = entries * wide * shift_bits
    found["clamp"] = entries * array.table_bits if most else 0
    found["input"] = array.k * array.activation_bits + shift_bits
    found["builder"] = 1
    return found


def table_additions(array: Array) -> int:
    """Return the additions that build the stored entries of a table by sharing half sums.

    Symmetric: every entry is one addition of two half sums; k = 4: 2 + 2 half sums and 8 entries, 12 additions.
    Conventional: one addition for each sum of at least two activations, 2^k - k - 1. In narrow tables the upper half's
    sums start from half of the last place: one addition more, or the conventional half's sums of one.
    """
    if array.datapath == "lut":
        return _symmetric(array.k) + (array.largest_shift > 0)
    return _subsets(array.k, array.largest_shift > 0)


def _symmetric(k: int) -> int:
    if k == 1:
        return 0
    left, right = (k + 1) // 2, k // 2
    return _symmetric(left) + _symmetric(right) + 2 ** (k - 1)


def _subsets(k: int, start: bool) -> int:
    if k == 1:
        return int(start)
    low = k // 2
    empty = 2 ** (k - low) + (0 if start else 2**low - 1)  # sums that need no addition here
    return _subsets(low, False) + _subsets(k - low, start) + 2**k - empty
