"""Draw the operands of an instruction's cases; place sparse operands and pack their metadata.

Sparse instructions carry A as stored, (tiles, M, K/2), and E (tiles, M, K/2) uint8: E[t, m, p] is
the column k in 0..K-1 that stored element p of row m stands for, so that
D[m, n] = C[m, n] + sum over p of A[m, p] * B[n, E[m, p]].
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from lutscape.sim.mma.capture import families as floats
from lutscape.sim.mma.capture import families_integer as integers
from lutscape.sim.mma.capture.bits import Bits, random_bits
from lutscape.sim.mma.capture.instructions import Instruction

OUTPUTS = 2048  # at least so many per case
SEED = 20261122


@dataclass
class Case:
    """Raw operands of one case; E only for sparse instructions."""

    a: Bits
    b: Bits
    c: Bits
    e: Bits | None = None


def case_names(row: Instruction) -> list[str]:
    """Return the cases of an instruction: its families, ``unordered`` metadata, ``mixed``."""
    names = list((integers if row.integer else floats).families(row.a))
    if row.sparse and row.group == 4 and row.kind == "mma" and "ordered" not in row.name:
        names.append("unordered")
    return [*names, "mixed"]


def draw(row: Instruction, tiles: int | None = None, seed: int = SEED) -> dict[str, Case]:
    """Return every case of an instruction, ``tiles`` tiles each (default: at least 2,048 outputs)."""
    count = tiles or max(2, -(-OUTPUTS // (row.m * row.n)))
    cases = {}
    for name in case_names(row)[:-1]:
        # Names that differ only in options or in the metadata's form draw the same operands.
        plain = row.ptx.replace("::ordered_metadata", "")
        rng = np.random.default_rng([seed, zlib.crc32(plain.encode()), zlib.crc32(name.encode())])
        cases[name] = _family(row, name, count, rng)
    cases["mixed"] = _mixed(row, list(cases.values()), tiles)
    return cases


def _family(row: Instruction, name: str, tiles: int, rng: np.random.Generator) -> Case:
    unordered = name == "unordered"
    if row.integer:
        draw_integer = integers.families(row.a)["random_all" if unordered else name]
        a, b, c = draw_integer(integers.Draw(rng, row.a, row.b, tiles, row.m, row.n, row.terms))
    else:
        draw_float = floats.families(row.a)["normal" if unordered else name]
        a, b, c = draw_float(floats.Draw(rng, row.a, row.b, row.c, row.d, tiles, row.m, row.n, row.terms))
    return _sparse(row, Case(a, b, c), rng, unordered) if row.sparse else Case(a, b, c)


def _sparse(row: Instruction, dense: Case, rng: np.random.Generator, unordered: bool) -> Case:
    """Choose columns: even tiles one pattern for all rows, so that the family's structure over k
    survives and the columns not chosen hold random bits (NaNs too); odd tiles one for each row."""
    tiles, keep = len(dense.a), row.group // 2
    unit = 2 if row.group == 8 else 1  # s4, u4 choose two of four pairs
    choices = row.group // unit
    pick = np.argsort(rng.random((tiles, row.m, row.k // row.group, choices)), axis=-1)[..., : keep // unit]
    pick = pick if unordered else np.sort(pick, axis=-1)
    pick[0::2] = pick[0::2, :1]
    columns = (pick[..., None] * unit + np.arange(unit)).reshape(tiles, row.m, row.k // row.group, keep)
    e = columns + np.arange(row.k // row.group)[:, None] * row.group
    e = e.reshape(tiles, row.m, row.terms)
    b = np.repeat(dense.b, 2, axis=-1)  # stored term p appears in columns 2p and 2p + 1
    junk = random_bits(rng, row.b, b.shape)
    for tile in range(0, tiles, 2):
        junk[tile][:, e[tile, 0]] = dense.b[tile]
        b[tile] = junk[tile]
    return Case(dense.a, b, dense.c, e.astype(np.uint8))


def _mixed(row: Instruction, cases: list[Case], tiles: int | None) -> Case:
    """All families in few tiles: rows of A and C, and columns of B, taken from several of them.

    With M = 8 or 16 a tile takes four families, M/4 rows and N/4 columns of each; with M = 64 its
    rows come from all families, its columns from N of them. Columns repeat every 40, which keeps a
    committed file of N = 256 small. Tiles go on until every family had a column.
    """
    distinct = min(row.n, 40)
    source = np.arange(row.n) % distinct
    width = 4 if row.m < 64 else len(cases)  # families among the rows of a tile
    columns = min(width, distinct)  # and among its columns
    count = min(tiles or 99, -(-len(cases) // columns))
    by_row, by_column = np.arange(row.m) * width // row.m, source * columns // distinct
    out = Case(*(np.empty((count, *x.shape[1:]), x.dtype) for x in (cases[0].a, cases[0].b, cases[0].c)))
    if row.sparse and cases[0].e is not None:
        out.e = np.empty((count, *cases[0].e.shape[1:]), np.uint8)
    for tile in range(count):
        chosen = [cases[(tile * columns + i) % len(cases)] for i in range(width)]
        at = tile % len(chosen[0].a)
        for m in range(row.m):
            case = chosen[by_row[m]]
            out.a[tile, m], out.c[tile, m] = case.a[at, m], case.c[at, m, source]
            if out.e is not None and case.e is not None:
                out.e[tile, m] = case.e[at, m]
        for n in range(row.n):
            out.b[tile, n] = chosen[by_column[n]].b[at, source[n]]
    return out


def metadata_registers(row: Instruction, e: Bits) -> np.ndarray:
    """Return the metadata register of each lane, (tiles, 32 or, for wgmma, 128), sparsity selector 0.

    Each group of a row is a nibble: two 2-bit indices, the first stored element's low (tf32: 0xE
    or 0x4). Four lanes g share rows g and g + 8 in one of three ways, by K and format:

    half word   lane 4g + 0 (and + 1 for the second 16-bit half of the row): row g low, row g + 8 high
    word        lane 4g + 0: row g, lane 4g + 1: row g + 8; lanes + 2 and + 3: the row's second word
    """
    warps = len(e) * row.m // 16  # 16 rows each
    inside = e.reshape(warps, 16, row.k // row.group, -1) % row.group
    if row.group == 2:
        nibbles = np.where(inside[..., 0] == 1, 0xE, 0x4)
    else:
        index = inside[..., :: row.group // 4] // (row.group // 4)
        nibbles = index[..., 0] | index[..., 1] << 2
    nibbles = nibbles.astype(np.uint64)
    per_row = nibbles.shape[-1]  # 4, 8 or 16 nibbles: 16, 32 or 64 bits of a row
    words = np.zeros((warps, 8, 4), np.uint64)
    eight_bit = row.a not in ("f16", "bf16", "tf32")

    def bits(rows: slice, first: int, count: int) -> np.ndarray:
        shifts = np.uint64(4) * np.arange(count, dtype=np.uint64)
        return (nibbles[:, rows, first : first + count] << shifts).sum(-1, dtype=np.uint64)

    low, high = slice(0, 8), slice(8, 16)
    for t in range(4):
        if eight_bit:  # one row a lane, eight nibbles; t / 2 chooses the row's second word
            words[:, :, t] = bits(high if t % 2 else low, 8 * (t // 2) if per_row == 16 else 0, 8)
        else:  # two rows a lane, four nibbles each; t % 2 chooses the row's second half
            first = 4 * (t % 2) if per_row == 8 else 0
            words[:, :, t] = bits(low, first, 4) | bits(high, first, 4) << np.uint64(16)
    return words.reshape(len(e), -1).astype(np.uint32)
