"""What an array adds up beat by beat when its activations are floats: :mod:`.mpgemm` one step and plane at a time.

Tables are :func:`.tables.rounded_sums` in the table's format. A beat is one plane of one step; it adds one entry to a
sum, and the sum is rounded to nearest even in the accumulator's format:

    sum <- round(sum + ±T[index] · 2^position)                the first beat of a tile adds to +0

so that a tile is what :func:`.mpgemm.mpgemm` computes with ``planes="serial"`` and no weight scales. Sums are never -0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lutscape.hw.formats import encode as encoding
from lutscape.hw.formats.binary import BinaryFormat
from lutscape.hw.formats.binary import values as decoded
from lutscape.hw.machines.lut_tensor_core import Array
from lutscape.sim.lut_tensor_core import elut, tables
from lutscape.sim.lut_tensor_core.mpgemm_design import Mpgemm
from lutscape.sim.lut_tensor_core.rounding import FLOATS, round_float

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def name_of(form: BinaryFormat) -> str:
    """Return the name that designs and traces have for a format.

    >>> from lutscape.hw.formats.binary import FORMATS
    >>> name_of(FORMATS["e4m3"])
    'fp8_e4m3'
    """
    return next(name for name, known in FLOATS.items() if known == form)


def values(codes: Ints, form: BinaryFormat) -> Floats:
    """Return the numbers of codes (any shape)."""
    return decoded(codes.astype(form.dtype), form)


def codes(numbers: Floats, form: BinaryFormat) -> Ints:
    """Return the codes of numbers that the format holds, signs of zeros kept; NaN becomes the canonical one."""
    return encoding.encode(numbers, form).astype(np.int64)


def design(array: Array, weights: str = "int2") -> Mpgemm:
    """Return the matrix multiplication that an array of float activations computes on weights of a format."""
    return Mpgemm(
        weights, name_of(array.activation), array.k, name_of(array.entry),
        accumulator=name_of(array.total), overflow=array.float_overflow,
    )  # fmt: skip


def entries(array: Array, activations: Floats) -> Floats:
    """Return tables (…, 2^(k-1)) of activations (…, k)."""
    return tables.rounded_sums(design(array), activations, name_of(array.entry))


def terms(array: Array, table: Floats, selects: Ints, position: Ints | int) -> Floats:
    """Return what beats add, (…), from tables (…, 2^(k-1)), remapped codes (…) and positions (…): exact."""
    return np.ldexp(elut.lookup(table, selects, 2, array.k), position)


def add(array: Array, sums: Floats, term: Floats) -> Floats:
    """Return the next sums, rounded once."""
    with np.errstate(invalid="ignore"):  # infinity - infinity
        return round_float(sums + term, name_of(array.total), array.float_overflow == "saturate")
